--- nn.models.GPT: a language model of transformer blocks that see earlier tokens alone. By its options it is GPT-2,
-- Llama, or what lies between.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local containers = require "nnlua.containers"
local module = require "nnlua.module"

local layers, Module = core.layers, module.Module

local WHO = "nn.models.GPT"

-- ---- options

local rules = {
  vocab = "count", layers = "count", heads = "count", kv_heads = "count", width = "count", size = "count",
  hidden = "count", context = "count", dropout = "fraction", tied = "boolean", activation = "string",
  positions = "string", norm = "string", bias = "boolean", qkv_bias = "boolean", head_bias = "boolean",
  eps = "number", packed = "boolean", interleaved = "boolean", rotary_base = "number", rotary_factor = "number",
  rotary_low = "number", rotary_high = "number", rotary_original = "number", dtype = "string",
}
local rotary_options = { "rotary_base", "rotary_factor", "rotary_low", "rotary_high", "rotary_original", "interleaved" }

-- What lies between the two layers of each block, and whether a third layer gates it (Shazeer 2020).
local activations = {
  gelu = { "gelu" }, gelu_tanh = { "gelu_tanh" }, relu = { "relu" }, silu = { "silu" },
  swiglu = { "silu", true }, geglu = { "gelu", true }, geglu_tanh = { "gelu_tanh", true },
}
local position_kinds = { learned = "learned", rotary = "rotary", none = "none" }
local norms = { layer = "LayerNorm", rms = "RMSNorm" }

-- As many numbers as without a gate, in multiples of 32.
local function default_hidden(width, gated)
  if not gated then return 4 * width end
  return math.ceil(8 * width / 3 / 32) * 32
end

local function or_default(value, default)
  if value == nil then return default end
  return value
end

local function whole_share(o, whole, part)
  if o[whole] % o[part] ~= 0 then
    check.fail(WHO, ("option %s must be a multiple of %s, got %d and %d"):format(whole, part, o[whole], o[part]))
  end
  return compat.to_integer(o[whole] / o[part])
end

-- All options, with what was left out.
local function complete(given)
  local o = {}
  for name, value in pairs(check.options(WHO, given, rules)) do o[name] = value end
  if not o.vocab then check.fail(WHO, "option vocab, the number of tokens, is required") end
  o.layers, o.heads, o.width, o.context = o.layers or 4, o.heads or 4, o.width or 128, o.context or 256
  o.activation, o.positions, o.norm = o.activation or "gelu", o.positions or "learned", o.norm or "layer"
  local activation = check.choice(WHO, "option activation", o.activation, activations)
  check.choice(WHO, "option positions", o.positions, position_kinds)
  check.choice(WHO, "option norm", o.norm, norms)
  o.kv_heads = o.kv_heads or o.heads
  o.size = o.size or whole_share(o, "width", "heads")
  whole_share(o, "heads", "kv_heads")
  o.hidden = o.hidden or default_hidden(o.width, activation[2])
  o.dropout, o.tied = o.dropout or 0, or_default(o.tied, true)
  o.bias = or_default(o.bias, o.norm == "layer")
  o.qkv_bias, o.packed = or_default(o.qkv_bias, o.bias), or_default(o.packed, true)
  o.eps = o.eps or (o.norm == "rms" and 1e-6 or 1e-5)
  return o
end

-- ---- blocks

local Block = Module:extend("models.Block")

local function norm_of(o)
  if o.norm == "rms" then return layers.RMSNorm(o.width, { eps = o.eps, dtype = o.dtype }) end
  return layers.LayerNorm(o.width, { eps = o.eps, bias = o.bias, dtype = o.dtype })
end

local function dense(o, inputs, outputs, bias, activation)
  return layers.Dense(inputs, outputs, { bias = bias, activation = activation, dtype = o.dtype })
end

local function attention_of(o)
  local options = { kv_heads = o.kv_heads, dropout = o.dropout, rotary = o.positions == "rotary" }
  for _, name in ipairs(rotary_options) do options[name] = o[name] end
  return layers.CausalAttention(o.heads, options)
end

function Block:init(o)
  local inner, shared = o.heads * o.size, o.kv_heads * o.size
  local activation = activations[o.activation]
  self.norm1 = norm_of(o)
  if o.packed then
    self.qkv = dense(o, o.width, inner + 2 * shared, o.qkv_bias)
  else
    self.query = dense(o, o.width, inner, o.qkv_bias)
    self.key = dense(o, o.width, shared, o.qkv_bias)
    self.value = dense(o, o.width, shared, o.qkv_bias)
  end
  self.attention = attention_of(o)
  self.out = dense(o, inner, o.width, o.bias)
  self.norm2 = norm_of(o)
  if activation[2] then self.gate = dense(o, o.width, o.hidden, o.bias, activation[1]) end
  self.up = dense(o, o.width, o.hidden, o.bias, not activation[2] and activation[1] or nil)
  self.down = dense(o, o.hidden, o.width, o.bias)
  if o.dropout > 0 then self.dropout = layers.Dropout(o.dropout) end
end

