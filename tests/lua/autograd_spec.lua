local nn = require "nnlua"
local support = require "support"

local assert_tensor, message_of = support.assert_tensor, support.message_of

local function leaf(values, dtype)
  return nn.tensor(values, { requires_grad = true, dtype = dtype })
end

describe("backward", function()
  support.count_tensors(before_each, after_each)

  it("gives the gradients of a sum of products", function()
    local x, w = leaf { 1, 2, 3 }, leaf { 4, 5, 6 };
    (x * w):sum():backward()
    assert_tensor(x.grad, { 3 }, { 4, 5, 6 })
    assert_tensor(w.grad, { 3 }, { 1, 2, 3 })
  end)

  it("adds to the gradient that is there", function()
    local x = leaf { 1, 2 }
    x:sum():backward()
    x:sum():backward()
    assert_tensor(x.grad, { 2 }, { 2, 2 })
    x.grad = nil
    assert.is_nil(x.grad)
  end)

  it("takes the gradient of a result that is no single number", function()
    local x = leaf { 1, 2 };
    (x * 3):backward(nn.tensor { 1, 10 })
    assert_tensor(x.grad, { 2 }, { 3, 30 })
  end)

  it("takes a lone table for its options", function()
    local x = leaf { 2 }
    local y = (x * x):sum()
    y:backward { retain_graph = true }
    y:backward(nil, { retain_graph = false })
    assert_tensor(x.grad, { 1 }, { 8 })
  end)

  it("cannot go through a graph that is freed", function()
    local x = leaf { 2 }
    local y = (x * x):sum()
    y:backward()
    assert.matches("freed by an earlier backward.*retain_graph", message_of(y.backward, y))
  end)

  it("refuses a value that was changed after it was used", function()
    local x = leaf { 1, 2 }
    local h = x * 2
    local y = (h * h):sum()
    h:add_(1)
    assert.matches("changed in place", message_of(y.backward, y))
  end)

  it("gives gradients through indexing and through writing by index", function()
    local x, v = leaf { 1, 2, 3 }, leaf { 10 }
    local y = x * 2
    y[2] = v[{ { 1, 1 } }]:sum() * 3
    y[{ { 1, 2 } }]:sum():backward()
    assert_tensor(x.grad, { 3 }, { 2, 0, 0 })
    assert_tensor(v.grad, { 1 }, { 3 })
  end)

  it("gives gradients through positions and masks", function()
    local x = leaf { 1, 2, 3 }
    local at = nn.tensor({ 1, 1, 3 }, { dtype = "int64" });
    (x[at]:sum() + x[x:gt(1)]:sum()):backward()
    assert_tensor(x.grad, { 3 }, { 2, 1, 2 })
  end)
end)

describe("the graph", function()
  support.count_tensors(before_each, after_each)

  it("knows leaves from results", function()
    local x = leaf { 1 }
    local y = x * 2
    assert.is_true(x.is_leaf and x.requires_grad)
    assert.is_true(not y.is_leaf and y.requires_grad)
    assert.is_true(y:detach().is_leaf and not y:detach().requires_grad)
    assert.is_false(nn.ones(1).requires_grad)
    assert.is_true(nn.ones(1):requires_grad_().requires_grad)
  end)

  it("keeps the gradient of a result when asked to", function()
    local x = leaf { 1, 2 }
    local y = x * 2
    y:retain_grad();
    (y * y):sum():backward()
    assert_tensor(y.grad, { 2 }, { 4, 8 })
  end)

  it("is not recorded inside no_grad, which returns what its function returns", function()
    local x = leaf { 1 }
    local y, a, b = nn.no_grad(function(k)
      assert(not nn.is_grad_enabled())
      return x * k, "a", nil
    end, 2)
    assert.is_false(y.requires_grad)
    assert.equal("a", a)
    assert.is_nil(b)
    assert.is_true(nn.no_grad(function()
      return nn.enable_grad(function() return (x * 2).requires_grad end)
    end))
  end)

  it("is recorded again after an error inside no_grad", function()
    local thrown = { reason = "any value" }
    local ok, message = pcall(nn.no_grad, function() error(thrown) end)
    assert.is_false(ok)
    assert.equal(thrown, message)
    assert.is_true(nn.is_grad_enabled())
  end)

  it("is freed when nobody ever goes back through it", function()
    local x = leaf { 1, 2 }
    local y = x
    for _ = 1, 500 do y = y * 1.001 end
    assert.is_true(y.requires_grad)
  end)
end)

