local nn = require "nnlua"
local t = nn.ones(4)
print(t[{{4, 1, -1}}])
