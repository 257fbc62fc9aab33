--- Pieces of Lua source, made at random: numbers, tensors, views, keys, names of variables.

local model = require "model"
local number = require "number"
local Random = require "random"

local Source = setmetatable({}, {__index = Random})
Source.__index = Source

local MOST_VARIABLES = 8

--- env: the variables of the program so far, as the reference has them.
function Source.new(seed, env)
  local self = setmetatable(Random.new(seed), Source)
  self.env, self.names, self.made = env, {}, 0
  self.kept = 0 -- the first names are never assigned to again
  self.large = self:chance(1 / 400)
  return self
end

-- ---- numbers and lists

local common = {"0.0", "1.0", "-1.0", "0.5", "2.0", "-1.5", "3.25", "-0.25"}
local strange = {"math.huge", "-math.huge", "0 / 0", "1e30", "-1e-30", "65504.0", "1e-42", "-0.0", "3e9"}
local wide = {"2147483647", "-2147483648", "4294967296", "math.maxinteger", "math.mininteger", "300", "-129"}

--- A number that fits the kind of the dtype.
function Source:number(dtype)
  local kind = number.info[dtype].kind
  if kind == 1 then return self:chance(0.5) and "true" or "false" end
  if kind == 2 then
    if self:chance(0.004) or dtype == "int64" and self:chance(0.02) then return self:pick(wide) end
    return tostring(self:int(-4, 6))
  end
  if self:chance(0.02) then return self:pick(strange) end
  return self:chance(0.5) and self:pick(common) or ("%.6g"):format(self:real() * 6 - 3) .. ""
end

--- A number as an operand: an integer or a float whatever the dtype.
function Source:scalar()
  if self:chance(0.4) then return tostring(self:int(-3, 4)) end
  return self:chance(0.03) and self:pick(strange) or self:pick(common)
end

function Source.list(_, n, fn)
  local items = {}
  for i = 1, n do items[i] = fn(i) end
  return "{" .. table.concat(items, ", ") .. "}"
end

