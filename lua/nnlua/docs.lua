--- What is known of everything public, collected from where it is declared: records of the engine (core.describe),
-- the comments above Lua functions (their source is compiled in), manual.lua for functions of C without a record,
-- and declarations such as those of schedules (check.declarations). Nothing is written twice. See help.lua for how it
-- reads.

local core = require "nnlua.core"
local check = require "nnlua.check"
local module = require "nnlua.module"

local docs = {}

local getinfo = type(debug) == "table" and debug.getinfo

local of_classes = { super = true, class_name = true, is_class = true } -- fields of every class

--- The names in a library, or any other table, sorted; those that are loaded when they are used included.
function docs.names(library)
  local set, names = {}, {}
  local meta = getmetatable(library)
  local more = type(meta) == "table" and rawget(meta, "__names")
  for _, name in ipairs(more and more() or {}) do set[name] = true end
  for name in next, library do
    if type(name) == "string" and name:sub(1, 1) ~= "_" and not of_classes[name] then set[name] = true end
  end
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- ---- comments in sources

local sources = {} -- the lines of each module or file

local function read_file(path)
  local file = io and io.open(path, "r")
  if not file then return nil end
  local text = file:read("*a")
  file:close()
  return text
end

local function lines_of(source)
  if sources[source] == nil then
    local text
    if source:sub(1, 1) == "=" then text = core.module_source(source:sub(2)) end
    if source:sub(1, 1) == "@" then text = read_file(source:sub(2)) end
    local lines = text and {}
    for line in (text and text .. "\n" or ""):gmatch "(.-)\r?\n" do lines[#lines + 1] = line end
    sources[source] = lines or false
  end
  return sources[source] or nil
end

local function add_tag(block, tag, text)
  if tag == "param" then
    local name, rest = text:match "^([%w_%.]+)%s*(.*)$"
    local param = { name = name or text, doc = rest or "" }
    block.params[#block.params + 1] = param
    return param
  end
  local entry = { doc = text }
  block[tag] = block[tag] or entry -- "return" and whatever else there may be
  return entry
end

-- The comment that ends at line `last`: its text, @param and @return. Nil where there is none that is meant for users,
-- which begins with three dashes.
local function read_comment(lines, last)
  local first = last
  while first >= 1 and lines[first]:find "^%s*%-%-" do first = first - 1 end
  first = first + 1
  if first > last or not lines[first]:find "^%s*%-%-%-" then return nil end
  local block = { doc = "", params = {} }
  local target = block
  for i = first, last do
    local text = lines[i]:gsub("^%s*%-%-%-?%s?", "")
    local tag, rest = text:match "^@(%a+)%s*(.*)$"
    if tag then
      target = add_tag(block, tag, rest)
    else
      target.doc = target.doc == "" and text or target.doc .. "\n" .. text
    end
  end
  return block
end

-- What stands above a Lua function, its arguments as written, and the lines of its body.
local function comment_of(fn)
  local info = getinfo and getinfo(fn, "S")
  if not info or info.what == "C" then return nil end
  local lines = lines_of(info.source)
  local at = info.linedefined
  if not lines or not lines[at] then return nil, info end
  local block = read_comment(lines, at - 1)
  if block then block.arguments = lines[at]:match "function[^%(]*(%b())" end
  return block, info
end

-- ---- manual.lua

local manual

local function read_manual()
  local entries, lines = {}, lines_of "=nnlua.manual" or {}
  for i, line in ipairs(lines) do
    local name, arguments = line:match "^function ([%w_%.:]+)(%b())"
    name = name or line:match "^([%w_]+%.[%w_]+) = nil"
    if name then
      entries[name] = read_comment(lines, i - 1)
      if entries[name] then entries[name].arguments = arguments end
    end
  end
  return entries
end

-- ---- options of Lua functions, found where the function checks them

local function keys_of(braces)
  local names = {}
  for name in braces:gmatch "([%a_][%w_]*)%s*=" do names[#names + 1] = name end
  return names
end

local function body_of(info)
  local lines = lines_of(info.source)
  return lines and table.concat(lines, "\n", info.linedefined, info.lastlinedefined) or ""
end

-- The names in check.options(who, options, {...}), or in the table that stands there by name.
local function checked_options(info)
  if not info.source then return {} end
  local body = body_of(info)
  local _, stop = body:find "check%.options%([^,]+,[^,]+,%s*"
  if not stop then return {} end
  local braces = body:match("^%b{}", stop + 1)
  local name = not braces and body:match("^[%w_]+", stop + 1)
  local lines = name and lines_of(info.source)
  if lines then braces = table.concat(lines, "\n"):match("local " .. name .. " = (%b{})") end
  return braces and keys_of(braces) or {}
end

local no_names = { ["false"] = true, ["true"] = true, ["nil"] = true }

local function is_table_of_options(param)
  return param.name == "options" or param.doc:find "^table" ~= nil
end

-- Options as a comment lists them, "name: text" each on a line or behind a stop, or "name (text)" one after the other.
local function listed_options(block)
  local list = {}
  for _, param in ipairs(block and block.params or {}) do
    local text = is_table_of_options(param) and "\n" .. param.doc or ""
    local at, name, start = text:match "()[\n;%.]%s*([%a_][%w_]*): ()"
    while name do
      local next_at, next_name, next_start = text:match("()[\n;%.]%s*([%a_][%w_]*): ()", start)
      local doc = text:sub(start, (next_at or #text + 1) - 1):gsub("%s+", " ")
      if not no_names[name] then list[#list + 1] = { name = name, doc = doc } end
      at, name, start = next_at, next_name, next_start
    end
    for short, note in (at == nil and #list == 0 and text or ""):gmatch "([%a_][%w_]*)%s*(%b())" do
      list[#list + 1] = { name = short, doc = note:sub(2, -2):gsub("%s+", " ") }
    end
  end
  return list
end

local function options_of_function(block, info)
  local listed, options, notes = listed_options(block), {}, {}
  for _, option in ipairs(listed) do notes[option.name] = option.doc end
  for i, name in ipairs(checked_options(info)) do options[i] = { name = name, doc = notes[name] or "" } end
  return #options > 0 and options or listed
end

local index

-- ---- an entry

-- For a record: how its arguments are written. Those that may be left out stand in brackets.
local function record_arguments(record, skip)
  local words, named = {}, false
  for i, option in ipairs(record.options) do
    local positional = option.positional or record.kind == "operation"
    if positional and i > skip then
      words[#words + 1] = option.required and option.name or "[" .. option.name .. "]"
    end
    named = named or not positional
  end
  if named then words[#words + 1] = "{options}" end
  return words
end

local leading = { optimizer = "params", initializer = "tensor" }

local function arguments_of_record(record, is_method)
  local words = record_arguments(record, is_method and 1 or 0)
  if leading[record.kind] then table.insert(words, 1, leading[record.kind]) end
  return "(" .. table.concat(words, ", ") .. ")"
end

local function entry_of_record(item, record)
  local is_method = item.name:find ":" ~= nil
  return {
    kind = record.kind, doc = record.doc, record = record, arguments = arguments_of_record(record, is_method),
    options = record.options, in_place = record.kind == "operation" and item.short:sub(-1) == "_",
  }
end

-- The text behind a name in a list within a comment: lines "--   NAME   text", or of several names, those that go on
-- further to the right.
local function listed(source, name)
  local text
  for _, line in ipairs(lines_of(source) or {}) do
    local names, rest = line:match "^%-%-   (%w[%w_ ]-)%s%s+(%S.*)$"
    if not names then names, rest = line:match "^%-%-   (%w[%w_ ]-) (means .*)$" end
    local more = line:match "^%-%-        +(%S.*)$"
    if text and not more then return text end
    if text then
      text = text .. " " .. more
    elseif names and (" " .. names .. " "):find(" " .. name .. " ", 1, true) then
      text = rest
    end
  end
  return text or ""
end

local function entry_of_listed(declaration, options)
  for _, option in ipairs(options) do
    local words = type(option.type) == "table" and docs.names(option.type)
    if words then option.type, option.choices = "", table.concat(words, " ") end
  end
  return {
    kind = "function", doc = listed("=nnlua." .. declaration.listed[1], declaration.listed[2]), options = options,
    arguments = "(prediction, target, {options})",
  }
end

local function entry_of_declaration(declaration)
  local options = {}
  for name, rule in pairs(declaration.options or {}) do
    options[#options + 1] = {
      name = name, doc = "", type = rule, default = declaration.defaults and declaration.defaults[name],
    }
  end
  table.sort(options, function(a, b) return a.name < b.name end)
  if declaration.listed then return entry_of_listed(declaration, options) end
  local words = { declaration.leading or "optimizer" }
  for _, name in ipairs(declaration.arguments or {}) do words[#words + 1] = name end
  if #options > #words - 1 then words[#words + 1] = "{options}" end
  return {
    kind = declaration.kind or "schedule", doc = declaration.doc, options = options,
    arguments = declaration.arguments and "(" .. table.concat(words, ", ") .. ")",
  }
end

local function entry_of_comment(block, info)
  return {
    kind = "function", doc = block and block.doc or "", arguments = block and block.arguments or "(...)",
    params = block and block.params, returns = block and block["return"] and block["return"].doc,
    options = options_of_function(block, info or {}),
  }
end

local function entry_of_manual(name)
  manual = manual or read_manual()
  local block = manual[name]
  if not block then return nil end
  return {
    kind = block.arguments and "function" or "field", doc = block.doc, arguments = block.arguments,
    params = block.params, returns = block["return"] and block["return"].doc, options = listed_options(block),
  }
end

-- What a module says of itself at its top. A library without functions of Lua has nothing to say.
local function header_of(library)
  local source
  for _, name in ipairs(docs.names(library)) do
    local info = type(library[name]) == "function" and getinfo and getinfo(library[name], "S")
    if info and info.what ~= "C" then source = source or info.source end
  end
  local lines = source and lines_of(source) or {}
  local last = 0
  while lines[last + 1] and lines[last + 1]:find "^%-%-" do last = last + 1 end
  local block = last > 0 and read_comment(lines, last)
  return block and block.doc or ""
end

-- A class: its comment stands above the line that makes it.
local function entry_of_class(class)
  local init = class.init
  local info = getinfo and type(init) == "function" and getinfo(rawget(class, "forward") or init, "S")
  local lines = info and info.what ~= "C" and lines_of(info.source) or {}
  local made = (":extend%%(?%%s*[\"']%s[\"']"):format(class.class_name or tostring(class.name))
  local block
  for i, line in ipairs(lines) do
    if line:find(made) then block = read_comment(lines, i - 1) end
  end
  local own = rawget(class, "init")
  local above, place
  if own then above, place = comment_of(own) end
  local entry = entry_of_comment(above or block, place)
  entry.kind, entry.arguments = "class", above and above.arguments
  if block then entry.doc = block.doc end
  if entry.doc == "" then entry.doc = header_of(class) end
  return entry
end

local function record_of(item)
  if item.lua then return nil end
  local record = core.describe(item.short)
  if not record and item.short:sub(-1) == "_" then record = core.describe(item.short:sub(1, -2)) end
  return record
end

local function has_options(info)
  return info and info.what ~= "C" and info.source:find "^=nnlua" ~= nil
end

-- Everything there is to say of an item of the index.
local function make_entry(item)
  local value = item.value
  local stub = module.stubs[value]
  if stub then value = require("nnlua." .. stub[1]).methods[stub[2]] end
  local record = record_of(item)
  if record then return entry_of_record(item, record) end
  if check.declarations[value] then return entry_of_declaration(check.declarations[value]) end
  local written = entry_of_manual(item.name)
  if written and docs.is_library(value) then written.kind = "library" end
  if written then return written end
  if type(value) == "function" then
    local block, info = comment_of(value)
    if block or has_options(info) then return entry_of_comment(block, info) end
  elseif type(value) == "table" then
    if rawget(value, "class_name") or rawget(value, "is_class") then return entry_of_class(value) end
    return { kind = "library", doc = header_of(value), options = {} }
  end
  return { kind = type(value), doc = "", options = {} }
end

-- Another name of what has a record, or a place in the manual, reads as that.
local function main_item(item)
  local main = index.by_value[item.value]
  return main and main ~= item and not record_of(item) and record_of(main) and main or nil
end

local function entry_of(item)
  if not item.entry then
    local main = item.value ~= nil and main_item(item)
    item.entry = make_entry(main or item)
    if main then item.entry.doc = ("Another name of %s: %s"):format(main.short, item.entry.doc) end
    item.entry.name = item.name
    item.entry.value = item.value
  end
  return item.entry
end

-- ---- the index: everything public by name and by value

--- Whether a table is a library: made of functions, without a class.
function docs.is_library(value)
  if type(value) ~= "table" then return false end
  local meta = getmetatable(value)
  return meta == nil or (type(meta) == "table" and rawget(meta, "__library") ~= nil)
end

local function is_lua(value)
  if type(value) ~= "function" then return type(value) == "table" end
  local info = getinfo and getinfo(value, "S")
  return info ~= nil and info.what ~= "C"
end

local function add(prefix, name, value)
  local item = { name = prefix .. name, short = name, value = value, lua = is_lua(value) }
  index.list[#index.list + 1] = item
  index.by_name[item.name] = item
  local known = index.by_value[value]
  local better = not known or (not record_of(known) and record_of(item))
  local kind = type(value)
  if better and (kind == "function" or kind == "table" or kind == "userdata") then index.by_value[value] = item end
end

local function add_methods(prefix, methods)
  for _, name in ipairs(docs.names(methods)) do
    if type(methods[name]) == "function" then add(prefix, name, methods[name]) end
  end
end

local function add_library(prefix, library, depth)
  for _, name in ipairs(docs.names(library)) do
    local value = library[name]
    add(prefix, name, value)
    if depth < 3 and docs.is_library(value) then add_library(prefix .. name .. ".", value, depth + 1) end
  end
end

local function add_classes()
  for _, name in ipairs(docs.names(require "nnlua.containers")) do
    local class = require("nnlua.containers")[name]
    for _, method in ipairs(type(class) == "table" and docs.names(class) or {}) do
      local value = class[method]
      local own = type(value) == "function" and not index.by_value[value] and method ~= "forward" and method ~= "init"
      if own then add(name .. ":", method, value) end
    end
  end
end

local function make_index()
  if index then return index end
  index = { list = {}, by_name = {}, by_value = {} }
  add_library("nn.", require "nnlua", 0)
  add_methods("tensor:", core.tensor_methods)
  add_methods("model:", module.Module)
  add_methods("layer:", { forward = core.layer_methods.forward })
  add_methods("optimizer:", core.optimizer_methods)
  add_classes()
  manual = manual or read_manual()
  for name, block in pairs(manual) do
    if not index.by_name[name] and not block.arguments then
      index.list[#index.list + 1] = { name = name, short = name:match "[^%.]+$" }
      index.by_name[name] = index.list[#index.list]
    end
  end
  table.sort(index.list, function(a, b) return a.name < b.name end)
  return index
end

--- The entry of a value, or nil: name, kind, doc, arguments (text), options (a list of tables with name, doc, type,
-- default, choices), params, returns, record.
function docs.of(value)
  if value == nil then return nil end
  local item = make_index().by_value[value]
  if item then return entry_of(item) end
  if type(value) ~= "function" then return nil end
  local block, info = comment_of(value)
  if not block then return nil, info end
  local entry = entry_of_comment(block, info)
  entry.name, entry.value = (info.source .. ":" .. info.linedefined):gsub("^[@=]", ""), value
  return entry, info
end

--- The entry of a whole name such as "nn.Dense" or "tensor:sum", or nil.
function docs.named(name)
  local item = make_index().by_name[name]
  return item and entry_of(item)
end

--- All entries, by name.
function docs.all()
  local list = {}
  for i, item in ipairs(make_index().list) do list[i] = entry_of(item) end
  return list
end

--- A call of this entry, as it is written.
function docs.signature(entry)
  return entry.name:gsub("^tensor([:.])", "x%1") .. (entry.arguments or "")
end

--- The first sentence of a text.
function docs.first_sentence(text)
  text = text:gsub("%s+", " ")
  return text:match "^(.-[%.;])%s" or text
end

return docs
