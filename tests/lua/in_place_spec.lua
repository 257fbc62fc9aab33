-- Changes in place inside the graph, through tensors and through views of them. The numbers are PyTorch's.
local nn = require "nnlua"
local support = require "support"

local assert_tensor, message_of = support.assert_tensor, support.message_of

local function row(first, last)
  return nn.arange(first, last + 1, { dtype = "float64" })
end

--- 1/3, 2/3, ... 2: a leaf
local function thirds()
  return (row(1, 6) / 3):requires_grad_()
end

local function leaf(values)
  return nn.tensor(values, { dtype = "float64", requires_grad = true })
end

local function positions(values)
  return nn.tensor(values, { dtype = "int64" })
end

local function part(t, from, to)
  return t[{ { from, to } }]
end

local function assert_near(t, values)
  assert_tensor(t, t.shape, values, 2e-6)
end

describe("a change in place", function()
  support.count_tensors(before_each, after_each)

  it("through views of rows, columns and the transpose is one of the tensor itself", function()
    local w, v = thirds(), leaf { 5, 6, 7 }
    local x = (w * 2):view(2, 3)
    x[1] = v
    x:select(1, 2):mul_(3)
    x:t():add_(1)
    x[{ {}, 2 }]:zero_();
    (x * x):sum():backward()
    assert_near(x, { 6, 0, 8, 9, 0, 13 })
    assert_near(v.grad, { 12, 0, 16 })
    assert_near(w.grad, { 0, 0, 0, 108, 0, 156 })
  end)

  it("is seen by all views, and by views of views", function()
    local w = thirds()
    local x = w * 2
    local a, b = part(x, 1, 3), part(x, 3, 5)
    local c = part(a, 2, 3)
    a:mul_(part(w, 1, 3))
    b:add_(a)
    c:sin_();
    (x * x * x):sum():backward()
    assert_near(w.grad, { -1.336158, 104.175006, 336.732267, 75.851852, 170.666667, 96 })
    assert_near(c, { 0.776372, 0.79522 })
  end)

  it("of the base gives its views a new history", function()
    local w = thirds()
    local x = w * 2
    local a = part(x, 1, 3)
    x:mul_(w);
    (a * a):sum():backward()
    assert_near(w.grad, { 0.592593, 4.740741, 16, 0, 0, 0 })
  end)

  it("of a constant by what requires a gradient brings its views into the graph", function()
    local w, x = thirds(), nn.zeros(2, 3, { dtype = "float64" })
    local second = x[2]
    assert.is_false(second.requires_grad)
    x[1] = part(w, 1, 3)
    assert.is_true(second.requires_grad and not second.is_leaf)
    second:add_(part(w, 4, 6));
    (x * row(0, 5):view(2, 3)):sum():backward()
    assert_near(w.grad, { 0, 1, 2, 3, 4, 5 })
  end)

  it("reaches views that repeat elements", function()
    local w = thirds()
    local x = w * 1
    local wide = x:expand(2, 6)
    x:mul_(w);
    (wide * row(0, 11):view(2, 6)):sum():backward()
    assert_near(w.grad, { 4, 10.666667, 20, 32, 46.666667, 64 })
  end)

  it("of a part of what reshape had to copy keeps the history of the rest", function()
    local x = nn.tensor({ 1, 2, 3, 4 }, { dtype = "float64", requires_grad = true })
    for _, flat in ipairs { x:view(2, 2):t():flatten(), x:view(2, 2):t():reshape(4) } do
      x.grad = nil
      flat:select(1, 3):mul_(3)
      flat:sum():backward()
      assert_tensor(x.grad, { 4 }, { 1, 3, 1, 1 })
    end
    local inside = nn.no_grad(function() return x:view(2, 2):t():reshape(4) end)
    inside:mul_(x)
    assert.is_true(inside.requires_grad)
  end)

  it("reaches a base whose elements are in another order", function()
    local w = thirds()
    local x = (w * 1):view(2, 3):t():detach()
    local second = x[2]
    second:mul_(part(w, 1, 2))
    x[3]:add_(part(w, 3, 4));
    (x * x):sum():backward()
    assert_near(w.grad, { 0.296296, 3.703704, 4, 6.666667, 0, 0 })
  end)

  it("may be an operation that needs its operand or its result for backward", function()
    local w = thirds()
    local x = w * 2
    x:div_(w + 1)
    x:pow_(3)
    x:sub_(w);
    (x * x):sum():backward()
    assert_near(w.grad, { 0.065104, -0.118289, 0, 0.140061, 0.182393, 0.137174 })
    w.grad = nil
    local y = w * 2
    y:relu_():sigmoid_():tanh_();
    (y * w):sum():backward()
    assert_near(w.grad, { 0.67823, 0.783666, 0.811898, 0.807904, 0.795787, 0.784428 })
  end)

  it("by scatter_ is recorded", function()
    local w = thirds()
    local x = (w * 2):view(2, 3)
    x:scatter_(2, positions { { 1 }, { 3 } }, part(w, 1, 2):view(2, 1))
    x:scatter_add_(1, positions { { 2, 1, 2 } }, part(w, 4, 6):view(1, 3));
    (x * x * x):sum():backward()
    assert_near(w.grad, { 0.333333, 75.333333, 24, 144, 93.666667, 21.333333 })
  end)

  it("of one element after the other is a recurrence", function()
    local w, h = thirds(), nn.zeros(7, { dtype = "float64" })
    for k = 1, 6 do h[k + 1] = h:select(1, k):clone() * 0.5 + w:select(1, k) ^ 2 end
    h:sum():backward()
    assert_near(w.grad, { 1.3125, 2.583333, 3.75, 4.666667, 5, 4 })
  end)

  it("has gradients of gradients", function()
    local w = thirds()
    local x = w * w
    part(x, 2, 4):mul_(part(w, 3, 5))
    x[positions { 1, 6 }] = part(w, 2, 3) * part(w, 4, 5)
    local g = nn.grad((x * x * x):sum(), w, { create_graph = true });
    (g * g):sum():backward()
    assert_near(g, { 0, 3.950617, 28.374486, 123.968907, 132.315958, 0 })
    assert_tensor(w.grad, { 6 }, { 0, 2019.366966, 20210.271978, 169035.353564, 132431.583029, 0 }, 1e-5)
  end)

  it("leaves nothing behind when nobody goes back through it", function()
    local w = thirds()
    local x = w * 2
    local y = x * w
    x:add_(y)
    part(x, 1, 3):mul_(part(x, 4, 6))
    x:copy_(x * x)
    assert.is_true(x.requires_grad)
  end)

  it("of values that are needed is an error at backward that names them", function()
    local w = thirds()
    local x = w * 2
    local y = (x * x):sum()
    part(x, 1, 2):detach()[1] = 1
    assert.matches("mul needs its operand 1 of shape %(6%), which was changed in place", message_of(y.backward, y))
    local e = w:exp()
    local z = e:sum()
    e:add_(1)
    assert.matches("exp needs its result of shape %(6%), which was changed in place", message_of(z.backward, z))
  end)

  it("is no part of the graph inside no_grad", function()
    local w = thirds()
    local x = w * 2
    nn.no_grad(function() x:mul_(10) end);
    (part(x, 2, 3) ^ 2):sum():backward()
    assert_near(w.grad, { 0, 53.333333, 80, 0, 0, 0 })
  end)

  it("is refused for a leaf that requires a gradient, and for views of it", function()
    local w = thirds()
    assert.matches("a leaf that requires a gradient", message_of(w.add_, w, 1))
    assert.matches("a leaf that requires a gradient", message_of(function() w[1] = 3 end))
    local view = part(w, 1, 2)
    assert.matches("a view of a leaf that requires a gradient", message_of(view.mul_, view, 2))
    local turned = w:view(2, 3):t()
    assert.matches("a view of a leaf that requires a gradient", message_of(turned.zero_, turned))
    nn.no_grad(function() view:zero_() end)
    assert_near(w, { 0, 0, 1, 4 / 3, 5 / 3, 2 })
  end)

  it("is refused where elements share memory, or where a view was made inside no_grad", function()
    local x = nn.ones(3, 1):expand(3, 4)
    assert.matches("clone%(%) it before", message_of(x.add_, x, 1))
    local y = thirds() * 2
    local view = nn.no_grad(part, y, 1, 2)
    assert.matches("made inside nn.no_grad", message_of(view.mul_, view, 2))
  end)

  it("is allowed for gradients that a walk gave", function()
    local w, x = thirds(), thirds()
    local g = nn.grad((x:view(2, 3):t() * 3):sum(), x)
    g:mul_(w)
    g:sum():backward()
    assert_near(w.grad, { 3, 3, 3, 3, 3, 3 })
  end)

  it("may read other parts of the tensor that it writes to", function()
    local x = row(1, 6)
    part(x, 2, 6):add_(part(x, 1, 5))
    assert_near(x, { 1, 3, 5, 7, 9, 11 })
    part(x, 1, 5):copy_(part(x, 2, 6))
    assert_near(x, { 3, 5, 7, 9, 11, 11 })
  end)
end)

