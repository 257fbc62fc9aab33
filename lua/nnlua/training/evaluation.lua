--- Going over data without learning from it: evaluate, predict, and the validation of fit.

local core = require "nnlua.core"
local batches = require "nnlua.batches"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local compiled = require "nnlua.training.compiled"
local Means = require "nnlua.training.means"
local step = require "nnlua.training.step"
local tree = require "nnlua.tree"

local evaluation = {}

-- ---- modes

-- Switch everything to inference; returns a function that undoes just that.
local function inference(model)
  local changed = {}
  tree.each_node(model, function(_, node)
    if node.training then changed[#changed + 1] = node end
  end)
  if #changed > 0 then model:eval() end
  return function()
    for _, node in ipairs(changed) do
      if core.is_layer(node) then node:_set_training(true) else rawset(node, "training", true) end
    end
  end
end

--- Run fn in inference mode without a graph; the modes are back afterwards, also after an error.
function evaluation.infer(model, fn)
  local undo = inference(model)
  local ok, result = pcall(core.no_grad, fn)
  undo()
  if not ok then error(result, 0) end
  return result
end

-- ---- the input

local inputs = setmetatable({}, { __mode = "k" })

--- The shape (without the batch) and dtype of the last input that the model was given.
function evaluation.input_of(model) return inputs[model] end

--- Remember it.
function evaluation.remember(model, x)
  if inputs[model] or not core.is_tensor(x) then return end
  local shape = x.shape
  table.remove(shape, 1)
  inputs[model] = { shape = shape, dtype = x.dtype }
end

-- ---- evaluate

--- The error about a loss that is no number.
function evaluation.refuse_nan(who, where, x, y, order, start)
  check.fail(who, ("the loss is NaN in %s; %s"):format(where, batches.explain_nan(x, y, order, start)))
end

-- One pass over the batches, at most `job.steps` of them.
local function measure(job)
  local state, means, hooks, number = job.state, Means.new(job.state), job.hooks, 0
  local function read() return means:logs("") end
  local next_batch = job.source:each(false)
  while number ~= job.steps do
    local x, y, weights, order, start = next_batch()
    if x == nil then break end
    number = number + 1
    hooks:call("on_test_batch_begin", number, {})
    evaluation.remember(state.model, x)
    local pass = step.forward(state, x, y, weights)
    pass.value = pass.loss:item()
    if pass.value ~= pass.value and not hooks:has("on_bad_loss") then
      evaluation.refuse_nan(job.who, ("batch %d"):format(number), x, y, order, start)
    end
    means:add(batches.rows(x), pass)
    job.bar:update(number, means.count, read)
    if hooks:has("on_test_batch_end") then hooks:call("on_test_batch_end", number, means:logs("")) end
  end
  if means.count == 0 then check.fail(job.who, "there are no batches") end
  return means
end

--- Measure a set, with the averages of the weights where there are such.
-- @param job table: state, source, hooks, bar, steps (nil: all batches), who
-- @return see means.lua
function evaluation.measure(job)
  job.hooks:call("on_test_begin", {})
  local means = compiled.with_averages(job.state, evaluation.infer, job.state.model, function() return measure(job) end)
  if job.hooks:has("on_test_end") then job.hooks:call("on_test_end", means:logs("")) end
  return means
end

-- ---- predict

-- Which of the values that the model gave for a batch count: as many as there are losses; of a model that is not
-- compiled the first, and all that have a row for each sample.
local function counted(state, rows, values)
  if values.n == 1 then return 1 end
  if state then return state.single and 1 or math.min(#state.outputs, values.n) end
  for i = 2, values.n do
    local value = values[i]
    if not core.is_tensor(value) or value.ndim == 0 or #value ~= rows then return i - 1 end
  end
  return values.n
end

-- Results of all batches: tensors in lists by place. A table that the model gave has a list for each of its keys.
local function collect(found, value)
  if core.is_tensor(value) then
    found = found or {}
    found[#found + 1] = value
    return found
  end
  if type(value) ~= "table" then
    check.fail("predict", "expected the model to give tensors, got " .. check.kind(value))
  end
  found = found or { keys = {} }
  for key, part in pairs(value) do found.keys[key] = collect(found.keys[key], part) end
  return found
end

local function joined(found)
  if not found.keys then return #found == 1 and found[1] or core.cat(found, 1) end
  local result = {}
  for key, parts in pairs(found.keys) do result[key] = joined(parts) end
  return result
end

local function run_batches(job)
  local hooks, number, rows, found, count = job.hooks, 0, 0, {}, nil
  local next_batch = job.source:each(false)
  while number ~= job.steps do
    local x = next_batch()
    if x == nil then break end
    number = number + 1
    hooks:call("on_predict_batch_begin", number, {})
    evaluation.remember(job.model, x)
    local values = compat.pack(step.compute(job.state, job.model, x))
    rows = rows + batches.rows(x)
    local useful = counted(job.state, batches.rows(x), values)
    count = math.min(count or useful, useful)
    for i = 1, count do found[i] = collect(found[i], values[i]) end
    job.bar:update(number, rows)
    if hooks:has("on_predict_batch_end") then hooks:call("on_predict_batch_end", number, { outputs = values[1] }) end
  end
  if not count then check.fail("predict", "there are no batches") end
  for i = 1, count do found[i] = joined(found[i]) end
  found.n = count
  return found
end

--- The model's results for all batches.
-- @param job table: model, state (nil: not compiled), source, hooks, bar, steps
-- @return list of what the model gives, its length in n
function evaluation.predict(job)
  job.hooks:call("on_predict_begin", {})
  local found = compiled.with_averages(job.state, evaluation.infer, job.model, function() return run_batches(job) end)
  job.hooks:call("on_predict_end", {})
  return found
end

return evaluation
