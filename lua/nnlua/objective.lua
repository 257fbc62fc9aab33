--- What compile is given by name: losses as in Keras, optimizers, metrics. See training.lua for their use.

local core = require "nnlua.core"
local check = require "nnlua.check"
local tree = require "nnlua.tree"

local objective = {}

local EPSILON = 1e-7 -- Keras's: probabilities do not fall below it

-- ---- targets

local floats = { float32 = true, float64 = true, bfloat16 = true, float16 = true }

-- For losses over elements: the prediction's shape where only a dimension of size 1 is between them.
local function match_elements(prediction, target)
  local gap = prediction.ndim - target.ndim
  if gap == 1 and prediction:size(-1) == 1 then
    target = target:unsqueeze(-1)
  elseif gap == -1 and target:size(-1) == 1 then
    target = target:squeeze(-1)
  end
  if floats[target.dtype] then return target end
  return target:to(prediction.dtype)
end

-- For losses over classes: labels (N) as int64, or probabilities like the prediction.
local function match_classes(prediction, target)
  if target.ndim == prediction.ndim then
    if target:size(-1) ~= 1 or prediction:size(-1) == 1 then
      return floats[target.dtype] and target or target:to(prediction.dtype)
    end
    target = target:squeeze(-1)
  end
  return target.dtype == "int64" and target or target:to("int64")
end

-- Some of Keras's targets for "hinge" are 0 and 1; ours are -1 and 1.
local function match_hinge(prediction, target)
  target = match_elements(prediction, target)
  return target:masked_fill(target:eq(0), -1)
end

-- ---- losses

-- CrossEntropyLoss of log(p): its softmax divides p by its sum, as Keras does. The classes are the last dimension.
local function crossentropy(cross_entropy)
  return function(prediction, target)
    if prediction.ndim > 2 then
      local classes = prediction:size(-1)
      target = target.ndim == prediction.ndim and target:reshape(-1, classes) or target:reshape(-1)
      prediction = prediction:reshape(-1, classes)
    end
    return cross_entropy(prediction:maximum(EPSILON):log(), target)
  end
end

-- Keras's: summed over the last dimension, the mean over the rest.
local function kl_divergence(prediction, target)
  local p, t = prediction:maximum(EPSILON), target:maximum(EPSILON)
  return (t * (t:log() - p:log())):sum(-1):mean()
end

-- By name: the class of a loss, the shape of its targets, what "accuracy" means for it.
local named = {
  binary_crossentropy = { class = "BCELoss", match = match_elements, threshold = 0.5 },
  categorical_crossentropy = { class = "CrossEntropyLoss", wrap = crossentropy, match = match_classes, last = true },
  mse = { class = "MSELoss", match = match_elements },
  mae = { class = "L1Loss", match = match_elements },
  huber = { class = "HuberLoss", match = match_elements },
  hinge = { class = "HingeLoss", match = match_hinge, threshold = 0 },
  kl_divergence = { call = kl_divergence, match = match_elements },
  cross_entropy = { class = "CrossEntropyLoss", match = match_classes, logits = true },
  bce_with_logits = { class = "BCEWithLogitsLoss", match = match_elements, threshold = 0 },
}
named.sparse_categorical_crossentropy = named.categorical_crossentropy
named.mean_squared_error, named.mean_absolute_error = named.mse, named.mae

local by_class = {
  CrossEntropyLoss = named.cross_entropy, NLLLoss = named.cross_entropy, BCELoss = named.binary_crossentropy,
  BCEWithLogitsLoss = named.bce_with_logits, MSELoss = named.mse, L1Loss = named.mse, SmoothL1Loss = named.mse,
  HuberLoss = named.mse, HingeLoss = named.hinge,
}

local function keep(_, target) return target end

-- What the class says, and what this loss was told.
local function row_of(loss)
  local row = by_class[loss:_class()] or {}
  local options = loss:_config().options
  return setmetatable({ ignore_index = options and options.ignore_index }, { __index = row })
end

local function named_loss(name)
  local row = check.choice("compile", "loss", name, named)
  if row.call then return { call = row.call, match = row.match, row = row } end
  local class = core.losses[row.class]
  if not class then check.fail("compile", ("the loss %q is not in this build"):format(name)) end
  local object = class()
  return { call = row.wrap and row.wrap(object) or object, match = row.match, row = row }
end

--- A loss by name, a loss object, or any function of (prediction, target).
-- @return table: call(prediction, target), match(prediction, target) -> target, row
function objective.loss(loss)
  if type(loss) == "string" then return named_loss(loss) end
  if core.is_layer(loss) then
    local row = row_of(loss)
    return { call = loss, match = row.match or keep, row = row }
  end
  if type(loss) ~= "function" and not tree.is_node(loss) then
    check.expect("compile", "loss", loss, "a name, a loss or a function")
  end
  return { call = loss, match = keep, row = {} }
end

-- ---- optimizers

-- Keras's defaults, where they differ from PyTorch's.
local rates = { sgd = 0.01, rmsprop = 0.001 }

local function optimizer_classes()
  local classes = {}
  for name, class in pairs(core.optimizers) do classes[name:lower()] = class end
  return classes
end

--- An optimizer, its name, or a table {name, lr = ..., ...} with its options.
-- @return function(parameters) -> optimizer: called when the parameters are there
function objective.optimizer(optimizer)
  local options = {}
  if type(optimizer) == "userdata" then return function() return optimizer end end
  if type(optimizer) == "table" then
    for key, value in pairs(optimizer) do
      if key ~= 1 then options[key] = value end
    end
    optimizer = optimizer[1]
  end
  local name = type(optimizer) == "string" and optimizer:lower() or optimizer
  local class = check.choice("compile", "optimizer", name, optimizer_classes())
  options.lr = options.lr or rates[name]
  return function(parameters) return class(parameters, options) end
end

-- ---- metrics

--- Metrics in all the forms that nn.metrics.new knows.
-- @param row what objective.loss says of the loss: how predictions are to be read depends on it
-- @return list of metrics, see nn.metrics.new
function objective.metrics(list, row)
  local result = {}
  for i, entry in ipairs(list or {}) do result[i] = require "nnlua.metrics".for_loss(entry, row, i) end
  return result
end

return objective
