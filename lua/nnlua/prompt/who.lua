--- who(): the tensors, models and layers among the globals, and the memory they take.

local core = require "nnlua.core"
local check = require "nnlua.check"
local tree = require "nnlua.tree"

local function size_text(bytes)
  if bytes < 1024 then return ("%d B"):format(bytes) end
  local units, size = { "KB", "MB", "GB", "TB" }, bytes / 1024
  for i, unit in ipairs(units) do
    if size < 1024 or i == #units then return ("%.1f %s"):format(size, unit) end
    size = size / 1024
  end
end

local function bytes_of(tensor)
  return tensor:numel() * tensor:element_size()
end

local function tensor_row(name, tensor)
  local notes = tensor.requires_grad and (tensor.is_leaf and "requires_grad" or "in the graph") or ""
  return { name, "tensor", check.shape(tensor.shape), tensor.dtype, bytes_of(tensor), notes }
end

local function model_row(name, model)
  local bytes, count = 0, 0
  tree.each_tensor(model, function(_, tensor, kind)
    bytes = bytes + bytes_of(tensor)
    if kind == "parameter" then count = count + tensor:numel() end
  end, true)
  return { name, tree.class_name(model), ("%d parameters"):format(count), "", bytes, "" }
end

-- Tensors in a plain table, summed up; nil where there are none.
local function table_row(name, list)
  local bytes, count = 0, 0
  for _, value in next, list do
    if core.is_tensor(value) then
      bytes = bytes + bytes_of(value)
      count = count + 1
    end
  end
  return count > 0 and { name, "table", ("%d tensors"):format(count), "", bytes, "" } or nil
end

local function row_of(name, value)
  if core.is_tensor(value) then return tensor_row(name, value) end
  if tree.is_node(value) then return model_row(name, value) end
  local plain = type(value) == "table" and getmetatable(value) == nil and value ~= _G
  return plain and table_row(name, value) or nil
end

local function rows_of(globals)
  local rows = {}
  for name, value in next, globals do
    local is_result = type(name) ~= "string" or name:find "^_+$"
    local row = not is_result and row_of(name, value)
    if row then rows[#rows + 1] = row end
  end
  table.sort(rows, function(a, b) return a[1] < b[1] end)
  return rows
end

local function lines_of(rows)
  local widths, lines = { 0, 0, 0, 0, 0 }, {}
  for _, row in ipairs(rows) do
    row[5] = size_text(row[5])
    for i = 1, 5 do widths[i] = math.max(widths[i], #row[i]) end
  end
  local format = ("%%-%ds  %%-%ds  %%-%ds  %%-%ds  %%%ds  %%s"):format(widths[1], widths[2], widths[3], widths[4],
    widths[5])
  for i, row in ipairs(rows) do
    lines[i] = format:format(row[1], row[2], row[3], row[4], row[5], row[6]):gsub("%s+$", "")
  end
  return lines
end

--- Write a table of the tensors among the globals: name, shape, dtype and bytes; models and tables with what their
-- tensors take together; and what all tensors that are alive take, those that no global holds included.
local function who()
  local rows = rows_of(_G)
  local lines = lines_of(rows)
  local memory = core.memory()
  lines[#lines + 1] = ("%d tensor%s alive, %s; peak %s"):format(memory.tensors, memory.tensors == 1 and "" or "s",
    size_text(memory.live), size_text(memory.peak))
  core.write(table.concat(lines, "\n") .. "\n")
end

return who
