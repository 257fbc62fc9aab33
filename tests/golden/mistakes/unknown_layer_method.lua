local nn = require "nnlua"
local layer = nn.Dense(3, 4)
print(layer:paramaters())
