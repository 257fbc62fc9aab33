--- nn.utils: what a training loop does to gradients and parameters between backward and step.

local core = require "nnlua.core"
local check = require "nnlua.check"

local utils = {}

--- Those of one parameter or a list of them that have a gradient.
local function with_gradients(who, params)
  if core.is_tensor(params) then params = { params } end
  if type(params) ~= "table" then check.expect(who, "argument 1", params, "a tensor or a list of tensors") end
  local list = {}
  for i = 1, #params do
    local grad = check.tensor(who, "parameter " .. i, params[i]).grad
    if grad then list[#list + 1] = grad end
  end
  return list
end

local function check_limit(who, value)
  if type(value) ~= "number" or value ~= value or value < 0 then
    check.expect(who, "argument 2", value, "a number from 0")
  end
end

--- The p-norm of all gradients as one vector.
local function total_norm(grads, p)
  local sum = 0
  for _, grad in ipairs(grads) do
    local norm = grad:norm(p):item()
    if p == math.huge then
      sum = (norm ~= norm or norm > sum) and norm or sum
    else
      sum = sum + norm ^ p
    end
  end
  return p == math.huge and sum or sum ^ (1 / p)
end

--- Scale all gradients together so that their norm is at most max_norm.
-- @param params tensor|list
-- @param max_norm number
-- @param options table: norm_type (2; math.huge for the largest magnitude), error_if_nonfinite (false)
-- @return number the norm before
function utils.clip_grad_norm_(params, max_norm, options)
  local who = "nn.utils.clip_grad_norm_"
  if type(options) == "number" then options = { norm_type = options } end
  options = check.options(who, options, { norm_type = "number", error_if_nonfinite = "boolean" })
  check_limit(who, max_norm)
  local grads = with_gradients(who, params)
  local norm = total_norm(grads, options.norm_type or 2)
  if options.error_if_nonfinite and norm - norm ~= 0 then
    check.fail(who, ("the norm of the gradients is %s"):format(norm))
  end
  local scale = max_norm / (norm + 1e-6)
  if scale >= 1 then return norm end
  core.no_grad(function()
    for _, grad in ipairs(grads) do grad:mul_(scale) end
  end)
  return norm
end

--- Limit every element of every gradient to -limit .. limit.
function utils.clip_grad_value_(params, limit)
  local who = "nn.utils.clip_grad_value_"
  check_limit(who, limit)
  local grads = with_gradients(who, params)
  core.no_grad(function()
    for _, grad in ipairs(grads) do grad:clamp_(-limit, limit) end
  end)
end

--- Scale down the rows that are longer than a limit: max-norm regularisation (Srivastava et al. 2014), after a step.
-- @param params tensor|list each of at least two dimensions, such as the weights of layers
-- @param limit number the most that the 2-norm of a row may be
-- @param options table: dim (1), the dimension that counts the rows; the norm is over all others
function utils.max_norm_(params, limit, options)
  local who = "nn.utils.max_norm_"
  if core.is_tensor(params) then params = { params } end
  if type(params) ~= "table" then check.expect(who, "argument 1", params, "a tensor or a list of tensors") end
  check_limit(who, limit)
  local dim = check.options(who, options, { dim = "count" }).dim or 1
  core.no_grad(function()
    for i = 1, #params do
      local weight = check.tensor(who, "parameter " .. i, params[i])
      if weight.ndim < 2 or dim > weight.ndim then
        check.fail(who, ("parameter %d: expected at least %d dimensions, got %s"):format(i, math.max(2, dim),
          check.shape(weight.shape)))
      end
      local others = {}
      for d = 1, weight.ndim do
        if d ~= dim then others[#others + 1] = d end
      end
      local norm = weight:norm(2, others, true)
      weight:mul_((norm:clamp(0, limit) + 1e-7) / (norm + 1e-7))
    end
  end)
end

--- All parameters as one vector.
-- @param params list of tensors
-- @return tensor, one dimension
function utils.parameters_to_vector(params)
  local parts = {}
  for i = 1, #params do
    parts[i] = check.tensor("nn.utils.parameters_to_vector", "parameter " .. i, params[i]):reshape(-1)
  end
  return core.cat(parts, 1)
end

--- Copy a vector back into the parameters that it was made of.
-- @param vector tensor, one dimension
-- @param params list of tensors
function utils.vector_to_parameters(vector, params)
  local who = "nn.utils.vector_to_parameters"
  check.tensor(who, "argument 1", vector)
  local total = 0
  for i = 1, #params do total = total + check.tensor(who, "parameter " .. i, params[i]):numel() end
  if vector:numel() ~= total then
    check.fail(who, ("expected a vector of %d elements, got %d"):format(total, vector:numel()))
  end
  local from = 1
  core.no_grad(function()
    for i = 1, #params do
      local count = params[i]:numel()
      params[i]:copy_(vector:narrow(1, from, count):reshape(params[i].shape))
      from = from + count
    end
  end)
end

return utils
