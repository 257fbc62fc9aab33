--- Attention: the fused operation against the composed form, masks, gradients, and what it says of wrong input.

local nn = require "nnlua"
local support = require "support"

local attention = nn.functional.scaled_dot_product_attention
local DOUBLE = {dtype = "float64"}
local INFINITY = math.huge

local function randn(...) return nn.randn({...}, DOUBLE) end

--- A bool tensor (rows, columns), true where column <= row + offset.
local function causal_mask(rows, columns, offset)
  local mask = {}
  for i = 1, rows do
    mask[i] = {}
    for j = 1, columns do mask[i][j] = j <= i + (offset or 0) end
  end
  return nn.tensor(mask)
end

--- softmax(scale q k^T + mask) v, of operations.
local function composed(q, k, v, options)
  options = options or {}
  local last = #q.shape
  local scores = q:matmul(k:transpose(-1, -2)) * (options.scale or 1 / math.sqrt(q.shape[last]))
  local function mask(allowed) scores = nn.where(allowed, scores, nn.full({}, -INFINITY, {dtype = q.dtype})) end
  if options.is_causal then mask(causal_mask(q:size(-2), k:size(-2))) end
  if options.attn_mask and options.attn_mask.dtype == "bool" then
    mask(options.attn_mask)
  elseif options.attn_mask then
    scores = scores + options.attn_mask
  end
  return scores:softmax(-1):matmul(v)
end

local function close(a, b, tolerance)
  assert.are.same(a.shape, b.shape)
  local far = (a - b):abs():max():item()
  assert(far <= tolerance, ("differs by %g"):format(far))
end

--- Results and gradients of both forms agree.
local function compare(inputs, options, tolerance)
  local results = {}
  for form, fn in ipairs {attention, composed} do
    local leaves = {}
    for i, x in ipairs(inputs) do leaves[i] = x:clone():requires_grad_() end
    local out = fn(leaves[1], leaves[2], leaves[3], options)
    nn.manual_seed(5);
    (out * nn.randn(out.shape, {dtype = out.dtype})):sum():backward()
    results[form] = {out:detach(), leaves[1].grad, leaves[2].grad, leaves[3].grad}
  end
  for i = 1, 4 do close(results[1][i], results[2][i], tolerance) end
end

local function message_of(fn, ...)
  local ok, message = pcall(fn, ...)
  assert(not ok, "no error")
  return message
end

