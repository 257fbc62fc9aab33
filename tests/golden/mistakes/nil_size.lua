local nn = require "nnlua"
local settings = {}
print(nn.zeros(settings.width))
