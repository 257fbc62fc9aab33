local nn = require "nnlua"
print(nn.ones(2, 3, 4):bmm(nn.ones(5, 4, 3)))
