local nn = require "nnlua"
local t = nn.ones(4)
local middle = #t / 3
print(t[middle])
