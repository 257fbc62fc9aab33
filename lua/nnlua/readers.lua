--- nn.data.idx and kin: files of tensors. What is wrong with a file is not raised but returned: nil and a message.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local readers = {}

local function check_path(who, path)
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
end

--- All bytes of a file, plain or in gzip, as a string.
-- @param path string
-- @return string; nil and a message where the file cannot be read
function readers.bytes(path)
  check_path("nn.data.bytes", path)
  return core.readers.bytes(path)
end

--- The lines of a text file, plain or in gzip, without what ends them: \n or \r\n.
-- @param path string
-- @return list of strings; nil and a message where the file cannot be read
function readers.lines(path)
  check_path("nn.data.lines", path)
  local text, message = readers.bytes(path)
  if not text then return nil, message end
  local lines = {}
  if text ~= "" and text:sub(-1) ~= "\n" then text = text .. "\n" end
  for line in text:gmatch("(.-)\r?\n") do lines[#lines + 1] = line end
  return lines
end

--- The names of what is in a folder, sorted.
-- @param path string
-- @return list of strings; nil and a message where the folder cannot be read
function readers.folder(path)
  check_path("nn.data.folder", path)
  return core.readers.folder(path)
end

-- ---- tar

local BLOCK = 512

-- A text field ends at its first zero byte.
local function field(header, first, last)
  return (header:sub(first, last):match("^[^%z]*"))
end

local function octal(text)
  return tonumber(text:match("^[ %z]*([0-7]+)[ %z]*$") or "", 8)
end

-- The sum of all bytes of a header, its own field counting as blanks.
local function is_header(header)
  local sum = 8 * 32
  for i = 1, BLOCK do
    if i < 149 or i > 156 then sum = sum + header:byte(i) end
  end
  return octal(header:sub(149, 156)) == sum
end

local function tar_name(header, long)
  local name, prefix = field(header, 1, 100), field(header, 346, 500)
  if long then return long end
  if header:sub(258, 262) == "ustar" and header:sub(263, 263) == "\0" and prefix ~= "" then
    return prefix .. "/" .. name
  end
  return name
end

-- The name in the records "length path=name\n" of POSIX.1-2001, which hold for the next file.
local function pax_name(records)
  local name
  while records ~= "" do
    local length = tonumber(records:match("^(%d+) ") or "")
    if not length or length < 5 or length > #records then return name end
    name = records:sub(1, length):match("^%d+ path=(.*)\n$") or name
    records = records:sub(length + 1)
  end
  return name
end

-- Kinds of entries: those that are files, and those whose contents tell the name of the next one.
local is_file = { ["0"] = true, ["\0"] = true, ["7"] = true }
local long_names = {
  L = function(contents) return field(contents, 1, -1) end,
  x = pax_name,
}

local function untar(bytes)
  local names, contents, at, long = {}, {}, 1, nil
  while at + BLOCK - 1 <= #bytes do
    local header = bytes:sub(at, at + BLOCK - 1)
    if not header:find("[^%z]") then break end
    local size = octal(header:sub(125, 136))
    if not is_header(header) or not size then
      return nil, ("no tar archive: there is no header at byte %d"):format(at - 1)
    end
    at = at + BLOCK
    if at + size - 1 > #bytes then return nil, "the archive ends in the middle of " .. tar_name(header, long) end
    local kind = header:sub(157, 157)
    local body = (is_file[kind] or long_names[kind]) and bytes:sub(at, at + size - 1)
    if long_names[kind] then
      long = long_names[kind](body) or long
    else
      local name = tar_name(header, long)
      if is_file[kind] and name:sub(-1) ~= "/" then
        if not contents[name] then names[#names + 1] = name end
        contents[name] = body
      end
      long = nil
    end
    at = at + math.ceil(size / BLOCK) * BLOCK
  end
  return contents, names
end

--- The files in a tar archive, plain or in gzip: nothing is written to the disk.
-- @param path string
-- @return table with the bytes of each file by its name in the archive, and a list of the names in the archive's order
-- (of files with one name the last counts); nil and a message where it cannot be read
function readers.tar(path)
  check_path("nn.data.tar", path)
  local bytes, message = readers.bytes(path)
  if not bytes then return nil, message end
  local contents, names = untar(bytes)
  if not contents then return nil, ("%s: %s"):format(path, names) end
  return contents, names
end

-- ---- tensors

--- Read an IDX file, the format of MNIST's, plain or in gzip.
-- @param path string
-- @return tensor of the file's shape: uint8, int32, float32 or float64; int64 where the file has integers of 8 or 16
-- bits with a sign. nil and a message where the file cannot be read
function readers.idx(path)
  check_path("nn.data.idx", path)
  return core.readers.idx(path)
end

local npy_options = { mmap = "boolean" }

--- Read NumPy's .npy, or write one.
-- Reading knows every number that fits a dtype here: integers of 8 and 16 bits with a sign and of 16, 32 and 64 without
-- become int64. A large file is mapped: its elements come from the disk as they are needed, and changes to the tensor
-- stay in memory. Writing replaces the file at once or not at all; bfloat16, which NumPy has not, becomes float32.
-- @param path string
-- @param value tensor|table? the tensor to write; or the options of reading: mmap (true or false: map a file of any
-- size, or never; left out: those from 1 MB on)
-- @return the tensor that was read, or true; nil and a message where the file cannot be read or written
function readers.npy(path, value)
  check_path("nn.data.npy", path)
  if core.is_tensor(value) then return core.readers.write_npy(path, value) end
  if value ~= nil and type(value) ~= "table" then
    check.expect("nn.data.npy", "argument 2", value, "a tensor to write")
  end
  return core.readers.npy(path, check.options("nn.data.npy", value, npy_options).mmap)
end

-- As numpy.savez does: those without a name are called arr_0, arr_1, ...
local function name_arrays(values)
  local named, names = {}, {}
  for key, value in pairs(values) do
    local name = key
    if compat.is_whole(key) and key >= 1 then name = ("arr_%d"):format(key - 1) end
    if type(name) ~= "string" then check.expect("nn.data.npz", "key", key, "a name, or a position from 1") end
    if name == "" or name:find("%z") then check.expect("nn.data.npz", "key", key, "a name without zero bytes") end
    check.tensor("nn.data.npz", name, value)
    if named[name] then check.fail("nn.data.npz", ("two arrays would be called %q"):format(name)) end
    named[name], names[#names + 1] = value, name
  end
  table.sort(names)
  return named, names
end

local npz_options = { compress = "boolean" }

--- Read NumPy's .npz, or write one.
-- @param path string
-- @param values table? the tensors to write, by name; those in a list are called arr_0, arr_1, ... as in numpy.savez
-- @param options table? of writing: compress (false)
-- @return a table of tensors by name, and the list of names in the order of the file; true where one was written. nil
-- and a message where the file cannot be read or written
function readers.npz(path, values, options)
  check_path("nn.data.npz", path)
  if values == nil then
    local tensors, message, names = core.readers.npz(path)
    if not tensors then return nil, message end
    return tensors, names
  end
  if type(values) ~= "table" then check.expect("nn.data.npz", "argument 2", values, "a table of tensors to write") end
  options = check.options("nn.data.npz", options, npz_options)
  local named, names = name_arrays(values)
  return core.readers.write_npz(path, named, names, options.compress)
end

--- Read a sound file: see nn.audio.load.
function readers.audio(source, options)
  return require("nnlua.audio").load(source, options)
end

return readers