describe("nn.grad", function()
  support.count_tensors(before_each, after_each)

  it("gives gradients without touching .grad", function()
    local x, w = leaf { 1, 2 }, leaf { 3, 4 }
    local dx, dw = nn.grad((x * w):sum(), { x, w })
    assert_tensor(dx, { 2 }, { 3, 4 })
    assert_tensor(dw, { 2 }, { 1, 2 })
    assert.is_nil(x.grad)
  end)

  it("gives nil for an input that the outputs do not depend on where that is allowed", function()
    local x, other = leaf { 1 }, leaf { 1 }
    local dx, none = nn.grad(x * 2, { x, other }, { allow_unused = true })
    assert_tensor(dx, { 1 }, { 2 })
    assert.is_nil(none)
  end)

  it("goes back through its own walk for derivatives of derivatives", function()
    local x = leaf({ 3 }, "float64")
    local first = nn.grad((x ^ 3):sum(), x, { create_graph = true })
    assert_tensor(first, { 1 }, { 27 }, 1e-9)
    local second = nn.grad(first:sum(), x)
    assert_tensor(second, { 1 }, { 18 }, 1e-9)
  end)
end)

describe("a hook", function()
  support.count_tensors(before_each, after_each)

  it("sees the gradient and may give another", function()
    local x, seen = leaf { 1, 2 }, nil
    local y = x * 2
    y:register_hook(function(grad) seen = grad:tolist() end)
    y:register_hook(function(grad) return grad * 10 end)
    y:sum():backward()
    assert.same({ 1, 1 }, seen)
    assert_tensor(x.grad, { 2 }, { 20, 20 })
  end)

  it("may raise any value, which backward raises in turn", function()
    local thrown = { code = 7 }
    local x = leaf { 1 }
    x:register_hook(function() error(thrown) end)
    local y = x:sum()
    local ok, message = pcall(y.backward, y)
    assert.is_false(ok)
    assert.equal(thrown, message)
    assert.is_nil(x.grad)
    local other = leaf { 1 }
    other:sum():backward()
    assert_tensor(other.grad, { 1 }, { 1 })
  end)

  it("may itself compute and go backward", function()
    local x, inner = leaf { 1 }, leaf { 2 }
    x:register_hook(function(grad)
      nn.enable_grad(function() (inner * 3):sum():backward() end)
      return grad + inner.grad
    end)
    x:sum():backward()
    assert_tensor(x.grad, { 1 }, { 4 })
  end)
end)

describe("nn.Function", function()
  support.count_tensors(before_each, after_each)

  it("is an operation with a gradient of the script's own", function()
    local scaled_square = nn.Function {
      forward = function(self, x, k)
        self.x, self.k = x, k
        return x * x * k
      end,
      backward = function(self, dout) return dout * self.x * (2 * self.k) end,
    }
    local x = leaf({ 1, 2 }, "float64")
    scaled_square(x, 3):sum():backward()
    assert_tensor(x.grad, { 2 }, { 6, 12 })
    assert.is_true(nn.gradcheck(function(a) return scaled_square(a, 5) end, x))
  end)

  it("may keep its own results for backward", function()
    local exponential = nn.Function {
      forward = function(self, x)
        self.y = x:exp()
        return self.y
      end,
      backward = function(self, dout) return dout * self.y end,
    }
    assert.is_true(nn.gradcheck(exponential, leaf({ 0.5, -1 }, "float64")))
    exponential(leaf { 1 })
  end)

  it("may have several inputs and results, of which some go unused", function()
    local both = nn.Function {
      forward = function(_, a, b) return a + b, a - b end,
      backward = function(_, dsum, ddifference) return dsum + ddifference, dsum - ddifference end,
    }
    local a, b = leaf({ 1, 2 }, "float64"), leaf({ 3, 4 }, "float64")
    assert.is_true(nn.gradcheck(both, { a, b }))
    local _, difference = both(a, b)
    difference:sum():backward()
    assert_tensor(b.grad, { 2 }, { -1, -1 })
  end)

  it("raises at backward what its own backward raises", function()
    local broken = nn.Function {
      forward = function(_, x) return x * 2 end,
      backward = function() error("no way back", 0) end,
    }
    local y = broken(leaf { 1 }):sum()
    assert.equal("no way back", message_of(y.backward, y))
  end)

  it("is told which gradient it did not give", function()
    local forgetful = nn.Function { forward = function(_, x) return x * 2 end, backward = function() end }
    local y = forgetful(leaf { 1 }):sum()
    assert.matches("no gradient for input 1", message_of(y.backward, y))
  end)
end)

describe("nn.gradcheck", function()
  support.count_tensors(before_each, after_each)

  it("agrees with operations that are right", function()
    local a, b = nn.randn(2, 3, { dtype = "float64" }), nn.randn(3, 2, { dtype = "float64" })
    a:requires_grad_()
    b:requires_grad_()
    assert.is_true(nn.gradcheck(function(x, y) return x:matmul(y):tanh(), x:exp() end, { a, b }))
  end)

  it("says where a gradient is wrong", function()
    local wrong = nn.Function {
      forward = function(_, x) return x * 2 end,
      backward = function(_, dout) return dout end,
    }
    local ok, where = nn.gradcheck(wrong, leaf({ 1, 2 }, "float64"))
    assert.is_false(ok)
    assert.matches("input 1, element 1", where)
  end)
end)
