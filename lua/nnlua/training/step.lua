--- One batch: forward, losses, backward, clipping, update.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local compiled = require "nnlua.training.compiled"
local objective = require "nnlua.objective"
local utils = require "nnlua.utils"

local step = {}

local is_tensor = core.is_tensor

--- The model's results: a list of inputs are its arguments, inputs by name one table.
function step.call(model, x)
  if is_tensor(x) or x[1] == nil then return model(x) end
  return model(compat.unpack(x))
end

--- The same in the precision that compile was given. `state` may be nil.
function step.compute(state, model, x)
  if state and state.mixed then return core.autocast(step.call, model, x) end
  return step.call(model, x)
end

-- ---- predictions and losses

local function describe(value)
  if type(value) ~= "table" then return check.kind(value) end
  return "a table: give compile a loss for each output of the model"
end

local function several(state, ...)
  local values = { ... }
  if select("#", ...) == 1 and type(values[1]) == "table" then values = values[1] end
  local list = {}
  for i, output in ipairs(state.outputs) do
    list[i] = values[output.key]
    if not is_tensor(list[i]) then
      check.expect(state.who, ("output %s of the model"):format(tostring(output.key)), list[i], "a tensor")
    end
  end
  return list
end

-- A tensor for each loss, in the order of the outputs.
local function predictions_of(state, x)
  if not state.single then return several(state, step.compute(state, state.model, x)) end
  local value = step.compute(state, state.model, x)
  if not is_tensor(value) then check.fail(state.who, "expected the model to give a tensor, got " .. describe(value)) end
  return { value }
end

local function part_of(state, output, what, given)
  if given == nil or state.single then return given end
  if type(given) == "table" then return given[output.key] end
  if what == "sample_weight" then return given end
  check.fail(state.who, ("%s: expected a table with a tensor for each output, got %s"):format(what, check.kind(given)))
end

local function target_of(state, output, prediction, y)
  local target = part_of(state, output, "y", y)
  if not is_tensor(target) then
    local what = state.single and "y" or ("y[%s]"):format(tostring(output.key))
    check.expect(state.who, what, target, "a tensor of targets")
  end
  return output.loss.match(prediction, target)
end

local function loss_of(output, prediction, target, weight)
  if weight then return objective.weighted(output.loss, prediction, target, weight) end
  local value = output.loss.call(prediction, target)
  if value.ndim > 0 then value = value:mean() end
  return value
end

--- Forward through the model and the losses.
-- @return {loss = tensor with penalties, predictions, targets, weights, parts (the loss of each output): lists}
function step.forward(state, x, y, weights)
  local predictions = predictions_of(state, x)
  if not state.penalties then compiled.measure(state) end
  local targets, each, parts, total = {}, nil, nil, nil
  if weights ~= nil then each = {} end
  if not state.single then parts = {} end
  for i, output in ipairs(state.outputs) do
    targets[i] = target_of(state, output, predictions[i], y)
    if each then each[i] = part_of(state, output, "sample_weight", weights) end
    local loss = loss_of(output, predictions[i], targets[i], each and each[i])
    if parts then parts[i] = loss end
    if output.weight ~= 1 then loss = loss * output.weight end
    total = total and total + loss or loss
  end
  for _, layer in ipairs(state.penalties) do total = total + layer:_penalty() end
  return { loss = total, predictions = predictions, targets = targets, weights = each, parts = parts }
end

-- ---- updates

local function clip(state)
  if state.clip_value then utils.clip_grad_value_(state.parameters, state.clip_value) end
  if state.clip_norm then utils.clip_grad_norm_(state.parameters, state.clip_norm) end
end

local function update(state)
  if state.clip_value or state.clip_norm then clip(state) end
  state.optimizer:step()
  if state.ema then state.ema:update() end
end

-- The optimizer takes the mean gradient of `accumulate` batches.
local function add_gradients(state, loss)
  if state.pending == 0 then state.optimizer:zero_grad() end
  local scaled = loss * (1 / state.accumulate)
  scaled:backward()
  state.pending = state.pending + 1
  if state.pending == state.accumulate then
    state.pending = 0
    update(state)
  end
end

--- The end of an epoch: the batches that did not fill a step of the optimizer make one.
function step.flush(state)
  if state.pending == 0 then return end
  local share = state.accumulate / state.pending
  state.pending = 0
  core.no_grad(function()
    for _, parameter in ipairs(state.parameters) do
      if parameter.grad then parameter.grad:mul_(share) end
    end
  end)
  update(state)
end

-- An optimizer that evaluates the loss itself; what counts is the first evaluation.
local function by_closure(state, x, y, weights)
  local first
  state.optimizer:step(function()
    state.optimizer:zero_grad()
    local pass = step.forward(state, x, y, weights)
    first = first or pass
    pass.loss:backward()
    clip(state)
    return pass.loss
  end)
  if state.ema then state.ema:update() end
  first.value = first.loss:item()
  return first
end

--- Train on one batch. Nothing is changed where the loss is not a number.
-- @return what step.forward gives, and `value`, the loss as a number
function step.train(state, x, y, weights)
  if state.by_closure then return by_closure(state, x, y, weights) end
  local pass = step.forward(state, x, y, weights)
  if not state.optimizer then
    compiled.finish(state)
    if state.by_closure then return by_closure(state, x, y, weights) end
  end
  local loss = pass.loss
  local value = loss:item()
  pass.value = value
  if value ~= value then return pass end
  if state.accumulate > 1 then
    add_gradients(state, loss)
  else
    state.optimizer:zero_grad()
    loss:backward()
    update(state)
  end
  return pass
end

return step
