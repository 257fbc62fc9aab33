--- nn.checkpoint: less memory for more time.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local tree = require "nnlua.tree"

local unpack = compat.unpack

local module = {}

-- fn once more, with the tensors among its arguments given anew and the random numbers of the first time.
local function again_with(fn, arguments, positions, random)
  return function(...)
    local given, tensors = {}, { ... }
    for i = 1, arguments.n do given[i] = arguments[i] end
    for i, position in ipairs(positions) do given[position] = tensors[i] end
    local now = core.get_rng_state()
    core.set_rng_state(random)
    local ok, message = pcall(fn, unpack(given, 1, arguments.n))
    core.set_rng_state(now)
    if not ok then error(message, 0) end
  end
end

-- The same elements, outside of the graph that there is, with a gradient if there was one.
local function alone(tensor)
  local look = tensor:detach()
  return tensor.requires_grad and look:requires_grad_() or look
end

local function is_callable(fn)
  return type(fn) == "function" or tree.is_node(fn)
end

--- fn(...), without keeping what backward needs of the operations in it: when backward gets there, fn runs once more
-- (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016). A deep network of which each block goes through
-- a checkpoint keeps what goes into its blocks and what one block needs, instead of what all blocks need, and computes
-- each twice. Results and gradients are the same to the bit: random numbers (dropout) are those of the first time,
-- and running statistics (BatchNorm) do not move again. Works with parameters that fn refers to, with nn.grad,
-- retain_graph and create_graph, and within itself. fn must do the same each time, and leave its arguments as they are.
-- @param fn function, layer or module
-- @param ... its arguments, of any kind
-- @return what fn returns
-- @usage for i = 1, #self.blocks do x = nn.checkpoint(self.blocks[i], x) end
function module.checkpoint(fn, ...)
  if not is_callable(fn) then check.expect("nn.checkpoint", "argument 1", fn, "a function, layer or module") end
  if not core.is_grad_enabled() or core.in_checkpoint() then return fn(...) end
  local arguments, positions, tensors = compat.pack(...), {}, {}
  for i = 1, arguments.n do
    if core.is_tensor(arguments[i]) then
      positions[#positions + 1], tensors[#tensors + 1] = i, alone(arguments[i])
      arguments[i] = false
    end
  end
  return core.checkpoint(again_with(fn, arguments, positions, core.get_rng_state()), tensors, fn, ...)
end

return module