--- x (N, T, width) to the same.
-- @param call table? cache, offset: see nn.CausalAttention
function Block:forward(x, call)
  local dropout, h = self.dropout, self.norm1(x)
  local mixed
  if self.qkv then
    mixed = call and self.attention(self.qkv(h), call) or self.attention(self.qkv(h))
  else
    mixed = self.attention(self.query(h), self.key(h), self.value(h), call or {})
  end
  mixed = self.out(mixed)
  x = x + (dropout and dropout(mixed) or mixed)
  h = self.norm2(x)
  h = self.down(self.gate and self.gate(h) * self.up(h) or self.up(h))
  return x + (dropout and dropout(h) or h)
end

-- ---- the model

local GPT = Module:extend("models.GPT")

-- GPT-2's first values: normal ones of standard deviation 0.02, those that end in the stream of all blocks smaller by
-- the root of their number (Radford et al. 2019).
local function reset(self)
  local smaller = 0.02 / math.sqrt(2 * self.options.layers)
  for name, tensor in self:named_parameters() do
    if tensor.ndim == 2 then
      local ends = name:find("%.out%.weight$") or name:find("%.down%.weight$")
      core.init.normal_(tensor, 0, ends and smaller or 0.02)
    elseif name:find("bias$") then
      core.init.zeros_(tensor)
    end
  end
end

--- A language model over tokens 1 to vocab.
-- @param options table: vocab (required); layers (4), heads (4), width (128), context (256: the most tokens that it
-- looks back on); kv_heads (heads: fewer share keys and values), size (width / heads), hidden (4 width, of gated ones
-- 8 / 3 width); dropout (0); tied (true: the head is the tokens' embedding); activation ("gelu"; "gelu_tanh" "relu"
-- "silu" "swiglu" "geglu"); positions ("learned"; "rotary" "none"); norm ("layer"; "rms"); bias (true with norm
-- "layer"), qkv_bias (bias), head_bias (false); eps; rotary_base (10000), rotary_factor, rotary_low, rotary_high,
-- rotary_original, interleaved: see nn.CausalAttention; packed (true: queries, keys and values are one product); dtype
function GPT:init(options)
  local o = complete(options)
  rawset(self, "options", o)
  self.tokens = layers.Embedding(o.vocab, o.width, { dtype = o.dtype })
  if o.positions == "learned" then self.positions = layers.Embedding(o.context, o.width, { dtype = o.dtype }) end
  if o.dropout > 0 then self.dropout = layers.Dropout(o.dropout) end
  local blocks = {}
  for i = 1, o.layers do blocks[i] = Block(o) end
  self.blocks = containers.ModuleList(blocks)
  self.norm = norm_of(o)
  if not o.tied then self.head = dense(o, o.width, o.vocab, o.head_bias or false) end
  if not core.bare_layers() then reset(self) end
end

local function check_ids(self, ids, offset)
  local context = self.options.context
  check.tensor(WHO, "argument 1", ids)
  if ids.ndim ~= 1 and ids.ndim ~= 2 then
    check.fail(WHO, "expected token ids (N, T) or (T), got " .. check.shape(ids.shape))
  end
  local last = offset + ids:size(-1)
  if self.positions and last > context then
    check.fail(WHO, ("the context is of %d tokens, got %d"):format(context, last))
  end
end

--- Token ids (N, T) or (T), int64 from 1, to logits (N, T, vocab) or (T, vocab): of what follows each token.
-- @param call table? caches: as new_caches makes them, into which keys and values are written; offset: tokens that they
-- hold already
function GPT:forward(ids, call)
  local offset = call and call.offset or 0
  check_ids(self, ids, offset)
  local x = self.tokens(ids)
  if self.positions then x = x + self.positions(core.range(offset + 1, offset + ids:size(-1), 1,
    { dtype = "int64" })) end
  if self.dropout then x = self.dropout(x) end
  local caches = call and call.caches
  for i, block in ipairs(self.blocks) do
    x = block(x, caches and { cache = caches[i], offset = offset })
  end
  x = self.norm(x)
  if self.head then return self.head(x) end
  return core.functional.linear(x, self.tokens.weight)
end

--- Empty caches of keys and values, one for each block, for `batch` sequences of up to `length` tokens.
function GPT:new_caches(batch, length)
  local o, caches = self.options, {}
  for i = 1, o.layers do
    caches[i] = core.zeros({ 2, batch, o.kv_heads, length, o.size }, { dtype = o.dtype or self.tokens.weight.dtype })
  end
  return caches
end

--- Go on from a text or a list of token ids.
-- @param prompt string (where the model has a tokenizer), list of ids from 1, or tensor (T) of such
-- @param options table? max_tokens (100), temperature (1; 0: the likeliest token), top_k, top_p, min_p,
-- repetition_penalty (1), seed (left out: nn's own random numbers), stop (a token id, a text, or a list of these;
-- false: not even at the end of text), on_token (function(id, text), called as each comes; false ends it). More tokens
-- than the context holds drop the older half of it.
-- @return the text, or list of ids, that the prompt was and became; and a table: count, reason ("max_tokens" "stop"
-- "on_token"), prompt (its tokens), seconds, prompt_seconds, tokens_per_second
function GPT:generate(prompt, options)
  return require "nnlua.models.generate"(self, prompt, options)
end

return GPT
