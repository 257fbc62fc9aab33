--- Values as the prompt shows them: as Lua would be written, over several lines where one is too short.

local core = require "nnlua.core"
local check = require "nnlua.check"
local docs = require "nnlua.docs"

local show = {}

local MOST_ITEMS, MOST_FIELDS = 100, 100 -- of one table
local MOST_VALUES = 1000 -- of all tables together
local MOST_DEPTH = 12
local MOST_SORTED = 10000 -- more keys are left in the order they come
local LONG_ALONE = 20000 -- bytes of a string that is no item of a table
local FILL = 28 -- items up to this width share a line

local colours = {
  string = "32", number = "36", boolean = "35", ["nil"] = "35", key = "34", note = "2", ["function"] = "33",
}

-- ---- small texts

local function paint(state, kind, text)
  local code = state.colour and colours[kind]
  return code and "\27[" .. code .. "m" .. text .. "\27[0m" or text
end

-- Columns that a text takes: characters, without what sets colours.
local function width_of(text)
  return #text:gsub("\27%[[%d;]*m", ""):gsub("[\128-\191]", "")
end

local escapes = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"' }

local function escape(c)
  return escapes[c] or ("\\%03d"):format(c:byte())
end

-- A number with its thousands apart: 99,900.
local function thousands(n)
  local text = ("%d"):format(n)
  local first = (#text - 1) % 3 + 1
  return text:sub(1, first) .. text:sub(first + 1):gsub("%d%d%d", ",%0")
end

-- A string that Lua reads back as the same string; a long one is cut, between characters.
local function quote(state, text, most)
  local short = text
  if #text > most then short = text:sub(1, most):gsub("[\192-\255][\128-\191]*$", "") end
  local quoted = paint(state, "string", '"' .. short:gsub('[%c"\\\127]', escape) .. '"')
  if short == text then return quoted end
  return quoted .. paint(state, "note", (" ... (%s bytes)"):format(thousands(#text)))
end

local keywords = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat return then true until
  while]]):gmatch "%a+" do keywords[word] = true end

-- ---- values that are no tables

local function tensor_in_short(t)
  local text = t:numel() <= 16 and tostring(t)
  if text and not text:find "\n" and #text <= 72 then return text end
  return ("tensor %s %s"):format(check.shape(t.shape), t.dtype)
end

local function function_text(state, fn)
  local entry, info = docs.of(fn)
  if entry and entry.record or (entry and entry.name:find "^%a[%w_]*[%.:]") then
    return paint(state, "function", "function " .. docs.signature(entry))
  end
  local place = info and info.what ~= "C" and (" (%s:%d)"):format(info.short_src, info.linedefined) or ""
  return paint(state, "function", tostring(fn) .. place)
end

local function first_line(text)
  local line = text:match "^[^\n]*"
  return line == text and text or line .. " ..."
end

-- As a table's item, on one line.
local function atom(state, value)
  local kind = type(value)
  if kind == "string" then return quote(state, value, math.max(20, state.width - 40)) end
  if kind == "function" then return function_text(state, value) end
  if core.is_tensor(value) then return tensor_in_short(value) end
  return paint(state, kind, first_line(tostring(value)))
end

-- ---- tables

-- A table that has no words of its own for itself.
local function is_plain(value)
  if type(value) ~= "table" then return false end
  local meta = getmetatable(value)
  return type(meta) ~= "table" or (rawget(meta, "__tostring") == nil and rawget(meta, "__name") == nil
    and rawget(meta, "__library") == nil)
end

local ranks = { number = 1, string = 2, boolean = 3 }

local function is_before(a, b)
  local x, y = ranks[type(a)] or 4, ranks[type(b)] or 4
  if x ~= y then return x < y end
  if x == 4 or x == 3 then return tostring(a) < tostring(b) end
  return a < b
end

-- Items 1, 2, ... up to the first nil.
local function sequence_length(t)
  local n = 0
  while rawget(t, n + 1) ~= nil do n = n + 1 end
  return n
end

-- The other keys in their order, and how many there are beyond those.
local function field_keys(t, length)
  local keys, more = {}, 0
  for key in next, t do
    local is_item = type(key) == "number" and key >= 1 and key <= length and key % 1 == 0
    if not is_item then
      if #keys < MOST_SORTED then keys[#keys + 1] = key else more = more + 1 end
    end
  end
  table.sort(keys, is_before)
  return keys, more
end

local render

local function key_text(state, key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" and not keywords[key] then
    return paint(state, "key", key) .. " = "
  end
  return "[" .. atom(state, key) .. "] = "
end

-- One of the values that may be shown; false when there were enough.
local function take(state)
  state.left = state.left - 1
  return state.left >= 0
end

-- The texts of a table's items, of which the first `count` come by position.
local function items_of(state, t, column, depth)
  local length, items = sequence_length(t), {}
  local shown = 0
  while shown < length and shown < MOST_ITEMS and take(state) do
    shown = shown + 1
    items[shown] = render(state, rawget(t, shown), column, depth)
  end
  if shown < length then
    items[#items + 1] = paint(state, "note", ("... %s more"):format(thousands(length - shown)))
  end
  local positions = #items
  local keys, more = field_keys(t, length)
  for i, key in ipairs(keys) do
    if i > MOST_FIELDS or not take(state) then
      more = more + #keys - i + 1
      break
    end
    local name = key_text(state, key)
    items[#items + 1] = name .. render(state, rawget(t, key), column + width_of(name), depth)
  end
  if more > 0 then items[#items + 1] = paint(state, "note", ("... %s more fields"):format(thousands(more))) end
  return items, positions
end

local function on_one_line(items, room)
  local width = 1
  for _, item in ipairs(items) do
    if item:find "\n" then return nil end
    width = width + width_of(item) + 2
    if width > room then return nil end
  end
  return "{" .. table.concat(items, ", ") .. "}"
end

-- Items one below the other, short ones side by side.
local function on_lines(state, items, positions, column)
  local space = (" "):rep(column)
  local lines, line = {}, nil
  local function flush()
    if line then lines[#lines + 1] = space .. line end
    line = nil
  end
  for i, item in ipairs(items) do
    local text = i < #items and item .. "," or item
    local narrow = i <= positions and not item:find "\n" and width_of(item) <= FILL
    if line and narrow and column + width_of(line) + 1 + width_of(text) <= state.width then
      line = line .. " " .. text
    else
      flush()
      line = text
      if not narrow then flush() end
    end
  end
  flush()
  return "{\n" .. table.concat(lines, "\n") .. "\n" .. (" "):rep(column - 2) .. "}"
end

local function render_table(state, t, column, depth)
  if state.above[t] then return paint(state, "note", "<cycle>") end
  if next(t) == nil then return "{}" end
  if depth > MOST_DEPTH or state.left <= 0 then return "{" .. paint(state, "note", "...") .. "}" end
  local level = 2 * depth
  state.above[t] = true
  local items, positions = items_of(state, t, level, depth + 1)
  state.above[t] = nil
  return on_one_line(items, state.width - column) or on_lines(state, items, positions, level)
end

function render(state, value, column, depth)
  if is_plain(value) then return render_table(state, value, column, depth) end
  return atom(state, value)
end

-- ---- libraries

local function columns(names, width)
  local widest = 1
  for _, name in ipairs(names) do widest = math.max(widest, #name) end
  local across = math.max(1, math.floor(width / (widest + 2)))
  local down = math.ceil(#names / across)
  local lines = {}
  for row = 1, down do
    local cells = {}
    for i = row, #names, down do cells[#cells + 1] = names[i] .. (" "):rep(widest - #names[i]) end
    lines[row] = (table.concat(cells, "  "):gsub("%s+$", ""))
  end
  return table.concat(lines, "\n")
end

--- Names side by side, in lines of this width.
show.columns = columns

local function library_name(value)
  local meta = type(value) == "table" and getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__library") or nil
end

local function library_text(state, library)
  local names = docs.names(library)
  local name = library_name(library)
  return columns(names, state.width) .. "\n" ..
    paint(state, "note", ("%s: %d names; help(%s) tells about them"):format(name, #names, name))
end

-- ---- the whole

--- A value as text for a person.
-- @param value anything
-- @param options table? width (80), colour (false)
-- @return string
function show.text(value, options)
  options = options or {}
  local state = { width = options.width or 80, colour = options.colour, left = MOST_VALUES, above = {} }
  if library_name(value) then return library_text(state, value) end
  if is_plain(value) then return render_table(state, value, 0, 1) end
  if type(value) == "string" then return quote(state, value, LONG_ALONE) end
  if type(value) == "function" then return function_text(state, value) end
  local kind = type(value)
  return paint(state, colours[kind] and kind or "", tostring(value))
end

return show
