--- Metrics of what was found, guessed and true: precision, recall, f1, and the confusion matrix; in the terms of
-- metrics.lua. Counts are whole numbers unless samples have weights.

local core = require "nnlua.core"
local check = require "nnlua.check"
local shapes = require "nnlua.metric_shapes"

local counts = {}

local average_names = { binary = true, macro = true, micro = true, weighted = true, none = true }
local options = {
  threshold = "number", average = average_names, multilabel = "boolean", classes = "count", dim = "number",
  ignore_index = "number",
}

-- ---- labels and their weights as vectors

local function refuse_labels(metric, what, least, most, classes)
  local range = classes and ("labels from 1 to %d"):format(classes) or "labels from 1"
  local advice = least == 0 and most <= 1 and
    "; for the answers 0 and 1 give them as a bool tensor, or {average = \"binary\"}" or ""
  check.fail(metric.who, ("%s: expected %s, got %d to %d%s"):format(what, range, least, most, advice))
end

local function check_labels(metric, what, labels, classes)
  if labels:numel() == 0 then return 0 end
  local least, most = labels:min():item(), labels:max():item()
  if least < 1 or (classes and most > classes) then refuse_labels(metric, what, least, most, classes) end
  return most
end

-- Guessed and true labels (N), their weights or nil, and the number of classes.
local function label_vectors(metric, reading, prediction, target, weight)
  local guess, truth, classes
  if reading == "labels" then
    guess, truth = shapes.align(metric.who, prediction, target)
  else
    guess, truth, classes = shapes.labels(metric.who, prediction, target, metric.options)
  end
  if weight then weight = shapes.weights(metric.who, weight, truth):reshape(-1):double() end
  guess, truth = guess:reshape(-1):long(), truth:reshape(-1):long()
  if metric.options.ignore_index then
    local kept = truth:ne(metric.options.ignore_index)
    guess, truth, weight = guess[kept], truth[kept], weight and weight[kept]
  end
  classes = metric.options.classes or classes
  local most = math.max(check_labels(metric, "targets", truth, classes),
    check_labels(metric, "prediction", guess, classes))
  return guess, truth, weight, classes or most
end

-- How often each number from 1 to `size` is there, or the sums of its weights.
local function tally(numbers, weight, size)
  local dtype = weight and "float64" or "int64"
  return core.zeros(size, { dtype = dtype }):scatter_add_(1, numbers, weight or core.ones_like(numbers))
end

