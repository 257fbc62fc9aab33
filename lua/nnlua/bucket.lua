--- nn.data.BucketSampler: batches of samples that are about as long as each other, so that little of them is filling.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local who = "nn.data.BucketSampler"

local Sampler = {}
Sampler.__index = Sampler

-- The positions of a list of samples, the shortest first, in batches: of batch_size samples, or of as many as fill
-- max_tokens places, each as long as the longest.
local function cut(self, positions, batches)
  local first, count, longest = 1, 0, 0
  for i, position in ipairs(positions) do
    local length = self.lengths[position]
    local grown = math.max(longest, length)
    local full
    if self.max_tokens then full = (count + 1) * grown > self.max_tokens else full = count == self.batch_size end
    if full and count > 0 then
      batches[#batches + 1] = { first, i - 1 }
      first, count, grown = i, 0, length
    end
    count, longest = count + 1, grown
  end
  local short = self.drop_last and not self.max_tokens and count < self.batch_size
  if count > 0 and not short then batches[#batches + 1] = { first, #positions } end
end

local function sorted(self, positions)
  local lengths, place = self.lengths, {}
  for i, position in ipairs(positions) do place[position] = i end
  table.sort(positions, function(a, b)
    if lengths[a] ~= lengths[b] then return lengths[a] < lengths[b] end
    return place[a] < place[b]
  end)
  return positions
end

-- A pass: lists of positions. What is shuffled is first the samples, from which a pool at a time is sorted and cut, and
-- then the batches.
local function plan(self, random)
  local total = #self.lengths
  local order = random and core.randperm(total):tolist() or nil
  local result = {}
  for start = 1, total, random and self.pool or total do
    local positions, batches = {}, {}
    for i = start, math.min(total, random and start + self.pool - 1 or total) do
      positions[#positions + 1] = order and order[i] or i
    end
    cut(self, sorted(self, positions), batches)
    for _, range in ipairs(batches) do
      local batch = {}
      for i = range[1], range[2] do batch[#batch + 1] = positions[i] end
      result[#result + 1] = core.tensor(batch, { dtype = "int64" })
    end
  end
  if not random then return result end
  local mixed = {}
  for i, place in ipairs(core.randperm(#result):tolist()) do mixed[i] = result[place] end
  return mixed
end

--- The batches of a pass: a list of tensors of positions. Drawn anew each time where it shuffles.
function Sampler:batches()
  local list = plan(self, self.shuffle)
  self.count = #list
  return list
end

--- How many batches a pass has; where max_tokens and shuffling make that differ, those of the last pass.
function Sampler:__len()
  if not self.count then self.count = #plan(self, false) end
  return self.count
end

local options_of = {
  batch_size = "count", max_tokens = "count", shuffle = "boolean", drop_last = "boolean", pool = "count",
}

local function check_lengths(lengths)
  if core.is_tensor(lengths) then lengths = lengths:tolist() end
  if type(lengths) ~= "table" or #lengths == 0 then check.expect(who, "lengths", lengths, "a list of numbers") end
  for i, length in ipairs(lengths) do
    if type(length) ~= "number" or length < 0 then
      check.expect(who, ("length %d"):format(i), length, "a number from 0")
    end
  end
  return lengths
end

--- Batches by length, for nn.data.DataLoader's option batch_sampler.
-- @param lengths list of numbers or tensor (N): how long each sample is; the larger of several, say
-- @param options table? batch_size (32), max_tokens (in its place: samples times the longest of a batch, at most),
-- shuffle (true: other batches in another order in each pass), drop_last (false), pool (100 batches: so many samples,
-- taken at random, are sorted together; fewer are more random, more leave less to fill up)
-- @return sampler: its batches() gives a list of tensors of positions
local function new(lengths, options)
  options = check.options(who, options, options_of)
  local self = {
    lengths = check_lengths(lengths), batch_size = options.batch_size or 32, max_tokens = options.max_tokens,
    shuffle = options.shuffle ~= false, drop_last = options.drop_last or false,
  }
  local size = self.batch_size
  if self.max_tokens then
    local sum = 0
    for _, length in ipairs(self.lengths) do sum = sum + length end
    size = math.max(1, math.floor(self.max_tokens / math.max(1, sum / #self.lengths)))
  end
  self.pool = compat.to_integer((options.pool or 100) * size)
  return setmetatable(self, Sampler)
end

return new
