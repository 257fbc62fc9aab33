-- nn.CausalAttention and rotary positions, beside their formulas written out number by number.
local nn = require "nnlua"
local support = require "support"
local message_of = support.message_of

local DOUBLE = { dtype = "float64" }

local function close(got, want, tolerance)
  assert(got:allclose(want, { rtol = 0, atol = tolerance or 1e-12 }), tostring(got) .. "\nexpected\n" .. tostring(want))
end

-- Su et al. 2021, equation 34, for a list x at position p (from 0): pair k turns by p / base^(2 k / n).
local function turned(x, p, options)
  local n, y = #x, {}
  for k = 0, n / 2 - 1 do
    local i, j = k + 1, k + 1 + n / 2
    if options.interleaved then i, j = 2 * k + 1, 2 * k + 2 end
    local angle = p * (options.frequency and options.frequency(k, n) or (options.base or 10000) ^ (-2 * k / n))
    y[i] = x[i] * math.cos(angle) - x[j] * math.sin(angle)
    y[j] = x[j] * math.cos(angle) + x[i] * math.sin(angle)
  end
  return y
end

local function head_of(rows, t, from, size, p, options)
  local x = {}
  for i = 1, size do x[i] = rows[t][from + i] end
  return options.rotary and turned(x, p, options) or x
end

local function dot(a, b)
  local sum = 0
  for i = 1, #a do sum = sum + a[i] * b[i] end
  return sum
end

