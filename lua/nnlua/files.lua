--- nn.save, nn.load, nn.load_bytes and model:save. Files are safetensors; a model's file carries its architecture as
-- JSON in the metadata. What goes wrong with a file is not raised but returned: nil and a message.

local core = require "nnlua.core"
local architecture = require "nnlua.architecture"
local check = require "nnlua.check"
local state = require "nnlua.state"
local tree = require "nnlua.tree"

local files = { methods = {} }

-- In the metadata: {format = 1, model = architecture, metadata = what the caller adds}; the field "training" is kept
-- for what compile was given.
local KEY = "nnlua"
local FORMAT = 1

local function check_path(who, path)
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
end

local save_options = { metadata = "table" }

-- The record of a model as JSON. What cannot be written so is the caller's mistake.
local function encode(who, record, metadata)
  local ok, text = pcall(core.json_encode, { format = FORMAT, model = record, metadata = metadata })
  if ok then return text end
  check.fail(who, "option metadata: " .. tostring(text):gsub("^.*json_encode: ", ""))
end

local function save_model(who, model, path, options)
  check_path(who, path)
  options = check.options(who, options, save_options)
  local record, message = architecture.describe(model)
  if not record then
    check.fail(who, message .. "; or save the tensors alone with nn.save(model:state_dict(), path)")
  end
  local tensors, names = state.collect(model)
  local metadata = { [KEY] = encode(who, record, options.metadata), format = "pt" }
  return core.save_tensors(path, tensors, metadata, names)
end

--- Save a model: its architecture, parameters and buffers. The file is replaced at once or not at all.
-- @param path string
-- @param options table? metadata: a table of strings, numbers, booleans and tables of these, which nn.load returns
-- behind the model: names of classes, say
-- @return true; nil and a message where the file cannot be written
function files.methods:save(path, options)
  return save_model("save", self, path, options)
end

-- Metadata of tensors is the file's own: strings by name.
local function file_metadata(options)
  local metadata = {}
  for name, value in pairs(options.metadata or {}) do
    if type(name) ~= "string" then check.expect("nn.save", "option metadata: key", name, "a string") end
    if type(value) ~= "string" then check.expect("nn.save", "option metadata: " .. name, value, "a string") end
    metadata[name] = value
  end
  if metadata[KEY] then check.fail("nn.save", ("option metadata: the name %q is taken"):format(KEY)) end
  metadata.format = metadata.format or "pt"
  return metadata
end

local function save_tensors(values, path, options)
  local names, metadata = {}, file_metadata(check.options("nn.save", options, save_options))
  for name, tensor in pairs(values) do
    if type(name) ~= "string" then check.expect("nn.save", "key", name, "a string") end
    check.tensor("nn.save", name, tensor)
    names[#names + 1] = name
  end
  table.sort(names)
  return core.save_tensors(path, values, metadata, names)
end

--- Save a table of tensors by name, or a model.
-- @param options table? metadata: for tensors a table of strings by name; for a model see model:save
-- @return true; nil and a message where the file cannot be written
function files.save(values, path, options)
  check_path("nn.save", path)
  if tree.is_node(values) then return save_model("nn.save", values, path, options) end
  if type(values) ~= "table" then check.expect("nn.save", "argument", values, "a table of tensors or a model") end
  return save_tensors(values, path, options)
end

-- The architecture in a file's metadata, and what its writer added; nil where there is none, false and a message where
-- it is damaged.
local function read_architecture(metadata)
  if not metadata[KEY] then return nil end
  local ok, record = pcall(core.json_decode, metadata[KEY])
  if not ok or type(record) ~= "table" or type(record.model) ~= "table" then
    return false, "the architecture in the file is damaged"
  end
  if record.format ~= FORMAT then
    return false, ("the file is of format %s, this version reads %d"):format(tostring(record.format), FORMAT)
  end
  return record.model, type(record.metadata) == "table" and record.metadata or {}
end

-- Twice what the tensors hold, for layers that need room while they are made, and some more.
local function budget_for(tensors)
  local bytes = 1024 * 1024
  for _, tensor in pairs(tensors) do bytes = bytes + 2 * 8 * tensor:numel() end
  return bytes
end

local function rebuild(record, tensors)
  local model, message = architecture.build(record, budget_for(tensors))
  if not model then return nil, message end
  local ok, problem = pcall(state.load, model, tensors, true)
  if not ok then return nil, tostring(problem) end
  if problem then return nil, "the tensors do not fit the model\n  " .. problem end
  return model
end

local function finish(name, tensors, metadata, options)
  if not tensors then return nil, metadata end
  if options.tensors then return tensors, metadata end
  local record, rest = read_architecture(metadata)
  if record == nil then return tensors, metadata end
  if not record then return nil, name .. ": " .. rest end
  local model, problem = rebuild(record, tensors)
  if not model then return nil, name .. ": " .. problem end
  return model, rest
end

local load_options = { tensors = "boolean" }

--- Load a model, or a table of tensors by name from a file that has no architecture. Runs no code.
-- @param path string
-- @param options table? tensors = true: the tensors of a model's file, without the model
-- @return the model or table, and its metadata: what the model was saved with, the file's own with a table; nil and a
-- message where it cannot be read
function files.load(path, options)
  check_path("nn.load", path)
  options = check.options("nn.load", options, load_options)
  local tensors, metadata = core.load_tensors(path)
  return finish("nn.load: " .. path, tensors, metadata, options)
end

--- The same from a string that holds the bytes of a file.
function files.load_bytes(bytes, options)
  if type(bytes) ~= "string" then check.expect("nn.load_bytes", "argument", bytes, "a string") end
  options = check.options("nn.load_bytes", options, load_options)
  local tensors, metadata = core.load_tensors(nil, bytes)
  return finish("nn.load_bytes", tensors, metadata, options)
end

return files
