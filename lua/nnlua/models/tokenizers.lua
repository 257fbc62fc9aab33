--- The tokenizer of a published model's folder.

local core = require "nnlua.core"
local files = require "nnlua.files"

local tokenizers = {}

local function read_json(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local text = file:read("*a")
  file:close()
  local ok, value, problem = pcall(core.json_decode, text)
  if ok and type(value) == "table" then return value end
  return nil, ("%s: %s"):format(path, tostring(ok and (problem or "expected an object") or value))
end

--- nil where the folder has none; nil and a message where it cannot be read.
function tokenizers.read(folder)
  local path = folder .. "/tokenizer.json"
  if not files.exists(path) then return nil end
  local record, message = read_json(path)
  if not record then return nil, message end
  local model = record.model
  if type(model) ~= "table" or not model.byte_fallback or model.byte_fallback == core.json_null then return nil end
  local tokenizer, problem = require "nnlua.models.pieces".new(record)
  if not tokenizer then return nil, path .. ": " .. problem end
  return tokenizer
end

return tokenizers
