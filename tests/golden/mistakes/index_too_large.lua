local nn = require "nnlua"
local t = nn.ones(2, 3)
t[{2, 4}] = 1
