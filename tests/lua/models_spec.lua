-- nn.models.GPT: the model in all its kinds, and generation, by the engine's decoder and by the layers.
local nn = require "nnlua"
local core = require "nnlua.core"
local decoder = require "nnlua.models.decoder"
local support = require "support"
local message_of = support.message_of

local unpack = table.unpack or unpack -- luacheck: ignore 143

local function ids_of(...) return nn.tensor({ ... }, { dtype = "int64" }) end

local function tiny(options)
  local all = { vocab = 11, layers = 2, heads = 4, width = 24, context = 40 }
  for name, value in pairs(options or {}) do all[name] = value end
  local model = nn.models.GPT(all)
  for _, parameter in ipairs(model:parameters()) do -- no value stands for another
    if parameter.ndim == 1 then nn.init.normal_(parameter, 0.5, 0.3) else nn.init.normal_(parameter, 0, 0.3) end
  end
  return model:eval()
end

-- A look at every call, which the engine's decoder has not.
local function watched(model)
  model.blocks[1].up:register_forward_hook(function() end)
  return model
end

local kinds = {
  {}, { norm = "rms" }, { activation = "swiglu" }, { positions = "rotary" }, { positions = "none", bias = false },
  { positions = "rotary", interleaved = true, norm = "rms", activation = "swiglu", kv_heads = 2, tied = false },
  { activation = "gelu_tanh", packed = false, qkv_bias = false, size = 8 }, { activation = "relu", head_bias = true,
    tied = false },
  { positions = "rotary", packed = false, kv_heads = 1, rotary_base = 100, rotary_factor = 2, activation = "geglu" },
  { positions = "rotary", rotary_factor = 8, rotary_original = 16, hidden = 50 },
}

local prompt = {}
for i = 1, 37 do prompt[i] = (i * i) % 11 + 1 end

