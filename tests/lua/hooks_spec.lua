local nn = require "nnlua"
local support = require "support"

local assert_tensor, message_of = support.assert_tensor, support.message_of

local function leaf(values, dtype)
  return nn.tensor(values, { requires_grad = true, dtype = dtype })
end

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

  it("is removed by its handle, also while it runs", function()
    local x, calls, handle = leaf { 1 }, 0, nil
    handle = x:register_hook(function()
      calls = calls + 1
      handle:remove()
    end)
    x:register_hook(function(grad) return grad * 3 end)
    x:sum():backward()
    x:sum():backward()
    handle:remove()
    assert.equal(1, calls)
    assert_tensor(x.grad, { 1 }, { 6 })
  end)

  it("sees the whole gradient once, whatever parts it came in", function()
    local x, seen = leaf { 1, 2 }, {}
    x:register_hook(function(grad) seen[#seen + 1] = grad:tolist() end);
    ((x * 2):sum() + (x * x):sum()):backward()
    assert.same({ { 4, 6 } }, seen)
  end)

  it("must return a gradient of the same shape and dtype", function()
    local x, y = leaf { 1, 2 }, leaf { 1, 2 }
    x:register_hook(function() return nn.ones(3) end)
    y:register_hook(function() return nn.ones(2, { dtype = "float64" }) end)
    local a, b = x:sum(), y:sum()
    assert.matches("shape that it was given", message_of(a.backward, a))
    assert.matches("dtype that it was given, float32, not float64", message_of(b.backward, b))
  end)

  it("stays with the value that it was registered on when the tensor changes in place", function()
    local x, seen = leaf { 1 }, nil
    local y = x * 2
    y:register_hook(function(grad) seen = grad:item() end)
    y:mul_(3);
    (y * y):sum():backward()
    assert.equal(36, seen)
  end)

  it("may hold the tensor it belongs to: a backward through the graph lets both go", function()
    local x = leaf { 1 }
    local y = x * 2
    y:register_hook(function() return y:detach() end)
    y:sum():backward()
    assert_tensor(x.grad, { 1 }, { 4 })
  end)

  it("goes with its graph when the coroutine that made it is long gone", function()
    for _ = 1, 20 do
      local kept
      coroutine.wrap(function()
        local y = leaf { 1 } * 2
        y:register_hook(function(grad) return grad * 2 end)
        kept = y:sum()
        coroutine.yield()
      end)()
      collectgarbage()
      assert.is_true(kept ~= nil)
      kept = nil
      collectgarbage()
      assert.is_nil(kept)
    end
  end)

  it("is refused on a tensor that requires no gradient", function()
    local x = nn.ones(1)
    assert.matches("does not require a gradient", message_of(x.register_hook, x, print))
    assert.is_false(pcall(x.register_hook, x, 3))
  end)

  it("may go backward through the graph that is being walked, which keeps its own sums", function()
    local x, inner = leaf { 3 }, nil
    local shared = x * x
    local y = shared * 2
    y:register_hook(function()
      nn.enable_grad(function() inner = nn.grad(shared:sum(), x, { retain_graph = true }) end)
    end);
    (y + shared):sum():backward()
    assert_tensor(inner, { 1 }, { 6 })
    assert_tensor(x.grad, { 1 }, { 18 })
  end)
end)
