-- Operations that cut, turn, repeat or add up along dimensions. Their gradients are also checked one by one in
-- tests/c/test_gradcheck.c.
local nn = require "nnlua"
local support = require "support"
local LEAST, MOST = math.mininteger or -2 ^ 63, math.maxinteger or 2 ^ 62

local assert_tensor, message_of = support.assert_tensor, support.message_of

--- 1, 2, 3 ... in a shape.
local function count(...)
  local shape = { ... }
  local size = 1
  for _, n in ipairs(shape) do size = size * n end
  return nn.range(1, size, { dtype = "float64" }):reshape(shape)
end

local function leaf(values, dtype)
  return nn.tensor(values, { requires_grad = true, dtype = dtype or "float64" })
end

--- The shapes of a list of tensors, as text.
local function shapes(list)
  local texts = {}
  for i, item in ipairs(list) do texts[i] = table.concat(item.shape, "x") end
  return table.concat(texts, " ")
end

describe("cutting a tensor", function()
  support.count_tensors(before_each, after_each)

  it("gives pieces of one size, the last of what is left", function()
    assert.equal("2x2 2x2 1x2", shapes(count(5, 2):split(2)))
    assert.equal("2x2 2x1", shapes(count(2, 3):split(2, -1)))
    assert_tensor(count(5):split(3)[2], { 2 }, { 4, 5 })
    assert.equal("5", shapes(nn.split(count(5), 9)))
  end)

  it("gives pieces of the sizes listed, which may be 0", function()
    local pieces = count(2, 5):split({ 1, 0, 4 }, 2)
    assert.equal("2x1 2x0 2x4", shapes(pieces))
    assert_tensor(pieces[3], { 2, 4 }, { 2, 3, 4, 5, 7, 8, 9, 10 })
    local sizes = nn.tensor({ 2, 3 }, { dtype = "int64" })
    assert.equal("2 3", shapes(count(5):split(sizes)))
  end)

  it("gives chunks as PyTorch counts them: at most as many as asked for", function()
    assert.equal("3 2", shapes(count(5):chunk(2)))
    assert.equal("2 2 2", shapes(count(6):chunk(4)))
    assert.equal("1 1", shapes(count(2):chunk(7)))
    assert.equal("2x2 2x1", shapes(nn.chunk(count(2, 3), 2, { dim = 2 })))
  end)

  it("unbinds the positions of a dimension", function()
    local columns = count(2, 3):unbind(2)
    assert.equal("2 2 2", shapes(columns))
    assert_tensor(columns[3], { 2 }, { 3, 6 })
    assert_tensor(count(2):unbind()[2], {}, { 2 })
  end)

  it("cuts what is empty", function()
    assert.equal("0x3", shapes(nn.zeros(0, 3):split(2)))
    assert.equal("0x3 0x3", shapes(nn.zeros(0, 3):chunk(2)))
    assert.equal(0, #nn.zeros(0, 3):unbind())
    assert.equal(0, #nn.zeros(0):split {})
  end)

  it("gives views: writing to a piece changes the tensor", function()
    local x = nn.zeros(2, 4)
    x:t():split(3)[2]:fill_(7)
    x:chunk(2)[1]:add_(1)
    x:unbind(2)[2]:fill_(5)
    assert_tensor(x, { 2, 4 }, { 1, 5, 1, 8, 0, 5, 0, 7 })
  end)

  it("joins the gradients of all pieces, with 0 for those that nobody used", function()
    local x = leaf { 1, 2, 3, 4, 5 }
    local pieces = x:split(2);
    (pieces[1] * 2 + pieces[2]:sum()):sum():backward()
    assert_tensor(x.grad, { 5 }, { 2, 2, 2, 2, 0 })
    local y = leaf { { 1, 2 }, { 3, 4 } }
    y:unbind(2)[2]:pow(2):sum():backward()
    assert_tensor(y.grad, { 2, 2 }, { 0, 4, 0, 8 })
  end)

  it("goes back once through many pieces, and keeps what others retain", function()
    local x = nn.ones(300, 2, { requires_grad = true })
    local rows, total = x:unbind(), 0
    rows[7]:retain_grad()
    for i, row in ipairs(rows) do total = total + row * i end
    total:sum():backward()
    assert_tensor(x.grad:select(2, 1), { 300 }, nn.range(1, 300):tolist())
    assert_tensor(rows[7].grad, { 2 }, { 7, 7 })
  end)

  it("lets a piece be changed in place within the graph", function()
    local w = leaf { 1, 2, 3, 4 }
    local x = w * 2
    local pieces = x:split(2)
    pieces[1]:mul_(5)
    pieces[2][1] = 7
    assert_tensor(x:detach(), { 4 }, { 10, 20, 7, 8 })
    x:dot(nn.tensor({ 1, 10, 100, 1000 }, { dtype = x.dtype })):backward()
    assert_tensor(w.grad, { 4 }, { 10, 100, 0, 2000 })
  end)

  it("tells what does not fit", function()
    local x = count(2, 5)
    assert.matches("split: the sizes do not add up to 5, .*dimension 2 of shape %(2, 5%)",
      message_of(x.split, x, { 1, 2 }, 2))
    assert.matches("negative", message_of(x.split, x, { -1, 3 }))
    assert.matches("pieces of size 0", message_of(x.split, x, 0))
    assert.matches("at least 1 chunk, got 0", message_of(x.chunk, x, 0))
    assert.matches("no dimensions", message_of(nn.split, nn.tensor(1), 1))
    assert.matches("no dimensions", message_of(nn.unbind, nn.tensor(1)))
    assert.matches("dimension 3 is not within 1 to 2", message_of(x.unbind, x, 3))
    assert.matches("integer or list of integers expected, got string", message_of(x.split, x, "2"))
    assert.matches("integer expected at position 2, got number", message_of(x.split, x, { 1, 0.5 }))
    assert.matches("too long", message_of(nn.zeros(0).chunk, nn.zeros(0), MOST))
  end)
end)

describe("windows", function()
  support.count_tensors(before_each, after_each)

  it("are a view with the positions within a window last", function()
    local x = count(5)
    local windows = x:unfold(1, 3, 2)
    assert_tensor(windows, { 2, 3 }, { 1, 2, 3, 3, 4, 5 })
    x[3] = 0
    assert_tensor(windows, { 2, 3 }, { 1, 2, 0, 0, 4, 5 })
    assert_tensor(count(3, 2):unfold(1, 2, 1), { 2, 2, 2 }, { 1, 3, 2, 4, 3, 5, 4, 6 })
    assert_tensor(nn.tensor(4):unfold(1, 1, 1), { 1 }, { 4 })
    assert.equal("6x0", shapes { count(5):unfold(1, 0, 1) })
  end)

  it("add up the gradient of an element over the windows it lies in", function()
    local x = leaf { 1, 2, 3, 4, 5 }
    x:unfold(1, 3, 1):sum():backward()
    assert_tensor(x.grad, { 5 }, { 1, 2, 3, 2, 1 })
    assert.is_true(nn.gradcheck(function(t) return t:unfold(-1, 2, 3):pow(2) end, nn.rand(2, 6, {
      dtype = "float64", requires_grad = true,
    })))
  end)

  it("must fit", function()
    local x = count(2, 3)
    assert.matches("windows of size 4 do not fit dimension 2 of shape %(2, 3%)", message_of(x.unfold, x, 2, 4, 1))
    assert.matches("step of at least 1, got 0", message_of(x.unfold, x, 2, 1, 0))
  end)
end)

describe("diagonals", function()
  support.count_tensors(before_each, after_each)

  it("are read from matrices and made of vectors", function()
    local x = count(2, 3)
    assert_tensor(x:diag(), { 2 }, { 1, 5 })
    assert_tensor(x:diag(1), { 2 }, { 2, 6 })
    assert_tensor(x:diag(-1), { 1 }, { 4 })
    assert_tensor(count(2):diag(-1), { 3, 3 }, { 0, 0, 0, 1, 0, 0, 0, 2, 0 })
    assert_tensor(x:diag(7), { 0 }, {})
    assert_tensor(nn.zeros(0):diag(1), { 1, 1 }, { 0 })
  end)

  it("are views by the name of diagonal, of any two dimensions", function()
    local x = count(2, 2, 2)
    assert_tensor(x:diagonal(0, 1, 3), { 2, 2 }, { 1, 6, 3, 8 })
    x:diagonal():fill_(0)
    assert_tensor(x, { 2, 2, 2 }, { 0, 0, 3, 4, 5, 6, 0, 0 })
    assert_tensor(count(2, 2):diag_embed(), { 2, 2, 2 }, { 1, 0, 0, 2, 3, 0, 0, 4 })
    assert_tensor(count(1):diag_embed(1, 2, 1), { 2, 2 }, { 0, 0, 1, 0 })
  end)

  it("are summed by trace, integers in int64", function()
    assert_tensor(count(3, 2):trace(), {}, { 5 })
    assert.equal("int64", nn.ones(2, 2, { dtype = "int32" }):trace().dtype)
    assert_tensor(nn.zeros(0, 0):trace(), {}, { 0 })
  end)

  it("bound triangles, which keep dtype and batches", function()
    assert_tensor(count(2, 3):tril(), { 2, 3 }, { 1, 0, 0, 4, 5, 0 })
    assert_tensor(count(2, 3):triu(1), { 2, 3 }, { 0, 2, 3, 0, 0, 6 })
    assert_tensor(count(3, 2):tril(-1), { 3, 2 }, { 0, 0, 3, 0, 5, 6 })
    assert_tensor(nn.ones(2, 2, 2, { dtype = "bool" }):triu(), { 2, 2, 2 },
      { true, true, false, true, true, true, false, true })
    assert_tensor(count(2, 2):triu_(LEAST), { 2, 2 }, { 1, 2, 3, 4 })
    assert_tensor(count(2, 2):tril(MOST), { 2, 2 }, { 1, 2, 3, 4 })
  end)

  it("are refused where there is none", function()
    local x = nn.zeros(2, 2, 2)
    assert.matches("diag: expected a vector or a matrix, got shape %(2, 2, 2%)", message_of(x.diag, x))
    assert.matches("trace: expected a matrix", message_of(x.trace, x))
    assert.matches("tril: expected a matrix", message_of(nn.tril, nn.zeros(3)))
    assert.matches("two different dimensions, got 1 and 1", message_of(x.diagonal, x, 0, 1, 1))
    assert.matches("two different dimensions", message_of(nn.diagonal, nn.zeros(2)))
    assert.matches("too far out", message_of(nn.diag, nn.ones(2), LEAST))
  end)
end)

describe("another order", function()
  support.count_tensors(before_each, after_each)

  it("turns dimensions around", function()
    assert_tensor(count(2, 3):flip { 1, 2 }, { 2, 3 }, { 6, 5, 4, 3, 2, 1 })
    assert_tensor(count(2, 3):flip(-1), { 2, 3 }, { 3, 2, 1, 6, 5, 4 })
    assert_tensor(nn.flip(count(2, 2):t(), 1), { 2, 2 }, { 2, 4, 1, 3 })
    assert_tensor(count(2):flip {}, { 2 }, { 1, 2 })
    assert_tensor(nn.zeros(2, 0):flip(2), { 2, 0 }, {})
    assert_tensor(nn.tensor({ true, false }):flip(1), { 2 }, { false, true })
    assert.matches("named twice", message_of(nn.flip, count(2), { 1, -1 }))
  end)

  it("rolls elements around the end", function()
    assert_tensor(count(5):roll(2, 1), { 5 }, { 4, 5, 1, 2, 3 })
    assert_tensor(count(5):roll(-11, 1), { 5 }, { 2, 3, 4, 5, 1 })
    assert_tensor(count(2, 3):roll({ 1, -1 }, { 1, 2 }), { 2, 3 }, { 5, 6, 4, 2, 3, 1 })
    assert_tensor(count(2, 3):roll({ 1, 1 }, { 2, 2 }), { 2, 3 }, { 2, 3, 1, 5, 6, 4 })
    assert_tensor(count(2, 3):roll(1), { 2, 3 }, { 6, 1, 2, 3, 4, 5 })
    assert_tensor(nn.zeros(0, 2):roll(3, 1), { 0, 2 }, {})
    assert_tensor(nn.tensor(3):roll(1), {}, { 3 })
    assert.matches("as many shifts as dims, got 2 and 1", message_of(nn.roll, count(2), { 1, 2 }, 1))
    assert.matches("as many shifts as dims, got 2 and 0", message_of(nn.roll, count(2), { 1, 2 }))
  end)

  it("moves dimensions and shares the memory", function()
    local x = nn.zeros(2, 3, 4)
    assert.equal("3x4x2", shapes { x:movedim(1, 3) })
    assert.equal("4x2x3", shapes { x:movedim({ 3, 1 }, { 1, 2 }) })
    x:movedim(1, -1):select(3, 2):fill_(1)
    assert.equal(12, x:sum():item())
    assert.equal("3x2x4", shapes { x:swapaxes(1, 2) })
    assert.matches("as many destinations as sources", message_of(x.movedim, x, { 1, 2 }, 1))
  end)
end)

describe("repeating", function()
  support.count_tensors(before_each, after_each)

  it("lays copies side by side, with new dimensions in front", function()
    assert_tensor(count(2, 2):repeat_(1, 2), { 2, 4 }, { 1, 2, 1, 2, 3, 4, 3, 4 })
    assert_tensor(count(2):repeat_ { 3, 1 }, { 3, 2 }, { 1, 2, 1, 2, 1, 2 })
    local x = count(2)
    assert_tensor(x["repeat"](x, 3), { 6 }, { 1, 2, 1, 2, 1, 2 })
    assert_tensor(count(2, 2):tile(2), { 2, 4 }, { 1, 2, 1, 2, 3, 4, 3, 4 })
    assert_tensor(nn.tensor(5):tile(2, 2), { 2, 2 }, { 5, 5, 5, 5 })
    assert_tensor(x:repeat_(0), { 0 }, {})
    assert_tensor(x, { 2 }, { 1, 2 })
  end)

  it("repeats each position in its place", function()
    assert_tensor(count(2, 2):repeat_interleave(2), { 8 }, { 1, 1, 2, 2, 3, 3, 4, 4 })
    assert_tensor(count(2, 2):repeat_interleave(2, 2), { 2, 4 }, { 1, 1, 2, 2, 3, 3, 4, 4 })
    assert_tensor(count(3):repeat_interleave({ 2, 0, 1 }, 1), { 3 }, { 1, 1, 3 })
    local counts = nn.tensor({ 1, 2 }, { dtype = "int32" })
    assert_tensor(count(2, 1):repeat_interleave(counts, 1), { 3, 1 }, { 1, 2, 2 })
    assert_tensor(nn.tensor(3):repeat_interleave(2), { 2 }, { 3, 3 })
  end)

  it("sums the gradients of the copies", function()
    local x = leaf { { 1, 2 }, { 3, 4 } };
    (x:repeat_(2, 1, 2) * count(2, 2, 4)):sum():backward()
    assert_tensor(x.grad, { 2, 2 }, { 1 + 3 + 9 + 11, 2 + 4 + 10 + 12, 5 + 7 + 13 + 15, 6 + 8 + 14 + 16 })
    x.grad = nil
    x:repeat_interleave({ 3, 0 }, 1):sum():backward()
    assert_tensor(x.grad, { 2, 2 }, { 3, 3, 0, 0 })
    x.grad = nil
    x:tile(2, 0):sum():backward()
    assert_tensor(x.grad, { 2, 2 }, { 0, 0, 0, 0 })
    x:tile(0, 2 ^ 40):sum():backward()
    assert_tensor(x.grad, { 2, 2 }, { 0, 0, 0, 0 })
  end)

  it("takes numbers of copies that make sense", function()
    local x = count(2, 2)
    assert.matches("repeat_: expected a number for each dimension of shape %(2, 2%), got %(2%)",
      message_of(x.repeat_, x, 2))
    assert.matches("negative number of copies", message_of(x.tile, x, -1))
    assert.matches("more than any memory", message_of(x.tile, x, MOST))
    assert.matches("negative number of copies: %-1", message_of(x.repeat_interleave, x, -1))
    assert.matches("expected 1 or 2 numbers of copies, got 3", message_of(x.repeat_interleave, x, { 1, 2, 3 }, 1))
    assert.matches("int dtype", message_of(x.repeat_interleave, x, nn.ones(2), 1))
  end)
end)

describe("running sums and products", function()
  support.count_tensors(before_each, after_each)

  it("go along any dimension of any layout", function()
    assert_tensor(count(2, 3):cumsum(2), { 2, 3 }, { 1, 3, 6, 4, 9, 15 })
    assert_tensor(count(2, 3):cumsum(1), { 2, 3 }, { 1, 2, 3, 5, 7, 9 })
    assert_tensor(count(2, 3):t():cumprod(-1), { 3, 2 }, { 1, 4, 2, 10, 3, 18 })
    assert_tensor(nn.cumsum(nn.tensor(3), 1), {}, { 3 })
    assert_tensor(nn.zeros(2, 0):cumsum(2), { 2, 0 }, {})
  end)

  it("count integers and bools in int64, or in the dtype that is asked for", function()
    local truth = nn.tensor { true, true, false, true }:cumsum(1)
    assert.equal("int64", truth.dtype)
    assert_tensor(truth, { 4 }, { 1, 2, 2, 3 })
    assert.equal("float64", nn.ones(2):cumsum(1, { dtype = "float64" }).dtype)
    assert.equal("int32", nn.ones(2):cumprod(1, "int32").dtype)
    assert.equal("bfloat16", nn.ones(2, { dtype = "bfloat16" }):cumsum(1).dtype)
    if support.has.integers then
      local big = nn.tensor({ MOST, 1 }, { dtype = "int64" })
      assert_tensor(big:cumsum(1), { 2 }, { MOST, LEAST })
    end
  end)

  it("add floats up in double, so that long sums stay exact", function()
    assert.equal(1e5, math.floor(nn.full({ 1000000 }, 0.1):cumsum(1)[-1]))
  end)

  it("have the right gradient with zeros among the factors", function()
    local x = leaf { 2, 0, -3, 0, 5 }
    x:cumprod(1):sum():backward()
    assert_tensor(x.grad, { 5 }, { 1, 2 * (1 - 3), 0, 0, 0 })
    for _, values in ipairs { { 0.5, 0, 3, 2 }, { 0, 1, 2, 3 }, { 1, 2, 0, 0 }, { 0, 0, 0, 0 }, { 1, 2, 3, 0 } } do
      assert.is_true(nn.gradcheck(function(t) return t:cumprod(1) end, leaf(values)))
    end
  end)

  it("change a tensor in place", function()
    local x = count(3)
    assert.is_true(x:cumsum_(1) == x)
    assert_tensor(x, { 3 }, { 1, 3, 6 })
  end)
end)

describe("positions", function()
  support.count_tensors(before_each, after_each)

  local function positions(list) return nn.tensor(list, { dtype = "int64" }) end

  it("take elements along a dimension, broadcast outside of it", function()
    local x = count(3, 2)
    assert_tensor(x:take_along(positions { { 2, 1 } }, 1), { 1, 2 }, { 3, 2 })
    assert_tensor(x:take_along(positions { { 2 }, { 1 }, { 1 } }, 2), { 3, 1 }, { 2, 3, 5 })
    assert_tensor(x:take_along(positions { { 3 } }, 1), { 1, 2 }, { 5, 6 })
    assert_tensor(x:take_along(positions { 6, 1 }), { 2 }, { 6, 1 })
    local order = select(2, x:sort(1, true))
    assert_tensor(nn.take_along_dim(x, order, 1), { 3, 2 }, { 5, 6, 3, 4, 1, 2 })
    assert.matches("take_along: expected as many dimensions", message_of(x.take_along, x, positions { 1 }, 1))
    assert.matches("take_along: position 4", message_of(x.take_along, x, positions { { 4 } }, 1))
  end)

  it("become rows of zeros with a one", function()
    assert_tensor(nn.one_hot(positions { 1, 3 }), { 2, 3 }, { 1, 0, 0, 0, 0, 1 })
    assert_tensor(nn.functional.one_hot(positions { { 2 } }, 2), { 1, 1, 2 }, { 0, 1 })
    assert_tensor(nn.one_hot(positions(2), { num_classes = 3 }), { 3 }, { 0, 1, 0 })
    assert_tensor(nn.one_hot(nn.zeros(0, { dtype = "int64" }), 4), { 0, 4 }, {})
    assert.equal("int64", nn.one_hot(positions { 1 }).dtype)
    assert.matches("one_hot: position 0", message_of(nn.one_hot, positions { 1, 0 }))
    assert.matches("one_hot: position 3 .*within 1 to 2", message_of(nn.one_hot, positions { 3 }, 2))
    assert.matches("int64 tensor, got float32", message_of(nn.one_hot, nn.ones(2)))
    assert.matches("must be given", message_of(nn.one_hot, nn.zeros(0, { dtype = "int64" })))
    assert.matches("not be negative", message_of(nn.one_hot, positions { 1 }, -2))
  end)

  it("say which slices are added to, filled or replaced", function()
    local x, at = nn.zeros(3, 2, { dtype = "float64" }), positions { 3, 1, 3 }
    assert_tensor(x:index_add(1, at, count(3, 2)), { 3, 2 }, { 3, 4, 0, 0, 6, 8 })
    assert_tensor(x:index_add(1, at, count(3, 2), { alpha = 2 }), { 3, 2 }, { 6, 8, 0, 0, 12, 16 })
    assert_tensor(x:index_fill(2, positions { 2 }, 7), { 3, 2 }, { 0, 7, 0, 7, 0, 7 })
    assert_tensor(x:index_copy(1, positions { 2, 1 }, count(2, 2)), { 3, 2 }, { 3, 4, 1, 2, 0, 0 })
    x:index_fill_(1, positions(3), -1)
    assert_tensor(x, { 3, 2 }, { 0, 0, 0, 0, -1, -1 })
    assert.matches("expected a source of shape %(3, 2%), got %(2, 2%)",
      message_of(x.index_add, x, 1, at, count(2, 2)))
    assert.matches("source of float64, got float32", message_of(x.index_copy, x, 1, at, nn.ones(3, 2)))
    assert.matches("index_fill: position 4", message_of(x.index_fill, x, 1, positions { 4 }, 0))
    local whole = positions { 1, 2 }
    assert.matches("alpha must be an integer", message_of(whole.index_add, whole, 1, whole, whole, 0.5))
  end)

  it("of a mask take the elements of a source in order", function()
    local x, mask = nn.zeros(2, 2), nn.tensor { { true, false }, { true, true } }
    assert_tensor(x:masked_scatter(mask, nn.tensor { 1, 2, 3, 4 }), { 2, 2 }, { 1, 0, 2, 3 })
    assert.matches("the mask holds at 3 elements, the source has 2",
      message_of(x.masked_scatter, x, mask, nn.ones(2)))
  end)

  it("let gradients through to the tensor and the source", function()
    local at, mask = positions { 1, 1, 2 }, nn.tensor { true, false }
    local function all(x, source)
      local rows = x:index_add(1, at, source, 3) + x:index_copy(1, at:narrow(1, 2, 2), source:narrow(1, 1, 2))
      return rows * x:index_fill(2, positions { 1 }, 2) + x:masked_scatter(mask, source)
    end
    local x = nn.rand(2, 2, { dtype = "float64", requires_grad = true })
    local source = nn.rand(3, 2, { dtype = "float64", requires_grad = true })
    assert.is_true(nn.gradcheck(all, { x, source }))
  end)

  it("add up gradients in 16 bits too", function()
    local x = nn.ones(2, 3, { dtype = "bfloat16", requires_grad = true })
    x:index_select(1, positions { 2, 2, 2 }):sum():backward()
    assert.equal("bfloat16", x.grad.dtype)
    assert_tensor(x.grad:float(), { 2, 3 }, { 0, 0, 0, 3, 3, 3 })
  end)
end)

describe("tensors put together", function()
  support.count_tensors(before_each, after_each)

  it("stand side by side or above each other", function()
    assert_tensor(nn.hstack { count(2), count(1) }, { 3 }, { 1, 2, 1 })
    assert_tensor(nn.hstack { count(2, 1), count(2, 1) }, { 2, 2 }, { 1, 1, 2, 2 })
    assert_tensor(nn.vstack { count(2), count(2) }, { 2, 2 }, { 1, 2, 1, 2 })
    assert.matches("vstack: tensor 2: expected a tensor, got 1", message_of(nn.vstack, { count(2), 1 }))
  end)

  it("span a grid", function()
    local rows, columns = table.unpack(nn.meshgrid { count(2), count(3) })
    assert_tensor(rows, { 2, 3 }, { 1, 1, 1, 2, 2, 2 })
    assert_tensor(columns, { 2, 3 }, { 1, 2, 3, 1, 2, 3 })
    assert.equal("3x2 3x2", shapes(nn.meshgrid({ count(2), count(3) }, { indexing = "xy" })))
    assert.matches("one of ij xy", message_of(nn.meshgrid, { count(2) }, { indexing = "yx" }))
  end)

  it("take the shape of another", function()
    local x, like = count(2), nn.zeros(2, 2)
    assert_tensor(x:expand_as(like), { 2, 2 }, { 1, 2, 1, 2 })
    assert_tensor(count(4):view_as(like), { 2, 2 }, { 1, 2, 3, 4 })
    assert_tensor(x:broadcast_to(2, 2), { 2, 2 }, { 1, 2, 1, 2 })
    assert_tensor(x:clamp_min(2):clamp_max(nn.tensor { 1, 5 }), { 2 }, { 1, 2 })
  end)
end)

describe("a derivative of a derivative", function()
  support.count_tensors(before_each, after_each)

  --- The gradient of a weighted sum of fn(x), in the graph.
  local function first_of(fn, x)
    local result, total = fn(x), 0
    local list = nn.is_tensor(result) and { result } or result
    for _, item in ipairs(list) do
      total = total + (item:pow(2) * nn.linspace(0.5, 1.5, item:numel(), { dtype = "float64" }):view(item.shape)):sum()
    end
    return nn.grad(total, x, { create_graph = true })
  end

  --- Assert that the second derivatives of fn in a direction are those of finite differences.
  local function check_second(name, fn, x)
    local direction = nn.linspace(1, 2, x:numel(), { dtype = "float64" }):view(x.shape)
    local function slope() return (first_of(fn, x) * direction):sum() end
    local second, flat = nn.grad(slope(), x):reshape(-1), x:detach():view(-1)
    for i = 1, flat:numel() do
      local value = flat[i]
      flat[i] = value + 1e-5
      local above = slope():item()
      flat[i] = value - 1e-5
      local below = slope():item()
      flat[i] = value
      local expected = (above - below) / 2e-5
      assert(math.abs(second[i] - expected) <= 1e-5 * (1 + math.abs(expected)),
        ("%s, element %d: %.9g, expected %.9g"):format(name, i, second[i], expected))
    end
  end

  it("is right for each of these operations", function()
    local at = nn.tensor({ { 2, 1, 2 } }, { dtype = "int64" })
    local cases = {
      split = function(x) return x:split { 1, 2 } end,
      unbind = function(x) return { x:unbind(2)[1], x:unbind(2)[3] } end,
      unfold = function(x) return x:unfold(2, 2, 1) end,
      diagonal = function(x) return x:diagonal(1) end,
      diag_embed = function(x) return x:diag_embed() end,
      tril = function(x) return x:tril() end,
      flip = function(x) return x:flip { 1, 2 } end,
      roll = function(x) return x:roll({ 1, 2 }, { 1, 2 }) end,
      tile = function(x) return x:tile(2, 2) end,
      repeat_interleave = function(x) return x:repeat_interleave({ 1, 0, 2 }, 1) end,
      cumsum = function(x) return x:cumsum(1) end,
      cumprod = function(x) return x:cumprod(2) end,
      take_along = function(x) return x:take_along(at, 1) end,
      index_add = function(x) return x:index_add(1, at:squeeze(), x * x) end,
    }
    for name, fn in pairs(cases) do
      check_second(name, fn, leaf { { 0.5, 0, 2 }, { 0, 0, 1.5 }, { -1, 0.7, 0 } })
    end
  end)
end)

describe("after a failure of the allocator", function()
  support.count_tensors(before_each, after_each)

  it("these operations give everything back", function()
    local x = nn.ones(3, 4, { requires_grad = true })
    local at = nn.tensor({ { 1, 2 } }, { dtype = "int64" })
    local before = support.live_tensors()
    local function step()
      local total = 0
      for _, piece in ipairs(x:split({ 1, 2, 1 }, 2)) do total = total + piece:sum() end
      for _, y in ipairs {
        x:unfold(2, 2, 1), x:diagonal(), x:flip(1), x:roll(1, 2), x:tile(2), x:repeat_interleave(2, 1), x:cumprod(1),
        x:cumsum(2), x:take_along(at, 2), x:triu(), x:index_add(2, at:squeeze(), x:narrow(2, 1, 2)),
      } do
        total = total + y:sum()
      end
      total:backward()
      x.grad = nil
    end
    assert.is_true(support.fail_each(step) > 50)
    x.grad = nil
    assert.equal(before, support.live_tensors())
  end)
end)