-- A sum of counts; either may be missing, or know fewer classes than the other.
local function plus(sum, more)
  if not sum then return more end
  local most = math.max(#sum, #more)
  local function grown(t)
    if #t == most then return t end
    local larger = core.zeros(most, { dtype = t.dtype })
    larger:narrow(1, 1, #t):copy_(t)
    return larger
  end
  return grown(sum) + grown(more)
end

-- ---- counts for each class: found (guessed and true), guessed, actual

local function start(metric)
  metric.found, metric.guessed, metric.actual, metric.total, metric.columns = nil, nil, nil, 0, nil
end

local function add(metric, found, guessed, actual)
  metric.found, metric.guessed = plus(metric.found, found), plus(metric.guessed, guessed)
  metric.actual = plus(metric.actual, actual)
end

local function add_classes(metric, reading, prediction, target, weight)
  local guess, truth, weights, classes = label_vectors(metric, reading, prediction, target, weight)
  if classes == 0 then return end
  local right = guess:eq(truth)
  add(metric, tally(truth[right], weights and weights[right], classes), tally(guess, weights, classes),
    tally(truth, weights, classes))
end

-- Yes or no for each row and column, and the rows' weights (rows, 1).
local function answers(metric, prediction, target, weight)
  if weight then
    -- Weights go with the samples, which are spread over several rows where there are more dimensions.
    weight = shapes.weights(metric.who, weight, (shapes.align(metric.who, prediction, target)))
    weight = shapes.columns(metric.who, weight, weight):double()
  end
  local scores, truth = shapes.columns(metric.who, prediction, target)
  local guess = scores.dtype == "bool" and scores or scores:gt(metric.options.threshold or 0.5)
  return guess, truth:gt(0.5), weight
end

local function add_columns(metric, prediction, target, weight)
  local guess, truth, weights = answers(metric, prediction, target, weight)
  local function sum(mask) return (weights and mask * weights or mask):sum(1) end
  local rows = weights and weights:sum(1) or core.full({ guess:size(2) }, #guess, { dtype = "int64" })
  add(metric, sum(guess:logical_and(truth)), sum(guess), sum(truth))
  metric.rows = metric.columns and metric.rows + rows or rows
  metric.columns = guess:size(2)
end

local function update(metric, prediction, target, weight)
  local reading = shapes.reading(prediction, target, metric.options)
  if reading == "columns" then return add_columns(metric, prediction, target, weight) end
  add_classes(metric, reading, prediction, target, weight)
end

-- ---- from counts to a number

-- No and yes as two classes, for averages over both.
local function both_sides(metric)
  local found, guessed, actual, rows = metric.found, metric.guessed, metric.actual, metric.rows
  return core.cat({ rows - guessed - actual + found, found }, 1), core.cat({ rows - guessed, guessed }, 1),
    core.cat({ rows - actual, actual }, 1)
end

local function divide(a, b)
  return a:double() / b:double():masked_fill(b:eq(0), 1)
end

local ratios = {
  precision = function(found, guessed) return divide(found, guessed) end,
  recall = function(found, _, actual) return divide(found, actual) end,
  f1 = function(found, guessed, actual) return divide(found * 2, guessed + actual) end,
}

local averages = {}

function averages.none(values) return values end

function averages.macro(values, _, guessed, actual)
  local present = (guessed + actual):gt(0)
  local count = present:sum():item()
  return count == 0 and 0 or values[present]:sum():item() / count
end

function averages.weighted(values, _, _, actual)
  local total = actual:sum():item()
  return total == 0 and 0 or (values * actual):sum():item() / total
end

function averages.micro(_, found, guessed, actual, ratio)
  return ratio(found:sum(), guessed:sum(), actual:sum()):item()
end

-- The second of two classes is the one that is looked for.
function averages.binary(values, metric)
  if #values ~= 2 then
    check.fail(metric.who, ("average = \"binary\" needs one column or two classes, got %d"):format(#values))
  end
  return values[2]
end

local function result(metric)
  if not metric.found then return 0 end
  local ratio, average = ratios[metric.kind.ratio], metric.options.average
  local found, guessed, actual = metric.found, metric.guessed, metric.actual
  local one_column = metric.columns == 1
  if one_column and (average == nil or average == "binary") then return ratio(found, guessed, actual):item() end
  if one_column then found, guessed, actual = both_sides(metric) end
  local values = ratio(found, guessed, actual)
  if average == "binary" then return averages.binary(values, metric) end
  return averages[average or "macro"](values, found, guessed, actual, ratio)
end

for name in pairs(ratios) do
  counts[name] = { options = options, start = start, update = update, result = result, ratio = name }
end

-- ---- the confusion matrix: rows the truth, columns the guess

local confusion = {}
counts.confusion_matrix = confusion
confusion.options = {
  threshold = "number", classes = "count", dim = "number", ignore_index = "number", multilabel = "boolean",
  normalize = { ["true"] = true, pred = true, all = true, none = true },
}

function confusion.start(metric)
  metric.matrix, metric.counts = nil, nil
end

local function grow(matrix, classes)
  if not matrix or matrix:size(-1) >= classes then return matrix end
  local larger = core.zeros(classes, classes, { dtype = matrix.dtype })
  larger[{ { 1, #matrix }, { 1, #matrix } }] = matrix
  return larger
end

local function add_matrix(metric, matrix)
  if metric.matrix then
    local classes = math.max(metric.matrix:size(-1), matrix:size(-1))
    matrix = grow(metric.matrix, classes) + grow(matrix, classes)
  end
  metric.matrix = matrix
end

-- A matrix of two for each column: (columns, 2, 2); of a lone column (2, 2).
local function matrix_of_columns(metric, prediction, target, weight)
  local guess, truth, weights = answers(metric, prediction, target, weight)
  local function sum(a, b)
    local both = a:logical_and(b)
    return (weights and both * weights or both):sum(1)
  end
  local no_guess, no_truth = guess:logical_not(), truth:logical_not()
  local matrix = core.stack({ sum(no_truth, no_guess), sum(no_truth, guess), sum(truth, no_guess), sum(truth, guess) },
    2):view(-1, 2, 2)
  return #matrix == 1 and matrix:squeeze(1) or matrix
end

function confusion.update(metric, prediction, target, weight)
  local reading = shapes.reading(prediction, target, metric.options)
  if reading == "columns" then
    return add_matrix(metric, matrix_of_columns(metric, prediction, target, weight))
  end
  local guess, truth, weights, classes = label_vectors(metric, reading, prediction, target, weight)
  if classes == 0 then return end
  add_matrix(metric, tally((truth - 1) * classes + guess, weights, classes * classes):view(classes, classes))
end

-- The dimensions over which shares sum up to 1.
local shares = { ["true"] = { -1 }, pred = { -2 }, all = { -2, -1 } }

function confusion.result(metric)
  local matrix = metric.matrix
  if not matrix then
    local classes = metric.options.classes or 0
    return core.zeros(classes, classes, { dtype = "int64" })
  end
  local dims = shares[metric.options.normalize]
  if not dims then return matrix:clone() end
  return divide(matrix, matrix:sum(dims, true))
end

return counts
