--- nn.estimate: what training a model will take of memory, before it begins.
-- Steps are done with small batches of two sizes, and every request for memory is noted. Each is a straight line in the
-- size of the batch, which gives the requests of any batch. They are played back while small steps run once more, so
-- that what is alive at each moment, Lua's garbage that waits for the collector included, is counted as it will be.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local tree = require "nnlua.tree"

local estimate = {}

local WHO = "nn.estimate"
local STEPS = 3

-- Two sizes: an eighth of the batch, but neither so few samples that work is not yet cut as it will be, nor many.
local function sizes_for(batch_size)
  if batch_size <= 4 then return batch_size, batch_size end
  local low = math.max(2, math.min(8, math.floor(batch_size / 8)))
  return low, 2 * low
end

-- ---- sizes as people read them

local function size_text(bytes)
  local units, unit = { "B", "KB", "MB", "GB", "TB" }, 1
  while bytes >= 1024 and unit < #units do bytes, unit = bytes / 1024, unit + 1 end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(bytes, units[unit])
end

local parts = { "parameters", "buffers", "gradients", "optimizer", "activations", "other" }

local function parts_text(result, separator, form)
  local list = {}
  for _, name in ipairs(parts) do
    if result[name] > 0 then list[#list + 1] = form:format(name, size_text(result[name])) end
  end
  return table.concat(list, separator)
end

local Result = {}
Result.__index = Result

function Result:__tostring()
  return ("%s for %s with batch_size = %d\n%s"):format(size_text(self.total),
    self.training and "training" or "inference", self.batch_size, parts_text(self, "\n", "  %-12s %s"))
end

-- ---- what there is

local widths = { float64 = 8, int64 = 8, float16 = 2, bfloat16 = 2, uint8 = 1, bool = 1 }

local function bytes_of(tensor)
  return tensor:numel() * (widths[tensor.dtype] or 4)
end

local function count(model)
  local result = { parameters = 0, buffers = 0, gradients = 0 }
  tree.each_tensor(model, function(_, tensor, kind)
    local key = kind == "parameter" and "parameters" or "buffers"
    result[key] = result[key] + bytes_of(tensor)
    if kind == "parameter" and tensor.requires_grad then
      result.gradients = result.gradients + bytes_of(tensor)
    end
  end, true)
  return result
end

-- What the optimizer keeps for all parameters, and what of it is yet to come.
local function state_bytes(optimizer, trained)
  if not optimizer then return 0, 0 end
  if not core.is_optimizer(optimizer) then -- LBFGS: as many vectors twice, and some that it works with
    local all = trained * (2 * (optimizer.history_size or 100) + 4)
    return all, all
  end
  local all = optimizer:_state_bytes()
  return all, next(optimizer:state_dict().state) == nil and all or 0
end

-- ---- steps that leave no trace

local function collect()
  collectgarbage()
  collectgarbage()
end

-- fn(), after which random numbers, gradients, buffers and modes are as before.
local function without_trace(model, training, fn)
  local random, grads, buffers, modes = core.get_rng_state(), {}, {}, {}
  tree.each_tensor(model, function(_, tensor, kind)
    if kind == "parameter" then
      grads[#grads + 1] = { tensor, tensor.grad }
    else
      buffers[#buffers + 1] = { tensor, tensor:detach():clone() }
    end
  end, true)
  tree.each_node(model, function(_, node) modes[#modes + 1] = { node, node.training } end)
  model:train(training)
  local ok, result = pcall(fn)
  for _, each in ipairs(modes) do
    if core.is_layer(each[1]) then each[1]:_set_training(each[2]) else rawset(each[1], "training", each[2]) end
  end
  for _, each in ipairs(buffers) do each[1]:detach():copy_(each[2]) end
  for _, each in ipairs(grads) do each[1].grad = each[2] end
  core.set_rng_state(random)
  collect()
  if not ok then error(result, 0) end
  return result
end

-- Garbage goes as soon as it can: what is left is what a limit must leave room for.
local function eagerly(fn)
  local pause, multiplier = collectgarbage("setpause", 1), collectgarbage("setstepmul", 1000)
  local ok, result = pcall(fn)
  collectgarbage("setpause", pause)
  collectgarbage("setstepmul", multiplier)
  if not ok then error(result, 0) end
  return result
end

-- ---- measuring. A job: model, batch_size, training, step(n) (with n samples), missing (bytes of state to come).

local function steps_of(job, n, before)
  return function()
    local state = core.zeros(1) -- the plan says how large it is
    for _ = 1, STEPS do
      if before then before() end
      job.step(n)
    end
    return state
  end
end

-- Where the requests of two batches do not go together: straight lines through the peaks.
local function peaks_by_line(job, low, high)
  local function peak(n)
    collect()
    local base = core.memory().live
    core.reset_peak_memory()
    eagerly(steps_of(job, n))
    return core.memory().peak - base, base
  end
  local at_low, base = peak(low)
  local at_high = peak(high)
  local most = at_low + (at_high - at_low) / (high - low) * (job.batch_size - low) + job.missing
  return base + most, base + most
end

local function replay(job, plan, n, eager)
  collect()
  local function run() return core.replay_memory(plan, steps_of(job, n)) end
  local peak = eager and eagerly(run) or not eager and run()
  collect()
  return peak
end

-- The peak as it will be, and the least that there must be room for.
local function measure_peaks(job)
  local low, high = sizes_for(job.batch_size)
  job.step(low) -- what is made once
  collect()
  local first = core.record_memory(steps_of(job, low))
  collect()
  local second = low == high and first or core.record_memory(steps_of(job, high))
  local scale = low == high and low + 1 or high
  local plan = first and second and core.plan_memory(first, low, second, scale, job.batch_size, job.missing)
  local peak = plan and replay(job, plan, low, false)
  local least = peak and replay(job, plan, low, true)
  if peak and least then return peak, math.min(peak, least) end
  return peaks_by_line(job, low, low == high and low + 1 or high)
end

local function result_of(job, counts, total, needed)
  local result = { batch_size = job.batch_size, training = job.training, total = total, needed = needed }
  for name, value in pairs(counts) do result[name] = value end
  if not job.training then result.gradients = 0 end
  result.optimizer = job.state
  collect()
  local own = result.parameters + result.buffers + job.state - job.missing
  result.other = math.max(0, core.memory().live - own)
  result.activations = math.max(0, total - own - result.other - result.gradients - job.missing)
  return setmetatable(result, Result)
end

-- @return see nn.estimate
local function measure(job)
  local counts = count(job.model)
  job.state, job.missing = state_bytes(job.training and job.optimizer or nil, counts.gradients)
  local total, needed
  without_trace(job.model, job.training, function() total, needed = measure_peaks(job) end)
  return result_of(job, counts, total, needed)
end

-- ---- batches and steps

local function each_part(value, fn, ...)
  if core.is_tensor(value) then return fn(value, ...) end
  local result = {}
  for key, part in pairs(value) do result[key] = fn(part, ...) end
  return result
end

-- n rows, in memory of their own; those that there are again and again.
local function rows(t, n)
  local list = {}
  for i = 1, n do list[i] = (i - 1) % #t + 1 end
  return t:index_select(1, core.tensor(list, { dtype = "int64" }))
end

local function is_shape(value)
  if type(value) ~= "table" then return false end
  for i = 1, #value do
    if not compat.is_whole(value[i]) or value[i] < 1 then return false end
  end
  return next(value) == nil or #value > 0
end

-- A function of n that makes a batch of what the option tells: tensors, or the shape of a sample.
local function maker(what, given, dtype)
  if core.is_tensor(given) or (type(given) == "table" and core.is_tensor(given[1])) then
    each_part(given, function(t)
      if t.ndim < 1 or #t < 1 then check.expect(WHO, what, t, "a tensor with a sample or more") end
    end)
    return function(n) return each_part(given, rows, n) end
  end
  if not is_shape(given) then
    check.expect(WHO, what, given, "a tensor, a list of tensors, or the shape of a sample")
  end
  return function(n)
    local shape = { n }
    for i = 1, #given do shape[i + 1] = given[i] end
    if dtype:find("float") then return core.rand(shape):to(dtype) end
    return core.ones(shape, { dtype = dtype })
  end
end

local function sum_of(...)
  local total
  for i = 1, select("#", ...) do
    local value = (select(i, ...))
    local part
    if core.is_tensor(value) and value.requires_grad then part = value:sum() end
    if type(value) == "table" and not tree.is_node(value) then part = sum_of(compat.unpack(value)) end
    if part then total = total and total + part or part end
  end
  return total
end

-- As fit does it: a walk through the model would give the collector time that it does not have there.
local function zero_grad(job)
  if job.optimizer then job.optimizer:zero_grad() else job.model:zero_grad() end
end

-- Forward and backward through all results, where nobody says what the loss is.
local function plain_step(job, x, y, loss)
  local call = require "nnlua.training.step".call
  local value = loss and loss(call(job.model, x), y) or not loss and sum_of(call(job.model, x))
  if not value or not value.requires_grad then return end
  if value.ndim > 0 then value = value:mean() end
  zero_grad(job)
  value:backward()
end

local function compiled_step(job, state, x, y, weights)
  local step, Means = require "nnlua.training.step", require "nnlua.training.means"
  local pass = step.forward(state, x, y, weights)
  pass.value = pass.loss:item()
  local loss = state.accumulate > 1 and pass.loss * (1 / state.accumulate) or pass.loss
  zero_grad(job)
  loss:backward()
  Means.new(state):add(job.last or 1, pass)
end

local function step_for(job, make, target, options)
  local state = require "nnlua.training.compiled".peek(job.model)
  if not job.training then
    return function(n)
      core.no_grad(require "nnlua.training.step".call, job.model, make(n))
    end
  end
  return function(n)
    job.last = n
    local x, y = make(n), target and target(n)
    if options.step then
      local loss = options.step(job.model, x, y)
      check.tensor(WHO, "option step: its result", loss)
      zero_grad(job)
      loss:backward()
    elseif state and y and not options.loss then
      compiled_step(job, state, x, y)
    else
      plain_step(job, x, y, y and options.loss)
    end
  end
end

-- ---- the function

local rules = {
  input = "any", target = "any", batch_size = "count", dtype = "string", target_dtype = "string", optimizer = "any",
  loss = "any", step = "function", training = "boolean",
}

local function optimizer_for(model, options)
  local objective = require "nnlua.objective"
  local state = require "nnlua.training.compiled".peek(model)
  if options.optimizer ~= nil then return objective.optimizer(options.optimizer)(model:parameters()) end
  if state and state.optimizer then return state.optimizer end
  return (state and state.make_optimizer or objective.optimizer("adam"))(model:parameters())
end

local function input_for(model, options)
  if options.input ~= nil then return options.input, options.dtype or "float32" end
  local seen = require "nnlua.training".input_of(model)
  if not seen then
    check.fail(WHO, "option input is missing: the shape of a sample, such as {784}, or a batch as the model takes it")
  end
  return seen.shape, options.dtype or seen.dtype
end

--- What training a model will take of memory: nothing is trained, and nothing of the model changes.
-- @param model module or layer, whose layers know their sizes
-- @param options table? input (the shape of a sample, {3, 32, 32}; or a batch: a tensor, or a list of them for models
-- of several inputs; without it what fit or predict saw), dtype ("float32"; of an input told by its shape; "int64" for
-- tokens), batch_size (32), target (a batch of targets, or the shape of one with target_dtype ("int64")), loss (of
-- prediction and target; without it, and of a model that was not compiled, the sum of the results), step (a function of
-- model, input and target that gives the loss, for training of other kinds), optimizer (as for compile; what compile
-- was given, or "adam"), training (true; false is predict)
-- @return table of bytes: parameters, buffers, gradients, optimizer, activations (all else that a step holds at its
-- peak), other (what is in memory beside the model), total (the peak that nn.memory() will tell), needed (the least
-- that a limit must leave room for); tostring shows it
-- @usage print(nn.estimate(model, {input = {3, 224, 224}, batch_size = 64, optimizer = "adamw"}))
function estimate.estimate(model, options)
  if not tree.is_node(model) then check.expect(WHO, "argument 1", model, "a model") end
  options = check.options(WHO, options, rules)
  model:parameters() -- an error where a layer does not know its size yet
  local job = { model = model, batch_size = options.batch_size or 32, training = options.training ~= false }
  local target = options.target ~= nil and maker("option target", options.target, options.target_dtype or "int64")
  job.step = step_for(job, maker("option input", input_for(model, options)), target, options)
  job.optimizer = job.training and #model:parameters() > 0 and optimizer_for(model, options) or nil
  return measure(job)
end

-- ---- the limit

local function too_much(result, limit, what)
  check.fail("fit", ("training needs %s%s with batch_size = %d (%s), more than the %s that nn.set_memory_limit leaves. "
    .. 'Less take a smaller batch_size, nn.checkpoint, an optimizer with state_dtype = "uint8", nn.lora; fit(x, y, '
    .. "{check_memory = false}) tries nevertheless"):format(what, size_text(result.needed), result.batch_size,
    parts_text(result, ", ", "%s %s"), size_text(limit)))
end

-- What is known without a step: enough where parameters alone are too much.
local function at_least(job)
  local counts = count(job.model)
  local state, missing = state_bytes(job.optimizer, counts.gradients)
  job.state, job.missing = state, missing
  local live = core.memory().live
  return result_of(job, counts, live + counts.gradients + missing, live + counts.gradients + missing)
end

--- Before fit trains under a limit: an error where the limit is too low.
-- @param run see training/loop.lua
-- @param x, y, weights its first batch
function estimate.check_limit(run, x, y, weights)
  local limit = core.memory().limit
  local batches, state = require "nnlua.batches", run.state
  local job = { model = run.model, training = true, optimizer = state.optimizer, batch_size = batches.rows(x) }
  collect()
  local least = at_least(job)
  if least.needed > limit then too_much(least, limit, "at least ") end
  job.step = function(n)
    job.last = n
    compiled_step(job, state, each_part(x, rows, n), each_part(y, rows, n), weights and each_part(weights, rows, n))
  end
  local ok, result = pcall(measure, job)
  if ok and result.needed > limit then too_much(result, limit, "about ") end
end

return estimate
