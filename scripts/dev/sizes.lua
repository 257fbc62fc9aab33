-- sizes.lua: reports files, functions and opening comments that are longer than the style allows.
--
--   lua5.4 scripts/dev/sizes.lua src/base/alloc.c lua/nnlua/init.lua ...
--
-- A function is what begins in the first column and ends with `}` (in Lua: `end`) in the first column.

local FILE_LINES, FUNCTION_LINES, OPENING_LINES = 800, 80, 4

local LANGUAGES = {
  c = {begins = "^[%a_].*{$", ends = "^}", named = "([%w_]+)%(", comment = "^//"},
  lua = {begins = "^[%w_%., =]*function[ %(]", ends = "^end", named = "function ([%w_%.:]+)", comment = "^%-%-"},
}
LANGUAGES.h = LANGUAGES.c

local complaints, lengths, longest = 0, {}, {lines = 0, name = "none"}

local function complain(path, line, ...)
  complaints = complaints + 1
  print(("%s:%d: "):format(path, line) .. string.format(...))
end

--- The lines of a file, and with a last line for whoever looks one ahead.
local function read_lines(path)
  local lines = {}
  for line in io.lines(path) do
    lines[#lines + 1] = line
  end
  return lines
end

--- Where the function that opens at `first` has the first line of its head: C's may be spread over several.
local function head_of(lines, first)
  while first > 1 and not lines[first]:find("^[%a_]") do
    first = first - 1
  end
  return first
end

local function record(path, first, last, name)
  local count = last - first + 1
  lengths[#lengths + 1] = count
  if count > longest.lines then
    longest = {lines = count, name = ("%s in %s"):format(name, path)}
  end
  if count > FUNCTION_LINES then
    complain(path, first, "%s has %d lines, %d are allowed", name, count, FUNCTION_LINES)
  end
end

--- Whether the line opens a function: in C, a block whose head has an argument list and no `=` (which is a table). In
-- Lua, what stands in the first column.
local function opens(lines, number, language)
  local line = lines[number]
  if language ~= LANGUAGES.c then
    return line:find("^%S") ~= nil and line:find(language.begins) ~= nil
  end
  if line:sub(-1) ~= "{" or line:find("^[{}#/]") then
    return false
  end
  local head = table.concat(lines, " ", head_of(lines, number), number)
  return head:find("%)%s*{$") ~= nil and not head:find("=", 1, true)
end

local function check_functions(path, lines, language)
  local first, name
  for number, line in ipairs(lines) do
    if first and line:find(language.ends) then
      record(path, first, number, name)
      first = nil
    elseif not first and opens(lines, number, language) then
      local begin = head_of(lines, number)
      name = lines[begin]:match(language.named) or lines[begin]
      -- A function on one line ends where it begins.
      if not (language == LANGUAGES.lua and line:find("%f[%w]end%)?$")) then
        first = begin
      end
    end
  end
end

local function check_opening(path, lines, language)
  local count = 0
  while lines[count + 1] and lines[count + 1]:find(language.comment) do
    count = count + 1
  end
  if count > OPENING_LINES then
    complain(path, 1, "opens with %d lines of comment, %d are allowed", count, OPENING_LINES)
  end
end

for _, path in ipairs(arg) do
  local language = LANGUAGES[path:match("%.(%w+)$")]
  local lines = read_lines(path)
  if #lines > FILE_LINES then
    complain(path, #lines, "%d lines, %d are allowed", #lines, FILE_LINES)
  end
  if language then
    check_functions(path, lines, language)
  end
  if path:find("^src/") then
    check_opening(path, lines, language or LANGUAGES.c)
  end
end

table.sort(lengths)
print(("%d files, %d functions: median %d lines, longest %d (%s); %d complaints"):format(
  #arg, #lengths, lengths[math.ceil(#lengths / 2)] or 0, longest.lines, longest.name, complaints))
os.exit(complaints == 0 and 0 or 1)
