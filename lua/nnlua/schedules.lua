--- Learning rate schedules: nn.optim.lr_scheduler.NAME(optimizer, ..., options).
-- A schedule is a declaration: its arguments, and the rate after t steps. `at` gives it from the first rate alone,
-- `follow` from the current one, so that two schedules of one optimizer multiply and a rate set by hand lasts; where
-- only `at` stands, the schedule alone decides. Making one sets the first rates; step() is called once an epoch (or
-- batch). All of them: step([metric]), get_last_lr(), state_dict(), load_state_dict(t); fields last_epoch, base_lrs.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local cos, pi, floor = math.cos, math.pi, math.floor

-- The rates that an optimizer's groups had before its first schedule: all its schedules start from these.
local first_rates = setmetatable({}, { __mode = "k" })

local function read_rates(optimizer)
  local rates = {}
  for g, group in ipairs(optimizer.param_groups) do rates[g] = group.lr end
  return rates
end

local function rates_of(optimizer)
  if not first_rates[optimizer] then first_rates[optimizer] = read_rates(optimizer) end
  local rates, now = first_rates[optimizer], optimizer.param_groups
  for g = #rates + 1, #now do rates[g] = now[g].lr end -- groups added since
  return rates
end

-- ---- the rules

local rules = {}

rules.StepLR = {
  doc = "Times gamma (0.1) after every step_size steps.",
  arguments = { "step_size" },
  options = { step_size = "count", gamma = "number" },
  defaults = { gamma = 0.1 },
  at = function(s, base, t) return base * s.gamma ^ floor(t / s.step_size) end,
  follow = function(s, lr, t) return t % s.step_size == 0 and lr * s.gamma or lr end,
}

local function times_passed(milestones, t)
  local count = 0
  for _, milestone in ipairs(milestones) do
    if milestone <= t then count = count + 1 end
  end
  return count
end

rules.MultiStepLR = {
  doc = "Times gamma (0.1) at each of the milestones, numbers of steps done.",
  arguments = { "milestones" },
  options = { milestones = "table", gamma = "number" },
  defaults = { gamma = 0.1 },
  at = function(s, base, t) return base * s.gamma ^ times_passed(s.milestones, t) end,
  follow = function(s, lr, t)
    return lr * s.gamma ^ (times_passed(s.milestones, t) - times_passed(s.milestones, t - 1))
  end,
}

rules.ConstantLR = {
  doc = "Times factor (1/3) for the first total_iters (5) steps.",
  arguments = {},
  options = { factor = "number", total_iters = "whole" },
  defaults = { factor = 1 / 3, total_iters = 5 },
  at = function(s, base, t) return t < s.total_iters and base * s.factor or base end,
  follow = function(s, lr, t) return t == s.total_iters and lr / s.factor or lr end,
}

local function linear_factor(s, t)
  if t >= s.total_iters then return s.end_factor end
  return s.start_factor + (s.end_factor - s.start_factor) * t / s.total_iters
end

rules.LinearLR = {
  doc = "Times a factor that goes from start_factor (1/3) to end_factor (1) in total_iters (5) steps.",
  arguments = {},
  options = { start_factor = "number", end_factor = "number", total_iters = "count" },
  defaults = { start_factor = 1 / 3, end_factor = 1, total_iters = 5 },
  prepare = function(s, who)
    if s.start_factor <= 0 then check.fail(who, "option start_factor: expected more than 0, got " .. s.start_factor) end
  end,
  at = function(s, base, t) return base * linear_factor(s, t) end,
  follow = function(s, lr, t) return lr * linear_factor(s, t) / linear_factor(s, t - 1) end,
}

local function polynomial_factor(s, t)
  return t >= s.total_iters and 0 or (1 - t / s.total_iters) ^ s.power
end

rules.PolynomialLR = {
  doc = "Times (1 - t / total_iters) ^ power, 0 from total_iters (5) steps on; power is 1.",
  arguments = {},
  options = { total_iters = "count", power = "number" },
  defaults = { total_iters = 5, power = 1 },
  at = function(s, base, t) return base * polynomial_factor(s, t) end,
  follow = function(s, lr, t)
    local before = polynomial_factor(s, t - 1)
    return before == 0 and lr or lr * polynomial_factor(s, t) / before
  end,
}

