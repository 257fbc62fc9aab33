local nn = require "nnlua"
local data = {}
print(nn.matmul(nn.ones(2, 3), data.weight))
