--- How a prediction and its targets lie side by side: what metrics have in common. See metrics.lua.
-- Class labels count from 1. A prediction is one of three things: "columns", each number a yes or a no of its own;
-- "classes", the scores of all classes along one dimension; "labels", the numbers of classes themselves.

local core = require "nnlua.core"
local check = require "nnlua.check"
local tree = require "nnlua.tree"

local shapes = {}

local floats = { float32 = true, float64 = true, bfloat16 = true, float16 = true }

local function last_size(t)
  return t.ndim == 0 and 1 or t:size(-1)
end

--- A tensor outside the graph; a number or a table of numbers becomes one.
function shapes.tensor(who, what, value)
  if core.is_tensor(value) then return value.requires_grad and value:detach() or value end
  if type(value) == "number" or (type(value) == "table" and not tree.is_node(value)) then return core.tensor(value) end
  check.expect(who, what, value, "a tensor")
end

--- A tensor of numbers that can be subtracted and averaged.
function shapes.float(t)
  if t.dtype == "float32" or t.dtype == "float64" then return t end
  return t:to((t.dtype == "int64" or t.dtype == "int32") and "float64" or "float32")
end

local function same_shape(a, b)
  if a.ndim ~= b.ndim then return false end
  for i = 1, a.ndim do
    if a:size(i) ~= b:size(i) then return false end
  end
  return true
end

local function refuse(who, what, expected, got)
  check.fail(who, ("expected %s of shape %s, got %s"):format(what, check.shape(expected), check.shape(got)))
end

--- Both with one shape: (N) and (N, 1) are alike, either way round.
function shapes.align(who, prediction, target)
  local gap = prediction.ndim - target.ndim
  if gap == 1 and last_size(prediction) == 1 then
    target = target:unsqueeze(-1)
  elseif gap == -1 and last_size(target) == 1 then
    target = target:squeeze(-1)
  end
  if not same_shape(prediction, target) then refuse(who, "targets", prediction.shape, target.shape) end
  return prediction, target
end

-- The dimension of the classes: the last, or the second where the shapes say so, as for PyTorch's losses.
local function class_dim(prediction, target)
  if target.ndim == prediction.ndim or prediction.ndim < 3 then return -1 end
  for i = 2, target.ndim do
    if prediction:size(i) ~= target:size(i) then return 2 end
  end
  return -1
end

--- What the prediction is: "columns", "classes" or "labels".
-- @param options table: multilabel, dim, average = "binary"
function shapes.reading(prediction, target, options)
  if options.multilabel or prediction.dtype == "bool" then return "columns" end
  if options.dim then return "classes" end
  if prediction.ndim < 2 or last_size(prediction) == 1 then
    local yes_or_no = floats[prediction.dtype] or options.average == "binary"
    return yes_or_no and "columns" or "labels"
  end
  if floats[prediction.dtype] then
    -- One channel of an image or a series, against the same of truths.
    if prediction.ndim > 2 and target.ndim == prediction.ndim and prediction:size(2) == 1 then return "columns" end
    return "classes"
  end
  return target:numel() == prediction:numel() and "labels" or "classes"
end

--- The labels of the largest scores, those of the truth in the same shape, and the number of classes.
-- @param target labels without the dimension of the classes, or with size 1 there, or as many scores as predicted
function shapes.labels(who, prediction, target, options)
  local dim = options.dim or class_dim(prediction, target)
  local classes, guess = prediction:size(dim), prediction:argmax(dim)
  if target.ndim == prediction.ndim then
    target = target:size(dim) == 1 and target:squeeze(dim) or target:argmax(dim)
  end
  if not same_shape(guess, target) then refuse(who, "labels", guess.shape, target.shape) end
  return guess, target, classes
end

--- Scores and truths by column, (rows, columns) each: one column where every number is of one kind.
function shapes.columns(who, prediction, target)
  prediction, target = shapes.align(who, prediction, target)
  if prediction.ndim < 2 then return prediction:reshape(-1, 1), target:reshape(-1, 1) end
  if prediction.ndim > 2 then prediction, target = prediction:movedim(2, -1), target:movedim(2, -1) end
  local columns = prediction:size(-1)
  return prediction:reshape(-1, columns), target:reshape(-1, columns)
end

--- The weights of samples, as a view of the shape of what they weigh: (N) for (N, ...), or with more dimensions.
function shapes.weights(who, weight, values)
  local got = weight.shape
  if weight.ndim == values.ndim + 1 and last_size(weight) == 1 then weight = weight:squeeze(-1) end
  while weight.ndim < values.ndim do weight = weight:unsqueeze(-1) end
  local fits = weight.ndim == values.ndim
  for i = 1, fits and values.ndim or 0 do
    fits = fits and (weight:size(i) == values:size(i) or (i > 1 and weight:size(i) == 1))
  end
  if not fits then
    check.fail(who, ("expected a weight for each of %d samples, got weights of shape %s"):format(
      values.ndim == 0 and 1 or values:size(1), check.shape(got)))
  end
  return weight:expand(values.shape)
end

return shapes
