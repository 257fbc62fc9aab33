--- Models as trees: modules are the inner nodes, tables made in Lua; layers are leaves made in C.
-- Everything that looks at a whole model is written over these few functions.

local core = require "nnlua.core"
local check = require "nnlua.check"

local tree = {}

local is_layer, is_tensor = core.is_layer, core.is_tensor

-- The tensors that nn.Parameter made: a field that holds one is trained.
local parameters = setmetatable({}, { __mode = "k" })

--- A tensor as a key: two userdata may stand for one tensor.
tree.identity = core.tensor_id

function tree.mark_parameter(tensor)
  parameters[tensor] = true
  return tensor
end

--- The class of a module; nil for anything else.
function tree.class_of(value)
  if type(value) ~= "table" then return nil end
  local meta = getmetatable(value)
  return type(meta) == "table" and rawget(meta, "module_class") or nil
end

--- Whether a value is a module or a layer.
function tree.is_node(value)
  return is_layer(value) or tree.class_of(value) ~= nil
end

--- The name of a node's class.
function tree.class_name(node)
  if is_layer(node) then return node:_class() end
  return node.class_name
end

--- What a field of a module is: "module", "parameter", "buffer", "temporary" (a buffer that is not saved), or nil.
local function kind_of(node, name, value)
  if tree.is_node(value) then return "module" end
  if not is_tensor(value) then return nil end
  if parameters[value] then return "parameter" end
  local buffers = rawget(node, "_buffers")
  return buffers and buffers[name]
end

--- The fields of a module that count, in the order of their assignment: a list of {name, value, kind}.
function tree.fields(node)
  local list = {}
  for _, name in ipairs(rawget(node, "_fields")) do
    local value = rawget(node, name)
    local kind = value ~= nil and kind_of(node, name, value)
    if kind then list[#list + 1] = { tostring(name), value, kind } end
  end
  return list
end

local function layer_entries(layer)
  local list = {}
  for i, slot in ipairs(layer:_tensors()) do
    list[i] = { slot[1], slot[2], slot[3] and "buffer" or "parameter" }
  end
  return list
end

--- What a node holds itself: a list of {name, value, kind}. Names are those of the state_dict.
function tree.entries(node)
  if is_layer(node) then return layer_entries(node) end
  return node:_entries()
end

-- model.parameters() instead of model:parameters() is how something else gets here.
local function expect_node(node)
  if is_layer(node) or (type(node) == "table" and node._entries) then return end
  check.fail("nn.Module", ("expected a model or layer, got %s; call methods with a colon, as model:parameters()")
    :format(check.kind(node)))
end

local function walk_tensors(node, prefix, visit, path, seen)
  if path[node] or (seen and seen[node]) then return end
  path[node] = true
  if seen then seen[node] = true end
  for _, entry in ipairs(tree.entries(node)) do
    local name, value, kind = prefix .. entry[1], entry[2], entry[3]
    if kind == "module" then
      walk_tensors(value, name .. ".", visit, path, seen)
    else
      local id = seen and tree.identity(value)
      if not seen or not seen[id] then
        if seen then seen[id] = true end
        visit(name, value, kind, node, entry[1])
      end
    end
  end
  path[node] = nil
end

--- Visit every tensor: visit(full name, tensor, kind, its node, its name there).
-- @param once boolean? a tensor that several modules share comes once, under its first name
function tree.each_tensor(node, visit, once)
  expect_node(node)
  walk_tensors(node, "", visit, {}, once and {} or nil)
end

local function join(path, name)
  return path == "" and name or path .. "." .. name
end

local function walk_nodes(node, name, label, visit, seen)
  if seen[node] then return end
  seen[node] = true
  visit(name, node, label)
  if is_layer(node) then return end
  for _, entry in ipairs(node:_entries()) do
    local key = entry[1]
    if entry[3] == "module" then
      walk_nodes(entry[2], join(name, key), join(label, node:_label(key)), visit, seen)
    end
  end
end

--- Visit every node once, parents before children: visit(full name, node, label). The root's name is "". The label is
-- the name as people count: from 1.
function tree.each_node(node, visit)
  expect_node(node)
  walk_nodes(node, "", "", visit, {})
end

--- The children of a node: a list of {name, node}.
function tree.children(node)
  expect_node(node)
  local list = {}
  if is_layer(node) then return list end
  for _, entry in ipairs(node:_entries()) do
    if entry[3] == "module" then list[#list + 1] = entry end
  end
  return list
end

--- The tensors that a layer with open sizes will have, by name; nil for a layer that is complete.
function tree.open_slots(layer)
  return layer:_open_slots()
end

--- The label of the first layer whose sizes are open; nil where there is none.
function tree.first_open(node)
  local found
  tree.each_node(node, function(_, each, label)
    if not found and is_layer(each) and tree.open_slots(each) then found = label end
  end)
  return found
end

return tree
