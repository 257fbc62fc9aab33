local nn = require "nnlua"
local x = nn.ones(3)
local settings = {}
print(x + settings.bias)
