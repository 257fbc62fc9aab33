--- nn.data: reading tables, splitting, batches.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local datasets = require "nnlua.datasets"

local data = {}

-- ---- CSV

local csv_options = {
  header = "boolean", separator = "string", comment = "string", skip = "whole", dtype = "string", columns = "any",
  classes = "any", missing = "any", fill = "any", label = "any", label_dtype = "string",
}

-- The position of a column given by name or by position, negative from the end.
local function column(who, given, names, count)
  if type(given) == "string" then
    for i, name in ipairs(names or {}) do
      if name == given then return i end
    end
    local known = names and ("; there are: " .. table.concat(names, ", ")) or "; the file has no header"
    check.fail(who, ("no column %q%s"):format(given, known))
  end
  local position = compat.to_integer(given)
  if position and position < 0 then position = count + 1 + position end
  if not position or position < 1 or position > count then
    check.fail(who, ("label: expected a column's name, or a position from 1 to %d, got %s"):format(
      count, check.kind(given)))
  end
  return position
end

local function columns(who, given, names, count)
  if type(given) ~= "table" then return { column(who, given, names, count) } end
  local list = {}
  for i, each in ipairs(given) do list[i] = column(who, each, names, count) end
  return list
end

local function positions_tensor(positions)
  return core.tensor(positions, { dtype = "int64" })
end

