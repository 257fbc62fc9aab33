--- Methods of tensors that are made of others.

local core = require "nnlua.core"
local check = require "nnlua.check"

local methods = core.tensor_methods

local function same_shape(a, b)
  local x, y = a.shape, b.shape
  if #x ~= #y then return false end
  for i = 1, #x do
    if x[i] ~= y[i] then return false end
  end
  return true
end

--- Whether both have the same shape and the same elements.
-- @param other tensor
function methods:equal(other)
  check.tensor("equal", "argument", other)
  return same_shape(self, other) and self:ne(other):sum():item() == 0
end

--- The elements in the dtype of another tensor.
-- @param other tensor
function methods:type_as(other)
  check.tensor("type_as", "argument", other)
  return self:to(other.dtype)
end

--- Whether all elements are near each other: |a - b| <= atol + rtol * |b|. Infinities are near themselves, NaN nothing.
-- @param other tensor, broadcast
-- @param options table? rtol (1e-5), atol (1e-8)
function methods:allclose(other, options)
  check.tensor("allclose", "argument", other)
  options = check.options("allclose", options, { rtol = "number", atol = "number" })
  local a, b = self:detach(), other:detach()
  local bound = b:abs() * (options.rtol or 1e-5) + (options.atol or 1e-8)
  local near = (a - b):abs():le(bound):logical_and(b:isfinite()):logical_or(a:eq(b))
  return near:logical_not():sum():item() == 0
end

--- The elements repeated to the shape of another, as a view.
-- @param other tensor
function methods:expand_as(other)
  return self:expand(check.tensor("expand_as", "argument", other).shape)
end

--- The elements in the shape of another, in the same memory.
-- @param other tensor
function methods:view_as(other)
  return self:view(check.tensor("view_as", "argument", other).shape)
end

--- The elements in the shape of another.
-- @param other tensor
function methods:reshape_as(other)
  return self:reshape(check.tensor("reshape_as", "argument", other).shape)
end

--- The elements, but none below `min`.
-- @param min number or tensor, broadcast
function methods:clamp_min(min)
  if core.is_tensor(min) then return self:maximum(min) end
  return self:clamp(min)
end

--- The elements, but none above `max`.
-- @param max number or tensor, broadcast
function methods:clamp_max(max)
  if core.is_tensor(max) then return self:minimum(max) end
  return self:clamp(nil, max)
end

core.clamp_min, core.clamp_max = methods.clamp_min, methods.clamp_max

-- The tensors of a list, each with at least so many dimensions.
local function with_dims(who, list, least)
  if type(list) ~= "table" then check.expect(who, "argument", list, "a list of tensors") end
  local raised = {}
  for i = 1, #list do
    local item = check.tensor(who, ("tensor %d"):format(i), list[i])
    while item.ndim < least do item = item:unsqueeze(1) end
    raised[i] = item
  end
  return raised
end

--- Tensors side by side: along dimension 2, vectors along their own.
-- @param list table of tensors
function core.hstack(list)
  local items = with_dims("hstack", list, 1)
  return core.cat(items, items[1] and items[1].ndim == 1 and 1 or 2)
end

--- Tensors one above the other: along dimension 1, vectors as rows.
-- @param list table of tensors
function core.vstack(list)
  return core.cat(with_dims("vstack", list, 2), 1)
end

--- The coordinates of a grid, one view for each vector, all of the shape (#v1, #v2, ...); "xy" exchanges the first two
-- dimensions.
-- @param list table of vectors
-- @param options table? indexing ("ij")
function core.meshgrid(list, options)
  options = check.options("meshgrid", options, { indexing = "string" })
  local indexing = options.indexing or "ij"
  check.choice("meshgrid", "option indexing", indexing, { ij = true, xy = true })
  local items, shape, grids = with_dims("meshgrid", list, 1), {}, {}
  for i, item in ipairs(items) do
    if item.ndim > 1 then check.expect("meshgrid", ("tensor %d"):format(i), item, "a vector") end
    shape[i] = item:numel()
  end
  for i, item in ipairs(items) do
    local line = {}
    for d = 1, #items do line[d] = d == i and shape[i] or 1 end
    grids[i] = item:view(line):expand(shape)
    if indexing == "xy" and #items > 1 then grids[i] = grids[i]:transpose(1, 2) end
  end
  return grids
end

-- Other names that people know an operation by. Lua has the word `repeat` to itself: t["repeat"](t, 2, 1).
local aliases = {
  ["repeat"] = "repeat_", take_along_dim = "take_along", swapaxes = "transpose", swapdims = "transpose",
  moveaxis = "movedim", broadcast_to = "expand",
}

for alias, name in pairs(aliases) do
  methods[alias] = methods[name]
  core[alias] = core[name]
end

return methods
