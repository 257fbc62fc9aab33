--- nn.Module: classes of models, and the methods that modules and layers share.

local core = require "nnlua.core"
local compat = require "nnlua.compat"
local check = require "nnlua.check"
local tree = require "nnlua.tree"

local module = {}

--- Classes by name, for loading models: the last one of a name counts.
module.classes = {}

-- ---- methods of modules and layers

local methods = {}

--- The tensors that are trained, in the order of their assignment. A shared one comes once.
-- @return list of tensors; an error where a layer waits for its first input to know its sizes
function methods:parameters()
  local open = tree.first_open(self)
  if open then
    local which = open == "" and "this layer" or "the layer " .. open
    check.fail("parameters", ("%s has none yet, it takes its sizes from the first input: call the model on one before")
      :format(which))
  end
  local list = {}
  tree.each_tensor(self, function(_, tensor, kind)
    if kind == "parameter" then list[#list + 1] = tensor end
  end, true)
  return list
end

local function pairs_iterator(names, values)
  local i = 0
  return function()
    i = i + 1
    return names[i], values[i]
  end
end

--- for name, tensor in model:named_parameters() do
function methods:named_parameters()
  local names, tensors = {}, {}
  tree.each_tensor(self, function(name, tensor, kind)
    if kind == "parameter" then names[#names + 1], tensors[#tensors + 1] = name, tensor end
  end, true)
  return pairs_iterator(names, tensors)
end

--- for name, tensor in model:named_buffers() do
function methods:named_buffers()
  local names, tensors = {}, {}
  tree.each_tensor(self, function(name, tensor, kind)
    if kind ~= "parameter" then names[#names + 1], tensors[#tensors + 1] = name, tensor end
  end, true)
  return pairs_iterator(names, tensors)
end

--- The tensors that belong to the model and are not trained, such as running means: a list.
function methods:buffers()
  local list = {}
  for _, tensor in self:named_buffers() do list[#list + 1] = tensor end
  return list
end

--- The modules and layers assigned to this one: a list.
function methods:children()
  local list = {}
  for i, child in ipairs(tree.children(self)) do list[i] = child[2] end
  return list
end

--- for name, module in model:named_children() do
function methods:named_children()
  local names, nodes = {}, {}
  for i, child in ipairs(tree.children(self)) do names[i], nodes[i] = child[1], child[2] end
  return pairs_iterator(names, nodes)
end

--- for name, module in model:named_modules() do: this one (its name is ""), and all below it
function methods:named_modules()
  local names, nodes = {}, {}
  tree.each_node(self, function(name, node) names[#names + 1], nodes[#nodes + 1] = name, node end)
  return pairs_iterator(names, nodes)
end

--- This module and all below it: a list.
function methods:modules()
  local list = {}
  tree.each_node(self, function(_, node) list[#list + 1] = node end)
  return list
end

local function set_training(node, flag)
  if core.is_layer(node) then node:_set_training(flag) else rawset(node, "training", flag) end
end

--- Switch to training: dropout drops, batch normalisation measures.
-- @param flag boolean? false is eval
function methods:train(flag)
  flag = flag ~= false
  tree.each_node(self, function(_, node) set_training(node, flag) end)
  return self
end

--- Switch to inference.
function methods:eval()
  return self:train(false)
end

--- Let go of the gradients.
function methods:zero_grad()
  tree.each_tensor(self, function(_, tensor, kind)
    if kind == "parameter" then tensor.grad = nil end
  end, true)
  return self
end

--- Whether the parameters are trained; false freezes them.
function methods:requires_grad_(flag)
  tree.each_tensor(self, function(_, tensor, kind)
    if kind == "parameter" then tensor:requires_grad_(flag ~= false) end
  end, true)
  return self
end

-- The parameters whose names a pattern is found in, a list; an error where there are none, which names what there is.
local function matching(self, who, pattern)
  if type(pattern) ~= "string" then check.expect(who, "pattern", pattern, "a string or a list of strings") end
  local found, names = {}, {}
  for name, tensor in self:named_parameters() do
    names[#names + 1] = name
    if name:find(pattern) then found[#found + 1] = tensor end
  end
  if #found > 0 then return found end
  local more = #names > 12 and (" and %d more"):format(#names - 12) or ""
  local there = #names > 0 and "; there are " .. table.concat(names, ", ", 1, math.min(#names, 12)) .. more or ""
  check.fail(who, ("no parameter has a name like %q%s"):format(pattern, there))
end

-- All are found before the first is changed.
local function set_trained(self, who, patterns, flag)
  if patterns == nil then patterns = "" end
  local lists = {}
  for i, pattern in ipairs(type(patterns) == "table" and patterns or { patterns }) do
    lists[i] = matching(self, who, pattern)
  end
  if #lists == 0 then check.expect(who, "pattern", patterns, "a string or a list of strings") end
  for _, list in ipairs(lists) do
    for _, tensor in ipairs(list) do tensor:requires_grad_(flag) end
  end
  return self
end

--- Parameters whose name matches are not trained any more: model:freeze("^encoder%.").
-- @param pattern string|list? patterns of Lua's, found anywhere in the name of the state_dict; without it all
-- @return the model; an error where no name matches
function methods:freeze(pattern)
  return set_trained(self, "freeze", pattern, false)
end

--- Parameters whose name matches are trained again.
function methods:unfreeze(pattern)
  return set_trained(self, "unfreeze", pattern, true)
end

local floats = { float32 = true, float64 = true, bfloat16 = true, float16 = true }

local function convert_fields(node, dtype)
  for _, entry in ipairs(tree.fields(node)) do
    local name, value, kind = entry[1], entry[2], entry[3]
    if kind ~= "module" and floats[value.dtype] and value.dtype ~= dtype then
      local converted = value:detach():to(dtype)
      if kind == "parameter" then
        converted = module.Parameter(converted, { requires_grad = value.requires_grad })
      end
      rawset(node, name, converted)
    end
  end
end

--- Convert the parameters, and buffers of float types, to another float type. Returns the model itself.
function methods:to(dtype)
  check.choice("to", "dtype", dtype, floats)
  tree.each_node(self, function(_, node)
    if core.is_layer(node) then node:_to(dtype) else convert_fields(node, dtype) end
  end)
  return self
end

--- Convert the parameters, and buffers of float types, to float32.
function methods:float() return self:to("float32") end

--- Convert the parameters, and buffers of float types, to float64.
function methods:double() return self:to("float64") end

--- Call fn(module) for everything below this module, children first, and at last for itself.
function methods:apply(fn)
  for _, child in ipairs(tree.children(self)) do child[2]:apply(fn) end
  fn(self)
  return self
end

--- How many numbers the parameters hold.
-- @param trainable boolean? only those that are not frozen
function methods:num_parameters(trainable)
  local count = 0
  tree.each_tensor(self, function(_, tensor, kind)
    if kind == "parameter" and (tensor.requires_grad or not trainable) then count = count + tensor:numel() end
  end, true)
  return count
end

-- Methods that a script may never use live in modules of their own.
local elsewhere = {
  state_dict = "state", load_state_dict = "state", summary = "summary", save = "files",
  load_weights = "files", compile = "training", fit = "training", evaluate = "training", predict = "training",
  train_step = "training", test_step = "training",
  optimizer_in_use = "training", register_forward_hook = "hooks", register_forward_pre_hook = "hooks",
}

--- By such a method: the module that has it, and its name there.
module.stubs = {}

for name, place in pairs(elsewhere) do
  methods[name] = function(self, ...)
    return require("nnlua." .. place).methods[name](self, ...)
  end
  module.stubs[methods[name]] = { place, name }
end

for name, method in pairs(methods) do core.layer_methods[name] = method end

-- ---- classes

local Module = { class_name = "Module" }
module.Module = Module
for name, method in pairs(methods) do Module[name] = method end

--- A field of this name comes for the first time, or again after it was removed: its place is the last.
function Module:_assign(name, value)
  if value == nil then return end
  local fields = rawget(self, "_fields")
  for i = #fields, 1, -1 do
    if fields[i] == name then table.remove(fields, i) end
  end
  fields[#fields + 1] = name
  rawset(self, name, value)
end

Module._entries = tree.fields

--- Called with the arguments of the class: assign layers and parameters to self here.
function Module:init() end -- luacheck: no self

--- What a call of the model gives: every class defines its own.
function Module:forward()
  check.fail(self.class_name, ("there is no forward: define function %s:forward(x)"):format(self.class_name))
end

--- Make a tensor part of the model, saved with it, not trained. Field `name`.
-- @param options table? persistent = false: not saved
function Module:register_buffer(name, tensor, options)
  check.tensor("register_buffer", "buffer " .. tostring(name), tensor)
  local persistent = check.options("register_buffer", options, { persistent = "boolean" }).persistent
  if not rawget(self, "_buffers") then rawset(self, "_buffers", {}) end
  self._buffers[name] = persistent == false and "temporary" or "buffer"
  self[name] = tensor
end

local function indented(text)
  return (text:gsub("\n", "\n  "))
end

local function to_string(self)
  local lines = {}
  for i, child in ipairs(tree.children(self)) do
    lines[i] = ("\n  (%s): %s"):format(self:_label(child[1]), indented(tostring(child[2])))
  end
  if #lines == 0 then return self.class_name .. "()" end
  return self.class_name .. "(" .. table.concat(lines) .. "\n)"
end

--- How people call a child: lists count from 1, though the keys of a state_dict count from 0.
function Module:_label(name) return name end -- luacheck: no self

local function call(self, ...)
  local hooked = rawget(self, "_hooked")
  if hooked then return hooked(self, ...) end
  return self:forward(...)
end

local function construct(class, ...)
  local self = setmetatable({ training = true, _fields = {}, _arguments = compat.pack(...) }, class._instance)
  self:init(...)
  return self
end

-- The metatable of a class's instances. Fields lie in the instance itself, so that reading one costs one look.
local function instance_metatable(class)
  return {
    module_class = class, __index = class, __call = call, __tostring = to_string,
    __newindex = function(self, name, value) return self:_assign(name, value) end,
  }
end

local function make_class(class, parent)
  class._instance = instance_metatable(class)
  module.classes[class.class_name] = class
  return setmetatable(class, {
    __index = parent, __call = construct, __tostring = function() return "class " .. class.class_name end,
  })
end

make_class(Module, nil)

--- A new class of models. Calling it makes an instance; the arguments reach init. Loading a saved model finds the
-- class by this name.
-- @param name string
-- @return the class; its field `super` is the class that was extended
function Module:extend(name)
  if type(name) ~= "string" or name == "" then check.expect("extend", "class name", name, "a string") end
  return make_class({ class_name = name, super = self }, self)
end

--- A tensor that is trained when it is a field of a module. It shares its memory with the given one.
-- @param tensor of a float type
-- @param options table? requires_grad = false: frozen
function module.Parameter(tensor, options)
  check.tensor("nn.Parameter", "value", tensor)
  options = check.options("nn.Parameter", options, { requires_grad = "boolean" })
  if not floats[tensor.dtype] then
    check.fail("nn.Parameter", "expected a tensor of a float type, got " .. tensor.dtype)
  end
  return tree.mark_parameter(tensor:detach():requires_grad_(options.requires_grad ~= false))
end

return module
