local nn = require "nnlua"
print(nn.cat(nn.ones(2), nn.ones(3)))
