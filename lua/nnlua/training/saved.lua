--- What compile was given and what the optimizer knows, as plain data and tensors for a model's file, and back.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compiled = require "nnlua.training.compiled"
local tree = require "nnlua.tree"

local saved = {}

-- ---- optimizers

local function class_of(optimizer)
  return tostring(optimizer):match("^%a+")
end

local function constructor(name)
  if name == "LBFGS" then return require "nnlua.lbfgs" end
  return core.optimizers[name]
end

-- The groups of an optimizer as lists of the names of parameters; nil where it trains more than the model.
local function groups_of(optimizer, model)
  local names, groups = {}, {}
  for name, tensor in model:named_parameters() do names[tree.identity(tensor)] = name end
  for g, group in ipairs(optimizer.param_groups) do
    groups[g] = {}
    for i, tensor in ipairs(group.params) do
      groups[g][i] = names[tree.identity(tensor)]
      if not groups[g][i] then return nil end
    end
  end
  return groups
end

--- What the optimizer of a compiled model knows, averages of weights and unused gradients included.
function saved.optimizer(state)
  local result = { state = state.optimizer:state_dict(), averages = state.ema and state.ema:state_dict() or nil }
  if state.pending > 0 then
    result.pending, result.gradients = state.pending, {}
    for i, parameter in ipairs(state.parameters) do result.gradients[i] = parameter.grad or false end
  end
  return result
end

--- Give it back.
function saved.restore_optimizer(state, value)
  state.optimizer:load_state_dict(value.state)
  if state.ema and value.averages then state.ema:load_state_dict(value.averages) end
  state.pending = value.pending or 0
  for i, gradient in ipairs(value.gradients or {}) do state.parameters[i].grad = gradient or nil end
end

-- ---- what compile was given

local function refuse(what)
  error({ refused = what }, 0)
end

local function loss_record(loss, what)
  if type(loss) == "string" or loss == false then return loss end
  if core.is_layer(loss) and core.losses[loss:_class()] then
    local config, options = loss:_config(), {}
    for name, value in pairs(config.options or {}) do
      if value ~= core.json_null then options[name] = value end
    end
    for _, slot in ipairs(loss:_tensors()) do options[slot[1]] = slot[2] end
    return { class = config.class, options = options }
  end
  if type(loss) == "table" and not tree.is_node(loss) then
    local result = {}
    for key, each in pairs(loss) do result[key] = loss_record(each, ("%s[%s]"):format(what, tostring(key))) end
    return { outputs = result }
  end
  return refuse(what)
end

local function plain_record(value, what)
  local kind = type(value)
  if value == nil or kind == "string" or kind == "number" or kind == "boolean" then return value end
  if kind ~= "table" or getmetatable(value) then refuse(what) end
  local result = {}
  for key, each in pairs(value) do result[key] = plain_record(each, ("%s[%s]"):format(what, tostring(key))) end
  return result
end

local plain_options = {
  "metrics", "weighted_metrics", "loss_weights", "clip_norm", "clip_value", "accumulate", "ema", "precision",
}

local function describe(state)
  local result = { loss = loss_record(state.given.loss, "the loss") }
  for _, name in ipairs(plain_options) do result[name] = plain_record(state.given[name], name) end
  local optimizer = state.optimizer
  result.optimizer = class_of(optimizer)
  result.groups = groups_of(optimizer, state.model)
  if not constructor(result.optimizer) or not result.groups then refuse("the optimizer") end
  return result
end

--- What compile was given; nil and what of it no file can hold, such as functions.
function saved.describe(state)
  local ok, result = pcall(describe, state)
  if ok then return result end
  if type(result) == "table" and result.refused then return nil, result.refused end
  error(result, 0)
end

local function loss_of(record)
  if type(record) ~= "table" then return record end
  if record.outputs then
    local losses = {}
    for key, each in pairs(record.outputs) do losses[key] = loss_of(each) end
    return losses
  end
  local class = core.losses[record.class] or error("there is no loss " .. tostring(record.class), 0)
  return class(record.options)
end

local function optimizer_of(record, model)
  local class = constructor(record.optimizer) or error("there is no optimizer " .. tostring(record.optimizer), 0)
  local tensors, groups = {}, {}
  for name, tensor in model:named_parameters() do tensors[name] = tensor end
  for g, names in ipairs(record.groups) do
    groups[g] = { params = {} }
    for i, name in ipairs(names) do
      groups[g].params[i] = tensors[name]
      if not tensors[name] then error("the optimizer trains " .. tostring(name) .. ", which is not there", 0) end
    end
  end
  return class(groups)
end

-- ---- models in files

--- The part of a model's file that has its training.
-- @param who string the function that a script called
function saved.of_model(who, model)
  local state = compiled.of(who, model)
  if not state.optimizer then
    if tree.first_open(model) then
      check.fail(who, "the optimizer has nothing to save yet: call the model on a batch before")
    end
    compiled.finish(state)
  end
  local record, message = saved.describe(state)
  if not record then
    check.fail(who, message .. " is no name and no object of nnlua's, so the file cannot hold it; save the " ..
      "optimizer's state by itself: nn.save(model:optimizer_in_use():state_dict(), path)")
  end
  return { compile = record, optimizer = saved.optimizer(state) }
end

--- Compile a model as its file says, and give the optimizer what it knew.
-- @param value what of_model gave
function saved.restore(model, value)
  if type(value.compile) ~= "table" then return end
  local options = { optimizer = optimizer_of(value.compile, model), loss = loss_of(value.compile.loss) }
  for _, name in ipairs(plain_options) do options[name] = value.compile[name] end
  local state = compiled.make(model, options)
  compiled.finish(state)
  saved.restore_optimizer(state, value.optimizer)
end

return saved
