local nn = require "nnlua"
local support = require "support"

local assert_tensor, message_of = support.assert_tensor, support.message_of

local function leaf(values, dtype)
  return nn.tensor(values, { requires_grad = true, dtype = dtype })
end

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

  it("raises at backward what its own backward raises, with its name if it has one", function()
    local function broken(name)
      return nn.Function {
        name = name,
        forward = function(_, x) return x * 2 end,
        backward = function() error("no way back", 0) end,
      }
    end
    local y, z = broken()(leaf { 1 }):sum(), broken("doubled")(leaf { 1 }):sum()
    assert.equal("no way back", message_of(y.backward, y))
    assert.equal("doubled backward: no way back", message_of(z.backward, z))
  end)

  it("is told which gradient it did not give, or gave in another shape", function()
    local function with(backward)
      local y = nn.Function { forward = function(_, x) return x * 2 end, backward = backward }(leaf { 1 }):sum()
      return message_of(y.backward, y)
    end
    assert.matches("no gradient for input 1", with(function() end))
    assert.matches("shape %(2%) for input 1 of shape %(1%)", with(function() return nn.ones(2) end))
    assert.matches("gave a number as the gradient of input 1", with(function() return 3 end))
  end)

  it("may answer nil where nothing flows", function()
    local first = nn.Function {
      forward = function(_, a, b) return a + b end,
      backward = function(_, dout) return dout, nil end,
    }
    local a, b = leaf { 1 }, leaf { 2 }
    first(a, b):sum():backward()
    assert_tensor(a.grad, { 1 }, { 1 })
    assert.is_nil(b.grad)
  end)

  it("saves tensors for backward and knows which arguments need gradients", function()
    local needs
    local product = nn.Function {
      forward = function(self, a, k, b)
        self:save_for_backward(a, b)
        needs, self.k = self.needs_input_grad, k
        return a * b * k
      end,
      backward = function(self, dout)
        local a, b = self:saved_tensors()
        assert(a == self.saved_tensors[1])
        return dout * b * self.k, nil, dout * a * self.k
      end,
    }
    local a, b = leaf({ 2, 3 }, "float64"), leaf({ 4, 5 }, "float64")
    product(a, 2, b):sum():backward()
    assert_tensor(a.grad, { 2 }, { 8, 10 })
    assert.same({ true, false, true }, needs)
    product(a:detach(), 2, b)
    assert.same({ false, false, true }, needs)
    local function by_two(x, y) return product(x, 2, y) end
    assert.is_true(nn.gradcheck(by_two, { a, b }))
    assert.is_true(nn.gradgradcheck(by_two, { a, b }))
  end)

  it("may save its results, through which second derivatives flow", function()
    local exponential = nn.Function {
      forward = function(self, x)
        local y = x:exp()
        self:save_for_backward(y)
        return y
      end,
      backward = function(self, dout) return dout * self.saved_tensors[1] end,
    }
    local x = leaf({ 0.5, -1 }, "float64")
    assert.is_true(nn.gradcheck(exponential, x))
    assert.is_true(nn.gradgradcheck(exponential, x))
  end)

  it("refuses a saved tensor that was changed in place", function()
    local square = nn.Function {
      name = "square",
      forward = function(self, x)
        self:save_for_backward(x)
        return x * x
      end,
      backward = function(self, dout) return dout * self.saved_tensors[1] * 2 end,
    }
    local x = leaf { 1, 2 } * 1
    local y = square(x):sum()
    x:add_(1)
    assert.matches("changed in place", message_of(y.backward, y))
  end)

  it("has results without a gradient if it says so", function()
    local largest = nn.Function {
      forward = function(self, x)
        local value, position = x:max(1)
        local rank = x:gt(0):float()
        self:mark_non_differentiable(rank)
        self.position, self.n = position, x:numel()
        return value, rank
      end,
      backward = function(self, dout)
        local gradient = nn.zeros(self.n)
        gradient[self.position:item()] = dout:item()
        return gradient
      end,
    }
    local x = leaf { 1, 5, 2 }
    local value, rank = largest(x)
    assert.is_false(rank.requires_grad)
    value:backward()
    assert_tensor(x.grad, { 3 }, { 0, 1, 0 })
  end)
end)
