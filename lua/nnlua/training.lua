--- Training as in Keras: compile, fit, evaluate, predict, train_step, test_step. What they are made of:
--
--   training/compiled.lua    what compile makes: outputs with losses and metrics, the optimizer
--   training/step.lua        one batch: forward, losses, backward, update
--   training/means.lua       what is measured over many batches
--   training/loop.lua        fit: epochs, passes through the data, validation
--   training/evaluation.lua  evaluate and predict: inference mode
--   training/history.lua     what fit returns
--   training/snapshot.lua    all of a run as data, and back; training/saved.lua what compile was given, in files
--   objective.lua            losses, optimizers and metrics by name; batches.lua: data; callbacks/: callbacks

local batches = require "nnlua.batches"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local compiled = require "nnlua.training.compiled"
local evaluation = require "nnlua.training.evaluation"
local Hooks = require "nnlua.callbacks.hooks"
local loop = require "nnlua.training.loop"
local Means = require "nnlua.training.means"
local step = require "nnlua.training.step"

local training = { methods = {} }
local methods = training.methods

--- The shape (without the batch) and dtype of the last input that fit, predict or kin saw.
training.input_of = evaluation.input_of

local function new_bar(options)
  return require "nnlua.progress".new(options)
end

--- Say how to train.
-- @param options table:
--   optimizer: a name such as "adam", {name, lr = ..., ...}, an optimizer, or a function(parameters) that makes one
--   loss: a name, a loss, or a function(prediction, target); for several outputs a table of such by the output's place
--     or name, as the model gives them; false: no loss for this output
--   metrics: names, {name, option = ...}, functions(prediction, target, weight) also by a name of their own, or metric
--     objects, see nn.metrics.new; for several outputs a table by output. weighted_metrics: those that sample_weight
--     and class_weight count for
--   loss_weights: numbers by output (1)
--   clip_norm: the most that the norm of all gradients together may be; clip_value: that of each element
--   accumulate: batches whose mean gradient makes one step of the optimizer (1)
--   precision: "full", or "mixed": the model's products in bfloat16, see nn.autocast ("full")
--   ema: decay of averages of the weights, which validation, evaluate and predict use, and fit leaves in the model
-- @return the model itself
function methods:compile(options)
  compiled.make(self, options)
  return self
end

--- The optimizer of a compiled model; with a name for it, nil before training.
function methods:optimizer_in_use()
  return compiled.of("optimizer_in_use", self).optimizer
end

-- ---- evaluate and predict

local batch_options = {
  batch_size = "count", verbose = "whole", callbacks = "table", steps = "count", sample_weight = "any",
  inputs = "count",
}

-- A loader has the targets in it: its second argument may be the options.
local function with_options(x, y, options)
  if options == nil and type(y) == "table" and batches.is_loader(x) then return nil, y end
  return y, options
end

-- fn() while the bar is shown, which is ended after an error too.
local function shown(bar, fn)
  bar:start(1)
  local ok, result = pcall(fn)
  if ok then return result end
  bar:close()
  error(result, 0)
end

local function outputs_of(state)
  return state and not state.single and #state.outputs or 1
end

local function source_for(who, state, x, y, options)
  return batches.source(who, x, y, {
    size = options.batch_size or 32, weights = options.sample_weight, inputs = options.inputs,
    outputs = outputs_of(state), limited = options.steps ~= nil,
  })
end

local function params_of(options, source, names)
  return {
    epochs = options.epochs, steps = options.steps or options.steps_per_epoch or source.count,
    batch_size = source.size, samples = source.total, verbose = options.verbose, metrics = names,
  }
end

