--- nn.metrics: how good predictions are. Each is a function of (prediction, target, options) that gives its value over
-- all samples, and by nn.metrics.new an object that takes them batch by batch. Class labels count from 1.
-- The kinds: metric_means.lua, metric_counts.lua, metric_curves.lua.

local core = require "nnlua.core"
local check = require "nnlua.check"
local shapes = require "nnlua.metric_shapes"
local means = require "nnlua.metric_means"
local counts = require "nnlua.metric_counts"
local curves = require "nnlua.metric_curves"

local metrics = {}

-- ---- the kinds by name: options (name and type, or the words allowed), start, update, result

--
-- prediction: (N, C) scores of classes (C last, or second as in PyTorch), (N) or (N, 1) of yes or no, or labels (N).
-- target: labels (N) or rows (N, C) of the truth; 0 and 1 for yes or no. All take {sample_weight = (N)}.
--
--   accuracy          share of right classes; one column is yes above threshold (0.5), and so is each of several with
--                     multilabel; dim (of the classes), ignore_index (a label that does not count)
--   binary_accuracy   share of numbers on the right side of threshold (0.5)
--   top_k_accuracy    share of labels among the k (5) largest scores; dim, ignore_index
--   precision recall f1   over classes average = "macro" (the mean over those that are there), "micro", "weighted" (by
--                     how many there are), "none" (all, a tensor), "binary" (the second of two; for one column the
--                     default); threshold, multilabel, classes, dim, ignore_index; 0 where nothing is found
--   confusion_matrix  int64 (C, C), rows the truth; (columns, 2, 2) with multilabel; normalize = "true" "pred" "all"
--   auc               area under the curve = "ROC" or "PR" (average precision); average as above; NaN where undefined
--   mae mse rmse mape means over all elements; mape in per cent
--   r2                1 - error / spread; average = "macro" over columns, "variance" (weighted by spread), "none"
--   perplexity        exp of the mean cross entropy of probabilities, or scores with from_logits; dim, ignore_index
local kinds = {
  accuracy = means.accuracy, binary_accuracy = means.binary_accuracy, top_k_accuracy = means.top_k_accuracy,
  mae = means.mae, mse = means.mse, rmse = means.rmse, mape = means.mape, r2 = means.r2,
  perplexity = means.perplexity, precision = counts.precision, recall = counts.recall, f1 = counts.f1,
  confusion_matrix = counts.confusion_matrix, auc = curves.auc,
}

-- Keras's names.
local aliases = {
  acc = "accuracy", categorical_accuracy = "accuracy", sparse_categorical_accuracy = "accuracy",
  top_k_categorical_accuracy = "top_k_accuracy", sparse_top_k_categorical_accuracy = "top_k_accuracy",
  mean_absolute_error = "mae", mean_squared_error = "mse", root_mean_squared_error = "rmse",
  mean_absolute_percentage_error = "mape", r2_score = "r2", f1_score = "f1",
}

for alias, name in pairs(aliases) do kinds[alias] = kinds[name] end

-- ---- one metric

local Metric = {}
Metric.__index = Metric

--- Take a batch.
-- @param prediction tensor
-- @param target tensor
-- @param weight tensor? of as many numbers as there are samples
function Metric:update(prediction, target, weight)
  local who = self.who
  prediction, target = shapes.tensor(who, "prediction", prediction), shapes.tensor(who, "target", target)
  if weight ~= nil then weight = shapes.tensor(who, "weight", weight) end
  self.kind.update(self, prediction, target, weight)
end

--- The value over all batches since the beginning, or since reset.
-- @return number; a tensor from confusion_matrix and with average = "none"
function Metric:result()
  return self.kind.result(self)
end

--- Forget all batches.
function Metric:reset()
  self.kind.start(self)
end

--- Another such metric, which has seen no batch.
function Metric:fresh()
  local copy = setmetatable({ name = self.name, who = self.who, kind = self.kind, options = self.options }, Metric)
  copy:reset()
  return copy
end

-- Options with a type, and those with words to choose from.
local function check_options(who, options, kind, more)
  local rules = {}
  for name, rule in pairs(kind.options) do rules[name] = type(rule) == "table" and "string" or rule end
  for name, rule in pairs(more or {}) do rules[name] = rule end
  options = check.options(who, options, rules)
  for name, rule in pairs(kind.options) do
    if type(rule) == "table" and options[name] then check.choice(who, "option " .. name, options[name], rule) end
  end
  return options
end

local function make(kind, name, options, who)
  local metric = setmetatable({ name = name, who = who, kind = kind, options = options }, Metric)
  metric:reset()
  return metric
end

-- ---- functions of a script's own: means of what they give for each batch

local own = { options = {}, start = means.mae.start, result = means.result }

