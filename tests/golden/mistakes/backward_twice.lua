local nn = require "nnlua"
local x = nn.ones(3, {requires_grad = true})
local loss = (x * x):sum()
loss:backward()
loss:backward()