-- The table without its label columns, and the labels: (N) where there is one column.
local function take_labels(values, labels)
  local is_label, rest = {}, {}
  for _, position in ipairs(labels) do is_label[position] = true end
  for i = 1, values:size(2) do
    if not is_label[i] then rest[#rest + 1] = i end
  end
  local y = values:index_select(2, positions_tensor(labels))
  if #labels == 1 then y = y:squeeze(2) end
  return values:index_select(2, positions_tensor(rest)), y, rest
end

local function names_at(names, positions)
  local list = {}
  for i, position in ipairs(positions) do list[i] = names[position] end
  return list
end

-- Labels of classes are whole numbers from 1, whatever the type of the table.
local function label_type(options, read, labels)
  if options.label_dtype then return options.label_dtype end
  if #labels == 1 and read.classes[read.columns[labels[1]]] then return "int64" end
  return options.dtype or "float32"
end

-- The words that stand for no value where the script names none.
local MISSING = { "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null" }

local function middle(values)
  local sorted, count = values:sort(), #values
  if count % 2 == 1 then return sorted[(count + 1) / 2] end
  return (sorted[count / 2] + sorted[count / 2 + 1]) / 2
end

-- Missing numbers of a column become what the others say.
local function fill_by_column(read, how)
  for position, name in ipairs(read.columns) do
    local values = read.data:select(2, position)
    local missing = values:isnan()
    if not read.classes[name] and missing:any():item() and not missing:all():item() then
      local known = values:masked_select(missing:logical_not())
      values:masked_fill_(missing, how == "mean" and known:double():mean():item() or middle(known))
    end
  end
end

local own_options = { label = true, label_dtype = true, fill = true }

-- The options that the core knows.
local function core_options(who, path, options)
  local given = { missing = MISSING }
  if path:find("%.tsv$") or path:find("%.tsv%.gz$") then given.separator = "\t" end
  for name, value in pairs(options) do
    if not own_options[name] then given[name] = value end
  end
  if type(options.fill) == "number" then given.fill = options.fill end
  if options.fill ~= nil and type(options.fill) ~= "number" then
    check.choice(who, "option fill", options.fill, { mean = true, median = true })
  end
  return given
end

-- No label stands for a class that is missing.
local function check_labels(path, y, dtype)
  if tostring(dtype):find("float") then return nil end
  local missing = y:isnan():sum():item()
  return missing > 0 and ("%s: %d rows have no label"):format(path, missing) or nil
end

--- Read a CSV file, plain or in gzip. A column whose values are no numbers holds classes: it becomes labels from 1, in
-- the order of their names (2 before 10).
-- @param path string
-- @param options table? label (a column's name or position, negative from the end, or a list of such), dtype
-- ("float32"), label_dtype (the same; "int64" where the label is a class), header (found out; true or false), separator
-- (","; a tab where the path ends in .tsv; " " takes several blanks as one), columns (only these, in this order),
-- classes (columns of classes that look like numbers, by name or position), missing (texts that stand for no value,
-- besides nothing at all: NA, N/A, null and kin), fill (what numbers that are missing become: NaN; a number, "mean" or
-- "median" of the column), skip (lines to leave out before all others), comment (a character)
-- @return x (N, columns) and info; with `label` x, y and info: a table with `columns` (the names of x's columns) and
-- `classes` (lists of names by column). nil and a message where the file cannot be read
function data.csv(path, options)
  if type(path) ~= "string" then check.expect("nn.data.csv", "path", path, "a string") end
  options = check.options("nn.data.csv", options, csv_options)
  local read, message = core.csv(path, core_options("nn.data.csv", path, options))
  if not read then return nil, message end
  if type(options.fill) == "string" then fill_by_column(read, options.fill) end
  local info = { columns = read.columns, classes = read.classes }
  if options.label == nil then return read.data, info end
  local labels = columns("nn.data.csv", options.label, read.columns, read.data:size(2))
  local x, y, rest = take_labels(read.data, labels)
  info.columns = names_at(read.columns, rest)
  local dtype = label_type(options, read, labels)
  local problem = check_labels(path, y, dtype)
  if problem then return nil, problem end
  return x, y:to(dtype), info
end

--- A picture from a PNG or JPEG file, or from the bytes of one: see nn.image.load.
-- @return tensor (C, H, W); nil and a message where it cannot be read
function data.image(path, options) return require("nnlua.image")._read(path, options) end

-- ---- splitting

-- Positions of the rows of each class, in the order of `order`: a list of tensors.
local function by_class(y, order)
  local labels, groups = y:index_select(1, order), {}
  local rest = labels
  while rest:numel() > 0 do
    local class = rest:min():item()
    groups[#groups + 1] = order:masked_select(labels:eq(class))
    rest = rest:masked_select(rest:gt(class))
  end
  return groups
end

-- The first rows of each group, as many as its share, are for the test.
local function cut(groups, share)
  local train, test = {}, {}
  for _, group in ipairs(groups) do
    local total = #group
    local count = math.floor(total * share + 0.5)
    if count > 0 then test[#test + 1] = group:narrow(1, 1, count) end
    if count < total then train[#train + 1] = group:narrow(1, count + 1, total - count) end
  end
  return train, test
end

-- The positions of all groups: in a random order, or as they stand in the data.
local function join(groups, total, shuffle)
  local positions = core.cat(groups, 1)
  if shuffle then return positions:index_select(1, core.randperm(#positions)) end
  local chosen = core.zeros({ total }, { dtype = "bool" })
  chosen[positions] = true
  return core.range(1, total, { dtype = "int64" }):masked_select(chosen)
end

local split_options = { test = "fraction", stratify = "boolean", shuffle = "boolean" }

--- Split samples into those to train with and those to test with.
-- @param x tensor (N, ...)
-- @param y tensor (N) or (N, 1)
-- @param options table? test (0.2: its share), shuffle (true), stratify (false; true: each class in the same shares)
-- @return x_train, x_test, y_train, y_test
function data.train_test_split(x, y, options)
  local who = "nn.data.train_test_split"
  check.tensor(who, "x", x)
  check.tensor(who, "y", y)
  options = check.options(who, options, split_options)
  if #x ~= #y then check.fail(who, ("x has %d rows, y has %d"):format(#x, #y)) end
  local shuffle = options.shuffle ~= false
  local order = shuffle and core.randperm(#x) or core.range(1, #x, { dtype = "int64" })
  local groups = options.stratify and by_class(y:reshape(-1), order) or { order }
  local train, test = cut(groups, options.test or 0.2)
  if #train == 0 or #test == 0 then check.fail(who, ("%d rows leave nothing on one side"):format(#x)) end
  train, test = join(train, #x, shuffle), join(test, #x, shuffle)
  return x:index_select(1, train), x:index_select(1, test), y:index_select(1, train), y:index_select(1, test)
end

-- ---- datasets and loaders

for _, name in ipairs {
  "TensorDataset", "FileDataset", "ImageFolder", "AudioDataset", "Subset", "ConcatDataset", "random_split",
 } do
  data[name] = datasets[name]
end
data.DataLoader = require "nnlua.loader"
data.BucketSampler = require "nnlua.bucket"

-- ---- the other readers, and the collections that people know

for _, part in ipairs { "readers", "collections" } do
  for name, reader in pairs(require("nnlua." .. part)) do data[name] = reader end
end

return data
