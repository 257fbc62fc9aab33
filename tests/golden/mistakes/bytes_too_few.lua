local nn = require "nnlua"
print(nn.from_bytes("abc", {1}, "float32"))