describe("writing at positions or under a mask", function()
  support.count_tensors(before_each, after_each)

  it("gives gradients to the values and to what stays", function()
    local w, u = thirds(), leaf { 1, 2, 3 }
    local x = w * w
    x[nn.tensor { true, false, true, true, false, false }] = u * u;
    (x * x):sum():backward()
    assert_near(w.grad, { 0, 1.185185, 0, 0, 18.518519, 32 })
    assert_near(u.grad, { 4, 32, 108 })
  end)

  it("takes a number, one value for all, or one for each", function()
    local w, u = thirds(), nn.tensor(2, { dtype = "float64", requires_grad = true })
    local x = (w * w):view(2, 3)
    x[x:gt(1)] = u;
    (x * x * x):sum():backward()
    assert_near(w.grad, { 0.024691, 0.790123, 6, 0, 0, 0 })
    assert_near(u.grad, { 36 })
    local y = row(1, 6)
    y[positions { { 1, 2 }, { 5, 6 } }] = nn.tensor { { 10, 20 }, { 30, 40 } }
    y[y:gt(25)] = -1
    assert_near(y, { 10, 20, 3, 4, -1, -1 })
  end)

  it("gives every equal position the gradient of what came there", function()
    local w, x = thirds(), nn.zeros(6, { dtype = "float64" })
    x[positions { 1, 3, 3, 6 }] = part(w, 1, 4) * 2;
    (x * row(0, 5)):sum():backward()
    assert_near(w.grad, { 0, 4, 4, 10, 0, 0 })
    assert_near(x, { 2 / 3, 0, 2, 0, 0, 8 / 3 })
  end)

  it("works on tensors of any strides, in the graph or outside of it", function()
    local w, u = thirds(), leaf { 1, 2, 3 }
    local x = (w * w):view(3, 2):t()
    x[positions { 2 }] = u;
    (x * x * x):sum():backward()
    assert_near(w.grad, { 0.024691, 0, 6, 0, 77.160494, 0 })
    assert_near(u.grad, { 3, 12, 27 })
    local y = row(1, 6):view(2, 3)
    y:t()[positions { 3, 1 }] = nn.tensor { 7, 8 }
    assert_near(y, { 7, 2, 7, 8, 5, 8 })
  end)

  it("refuses values that do not fit", function()
    local x = row(1, 6)
    local function write(key, value) return message_of(function() x[key] = value end) end
    local mask = x:gt(4)
    assert.matches("values of shape %(4%) do not fit the chosen part of shape %(2%)", write(mask, nn.ones(4)))
    assert.matches("position 7", write(positions { 7 }, 1))
    assert.matches("a mask of shape %(1%)", write(nn.tensor { true }, 1))
  end)
end)
