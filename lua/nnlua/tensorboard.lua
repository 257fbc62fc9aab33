--- nn.tensorboard: files that TensorBoard shows. A file is only ever added to, and each call leaves it whole.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local tiles = require "nnlua.tiles"
local tree = require "nnlua.tree"

local events = core.events
local tensorboard = {}

-- ---- writing

local Writer = {}
Writer.__index = Writer

local writers = 0 -- made so far, for their names

-- Seconds since 1970 with their fractions: the clock tells how much time went by since a whole second was read.
local function new_clock()
  local begun, at = os and os.time() or 0, core.clock()
  return function() return begun + core.clock() - at end
end

--- Open a new file in a folder, which is made where it is not there.
-- @param folder string
-- @param options table? suffix (what the file's name ends in)
-- @return writer; nil and a message where the file cannot be made
function tensorboard.Writer(folder, options)
  local who = "nn.tensorboard.Writer"
  if type(folder) ~= "string" then check.expect(who, "folder", folder, "a string") end
  options = check.options(who, options, { suffix = "string" })
  if not io then return nil, who .. ": this host gives scripts no files" end
  local made, message = events.make_folder(folder)
  if not made then return nil, message end
  writers = writers + 1
  local now = new_clock()
  local path = ("%s/events.out.tfevents.%.0f.%s.%d%s"):format(folder:gsub("(.)/+$", "%1"), math.floor(now()),
    events.process_name(), writers, options.suffix or "")
  local file, reason = io.open(path, "ab")
  if not file then return nil, reason end
  local self = setmetatable({ folder = folder, path = path, file = file, now = now }, Writer)
  self:_put(events.version(now()))
  local ok, failure = self:flush()
  if not ok then return nil, failure end
  return self
end

function Writer:_put(record)
  if not self.file then check.fail("nn.tensorboard.Writer", "the writer is closed") end
  local ok, message = self.file:write(record)
  if not ok then self.failure = message end
end

--- All that was written goes to the operating system.
-- @return true; nil and a message where that, or an earlier write, failed
function Writer:flush()
  if not self.file then return true end
  local ok, message = self.file:flush()
  message = self.failure or (not ok and message) or nil
  if message then return nil, ("%s: %s"):format(self.path, message) end
  return true
end

--- No more will be written.
-- @return as flush
function Writer:close()
  if not self.file then return true end
  local ok, message = self:flush()
  self.file:close()
  self.file = nil
  return ok, message
end

local function check_event(who, tag, step)
  if type(tag) ~= "string" then check.expect(who, "tag", tag, "a string") end
  if step == nil then return 0 end
  local whole = compat.to_integer(step)
  if not whole then check.expect(who, "step", step, "a whole number") end
  return whole
end

local function check_number(who, value)
  if core.is_tensor(value) and value:numel() == 1 then value = value:item() end
  if type(value) == "boolean" then value = value and 1 or 0 end
  if type(value) ~= "number" then check.expect(who, "value", value, "a number") end
  return value
end

function Writer:_scalar(tag, value, step)
  self:_put(events.scalar(self.now(), step, tag, value))
end

--- A number that changes over time.
-- @param tag string its name; "loss/train" and "loss/test" come side by side
-- @param value number, or a tensor of one element
-- @param step integer? (0)
-- @return true; nil and a message where it cannot be written, as for all of these
function Writer:add_scalar(tag, value, step)
  step = check_event("add_scalar", tag, step)
  self:_scalar(tag, check_number("add_scalar", value), step)
  return self:flush()
end

--- How the elements of a tensor are spread. NaN and infinities are left out; there must be others.
-- @param tag string
-- @param values tensor or table of numbers
-- @param step integer? (0)
function Writer:add_histogram(tag, values, step)
  step = check_event("add_histogram", tag, step)
  if type(values) == "table" and not tree.is_node(values) then values = core.tensor(values, { dtype = "float64" }) end
  check.tensor("add_histogram", "values", values)
  values = values:detach():double():contiguous()
  if not values:isfinite():any():item() then
    check.fail("add_histogram", "expected at least one finite number in " .. check.shape(values.shape))
  end
  self:_put(events.histogram(self.now(), step, tag, values))
  return self:flush()
end

--- A picture, or several as a grid.
-- @param tag string
-- @param image tensor (H, W), (C, H, W), (N, C, H, W) with 1 or 3 channels; floats from 0 to 1, uint8 from 0 to 255
-- @param step integer? (0)
function Writer:add_image(tag, image, step)
  step = check_event("add_image", tag, step)
  local picture = tiles.grid(tiles.batch("add_image", image))
  self:_put(events.image(self.now(), step, tag, picture:size(2), picture:size(3), picture:size(1),
    require "nnlua.image".encode(picture, "png")))
  return self:flush()
end

--- Text, in Markdown.
-- @param tag string
-- @param text string
-- @param step integer? (0)
function Writer:add_text(tag, text, step)
  step = check_event("add_text", tag, step)
  if type(text) ~= "string" then check.expect("add_text", "text", text, "a string") end
  self:_put(events.text(self.now(), step, tag .. "/text_summary", text))
  return self:flush()
end

return tensorboard
