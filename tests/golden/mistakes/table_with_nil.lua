local nn = require "nnlua"
local last
print(nn.tensor{1, 2, last, 4})