rules.ExponentialLR = {
  doc = "Times gamma at every step.",
  arguments = { "gamma" },
  options = { gamma = "number" },
  at = function(s, base, t) return base * s.gamma ^ t end,
  follow = function(s, lr) return lr * s.gamma end,
}

rules.CosineAnnealingLR = {
  doc = "Down to eta_min (0) in T_max steps along half a cosine, and up again (Loshchilov and Hutter 2017).",
  arguments = { "T_max" },
  options = { T_max = "count", eta_min = "number" },
  defaults = { eta_min = 0 },
  at = function(s, base, t) return s.eta_min + (base - s.eta_min) * (1 + cos(pi * t / s.T_max)) / 2 end,
  follow = function(s, lr, t, base)
    local T = s.T_max
    if (t - 1 - T) % (2 * T) == 0 then return lr + (base - s.eta_min) * (1 - cos(pi / T)) / 2 end
    return (1 + cos(pi * t / T)) / (1 + cos(pi * (t - 1) / T)) * (lr - s.eta_min) + s.eta_min
  end,
}

-- Steps since the last restart, and the length of the period they are in.
local function restart_position(s, t)
  local since, period = t, s.T_0
  if s.T_mult == 1 then return t % period, period end
  while since >= period do
    since = since - period
    period = period * s.T_mult
  end
  return since, period
end

rules.CosineAnnealingWarmRestarts = {
  doc = "Half a cosine down to eta_min (0) in T_0 steps, again from the top in T_0 * T_mult, and so on (SGDR).",
  arguments = { "T_0" },
  options = { T_0 = "count", T_mult = "count", eta_min = "number" },
  defaults = { T_mult = 1, eta_min = 0 },
  at = function(s, base, t)
    local since, period = restart_position(s, t)
    return s.eta_min + (base - s.eta_min) * (1 + cos(pi * since / period)) / 2
  end,
}

