--- Indexing with several tensors and masks, iteration, and what the positions of a key may be.

local nn = require "nnlua"
local support = require "support"

local assert_tensor, message_of = support.assert_tensor, support.message_of
local where = support.where

local function at(...)
  return nn.tensor({ ... }, { dtype = "int64" })
end

--- 0 to 23 in two matrices of three rows.
local function twenty_four()
  return nn.arange(24):reshape(2, 3, 4)
end

describe("a key with tensors of positions", function()
  support.count_tensors(before_each, after_each)

  it("pairs them, one position of each dimension with one of the other", function()
    assert_tensor(twenty_four()[{ at(1, 2), at(2, 3) }], { 2, 4 }, { 4, 5, 6, 7, 20, 21, 22, 23 })
    assert_tensor(twenty_four()[{ at(1, 2), at(2, 3), at(4, 1) }], { 2 }, { 7, 20 })
  end)

  it("counts negative positions from the end", function()
    assert_tensor(twenty_four()[{ at(-1), at(-3, -1), 1 }], { 2 }, { 12, 20 })
  end)

  it("takes ranges, numbers and masks beside them", function()
    local t = twenty_four()
    assert_tensor(t[{ at(2, 1), { 2, 3 }, 1 }], { 2, 2 }, { 16, 20, 4, 8 })
    assert_tensor(t[{ 1, nn.tensor { true, false, true }, { 1, 2 } }], { 2, 2 }, { 0, 1, 8, 9 })
    assert_tensor(t[{ {}, nn.tensor { true, false, true }, at(1, 4) }], { 2, 2 }, { 0, 11, 12, 23 })
    assert.same({ 2, 1, 3 }, t[{ {}, { 1, 1 }, at(1, 2, 2) }].shape)
  end)

  it("puts their shape where the first was, or in front where a range lies between", function()
    local t = twenty_four()
    assert.same({ 2, 2, 2 }, t[{ {}, at(1, 2, 3, 1):reshape(2, 2), at(1, 4) }].shape)
    assert_tensor(t[{ at(1, 2), {}, at(1, 2) }], { 2, 3 }, { 0, 4, 8, 13, 17, 21 })
    assert.same({ 1, 2, 3 }, t[{ at(1, 2):reshape(1, 2), {}, 1 }].shape)
    assert.same({ 2, 3, 4 }, t[{ at(1, 2):reshape(2, 1), at(1, 2, 3) }].shape)
  end)

  it("reads nothing at no positions", function()
    assert.same({ 0, 4 }, twenty_four()[{ 1, nn.zeros(0, { dtype = "int64" }) }].shape)
  end)

  it("reads within the graph", function()
    local x = nn.ones(3, 4, { requires_grad = true })
    x[{ at(1, 1, 3), at(2, 2, -1) }]:sum():backward()
    assert_tensor(x.grad, { 3, 4 }, { 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 })
  end)

  it("writes numbers and tensors that broadcast", function()
    local t = nn.zeros(2, 3)
    t[{ at(1, 2), at(3, 1) }] = nn.tensor { 5, 6 }
    assert_tensor(t, { 2, 3 }, { 0, 0, 5, 6, 0, 0 })
    t[{ {}, at(2) }] = 7
    assert_tensor(t, { 2, 3 }, { 0, 7, 5, 6, 7, 0 })
    t[{ at(2, 1), { 1, 2 } }] = nn.tensor { { 1, 2 }, { 3, 4 } }
    assert_tensor(t, { 2, 3 }, { 3, 4, 5, 1, 2, 0 })
    t[{ nn.tensor { false, true }, { 2, 3 } }] = nn.tensor { 8, 9 }
    assert_tensor(t, { 2, 3 }, { 3, 4, 5, 1, 8, 9 })
  end)

  it("gives everything back where memory runs out", function()
    local core = require "nnlua.core"
    local t, rows, mask, value = twenty_four(), at(1, 2), nn.tensor { true, false, true }, nn.ones(2, 2)
    local failed, done = 0, false
    while not done do
      core.fail_allocation(failed)
      local message
      done, message = pcall(function()
        t[{ rows, mask, { 1, 2 } }] = t[{ rows, mask, { 3, 4 } }] + value
      end)
      core.fail_allocation(nil)
      if not done then
        failed = failed + 1
        assert.matches("out of memory", message)
      end
    end
    assert.is_true(failed > 5)
    assert.equal(3, t[{ 1, 1, 1 }])
  end)

  it("says what does not fit", function()
    local t = twenty_four()
    assert.equal("index: position 4 is out of range: dimension 2 has positions 1 to 3",
      message_of(function() return t[{ at(1), at(4) }] end))
    assert.matches("position 0 is out of range", message_of(function() return t[{ at(1), at(0) }] end))
    assert.matches("%(2%) and %(3%) do not broadcast", message_of(function() return t[{ at(1, 2), at(1, 2, 3) }] end))
    assert.matches("int64 tensor, got float32", message_of(function() return t[{ nn.ones(1), 1 }] end))
    assert.matches("mask beside other positions.*%(2%), got %(3%)",
      message_of(function() return t[{ nn.tensor { true, true, true }, 1 }] end))
    assert.matches("more positions", message_of(function() return t[{ at(1), 1, 1, 1 }] end))
    assert.matches("contiguous", message_of(function() t:transpose(1, 2)[{ at(1), at(1) }] = 1 end))
    assert.matches("%(3%).*%(2%)", message_of(function() t[{ at(1, 2), 1, 1 }] = nn.ones(3) end))
  end)
end)

