local nn = require "nnlua"
print(nn.ones(3) .. nn.zeros(3))
