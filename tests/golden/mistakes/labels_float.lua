local nn = require "nnlua"
local loss = nn.CrossEntropyLoss()
local labels = nn.tensor{1, 3}
print(loss(nn.ones(2, 3), labels))
