local nn = require "nnlua"
local support = require "support"

local assert_tensor = support.assert_tensor
local where = support.where

describe("making tensors", function()
  support.count_tensors(before_each, after_each)

  it("takes sizes as integers or as one table, options after them", function()
    assert_tensor(nn.zeros(2, 3), { 2, 3 }, { 0, 0, 0, 0, 0, 0 })
    assert_tensor(nn.ones({ 2 }), { 2 }, { 1, 1 })
    assert_tensor(nn.full({ 2, 1 }, 7.5), { 2, 1 }, { 7.5, 7.5 })
    assert.equal("int64", nn.zeros(2, { dtype = "int64" }).dtype)
    assert_tensor(nn.zeros({}), {}, { 0 })
    assert_tensor(nn.zeros(2, {}), { 2 }, { 0, 0 })
    assert_tensor(nn.zeros(2, nil), { 2 }, { 0, 0 })
    assert.is_true(nn.ones(2, { requires_grad = true }).requires_grad)
  end)

  it("reads nested tables and keeps integers exact", function()
    assert_tensor(nn.tensor { { 1, 2, 3 }, { 4, 5, 6 } }, { 2, 3 }, { 1, 2, 3, 4, 5, 6 })
    assert_tensor(nn.tensor(2.5), {}, { 2.5 })
    assert_tensor(nn.tensor {}, { 0 }, {})
    assert_tensor(nn.tensor { {}, {} }, { 2, 0 }, {})
    local big = 9007199254740993
    assert.equal(big, nn.tensor({ big }, { dtype = "int64" })[1])
  end)

  it("gives numbers float32 and booleans bool, unless a dtype is asked for", function()
    assert.equal("float32", nn.tensor { 1, 2 }.dtype)
    assert.equal("bool", nn.tensor { true, false }.dtype)
    assert.equal("uint8", nn.tensor({ true, 3 }, { dtype = "uint8" }).dtype)
  end)

  it("makes ranges that exclude the end, and include it by the name of range", function()
    assert_tensor(nn.arange(2, 6), { 4 }, { 2, 3, 4, 5 })
    assert_tensor(nn.arange(3), { 3 }, { 0, 1, 2 })
    assert_tensor(nn.arange(5, 0, -2), { 3 }, { 5, 3, 1 })
    assert_tensor(nn.range(1, 5, 2), { 3 }, { 1, 3, 5 })
    assert_tensor(nn.linspace(0, 1, 5), { 5 }, { 0, 0.25, 0.5, 0.75, 1 })
    assert_tensor(nn.eye(2, 3), { 2, 3 }, { 1, 0, 0, 0, 1, 0 })
  end)

  it("draws the same random numbers from the same seed", function()
    for _, make in ipairs { nn.rand, nn.randn } do
      nn.manual_seed(7)
      local first = make(50):tolist()
      nn.manual_seed(7)
      assert.same(first, make(50):tolist())
      assert.is_not.same(first, make(50):tolist())
    end
    local state = nn.get_rng_state()
    local first = nn.randint(1, 10, { 20 })
    nn.set_rng_state(state)
    assert.same(first:tolist(), nn.randint(1, 10, { 20 }):tolist())
  end)

  it("keeps random integers within low and high - 1, and permutes 1 to n", function()
    for _, value in ipairs(nn.randint(3, 6, { 200 }):tolist()) do assert.is_true(value >= 3 and value <= 5) end
    local order = nn.randperm(20):tolist()
    table.sort(order)
    assert_tensor(nn.range(1, 20), { 20 }, order)
  end)

  it("goes through bytes and back", function()
    local t = nn.tensor { { 1, 2.5 }, { -3, 4 } }
    assert_tensor(nn.from_bytes(t:to_bytes(), { 2, 2 }, "float32"), { 2, 2 }, { 1, 2.5, -3, 4 })
    assert.equal(t:t():contiguous():to_bytes(), t:t():to_bytes())
  end)
end)

