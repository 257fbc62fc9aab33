local nn = require "nnlua"
local layer = nn.Dense(2, 3)
print(layer({1, 2}))
