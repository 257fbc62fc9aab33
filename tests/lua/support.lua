--- What the specs share: numbers of tensors, comparisons, and the count of live tensors.

local nn = require "nnlua"
local core = require "nnlua.core"

local support = {}

--- What this Lua has: integers of 64 bits, metamethods for tables' lengths and for pairs, variables that close; and
-- what Lua 5.1 alone has not: coroutines that yield from within pcall, and names of metamethods that run.
support.has = {
  integers = math.type ~= nil, -- luacheck: ignore 143
  pairs = math.type ~= nil, -- luacheck: ignore 143
  yields = jit ~= nil or math.type ~= nil, -- luacheck: ignore 113 143
  close = (loadstring or load)("local x <close> = nil") ~= nil, -- luacheck: ignore 113
}

--- it, where this Lua has what the test is about; pending otherwise.
function support.where(feature, it, pending)
  assert(support.has[feature] ~= nil, feature)
  return support.has[feature] and it or pending
end

--- The operator //, which Lua 5.1 cannot read.
support.floor_divide = support.has.integers and load("local a, b = ... return a // b")
  or function(a, b)
    if type(a) == "number" and type(b) == "number" then return math.floor(a / b) end
    return nn.floor_divide(a, b)
  end

--- The tensors that are alive once all garbage is gone.
function support.live_tensors()
  if jit then jit.flush() end -- luacheck: ignore 113
  collectgarbage()
  collectgarbage()
  return nn.memory().tensors
end

--- Called inside a describe: every test must end with as many live tensors as it began with.
function support.count_tensors(before_each, after_each)
  local before
  before_each(function()
    nn.manual_seed(1)
    before = support.live_tensors()
  end)
  after_each(function()
    assert(nn.is_grad_enabled(), "the test left gradients switched off")
    local after = support.live_tensors()
    assert(after == before, ("%d tensors live before the test, %d after it"):format(before, after))
  end)
end

local function flatten_into(flat, value)
  if type(value) ~= "table" then
    flat[#flat + 1] = value
    return flat
  end
  for _, item in ipairs(value) do flatten_into(flat, item) end
  return flat
end

--- The elements of a tensor, in one list.
function support.elements(tensor)
  return flatten_into({}, tensor:tolist())
end

--- Assert that a tensor has a shape and elements, exactly or within a tolerance.
function support.assert_tensor(tensor, shape, elements, tolerance)
  local got = support.elements(tensor)
  local function fail(what, a, b)
    error(("%s: expected %s, got %s"):format(what, tostring(a), tostring(b)), 3)
  end
  if table.concat(tensor.shape, " ") ~= table.concat(shape, " ") then
    fail("shape", table.concat(shape, " "), table.concat(tensor.shape, " "))
  end
  if #got ~= #elements then fail("number of elements", #elements, #got) end
  for index, expected in ipairs(elements) do
    local same = got[index] == expected
    if not same and tolerance and type(expected) == "number" then
      same = math.abs(got[index] - expected) <= tolerance
    end
    if not same then fail(("element %d"):format(index), expected, got[index]) end
  end
end

--- The line and the text of the error that a function raises.
local function failure(fn, ...)
  local ok, message = pcall(fn, ...)
  if ok then error("an error was expected", 3) end
  local line, text = tostring(message):match("^[^\n:]*:(%d+): (.*)$")
  return tonumber(line), text or message
end

--- The message of the error that a function raises, without the position at its front.
function support.message_of(fn, ...)
  local _, message = failure(fn, ...)
  return message
end

--- The line that the error of a function points at; nil where it points at none.
function support.line_of(fn)
  local line = failure(fn)
  return line
end

--- Run fn with the k-th allocation of the engine failing, for k = 0, 1, 2 ..., until it gets through; how often it
-- failed. Each failure must be an error that says so.
function support.fail_each(fn)
  for k = 0, 500 do
    core.fail_allocation(k)
    local ok, message = pcall(fn)
    core.fail_allocation(nil)
    if ok then return k end
    assert(tostring(message):find("out of memory", 1, true), message)
  end
  error("the function never got through")
end

return support
