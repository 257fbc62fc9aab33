local nn = require "nnlua"
local layer = nn.Linaer(3, 4)
print(layer)
