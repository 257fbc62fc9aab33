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
