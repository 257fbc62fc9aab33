--- nn.data.DataLoader: batches of a dataset in a training's order. Samples that the engine can load and change by
-- itself come from its threads ahead of the training; what is made by Lua functions is made on the caller's thread.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local datasets = require "nnlua.datasets"
local transforms = require "nnlua.transforms"

local who = "nn.data.DataLoader"

local DataLoader = {}
DataLoader.__index = DataLoader

-- ---- the order of samples

local function count_of(self)
  local sampler = self.sampler
  if not sampler then return datasets.length(self.dataset) end
  return sampler.count or #sampler.positions
end

--- The number of batches.
function DataLoader:__len()
  if self.batch_sampler then return datasets.length(self.batch_sampler) end
  local total = count_of(self)
  local whole = (total - total % self.batch_size) / self.batch_size
  if not self.drop_last and total % self.batch_size > 0 then whole = whole + 1 end
  return compat.to_integer(whole)
end

-- The first place whose running sum is above x.
local function place_of(sums, x)
  local low, high = 1, #sums
  while low < high do
    local middle = math.floor((low + high) / 2)
    if sums[middle] > x then high = middle else low = middle + 1 end
  end
  return low
end

-- Each as likely as its weight; without replacement by Efraimidis and Spirakis (2006): the largest of log(u) / weight.
local function draw(sampler)
  local weights, count = sampler.weights, sampler.count
  local random = core.rand({ sampler.replacement and count or #weights }, { dtype = "float64" })
  if not sampler.replacement then
    local _, order = (random:log() / weights):sort(1, true)
    return order:narrow(1, 1, count)
  end
  local sums = weights:cumsum(1):tolist()
  local positions, total = random:tolist(), sums[#sums]
  for i, x in ipairs(positions) do positions[i] = place_of(sums, x * total) end
  return core.tensor(positions, { dtype = "int64" })
end

local function order_of(self)
  local sampler = self.sampler
  if sampler and sampler.weights then return draw(sampler) end
  if sampler then return sampler.positions end
  local total = datasets.length(self.dataset)
  return self.shuffle and core.randperm(total) or core.range(1, total, { dtype = "int64" })
end

-- ---- ways to a batch

-- Whether the dataset's and the loader's transforms can both be done by the engine: then they are one.
local function all_transforms(given, own)
  for _, each in ipairs { given or false, own or false } do
    if each and not (transforms.is_transform(each) and each:compiled()) then return nil, true end
  end
  if given and own then return transforms.compose { given, own } end
  return given or own
end

local function new_feed(self, told, transform, order, options)
  local fields = {}
  for k, supply in ipairs(told.supplies) do
    fields[2 * k - 1], fields[2 * k] = supply, k == 1 and transform and transform:compiled() or false
  end
  if told.map then order = told.map:index_select(1, order) end
  options.workers, options.skip_bad = self.workers or options.workers, self.on_error == "skip"
  options.drop_last, options.random = self.drop_last or false, transform and transform.random or false
  return core.feed.new(fields, order, options)
end

-- The iterator of a feed, and the feed as what a `for` loop closes when it is left.
local function iterate(self, feed, count, change)
  local done = false
  local function finish(...)
    if select("#", ...) > 0 then return ... end
    done = true
    self.skipped, self.skipped_because = core.feed.skipped(feed)
    core.feed.stop(feed)
    return nil
  end
  local function following()
    if done then return nil end
    return finish(core.feed.next(feed, count))
  end
  if change then return change(following), nil, nil, feed end
  return following, nil, nil, feed
end

-- Values of one position in all samples as one tensor.
local function stack_values(samples, position)
  local values = {}
  for i, sample in ipairs(samples) do values[i] = sample[position] end
  if core.is_tensor(values[1]) then return core.stack(values, 1) end
  return core.tensor(values, compat.to_integer(values[1]) and { dtype = "int64" } or nil)
end

local function collate(samples)
  local batch = {}
  for position = 1, samples[1].n do batch[position] = stack_values(samples, position) end
  return compat.unpack(batch)
end

local function transformed(self, sample)
  if not self.transform or sample[1] == nil then return sample end
  return compat.pack(self.transform(compat.unpack(sample, 1, sample.n)))
end

-- Batches of what next_sample() gives: values, or nil at the end. `bad` counts those that are left out.
local function collected(self, count, next_sample)
  local left = count
  return function()
    local samples = {}
    while #samples < self.batch_size and left > 0 do
      local sample = next_sample()
      if not sample then left = 0 break end
      left = left - 1
      if sample.n > 0 then samples[#samples + 1] = sample end
    end
    if #samples == 0 or (self.drop_last and #samples < self.batch_size) then return nil end
    return (self.collate or collate)(samples)
  end
end

-- A sample from a dataset's get; nil and a message is one that cannot be loaded.
local function got(self, first, ...)
  if first ~= nil or type((...)) ~= "string" then return compat.pack(first, ...) end
  if self.on_error ~= "skip" then check.fail(who, (...)) end
  self.skipped = self.skipped + 1
  self.skipped_because = self.skipped_because or (...)
  return { n = 0 }
end

local function by_get(self, order, skip)
  local positions, at = order:tolist(), skip * self.batch_size
  return collected(self, #positions - at, function()
    at = at + 1
    return transformed(self, got(self, self.dataset:get(positions[at])))
  end)
end

local function by_get_batch(self, order, skip)
  local size, total = self.batch_size, #order
  local last, start = self.drop_last and total - total % size or total, 1 + skip * size
  return function()
    if start > last then return nil end
    local positions = order:narrow(1, start, math.min(size, last - start + 1))
    start = start + size
    return self.dataset:get_batch(positions)
  end
end

-- The engine loads one sample after another ahead of what Lua functions do with them.
local function by_samples(self, told, transform, order, skip)
  local given = not transform and told.transform or nil
  local feed, count = new_feed(self, told, transform, order, {
    batch_size = 1, skip = skip * self.batch_size, prefetch = (self.prefetch or 2) * self.batch_size, loose = true,
    workers = 1,
  })
  return iterate(self, feed, count, function(following)
    return collected(self, #order - skip * self.batch_size, function()
      local sample = compat.pack(following())
      if sample[1] == nil then return nil end
      for k = 2, sample.n do
        if sample[k].ndim == 0 then sample[k] = sample[k]:item() end
      end
      if given then sample = compat.pack(given(compat.unpack(sample, 1, sample.n))) end
      return transformed(self, sample)
    end)
  end)
end

-- Batches of the positions that a sampler of batches gives.
local function by_plan(self, skip)
  local plan, at = self.batch_sampler:batches(), skip
  local whole = self.dataset.get_batch and not (self.collate or self.transform or self.dataset.transform)
  return function()
    at = at + 1
    local positions = plan[at]
    if positions == nil then return nil end
    if type(positions) == "table" then positions = core.tensor(positions, { dtype = "int64" }) end
    if whole then return self.dataset:get_batch(positions) end
    local samples = {}
    for _, position in ipairs(positions:tolist()) do
      local sample = transformed(self, got(self, self.dataset:get(position)))
      if sample.n > 0 then samples[#samples + 1] = sample end
    end
    if #samples == 0 then check.fail(who, ("no sample of batch %d can be loaded"):format(at)) end
    return (self.collate or collate)(samples)
  end
end

--- for x, y in loader:batches() do
-- @param options table? skip (batches at the beginning that are left out without being loaded; the others are the same
-- as without it)
function DataLoader:batches(options)
  options = check.options(who .. ":batches", options, { skip = "whole" })
  local skip = options.skip or 0
  if self.batch_sampler then
    self.skipped, self.skipped_because = 0, nil
    return by_plan(self, skip)
  end
  local order = order_of(self)
  local told = self.dataset.feed and self.dataset:feed()
  local transform, mixed = all_transforms(told and told.transform, self.transform)
  self.skipped, self.skipped_because = 0, nil
  if told and not mixed and not self.collate and (transform or told.files or (self.workers or 0) > 0) then
    local feed, count = new_feed(self, told, transform, order, {
      batch_size = self.batch_size, skip = skip, prefetch = self.prefetch or 2, workers = 1,
    })
    return iterate(self, feed, count)
  end
  if told and told.files then
    local declared = all_transforms(told.transform, nil)
    return by_samples(self, told, declared, order, skip)
  end
  local plain = not self.collate and not self.transform and self.dataset.get_batch
  if plain and not (told and told.transform) then return by_get_batch(self, order, skip) end
  return by_get(self, order, skip)
end

-- ---- making one

local loader_options = {
  batch_size = "count", shuffle = "boolean", drop_last = "boolean", collate = "function", transform = "any",
  workers = "whole", prefetch = "count", sampler = "any", on_error = "string", batch_sampler = "table",
}
local on_errors = { raise = true, skip = true }
local sampler_options = { weights = "any", count = "count", replacement = "boolean" }

local function check_weights(sampler, total)
  check.options(who .. ": sampler", sampler, sampler_options)
  local weights = sampler.weights
  if type(weights) == "table" then weights = core.tensor(weights, { dtype = "float64" }) end
  check.tensor(who, "sampler.weights", weights)
  weights = weights:to("float64")
  if weights.ndim ~= 1 or #weights ~= total then
    check.fail(who, ("sampler.weights: expected a weight for each of %d samples, got %s"):format(
      total, check.shape(weights.shape)))
  end
  local least, sum = weights:min():item(), weights:sum():item()
  if not (least >= 0 and sum > 0 and sum < math.huge) then
    check.fail(who, "sampler.weights: expected numbers from 0, not all of them 0")
  end
  local replacement, count = sampler.replacement ~= false, sampler.count or total
  local most = weights:gt(0):sum():item()
  if not replacement and count > most then
    check.fail(who, ("sampler.count: expected at most %d, without replacement, got %d"):format(most, count))
  end
  return { weights = weights, count = count, replacement = replacement }
end

-- What tells its batches by itself leaves nothing to these.
local function check_batch_sampler(options)
  local sampler = options.batch_sampler
  if not sampler then return nil end
  for _, name in ipairs { "batch_size", "shuffle", "sampler", "drop_last", "workers" } do
    if options[name] ~= nil then
      check.fail(who, ("options batch_sampler and %s: the batch sampler tells the batches, so %s must be left out")
        :format(name, name))
    end
  end
  if type(sampler.batches) ~= "function" then
    check.expect(who, "option batch_sampler", sampler, "something with batches(), such as nn.data.BucketSampler")
  end
  return sampler
end

local function check_sampler(sampler, total)
  if sampler == nil then return nil end
  if type(sampler) == "table" and not core.is_tensor(sampler) and sampler.weights ~= nil then
    return check_weights(sampler, total)
  end
  return { positions = datasets.positions_of(who, "sampler", sampler, total) }
end

--- Batches of a dataset: anything with get(i) and a length.
-- @param dataset
-- @param options table? batch_size (32), shuffle (false), drop_last (false: the last batch may be smaller), sampler
-- (positions, a list or tensor; or {weights, count, replacement = true}: each sample as likely as its weight),
-- transform (one of nn.image's, of the first value; or a function of a sample's values), collate (function of a list
-- of samples, each a list of values: see nn.text.collate), batch_sampler (such as nn.data.BucketSampler: its batches()
-- gives a list of the positions of each batch, its length is their number; in the place of batch_size, shuffle, sampler
-- and drop_last), workers (threads that make batches ahead: 1 where files are read or a transform
-- is nn.image's, else 0; what Lua functions make is made on the caller's thread), prefetch (2: batches made ahead),
-- on_error ("raise"; "skip": samples that cannot be loaded are left out, and counted in the field `skipped`, whose
-- reason is in `skipped_because`)
-- @return a loader: for x, y in loader:batches() do; #loader (in Lua 5.1 and LuaJIT loader:__len()) is the number of
-- batches
local function new(dataset, options)
  datasets.check(who, dataset)
  options = check.options(who, options, loader_options)
  if options.on_error then check.choice(who, "option on_error", options.on_error, on_errors) end
  if options.sampler ~= nil and options.shuffle then
    check.fail(who, "options sampler and shuffle: the sampler tells the order, so shuffle must be left out")
  end
  return setmetatable({
    batch_sampler = check_batch_sampler(options),
    dataset = dataset, batch_size = compat.to_integer(options.batch_size or 32), shuffle = options.shuffle,
    drop_last = options.drop_last, collate = options.collate, sampler = check_sampler(
      options.sampler, datasets.length(dataset)),
    transform = datasets.check_transform(who, options.transform), can_skip = true, skipped = 0,
    workers = options.workers and compat.to_integer(options.workers),
    prefetch = options.prefetch and compat.to_integer(options.prefetch), on_error = options.on_error or "raise",
  }, DataLoader)
end

return new
