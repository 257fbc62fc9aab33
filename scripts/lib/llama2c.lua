-- llama2c.lua: the binary formats of llama2.c ("version 0" models, tokenizers with scores) as a folder of Llama's kind.

local nn = require "nnlua"

local llama2c = {}

local SPACE = "\226\150\129" -- U+2581

local function read(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local bytes = file:read("*a")
  file:close()
  return bytes
end

-- ---- the model: seven numbers, then floats

local function header(bytes)
  if #bytes < 28 then return nil end
  local numbers = nn.from_bytes(bytes:sub(1, 28), { 7 }, "int32"):tolist()
  local h = {}
  for i, name in ipairs { "dim", "hidden", "layers", "heads", "kv_heads", "vocab",
    "length" } do h[name] = numbers[i] end
  h.shared, h.vocab = h.vocab > 0, math.abs(h.vocab)
  local sane = h.dim > 0 and h.hidden > 0 and h.layers > 0 and h.heads > 0 and h.kv_heads > 0 and h.vocab > 0 and
    h.length > 0 and h.dim % h.heads == 0 and h.heads % h.kv_heads == 0
  return sane and h or nil
end

-- Rows of each head, pair by pair, so that the first of all pairs come before the second: pairs (0, 1), (2, 3) ...
-- become (0, size / 2), (1, size / 2 + 1) ..., as Hugging Face has rotary positions.
local function by_halves(weight, heads)
  local rows, columns = weight:size(1), weight:size(2)
  return weight:reshape(heads, rows / heads / 2, 2, columns):transpose(2, 3):reshape(rows, columns):contiguous()
end

-- Name in the file of Llama's kind, shape, and what becomes of it, in the order of the binary file.
local function layout(h)
  local kv = h.dim / h.heads * h.kv_heads
  local function queries(weight) return by_halves(weight, h.heads) end
  local function keys(weight) return by_halves(weight, h.kv_heads) end
  return {
    { "input_layernorm", { h.dim } },
    { "self_attn.q_proj", { h.dim, h.dim }, queries }, { "self_attn.k_proj", { kv, h.dim }, keys },
    { "self_attn.v_proj", { kv, h.dim } }, { "self_attn.o_proj", { h.dim, h.dim } },
    { "post_attention_layernorm", { h.dim } },
    { "mlp.gate_proj", { h.hidden, h.dim } }, { "mlp.down_proj", { h.dim, h.hidden } },
    { "mlp.up_proj", { h.hidden, h.dim } },
  }
end

local function reader(bytes)
  local at = 29
  return function(shape)
    local count = 1
    for _, size in ipairs(shape) do count = count * size end
    if count * 4 > #bytes - at + 1 then error("the file ends too early", 0) end
    local tensor = nn.from_bytes(bytes:sub(at, at + 4 * count - 1), shape, "float32")
    at = at + 4 * count
    return tensor
  end
end

local function read_tensors(bytes, h)
  local take, tensors = reader(bytes), {}
  tensors["model.embed_tokens.weight"] = take { h.vocab, h.dim }
  for _, entry in ipairs(layout(h)) do
    for layer = 0, h.layers - 1 do
      local weight = take(entry[2])
      if entry[3] then weight = entry[3](weight) end
      tensors[("model.layers.%d.%s.weight"):format(layer, entry[1])] = weight
    end
  end
  tensors["model.norm.weight"] = take { h.dim }
  take { 2, h.length, h.dim / h.heads / 2 } -- tables of cosines and sines
  if not h.shared then tensors["lm_head.weight"] = take { h.vocab, h.dim } end
  return tensors
end

local function config_of(h)
  return {
    architectures = { "LlamaForCausalLM" }, model_type = "llama", hidden_act = "silu", torch_dtype = "float32",
    hidden_size = h.dim, intermediate_size = h.hidden, num_hidden_layers = h.layers, num_attention_heads = h.heads,
    num_key_value_heads = h.kv_heads, vocab_size = h.vocab, max_position_embeddings = h.length, rms_norm_eps = 1e-5,
    rope_theta = 10000.0, tie_word_embeddings = h.shared, bos_token_id = 1, eos_token_id = 2,
  }
end

-- ---- the tokenizer: pieces with scores

local function read_pieces(bytes, count)
  local pieces, at = {}, 5
  for id = 0, count - 1 do
    if at + 8 > #bytes then error("the tokenizer ends too early", 0) end
    local score = nn.from_bytes(bytes:sub(at, at + 3), { 1 }, "float32")[1]
    local length = nn.from_bytes(bytes:sub(at + 4, at + 7), { 1 }, "int32")[1]
    if length < 0 or at + 7 + length > #bytes then error("the tokenizer ends too early", 0) end
    local text = bytes:sub(at + 8, at + 7 + length)
    pieces[id + 1] = { id = id, score = score, text = id > 2 and text:gsub(" ", SPACE) or text }
    at = at + 8 + length
  end
  pieces[1].text, pieces[2].text, pieces[3].text = "<unk>", "<s>", "</s>"
  return pieces
end

-- Every way to make a piece of two others, the best scores first: the order in which pairs are joined.
local function merges_of(pieces, ids)
  local merges = {}
  for _, piece in ipairs(pieces) do
    for cut = 1, #piece.text - 1 do
      local left, right = piece.text:sub(1, cut), piece.text:sub(cut + 1)
      if piece.id > 258 and ids[left] and ids[right] then
        merges[#merges + 1] = { left .. " " .. right, piece.score, piece.id, cut }
      end
    end
  end
  table.sort(merges, function(a, b)
    if a[2] ~= b[2] then return a[2] > b[2] end
    if a[3] ~= b[3] then return a[3] < b[3] end
    return a[4] < b[4]
  end)
  for i, merge in ipairs(merges) do merges[i] = merge[1] end
  return merges
end

local function tokenizer_of(bytes, count)
  local pieces, vocab, added = read_pieces(bytes, count), {}, {}
  for _, piece in ipairs(pieces) do vocab[piece.text] = piece.id end
  for id = 0, 2 do added[id + 1] = { id = id, content = pieces[id + 1].text, special = true, normalized = false } end
  return {
    version = "1.0", added_tokens = added,
    normalizer = { type = "Sequence", normalizers = {
      { type = "Prepend", prepend = SPACE }, { type = "Replace", pattern = { String = " " }, content = SPACE },
    } },
    decoder = { type = "Sequence", decoders = {
      { type = "Replace", pattern = { String = SPACE }, content = " " }, { type = "ByteFallback" }, { type = "Fuse" },
      { type = "Strip", content = " ", start = 1, stop = 0 },
    } },
    model = {
      type = "BPE", unk_token = "<unk>", byte_fallback = true, fuse_unk = true, vocab = vocab,
      merges = merges_of(pieces, vocab),
    },
  }
end

-- ---- whole

local json

-- Lists are tables whose first element is there.
local function json_table(value)
  local parts = {}
  if value[1] ~= nil then
    for i, item in ipairs(value) do parts[i] = json(item) end
    return "[" .. table.concat(parts, ", ") .. "]"
  end
  for name, item in pairs(value) do parts[#parts + 1] = json(name) .. ": " .. json(item) end
  table.sort(parts)
  return "{" .. table.concat(parts, ",\n") .. "}"
end

function json(value)
  if type(value) == "table" then return json_table(value) end
  if type(value) ~= "string" then return tostring(value) end
  return '"' .. value:gsub('[%c"\\]', function(c) return ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function write(path, text)
  local file, message = io.open(path, "wb")
  if not file then error(message, 0) end
  file:write(text)
  file:close()
end

--- Write the folder, which must be there.
-- @return the configuration; nil and a message
function llama2c.convert(model_path, tokenizer_path, folder)
  local bytes, message = read(model_path)
  if not bytes then return nil, message end
  local tokens, problem = read(tokenizer_path)
  if not tokens then return nil, problem end
  local h = header(bytes)
  if not h then return nil, model_path .. ": not a model of llama2.c" end
  local ok, result = pcall(function()
    local config = config_of(h)
    assert(nn.save(read_tensors(bytes, h), folder .. "/model.safetensors"))
    write(folder .. "/config.json", json(config))
    write(folder .. "/tokenizer.json", json(tokenizer_of(tokens, h.vocab)))
    return config
  end)
  if not ok then return nil, tostring(result) end
  return result
end

return llama2c
