--- What reads tokens and gives logits: the engine's decoder over the weights of a model as it was made, or, where
-- something has taken a layer's place or looks on (adapters, hooks), the layers themselves.

local core = require "nnlua.core"
local hooks = require "nnlua.hooks"

local decoder = {}

local parts = { "norm1", "qkv", "query", "key", "value", "out", "norm2", "gate", "up", "down" }
local halves = { float32 = true, bfloat16 = true, float16 = true }

-- Adapters that are merged into the weights are nothing special.
local function has_adapters(layer)
  for _, adapter in ipairs(layer:_adapters()) do
    if not adapter.merged then return true end
  end
  return false
end

local function is_plain(layer, class)
  return core.is_layer(layer) and layer:_class() == class and not hooks.has(layer) and not has_adapters(layer)
end

local function pair(layer)
  return { layer.weight, layer.bias }
end

local function plain_block(block, norm)
  local pairs_of = {}
  if hooks.has(block) then return nil end
  for _, name in ipairs(parts) do
    local layer = block[name]
    if layer then
      if not is_plain(layer, name:find("^norm") and norm or "Dense") then return nil end
      if not halves[layer.weight.dtype] then return nil end
      pairs_of[name] = pair(layer)
    end
  end
  return is_plain(block.attention, "CausalAttention") and pairs_of or nil
end

local function plain_blocks(model, norm)
  local blocks = {}
  for i, block in ipairs(model.blocks) do
    blocks[i] = block.class_name == "models.Block" and plain_block(block, norm)
    if not blocks[i] then return nil end
  end
  return blocks
end

local activation_of = { swiglu = "silu", geglu = "gelu", geglu_tanh = "gelu_tanh" }

-- What core.decoder takes; nil where it cannot stand for the model.
local function describe(model, length)
  local o = model.options
  local norm = o.norm == "rms" and "RMSNorm" or "LayerNorm"
  if hooks.has(model) or not is_plain(model.tokens, "Embedding") or not is_plain(model.norm, norm) then return nil end
  if model.positions and not is_plain(model.positions, "Embedding") then return nil end
  if model.head and not is_plain(model.head, "Dense") then return nil end
  if not halves[model.tokens.weight.dtype] then return nil end
  local blocks = plain_blocks(model, norm)
  return blocks and {
    width = o.width, heads = o.heads, kv_heads = o.kv_heads, size = o.size, length = length, eps = o.eps,
    centred = o.norm == "layer", activation = activation_of[o.activation] or o.activation, blocks = blocks,
    rotary = o.positions == "rotary", interleaved = o.interleaved, rotary_base = o.rotary_base,
    rotary_factor = o.rotary_factor, rotary_low = o.rotary_low, rotary_high = o.rotary_high,
    rotary_original = o.rotary_original, tokens = model.tokens.weight,
    positions = model.positions and model.positions.weight, norm = model.norm.weight, norm_bias = model.norm.bias,
    head = (model.head or model.tokens).weight, head_bias = model.head and model.head.bias,
  }
end

-- ---- by the layers

local Composed = {}
Composed.__index = Composed

--- Read an id or a list of them, from its k-th on.
function Composed:feed(ids, from)
  local list = {}
  if type(ids) ~= "table" then ids, from = { ids }, 1 end
  for i = from or 1, #ids do list[#list + 1] = ids[i] end
  local model, was = self.model, self.model.training
  local x = core.tensor({ list }, { dtype = "int64" })
  model:eval()
  local ok, logits = pcall(core.no_grad, function()
    return model(x, { caches = self.caches, offset = self.read })
  end)
  model:train(was)
  if not ok then error(logits, 0) end
  self.read = self.read + #list
  self.last = logits:select(2, -1):reshape(-1):to("float32"):contiguous()
end

--- The logits of what follows.
function Composed:logits() return self.last end

--- Tokens read, and room for more.
function Composed:position() return self.read, self.length - self.read end

--- Forget the tokens behind the first n.
function Composed:rewind(n) self.read = math.min(self.read, n) end

--- What reads tokens for this model, with room for `length` of them: feed(ids), logits(), position(), rewind(n).
function decoder.new(model, length)
  local spec = describe(model, length)
  if spec then return core.decoder(spec), true end
  local composed = { model = model, caches = model:new_caches(1, length), read = 0, length = length }
  return setmetatable(composed, Composed), false
end

return decoder
