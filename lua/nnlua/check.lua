--- Checks of arguments. Each error says the function, what was expected and what came, at the caller's line.

local core = require "nnlua.core"
local compat = require "nnlua.compat"

local check = {}

--- What functions that are made from declarations were made from, for help: by function, a table with doc, arguments,
-- options and defaults.
check.declarations = setmetatable({}, { __mode = "k" })

--- What was meant instead of a name that is not there: "; did you mean 'zeros'?", or "" where none is near.
-- @param name string
-- @param ... tables with the names as keys
local function hint(name, ...)
  local nearest = type(name) == "string" and core.nearest(name, ...)
  return nearest and ("; did you mean '%s'?"):format(nearest) or ""
end

local function sorted_names(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = tostring(name) end
  table.sort(names)
  return table.concat(names, " ")
end

--- How an error names a value's kind.
function check.kind(value)
  if core.is_tensor(value) then return "tensor " .. check.shape(value.shape) end
  if core.is_layer(value) then return "nn." .. value:_class() end
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) == "number" or type(value) == "boolean" then return tostring(value) end
  return type(value)
end

--- A shape as people write it: "(2, 3)".
function check.shape(shape)
  if #shape == 1 then return ("(%d)"):format(shape[1]) end
  local sizes = {}
  for i = 1, #shape do sizes[i] = ("%d"):format(shape[i]) end
  return "(" .. table.concat(sizes, ", ") .. ")"
end

-- The level, for error() in our caller, of the nearest function that is no part of nnlua: the script's own line is
-- what people look for. 0, which is no position, where Lua does not tell.
local function level_of_script()
  local getinfo = debug and debug.getinfo
  if not getinfo then return 0 end
  local level = 3
  local info = getinfo(level, "S")
  while info and (info.what == "C" or info.what == "tail" or info.source:find("^=nnlua%f[.%z]")) do
    level = level + 1
    info = getinfo(level, "S")
  end
  return info and level - 1 or 0
end

--- Raise an error about a call of the function `who`, at the line of the script that called into nnlua.
function check.fail(who, message)
  error(who .. ": " .. message, level_of_script())
end

function check.expect(who, what, value, expected)
  check.fail(who, ("%s: expected %s, got %s"):format(what, expected, check.kind(value)))
end

function check.tensor(who, what, value)
  if not core.is_tensor(value) then check.expect(who, what, value, "a tensor") end
  return value
end

local function a_type(value, rule)
  if rule == "any" then return true end
  if rule == "count" then return compat.is_whole(value) and value >= 1 end
  if rule == "whole" then return compat.is_whole(value) and value >= 0 end
  if rule == "fraction" then return type(value) == "number" and value >= 0 and value < 1 end
  return type(value) == rule
end

local words = {
  count = "a whole number from 1", whole = "a whole number from 0", fraction = "a number from 0 to below 1",
  boolean = "true or false", table = "a table", string = "a string",
}

--- Check a table of options against its declaration.
-- @param who string the function, as scripts write it
-- @param options table? what the script gave
-- @param rules table by option: "any", "count", "whole", "fraction", or a type of Lua
-- @return the options, never nil
function check.options(who, options, rules)
  if options == nil then return {} end
  if type(options) ~= "table" then check.expect(who, "options", options, "a table") end
  for name, value in pairs(options) do
    local rule = rules[name]
    if not rule then
      local allowed = sorted_names(rules) .. hint(name, rules)
      check.fail(who, ("unknown option %q; allowed: %s"):format(tostring(name), allowed))
    end
    if not a_type(value, rule) then check.expect(who, "option " .. name, value, words[rule] or rule) end
  end
  return options
end

--- The value of a name in a table of choices; an error that lists them otherwise.
function check.choice(who, what, name, choices)
  local value = type(name) == "string" and choices[name]
  if not value then
    local message = ("%s: expected one of %s, got %s"):format(what, sorted_names(choices), check.kind(name))
    check.fail(who, message .. hint(name, choices))
  end
  return value
end

--- Reading a name of a library that is not there gives nil, as everywhere in Lua; one that is a slip away from a
-- name that is there is an error at the caller's line.
-- @param who string the library, as scripts write it
-- @param library table
-- @param name what was asked for
-- @param ... tables with further names as keys
function check.name(who, library, name, ...)
  local meant = hint(name, library, ...)
  if meant ~= "" then error(("%s has no '%s'%s"):format(who, name, meant), level_of_script()) end
end

--- Let a library of functions speak up about misspelt names. Returns it.
function check.guard(who, library)
  return setmetatable(library, {
    __library = who, __index = function(_, name) return check.name(who, library, name) end,
  })
end

return check