local function one_for_each_group(who, name, value, groups)
  if type(value) ~= "table" then
    local all = {}
    for g = 1, #groups do all[g] = value end
    return all
  end
  if #value ~= #groups then
    check.fail(who, ("%s: expected one for each of %d groups, got %d"):format(name, #groups, #value))
  end
  return value
end

rules.LambdaLR = {
  doc = "Times lambda(t), a function (or one for each group) of the number of steps done, from 0.",
  arguments = { "lr_lambda" },
  options = { lr_lambda = "any" },
  prepare = function(s, who, groups)
    s.lr_lambda = one_for_each_group(who, "lr_lambda", s.lr_lambda, groups)
    for _, lambda in ipairs(s.lr_lambda) do
      if type(lambda) ~= "function" then check.expect(who, "lr_lambda", lambda, "a function or a list of them") end
    end
  end,
  unsaved = { lr_lambda = true },
  at = function(s, base, t, g) return base * s.lr_lambda[g](t) end,
}

rules.MultiplicativeLR = {
  doc = "The current rate times lambda(t) at each step t from 1.",
  arguments = { "lr_lambda" },
  options = { lr_lambda = "any" },
  prepare = rules.LambdaLR.prepare,
  unsaved = { lr_lambda = true },
  at = function(s, base, t, g)
    for step = 1, t do base = base * s.lr_lambda[g](step) end
    return base
  end,
  follow = function(s, lr, t, _, g) return lr * s.lr_lambda[g](t) end,
}

-- ---- one cycle

local anneal = {
  cos = function(from, to, share) return to + (from - to) / 2 * (1 + cos(pi * share)) end,
  linear = function(from, to, share) return from + (to - from) * share end,
}

-- The ends of the phases, and the kinds of value at each boundary: "start", "top" and "end".
local function cycle_phases(s)
  local rise, last = s.pct_start * s.total_steps - 1, s.total_steps - 1
  if s.three_phase then return { rise, 2 * rise, last }, { "start", "top", "start", "end" } end
  return { rise, last }, { "start", "top", "end" }
end

local function cycle_value(s, t, values)
  local ends, kinds = cycle_phases(s)
  local from = 0
  for phase, to in ipairs(ends) do
    if t <= to or phase == #ends then
      return anneal[s.anneal_strategy](values[kinds[phase]], values[kinds[phase + 1]], (t - from) / (to - from))
    end
    from = to
  end
end

-- Momentum runs against the rate: an option `momentum`, or the first of `betas`.
local function cycle_momentum(s, groups, t)
  if not s.cycle_momentum then return end
  local value = cycle_value(s, t, { start = s.max_momentum, top = s.base_momentum, ["end"] = s.max_momentum })
  for _, group in ipairs(groups) do
    if group.betas then
      group.betas = { value, group.betas[2] }
    else
      group.momentum = value
    end
  end
end

local function cycle_length(s, who)
  if s.total_steps then return s.total_steps end
  if not (s.epochs and s.steps_per_epoch) then
    check.fail(who, "expected the option total_steps, or both epochs and steps_per_epoch")
  end
  return s.epochs * s.steps_per_epoch
end

rules.OneCycleLR = {
  doc = "Up to max_lr and far down again in total_steps (or epochs * steps_per_epoch) (Smith and Topin 2018).",
  arguments = { "max_lr" },
  options = {
    max_lr = "any", total_steps = "count", epochs = "count", steps_per_epoch = "count", pct_start = "fraction",
    anneal_strategy = "string", cycle_momentum = "boolean", base_momentum = "number", max_momentum = "number",
    div_factor = "number", final_div_factor = "number", three_phase = "boolean",
  },
  defaults = {
    pct_start = 0.3, anneal_strategy = "cos", cycle_momentum = true, base_momentum = 0.85, max_momentum = 0.95,
    div_factor = 25, final_div_factor = 1e4, three_phase = false,
  },
  prepare = function(s, who, groups)
    check.choice(who, "option anneal_strategy", s.anneal_strategy, anneal)
    s.total_steps = cycle_length(s, who)
    s.max_lr = one_for_each_group(who, "max_lr", s.max_lr, groups)
    for g = 1, #groups do
      if type(s.max_lr[g]) ~= "number" then check.expect(who, "max_lr", s.max_lr[g], "a number") end
      s.base_lrs[g] = s.max_lr[g] / s.div_factor
    end
    if s.cycle_momentum and not (groups[1].betas or groups[1].momentum) then
      check.fail(who, "the optimizer has no momentum to cycle; give {cycle_momentum = false}")
    end
  end,
  at = function(s, base, t, g)
    if t > s.total_steps then
      check.fail("step", ("OneCycleLR has %d steps in all; step %d is beyond them"):format(s.total_steps, t))
    end
    return cycle_value(s, t, { start = base, top = s.max_lr[g], ["end"] = base / s.final_div_factor })
  end,
  also = cycle_momentum,
}

-- ---- what all of them do

local methods = {}
local metatables = {}

--- Set the rates that come after one more step.
local function advance(s)
  local rule, groups = s.rule, s.optimizer.param_groups
  s.last_epoch = s.last_epoch + 1
  local t = s.last_epoch
  local rates = {}
  for g, group in ipairs(groups) do
    local base = s.base_lrs[g]
    rates[g] = rule.follow and t > 0 and rule.follow(s, group.lr, t, base, g) or rule.at(s, base, t, g)
  end
  for g, group in ipairs(groups) do group.lr = rates[g] end
  if rule.also then rule.also(s, groups, t) end
  s.last_lr = rates
end

--- From the beginning, whatever the rates are now.
local function restart(s)
  s.last_epoch = -1
  advance(s)
end

function methods:step() self.advance(self) end

--- The rates that were set last, one for each group.
function methods:get_last_lr()
  return { compat.unpack(self.last_lr) }
end

local kept_apart = { optimizer = true, rule = true, advance = true, restart = true, schedulers = true }

--- What the schedule has done so far, as a plain table of its own; functions are not in it.
function methods:state_dict()
  local state = {}
  for name, value in pairs(self) do
    local saved = not kept_apart[name] and not (self.rule.unsaved and self.rule.unsaved[name])
    if saved then state[name] = type(value) == "table" and { compat.unpack(value) } or value end
  end
  if self.schedulers then
    state.schedulers = {}
    for i, part in ipairs(self.schedulers) do state.schedulers[i] = part:state_dict() end
  end
  return state
end

--- Go on from a state_dict. The rates themselves are in the optimizer's.
function methods:load_state_dict(state)
  if type(state) ~= "table" or type(state.last_epoch) ~= "number" then
    check.expect("load_state_dict", "state", state, "the state_dict of a schedule")
  end
  for name, value in pairs(state) do
    if name == "schedulers" then
      for i, part in ipairs(self.schedulers) do part:load_state_dict(value[i]) end
    else
      self[name] = type(value) == "table" and { compat.unpack(value) } or value
    end
  end
end

local function metatable_of(name)
  if not metatables[name] then
    metatables[name] = {
      __index = methods,
      __name = "lr_scheduler." .. name,
      __tostring = function(s) return ("lr_scheduler.%s(step %d)"):format(name, s.last_epoch) end,
    }
  end
  return metatables[name]
end

local function check_optimizer(who, optimizer)
  if not core.is_optimizer(optimizer) then check.expect(who, "argument 1", optimizer, "an optimizer") end
end

-- The arguments by name: positional ones in the order of the declaration, then a table of options.
local function read_arguments(who, rule, ...)
  local given, count = { ... }, select("#", ...)
  local options = given[count]
  local named = count > 0 and type(options) == "table" and #options == 0 and next(options) ~= nil
  local values = {}
  for name, value in pairs(rule.defaults or {}) do values[name] = value end
  for name, value in pairs(check.options(who, named and options or nil, rule.options)) do values[name] = value end
  local positional = named and count - 1 or count
  if positional > #rule.arguments then
    local message = "expected at most %d arguments before the options, got %d"
    check.fail(who, message:format(#rule.arguments + 1, positional + 1))
  end
  for i, name in ipairs(rule.arguments) do
    if i <= positional then
      check.options(who, { [name] = given[i] }, rule.options)
      values[name] = given[i]
    end
    if values[name] == nil then check.fail(who, ("expected %s"):format(name)) end
  end
  return values
end

local function constructor(name, rule)
  local who = "nn.optim.lr_scheduler." .. name
  return function(optimizer, ...)
    check_optimizer(who, optimizer)
    local s = read_arguments(who, rule, ...)
    s.optimizer, s.rule, s.advance, s.restart = optimizer, rule, advance, restart
    s.base_lrs = { compat.unpack(rates_of(optimizer)) }
    if rule.prepare then rule.prepare(s, who, optimizer.param_groups) end
    setmetatable(s, metatable_of(name))
    restart(s)
    return s
  end
end

-- ---- one after the other

local sequential = { doc = "One schedule up to the first milestone, the next up to the second, and so on." }

local function sequential_restart(s)
  for g, group in ipairs(s.optimizer.param_groups) do group.lr = s.base_lrs[g] end
  s.last_epoch = 0
  s.schedulers[1]:restart()
  s.last_lr = s.schedulers[1].last_lr
end

local function sequential_advance(s)
  s.last_epoch = s.last_epoch + 1
  local passed = times_passed(s.milestones, s.last_epoch)
  local current = s.schedulers[passed + 1]
  if passed > 0 and s.milestones[passed] == s.last_epoch then
    current:restart()
  else
    current:step()
  end
  s.last_lr = current.last_lr
end

local function check_parts(who, optimizer, parts, expected)
  if type(parts) ~= "table" or #parts == 0 then check.expect(who, "argument 2", parts, "a list of schedules") end
  for i, part in ipairs(parts) do
    if type(part) ~= "table" or not part.restart or part.optimizer ~= optimizer then
      check.fail(who, ("schedule %d: expected a schedule of the same optimizer%s"):format(i, expected or ""))
    end
  end
end

local function new_sequential(optimizer, parts, milestones, ...)
  local who = "nn.optim.lr_scheduler.SequentialLR"
  if select("#", ...) > 0 then check.fail(who, "expected (optimizer, schedules, milestones)") end
  check_optimizer(who, optimizer)
  if type(milestones) == "table" and milestones.milestones then milestones = milestones.milestones end
  check_parts(who, optimizer, parts)
  if type(milestones) ~= "table" or #milestones ~= #parts - 1 then
    check.fail(who, ("expected %d milestones for %d schedules, got %s"):format(#parts - 1, #parts,
      type(milestones) == "table" and #milestones or check.kind(milestones)))
  end
  local s = {
    optimizer = optimizer, rule = sequential, schedulers = parts, milestones = milestones,
    advance = sequential_advance, restart = sequential_restart, base_lrs = { compat.unpack(rates_of(optimizer)) },
  }
  sequential_restart(s)
  return setmetatable(s, metatable_of("SequentialLR"))
end

-- ---- all at once

local chained = { doc = "Every schedule of the list takes each step: their factors multiply." }

local function chained_advance(s)
  s.last_epoch = s.last_epoch + 1
  for _, part in ipairs(s.schedulers) do part:step() end
  s.last_lr = s.schedulers[#s.schedulers].last_lr
end

local function new_chained(parts, ...)
  local who = "nn.optim.lr_scheduler.ChainedScheduler"
  if select("#", ...) > 0 then check.fail(who, "expected a list of schedules alone") end
  check_parts(who, type(parts) == "table" and type(parts[1]) == "table" and parts[1].optimizer or nil, parts)
  local s = {
    optimizer = parts[1].optimizer, rule = chained, schedulers = parts, advance = chained_advance, last_epoch = 0,
    base_lrs = parts[1].base_lrs, last_lr = parts[#parts].last_lr,
  }
  return setmetatable(s, metatable_of("ChainedScheduler"))
end

-- ---- by a metric

local plateau = {
  doc = "Times factor (0.1) when the metric has not improved for more than patience (10) steps.",
  arguments = {},
  options = {
    mode = "string", factor = "fraction", patience = "whole", threshold = "number", threshold_mode = "string",
    cooldown = "whole", min_lr = "any", eps = "number",
  },
  defaults = {
    mode = "min", factor = 0.1, patience = 10, threshold = 1e-4, threshold_mode = "rel", cooldown = 0, min_lr = 0,
    eps = 1e-8,
  },
}

local function improves(s, metric)
  local sign = s.mode == "min" and -1 or 1
  local margin = s.threshold
  if s.threshold_mode == "rel" then
    local least = s.best * (1 + sign * margin)
    return (metric - least) * sign > 0
  end
  return (metric - (s.best + sign * margin)) * sign > 0
end

local function reduce_rates(s)
  local groups = s.optimizer.param_groups
  for g, group in ipairs(groups) do
    local lower = math.max(group.lr * s.factor, s.min_lr[g])
    if group.lr - lower > s.eps then group.lr = lower end
  end
end

local function metric_number(metric)
  if core.is_tensor(metric) then metric = metric:item() end
  if type(metric) ~= "number" then check.expect("step", "metric", metric, "a number") end
  return metric
end

local function plateau_step(s, metric)
  metric = metric_number(metric)
  s.last_epoch = s.last_epoch + 1
  if improves(s, metric) then
    s.best, s.num_bad_epochs = metric, 0
  else
    s.num_bad_epochs = s.num_bad_epochs + 1
  end
  if s.cooldown_counter > 0 then s.cooldown_counter, s.num_bad_epochs = s.cooldown_counter - 1, 0 end
  if s.num_bad_epochs > s.patience then
    reduce_rates(s)
    s.cooldown_counter, s.num_bad_epochs = s.cooldown, 0
  end
  s.last_lr = read_rates(s.optimizer)
end

local function new_plateau(optimizer, ...)
  local who = "nn.optim.lr_scheduler.ReduceLROnPlateau"
  check_optimizer(who, optimizer)
  local s = read_arguments(who, plateau, ...)
  check.choice(who, "option mode", s.mode, { min = true, max = true })
  check.choice(who, "option threshold_mode", s.threshold_mode, { rel = true, abs = true })
  s.optimizer, s.rule, s.step = optimizer, plateau, plateau_step
  s.base_lrs, s.last_lr = { compat.unpack(rates_of(optimizer)) }, read_rates(optimizer)
  s.min_lr = one_for_each_group(who, "min_lr", s.min_lr, optimizer.param_groups)
  s.best = s.mode == "min" and math.huge or -math.huge
  s.last_epoch, s.num_bad_epochs, s.cooldown_counter = 0, 0, 0
  return setmetatable(s, metatable_of("ReduceLROnPlateau"))
end

kept_apart.step = true

local schedules = { SequentialLR = new_sequential, ChainedScheduler = new_chained, ReduceLROnPlateau = new_plateau }
for name, rule in pairs(rules) do
  schedules[name] = constructor(name, rule)
  check.declarations[schedules[name]] = rule
end
check.declarations[new_sequential], check.declarations[new_chained] = sequential, chained
check.declarations[new_plateau] = plateau

return schedules
