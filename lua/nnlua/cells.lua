--- Text as terminals show it: how many cells wide it is, and parts of it. Text is UTF-8; what is not counts as one cell
-- a byte, and control characters are shown as "?".

local cells = {}

-- First and last code points that are two cells wide (East Asian Wide and Fullwidth, emoji) ...
local wide = {
  0x1100, 0x115f, 0x231a, 0x231b, 0x2329, 0x232a, 0x23e9, 0x23ec, 0x23f0, 0x23f0, 0x23f3, 0x23f3, 0x25fd, 0x25fe,
  0x2614, 0x2615, 0x2648, 0x2653, 0x267f, 0x267f, 0x2693, 0x2693, 0x26a1, 0x26a1, 0x26aa, 0x26ab, 0x26bd, 0x26be,
  0x26c4, 0x26c5, 0x26ce, 0x26ce, 0x26d4, 0x26d4, 0x26ea, 0x26ea, 0x26f2, 0x26f3, 0x26f5, 0x26f5, 0x26fa, 0x26fa,
  0x26fd, 0x26fd, 0x2705, 0x2705, 0x270a, 0x270b, 0x2728, 0x2728, 0x274c, 0x274c, 0x274e, 0x274e, 0x2753, 0x2755,
  0x2757, 0x2757, 0x2795, 0x2797, 0x27b0, 0x27b0, 0x27bf, 0x27bf, 0x2b1b, 0x2b1c, 0x2b50, 0x2b50, 0x2b55, 0x2b55,
  0x2e80, 0x303e, 0x3041, 0x33ff, 0x3400, 0x4dbf, 0x4e00, 0xa4cf, 0xa960, 0xa97c, 0xac00, 0xd7a3, 0xf900, 0xfaff,
  0xfe30, 0xfe6f, 0xff01, 0xff60, 0xffe0, 0xffe6, 0x16fe0, 0x18aff, 0x1b000, 0x1b2ff, 0x1f004, 0x1f004,
  0x1f0cf, 0x1f0cf, 0x1f18e, 0x1f18e, 0x1f191, 0x1f19a, 0x1f200, 0x1f320, 0x1f32d, 0x1f335, 0x1f337, 0x1f37c,
  0x1f37e, 0x1f393, 0x1f3a0, 0x1f3ca, 0x1f3cf, 0x1f3d3, 0x1f3e0, 0x1f3f0, 0x1f3f4, 0x1f3f4, 0x1f3f8, 0x1f43e,
  0x1f440, 0x1f440, 0x1f442, 0x1f4fc, 0x1f4ff, 0x1f53d, 0x1f54b, 0x1f567, 0x1f57a, 0x1f57a, 0x1f595, 0x1f596,
  0x1f5a4, 0x1f5a4, 0x1f5fb, 0x1f64f, 0x1f680, 0x1f6c5, 0x1f6cc, 0x1f6cc, 0x1f6d0, 0x1f6d2, 0x1f6d5, 0x1f6ff,
  0x1f7e0, 0x1f7f0, 0x1f90c, 0x1f93a, 0x1f93c, 0x1f945, 0x1f947, 0x1f9ff, 0x1fa70, 0x1faff, 0x20000, 0x3fffd,
}

-- ... and that take no cell: marks over and under letters, joiners, selectors.
local none = {
  0x300, 0x36f, 0x483, 0x489, 0x591, 0x5bd, 0x610, 0x61a, 0x64b, 0x65f, 0x6d6, 0x6dc, 0x6df, 0x6e4, 0x93c, 0x93c,
  0x941, 0x948, 0x94d, 0x94d, 0xe31, 0xe31, 0xe34, 0xe3a, 0xe47, 0xe4e, 0x1160, 0x11ff, 0x1ab0, 0x1aff, 0x1dc0, 0x1dff,
  0x200b, 0x200f, 0x202a, 0x202e, 0x2060, 0x2064, 0x20d0, 0x20f0, 0x302a, 0x302d, 0x3099, 0x309a, 0xfe00, 0xfe0f,
  0xfe20, 0xfe2f, 0xfeff, 0xfeff, 0xe0100, 0xe01ef,
}

