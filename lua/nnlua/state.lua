--- state_dict and load_state_dict: what a model knows, by name.

local core = require "nnlua.core"
local check = require "nnlua.check"
local tree = require "nnlua.tree"

local state = { methods = {} }
local methods = state.methods

--- The tensors of a model that are saved, and their names in the model's order.
-- A tensor that modules share comes under each of its names.
function state.collect(model)
  local tensors, names = {}, {}
  tree.each_tensor(model, function(name, tensor, kind)
    if kind ~= "temporary" then
      tensors[name] = tensor:detach()
      names[#names + 1] = name
    end
  end)
  return tensors, names
end

--- Parameters and buffers by name. The tensors share their memory with the model's.
function methods:state_dict()
  return (state.collect(self))
end

-- ---- loading

-- What loading has to do and what does not fit, found before anything changes.
local function new_plan(values, adopt)
  return { values = values, adopt = adopt, wanted = {}, steps = {}, missing = {}, unexpected = {}, shapes = {} }
end

local function same_shape(a, b)
  local x, y = a.shape, b.shape
  if #x ~= #y then return false end
  for i = 1, #x do
    if x[i] ~= y[i] then return false end
  end
  return true
end

local function plan_value(plan, name, tensor, store)
  plan.wanted[name] = true
  local value = plan.values[name]
  if value == nil then
    plan.missing[#plan.missing + 1] = name
  elseif not core.is_tensor(value) then
    plan.shapes[#plan.shapes + 1] = ("%s: expected a tensor, got %s"):format(name, check.kind(value))
  elseif tensor and not same_shape(tensor, value) then
    plan.shapes[#plan.shapes + 1] = ("%s: expected %s, got %s"):format(
      name, check.shape(tensor.shape), check.shape(value.shape))
  else
    plan.steps[#plan.steps + 1] = { name = name, store = store, value = value }
  end
end

local function plan_layer(plan, prefix, layer)
  local open = tree.open_slots(layer)
  for _, slot in ipairs(open or layer:_tensors()) do
    local name = open and slot or slot[1]
    plan_value(plan, prefix .. name, not open and slot[2] or nil, function(value)
      layer:_load(name, value, plan.adopt)
    end)
  end
end

local function plan_node(plan, prefix, node, path)
  if path[node] then return end
  path[node] = true
  if core.is_layer(node) then
    plan_layer(plan, prefix, node)
  else
    for _, entry in ipairs(node:_entries()) do
      local name, value, kind = prefix .. entry[1], entry[2], entry[3]
      if kind == "module" then
        plan_node(plan, name .. ".", value, path)
      elseif kind ~= "temporary" then
        plan_value(plan, name, value, function(new) value:detach():copy_(new) end)
      end
    end
  end
  path[node] = nil
end

local function complaint(plan, strict)
  local lines = {}
  if strict and #plan.missing > 0 then lines[#lines + 1] = "missing: " .. table.concat(plan.missing, ", ") end
  if strict and #plan.unexpected > 0 then
    lines[#lines + 1] = "unexpected: " .. table.concat(plan.unexpected, ", ")
  end
  for _, shape in ipairs(plan.shapes) do lines[#lines + 1] = "wrong shape: " .. shape end
  return #lines > 0 and table.concat(lines, "\n  ") or nil
end

-- Layers with open sizes say only now whether the values fit.
local function run_plan(plan)
  for _, step in ipairs(plan.steps) do
    local ok, message = pcall(step.store, step.value)
    if not ok then plan.shapes[#plan.shapes + 1] = step.name .. ": " .. tostring(message) end
  end
end

--- Put values into a model: a message of what does not fit instead, or nil; and the plan.
-- @param adopt the model is new and the values are nobody else's: their memory becomes its own, uncopied
function state.load(model, values, strict, adopt)
  local plan = new_plan(values, adopt)
  plan_node(plan, "", model, {})
  for name in pairs(values) do
    if not plan.wanted[name] then plan.unexpected[#plan.unexpected + 1] = tostring(name) end
  end
  table.sort(plan.unexpected)
  local message = complaint(plan, strict)
  if not message then
    -- What looked at the new model's tensors until here is garbage. A tensor that is still looked at afterwards, by a
    -- field of the model, is written into instead.
    if adopt then collectgarbage() end
    run_plan(plan)
    message = complaint(plan, strict)
  end
  return message, plan
end

--- Copy values into the parameters and buffers of these names.
-- @param values table of tensors by name, as from state_dict or nn.load
-- @param options table? strict = false: names that are missing or too many are no error
-- @return table with the lists missing_keys and unexpected_keys; raises one error that tells all that does not fit
function methods:load_state_dict(values, options)
  local who = tree.class_name(self) .. ":load_state_dict"
  if type(values) ~= "table" or tree.is_node(values) then
    check.expect(who, "argument", values, "a table of tensors by name")
  end
  local strict = check.options(who, options, { strict = "boolean" }).strict ~= false
  local message, plan = state.load(self, values, strict)
  if message then check.fail(who, "the values do not fit the model\n  " .. message) end
  return { missing_keys = plan.missing, unexpected_keys = plan.unexpected }
end

return state
