--- nn.plot: pictures of numbers, in PNG, SVG and PDF files drawn by gnuplot, or on the terminal where there is no path.
-- A figure is a table of panels (kind "xy", "matrix" or "image" and what that kind holds); plot_gnuplot.lua and
-- plot_text.lua draw them. All functions end in (..., path, options), both of which may be left out, and give true;
-- nil and a message where the file cannot be written.

local core = require "nnlua.core"
local check = require "nnlua.check"
local tiles = require "nnlua.tiles"

local plot = {}

-- ---- options

local axis_options = {
  title = "string", xlabel = "string", ylabel = "string", labels = "table", legend = "boolean", logx = "boolean",
  logy = "boolean", xrange = "table", yrange = "table", width = "count", height = "count", style = "string",
}

local function with(rules, more)
  local all = {}
  for name, rule in pairs(rules) do all[name] = rule end
  for name, rule in pairs(more) do all[name] = rule end
  return all
end

local function check_range(who, name, range)
  if range == nil then return nil end
  if #range ~= 2 or type(range[1]) ~= "number" or type(range[2]) ~= "number" or range[1] >= range[2] then
    check.fail(who, ("option %s: expected {from, to}, two numbers of which the second is larger"):format(name))
  end
  return range
end

-- ---- data

-- A list of numbers.
local function numbers(who, what, value)
  if core.is_tensor(value) then
    if value.ndim ~= 1 then value = value:reshape(-1) end
    value = value:detach():double():tolist()
  end
  if type(value) ~= "table" then check.expect(who, what, value, "a tensor or a list of numbers") end
  local list = {}
  for i = 1, #value do
    local x = value[i]
    if core.is_tensor(x) and x:numel() == 1 then x = x:item() end
    if type(x) ~= "number" then check.expect(who, ("%s: item %d"):format(what, i), x, "a number") end
    list[i] = x
  end
  return list
end

local function count_up(n)
  local list = {}
  for i = 1, n do list[i] = i end
  return list
end

