--- nn.metrics: how good predictions are. Each is a function of (prediction, target, options) that gives a number.
-- Class labels count from 1. The work is done by operations on whole tensors.

local check = require "nnlua.check"

local metrics = {}

local function mean_of(truths)
  local count = truths:numel()
  if count == 0 then return 0 end
  return truths:sum():item() / count
end

local function last_size(t)
  return t.ndim == 0 and 1 or t:size(-1)
end

-- (N) against (N, 1), either way round.
local function align(who, prediction, target)
  local gap = prediction.ndim - target.ndim
  if gap == 1 and last_size(prediction) == 1 then return prediction, target:unsqueeze(-1) end
  if gap == -1 and last_size(target) == 1 then return prediction:unsqueeze(-1), target end
  if gap ~= 0 or prediction:numel() ~= target:numel() then
    check.fail(who, ("expected targets of shape %s, got %s"):format(
      check.shape(prediction.shape), check.shape(target.shape)))
  end
  return prediction, target
end

--- The share of elements on the right side of the threshold.
-- @param prediction tensor of probabilities, or of logits with threshold = 0
-- @param target tensor of 0 and 1, of the same shape; (N) and (N, 1) are alike
-- @param options table? threshold (0.5)
function metrics.binary_accuracy(prediction, target, options)
  local threshold = check.options("nn.metrics.binary_accuracy", options, { threshold = "number" }).threshold or 0.5
  prediction, target = align("nn.metrics.binary_accuracy", prediction:detach(), target)
  return mean_of(prediction:gt(threshold):eq(target:gt(0.5)))
end

-- The dimension of the classes: the last, or that in which the shapes differ, as for PyTorch's losses.
local function class_dim(prediction, target)
  if target.ndim == prediction.ndim or prediction.ndim < 3 then return -1 end
  local p, t = prediction.shape, target.shape
  for i = 2, #t do
    if p[i] ~= t[i] then return 2 end
  end
  return -1
end

--- The share of right classes: the largest of a row of scores against a label or a row of probabilities.
-- One column is binary at the threshold.
-- @param prediction (N, C) or (N, 1) or (N)
-- @param target (N) or (N, 1) labels from 1, or (N, C)
-- @param options table? threshold (0.5), dim (of the classes)
function metrics.accuracy(prediction, target, options)
  options = check.options("nn.metrics.accuracy", options, { threshold = "number", dim = "number" })
  if prediction.ndim < 2 or last_size(prediction) == 1 then
    return metrics.binary_accuracy(prediction, target, { threshold = options.threshold })
  end
  local dim = options.dim or class_dim(prediction, target)
  local guess = prediction:argmax(dim)
  if target.ndim == prediction.ndim then
    target = last_size(target) == 1 and target:squeeze(-1) or target:argmax(dim)
  end
  if guess:numel() ~= target:numel() or guess.ndim ~= target.ndim then
    check.fail("nn.metrics.accuracy", ("expected labels of shape %s, got %s"):format(
      check.shape(guess.shape), check.shape(target.shape)))
  end
  return mean_of(guess:eq(target))
end

--- The mean absolute error.
function metrics.mae(prediction, target)
  prediction, target = align("nn.metrics.mae", prediction:detach(), target)
  return (prediction - target):abs():mean():item()
end

--- The mean squared error.
function metrics.mse(prediction, target)
  prediction, target = align("nn.metrics.mse", prediction:detach(), target)
  local difference = prediction - target
  return (difference * difference):mean():item()
end

return metrics
