--- The tensors of model.lua with the names that scripts use: what stands in for nn when a program runs for comparison.

local model = require "model"
require "operations.elementwise"
require "operations.view"
require "operations.reduce"
require "operations.place"
require "operations.arrange"

return model
