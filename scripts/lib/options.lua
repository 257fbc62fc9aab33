--- options.lua: the command lines of the scripts, parsed by lua-argparse.

local options = {}

local HINT = "this script reads its options with argparse, which is not installed: apt-get install lua-argparse " ..
  "(or luarocks install argparse)"

--- End the script with a message that people can act on, without a traceback.
function options.fail(message, code)
  io.stderr:write((arg[0]:match("[^/\\]*$")), ": ", message, "\n")
  os.exit(code or 1, true)
end

-- ---- what values may be

local function number(accept, expected)
  return function(text)
    local value = tonumber(text)
    if value and accept(value) then return value end
    return nil, ("expected %s, got '%s'"):format(expected, text)
  end
end

local function whole(least, expected)
  return function(text)
    local value = tonumber(text)
    if value and value >= least and value < 2 ^ 53 and value % 1 == 0 then return math.floor(value) end
    return nil, ("expected %s, got '%s'"):format(expected, text)
  end
end

options.count = whole(1, "a whole number from 1")
options.whole = whole(0, "a whole number from 0")
options.share = number(function(value) return value >= 0 and value < 1 end, "a number from 0 to below 1")
options.amount = number(function(value) return value >= 0 and value < math.huge end, "a number from 0")
options.positive = number(function(value) return value > 0 and value < math.huge end, "a number above 0")
options.amount = number(function(value) return value >= 0 and value < math.huge end, "a number from 0")
options.fraction = number(function(value) return value >= 0 and value <= 1 end, "a number from 0 to 1")

-- ----

--- A parser for the command line of this script.
-- @param about string: what the script does
-- @return argparse's parser
function options.parser(about)
  local found, argparse = pcall(require, "argparse")
  if not found then options.fail(HINT) end
  return argparse(arg[0], about):usage_max_width(100):help_max_width(100):help_description_margin(28)
end

--- An option with a value.
-- @param kind options.count and kin, or nil for text
-- @param what string? what the text is (default: a file)
function options.add(parser, name, kind, description, what)
  local option = parser:option("--" .. name, description):argname("<" .. (kind and "n" or what or "file") .. ">")
  if kind then
    option:convert(function(text)
      local value, problem = kind(text)
      if value == nil then return nil, ("--%s: %s"):format(name, problem) end
      return value
    end)
  end
  return option
end

--- An option whose value is one of some words, the first being the default.
function options.choose(parser, name, words, description)
  description = ("%s: %s (default: %s)"):format(description, table.concat(words, ", "), words[1])
  return parser:option("--" .. name, description):argname "<word>":choices(words):default(words[1]):show_default(false)
end

--- The options given. A mistake ends the script with code 2 and a message that names it.
function options.parse(parser)
  local fine, result = parser:pparse()
  if fine then return result end
  options.fail(("%s\n%s"):format(result, parser:get_usage() .. "\n--help tells more"), 2)
end

return options
