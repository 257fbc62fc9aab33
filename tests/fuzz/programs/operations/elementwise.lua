--- Element by element: arithmetic, functions, comparisons, choice, conversion.

local model = require "model"
local number = require "number"

local fail = model.fail
local info, stored = number.info, number.stored

-- How far a function of one or two elements may be off.
local accuracy = {float32 = {1.5e-6, 5e-7}, float64 = {1e-12, 1e-13}, int64 = {0, 0}}

local function approximate(compute) model.tolerate(accuracy[compute][1], accuracy[compute][2]) end

-- ---- two operands

local function common_dtype(a, b)
  local x, y = model.is_tensor(a), model.is_tensor(b)
  if not x and not y then fail("no tensor") end
  if not y then return number.promote_ranked(a._dtype, number.of_number(b)) end
  if not x then return number.promote_ranked(b._dtype, number.of_number(a)) end
  if (#a._shape == 0) == (#b._shape == 0) then return number.promote(a._dtype, b._dtype) end
  if #a._shape > 0 then return number.promote_ranked(a._dtype, b._dtype) end
  return number.promote_ranked(b._dtype, a._dtype)
end

-- All elements of an operand over the shape, as the type that arithmetic runs in.
local function loaded(x, shape, compute)
  local list = {}
  if model.is_tensor(x) then
    list = model.values(model.expanded(x, shape))
  else
    for i = 1, model.numel(shape) do list[i] = number.written(compute, x) end
  end
  for i = 1, #list do list[i] = stored(compute, list[i]) end
  return list
end

local function result_shape(a, b)
  if not model.is_tensor(a) then return model.copy_list(b._shape) end
  if not model.is_tensor(b) then return model.copy_list(a._shape) end
  return model.broadcast(a._shape, b._shape)
end

local function zip(a, b, shape, dtype, compute, fn)
  local x, y = loaded(a, shape, compute), loaded(b, shape, compute)
  local out = {}
  for i = 1, #x do out[i] = stored(compute, fn(x[i], y[i])) end
  return model.new(dtype, shape, out)
end

local function int_pow(a, b)
  if b < 0 then
    if a == -1 then return b % 2 == 0 and 1 or -1 end
    return a == 1 and 1 or 0
  end
  local power = 1
  while b > 0 do
    if b & 1 == 1 then power = power * a end
    a, b = a * a, b >> 1
  end
  return power
end

local function is_nan(x) return x ~= x end

local function float_pow(a, b) return a ^ b end

local function atan2(y, x)
  if is_nan(x) or is_nan(y) then return 0 / 0 end
  return math.atan(y, x)
end

local function larger(a, b) return (a > b or is_nan(a)) and a or b end
local function smaller(a, b) return (a < b or is_nan(a)) and a or b end

local function half_even(x)
  if is_nan(x) or x >= 2 ^ 52 or x <= -2 ^ 52 then return x end
  return (x + 0x1.8p52) - 0x1.8p52
end

local function remainder(a, b)
  local r = math.fmod(a, b)
  return r ~= 0 and (r < 0) ~= (b < 0) and r + b or r
end

-- The quotient rounded down, by way of the remainder, as Python has it: 1 // 0.1 is 9.
local function floor_divide(a, b, round)
  if b == 0 then return a / b end
  local r = math.fmod(a, b)
  local q = half_even(round(round(a - r) / b))
  return r ~= 0 and (r < 0) ~= (b < 0) and q - 1 or q
end

-- What integers have no result for.
local function check_whole(name, a, b, dtype)
  if number.is_float(dtype) then return end
  if name == "pow" and not model.is_tensor(b) and b < 0 then fail("negative power") end
  if name ~= "floor_divide" and name ~= "remainder" then return end
  for _, x in ipairs(model.is_tensor(b) and model.values(b) or {stored(dtype, b)}) do
    if x == 0 then
      if model.is_tensor(a) and model.numel(a._shape) == 0 then model.undecided() end
      fail("division by zero")
    end
  end
end

-- A number next to an integer tensor is one of its elements.
local function as_element(x, dtype)
  return not model.is_tensor(x) and info[dtype].kind == 2 and stored(dtype, x) or x
end

-- name: floats, integers, whether floats are exact
local arithmetic = {
  add = {function(a, b) return a + b end, function(a, b) return a + b end, true},
  sub = {function(a, b) return a - b end, function(a, b) return a - b end, true},
  mul = {function(a, b) return a * b end, function(a, b) return a * b end, true},
  div = {function(a, b) return a / b end, nil, true},
  pow = {float_pow, int_pow},
  maximum = {larger, function(a, b) return a > b and a or b end, true},
  minimum = {smaller, function(a, b) return a < b and a or b end, true},
  floor_divide = {floor_divide, function(a, b) return a // b end, true},
  remainder = {remainder, function(a, b) return a % b end, true},
  atan2 = {atan2},
}

for name, row in pairs(arithmetic) do
  local function run(a, b)
    local dtype = common_dtype(a, b)
    if name == "div" or name == "atan2" then dtype = number.float_dtype(dtype) end
    if dtype == "bool" and name == "sub" then fail("sub of bools") end
    local compute = info[dtype].compute
    if compute ~= "int64" and not row[3] then approximate(compute) end
    local function round(x) return stored(compute, x) end
    local shape = result_shape(a, b)
    check_whole(name, a, b, dtype)
    return zip(as_element(a, dtype), as_element(b, dtype), shape, dtype, compute, function(x, y)
      return (compute == "int64" and row[2] or row[1])(x, y, round)
    end)
  end
  model.method(name, run, true)
  model.functions[name] = run
end

for event, name in pairs{
  __add = "add", __sub = "sub", __mul = "mul", __div = "div", __pow = "pow", __mod = "remainder",
  __idiv = "floor_divide",
} do
  model.Tensor[event] = model.methods[name]
end

local comparisons = {
  eq = function(a, b) return a == b end,
  ne = function(a, b) return a ~= b end,
  lt = function(a, b) return a < b end,
  le = function(a, b) return a <= b end,
  gt = function(a, b) return a > b end,
  ge = function(a, b) return a >= b end,
  logical_and = function(a, b) return a ~= 0 and b ~= 0 end,
  logical_or = function(a, b) return a ~= 0 or b ~= 0 end,
  logical_xor = function(a, b) return (a ~= 0) ~= (b ~= 0) end,
}
for name, test in pairs(comparisons) do
  local function run(a, b)
    local compute = info[common_dtype(a, b)].compute
    local shape = result_shape(a, b)
    local x, y, out = loaded(a, shape, compute), loaded(b, shape, compute), {}
    for i = 1, #x do out[i] = test(x[i], y[i]) and 1 or 0 end
    return model.new("bool", shape, out)
  end
  model.method(name, run)
  model.functions[name] = run
end

-- ---- one operand

local function map(x, dtype, compute, fn)
  local list = model.values(x)
  for i = 1, #list do list[i] = stored(compute, fn(stored(compute, list[i]))) end
  return model.new(dtype, model.copy_list(x._shape), list)
end

local function whole(fn)
  return function(x)
    if is_nan(x) or x >= 2 ^ 52 or x <= -2 ^ 52 then return x end
    return fn(x) + 0.0
  end
end

local function same(x) return x end

local function sign(x) return x > 0 and 1 or x < 0 and -1 or 0 end

-- Exact, and integers stay integers: floats, integers.
local exact = {
  neg = {function(x) return -x end, function(x) return -x end},
  abs = {function(x) return x < 0 and -x or x end, function(x) return x < 0 and -x or x end},
  sign = {sign, sign},
  square = {function(x) return x * x end, function(x) return x * x end},
  relu = {function(x) return x < 0 and 0 or x end, function(x) return x < 0 and 0 or x end},
  floor = {whole(math.floor), same},
  ceil = {whole(math.ceil), same},
  trunc = {whole(function(x) return x < 0 and math.ceil(x) or math.floor(x) end), same},
  round = {half_even, same},
}
for name, row in pairs(exact) do
  local function run(x)
    local dtype = x._dtype
    if dtype == "bool" and name == "square" then dtype = "int64" end
    if dtype == "bool" and name ~= "sign" then fail("%s of bools", name) end
    local compute = info[dtype].compute
    return map(x, dtype, compute, compute == "int64" and row[2] or row[1])
  end
  model.method(name, run, true)
  model.functions[name] = run
end
model.Tensor.__unm = function(x) return model.methods.neg(x) end

local function erf(x)
  if is_nan(x) then return x end
  if x > 6 then return 1.0 end
  if x < -6 then return -1.0 end
  local term, sum, n = x, x, 0
  repeat
    n = n + 1
    term = term * 2 * x * x / (2 * n + 1)
    sum = sum + term
  until math.abs(term) < 1e-18 * math.abs(sum) or term == 0
  return 1.1283791670955126 * math.exp(-x * x) * sum
end

local function log1p(x)
  local y = 1 + x
  return y == 1 and x or y == math.huge and y or math.log(y) * x / (y - 1)
end

local function expm1(x)
  if x > 40 or x < -40 then return math.exp(x) - 1 end
  if math.abs(x) > 0.5 then return math.exp(x) - 1 end
  local term, sum, n = x, x, 1
  while term ~= 0 and math.abs(term) > 1e-19 * math.abs(sum) do
    n = n + 1
    term = term * x / n
    sum = sum + term
  end
  return sum
end

local function sigmoid(x) return 1 / (1 + math.exp(-x)) end

local function tanh(x)
  if is_nan(x) then return x end
  if x > 20 then return 1.0 elseif x < -20 then return -1.0 end
  local e = expm1(2 * x)
  return e / (e + 2)
end

local function softplus(x) return math.max(x, 0) + log1p(math.exp(-math.abs(x))) end

local function root(x) return x < 0 and 0 / 0 or math.sqrt(x) end
local function logarithm(x) return x < 0 and 0 / 0 or math.log(x) end

-- x where it is infinite or NaN, or its limit: products such as 0 * inf are not asked of these.
local function gated(gate)
  return function(x)
    if is_nan(x) or x == math.huge then return x end
    return x < -700 and 0 or x * gate(x)
  end
end

local functions = {
  exp = math.exp, expm1 = expm1, log = logarithm,
  log1p = function(x) return x < -1 and 0 / 0 or log1p(x) end,
  log2 = function(x) return logarithm(x) / math.log(2) end,
  log10 = function(x) return logarithm(x) / math.log(10) end,
  sqrt = root, rsqrt = function(x) return 1 / root(x) end, reciprocal = function(x) return 1 / x end,
  sin = math.sin, cos = math.cos, tanh = tanh, sigmoid = sigmoid, erf = erf,
  log_sigmoid = function(x) return is_nan(x) and x or -softplus(-x) end,
  silu = gated(sigmoid),
  gelu = gated(function(x) return 0.5 * (1 + erf(x / math.sqrt(2))) end),
  mish = gated(function(x) return tanh(softplus(x)) end),
  softplus = function(x) return is_nan(x) and x or x > 20 and x or softplus(x) end,
  leaky_relu = function(x) return x > 0 and x or 0.01 * x end,
  elu = function(x) return x > 0 and x or expm1(x) end,
  hardtanh = function(x) return x < -1 and -1 or x > 1 and 1 or x end,
}
for name, fn in pairs(functions) do
  local function run(x)
    local dtype = number.float_dtype(x._dtype)
    approximate(info[dtype].compute)
    return map(x, dtype, info[dtype].compute, fn)
  end
  model.method(name, run, true)
  model.functions[name] = run
end

local function clamp(x, low, high)
  local compute = info[x._dtype].compute
  if x._dtype == "bool" then model.undecided() end
  if compute == "int64" and (math.type(low) == "float" or math.type(high) == "float") then model.undecided() end
  local dtype = compute == "int64" and x._dtype or compute
  if not number.holds(dtype, low or 0) or not number.holds(dtype, high or 0) then model.undecided() end
  if low then low = stored(dtype, low) end
  if high then high = stored(dtype, high) end
  return map(x, x._dtype, compute, function(e)
    if low and e < low then e = low end
    if high and e > high then e = high end
    return e
  end)
end
model.method("clamp", clamp, true)

for name, test in pairs{
  isnan = is_nan,
  isinf = function(x) return x == math.huge or x == -math.huge end,
  isfinite = function(x) return x - x == 0 end,
  logical_not = function(x) return x == 0 end,
} do
  model.method(name, function(x) return map(x, "bool", "float64", function(e) return test(e) and 1 or 0 end) end)
end

-- ---- moving and choosing

function model.converted(x, dtype) return model.new(dtype, model.copy_list(x._shape), model.values(x)) end

local function to(x, dtype) return x._dtype == dtype and x or model.converted(x, dtype) end

model.method("to", to)
for name, dtype in pairs{float = "float32", double = "float64", long = "int64", int = "int32", bool = "bool"} do
  model.method(name, function(x) return to(x, dtype) end)
end
model.method("clone", function(x) return model.converted(x, x._dtype) end)
model.method("contiguous", function(x) return model.is_contiguous(x) and x or model.converted(x, x._dtype) end)
model.method("detach", function(x)
  return model.alias(x, model.copy_list(x._shape), model.copy_list(x._stride), x._offset)
end)
model.method("requires_grad_", function(x) return x end)

local function choose(condition, a, b, dtype)
  if condition._dtype ~= "bool" then fail("condition") end
  local shape = model.broadcast(condition._shape, result_shape(a, b))
  local c, out = model.values(model.expanded(condition, shape)), {}
  local x, y = loaded(a, shape, dtype), loaded(b, shape, dtype)
  for i = 1, #c do out[i] = c[i] ~= 0 and x[i] or y[i] end
  return model.new(dtype, shape, out)
end

function model.functions.where(condition, a, b) return choose(condition, a, b, common_dtype(a, b)) end
model.method("where", function(x, condition, b) return choose(condition, x, b, common_dtype(x, b)) end)
model.method("masked_fill", function(x, mask, value) return choose(mask, value, x, x._dtype) end, true)

-- ---- writing

local function written(t, source)
  model.check_writable(t)
  model.put(t, model.values(model.expanded(source, t._shape)))
  return t
end

function model.assign(t, source) return written(t, source) end

model.method("copy_", written)
model.method("fill_", function(t, x) return written(t, model.given(t._dtype, {}, {x})) end)
model.method("zero_", function(t) return written(t, model.new(t._dtype, {}, {0})) end)
