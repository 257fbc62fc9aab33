local nn = require "nnlua"
local model = nn.Sequential{nn.Dense(3, 4)}
print(model.parameters())
