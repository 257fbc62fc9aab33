local nn = require "nnlua"
local weight = nn.ones(3, {requires_grad = true})
weight:sub_(0.1)
