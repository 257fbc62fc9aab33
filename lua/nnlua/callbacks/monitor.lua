--- What callbacks share that watch a measurement: which way is better, and whether there is such a measurement.

local core = require "nnlua.core"
local check = require "nnlua.check"

local Monitor = {}
Monitor.__index = Monitor

local modes = { auto = true, min = true, max = true }
local rising = { "accuracy", "acc", "precision", "recall", "f1", "f1_score", "auc", "r2", "r2_score" }

-- Higher is better for these, lower for all else.
local function is_rising(name)
  for _, ending in ipairs(rising) do
    if name:sub(-#ending) == ending then return true end
  end
  return false
end

--- @param who string the callback, for errors
-- @param options table: monitor ("val_loss"), mode ("auto"), min_delta (0)
function Monitor.new(who, options)
  local self = setmetatable({ who = who, name = options.monitor or "val_loss" }, Monitor)
  local mode = options.mode or "auto"
  check.choice(who, "option mode", mode, modes)
  if mode == "auto" then mode = is_rising(self.name) and "max" or "min" end
  self.sign = mode == "max" and 1 or -1
  self.delta = math.abs(options.min_delta or 0)
  return self
end

--- The worst value there is.
function Monitor:worst() return -self.sign * math.huge end

--- Whether a value is better than another by more than min_delta.
function Monitor:improves(value, best)
  return (value - best) * self.sign > self.delta
end

local function missing(self, names, logs)
  local known, list = {}, {}
  for _, name in ipairs(names) do known[name] = true end
  for name in pairs(logs) do known[name] = true end
  for name in pairs(known) do list[#list + 1] = name end
  table.sort(list)
  local text = ("there is no %s; this training measures %s"):format(self.name, table.concat(list, " "))
  local nearest = core.nearest(self.name, known)
  if nearest then
    text = text .. ("; did you mean '%s'?"):format(nearest)
  elseif self.name:find("^val_") then
    text = text .. ": give fit validation data, or another monitor"
  end
  check.fail(self.who, text)
end

--- Before training: measurements of a validation set need one.
function Monitor:check(callback)
  local names = callback.params and callback.params.metrics
  if not names or not self.name:find("^val_") then return end
  for _, name in ipairs(names) do
    if name:find("^val_") then return end
  end
  missing(self, names, {})
end

--- The value; nil in an epoch without validation.
function Monitor:value(callback, logs)
  local value = logs[self.name]
  if type(value) == "number" then return value end
  if value ~= nil then check.expect(self.who, self.name, value, "a number") end
  local names = callback.params and callback.params.metrics or {}
  for _, name in ipairs(names) do
    if name == self.name then return nil end
  end
  return missing(self, names, logs)
end

return Monitor
