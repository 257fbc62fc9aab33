--- What compile makes of a model: for each output its loss and metrics, and how to make the optimizer.
-- Where things go from here: step.lua (one batch), means.lua (over many), loop.lua (fit), evaluation.lua.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local objective = require "nnlua.objective"
local tree = require "nnlua.tree"

local compiled = {}

local states = compat.by_object()

--- The state of a model's training, to be used by the function `who`; an error where it was not compiled.
function compiled.of(who, model)
  local state = states[model]
  if state then
    state.who = who
    return state
  end
  check.fail(who, "the model is not compiled: call model:compile{optimizer = ..., loss = ...} before")
end

--- The same, nil where there is none.
function compiled.peek(model) return states[model] end

-- ---- outputs: a record for each, {key, name, loss, weight, metrics, weighted}

local function is_one(loss)
  return type(loss) ~= "table" or tree.is_node(loss)
end

local function sorted_keys(value)
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if type(a) == type(b) then return a < b end
    return type(a) == "number"
  end)
  return keys
end

-- The keys of a table by output must be those of the losses.
local function check_keys(what, given, losses)
  if given == nil then return {} end
  if type(given) ~= "table" then check.expect("compile", what, given, "a table with an entry for each output") end
  for key in pairs(given) do
    if losses[key] == nil then
      local names = {}
      for _, name in ipairs(sorted_keys(losses)) do names[#names + 1] = tostring(name) end
      check.fail("compile", ("%s: there is no output %s; the losses have %s"):format(
        what, tostring(key), table.concat(names, " ")))
    end
  end
  return given
end

local function has_metric(state, name)
  for _, metric in ipairs(state.metrics) do
    if metric.name == name then return true end
  end
  return false
end

local function add_metrics(state, output, given, weighted)
  for _, metric in ipairs(objective.metrics(given, output.loss.row)) do
    local prefix = output.name and output.name .. "_" or ""
    local name = prefix .. metric.name
    if weighted and has_metric(state, name) then name = prefix .. "weighted_" .. metric.name end
    state.metrics[#state.metrics + 1] = {
      metric = metric, name = name, output = output.position, weighted = weighted or false,
    }
  end
end

local function one_output(state, options)
  local output = { position = 1, key = 1, loss = objective.loss(options.loss), weight = 1 }
  if options.loss_weights ~= nil then
    check.fail("compile", "loss_weights are for models of several outputs, with a table of losses")
  end
  state.single, state.outputs = true, { output }
  add_metrics(state, output, options.metrics)
  add_metrics(state, output, options.weighted_metrics, true)
end

local function loss_weight(weights, key)
  local weight = weights[key]
  if weight == nil then return 1 end
  if type(weight) ~= "number" then
    check.expect("compile", ("loss_weights[%s]"):format(tostring(key)), weight, "a number")
  end
  return weight
end

local function several_outputs(state, options)
  local losses = options.loss
  local weights = check_keys("loss_weights", options.loss_weights, losses)
  local metrics = check_keys("metrics", options.metrics, losses)
  local weighted = check_keys("weighted_metrics", options.weighted_metrics, losses)
  state.outputs = {}
  for _, key in ipairs(sorted_keys(losses)) do
    if losses[key] then
      local position = #state.outputs + 1
      local output = {
        position = position, key = key, name = type(key) == "string" and key or "output_" .. key,
        loss = objective.loss(losses[key]), weight = loss_weight(weights, key),
      }
      state.outputs[position] = output
      add_metrics(state, output, metrics[key])
      add_metrics(state, output, weighted[key], true)
    end
  end
  if #state.outputs == 0 then check.fail("compile", "loss: expected a loss for at least one output") end
end

-- Two columns of the history with one name would be one.
local function check_names(state)
  local seen = {}
  for _, name in ipairs(compiled.names(state)) do
    if seen[name] then check.fail("compile", ("two things to measure have the name %q"):format(name)) end
    seen[name] = true
  end
end

-- ---- compile

local precisions = { full = "full", mixed = "mixed" }

local rules = {
  optimizer = "any", loss = "any", metrics = "any", weighted_metrics = "any", loss_weights = "table",
  clip_norm = "number", clip_value = "number", accumulate = "count", ema = "any", precision = "any",
}

local function positive(options, name)
  local value = options[name]
  if value and (value <= 0 or value ~= value) then
    check.expect("compile", "option " .. name, value, "a number above 0")
  end
  return value
end

local function decay_of(ema)
  if ema == nil or ema == false then return nil end
  if ema == true then return 0.999 end
  if type(ema) == "table" then ema = check.options("compile", ema, { decay = "number" }).decay or 0.999 end
  if type(ema) ~= "number" or not (ema >= 0 and ema <= 1) then
    check.expect("compile", "option ema", ema, "a decay from 0 to 1")
  end
  return ema
end

--- Make the state of a model's training.
-- @param options see training.lua
function compiled.make(model, options)
  options = check.options("compile", options, rules)
  for _, name in ipairs { "optimizer", "loss" } do
    if options[name] == nil then check.fail("compile", "option " .. name .. " is missing") end
  end
  local state = {
    model = model, given = options, metrics = {}, make_optimizer = objective.optimizer(options.optimizer),
    clip_norm = positive(options, "clip_norm"), clip_value = positive(options, "clip_value"),
    accumulate = options.accumulate or 1, pending = 0, decay = decay_of(options.ema),
    mixed = check.choice("compile", "option precision", options.precision or "full", precisions) == "mixed",
  }
  if is_one(options.loss) then one_output(state, options) else several_outputs(state, options) end
  check_names(state)
  states[model] = state
  return state
end

--- The names of what is measured, in the order that people see.
function compiled.names(state, validation)
  local names = { "loss" }
  if not state.single then
    for _, output in ipairs(state.outputs) do names[#names + 1] = output.name .. "_loss" end
  end
  for _, metric in ipairs(state.metrics) do names[#names + 1] = metric.name end
  if validation then
    for i = 1, #names do names[#names + 1] = "val_" .. names[i] end
  end
  return names
end

-- ---- what waits until all layers have their tensors

local function find_penalties(model)
  local list = {}
  tree.each_node(model, function(_, node)
    if core.is_layer(node) and node:_penalty() then list[#list + 1] = node end
  end)
  return list
end

--- Penalties of layers, known once all layers have their sizes.
function compiled.measure(state)
  state.penalties = state.penalties or find_penalties(state.model)
end

--- Make the optimizer where there is none yet: the layers have their sizes.
function compiled.finish(state)
  if state.optimizer then return end
  compiled.measure(state)
  state.parameters = state.model:parameters()
  state.optimizer = state.make_optimizer(state.parameters)
  state.by_closure = not core.is_optimizer(state.optimizer)
  if state.by_closure and state.accumulate > 1 then
    check.fail("compile", "accumulate does not go with LBFGS, which evaluates the loss itself")
  end
  if state.decay then state.ema = require "nnlua.averages"(state.parameters, { decay = state.decay }) end
end

--- Run fn with the averages in the place of the parameters, where compile was given ema.
function compiled.with_averages(state, fn, ...)
  local ema = state and state.ema
  if not ema or ema.kept then return fn(...) end
  ema:apply()
  local ok, first, second = pcall(fn, ...)
  ema:restore()
  if not ok then error(first, 0) end
  return first, second
end

return compiled
