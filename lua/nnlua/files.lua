--- nn.save, nn.load, nn.load_bytes and model:save. Files are safetensors; a model's file carries its architecture as
-- JSON in the metadata. What goes wrong with a file is not raised but returned: nil and a message.

local core = require "nnlua.core"
local architecture = require "nnlua.architecture"
local check = require "nnlua.check"
local state = require "nnlua.state"
local tree = require "nnlua.tree"

local files = { methods = {} }

-- In the metadata: {format = 1, model = architecture}; the field "training" is kept for what compile was given.
local KEY = "nnlua"
local FORMAT = 1

local function check_path(who, path)
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
end

local function save_model(who, model, path)
  check_path(who, path)
  local record, message = architecture.describe(model)
  if not record then
    check.fail(who, message .. "; or save the tensors alone with nn.save(model:state_dict(), path)")
  end
  local tensors, names = state.collect(model)
  local metadata = { [KEY] = core.json_encode { format = FORMAT, model = record }, format = "pt" }
  return core.save_tensors(path, tensors, metadata, names)
end

--- Save a model: its architecture, parameters and buffers. The file is replaced at once or not at all.
-- @return true; nil and a message where the file cannot be written
function files.methods:save(path)
  return save_model("save", self, path)
end

local function save_tensors(values, path)
  local names = {}
  for name, tensor in pairs(values) do
    if type(name) ~= "string" then check.expect("nn.save", "key", name, "a string") end
    check.tensor("nn.save", name, tensor)
    names[#names + 1] = name
  end
  table.sort(names)
  return core.save_tensors(path, values, { format = "pt" }, names)
end

--- Save a table of tensors by name, or a model.
-- @return true; nil and a message where the file cannot be written
function files.save(values, path)
  check_path("nn.save", path)
  if tree.is_node(values) then return save_model("nn.save", values, path) end
  if type(values) ~= "table" then check.expect("nn.save", "argument", values, "a table of tensors or a model") end
  return save_tensors(values, path)
end

-- The architecture in a file's metadata; nil where there is none, false and a message where it is damaged.
local function read_architecture(metadata)
  if not metadata[KEY] then return nil end
  local ok, record = pcall(core.json_decode, metadata[KEY])
  if not ok or type(record) ~= "table" or type(record.model) ~= "table" then
    return false, "the architecture in the file is damaged"
  end
  if record.format ~= FORMAT then
    return false, ("the file is of format %s, this version reads %d"):format(tostring(record.format), FORMAT)
  end
  return record.model
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
  local record, message = read_architecture(metadata)
  if record == nil then return tensors, metadata end
  if record then
    local model
    model, message = rebuild(record, tensors)
    if model then return model end
  end
  return nil, name .. ": " .. message
end

local load_options = { tensors = "boolean" }

--- Load a model, or a table of tensors by name from a file that has no architecture. Runs no code.
-- @param path string
-- @param options table? tensors = true: the tensors of a model's file, without the model
-- @return the model or table (and the file's metadata with a table); nil and a message where it cannot be read
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
