--- nn.optim: the optimizers and their learning rate schedules; averages of parameters.

local core = require "nnlua.core"

local optim = {
  lr_scheduler = require "nnlua.schedules", LBFGS = require "nnlua.lbfgs", EMA = require "nnlua.averages",
}

for name, optimizer in pairs(core.optimizers) do optim[name] = optimizer end

return optim
