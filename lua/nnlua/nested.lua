--- Nested tables of plain data and tensors for a file: tensors by flat names, and a record of all else that JSON can
-- hold; and back. What reads may be anything: a damaged record is refused, never run.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local tree = require "nnlua.tree"

local nested = {}

-- Messages of this module travel as tables to its two functions at the end.
local function refuse(message)
  error({ refused = message }, 0)
end

-- ---- writing. A record is a number, string or boolean as it is, or a table: {tensor = name}, {number = "nan"},
-- {hex = bytes}, or {list = values 1 to n, fields = values by string, pairs = {{key, value}, ...}}.

local Writer = {}
Writer.__index = Writer

local function number_record(value)
  if value ~= value then return { number = "nan" } end
  if value - value ~= 0 then return { number = value > 0 and "inf" or "-inf" } end
  return value
end

local function is_text(value)
  return not value:find("[\128-\255]") or (pcall(core.json_encode, value))
end

local function string_record(value)
  if is_text(value) then return value end
  return { hex = (value:gsub(".", function(byte) return ("%02x"):format(byte:byte()) end)) }
end

-- The order of keys that are not strings: numbers by value, then booleans.
local function before(a, b)
  if type(a) == type(b) and type(a) == "number" then return a < b end
  if type(a) ~= type(b) then return type(a) == "number" end
  return tostring(a) < tostring(b)
end

local function sorted_keys(value, count)
  local texts, others = {}, {}
  for key in pairs(value) do
    if type(key) == "string" and is_text(key) then
      texts[#texts + 1] = key
    elseif not (compat.is_whole(key) and key >= 1 and key <= count) then
      others[#others + 1] = key
    end
  end
  table.sort(texts)
  table.sort(others, before)
  return texts, others
end

function Writer:table(value, place)
  if self.open[value] then refuse(place .. ": a table that holds itself cannot be saved") end
  self.open[value] = true
  local list, fields, others = {}, {}, {}
  while value[#list + 1] ~= nil do list[#list + 1] = self:value(value[#list + 1], place, #list + 1) end
  local texts, keys = sorted_keys(value, #list)
  for _, key in ipairs(texts) do fields[key] = self:value(value[key], place, key) end
  for i, key in ipairs(keys) do
    others[i] = { self:value(key, place, "a key"), self:value(value[key], place, tostring(key)) }
  end
  self.open[value] = nil
  return {
    list = #list > 0 and list or nil, fields = next(fields) and fields or nil, pairs = #others > 0 and others or nil,
  }
end

function Writer:tensor(value, place)
  local name = place
  while self.tensors[name] or self.taken[name] do name = name .. "'" end
  self.tensors[name] = value:detach()
  self.names[#self.names + 1] = name
  return { tensor = name }
end

function Writer:value(value, path, key)
  local place = path == "" and tostring(key) or path .. "." .. tostring(key)
  local kind = type(value)
  if core.is_tensor(value) then return self:tensor(value, place) end
  if kind == "number" then return number_record(value) end
  if kind == "string" then return string_record(value) end
  if kind == "boolean" then return value end
  if tree.is_node(value) or core.is_optimizer(value) then
    local what = core.is_optimizer(value) and "an optimizer" or "a model"
    refuse(("%s: %s inside a table cannot be saved; put its state_dict() there"):format(place, what))
  end
  if kind == "table" then return self:table(value, place) end
  local allowed = "tensors, numbers, strings, booleans or tables of such"
  refuse(("%s: expected %s, got %s"):format(place, allowed, check.kind(value)))
end

-- ---- reading

local numbers = { nan = 0 / 0, inf = math.huge, ["-inf"] = -math.huge }

local function from_hex(text)
  if type(text) ~= "string" or #text % 2 ~= 0 or text:find("[^0-9a-f]") then refuse("a string is damaged") end
  return (text:gsub("..", function(digits) return string.char(tonumber(digits, 16)) end))
end

local build

local function list_of(value)
  if value == nil then return {} end
  if type(value) ~= "table" then refuse("a table is damaged") end
  return value
end

local function build_table(record, tensors)
  local result = {}
  for i, item in ipairs(list_of(record.list)) do result[i] = build(item, tensors) end
  for key, item in pairs(list_of(record.fields)) do result[key] = build(item, tensors) end
  for _, pair in ipairs(list_of(record.pairs)) do
    local key = build(list_of(pair)[1], tensors)
    if type(key) == "table" or key == nil or key ~= key then refuse("a key is damaged") end
    result[key] = build(pair[2], tensors)
  end
  return result
end

function build(record, tensors)
  local kind = type(record)
  if kind == "number" or kind == "string" or kind == "boolean" then return record end
  if kind ~= "table" then refuse("a value is damaged") end
  if record.tensor ~= nil then
    return tensors[record.tensor] or refuse("the tensor " .. tostring(record.tensor) .. " is missing")
  end
  if record.number ~= nil then return numbers[record.number] or refuse("a number is damaged") end
  if record.hex ~= nil then return from_hex(record.hex) end
  return build_table(record, tensors)
end

-- ----

local function outcome(ok, ...)
  if ok then return ... end
  local problem = ...
  if type(problem) == "table" and problem.refused then return nil, problem.refused end
  error(problem, 0)
end

--- A value as a record, its tensors, and their names in order. nil and a message where it cannot be saved.
-- @param value table
-- @param prefix string? what names of tensors begin with
-- @param taken table? names that tensors must not have, as keys
function nested.flatten(value, prefix, taken)
  local writer = setmetatable({ open = {}, tensors = {}, names = {}, taken = taken or {} }, Writer)
  return outcome(pcall(function() return writer:table(value, prefix or ""), writer.tensors, writer.names end))
end

--- The value of a record; nil and a message where the record is damaged.
function nested.build(record, tensors)
  return outcome(pcall(build, record, tensors))
end

--- The names of the tensors that a record holds, as keys.
function nested.tensor_names(record, names)
  names = names or {}
  if type(record) ~= "table" then return names end
  if type(record.tensor) == "string" then names[record.tensor] = true end
  for _, part in ipairs { "list", "fields", "pairs" } do
    for _, item in pairs(type(record[part]) == "table" and record[part] or {}) do
      local value = part == "pairs" and type(item) == "table" and item[2] or item
      nested.tensor_names(value, names)
    end
  end
  return names
end

return nested
