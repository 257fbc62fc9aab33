--- The loop of fit. A run is one call of fit; a pass is one way through the training data: an epoch, unless
-- steps_per_epoch cuts the passes into epochs of its own.

local core = require "nnlua.core"
local batches = require "nnlua.batches"
local check = require "nnlua.check"
local compiled = require "nnlua.training.compiled"
local evaluation = require "nnlua.training.evaluation"
local History = require "nnlua.training.history"
local Means = require "nnlua.training.means"
local step = require "nnlua.training.step"
local tree = require "nnlua.tree"

local loop = {}

-- ---- passes

--- Begin a pass, at its batch number skip + 1.
-- @param run table
-- @param skip integer
function loop.open_pass(run, skip)
  run.pass = { random = core.get_rng_state(), taken = skip }
  run.next_batch = run.source:each(run.shuffle, skip)
end

local function next_batch(run)
  local x, y, weights, order, start = run.next_batch()
  if x == nil and run.steps then
    if run.pass.taken == 0 then return nil end
    loop.open_pass(run, 0)
    x, y, weights, order, start = run.next_batch()
  end
  if x == nil then return nil end
  run.pass.taken = run.pass.taken + 1
  if run.class_weights then
    local by_class = run.class_weights(y)
    weights = weights and weights * by_class or by_class
  end
  return x, y, weights, order, start
end

-- ---- batches

local function end_batch(run, number, means)
  run.bar:update(number, means.count, run.read)
  if run.hooks:has("on_train_batch_end") then run.hooks:call("on_train_batch_end", number, means:logs("")) end
  if run.backup then run.backup:after_batch(run, number, means) end
end

local function stops(run)
  return run.hooks.stop or (run.is_module and rawget(run.model, "stop_training"))
end

local function train_batch(run, number, means, x, y, weights, order, start)
  local hooks = run.hooks
  if hooks:has("on_train_batch_begin") then hooks:call("on_train_batch_begin", number, {}) end
  if not run.seen then
    evaluation.remember(run.model, x)
    run.seen = true
  end
  local pass = step.train(run.state, x, y, weights)
  local value = pass.value
  if value - value ~= 0 and not hooks:bad_loss(number, value) and value ~= value then
    evaluation.refuse_nan("fit", ("epoch %d, batch %d"):format(run.epoch, number), x, y, order, start)
  end
  means:add(batches.rows(x), pass)
  run.total_batches = run.total_batches + 1
  end_batch(run, number, means)
end

-- The batches of an epoch, from the one after `number`.
local function train_epoch(run, number, means)
  run.read = function() return means:logs("") end
  while number ~= run.steps and not (number > 0 and stops(run)) do
    local x, y, weights, order, start = next_batch(run)
    if x == nil then break end
    number = number + 1
    train_batch(run, number, means, x, y, weights, order, start)
  end
  if means.count == 0 then check.fail("fit", "there are no batches") end
  step.flush(run.state)
  return means:logs("")
end

-- ---- epochs

local function is_validated(run, epoch)
  local when = run.validation and run.validation_freq
  if type(when) ~= "table" then return when and epoch % when == 0 end
  for _, each in ipairs(when) do
    if each == epoch then return true end
  end
  return false
end

local function validate(run, logs)
  if run.bar.part then run.bar:part("validation", run.validation_steps or run.validation.count) end
  local means = evaluation.measure {
    state = run.state, source = run.validation, hooks = run.hooks, bar = run.bar, steps = run.validation_steps,
    who = "fit: validation",
  }
  means:logs("val_", logs)
end

-- An epoch, or the rest of one that `resumed` tells of: {batch, means}.
local function run_epoch(run, epoch, resumed)
  run.epoch = epoch
  run.bar:start(epoch)
  local means = Means.new(run.state)
  if resumed then
    means:set_state(resumed.means)
  else
    run.hooks:call("on_epoch_begin", epoch, {})
    if not (run.steps and run.pass) then loop.open_pass(run, 0) end
  end
  local logs = train_epoch(run, resumed and resumed.batch or 0, means)
  if is_validated(run, epoch) then validate(run, logs) end
  run.bar:finish(logs)
  run.last_logs = logs
  run.hooks:call("on_epoch_end", epoch, logs)
  run.history:_record(epoch, logs)
  if stops(run) then run.hooks.stop = true end
  if run.backup then run.backup:after_epoch(run) end
end

--- Train from the first epoch to the last.
function loop.train(run)
  run.hooks:call("on_train_begin", {})
  local resumed = run.backup and run.backup:resume(run)
  for epoch = run.epoch + 1, run.epochs do
    if stops(run) then break end
    run_epoch(run, epoch, resumed)
    resumed = nil
  end
  local ema = #run.history.epoch > 0 and run.state.ema
  if ema then
    ema:apply()
    ema.kept = nil -- for good
  end
  run.hooks:call("on_train_end", run.last_logs or {})
  if ema then
    for i, average in ipairs(ema.averages) do average:copy_(ema.params[i]:detach()) end
  end
  if run.backup then run.backup:finish() end
end

-- ---- before the first batch

-- A batch, of data that are left as if nobody had looked; nil where that cannot be.
local function first_batch(run)
  if run.source.fn then return nil end
  local random = core.get_rng_state()
  local x, y, weights = run.source:each(false)()
  core.set_rng_state(random)
  return x, y, weights
end

-- Layers that take their sizes from the data get them now, so that there is an optimizer before training begins.
local function open_layers(run)
  if not tree.first_open(run.model) then return end
  local x = first_batch(run)
  if x == nil then return end
  evaluation.infer(run.model, function() step.call(run.model, x) end)
end

--- Make ready: sizes of layers, and the optimizer.
function loop.prepare(run)
  if not run.state.optimizer then
    open_layers(run)
    if not tree.first_open(run.model) then compiled.finish(run.state) end
  end
end

--- An error where the memory that training takes is more than the limit on it.
function loop.check_memory(run)
  if not (core.memory().limit and run.check_memory and run.state.optimizer) or run.state.by_closure then return end
  local x, y, weights = first_batch(run)
  if x ~= nil and y ~= nil then require "nnlua.estimate".check_limit(run, x, y, weights) end
end

--- @param run table: model, state, source, validation, hooks, bar, epochs, epoch (done before), steps, shuffle ...
function loop.new(run)
  run.history, run.total_batches = History.new(), 0
  run.is_module = tree.class_of(run.model) ~= nil
  for _, callback in ipairs(run.hooks.callbacks) do
    if callback.is_backup then
      if run.backup then check.fail("fit", "there are two BackupAndRestore; one is enough") end
      run.backup = callback
    end
  end
  return run
end

return loop
