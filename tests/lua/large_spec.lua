-- Results of 16 MB and more are written past the caches, in small blocks: they must be those of the same operation on
-- pieces that are not.
local nn = require "nnlua"

local sizes = {float32 = 4, float64 = 8, int64 = 8}

-- Above the limit by an odd number, so that something is left over after the blocks.
local function count(dtype) return math.floor((16 * 2 ^ 20 + 1000) / sizes[dtype]) + 3 end

local function values(dtype, n)
  if dtype == "int64" then return nn.arange(n):remainder(1001):sub_(500):to("int64") end
  return nn.randn({n}, {dtype = dtype})
end

-- f of whole tensors against f of four pieces of them.
local function check(f, ...)
  local tensors = {...}
  local n = tensors[1]:size(1)
  local whole = f(...)
  local each = math.ceil(n / 4)
  for from = 1, n, each do
    local length = math.min(each, n - from + 1)
    local pieces = {}
    for i, t in ipairs(tensors) do pieces[i] = t:narrow(1, from, length):clone() end
    local expected = f((table.unpack or unpack)(pieces))
    assert.is_true(expected:eq(whole:narrow(1, from, length)):all():item())
  end
end

describe("a large result", function()
  for dtype in pairs(sizes) do
    it("is that of its pieces, " .. dtype, function()
      local n = count(dtype)
      local a, b = values(dtype, n), values(dtype, n)
      check(function(x, y) return x + y end, a, b)
      check(function(x) return x * 3 end, a)
      check(function(x) return 3 - x end, a)
      check(function(x) return x:relu() end, a)
      check(function(x) return -x end, a)
    end)

    it("is that of its pieces where no line of memory begins, " .. dtype, function()
      local n = count(dtype)
      local a = values(dtype, n + 1)
      local out = nn.zeros({n + 3}, {dtype = dtype})
      local inner = out:narrow(1, 3, n)
      inner:copy_(a:narrow(1, 2, n))
      inner:mul_(2)
      assert.are.equal(0, out[1])
      assert.are.equal(0, out[2])
      assert.are.equal(0, out[n + 3])
      assert.is_true(inner:eq(a:narrow(1, 2, n) * 2):all():item())
    end)
  end

  it("is right for operands that are broadcast, strided or the result itself", function()
    local a = nn.randn(2049, 2050)
    local expected = nn.cat({a:narrow(1, 1, 1024):relu(), a:narrow(1, 1025, 1025):relu()}, 1)
    local b = a:clone()
    b:relu_()
    assert.is_true(b:eq(expected):all():item())
    assert.is_true(a:t():relu():eq(expected:t()):all():item())
    local row = nn.randn(2050)
    local sum = a + row
    assert.is_true(sum[1000]:eq(a[1000] + row):all():item())
    assert.is_true(sum[2049]:eq(a[2049] + row):all():item())
    local column = nn.randn(2049, 1)
    assert.is_true((a * column)[2049]:eq(a[2049] * column[2049]):all():item())
  end)

  it("has the gradient of its pieces", function()
    local n = count "float32"
    local x = nn.randn({n}, {requires_grad = true})
    local flow = nn.randn(n)
    x:relu():backward(flow)
    assert.is_true(x.grad:eq(nn.where(x:gt(0), flow, nn.zeros(n))):all():item())
  end)
end)
