local nn = require "nnlua"
local loss = nn.CrossEntropyLoss()
local labels = nn.tensor({0, 2}, {dtype = "int64"})
print(loss(nn.ones(2, 3), labels))
