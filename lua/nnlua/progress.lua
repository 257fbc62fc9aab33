--- What training shows: a bar on a terminal, redrawn in place; plain lines anywhere else.

local core = require "nnlua.core"
local cells = require "nnlua.cells"

local Progress = {}
Progress.__index = Progress

local REDRAW = 0.1 -- seconds between two drawings, at least
local SHARE = 20 -- drawing takes at most one part in so many of the time
local BAR_MOST, BAR_LEAST = 30, 8 -- cells

local BOLD, GREEN, GREY = "1", "32", "90" -- ways to write, for terminals (ECMA-48)

-- ---- pieces of text

--- Seconds as people say them: "45s", "2:05", "1:02:05".
local function duration(seconds)
  seconds = math.floor(seconds + 0.5)
  local minutes = (seconds - seconds % 60) / 60
  if minutes < 1 then return ("%ds"):format(seconds) end
  local hours = (minutes - minutes % 60) / 60
  if hours < 1 then return ("%d:%02d"):format(minutes, seconds % 60) end
  return ("%d:%02d:%02d"):format(hours, minutes % 60, seconds % 60)
end

--- Time of a part that is over: fractions matter when it was short.
local function elapsed(seconds)
  if seconds < 0.9995 then return ("%.0f ms"):format(seconds * 1000) end
  if seconds < 9.95 then return ("%.1fs"):format(seconds) end
  return duration(seconds)
end

-- Three digits and a letter: 0.42, 5.31, 127, 12.3k, 1.24M.
local function rate_text(rate)
  local letter = ""
  for _, larger in ipairs { "k", "M", "G" } do
    if rate < 999.5 then break end
    rate, letter = rate / 1000, larger
  end
  local digits = rate < 9.995 and "%.2f" or rate < 99.95 and "%.1f" or "%.0f"
  return digits:format(rate) .. letter
end

local function number_text(value)
  if value ~= value then return "nan" end
  local size = math.abs(value)
  if size ~= 0 and (size < 1e-3 or size >= 1e5) then return ("%.3e"):format(value) end
  return ("%.4f"):format(value)
end

-- ---- lines: lists of pieces {text, style, width}, two spaces between them

local function piece(text, style)
  return { text, style, cells.width(text) }
end

