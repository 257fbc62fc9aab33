local nn = require "nnlua"
print(nn.Dense(3, 4, {activaton = "relu"}))