function Source:shape_text(shape)
  return self:list(#shape, function(d) return tostring(shape[d]) end)
end

function Source:dtype()
  return self:chance(0.5) and self:pick{"float32", "float64", "int64"} or self:pick(number.dtypes)
end

function Source:shape(ndim)
  local shape = {}
  for d = 1, ndim or self:pick{0, 1, 1, 2, 2, 2, 3, 3, 4} do
    shape[d] = self:chance(0.04) and 0 or self:pick{1, 1, 2, 2, 3, 3, 4, 5}
  end
  return shape
end

local large_shapes = {
  {70000}, {263, 521}, {131072}, {140000}, {3, 50000}, {400, 400}, {40, 17, 230}, {65537, 2}, {2, 2, 40000},
}

--- A new tensor of the shape and dtype, as an expression.
function Source:fresh(shape, dtype)
  local n = model.numel(shape)
  if n == 0 then return ("nn.zeros(%s, {dtype = %q})"):format(self:shape_text(shape), dtype) end
  if n > 200 then
    return ("((nn.arange(0, %d) * 7 %% %d - %d) * %s):reshape(%s):to(%q)"):format(
      n, self:int(11, 40), self:int(0, 9), number.is_float(dtype) and "0.25" or "1", self:shape_text(shape), dtype)
  end
  if #shape == 0 then return ("nn.tensor(%s, {dtype = %q})"):format(self:number(dtype), dtype) end
  local values = self:list(n, function() return self:number(dtype) end)
  local text = ("nn.tensor(%s, {dtype = %q})"):format(values, dtype)
  return #shape == 1 and text or text .. (":reshape(%s)"):format(self:shape_text(shape))
end

function Source:new_shape()
  if self.large and self:chance(0.5) then return self:pick(large_shapes) end
  return self:shape()
end

-- ---- variables

--- A name to assign to: a new one, or an old one that then is lost.
function Source:target()
  if #self.names < MOST_VARIABLES and not (#self.names > self.kept + 2 and self:chance(0.2)) then
    self.made = self.made + 1
    local name = string.char(96 + self.made)
    self.names[self.made] = name
    return name
  end
  return self.names[self:int(self.kept + 1, #self.names)]
end

--- A variable that is a tensor for which the filter holds: its name, and the reference's tensor.
function Source:variable(filter)
  for _, i in ipairs(self:order(#self.names)) do
    local t = self.env[self.names[i]]
    if model.is_tensor(t) and (not filter or filter(t)) then return self.names[i], t end
  end
end

function Source:sloppy() return self:chance(0.04) end

--- One dimension of the tensor, from either end; seldom one that it does not have.
function Source:dim(t, more)
  local n = math.max(#t._shape + (more or 0), 1)
  if self:sloppy() then return self:pick{0, n + 1, -n - 1} end
  local d = self:int(1, n)
  return self:chance(0.3) and d - n - 1 or d
end

--- nil (for all), one, or a list of dimensions: source.
function Source:dims(t)
  local ndim = #t._shape
  if ndim == 0 or self:chance(0.25) then return "nil" end
  if self:chance(0.5) then return tostring(self:dim(t)) end
  local order = self:order(ndim)
  local n = self:int(0, ndim)
  if self:sloppy() then order[2] = order[1] end
  return self:list(n, function(i) return tostring(order[i] or 1) end)
end

function Source:flag() return self:chance(0.5) and "true" or "false" end

-- ---- operands

local function broadcasts_to(from, to)
  if #from > #to then return false end
  for d = 0, #from - 1 do
    local size = from[#from - d]
    if size ~= 1 and size ~= to[#to - d] then return false end
  end
  return true
end

--- A shape that broadcasts to this one.
function Source:smaller(shape)
  local result = {}
  local skipped = self:chance(0.3) and self:int(0, #shape) or 0
  for d = skipped + 1, #shape do result[#result + 1] = self:chance(0.25) and 1 or shape[d] end
  return result
end

--- Tensors that broadcast to the shape: a variable, a view of `alias` (a name), or a new one.
function Source:operand(shape, dtype, alias)
  if self:sloppy() then return (self:variable()) end
  if alias and self:chance(0.25) then
    local view = self:overlapping(alias)
    if view then return view end
  end
  local name = self:chance(0.7) and self:variable(function(t)
    return broadcasts_to(t._shape, shape) and (not dtype or t._dtype == dtype)
  end)
  return name or self:fresh(self:smaller(shape), dtype or self:dtype())
end

--- A view of the variable that broadcasts to its own shape, as an expression.
function Source:overlapping(name)
  local t = self.env[name]
  local shape = t._shape
  local d = #shape > 0 and self:int(1, #shape) or 0
  local e = #shape > 0 and self:int(1, #shape) or 0
  if d ~= e and shape[d] == shape[e] then return ("%s:transpose(%d, %d)"):format(name, d, e) end
  if d > 0 and shape[d] > 0 then return ("%s:narrow(%d, %d, 1)"):format(name, d, self:int(1, shape[d])) end
end

--- A list of positions as an int64 tensor.
function Source:positions(shape, size)
  local n = model.numel(shape)
  if n == 0 then return ('nn.zeros(%s, {dtype = "int64"})'):format(self:shape_text(shape)) end
  if n > 200 then return nil end
  local values = self:list(n, function()
    return tostring(self:chance(0.005) and self:pick{0, size + 1, -1} or self:int(1, math.max(size, 1)))
  end)
  return ('nn.tensor(%s, {dtype = %q}):reshape(%s)'):format(
    values, self:chance(0.9) and "int64" or "int32", self:shape_text(shape))
end

function Source:mask(shape)
  local name = self:chance(0.4) and self:variable(function(t) return model.same_shape(t._shape, shape) end)
  if name then return ("%s:%s(%s)"):format(name, self:pick{"gt", "le", "ne"}, self:pick{"0", "1", "0.5"}) end
  return self:fresh(shape, "bool")
end

--- A key of positions and ranges. Seldom with something that does not fit.
function Source:key(t)
  local n = self:int(1, #t._shape)
  return self:list(n, function(d)
    local size = t._shape[d]
    local kind = self:int(1, 5)
    if kind == 1 or size == 0 then return "{}" end
    if kind == 2 or kind == 5 then
      local at = self:sloppy() and self:pick{0, size + 1, -size - 1} or self:int(1, size)
      return tostring(self:chance(0.3) and at > 0 and at - size - 1 or at)
    end
    local from = self:int(1, size)
    local to = self:chance(0.9) and self:int(from, size) or from - 1
    if self:sloppy() then to = to + self:int(-2, 2) end
    if kind == 3 then return ("{%d, %d}"):format(from, to) end
    local step = self:sloppy() and 0 or self:int(1, 3)
    return ("{%d, %d, %d}"):format(self:chance(0.2) and from - size - 1 or from, to, step)
  end)
end

return Source