describe("scaled_dot_product_attention", function()
  support.count_tensors(before_each, after_each)

  it("is the composed form, over one tile and over many, for any lengths", function()
    for _, sizes in ipairs {{1, 1, 1}, {3, 5, 4}, {64, 64, 8}, {65, 129, 3}, {130, 70, 5}, {1, 300, 2}} do
      local L, S, E = sizes[1], sizes[2], sizes[3]
      for _, options in ipairs {{}, {is_causal = true}, {scale = 0.3}} do
        compare({randn(2, 3, L, E), randn(2, 3, S, E), randn(2, 3, S, E + 1)}, options, 1e-10)
      end
    end
  end)

  it("is as near to it in float32", function()
    compare({nn.randn(2, 2, 100, 16), nn.randn(2, 2, 150, 16), nn.randn(2, 2, 150, 16)}, {is_causal = true}, 2e-4)
  end)

  it("takes two, three and five dimensions, and batches that broadcast", function()
    compare({randn(3, 2), randn(4, 2), randn(4, 3)}, {}, 1e-12)
    compare({randn(2, 3, 2), randn(2, 4, 2), randn(2, 4, 3)}, {}, 1e-12)
    compare({randn(2, 1, 2, 3, 2), randn(2, 1, 2, 4, 2), randn(2, 1, 2, 4, 3)}, {}, 1e-12)
    compare({randn(2, 1, 3, 2), randn(1, 3, 4, 2), randn(4, 5)}, {}, 1e-12)
  end)

  it("reads operands through any strides", function()
    local q, k, v = randn(2, 5, 3, 4), randn(2, 3, 4, 6), randn(2, 3, 1, 4)
    local function views(a, b, c) return a:transpose(2, 3), b:transpose(-1, -2), c:expand(2, 3, 6, 4) end
    close(attention(views(q, k, v)), composed(views(q, k, v)), 1e-12)
  end)

  it("masks where a bool mask is false and adds a float one, broadcast in any dimension", function()
    local inputs = {randn(2, 3, 70, 4), randn(2, 3, 140, 4), randn(2, 3, 140, 4)}
    for _, shape in ipairs {{2, 3, 70, 140}, {2, 1, 70, 140}, {2, 1, 1, 140}, {70, 140}, {140}, {70, 1}, {1}} do
      local allowed = nn.rand(shape):gt(0.4)
      local first = nn.arange(shape[#shape]):eq(0) -- no row is without any key
      allowed = allowed:logical_or(first)
      compare(inputs, {attn_mask = allowed}, 1e-10)
      compare(inputs, {attn_mask = nn.randn(shape, DOUBLE)}, 1e-10)
      compare(inputs, {attn_mask = nn.randn(shape, DOUBLE), is_causal = true}, 1e-10)
    end
  end)

  it("gives a float mask its gradient, summed over what was broadcast", function()
    local q, k, v = randn(2, 3, 4), randn(2, 5, 4), randn(2, 5, 2)
    for _, shape in ipairs {{2, 3, 5}, {3, 5}, {2, 1, 5}, {3, 1}} do
      local mask = nn.randn(shape, DOUBLE):requires_grad_()
      assert(nn.gradcheck(function(m) return attention(q, k, v, {attn_mask = m}) end, {mask}))
    end
  end)

  it("has first and second gradients that finite differences confirm", function()
    local function leaf(...) return randn(...):requires_grad_() end
    for _, options in ipairs {{}, {is_causal = true}, {attn_mask = causal_mask(3, 5, 1)}, {scale = 0.7}} do
      local function fn(q, k, v) return attention(q, k, v, options) end
      local inputs = {leaf(2, 3, 2), leaf(2, 5, 2), leaf(2, 5, 3)}
      assert(nn.gradcheck(fn, inputs))
      assert(nn.gradgradcheck(fn, inputs))
    end
  end)

  it("gives NaN to queries that see no key, as a softmax over nothing does", function()
    local mask = nn.tensor {{true, true}, {false, false}}
    local out = attention(randn(2, 3), randn(2, 3), randn(2, 3), {attn_mask = mask})
    assert(not out[1]:isnan():any():item() and out[2]:isnan():all():item())
  end)

  it("stays exact where scores are large, and lets NaN through", function()
    compare({randn(5, 3) * 300, randn(150, 3) * 300, randn(150, 3)}, {}, 1e-9)
    local q = randn(2, 3)
    q[{1, 1}] = 0 / 0
    local out = attention(q, randn(4, 3), randn(4, 3))
    assert(out[1]:isnan():all():item() and not out[2]:isnan():any():item())
  end)

  it("takes empty batches, queries and keys", function()
    assert.are.same({0, 3, 2}, attention(randn(0, 3, 2), randn(0, 3, 2), randn(0, 3, 2)).shape)
    assert.are.same({2, 0, 5}, attention(randn(2, 0, 3), randn(2, 4, 3), randn(2, 4, 5)).shape)
    support.assert_tensor(attention(randn(2, 3), randn(0, 3), randn(0, 2)), {2, 2}, {0, 0, 0, 0})
    local q, k, v = randn(0, 2):requires_grad_(), randn(3, 2):requires_grad_(), randn(3, 2):requires_grad_()
    attention(q, k, v):sum():backward()
    support.assert_tensor(k.grad, {3, 2}, {0, 0, 0, 0, 0, 0})
  end)

  it("drops weights at the rate asked for, the same ones in backward and for any number of threads", function()
    local threads, grads = nn.get_num_threads(), {}
    for count = 1, 2 do
      nn.set_num_threads(count)
      nn.manual_seed(3)
      local q, k = randn(4, 70, 3), randn(4, 150, 3)
      local v = nn.ones(4, 150, 1, DOUBLE):requires_grad_()
      local out = attention(q, k, v, {dropout_p = 0.3})
      out:sum():backward()
      local rate = (out:sum() / (4 * 70)):item()
      assert(math.abs(rate - 1) < 0.05, rate) -- the weights that stay are divided by 0.7
      assert(math.abs((v.grad:sum() - out:sum()):item()) < 1e-8) -- linear in v
      grads[count] = {out, v.grad}
    end
    nn.set_num_threads(threads)
    for i = 1, 2 do assert(grads[1][i]:equal(grads[2][i])) end
    support.assert_tensor(attention(randn(1, 2), randn(1, 2), randn(1, 2), {dropout_p = 1}), {1, 2}, {0, 0})
  end)

  it("has the same gradients with dropout in a recorded walk", function()
    local q, k, v = randn(2, 5, 3):requires_grad_(), randn(2, 7, 3):requires_grad_(), randn(2, 7, 3):requires_grad_()
    local out = attention(q, k, v, {dropout_p = 0.4})
    local plain = {nn.grad(out:sin():sum(), {q, k, v}, {retain_graph = true})}
    local recorded = {nn.grad(out:sin():sum(), {q, k, v}, {create_graph = true})}
    for i = 1, 3 do close(plain[i], recorded[i]:detach(), 1e-12) end
  end)

  it("computes half floats in float32", function()
    local q, k, v = nn.randn(2, 5, 8), nn.randn(2, 6, 8), nn.randn(2, 6, 8)
    for _, dtype in ipairs {"bfloat16", "float16"} do
      local out = attention(q:to(dtype), k:to(dtype), v:to(dtype), {is_causal = true})
      assert.are.equal(dtype, out.dtype)
      close(out:float(), attention(q, k, v, {is_causal = true}), 0.05)
    end
  end)

  it("says what shapes and dtypes it expected", function()
    local function expect(pattern, ...)
      local message = message_of(attention, ...)
      assert(message:find(pattern, 1, true), message)
    end
    expect("got (2, 3), (4, 5) and (4, 5)", randn(2, 3), randn(4, 5), randn(4, 5))
    expect("got (2, 3), (4, 3) and (5, 3)", randn(2, 3), randn(4, 3), randn(5, 3))
    expect("got (3), (4, 3) and (4, 3)", randn(3), randn(4, 3), randn(4, 3))
    expect("do not broadcast", randn(2, 2, 3), randn(3, 4, 3), randn(2, 4, 3))
    expect("one float dtype, got float64, float32 and float32", randn(2, 3), nn.randn(4, 3), nn.randn(4, 3))
    expect("got int64", nn.ones(2, 3):long(), nn.ones(2, 3):long(), nn.ones(2, 3):long())
    expect("attn_mask that broadcasts to (2, 4), got (4, 2)", randn(2, 3), randn(4, 3), randn(4, 3),
      {attn_mask = randn(4, 2)})
    expect("attn_mask of bool", randn(2, 3), randn(4, 3), randn(4, 3), {attn_mask = nn.ones(2, 4):long()})
    expect("dropout_p must be between 0 and 1, got 2", randn(2, 3), randn(4, 3), randn(4, 3), {dropout_p = 2})
  end)

  it("fails cleanly wherever memory runs out", function()
    local core = require "nnlua.core"
    local q, k, v = randn(2, 5, 3):requires_grad_(), randn(2, 5, 3), randn(2, 5, 3)
    local mask, done = nn.randn(5, 1, DOUBLE), false
    for k_th = 0, 60 do
      core.fail_allocation(k_th)
      done = pcall(function() attention(q, k, v, {attn_mask = mask, dropout_p = 0.1}):sum():backward() end)
      core.fail_allocation(-1)
      collectgarbage()
      if done then break end
    end
    assert(done)
  end)
end)

-- ---- layers

--- What the parameters of a MultiHeadAttention make of its inputs, one head after the other.
local function by_heads(mha, q, k, v, blocked)
  local dim, heads = mha.embed_dim, mha.num_heads
  local size, parts = math.floor(dim / heads), {}
  local weight, bias = mha.in_proj_weight, mha.in_proj_bias
  local function project(x, part, head)
    local from = part * dim + head * size + 1
    return x:matmul(weight[{{from, from + size - 1}}]:t()) + bias[{{from, from + size - 1}}]
  end
  for head = 0, heads - 1 do
    local options = blocked and {attn_mask = blocked:logical_not()}
    parts[head + 1] = composed(project(q, 0, head), project(k, 1, head), project(v, 2, head), options)
  end
  return nn.cat(parts, -1):matmul(mha["out_proj.weight"]:t()) + mha["out_proj.bias"]
end

local function filled(layer)
  for _, parameter in ipairs(layer:parameters()) do
    nn.no_grad(function() parameter:copy_(nn.randn(parameter.shape) * 0.4) end)
  end
  return layer
end

describe("MultiHeadAttention", function()
  support.count_tensors(before_each, after_each)

  it("attends by heads to one input, a memory, or key and value of their own", function()
    local mha = filled(nn.MultiHeadAttention(6, 3, DOUBLE))
    local x, y, z = randn(2, 4, 6), randn(2, 5, 6), randn(2, 5, 6)
    close(mha(x, x, x), by_heads(mha, x, x, x), 1e-12)
    close(mha(x), by_heads(mha, x, x, x), 1e-12)
    close(mha(x, y, y), by_heads(mha, x, y, y), 1e-12)
    close(mha(x, y), by_heads(mha, x, y, y), 1e-12)
    close(mha(x, y, z), by_heads(mha, x, y, z), 1e-12)
    close(mha(x[1], y[1], z[1]), mha(x, y, z)[1], 1e-12)
  end)

  it("has the same gradients by all three ways to project", function()
    local mha = filled(nn.MultiHeadAttention(4, 2, DOUBLE))
    local x, grads = randn(2, 3, 4), {}
    for way, inputs in ipairs {{x, x, x}, {x, x:clone(), x}, {x:clone(), x, x}} do
      mha:zero_grad()
      mha(inputs[1], inputs[2], inputs[3], {is_causal = true}):sin():sum():backward()
      grads[way] = mha.in_proj_weight.grad
    end
    close(grads[1], grads[2], 1e-12)
    close(grads[1], grads[3], 1e-12)
  end)

  it("is blocked where bool masks are true, whatever their shape", function()
    local mha = filled(nn.MultiHeadAttention(4, 2, DOUBLE))
    local x = randn(3, 5, 4)
    local blocked = causal_mask(5, 5):logical_not()
    local expected = by_heads(mha, x, x, x, blocked)
    for _, mask in ipairs {blocked, blocked:expand(6, 5, 5), blocked:expand(3, 5, 5), blocked:expand(3, 2, 5, 5),
      blocked:expand(3, 1, 5, 5)} do
      close(mha(x, x, x, {attn_mask = mask}), expected, 1e-12)
    end
    close(mha(x, x, x, {is_causal = true}), expected, 1e-12)
    local added = nn.where(blocked, nn.full({}, -INFINITY, DOUBLE), nn.zeros({}, DOUBLE))
    close(mha(x, x, x, {attn_mask = added}), expected, 1e-12)
  end)

  it("joins masks of both kinds", function()
    local mha = filled(nn.MultiHeadAttention(4, 2, DOUBLE))
    local x = randn(2, 3, 4)
    local padding = nn.tensor {{false, false, true}, {false, false, false}}
    local square = nn.tensor {{false, true, false}, {false, false, false}, {false, true, false}}
    local both = square:logical_or(padding:reshape(2, 1, 3))
    local expected = by_heads(mha, x, x, x, both)
    local function added(mask) return nn.where(mask, nn.full({}, -INFINITY, DOUBLE), nn.zeros({}, DOUBLE)) end
    close(mha(x, x, x, {attn_mask = square, key_padding_mask = padding}), expected, 1e-12)
    close(mha(x, x, x, {attn_mask = added(square), key_padding_mask = padding}), expected, 1e-12)
    close(mha(x, x, x, {attn_mask = square, key_padding_mask = added(padding)}), expected, 1e-12)
  end)

  it("gives weights as its second result where they are needed, averaged or by head", function()
    local mha = filled(nn.MultiHeadAttention(4, 2, DOUBLE))
    local x, y = randn(2, 3, 4), randn(2, 5, 4)
    local out, weights = mha(x, y, y, {need_weights = true})
    local _, each = mha(x, y, y, {need_weights = true, average_attn_weights = false})
    local plain, none = mha(x, y, y)
    assert.is_nil(none)
    close(out, plain, 1e-12)
    assert.are.same({2, 2, 3, 5}, each.shape)
    close(weights, each:mean(2), 1e-12)
    close(weights:sum(-1), nn.ones(2, 3, DOUBLE), 1e-12)
  end)

  it("takes keys and values of other sizes, and learned or zero keys beside them", function()
    local mha = nn.MultiHeadAttention(4, 2, {kdim = 3, add_bias_kv = true, add_zero_attn = true, dtype = "float64"})
    local names = {}
    for name, parameter in mha:named_parameters() do names[#names + 1] = name .. #parameter.shape end
    assert.are.equal("q_proj_weight2 k_proj_weight2 v_proj_weight2 in_proj_bias1 bias_k3 bias_v3 out_proj.weight2 " ..
      "out_proj.bias1", table.concat(names, " "))
    assert.are.same({4, 3}, mha.k_proj_weight.shape)
    assert.are.same({4, 4}, mha.v_proj_weight.shape)
    local q, k, v = randn(2, 3, 4), randn(2, 5, 3), randn(2, 5, 4)
    local padding = nn.zeros(2, 5):bool()
    local out, weights = mha(q, k, v, {need_weights = true})
    assert.are.same({2, 3, 7}, weights.shape)
    close(mha(q, k, v, {key_padding_mask = padding}), out, 1e-12)
    local _, causal = mha(q, k, v, {need_weights = true, is_causal = true})
    assert.are.equal(0, causal[{1, 1, 2}])
    assert(causal[{1, 1, 6}] > 0 and causal[{1, 1, 7}] > 0)
  end)

  it("continues from a cache as if it saw the whole sequence", function()
    local mha = filled(nn.MultiHeadAttention(6, 2, DOUBLE)):eval()
    local x = randn(2, 7, 6)
    nn.no_grad(function()
      local whole, cache, parts = mha(x, x, x, {is_causal = true}), nn.zeros(2, 2, 9, 6, DOUBLE), {}
      for _, range in ipairs {{1, 3}, {4, 4}, {5, 7}} do
        local piece = x[{{}, range}]
        parts[#parts + 1] = mha(piece, piece, piece, {is_causal = true, cache = cache, offset = range[1] - 1})
      end
      close(nn.cat(parts, 2), whole, 1e-12)
    end)
  end)

  it("says what is wrong with its inputs, masks, caches and options", function()
    local mha = nn.MultiHeadAttention(4, 2)
    local x, y = nn.randn(2, 3, 4), nn.randn(2, 5, 4)
    local function expect(pattern, fn, ...)
      local message = message_of(fn, ...)
      assert(message:find(pattern, 1, true), message)
    end
    expect("nn.MultiHeadAttention: expected input (N, L, 4) or (L, 4), got (2, 3, 5)", mha, nn.randn(2, 3, 5))
    expect("got (2, 3, 4), (3, 5, 4) and (3, 5, 4)", mha, x, nn.randn(3, 5, 4))
    expect("got (2, 3, 4), (2, 5, 4) and (2, 3, 4)", mha, x, y, x)
    expect("expected attn_mask of shape (3, 5), got (5, 3)", mha, x, y, y, {attn_mask = nn.zeros(5, 3)})
    expect("expected attn_mask of shape (3, 5), got (3, 3, 5)", mha, x, y, y, {attn_mask = nn.zeros(3, 3, 5)})
    expect("expected attn_mask of bool or of a float dtype, got int64", mha, x, y, y,
      {attn_mask = nn.zeros(3, 5):long()})
    expect("expected key_padding_mask of shape (2, 5), got (2, 3)", mha, x, y, y,
      {key_padding_mask = nn.zeros(2, 3):bool()})
    expect("call the layer in nn.no_grad", mha, x, x, x, {cache = nn.zeros(2, 2, 9, 4)})
    nn.no_grad(function()
      expect("expected a cache (2, 2, 5 or more, 4) of float32", mha, x, x, x,
        {cache = nn.zeros(2, 2, 4, 4), offset = 2})
    end)
    expect("the dimensions must be divisible by the heads, got 4 and 3", nn.MultiHeadAttention, 4, 3)
  end)

  it("is made again from what save writes, in eval without dropout", function()
    local mha = nn.MultiHeadAttention(4, 2, {dropout = 0.5}):eval()
    local x = nn.randn(2, 3, 4)
    assert(mha(x):equal(mha(x)))
    local path = os.tmpname()
    local model = nn.Sequential {mha}
    model:save(path)
    local again = nn.load(path):eval()
    os.remove(path)
    assert(again(x):equal(model(x)))
  end)
end)

describe("transformer layers", function()
  support.count_tensors(before_each, after_each)

  it("are their parts, normalised behind or before", function()
    local x, memory = randn(2, 3, 4), randn(2, 5, 4)
    for _, first in ipairs {false, true} do
      local options = {dim_feedforward = 5, dropout = 0, norm_first = first, dtype = "float64"}
      local layer = filled(nn.TransformerDecoderLayer(4, 2, options))
      local function norm(y, name)
        return nn.functional.layer_norm(y, {4}, layer[name .. ".weight"], layer[name .. ".bias"])
      end
      local function branch(y, name, fn)
        if first then return y + fn(norm(y, name)) end
        return norm(y + fn(y), name)
      end
      local function inner(name)
        local mha = nn.MultiHeadAttention(4, 2, DOUBLE)
        local state = {}
        for _, key in ipairs {"in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"} do
          state[key] = layer[name .. "." .. key]
        end
        mha:load_state_dict(state)
        return mha
      end
      local y = branch(x, "norm1", function(z) return (inner("self_attn")(z, z, z, {is_causal = true})) end)
      y = branch(y, "norm2", function(z) return (inner("multihead_attn")(z, memory)) end)
      y = branch(y, "norm3", function(z)
        local hidden = nn.functional.linear(z, layer["linear1.weight"], layer["linear1.bias"]):relu()
        return nn.functional.linear(hidden, layer["linear2.weight"], layer["linear2.bias"])
      end)
      close(layer(x, memory, {tgt_is_causal = true}), y, 1e-12)
    end
  end)

  it("have gradients that finite differences confirm", function()
    local encoder = filled(nn.TransformerEncoderLayer(2, 1, {
      dim_feedforward = 3, dropout = 0, activation = "gelu", dtype = "float64", bias = false,
    }))
    local x = randn(1, 3, 2):requires_grad_()
    local function run(input) return encoder(input, {is_causal = true}) end
    assert(nn.gradcheck(run, {x}))
    assert(nn.gradgradcheck(run, {x}))
    assert.are.equal(6, #encoder:parameters())
  end)

  it("generate from a cache as over the whole sequence", function()
    local layer = filled(nn.TransformerEncoderLayer(4, 2, {dim_feedforward = 5, dtype = "float64"})):eval()
    local x = randn(1, 4, 4)
    nn.no_grad(function()
      local whole, cache = layer(x, {is_causal = true}), nn.zeros(2, 1, 4, 4, DOUBLE)
      for t = 1, 4 do
        close(layer(x[{{}, {t, t}}], {cache = cache, offset = t - 1}), whole[{{}, {t, t}}], 1e-12)
      end
    end)
  end)

  it("decode from caches of the target and of the memory as over the whole sequence", function()
    local layer = filled(nn.TransformerDecoderLayer(4, 2, {dim_feedforward = 5, dtype = "float64", norm_first = true}))
    local x, memory = randn(2, 4, 4), randn(2, 3, 4)
    local padding = nn.tensor {{false, false, true}, {false, false, false}}
    layer:eval()
    nn.no_grad(function()
      local whole = layer(x, memory, {tgt_is_causal = true, memory_key_padding_mask = padding})
      local own, seen = nn.zeros(2, 2, 4, 4, DOUBLE), nn.zeros(2, 2, 3, 4, DOUBLE)
      for t = 1, 4 do
        local given = t == 1 and memory or memory * 0 -- what is in the cache counts
        close(layer(x[{{}, {t, t}}], given, {
          cache = own, memory_cache = seen, offset = t - 1, memory_key_padding_mask = padding,
        }), whole[{{}, {t, t}}], 1e-12)
      end
      local message = message_of(layer, x, memory, {memory_cache = nn.zeros(2, 2, 2, 4, DOUBLE), offset = 1})
      assert(message:find("expected a cache (2, 2, 3 or more, 4) of float64", 1, true))
    end)
  end)

  it("say what shapes they expected", function()
    local encoder = nn.TransformerEncoderLayer(4, 2, {dim_feedforward = 4})
    local message = message_of(encoder, nn.randn(2, 3, 5))
    assert(message:find("nn.TransformerEncoderLayer: expected input (N, L, 4) or (L, 4), got (2, 3, 5)", 1, true))
    local decoder = nn.TransformerDecoderLayer(4, 2, {dim_feedforward = 4})
    message = message_of(decoder, nn.randn(2, 3, 4), nn.randn(2, 3, 5))
    assert(message:find("nn.TransformerDecoderLayer: expected memory (N, L, 4) or (L, 4), got (2, 3, 5)", 1, true))
    message = message_of(nn.TransformerEncoderLayer, 6, 4)
    assert(message:find("divisible by the heads, got 6 and 4", 1, true))
  end)
end)

describe("positions", function()
  support.count_tensors(before_each, after_each)

  it("are sines and cosines of Vaswani et al., added", function()
    local layer = nn.PositionalEncoding(4, {dropout = 0})
    local function row(p) return {math.sin(p), math.cos(p), math.sin(p / 100), math.cos(p / 100)} end
    local out = layer(nn.zeros(2, 100, 4, DOUBLE))
    for _, p in ipairs {0, 1, 65, 99} do support.assert_tensor(out[{2, p + 1}], {4}, row(p), 1e-12) end
    support.assert_tensor(layer(nn.zeros(1, 4, DOUBLE), {offset = 7}), {1, 4}, row(7), 1e-12)
    support.assert_tensor(nn.PositionalEncoding(1, {dropout = 0})(nn.zeros(2, 1)), {2, 1}, {0, math.sin(1)}, 1e-7)
    assert.are.same({}, layer:state_dict())
    assert(message_of(nn.PositionalEncoding(4, {max_len = 3}), nn.zeros(1, 4, 4)):find("max_len is 3", 1, true))
    assert(message_of(layer, nn.zeros(1, 4, 3)):find("expected input (*, T, 4), got (1, 4, 3)", 1, true))
  end)

  it("rotate halves or neighbours by angles that grow with the position", function()
    local x = randn(2, 3, 70, 4)
    for _, neighbours in ipairs {false, true} do
      local out = nn.RotaryEmbedding(4, {interleaved = neighbours, base = 100})(x, {offset = 2})
      local pairs_of = neighbours and {{1, 2}, {3, 4}} or {{1, 3}, {2, 4}}
      for k, pair in ipairs(pairs_of) do
        for _, t in ipairs {1, 5, 70} do
          local angle = (t + 1) / 10 ^ (k - 1)
          local a, b = x[{2, 3, t, pair[1]}], x[{2, 3, t, pair[2]}]
          local c, s = math.cos(angle), math.sin(angle)
          assert(math.abs(out[{2, 3, t, pair[1]}] - (a * c - b * s)) < 1e-12)
          assert(math.abs(out[{2, 3, t, pair[2]}] - (a * s + b * c)) < 1e-12)
        end
      end
    end
  end)

  it("leave products that depend on the difference of rotated positions alone", function()
    local rope = nn.RotaryEmbedding(6)
    local q, k = randn(1, 6), randn(1, 6)
    local function product(i, j) return (rope(q, {offset = i}) * rope(k, {offset = j})):sum():item() end
    assert(math.abs(product(3, 1) - product(12, 10)) < 1e-12)
  end)

  it("have gradients of both orders, through any strides and dtypes", function()
    local rope = nn.RotaryEmbedding(4)
    local x = randn(2, 3, 2, 4):requires_grad_()
    local function run(input) return rope(input:transpose(2, 3)):sin() end
    assert(nn.gradcheck(run, {x}))
    assert(nn.gradgradcheck(run, {x}))
    assert.are.equal("bfloat16", rope(nn.randn(2, 3, 4):to("bfloat16")).dtype)
    assert(message_of(nn.RotaryEmbedding, 3):find("'dim' must be even, got 3", 1, true))
    assert(message_of(rope, nn.randn(2, 3)):find("expected input (N, heads, T, 4), got (2, 3)", 1, true))
  end)
end)
