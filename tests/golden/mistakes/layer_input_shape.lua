local nn = require "nnlua"
local model = nn.Sequential{nn.Dense(784, 128), nn.Dense(128, 10)}
print(model(nn.ones(32, 100)))
