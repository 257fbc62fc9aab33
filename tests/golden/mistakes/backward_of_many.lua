local nn = require "nnlua"
local x = nn.ones(3, {requires_grad = true})
local y = x * 2
y:backward()