describe("a key", function()
  support.count_tensors(before_each, after_each)

  it("tells what its positions must be", function()
    local t = nn.ones(2, 3)
    assert.matches("got 1.5$", message_of(function() return t[1.5] end))
    assert.matches("got inf$", message_of(function() t[1 / 0] = 1 end))
    assert.matches("got boolean$", message_of(function() return t[true] end))
    assert.matches("got the string '1'; use tonumber", message_of(function() return t["1"] end))
    assert.matches("a table with names", message_of(function() return t[{ dim = 1 }] end))
    assert.matches("flip", message_of(function() return t[{ { 2, 1, -1 } }] end))
    assert.equal(1, nn.ones(3)[2.0])
    assert.equal(1, t[{ 2, 3.0 }])
  end)

  it("that is empty reads all, and of no dimensions nothing else does", function()
    assert_tensor(nn.tensor(5)[{}], {}, { 5 })
    assert.matches("0 dimensions", message_of(function() return nn.tensor(5)[1] end))
    assert.same({ 0, 3 }, nn.zeros(0, 3)[{}].shape)
  end)

  it("writes what PyTorch writes", function()
    local t = nn.zeros(3, { dtype = "int64" })
    t[1], t[2] = 2.7, -2.7
    assert.same({ 2, -2, 0 }, t:tolist())
    t[{}] = nn.tensor { 1.9, -1.9, 0 }
    assert.same({ 1, -1, 0 }, t:tolist())
    local b = nn.zeros(2, { dtype = "bool" })
    b[1], b[2] = 0 / 0, 0.5
    assert.same({ true, true }, b:tolist())
    local f = nn.zeros(2)
    f[1] = 0 / 0
    assert.is_true(f[1] ~= f[1])
  end)
end)

describe("going through a tensor", function()
  support.count_tensors(before_each, after_each)

  where("pairs", it, pending)("by ipairs and pairs gives its numbers, or its rows", function()
    for _, iterate in ipairs { ipairs, pairs } do
      local seen = {}
      for i, value in iterate(nn.tensor { 4, 5, 6 }) do seen[i] = value end
      assert.same({ 4, 5, 6 }, seen)
      for i, row in iterate(nn.eye(2)) do seen[i] = row:tolist() end
      assert.same({ { 1, 0 }, { 0, 1 }, 6 }, seen)
    end
    for _ in ipairs(nn.zeros(0)) do error "nothing to go through" end
  end)

  where("pairs", it, pending)("ends there for ipairs alone", function()
    local t = nn.ones(2)
    assert.matches("index 3 is out of range", message_of(function() return t[3] end))
    assert.matches("no dimensions", message_of(pairs, nn.tensor(1)))
    assert.same({ 1, 1 }, { table.unpack(t) })
  end)
end)