describe("nn.models.GPT", function()
  support.count_tensors(before_each, after_each)

  it("gives the same logits by the engine's decoder, in pieces of any length, as by its layers", function()
    for _, options in ipairs(kinds) do
      local model = tiny(options)
      local want = model(ids_of(unpack(prompt))):detach()
      local reader, fused = decoder.new(model, 40)
      assert.is_true(fused)
      local at = 1
      for _, length in ipairs { 1, 2, 3, 5, 26 } do
        local part = {}
        for i = at, at + length - 1 do part[#part + 1] = prompt[i] end
        reader:feed(part)
        at = at + length
        assert(reader:logits():allclose(want[at - 1], { atol = 1e-4, rtol = 1e-4 }), tostring(options.positions))
      end
      reader:rewind(0)
      reader:feed(prompt) -- longer than what is read at once
      assert(reader:logits():allclose(want[37], { atol = 1e-4, rtol = 1e-4 }))
    end
  end)

  it("does the same with weights of 16 bits, and with weights that lie transposed", function()
    for _, dtype in ipairs { "bfloat16", "float16" } do
      local model = tiny { positions = "rotary", norm = "rms", activation = "swiglu", tied = false }:to(dtype)
      local wide = tiny { positions = "rotary", norm = "rms", activation = "swiglu", tied = false }
      local values = {}
      for name, tensor in pairs(model:state_dict()) do values[name] = tensor:to "float32" end
      wide:load_state_dict(values)
      local reader, fused = decoder.new(model, 40)
      assert.is_true(fused)
      reader:feed(prompt)
      local want = wide(ids_of(unpack(prompt))):detach()
      assert(reader:logits():allclose(want[37], { atol = 1e-4, rtol = 1e-4 }), dtype)
    end
  end)

  it("learns: the loss of a pattern falls, with gradients for every parameter", function()
    for _, options in ipairs { {}, kinds[6], { dropout = 0.1 } } do
      local small = { vocab = 5, width = 16, layers = 1, context = 12 }
      for name, value in pairs(options) do small[name] = value end
      local model = nn.models.GPT(small)
      local optimizer, criterion = nn.optim.Adam(model:parameters(), { lr = 0.01 }), nn.CrossEntropyLoss()
      local x, y = ids_of(1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2), ids_of(2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3)
      local first, last
      for _ = 1, 60 do
        optimizer:zero_grad()
        local loss = criterion(model(x:reshape(1, -1)):reshape(-1, 5), y)
        loss:backward()
        last = loss:item()
        first = first or last
        for name, parameter in model:named_parameters() do assert(parameter.grad, name) end
        optimizer:step()
      end
      assert(first > 1.4 and last < 0.3, ("%g to %g"):format(first, last))
    end
  end)

  it("is saved, and loads as what it was", function()
    local path = os.tmpname()
    local model = tiny(kinds[6])
    assert(model:save(path))
    local again = assert(nn.load(path)):eval()
    os.remove(path)
    assert.equal("models.GPT", again.class_name)
    local x = ids_of(3, 1, 4)
    assert(again(x):equal(model(x)))
  end)

  it("begins with a loss near that of guessing, weights of 0.02, and biases of 0", function()
    local model = nn.models.GPT { vocab = 65, layers = 3, width = 64 }
    assert(math.abs(model.tokens.weight:std():item() - 0.02) < 0.001)
    assert(math.abs(model.blocks[1].down.weight:std():item() - 0.02 / math.sqrt(6)) < 0.001)
    assert.equal(0, model.blocks[1].qkv.bias:abs():max():item())
    local x = nn.randint(1, 66, { 4, 32 })
    local loss = nn.CrossEntropyLoss()(model(x):reshape(-1, 65), nn.randint(1, 66, { 128 })):item()
    assert(math.abs(loss - math.log(65)) < 0.1, loss)
  end)

  it("says what is wrong with its options and its input", function()
    assert.matches("option vocab, the number of tokens, is required", message_of(nn.models.GPT, {}), 1, true)
    assert.matches("option width must be a multiple of heads, got 10 and 4", message_of(nn.models.GPT, { vocab = 5,
      width = 10 }), 1, true)
    assert.matches("did you mean 'swiglu'", message_of(nn.models.GPT, { vocab = 5, activation = "swigly" }), 1, true)
    assert.matches("unknown option \"layer\".*did you mean 'layers'", message_of(nn.models.GPT, { vocab = 5,
      layer = 2 }))
    local model = tiny()
    assert.matches("the context is of 40 tokens, got 41", message_of(model, nn.ones({ 41 }, { dtype = "int64" })), 1,
      true)
    assert.matches("expected token ids (N, T) or (T), got (1, 1, 1)",
      message_of(model, nn.ones({ 1, 1, 1 }, { dtype = "int64" })), 1, true)
  end)
end)

describe("generate", function()
  support.count_tensors(before_each, after_each)

  local function generate(model, start, options)
    local ids, info = model:generate(start, options)
    return table.concat(ids, " "), info
  end

  it("is what taking the likeliest token of the whole sequence gives, by decoder and layers alike", function()
    for _, options in ipairs(kinds) do
      local model, ids = tiny(options), { 3, 7 }
      for _ = 1, 20 do
        local logits = model(ids_of(unpack(ids)))
        ids[#ids + 1] = logits[#ids]:argmax():item()
      end
      local want = table.concat(ids, " ")
      local got, info = generate(model, { 3, 7 }, { max_tokens = 20, temperature = 0 })
      assert.equal(want, got)
      assert.equal(20, info.count)
      assert.equal("max_tokens", info.reason)
      assert.equal(want, (generate(watched(model), ids_of(3, 7), { max_tokens = 20, temperature = 0 })))
    end
  end)

  it("hears what adapters say, merged or not", function()
    local model, without = tiny(), tiny()
    without:load_state_dict(model:state_dict())
    nn.lora.apply(model, { rank = 2, targets = { "qkv", "down" } })
    for name, parameter in model:named_parameters() do
      if name:find "lora_B" then nn.init.normal_(parameter, 0, 1) end
    end
    local options = { max_tokens = 20, temperature = 0 }
    local want = generate(model, { 3 }, options)
    assert.not_equal((generate(without, { 3 }, options)), want)
    assert.is_false(select(2, decoder.new(model, 4)))
    nn.lora.merge(model)
    assert.is_true(select(2, decoder.new(model, 4)))
    assert.equal(want, (generate(model, { 3 }, options)))
  end)

  it("draws the same tokens from the same seed, its own or nn's", function()
    local model = tiny()
    local function with(seed) return (generate(model, { 1 }, { seed = seed, max_tokens = 30 })) end
    assert.equal(with(5), with(5))
    assert.not_equal(with(5), with(6))
    nn.manual_seed(3)
    local first = with(nil)
    assert.not_equal(first, with(nil))
    nn.manual_seed(3)
    assert.equal(first, with(nil))
    assert.equal(with(5), (generate(watched(model), { 1 }, { seed = 5, max_tokens = 30 })))
  end)

  it("goes on beyond the context with the newer half of it", function()
    for _, positions in ipairs { "learned", "rotary" } do
      local model = tiny { positions = positions, context = 8 }
      local ids = { 2 }
      while #ids < 31 do
        local from = #ids <= 8 and 1 or #ids - (#ids - 9) % 4 - 4
        local seen = {}
        for i = from, #ids do seen[#seen + 1] = ids[i] end
        ids[#ids + 1] = model(ids_of(unpack(seen)))[#seen]:argmax():item()
      end
      assert.equal(table.concat(ids, " "), (generate(model, { 2 }, { max_tokens = 30, temperature = 0 })))
      assert.equal(20 + 5, #model:generate(prompt, { max_tokens = 5 }) - 17)
    end
  end)

  it("ends at a token, where a function says so, and at no end where that is asked for", function()
    local model = tiny()
    local ids = model:generate({ 1 }, { max_tokens = 30, seed = 1 })
    local got, info = model:generate({ 1 }, { max_tokens = 30, seed = 1, stop = { ids[6] } })
    local first
    for i = 6, 2, -1 do first = ids[i] == ids[6] and i or first end
    assert.equal(first - 1, #got)
    assert.equal("stop", info.reason)
    model.end_ids = { ids[6] }
    assert.equal(first - 1, #model:generate({ 1 }, { max_tokens = 30, seed = 1 }))
    assert.equal(31, #model:generate({ 1 }, { max_tokens = 30, seed = 1, stop = false }))
    local seen = {}
    got, info = model:generate({ 1 }, { max_tokens = 30, seed = 1, stop = false, on_token = function(id)
      seen[#seen + 1] = id
      return #seen < 4
    end })
    assert.equal("on_token", info.reason)
    assert.same({ ids[2], ids[3], ids[4], ids[5] }, seen)
    assert.equal(5, #got)
  end)

  it("goes from texts to texts where the model has a tokenizer", function()
    local model = tiny()
    model.tokenizer = {
      encode = function(_, text)
        local ids = {}
        for c in text:gmatch "." do ids[#ids + 1] = c:byte() - 96 end
        return ids
      end,
      decode = function(_, ids)
        local text = {}
        for i, id in ipairs(ids) do text[i] = string.char(96 + id) end
        return table.concat(text)
      end,
    }
    local pieces = {}
    local text = model:generate("abc", { max_tokens = 20, seed = 2, on_token = function(_,
      piece) pieces[#pieces + 1] = piece end })
    assert.equal(23, #text)
    assert.equal("abc" .. table.concat(pieces), text)
    local part = text:sub(10, 12)
    local cut, info = model:generate("abc", { max_tokens = 20, seed = 2, stop = part })
    assert.equal(text:sub(1, text:find(part, 4, true) - 1), cut)
    assert.equal("stop", info.reason)
  end)

  it("takes nothing from the system for a token", function()
    -- Garbage is at its most after many rounds of the collector; one that never rests leaves none.
    local warm_up = os.getenv "NNLUA_TEST_COLLECTOR" == "aggressive" and 1 or 30
    local model = tiny()
    for _, fused in ipairs { true, false } do
      if not fused then watched(model) end
      for _ = 1, warm_up do model:generate({ 1 }, { max_tokens = 600, stop = false }) end
      local before, most = nil, 0
      model:generate({ 1 }, { max_tokens = 600, stop = false, on_token = function()
        before = before or nn.memory().allocations
        most = nn.memory().allocations - before
      end })
      assert.equal(0, most)
    end
  end)

  it("says what is wrong with the prompt and the options", function()
    local model = tiny()
    assert.matches("the model has no tokenizer", message_of(model.generate, model, "text"), 1, true)
    assert.matches("the prompt is empty", message_of(model.generate, model, {}), 1, true)
    assert.matches("expected token ids from 1 to 11, got 12", message_of(model.generate, model, { 12 }), 1, true)
    assert.matches("option temperature: expected a number from 0", message_of(model.generate, model, { 1 },
      { temperature = -1 }),
      1, true)
    assert.matches("option top_p: expected a number from 0 to 1", message_of(model.generate, model, { 1 },
      { top_p = 2 }), 1, true)
    assert.matches("did you mean 'max_tokens'", message_of(model.generate, model, { 1 }, { max_token = 2 }), 1, true)
    assert.matches("option stop: a text needs a model with a tokenizer",
      message_of(model.generate, model, { 1 }, { stop = "." }), 1, true)
    model.norm.weight:detach():fill_(0 / 0)
    assert.matches("logits are NaN", message_of(model.generate, model, { 1 }), 1, true)
  end)
end)

describe("Sampling", function()
  support.count_tensors(before_each, after_each)

  -- How often each token is drawn.
  local function draws(logits, options, count)
    options.seed = 11
    local sampler, drawn, x = core.sampler(#logits, options), {}, nn.tensor(logits)
    for i = 1, #logits do drawn[i] = 0 end
    for _ = 1, count or 4000 do
      local id = sampler:pick(x)
      drawn[id] = drawn[id] + 1 / (count or 4000)
    end
    return drawn
  end

  local function assert_near(want, got)
    for i, share in ipairs(want) do
      assert(share == 0 and got[i] == 0 or math.abs(share - got[i]) < 0.03, ("%d: %g, not %g"):format(i, got[i], share))
    end
  end

  local log = math.log

  it("follows the probabilities", function()
    local logits = { log(0.1), log(0.4), log(0.2), log(0.3) }
    assert_near({ 0.1, 0.4, 0.2, 0.3 }, draws(logits, {}))
    assert_near({ 0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3 }, draws(logits, { temperature = 0.5 }))
    assert_near({ 0, 4 / 7, 0, 3 / 7 }, draws(logits, { top_k = 2 }))
    assert_near({ 0, 4 / 7, 0, 3 / 7 }, draws(logits, { top_p = 0.6 }))
    assert_near({ 0, 4 / 9, 2 / 9, 3 / 9 }, draws(logits, { top_p = 0.71 }))
    assert_near({ 0, 4 / 7, 0, 3 / 7 }, draws(logits, { top_k = 3, top_p = 0.7 })) -- of the three, 4 / 9 and 3 / 9
    assert_near({ 0, 1, 0, 0 }, draws(logits, { top_p = 0 }))
    assert_near({ 0, 4 / 9, 2 / 9, 3 / 9 }, draws(logits, { min_p = 0.45 }))
    assert_near({ 0, 1, 0, 0 }, draws(logits, { top_k = 1 }))
    assert_near({ 0.1, 0.4, 0.2, 0.3 }, draws(logits, { top_k = 10, top_p = 1 }))
  end)

  it("takes the first of equal ones as the likeliest, and -inf never", function()
    assert_near({ 0, 1, 0 }, draws({ 0, 2, 2 }, { temperature = 0 }))
    assert_near({ 0.5, 0.5, 0, 0 }, draws({ 1, 1, 1, 1 }, { top_k = 2 }))
    assert_near({ 0.5, 0, 0.5 }, draws({ 1, -math.huge, 1 }, {}))
    assert_near({ 0.5, 0, 0.5 }, draws({ 1, -math.huge, 1 }, { top_p = 0.99 }))
  end)

  it("weakens tokens that were there", function()
    local sampler = core.sampler(3, { temperature = 0, repetition = 2 })
    local x = nn.tensor { 3, 2, -1 }
    assert.equal(1, sampler:pick(x))
    sampler:note(1)
    assert.equal(2, sampler:pick(x))
    sampler:note(2)
    assert.equal(1, sampler:pick(x))
    assert.equal(3, (function()
      local other = core.sampler(3, { temperature = 0, repetition = 4 })
      other:note(1)
      return other:pick(nn.tensor { -1, -3, -2 })
    end)())
  end)

  it("gives the k likeliest of many in the order of a sort", function()
    local logits = nn.randn(5000)
    local _, order = logits:topk(50)
    local found = {}
    local sampler = core.sampler(5000, { top_k = 50, temperature = 50, seed = 1 })
    for _ = 1, 3000 do found[sampler:pick(logits)] = true end
    for _, id in ipairs(order:tolist()) do
      assert(found[id], id)
      found[id] = nil
    end
    assert.is_nil(next(found))
  end)

  it("is an error where no logit is finite", function()
    local sampler = core.sampler(2, {})
    assert.matches("not finite", message_of(sampler.pick, sampler, nn.tensor { -math.huge, -math.huge }), 1, true)
    assert.matches("NaN", message_of(sampler.pick, sampler, nn.tensor { 0, 0 / 0 }), 1, true)
    assert.matches("expected 2 logits", message_of(sampler.pick, sampler, nn.tensor { 1 }), 1, true)
  end)
end)
