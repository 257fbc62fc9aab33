local nn = require "nnlua"
local loss = nn.CrossEntropyLoss()
local labels = nn.tensor({1, 4}, {dtype = "int64"})
print(loss(nn.ones(2, 3), labels))
