local nn = require "nnlua"
local x = nn.ones(2, 3)
local y = nn.ones(3, 2, {dtype = "float64"})
print(x:matmul(y))
