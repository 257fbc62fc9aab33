local nn = require "nnlua"
local x = nn.ones(2, 3)
x:add_(nn.ones(4, 5))
