--- What differs between the versions of Lua, in one place.
-- The other modules keep to syntax and functions that Lua 5.1 and LuaJIT have too.

local core = require "nnlua.core"

local compat = {}

compat.unpack = table.unpack or unpack -- luacheck: ignore 143

--- The arguments as a list, their number in `n`.
function compat.pack(...)
  return { n = select("#", ...), ... }
end

--- Whether x is a number without a fraction.
function compat.is_whole(x)
  return type(x) == "number" and x == math.floor(x) and x - x == 0
end

--- A whole number as Lua's integer, where Lua has integers: 3.0 becomes 3. Anything else is nil.
function compat.to_integer(x)
  if not compat.is_whole(x) then return nil end
  if math.tointeger then return math.tointeger(x) end -- luacheck: ignore 143
  return x
end

local function values_of(object)
  if type(object) == "userdata" then return core.kept(object) end
  local kept = rawget(object, "_kept")
  if not kept then
    kept = {}
    rawset(object, "_kept", kept)
  end
  return kept
end

--- A table by object (module, layer or optimizer) that keeps none alive, though a value may refer to its own object.
-- Where weak tables do not see through that, in Lua 5.1 and LuaJIT, the values lie with the objects.
function compat.by_object()
  if not core.kept then return setmetatable({}, { __mode = "k" }) end
  local place = {}
  return setmetatable({}, {
    __index = function(_, object) return values_of(object)[place] end,
    __newindex = function(_, object, value) values_of(object)[place] = value end,
  })
end

return compat
