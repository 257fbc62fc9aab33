--- Positions that are data: indexing, gather, scatter, masks; joins; products; the making of tensors.

local model = require "model"
local number = require "number"

local fail, info, copy_list = model.fail, number.info, model.copy_list

-- ---- t[key]

local function range_part(t, dim, range, part)
  local size, step = t._shape[dim], t._stride[dim]
  if #range == 0 then
    part.shape[#part.shape + 1], part.stride[#part.stride + 1] = size, step
    return
  end
  if #range == 1 or #range > 3 then fail("range") end
  local from, to, by = range[1], range[2], range[3] or 1
  if from < 0 then from = from + size + 1 end
  if to < 0 then to = to + size + 1 end
  if by < 1 or from < 1 or to > size or from > to + 1 then fail("range") end
  local length = to < from and 0 or (to - from) // by + 1
  if length > 0 then part.offset = part.offset + (from - 1) * step end
  part.shape[#part.shape + 1], part.stride[#part.stride + 1] = length, step * by
end

local function part_of(t, key)
  local part = {shape = {}, stride = {}, offset = t._offset}
  if type(key) ~= "table" then key = {key} end
  if #key > #t._shape then fail("more positions than dimensions") end
  for d, item in ipairs(key) do
    if type(item) == "table" then
      range_part(t, d, item, part)
    else
      part.offset = part.offset + (model.position(item, t._shape[d]) - 1) * t._stride[d]
    end
  end
  for d = #key + 1, #t._shape do
    part.shape[#part.shape + 1], part.stride[#part.stride + 1] = t._shape[d], t._stride[d]
  end
  return model.alias(t, part.shape, part.stride, part.offset)
end

local function positions(index, size)
  if info[index._dtype].kind ~= 2 then fail("positions are integers") end
  local list = model.values(index)
  for i = 1, #list do
    if list[i] < 1 or list[i] > size then fail("position %d of %d", list[i], size) end
  end
  return list
end

-- Where the mask, which covers the first dimensions, holds: positions in these dimensions seen as one.
local function true_positions(t, mask)
  if #mask._shape > #t._shape or #mask._shape == 0 then fail("mask") end
  for d = 1, #mask._shape do
    if mask._shape[d] ~= t._shape[d] then fail("mask") end
  end
  local list = {}
  for i, truth in ipairs(model.values(mask)) do
    if truth ~= 0 then list[#list + 1] = i end
  end
  return list
end

-- The places of the slices at the positions, among the first `depth` dimensions seen as one.
local function slice_places(t, depth, list)
  local all, width = model.places(t), 1
  for d = depth + 1, #t._shape do width = width * t._shape[d] end
  local places = {}
  for _, at in ipairs(list) do
    for k = 1, width do places[#places + 1] = all[(at - 1) * width + k] end
  end
  return places
end

local function read_at(t, key)
  local shape, list
  local depth = 1
  if key._dtype == "bool" then
    list, depth = true_positions(t, key), #key._shape
    shape = {#list}
  else
    if #t._shape == 0 then fail("no dimensions") end
    list, shape = positions(key, t._shape[1]), copy_list(key._shape)
  end
  for d = depth + 1, #t._shape do shape[#shape + 1] = t._shape[d] end
  local values = slice_places(t, depth, list)
  for i = 1, #values do values[i] = t._storage[values[i]] end
  return model.new(t._dtype, shape, values)
end

local function element(t, value)
  if t._dtype == "bool" then return value ~= 0 end
  return value
end

local fields = {
  shape = function(t) return copy_list(t._shape) end,
  dtype = function(t) return t._dtype end,
  ndim = function(t) return #t._shape end,
}

function model.Tensor.__index(t, key)
  if type(key) == "string" then
    return model.methods[key] or fields[key] and fields[key](t)
  end
  if model.is_tensor(key) then return read_at(t, key) end
  local part = part_of(t, key)
  if #part._shape == 0 and #t._shape > 0 then return element(t, t._storage[part._offset]) end
  return part
end

local function write_at(t, key, value)
  local mask = key._dtype == "bool"
  if not mask and #t._shape == 0 then fail("no dimensions") end
  local list = mask and true_positions(t, key) or positions(key, t._shape[1])
  local depth = mask and #key._shape or 1
  if not model.is_contiguous(t) then model.undecided() end
  local shape = mask and {#list} or copy_list(key._shape)
  for d = depth + 1, #t._shape do shape[#shape + 1] = t._shape[d] end
  local values = model.values(model.expanded(value, shape))
  for i, place in ipairs(slice_places(t, depth, list)) do t._storage[place] = number.stored(t._dtype, values[i]) end
end

function model.Tensor.__newindex(t, key, value)
  if type(value) == "boolean" then value = value and 1 or 0 end
  if not model.is_tensor(value) then value = model.given(t._dtype, {}, {value}) end
  if model.is_tensor(key) then
    model.check_writable(t)
    write_at(t, key, value)
  else
    local part = part_of(t, key)
    if model.repeats(t) and not model.repeats(part) then model.undecided() end
    model.assign(part, value)
  end
end

model.method("item", function(t)
  if model.numel(t._shape) ~= 1 then fail("item") end
  return element(t, model.values(t)[1])
end)

-- ---- index_select, gather, scatter

local function both(name, fn, in_place)
  model.method(name, fn, in_place)
  model.functions[name] = fn
end

both("index_select", function(t, dim, index)
  local d = model.dim(t, dim)
  if #index._shape > 1 then fail("index_select") end
  local list = positions(index, t._shape[d] or 1)
  if #t._shape == 0 then
    if #list ~= 1 then model.undecided() end
    return model.converted(t, t._dtype)
  end
  local front = {d}
  for k = 1, #t._shape do
    if k ~= d then front[#front + 1] = k end
  end
  local turned = t:permute(front)
  local shape = copy_list(turned._shape)
  shape[1] = #list
  local values = slice_places(turned, 1, list)
  for i = 1, #values do values[i] = t._storage[values[i]] end
  local back = {}
  for k = 1, #front do back[front[k]] = k end
  return model.converted(model.new(t._dtype, shape, values):permute(back), t._dtype)
end)

-- The places in `t` that the elements of the index point to.
local function pointed(t, d, index)
  if #t._shape ~= #index._shape then fail("index") end
  for k = 1, #t._shape do
    if k ~= d and index._shape[k] > t._shape[k] then fail("index") end
  end
  local list = positions(index, t._shape[d] or 1)
  local rest = model.alias(t, copy_list(index._shape), copy_list(t._stride), t._offset)
  if #t._shape > 0 then rest._stride[d] = 0 end
  local places = model.places(rest)
  for i = 1, #places do places[i] = places[i] + (list[i] - 1) * (t._stride[d] or 0) end
  return places
end

both("gather", function(t, dim, index)
  local places = pointed(t, model.dim(t, dim), index)
  for i = 1, #places do places[i] = t._storage[places[i]] end
  return model.new(t._dtype, copy_list(index._shape), places)
end)

local function scatter(combine)
  return function(t, dim, index, source)
    local d = model.dim(t, dim)
    local out = model.converted(t, t._dtype)
    local places, values = pointed(out, d, index), {}
    if model.is_tensor(source) then
      if source._dtype ~= t._dtype or #source._shape ~= #index._shape then fail("source") end
      for k = 1, #index._shape do
        if index._shape[k] > source._shape[k] then fail("source") end
      end
      values = model.values(model.alias(source, index._shape, source._stride, source._offset))
    else
      for i = 1, #places do values[i] = number.written(t._dtype, source) end
    end
    for i, place in ipairs(places) do
      out._storage[place] = number.stored(t._dtype, combine(out._storage[place], values[i]))
    end
    return out
  end
end
both("scatter", scatter(function(_, b) return b end), true)
both("scatter_add", scatter(function(a, b) return a + b end), true)

both("masked_select", function(t, mask)
  if mask._dtype ~= "bool" then fail("mask") end
  local shape = model.broadcast(t._shape, mask._shape)
  local x, m, out = model.values(model.expanded(t, shape)), model.values(model.expanded(mask, shape)), {}
  for i = 1, #x do
    if m[i] ~= 0 then out[#out + 1] = x[i] end
  end
  return model.new(t._dtype, {#out}, out)
end)

-- ---- joins

local function is_nothing(t) return #t._shape == 1 and t._shape[1] == 0 end

function model.functions.cat(list, dim)
  if #list == 0 then fail("cat of nothing") end
  local dtype, first = list[1]._dtype, nil
  local d = model.dim(list[1], dim or 1)
  for _, t in ipairs(list) do
    dtype = number.promote(dtype, t._dtype)
    if not is_nothing(t) then first = first or t end
  end
  if not first then return model.new(dtype, {0}, {}) end
  if is_nothing(list[1]) and (dim or 1) < 0 then model.undecided() end
  if d > #first._shape then fail("cat") end
  local shape = copy_list(first._shape)
  shape[d] = 0
  for _, t in ipairs(list) do
    if not is_nothing(t) then
      if #t._shape ~= #shape then fail("cat") end
      for k = 1, #shape do
        if k ~= d and t._shape[k] ~= shape[k] then fail("cat") end
      end
      shape[d] = shape[d] + t._shape[d]
    end
  end
  local out = model.full(dtype, shape, 0)
  local start = 1
  for _, t in ipairs(list) do
    if not is_nothing(t) then
      model.put(out:narrow(d, start, t._shape[d]), model.values(t))
      start = start + t._shape[d]
    end
  end
  return out
end

function model.functions.stack(list, dim)
  if #list == 0 then fail("stack of nothing") end
  local raised = {}
  for i, t in ipairs(list) do
    if not model.same_shape(t._shape, list[1]._shape) then fail("stack") end
    raised[i] = t:unsqueeze(dim or 1)
  end
  return model.functions.cat(raised, dim and dim > 0 and dim or model.dim(list[1], dim or 1, 1))
end

-- ---- products

local function product(a, b)
  if a._dtype ~= b._dtype or #a._shape == 0 or #b._shape == 0 then fail("matmul") end
  if a._dtype == "bool" then model.undecided() end
  local compute = info[a._dtype].compute
  local x = #a._shape == 1 and a:unsqueeze(1) or a
  local y = #b._shape == 1 and b:unsqueeze(2) or b
  local n, k, m = x._shape[#x._shape - 1], x._shape[#x._shape], y._shape[#y._shape]
  if k ~= y._shape[#y._shape - 1] then fail("inner sizes") end
  local function batch_of(t) return table.move(t._shape, 1, #t._shape - 2, 1, {}) end
  local batch = model.broadcast(batch_of(x), batch_of(y))
  local function wide(t, rows, columns)
    local shape = copy_list(batch)
    shape[#shape + 1], shape[#shape + 2] = rows, columns
    return model.values(model.expanded(t, shape)), shape
  end
  local u, v, out = wide(x, n, k), wide(y, k, m), {}
  local count, scale = model.numel(batch), 0
  for q = 0, count - 1 do
    for i = 0, n - 1 do
      for j = 0, m - 1 do
        local sum, size = 0, 0
        for l = 0, k - 1 do
          local term = u[q * n * k + i * k + l + 1] * v[q * k * m + l * m + j + 1]
          sum, size = sum + term, size + math.abs(term)
        end
        if size < 1e300 then scale = math.max(scale, size) end
        out[#out + 1] = sum
      end
    end
  end
  if compute ~= "int64" then model.tolerate(0, 8 * scale * info[compute].step) end
  local shape = copy_list(batch)
  if #a._shape > 1 then shape[#shape + 1] = n end
  if #b._shape > 1 then shape[#shape + 1] = m end
  return model.new(a._dtype, shape, out)
end
both("matmul", product)

for name, ndims in pairs{mm = {2, 2}, mv = {2, 1}, bmm = {3, 3}, dot = {1, 1}} do
  both(name, function(a, b)
    if #a._shape ~= ndims[1] or #b._shape ~= ndims[2] then fail(name) end
    if name == "bmm" and a._shape[1] ~= b._shape[1] then model.undecided() end
    return product(a, b)
  end)
end
both("outer", function(a, b)
  if #a._shape ~= 1 or #b._shape ~= 1 then fail("outer") end
  return a:unsqueeze(2) * b
end)

-- ---- making

local functions = model.functions

local function flattened(value, shape, list, depth)
  if type(value) ~= "table" then
    list[#list + 1] = type(value) == "boolean" and (value and 1 or 0) or value
    return
  end
  shape[depth] = #value
  for i = 1, #value do flattened(value[i], shape, list, depth + 1) end
end

function functions.tensor(value, options)
  local shape, list = {}, {}
  flattened(value, shape, list, 1)
  local first = value
  while type(first) == "table" do first = first[1] end
  return model.given(options and options.dtype or type(first) == "boolean" and "bool" or "float32", shape, list)
end

local function filled(x)
  return function(shape, options)
    return model.full(options and options.dtype or "float32", copy_list(shape), x)
  end
end
functions.zeros, functions.ones = filled(0), filled(1)

function functions.arange(from, to)
  local list = {}
  for i = from, to - 1 do list[#list + 1] = i end
  return model.new("int64", {#list}, list)
end

function functions.no_grad(fn) return fn() end
