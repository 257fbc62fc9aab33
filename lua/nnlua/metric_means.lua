--- Metrics that are means over samples, in the terms of metrics.lua: accuracies, errors, perplexity, r2.
-- A kind with `score` gives a number for each element; `metric.total` and `metric.weight` sum them.

local core = require "nnlua.core"
local check = require "nnlua.check"
local shapes = require "nnlua.metric_shapes"

local means = {}

local EPSILON = 1e-7 -- probabilities do not fall below it, as in Keras

-- ---- sums of scores, and their mean

local function start(metric)
  metric.total, metric.weight = 0, 0
end

-- Leave out the elements whose label says so.
local function without_ignored(metric, target, values, weight)
  local label = metric.options.ignore_index
  if not label then return weight end
  local kept = target:ne(label)
  if kept.ndim == values.ndim + 1 then kept = kept:squeeze(-1) end
  return weight and shapes.weights(metric.who, weight, values) * kept or kept
end

--- Add numbers, each with its weight.
function means.add(metric, values, weight)
  if not weight then
    metric.total = metric.total + values:sum():item()
    metric.weight = metric.weight + values:numel()
    return
  end
  weight = shapes.weights(metric.who, weight, values)
  if weight.dtype == "bool" then weight = weight:float() end
  metric.total = metric.total + (values * weight):sum():item()
  metric.weight = metric.weight + weight:sum():item()
end

local function update(metric, prediction, target, weight)
  local values, truth = metric.kind.score(metric, prediction, target)
  means.add(metric, values, without_ignored(metric, truth or target, values, weight))
end

--- The mean; 0 of nothing.
function means.result(metric)
  if metric.weight == 0 then return 0 end
  return metric.total / metric.weight
end

local function mean_of(score, options)
  return { options = options, start = start, update = update, result = means.result, score = score }
end

-- ---- accuracies

local function sides(metric, prediction, target)
  prediction, target = shapes.align(metric.who, prediction, target)
  local guess = prediction.dtype == "bool" and prediction or prediction:gt(metric.options.threshold or 0.5)
  return guess:eq(target:gt(0.5))
end

local function right_classes(metric, prediction, target)
  local reading = shapes.reading(prediction, target, metric.options)
  if reading == "columns" then return sides(metric, prediction, target) end
  local guess, truth
  if reading == "labels" then
    guess, truth = shapes.align(metric.who, prediction, target)
  else
    guess, truth = shapes.labels(metric.who, prediction, target, metric.options)
  end
  return guess:eq(truth), truth
end

-- Whether the right label is among the k largest scores.
local function among_largest(metric, prediction, target)
  local options = metric.options
  if prediction.ndim < 2 then
    check.fail(metric.who, "expected scores of several classes, got shape " .. check.shape(prediction.shape))
  end
  local _, truth = shapes.labels(metric.who, prediction, target, options)
  local dim = options.dim or (truth.ndim > 1 and prediction:size(2) ~= truth:size(2) and 2) or -1
  local _, best = prediction:topk(math.min(options.k or 5, prediction:size(dim)), dim)
  return best:eq(truth:unsqueeze(dim)):any(dim), truth
end

means.accuracy = mean_of(right_classes,
  { threshold = "number", dim = "number", multilabel = "boolean", ignore_index = "number" })
means.binary_accuracy = mean_of(sides, { threshold = "number" })
means.top_k_accuracy = mean_of(among_largest, { k = "count", dim = "number", ignore_index = "number" })

-- ---- errors

local function difference(metric, prediction, target)
  prediction, target = shapes.align(metric.who, prediction, target)
  return shapes.float(prediction) - shapes.float(target), target
end

means.mae = mean_of(function(metric, prediction, target)
  return difference(metric, prediction, target):abs()
end, {})

means.mse = mean_of(function(metric, prediction, target)
  return difference(metric, prediction, target):square()
end, {})

means.rmse = mean_of(means.mse.score, {})

function means.rmse.result(metric)
  return math.sqrt(means.result(metric))
end

-- In per cent, as Keras's; targets next to 0 count as 1e-7.
means.mape = mean_of(function(metric, prediction, target)
  local error, truth = difference(metric, prediction, target)
  return error:abs() / shapes.float(truth):abs():maximum(EPSILON) * 100
end, {})

