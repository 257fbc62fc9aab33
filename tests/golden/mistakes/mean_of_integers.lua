local nn = require "nnlua"
local t = nn.arange(5)
print(t:mean())
