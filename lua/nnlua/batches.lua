--- What fit, evaluate and predict go through: batches of tensors, of a loader, or of a function.
-- A pack is a tensor, or a table of tensors (a list, or by name) for models of several inputs or outputs. A source has
-- `count` (of its batches; nil where unknown), `size` (of a batch) and each(shuffle, skip), an iterator that leaves out
-- the first `skip` batches and gives x, y, weights, the order of all rows and where the batch begins in it (both nil
-- where rows are not known).

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local tree = require "nnlua.tree"

local batches = {}

local MOST_LABELS = 1e6

local is_tensor = core.is_tensor

-- ---- packs

local function has_tensors(value)
  local _, first = next(value)
  return is_tensor(first)
end

--- A tensor as it is; a table of numbers becomes one.
function batches.tensor(who, what, value)
  if is_tensor(value) then return value end
  if type(value) == "table" and not tree.is_node(value) then return core.tensor(value) end
  check.expect(who, what, value, "a tensor")
end

--- A pack as it is; a table of numbers becomes a tensor.
function batches.pack(who, what, value)
  if is_tensor(value) then return value end
  if type(value) ~= "table" or not has_tensors(value) then return batches.tensor(who, what, value) end
  for key, part in pairs(value) do
    if not is_tensor(part) then check.expect(who, ("%s[%s]"):format(what, tostring(key)), part, "a tensor") end
  end
  return value
end

--- How many rows a pack has.
function batches.rows(value)
  if is_tensor(value) then return #value end
  local _, first = next(value)
  return #first
end

--- fn of every tensor of a pack.
local function map(value, fn, ...)
  if value == nil then return nil end
  if is_tensor(value) then return fn(value, ...) end
  local result = {}
  for key, part in pairs(value) do result[key] = fn(part, ...) end
  return result
end

-- n consecutive rows, without a copy where that is all of them.
local function rows(t, start, count)
  if count == #t then return t end
  return t:narrow(1, start, count)
end

local function gather(t, chosen) return t:index_select(1, chosen) end