--- The loss and metrics over a whole set, in inference mode.
-- @param x tensor, table of tensors (several inputs: the arguments of the model), loader, or function
-- @param y tensor, or table of tensors by output; not with a loader, whose batches have it: x, y, weights
-- @param options table? batch_size (32), sample_weight, steps (batches; all), verbose (0 nothing, 1 a bar), callbacks,
-- inputs (how many values of a loader are inputs: 1)
-- @return table {loss = ..., accuracy = ...}
function methods:evaluate(x, y, options)
  local state = compiled.of("evaluate", self)
  y, options = with_options(x, y, options)
  options = check.options("evaluate", options, batch_options)
  local source = source_for("evaluate", state, x, y, options)
  local names = compiled.names(state)
  local bar = new_bar { verbose = options.verbose or 0, title = "Evaluate", batches = options.steps or source.count,
    names = names }
  local hooks = Hooks.new("evaluate", options.callbacks, self, params_of(options, source, names))
  local means = shown(bar, function()
    return evaluation.measure { state = state, source = source, hooks = hooks, bar = bar, steps = options.steps,
      who = "evaluate" }
  end)
  local logs = means:logs("")
  bar:finish(logs)
  return logs
end

--- The model's results for x, in inference mode.
-- @param x tensor, table of tensors, loader, or function
-- @param options table? batch_size (32), steps, verbose (0 nothing, 1 a bar), callbacks, inputs
-- @return tensor; of a model of several outputs as many tensors, or the table that it gives
function methods:predict(x, options)
  options = check.options("predict", options, batch_options)
  local state = compiled.peek(self)
  local source = source_for("predict", nil, x, nil, options)
  local bar = new_bar { verbose = options.verbose or 0, title = "Predict", batches = options.steps or source.count,
    names = {} }
  local hooks = Hooks.new("predict", options.callbacks, self, params_of(options, source, {}))
  local found = shown(bar, function()
    return evaluation.predict { model = self, state = state, source = source, hooks = hooks, bar = bar,
      steps = options.steps }
  end)
  bar:finish({})
  return compat.unpack(found, 1, found.n)
end

-- ---- one batch

local step_options = { sample_weight = "any", class_weight = "table" }

local function one_batch(who, model, x, y, options)
  local state = compiled.of(who, model)
  options = check.options(who, options, step_options)
  local source = batches.source(who, x, y, { size = math.huge, weights = options.sample_weight })
  local weights = source.weights
  if options.class_weight then
    local by_class = batches.class_weights(who, options.class_weight)(source.y)
    weights = weights and weights * by_class or by_class
  end
  evaluation.remember(model, source.x)
  return state, source.x, source.y, weights, source.total
end

local function logs_of(state, count, pass)
  local means = Means.new(state)
  means:add(count, pass)
  return means:logs("")
end

--- One batch of training, for programs with a loop of their own.
-- @param x, y as for fit
-- @param options table? sample_weight, class_weight
-- @return table {loss = ..., accuracy = ...} of this batch
function methods:train_step(x, y, options)
  local state, input, target, weights, count = one_batch("train_step", self, x, y, options)
  if not self.training then self:train() end
  local pass = step.train(state, input, target, weights)
  if pass.value ~= pass.value then
    check.fail("train_step", "the loss is NaN; " .. batches.explain_nan(input, target))
  end
  return logs_of(state, count, pass)
end

--- One batch of evaluation: nothing is changed.
-- @return table {loss = ..., accuracy = ...} of this batch
function methods:test_step(x, y, options)
  local state, input, target, weights, count = one_batch("test_step", self, x, y, options)
  return compiled.with_averages(state, evaluation.infer, self, function()
    local pass = step.forward(state, input, target, weights)
    pass.value = pass.loss:item()
    return logs_of(state, count, pass)
  end)
end

-- ---- fit

local fit_options = {
  epochs = "count", batch_size = "count", verbose = "whole", shuffle = "boolean", validation_split = "fraction",
  validation_data = "any", validation_freq = "any", validation_steps = "count", validation_batch_size = "count",
  class_weight = "table", sample_weight = "any", initial_epoch = "whole", steps_per_epoch = "count",
  callbacks = "table", inputs = "count", check_memory = "boolean",
}

local function validation_source(state, held, options)
  local size = options.validation_batch_size or options.batch_size or 32
  local rest = { size = size, inputs = options.inputs, outputs = outputs_of(state),
    limited = options.validation_steps ~= nil }
  local who = "fit: validation_data"
  if batches.is_loader(held) then return batches.source(who, held, nil, rest) end
  if type(held) ~= "table" or held[1] == nil or held[2] == nil then
    check.expect("fit", "validation_data", held, "{x, y}, {x, y, weights} or a loader")
  end
  rest.weights = held[3]
  return batches.source(who, held[1], held[2], rest)
