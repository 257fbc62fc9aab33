--- nn.einsum: values, gradients of both orders, and what it says of a wrong equation.

local nn = require "nnlua"
local support = require "support"

local DOUBLE = {dtype = "float64"}

local function iota(...)
  local x = nn.zeros({...}, DOUBLE)
  return nn.arange(1, x:numel() + 1, 1, DOUBLE):reshape(x.shape)
end

--- Equation, shapes of the operands (filled with 1, 2, 3, ...), shape and elements of the result.
local CASES = {
  {"ij,jk->ik", {{2, 3}, {3, 2}}, {2, 2}, {22, 28, 49, 64}},
  {"ij,jk->ki", {{2, 3}, {3, 2}}, {2, 2}, {22, 49, 28, 64}},
  {"ij,jk", {{2, 3}, {3, 2}}, {2, 2}, {22, 28, 49, 64}},
  {"ba", {{2, 3}}, {3, 2}, {1, 4, 2, 5, 3, 6}},
  {"aB", {{2, 3}}, {3, 2}, {1, 4, 2, 5, 3, 6}},
  {"ii", {{3, 3}}, {}, {15}},
  {"ii->i", {{3, 3}}, {3}, {1, 5, 9}},
  {"iij->j", {{2, 2, 2}}, {2}, {8, 10}},
  {"ij->", {{2, 3}}, {}, {21}},
  {"ij->j", {{2, 3}}, {3}, {5, 7, 9}},
  {"i,i", {{3}, {3}}, {}, {14}},
  {"i,j", {{2}, {3}}, {2, 3}, {1, 2, 3, 2, 4, 6}},
  {"i,j->ji", {{2}, {3}}, {3, 2}, {1, 2, 2, 4, 3, 6}},
  {"bi,bi->b", {{2, 2}, {2, 2}}, {2}, {5, 25}},
  {"bij,bjk->bki", {{2, 1, 2}, {2, 2, 1}}, {2, 1, 1}, {5, 25}},
  {"...j,...j->...", {{2, 2}, {2}}, {2}, {5, 11}},
  {"...ij->...ji", {{1, 2, 2}}, {1, 2, 2}, {1, 3, 2, 4}},
  {"i...->...", {{2, 2}}, {2}, {4, 6}},
  {"...i", {{2, 2}}, {2, 2}, {1, 2, 3, 4}},
  {"...,...", {{2, 1}, {2}}, {2, 2}, {1, 2, 2, 4}},
  {"...i->i", {{2, 3}}, {3}, {5, 7, 9}},
  {"ij,ij->ij", {{2, 1}, {1, 2}}, {2, 2}, {1, 2, 2, 4}},
  {"ij,j->i", {{2, 1}, {3}}, {2}, {6, 12}},
  {" i j , j k -> i k ", {{2, 3}, {3, 2}}, {2, 2}, {22, 28, 49, 64}},
  {"bn,anm,bm->ba", {{2, 2}, {2, 2, 2}, {2, 2}}, {2, 2}, {27, 63, 133, 329}},
  {"a,b,c,d->dcba", {{2}, {1}, {2}, {1}}, {1, 2, 1, 2}, {1, 2, 2, 4}},
  {",", {{}, {}}, {}, {1}},
  {"->", {{}}, {}, {1}},
  {",ij->ij", {{}, {1, 2}}, {1, 2}, {1, 2}},
  {"ij,jk->ik", {{2, 0}, {0, 2}}, {2, 2}, {0, 0, 0, 0}},
  {"ij,jk->ik", {{0, 3}, {3, 2}}, {0, 2}, {}},
  {"i,i->", {{1}, {0}}, {}, {0}},
}

--- The gradients of the sum of squares of an einsum, the operands being leaves.
local function gradients(equation, operands)
  local out = nn.einsum(equation, operands)
  return {nn.grad({(out * out):sum()}, operands, {create_graph = true})}
end

--- The largest difference between the gradient of sum(square(gradients)) and finite differences of it.
local function second_order_error(equation, operands)
  local function value()
    local total = 0
    for _, grad in ipairs(gradients(equation, operands)) do total = total + (grad * grad):sum() end
    return total
  end
  local exact, worst = {nn.grad({value()}, operands)}, 0
  for k, operand in ipairs(operands) do
    local flat = operand:detach():view(-1)
    for i = 1, #flat do
      local kept, step = flat[i], 1e-5
      flat[i] = kept + step
      local above = value():item()
      flat[i] = kept - step
      local below = value():item()
      flat[i] = kept
      local expected = (above - below) / (2 * step)
      worst = math.max(worst, math.abs(exact[k]:reshape(-1)[i] - expected) / (1 + math.abs(expected)))
    end
  end
  return worst
end

