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

  it("names what made a tensor, and lets one leave in place", function()
    local x = leaf { 1, 2 }
    local y = x * 2
    assert.equal("mul", y.grad_fn)
    assert.is_nil(x.grad_fn)
    assert.equal(y, y:detach_())
    assert.is_true(y.is_leaf and not y.requires_grad and y.grad_fn == nil)
    local z = (x * 2)[{ { 1, 1 } }]
    assert.is_true(z.requires_grad)
    local whole = x * 2
    local part = whole[{ { 1, 1 } }]
    assert.matches("a view cannot leave", message_of(part.detach_, part))
  end)

  it("may be a diamond, and shared by two losses", function()
    local x = leaf { 2 }
    local shared = x * x
    local left, right = shared * 3, shared:exp()
    local a, b = (left + right):sum(), (left * 2):sum()
    a:backward { retain_graph = true }
    b:backward()
    assert_tensor(x.grad, { 1 }, { 4 * (3 + math.exp(4)) + 24 }, 1e-3)
  end)

  it("may be a chain of any length", function()
    local x = leaf { 1 }
    local y = x
    for _ = 1, 100000 do y = y + x end
    y:backward()
    assert.equal(100001, x.grad:item())
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

describe("a gradient field", function()
  support.count_tensors(before_each, after_each)

  it("takes a tensor of the same shape and dtype, or nil", function()
    local x = leaf { 1, 2 }
    local function set(value) return function() x.grad = value end end
    x.grad = nn.tensor { 5, 6 }
    x:sum():backward()
    assert_tensor(x.grad, { 2 }, { 6, 7 })
    assert.matches("expected %(2%) of float32, got %(3%) of float32", message_of(set(nn.ones(3))))
    assert.matches("got %(2%) of float64", message_of(set(nn.ones(2, { dtype = "float64" }))))
    assert.matches("its own gradient", message_of(set(x)))
    assert.is_false(pcall(set(3)))
    x.grad = nil
    assert.is_nil(x.grad)
  end)

  it("belongs to floats alone", function()
    local t = nn.ones(2, { dtype = "int64" })
    assert.matches("only floating%-point tensors have gradients", message_of(t.requires_grad_, t))
    assert.is_false(pcall(nn.ones, 2, { dtype = "int64", requires_grad = true }))
  end)

  it("follows a tensor that keeps it through a change in place", function()
    local x = leaf { 1 }
    local y = x * 2
    y:retain_grad()
    y:mul_(3);
    (y * y):sum():backward()
    assert_tensor(y.grad, { 1 }, { 12 })
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

  it("raises where an input is not used, unless that is allowed", function()
    local x, other = leaf { 1 }, leaf { 1 }
    assert.matches("do not depend on input 2", message_of(nn.grad, (x * 2):sum(), { x, other }))
    assert.matches("at least one tensor expected, got an empty list", message_of(nn.grad, x:sum(), {}))
    assert.matches("at least one tensor expected, got an empty list", message_of(nn.grad, nn, x))
  end)

  it("goes only where its inputs are", function()
    local visited = 0
    local counted = nn.Function {
      forward = function(_, x) return x * 2 end,
      backward = function(_, dout)
        visited = visited + 1
        return dout * 2
      end,
    }
    local x, w = leaf { 1, 2 }, leaf { 3, 4 }
    local y, z = counted(w), x * 5
    local loss = (y * z):sum()
    assert_tensor(nn.grad(loss, x, { retain_graph = true }), { 2 }, { 30, 40 })
    assert.equal(0, visited)
    local dy, dz = nn.grad(loss, { y, z }, { retain_graph = true })
    assert_tensor(dy, { 2 }, { 5, 10 })
    assert_tensor(dz, { 2 }, { 6, 8 })
    assert.equal(0, visited)
    assert_tensor(nn.grad(y, y, { grad_outputs = z:detach(), retain_graph = true }), { 2 }, { 5, 10 })
    loss:backward()
    assert.equal(1, visited)
    assert_tensor(w.grad, { 2 }, { 10, 20 })
  end)

  it("takes the gradients of its outputs", function()
    local x = leaf { 1, 2 }
    local y, z = x * 3, x * x
    local dx = nn.grad({ y, z }, x, { grad_outputs = { nn.tensor { 1, 10 }, nn.tensor { 1, 1 } } })
    assert_tensor(dx, { 2 }, { 5, 34 })
    assert.matches("as many grad_outputs", message_of(nn.grad, { x * 1 }, x, { grad_outputs = { y, z } }))
  end)

  it("keeps the graph where it is told to", function()
    local x = leaf { 3 }
    local y = (x * x):sum()
    assert_tensor(nn.grad(y, x, { retain_graph = true }), { 1 }, { 6 })
    assert_tensor(nn.grad(y, x), { 1 }, { 6 })
    assert.matches("freed", message_of(nn.grad, y, x))
  end)

  it("gives the numbers of PyTorch for a gradient penalty", function()
    local function steps(from, step, ...)
      local shape = { ... }
      local count = 1
      for _, size in ipairs(shape) do count = count * size end
      return (nn.arange(count, { dtype = "float64" }) * step + from):reshape(shape)
    end
    local w1, w2 = steps(-0.5, 0.1, 4, 3):requires_grad_(), steps(-0.3, 0.25, 1, 4):requires_grad_()
    local x = steps(-1, 0.3, 5, 3):requires_grad_()
    local score = nn.functional.linear(nn.functional.linear(x, w1):tanh(), w2)
    local slope = nn.grad(score:sum(), x, { create_graph = true })
    local penalty = ((slope:norm(2, 2) - 1) ^ 2):mean()
    penalty:backward()
    assert.is_true(math.abs(penalty:item() - 0.639273208637683) < 1e-12)
    assert_tensor(w1.grad, { 4, 3 }, {
      -0.0125169966074, -0.0113381885046, -0.0101593804019, 0.0207472027705, 0.0203216824331, 0.0198961620957,
      -0.0191417116851, -0.0157022513519, -0.0122627910187, 0.0231041641853, 0.0180395100222, 0.012974855859,
    }, 1e-10)
    assert_tensor(w2.grad, { 1, 4 }, { 0.26274389937, 0.206393187532, -0.259659014116, -0.254457944875 }, 1e-10)
  end)

  it("goes back through its own walk for derivatives of derivatives", function()
    local x = leaf({ 3 }, "float64")
    local first = nn.grad((x ^ 3):sum(), x, { create_graph = true })
    assert_tensor(first, { 1 }, { 27 }, 1e-9)
    local second = nn.grad(first:sum(), x)
    assert_tensor(second, { 1 }, { 18 }, 1e-9)
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

  it("checks the gradients of gradients, and takes eps, atol and rtol", function()
    local x, y = nn.rand(2, 3, { dtype = "float64" }), nn.rand(3, { dtype = "float64" })
    x:requires_grad_()
    y:requires_grad_()
    local function fn(a, b) return (a * b):softmax(2):log() end
    assert.is_true(nn.gradgradcheck(fn, { x, y }))
    assert.is_true(nn.gradcheck(fn, { x, y }, { eps = 1e-5, atol = 1e-6, rtol = 1e-4 }))
    assert.is_false((nn.gradcheck(fn, { x, y }, { eps = 0.1, atol = 1e-9, rtol = 0 })))
    assert.is_true(nn.gradgradcheck(function(a) return a * 3 end, x))
    assert.matches("unknown option 'tol'", message_of(nn.gradcheck, fn, { x, y }, { tol = 1 }))
    assert.matches("input 1 is float32", message_of(nn.gradcheck, fn, { leaf { 1 } }))
  end)

  it("holds for gradients of gradients through indexing, norms, losses and layers", function()
    local function values(...)
      return (nn.rand({ ... }, { dtype = "float64" }) * 0.8 + 0.1):requires_grad_()
    end
    local x, y, labels = values(3, 4), values(3, 4), nn.tensor({ 1, 3, 2 }, { dtype = "int64" })
    local dense = nn.Dense(4, 5, { activation = "gelu" }):to("float64")
    local functions = {
      function(a, b) return a[a:gt(0.4)] ^ 2, b[labels] ^ 3, a:norm(2, 1) * b:norm(1.5), a:var(1) * b:std() end,
      function(a, b)
        local c = a * a
        c[labels] = b ^ 3
        c[{ {}, { 2, 3 } }]:mul_(a[{ {}, { 1, 2 } }])
        return c * c
      end,
      function(a, b) return nn.functional.mse_loss(a, b), nn.functional.binary_cross_entropy(a, b) end,
      function(a, b)
        return nn.functional.cross_entropy(a * b, labels, { label_smoothing = 0.1 }), dense(a):matmul(dense(b):t())
      end,
    }
    for _, fn in ipairs(functions) do assert.is_true(nn.gradgradcheck(fn, { x, y }, { atol = 1e-4 })) end
  end)

  it("names what has no further derivative", function()
    local x = leaf({ 0, 2, 3 }, "float64")
    local g = nn.grad(x:prod(), x, { create_graph = true })
    assert_tensor(g, { 3 }, { 6, 0, 0 })
    g = (g * g):sum()
    assert.matches("the gradient of prod where a factor is 0 is not differentiable", message_of(g.backward, g))
    local second = nn.grad(nn.grad(x:exp():sum(), x, { create_graph = true }):sum(), x, { create_graph = true }):sum()
    assert.matches("the second derivative of exp is not differentiable", message_of(second.backward, second))
  end)

  it("finds a second derivative that is missing", function()
    local constant = nn.Function {
      forward = function(self, x)
        self.x = x:detach()
        return x * x
      end,
      backward = function(self, dout) return dout * self.x * 2 end,
    }
    local x = leaf({ 1, 2 }, "float64")
    assert.is_true(nn.gradcheck(constant, x))
    assert.is_false((nn.gradgradcheck(constant, x)))
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
