local nn = require "nnlua"
local t = nn.ones(4)
local line = "2"
print(t[line])
