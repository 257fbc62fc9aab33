--- nn.optim.LBFGS: the quasi-Newton method with limited memory (Nocedal 1980; Liu and Nocedal 1989).
-- It evaluates the loss itself, several times a step, so step needs a closure that computes the loss, calls backward
-- and returns the loss. All parameters are one flat vector here. The line search is that of Nocedal and Wright,
-- Numerical Optimization, 2nd edition, algorithms 3.5 and 3.6, for the strong Wolfe conditions.

local core = require "nnlua.core"
local check = require "nnlua.check"

local who = "nn.optim.LBFGS"

local LBFGS = {}
LBFGS.__index = LBFGS
LBFGS.__name = "LBFGS"

local rules = {
  lr = "number", max_iter = "count", max_eval = "count", tolerance_grad = "number", tolerance_change = "number",
  history_size = "count", line_search_fn = "string",
}
local defaults = { lr = 1, max_iter = 20, tolerance_grad = 1e-7, tolerance_change = 1e-9, history_size = 100 }

-- ---- the parameters as one vector

local function flat_gradient(params)
  local parts = {}
  for i, param in ipairs(params) do
    parts[i] = param.grad and param.grad:reshape(-1) or core.zeros(param:numel(), { dtype = param.dtype })
  end
  return core.cat(parts, 1):detach()
end

local function copies(params)
  local list = {}
  for i, param in ipairs(params) do list[i] = param:detach():clone() end
  return list
end

local function put_back(params, values)
  core.no_grad(function()
    for i, param in ipairs(params) do param:copy_(values[i]) end
  end)
end

--- Every parameter moved by t times its part of the direction.
local function move(params, t, direction)
  core.no_grad(function()
    local from = 1
    for _, param in ipairs(params) do
      local count = param:numel()
      param:add_((direction:narrow(1, from, count) * t):view(param.shape))
      from = from + count
    end
  end)
end

local function dot(a, b) return a:dot(b):item() end
local function largest(x) return x:abs():max():item() end

-- ---- the direction

--- The inverse Hessian, as far as the remembered steps tell it, times the gradient: two loops over them.
local function two_loops(memory, gradient)
  local share = {}
  local q = -gradient
  for i = #memory, 1, -1 do
    local pair = memory[i]
    share[i] = dot(pair.step, q) * pair.rho
    q = q - pair.change * share[i]
  end
  local direction = q * memory.scale
  for i, pair in ipairs(memory) do
    local back = dot(pair.change, direction) * pair.rho
    direction = direction + pair.step * (share[i] - back)
  end
  return direction
end

