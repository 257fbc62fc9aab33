--- Training as in Keras: compile, fit, evaluate, predict, train_step.
-- Losses and metrics by name: objective.lua; batches: batches.lua; what a terminal shows: progress.lua.

local core = require "nnlua.core"
local batches = require "nnlua.batches"
local check = require "nnlua.check"
local objective = require "nnlua.objective"
local tree = require "nnlua.tree"

local training = { methods = {} }
local methods = training.methods

-- What compile made of a model, and what is known of its input.
local compiled = setmetatable({}, { __mode = "k" })
local inputs = setmetatable({}, { __mode = "k" })

local function compiled_state(who, model)
  local state = compiled[model]
  if not state then
    check.fail(who, "the model is not compiled: call model:compile{optimizer = ..., loss = ...} before")
  end
  return state
end

--- The shape (without the batch) and dtype of the last input that fit, predict or kin saw.
function training.input_of(model)
  return inputs[model]
end

local function remember_input(model, x)
  if inputs[model] or not core.is_tensor(x) then return end
  local shape = x.shape
  table.remove(shape, 1)
  inputs[model] = { shape = shape, dtype = x.dtype }
end

--- Say how to train.
-- @param options table: optimizer (a name such as "adam", an optimizer, or {name, lr = ..., ...}), loss (a name, a
-- loss, or a function of prediction and target), metrics (a list of names or functions)
-- @return the model itself
function methods:compile(options)
  options = check.options("compile", options, { optimizer = "any", loss = "any", metrics = "table" })
  for _, name in ipairs { "optimizer", "loss" } do
    if options[name] == nil then check.fail("compile", "option " .. name .. " is missing") end
  end
  local loss = objective.loss(options.loss)
  compiled[self] = {
    model = self, loss = loss.call, match = loss.match,
    make_optimizer = objective.optimizer(options.optimizer),
    metrics = objective.metrics(options.metrics, loss.row),
  }
  return self
end

--- The optimizer of a compiled model; with a name for it, nil before the first batch.
function methods:optimizer_in_use()
  return compiled_state("optimizer_in_use", self).optimizer
end

-- ---- modes

