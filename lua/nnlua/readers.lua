--- nn.data.idx and kin: files of tensors. What is wrong with a file is not raised but returned: nil and a message.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local readers = {}

local function check_path(who, path)
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
end

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
