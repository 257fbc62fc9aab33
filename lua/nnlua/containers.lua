--- Modules made of modules: Sequential, Parallel, Concat, ModuleList, ModuleDict, Residual, Lambda.

local core = require "nnlua.core"
local compat = require "nnlua.compat"
local check = require "nnlua.check"
local tree = require "nnlua.tree"
local Module = require "nnlua.module".Module

local containers = {}

local function check_node(who, value)
  if tree.is_node(value) then return value end
  if type(value) == "function" then
    check.fail(who, "expected a layer or module, got function: nn.Lambda(fn) makes a layer of one")
  end
  check.expect(who, "child", value, "a layer or module")
end

-- ---- children by position: the list part of the instance itself

local List = Module:extend("ModuleList")
containers.ModuleList = List

-- {"name", child} or a child.
local function add(self, who, child)
  local name
  if type(child) == "table" and not tree.is_node(child) and type(child[1]) == "string" then
    name, child = child[1], child[2]
  end
  check_node(who, child)
  local position = #self + 1
  rawset(self, position, child)
  if name then self:_name(position, name) end
end

local function given_list(...)
  local first = ...
  if select("#", ...) == 1 and type(first) == "table" and not tree.is_node(first) then return first end
  return { ... }
end

--- nn.ModuleList{a, b, ...} or nn.ModuleList(a, b, ...): a list of modules, `#list`, `list[i]`.
function List:init(...)
  for _, child in ipairs(given_list(...)) do add(self, "nn." .. self.class_name, child) end
end

--- Add a layer or module at the end; {"name", layer} gives it a name. Returns the list itself.
function List:add(child)
  add(self, self.class_name .. ":add", child)
  return self
end

-- Children with names are also fields; only lists that have such pay for the longer way.
local named_metatables = {}

local function named_metatable(class)
  local meta = named_metatables[class]
  if meta then return meta end
  meta = {}
  for key, value in pairs(class._instance) do meta[key] = value end
  meta.__index = function(self, name)
    local value = class[name]
    if value ~= nil then return value end
    local position = rawget(self, "_positions")[name]
    return position and rawget(self, position)
  end
  named_metatables[class] = meta
  return meta
end

function List:_name(position, name)
  local positions = rawget(self, "_positions")
  if self[name] ~= nil or name:find("[.]") then
    local reason = name:find("[.]") and "it has a dot" or "it is taken"
    check.fail("nn." .. self.class_name, ("%q cannot be a child's name: %s"):format(name, reason))
  end
  if not positions then
    positions = {}
    rawset(self, "_positions", positions)
    rawset(self, "_names", {})
    setmetatable(self, named_metatable(tree.class_of(self)))
  end
  positions[name] = position
  self._names[position] = name
end

function List:_assign(name, value)
  local positions = rawget(self, "_positions")
  local position = positions and positions[name]
  if type(name) == "number" or position then
    check_node(self.class_name, value)
    if not position and name ~= #self + 1 then
      check.fail(self.class_name, ("expected position 1 to %d, got %s"):format(#self + 1, tostring(name)))
    end
    rawset(self, position or name, value)
  else
    Module._assign(self, name, value)
  end
end

--- Children as in PyTorch: by name, or counted from 0.
function List:_entries()
  local list, names = {}, rawget(self, "_names")
  for i, child in ipairs(self) do
    list[i] = { names and names[i] or ("%d"):format(i - 1), child, "module" }
  end
  for _, entry in ipairs(tree.fields(self)) do list[#list + 1] = entry end
  return list
end

function List:_label(name) -- luacheck: no self
  local index = tonumber(name)
  return index and ("%d"):format(index + 1) or name
end

--- nn.Sequential{a, b, ...}: each child gets what the one before it gave. Children may be named: {"fc1", layer}.
-- @usage nn.Sequential{nn.Dense(64, {activation = "relu"}), nn.Dense(10)}
local Sequential = List:extend("Sequential")
containers.Sequential = Sequential

function Sequential:forward(x)
  for i = 1, #self do x = self[i](x) end
  return x
end

--- nn.Parallel{a, b, ...}: every child gets the same input; gives the result of each, as several values.
local Parallel = List:extend("Parallel")
containers.Parallel = Parallel

function Parallel:forward(...)
  local results = {}
  for i = 1, #self do results[i] = (self[i](...)) end
  return compat.unpack(results, 1, #self)
end

--- nn.Concat({a, b, ...}, {dim = 2}): every child gets the same input; their results are joined along one dimension,
-- the features or channels where nothing else is said. As the branches of Inception (Szegedy et al. 2015).
local Concat = List:extend("Concat")
containers.Concat = Concat

function Concat:init(children, options)
  if type(children) ~= "table" or tree.is_node(children) then
    check.expect("nn.Concat", "argument 1", children, "a list of layers and modules")
  end
  if type(options) == "number" then options = { dim = options } end
  local dim = check.options("nn.Concat", options, { dim = "number" }).dim or 2
  if not compat.is_whole(dim) or dim == 0 then check.expect("nn.Concat", "option dim", dim, "a dimension") end
  self.dim = dim
  for _, child in ipairs(children) do add(self, "nn.Concat", child) end
end

function Concat:forward(...)
  local results = {}
  for i = 1, #self do results[i] = (self[i](...)) end
  return core.cat(results, self.dim)
end

-- ---- the others

--- nn.ModuleDict{name = module} or nn.ModuleDict{{"name", module}, ...}: modules by name, `dict.name`.
-- The order is that of the list; names given as fields are sorted.
local Dict = Module:extend("ModuleDict")
containers.ModuleDict = Dict

function Dict:init(children)
  children = children or {}
  if type(children) ~= "table" then check.expect("nn.ModuleDict", "children", children, "a table") end
  for _, pair in ipairs(children) do self[pair[1]] = pair[2] end
  local names = {}
  for name in pairs(children) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do self[name] = children[name] end
end

function Dict:_assign(name, value)
  if Dict[name] ~= nil then
    check.fail("nn.ModuleDict", ("%q cannot be a child's name: it is a method"):format(tostring(name)))
  end
  if value ~= nil then check_node("nn.ModuleDict", value) end
  Module._assign(self, name, value)
end

--- for name, child in dict:items() do
function Dict:items()
  return self:named_children()
end

--- nn.Residual(inner): x + inner(x) (He et al. 2016).
local Residual = Module:extend("Residual")
containers.Residual = Residual

function Residual:init(inner)
  self.inner = check_node("nn.Residual", inner)
end

function Residual:forward(x, ...)
  return x + self.inner(x, ...)
end

--- nn.Lambda(fn): a function as a layer. It is not saved with a model.
local Lambda = Module:extend("Lambda")
containers.Lambda = Lambda

function Lambda:init(fn)
  if type(fn) ~= "function" then check.expect("nn.Lambda", "argument", fn, "a function") end
  self.fn = fn
end

function Lambda:forward(...)
  return self.fn(...)
end

return containers
