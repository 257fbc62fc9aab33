local nn = require "nnlua"
print(nn.zeroes(3))
