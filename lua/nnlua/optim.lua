--- nn.optim: the optimizers.

local core = require "nnlua.core"

local optim = {}

for name, optimizer in pairs(core.optimizers) do optim[name] = optimizer end

return optim
