local nn = require "nnlua"
local x = nn.ones(2, 3)
print(nn.matmul(x, 3))