describe("einsum", function()
  support.count_tensors(before_each, after_each)

  for _, case in ipairs(CASES) do
    local equation, shapes, shape, elements = case[1], case[2], case[3], case[4]
    it(("of '%s' gives the known values"):format(equation), function()
      local operands = {}
      for k, size in ipairs(shapes) do operands[k] = iota(table.unpack(size)) end
      support.assert_tensor(nn.einsum(equation, operands), shape, elements)
      support.assert_tensor(nn.einsum(equation, table.unpack(operands)), shape, elements)
    end)
  end

  it("reads operands of any strides", function()
    local a, b = iota(3, 2):t(), iota(2, 3):t()
    support.assert_tensor(nn.einsum("ij,jk->ik", a, b), {2, 2}, {22, 49, 28, 64})
    support.assert_tensor(nn.einsum("ij,ij->i", a, b:t()), {2}, {22, 64})
    support.assert_tensor(nn.einsum("ij,jk->ik", iota(2, 1):expand(2, 3), b), {2, 2}, {6, 15, 12, 30})
    support.assert_tensor(nn.einsum("ii->i", iota(4, 2):t()[{{}, {1, 2}}]), {2}, {1, 4})
  end)

  it("sums long rows as the product and the sum do", function()
    local a, b = nn.randn({5, 100}, DOUBLE), nn.randn({5, 100}, DOUBLE)
    assert.is_true(nn.einsum("bi,bi->b", a, b):allclose((a * b):sum(2)))
  end)

  support.where("integers", it, pending)("is exact for integers, and promotes operands of different dtypes", function()
    local big = nn.tensor({9007199254740993, 1}, {dtype = "int64"})
    support.assert_tensor(nn.einsum("i,i", big, nn.tensor({1, 1}, {dtype = "int64"})), {}, {9007199254740994})
    local mixed = nn.einsum("i,i", nn.tensor({1, 2}, {dtype = "int32"}), nn.tensor{0.5, 0.25})
    assert.are.equal("float32", mixed.dtype)
    support.assert_tensor(mixed, {}, {1})
  end)

  it("is differentiable once and twice", function()
    local shapes = {{{2, 3}, {3, 2}}, {{2, 3}, {2, 3}}, {{2, 2}, {2, 2}}, {{2, 1}, {3}}, {{2, 2, 2}},
                    {{2, 40}, {2, 40}}}
    local equations = {"ij,jk->ki", "...i,...i->...", "ii,ij->j", "ij,j->i", "iij->ji", "bi,bi->b"}
    for k, equation in ipairs(equations) do
      local operands = {}
      for i, shape in ipairs(shapes[k]) do
        operands[i] = nn.rand(shape, {dtype = "float64", requires_grad = true})
      end
      local function run(...) return nn.einsum(equation, ...) end
      assert(nn.gradcheck(run, operands))
      if k < #equations then assert.is_true(second_order_error(equation, operands) < 1e-6, equation) end
    end
  end)

  it("tells what is wrong with an equation", function()
    local a = iota(2, 3)
    local function message(...) return support.message_of(nn.einsum, ...) end
    local function expect(text, ...)
      local got = message(...)
      assert(got:find(text, 1, true), got)
    end
    expect("it tells of 2 operands, got 1", "ij,jk", a)
    expect("'j' has size 3 in operand 1 and 2 in operand 2", "ij,jk", a, a)
    expect("'i' is repeated in operand 1, where it has the sizes 2 and 3", "ii", a)
    expect("operand 1 has the shape (2, 3), but the number of its letters is 1", "i", a)
    expect("operand 1 has the shape (2, 3), but the number of its letters is 3", "ijk", a)
    expect("the output has 'k', which no operand has", "ij->ik", a)
    expect("the output has 'i' twice", "ij->ii", a)
    expect("operand 1 has '1', which is no letter", "i1", a)
    expect("the output has ',', which is no letter", "ij->i,j", a)
    expect("operand 1 may have three dots once", "i..", a)
    expect("operand 1 may have three dots once", "...i...", a)
    expect("after the output comes '->i'", "ij->i->i", a)
    expect("dimension -1 of '...' has size 2 in operand 1 and 3 in operand 2", "...i,...j", a, iota(3, 2))
    expect("more than 8 letters", "abcdefghi", a)
    expect("the output has 16 dimensions", "abcdefgh,ijklmnop", nn.zeros(1, 1, 1, 1, 1, 1, 1, 1),
           nn.zeros(1, 1, 1, 1, 1, 1, 1, 1))
    expect("at least one operand", "ij", {})
    expect("string expected", a)
    expect("zero byte", "ij\0", a)
    expect("tensor expected", "ij", "a")
  end)

  it("is a view where nothing is computed", function()
    local x = iota(2, 3)
    nn.einsum("ij->ji", x)[{3, 1}] = 30
    assert.are.equal(30, x[{1, 3}])
  end)
end)
