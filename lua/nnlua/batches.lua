--- What fit, evaluate and predict go through: batches of tensors, or of a loader, and how many there are.

local core = require "nnlua.core"
local check = require "nnlua.check"
local tree = require "nnlua.tree"

local batches = {}

--- A tensor as it is; a table of numbers becomes one.
function batches.tensor(who, what, value)
  if core.is_tensor(value) then return value end
  if type(value) == "table" and not tree.is_node(value) then return core.tensor(value) end
  check.expect(who, what, value, "a tensor")
end

local function is_loader(value)
  return type(value) == "table" and type(value.batches) == "function"
end

-- n consecutive rows, without a copy where that is all of them.
local function rows(t, start, count)
  if count == #t then return t end
  return t:narrow(1, start, count)
end

local Tensors = {}
Tensors.__index = Tensors

-- Start and size of each batch.
local function spans(total, size)
  local start = 1 - size
  return function()
    start = start + size
    if start > total then return nil end
    return start, math.min(size, total - start + 1)
  end
end

--- for x, y, order, start in source:each(shuffle) do: `order` holds the positions of all rows, nil where they
-- come as they are; the batch begins at position `start`
function Tensors:each(shuffle)
  local x, y, total = self.x, self.y, self.total
  local order = shuffle and core.randperm(total) or nil
  local next_span = spans(total, self.size)
  return function()
    local start, count = next_span()
    if not start then return nil end
    if not order then return rows(x, start, count), y and rows(y, start, count), nil, start end
    local chosen = rows(order, start, count)
    return x:index_select(1, chosen), y and y:index_select(1, chosen), order, start
  end
end

local Loader = {}
Loader.__index = Loader

function Loader:each() return self.loader:batches() end

local function length(loader)
  local meta = getmetatable(loader)
  return type(meta) == "table" and meta.__len and meta.__len(loader) or nil
end

--- A source of batches.
-- @param who string the function that a script called, for errors
-- @param x tensor, or a loader with a method batches()
-- @param y tensor? of as many rows
-- @param size integer of a batch
-- @return table with each(shuffle), count (of batches; nil where unknown), and for tensors x, y and total
function batches.source(who, x, y, size)
  if is_loader(x) then return setmetatable({ loader = x, count = length(x) }, Loader) end
  x = batches.tensor(who, "x", x)
  y = y ~= nil and batches.tensor(who, "y", y) or nil
  if x.ndim == 0 or #x == 0 then
    check.fail(who, "x: expected at least one row, got " .. check.shape(x.shape))
  end
  if y and (y.ndim == 0 or #y ~= #x) then
    check.fail(who, ("x and y: expected as many rows in both, got %s and %s"):format(
      check.shape(x.shape), check.shape(y.shape)))
  end
  local total = #x
  return setmetatable({ x = x, y = y, size = size, total = total, count = math.ceil(total / size) }, Tensors)
end

--- The last share of x and y apart from the rest, before any shuffling.
-- @return x, y, x_last, y_last
function batches.split(who, x, y, fraction)
  local total = #x
  local first = math.floor(total * (1 - fraction))
  if first < 1 or first == total then
    check.fail(who, ("validation_split = %g of %d rows leaves nothing on one side"):format(fraction, total))
  end
  return rows(x, 1, first), rows(y, 1, first), rows(x, first + 1, total - first), rows(y, first + 1, total - first)
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

--- Why a batch gave NaN: where NaN stands in it, with the row counted in the whole data where that is known.
function batches.explain_nan(x, y, order, start)
  for name, t in pairs { x = x, y = y } do
    local place = first_nan(t)
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
