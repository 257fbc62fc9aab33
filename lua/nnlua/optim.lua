--- nn.optim: the optimizers and their learning rate schedules.

local core = require "nnlua.core"

local optim = { lr_scheduler = require "nnlua.schedules" }

for name, optimizer in pairs(core.optimizers) do optim[name] = optimizer end

return optim
