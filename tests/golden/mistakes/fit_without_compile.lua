local nn = require "nnlua"
local model = nn.Sequential{nn.Dense(3, 1)}
model:fit(nn.ones(4, 3), nn.ones(4, 1))
