-- nn.models.gpt2 and nn.models.llama: folders made here, and the published ones beside the repository where they are.
local nn = require "nnlua"
local core = require "nnlua.core"

local SHARED = "../shared/data/pretrained/"
local unpack = table.unpack or unpack -- luacheck: ignore 143

local folder

local function write(name, text)
  local file = assert(io.open(folder .. "/" .. name, "wb"))
  file:write(text)
  file:close()
end

local function write_json(name, value) write(name, core.json_encode(value)) end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "*a"
  file:close()
  return text
end

local function ids_of(...) return nn.tensor({ ... }, { dtype = "int64" }) end

local llama_config = {
  model_type = "llama", hidden_size = 12, intermediate_size = 20, num_hidden_layers = 2, num_attention_heads = 3,
  num_key_value_heads = 1, vocab_size = 9, max_position_embeddings = 16, rms_norm_eps = 1e-5, rope_theta = 500,
  hidden_act = "silu", tie_word_embeddings = false, bos_token_id = 1, eos_token_id = { 2, 5 },
}

local function altered(config, changes)
  local copy = {}
  for name, value in pairs(config) do copy[name] = value end
  for name, value in pairs(changes or {}) do copy[name] = value end
  return copy
end

-- Tensors of a Llama by its names there.
local function llama_tensors(c)
  local size = c.hidden_size / c.num_attention_heads
  local kv = c.num_key_value_heads * size
  local tensors = {
    ["model.embed_tokens.weight"] = nn.randn(c.vocab_size, c.hidden_size),
    ["model.norm.weight"] = nn.rand(c.hidden_size),
    ["lm_head.weight"] = nn.randn(c.vocab_size, c.hidden_size),
  }
  for layer = 0, c.num_hidden_layers - 1 do
    for _, part in ipairs { -- in this order: a seed gives the same numbers every time
      { "input_layernorm", c.hidden_size }, { "post_attention_layernorm", c.hidden_size },
      { "self_attn.q_proj", c.hidden_size, c.hidden_size }, { "self_attn.k_proj", kv, c.hidden_size },
      { "self_attn.v_proj", kv, c.hidden_size }, { "self_attn.o_proj", c.hidden_size, c.hidden_size },
      { "mlp.gate_proj", c.intermediate_size, c.hidden_size }, { "mlp.up_proj", c.intermediate_size, c.hidden_size },
      { "mlp.down_proj", c.hidden_size, c.intermediate_size },
    } do
      tensors[("model.layers.%d.%s.weight"):format(layer, part[1])] = nn.rand(unpack(part, 2)) - 0.3
    end
  end
  return tensors
end

local function rms(x, w, eps) return x * ((x * x):mean(-1, true) + eps):rsqrt() * w end

-- The equations, for one sequence (T).
local function llama_logits(t, c, ids)
  local x = t["model.embed_tokens.weight"]:index_select(1, ids)
  local size, heads, length = c.hidden_size / c.num_attention_heads, c.num_attention_heads, #ids
  local rope = nn.RotaryEmbedding(size, { base = c.rope_theta, interleaved = c.rope_interleaved })
  local function split(y, count) return y:reshape(length, count, size):transpose(1, 2):unsqueeze(1) end
  for layer = 0, c.num_hidden_layers - 1 do
    local function w(name) return t[("model.layers.%d.%s.weight"):format(layer, name)] end
    local function through(y, name) return y:matmul(w(name):t()) end
    local h = rms(x, w "input_layernorm", c.rms_norm_eps)
    local q, k = rope(split(through(h, "self_attn.q_proj"), heads)), rope(split(through(h, "self_attn.k_proj"), 1))
    local v = split(through(h, "self_attn.v_proj"), 1)
    local out = nn.functional.scaled_dot_product_attention(q, k:expand(1, heads, length, size),
      v:expand(1, heads, length, size), nil, 0, true)
    x = x + through(out:squeeze(1):transpose(1, 2):reshape(length, c.hidden_size), "self_attn.o_proj")
    h = rms(x, w "post_attention_layernorm", c.rms_norm_eps)
    x = x + through(through(h, "mlp.gate_proj"):silu() * through(h, "mlp.up_proj"), "mlp.down_proj")
  end
  return rms(x, t["model.norm.weight"], c.rms_norm_eps):matmul(t["lm_head.weight"]:t())
