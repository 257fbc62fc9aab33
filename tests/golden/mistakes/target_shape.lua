local nn = require "nnlua"
local loss = nn.MSELoss()
print(loss(nn.ones(8, 1), nn.ones(8)))
