local nn = require "nnlua"
local t = nn.ones(3)
if t < nn.zeros(3) then print("less") end
