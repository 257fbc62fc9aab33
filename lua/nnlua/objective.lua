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

-- Keras's: summed over the last dimension; the mean is taken over the rest.
local function kl_divergence(prediction, target)
  local p, t = prediction:maximum(EPSILON), target:maximum(EPSILON)
  return (t * (t:log() - p:log())):sum(-1)
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

-- The same loss for every element by itself.
local function unreduced(loss)
  local config, options = loss:_config(), { reduction = "none" }
  for name, value in pairs(config.options or {}) do
    if name ~= "reduction" and value ~= core.json_null then options[name] = value end
  end
  for _, slot in ipairs(loss:_tensors()) do options[slot[1]] = slot[2] end
  return core.losses[config.class](options)
end

local function same(call) return call end

-- A loss object: `wrap` makes of it what takes predictions and targets.
local function from_object(object, row, wrap)
  wrap = wrap or same
  return {
    call = wrap(object), match = row.match or keep, row = row, object = object,
    reduction = object.reduction, each = core.losses[object:_class()] and wrap(unreduced(object)) or nil,
  }
end

local function named_loss(name)
  local row = check.choice("compile", "loss", name, named)
  if row.call then return { call = row.call, each = row.call, match = row.match, row = row } end
  local class = core.losses[row.class]
  if not class then check.fail("compile", ("the loss %q is not in this build"):format(name)) end
  return from_object(class(), row, row.wrap)
end

-- What comes out of a function of the script's own.
local function checked(loss)
  return function(prediction, target)
    local value = loss(prediction, target)
    if not core.is_tensor(value) then check.expect("compile", "the loss function's result", value, "a tensor") end
    return value
  end
end

--- A loss by name, a loss object, or any function of (prediction, target).
-- @return table: call(prediction, target) -> tensor, its mean being the loss; match(prediction, target) -> target;
-- each(prediction, target) -> the losses of all elements (nil where only `call` knows), row
function objective.loss(loss)
  if type(loss) == "string" then return named_loss(loss) end
  if core.is_layer(loss) then return from_object(loss, row_of(loss)) end
  if type(loss) ~= "function" and not tree.is_node(loss) then
    check.expect("compile", "loss", loss, "a name, a loss or a function")
  end
  return { call = checked(loss), match = keep, row = {} }
end

-- ---- losses of samples that have weights

-- What a mean of class losses divides by: the weights of the classes, without the labels that do not count.
local function divisor(loss, target, elements)
  local label, object = loss.row.ignore_index, loss.object
  if not label or target.dtype ~= "int64" or target:numel() ~= elements:numel() then return elements:numel() end
  local kept = target:ne(label)
  if not object.weight then return kept:sum():item() end
  local weights = object.weight:index_select(1, target:masked_fill(kept:logical_not(), 1):reshape(-1))
  return (weights * kept:reshape(-1)):sum():item()
end

--- The loss with a weight for each sample, as in Keras: the mean of weight * loss over all elements.
-- @param weight tensor (N), or of the shape of the elements
function objective.weighted(loss, prediction, target, weight)
  local elements = (loss.each or loss.call)(prediction, target)
  local rows = prediction:size(1)
  if elements.ndim == 0 or elements:numel() % rows ~= 0 then
    check.fail("compile", "samples have weights, so the loss function must give a value for each of them: " ..
      "leave out its mean()")
  end
  if weight:size(1) ~= rows or (weight:numel() ~= rows and weight:numel() ~= elements:numel()) then
    check.fail("sample_weight", ("expected shape (%d), got %s"):format(rows, check.shape(weight.shape)))
  end
  if weight.dtype ~= elements.dtype then weight = weight:to(elements.dtype) end
  local total = (elements:reshape(rows, -1) * weight:reshape(rows, -1)):sum()
  if loss.reduction == "sum" then return total end
  if loss.reduction == "batchmean" then return total * (1 / rows) end
  return total * (1 / math.max(divisor(loss, target, elements), 1e-12))
end

-- ---- optimizers

-- Keras's defaults, where they differ from PyTorch's.
local rates = { sgd = 0.01, rmsprop = 0.001 }

local function optimizer_classes()
  local classes = {}
  for name, class in pairs(core.optimizers) do classes[name:lower()] = class end
  return classes
end

-- LBFGS is written in Lua.
local function is_optimizer(value)
  return core.is_optimizer(value) or (type(value) == "table" and getmetatable(value) ~= nil
    and type(value.step) == "function" and type(value.zero_grad) == "function")
end

-- A function of the script's own: of the parameters, to share them out in groups, say.
local function made_by(fn)
  return function(parameters)
    local optimizer = fn(parameters)
    if is_optimizer(optimizer) then return optimizer end
    check.expect("compile", "the optimizer function's result", optimizer, "an optimizer")
  end
end

--- An optimizer, its name, a table {name, lr = ..., ...} with its options, or a function that makes it of the
-- parameters.
-- @return function(parameters) -> optimizer: called when the parameters are there
function objective.optimizer(optimizer)
  local options = {}
  if is_optimizer(optimizer) then return function() return optimizer end end
  if type(optimizer) == "function" then return made_by(optimizer) end
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

-- One metric, or several: {"mae", "mse"}, {"f1", average = "micro"}, {"mae", error = function ... end}.
local function entries_of(given)
  if type(given) ~= "table" or type(given.update) == "function" or given.call then return { given } end
  local list, named_ones = {}, {}
  for i, entry in ipairs(given) do list[i] = entry end
  for name, entry in pairs(given) do
    if type(name) == "string" then
      if not (type(entry) == "function" or core.is_layer(entry)) then return { given } end
      named_ones[#named_ones + 1] = name
    end
  end
  table.sort(named_ones)
  for _, name in ipairs(named_ones) do list[#list + 1] = { name = name, call = given[name] } end
  return list
end

--- Metrics in all the forms that nn.metrics.new knows, and functions by name.
-- @param given one of them, or a table of them
-- @param row what objective.loss says of the loss: how predictions are to be read depends on it
-- @return list of metrics, see nn.metrics.new
function objective.metrics(given, row)
  local result = {}
  if given == nil then return result end
  for i, entry in ipairs(entries_of(given)) do
    result[i] = require "nnlua.metrics".for_loss(entry, row, i)
  end
  return result
end

return objective