-- One head: queries and keys as lists of lists, values as rows.
local function attend(queries, keys, values, causal)
  local out = {}
  for t, q in ipairs(queries) do
    local weights, total = {}, 0
    for s = 1, causal and t or #keys do
      weights[s] = math.exp(dot(q, keys[s]) / math.sqrt(#q))
      total = total + weights[s]
    end
    out[t] = {}
    for i = 1, #values[1] do
      local sum = 0
      for s, w in ipairs(weights) do sum = sum + w * values[s][i] end
      out[t][i] = sum / total
    end
  end
  return out
end

-- Rows (T, (heads + 2 kv_heads) * size) to rows (T, heads * size).
local function expected(rows, heads, kv_heads, size, options)
  local out = {}
  for t = 1, #rows do out[t] = {} end
  for h = 0, heads - 1 do
    local shared = math.floor(h / (heads / kv_heads))
    local q, k, v = {}, {}, {}
    for t = 1, #rows do
      q[t] = head_of(rows, t, h * size, size, t - 1, options)
      k[t] = head_of(rows, t, (heads + shared) * size, size, t - 1, options)
      v[t] = head_of(rows, t, (heads + kv_heads + shared) * size, size, 0, {})
    end
    for t, row in ipairs(attend(q, k, v, options.causal ~= false)) do
      for i, value in ipairs(row) do out[t][h * size + i] = value end
    end
  end
  return nn.tensor(out, DOUBLE)
end

describe("Rotary positions", function()
  support.count_tensors(before_each, after_each)

  it("turn halves, as Llama's weights in the layout of Hugging Face have it, or neighbours", function()
    for _, interleaved in ipairs { false, true } do
      local x = nn.randn({ 1, 1, 5, 6 }, DOUBLE)
      local rows = {}
      for t, row in ipairs(x:reshape(5, 6):tolist()) do
        rows[t] = turned(row, t - 1, { interleaved = interleaved, base = 500 })
      end
      close(nn.RotaryEmbedding(6, { interleaved = interleaved, base = 500 })(x):reshape(5, 6), nn.tensor(rows, DOUBLE))
    end
  end)

  it("of halves are those of neighbours whose rows were sorted", function()
    local x = nn.randn({ 1, 2, 4, 8 }, DOUBLE)
    local sorted = x:reshape(1, 2, 4, 2, 4):transpose(4, 5):reshape(1, 2, 4, 8)
    local y = nn.RotaryEmbedding(8, { interleaved = true })(sorted)
    close(y:reshape(1, 2, 4, 4, 2):transpose(4, 5):reshape(1, 2, 4, 8), nn.RotaryEmbedding(8)(x))
  end)
end)

describe("CausalAttention", function()
  support.count_tensors(before_each, after_each)

  it("is softmax(q k / sqrt(size)) v of each head, over the positions up to its own", function()
    for _, case in ipairs {
      { 2, 2, {} }, { 4, 2, {} }, { 3, 1, { causal = false } }, { 2, 2, { rotary = true } },
      { 4, 2, { rotary = true, interleaved = true } }, { 4, 1, { rotary = true, rotary_base = 50, base = 50 } },
    } do
      local heads, kv_heads, options = case[1], case[2], case[3]
      local x = nn.randn({ 5, (heads + 2 * kv_heads) * 4 }, DOUBLE)
      local layer = nn.CausalAttention(heads, {
        kv_heads = kv_heads, rotary = options.rotary, interleaved = options.interleaved, causal = options.causal,
        rotary_base = options.rotary_base,
      })
      local want = expected(x:tolist(), heads, kv_heads, 4, options)
      close(layer(x), want)
      close(layer(nn.stack({ x, x * 0 }, 1))[1], want)
      local q, k, v = x[{ {}, { 1, heads * 4 } }], x[{ {}, { heads * 4 + 1, (heads + kv_heads) * 4 } }],
        x[{ {}, { (heads + kv_heads) * 4 + 1, -1 } }]
      close(layer(q, k, v), want)
    end
  end)

  it("shrinks angles for longer contexts, all alike or as Llama 3.1 does", function()
    local x = nn.randn({ 6, 3 * 8 }, DOUBLE)
    local function check(options, frequency)
      options.rotary = true
      local want = expected(x:tolist(), 1, 1, 8, { rotary = true, frequency = frequency })
      close(nn.CausalAttention(1, options)(x), want)
    end
    check({ rotary_factor = 4 }, function(k, n) return 10000 ^ (-2 * k / n) / 4 end)
    check({ rotary_factor = 8, rotary_original = 64, rotary_low = 1, rotary_high = 4 }, function(k, n)
      local f = 10000 ^ (-2 * k / n)
      local length = 2 * math.pi / f
      if length < 64 / 4 then return f end
      if length > 64 / 1 then return f / 8 end
      local share = (64 / length - 1) / (4 - 1)
      return (1 - share) * f / 8 + share * f
    end)
  end)

  it("reads from a cache what earlier calls left there", function()
    for _, kv_heads in ipairs { 1, 2, 4 } do
      local layer = nn.CausalAttention(4, { kv_heads = kv_heads, rotary = true })
      local x = nn.randn({ 2, 7, (4 + 2 * kv_heads) * 2 }, DOUBLE)
      local cache = nn.zeros({ 2, 2, kv_heads, 9, 2 }, DOUBLE)
      nn.no_grad(function()
        local whole, offset = layer(x), 0
        for _, length in ipairs { 3, 1, 1, 2 } do
          local part = { {}, { offset + 1, offset + length } }
          close(layer(x[part], { cache = cache, offset = offset }), whole[part])
          offset = offset + length
        end
      end)
    end
  end)

  it("has second gradients, of shared heads too", function()
    local layer = nn.CausalAttention(2, { kv_heads = 1, rotary = true })
    local x = nn.randn({ 1, 3, 8 }, DOUBLE):requires_grad_()
    assert(nn.gradgradcheck(function(input) return layer(input) end, { x }))
  end)

  it("says what it expected", function()
    local layer = nn.CausalAttention(4, { kv_heads = 2 })
    local message = message_of(layer, nn.randn(2, 3, 9))
    assert(message:find("C a multiple of 8, the heads of queries, keys and values, got (2, 3, 9)", 1, true), message)
    message = message_of(layer, nn.randn(2, 3, 8), nn.randn(2, 3, 8), nn.randn(2, 3, 4))
    assert(message:find("expected query (N, T, 4 * size), key and value (N, T, 2 * size), got (2, 3, 8)", 1, true),
      message)
    message = message_of(nn.CausalAttention, 4, { kv_heads = 3 })
    assert(message:find("num_heads must be divisible by kv_heads, got 4 and 3", 1, true), message)
    message = message_of(nn.CausalAttention(1, { rotary = true }), nn.randn(2, 9))
    assert(message:find("rotary positions need heads of an even size, got 3", 1, true), message)
    nn.no_grad(function()
      message = message_of(layer, nn.randn(1, 3, 16), { cache = nn.zeros(2, 1, 2, 2, 2) })
    end)
    assert(message:find("expected a cache (2, 1, 2, 3 or more, 2) of float32", 1, true), message)
    message = message_of(layer, nn.randn({ 1, 3, 16 }, { requires_grad = true }), { cache = nn.zeros(2, 1, 2, 3, 2) })
    assert(message:find("call the layer in nn.no_grad", 1, true), message)
  end)
end)
