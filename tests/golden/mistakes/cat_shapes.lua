local nn = require "nnlua"
print(nn.cat({nn.ones(2, 3), nn.ones(2, 4)}, 1))
