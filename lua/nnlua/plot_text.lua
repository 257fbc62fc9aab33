--- Figures drawn with characters, for terminals: see plot.lua for what a figure is. With colours and UTF-8 a cell holds
-- 2 x 4 dots (Braille's characters); without, each series has a sign of its own.

local core = require "nnlua.core"
local cells = require "nnlua.cells"

local plot_text = {}

local ROWS, COLUMNS = 14, 100 -- of cells, at most, without axes and titles
local signs = { "*", "o", "+", "x", "#", "@", "%", "&" }
local colours = { 33, 166, 36, 175, 214, 80, 250, 137 } -- of the 256 that terminals have, near those of gnuplot's files

-- ---- ways to write

local function abilities()
  local terminal = core.is_terminal()
  local colour = terminal and cells.have_colour()
  return { colour = colour, dots = colour and cells.are_utf8(), width = terminal and core.terminal_width() or 80 }
end

local function paint(self, text, code)
  if not self.colour then return text end
  return ("\27[%sm%s\27[m"):format(code, text)
end

local function paint_series(self, text, i)
  return paint(self, text, "38;5;" .. colours[(i - 1) % #colours + 1])
end

local function centred(text, width)
  local space = width - cells.width(text)
  return space > 0 and (" "):rep(math.floor(space / 2)) .. text or text
end

local function number_text(x)
  if x == 0 then return "0" end
  local size = math.abs(x)
  if size >= 1e5 or size < 1e-3 then return (("%.2g"):format(x):gsub("e([+-])0*(%d)", "e%1%2")) end
  return (("%.4g"):format(x))
end

-- ---- axes: numbers from low to high, or their logarithms

local function transform(x, log)
  if not log then return x end
  return x > 0 and math.log(x) / math.log(10) or 0 / 0
end

local function back(x, log) return log and 10 ^ x or x end

local function is_finite(x) return x - x == 0 end

local function limits(panel, field, log, given)
  if given then return transform(given[1], log), transform(given[2], log) end
  local low, high = math.huge, -math.huge
  for _, series in ipairs(panel.series) do
    for i, x in ipairs(series[field]) do
      local value, other = transform(x, log), series[field == "x" and "y" or "x"][i]
      if is_finite(value) and is_finite(other) then low, high = math.min(low, value), math.max(high, value) end
    end
  end
  if low > high then return 0, 1 end
  if low == high then return low - 0.5, high + 0.5 end
  return low, high
end

-- Steps of 1, 2 or 5 that part the axis into about so many pieces.
local function ticks(low, high, wanted, whole)
  local raw = (high - low) / math.max(wanted, 1)
  local power = 10 ^ math.floor(math.log(raw) / math.log(10))
  local step = power
  for _, factor in ipairs { 1, 2, 5, 10 } do
    step = power * factor
    if step >= raw * 0.999 then break end
  end
  if whole then step = math.max(1, math.ceil(step)) end
  local list = {}
  for i = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) do list[#list + 1] = i * step end
  return list
end

-- ---- the canvas: a grid of dots, and for each cell the series that was there last

local Canvas = {}
Canvas.__index = Canvas

local function new_canvas(self, columns, rows)
  local across, down = self.dots and 2 or 1, self.dots and 4 or 1
  return setmetatable({
    columns = columns, rows = rows, width = columns * across, height = rows * down, across = across, down = down,
    bits = {}, owner = {},
  }, Canvas)
end

-- Braille's dots by column and row, as bits.
local braille = { { 1, 2, 4, 64 }, { 8, 16, 32, 128 } }

function Canvas:set(x, y, series)
  if x < 0 or y < 0 or x >= self.width or y >= self.height then return end
  local dx, dy = x % self.across, y % self.down
  local cell = (y - dy) / self.down * self.columns + (x - dx) / self.across
  local bit, bits = braille[dx + 1][dy + 1], self.bits[cell] or 0
  if bits % (2 * bit) < bit then self.bits[cell] = bits + bit end
  self.owner[cell] = series
end

function Canvas:line(x0, y0, x1, y1, series)
  local steps = math.max(math.abs(x1 - x0), math.abs(y1 - y0), 1)
  for i = 0, steps do
    self:set(math.floor(x0 + (x1 - x0) * i / steps + 0.5), math.floor(y0 + (y1 - y0) * i / steps + 0.5), series)
  end
end

-- A character of Braille, U+2800 and the dots' bits, in UTF-8.
local function dots(bits)
  local low = bits % 64
  return string.char(0xe2, 0xa0 + (bits - low) / 64, 0x80 + low)
end

function Canvas:row(style, row)
  local words = {}
  for column = 0, self.columns - 1 do
    local cell = row * self.columns + column
    local owner = self.owner[cell]
    if not owner then
      words[#words + 1] = " "
    elseif style.dots then
      words[#words + 1] = paint_series(style, dots(self.bits[cell]), owner)
    else
      words[#words + 1] = paint_series(style, signs[(owner - 1) % #signs + 1], owner)
    end
  end
  return (table.concat(words):gsub(" +$", ""))
end

-- ---- drawing on it

local function draw_series(canvas, panel, scale)
  for number, series in ipairs(panel.series) do
    local before_x, before_y
    for i, raw in ipairs(series.y) do
      local x, y = scale.x(series.x[i]), scale.y(raw)
      local known = is_finite(x) and is_finite(y)
      if known and series.style == "boxes" then
        local half = (series.size and scale.width(series.size[i]) or 1) / 2
        for column = math.floor(x - half + 0.5), math.max(math.floor(x + half - 0.5), math.floor(x - half + 0.5)) do
          if raw > 0 then canvas:line(column, math.floor(scale.y(0) + 0.5), column, math.floor(y + 0.5), number) end
        end
      elseif known then
        x, y = math.floor(x + 0.5), math.floor(y + 0.5)
        if before_x and series.style ~= "points" then
          canvas:line(before_x, before_y, x, y, number)
        else
          canvas:set(x, y, number)
        end
      end
      before_x, before_y = known and x or nil, known and y or nil
    end
  end
end

local function make_scale(canvas, x_low, x_high, y_low, y_high, panel)
  local across, down = canvas.width - 1, canvas.height - 1
  return {
    x = function(x) return (transform(x, panel.logx) - x_low) / (x_high - x_low) * across end,
    y = function(y) return down - (transform(y, panel.logy) - y_low) / (y_high - y_low) * down end,
    width = function(w) return w / (x_high - x_low) * across end,
  }
end

local function y_labels(canvas, low, high, panel)
  local labels, most = {}, 0
  for _, value in ipairs(ticks(low, high, 5, panel.logy and high - low >= 1.5)) do
    local row = math.floor((canvas.rows - 1) * (1 - (value - low) / (high - low)) + 0.5)
    labels[row] = number_text(back(value, panel.logy))
    most = math.max(most, #labels[row])
  end
  return labels, most
end

local function has_whole_ticks(panel, low, high)
  if panel.logx then return high - low >= 1.5 end
  return panel.whole
end

-- The line below: numbers centred under their places, as far as they do not touch.
local function x_line(columns, low, high, panel)
  local line, free = "", 0
  for _, value in ipairs(ticks(low, high, math.max(columns / 12, 1), has_whole_ticks(panel, low, high))) do
    local text = number_text(back(value, panel.logx))
    local at = math.floor((value - low) / (high - low) * (columns - 1) - #text / 2 + 1)
    at = math.max(math.min(at, columns - #text), 0)
    if at >= free then
      line = line .. (" "):rep(at - #line) .. text
      free = #line + 2
    end
  end
  return line
end

local function legend(self, panel)
  local words = {}
  for i, series in ipairs(panel.series) do
    if series.label and panel.legend ~= false then
      words[#words + 1] = paint_series(self, self.dots and "━━" or signs[(i - 1) % #signs + 1], i) .. " " ..
        cells.clean(series.label)
    end
  end
  return words
end

local panels = {}

function panels.xy(self, panel, lines)
  local y_low, y_high = limits(panel, "y", panel.logy, panel.yrange)
  if panel.from_zero then y_low = math.min(0, y_low) end
  local x_low, x_high = limits(panel, "x", panel.logx, panel.xrange)
  local _, room = y_labels({ rows = ROWS }, y_low, y_high, panel)
  local columns = math.max(math.min(self.width - room - 3, COLUMNS), 8)
  local canvas = new_canvas(self, columns, ROWS)
  draw_series(canvas, panel, make_scale(canvas, x_low, x_high, y_low, y_high, panel))
  local labels = y_labels(canvas, y_low, y_high, panel)
  local side, corner, bar = "|", "+", "-"
  if self.dots then side, corner, bar = "│", "└", "─" end
  for _, text in ipairs { panel.title or "", table.concat(legend(self, panel), "   ") } do
    if text ~= "" then lines[#lines + 1] = (" "):rep(room + 2) .. (text == panel.title and paint(self,
      centred(cells.clean(text), columns), "1") or text) end
  end
  if panel.ylabel then lines[#lines + 1] = paint(self, cells.clean(panel.ylabel), "90") end
  for row = 0, ROWS - 1 do
    lines[#lines + 1] = paint(self, cells.fit(labels[row] or "", room, true) .. " " .. side, "90") ..
      canvas:row(self, row)
  end
  lines[#lines + 1] = paint(self, (" "):rep(room + 1) .. corner .. bar:rep(columns), "90")
  lines[#lines + 1] = paint(self, (" "):rep(room + 2) .. x_line(columns, x_low, x_high, panel), "90")
  if panel.xlabel then
    lines[#lines + 1] = paint(self, (" "):rep(room + 2) .. centred(cells.clean(panel.xlabel), columns), "90")
  end
end

-- ---- a table of numbers

-- From white to blue, as in files; the text black or white.
local shades = { "48;5;255;30", "48;5;153;30", "48;5;74;30", "48;5;32;97", "48;5;24;97", "48;5;17;97" }

local function share_text(self, share, text, width)
  text = " " .. cells.fit(text, width, true) .. " "
  return paint(self, text, shades[math.min(math.floor(share * #shades) + 1, #shades)])
end

function panels.matrix(self, panel, lines)
  local count, first, width = #panel.shares, 0, 1
  for i, name in ipairs(panel.names) do
    first = math.max(first, cells.width(name))
    for c = 1, count do width = math.max(width, #panel.numbers[i][c]) end
  end
  first = math.min(first, 20)
  local shown = math.max(math.min(count, math.floor((self.width - first - 1) / (width + 2))), 1)
  width = math.max(width, math.min(8, math.floor((self.width - first - 1) / shown) - 2))
  if panel.title then
    lines[#lines + 1] = paint(self, centred(cells.clean(panel.title), first + 1 + shown * (width + 2)), "1")
  end
  local head = {}
  for c = 1, shown do head[c] = " " .. cells.fit(panel.names[c], width, true) .. " " end
  lines[#lines + 1] = (" "):rep(first + 1) .. paint(self, table.concat(head), "90")
  for r = 1, count do
    local row = { cells.fit(panel.names[r], first) .. " " }
    for c = 1, shown do row[c + 1] = share_text(self, panel.shares[r][c], panel.numbers[r][c], width) end
    lines[#lines + 1] = table.concat(row)
  end
  if shown < count then
    local text = ("%d of %d columns; a wider terminal or a file shows all"):format(shown, count)
    lines[#lines + 1] = cells.cut(text, self.width)
  end
  lines[#lines + 1] = paint(self, cells.cut("rows: the truth; columns: the prediction", self.width), "90")
end

-- ---- pictures

local ramp = " .:-=+*#%@"

local function level(pixel) return (0.299 * pixel[1] + 0.587 * pixel[2] + 0.114 * pixel[3]) / 255 end

function panels.image(self, panel, lines)
  local factor = math.max(math.ceil(panel.columns / self.width), 1)
  local columns, rows = math.floor(panel.columns / factor), math.floor(panel.rows / factor)
  local function pixel(x, y)
    if y >= rows then return nil end
    return panel.pixels[y * factor * panel.columns + x * factor + 1]
  end
  if panel.title then lines[#lines + 1] = paint(self, cells.clean(panel.title), "1") end
  for y = 0, rows - 1, 2 do
    local words = {}
    for x = 0, columns - 1 do
      local above, below = pixel(x, y), pixel(x, y + 1)
      if self.dots then
        local back_colour = below and (";48;2;%d;%d;%d"):format(below[1], below[2], below[3]) or ""
        words[#words + 1] = paint(self, "▀", ("38;2;%d;%d;%d%s"):format(above[1], above[2], above[3], back_colour))
      else
        local mean = below and (level(above) + level(below)) / 2 or level(above)
        local place = math.floor(mean * (#ramp - 1) + 0.5) + 1
        words[#words + 1] = ramp:sub(place, place)
      end
    end
    lines[#lines + 1] = (table.concat(words):gsub(" +$", ""))
  end
end

--- Write a figure to where progress and summaries go.
-- @return true
function plot_text.draw(figure)
  local self, lines = abilities(), {}
  if figure.title and #figure.panels > 1 then
    lines[1] = paint(self, centred(cells.clean(figure.title), math.min(self.width, COLUMNS)), "1")
  end
  for i, panel in ipairs(figure.panels) do
    if i > 1 then lines[#lines + 1] = "" end
    panels[panel.kind](self, panel, lines)
  end
  core.write(table.concat(lines, "\n") .. "\n")
  return true
end

return plot_text
