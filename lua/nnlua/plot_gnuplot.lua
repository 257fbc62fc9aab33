--- Figures in files, drawn by gnuplot: see plot.lua for what a figure is. Texts of a script's own are only ever put in
-- single quotes, in which gnuplot replaces nothing.

local core = require "nnlua.core"
local check = require "nnlua.check"
local cells = require "nnlua.cells"

local gnuplot = {}

-- Colours that people with any kind of colour vision can tell apart: Okabe and Ito 2008.
local colours = { "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31" }

local function colour(i) return colours[(i - 1) % #colours + 1] end

-- ---- text

--- A text for gnuplot: in single quotes only the quote itself means something; line breaks are put between the parts.
local function quoted(text)
  local parts = {}
  for line in (tostring(text) .. "\n"):gmatch("(.-)\n") do
    parts[#parts + 1] = "'" .. cells.clean(line):gsub("'", "''") .. "'"
  end
  return table.concat(parts, '."\\n".')
end

local function number(x)
  if x ~= x then return "NaN" end
  if x == 1 / 0 or x == -1 / 0 then return "NaN" end
  return ("%.9g"):format(x)
end

local Script = {}
Script.__index = Script

function Script:add(format, ...)
  self[#self + 1] = select("#", ...) > 0 and format:format(...) or format
end

-- Rows of numbers under a name of gnuplot's.
function Script:data(name, rows)
  self:add("$%s << EOD", name)
  for _, row in ipairs(rows) do
    local words = {}
    for i, x in ipairs(row) do words[i] = number(x) end
    self[#self + 1] = table.concat(words, " ")
  end
  self:add("EOD")
end

-- ---- what all panels share

local terminals = {
  png = function(figure)
    local size = ("size %d,%d"):format(figure.width, figure.height)
    return ("if (strstrt(GPVAL_TERMINALS, 'pngcairo') > 0) {\nset terminal pngcairo noenhanced font 'sans,11' %s " ..
      "background '#ffffff'\n} else {\nset terminal png noenhanced truecolor %s\n}"):format(size, size)
  end,
  svg = function(figure)
    return ("set terminal svg noenhanced font 'sans-serif,14' size %d,%d background '#ffffff'"):format(
      figure.width, figure.height)
  end,
  pdf = function(figure)
    return ("set terminal pdfcairo noenhanced font 'sans,11' fontscale 0.75 size %.3fin,%.3fin"):format(
      figure.width / 96, figure.height / 96)
  end,
}

--- The kinds of files, by the ends of their names.
gnuplot.kinds = terminals

local function axes(script, panel)
  script:add("reset")
  script:add("set encoding utf8")
  script:add("set border 3 lc rgb '#606060' lw 1")
  script:add("set rmargin 4") -- room for the half of the last number below
  script:add("set tics nomirror out scale 0.5 tc rgb '#303030'")
  script:add("set title %s tc rgb '#202020' noenhanced", quoted(panel.title or ""))
  script:add("set xlabel %s tc rgb '#303030' noenhanced", quoted(panel.xlabel or ""))
  script:add("set ylabel %s tc rgb '#303030' noenhanced", quoted(panel.ylabel or ""))
end

-- A few whole numbers along an axis that counts.
local function whole_step(low, high)
  local step = math.max(math.ceil((high - low) / 10), 1)
  for _, nice in ipairs { 1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000 } do
    if nice >= step then return nice end
  end
  return nil
end

local function range(script, axis, limits)
  if limits then script:add("set %srange [%s:%s]", axis, number(limits[1]), number(limits[2])) end
end

local with = {
  lines = "with lines lw 2 lc rgb '%s'",
  linespoints = "with linespoints lw 2 pt 7 ps 0.5 lc rgb '%s'",
  points = "with points pt 7 ps 0.7 lc rgb '%s'",
  boxes = "with boxes fill transparent solid 0.6 noborder lc rgb '%s'",
}

local MANY = 4000 -- points, more than which a line does not need

local function is_rising(x)
  for i = 2, #x do
    if x[i] < x[i - 1] or x[i] ~= x[i] then return false end
  end
  return true
end

-- Of a long line over a rising x, what can be seen: in each part the first and the last point, the lowest and the
-- highest. Drawing time grows faster than the number of points.
local function thinned(series)
  local x, y, rows, part = series.x, series.y, {}, math.ceil(#series.y / (MANY / 4))
  for start = 1, #y, part do
    local stop = math.min(start + part - 1, #y)
    local low, high = start, start
    for i = start, stop do
      if y[i] < y[low] or y[low] ~= y[low] then low = i end
      if y[i] > y[high] or y[high] ~= y[high] then high = i end
    end
    local last = 0
    for _, i in ipairs { start, math.min(low, high), math.max(low, high), stop } do
      if i > last then rows[#rows + 1], last = { x[i], y[i] }, i end
    end
  end
  return rows
end

local function rows_of(series)
  if series.style == "lines" and #series.y > MANY and is_rising(series.x) then return thinned(series) end
  local rows = {}
  for i, y in ipairs(series.y) do rows[i] = { series.x[i], y, series.size and series.size[i] } end
  return rows
end

local function plot_series(script, panel)
  local parts, labelled = {}, false
  for i, series in ipairs(panel.series) do
    script:data("d" .. i, rows_of(series))
    local columns = series.size and "1:2:3" or "1:2"
    local title = series.label and panel.legend ~= false and "title " .. quoted(series.label) or "notitle"
    labelled = labelled or title ~= "notitle"
    parts[i] = ("$d%d using %s %s %s"):format(i, columns, with[series.style]:format(colour(i)), title)
  end
  if labelled then
    -- Between the title, which moves up for it, and the plot.
    script:add("set key at graph 0.5,1.02 center bottom horizontal noenhanced tc rgb '#303030' samplen 2")
    script:add("set tmargin %d", panel.title and 5 or 3)
    script:add("set title offset 0,1.2")
  else
    script:add("set key off")
  end
  script:add("plot %s", table.concat(parts, ", \\\n  "))
end

local panels = {}

--- Lines, points or boxes over an axis.
function panels.xy(script, panel)
  axes(script, panel)
  script:add("set grid lc rgb '#d8d8d8' lw 1 lt 1")
  if panel.logx then script:add("set logscale x") end
  if panel.logy then script:add("set logscale y") end
  range(script, "x", panel.xrange)
  range(script, "y", panel.yrange)
  if panel.from_zero then script:add("set yrange [0:*]") end
  local step = panel.whole and whole_step(panel.whole[1], panel.whole[2])
  if step then script:add("set xtics %d", step) end
  plot_series(script, panel)
end

-- ---- a table of numbers in colours

-- The names of all classes, or of some where they are many. Gnuplot takes them for formats of numbers.
local function class_tics(script, axis, names, more)
  local list, step = {}, #names > 40 and math.ceil(#names / 100) * 10 or 1
  for i, name in ipairs(names) do
    if step == 1 or i % step == 0 then list[#list + 1] = ("%s %d"):format(quoted((name:gsub("%%", "%%%%"))), i - 1) end
  end
  script:add("set %stics (%s) scale 0 %s", axis, table.concat(list, ", "), more or "")
end

local function longest(names)
  local most = 0
  for _, name in ipairs(names) do most = math.max(most, cells.width(name)) end
  return most
end

-- Numbers that are written, in black on pale cells and in white on dark ones.
local function cell_texts(script, panel)
  for name, is_dark in pairs { pale = false, dark = true } do
    script:add("$%s << EOD", name)
    script:add("-9 -9 \"\"")
    for r, row in ipairs(panel.texts) do
      for c, text in ipairs(row) do
        if (panel.shares[r][c] > 0.55) == is_dark then script:add('%d %d "%s"', c - 1, r - 1, text) end
      end
    end
    script:add("EOD")
  end
end

--- A matrix with names along two sides.
function panels.matrix(script, panel)
  axes(script, panel)
  local count, names = #panel.shares, panel.names
  script:add("unset border")
  script:add("set key off")
  script:add("set size ratio 1")
  script:add("set palette defined (0 '#f7fbff', 0.25 '#c6dbef', 0.5 '#6baed6', 0.75 '#2171b5', 1 '#08306b')")
  script:add("set cbrange [0:1]")
  if panel.texts then
    script:add("unset colorbox")
  else
    script:add("set cblabel 'share of the row'")
  end
  class_tics(script, "x", names, longest(names) * count > 70 and "rotate by -45 left" or "")
  class_tics(script, "y", names)
  script:add("set xrange [-0.5:%g]", count - 0.5)
  script:add("set yrange [%g:-0.5]", count - 0.5)
  script:data("m", panel.shares)
  local parts = { "$m matrix with image pixels" }
  if panel.texts then
    cell_texts(script, panel)
    local font = ("font ',%d'"):format(count <= 6 and 13 or count <= 12 and 11 or 8)
    parts[2] = ("$pale using 1:2:3 with labels %s tc rgb '#202020' noenhanced"):format(font)
    parts[3] = ("$dark using 1:2:3 with labels %s tc rgb '#ffffff' noenhanced"):format(font)
  end
  script:add("plot %s", table.concat(parts, ", \\\n  "))
end

-- ---- pictures

--- A picture of pixels {r, g, b} from 0 to 255, row after row, with texts over parts of it.
function panels.image(script, panel)
  axes(script, panel)
  script:add("unset border")
  script:add("unset tics")
  script:add("set key off")
  script:add("set size ratio %.9g", panel.rows / panel.columns)
  script:add("set lmargin 1\nset rmargin 1\nset bmargin 1\nset tmargin %d", panel.title and 3 or 1)
  script:add("set xrange [-0.5:%g]", panel.columns - 0.5)
  script:add("set yrange [%g:-0.5]", panel.rows - 0.5)
  for _, label in ipairs(panel.labels or {}) do
    script:add("set label %s at %s,%s center font ',9' noenhanced front", quoted(label.text),
      number(label.x), number(label.y))
  end
  local rows = {}
  for i, pixel in ipairs(panel.pixels) do
    local x = (i - 1) % panel.columns
    rows[i] = { x, (i - 1 - x) / panel.columns, pixel[1], pixel[2], pixel[3] }
  end
  script:data("p", rows)
  script:add("plot $p using 1:2:3:4:5 with rgbimage")
end

-- ---- drawing

local function script_of(figure, kind, output)
  local script = setmetatable({}, Script)
  script:add(terminals[kind](figure))
  script:add("set output %s", "'" .. output:gsub("'", "''") .. "'")
  if #figure.panels > 1 then
    script:add("set multiplot layout %d,%d%s", figure.rows, figure.columns,
      figure.title and (" title %s font ',14' noenhanced"):format(quoted(figure.title)) or "")
  end
  for _, panel in ipairs(figure.panels) do panels[panel.kind](script, panel) end
  if #figure.panels > 1 then script:add("unset multiplot") end
  script:add("set output")
  script:add("")
  return table.concat(script, "\n")
end

local function first_lines(text)
  return (text:gsub("^%s+", ""):gsub("%s+$", ""):gsub("%s*\n%s*", "; "):sub(1, 300))
end

--- Draw a figure into a file, which is whole or not there.
-- @param who string the function that a script called
-- @param figure table: panels, rows, columns, title, width, height
-- @param path string whose end says the kind of file
-- @return true; nil and a message where it cannot be written
function gnuplot.draw(who, figure, path)
  local kind = (path:match("%.(%w+)$") or ""):lower()
  if not terminals[kind] then check.expect(who, "path", path, "a name that ends in .png, .svg or .pdf") end
  if path:find("[%z\n]") then check.expect(who, "path", path, "a name without line breaks and zero bytes") end
  local file, reason = io.open(path .. ".part", "wb") -- tells at once what is wrong with the place
  if not file then return nil, reason end
  file:close()
  local code, output = core.run_program({ "gnuplot", "-d" }, script_of(figure, kind, path .. ".part"))
  if code == 0 then return os.rename(path .. ".part", path) end
  os.remove(path .. ".part")
  if code == nil then
    check.fail(who, "drawing into a file needs gnuplot (on Debian and Ubuntu: apt-get install gnuplot-nox); " .. output)
  end
  check.fail(who, "gnuplot failed: " .. first_lines(output))
end

return gnuplot