--- Remember how the gradient changed over the last step, where the curvature is positive.
local function remember(state, gradient, history_size)
  local memory = state.memory
  local change, step = gradient - state.gradient, state.direction * state.t
  local curvature = dot(change, step)
  if curvature <= 1e-10 then return end
  if #memory >= history_size then table.remove(memory, 1) end
  memory[#memory + 1] = { change = change, step = step, rho = 1 / curvature }
  memory.scale = curvature / dot(change, change)
end

-- ---- the line search: points are {t, loss, gradient, slope}

--- The minimum of the cubic through two points with their slopes, within bounds.
local function cubic_minimum(a, b, low, high)
  if not low then low, high = math.min(a.t, b.t), math.max(a.t, b.t) end
  local d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
  local square = d1 * d1 - a.slope * b.slope
  if square < 0 or square ~= square then return (low + high) / 2 end
  if a.t > b.t then a, b = b, a end
  local d2 = math.sqrt(square)
  local t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
  return math.min(math.max(t, low), high)
end

local search = { armijo = 1e-4, curvature = 0.9, most = 25 }

local function too_high(start, point) return point.loss > start.loss + search.armijo * point.t * start.slope end
local function flat_enough(start, point) return math.abs(point.slope) <= -search.curvature * start.slope end

--- Two points with a good one between them, or one that is good already.
local function bracket(evaluate, start, t)
  local before, point = start, evaluate(t)
  for tries = 0, search.most - 1 do
    if too_high(start, point) or (tries > 1 and point.loss >= before.loss) then return tries, before, point end
    if flat_enough(start, point) then return tries, point end
    if point.slope >= 0 then return tries, before, point end
    local next_t = cubic_minimum(before, point, point.t + 0.01 * (point.t - before.t), point.t * 10)
    before, point = point, evaluate(next_t)
  end
  return search.most, start, point
end

--- A trial that is too near an end of the bracket for the second time goes a tenth into it.
local function keep_off_ends(t, a, b, stuck)
  local low, high = math.min(a.t, b.t), math.max(a.t, b.t)
  local margin = 0.1 * (high - low)
  if math.min(high - t, t - low) >= margin then return t, false end
  if not stuck and t < high and t > low then return t, true end
  return math.abs(t - high) < math.abs(t - low) and high - margin or low + margin, false
end

--- Narrow the bracket until a point fulfils the conditions, or it is as narrow as makes a difference.
local function zoom(evaluate, start, tries, a, b, enough)
  local stuck = false
  if a.loss > b.loss then a, b = b, a end -- a is the better one
  while tries < search.most and not enough(b.t - a.t) do
    local t
    t, stuck = keep_off_ends(cubic_minimum(a, b), a, b, stuck)
    local point = evaluate(t)
    tries = tries + 1
    if too_high(start, point) or point.loss >= a.loss then
      b = point
      if a.loss > b.loss then a, b = b, a end
    else
      if flat_enough(start, point) then return point end
      if point.slope * (b.t - a.t) >= 0 then b = a end
      a = point
    end
  end
  return a
end

local function strong_wolfe(evaluate, start, t, direction_size, tolerance)
  local tries, a, b = bracket(evaluate, start, t)
  if not b then return a end
  if tries == search.most then return a.loss <= b.loss and a or b end
  return zoom(evaluate, start, tries, a, b, function(width) return math.abs(width) * direction_size < tolerance end)
end

-- ---- steps

local function number_of(loss)
  if core.is_tensor(loss) then return loss:item() end
  if type(loss) ~= "number" then check.expect("step", "the closure's result", loss, "the loss") end
  return loss
end

--- One evaluation of the closure: the loss as a number, and the gradient.
local function evaluation(self, closure)
  self.state.func_evals = self.state.func_evals + 1
  local loss = core.enable_grad(closure)
  return loss, number_of(loss), flat_gradient(self.params)
end

local function searched(self, closure, t, loss, gradient, slope)
  local params, direction = self.params, self.state.direction
  local here = copies(params)
  local function evaluate(trial)
    move(params, trial, direction)
    local _, value, grad = evaluation(self, closure)
    put_back(params, here)
    return { t = trial, loss = value, gradient = grad, slope = dot(grad, direction) }
  end
  local start = { t = 0, loss = loss, gradient = gradient, slope = slope }
  return strong_wolfe(evaluate, start, t, largest(direction), self.tolerance_change)
end

--- Direction and first step length from what is known so far.
local function aim(self, gradient)
  local state = self.state
  state.n_iter = state.n_iter + 1
  if state.n_iter == 1 then
    state.memory = { scale = 1 }
    state.direction = -gradient
    return math.min(1, 1 / gradient:abs():sum():item()) * self.lr
  end
  remember(state, gradient, self.history_size)
  state.direction = two_loops(state.memory, gradient)
  return self.lr
end

--- Minimise for up to max_iter iterations; returns the closure's loss at the start.
-- @param closure function that sets the gradients to nil, computes the loss, calls backward and returns the loss
function LBFGS:step(closure)
  if type(closure) ~= "function" then
    check.expect(who .. ":step", "argument 1", closure, "a function that computes the loss")
  end
  local state, most = self.state, self.max_eval or math.floor(self.max_iter * 5 / 4)
  local first, loss, gradient = evaluation(self, closure)
  local until_evals = state.func_evals - 1 + most
  if largest(gradient) <= self.tolerance_grad then return first end
  for iteration = 1, self.max_iter do
    local t = aim(self, gradient)
    local before, slope = loss, dot(gradient, state.direction)
    state.gradient, state.t = gradient, t
    if slope > -self.tolerance_change then break end
    if self.line_search_fn then
      local point = searched(self, closure, t, loss, gradient, slope)
      state.t, loss, gradient = point.t, point.loss, point.gradient
      move(self.params, point.t, state.direction)
    else
      move(self.params, t, state.direction)
      if iteration < self.max_iter then
        local _
        _, loss, gradient = evaluation(self, closure)
      end
    end
    local done = iteration == self.max_iter or state.func_evals >= until_evals
      or largest(gradient) <= self.tolerance_grad
      or largest(state.direction) * math.abs(state.t) <= self.tolerance_change
      or math.abs(loss - before) < self.tolerance_change
    if done then break end
  end
  return first
end

function LBFGS:zero_grad()
  for _, param in ipairs(self.params) do param.grad = nil end
end

-- ---- state

local saved_numbers = { "n_iter", "func_evals", "t" }
local saved_vectors = { "gradient", "direction" }
local option_names = {
  "lr", "max_iter", "max_eval", "tolerance_grad", "tolerance_change", "history_size", "line_search_fn",
}

--- The options, and what is remembered, as plain data and tensors.
function LBFGS:state_dict()
  local state, group = { memory = {} }, {}
  for _, name in ipairs(saved_numbers) do state[name] = self.state[name] end
  for _, name in ipairs(saved_vectors) do state[name] = self.state[name] end
  for i, pair in ipairs(self.state.memory) do
    state.memory[i] = { change = pair.change, step = pair.step, rho = pair.rho }
  end
  state.scale = self.state.memory.scale
  for _, name in ipairs(option_names) do group[name] = self[name] end
  return { state = state, param_groups = { group } }
end

--- Go on from a state_dict of an optimizer of as many parameters.
function LBFGS:load_state_dict(saved)
  if type(saved) ~= "table" or type(saved.state) ~= "table" or type(saved.state.n_iter) ~= "number" then
    check.expect(who, "load_state_dict", saved, "the state_dict of an LBFGS")
  end
  local state = { memory = { scale = saved.state.scale or 1 } }
  for _, name in ipairs(saved_numbers) do state[name] = saved.state[name] end
  for _, name in ipairs(saved_vectors) do state[name] = saved.state[name] and saved.state[name]:clone() end
  for i, pair in ipairs(saved.state.memory or {}) do
    state.memory[i] = { change = pair.change:clone(), step = pair.step:clone(), rho = pair.rho }
  end
  for name, value in pairs(saved.param_groups and saved.param_groups[1] or {}) do
    if rules[name] then self[name] = value end
  end
  self.state = state
end

function LBFGS:__tostring()
  return ("LBFGS(lr = %g, history_size = %d, max_iter = %d)"):format(self.lr, self.history_size, self.max_iter)
end

local function check_parameters(params)
  if type(params) ~= "table" or #params == 0 then check.expect(who, "argument 1", params, "a list of parameters") end
  for i, param in ipairs(params) do
    if not core.is_tensor(param) then
      check.expect(who, "parameter " .. i, param, "a tensor (it takes one group of parameters only)")
    end
    if param.dtype ~= params[1].dtype then check.fail(who, "expected parameters of one dtype") end
  end
end

--- A quasi-Newton optimizer of one group of parameters.
-- @param params list of tensors of one float dtype
-- @param options table: lr (1), max_iter (20), max_eval (max_iter * 5 / 4), tolerance_grad (1e-7), tolerance_change
--   (1e-9), history_size (100), line_search_fn (nil: steps of length lr; or "strong_wolfe")
return function(params, options)
  if type(params) == "table" and type(params[1]) == "table" and #params == 1 then params = params[1].params end
  check_parameters(params)
  local self = { params = {}, state = { n_iter = 0, func_evals = 0, memory = { scale = 1 } } }
  for name, value in pairs(defaults) do self[name] = value end
  for name, value in pairs(check.options(who, options, rules)) do self[name] = value end
  if self.line_search_fn then
    check.choice(who, "option line_search_fn", self.line_search_fn, { strong_wolfe = true })
  end
  for i, param in ipairs(params) do self.params[i] = param end
  self.param_groups = { self }
  return setmetatable(self, LBFGS)
end
