local nn = require "nnlua"
local x = nn.ones(3)
x:sum():backward()