function own.update(metric, prediction, target, weight)
  local value = metric.call(prediction, target, weight)
  if type(value) == "number" then value = core.tensor(value, { dtype = "float64" }) end
  if not core.is_tensor(value) then check.expect(metric.who, "result", value, "a number or a tensor") end
  value = shapes.float(value:detach())
  if value.ndim > 0 then return means.add(metric, value, weight) end
  local count = weight and weight:sum():item() or prediction.ndim == 0 and 1 or #prediction
  metric.total, metric.weight = metric.total + value:item() * count, metric.weight + count
end

local function own_metric(name, call)
  local kind = setmetatable({}, { __index = own })
  function kind.start(metric)
    metric.call = call
    own.start(metric)
  end
  return make(kind, name, {}, name)
end

-- ---- from what compile is given

--- What the loss says of the predictions, as options of a kind; what a script says itself goes before.
local function implied(kind, row, options)
  local from_loss = {
    threshold = row.threshold, dim = row.last and -1 or nil, multilabel = row.threshold and true or nil,
    from_logits = row.logits, ignore_index = row.ignore_index,
  }
  local result = {}
  for name, value in pairs(from_loss) do
    if kind.options[name] then result[name] = value end
  end
  if options.dim and not options.multilabel then result.multilabel = nil end
  for name, value in pairs(options) do result[name] = value end
  return result
end

local function is_callable(value)
  return type(value) == "function" or core.is_layer(value)
end

local function loss_metric(name)
  local loss = require "nnlua.objective".loss(name)
  return own_metric(name, function(prediction, target) return loss.call(prediction, loss.match(prediction, target)) end)
end

local is_loss_name = {
  binary_crossentropy = true, categorical_crossentropy = true, sparse_categorical_crossentropy = true, huber = true,
  hinge = true, kl_divergence = true, cross_entropy = true, bce_with_logits = true,
}

local function named(entry, shown, row, options)
  if is_loss_name[entry] then return loss_metric(entry) end
  local kind = check.choice("compile", "metric", entry, kinds)
  options = check_options("metric " .. entry, options, kind)
  return make(kind, shown or entry, implied(kind, row, options), entry)
end

local function rest_of(entry)
  local options = {}
  for key, value in pairs(entry) do
    if key ~= 1 and key ~= "name" and key ~= "call" then options[key] = value end
  end
  return options
end

local by_function = {}

local function from_table(entry, position, row)
  if getmetatable(entry) == Metric then return entry:fresh() end
  if type(entry.update) == "function" and type(entry.result) == "function" then
    if type(entry.name) ~= "string" then check.fail("compile", ("metric %d has no name"):format(position)) end
    return entry
  end
  local first = entry.call or entry[1]
  local name = by_function[first] or first
  if type(name) == "string" then return named(name, entry.name, row, rest_of(entry)) end
  if is_callable(first) then return own_metric(entry.name or "metric_" .. position, first) end
  check.fail("compile", ("metric %d: expected a name or a function as the first item of the table"):format(position))
end

-- From a name, a function, a loss, a table or an object.
local function from_entry(entry, row, position, options)
  local name = by_function[entry] or entry
  if type(name) == "string" then return named(name, nil, row, options) end
  if core.is_layer(entry) then return own_metric(entry:_class(), entry) end
  if type(entry) == "function" then return own_metric("metric_" .. position, entry) end
  if type(entry) ~= "table" then check.choice("compile", "metric", entry, kinds) end
  return from_table(entry, position, row)
end

--- A metric that takes batch after batch.
-- @param entry a name, a function of (prediction, target, weight), a loss, a table {name, option = value, ...} with
-- `name` for how it is called, or an object with name, update, result and perhaps reset
-- @param options table? of the named metric
-- @return object with name, and the methods update(prediction, target, weight), result(), reset() and fresh(), which
-- gives another that has seen nothing
function metrics.new(entry, options)
  if options ~= nil and type(options) ~= "table" then check.expect("nn.metrics.new", "options", options, "a table") end
  return from_entry(entry, {}, 1, options or {})
end

--- The same for compile, where the loss tells more.
-- @param row table: threshold, last (the classes are the last dimension), logits, ignore_index
-- @param position integer in the list given to compile, for the names of functions
function metrics.for_loss(entry, row, position)
  return from_entry(entry, row, position, {})
end

-- ---- as functions

local function as_function(name, kind)
  local who = "nn.metrics." .. name
  return function(prediction, target, options)
    options = check_options(who, options, kind, { sample_weight = "any" })
    local metric = make(kind, name, options, who)
    metric:update(prediction, target, options.sample_weight)
    return metric:result()
  end
end

for name, kind in pairs(kinds) do
  metrics[name] = as_function(name, kind)
  by_function[metrics[name]] = name
  check.declarations[metrics[name]] = { options = kind.options, listed = { "metrics", aliases[name] or name } }
end

return metrics
