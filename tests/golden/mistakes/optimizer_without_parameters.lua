local nn = require "nnlua"
local optimizer = nn.optim.SGD({}, {lr = 0.1})
optimizer:step()
