--- model:summary(): a table of the layers, the shapes of their results, and what they hold.

local core = require "nnlua.core"
local cells = require "nnlua.cells"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local tree = require "nnlua.tree"

local summary = { methods = {} }

local BATCH = 2 -- rows of the trial input; such a first size is shown as N

-- ---- a trial run, to learn the shapes

local function shape_of(result)
  if type(result) == "table" then result = result[1] end
  return core.is_tensor(result) and result.shape or nil
end

-- Stands in a module's field in place of a layer or module for the time of the trial: passes calls on and notes the
-- shape of what comes back.
local function recorder(node, shapes)
  return setmetatable({}, {
    __index = function(_, key)
      local value = node[key]
      if type(value) ~= "function" then return value end
      return function(_, ...) return value(node, ...) end
    end,
    __call = function(_, ...)
      local results = compat.pack(node(...))
      shapes[node] = shapes[node] or shape_of(results[1])
      return compat.unpack(results, 1, results.n)
    end,
  })
end

-- Put recorders in place of all children; returns a function that undoes it.
local function replace_children(model, shapes)
  local undo, recorders = {}, {}
  tree.each_node(model, function(_, node)
    if core.is_layer(node) then return end
    for key, value in pairs(node) do
      if tree.is_node(value) then undo[#undo + 1] = { node, key, value } end
    end
  end)
  for _, place in ipairs(undo) do
    local child = place[3]
    recorders[child] = recorders[child] or recorder(child, shapes)
    rawset(place[1], place[2], recorders[child])
  end
  return function()
    for _, place in ipairs(undo) do rawset(place[1], place[2], place[3]) end
  end
end

local function trial_input(shape, dtype)
  if dtype == "float32" or dtype == "float64" then return core.zeros(shape, { dtype = dtype }) end
  return core.ones(shape, { dtype = dtype })
end

-- The shapes of all results by node; nil and a message where the model refuses the input.
local function try_shape(model, shape, dtype)
  local shapes = {}
  local undo = replace_children(model, shapes)
  local ok, result = pcall(core.no_grad, function() return (model(trial_input(shape, dtype))) end)
  undo()
  if not ok then return nil, result end
  shapes[model] = shape_of(result)
  return shapes
end

local function with_batch(shape)
  local full = { BATCH }
  for i = 1, #shape do full[i + 1] = shape[i] end
  return full
end

local function training_flags(model)
  local list = {}
  tree.each_node(model, function(_, node)
    if node.training then list[#list + 1] = node end
  end)
  return list
end

local function in_inference(model, fn)
  local list = training_flags(model)
  model:eval()
  local shapes, message = fn()
  for _, node in ipairs(list) do
    if core.is_layer(node) then node:_set_training(true) else rawset(node, "training", true) end
  end
  return shapes, message
end

-- Where nothing was said and nothing seen, the first layer may know the size of its input.
local function guess_input(model)
  local guess
  tree.each_node(model, function(_, node)
    if guess == nil and core.is_layer(node) then
      local class = node:_class()
      guess = (class == "Dense" or class == "Linear") and not tree.open_slots(node)
        and { shape = { node:_config().options.in_features }, dtype = "float32" }
    end
  end)
  return guess or nil
end

-- Shapes with or without the batch in front, as the model takes them.
local function find_shapes(model, shape)
  local seen = require "nnlua.training".input_of(model)
  local input = shape and { shape = shape, dtype = seen and seen.dtype or "float32" } or seen or guess_input(model)
  if not input then return {} end
  return in_inference(model, function()
    local shapes, message = try_shape(model, with_batch(input.shape), input.dtype)
    if not shapes then shapes = try_shape(model, input.shape, input.dtype) end
    if not shapes and not seen then shapes = try_shape(model, with_batch(input.shape), "int64") end -- tokens
    if not shapes and shape then
      check.fail("summary", ("the model takes no input of shape %s: %s"):format(
        check.shape(shape), tostring(message)))
    end
    return shapes or {}
  end)
end

-- ---- the rows

local function thousands(n)
  local text = ("%d"):format(n)
  while true do
    local more, count = text:gsub("^(-?%d+)(%d%d%d)", "%1,%2")
    if count == 0 then return more end
    text = more
  end
end

local function size_text(bytes)
  if bytes < 1024 then return ("%d B"):format(bytes) end
  if bytes < 1024 * 1024 then return ("%.1f KB"):format(bytes / 1024) end
  return ("%.1f MB"):format(bytes / 1024 / 1024)
end

local widths = { float64 = 8, int64 = 8, float16 = 2, bfloat16 = 2, uint8 = 1, bool = 1 }

local function bytes_of(tensor)
  return tensor:numel() * (widths[tensor.dtype] or 4)
end

local function shape_text(shape)
  if not shape then return "?" end
  local sizes = {}
  for i, size in ipairs(shape) do sizes[i] = i == 1 and size == BATCH and "N" or ("%d"):format(size) end
  return "(" .. table.concat(sizes, ", ") .. ")"
end

-- What a node holds itself; what was counted before does not count again.
local function own_counts(node, totals)
  local count, bytes = 0, 0
  for _, entry in ipairs(tree.entries(node)) do
    local tensor, kind = entry[2], entry[3]
    local id = kind ~= "module" and tree.identity(tensor)
    if id and not totals.seen[id] then
      totals.seen[id] = true
      bytes = bytes + bytes_of(tensor)
      local trained = kind == "parameter" and tensor.requires_grad
      if kind == "parameter" then count = count + tensor:numel() end
      local key = trained and "trained" or kind == "parameter" and "frozen" or "buffers"
      totals[key] = totals[key] + tensor:numel()
    end
  end
  totals.bytes = totals.bytes + bytes
  return count, bytes
end

-- Every place of every node, parents before children: visit(node, label, label of its first place or nil).
local function walk(node, label, seen, visit)
  visit(node, label, seen[node])
  if seen[node] then return end
  seen[node] = label
  if core.is_layer(node) then return end
  for _, entry in ipairs(node:_entries()) do
    if entry[3] == "module" then
      local name = node:_label(entry[1])
      walk(entry[2], label == "" and name or label .. "." .. name, seen, visit)
    end
  end
end

local function new_row(node, label, shapes, totals)
  local count, bytes = own_counts(node, totals)
  if count == 0 and bytes == 0 and #tree.children(node) > 0 then return nil end
  local open = core.is_layer(node) and tree.open_slots(node)
  totals.open = totals.open or open
  return {
    name = label, class = tree.class_name(node), shape_text(shapes[node]),
    open and "not yet known" or thousands(count), open and "" or size_text(bytes),
  }
end

-- Rows {output, parameters, size, name =, class =}. What has several places is counted at the first.
local function make_rows(model, shapes)
  local totals = { trained = 0, frozen = 0, buffers = 0, bytes = 0, seen = {} }
  local rows = {}
  walk(model, "", {}, function(node, label, first)
    if not first then
      rows[#rows + 1] = new_row(node, label, shapes, totals)
    else
      local above = first == "" and "the whole" or first
      rows[#rows + 1] = { name = label, class = tree.class_name(node), "", "as " .. above, "" }
    end
  end)
  return rows, totals
end

-- ---- the table

-- "name (Class)" in so many cells: of a name that is too long the end matters, then of the class the beginning.
local function row_label(row, most)
  local name, class = cells.clean(row.name), cells.clean(row.class)
  local text = name == "" and class or ("%s (%s)"):format(name, class)
  local over = cells.width(text) - most
  if over <= 0 then return text end
  local rest = cells.width(name) - over - 3
  if rest < 4 then return cells.fit(text, most) end
  while cells.width(name) > rest do name = name:gsub("^[^\128-\191][\128-\191]*", "", 1) end
  return ("...%s (%s)"):format(name, class)
end

local heads = { "Output", "Parameters", "Size" }
local NAME_LEAST = 24 -- cells for names, before a column goes

local function column_widths(rows)
  local most, name = { #heads[1], #heads[2], #heads[3] }, #"Layer"
  for _, row in ipairs(rows) do
    for i = 1, 3 do most[i] = math.max(most[i], cells.width(row[i])) end
    name = math.max(name, cells.width(row_label(row, math.huge)))
  end
  return most, name
end

-- How wide the names may be, and how many of the other columns there are, in so many cells.
local function arrange(most, name, width)
  local columns, others = 3, most[1] + most[2] + most[3] + 6
  if width - others < math.min(name, NAME_LEAST) then columns, others = 2, others - most[3] - 2 end
  return math.max(math.min(name, width - others), 8), columns
end

local function table_lines(rows, width)
  local most, name = column_widths(rows)
  local columns
  name, columns = arrange(most, name, width)
  local function line(label, row)
    local parts = { cells.fit(label, name), cells.fit(row[1], most[1]), cells.fit(row[2], most[2], true) }
    if columns == 3 then parts[4] = cells.fit(row[3], most[3], true) end
    return (table.concat(parts, "  "):gsub(" +$", ""))
  end
  local rule = ("-"):rep(name + most[1] + most[2] + 4 + (columns == 3 and most[3] + 2 or 0))
  local lines = { line("Layer", heads), rule }
  for _, row in ipairs(rows) do lines[#lines + 1] = line(row_label(row, name), row) end
  lines[#lines + 1] = rule
  return lines
end

local function total_line(totals)
  local text = ("%s parameters, %s"):format(thousands(totals.trained + totals.frozen), size_text(totals.bytes))
  if totals.frozen > 0 then text = text .. (", %s of them frozen"):format(thousands(totals.frozen)) end
  if totals.buffers > 0 then text = text .. (", and %s numbers not trained"):format(thousands(totals.buffers)) end
  if totals.open then text = text .. "; the rest is known after the first batch" end
  return text
end

--- The summary as text, without a line break at its end.
-- @param model module or layer
-- @param shape table? of one input, without the batch
-- @param width integer? cells that a line may have; names and columns are cut where it must be
function summary.text(model, shape, width)
  if shape ~= nil and type(shape) ~= "table" then check.expect("summary", "shape", shape, "a table") end
  local rows, totals = make_rows(model, find_shapes(model, shape))
  local lines = table_lines(rows, width or math.huge)
  table.insert(lines, 1, tree.class_name(model))
  lines[#lines + 1] = total_line(totals)
  return table.concat(lines, "\n")
end

--- Print a table of the model's layers: the shape of each result (N stands for the batch), parameters and their size.
-- @param shape table? of one input, without the batch; needed for shapes before the model has seen any data
function summary.methods:summary(shape)
  local width = core.is_terminal() and core.terminal_width() or nil
  core.write(summary.text(self, shape, width) .. "\n")
end

return summary
