--- Datasets: anything with get(i) and a length. Those made here also tell the engine where their samples come from, so
-- that its threads can load and change them ahead of the training (loader.lua).

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local transforms = require "nnlua.transforms"

local datasets = {}

--- The number of samples of any dataset.
function datasets.length(dataset)
  local meta = getmetatable(dataset)
  if type(meta) == "table" and meta.__len then return meta.__len(dataset) end
  return #dataset
end

function datasets.check(who, dataset)
  if type(dataset) ~= "table" or type(dataset.get) ~= "function" then
    check.expect(who, "dataset", dataset, "something with get(i) and a length")
  end
end

local function a_class()
  local class = {}
  class.__index = class
  return class
end

local function check_index(who, dataset, i)
  local total = datasets.length(dataset)
  if not compat.is_whole(i) or i < 1 or i > total then
    check.expect(who, "sample", i, ("a whole number from 1 to %d"):format(total))
  end
end

--- A transform of x: one of nn.image's, or a function.
local function check_transform(who, transform)
  if transform ~= nil and not transforms.is_transform(transform) and type(transform) ~= "function" then
    check.expect(who, "option transform", transform, "a transform of nn.image, or a function")
  end
  return transform
end
datasets.check_transform = check_transform

local function positions_of(who, what, list, total)
  local positions = list
  if type(list) == "table" then
    if #list == 0 then check.expect(who, what, list, "at least one position") end
    for i = 1, #list do
      if not compat.is_whole(list[i]) then check.expect(who, ("%s %d"):format(what, i), list[i], "a position") end
    end
    positions = core.tensor(list, { dtype = "int64" })
  end
  check.tensor(who, what, positions)
  if positions.ndim ~= 1 or not (positions.dtype == "int64" or positions.dtype == "int32") then
    check.fail(who, ("%s: expected positions, one dimension of int64, got %s %s"):format(
      what, positions.dtype, check.shape(positions.shape)))
  end
  if #positions > 0 and (positions:min():item() < 1 or positions:max():item() > total) then
    check.fail(who, ("%s: expected positions from 1 to %d, got %d to %d"):format(
      what, total, positions:min():item(), positions:max():item()))
  end
  return positions:to("int64"):contiguous()
end
datasets.positions_of = positions_of

-- ---- tensors

local TensorDataset = a_class()

function TensorDataset:__len() return #self.tensors[1] end

local function changed(dataset, first, ...)
  if dataset.transform and first ~= nil then return dataset.transform(first, ...) end
  return first, ...
end

--- Sample i: one value of each tensor.
function TensorDataset:get(i)
  check_index("nn.data.TensorDataset", self, i)
  local values = {}
  for k, tensor in ipairs(self.tensors) do values[k] = tensor:select(1, i) end
  return changed(self, compat.unpack(values))
end

--- The samples at these positions, gathered at once; nil where a transform needs them one by one.
function TensorDataset:get_batch(positions)
  if self.transform then return nil end
  local values = {}
  for k, tensor in ipairs(self.tensors) do values[k] = tensor:index_select(1, positions) end
  return compat.unpack(values)
end

--- What the engine is told: supplies and the transform of the first, where that is declared.
function TensorDataset:feed()
  if not self.supplies then
    local supplies = {}
    for k, tensor in ipairs(self.tensors) do supplies[k] = core.feed.rows(tensor:detach():contiguous()) end
    self.supplies = supplies
  end
  return { supplies = self.supplies, transform = self.transform }
end