describe("a tensor in an expression", function()
  support.count_tensors(before_each, after_each)

  it("becomes text beside text", function()
    assert.equal("loss: " .. tostring(nn.tensor(2)), "loss: " .. nn.tensor(2))
    assert.equal(tostring(nn.tensor(2)) .. "!", nn.tensor(2) .. "!")
    assert.matches("nn.cat", message_of(function() return nn.ones(1) .. nn.ones(1) end))
    assert.matches("with a boolean", message_of(function() return nn.ones(1) .. true end))
  end)

  it("is not ordered by operators", function()
    assert.matches("a:lt%(b%)", message_of(function() return nn.ones(1) < nn.ones(1) end))
    if support.has.integers then -- else no number is compared by a metamethod
      assert.matches("a:ge%(b%)", message_of(function() return nn.ones(1) >= 1 end))
    end
  end)

  it("has no field of a name that is nothing, and says what was meant by one that is nearly something", function()
    local t = nn.ones(2)
    assert.is_nil(t.parameters)
    assert.is_nil(t.grad)
    assert.equal("a tensor has no 'tranpose'; did you mean 'transpose'?", message_of(function() return t.tranpose end))
    assert.equal("a tensor has no 'shpae'; did you mean 'shape'?", message_of(function() return t.shpae end))
    assert.equal("a tensor has no 'Sum'; did you mean 'sum'?", message_of(function() return t.Sum end))
    local layer = nn.Dense(2, 3, { bias = false })
    assert.is_nil(layer.bias)
    assert.is_nil(layer.no_such_thing)
    assert.equal("nn.Dense has no 'foward'; did you mean 'forward'?", message_of(function() return layer.foward end))
    assert.is_nil(nn.no_such_thing)
    assert.is_nil(nn.optim.no_such_thing)
    assert.equal("nn.optim has no 'sgd'; did you mean 'SGD'?", message_of(function() return nn.optim.sgd end))
  end)

  it("is missed in front of a method that was called with a dot", function()
    local t = nn.ones(2)
    assert.matches("^sum: .*t:sum%(%.%.%.%), not t%.sum", message_of(function() t.sum() end))
    assert.matches("^item: .*got number; call methods with a colon", message_of(function() t.item(1) end))
    assert.equal("bad argument #1 to 'sum' (tensor expected, got nil)", message_of(function() nn.sum(nil) end))
  end)
end)