local function check_rows(who, what, value, total)
  map(value, function(t)
    if t.ndim == 0 or #t == 0 then
      check.fail(who, what .. ": expected at least one row, got " .. check.shape(t.shape))
    end
    if total and #t ~= total then
      local both = what == "x" and "the tensors of x" or "x and " .. what
      check.fail(who, ("%s: expected as many rows in both, got %d and %d"):format(both, total, #t))
    end
    total = total or #t
  end)
  return total
end

-- ---- tensors

local Tensors = {}
Tensors.__index = Tensors

local function in_order(self, start)
  local x, y, weights, total, size = self.x, self.y, self.weights, self.total, self.size
  return function()
    start = start + size
    if start > total then return nil end
    local count = math.min(size, total - start + 1)
    return map(x, rows, start, count), map(y, rows, start, count), map(weights, rows, start, count), nil, start
  end
end

local function in_random_order(self, start)
  local x, y, weights, total, size = self.x, self.y, self.weights, self.total, self.size
  local order = core.randperm(total)
  local plain = is_tensor(x) and is_tensor(y) and not weights
  return function()
    start = start + size
    if start > total then return nil end
    local chosen = rows(order, start, math.min(size, total - start + 1))
    if plain then return x:index_select(1, chosen), y:index_select(1, chosen), nil, order, start end
    return map(x, gather, chosen), map(y, gather, chosen), map(weights, gather, chosen), order, start
  end
end

function Tensors:each(shuffle, skip)
  local start = 1 + ((skip or 0) - 1) * self.size
  return (shuffle and in_random_order or in_order)(self, start)
end

-- ---- loaders and functions: what they give is x, y, weights; or, of several inputs, each by itself

local Loader = {}
Loader.__index = Loader

-- The values of a batch: the first are inputs, then as many targets as the model has outputs, then weights.
local function share_out(self, values)
  if values.n == 0 or values[1] == nil then return nil end
  local x, y = {}, {}
  for i = 1, self.inputs do x[i] = values[i] end
  local outputs = values.n - self.inputs >= self.outputs and self.outputs or 1
  for i = 1, outputs do y[i] = values[self.inputs + i] end
  return self.inputs == 1 and x[1] or x, outputs == 1 and y[1] or y, values[self.inputs + outputs + 1]
end

-- An iterator as `for` takes it: a function alone, or with a state and a first value.
local function plain_iterator(self, fn, state, control)
  if self.inputs == 1 and self.outputs == 1 then
    return function()
      local x, y, weights = fn(state, control)
      control = x
      return x, y, weights
    end
  end
  return function()
    local values = compat.pack(fn(state, control))
    control = values[1]
    return share_out(self, values)
  end
end

local function skip_batches(iterator, count)
  for _ = 1, count or 0 do iterator() end
  return iterator
end

function Loader:each(_, skip)
  local loader = self.loader
  if loader.can_skip then return plain_iterator(self, loader:batches { skip = skip or 0 }) end
  return skip_batches(plain_iterator(self, loader:batches()), skip)
end

local Function = {}
Function.__index = Function

-- A function gives an iterator, or is one itself that never ends.
function Function:each(_, skip)
  local first = compat.pack(self.fn())
  if type(first[1]) == "function" then
    return skip_batches(plain_iterator(self, compat.unpack(first, 1, 3)), skip)
  end
  if not self.limited then
    check.fail(self.who, "a function that gives batches never ends: say when with the option steps_per_epoch or steps")
  end
  local fn, pending = self.fn, first
  return skip_batches(plain_iterator(self, function()
    if not pending then return fn() end
    local values = pending
    pending = nil
    return compat.unpack(values, 1, values.n)
  end), skip)
end

local function length(loader)
  local meta = getmetatable(loader)
  return type(meta) == "table" and meta.__len and meta.__len(loader) or nil
end

--- Whether a value gives batches by itself, targets included.
function batches.is_loader(value)
  return type(value) == "function" or (type(value) == "table" and type(value.batches) == "function")
end

-- ----

--- A source of batches.
-- @param who string the function that a script called, for errors
-- @param x pack, or a loader (something with a method batches()), or a function that gives an iterator
-- @param y pack? of as many rows
-- @param options table: size (of a batch), weights (pack), inputs and outputs (how many of a loader's values are such:
-- 1), limited (whether somebody counts the batches)
function batches.source(who, x, y, options)
  if batches.is_loader(x) then
    if y ~= nil or options.weights ~= nil then
      check.fail(who, "a loader gives the targets and weights itself: for x, y, weights in its batches")
    end
    local self = { who = who, inputs = options.inputs or 1, outputs = options.outputs or 1, limited = options.limited }
    if type(x) == "function" then
      self.fn = x
      return setmetatable(self, Function)
    end
    self.loader, self.count, self.size = x, length(x), x.batch_size
    return setmetatable(self, Loader)
  end
  x = batches.pack(who, "x", x)
  y = y ~= nil and batches.pack(who, "y", y) or nil
  local weights = options.weights ~= nil and batches.pack(who, "sample_weight", options.weights) or nil
  local total = check_rows(who, "x", x)
  check_rows(who, "y", y, total)
  check_rows(who, "sample_weight", weights, total)
  return setmetatable({
    x = x, y = y, weights = weights, size = options.size, total = total, count = math.ceil(total / options.size),
  }, Tensors)
end

--- The last share of a source of tensors apart from the rest, before any shuffling.
-- @return two sources
function batches.split(who, source, fraction, size)
  local total = source.total
  local first = math.floor(total * (1 - fraction))
  if first < 1 or first == total then
    check.fail(who, ("validation_split = %g of %d rows leaves nothing on one side"):format(fraction, total))
  end
  local function part(start, count, batch)
    return batches.source(who, map(source.x, rows, start, count), map(source.y, rows, start, count),
      { size = batch, weights = map(source.weights, rows, start, count) })
  end
  return part(1, first, source.size), part(first + 1, total - first, size)
end

-- ---- weights by class

-- The label of each sample; rows of probabilities have that of the largest.
local function labels_of(y)
  if y.ndim > 1 and y:size(-1) > 1 and y.dtype ~= "int64" and y.dtype ~= "int32" then return y:argmax(-1) end
  if y.ndim > 1 and y:size(-1) == 1 then y = y:squeeze(-1) end
  return y:to("int64")
end

--- A function from targets to weights.
-- @param given table by label; targets of 0 and 1 have the keys 0 and 1; a label that is not in it weighs 1
function batches.class_weights(who, given)
  local largest = 0
  for label, weight in pairs(given) do
    if not compat.is_whole(label) or label < 0 or label > MOST_LABELS then
      check.expect(who, "class_weight: key", label, "a label")
    end
    if type(weight) ~= "number" then check.expect(who, ("class_weight[%d]"):format(label), weight, "a number") end
    largest = math.max(largest, label)
  end
  local list = {}
  for label = 0, largest + 1 do list[label + 1] = given[label] or 1 end
  local by_label = core.tensor(list)
  return function(y)
    if not is_tensor(y) then check.fail(who, "class_weight is for one output; give sample_weight") end
    local labels = labels_of(y)
    if given[0] == nil and given[2] and labels:min():item() == 0 then
      check.fail(who, "class_weight: the targets are 0 and 1, so its keys are too: {[0] = ..., [1] = ...}")
    end
    local known = labels:masked_fill(labels:lt(0), largest + 1):clamp(0, largest + 1)
    return by_label:index_select(1, known:reshape(-1) + 1):reshape(labels.shape)
  end
end

-- ---- NaN in the data

-- The first place of a NaN, as an index; nil where there is none.
local function first_nan(t)
  if not core.is_tensor(t) or not (t.dtype == "float32" or t.dtype == "float64") then return nil end
  local mask = t:isnan()
  if mask:sum():item() == 0 then return nil end
  local place, rest = {}, mask:reshape(-1):to("int64"):argmax(1):item() - 1
  local shape = t.shape
  for i = #shape, 1, -1 do
    place[i] = rest % shape[i] + 1
    rest = (rest - rest % shape[i]) / shape[i]
  end
  return place
end

local function place_text(place, row)
  local numbers = {}
  for i = 1, #place do numbers[i] = ("%d"):format(i == 1 and row or place[i]) end
  return "[" .. table.concat(numbers, ", ") .. "]"
end

local function named_parts(x, y)
  local list = {}
  for _, pair in ipairs { { "x", x }, { "y", y } } do
    if is_tensor(pair[2]) then
      list[#list + 1] = pair
    else
      for key, part in pairs(pair[2] or {}) do list[#list + 1] = { ("%s[%s]"):format(pair[1], tostring(key)), part } end
    end
  end
  return list
end

--- Why a batch gave NaN: where NaN stands in it, with the row counted in the whole data where that is known.
function batches.explain_nan(x, y, order, start)
  for _, each in ipairs(named_parts(x, y)) do
    local name, place = each[1], first_nan(each[2])
    if place then
      local row = start and start + place[1] - 1 or place[1]
      if order then row = order[row] end
      local of = start and "" or " of the batch"
      return ("the data hold NaN: %s%s%s"):format(name, place_text(place, row), of)
    end
  end
  return "the data of the batch hold no NaN, so the model's own numbers have grown too large: " ..
    "try a smaller learning rate, or scale the inputs"
end

return batches
