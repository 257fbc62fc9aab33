local nn = require "nnlua"
print(nn.ones(2, 3):sum{dims = 1})
