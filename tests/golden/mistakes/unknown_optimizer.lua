local nn = require "nnlua"
local model = nn.Sequential{nn.Dense(3, 4)}
model:compile{optimizer = "adamm", loss = "mse"}