describe("a tensor", function()
  support.count_tensors(before_each, after_each)

  it("tells its shape, dtype, number of dimensions and length", function()
    local t = nn.zeros(2, 3)
    assert.same({ 2, 3 }, t.shape)
    assert.same({ 2, 3 }, t:size())
    assert.equal(3, t:size(-1))
    assert.equal("float32", t.dtype)
    assert.equal(2, t.ndim)
    assert.equal(6, t:numel())
    assert.equal(2, #t)
    assert.is_nil(t.no_such_field)
  end)

  it("tells the bytes of an element and of all", function()
    local t = nn.zeros(2, 3, { dtype = "float16" })
    assert.equal(2, t:element_size())
    assert.equal(12, t.nbytes)
    assert.equal(0, nn.zeros(0).nbytes)
    assert.equal(8, nn.tensor(1, { dtype = "int64" }).nbytes)
  end)

  it("becomes another dtype by the name of it", function()
    local t = nn.tensor { 1.9, -1.9 }
    local dtypes = {
      float = "float32", double = "float64", half = "float16", bfloat16 = "bfloat16", long = "int64", int = "int32",
      byte = "uint8", bool = "bool",
    }
    for method, dtype in pairs(dtypes) do assert.equal(dtype, t[method](t).dtype) end
    assert.same({ 1, -1 }, t:long():tolist())
    assert.equal("int32", t:type_as(nn.zeros(1, { dtype = "int32" })).dtype)
    assert.matches("type_as.*tensor", support.message_of(function() t:type_as("int32") end))
  end)

  it("gives a fresh table for its shape each time", function()
    local t = nn.zeros(2)
    t.shape[1] = 99
    assert.same({ 2 }, t.shape)
  end)

  it("is equal to what is the same tensor only", function()
    local x = nn.ones(2, { requires_grad = true })
    x:sum():backward()
    assert.is_true(x == x)
    assert.is_true(x.grad == x.grad)
    assert.is_false(x == nn.ones(2))
    assert.is_false(x == x:detach())
  end)

  it("takes numbers on either side of an operator", function()
    local t = nn.tensor { 1, 2, 4 }
    assert_tensor(t + 1, { 3 }, { 2, 3, 5 })
    assert_tensor(1 - t, { 3 }, { 0, -1, -3 })
    assert_tensor(2 * t, { 3 }, { 2, 4, 8 })
    assert_tensor(8 / t, { 3 }, { 8, 4, 2 })
    assert_tensor(t ^ 2, { 3 }, { 1, 4, 16 })
    assert_tensor(2 ^ t, { 3 }, { 2, 4, 16 })
    assert_tensor(-t, { 3 }, { -1, -2, -4 })
    assert_tensor(t % 3, { 3 }, { 1, 2, 1 })
  end)

  it("stays integer with an integer and becomes a float with a float", function()
    local t = nn.tensor({ 1, 2 }, { dtype = "int64" })
    assert.equal("int64", (t + 2).dtype)
    assert.equal("float32", (t + 2.5).dtype)
    assert.equal("float32", (t / 2).dtype)
  end)

  it("takes options by name, by position, and together", function()
    local t = nn.tensor { { 1, 2 }, { 3, 4 } }
    assert_tensor(t:sum(1), { 2 }, { 4, 6 })
    assert_tensor(t:sum { dim = 1 }, { 2 }, { 4, 6 })
    assert_tensor(t:sum(-1, true), { 2, 1 }, { 3, 7 })
    assert_tensor(t:sum(-1, { keepdim = true }), { 2, 1 }, { 3, 7 })
    assert_tensor(t:sum { 1, 2 }, {}, { 10 })
    assert_tensor(t:sum(nil, nil), {}, { 10 })
    assert_tensor(nn.sum(t, 1), { 2 }, { 4, 6 })
  end)

  it("returns values and positions from 1 where an operation has both", function()
    local values, positions = nn.tensor { { 1, 5 }, { 7, 2 } }:max(2)
    assert_tensor(values, { 2 }, { 5, 7 })
    assert_tensor(positions, { 2 }, { 2, 1 })
    assert.equal(1, select("#", nn.tensor { 1, 2 }:max()))
  end)

  it("changes in place by methods that end in an underscore, and returns itself", function()
    local t = nn.tensor { 1, 2 }
    assert.is_true(t:add_(1) == t)
    assert_tensor(t, { 2 }, { 2, 3 })
    assert_tensor(t:zero_(), { 2 }, { 0, 0 })
    assert_tensor(t:fill_(4), { 2 }, { 4, 4 })
    assert_tensor(t:copy_(nn.tensor(3)), { 2 }, { 3, 3 })
  end)

  it("has views that share its memory", function()
    local t = nn.zeros(2, 3)
    t:view(6)[2] = 5
    t:t()[{ 3, 1 }] = 6
    t[2]:fill_(7)
    assert_tensor(t, { 2, 3 }, { 0, 5, 6, 7, 7, 7 })
  end)

  it("takes no shape whose number of elements is larger than any integer", function()
    for _, size in ipairs { 2 ^ 32, 2 ^ 62 } do
      assert.has_error(function() nn.zeros(0):reshape(size, size, 4) end)
      assert.has_error(function() nn.zeros(0, 3):view({ size, size, -1 }) end)
    end
    assert_tensor(nn.zeros(0, 3):reshape(2, 0), { 2, 0 }, {})
  end)

  it("gives Lua's own numbers and booleans", function()
    assert.equal(2.5, nn.tensor(2.5):item())
    if support.has.integers then
      assert.equal("integer", math.type(nn.tensor({ 3 }, { dtype = "int64" }):item()))
    end
    assert.is_true(nn.tensor { true }:item())
    assert.same({ { true, false } }, nn.tensor { { true, false } }:tolist())
    assert.equal(1.5, nn.tensor(1.5):tolist())
  end)

  where("close", it, pending)("can be closed before the collector comes", function()
    local before = nn.memory().tensors
    do
      assert(load "local t <close> = ...; local nn, count = select(2, ...); assert(nn.memory().tensors == count)")(
        nn.zeros(10), nn, before + 1)
    end
    assert.equal(before, nn.memory().tensors)
  end)

  it("prints its elements, shape and dtype", function()
    local text = tostring(nn.tensor { { 1, 2 }, { 3, 4 } })
    assert.matches("1.*2.*3.*4", text)
    assert.matches("%(2, 2%)", text)
    assert.matches("float32", text)
  end)
end)

describe("reading by index", function()
  support.count_tensors(before_each, after_each)

  --- 1 to 12 in three rows.
  local function table_of_twelve()
    return nn.arange(1, 13):reshape(3, 4)
  end

  it("gives a number for one element and a view for more", function()
    local t = table_of_twelve()
    assert.equal(7, t[{ 2, 3 }])
    assert.equal(12, t[{ -1, -1 }])
    assert.equal(2, t[1][2])
    assert_tensor(t[2], { 4 }, { 5, 6, 7, 8 })
    assert.equal(2, t[{ 1, 2.0 }])
  end)

  it("reads ranges with both ends, from the end, and in steps", function()
    local t = table_of_twelve()
    assert_tensor(t[{ { 2, 3 }, 1 }], { 2 }, { 5, 9 })
    assert_tensor(t[{ {}, { -2, -1 } }], { 3, 2 }, { 3, 4, 7, 8, 11, 12 })
    assert_tensor(t[{ 1, { 1, 4, 2 } }], { 2 }, { 1, 3 })
    assert_tensor(t[{ 1, { 1, -1, 3 } }], { 2 }, { 1, 4 })
    assert_tensor(t[{ {}, 2 }], { 3 }, { 2, 6, 10 })
    assert_tensor(t[{}], { 3, 4 }, t:reshape(12):tolist())
    assert.same({ 0, 4 }, t[{ { 2, 1 } }].shape)
  end)

  it("reads rows at positions, in the shape of the positions", function()
    local t = table_of_twelve()
    local at = nn.tensor({ 3, 1 }, { dtype = "int64" })
    assert_tensor(t[at], { 2, 4 }, { 9, 10, 11, 12, 1, 2, 3, 4 })
    assert.same({ 1, 2, 4 }, t[at:reshape(1, 2)].shape)
  end)

  it("reads where a mask is true", function()
    local t = table_of_twelve()
    assert_tensor(t[t:gt(10)], { 2 }, { 11, 12 })
    assert_tensor(t[nn.tensor { false, true, false }], { 1, 4 }, { 5, 6, 7, 8 })
    assert.same({ 0 }, t[t:gt(99)].shape)
  end)
end)

describe("writing by index", function()
  support.count_tensors(before_each, after_each)

  it("writes numbers, booleans and tensors that broadcast", function()
    local t = nn.zeros(2, 3)
    t[{ 1, 2 }] = 5
    t[{ {}, 3 }] = nn.tensor { 7, 8 }
    t[2][1] = 9
    assert_tensor(t, { 2, 3 }, { 0, 5, 7, 9, 0, 8 })
    t[1] = 1
    t[{ 2, { 1, 2 } }] = nn.tensor(4)
    assert_tensor(t, { 2, 3 }, { 1, 1, 1, 4, 4, 8 })
    local truth = nn.zeros(2, { dtype = "bool" })
    truth[2] = true
    assert_tensor(truth, { 2 }, { false, true })
  end)

  it("writes at positions and under a mask", function()
    local t = nn.zeros(3, 2)
    t[nn.tensor({ 3, 1 }, { dtype = "int64" })] = nn.tensor { { 1, 2 }, { 3, 4 } }
    assert_tensor(t, { 3, 2 }, { 3, 4, 0, 0, 1, 2 })
    t[t:eq(0)] = -1
    assert_tensor(t, { 3, 2 }, { 3, 4, -1, -1, 1, 2 })
    t[nn.tensor { false, true, false }] = 9
    assert_tensor(t, { 3, 2 }, { 3, 4, 9, 9, 1, 2 })
    t[t:gt(3)] = nn.tensor { 5, 6, 7 }
    assert_tensor(t, { 3, 2 }, { 3, 5, 6, 7, 1, 2 })
  end)

  it("copies within one tensor as if from before", function()
    local t = nn.tensor { 1, 2, 3, 4 }
    t[{ { 2, 4 } }] = t[{ { 1, 3 } }]
    assert_tensor(t, { 4 }, { 1, 1, 2, 3 })
  end)
end)

describe("memory", function()
  support.count_tensors(before_each, after_each)

  it("stays bounded in a loop that makes temporaries", function()
    local x = nn.ones(100, 100)
    for _ = 1, 1000 do
      local _ = (x * 2 + 1):sum()
    end
    assert.is_true(nn.memory().live < 100e6)
  end)

  it("collects and goes on where the limit is reached by garbage alone", function()
    collectgarbage("stop")
    nn.set_memory_limit(nn.memory().live + 8e6)
    local ok, message = pcall(function()
      for _ = 1, 100 do nn.zeros(250, 1000) end
    end)
    nn.set_memory_limit(nil)
    collectgarbage("restart")
    assert.is_true(ok, message)
  end)

  it("says when there is none left, and goes on working", function()
    nn.set_memory_limit(nn.memory().live + 1e6)
    local ok, message = pcall(nn.zeros, 1000, 1000)
    nn.set_memory_limit(nil)
    assert.is_false(ok)
    assert.matches("out of memory", message)
    assert.equal(6, nn.ones(2, 3):sum():item())
  end)
end)