--- nn.data.TensorDataset(x, y, ..., {transform}): sample i is row i of each.
-- @param ... tensors of as many rows
-- @param options table? transform (of x: one of nn.image's, or a function of all values)
function datasets.TensorDataset(...)
  local who, tensors, options = "nn.data.TensorDataset", { ... }, {}
  local last = tensors[#tensors]
  if type(last) == "table" and not core.is_tensor(last) and #last == 0 and next(last) then
    options = check.options(who, table.remove(tensors), { transform = "any" })
  end
  if #tensors == 0 then check.fail(who, "expected at least one tensor") end
  if #tensors > 8 then check.fail(who, ("expected at most 8 tensors, got %d"):format(#tensors)) end
  for i, tensor in ipairs(tensors) do
    check.tensor(who, "argument " .. i, tensor)
    if tensor.ndim == 0 then check.expect(who, "argument " .. i, tensor, "at least one dimension") end
    if #tensor ~= #tensors[1] then
      check.fail(who, ("expected %d rows in argument %d, got %d"):format(#tensors[1], i, #tensor))
    end
  end
  local transform = check_transform(who, options.transform)
  return setmetatable({ tensors = tensors, transform = transform }, TensorDataset)
end

-- ---- files of pictures

local FileDataset = a_class()

function FileDataset:__len() return #self.paths end

--- Picture i, transformed, and its label; nil and a message where the file cannot be read.
function FileDataset:get(i)
  check_index(self.who, self, i)
  local picture, message = core.image_load(self.paths[i], compat.unpack(self.reading, 1, 5))
  if not picture then return nil, message end
  if self.labels then return changed(self, picture, self.labels[i]) end
  return changed(self, picture)
end

function FileDataset:feed()
  if not self.supplies then
    local paths = table.concat(self.paths, "\0") .. "\0"
    local supplies = { core.feed.pictures(paths, #self.paths, compat.unpack(self.reading, 1, 5)) }
    if self.labels then supplies[2] = core.feed.rows(self.labels) end
    self.supplies = supplies
  end
  return { supplies = self.supplies, transform = self.transform, files = true }
end

local file_options = {
  mode = "string", dtype = "string", orient = "boolean", truncated = "boolean", max_pixels = "count", transform = "any",
}

-- The options of the picture's reader; `own` are left to the caller.
local function read_file_options(who, options, own)
  local rules, reading = {}, {}
  for name, rule in pairs(file_options) do rules[name] = rule end
  for name, rule in pairs(own) do rules[name] = rule end
  options = check.options(who, options, rules)
  for name in pairs(file_options) do
    if name ~= "transform" then reading[name] = options[name] end
  end
  reading.mode = reading.mode or "rgb"
  return options, { require("nnlua.image")._reading(who, reading) }
end

local function labels_tensor(who, labels)
  for i, label in ipairs(labels) do
    if type(label) ~= "number" then check.expect(who, "label " .. i, label, "a number") end
  end
  local whole = true
  for _, label in ipairs(labels) do whole = whole and compat.is_whole(label) end
  return core.tensor(labels, { dtype = whole and "int64" or "float32" })
end

-- Paths and the tensor of labels, nil where there are none.
local function read_list(who, list)
  local paths, labels = {}, {}
  if type(list) ~= "table" or #list == 0 then check.expect(who, "list", list, "a list of paths or of {path, label}") end
  local labelled = type(list[1]) == "table"
  for i, item in ipairs(list) do
    local path = item
    if labelled then path = type(item) == "table" and item[1] or nil end
    if type(path) ~= "string" then check.expect(who, "item " .. i, item, labelled and "{path, label}" or "a path") end
    paths[i] = path
    if labelled then labels[i] = item[2] end
  end
  if labelled and #labels ~= #paths then check.expect(who, "label " .. #labels + 1, nil, "a number") end
  return paths, labelled and labels_tensor(who, labels) or nil
end

--- Pictures in files.
-- @param list of paths, or of {path, label}; labels are numbers (classes from 1)
-- @param options table? transform (one of nn.image's, or a function), and those of nn.image.load, mode being "rgb"
-- @return a dataset: sample i is the picture (C, H, W), and its label
function datasets.FileDataset(list, options)
  local who = "nn.data.FileDataset"
  local paths, labels = read_list(who, list)
  local checked, reading = read_file_options(who, options, {})
  return setmetatable({
    who = who, paths = paths, labels = labels, reading = reading,
    transform = check_transform(who, checked.transform),
  }, FileDataset)
end

local SUFFIXES = { png = true, jpg = true, jpeg = true }

-- The pictures in a folder and those below it, in the order of their names. A name without a folder of that name is a
-- file, so no time is lost with asking for each.
local function find_pictures(folder, paths)
  local names, message = core.readers.folder(folder)
  if not names then return nil, message end
  for _, name in ipairs(names) do
    local path = folder .. "/" .. name
    local suffix = name:match("%.(%w+)$")
    if suffix and SUFFIXES[suffix:lower()] then
      paths[#paths + 1] = path
    elseif name:sub(1, 1) ~= "." then
      find_pictures(path, paths)
    end
  end
  return paths
end

local function find_classes(folder)
  local names, message = core.readers.folder(folder)
  if not names then return nil, message end
  local classes = {}
  for _, name in ipairs(names) do
    if name:sub(1, 1) ~= "." and core.readers.folder(folder .. "/" .. name) then classes[#classes + 1] = name end
  end
  if #classes == 0 then return nil, folder .. ": no folders of classes in it" end
  return classes
end

--- Pictures in a folder with a folder for each class: labels from 1, in the order of the names.
-- @param folder string
-- @param options table? classes (names of sub-folders, in the order of the labels), transform, and those of
-- nn.image.load, mode being "rgb"
-- @return a dataset with the fields `classes` (a list of names), `paths` and `labels`; nil and a message where the
-- folder cannot be read or a class has no pictures
function datasets.ImageFolder(folder, options)
  local who = "nn.data.ImageFolder"
  if type(folder) ~= "string" then check.expect(who, "folder", folder, "a string") end
  local reading
  options, reading = read_file_options(who, options, { classes = "table" })
  folder = #folder > 1 and folder:gsub("/$", "") or folder
  local classes, message = options.classes, nil
  if not classes then classes, message = find_classes(folder) end
  if not classes then return nil, message end
  local paths, labels = {}, {}
  for label, name in ipairs(classes) do
    local before = #paths
    local found, reason = find_pictures(folder .. "/" .. tostring(name), paths)
    if not found then return nil, reason end
    if #paths == before then return nil, ("%s/%s: no PNG or JPEG pictures in it"):format(folder, name) end
    for i = before + 1, #paths do labels[i] = label end
  end
  return setmetatable({
    who = who, paths = paths, labels = core.tensor(labels, { dtype = "int64" }), classes = classes, reading = reading,
    transform = check_transform(who, options.transform),
  }, FileDataset)
end

-- ---- files of sound

local AudioDataset = a_class()

function AudioDataset:__len() return #self.paths end

--- Sound i, or its features, transformed, and its label; nil and a message where the file cannot be read.
function AudioDataset:get(i)
  check_index("nn.data.AudioDataset", self, i)
  local x, message = core.feed.load(self:feed().supplies[1], i)
  if not x then return nil, message end
  if self.labels then return changed(self, x, self.labels[i]) end
  return changed(self, x)
end

function AudioDataset:feed()
  if not self.supplies then
    local paths = table.concat(self.paths, "\0") .. "\0"
    local supply = core.feed.sounds(paths, #self.paths, self.mono, self.rate, self.length, self.features)
    self.supplies = { supply, self.labels and core.feed.rows(self.labels) or nil }
  end
  return { supplies = self.supplies, transform = self.transform, files = true }
end

local audio_options = { mono = "boolean", rate = "count", length = "count", features = "any", transform = "any" }

-- {"mel_spectrogram", n_mels = 64} or "mfcc": the features' options, checked, with the rate that the files get.
local function read_features(who, given, rate)
  if given == nil then return nil end
  local options, name = {}, given
  if type(given) == "table" then
    name = given[1]
    for key, value in pairs(given) do
      if key ~= 1 then options[key] = value end
    end
  end
  if rate and options.rate == nil and (name == "mel_spectrogram" or name == "mfcc") then options.rate = rate end
  return require("nnlua.audio")._feature(who, name, options)
end

--- Sounds in files, read, brought to one form and turned into features by the loader's threads.
-- @param list of paths, or of {path, label}; labels are numbers (classes from 1)
-- @param options table? mono (true: the mean of the channels), rate (Hz, that all are brought to), length (in samples:
-- cut off, or filled with silence, at the end), features ("mel_spectrogram", "mfcc", "spectrogram" or "stft", or a
-- table of the name and options of nn.audio's function: {"mfcc", n_mfcc = 13}), transform (of nn.image, which sees
-- features as a picture (C, rows, frames); or a function)
-- @return a dataset: sample i is (channels, samples) or features (channels, rows, frames), and its label
function datasets.AudioDataset(list, options)
  local who = "nn.data.AudioDataset"
  local paths, labels = read_list(who, list)
  options = check.options(who, options, audio_options)
  return setmetatable({
    paths = paths, labels = labels, mono = options.mono ~= false, rate = options.rate, length = options.length,
    features = read_features(who, options.features, options.rate),
    transform = check_transform(who, options.transform),
  }, AudioDataset)
end

-- ---- parts and sums of datasets

local Subset = a_class()

function Subset:__len() return #self.positions end

function Subset:get(i)
  check_index("nn.data.Subset", self, i)
  return self.dataset:get(self.positions[i])
end

function Subset:get_batch(positions)
  local inner = self.dataset
  if not inner.get_batch then return nil end
  return inner:get_batch(self.positions:index_select(1, positions))
end

function Subset:feed()
  local inner = self.dataset.feed and self.dataset:feed()
  if not inner then return nil end
  local map = inner.map and inner.map:index_select(1, self.positions) or self.positions
  return { supplies = inner.supplies, transform = inner.transform, files = inner.files, map = map }
end

--- Some samples of a dataset.
-- @param dataset
-- @param positions list or tensor
function datasets.Subset(dataset, positions)
  local who = "nn.data.Subset"
  datasets.check(who, dataset)
  positions = positions_of(who, "positions", positions, datasets.length(dataset))
  return setmetatable({ dataset = dataset, positions = positions, classes = dataset.classes }, Subset)
end

local ConcatDataset = a_class()

function ConcatDataset:__len() return self.total end

function ConcatDataset:get(i)
  check_index("nn.data.ConcatDataset", self, i)
  for k, dataset in ipairs(self.datasets) do
    if i <= self.lengths[k] then return dataset:get(i) end
    i = i - self.lengths[k]
  end
end

-- What the engine is told of each part, joined; nil where that cannot be.
local function join(feeds)
  local first, lists, maps, offset = feeds[1], {}, {}, 0
  for _, feed in ipairs(feeds) do
    if #feed.supplies ~= #first.supplies or feed.transform ~= first.transform then return nil end
    for k, supply in ipairs(feed.supplies) do
      lists[k] = lists[k] or {}
      table.insert(lists[k], supply)
    end
    local map = feed.map or core.range(1, feed.count, { dtype = "int64" })
    maps[#maps + 1] = map + offset
    offset = offset + feed.count
  end
  local supplies = {}
  for k, list in ipairs(lists) do supplies[k] = core.feed.joined(list) end
  return { supplies = supplies, transform = first.transform, map = core.cat(maps, 1), files = first.files }
end

function ConcatDataset:feed()
  local feeds = {}
  for k, dataset in ipairs(self.datasets) do
    local feed = dataset.feed and dataset:feed()
    if not feed then return nil end
    feed.count = core.feed.count(feed.supplies[1])
    feeds[k] = feed
  end
  return join(feeds)
end

--- Several datasets, one after another.
-- @param list of datasets
function datasets.ConcatDataset(list)
  local who, total, lengths = "nn.data.ConcatDataset", 0, {}
  if type(list) ~= "table" or #list == 0 then check.expect(who, "list", list, "a list of datasets") end
  for k, dataset in ipairs(list) do
    datasets.check(who, dataset)
    lengths[k] = datasets.length(dataset)
    total = total + lengths[k]
  end
  return setmetatable({ datasets = list, lengths = lengths, total = total }, ConcatDataset)
end

-- How many samples each share gets: rounded down, the rest one each from the first on, as in PyTorch.
local function counts_of(who, shares, total)
  local counts, sum, whole = {}, 0, true
  for i, share in ipairs(shares) do
    local good = type(share) == "number" and share > 0
    if not good then check.expect(who, "share " .. i, share, "a number above 0") end
    sum = sum + share
    whole = whole and compat.is_whole(share) and not (share == 1 and #shares == 1)
  end
  if whole then
    if sum ~= total then
      check.fail(who, ("the counts must add up to the %d samples there are, got %d"):format(total, sum))
    end
    return shares
  end
  if sum > 1 + 1e-9 then check.fail(who, ("the fractions must add up to at most 1, got %g"):format(sum)) end
  local given = 0
  for i, share in ipairs(shares) do
    counts[i] = math.floor(total * share + 1e-9)
    given = given + counts[i]
  end
  local rest = sum > 1 - 1e-9 and total - given or 0
  for i = 1, rest do
    local k = (i - 1) % #counts + 1
    counts[k] = counts[k] + 1
  end
  return counts
end

--- Parts of a dataset at random, no sample in two of them.
-- @param dataset
-- @param shares list of fractions that add up to at most 1, or of whole numbers that add up to all samples
-- @return a dataset for each share
function datasets.random_split(dataset, shares)
  local who = "nn.data.random_split"
  datasets.check(who, dataset)
  if type(shares) ~= "table" or #shares == 0 then check.expect(who, "fractions", shares, "a list of numbers") end
  local total = datasets.length(dataset)
  local counts = counts_of(who, shares, total)
  local order, parts, start = core.randperm(total), {}, 1
  for i, count in ipairs(counts) do
    if count == 0 then check.fail(who, ("%g of %d samples leaves nothing for part %d"):format(shares[i], total, i)) end
    parts[i] = datasets.Subset(dataset, order:narrow(1, start, count))
    start = start + count
  end
  return compat.unpack(parts)
end

return datasets
