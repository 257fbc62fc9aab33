--- Gradients of the script's own making: operations written in Lua, and a check of gradients.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local unpack = compat.unpack

local autograd = {}

--- The tensors among the arguments, and the position of each.
local function tensors_of(arguments)
  local tensors, positions = {}, {}
  for index = 1, arguments.n do
    if core.is_tensor(arguments[index]) then
      tensors[#tensors + 1] = arguments[index]
      positions[#positions + 1] = index
    end
  end
  return tensors, positions
end

-- ---- operations of the script's own

local Use = {} -- the methods of `self`, which stands for one use of an operation
Use.__index = Use

--- Keep tensors for backward, where `self.saved_tensors` has them; a change in place until then is an error.
function Use:save_for_backward(...)
  rawset(self, "_saved", { ... })
end

--- Results that have no gradient, whatever the arguments are.
function Use:mark_non_differentiable(...)
  rawset(self, "_constant", { ... })
end

--- A list that gives its items when it is called, so that `a, b = self:saved_tensors()` works too.
local Saved = { __call = function(list) return unpack(list) end }

--- The results of a function of a declaration, packed. Its errors tell the operation's name, if it has one; what was
-- saved is only there meanwhile, as it may hold the graph that holds `use`.
local function run(declaration, which, use, ...)
  local answers = compat.pack(pcall(declaration[which], use, ...))
  use.saved_tensors = nil
  if answers[1] then return answers end
  local message = answers[2]
  if declaration.name and type(message) == "string" then
    message = ("%s %s: %s"):format(declaration.name, which, message)
  end
  error(message, 0)
end

--- The gradients of results; zeros for a result that nothing depends on.
local function complete(gradients, results)
  for index, result in ipairs(results) do
    if gradients[index] == nil then gradients[index] = core.zeros_like(result) end
  end
  return unpack(gradients, 1, #results)
end

--- What the graph calls with the gradients of the results, then the saved tensors: `backward`, its answers put in the
-- order of the tensors among the arguments.
local function backward_of(declaration, use, results, positions)
  local count, name = #results, declaration.name or "nn.Function"
  return function(...)
    use.saved_tensors = setmetatable({ select(count + 1, ...) }, Saved)
    local answers = run(declaration, "backward", use, complete({ ... }, results))
    local gradients = {}
    for index, position in ipairs(positions) do
      gradients[index] = answers[position + 1]
      if position >= answers.n and use.needs_input_grad[position] then
        error(("%s: backward gave no gradient for input %d"):format(name, position), 0)
      end
    end
    return unpack(gradients, 1, #positions)
  end
end

--- For each tensor of `list` its place in `among`, as a table from that place to true.
local function marked(list, among)
  local marks = {}
  for _, tensor in ipairs(list or {}) do
    for place, other in ipairs(among) do marks[place] = marks[place] or tensor == other end
  end
  return marks
end

--- What is saved; a result as the script gets it, which knows its place in the graph.
local function saved_of(use, given, results)
  local saved = {}
  for index, tensor in ipairs(use._saved or {}) do
    saved[index] = tensor
    for place, other in ipairs(given) do
      if tensor == other then saved[index] = results[place] end
    end
  end
  return saved
end

--- One use of an operation. The results that the script gets share memory with those that `forward` gave, which
-- `use` may hold: the graph does not hold itself through them.
local function apply(declaration, ...)
  local arguments, use = compat.pack(...), setmetatable({ needs_input_grad = {} }, Use)
  for index = 1, arguments.n do
    local argument = arguments[index]
    use.needs_input_grad[index] = core.is_grad_enabled() and core.is_tensor(argument) and argument.requires_grad
  end
  local answers = core.no_grad(run, declaration, "forward", use, ...)
  local given, results, shapes = {}, {}, {}
  for index = 1, answers.n - 1 do
    given[index] = answers[index + 1]
    if not core.is_tensor(given[index]) then
      check.fail(declaration.name or "nn.Function", ("forward returns tensors, result %d is a %s"):format(index,
        type(given[index])))
    end
    results[index], shapes[index] = given[index]:detach(), given[index]:detach()
  end
  local inputs, positions = tensors_of(arguments)
  core.attach(inputs, results, backward_of(declaration, use, shapes, positions), saved_of(use, given, results),
    marked(use._constant, given))
  use._saved = nil
  return unpack(results)
end

--- An operation of the script's own.
-- `forward(self, ...)` computes outside the graph and returns one to four tensors; `self` stands for this one use: its
-- fields are the script's, and it has `self.needs_input_grad` (for each argument), `self:save_for_backward(...)` (at
-- most eight tensors, which are arguments or results) and `self:mark_non_differentiable(...)` (of the results).
-- `backward(self, ...)` gets the gradient of each result, finds what was saved in `self.saved_tensors`, and returns one
-- gradient for each argument of forward, nil for those that need none. Made of operations, it can itself be derived.
-- @param declaration a table with the functions forward and backward, and a name for messages
-- @return a function of the arguments of forward, without self
function autograd.Function(declaration)
  for _, name in ipairs { "forward", "backward" } do
    if type(declaration) ~= "table" or type(declaration[name]) ~= "function" then
      check.fail("nn.Function", "expected a table with the functions forward and backward")
    end
  end
  return function(...)
    return apply(declaration, ...)
  end
end

-- ---- checks of gradients

--- The sum of all results, each element with a weight of its own, so that no two errors cancel out.
local function weighted_sum(fn, inputs)
  local total
  for _, result in ipairs { fn(unpack(inputs)) } do
    if result.dtype == "float64" then
      local weights = (core.arange(result:numel(), { dtype = "float64" }) + 1):cos():reshape(result.shape)
      local part = (result * weights):sum()
      total = total and total + part or part
    end
  end
  return total
end

--- The slope of the weighted sum in one element, from its values on both sides.
local function slope(fn, inputs, flat, index, eps)
  local before = flat[index]
  flat[index] = before + eps
  local above = weighted_sum(fn, inputs)
  flat[index] = before - eps
  local below = weighted_sum(fn, inputs)
  flat[index] = before
  return above and (above:item() - below:item()) / (2 * eps) or 0
end

--- Nil where the gradient of an input agrees with the slopes, otherwise where it does not.
local function disagreement(fn, inputs, number, gradient, limits)
  local flat = inputs[number]:detach():view(-1)
  local found = gradient and gradient:reshape(-1)
  for index = 1, flat:numel() do
    local expected = core.no_grad(slope, fn, inputs, flat, index, limits.eps)
    local got = found and found[index] or 0
    local close = math.abs(got - expected) <= limits.atol + limits.rtol * math.abs(expected) -- false for NaN
    if not close then
      return ("input %d, element %d: backward gives %.9g, differences give %.9g"):format(number, index, got, expected)
    end
  end
  return nil
end

local function check_inputs(who, inputs)
  for index, input in ipairs(inputs) do
    check.tensor(who, ("input %d"):format(index), input)
    if input.requires_grad and input.dtype ~= "float64" then
      check.fail(who, ("input %d is %s, expected float64"):format(index, input.dtype))
    elseif input.requires_grad and not input:is_contiguous() then
      check.fail(who, ("input %d is not contiguous"):format(index))
    end
  end
end

local function read_limits(who, options)
  local limits = { eps = 1e-6, atol = 1e-5, rtol = 1e-3 }
  for name, value in pairs(options or {}) do
    if not limits[name] then check.fail(who, ("unknown option '%s'; allowed: eps atol rtol"):format(name)) end
    if type(value) ~= "number" then check.expect(who, ("option '%s'"):format(name), value, "a number") end
    limits[name] = value
  end
  return limits
end

local function compare(who, fn, inputs, limits)
  local wanted, numbers = {}, {}
  check_inputs(who, inputs)
  for index, input in ipairs(inputs) do
    if input.requires_grad then
      wanted[#wanted + 1], numbers[#numbers + 1] = input, index
    end
  end
  if #wanted == 0 then check.fail(who, "expected an input that requires a gradient") end
  local total = weighted_sum(fn, inputs)
  local depends = total and total.requires_grad
  local gradients = depends and { core.grad(total, wanted, { allow_unused = true }) } or {}
  for index, number in ipairs(numbers) do
    local where = disagreement(fn, inputs, number, gradients[index], limits)
    if where then return false, where end
  end
  return true
end

--- Compare the gradients of a function with finite differences.
-- @param fn a function of tensors that returns tensors
-- @param inputs a tensor or a list of them; those that require a gradient are checked, and must be contiguous float64
-- @param options eps (1e-6), atol (1e-5), rtol (1e-3)
-- @return true; or false and where they differ
function autograd.gradcheck(fn, inputs, options)
  inputs = core.is_tensor(inputs) and { inputs } or inputs
  return compare("nn.gradcheck", fn, inputs, read_limits("nn.gradcheck", options))
end

--- Compare the gradients of the gradients of a function with finite differences of its gradients.
-- @param fn, inputs, options as in gradcheck
-- @return true; or false and where they differ
function autograd.gradgradcheck(fn, inputs, options)
  inputs = core.is_tensor(inputs) and { inputs } or inputs
  local limits = read_limits("nn.gradgradcheck", options)
  local function gradients(...)
    local given, wanted = { ... }, {}
    for index = 1, #given do
      if given[index].requires_grad then wanted[#wanted + 1] = given[index] end
    end
    return core.enable_grad(function()
      local recorded = { create_graph = true, allow_unused = true }
      local first = compat.pack(core.grad(weighted_sum(fn, given), wanted, recorded))
      local found = {}
      for index = 1, first.n do found[#found + 1] = first[index] end
      return unpack(found)
    end)
  end
  return compare("nn.gradgradcheck", gradients, inputs, limits)
end

return autograd
