local nn = require "nnlua"
local t = nn.ones(3)
print(t:summ())
