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
end)
