--- Runs the lines of a program with the engine and with the reference side by side, and compares after each. Where
-- results agree within what the operation allows, the reference takes over the engine's: errors do not add up.

local nn = require "nnlua"
local model = require "reference"
local number = require "number"

local Machine = {}
Machine.__index = Machine

-- Whether each line is printed before it runs: what crashes the engine is then the last one.
Machine.trace = false

local function environment(library) return {nn = library, math = math} end

function Machine.new()
  return setmetatable({engine = environment(nn), reference = environment(model.functions)}, Machine)
end

local function run(env, line)
  local chunk, message = load(line, "=program", "t", env)
  if not chunk then error(message) end
  return pcall(chunk)
end

local function flat(value, list)
  if type(value) == "table" then
    for i = 1, #value do flat(value[i], list) end
  else
    list[#list + 1] = value == true and 1 or value == false and 0 or value
  end
  return list
end

-- NaN equals NaN here, and a result that overflows may do so one rounding earlier.
local function near(x, y, rtol, atol)
  if x == y or x ~= x and y ~= y then return true end
  if rtol == 0 and atol == 0 then return false end
  return math.abs(x - y) <= atol + rtol * math.abs(x) and math.abs(x) < math.huge
end

local function shown(list)
  local text = {}
  for i = 1, math.min(#list, 40) do
    text[i] = math.type(list[i]) == "float" and ("%.9g"):format(list[i]) or tostring(list[i])
  end
  return "{" .. table.concat(text, ", ") .. (#list > 40 and ", ...}" or "}")
end

local function described(x)
  if model.is_tensor(x) then
    return ("%s (%s) %s"):format(x._dtype, table.concat(x._shape, ", "), shown(model.values(x)))
  elseif nn.is_tensor(x) then
    return ("%s (%s) %s"):format(x.dtype, table.concat(x.shape, ", "), shown(flat(x:tolist(), {})))
  end
  return tostring(x)
end

local function difference(name, expected, got, what)
  return ("%s: %s\n  reference: %s\n  engine:    %s"):format(name, what, described(expected), described(got))
end

local function compare_tensors(name, expected, got)
  if not nn.is_tensor(got) then return difference(name, expected, got, "no tensor") end
  if expected._dtype ~= got.dtype then return difference(name, expected, got, "another dtype") end
  if not model.same_shape(expected._shape, got.shape) then return difference(name, expected, got, "another shape") end
  if model.is_contiguous(expected) ~= got:is_contiguous() then
    return difference(name, expected, got, "is_contiguous is " .. tostring(got:is_contiguous()))
  end
  local want, have = model.values(expected), flat(got:tolist(), {})
  local rtol, atol = model.rtol, model.atol
  if rtol + atol > 0 then
    local info = number.info[expected._dtype]
    rtol, atol = rtol + info.step, atol + 8 * (info.least or 0)
  end
  local same = #want == #have
  for i = 1, #want do
    if not near(want[i], have[i], rtol, atol) then
      return difference(name, expected, got, ("element %d is %s, not %s"):format(i, have[i], want[i]))
    end
    same = same and want[i] == have[i] and (want[i] ~= 0 or 1 / want[i] == 1 / have[i])
  end
  if not same then model.put(expected, have) end
end

function Machine:compare(name)
  local expected, got = self.reference[name], self.engine[name]
  if model.is_tensor(expected) then return compare_tensors(name, expected, got) end
  if expected == got or expected ~= expected and got ~= got then return nil end
  return difference(name, expected, got, "another value")
end

function Machine:compare_all()
  for name in pairs(self.reference) do
    local problem = name ~= "nn" and name ~= "math" and self:compare(name)
    if problem then return problem end
  end
end

-- The variables that a line assigns to; none where it changes something in place.
local function targets(line)
  local names = {}
  local left = line:match("^([%a, ]+) = ")
  for name in (left or ""):gmatch("%a+") do names[#names + 1] = name end
  return names
end

-- What the engine may refuse in the graph, whatever the reference says of it.
local function is_refused(message, refusals)
  for _, words in ipairs(refusals or {}) do
    if message:find(words, 1, true) then return true end
  end
  return false
end

--- Runs one line. Returns "ok", "error" (both raise), "refused" (the engine alone raises, with one of the words in
-- self.refusals), "stop" (nothing more can be said), or "bad" and what differs.
-- must_fail: an error is wanted from the engine whatever the reference says.
function Machine:step(line, must_fail)
  model.rtol, model.atol = 0, 0
  if Machine.trace then
    print(line)
    io.stdout:flush()
  end
  local engine_fine, message = run(self.engine, line)
  if not engine_fine and type(message) ~= "string" then return "bad", "the error is a " .. type(message) end
  if not engine_fine and is_refused(message, self.refusals) then return "refused" end
  local fine, result = false, nil
  if not must_fail then fine, result = run(self.reference, line) end
  if not fine and result == model.undecided then return "stop" end
  if fine and not engine_fine then
    if message:find("attempt to call a nil value", 1, true) then return "stop" end -- not there yet
    return "bad", "the engine raises: " .. message
  end
  if not fine and engine_fine then return "bad", "the engine does not raise, the reference: " .. tostring(result) end
  local names = fine and targets(line) or {}
  for _, name in ipairs(names) do
    local problem = self:compare(name)
    if problem then return "bad", problem end
  end
  if #names == 0 then
    local problem = self:compare_all()
    if problem then return "bad", problem end
  end
  return fine and "ok" or "error"
end

return Machine
