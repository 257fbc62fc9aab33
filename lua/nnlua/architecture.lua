--- A model's architecture as plain data, and back: what its file carries beside the tensors.
-- Rebuilding calls classes by their names with the arguments they had; it never runs code from a file.

local core = require "nnlua.core"
local compat = require "nnlua.compat"
local containers = require "nnlua.containers"
local module = require "nnlua.module"
local tree = require "nnlua.tree"

local architecture = {}

local lists = { Sequential = true, ModuleList = true } -- described by their children, which `add` may have changed

-- Messages of this module travel as tables to the two functions at its end.
local function refuse(message)
  error({ refused = message }, 0)
end

-- ---- writing. A writer knows the nodes it has met, by number.

local Writer = {}
Writer.__index = Writer

function Writer:table(value, place)
  if self.open[value] then refuse(place .. ": a table that holds itself cannot be saved") end
  self.open[value] = true
  local list, fields = {}, {}
  for i = 1, #value do list[i] = self:value(value[i], ("%s[%d]"):format(place, i)) end
  for key, item in pairs(value) do
    if type(key) == "string" then
      fields[key] = self:value(item, place .. "." .. key)
    elseif not (compat.is_whole(key) and key >= 1 and key <= #value) then
      refuse(("%s: a table with the key %s cannot be saved"):format(place, tostring(key)))
    end
  end
  self.open[value] = nil
  return { list = #list > 0 and list or nil, fields = next(fields) and fields or nil }
end

function Writer:children(node, place)
  local names, children = rawget(node, "_names"), {}
  for i, child in ipairs(node) do
    children[i] = { name = names and names[i], node = self:node(child, ("%s[%d]"):format(place, i)) }
  end
  return children
end

function Writer:arguments(node, place)
  local given, arguments = rawget(node, "_arguments"), {}
  for i = 1, given.n do arguments[i] = self:value(given[i], ("%s, argument %d"):format(place, i)) end
  return arguments
end

function Writer:node(node, place)
  local met = self.met[node]
  if met then return { same = met } end
  self.count = self.count + 1
  self.met[node] = self.count
  if core.is_layer(node) then
    local config = node:_config()
    return { layer = config.class, options = config.options }
  end
  local name = node.class_name
  if name == "Lambda" then refuse(place .. ": the function of an nn.Lambda cannot be saved; make it a class") end
  if lists[name] then return { class = name, children = self:children(node, place) } end
  return { class = name, arguments = self:arguments(node, place) }
end

function Writer:value(value, place)
  if value == nil then return { none = true } end
  if tree.is_node(value) then return { node = self:node(value, place) } end
  if core.is_tensor(value) then return { tensor = value:tolist(), dtype = value.dtype } end
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then return value end
  if kind == "table" then return self:table(value, place) end
  refuse(("%s: a %s cannot be saved"):format(place, kind))
end

-- ---- reading. A reader knows the nodes it has made, by number. What it reads may be anything.

local Reader = {}
Reader.__index = Reader

local function expect(value, kind, what)
  if type(value) ~= kind then refuse(("the architecture is damaged: expected %s to be a %s"):format(what, kind)) end
  return value
end

-- A class of ours, or one that the script has defined.
local function class_named(name)
  if name:find("^models%.") then require "nnlua.models" end
  local class = containers[name] or module.classes[name]
  if class then return class end
  refuse(("the class %s is not known: define it with nn.Module:extend(%q) before loading, or load the tensors alone "
    .. "with nn.load(path, {tensors = true})"):format(name, name))
end

-- A layer takes no more memory than the file's tensors can fill: sizes out of a hostile file would take all there is.
local function within_budget(budget, make, options)
  local memory = core.memory()
  local limit = memory.live + budget
  if memory.limit and memory.limit < limit then limit = memory.limit end
  core.set_memory_limit(limit)
  local ok, result = pcall(make, options)
  core.set_memory_limit(memory.limit)
  return ok and result or refuse(tostring(result))
end

function Reader:layer(record)
  local make = core.layers[record.layer] or core.losses[record.layer]
  if not make then refuse(("there is no layer nn.%s in this version"):format(tostring(record.layer))) end
  local options = {}
  for name, value in pairs(expect(record.options, "table", "a layer's options")) do
    if value ~= core.json_null then options[name] = value end
  end
  return within_budget(self.budget, make, options)
end

function Reader:list(record)
  local children = {}
  for i, child in ipairs(expect(record.children, "table", "the children")) do
    local node = self:node(expect(expect(child, "table", "a child").node, "table", "a child's node"))
    children[i] = child.name and { child.name, node } or node
  end
  return class_named(record.class)(children)
end

function Reader:module(record)
  local arguments, values = expect(record.arguments, "table", "the arguments"), {}
  for i = 1, #arguments do values[i] = self:value(arguments[i]) end
  return class_named(expect(record.class, "string", "a class"))(compat.unpack(values, 1, #arguments))
end

function Reader:node(record)
  if record.same ~= nil then
    return self.made[record.same] or refuse("the architecture is damaged: a node is missing")
  end
  self.count = self.count + 1
  local number = self.count
  local node = record.layer and self:layer(record) or record.children and self:list(record) or self:module(record)
  self.made[number] = node
  return node
end

function Reader:value(value)
  if type(value) ~= "table" then return value end
  if value.none then return nil end
  if value.node then return self:node(expect(value.node, "table", "a node")) end
  if value.tensor ~= nil then return core.tensor(value.tensor, { dtype = value.dtype }) end
  local result = {}
  for i, item in ipairs(value.list or {}) do result[i] = self:value(item) end
  for key, item in pairs(value.fields or {}) do result[key] = self:value(item) end
  return result
end

-- ----

--- The architecture of a model as plain data; nil and a message where it has parts that cannot be saved.
function architecture.describe(model)
  local writer = setmetatable({ met = {}, open = {}, count = 0 }, Writer)
  local ok, result = pcall(writer.node, writer, model, tree.class_name(model))
  if ok then return result end
  if type(result) == "table" and result.refused then return nil, result.refused end
  error(result, 0)
end

--- A model of this architecture, its values fresh; nil and a message where that cannot be made.
-- @param budget integer: bytes that a layer may take
function architecture.build(record, budget)
  local reader = setmetatable({ made = {}, count = 0, budget = budget }, Reader)
  local ok, result = pcall(reader.node, reader, record)
  if ok then return result end
  return nil, type(result) == "table" and result.refused or tostring(result)
end

return architecture
