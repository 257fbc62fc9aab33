--- nn.data.idx and kin: files of tensors. What is wrong with a file is not raised but returned: nil and a message.

local core = require "nnlua.core"
local check = require "nnlua.check"

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

return readers