-- A measurement, its name paler than its value.
local function measurement(name, value)
  name = cells.clean(name)
  local text = number_text(value)
  return { name .. " ", GREY, cells.width(name) + 1 + #text, text }
end

local function measurements(names, logs)
  local list = {}
  for _, name in ipairs(names) do
    if type(logs[name]) == "number" then list[#list + 1] = measurement(name, logs[name]) end
  end
  return list
end

local function line_width(line)
  local sum = 2 * math.max(#line - 1, 0)
  for _, each in ipairs(line) do sum = sum + each[3] end
  return sum
end

local function paint(self, text, style)
  if not self.colour or not style or text == "" then return text end
  return "\27[" .. style .. "m" .. text .. "\27[m"
end

local function line_text(self, line)
  local words = {}
  for i, each in ipairs(line) do words[i] = paint(self, each[1], each[2]) .. (each[4] or "") end
  return table.concat(words, "  ")
end

-- The bar as two pieces of text: what is done, what is left.
local function bar_texts(share, width, fine)
  share = math.min(math.max(share, 0), 1)
  if fine then
    local halves = math.floor(share * width * 2 + 0.5)
    local half = halves % 2
    local full = (halves - half) / 2
    return ("━"):rep(full) .. (half == 1 and "╸" or ""), ("━"):rep(width - full - half)
  end
  local full = math.floor(share * (width - 2) + 0.5)
  local head = full > 0 and full < width - 2 and ">" or ""
  return "[" .. ("="):rep(full - #head) .. head, ("."):rep(width - 2 - full) .. "]"
end

-- Without colours the two parts of a fine bar must differ in shape.
local function bar_piece(self, share, width)
  local done, left = bar_texts(share, width, self.fine)
  if self.fine and not self.colour then left = left:gsub("━", "─") end
  return { done, GREEN, width, paint(self, left, GREY) }
end

-- ---- what to show in how much room

-- From the most to the least: whether the head is long, the least measurements beside which there is a bar (more than
-- there are: all), which texts come.
local layouts = {
  { long = true, bar = 99, left = true, rate = " samples/s" },
  { long = true, bar = 99, left = true, rate = "/s" },
  { long = true, bar = 99, left = true },
  { bar = 99, left = true },
  { bar = 2, left = true },
  { left = true, least = 2 },
  { least = 2 },
  { left = true, least = 1 },
  { least = 1 },
  { least = 0 },
}

-- Head and count; then by the layout the bar (later), the time left, the speed.
local function make_line(view, layout)
  local line = { piece(layout.long and view.head or view.short, BOLD), piece(view.count) }
  if layout.left and view.left then line[#line + 1] = piece(view.left) end
  if layout.rate and view.rate then line[#line + 1] = piece(view.rate .. layout.rate, GREY) end
  return line
end

-- The line of a layout in so many cells; nil where it has no room.
local function fill(self, view, layout, width)
  local line = make_line(view, layout)
  local logs, bar = view.logs, layout.bar and view.share
  local least = math.min(layout.least or layout.bar, #logs)
  local room = width - line_width(line) - (bar and BAR_LEAST + 2 or 0)
  local shown = 0
  while shown < #logs and room >= logs[shown + 1][3] + 2 do
    shown = shown + 1
    room = room - logs[shown][3] - 2
  end
  if room < 0 or shown < least then return nil end
  for i = 1, shown do line[#line + 1] = logs[i] end
  if bar then table.insert(line, 3, bar_piece(self, view.share, math.min(BAR_LEAST + room, BAR_MOST))) end
  return line
end

local function compose(self, view, width)
  for _, layout in ipairs(layouts) do
    local line = fill(self, view, layout, width)
    if line then return line_text(self, line), line_width(line) end
  end
  local text = cells.cut(view.count, math.max(width, 0))
  return text, cells.width(text)
end

local function head_texts(self)
  if not self.epochs then return self.title, self.title end
  local place = ("%d/%d"):format(self.epoch, self.epochs)
  local part = self.part_name and " " .. self.part_name or ""
  return "Epoch " .. place .. part, place .. part
end

-- What there is to show after `batch` batches.
local function view_of(self, batch, samples, logs, now)
  local spent = now - self.part_begun
  local total = self.part_batches
  local view = {
    count = total and ("%d/%d"):format(batch, total) or ("%d batches"):format(batch),
    share = total and total > 0 and batch / total or nil,
    logs = measurements(self.names, logs),
  }
  view.head, view.short = head_texts(self)
  if batch > 0 and spent > 0 then
    view.left = total and duration(spent / batch * math.max(total - batch, 0)) .. " left" or duration(spent)
    view.rate = samples and rate_text(samples / spent)
  end
  return view
end

-- ---- the display

--- A display of progress.
-- @param options table: verbose (0 nothing, 1 a bar or lines, 2 lines), epochs, batches (nil where unknown), names (of
-- the measurements, in order), title (what is done, where there are no epochs: "Evaluate")
function Progress.new(options)
  local self = setmetatable({}, Progress)
  for name, value in pairs(options) do self[name] = value end
  self.names, self.title = self.names or {}, self.title or "Batches"
  self.redraws = self.verbose == 1 and core.is_terminal() and cells.can_redraw()
  self.colour = self.redraws and cells.have_colour()
  self.fine = self.redraws and cells.are_utf8()
  self.next_drawing = 0
  return self
end

-- What was drawn may fill several lines by now, if the terminal became narrower: the first of them is above.
local function to_start(self, width)
  if not self.drawn then return "\r" end
  local above = math.ceil(self.drawn / math.max(width, 1)) - 1
  if above < 1 then return "\r" end
  return ("\27[%dA\r\27[J"):format(above)
end

local function flush()
  if io and io.stdout then io.stdout:flush() end
end

local function draw(self, batch, samples, logs, now)
  local width = core.terminal_width()
  local text, cell_count = compose(self, view_of(self, batch, samples, logs, now), width - 1)
  core.write(to_start(self, width) .. text .. "\27[K")
  flush()
  self.drawn = cell_count
  local after = core.clock()
  self.next_drawing = after + math.max(REDRAW, (after - now) * SHARE)
end

local function begin_part(self, name, batches)
  self.part_name, self.part_batches, self.samples = name, batches, nil
  self.part_begun = core.clock()
  if self.redraws and self.part_begun >= self.next_drawing then draw(self, 0, nil, {}, self.part_begun) end
end

--- An epoch begins, or what there is instead.
-- @param epoch integer? its number
function Progress:start(epoch)
  self.epoch, self.begun = epoch or 1, core.clock()
  self.speed = nil
  begin_part(self, nil, self.batches)
end

--- Another part of the epoch begins, such as validation.
-- @param name string shown beside the epoch
-- @param batches integer? how many there are
function Progress:part(name, batches)
  self:note_speed()
  begin_part(self, name, batches)
end

--- A batch is done. Cheap unless it is time to draw.
-- @param batch integer how many are done in this part
-- @param samples integer? how many samples were in them
-- @param logs function that gives the means so far, or their table
function Progress:update(batch, samples, logs)
  self.samples = samples
  if not self.redraws then return end
  local now = core.clock()
  if now < self.next_drawing then return end
  if type(logs) == "function" then logs = logs() end
  draw(self, batch, samples, logs or {}, now)
end

-- The speed of training is that of the first part.
function Progress:note_speed()
  local spent = core.clock() - self.part_begun
  if not self.speed and self.samples and spent > 0 then self.speed = rate_text(self.samples / spent) .. "/s" end
end

-- The pieces of a line in lines of at most so many cells; those after the first are indented. Where one line does not
-- suffice, what was measured on the validation set has a line of its own.
local function wrap(self, line, width)
  local lines, current = {}, {}
  local indent = { "", nil, width < 60 and 0 or math.min(line[1][3], 12) }
  local too_long = line_width(line) > width
  for i, each in ipairs(line) do
    local full = line_width(current) + 2 + each[3] > width and #current > (#lines > 0 and 1 or 0)
    if full or (too_long and i == line.validation) then
      lines[#lines + 1] = current
      current = { indent }
    end
    current[#current + 1] = each
  end
  lines[#lines + 1] = current
  for i, pieces in ipairs(lines) do
    lines[i] = (i > 1 and (" "):rep(indent[3]) or "") .. line_text(self, pieces)
  end
  return lines
end

local function last_line(self, logs)
  local head = self.title
  if self.epochs then
    local width = #("%d"):format(self.epochs)
    head = ("Epoch %" .. width .. "d/%d"):format(self.epoch, self.epochs)
  end
  local line = { piece(head, BOLD), piece(elapsed(core.clock() - self.begun)) }
  if self.speed then line[#line + 1] = piece(self.speed, GREY) end
  for _, each in ipairs(measurements(self.names, logs)) do
    line[#line + 1] = each
    if not line.validation and each[1]:find("^val_") then line.validation = #line end
  end
  return line
end

--- An epoch is over.
-- @param logs table of means, those of the validation set included
function Progress:finish(logs)
  if self.verbose == 0 then return end
  self:note_speed()
  local width = self.redraws and core.terminal_width() or math.huge
  local lines = wrap(self, last_line(self, logs or {}), width)
  local before = self.redraws and to_start(self, width) .. "\27[K" or ""
  core.write(before .. table.concat(lines, "\n") .. "\n")
  self.drawn = nil
  flush()
end

--- Training ended, perhaps by an error: what comes next begins on a line of its own.
function Progress:close()
  if self.drawn then core.write("\n") end
  self.drawn = nil
end

return Progress