local function is_in(ranges, code)
  local low, high = 1, #ranges / 2
  while low <= high do
    local middle = math.floor((low + high) / 2)
    if code < ranges[2 * middle - 1] then
      high = middle - 1
    elseif code > ranges[2 * middle] then
      low = middle + 1
    else
      return true
    end
  end
  return false
end

-- The code point of a sequence of bytes; nil where it is not well-formed.
local function decode(character)
  local first, second, third, fourth = character:byte(1, 4)
  if #character == 1 then return first < 0x80 and first or nil end
  if #character == 2 then return (first - 0xc0) * 64 + second - 0x80 end
  if #character == 3 then return (first - 0xe0) * 4096 + (second - 0x80) * 64 + third - 0x80 end
  return (first - 0xf0) * 262144 + (second - 0x80) * 4096 + (third - 0x80) * 64 + fourth - 0x80
end

-- How many bytes a character has that begins with this byte.
local function length_from(byte)
  if byte < 0xc2 or byte > 0xf4 then return 1 end
  return byte < 0xe0 and 2 or byte < 0xf0 and 3 or 4
end

-- for character, its cells in each(text): bytes that are no UTF-8 and control characters come as "?".
local function each(text)
  local at = 1
  return function()
    if at > #text then return nil end
    local count = length_from(text:byte(at))
    local character = text:sub(at, at + count - 1)
    if count > 1 and not character:find("^[\194-\244][\128-\191]+$") or #character < count then
      count, character = 1, text:sub(at, at)
    end
    at = at + count
    local code = decode(character)
    if not code or code < 32 or (code >= 127 and code < 160) then return "?", 1 end
    if code < 0x300 then return character, 1 end
    return character, is_in(wide, code) and 2 or is_in(none, code) and 0 or 1
  end
end

--- How many cells a text takes.
function cells.width(text)
  if not text:find("[^\32-\126]") then return #text end
  local sum = 0
  for _, width in each(text) do sum = sum + width end
  return sum
end

--- The text without what a terminal would obey: control characters and broken UTF-8.
function cells.clean(text)
  if not text:find("[^\32-\126]") then return text end
  local list = {}
  for character in each(text) do list[#list + 1] = character end
  return table.concat(list)
end

--- As much of the beginning as fits in so many cells.
function cells.cut(text, most)
  if cells.width(text) <= most then return text end
  local list, sum = {}, 0
  for character, width in each(text) do
    sum = sum + width
    if sum > most then break end
    list[#list + 1] = character
  end
  return table.concat(list)
end

--- The text in so many cells: cut with "...", or "." where there is little room, or filled up with spaces.
-- @param right boolean? the spaces come before the text
function cells.fit(text, size, right)
  local width = cells.width(text)
  if width > size then
    local dots = ("."):rep(size < 2 and 0 or size < 6 and 1 or 3)
    text = cells.cut(text, size - #dots) .. dots
    width = cells.width(text)
  end
  local space = (" "):rep(size - width)
  return right and space .. text or text .. space
end

--- Whether the terminal says that it understands UTF-8.
function cells.are_utf8()
  local getenv = os and os.getenv
  if not getenv then return false end
  for _, name in ipairs { "LC_ALL", "LC_CTYPE", "LANG" } do
    local value = getenv(name)
    if value and value ~= "" then return value:lower():find("utf%-?8") ~= nil end
  end
  return false
end

--- Whether colours are welcome where there is a terminal: see no-color.org.
function cells.have_colour()
  local getenv = os and os.getenv
  if not getenv then return false end
  local no_color, term = getenv("NO_COLOR"), getenv("TERM")
  return (no_color == nil or no_color == "") and term ~= nil and term ~= "" and term ~= "dumb"
end

--- Whether the terminal can draw over what it shows.
function cells.can_redraw()
  local term = os and os.getenv and os.getenv("TERM")
  return term ~= nil and term ~= "" and term ~= "dumb"
end

return cells