describe("making a tensor", function()
  support.count_tensors(before_each, after_each)

  it("refuses sizes that are none", function()
    assert.equal("zeros: shape (-1) has a negative size", message_of(function() nn.zeros(-1) end))
    assert.equal("randn: shape (2, -1) has a negative size", message_of(function() nn.randn(2, -1) end))
    assert.equal("bad argument #1 to 'ones' (size expected, got nil)", message_of(function() nn.ones(nil) end))
    assert.matches("integer expected", message_of(function() nn.zeros(2.5) end))
    assert.same({ 2 }, nn.zeros(2.0).shape)
    assert.matches("at most 8 dimensions, got 9", message_of(function() nn.zeros { 1, 1, 1, 1, 1, 1, 1, 1, 1 } end))
    assert.matches("larger than any memory", message_of(function() nn.zeros(2 ^ 40, 2 ^ 40) end))
  end)

  it("counts the elements of ranges as PyTorch does", function()
    assert.same({ 10 }, nn.arange(0, 1, 0.1).shape)
    assert_tensor(nn.arange(1, 2, 0.25), { 4 }, { 1, 1.25, 1.5, 1.75 })
    assert.same({ 0 }, nn.arange(5, 5).shape)
    assert_tensor(nn.arange(5, 0, -2), { 3 }, { 5, 3, 1 })
    if support.has.integers then
      local most = math.maxinteger
      assert_tensor(nn.arange(most - 2, most), { 2 }, { most - 2, most - 1 })
    end
    assert_tensor(nn.arange(4, { dtype = "uint8" }), { 4 }, { 0, 1, 2, 3 })
    assert.equal("int64", nn.arange(3).dtype)
    assert.equal("float32", nn.arange(2.5).dtype)
    assert.matches("do not lead from", message_of(function() nn.arange(0, 5, -1) end))
    assert.matches("step must not be 0", message_of(function() nn.arange(0, 5, 0) end))
    assert.matches("no number of elements", message_of(function() nn.arange(0, 0 / 0) end))
    assert.matches("no number of elements", message_of(function() nn.arange(1 / 0) end))
    assert.same({ 0 }, nn.range(1, 0).shape)
    assert_tensor(nn.range(3, 1, -1), { 3 }, { 3, 2, 1 })
    assert_tensor(nn.range(0.5, 1.5, 0.5), { 3 }, { 0.5, 1, 1.5 })
  end)

  it("meets both ends of a linspace", function()
    assert_tensor(nn.linspace(0, 0.7, 8, { dtype = "float64" })[{ { 8, 8 } }], { 1 }, { 0.7 })
    assert_tensor(nn.linspace(3, 10, 1), { 1 }, { 3 })
    assert_tensor(nn.linspace(3, 10, 0), { 0 }, {})
    assert_tensor(nn.linspace(0, 10, 4, { dtype = "int64" }), { 4 }, { 0, 3, 6, 10 })
    assert_tensor(nn.linspace(1, -1, 3), { 3 }, { 1, 0, -1 })
  end)

  it("draws numbers of every float dtype, and integers within their bounds", function()
    for _, dtype in ipairs { "float32", "float64", "bfloat16", "float16" } do
      assert.equal(dtype, nn.rand(3, { dtype = dtype }).dtype)
      assert.equal(dtype, nn.randn(3, { dtype = dtype }).dtype)
      local t = nn.rand(3000, { dtype = dtype }):double()
      assert.is_true(t:min():item() >= 0 and t:max():item() < 1)
      assert.is_true(math.abs(t:mean():item() - 0.5) < 0.1)
    end
    assert.matches("not int64; nn.randint", message_of(function() nn.rand(2, { dtype = "int64" }) end))
    local seen = {}
    for _, value in ipairs(nn.randint(3, { 100 }):tolist()) do seen[value] = true end
    assert.same({ [0] = true, true, true }, seen)
    assert.equal("float32", nn.randint(0, 3, { 2 }, { dtype = "float32" }).dtype)
    assert.matches("high must be above low", message_of(function() nn.randint(3, 3, { 1 }) end))
    assert.matches("uint8 does not hold", message_of(function() nn.randint(0, 300, { 1 }, { dtype = "uint8" }) end))
    assert.same({ 0 }, nn.randperm(0).shape)
    assert.matches("negative", message_of(function() nn.randperm(-1) end))
  end)

  it("from bytes takes exactly as many as the shape needs", function()
    assert.equal("from_bytes: expected 8 bytes for shape (2) of float32, got 3",
      message_of(function() nn.from_bytes("abc", { 2 }) end))
    assert.matches("table of sizes expected, got number", message_of(function() nn.from_bytes("abcd", 1) end))
    assert.matches("string of bytes expected, got table", message_of(function() nn.from_bytes({}, { 1 }) end))
    assert.same({ 0 }, nn.from_bytes("", { 0 }).shape)
    for _, dtype in ipairs { "float32", "float64", "int64", "int32", "uint8", "bool", "bfloat16", "float16" } do
      local t = nn.tensor({ { 0, 1 }, { 1, 0 } }, { dtype = dtype })
      assert.same(t:tolist(), nn.from_bytes(t:to_bytes(), { 2, 2 }, dtype):tolist())
    end
  end)

  it("keeps what tables hold, in every dtype", function()
    for _, dtype in ipairs { "float64", "int64", "int32", "uint8", "float32" } do
      assert.same({ { 1, 2 }, { 3, 4 } }, nn.tensor({ { 1, 2.0 }, { 3, 4 } }, { dtype = dtype }):tolist())
    end
    assert.same({ true, false }, nn.tensor({ 2, 0 }, { dtype = "bool" }):tolist())
    assert.same({ 1.5, 1 }, nn.tensor({ 1.5, true }, { dtype = "float64" }):tolist())
    assert.same({ math.mininteger, math.maxinteger },
      nn.tensor({ math.mininteger, math.maxinteger }, { dtype = "int64" }):tolist())
  end)
end)
