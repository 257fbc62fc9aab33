--- nn.models.gpt2 and nn.models.llama: folders of published models, as Hugging Face lays them out, become
-- nn.models.GPT. Their weights are the mapped files. What is wrong with a folder is not raised but returned: nil and a
-- message.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local files = require "nnlua.files"
local state = require "nnlua.state"
local GPT = require "nnlua.models.gpt"

local folder = {}

-- Messages of this module travel as tables to `load` at its end.
local function refuse(message)
  error({ refused = message }, 0)
end

-- ---- files

local function read_text(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local text = file:read("*a")
  file:close()
  return text
end

local function read_json(path)
  local text, message = read_text(path)
  if not text then refuse(message) end
  local ok, value, problem = pcall(core.json_decode, text)
  if not ok then value, problem = nil, value end
  if type(value) ~= "table" then refuse(("%s: %s"):format(path, tostring(problem or "expected an object"))) end
  return value
end

local function load_file(path, tensors)
  local more, message = core.load_tensors(path, nil, true)
  if not more then refuse(message) end
  for name, tensor in pairs(more) do tensors[name] = tensor end
end

-- All tensors by name, of one file, or of the parts that an index tells of.
local function read_tensors(path)
  local tensors, single, index = {}, path .. "/model.safetensors", path .. "/model.safetensors.index.json"
  if files.exists(single) then
    load_file(single, tensors)
    return tensors
  end
  if not files.exists(index) then
    refuse(("%s: no model.safetensors and no model.safetensors.index.json (other formats must be converted first)")
      :format(path))
  end
  local parts, seen = read_json(index).weight_map, {}
  if type(parts) ~= "table" then refuse(index .. ": expected a weight_map") end
  for _, part in pairs(parts) do
    if type(part) ~= "string" or part:find("[/\\]") then refuse(index .. ": expected names of files in weight_map") end
    if not seen[part] then load_file(path .. "/" .. part, tensors) end
    seen[part] = true
  end
  return tensors
end

-- ---- configurations

local function value_of(config, name)
  local value = config[name]
  if value == core.json_null then return nil end
  return value
end

local function count_of(config, name, default)
  local value = value_of(config, name)
  if value == nil then value = default end
  if not (compat.is_whole(value) and value >= 1 and value <= 2 ^ 30) then
    refuse(("config.json: expected %s to be a whole number from 1, got %s"):format(name, tostring(value)))
  end
  return compat.to_integer(value)
end

local function number_of(config, name, default)
  local value = value_of(config, name)
  if value == nil then value = default end
  if type(value) ~= "number" or value - value ~= 0 then
    refuse(("config.json: expected %s to be a number, got %s"):format(name, tostring(value)))
  end
  return value
end

local function flag_of(config, name, default)
  local value = value_of(config, name)
  if value == nil then return default end
  return value == true
end

local function divided(config_name, whole, parts)
  if whole % parts ~= 0 then refuse(("config.json: %s: %d is no multiple of %d"):format(config_name, whole, parts)) end
  return compat.to_integer(whole / parts)
end

local function is_shape(tensor, ...)
  local sizes = { ... }
  if not core.is_tensor(tensor) or tensor.ndim ~= #sizes then return false end
  for i, size in ipairs(sizes) do
    if tensor:size(i) ~= size then return false end
  end
  return true
end

-- Sizes out of a file are taken at their word only where its tensors are of these sizes.
local function expect(tensors, name, ...)
  if is_shape(tensors[name], ...) then return end
  local got = tensors[name] and check.shape(tensors[name].shape) or "nothing"
  refuse(("expected the tensor %s of shape %s, as config.json has it, got %s"):format(name, check.shape { ... }, got))
end

local function refuse_unknown(config, name, allowed)
  local value = value_of(config, name)
  local known = allowed[value]
  if not known then refuse(("config.json: %s is %s, which is not known here"):format(name, tostring(value))) end
  return known
end

-- ---- names

-- A table of tensors by our names. Of each rule {pattern, replacement}, the first that fits counts; no replacement:
-- left out. `turned` names, in ours, those that lie transposed.
local function renamed(tensors, prefix, rules, turned)
  local named = {}
  for name, tensor in pairs(tensors) do
    local plain = name:sub(1, #prefix) == prefix and name:sub(#prefix + 1) or name
    for _, rule in ipairs(rules) do
      local ours, found = plain:gsub(rule[1], rule[2] or "")
      if found > 0 then
        plain = rule[2] and ours
        break
      end
    end
    if plain then
      if turned and turned[plain:match("^blocks%.%d+%.(%a+)%.weight$")] then tensor = tensor:t() end
      named[plain] = tensor
    end
  end
  return named
end

-- ---- whole

local function build(options, tensors)
  local before = core.bare_layers(true)
  local ok, model = pcall(GPT, options)
  core.bare_layers(before)
  if not ok then refuse(tostring(model)) end
  local fine, problem = pcall(state.load, model, tensors, true, true)
  if not fine then refuse(tostring(problem)) end
  if problem then refuse("the tensors do not fit the model\n  " .. problem) end
  return model:eval()
end

local function ids_of(value)
  local list = {}
  if type(value) == "table" then
    for _, id in ipairs(value) do list[#list + 1] = id end
  elseif value ~= nil and value ~= core.json_null then
    list[1] = value
  end
  local ids = {}
  for _, id in ipairs(list) do
    if compat.is_whole(id) and id >= 0 then ids[#ids + 1] = compat.to_integer(id + 1) end
  end
  return ids
end

local load_options = { dtype = "string", dropout = "fraction", tokenizer = "boolean" }

local function load(who, read, path, options)
  if type(path) ~= "string" then check.expect(who, "folder", path, "a string") end
  options = check.options(who, options, load_options)
  local ok, model = pcall(read, path, options)
  if ok then return model end
  if type(model) == "table" and model.refused then return nil, ("%s: %s: %s"):format(who, path, model.refused) end
  error(model, 0)
end

local function adapt(model, path, options, config)
  if options.dtype and options.dtype ~= model.tokens.weight.dtype then
    model:to(options.dtype)
    model.options.dtype = options.dtype
  end
  model.end_ids = ids_of(config.eos_token_id)
  if options.tokenizer == false then return model end
  if files.exists(path .. "/tokenizer.json") or files.exists(path .. "/vocab.json") then
    model.tokenizer, model.tokenizer_problem = require "nnlua.text".BPETokenizer.load(path)
  end
  return model
end

-- ---- GPT-2

local gpt2_activations = {
  gelu_new = "gelu_tanh", gelu_pytorch_tanh = "gelu_tanh", gelu_fast = "gelu_tanh", gelu = "gelu", relu = "relu",
  silu = "silu", swish = "silu",
}
local gpt2_rules = {
  { "^h%.%d+%.attn%.bias$" }, { "^h%.%d+%.attn%.masked_bias$" },
  { "^wte%.", "tokens." }, { "^wpe%.", "positions." }, { "^ln_f%.", "norm." }, { "^lm_head%.", "head." },
  { "^h%.(%d+)%.ln_1%.", "blocks.%1.norm1." }, { "^h%.(%d+)%.ln_2%.", "blocks.%1.norm2." },
  { "^h%.(%d+)%.attn%.c_attn%.", "blocks.%1.qkv." }, { "^h%.(%d+)%.attn%.c_proj%.", "blocks.%1.out." },
  { "^h%.(%d+)%.mlp%.c_fc%.", "blocks.%1.up." }, { "^h%.(%d+)%.mlp%.c_proj%.", "blocks.%1.down." },
}
local gpt2_turned = { qkv = true, out = true, up = true, down = true }

local function gpt2_options(config, options)
  local width = count_of(config, "n_embd", 768)
  if not flag_of(config, "scale_attn_weights", true) or flag_of(config, "scale_attn_by_inverse_layer_idx", false) then
    refuse "config.json: attention is scaled in a way that is not known here"
  end
  config.activation_function = value_of(config, "activation_function") or "gelu_new"
  return {
    vocab = count_of(config, "vocab_size", 50257), layers = count_of(config, "n_layer", 12), width = width,
    heads = count_of(config, "n_head", 12), hidden = count_of(config, "n_inner", 4 * width),
    context = count_of(config, "n_positions", count_of(config, "n_ctx", 1024)),
    activation = refuse_unknown(config, "activation_function", gpt2_activations),
    eps = number_of(config, "layer_norm_epsilon", 1e-5), tied = flag_of(config, "tie_word_embeddings", true),
    dropout = options.dropout or number_of(config, "resid_pdrop", 0.1),
  }
end

local function read_gpt2(path, options)
  local config = read_json(path .. "/config.json")
  local o = gpt2_options(config, options)
  local tensors = renamed(read_tensors(path), "transformer.", gpt2_rules, gpt2_turned)
  if o.tied then tensors["head.weight"] = nil end
  divided("n_head", o.width, o.heads)
  expect(tensors, "tokens.weight", o.vocab, o.width)
  expect(tensors, "positions.weight", o.context, o.width)
  expect(tensors, ("blocks.%d.up.weight"):format(o.layers - 1), o.hidden, o.width)
  o.dtype = tensors["tokens.weight"].dtype
  return adapt(build(o, tensors), path, options, config)
end

--- A folder of GPT-2's kind: config.json, model.safetensors (or its parts), and for texts vocab.json and merges.txt.
-- The weights stay in the file, which is mapped.
-- @param path string
-- @param options table? dtype (that of the file), dropout (that of config.json; for training), tokenizer (true)
-- @return an nn.models.GPT in evaluation mode; nil and a message where the folder cannot be read
function folder.gpt2(path, options)
  return load("nn.models.gpt2", read_gpt2, path, options)
end

-- ---- Llama

local llama_activations = { silu = "swiglu", swish = "swiglu", gelu = "geglu", gelu_pytorch_tanh = "geglu_tanh" }
local llama_rules = {
  { "^layers%.%d+%.self_attn%.rotary_emb%.inv_freq$" }, { "^embed_tokens%.", "tokens." }, { "^lm_head%.", "head." },
  { "^layers%.(%d+)%.input_layernorm%.", "blocks.%1.norm1." },
  { "^layers%.(%d+)%.post_attention_layernorm%.", "blocks.%1.norm2." },
  { "^layers%.(%d+)%.self_attn%.q_proj%.", "blocks.%1.query." },
  { "^layers%.(%d+)%.self_attn%.k_proj%.", "blocks.%1.key." },
  { "^layers%.(%d+)%.self_attn%.v_proj%.", "blocks.%1.value." },
  { "^layers%.(%d+)%.self_attn%.o_proj%.", "blocks.%1.out." },
  { "^layers%.(%d+)%.mlp%.(%a+)_proj%.", "blocks.%1.%2." },
}

-- How angles shrink for longer contexts.
local function scaling_of(config)
  local scaling = value_of(config, "rope_scaling")
  if scaling == nil then return {} end
  if type(scaling) ~= "table" then refuse "config.json: expected rope_scaling to be an object" end
  local kind = value_of(scaling, "rope_type") or value_of(scaling, "type")
  if kind == "default" then return {} end
  if kind == "linear" then return { rotary_factor = number_of(scaling, "factor", 1) } end
  if kind ~= "llama3" then refuse(("config.json: rope_scaling of type %s is not known here"):format(tostring(kind))) end
  return {
    rotary_factor = number_of(scaling, "factor", 8), rotary_low = number_of(scaling, "low_freq_factor", 1),
    rotary_high = number_of(scaling, "high_freq_factor", 4),
    rotary_original = number_of(scaling, "original_max_position_embeddings", 8192),
  }
end

local function llama_options(config, options)
  local width, heads = count_of(config, "hidden_size"), count_of(config, "num_attention_heads")
  config.hidden_act = value_of(config, "hidden_act") or "silu"
  local o = {
    vocab = count_of(config, "vocab_size"), layers = count_of(config, "num_hidden_layers"), width = width,
    heads = heads, kv_heads = count_of(config, "num_key_value_heads", heads), positions = "rotary", norm = "rms",
    size = count_of(config, "head_dim", value_of(config, "head_dim") or divided("num_attention_heads", width, heads)),
    hidden = count_of(config, "intermediate_size"), context = count_of(config, "max_position_embeddings", 2048),
    activation = refuse_unknown(config, "hidden_act", llama_activations), bias = false, packed = false,
    eps = number_of(config, "rms_norm_eps", 1e-6), rotary_base = number_of(config, "rope_theta", 10000),
    tied = flag_of(config, "tie_word_embeddings", false), interleaved = flag_of(config, "rope_interleaved", false),
    dropout = options.dropout or 0,
  }
  for name, value in pairs(scaling_of(config)) do o[name] = value end
  return o
end

local function read_llama(path, options)
  local config = read_json(path .. "/config.json")
  local o = llama_options(config, options)
  local tensors = renamed(read_tensors(path), "model.", llama_rules)
  if o.tied then tensors["head.weight"] = nil end
  divided("num_key_value_heads", o.heads, o.kv_heads)
  expect(tensors, "tokens.weight", o.vocab, o.width)
  local last = ("blocks.%d."):format(o.layers - 1)
  expect(tensors, last .. "key.weight", o.kv_heads * o.size, o.width)
  expect(tensors, last .. "query.weight", o.heads * o.size, o.width)
  expect(tensors, last .. "down.weight", o.width, o.hidden)
  o.dtype, o.qkv_bias = tensors["tokens.weight"].dtype, tensors[last .. "query.bias"] ~= nil
  o.bias = tensors[last .. "out.bias"] ~= nil and tensors[last .. "down.bias"] ~= nil
  local model = adapt(build(o, tensors), path, options, config)
  model.begin_id = ids_of(config.bos_token_id)[1]
  return model
end

--- A folder of Llama's kind (Mistral's and Qwen2's are too): config.json, model.safetensors (or its parts), and for
-- texts tokenizer.json. The weights stay in the file, which is mapped. Pairs of rotary positions are halves, as
-- Hugging Face has them, or neighbours where config.json says "rope_interleaved": true.
-- @param path string
-- @param options table? dtype (that of the file), dropout (0; for training), tokenizer (true)
-- @return an nn.models.GPT in evaluation mode; nil and a message where the folder cannot be read
function folder.llama(path, options)
  return load("nn.models.llama", read_llama, path, options)
end

return folder
