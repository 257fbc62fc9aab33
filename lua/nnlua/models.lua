--- nn.models: language models: one configurable transformer, and folders of published ones that become it.

local models = {}

models.GPT = require "nnlua.models.gpt"

for _, name in ipairs { "gpt2", "llama" } do
  models[name] = require "nnlua.models.folder"[name]
end

return models
