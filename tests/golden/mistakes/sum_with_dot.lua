local nn = require "nnlua"
local t = nn.ones(2, 3)
print(t.sum())