end

-- Where the batches for training and for validation come from.
local function sources(state, x, y, options)
  local source = batches.source("fit", x, y, {
    size = options.batch_size or 32, weights = options.sample_weight, inputs = options.inputs,
    outputs = outputs_of(state), limited = options.steps_per_epoch ~= nil,
  })
  if source.total and not source.y then check.expect("fit", "y", y, "a tensor") end
  local share = options.validation_split or 0
  if options.validation_data ~= nil then return source, validation_source(state, options.validation_data, options) end
  if share == 0 then return source end
  if not source.total then check.fail("fit", "validation_split needs tensors; give a loader validation_data") end
  return batches.split("fit", source, share, options.validation_batch_size or source.size)
end

local function check_frequency(freq)
  if freq == nil then return 1 end
  if type(freq) == "table" then return freq end
  if not compat.is_whole(freq) or freq < 1 then
    check.expect("fit", "option validation_freq", freq, "a whole number from 1, or a list of epochs")
  end
  return freq
end

local function new_run(model, state, x, y, options)
  local source, validation = sources(state, x, y, options)
  local names, epochs = compiled.names(state, validation ~= nil), options.epochs or 1
  local verbose = options.verbose or 1
  local bar = new_bar { verbose = verbose, epochs = epochs, batches = options.steps_per_epoch or source.count,
    names = names }
  local params = params_of(options, source, names)
  params.epochs, params.verbose, params.bar = epochs, verbose, bar
  return loop.new {
    model = model, state = state, source = source, validation = validation, bar = bar, epochs = epochs,
    epoch = options.initial_epoch or 0, steps = options.steps_per_epoch, shuffle = options.shuffle ~= false,
    validation_freq = check_frequency(options.validation_freq), validation_steps = options.validation_steps,
    class_weights = options.class_weight and batches.class_weights("fit", options.class_weight) or nil,
    hooks = Hooks.new("fit", options.callbacks, model, params), verbose = verbose,
    check_memory = options.check_memory ~= false,
  }
end

--- Train on the whole set, `epochs` times.
-- @param x tensor (its first dimension counts the samples), table of tensors (several inputs: the arguments of the
-- model), loader (something with batches(): for x, y, weights in loader:batches() do), or a function that gives such an
-- iterator, or a batch each time it is called
-- @param y tensor of targets, (N) and (N, 1) are alike, class labels count from 1; or a table of tensors by output
-- @param options table? epochs (1), batch_size (32), shuffle (true: tensors in a random order each epoch),
-- validation_split (the last share of the rows), validation_data ({x, y}, {x, y, weights} or a loader), validation_freq
-- (every so many epochs, or a list of epochs), validation_steps, validation_batch_size, sample_weight (N), class_weight
-- (weights by label), initial_epoch (epochs done before: 0), steps_per_epoch (batches; the data go on where the epoch
-- before ended), verbose (0 nothing, 1 a bar, 2 a line an epoch), callbacks (see nn.callbacks; a plain table with
-- functions such as on_epoch_end(self, epoch, logs) too), inputs (how many values of a loader are inputs: 1),
-- check_memory (true: under nn.set_memory_limit, an error before the first step where the limit is too low)
-- @return history: lists of the means of each epoch, history.loss[i], history.val_accuracy[i] ..., history.epoch[i]
function methods:fit(x, y, options)
  local state = compiled.of("fit", self)
  y, options = with_options(x, y, options)
  options = check.options("fit", options, fit_options)
  local run = new_run(self, state, x, y, options)
  if run.is_module then rawset(self, "stop_training", nil) end
  state.pending = 0
  local ok, message = pcall(function()
    loop.prepare(run)
    loop.check_memory(run)
    self:train()
    loop.train(run)
  end)
  run.bar:close()
  if not ok then error(message, 0) end
  return run.history
end

return training