end

describe("nn.models.llama", function()
  local config, tensors

  before_each(function()
    nn.manual_seed(4)
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir '" .. folder .. "'"))
    config, tensors = altered(llama_config), llama_tensors(llama_config)
    write_json("config.json", config)
    assert(nn.save(tensors, folder .. "/model.safetensors"))
  end)

  after_each(function() os.execute("rm -r '" .. folder .. "'") end)

  local function refusal(changes)
    write_json("config.json", altered(config, changes))
    local model, message = nn.models.llama(folder)
    assert.is_nil(model)
    assert.matches("^nn%.models%.llama: " .. folder:gsub("%p", "%%%0") .. ": ", message)
    return message
  end

  it("computes what the equations say, by layers and by the decoder", function()
    local model = assert(nn.models.llama(folder))
    assert.is_false(model.training)
    local ids = ids_of(3, 9, 1, 1, 4)
    local want = llama_logits(tensors, config, ids)
    assert(model(ids):allclose(want, { atol = 1e-4 }))
    local reader = require "nnlua.models.decoder".new(model, 5)
    reader:feed { 3, 9, 1, 1, 4 }
    assert(reader:logits():allclose(want[5], { atol = 1e-4 }))
  end)

  it("reads interleaved pairs where the configuration says so", function()
    config.rope_interleaved = true
    write_json("config.json", config)
    local model, ids = assert(nn.models.llama(folder)), ids_of(3, 9, 1, 1, 4)
    assert(model(ids):allclose(llama_logits(tensors, config, ids), { atol = 1e-4 }))
  end)

  it("leaves the weights in the mapped file, also of 16 bits", function()
    for _, dtype in ipairs { "float32", "bfloat16" } do
      local large = altered(config, { vocab_size = 70000 })
      tensors["model.embed_tokens.weight"] = nn.randn({ 70000, 12 })
      tensors["lm_head.weight"] = nn.randn({ 70000, 12 })
      local typed = {}
      for name, tensor in pairs(tensors) do typed[name] = tensor:to(dtype) end
      assert(nn.save(typed, folder .. "/model.safetensors"))
      write_json("config.json", large)
      local model = assert(nn.models.llama(folder))
      assert.equal(dtype, model.blocks[2].down.weight.dtype)
      local maps = read "/proc/self/maps"
      if maps then assert.matches(folder .. "/model.safetensors", maps, 1, true) end
      assert.equal(8, #model:generate({ 2 }, { max_tokens = 7, stop = false }))
      model = nil -- luacheck: ignore 311
      collectgarbage()
    end
  end)

  it("reads models in parts, and converts where asked to", function()
    local first, second = {}, {}
    local map = {}
    for name, tensor in pairs(tensors) do
      local part = name:find "layers.1" and second or first
      part[name], map[name] = tensor, part == first and "a-1.safetensors" or "a-2.safetensors"
    end
    local ids = ids_of(3, 9, 1)
    local want = nn.models.llama(folder)(ids)
    os.remove(folder .. "/model.safetensors")
    assert(nn.save(first, folder .. "/a-1.safetensors"))
    assert(nn.save(second, folder .. "/a-2.safetensors"))
    write_json("model.safetensors.index.json", { weight_map = map })
    assert(nn.models.llama(folder)(ids):equal(want))
    assert.equal("float64", nn.models.llama(folder, { dtype = "float64" }).norm.weight.dtype)
    write_json("model.safetensors.index.json", { weight_map = { x = "../a-1.safetensors" } })
    assert.matches("expected names of files", refusal {}, 1, true)
  end)

  it("knows where a text ends", function()
    assert.same({ 3, 6 }, nn.models.llama(folder).end_ids)
  end)

  it("refuses what does not fit, or is not known, with what it was", function()
    assert.matches("num_hidden_layers to be a whole number from 1, got 0", refusal { num_hidden_layers = 0 }, 1, true)
    assert.matches("blocks.999999999.key.weight", refusal { num_hidden_layers = 1000000000 }, 1, true)
    assert.matches("expected the tensor tokens.weight of shape (10, 12)", refusal { vocab_size = 10 }, 1, true)
    assert.matches("12 is no multiple of 5", refusal { num_attention_heads = 5 }, 1, true)
    assert.matches("blocks.1.down.weight of shape (12, 21)", refusal { intermediate_size = 21 }, 1, true)
    assert.matches("hidden_act is quux", refusal { hidden_act = "quux" }, 1, true)
    assert.matches("rope_scaling of type yarn", refusal { rope_scaling = { rope_type = "yarn" } }, 1, true)
    assert.matches("rms_norm_eps to be a number, got x", refusal { rms_norm_eps = "x" }, 1, true)
    assert.matches("blocks.1.key.weight of shape (12, 12)", refusal { num_key_value_heads = core.json_null }, 1, true)
    write("config.json", "{")
    local _, message = nn.models.llama(folder)
    assert.matches("config.json", message, 1, true)
    write_json("config.json", config)
    tensors["model.layers.0.mlp.up_proj.weight"] = nil
    tensors["model.more"] = nn.ones(1)
    assert(nn.save(tensors, folder .. "/model.safetensors"))
    message = refusal {}
    assert.matches("missing: blocks.0.up.weight", message, 1, true)
    assert.matches("unexpected: more", message, 1, true)
    os.remove(folder .. "/model.safetensors")
    assert.matches("no model.safetensors", refusal {}, 1, true)
    assert.matches("No such file", select(2, nn.models.llama(folder .. "/none")), 1, true)
  end)

  -- Pieces for "ab abc", and bytes.
  local function pieces_tokenizer()
    local vocab = { ["<unk>"] = 0, ["<s>"] = 1, ["</s>"] = 2 }
    for byte = 0, 255 do vocab[("<0x%02X>"):format(byte)] = 3 + byte end
    for i, piece in ipairs { "\226\150\129", "a", "b", "c", "ab", "\226\150\129ab", "bc", "\226\150\129a", "abc" } do
      vocab[piece] = 258 + i
    end
    return {
      added_tokens = { { id = 0, content = "<unk>", special = true }, { id = 1, content = "<s>", special = true },
        { id = 2, content = "</s>", special = true } },
      model = {
        type = "BPE", byte_fallback = true, unk_token = "<unk>", vocab = vocab,
        merges = { "b c", "a b", "\226\150\129 ab", "\226\150\129 a", "ab c" },
      },
      normalizer = { type = "Sequence", normalizers = {
        { type = "Prepend", prepend = "\226\150\129" },
        { type = "Replace", pattern = { String = " " }, content = "\226\150\129" },
      } },
      decoder = { type = "Sequence", decoders = {
        { type = "Replace", pattern = { String = "\226\150\129" }, content = " " }, { type = "ByteFallback" },
        { type = "Fuse" }, { type = "Strip", content = " ", start = 1, stop = 0 },
      } },
    }
  end

  it("reads and writes texts by the tokenizer beside it, any bytes without loss", function()
    local wide = altered(config, { vocab_size = 268 })
    tensors["model.embed_tokens.weight"], tensors["lm_head.weight"] = nn.randn(268, 12), nn.randn(268, 12)
    assert(nn.save(tensors, folder .. "/model.safetensors"))
    write_json("config.json", wide)
    write_json("tokenizer.json", pieces_tokenizer())
    local model = assert(nn.models.llama(folder))
    local tokenizer = model.tokenizer
    -- By rank: of " abc" first b and c, then the space and a; of " ab" first a and b.
    assert.same({ 267, 266 }, tokenizer:encode "abc":tolist())
    assert.same({ 265, 265 }, tokenizer:encode "ab ab":tolist())
    for _, text in ipairs { "", "a", "ab abc", "h\195\169llo  \226\130\172\n", "\0\1\255\200", " leading" } do
      assert.equal(text, tokenizer:decode(tokenizer:encode(text)))
    end
    local text, info = model:generate("ab ab", { max_tokens = 5, seed = 1, stop = false })
    assert.equal("ab ab", text:sub(1, 5))
    assert.equal(3, info.prompt) -- with <s>
    local streamed, pieces = {}
    model:generate("", { max_tokens = 9, seed = 1, stop = false, on_token = function(_,
      piece) streamed[#streamed + 1] = piece end })
    assert.equal(model:generate("", { max_tokens = 9, seed = 1, stop = false }), table.concat(streamed))
    pieces = {}
    text = model:generate("ab", { max_tokens = 9, seed = 1, stop = false, on_token = function(_, piece)
      pieces[#pieces + 1] = piece
    end })
    assert.equal(text, "ab" .. table.concat(pieces))
    write_json("tokenizer.json", { model = { type = "BPE", byte_fallback = true, vocab = { a = -1 } } })
    model = assert(nn.models.llama(folder))
    local fine, message = pcall(model.generate, model, "ab")
    assert.is_false(fine)
    assert.matches("the model has no tokenizer %(.*tokenizer.json", message)
    assert.is_nil(nn.models.llama(folder, { tokenizer = false }).tokenizer_problem)
  end)
end)

describe("nn.models.gpt2", function()
  before_each(function()
    nn.manual_seed(4)
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir '" .. folder .. "'"))
  end)

  after_each(function() os.execute("rm -r '" .. folder .. "'") end)

  local config = {
    n_embd = 8, n_head = 2, n_layer = 2, n_positions = 12, vocab_size = 7, layer_norm_epsilon = 1e-5,
    activation_function = "gelu_new", eos_token_id = 6, n_inner = core.json_null,
  }

  local function gpt2_tensors()
    local t = { ["wte.weight"] = nn.randn(7, 8), ["wpe.weight"] = nn.randn(12, 8), ["ln_f.weight"] = nn.rand(8),
      ["ln_f.bias"] = nn.rand(8) }
    for layer = 0, 1 do
      for _, part in ipairs { -- in this order, as above
        { "attn.c_attn", 8, 24 }, { "attn.c_proj", 8, 8 }, { "mlp.c_fc", 8, 32 }, { "mlp.c_proj", 32, 8 },
        { "ln_1", 8 }, { "ln_2", 8 },
      } do
        local name, shape = part[1], { unpack(part, 2) }
        t[("h.%d.%s.weight"):format(layer, name)] = nn.randn(unpack(shape)) * 0.5
        t[("h.%d.%s.bias"):format(layer, name)] = nn.randn(shape[#shape])
      end
      t[("h.%d.attn.bias"):format(layer)] = nn.ones(1, 1, 12, 12)
    end
    return t
  end

  local function gpt2_logits(t, ids)
    local length = #ids
    local function layer_norm(x, name)
      return nn.functional.layer_norm(x, { 8 }, t[name .. ".weight"], t[name .. ".bias"], 1e-5)
    end
    local function through(x, name) return x:matmul(t[name .. ".weight"]) + t[name .. ".bias"] end
    local function split(x) return x:reshape(length, 2, 4):transpose(1, 2) end
    local x = t["wte.weight"]:index_select(1, ids) + t["wpe.weight"][{ { 1, length } }]
    for layer = 0, 1 do
      local at = ("h.%d."):format(layer)
      local parts = through(layer_norm(x, at .. "ln_1"), at .. "attn.c_attn"):split(8, 2)
      local out = nn.functional.scaled_dot_product_attention(split(parts[1]), split(parts[2]), split(parts[3]), nil,
        0, true)
      x = x + through(out:transpose(1, 2):reshape(length, 8), at .. "attn.c_proj")
      local z = through(layer_norm(x, at .. "ln_2"), at .. "mlp.c_fc")
      z = z * 0.5 * (1 + ((z + z ^ 3 * 0.044715) * math.sqrt(2 / math.pi)):tanh())
      x = x + through(z, at .. "mlp.c_proj")
    end
    return layer_norm(x, "ln_f"):matmul(t["wte.weight"]:t())
  end

  it("computes what the equations say, with and without a prefix, and generates", function()
    local tensors, ids = gpt2_tensors(), ids_of(7, 1, 5, 5)
    for _, prefix in ipairs { "", "transformer." } do
      local named = {}
      for name, tensor in pairs(tensors) do named[prefix .. name] = tensor end
      write_json("config.json", config)
      assert(nn.save(named, folder .. "/model.safetensors"))
      local model = assert(nn.models.gpt2(folder))
      assert(model(ids):allclose(gpt2_logits(tensors, ids), { atol = 1e-4 }))
      local reader, fused = require "nnlua.models.decoder".new(model, 9)
      reader:feed { 7, 1, 5, 5 }
      assert.is_true(fused)
      assert(reader:logits():allclose(gpt2_logits(tensors, ids)[4], { atol = 1e-4 }))
      assert.same({ 7 }, model.end_ids)
    end
  end)

  it("can be trained further, though its weights lie transposed, and saved", function()
    write_json("config.json", config)
    assert(nn.save(gpt2_tensors(), folder .. "/model.safetensors"))
    local model = assert(nn.models.gpt2(folder, { dropout = 0 }))
    local optimizer, criterion = nn.optim.AdamW(model:parameters(), { lr = 0.01 }), nn.CrossEntropyLoss()
    local first, last
    for _ = 1, 20 do
      optimizer:zero_grad()
      local loss = criterion(model(ids_of(1, 2, 3, 4)), ids_of(2, 3, 4, 5))
      loss:backward()
      optimizer:step()
      first, last = first or loss:item(), loss:item()
    end
    assert(last < first / 2)
    assert(model:save(folder .. "/own.safetensors"))
    local again = assert(nn.load(folder .. "/own.safetensors"))
    assert(again(ids_of(1, 2, 3)):allclose(model(ids_of(1, 2, 3)), { atol = 1e-5 }))
    assert.same(model:generate({ 1 }, { max_tokens = 5, temperature = 0 }), again:generate({ 1 }, { max_tokens = 5,
      temperature = 0 }))
  end)

  it("refuses what it does not know", function()
    assert(nn.save(gpt2_tensors(), folder .. "/model.safetensors"))
    local function refusal(changes)
      write_json("config.json", altered(config, changes))
      return select(2, nn.models.gpt2(folder))
    end
    assert.matches("attention is scaled", refusal { scale_attn_by_inverse_layer_idx = true }, 1, true)
    assert.matches("activation_function is x", refusal { activation_function = "x" }, 1, true)
    assert.matches("positions.weight of shape (13, 8)", refusal { n_positions = 13 }, 1, true)
    assert.matches("8 is no multiple of 3", refusal { n_head = 3 }, 1, true)
  end)
end)

-- ---- published models

local shared = read(SHARED .. "tiny_gpt2_random/config.json") and it or pending

describe("Published models", function()
  shared("of GPT-2's kind give what PyTorch computes", function()
    local model = assert(nn.models.gpt2(SHARED .. "tiny_gpt2_random"))
    local logits = model(ids_of(6, 1, 21, 8, 4))
    assert(logits[5][{ { 1, 5 } }]:allclose(nn.tensor { 0.02904044, 0.01977619, 0.03247817, -0.03213148, -0.05828406 },
      { rtol = 0, atol = 1e-7 }))
    assert(logits[1][{ { 1, 5 } }]:allclose(nn.tensor { 0.03253676, 0.02215715, 0.03638838, -0.03599995, -0.06530117 },
      { rtol = 0, atol = 1e-7 }))
  end)

  shared("of Llama's kind: the stories model writes its 200 greedy tokens exactly", function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir '" .. folder .. "'"))
    local place = SHARED .. "stories260K/"
    local llama2c = dofile "scripts/lib/llama2c.lua"
    assert(llama2c.convert(place .. "stories260K.bin", place .. "tok512.bin", folder))
    local want = core.json_decode(read(place .. "greedy_200.json"))
    local model = assert(nn.models.llama(folder))
    local values, top = model(ids_of(2)):reshape(-1):topk(5)
    for i, id in ipairs(want.first_step_top5.ids) do
      assert.equal(id + 1, top[i])
      assert(math.abs(values:tolist()[i] - want.first_step_top5.logits[i]) < 1e-4)
    end
    local function check(ids)
      assert.equal(#want.token_ids, #ids)
      for i, id in ipairs(want.token_ids) do assert.equal(id + 1, ids[i]) end
    end
    local options = { temperature = 0, max_tokens = #want.token_ids - 1 }
    local ids = model:generate({ 2 }, options)
    check(ids)
    local text = model.tokenizer:decode(ids, { specials = false })
    local told = read(place .. "greedy_200.txt")
    assert.equal(told:gsub("%s+$", ""), (text:gsub("%s+$", "")))
    assert.equal(text, model:generate("", options))
    -- A prompt is the tokens that the model itself would have written.
    local start = model.tokenizer:encode "Once upon a time, there was"
    for i, id in ipairs(start:tolist()) do assert.equal(ids[i + 1], id) end
    model.blocks[1].up:register_forward_hook(function() end) -- by the layers
    check(model:generate({ 2 }, options))
    os.execute("rm -r '" .. folder .. "'")
  end)
end)
