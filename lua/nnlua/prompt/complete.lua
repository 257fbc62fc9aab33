--- What may stand where the cursor is: names, fields, methods, options and their values, files, keywords.
-- Nothing is run to find out: only tables are read, and what belongs to nnlua is asked.

local core = require "nnlua.core"
local docs = require "nnlua.docs"
local tree = require "nnlua.tree"

local complete = {}

local KEYWORDS = [[and break do else elseif end false for function goto if in local nil not or repeat return then true
  until while]]
local MOST_NAMES = 2000

-- ---- where the cursor is

local function long_bracket(text, i)
  local level = text:match("^%[(=*)%[", i)
  return level and "]" .. level .. "]"
end

-- The end of a short string that begins at i; nil where it is open.
local function string_end(text, i)
  local quote = text:sub(i, i)
  local at = i + 1
  while at <= #text do
    local c = text:sub(at, at)
    if c == quote or c == "\n" then return at end
    at = at + (c == "\\" and 2 or 1)
  end
  return nil
end

-- After a comment, string or bracket at i: where it goes on, or nil and what is open.
local function step(text, i, stack)
  local c = text:sub(i, i)
  if text:find("^%-%-", i) then
    local close = long_bracket(text, i + 2)
    local _, stop = text:find(close or "\n", i + 2, true)
    return stop and stop + 1, "comment"
  elseif c == "'" or c == '"' then
    local stop = string_end(text, i)
    return stop and stop + 1, "string"
  elseif long_bracket(text, i) then
    local _, stop = text:find(long_bracket(text, i), i + 1, true)
    return stop and stop + 1, "long"
  elseif c == "(" or c == "{" or c == "[" then
    stack[#stack + 1] = { c, i }
  elseif c == ")" or c == "}" or c == "]" then
    stack[#stack] = nil
  end
  return i + 1
end

-- The open brackets at the end of the text; the comment or string that is open there, if one is, and its place.
local function scan(text)
  local stack, i = {}, 1
  while i <= #text do
    local after, open = step(text, i, stack)
    if not after then return stack, open, i end
    i = after
  end
  return stack
end

-- ---- expressions: a.b.c, a[1].b, nn.Dense(2, 3), "text"

-- The expression that ends the text, without what stands before it.
local function last_expression(text)
  local at = #text
  while at > 0 do
    local head = text:sub(1, at)
    local quoted = at == #text and head:match "()([\"'])[^\n]*%2$"
    if quoted then return text:sub(quoted) end
    local closed = head:match "()%b()$" or head:match "()%b[]$" or head:match "()%b{}$"
    local name = head:match "()[%a_][%w_]*$"
    if closed then
      at = closed - 1
    elseif name then
      at = name - 1
      local before = text:sub(at, at)
      if before ~= "." and before ~= ":" or text:sub(at - 1, at) == ".." then break end
      at = at - 1
    else
      break
    end
  end
  return text:sub(at + 1)
end

local function fields_of_layer(layer)
  local names = { "training" }
  for _, slot in ipairs(layer:_tensors()) do names[#names + 1] = slot[1] end
  local record = core.describe(layer:_class())
  for _, option in ipairs(record and record.options or {}) do names[#names + 1] = option.name end
  return names
end

-- Reading a field runs nothing of the user's: __index is followed where it is a table, and asked where it is nnlua's.
local function field(value, name)
  if core.is_tensor(value) then return core.tensor_methods[name] end
  if core.is_layer(value) then return core.layer_methods[name] end
  if core.is_optimizer(value) then return core.optimizer_methods[name] end
  for _ = 1, 20 do
    local meta = type(value) ~= "table" and getmetatable(value)
    if type(value) == "table" then
      local found = rawget(value, name)
      if found ~= nil then return found end
      meta = getmetatable(value)
    end
    if type(meta) ~= "table" then return nil end
    local index = rawget(meta, "__index")
    if type(index) == "function" and rawget(meta, "__names") then return value[name] end
    if type(index) ~= "table" then return nil end
    value = index
  end
end

-- What a call of a function gives, as far as its declaration tells: a table of methods to stand for the value.
local function result_of(fn)
  local entry = docs.of(fn)
  if not entry then return nil end
  if entry.kind == "layer" or entry.kind == "loss" then return { methods = core.layer_methods, entry = entry } end
  if entry.kind == "optimizer" then return { methods = core.optimizer_methods } end
  if entry.kind == "class" then return { methods = require("nnlua.module").Module } end
  local creates = entry.kind == "operation" or (entry.returns or ""):find "tensor"
  return creates and { methods = core.tensor_methods } or nil
end

local function read_key(text)
  local number = tonumber(text)
  if number then return number end
  return text:match "^%s*[\"'](.*)[\"']%s*$"
end

-- The value of an expression, or what is known of it: {value = v} or {methods = table}; nil for anything else.
local function resolve(expression)
  local name, rest = expression:match "^([%a_][%w_]*)(.*)$"
  if not name then
    return expression:find "^%(?%s*[\"'][^\"']*[\"']%s*%)?$" and { value = "" } or nil
  end
  local now = { value = field(_G, name) }
  while rest ~= "" do
    if now.value == nil and not now.methods then return nil end
    local key, after = rest:match "^[%.:]([%a_][%w_]*)(.*)$"
    local closed = not key and (rest:match "^%b()" or rest:match "^%b{}")
    local index = not key and not closed and rest:match "^%b[]"
    if key then
      now = { value = now.methods and now.methods[key] or field(now.value, key) }
    elseif closed then
      now = result_of(now.value) or {}
      after = rest:sub(#closed + 1)
    elseif index then
      local position = read_key(index:sub(2, -2))
      if type(now.value) ~= "table" or position == nil then return nil end
      now = { value = rawget(now.value, position) }
      after = rest:sub(#index + 1)
    else
      return nil
    end
    rest = after
  end
  return now
end

-- ---- names

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

local function add_table(set, t, only_functions)
  local count = 0
  for name, value in next, t do
    local fits = type(name) == "string" and name:find "^[%a_][%w_]*$"
    if fits and (not only_functions or type(value) == "function" or type(value) == "table") then set[name] = true end
    count = count + 1
    if count > MOST_NAMES then return end
  end
end

local function add_list(set, list)
  for _, name in ipairs(list) do set[name] = true end
end

local function add_own(set, value, only_functions)
  if core.is_tensor(value) then
    add_table(set, core.tensor_methods)
    if not only_functions then add_list(set, { "shape", "dtype", "ndim", "grad", "requires_grad", "is_leaf" }) end
  elseif core.is_layer(value) then
    add_table(set, core.layer_methods)
    if not only_functions then add_list(set, fields_of_layer(value)) end
  elseif core.is_optimizer(value) then
    add_table(set, core.optimizer_methods)
    if not only_functions then add_list(set, { "lr", "param_groups" }) end
  else
    return false
  end
  return true
end

-- Fields of a value; for a colon only what can be called.
local function members(value, only_functions)
  local set = {}
  if add_own(set, value, only_functions) then return set end
  for _ = 1, 20 do
    if type(value) == "table" then add_table(set, value, only_functions) end
    local meta = getmetatable(value)
    if type(meta) ~= "table" then break end
    if rawget(meta, "__names") then add_list(set, meta.__names()) end
    value = rawget(meta, "__index")
    if type(value) ~= "table" then break end
  end
  return set
end

-- Those that begin with the word. Names with an underscore in front are for who asks for them.
local function matching(names, word)
  local list = {}
  for _, name in ipairs(names) do
    local hidden = name:sub(1, 1) == "_" and word:sub(1, 1) ~= "_"
    if name:sub(1, #word) == word and not hidden then list[#list + 1] = name end
  end
  return list
end

local function global_names()
  local set = members(_G, false)
  for word in KEYWORDS:gmatch "%a+" do set[word] = true end
  return sorted(set)
end

local function member_names(before, word)
  local separator = before:sub(-1)
  local expression = last_expression(before:sub(1, -2))
  local found = resolve(expression)
  if not found then return {} end
  if found.value == nil and not found.methods then return {} end
  local set = {}
  if found.methods then add_table(set, found.methods) else set = members(found.value, separator == ":") end
  return matching(sorted(set), word)
end

-- ---- options

-- The options of the call whose table is open: a list of declarations, and the text of the table so far.
local function open_options(text, stack)
  local top = stack[#stack]
  if not top or top[1] ~= "{" then return nil end
  local before = text:sub(1, top[2] - 1):gsub("%s+$", "")
  local outer = stack[#stack - 1]
  local last = before:sub(-1)
  if (last == "," or last == "(") and outer and outer[1] == "(" then
    before = text:sub(1, outer[2] - 1):gsub("%s+$", "")
  end
  local callee = last_expression(before)
  local found = callee ~= "" and resolve(callee)
  if not found or found.value == nil then return nil end
  local value = found.value
  local entry
  if core.is_layer(value) then
    entry = core.describe(value:_class())
    return entry and entry.call or nil, text:sub(top[2] + 1)
  end
  if tree.class_of(value) then return nil end
  entry = docs.of(value)
  return entry and entry.options, text:sub(top[2] + 1)
end

local function option_names(options, given, word)
  local list = {}
  for _, option in ipairs(options) do
    local is_given = given:find("%f[%w_]" .. option.name .. "%s*=")
    if option.name:sub(1, #word) == word and not is_given then list[#list + 1] = option.name .. " = " end
  end
  return list
end

local function option_named(options, name)
  for _, option in ipairs(options or {}) do
    if option.name == name then return option end
  end
  return nil
end

local function words_of(choices)
  local list = {}
  for word in (choices or ""):gmatch "[^%s,]+" do list[#list + 1] = word end
  return list
end

-- The values of the option whose name and equals sign stand before the word.
local function option_values(options, before, word)
  local name = before:match "([%a_][%w_]*)%s*=%s*$"
  local option = name and option_named(options, name)
  if not option then return nil end
  if type(option.default) == "boolean" or option.type == "boolean" then
    return matching({ "false", "true" }, word)
  end
  local list = {}
  for i, choice in ipairs(words_of(option.choices)) do list[i] = ('"%s"'):format(choice) end
  return #list > 0 and matching(list, word) or nil
end

-- ---- files

local function file_names(path, list_folder)
  local folder, start = path:match "^(.*/)([^/]*)$"
  folder, start = folder or "", start or path
  local names = {}
  for _, name in ipairs(list_folder(folder == "" and "." or folder)) do
    local hidden = name:sub(1, 1) == "." and start:sub(1, 1) ~= "."
    if name:sub(1, #start) == start and not hidden then names[#names + 1] = name end
  end
  table.sort(names)
  return names, #start
end

-- ---- the whole

local function in_string(text, from, stack, list_folder)
  local inside = text:sub(from + 1)
  local options = open_options(text, stack)
  local name = text:sub(1, from - 1):match "([%a_][%w_]*)%s*=%s*$"
  local option = name and option_named(options, name)
  if option and option.choices then return matching(words_of(option.choices), inside), #inside end
  if last_expression(text:sub(1, from - 1):gsub("[%s%(]+$", "")) == "help" then
    local names = {}
    for _, entry in ipairs(docs.all()) do
      names[entry.name] = true
      names[entry.name:match "[^%.:]+$"] = true
    end
    return matching(sorted(names), inside), #inside
  end
  return file_names(inside, list_folder)
end

local function in_code(text, stack)
  local word = text:match "[%w_]*$"
  if word:find "^%d" then return {}, 0 end
  local before = text:sub(1, #text - #word)
  local joined = before:match "[%.:]$" and not before:find "%.%.$" and not before:find "%s[%.:]$"
  if joined then return member_names(before, word), #word end
  local options, given = open_options(text, stack)
  if options then
    local values = option_values(options, before, word)
    if values then return values, #word end
    local at_start = before:find "[{,;]%s*$"
    local names = at_start and option_names(options, given:sub(1, #given - #word), word) or {}
    if #names > 0 then return names, #word end
  end
  if word == "" then return {}, 0 end
  return matching(global_names(), word), #word
end

-- How many blocks each keyword opens.
local opens = {
  ["function"] = 1, ["do"] = 1, ["then"] = 1, ["repeat"] = 1, ["elseif"] = -1, ["end"] = -1, ["until"] = -1,
}

--- How deep in blocks and brackets the end of the text is; 0 inside of a string or comment.
function complete.depth(text)
  local stack, i, blocks = {}, 1, 0
  while i and i <= #text do
    local word = text:match("^[%a_][%w_]*", i)
    if word then
      blocks = blocks + (opens[word] or 0)
      i = i + #word
    else
      i = step(text, i, stack)
    end
  end
  return i and math.max(0, blocks + #stack) or 0
end

--- What could take the place of the end of the text.
-- @param text string up to the cursor, earlier lines of the same input included
-- @param list_folder function that gives the names in a folder as a list, those of folders with a slash behind
-- @return a sorted list of words, and how many bytes of the text's end each would replace
function complete.words(text, list_folder)
  local command = text:match "^%s*!(.*)$"
  if command then return file_names(command:match "[^%s\"']*$", list_folder) end
  local stack, open, from = scan(text)
  if open == "string" then return in_string(text, from, stack, list_folder) end
  if open then return {}, 0 end
  return in_code(text, stack)
end

return complete
