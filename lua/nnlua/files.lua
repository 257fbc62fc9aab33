--- nn.save, nn.load, nn.load_bytes, model:save and model:load_weights. Files are safetensors. What tensors alone cannot
-- say is JSON in the metadata: a model's architecture, its training, or nested tables. What goes wrong with a file is
-- not raised but returned: nil and a message.

local core = require "nnlua.core"
local architecture = require "nnlua.architecture"
local check = require "nnlua.check"
local nested = require "nnlua.nested"
local state = require "nnlua.state"
local tree = require "nnlua.tree"

local files = { methods = {} }

-- In the metadata under KEY, each of these where there is such a thing: {format = 1, model = see architecture.lua,
-- lora = the adapters of its layers, see lora.lua,
-- training = what saved.lua or snapshot.lua describes, value = any table, metadata = what the caller adds}; training
-- and value are as nested.lua writes them.
local KEY = "nnlua"
local FORMAT = 1

local function check_path(who, path)
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
end

-- ---- saving

-- Put a table into a file's tensors, beside those that are there; returns its record.
local function add_nested(who, value, prefix, tensors, names)
  local record, more, order = nested.flatten(value, prefix, tensors)
  if not record then check.fail(who, more) end
  for _, name in ipairs(order) do
    tensors[name] = more[name]
    names[#names + 1] = name
  end
  return record
end

local function write(path, record, tensors, names, metadata)
  record.format = FORMAT
  metadata = metadata or { format = "pt" }
  metadata[KEY] = core.json_encode(record)
  return core.save_tensors(path, tensors, metadata, names)
end

-- What cannot be written as JSON is the caller's mistake.
local function check_metadata(who, metadata)
  local ok, message = pcall(core.json_encode, metadata or {})
  if ok then return metadata end
  return check.fail(who, "option metadata: " .. tostring(message):gsub("^.*json_encode: ", ""))
end

-- Most models have no adapters, and what knows of them is not loaded.
local function describe_adapters(model)
  local any = false
  tree.each_node(model, function(_, node) any = any or core.is_layer(node) and #node:_adapters() > 0 end)
  return any and require "nnlua.lora".describe_active(model) or nil
end

--- Save a model with a part about its training. A model whose architecture no file can hold is saved without it.
-- @return true; nil and a message where the file cannot be written
function files.write_model(path, model, training)
  local tensors, names = state.collect(model)
  local record = { model = architecture.describe(model), lora = describe_adapters(model) }
  record.training = add_nested("save", training, "training", tensors, names)
  return write(path, record, tensors, names)
end

local save_options = { metadata = "table", optimizer = "boolean" }

local function save_model(who, model, path, options)
  check_path(who, path)
  options = check.options(who, options, save_options)
  local record, message = architecture.describe(model)
  if not record then
    check.fail(who, message .. "; or save the tensors alone with nn.save(model:state_dict(), path)")
  end
  local tensors, names = state.collect(model)
  local parts = { model = record, lora = describe_adapters(model), metadata = check_metadata(who, options.metadata) }
  if options.optimizer then
    local training = require "nnlua.training.saved".of_model(who, model)
    parts.training = add_nested(who, training, "training", tensors, names)
  end
  return write(path, parts, tensors, names)
end

--- Save a model: its architecture, parameters and buffers. The file is replaced at once or not at all.
-- @param path string
-- @param options table? metadata: a table of strings, numbers, booleans and tables of these, which nn.load returns
-- behind the model: names of classes, say; optimizer = true: also what compile was given and all that the optimizer
-- knows, so that nn.load gives a compiled model that trains on as if nothing had been
-- @return true; nil and a message where the file cannot be written
function files.methods:save(path, options)
  return save_model("save", self, path, options)
end

local function only_tensors(values)
  for name, tensor in pairs(values) do
    if type(name) ~= "string" or not core.is_tensor(tensor) then return false end
  end
  return true
end

-- Metadata of tables is the file's own: strings by name.
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

local function save_table(values, path, options)
  local tensors, names = {}, {}
  local metadata = file_metadata(check.options("nn.save", options, { metadata = "table" }))
  if not only_tensors(values) then
    local record = add_nested("nn.save", values, "", tensors, names)
    return write(path, { value = record }, tensors, names, metadata)
  end
  for name in pairs(values) do names[#names + 1] = name end
  table.sort(names)
  return core.save_tensors(path, values, metadata, names)
end

--- Save a table of tensors by name, a model, or any table of tensors, numbers, strings, booleans and such tables: an
-- optimizer's state_dict, say, or {epoch = 3, model = model:state_dict()}.
-- @param options table? metadata: for tables one of strings by name; for a model see model:save
-- @return true; nil and a message where the file cannot be written
function files.save(values, path, options)
  check_path("nn.save", path)
  if tree.is_node(values) then return save_model("nn.save", values, path, options) end
  if type(values) ~= "table" then check.expect("nn.save", "argument", values, "a table of tensors or a model") end
  return save_table(values, path, options)
end

-- ---- loading

-- What a file says beside its tensors: a table, empty where that is nothing; nil and a message where it is damaged.
local function read_record(metadata)
  if not metadata[KEY] then return {} end
  local ok, record = pcall(core.json_decode, metadata[KEY])
  if not ok or type(record) ~= "table" then return nil, "the architecture in the file is damaged" end
  if record.format ~= FORMAT then
    return nil, ("the file is of format %s, this version reads %d"):format(tostring(record.format), FORMAT)
  end
  for _, part in ipairs { "model", "training", "value", "lora" } do
    if record[part] ~= nil and type(record[part]) ~= "table" then
      return nil, "the architecture in the file is damaged"
    end
  end
  return record
end

-- Twice what the tensors hold, for layers that need room while they are made, and some more.
local function budget_for(tensors)
  local bytes = 1024 * 1024
  for _, tensor in pairs(tensors) do bytes = bytes + 2 * 8 * tensor:numel() end
  return bytes
end

-- The tensors of the model, and what the file says of its training (nil: nothing).
local function parts_of(record, tensors)
  if not record.training then return tensors end
  local training, message = nested.build(record.training, tensors)
  if not training then return nil, message end
  local others, own = nested.tensor_names(record.training), {}
  for name, tensor in pairs(tensors) do
    if not others[name] then own[name] = tensor end
  end
  return own, training
end

-- The weights first: layers with open sizes know them then, and can have adapters.
local function fill(record, model, tensors, strict)
  local values, adapters = tensors, nil
  if record.lora then
    adapters, values = require "nnlua.lora".split(record.lora, tensors)
  end
  local problem = state.load(model, values, strict, true)
  if problem or not record.lora then return problem end
  return require "nnlua.lora".restore(model, record.lora, adapters)
end

local function rebuild(record, tensors, strict)
  local own, training = parts_of(record, tensors)
  if not own then return nil, training end
  local model, message = architecture.build(record.model, budget_for(own))
  if not model then return nil, message end
  local ok, problem = pcall(fill, record, model, own, strict)
  if not ok then return nil, tostring(problem) end
  if problem then return nil, "the tensors do not fit the model\n  " .. problem end
  if training then
    ok, problem = pcall(require "nnlua.training.saved".restore, model, training)
    if not ok then return nil, "its training is damaged: " .. tostring(problem) end
  end
  return model
end

local bytes_options = { tensors = "boolean", strict = "boolean" }
local load_options = { tensors = "boolean", strict = "boolean", mmap = "boolean" }

local function finish(name, tensors, metadata, options)
  if not tensors then return nil, metadata end
  if options.tensors then return tensors, metadata end
  local record, message = read_record(metadata)
  local result, rest
  if record and record.model then
    result, message = rebuild(record, tensors, options.strict ~= false)
    rest = type(record.metadata) == "table" and record.metadata or {}
  elseif record and record.value then
    result, message = nested.build(record.value, tensors)
    rest = metadata
  elseif record then
    return tensors, metadata
  end
  if result then return result, rest end
  return nil, name .. ": " .. message
end

--- Load a model, or the table that was saved; from a file of others, a table of tensors by name. Runs no code.
-- @param path string
-- @param options table? tensors = true: the tensors of a model's file, without the model; strict = false: a model
-- though tensors are missing or too many; mmap (true: a table's tensors come from the disk as they are needed, and the
-- file must not be written over meanwhile, unless as nn.save does it; false: all is read at once)
-- @return the model or table, and its metadata: what the model was saved with, the file's own with a table; nil and a
-- message where it cannot be read
function files.load(path, options)
  check_path("nn.load", path)
  options = check.options("nn.load", options, load_options)
  local tensors, metadata = core.load_tensors(path, nil, options.mmap)
  return finish("nn.load: " .. path, tensors, metadata, options)
end

--- The same from a string that holds the bytes of a file.
function files.load_bytes(bytes, options)
  if type(bytes) ~= "string" then check.expect("nn.load_bytes", "argument", bytes, "a string") end
  options = check.options("nn.load_bytes", options, bytes_options)
  local tensors, metadata = core.load_tensors(nil, bytes)
  return finish("nn.load_bytes", tensors, metadata, options)
end

--- The tensors of the model in a file, and what it says of the training (nil: nothing); nil and a message.
function files.read_parts(path)
  local tensors, metadata = core.load_tensors(path)
  if not tensors then return nil, metadata end
  local record, message = read_record(metadata)
  if not record then return nil, path .. ": " .. message end
  local own, training = parts_of(record, tensors)
  if not own then return nil, path .. ": " .. training end
  return own, training
end

--- Whether there is a file.
function files.exists(path)
  local file = io and io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

--- Remove what writers of this path have left behind that were killed while they wrote: see src/io/file.c.
function files.remove_leftovers(path)
  local folder, name = path:match("^(.*[/\\])([^/\\]*)$")
  name = name or path
  for _, other in ipairs(core.readers.folder(folder or ".") or {}) do
    if other:sub(1, #name) == name and other:sub(#name + 1):find("^%.%d+%.%d+%.part$") then
      os.remove((folder or "") .. other)
    end
  end
end

--- Put the values in a file into this model: parameters and buffers by name.
-- @param path string of a model's file, or of any with tensors by these names
-- @param options table? strict = false: names that are missing or too many are no error
-- @return as load_state_dict; nil and a message where the file cannot be read or does not fit
function files.methods:load_weights(path, options)
  check_path("load_weights", path)
  local strict = check.options("load_weights", options, { strict = "boolean" }).strict ~= false
  local tensors, message = files.read_parts(path)
  if not tensors then return nil, message end
  local problem, plan = state.load(self, tensors, strict)
  if problem then return nil, path .. ": the tensors do not fit the model\n  " .. problem end
  return { missing_keys = plan.missing, unexpected_keys = plan.unexpected }
end

return files
