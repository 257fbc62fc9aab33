-- Sums of many equal numbers: each addition rounds the same way, so a long chain of them would drift far.
local nn = require "nnlua"

local step = {float32 = 2 ^ -23, float64 = 2 ^ -52}
local counts = {1, 511, 4096, 65537, 1000003}

local function off(got, exact, dtype) return math.abs(got - exact) / math.abs(exact) / step[dtype] end

describe("a sum of many numbers", function()
  for _, dtype in ipairs {"float32", "float64"} do
    local tenth = nn.tensor({0.1}, {dtype = dtype}):item()

    it("is off by a few steps, along a row and down columns, " .. dtype, function()
      for _, n in ipairs(counts) do
        local x = nn.full({n}, 0.1, {dtype = dtype})
        assert.is_true(off(x:sum():item(), tenth * n, dtype) <= 3)
        assert.is_true(off(x:mean():item(), tenth, dtype) <= 3)
        assert.is_true(off(x:norm():item(), tenth * math.sqrt(n), dtype) <= 3)
        local columns = x:reshape(n, 1):expand(n, 3):contiguous()
        assert.is_true(off(columns:sum(1)[2], tenth * n, dtype) <= 3)
      end
    end)

    it("of exponentials is off by a few steps, " .. dtype, function()
      for _, n in ipairs(counts) do
        for dim, shape in ipairs {{n, 3}, {1, n}} do
          local x = nn.full(shape, 0.3, {dtype = dtype})
          assert.is_true(off(x:softmax(dim)[1][1], 1 / n, dtype) <= 3)
          assert.is_true(math.abs(x:log_softmax(dim)[1][1] + math.log(n)) <= 3 * step[dtype] * math.max(1, math.log(n)))
        end
      end
    end)

    it("of products in softmax's gradient is off by a few steps, " .. dtype, function()
      local n = 65537
      for dim, shape in ipairs {{n, 3}, {1, n}} do
        local x = nn.zeros(shape, {dtype = dtype, requires_grad = true})
        x:softmax(dim):backward(nn.full(shape, 0.1, {dtype = dtype}))
        assert.is_true(x.grad:abs():max():item() * n <= 8 * step[dtype])
      end
    end)

    it("of what a normalisation gathers for its bias is off by a few steps, " .. dtype, function()
      for _, make in ipairs {nn.LayerNorm, nn.BatchNorm1d} do
        local norm = make(8):to(dtype)
        norm(nn.randn(100000, 8, {dtype = dtype})):backward(nn.full({100000, 8}, 0.1, {dtype = dtype}))
        assert.is_true(off(norm.bias.grad[3], tenth * 100000, dtype) <= 8)
      end
    end)
  end

  it("stays infinite or NaN", function()
    for _, dtype in ipairs {"float32", "float64"} do
      local x = nn.zeros(10000, {dtype = dtype})
      x[5000] = math.huge
      assert.are.equal(math.huge, x:sum():item())
      assert.are.equal(math.huge, x:logsumexp(1):item())
      x[5001] = -math.huge
      assert.is_true(x:sum():item() ~= x:sum():item())
      local loss = nn.MSELoss {reduction = "sum"}
      x[5001] = 0
      assert.are.equal(math.huge, loss(x, nn.zeros(10000, {dtype = dtype})):item())
    end
  end)
end)
