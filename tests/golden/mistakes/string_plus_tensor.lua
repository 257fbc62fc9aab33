local nn = require "nnlua"
local count = nn.tensor({1, 2}, {dtype = "int64"})
print("3" + count)
