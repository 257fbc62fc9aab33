local nn = require "nnlua"
local x = nn.ones(2, 3)
local weight = nn.ones(4, 5)
print(x:matmul(weight))
