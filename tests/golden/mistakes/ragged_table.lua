local nn = require "nnlua"
print(nn.tensor{{1, 2, 3}, {4, 5}})
