--- What dtypes do to results: promotion, integer arithmetic, casts, order. The values are PyTorch's.

local nn = require "nnlua"
local support = require "support"
local idiv = support.floor_divide
local exact = support.where("integers", it, pending)

local NAN, INF = 0 / 0, math.huge
-- Without integers, as far as every double is one.
local LEAST, MOST = math.mininteger or -2 ^ 53, math.maxinteger or 2 ^ 53

local function of(dtype, values) return nn.tensor(values, {dtype = dtype}) end
local function scalar(dtype, value) return nn.full({}, value, {dtype = dtype}) end

--- Same dtype, shape and elements, NaN being itself.
local function assert_same(got, dtype, shape, elements)
  assert.are.equal(dtype, got.dtype)
  assert.are.same(shape, got.shape)
  for index, value in ipairs(support.elements(got)) do
    local expected = elements[index]
    if not (value == expected or (value ~= value and expected ~= expected)) then
      error(("element %d: expected %s, got %s"):format(index, tostring(expected), tostring(value)), 2)
    end
  end
end

--- In which dtype two tensors meet; rows and columns in this order. Comparisons are bool for all.
local ORDER = {"bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"}
local MEET = {
  bool = {"bool", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"},
  uint8 = {"uint8", "uint8", "int32", "int64", "float16", "bfloat16", "float32", "float64"},
  int32 = {"int32", "int32", "int32", "int64", "float16", "bfloat16", "float32", "float64"},
  int64 = {"int64", "int64", "int64", "int64", "float16", "bfloat16", "float32", "float64"},
  float16 = {"float16", "float16", "float16", "float16", "float16", "float32", "float32", "float64"},
  bfloat16 = {"bfloat16", "bfloat16", "bfloat16", "bfloat16", "float32", "bfloat16", "float32", "float64"},
  float32 = {"float32", "float32", "float32", "float32", "float32", "float32", "float32", "float64"},
  float64 = {"float64", "float64", "float64", "float64", "float64", "float64", "float64", "float64"},
}

--- expression of a (and b), dtype, elements
local EXPRESSIONS = {
  {"uint8 wraps around", function() return of("uint8", {200, 255}) + 100 end, "uint8", {44, 99}},
  {"int32 wraps around", function() return of("int32", {2147483647}) + 1 end, "int32", {-2147483648}},
  {"int64 wraps around", function() return of("int64", {MOST}) * 3 end, "int64", {MOST - 2}},
  {"uint8 takes a number as one of its own", function()
    return idiv(of("uint8", {1, 7, 255}), -3)
  end, "uint8", {0, 0, 1}},
  {"a float number makes float32 of integers", function() return of("int64", {1}) + 0.5 end, "float32", {1.5}},
  {"a boolean promotes nothing", function()
    return nn.where(of("bool", {true, false}), of("bool", {false, false}), true)
  end, "bool", {false, true}},
  {"a quotient of integers is float32", function()
    return of("int32", {7}) / of("int32", {2})
  end, "float32", {3.5}},
  {"integers are rounded down", function()
    return idiv(of("int64", {7, -7, 7, -7}), of("int64", {2, 2, -2, -2}))
  end, "int64", {3, -4, -4, 3}},
  {"the remainder has the divisor's sign", function()
    return of("int64", {7, -7, 7, -7}) % of("int64", {3, 3, -3, -3})
  end, "int64", {1, 2, -2, -1}},
  {"floats too", function() return of("float64", {7, -7, 7, -7}) % of("float64", {3, 3, -3, -3}) end, "float64",
   {1, 2, -2, -1}},
  {"1 // 0.1 is 9, as 0.1 is a little more", function()
    return idiv(of("float64", {1, -1, 1}), of("float64", {0.1, 0.1, -INF}))
  end, "float64", {9, -10, -1}},
  {"a float by zero is infinite or NaN", function()
    return idiv(of("float32", {1, -1, 0}), 0.0)
  end, "float32", {INF, -INF, NAN}},
  {"negative powers of integers are cut off", function() return of("int64", {1, -1, 2}) ^ of("int64", {-1, -3, -1}) end,
   "int64", {1, -1, 0}},
  {"the sign of NaN is 0", function() return of("float32", {NAN, -2, 0, 3}):sign() end, "float32", {0, -1, 0, 1}},
  {"a bool has a sign", function() return of("bool", {true, false}):sign() end, "bool", {true, false}},
  {"a bool squared is an integer", function() return of("bool", {true, false}):square() end, "int64", {1, 0}},
  {"the upper limit wins", function() return of("float32", {0, 2, 5}):clamp(3, 1) end, "float32", {1, 1, 1}},
  {"clamp leaves NaN", function() return of("float32", {NAN}):clamp(0, 1) end, "float32", {NAN}},
  {"a float number clamps integers to floats", function()
    return of("int64", {1, 5}):clamp(1.5, 3)
  end, "float32", {1.5, 3}},
  {"sums of integers are int64", function() return of("uint8", {200, 200}):sum(1, true) end, "int64", {400}},
  {"where promotes as arithmetic does", function()
    return nn.where(of("bool", {true, false}), of("float32", {1, 2}), scalar("float64", 3))
  end, "float32", {1, 3}},
  {"where of a bool and a number", function()
    return nn.where(of("bool", {true, false}), of("bool", {true, true}), 3)
  end, "int64", {1, 3}},
  {"a boolean fills", function()
    return of("bool", {true, false}):masked_fill(of("bool", {false, true}), true)
  end, "bool", {true, true}},
  {"a boolean compares", function() return of("bool", {true, false}):eq(true) end, "bool", {true, false}},
  {"comparisons in place keep the dtype", function() return of("int32", {1, 5}):gt_(3) end, "int32", {0, 1}},
  {"logical_not in place", function() return of("float32", {0, 5}):logical_not_() end, "float32", {1, 0}},
  {"logsumexp of integers is float32", function()
    return of("int64", {0, 0}):logsumexp(1, true):exp():round()
  end, "float32", {2}},
  {"softmax of 16 bits", function() return of("bfloat16", {1, 1}):softmax(1) end, "bfloat16", {0.5, 0.5}},
  {"log_softmax of 16 bits", function() return of("float16", {3}):log_softmax(1) end, "float16", {0}},
  {"norm of order 0 counts", function()
    return of("float32", {0, -0.0, 3, NAN}):norm(0, 1, true)
  end, "float32", {2}},
  {"addmm of integers stays", function()
    return of("int64", {{1}}):addmm(of("int64", {{2}}), of("int64", {{3}}), {beta = 2, alpha = 3}):reshape(1)
  end, "int64", {20}},
}

--- from, values, to, values
local CASTS = {
  {"float32", {-1.9, 1.9, -0.5}, "int64", {-1, 1, 0}},
  {"float32", {NAN, INF, -INF, 1e30}, "int64", {LEAST, LEAST, LEAST, LEAST}},
  {"float64", {NAN, INF, 3e9, -3e9, 2147483647, -2147483648.9}, "int32",
   {-2147483648, -2147483648, -2147483648, -2147483648, 2147483647, -2147483648}},
  {"float32", {300, -1, 3e9, NAN}, "uint8", {44, 255, 0, 0}},
  {"float32", {0, -0.0, NAN, 0.1}, "bool", {false, false, true, true}},
  {"int64", {256, 257, -1}, "uint8", {0, 1, 255}},
  {"int64", {4294967301, 2147483648}, "int32", {5, -2147483648}},
  {"int64", {256, 0}, "bool", {true, false}},
  {"int64", {16777217}, "float32", {16777216}},
  {"float64", {65519, 65520, 1e-8}, "float16", {65504, INF, 0}},
  {"float64", {1.00390625, 1.01171875}, "bfloat16", {1, 1.015625}},
  {"bool", {true, false}, "float16", {1, 0}},
}

describe("dtypes", function()
  support.count_tensors(before_each, after_each)

  it("meet as PyTorch has it", function()
    for _, a in ipairs(ORDER) do
      for column, b in ipairs(ORDER) do
        local x, y = nn.zeros({2}, {dtype = a}), nn.ones({2}, {dtype = b})
        local expected, fraction = MEET[a][column], MEET[a][column]
        if not fraction:find("float") then fraction = "float32" end
        assert.are.equal(expected, (x + y).dtype)
        assert.are.equal(expected, (x * y).dtype)
        assert.are.equal(expected, x:maximum(y).dtype)
        assert.are.equal(fraction, (x / y).dtype)
        assert.are.equal("bool", x:lt(y).dtype)
        assert.are.equal(expected, nn.where(x:eq(y), x, y).dtype)
      end
    end
  end)

  it("of a tensor without dimensions count only where their kind is higher", function()
    for _, a in ipairs(ORDER) do
      for column, b in ipairs(ORDER) do
        local same = (a:find("float") and b:find("float")) or (a:find("int") and b:find("int"))
        local expected = same and a or MEET[a][column]
        assert.are.equal(expected, (nn.zeros({2}, {dtype = a}) + nn.ones({}, {dtype = b})).dtype)
        assert.are.equal(MEET[a][column], (nn.zeros({}, {dtype = a}) + nn.ones({}, {dtype = b})).dtype)
      end
    end
  end)

  for _, case in ipairs(EXPRESSIONS) do
    local test = case[1]:find "wraps" and exact or it
    test("in expressions: " .. case[1], function()
      assert_same(case[2](), case[3], {#case[4]}, case[4])
    end)
  end

  for _, case in ipairs(CASTS) do
    local test = case[3] == "int64" and exact or it
    test(("convert from %s to %s as on x86, strided too"):format(case[1], case[3]), function()
      local x = of(case[1], case[2])
      assert_same(x:to(case[3]), case[3], {#case[4]}, case[4])
      local strided = nn.stack({x, x}, 2)[{{}, 2}]
      assert_same(strided:to(case[3]), case[3], {#case[4]}, case[4])
    end)
  end

  it("refuse what integers have no result for", function()
    local x, zero = of("int64", {1, 2}), of("int32", {1, 0})
    local function expect(text, fn)
      local message = support.message_of(fn)
      assert(message:find(text, 1, true), message)
    end
    expect("divided by zero", function() return idiv(x, 0) end)
    expect("divided by zero", function() return x % zero end)
    expect("divided by zero", function() return idiv(of("uint8", {3}), 256) end)
    expect("a negative power of integers", function() return x ^ -1 end)
    expect("cannot be stored", function() return x:add_(0.5) end)
    expect("cannot be stored", function() return of("bool", {true}):add_(1) end)
    expect("floating-point", function() return x:softmax(1) end)
    local one = of("int64", {{1}})
    expect("a whole number as alpha", function() return nn.addmm(one, one, one, {alpha = 0.5}) end)
    assert_same(idiv(nn.zeros({0}, {dtype = "int64"}), nn.zeros({0}, {dtype = "int64"})), "int64", {0}, {})
  end)

  exact("have exact products of integers, in every layout", function()
    local big = 9007199254740993
    local a = of("int64", {{big, 1}, {2, 3}, {MOST, 4}, {5, 6}, {7, 8}})
    local b = of("int64", {{1, 3, 5}, {2, 4, LEAST}})
    local expected = {big + 2, 3 * big + 4, 5 * big + LEAST, 8, 18, 10 + LEAST, MOST + 8, MOST - 2 + 16, MOST - 4,
                      17, 39, 25, 23, 53, 35}
    assert_same(a:matmul(b), "int64", {5, 3}, expected)
    assert_same(a:matmul(b:t():contiguous():t()), "int64", {5, 3}, expected)
    assert_same(a:t():contiguous():t():matmul(b), "int64", {5, 3}, expected)
    assert_same(nn.stack({a, a}):matmul(b)[2], "int64", {5, 3}, expected)
    assert_same(of("uint8", {{200, 100}}):matmul(of("uint8", {{2}, {3}})), "uint8", {1, 1}, {188})
    assert_same(of("int32", {2147483647, 2}):dot(of("int32", {3, 1})):reshape(1), "int32", {1}, {2147483647})
    local tall, flat = nn.zeros({2, 0}, {dtype = "int64"}), nn.zeros({0, 1}, {dtype = "int64"})
    assert_same(tall:matmul(flat), "int64", {2, 1}, {0, 0})
  end)

  it("give every norm of nothing as 0", function()
    for _, p in ipairs {0, 1, 2, 3, -1, INF, -INF} do
      assert_same(nn.zeros(2, 0):norm(p, 2), "float32", {2}, {0, 0})
      assert.are.equal(0, nn.zeros(0):norm(p):item())
    end
  end)
end)

--- What sort must give: positions by insertion, NaN the largest, equal ones in order.
local function expected_order(values, descending)
  local function less(a, b)
    if a ~= a then return false end
    return b ~= b or a < b
  end
  local order, rank = {}, {[false] = 0, [true] = 1}
  for i = 1, #values do order[i] = i end
  table.sort(order, function(i, j)
    local a, b = rank[values[i]] or values[i], rank[values[j]] or values[j]
    if descending then a, b = b, a end
    if less(a, b) then return true end
    if less(b, a) then return false end
    return i < j
  end)
  return order
end

local function assert_sorted(x, descending)
  local values, positions = x:sort(-1, descending)
  local order, list = expected_order(x:tolist(), descending), x:tolist()
  local in_order = {}
  for i, at in ipairs(order) do in_order[i] = list[at] end
  assert_same(positions, "int64", x.shape, order)
  assert_same(values, x.dtype, x.shape, in_order)
  assert_same(x:argsort(-1, descending), "int64", x.shape, order)
  for _, k in ipairs {1, 3, #x} do
    if k <= #x then
      local top, at = x:topk(k, -1, descending)
      assert_same(at, "int64", {k}, order)
      assert_same(top, x.dtype, {k}, in_order)
    end
  end
end

describe("sort", function()
  support.count_tensors(before_each, after_each)

  it("keeps the order of equal elements, NaN last, for every dtype and length", function()
    for _, dtype in ipairs(ORDER) do
      for _, n in ipairs {1, 2, 7, 8, 9, 31, 100, 320, 321, 900} do
        local x = (nn.randn(n) * 5):round()
        x = dtype == "uint8" and x:abs():to(dtype) or dtype == "bool" and x:gt(0) or x:to(dtype)
        if dtype:find("float") and n > 7 then
          x[2], x[3], x[5], x[6], x[7] = -0.0, NAN, INF, NAN, -INF
        end
        assert_sorted(x, false)
        assert_sorted(x, true)
      end
    end
  end)

  it("has the whole range of int64 and float64", function()
    for _, n in ipairs {5, 40, 1000} do
      local x = nn.randint(idiv(LEAST, 2), idiv(MOST, 2), {n})
      x[1], x[2], x[3] = MOST, LEAST, 0
      assert_sorted(x, false)
      assert_sorted(x, true)
      assert_sorted(nn.randn({n}, {dtype = "float64"}):mul(1e200), true)
    end
  end)

  it("sorts along any dimension of any layout", function()
    local x = of("float32", {{3, 1, 2}, {0, 5, 4}})
    assert_same(x:sort(1), "float32", {2, 3}, {0, 1, 2, 3, 5, 4})
    assert_same(x:t():sort(1), "float32", {3, 2}, {1, 0, 2, 4, 3, 5})
    assert_same(x:t():argsort(2, true), "int64", {3, 2}, {1, 2, 2, 1, 2, 1})
    assert_same(scalar("float32", 3):topk(1):reshape(1), "float32", {1}, {3})
    assert_same(nn.zeros(2, 0):sort(2), "float32", {2, 0}, {})
    assert_same(nn.zeros(0, 2):sort(2), "float32", {0, 2}, {})
  end)

  it("gives the same for any number of threads in long lines and in many", function()
    local threads = nn.get_num_threads()
    for _, shape in ipairs {{140000}, {300, 600}} do
      local x = (nn.randn(shape) * 1000):round()
      nn.set_num_threads(1)
      local values, positions = x:sort(-1)
      nn.set_num_threads(3)
      local again, at = x:sort(-1)
      nn.set_num_threads(threads)
      assert.is_true(values:equal(again) and positions:equal(at))
      assert.is_true(x:gather(-1, positions):equal(values))
      local n = x:size(-1)
      local left, right = values:narrow(-1, 1, n - 1), values:narrow(-1, 2, n - 1)
      local ties = left:eq(right):logical_and(positions:narrow(-1, 1, n - 1):ge(positions:narrow(-1, 2, n - 1)))
      assert.is_true(left:le(right):all():item())
      assert.is_false(ties:any():item())
    end
  end)
end)

describe("gather and scatter", function()
  support.count_tensors(before_each, after_each)

  it("reach every dimension, with an index smaller than the tensor", function()
    for _, dtype in ipairs(ORDER) do
      local truth = dtype == "bool"
      local x = (nn.arange(0, 24) % (truth and 2 or 24)):reshape(2, 3, 4):to(dtype)
      local index = of("int64", {{{2, 1}, {1, 1}}})
      local function value(i, j, k)
        local v = ((i - 1) * 12 + (j - 1) * 4 + k - 1) % (truth and 2 or 24)
        if truth then return v == 1 end
        return v
      end
      local square = {1, 2, 2}
      assert_same(x:gather(1, index), dtype, square, {value(2, 1, 1), value(1, 1, 2), value(1, 2, 1), value(1, 2, 2)})
      assert_same(x:gather(2, index), dtype, square, {value(1, 2, 1), value(1, 1, 2), value(1, 1, 1), value(1, 1, 2)})
      assert_same(x:gather(3, index), dtype, square, {value(1, 1, 2), value(1, 1, 1), value(1, 2, 1), value(1, 2, 1)})
      if not truth then
        local source = of(dtype, {{{1, 2}, {3, 4}}})
        local sum = x:scatter_add(2, index, source)
        assert_same(sum[{1, {}, 1}], dtype, {3}, {3, 5, 8})
        assert_same(sum[{1, {}, 2}], dtype, {3}, {7, 5, 9})
        local put = x:scatter(3, index, source)
        assert_same(put[{1, {1, 2}, {1, 2}}], dtype, {2, 2}, {2, 1, 4, 5})
      end
    end
  end)

  it("give the same for any number of threads", function()
    local threads = nn.get_num_threads()
    local x, index = nn.randn(400, 100), nn.randint(1, 101, {400, 100})
    local function all()
      return nn.stack {x:gather(2, index), x:scatter(2, index, x), x:scatter_add(2, index, x),
                       x:scatter_add(1, index, x)}
    end
    nn.set_num_threads(1)
    local one = all()
    nn.set_num_threads(3)
    local three = all()
    nn.set_num_threads(threads)
    assert.is_true(one:equal(three))
  end)
end)
