--- What differs between the versions of Lua, in one place.
-- The other modules keep to syntax and functions that Lua 5.1 and LuaJIT have too.

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

return compat