-- ---- perplexity

-- The classes last, and all else in one dimension.
local function rows_of_classes(metric, prediction, target)
  local _, truth, classes = shapes.labels(metric.who, prediction, target, metric.options)
  local soft = target.ndim == prediction.ndim and target:numel() == prediction:numel()
  local dim = metric.options.dim
  if not dim and truth.ndim > 1 and prediction:size(2) ~= truth:size(2) then dim = 2 end
  if dim and dim ~= -1 then
    prediction = prediction:movedim(dim, -1)
    if soft then target = target:movedim(dim, -1) end
  end
  prediction = shapes.float(prediction):reshape(-1, classes)
  if soft then return prediction, shapes.float(target):reshape(-1, classes), truth end
  return prediction, truth:reshape(-1):long(), truth
end

-- Scores that are no probabilities would give a number that means nothing.
local function check_probabilities(metric, rows)
  if metric.checked or rows:numel() == 0 then return end
  metric.checked = true
  local worst = (rows:sum(-1) - 1):abs():max():item()
  if rows:min():item() < 0 or worst > 0.01 then
    check.fail(metric.who, "expected probabilities, each row with the sum 1; for the scores before softmax give " ..
      "{from_logits = true}")
  end
end

means.perplexity = mean_of(function(metric, prediction, target)
  local options = metric.options
  local rows, truth, labels = rows_of_classes(metric, prediction, target)
  if not options.from_logits then
    check_probabilities(metric, rows)
    rows = rows:maximum(EPSILON):log()
  end
  local losses = core.functional.cross_entropy(rows, truth,
    { reduction = "none", ignore_index = options.ignore_index })
  return losses:reshape(labels.shape), labels
end, { from_logits = "boolean", dim = "number", ignore_index = "number" })

function means.perplexity.result(metric)
  if metric.weight == 0 then return 0 end
  return math.exp(means.result(metric))
end

-- ---- r2: 1 - squares of what is left / squares of the distance from the mean, for each column

means.r2 = { options = { average = { macro = true, variance = true, none = true } } }

function means.r2.start(metric)
  metric.weight, metric.left, metric.mean, metric.spread = 0, nil, nil, nil
end

-- Means and squared distances of two parts together: Chan, Golub, LeVeque 1983.
local function merge(metric, weight, mean, spread)
  if metric.weight == 0 then
    metric.mean, metric.spread, metric.weight = mean, spread, weight
    return
  end
  local both, gap = metric.weight + weight, mean - metric.mean
  metric.mean = metric.mean + gap * (weight / both)
  metric.spread = metric.spread + spread + gap * gap * (metric.weight * weight / both)
  metric.weight = both
end

function means.r2.update(metric, prediction, target, weight)
  prediction, target = shapes.align(metric.who, prediction, target)
  if prediction:numel() == 0 then return end
  local rows = prediction.ndim == 0 and 1 or prediction:size(1)
  local p, t = prediction:double():reshape(rows, -1), target:double():reshape(rows, -1)
  local w = weight and shapes.weights(metric.who, weight:reshape(rows, -1):double(), t)
  local function sum(values) return (w and values * w or values):sum(1) end
  local total = w and w:sum(1):max():item() or rows
  if total == 0 then return end
  local mean = sum(t) / total
  local left = sum((t - p):square())
  metric.left = metric.left and metric.left + left or left
  merge(metric, total, mean, sum((t - mean):square()))
end

-- Where the targets are all alike: 1 if they were met, else 0.
local function share_explained(left, spread)
  local alike = spread:eq(0)
  local share = 1 - left / spread:masked_fill(alike, 1)
  return share:masked_fill(alike:logical_and(left:gt(0)), 0)
end

function means.r2.result(metric)
  if metric.weight == 0 then return 0 end
  local average = metric.options.average or "macro"
  local share = share_explained(metric.left, metric.spread)
  if average == "none" then return share end
  if average == "macro" then return share:mean():item() end
  local spread = metric.spread:sum():item()
  if spread == 0 then return share:mean():item() end
  return (share * metric.spread):sum():item() / spread
end

return means
