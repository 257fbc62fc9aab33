--- Areas under curves, in the terms of metrics.lua: exact, from all scores, which are kept until the result is asked.

local core = require "nnlua.core"
local check = require "nnlua.check"
local shapes = require "nnlua.metric_shapes"

local curves = {}

local NAN = 0 / 0

-- ---- lists of tensors that join as they grow, so that a million small ones take no more room than one

local function push(list, tensor)
  local n = #list
  while n > 0 and #list[n] <= #tensor do
    tensor = core.cat({ list[n], tensor }, 1)
    list[n] = nil
    n = n - 1
  end
  list[n + 1] = tensor
end

local function joined(list)
  return #list == 1 and list[1] or core.cat(list, 1)
end

-- ---- one curve

-- Sums of the weights of the true and the false with at least each score that there is, the highest score first.
local function running_sums(scores, truth, weight)
  local sorted, order = scores:sort(1, true)
  truth = truth[order]
  weight = weight and weight[order] or core.ones(#scores, { dtype = "float64" })
  local hits, misses = (weight * truth):cumsum(1), (weight * truth:logical_not()):cumsum(1)
  local last = core.ones(#scores, { dtype = "bool" })
  if #scores > 1 then
    last:narrow(1, 1, #scores - 1):copy_(sorted:narrow(1, 1, #scores - 1):ne(sorted:narrow(1, 2, #scores - 1)))
  end
  return hits[last], misses[last]
end

local function steps(sums)
  return sums - core.cat({ core.zeros(1, { dtype = "float64" }), sums:narrow(1, 1, #sums - 1) }, 1)
end

local areas = {}

-- The chance that a true sample has a higher score than a false one; a tie counts half. Fawcett 2006.
function areas.ROC(hits, misses)
  local trues, falses = hits[#hits], misses[#misses]
  if trues == 0 or falses == 0 then return NAN end
  local gained = steps(hits)
  return (steps(misses) * (hits - gained / 2)):sum():item() / (trues * falses)
end

-- The mean precision over the recall gained at each score (average precision, without interpolation).
function areas.PR(hits, misses)
  local trues = hits[#hits]
  if trues == 0 then return NAN end
  return (steps(hits) * hits / (hits + misses):maximum(1e-300)):sum():item() / trues
end

-- NaN where it is not defined: without scores, with truths of one kind only, or with a score that is NaN.
local function area(metric, scores, truth, weight)
  if #scores == 0 or scores:isnan():any():item() then return NAN end
  return areas[metric.options.curve or "ROC"](running_sums(scores, truth, weight))
end

-- ---- auc

local auc = {}
curves.auc = auc
auc.options = {
  average = { binary = true, macro = true, micro = true, weighted = true, none = true },
  curve = { ROC = true, PR = true }, multilabel = "boolean", dim = "number", ignore_index = "number",
}

function auc.start(metric)
  metric.scores, metric.truths, metric.weights = {}, {}, {}
end

-- Scores and truths by class: (rows, classes) each.
local function one_against_rest(metric, prediction, target, weight)
  local _, truth, classes = shapes.labels(metric.who, prediction, target, metric.options)
  local dim = metric.options.dim or (truth.ndim > 1 and prediction:size(2) ~= truth:size(2) and 2) or -1
  if target.ndim == prediction.ndim and target:size(dim) == classes then
    truth = target:movedim(dim, -1):reshape(-1, classes):gt(0.5)
  else
    if weight then weight = shapes.weights(metric.who, weight, truth) end
    truth = truth:reshape(-1, 1):eq(core.arange(1, classes + 1))
  end
  return prediction:movedim(dim, -1):reshape(-1, classes), truth, weight and weight:reshape(-1)
end

local function without_ignored(metric, scores, truth, weight, target)
  local label = metric.options.ignore_index
  if not label then return scores, truth, weight end
  local kept = target:reshape(-1):ne(label)
  if #kept ~= #scores then return scores, truth, weight end
  return scores[kept], truth[kept], weight and weight[kept]
end

local function by_column(metric, prediction, target, weight)
  if weight then
    weight = shapes.weights(metric.who, weight, (shapes.align(metric.who, prediction, target)))
    weight = shapes.columns(metric.who, weight, weight):select(2, 1)
  end
  local scores, truth = shapes.columns(metric.who, prediction, target)
  return scores, truth:gt(0.5), weight
end

function auc.update(metric, prediction, target, weight)
  local reading = shapes.reading(prediction, target, { multilabel = metric.options.multilabel, average = "binary",
    dim = metric.options.dim })
  if reading == "labels" then check.fail(metric.who, "expected scores, got the labels of classes") end
  local rows = reading == "columns" and by_column or one_against_rest
  local scores, truth, weights = rows(metric, prediction, target, weight)
  scores, truth, weights = without_ignored(metric, scores, truth, weights, target)
  if #scores == 0 then return end
  push(metric.scores, shapes.float(scores):clone())
  push(metric.truths, truth)
  if weights then push(metric.weights, weights:double():clone()) end
end

local averages = {}

function averages.macro(values)
  local defined = values:isnan():logical_not()
  local count = defined:sum():item()
  return count == 0 and NAN or values[defined]:sum():item() / count
end

function averages.weighted(values, truth, weight)
  local share = (weight and truth * weight:unsqueeze(-1) or truth):sum(1):double()
  local defined = values:isnan():logical_not()
  local total = share[defined]:sum():item()
  return total == 0 and NAN or (values * share)[defined]:sum():item() / total
end

function averages.none(values) return values end

local function all_columns(metric, scores, truth, weight)
  local classes = scores:size(2)
  weight = weight and weight:unsqueeze(-1):expand(scores.shape):reshape(-1)
  return classes and area(metric, scores:reshape(-1), truth:reshape(-1), weight)
end

function auc.result(metric)
  if #metric.scores == 0 then return NAN end
  local scores, truth = joined(metric.scores), joined(metric.truths)
  local weight = #metric.weights > 0 and joined(metric.weights) or nil
  local average, classes = metric.options.average or "macro", scores:size(2)
  if average == "binary" and classes > 2 then
    check.fail(metric.who, ("average = \"binary\" needs one column or two classes, got %d"):format(classes))
  end
  if classes == 1 or average == "binary" then
    return area(metric, scores:select(2, classes), truth:select(2, classes), weight)
  end
  if average == "micro" then return all_columns(metric, scores, truth, weight) end
  local values = {}
  for c = 1, classes do values[c] = area(metric, scores:select(2, c), truth:select(2, c), weight) end
  return averages[average](core.tensor(values, { dtype = "float64" }), truth, weight)
end

return curves
