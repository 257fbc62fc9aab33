--- A program that fails, without the lines that the failure does not need.

local function without(lines, i)
  local rest = {}
  for k, line in ipairs(lines) do
    if k ~= i then rest[#rest + 1] = line end
  end
  return rest
end

-- What goes wrong, without names and numbers: a shorter program should fail for the same reason.
local function kind_of(problem)
  return problem and problem:gsub("^%a:", ""):gsub("\n.*", ""):gsub("[%d.e+-]+", "0"):sub(1, 24)
end

--- run(lines) returns what goes wrong, or nil. Returns the shortest list found, and what goes wrong with it.
return function(lines, run)
  local problem = run(lines)
  if not problem then return lines, "does not fail when run again" end
  local changed = true
  while changed do
    changed = false
    for i = #lines, 1, -1 do
      local shorter = without(lines, i)
      local same = run(shorter)
      if kind_of(same) == kind_of(problem) then lines, problem, changed = shorter, same, true end
    end
  end
  return lines, problem
end
