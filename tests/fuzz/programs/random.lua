--- Random numbers that follow from a seed alone (SplitMix64, Steele et al. 2014), and choices made of them.

local Random = {}
Random.__index = Random

function Random.new(seed) return setmetatable({state = seed}, Random) end

function Random:bits()
  self.state = self.state + 0x9e3779b97f4a7c15
  local z = self.state
  z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
  z = (z ~ (z >> 27)) * 0x94d049bb133111eb
  return z ~ (z >> 31)
end

--- From low to high, both included.
function Random:int(low, high) return low + (self:bits() >> 1) % (high - low + 1) end

--- From 0 to 1.
function Random:real() return (self:bits() >> 11) * 0x1p-53 end

function Random:chance(p) return self:real() < p end

function Random:pick(list) return list[self:int(1, #list)] end

--- One of the rows {weight, ...}; the list knows the sum of its weights.
function Random:weighted(rows)
  if not rows.total then
    rows.total = 0
    for _, row in ipairs(rows) do rows.total = rows.total + row[1] end
  end
  local at = self:real() * rows.total
  for _, row in ipairs(rows) do
    at = at - row[1]
    if at < 0 then return row end
  end
  return rows[#rows]
end

--- The numbers 1 to n in any order.
function Random:order(n)
  local list = {}
  for i = 1, n do list[i] = i end
  for i = n, 2, -1 do
    local k = self:int(1, i)
    list[i], list[k] = list[k], list[i]
  end
  return list
end

return Random