-- Switch everything to inference; returns a function that undoes just that.
local function inference(model)
  local changed = {}
  tree.each_node(model, function(_, node)
    if node.training then changed[#changed + 1] = node end
  end)
  if #changed > 0 then model:eval() end
  return function()
    for _, node in ipairs(changed) do
      if core.is_layer(node) then node:_set_training(true) else rawset(node, "training", true) end
    end
  end
end

-- Run fn in inference mode without a graph; the modes are back afterwards, also after an error.
local function infer(model, fn)
  local undo = inference(model)
  local ok, result = pcall(core.no_grad, fn)
  undo()
  if not ok then error(result, 0) end
  return result
end

-- ---- one batch

-- Layers that ask for a penalty. They are known once all layers have their tensors.
local function find_penalties(model)
  local list = {}
  tree.each_node(model, function(_, node)
    if core.is_layer(node) and node:_penalty() then list[#list + 1] = node end
  end)
  return list
end

-- What waits for the first batch: layers that take their sizes from it.
local function finish_compile(state)
  state.optimizer = state.make_optimizer(state.model:parameters())
  state.penalties = find_penalties(state.model)
end

local function total_loss(state, prediction, target)
  local loss = state.loss(prediction, target)
  if loss.ndim > 0 then loss = loss:mean() end
  for _, layer in ipairs(state.penalties) do loss = loss + layer:_penalty() end
  return loss
end

-- Forward, backward and update. Returns the loss, the prediction and the target; nothing is changed where the loss is
-- not a number.
local function train_batch(state, x, y)
  local prediction = state.model(x)
  if not state.optimizer then finish_compile(state) end
  local target = state.match(prediction, y)
  local loss = total_loss(state, prediction, target)
  local value = loss:item()
  if value == value then
    local optimizer = state.optimizer
    optimizer:zero_grad()
    loss:backward()
    optimizer:step()
  end
  return value, prediction, target
end

-- ---- means over samples

local function new_means(state)
  local metrics = {}
  for i, metric in ipairs(state.metrics) do metrics[i] = metric.fresh and metric:fresh() or metric end
  for _, metric in ipairs(metrics) do
    if metric.reset then metric:reset() end
  end
  return { metrics = metrics, count = 0, loss = 0 }
end

local function add_batch(means, count, loss, prediction, target)
  means.count = means.count + count
  means.loss = means.loss + loss * count
  for _, metric in ipairs(means.metrics) do metric:update(prediction, target) end
end

local function mean_logs(means, prefix, logs)
  logs = logs or {}
  logs[prefix .. "loss"] = means.loss / means.count
  for _, metric in ipairs(means.metrics) do logs[prefix .. metric.name] = metric:result() end
  return logs
end

-- Names of what is measured, in the order that people see.
local function log_names(state, validation)
  local names = { "loss" }
  for _, metric in ipairs(state.metrics) do names[#names + 1] = metric.name end
  if validation then
    for i = 1, #names do names[#names + 1] = "val_" .. names[i] end
  end
  return names
end

-- ---- evaluate and predict

local function refuse_nan(who, where, x, y, order, start)
  check.fail(who, ("the loss is NaN in %s; %s"):format(where, batches.explain_nan(x, y, order, start)))
end

-- What a bar asks for when it is time to draw.
local function logs_of(means)
  return function() return mean_logs(means, "") end
end

local function evaluate_source(state, source, who, bar)
  local means, number = new_means(state), 0
  local logs = logs_of(means)
  for x, y, order, start in source:each(false) do
    number = number + 1
    remember_input(state.model, x)
    local prediction = state.model(x)
    state.penalties = state.penalties or find_penalties(state.model)
    local target = state.match(prediction, y)
    local loss = total_loss(state, prediction, target):item()
    if loss ~= loss and not state.allow_nan then
      refuse_nan(who, ("batch %d"):format(number), x, y, order, start)
    end
    add_batch(means, #x, loss, prediction, target)
    bar:update(number, means.count, logs)
  end
  if means.count == 0 then check.fail(who, "there are no batches") end
  return means
end

local batch_options = { batch_size = "count", verbose = "whole", callbacks = "table" }

local function new_bar(options)
  return require "nnlua.progress".new(options)
end

-- fn() in inference mode while the bar is shown, which is ended after an error too.
local function infer_shown(model, bar, fn)
  bar:start()
  local ok, result = pcall(infer, model, fn)
  if ok then return result end
  bar:close()
  error(result, 0)
end

--- The loss and metrics over a whole set, in inference mode.
-- @param x tensor or loader
-- @param y tensor
-- @param options table? batch_size (32), verbose (0 nothing, 1 a bar)
-- @return table {loss = ..., accuracy = ...}
function methods:evaluate(x, y, options)
  local state = compiled_state("evaluate", self)
  options = check.options("evaluate", options, batch_options)
  local source = batches.source("evaluate", x, y, options.batch_size or 32)
  local bar = new_bar { verbose = options.verbose or 0, title = "Evaluate", batches = source.count,
    names = log_names(state) }
  local means = infer_shown(self, bar, function() return evaluate_source(state, source, "evaluate", bar) end)
  local logs = mean_logs(means, "")
  bar:finish(logs)
  return logs
end

--- The model's results for x, in inference mode.
-- @param x tensor or loader
-- @param options table? batch_size (32), verbose (0 nothing, 1 a bar)
-- @return tensor
function methods:predict(x, options)
  options = check.options("predict", options, batch_options)
  local source = batches.source("predict", x, nil, options.batch_size or 32)
  local bar = new_bar { verbose = options.verbose or 0, title = "Predict", batches = source.count }
  local parts, rows = {}, 0
  infer_shown(self, bar, function()
    for batch in source:each(false) do
      remember_input(self, batch)
      parts[#parts + 1], rows = self(batch), rows + #batch
      bar:update(#parts, rows)
    end
  end)
  bar:finish()
  return #parts == 1 and parts[1] or core.cat(parts, 1)
end

--- One batch of training, for programs with a loop of their own.
-- @return table {loss = ..., accuracy = ...} of this batch
function methods:train_step(x, y)
  local state = compiled_state("train_step", self)
  x, y = batches.tensor("train_step", "x", x), batches.tensor("train_step", "y", y)
  remember_input(self, x)
  if not state.trains then
    self:train()
    state.trains = true
  end
  local loss, prediction, target = train_batch(state, x, y)
  if loss ~= loss then
    check.fail("train_step", "the loss is NaN; " .. batches.explain_nan(x, y))
  end
  local means = new_means(state)
  add_batch(means, #x, loss, prediction, target)
  return mean_logs(means, "")
end

-- ---- fit

local function call_hooks(run, name, ...)
  for _, callback in ipairs(run.callbacks) do
    local hook = callback[name]
    if hook and hook(...) == "stop" then run.stop = true end
  end
  if tree.class_of(run.model) and rawget(run.model, "stop_training") then run.stop = true end
end

local function has_hook(callbacks, name)
  for _, callback in ipairs(callbacks) do
    if callback[name] then return true end
  end
  return false
end

local function nan_is_handled(callbacks)
  return has_hook(callbacks, "handles_nan")
end

local function check_callbacks(list)
  for i, callback in ipairs(list) do
    if type(callback) ~= "table" then check.expect("fit", "callback " .. i, callback, "a table") end
  end
  return list
end

local fit_options = {
  epochs = "count", batch_size = "count", verbose = "whole", shuffle = "boolean", validation_split = "fraction",
  validation_data = "table", initial_epoch = "whole", callbacks = "table",
}

-- Where the batches for training and for validation come from.
local function sources(x, y, options)
  local size = options.batch_size or 32
  local held = options.validation_data
  local source = batches.source("fit", x, y, size)
  if source.total and not source.y then check.expect("fit", "y", y, "a tensor") end
  if held then
    if type(held.batches) == "function" then return source, batches.source("fit", held, nil, size) end
    return source, batches.source("fit: validation_data", held[1], held[2], size)
  end
  local share = options.validation_split or 0
  if share == 0 then return source end
  if not source.total then check.fail("fit", "validation_split needs tensors; give a loader validation_data") end
  local train_x, train_y, val_x, val_y = batches.split("fit", source.x, source.y, share)
  return batches.source("fit", train_x, train_y, size), batches.source("fit", val_x, val_y, size)
end

local function end_batch(run, number, means, read)
  run.bar:update(number, means.count, read)
  if run.batch_hooks then
    local logs = mean_logs(means, "")
    call_hooks(run, "on_batch_end", number, logs, run.model)
    call_hooks(run, "on_train_batch_end", number, logs, run.model)
  end
end

local function train_epoch(run, epoch)
  local state, means, number = run.state, new_means(run.state), 0
  local read = logs_of(means)
  for x, y, order, start in run.source:each(run.shuffle) do
    number = number + 1
    remember_input(run.model, x)
    local loss, prediction, target = train_batch(state, x, y)
    if loss ~= loss and not state.allow_nan then
      refuse_nan("fit", ("epoch %d, batch %d"):format(epoch, number), x, y, order, start)
    end
    add_batch(means, #x, loss, prediction, target)
    end_batch(run, number, means, read)
    if run.stop then break end
  end
  if means.count == 0 then check.fail("fit", "there are no batches") end
  return mean_logs(means, "")
end

local function record(history, epoch, logs)
  history.epoch[#history.epoch + 1] = epoch
  for name, value in pairs(logs) do
    history[name] = history[name] or {}
    history[name][#history.epoch] = value
  end
end

local function run_epoch(run, epoch)
  run.bar:start(epoch)
  call_hooks(run, "on_epoch_begin", epoch, {}, run.model)
  local logs = train_epoch(run, epoch)
  if run.validation then
    run.bar:part("validation", run.validation.count)
    local means = infer(run.model, function()
      return evaluate_source(run.state, run.validation, "fit: validation", run.bar)
    end)
    mean_logs(means, "val_", logs)
  end
  run.bar:finish(logs)
  call_hooks(run, "on_epoch_end", epoch, logs, run.model)
  record(run.history, epoch, logs)
end

local function run_epochs(run, first, last)
  call_hooks(run, "on_train_begin", {}, run.model)
  for epoch = first, last do
    if run.stop then break end
    run_epoch(run, epoch)
  end
  call_hooks(run, "on_train_end", {}, run.model)
end

-- Everything that one call of fit needs to know.
local function new_run(model, state, x, y, options)
  local source, validation = sources(x, y, options)
  local callbacks = check_callbacks(options.callbacks or {})
  state.allow_nan = nan_is_handled(callbacks)
  return {
    model = model, state = state, source = source, validation = validation, callbacks = callbacks,
    shuffle = options.shuffle ~= false, history = { epoch = {} },
    batch_hooks = has_hook(callbacks, "on_batch_end") or has_hook(callbacks, "on_train_batch_end"),
    bar = new_bar {
      verbose = options.verbose or 1, epochs = options.epochs or 1, batches = source.count,
      names = log_names(state, validation ~= nil),
    },
  }
end

--- Train on the whole set, `epochs` times.
-- @param x tensor (its first dimension counts the samples) or loader
-- @param y tensor of targets; (N) and (N, 1) are alike; class labels count from 1
-- @param options table? epochs (1), batch_size (32), shuffle (true), validation_split (the last share of the rows),
-- validation_data ({x, y}), initial_epoch (epochs done before: 0), verbose (0 nothing, 1 a bar, 2 a line an epoch),
-- callbacks (a list of tables with on_epoch_end(epoch, logs, model) and kin; to stop, return "stop")
-- @return history: lists of the means of each epoch, history.loss[i], history.val_accuracy[i] ..., history.epoch[i]
function methods:fit(x, y, options)
  local state = compiled_state("fit", self)
  if type(x) == "table" and type(x.batches) == "function" and options == nil then y, options = nil, y end
  options = check.options("fit", options, fit_options)
  local run = new_run(self, state, x, y, options)
  self:train()
  if tree.class_of(self) then rawset(self, "stop_training", nil) end
  local ok, message = pcall(run_epochs, run, (options.initial_epoch or 0) + 1, options.epochs or 1)
  run.bar:close()
  state.allow_nan = nil
  if not ok then error(message, 0) end
  return run.history
end

return training
