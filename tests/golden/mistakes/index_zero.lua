local nn = require "nnlua"
local t = nn.ones(3)
for i = 0, 2 do print(t[i]) end
