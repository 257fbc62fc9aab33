local nn = require "nnlua"
print(nn.zeros(2, {dtype = "float"}))
