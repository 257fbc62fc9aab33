--- Many elements to one: sums, extremes, moments; softmax, sort and running sums, which go along one dimension.

local model = require "model"
local number = require "number"

local fail, info = model.fail, number.info

local function is_nan(x) return x ~= x end

-- The sum of a list's magnitudes, where they are finite: what a sum's error is measured by.
local function magnitude(list)
  local sum = 0
  for i = 1, #list do
    local x = math.abs(list[i])
    if x < 1e300 then sum = sum + x end
  end
  return sum
end

local function tolerate_sum(dtype, scale, factor)
  local compute = info[dtype].compute
  if compute ~= "int64" then model.tolerate(0, scale * info[compute].step * (factor or 8)) end
end

-- Runs fn over the elements that make each result, in order; the results have the dtype.
local function reduced(t, marked, keepdim, dtype, fn)
  local kept, dropped, shape = {_shape = {}, _stride = {}}, {_shape = {}, _stride = {}}, {}
  for d = 1, #t._shape do
    local part = marked[d] and dropped or kept
    table.insert(part._shape, t._shape[d])
    table.insert(part._stride, t._stride[d])
    if not marked[d] or keepdim then shape[#shape + 1] = marked[d] and 1 or t._shape[d] end
  end
  kept._offset, dropped._offset = t._offset, 0
  local inner, results = model.places(dropped), {}
  for i, start in ipairs(model.places(kept)) do
    local list = {}
    for k = 1, #inner do list[k] = t._storage[start + inner[k]] end
    results[i] = fn(list)
  end
  return model.new(dtype, shape, results)
end

-- Integers wrap around; floats carry what each addition loses along (Neumaier 1974).
local function sum_of(list)
  local sum, lost = 0, 0.0
  for i = 1, #list do
    local x = list[i]
    local next_sum = sum + x
    if math.type(x) == "float" then
      lost = lost + (math.abs(sum) >= math.abs(x) and (sum - next_sum) + x or (x - next_sum) + sum)
    end
    sum = next_sum
  end
  if math.type(sum) == "integer" or lost ~= lost or sum - sum ~= 0 then return sum end
  return sum + lost
end

local function both(name, fn) model.methods[name], model.functions[name] = fn, fn end

both("sum", function(t, dims, keepdim)
  local dtype = number.is_float(t._dtype) and t._dtype or "int64"
  return reduced(t, model.dims(t, dims), keepdim, dtype, function(list)
    tolerate_sum(dtype, magnitude(list))
    return sum_of(list)
  end)
end)

local function check_float(t)
  if not number.is_float(t._dtype) then fail("expected floats") end
end

both("mean", function(t, dims, keepdim)
  check_float(t)
  return reduced(t, model.dims(t, dims), keepdim, t._dtype, function(list)
    tolerate_sum(t._dtype, magnitude(list) / math.max(#list, 1))
    return sum_of(list) / #list
  end)
end)

both("prod", function(t, dims, keepdim)
  local dtype = number.is_float(t._dtype) and t._dtype or "int64"
  return reduced(t, model.dims(t, dims), keepdim, dtype, function(list)
    local product, size = 1, 1
    for i = 1, #list do
      product = product * list[i]
      size = list[i] == 0 and size or size * math.abs(list[i])
    end
    if dtype ~= "int64" then model.tolerate(8 * #list * info[info[dtype].compute].step, 1e-37) end
    -- where the order decides whether it overflows on the way
    if dtype ~= "int64" and (size > 1e30 or size < 1e-30) then model.undecided() end
    return product
  end)
end)

local function truth(all)
  return function(t, dims, keepdim)
    return reduced(t, model.dims(t, dims), keepdim, "bool", function(list)
      for i = 1, #list do
        if (list[i] ~= 0) ~= all then return all and 0 or 1 end
      end
      return all and 1 or 0
    end)
  end
end
both("all", truth(true))
both("any", truth(false))

both("count_nonzero", function(t, dims)
  return reduced(t, model.dims(t, dims), false, "int64", function(list)
    local n = 0
    for i = 1, #list do n = n + (list[i] ~= 0 and 1 or 0) end
    return n
  end)
end)

-- ---- extremes

local function beats(a, b, largest)
  if is_nan(b) then return false end
  if is_nan(a) then return true end
  if largest then return a > b end
  return a < b
end

local function extreme(list, largest)
  local at = 1
  for i = 2, #list do
    if beats(list[i], list[at], largest) then at = i end
  end
  return list[at], at
end

local function check_filled(t, marked)
  for d = 1, #t._shape do
    if marked[d] and t._shape[d] == 0 then fail("an empty dimension has no extreme") end
  end
end

local function value_of(largest)
  return function(t, dims, keepdim)
    local marked = model.dims(t, dims)
    check_filled(t, marked)
    return reduced(t, marked, keepdim, t._dtype, function(list) return (extreme(list, largest)) end)
  end
end

local function position_of(largest)
  return function(t, dim, keepdim)
    local marked = model.dims(t, dim)
    check_filled(t, marked)
    return reduced(t, marked, keepdim, "int64", function(list) return (select(2, extreme(list, largest))) end)
  end
end

for name, largest in pairs{max = true, min = false} do
  both("a" .. name, value_of(largest))
  both("arg" .. name, position_of(largest))
  both(name, function(t, dim, keepdim)
    if not dim then return value_of(largest)(t) end
    return value_of(largest)(t, dim, keepdim), position_of(largest)(t, dim, keepdim)
  end)
end

-- ---- moments

local function variance(list, t, unbiased)
  if info[t._dtype].size == 4 and magnitude(list) > 1e15 then model.undecided() end -- squares that overflow
  local mean, n = sum_of(list) / #list, #list
  local squares = {}
  for i = 1, n do squares[i] = (list[i] - mean) ^ 2 end
  local sum = sum_of(squares)
  tolerate_sum(t._dtype, (magnitude(list) / math.max(n, 1)) ^ 2 * 4 + math.abs(sum / n), 32)
  return sum / math.max(n - (unbiased and 1 or 0), 0)
end

local function moment(finish)
  return function(t, dims, keepdim, unbiased)
    check_float(t)
    if info[t._dtype].size == 2 then model.undecided() end
    return reduced(t, model.dims(t, dims), keepdim, t._dtype, function(list)
      return finish(variance(list, t, unbiased ~= false), t)
    end)
  end
end
both("var", moment(function(x) return x end))
both("std", moment(function(x)
  if model.atol > 0 then model.tolerate(1e-3, math.sqrt(model.atol)) end
  return math.sqrt(x)
end))

both("norm", function(t, p, dims, keepdim)
  check_float(t)
  if info[t._dtype].size == 2 then model.undecided() end
  p = p or 2
  local marked = model.dims(t, dims)
  model.tolerate(info[t._dtype].step * 64)
  return reduced(t, marked, keepdim, t._dtype, function(list)
    for i = 1, #list do list[i] = math.abs(list[i]) end
    if #list == 0 and math.abs(p) == math.huge then return 0 end
    if math.abs(p) == math.huge then return (extreme(list, p > 0)) end
    local sum, large = 0, 0
    for i = 1, #list do
      sum = sum + list[i] ^ p
      large = math.max(large, list[i])
    end
    if large > 1e15 or large < 1e-15 and large > 0 then model.undecided() end -- squares that overflow
    return sum ^ (1 / p)
  end)
end)

-- ---- along one dimension

-- Replaces each line along the dimension by what fn makes of it: lists of values, one for each result. They are as
-- long as the line, or of `length`.
local function along(t, dim, dtypes, fn, length)
  local d = model.dim(t, dim)
  local scalar = #t._shape == 0
  local n, step = scalar and 1 or t._shape[d], scalar and 1 or t._stride[d]
  local starts = {_shape = model.copy_list(t._shape), _stride = t._stride, _offset = t._offset}
  if not scalar then starts._shape[d] = 1 end
  local lines = {}
  length = length or n
  for i, start in ipairs(n > 0 and model.places(starts) or {}) do
    local list = {}
    for k = 1, n do list[k] = t._storage[start + (k - 1) * step] end
    lines[i] = {fn(list)}
  end
  local shape = model.copy_list(t._shape)
  if not scalar then shape[d] = length end
  local results = {}
  for r, dtype in ipairs(dtypes) do
    local out = model.full(dtype, shape, 0)
    local places = {_shape = model.copy_list(shape), _stride = out._stride, _offset = 0}
    if not scalar then places._shape[d] = math.min(length, 1) end
    for i, start in ipairs(model.places(places)) do
      for k = 1, length do
        out._storage[start + (k - 1) * (scalar and 1 or out._stride[d])] = number.stored(dtype, lines[i][r][k])
      end
    end
    results[r] = out
  end
  return table.unpack(results)
end

-- The size of a rounding in what these run in.
local function row_step(t)
  check_float(t)
  local step = info[info[t._dtype].compute].step
  model.tolerate(step * 32, step * 32)
  return step
end

local function log_sum(list)
  local largest = #list > 0 and extreme(list, true) or -math.huge
  if largest == -math.huge or largest == math.huge or is_nan(largest) then return largest, largest end
  local terms = {}
  for i = 1, #list do terms[i] = math.exp(list[i] - largest) end
  return largest + math.log(sum_of(terms)), largest
end

local function softmax(finish)
  return function(t, dim)
    local step = row_step(t)
    return along(t, dim, {t._dtype}, function(list)
      local total, out = log_sum(list), {}
      local biggest = 0
      for i = 1, #list do
        if math.abs(list[i]) < 1e300 then biggest = math.max(biggest, math.abs(list[i])) end
      end
      model.tolerate(step * (8 + 4 * biggest), step * 4 * biggest)
      local broken = total == math.huge or total == -math.huge
      for i = 1, #list do out[i] = broken and 0 / 0 or finish(list[i] - total) end
      return out
    end)
  end
end
both("softmax", softmax(math.exp))
both("log_softmax", softmax(function(x) return x end))

both("logsumexp", function(t, dims, keepdim)
  if not number.is_float(t._dtype) then model.undecided() end
  local step = row_step(t)
  return reduced(t, model.dims(t, dims), keepdim, t._dtype, function(list)
    local total, largest = log_sum(list)
    if math.abs(largest) < 1e300 then model.tolerate(0, step * 4 * math.abs(largest)) end
    return total
  end)
end)

-- Positions in order; equal ones keep theirs, NaN counts as the largest.
local function order_of(list, falling)
  local order = {}
  for i = 1, #list do order[i] = i end
  table.sort(order, function(i, j)
    local a, b = list[i], list[j]
    if is_nan(a) or is_nan(b) then
      if is_nan(a) and is_nan(b) then return i < j end
      return is_nan(a) == (falling == true)
    end
    if a ~= b then
      if falling then return a > b end
      return a < b
    end
    return i < j
  end)
  return order
end

local function sorted(t, dim, falling, k)
  return along(t, dim, {t._dtype, "int64"}, function(list)
    local order, values = order_of(list, falling), {}
    for i = #order, (k or #order) + 1, -1 do order[i] = nil end
    for i, at in ipairs(order) do values[i] = list[at] end
    return values, order
  end, k)
end

both("sort", function(t, dim, falling) return sorted(t, dim or -1, falling) end)
both("argsort", function(t, dim, falling) return (select(2, sorted(t, dim or -1, falling))) end)
both("topk", function(t, k, dim, largest)
  local d = model.dim(t, dim or -1)
  if k < 0 or k > (t._shape[d] or 1) then fail("topk") end
  if k == 0 and #t._shape == 0 then model.undecided() end
  return sorted(t, d, largest ~= false, k)
end)

local function running(combine, start)
  return function(t, dim)
    local dtype = number.is_float(t._dtype) and t._dtype or "int64"
    if info[dtype].size == 2 then model.undecided() end
    return along(t, dim, {dtype}, function(list)
      local total, out = start, {}
      tolerate_sum(dtype, magnitude(list))
      model.tolerate(4 * #list * info[info[dtype].compute].step)
      for i = 1, #list do
        total = combine(total, list[i])
        local size = math.abs(total)
        if dtype ~= "int64" and (size > 1e30 or size < 1e-30 and size > 0) then model.undecided() end
        out[i] = total
      end
      return out
    end)
  end
end
both("cumsum", running(function(a, b) return a + b end, 0))
both("cumprod", running(function(a, b) return a * b end, 1))

both("flip", function(t, ...)
  local result, dims = t, type(...) == "table" and ... or {...}
  local marked = model.dims(t, dims)
  if #dims == 0 then model.undecided() end
  for d = 1, #t._shape do
    if marked[d] then
      result = along(result, d, {t._dtype}, function(list)
        local out = {}
        for i = 1, #list do out[i] = list[#list + 1 - i] end
        return out
      end)
    end
  end
  return result == t and model.converted(t, t._dtype) or result
end)
