local nn = require "nnlua"
local x = nn.ones(2, 3)
local y = nn.ones(4, 5)
print(x + y)
