--- Elements in another order or several times; triangles and diagonals; slices added or put; einsum.

local model = require "model"
local number = require "number"

local fail, copy_list = model.fail, model.copy_list

local function both(name, fn, in_place)
  model.method(name, fn, in_place)
  model.functions[name] = fn
end

-- Calls visit(position) for every position of the shape, in row-major order; the list is used again.
local function each_position(shape, visit)
  local position, n = {}, model.numel(shape)
  for d = 1, #shape do position[d] = 1 end
  for _ = 1, n do
    visit(position)
    for d = #shape, 1, -1 do
      position[d] = position[d] + 1
      if position[d] <= shape[d] then break end
      position[d] = 1
    end
  end
end

local function place_of(t, position)
  local place = t._offset
  for d = 1, #t._shape do place = place + (position[d] - 1) * t._stride[d] end
  return place
end

-- A new tensor whose element at each position is what `from` says: a place in t's storage, or nil for 0.
local function arranged(t, shape, from)
  local values = {}
  each_position(shape, function(position)
    local place = from(position)
    values[#values + 1] = place and t._storage[place] or 0
  end)
  return model.new(t._dtype, shape, values)
end

local function list_of(x) return type(x) == "table" and x or {x} end

-- ---- order

both("roll", function(t, shifts, dims)
  if not dims then
    if #list_of(shifts) ~= 1 then fail("roll") end
    return t:flatten():roll(shifts, 1):reshape(copy_list(t._shape))
  end
  shifts, dims = list_of(shifts), list_of(dims)
  if #shifts ~= #dims then fail("roll") end
  local by = {}
  for i, dim in ipairs(dims) do
    local d = model.dim(t, dim)
    by[d] = (by[d] or 0) + shifts[i]
  end
  if #t._shape == 0 then model.undecided() end
  return arranged(t, copy_list(t._shape), function(position)
    local source = {}
    for d = 1, #position do source[d] = (position[d] - 1 - (by[d] or 0)) % t._shape[d] + 1 end
    return place_of(t, source)
  end)
end)

model.method("movedim", function(t, source, destination)
  local from, to = model.dim(t, source), model.dim(t, destination)
  if #t._shape == 0 then return t:permute({}) end
  local order = {}
  for d = 1, #t._shape do
    if d ~= from then order[#order + 1] = d end
  end
  table.insert(order, to, from)
  return t:permute(order)
end)

-- ---- several times

both("tile", function(t, times)
  local extra = math.max(0, #times - #t._shape)
  local shape, sizes = {}, {}
  for d = 1, #t._shape + extra do
    sizes[d] = d > extra and t._shape[d - extra] or 1
    local k = times[d - (#t._shape + extra - #times)] or 1
    if k < 0 then fail("tile") end
    shape[d] = sizes[d] * k
  end
  return arranged(t, shape, function(position)
    local source = {}
    for d = 1, #t._shape do source[d] = (position[d + extra] - 1) % sizes[d + extra] + 1 end
    return place_of(t, source)
  end)
end)

both("repeat_interleave", function(t, times, dim)
  if times < 0 then fail("repeat_interleave") end
  if not dim then return t:flatten():repeat_interleave(times, 1) end
  local d = model.dim(t, dim)
  if #t._shape == 0 then model.undecided() end
  local shape = copy_list(t._shape)
  shape[d] = shape[d] * times
  return arranged(t, shape, function(position)
    local source = copy_list(position)
    source[d] = (position[d] - 1) // times + 1
    return place_of(t, source)
  end)
end)

-- ---- triangles and diagonals

local function triangle(keeps)
  return function(t, k)
    local n = #t._shape
    if n < 2 then fail("triangle of %d dimensions", n) end
    return arranged(t, copy_list(t._shape), function(position)
      return keeps(position[n] - position[n - 1], k or 0) and place_of(t, position) or nil
    end)
  end
end
both("tril", triangle(function(above, k) return above <= k end))
both("triu", triangle(function(above, k) return above >= k end))

both("trace", function(t)
  if #t._shape ~= 2 then fail("trace") end
  return t:diagonal():sum()
end)

-- ---- lists of views

local function parts(t, d, starts_and_sizes)
  local list = {}
  for i, part in ipairs(starts_and_sizes) do list[i] = t:narrow(d, part[1], part[2]) end
  return list
end

local function cut(t, d, size)
  local list = {}
  for start = 1, math.max(t._shape[d], 1), size do
    list[#list + 1] = {start, math.min(size, t._shape[d] - start + 1)}
  end
  return parts(t, d, list)
end

both("split", function(t, size, dim)
  local d = model.dim(t, dim or 1)
  if #t._shape == 0 or size < 0 or size == 0 and t._shape[d] > 0 then fail("split") end
  if size == 0 then model.undecided() end
  return cut(t, d, size)
end)

both("chunk", function(t, count, dim)
  local d = model.dim(t, dim or 1)
  if #t._shape == 0 or count < 1 then fail("chunk") end
  if t._shape[d] == 0 then model.undecided() end
  return cut(t, d, (t._shape[d] + count - 1) // count)
end)

both("unbind", function(t, dim)
  local d = model.dim(t, dim or 1)
  if #t._shape == 0 then fail("unbind") end
  local list = {}
  for i = 1, t._shape[d] do list[i] = t:select(d, i) end
  return list
end)

-- ---- slices at positions

-- put(old, new) for every element of the slices at the positions; the source has a slice for each.
local function on_slices(t, dim, index, source, put)
  local d = model.dim(t, dim)
  if #t._shape == 0 or #index._shape ~= 1 then model.undecided() end
  if number.info[index._dtype].kind ~= 2 then fail("positions are integers") end
  local shape = copy_list(t._shape)
  shape[d] = index._shape[1]
  if model.is_tensor(source) and not model.same_shape(source._shape, shape) then
    if model.numel(source._shape) == 1 or model.numel(shape) == 0 then model.undecided() end
    fail("source")
  end
  local out, list = model.converted(t, t._dtype), model.values(index)
  for i = 1, #list do model.position(list[i] < 1 and 0 or list[i], t._shape[d]) end
  each_position(shape, function(position)
    local value = model.is_tensor(source) and source._storage[place_of(source, position)] or source
    local target = copy_list(position)
    target[d] = list[position[d]]
    local place = place_of(out, target)
    out._storage[place] = number.stored(t._dtype, put(out._storage[place], value))
  end)
  return out
end

local function same_dtype(t, source)
  if source._dtype ~= t._dtype then fail("dtypes") end
end

both("index_add", function(t, dim, index, source)
  same_dtype(t, source)
  model.tolerate(number.info[t._dtype].step * 8, number.info[t._dtype].step * 32)
  if number.info[t._dtype].size == 2 then model.undecided() end
  return on_slices(t, dim, index, source, function(a, b) return a + b end)
end, true)

both("index_copy", function(t, dim, index, source)
  same_dtype(t, source)
  return on_slices(t, dim, index, source, function(_, b) return b end)
end, true)

both("index_fill", function(t, dim, index, value)
  return on_slices(t, dim, index, number.written(t._dtype, value), function(_, b) return b end)
end, true)

both("masked_scatter", function(t, mask, source)
  same_dtype(t, source)
  if mask._dtype ~= "bool" then fail("mask") end
  if not model.same_shape(model.broadcast(t._shape, mask._shape), t._shape) then model.undecided() end
  local values, truth, from = model.values(t), model.values(model.expanded(mask, t._shape)), model.values(source)
  local used = 0
  for i = 1, #values do
    if truth[i] ~= 0 then
      used = used + 1
      if used > #from then fail("masked_scatter: too few") end
      values[i] = from[used]
    end
  end
  return model.new(t._dtype, copy_list(t._shape), values)
end, true)

-- ---- einsum, by walking over all values of all letters

local function letter_sizes(inputs, tensors)
  local sizes, letters = {}, {}
  for i, word in ipairs(inputs) do
    if #word ~= #tensors[i]._shape then fail("einsum") end
    for d = 1, #word do
      local letter = word:sub(d, d)
      local size = tensors[i]._shape[d]
      if not sizes[letter] then letters[#letters + 1] = letter end
      if sizes[letter] and sizes[letter] ~= size then
        if sizes[letter] == 1 or size == 1 then model.undecided() end
        fail("einsum")
      end
      sizes[letter] = size
    end
  end
  return sizes, letters
end

function model.functions.einsum(equation, ...)
  local tensors, inputs = {...}, {}
  local left, right = equation:match("^(.*)->(.*)$")
  for word in (left .. ","):gmatch("(.-),") do inputs[#inputs + 1] = word end
  for i = 2, #tensors do same_dtype(tensors[1], tensors[i]) end
  local sizes, letters = letter_sizes(inputs, tensors)
  local shape, all = {}, {}
  for d = 1, #right do shape[d] = sizes[right:sub(d, d)] end
  for i, letter in ipairs(letters) do all[i] = sizes[letter] end
  local dtype = tensors[1]._dtype
  local sums_widen = number.info[dtype].kind < 3 and dtype ~= "int64"
  if number.info[dtype].size == 2 or sums_widen then model.undecided() end
  local out, scale, at = model.full(dtype, shape, 0), 0, {}
  local function place(t, word)
    local position = {}
    for d = 1, #word do position[d] = at[word:sub(d, d)] end
    return place_of(t, position)
  end
  local sums = {}
  each_position(all, function(position)
    for i, letter in ipairs(letters) do at[letter] = position[i] end
    local product = 1
    for i, t in ipairs(tensors) do product = product * t._storage[place(t, inputs[i])] end
    local target = place(out, right)
    sums[target] = (sums[target] or 0) + product
    if math.abs(product) < 1e300 then scale = scale + math.abs(product) end
  end)
  for target, sum in pairs(sums) do out._storage[target] = number.stored(dtype, sum) end
  model.tolerate(0, 16 * scale * number.info[number.info[dtype].compute].step)
  return out
end
