-- convert_llama2c.lua: a model in the binary format of llama2.c becomes a folder of Llama's kind that nn.models.llama
-- reads: config.json, model.safetensors, tokenizer.json.
--
--   nnlua scripts/convert_llama2c.lua stories260K.bin tok512.bin FOLDER

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local llama2c = dofile(here .. "lib/llama2c.lua")

local model_path, tokenizer_path, folder = arg[1], arg[2], arg[3]
if not folder then
  io.stderr:write("usage: nnlua scripts/convert_llama2c.lua MODEL.bin TOKENIZER.bin FOLDER\n")
  os.exit(2, true)
end

local function check(result, message)
  if result then return result end
  io.stderr:write("convert_llama2c.lua: ", message, "\n")
  os.exit(1, true)
end

local config = check(llama2c.convert(model_path, tokenizer_path, folder))
print(("%s: %d layers of width %d, %d tokens"):format(folder, config.num_hidden_layers, config.hidden_size,
  config.vocab_size))

local model = check(nn.models.llama(folder))
print(model:generate("", { max_tokens = 40, temperature = 0 }))
