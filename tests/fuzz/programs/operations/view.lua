--- Views: other shapes, strides and offsets over the same elements.

local model = require "model"

local fail, copy_list = model.fail, model.copy_list

local function view(t, shape, stride, offset) return model.alias(t, shape, stride, offset or t._offset) end

-- A list given as a table or as the arguments.
local function list_of(first, ...)
  if type(first) == "table" then return copy_list(first) end
  return {first, ...}
end

-- ---- shapes

-- Strides for another shape: nil where only a copy can have it.
local function strides_for(t, shape)
  if model.numel(t._shape) == 0 then return model.strides(shape) end
  local sizes, steps = {}, {} -- without dimensions of size 1, those that lie one in the other merged
  for d = 1, #t._shape do
    local size, step = t._shape[d], t._stride[d]
    if size ~= 1 then
      local n = #sizes
      if n > 0 and steps[n] == size * step then
        sizes[n], steps[n] = sizes[n] * size, step
      else
        sizes[n + 1], steps[n + 1] = size, step
      end
    end
  end
  local stride, run, filled = {}, #sizes, 1
  for d = #shape, 1, -1 do
    if shape[d] == 1 then
      stride[d] = 1
    else
      while run > 0 and filled == sizes[run] do run, filled = run - 1, 1 end
      if run == 0 then return nil end
      stride[d] = steps[run] * filled
      filled = filled * shape[d]
      if sizes[run] % filled ~= 0 then return nil end
    end
  end
  return stride
end

local function completed(t, shape)
  local open, known = nil, 1
  for d, size in ipairs(shape) do
    if size == -1 and not open then
      open = d
    elseif size < 0 then
      fail("negative size")
    else
      known = known * size
    end
  end
  local numel = model.numel(t._shape)
  if open then
    if known == 0 or numel % known ~= 0 then fail("-1 does not come out") end
    shape[open] = numel // known
  elseif known ~= numel then
    fail("number of elements")
  end
  return shape
end

local function reshape(t, shape, may_copy)
  completed(t, shape)
  local stride = strides_for(t, shape)
  if stride then return view(t, shape, stride) end
  if not may_copy then fail("strides do not allow a view") end
  return model.new(t._dtype, shape, model.values(t))
end

model.method("view", function(t, ...) return reshape(t, list_of(...), false) end)
model.method("reshape", function(t, ...) return reshape(t, list_of(...), true) end)

model.method("flatten", function(t, first, last)
  local from, to = model.dim(t, first or 1), model.dim(t, last or -1)
  if #t._shape == 0 then return reshape(t, {1}, true) end
  if from > to then fail("flatten backwards") end
  local shape = {}
  for d = 1, from - 1 do shape[d] = t._shape[d] end
  shape[from] = 1
  for d = from, to do shape[from] = shape[from] * t._shape[d] end
  for d = to + 1, #t._shape do shape[#shape + 1] = t._shape[d] end
  return reshape(t, shape, true)
end)

model.method("unsqueeze", function(t, dim)
  local at = model.dim(t, dim, 1)
  local shape, stride = copy_list(t._shape), copy_list(t._stride)
  table.insert(shape, at, 1)
  table.insert(stride, at, 1)
  return view(t, shape, stride)
end)

model.method("squeeze", function(t, ...)
  local marked = model.dims(t, select("#", ...) > 0 and list_of(...) or nil)
  local shape, stride = {}, {}
  for d = 1, #t._shape do
    if not (marked[d] and t._shape[d] == 1) then
      shape[#shape + 1], stride[#stride + 1] = t._shape[d], t._stride[d]
    end
  end
  return view(t, shape, stride)
end)

-- ---- order of dimensions

local function permuted(t, order)
  local shape, stride = {}, {}
  for d, from in ipairs(order) do shape[d], stride[d] = t._shape[from], t._stride[from] end
  return view(t, shape, stride)
end

model.method("permute", function(t, ...)
  local order, seen = list_of(...), {}
  if #order ~= #t._shape then fail("permute") end
  for i, dim in ipairs(order) do
    order[i] = model.dim(t, dim)
    if seen[order[i]] then fail("permute names a dimension twice") end
    seen[order[i]] = true
  end
  return permuted(t, order)
end)

local function swapped(t, a, b)
  local order = {}
  for d = 1, #t._shape do order[d] = d == a and b or d == b and a or d end
  return permuted(t, order)
end

model.method("transpose", function(t, a, b) return swapped(t, model.dim(t, a), model.dim(t, b)) end)

model.method("t", function(t)
  if #t._shape > 2 then fail("t of %d dimensions", #t._shape) end
  return #t._shape == 2 and swapped(t, 1, 2) or swapped(t, 1, 1)
end)

-- ---- parts

model.method("expand", function(t, ...)
  local shape = list_of(...)
  local missing = #shape - #t._shape
  for d, size in ipairs(shape) do
    if size == -1 and d > missing and missing >= 0 then shape[d] = t._shape[d - missing] end
    if shape[d] < 0 then fail("negative size") end
  end
  return model.expanded(t, shape)
end)

model.method("narrow", function(t, dim, start, length)
  local d = model.dim(t, dim)
  if #t._shape == 0 then fail("no dimensions") end
  local size = t._shape[d]
  if start < 0 then start = start + size + 1 end
  if length < 0 or start < 1 or start + length - 1 > size then fail("narrow") end
  local shape = copy_list(t._shape)
  shape[d] = length
  return view(t, shape, copy_list(t._stride), length > 0 and t._offset + (start - 1) * t._stride[d] or t._offset)
end)

function model.position(at, size)
  local p = at < 0 and at + size + 1 or at
  if at == 0 or p < 1 or p > size then fail("position %d of %d", at, size) end
  return p
end

model.method("select", function(t, dim, at)
  local d = model.dim(t, dim)
  if #t._shape == 0 then fail("no dimensions") end
  local p = model.position(at, t._shape[d])
  local shape, stride = copy_list(t._shape), copy_list(t._stride)
  table.remove(shape, d)
  local step = table.remove(stride, d)
  return view(t, shape, stride, t._offset + (p - 1) * step)
end)

model.method("diagonal", function(t, offset, dim1, dim2)
  offset = offset or 0
  local a, b = model.dim(t, dim1 or 1), model.dim(t, dim2 or 2)
  if #t._shape < 2 or a == b then fail("diagonal") end
  local rows, columns = t._shape[a], t._shape[b]
  local length = math.max(0, offset >= 0 and math.min(rows, columns - offset) or math.min(rows + offset, columns))
  local shape, stride = {}, {}
  for d = 1, #t._shape do
    if d ~= a and d ~= b then shape[#shape + 1], stride[#stride + 1] = t._shape[d], t._stride[d] end
  end
  shape[#shape + 1], stride[#stride + 1] = length, t._stride[a] + t._stride[b]
  local start = length == 0 and 0 or offset >= 0 and offset * t._stride[b] or -offset * t._stride[a]
  return view(t, shape, stride, t._offset + start)
end)

model.method("unfold", function(t, dim, size, step)
  local d = model.dim(t, dim)
  if #t._shape == 0 then model.undecided() end
  if size < 0 or step < 1 or size > t._shape[d] then fail("unfold") end
  local shape, stride = copy_list(t._shape), copy_list(t._stride)
  shape[d] = (t._shape[d] - size) // step + 1
  shape[#shape + 1], stride[#stride + 1] = size, stride[d]
  stride[d] = stride[d] * step
  return view(t, shape, stride)
end)
