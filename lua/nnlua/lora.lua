--- nn.lora: fine-tuning by low-rank adapters (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021).
-- A weight W (out, in) stays as it is; beside it two small matrices are trained, A (rank, in) and B (out, rank), and
-- the layer works with W + alpha / rank * B A. A starts random and B as zeros, so that nothing changes at first. In a
-- state_dict they are lora_A and lora_B beside weight (in_proj_lora_A beside in_proj_weight, and so on).
-- @usage nn.lora.apply(model, {rank = 8, alpha = 16, targets = {"q_proj", "v_proj"}})
-- model:fit(x, y, {epochs = 3})
-- nn.lora.save(model, "adapters.safetensors")

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local tree = require "nnlua.tree"

local lora = {}

local KEY, FORMAT = "nnlua_lora", 1
local SHOWN = 12 -- names that an error lists

local function join(path, name)
  return path == "" and name or path .. "." .. name
end

local function expect_model(who, model)
  if not tree.is_node(model) then check.expect(who, "argument 1", model, "a model or layer") end
end

-- The weights that can have an adapter, in the model's order: a list of {name, layer =, weight =, sees =}.
local function candidates(model)
  local list = {}
  tree.each_node(model, function(path, node)
    if not core.is_layer(node) then return end
    for _, entry in ipairs(node:_tensors()) do
      local sees = node:_adaptable(entry[1])
      if sees then list[#list + 1] = { join(path, entry[1]), layer = node, weight = entry[1], sees = sees } end
    end
  end)
  return list
end

-- The adapters that there are: visit(full name of the weight, layer, adapter as layer:_adapters() tells it, path).
local function each_adapter(model, visit)
  local count = 0
  tree.each_node(model, function(path, node)
    if not core.is_layer(node) then return end
    for _, adapter in ipairs(node:_adapters()) do
      count = count + 1
      visit(join(path, adapter.weight), node, adapter, path)
    end
  end)
  return count
end

local function expect_adapters(who, model, visit)
  expect_model(who, model)
  if each_adapter(model, visit) == 0 then
    check.fail(who, "the model has no adapters: call nn.lora.apply(model, {rank = ...}) before")
  end
end

-- ---- apply

local function patterns_of(who, what, given)
  local list = type(given) == "string" and { given } or given
  if type(list) ~= "table" or #list == 0 then check.expect(who, what, given, "a pattern or a list of patterns") end
  for _, pattern in ipairs(list) do
    if type(pattern) ~= "string" then check.expect(who, what, pattern, "a pattern or a list of patterns") end
  end
  return list
end

--- Whether one of the patterns is found in a name; notes which were, by their position, in `found`.
local function matches(name, patterns, found)
  local any = false
  for i, pattern in ipairs(patterns) do
    if name:find(pattern) then
      any = true
      if found then found[i] = true end
    end
  end
  return any
end

local function some_of(names)
  local shown = {}
  for i = 1, math.min(#names, SHOWN) do shown[i] = names[i] end
  local more = #names > SHOWN and (" and %d more"):format(#names - SHOWN) or ""
  return table.concat(shown, ", ") .. more
end

local function expect_all_found(who, what, patterns, found, names)
  for i, pattern in ipairs(patterns) do
    if not found[i] then
      check.fail(who, ("%s: nothing has a name like %q; there are %s"):format(what, pattern, some_of(names)))
    end
  end
end

-- Without targets: all linear layers and projections of attention, but not what is trained as it is.
local function find_targets(who, model, targets, trained)
  local found, list, names = {}, {}, {}
  for _, place in ipairs(candidates(model)) do
    names[#names + 1] = place[1]
    local wanted = place.sees == "input"
    if targets then wanted = matches(place[1], targets, found) end
    if wanted and not matches(place[1], trained) then list[#list + 1] = place end
  end
  if targets then expect_all_found(who, "option targets", targets, found, names) end
  if #list == 0 then
    local there = #names > 0 and "; there are " .. some_of(names) or ""
    check.fail(who, "there is no linear layer or attention to adapt" .. there)
  end
  return list
end

local function check_places(who, list, dropout)
  for _, place in ipairs(list) do
    if #place.layer:_adapters() > 0 then
      check.fail(who, ("%s has an adapter already: nn.lora.remove(model) takes it away"):format(place[1]))
    end
    if dropout > 0 and place.sees ~= "input" then
      check.fail(who, ("option dropout: nn.%s has no place for it before the adapter of %s; leave it 0, or leave that "
        .. "out of targets"):format(place.layer:_class(), place[1]))
    end
  end
end

local function drop(model)
  tree.each_node(model, function(_, node)
    if core.is_layer(node) then node:_drop_adapters() end
  end)
end

-- All or, where memory does not suffice, none. places: each with rank, alpha, dropout, gaussian
local function add_all(model, places)
  local ok, message = pcall(function()
    for _, p in ipairs(places) do p.layer:_adapt(p.weight, p.rank, p.alpha, p.dropout, p.gaussian) end
  end)
  if ok then return end
  drop(model)
  error(message, 0)
end

-- Nothing is trained but adapters and what `keeps(name)` says.
local function freeze_others(model, keeps)
  local adapters = {}
  each_adapter(model, function(_, layer, adapter, path)
    adapters[join(path, adapter.a)], adapters[join(path, adapter.b)] = layer, layer
  end)
  tree.each_tensor(model, function(name, tensor, kind)
    if kind == "parameter" and not adapters[name] then tensor:requires_grad_(keeps(name)) end
  end, true)
end

local rules = {
  rank = "count", alpha = "number", targets = "any", dropout = "fraction", init = "string", train = "any",
}

local function read_options(who, options)
  options = check.options(who, options, rules)
  local init = options.init or "kaiming"
  check.choice(who, "option init", init, { kaiming = true, gaussian = true })
  local rank = options.rank or 8
  local alpha = options.alpha or rank
  if alpha - alpha ~= 0 then check.expect(who, "option alpha", alpha, "a finite number") end
  return {
    rank = rank, alpha = alpha, dropout = options.dropout or 0, gaussian = init == "gaussian",
    targets = options.targets ~= nil and patterns_of(who, "option targets", options.targets) or nil,
    train = options.train ~= nil and patterns_of(who, "option train", options.train) or {},
  }
end

--- Give weights of a model adapters, which are what is trained from then on; everything else is frozen.
-- @param model module or layer, whose layers know their sizes
-- @param options table? rank (8), alpha (as rank: the adapters' result is scaled by alpha / rank), targets (a pattern
-- of Lua's or a list of them, found anywhere in the names of weights, as "q_proj"; without it all linear layers and the
-- projections of attention; embeddings, convolutions and recurrent layers where they are named), dropout (0: of the
-- adapters' input while training), init (of A: "kaiming", as the paper's authors' code has it, or "gaussian"), train (a
-- pattern or a list: parameters that are trained as they are, such as a new head)
-- @return the model; an error where a pattern matches nothing
function lora.apply(model, options)
  local who = "nn.lora.apply"
  expect_model(who, model)
  local given = read_options(who, options)
  local names, found = {}, {}
  for name in model:named_parameters() do
    names[#names + 1] = name
    matches(name, given.train, found)
  end
  local open = tree.first_open(model)
  if open then
    local which = open == "" and "this layer" or "the layer " .. open
    check.fail(who, which .. " takes its sizes from the first input: call the model on one before")
  end
  expect_all_found(who, "option train", given.train, found, names)
  local places = find_targets(who, model, given.targets, given.train)
  check_places(who, places, given.dropout)
  for _, place in ipairs(places) do
    place.rank, place.alpha, place.dropout, place.gaussian = given.rank, given.alpha, given.dropout, given.gaussian
  end
  add_all(model, places)
  freeze_others(model, function(name) return matches(name, given.train) end)
  return model
end

-- ---- use

--- Put the adapters into the weights: the model computes the same, as fast as without adapters, and is saved as a plain
-- one. The weights from before are kept for unmerge.
-- @return the model
function lora.merge(model)
  expect_adapters("nn.lora.merge", model, function() end)
  each_adapter(model, function(_, layer) layer:_merge(true) end)
  return model
end

--- Take the adapters out of the weights again, which become what they were before merge, to the bit.
-- @return the model
function lora.unmerge(model)
  expect_adapters("nn.lora.unmerge", model, function() end)
  each_adapter(model, function(_, layer) layer:_merge(false) end)
  return model
end

--- Take the adapters away. After merge, what they learned stays in the weights. The weights stay frozen:
-- model:unfreeze() lets them be trained.
-- @return the model
function lora.remove(model)
  expect_adapters("nn.lora.remove", model, function() end)
  drop(model)
  return model
end

--- The adapters' tensors, in the model's order.
-- @return list of tensors
function lora.parameters(model)
  local list = {}
  expect_adapters("nn.lora.parameters", model, function(_, layer, adapter)
    list[#list + 1], list[#list + 2] = layer[adapter.a], layer[adapter.b]
  end)
  return list
end

-- Statistics that training changes although no gradient does.
local statistics = { running_mean = true, running_var = true, num_batches_tracked = true }

--- The adapters, and what else is trained, by name: parameters of the option `train`, and the running statistics of
-- normalisations.
-- @return table of tensors, which share their memory with the model's
function lora.state_dict(model)
  local tensors = {}
  expect_adapters("nn.lora.state_dict", model, function(_, layer, adapter, path)
    tensors[join(path, adapter.a)] = layer[adapter.a]:detach()
    tensors[join(path, adapter.b)] = layer[adapter.b]:detach()
  end)
  tree.each_tensor(model, function(name, tensor, kind, _, own)
    if kind == "parameter" and tensor.requires_grad or kind == "buffer" and statistics[own] then
      tensors[name] = tensor:detach()
    end
  end, true)
  return tensors
end

-- ---- files

--- What a file says of a model's adapters: {adapters = list, trained = names}; nil where it has none, or they are
-- merged and the model is a plain one.
function lora.describe(model)
  local adapters, own, trained = {}, {}, {}
  each_adapter(model, function(name, _, adapter, path)
    own[join(path, adapter.a)], own[join(path, adapter.b)] = true, true
    adapters[#adapters + 1] = {
      name = name, a = join(path, adapter.a), b = join(path, adapter.b), rank = adapter.rank, alpha = adapter.alpha,
      dropout = adapter.dropout, merged = adapter.merged,
    }
  end)
  if #adapters == 0 then return nil end
  for name, tensor in model:named_parameters() do
    if tensor.requires_grad and not own[name] then trained[#trained + 1] = name end
  end
  return { format = FORMAT, adapters = adapters, trained = #trained > 0 and trained or nil }
end

--- The same for a model's whole file, where merged weights need no more said.
function lora.describe_active(model)
  local record = lora.describe(model)
  if not record then return nil end
  local active = {}
  for _, adapter in ipairs(record.adapters) do
    if not adapter.merged then active[#active + 1] = adapter end
  end
  record.adapters = active
  return #active > 0 and record or nil
end

local function is_number(value, least)
  return type(value) == "number" and value - value == 0 and value >= least
end

local function has_shape(tensor, rows, columns)
  local shape = core.is_tensor(tensor) and tensor.shape
  return shape and #shape == 2 and shape[1] == rows and shape[2] == columns
end

-- What is wrong with an entry of a file for this place of the model; nil where all is right.
local function misfit(entry, place, tensors)
  if not place then return ("the model has no weight %s to adapt"):format(tostring(entry.name)) end
  local damaged = not (compat.is_whole(entry.rank) and entry.rank >= 1) or not is_number(entry.alpha, -math.huge)
    or not (is_number(entry.dropout, 0) and entry.dropout < 1)
  if damaged then return "the file is damaged" end
  local shape = place.layer[place.weight].shape
  local columns = 1
  for i = 2, #shape do columns = columns * shape[i] end
  if has_shape(tensors[entry.a], entry.rank, columns) and has_shape(tensors[entry.b], shape[1], entry.rank) then
    return nil
  end
  return ("the adapter of %s is missing, or of another size than the model's weight %s"):format(entry.name,
    check.shape(shape))
end

-- The places that a file's adapters take; nil and a message.
local function places_for(model, record, tensors)
  if type(record) ~= "table" or record.format ~= FORMAT or type(record.adapters) ~= "table" then
    return nil, "there are no adapters of this version in the file"
  end
  local by_name, places = {}, {}
  for _, place in ipairs(candidates(model)) do by_name[place[1]] = place end
  for _, entry in ipairs(record.adapters) do
    if type(entry) ~= "table" then return nil, "the file is damaged" end
    local place = by_name[entry.name]
    local problem = misfit(entry, place, tensors)
    if problem then return nil, problem end
    by_name[entry.name] = nil
    place.rank, place.alpha, place.dropout, place.entry = entry.rank, entry.alpha, entry.dropout, entry
    places[#places + 1] = place
  end
  if #places == 0 then return nil, "there are no adapters in the file" end
  return places
end

-- A model that has adapters must have these.
local function same_adapters(model, places)
  local there, count = {}, 0
  each_adapter(model, function(name, _, adapter)
    there[name] = adapter
    count = count + 1
  end)
  for _, place in ipairs(places) do
    local adapter = there[place[1]]
    if not adapter or adapter.rank ~= place.rank or adapter.alpha ~= place.alpha then return false end
    if adapter.merged then return false end
  end
  return count == #places
end

local function fill(places, tensors)
  for _, place in ipairs(places) do
    for _, adapter in ipairs(place.layer:_adapters()) do
      if adapter.weight == place.weight then
        place.layer:_load(adapter.a, tensors[place.entry.a])
        place.layer:_load(adapter.b, tensors[place.entry.b])
      end
    end
  end
end

local function keeps_trained(record)
  local trained = {}
  for _, name in ipairs(type(record.trained) == "table" and record.trained or {}) do trained[name] = true end
  return function(name) return trained[name] or false end
end

--- Put what a file has of adapters into a model that has none, or the same ones.
-- @param record as describe gives it
-- @param tensors table by name; those of the adapters are taken out of it
-- @return nil; or a message, and nothing has changed
function lora.restore(model, record, tensors)
  local places, message = places_for(model, record, tensors)
  if not places then return message end
  local fresh = each_adapter(model, function() end) == 0
  if not fresh and not same_adapters(model, places) then
    return "the model has other adapters, or they are merged: nn.lora.remove(model) takes them away"
  end
  if fresh then add_all(model, places) end
  fill(places, tensors)
  if fresh then freeze_others(model, keeps_trained(record)) end
  return nil
end

--- A file's tensors in two: those of the adapters that its record tells of, and the others.
function lora.split(record, tensors)
  local adapters, others = {}, {}
  for name, tensor in pairs(tensors) do others[name] = tensor end
  for _, entry in ipairs(type(record.adapters) == "table" and record.adapters or {}) do
    if type(entry) == "table" then
      for _, name in ipairs { tostring(entry.a), tostring(entry.b) } do
        adapters[name], others[name] = tensors[name], nil
      end
    end
  end
  return adapters, others
end

--- Save the adapters alone, with what else is trained (see nn.lora.state_dict): a small safetensors file.
-- @param path string
-- @param options table? metadata: strings by name, which go into the file
-- @return true; nil and a message where the file cannot be written
function lora.save(model, path, options)
  local who = "nn.lora.save"
  expect_adapters(who, model, function() end)
  local metadata = {}
  for name, value in pairs(check.options(who, options, { metadata = "table" }).metadata or {}) do
    metadata[name] = value
  end
  if metadata[KEY] then check.fail(who, ("option metadata: the name %q is taken"):format(KEY)) end
  metadata[KEY] = core.json_encode(lora.describe(model))
  return require "nnlua.files".save(lora.state_dict(model), path, { metadata = metadata })
end

-- What is wrong with the tensors of a file beside the adapters.
local function check_others(model, others)
  local own = require "nnlua.state".collect(model)
  for name, tensor in pairs(others) do
    if not own[name] then return ("the model has no %s"):format(name) end
    if check.shape(own[name].shape) ~= check.shape(tensor.shape) then
      return ("%s: expected %s, got %s"):format(name, check.shape(own[name].shape), check.shape(tensor.shape))
    end
  end
  return nil
end

--- Load adapters that nn.lora.save wrote into the model that they are for: one without adapters gets them, and
-- everything else is frozen; one that has the same ones gets their values.
-- @param path string
-- @return the model, and the file's metadata; nil and a message where it cannot be read or does not fit
function lora.load(model, path)
  local who = "nn.lora.load"
  expect_model(who, model)
  local tensors, metadata = require "nnlua.files".load(path, { tensors = true })
  if not tensors then return nil, metadata end
  local ok, record = pcall(core.json_decode, type(metadata[KEY]) == "string" and metadata[KEY] or "null")
  if not ok or type(record) ~= "table" then return nil, path .. ": there are no adapters of nn.lora.save in it" end
  local _, others = lora.split(record, tensors)
  local problem = check_others(model, others) or lora.restore(model, record, tensors)
  problem = problem or require "nnlua.state".load(model, others, false)
  if problem then return nil, path .. ": " .. problem end
  return model, metadata
end

return lora
