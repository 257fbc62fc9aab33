local nn = require "nnlua"
print(nn.zeros(3, -1))
