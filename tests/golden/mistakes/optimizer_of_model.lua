local nn = require "nnlua"
local model = nn.Sequential{nn.Dense(3, 4)}
print(nn.optim.SGD(model, {lr = 0.1}))
