--- Gradients of the script's own making: operations written in Lua, and a check of gradients.

local core = require "nnlua.core"
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

--- The gradients of results; zeros for a result that nothing depends on.
local function complete(gradients, results)
  for index, result in ipairs(results) do
    if gradients[index] == nil then gradients[index] = core.zeros_like(result) end
  end
  return unpack(gradients, 1, #results)
end

--- What the graph calls: `backward` with the record of this use, its answers put in the order of the tensors.
local function backward_of(declaration, record, results, positions)
  return function(...)
    local answers = compat.pack(declaration.backward(record, complete({ ... }, results)))
    local gradients = {}
    for index, position in ipairs(positions) do gradients[index] = answers[position] end
    return unpack(gradients, 1, #positions)
  end
end

--- One use of an operation. The results that the script gets share memory with those that `forward` gave, which
-- `record` may hold: the graph does not hold itself through them.
local function apply(declaration, ...)
  local arguments, record = compat.pack(...), {}
  local given = compat.pack(core.no_grad(declaration.forward, record, ...))
  local results, outside = {}, {}
  for index = 1, given.n do
    if not core.is_tensor(given[index]) then
      error(("nn.Function: forward returns tensors, result %d is a %s"):format(index, type(given[index])), 3)
    end
    results[index], outside[index] = given[index]:detach(), given[index]
  end
  local inputs, positions = tensors_of(arguments)
  core.attach(inputs, results, backward_of(declaration, record, outside, positions))
  return unpack(results)
end

--- An operation of the script's own.
-- `forward(self, ...)` computes outside the graph and returns one to four tensors; `self` is a table of this one use,
-- for what backward needs. `backward(self, ...)` gets the gradient of each result and returns one gradient for each
-- argument of forward, nil for those that need none.
-- @param declaration a table with the functions forward and backward
-- @return a function of the arguments of forward, without self
function autograd.Function(declaration)
  for _, name in ipairs { "forward", "backward" } do
    if type(declaration) ~= "table" or type(declaration[name]) ~= "function" then
      error("nn.Function: expected a table with the functions forward and backward", 2)
    end
  end
  return function(...)
    return apply(declaration, ...)
  end
end

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
  local above = weighted_sum(fn, inputs):item()
  flat[index] = before - eps
  local below = weighted_sum(fn, inputs):item()
  flat[index] = before
  return (above - below) / (2 * eps)
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

local function check_inputs(inputs)
  for index, input in ipairs(inputs) do
    if not core.is_tensor(input) then
      error(("nn.gradcheck: input %d is a %s, expected a tensor"):format(index, type(input)), 3)
    elseif input.requires_grad and input.dtype ~= "float64" then
      error(("nn.gradcheck: input %d is %s, expected float64"):format(index, input.dtype), 3)
    end
  end
end

--- Compare the gradients of a function with finite differences.
-- @param fn a function of tensors that returns tensors
-- @param inputs a tensor or a list of them; those that require a gradient are checked, and must be contiguous float64
-- @param options eps (1e-6), atol (1e-5), rtol (1e-3)
-- @return true; or false and where they differ
function autograd.gradcheck(fn, inputs, options)
  inputs = core.is_tensor(inputs) and { inputs } or inputs
  options = options or {}
  local limits = { eps = options.eps or 1e-6, atol = options.atol or 1e-5, rtol = options.rtol or 1e-3 }
  local wanted, numbers = {}, {}
  check_inputs(inputs)
  for index, input in ipairs(inputs) do
    if input.requires_grad then
      wanted[#wanted + 1], numbers[#numbers + 1] = input, index
    end
  end
  local gradients = { core.grad(weighted_sum(fn, inputs), wanted) }
  for index, number in ipairs(numbers) do
    local where = disagreement(fn, inputs, number, gradients[index], limits)
    if where then return false, where end
  end
  return true
end

return autograd
