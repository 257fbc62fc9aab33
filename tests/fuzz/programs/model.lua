--- Tensors in plain Lua: a table of elements seen through shape, strides and offset, so that views share it. Slow and
-- simple; what operations do with it stands in the files of operations/.

local number = require "number"

local model = { methods = {}, functions = {} }

local Tensor = {}
model.Tensor = Tensor

--- Raises: the engine is expected to raise too.
function model.fail(...) error("reference: " .. string.format(...), 0) end

--- Raises where no rule says whether the engine should: it may do either, but with a Lua error and nothing worse.
function model.undecided() error(model.undecided, 0) end

-- How far results may be off, for the statement that runs.
model.rtol, model.atol = 0, 0

function model.tolerate(rtol, atol)
  model.rtol = math.max(model.rtol, rtol)
  model.atol = math.max(model.atol, atol or 0)
end

function model.is_tensor(x) return getmetatable(x) == Tensor end

function model.numel(shape)
  local n = 1
  for _, size in ipairs(shape) do n = n * size end
  return n
end

function model.strides(shape)
  local stride, step = {}, 1
  for d = #shape, 1, -1 do
    stride[d] = step
    step = step * math.max(shape[d], 1)
  end
  return stride
end

local function make(storage, dtype, shape, stride, offset)
  return setmetatable({_storage = storage, _dtype = dtype, _shape = shape, _stride = stride, _offset = offset}, Tensor)
end

--- A new tensor of these elements (a flat list, stored in the dtype).
function model.new(dtype, shape, values)
  local data = {}
  for i = 1, model.numel(shape) do data[i - 1] = number.stored(dtype, values[i]) end
  return make(data, dtype, shape, model.strides(shape), 0)
end

--- A new tensor of one number.
function model.full(dtype, shape, x)
  local values = {}
  for i = 1, model.numel(shape) do values[i] = x end
  return model.new(dtype, shape, values)
end

--- As new, of numbers from a script, which the dtype must be able to hold.
function model.given(dtype, shape, values)
  local list = {}
  for i = 1, #values do
    if not number.holds(dtype, values[i]) then model.fail("%s cannot hold %s", dtype, values[i]) end
    list[i] = number.written(dtype, values[i])
  end
  return model.new(dtype, shape, list)
end

function model.alias(t, shape, stride, offset) return make(t._storage, t._dtype, shape, stride, offset) end

--- The places of all elements in the storage, in row-major order.
function model.places(t)
  local list, ndim = {t._offset}, #t._shape
  for d = 1, ndim do
    local next_list, n = {}, 0
    local size, stride = t._shape[d], t._stride[d]
    for i = 1, #list do
      for k = 0, size - 1 do
        n = n + 1
        next_list[n] = list[i] + k * stride
      end
    end
    list = next_list
  end
  return list
end

function model.values(t)
  local list, data = model.places(t), t._storage
  for i = 1, #list do list[i] = data[list[i]] end
  return list
end

function model.put(t, values)
  local data, dtype = t._storage, t._dtype
  for i, place in ipairs(model.places(t)) do data[place] = number.stored(dtype, values[i]) end
end

function model.is_contiguous(t)
  local step = 1
  if model.numel(t._shape) == 0 then return true end
  for d = #t._shape, 1, -1 do
    if t._shape[d] ~= 1 then
      if t._stride[d] ~= step then return false end
      step = step * t._shape[d]
    end
  end
  return true
end

function model.same_shape(a, b)
  if #a ~= #b then return false end
  for d = 1, #a do
    if a[d] ~= b[d] then return false end
  end
  return true
end

function model.copy_list(list) return table.move(list, 1, #list, 1, {}) end

-- A table of more would not fit into memory.
local MOST_ELEMENTS = 1e7

--- The shape that both broadcast to.
function model.broadcast(a, b)
  local shape, ndim = {}, math.max(#a, #b)
  for d = 0, ndim - 1 do
    local x, y = a[#a - d] or 1, b[#b - d] or 1
    if x ~= y and x ~= 1 and y ~= 1 then model.fail("shapes do not broadcast") end
    shape[ndim - d] = x == 1 and y or x
  end
  if model.numel(shape) > MOST_ELEMENTS then model.undecided() end
  return shape
end

--- A view of the shape, which must be one that the tensor broadcasts to.
function model.expanded(t, shape)
  local missing, stride = #shape - #t._shape, {}
  if missing < 0 then model.fail("too many dimensions") end
  for d = 1, #shape do
    local size = d > missing and t._shape[d - missing] or 1
    if size ~= 1 and size ~= shape[d] then model.fail("does not broadcast") end
    stride[d] = d > missing and (size == shape[d] and t._stride[d - missing] or 0) or 0
  end
  return model.alias(t, shape, stride, t._offset)
end

--- A dimension as the caller names it, as one from 1; `more` is 1 for the place of a new one.
function model.dim(t, dim, more)
  local ndim = math.max(#t._shape + (more or 0), 1)
  local d = dim < 0 and dim + ndim + 1 or dim
  if dim == 0 or d < 1 or d > ndim then model.fail("dimension %d of %d", dim, ndim) end
  return d
end

--- Which dimensions a number, a list, or nothing (all of them) names.
function model.dims(t, dims)
  local marked = {}
  if type(dims) == "number" then dims = {dims} end
  local all = not dims or #dims == 0
  for d = 1, #t._shape do marked[d] = all end
  for _, dim in ipairs(dims or {}) do
    local d = model.dim(t, dim)
    if marked[d] then model.fail("dimension named twice") end
    if #t._shape > 0 then marked[d] = true end
  end
  return marked
end

--- Whether one element of the storage stands for several, as after expand.
function model.repeats(t)
  for d = 1, #t._shape do
    if t._shape[d] > 1 and t._stride[d] == 0 then return true end
  end
  return false
end

--- Raises where the tensor cannot be written to in place.
function model.check_writable(t)
  local nothing = model.numel(t._shape) == 0
  if model.repeats(t) and nothing then model.undecided() end -- nothing is written: an error all the same, or none
  if model.repeats(t) then model.fail("a repeated element cannot be written to") end
  local seen = {}
  for _, place in ipairs(model.places(t)) do
    if seen[place] then model.undecided() end
    seen[place] = true
  end
end

--- Puts a result over a tensor in place.
function model.replace(t, result)
  model.check_writable(t)
  if not model.same_shape(t._shape, result._shape) then model.fail("does not fit in place") end
  if number.info[result._dtype].kind > number.info[t._dtype].kind then model.fail("dtype does not fit in place") end
  model.put(t, model.values(result))
  return t
end

--- The method `name`, and its form that changes the tensor.
function model.method(name, fn, in_place)
  model.methods[name] = fn
  if in_place then
    model.methods[name .. "_"] = function(t, ...) return model.replace(t, fn(t, ...)) end
  end
end

return model
