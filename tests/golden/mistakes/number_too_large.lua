local nn = require "nnlua"
local pixels = nn.zeros(4, {dtype = "uint8"})
pixels[1] = 256
