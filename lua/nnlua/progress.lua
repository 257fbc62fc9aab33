--- What training shows: a bar on a terminal, redrawn in place; plain lines anywhere else.

local core = require "nnlua.core"

local Progress = {}
Progress.__index = Progress

local REDRAW = 0.1 -- seconds between two drawings
local BAR_MOST, BAR_LEAST = 30, 8 -- cells

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

--- Time of an epoch that is over: fractions matter when it was short.
local function elapsed(seconds)
  if seconds < 1 then return ("%.0f ms"):format(seconds * 1000) end
  if seconds < 10 then return ("%.1fs"):format(seconds) end
  return duration(seconds)
end

local function number_text(value)
  local size = math.abs(value)
  if size ~= 0 and (size < 1e-3 or size >= 1e5) then return ("%.3e"):format(value) end
  return ("%.4f"):format(value)
end

-- "loss 0.3412  accuracy 0.9012", the names in their order.
local function logs_text(names, logs)
  local words = {}
  for _, name in ipairs(names) do
    if type(logs[name]) == "number" then words[#words + 1] = name .. " " .. number_text(logs[name]) end
  end
  return table.concat(words, "  ")
end

local function bar_text(share, width)
  local full = math.floor(share * width + 0.5)
  local head = full > 0 and full < width and ">" or ""
  return "[" .. ("="):rep(full - #head) .. head .. ("."):rep(width - full) .. "]"
end

-- The text up to this width, without the last measurement where that does not fit whole.
local function cut(text, width)
  if #text <= width then return text end
  local short = text:sub(1, width)
  return short:match("^(.*%S)  ") or short
end

--- One line that fits the width: the bar shrinks first, then goes, then the last measurements.
local function fit_line(left, share, right, width)
  local room = width - #left - #right - 4 -- two spaces, two brackets
  local line
  if share and room >= BAR_LEAST then
    line = left .. " " .. bar_text(share, math.min(room, BAR_MOST)) .. " " .. right
  else
    line = left .. " " .. right
  end
  return cut(line, width)
end

-- ---- the bar

--- A display of progress.
-- @param options table: verbose (0 nothing, 1 a bar or lines, 2 lines), epochs, batches (nil where unknown), names (of
-- the measurements, in order)
function Progress.new(options)
  local self = setmetatable({}, Progress)
  for name, value in pairs(options) do self[name] = value end
  self.redraws = self.verbose == 1 and core.is_terminal()
  return self
end

--- An epoch begins.
function Progress:start(epoch)
  self.epoch, self.begun = epoch, core.clock()
  self.next_drawing = self.begun + REDRAW
end

local function draw(self, line)
  core.write("\r" .. line .. "\27[K")
  io.stdout:flush()
  self.drawn = true
end

--- A batch is done. Cheap unless it is time to draw.
-- @param batch integer how many are done
-- @param logs function that gives the means so far
function Progress:update(batch, _, logs)
  if not self.redraws then return end
  local now = core.clock()
  if now < self.next_drawing then return end
  self.next_drawing = now + REDRAW
  local share = self.batches and batch / self.batches
  local count = self.batches and ("%d/%d"):format(batch, self.batches) or ("%d"):format(batch)
  local left = ("Epoch %d/%d  %s"):format(self.epoch, self.epochs, count)
  local right = logs_text(self.names, logs())
  if share then right = duration((now - self.begun) / batch * (self.batches - batch)) .. " left  " .. right end
  draw(self, fit_line(left, share, right, core.terminal_width() - 1))
end

--- An epoch is over.
-- @param logs table of means, those of the validation set included
function Progress:finish(logs)
  if self.verbose == 0 then return end
  local width = #("%d"):format(self.epochs)
  local line = ("Epoch %" .. width .. "d/%d  %s  %s"):format(
    self.epoch, self.epochs, elapsed(core.clock() - self.begun), logs_text(self.names, logs))
  core.write((self.redraws and "\r\27[K" or "") .. line .. "\n")
  self.drawn = false
end

--- Training ended, perhaps by an error: what comes next begins on a line of its own.
function Progress:close()
  if self.drawn then core.write("\n") end
  self.drawn = false
end

return Progress
