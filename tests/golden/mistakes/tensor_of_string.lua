local nn = require "nnlua"
print(nn.tensor("abc"))