local function new_series(who, x, y, label)
  y = numbers(who, "y", y)
  local series = { x = x ~= nil and numbers(who, "x", x) or count_up(#y), y = y, label = label }
  if #series.x ~= #y then
    check.fail(who, ("x and y: expected as many numbers in both, got %d and %d"):format(#series.x, #y))
  end
  return series
end

local function is_data(value)
  return core.is_tensor(value) or (type(value) == "table" and (value[1] ~= nil or next(value) == nil))
end

-- A list of several series: tables {y} or {x =, y =, label =}, or lists of numbers.
local function is_list(value)
  return not core.is_tensor(value) and type(value) == "table" and
    (type(value[1]) == "table" or (core.is_tensor(value[1]) and value[1]:numel() > 1))
end

local function series_list(who, list, labels)
  local result = {}
  for i, item in ipairs(list) do
    local y = item
    if type(item) == "table" and item.y ~= nil then y = item.y end
    local x, label = nil, labels and labels[i]
    if type(item) == "table" then x, label = item.x, item.label or label end
    result[i] = new_series(who, x, y, label)
  end
  return result
end

local function check_something(who, series)
  for _, each in ipairs(series) do
    for i, y in ipairs(each.y) do
      if y - y == 0 and each.x[i] - each.x[i] == 0 then return end
    end
  end
  check.fail(who, "there are no finite numbers to draw")
end

-- Logarithms need something to take them of.
local function check_logarithms(who, series, field, wanted)
  if not wanted then return end
  for _, each in ipairs(series) do
    for _, value in ipairs(each[field]) do
      if value > 0 and value - value == 0 then return end
    end
  end
  check.fail(who, ("option log%s: there is no number above 0"):format(field))
end

-- ---- arguments: data, then path and options, either of which may be missing

local function path_and_options(who, rules, path, options)
  if type(path) == "table" and options == nil then path, options = nil, path end
  if path ~= nil and type(path) ~= "string" then check.expect(who, "path", path, "a string") end
  return path, check.options(who, options, rules)
end

local function draw(who, figure, path)
  if path then return require "nnlua.plot_gnuplot".draw(who, figure, path) end
  return require "nnlua.plot_text".draw(figure)
end

local function xy_panel(who, series, options)
  check_something(who, series)
  check_logarithms(who, series, "x", options.logx)
  check_logarithms(who, series, "y", options.logy)
  return {
    kind = "xy", series = series, title = options.title, xlabel = options.xlabel, ylabel = options.ylabel,
    legend = options.legend, logx = options.logx, logy = options.logy,
    xrange = check_range(who, "xrange", options.xrange), yrange = check_range(who, "yrange", options.yrange),
  }
end

local function one_panel(panel, options, width, height)
  width, height = options.width or width, options.height or height
  return { panels = { panel }, rows = 1, columns = 1, width = width, height = height }
end

local function xy(who, series, path, options)
  return draw(who, one_panel(xy_panel(who, series, options), options, 800, 500), path)
end

-- Data as (y), (x, y) or (list of series); returns the series, path and options.
local function read_data(who, rules, first, ...)
  local second = ...
  if not is_data(first) then check.expect(who, "data", first, "a tensor, a list of numbers, or a list of series") end
  local path, options, series
  if is_list(first) and not is_data(second) then
    path, options = path_and_options(who, rules, ...)
    series = series_list(who, first, options.labels)
  elseif is_data(second) and not (type(second) == "table" and next(second) == nil) then
    path, options = path_and_options(who, rules, select(2, ...))
    series = { new_series(who, first, second, options.labels and options.labels[1]) }
  else
    path, options = path_and_options(who, rules, ...)
    series = { new_series(who, nil, first, options.labels and options.labels[1]) }
  end
  return series, path, options
end

--- Lines.
-- @param ... y, or x and y (tensors or lists of numbers), or a list of series: {x =, y =, label =}, {1, 2, 3}, tensors;
-- then path (string?) and options (table?): title, xlabel, ylabel, labels (of the series), legend (true), logx, logy,
-- xrange and yrange ({from, to}), width and height (pixels; 800 x 500), style ("lines", "linespoints", "points")
function plot.lines(...)
  local who = "nn.plot.lines"
  local series, path, options = read_data(who, axis_options, ...)
  local styles = { lines = "lines", linespoints = "linespoints", points = "points" }
  local style = check.choice(who, "option style", options.style or "lines", styles)
  for _, each in ipairs(series) do each.style = #each.y == 1 and "points" or style end
  return xy(who, series, path, options)
end

-- Points by their class: a series for each.
local function by_class(who, series, classes, names)
  classes = numbers(who, "option classes", classes)
  if #classes ~= #series.y then
    check.fail(who, ("option classes: expected %d labels, got %d"):format(#series.y, #classes))
  end
  local result, by_label, order = {}, {}, {}
  for i, label in ipairs(classes) do
    if not by_label[label] then
      by_label[label] = { x = {}, y = {}, label = names and names[label] or ("%g"):format(label) }
      order[#order + 1] = label
    end
    local each = by_label[label]
    each.x[#each.x + 1], each.y[#each.y + 1] = series.x[i], series.y[i]
  end
  table.sort(order)
  for i, label in ipairs(order) do result[i] = by_label[label] end
  return result
end

--- Points.
-- @param ... x and y, or points (N, 2), or a list of series; then path and options as for lines, and classes (a label
-- for each point, from 1; `labels` are their names)
function plot.scatter(first, ...)
  local who = "nn.plot.scatter"
  local rules = with(axis_options, { classes = "any" })
  local series, path, options
  if core.is_tensor(first) and first.ndim == 2 and first:size(2) == 2 and not is_data((...)) then
    path, options = path_and_options(who, rules, ...)
    series = { new_series(who, first:select(2, 1), first:select(2, 2)) }
  else
    series, path, options = read_data(who, rules, first, ...)
  end
  if options.classes then
    if #series ~= 1 then check.fail(who, "option classes: expected one series of points") end
    series = by_class(who, series[1], options.classes, options.labels)
  end
  for _, each in ipairs(series) do each.style = "points" end
  return xy(who, series, path, options)
end

-- ---- histograms

local function finite_of(list)
  local result = {}
  for _, x in ipairs(list) do
    if x - x == 0 then result[#result + 1] = x end
  end
  table.sort(result)
  return result
end

-- Freedman and Diaconis 1981: boxes twice as wide as the middle half of the numbers, over the third root of how many.
local function good_bins(sorted)
  local n = #sorted
  local half = sorted[math.ceil(n * 0.75)] - sorted[math.ceil(n * 0.25)]
  local span = sorted[n] - sorted[1]
  if span == 0 then return 1 end
  local width = 2 * half / n ^ (1 / 3)
  if width <= 0 then width = span / math.sqrt(n) end
  return math.max(1, math.min(math.ceil(span / width), 200))
end

local function boxes(sorted, low, width, bins, density)
  local counts, series = {}, { x = {}, y = {}, size = {}, style = "boxes" }
  for i = 1, bins do counts[i] = 0 end
  for _, x in ipairs(sorted) do
    local bin = math.min(math.floor((x - low) / width) + 1, bins)
    if bin >= 1 and x <= low + bins * width then counts[bin] = counts[bin] + 1 end
  end
  for i = 1, bins do
    series.x[i], series.size[i] = low + (i - 0.5) * width, width
    series.y[i] = density and counts[i] / (#sorted * width) or counts[i]
  end
  return series
end

--- How often numbers come in each of some ranges.
-- @param values tensor or list of numbers, or a list of several; NaN and infinities are left out
-- @param path string?
-- @param options table? as for lines, and bins (chosen by Freedman and Diaconis), density (false; true: the area is 1)
function plot.histogram(values, ...)
  local who = "nn.plot.histogram"
  local rules = with(axis_options, { bins = "count", density = "boolean" })
  local path, options = path_and_options(who, rules, ...)
  local lists = is_list(values) and series_list(who, values, options.labels) or
    { new_series(who, nil, values, options.labels and options.labels[1]) }
  local low, high, bins = math.huge, -math.huge, 1
  for i, each in ipairs(lists) do
    lists[i] = { sorted = finite_of(each.y), label = each.label }
    local sorted = lists[i].sorted
    if #sorted > 0 then
      low, high = math.min(low, sorted[1]), math.max(high, sorted[#sorted])
      bins = math.max(bins, good_bins(sorted))
    end
  end
  if low > high then check.fail(who, "there are no finite numbers to draw") end
  if options.xrange then low, high = check_range(who, "xrange", options.xrange)[1], options.xrange[2] end
  if low == high then low, high = low - 0.5, high + 0.5 end
  bins = options.bins or bins
  local series = {}
  for i, each in ipairs(lists) do
    series[i] = boxes(each.sorted, low, (high - low) / bins, bins, options.density)
    series[i].label = each.label
  end
  local panel = xy_panel(who, series, options)
  panel.ylabel = panel.ylabel or (options.density and "density" or "count")
  panel.from_zero = not options.yrange and not options.logy
  panel.xrange = { low, high }
  return draw(who, one_panel(panel, options, 800, 500), path)
end

-- ---- confusion matrices

local matrix_options = {
  title = "string", classes = "table", normalize = "boolean", width = "count", height = "count", xlabel = "string",
  ylabel = "string",
}

local function entry_text(x, as_share)
  if as_share then return ("%.2f"):format(x) end
  return x == math.floor(x) and ("%.0f"):format(x) or ("%.3g"):format(x)
end

-- The entries as rows of shares (for colours), and as text.
local function matrix_rows(matrix, as_shares)
  local shares, texts = {}, {}
  for r, row in ipairs(matrix:detach():double():tolist()) do
    local sum = 0
    for _, x in ipairs(row) do sum = sum + x end
    shares[r], texts[r] = {}, {}
    for c, x in ipairs(row) do
      shares[r][c] = sum > 0 and x / sum or 0
      texts[r][c] = entry_text(as_shares and shares[r][c] or x, as_shares)
    end
  end
  return shares, texts
end

--- A confusion matrix as nn.metrics.confusion_matrix gives it: rows the truth, columns the prediction, coloured by the
-- share of their row.
-- @param matrix tensor (C, C), or a table of rows
-- @param path string?
-- @param options table? classes (their names), normalize (false; true: shares instead of counts), title, xlabel,
-- ylabel, width, height
function plot.confusion_matrix(matrix, ...)
  local who = "nn.plot.confusion_matrix"
  local path, options = path_and_options(who, matrix_options, ...)
  if not core.is_tensor(matrix) and type(matrix) == "table" then matrix = core.tensor(matrix) end
  check.tensor(who, "matrix", matrix)
  if matrix.ndim ~= 2 or matrix:size(1) ~= matrix:size(2) or matrix:size(1) == 0 then
    check.expect(who, "matrix", matrix, "a square matrix, as nn.metrics.confusion_matrix gives it")
  end
  local count, names = matrix:size(1), {}
  if options.classes and #options.classes ~= count then
    check.fail(who, ("option classes: expected %d names, got %d"):format(count, #options.classes))
  end
  for i = 1, count do names[i] = tostring(options.classes and options.classes[i] or i) end
  local floats = matrix.dtype == "float32" or matrix.dtype == "float64"
  local as_shares = options.normalize or (floats and matrix:max():item() <= 1)
  local shares, texts = matrix_rows(matrix, as_shares)
  local size = math.max(480, math.min(200 + count * 55, 1000))
  return draw(who, one_panel({
    kind = "matrix", shares = shares, numbers = texts, texts = count <= 20 and texts or nil, names = names,
    title = options.title or "Confusion matrix", xlabel = options.xlabel or "prediction",
    ylabel = options.ylabel or "truth",
  }, options, size + 60, size), path)
end

-- ---- pictures

local image_options = {
  title = "string", titles = "table", columns = "count", padding = "whole", scale = "count", stretch = "boolean",
}

-- Bytes of red, green and blue for each pixel, row after row.
local function pixels_of(picture)
  local bytes = (picture:float():clamp(0, 1) * 255):round():to("int64")
  if bytes:size(1) == 1 then bytes = bytes:repeat_interleave(3, 1) end
  return bytes:permute(2, 3, 1):reshape(-1, 3):tolist()
end

local function as_floats(images, stretch)
  if stretch then return tiles.stretch(images) end
  if images.dtype == "uint8" then return images:float() / 255 end
  return images:float()
end

-- Where the text of each picture stands: in the room above it.
local function title_places(titles, images, columns, padding, top)
  local labels = {}
  local height, width = images:size(3), images:size(4)
  for i = 1, math.min(#titles, images:size(1)) do
    local column = (i - 1) % columns
    local row = (i - 1 - column) / columns
    labels[i] = { text = titles[i], x = column * (width + padding) + width / 2 - 0.5,
      y = row * (height + padding) - top / 2 - 0.5 }
  end
  return labels
end

-- Room above each picture, in pixels of the picture, so that a line of text fits.
local function with_room(images, top)
  local shape = images.shape
  shape[3] = top
  return core.cat({ core.ones(shape), images }, 3)
end

local function best_scale(grid, wanted)
  if wanted then return wanted end
  local side = math.max(grid:size(2), grid:size(3))
  return math.max(1, math.min(16, math.floor(800 / side + 0.5)))
end

local function enlarged(grid, scale)
  if scale == 1 then return grid end
  return grid:repeat_interleave(scale, 2):repeat_interleave(scale, 3)
end

local function image_panel(grid, title, labels)
  return { kind = "image", pixels = pixels_of(grid), rows = grid:size(2), columns = grid:size(3), title = title,
    labels = labels }
end

-- A grid with texts, or into a file that is no PNG or JPEG.
local function draw_images(who, images, path, options)
  local columns = math.min(options.columns or math.ceil(math.sqrt(images:size(1))), images:size(1))
  local padding = options.padding or 2
  local room = 0
  if options.titles and path then
    room = math.ceil(20 / best_scale(tiles.grid(images, { columns = columns, padding = padding }), options.scale))
    images = with_room(images, room)
  end
  local grid = tiles.grid(images, { columns = columns, padding = padding, fill = 1 })
  local labels
  if room > 0 then
    labels = title_places(options.titles, images, columns, padding, 0)
    for _, label in ipairs(labels) do label.y = label.y + room / 2 end
  end
  local scale = best_scale(grid, options.scale)
  local figure = one_panel(image_panel(grid, options.title, labels), {}, grid:size(3) * scale + 30,
    grid:size(2) * scale + (options.title and 60 or 30))
  return draw(who, figure, path)
end

local function images_of(who, images, path, options)
  local extension = path and (path:match("%.(%w+)$") or ""):lower()
  local plain = extension == "png" or extension == "jpg" or extension == "jpeg"
  if not plain or options.title or options.titles then return draw_images(who, images, path, options) end
  local padding = options.padding or 2
  local grid = tiles.grid(images, { columns = options.columns, padding = padding, fill = 1, border = padding })
  return require "nnlua.image".save(enlarged(grid, best_scale(grid, options.scale)), path)
end

--- Pictures side by side.
-- @param images tensor (H, W), (C, H, W), (N, H, W) or (N, C, H, W), C being 1 or 3; floats from 0 to 1, or uint8
-- @param path string? also .jpg where there are no texts
-- @param options table? columns (about as many as rows), padding (2 pixels), title, titles (of each picture), scale
-- (pixels for each of the tensor's; enough to see something), stretch (false; true: the smallest number becomes black,
-- the largest white)
function plot.images(images, ...)
  local who = "nn.plot.images"
  local path, options = path_and_options(who, image_options, ...)
  return images_of(who, as_floats(tiles.batch(who, images), options.stretch), path, options)
end

--- The weights of a layer as pictures: the filters of a convolution, whose 3 input channels are colours and any other
-- number pictures of their own; the matrix of a Dense layer as one. Each is stretched over all, from black to white.
-- @param layer a layer with a weight, or a tensor
-- @param path string?
-- @param options table? as for images
function plot.filters(layer, ...)
  local who = "nn.plot.filters"
  local path, options = path_and_options(who, image_options, ...)
  local weight = layer
  if core.is_layer(layer) then weight = layer.weight end
  if not core.is_tensor(weight) then check.expect(who, "layer", layer, "a layer with a weight, or a tensor") end
  if weight:numel() == 0 then check.expect(who, "weight", weight, "numbers") end
  local pictures, columns = tiles.of_weights(weight)
  options.columns = options.columns or columns
  return images_of(who, pictures, path, options)
end

-- ---- the history of fit

-- The names to show: what was measured, without val_, the loss first.
local function measured(history)
  local names = {}
  for name, list in pairs(history) do
    local shown = type(name) == "string" and name ~= "epoch" and not name:find("^val_") and type(list) == "table"
    if shown and type(list[1]) == "number" then names[#names + 1] = name end
  end
  table.sort(names, function(a, b)
    if (a == "loss") ~= (b == "loss") then return a == "loss" end
    return a < b
  end)
  return names
end

-- The epochs of a list: the last ones, where it is shorter than the history.
local function epochs_of(history, count)
  local epochs, list = history.epoch or {}, {}
  local skip = math.max(#epochs - count, 0)
  for i = 1, count do list[i] = epochs[i + skip] or i end
  return list
end

local function history_panel(who, history, name, options)
  local series = {}
  for _, key in ipairs { name, "val_" .. name } do
    local values = history[key]
    if type(values) == "table" and #values > 0 then
      local label = key == name and "training" or "validation"
      series[#series + 1] = new_series(who, epochs_of(history, #values), values, label)
      series[#series].style = #values <= 40 and "linespoints" or "lines"
    end
  end
  local panel = xy_panel(who, series, { xlabel = "epoch", title = name, logy = options.logy,
    legend = options.legend })
  local x = series[1].x
  panel.whole = { x[1], x[#x] }
  panel.xrange = #x == 1 and { x[1] - 1, x[1] + 1 } or { x[1], x[#x] }
  return panel
end

--- The curves of a training: a panel for each measurement, training and validation in one.
-- @param history what fit returned
-- @param path string?
-- @param options table? metrics (a list of names: all), title, logy, legend, width and height (of all, in pixels)
function plot.history(history, ...)
  local who = "history:plot"
  local path, options = path_and_options(who, {
    metrics = "table", title = "string", logy = "boolean", legend = "boolean", width = "count", height = "count",
  }, ...)
  local names = options.metrics or measured(history)
  if #names == 0 then check.fail(who, "the history is empty") end
  local panels = {}
  for i, name in ipairs(names) do
    if type(history[name]) ~= "table" then
      check.fail(who, ("option metrics: the history has no %q; it has %s"):format(tostring(name),
        table.concat(measured(history), " ")))
    end
    panels[i] = history_panel(who, history, name, options)
  end
  local columns = #panels == 1 and 1 or #panels <= 4 and 2 or 3
  local rows = math.ceil(#panels / columns)
  if #panels == 1 and options.title then panels[1].title = options.title end
  return draw(who, {
    panels = panels, rows = rows, columns = columns, title = options.title,
    width = options.width or (columns == 1 and 800 or columns * 560), height = options.height or (rows == 1 and 480 or
      rows * 400),
  }, path)
end

return plot
