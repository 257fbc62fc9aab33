--- nn.callbacks.ModelCheckpoint: the model in a file, after epochs or batches, all of them or the best.

local check = require "nnlua.check"
local compat = require "nnlua.compat"
local files = require "nnlua.files"
local Callback = require "nnlua.callbacks.base"
local Monitor = require "nnlua.callbacks.monitor"

local ModelCheckpoint = Callback:extend("ModelCheckpoint")
local who = "nn.callbacks.ModelCheckpoint"

local rules = {
  monitor = "string", mode = "string", save_best_only = "boolean", save_weights_only = "boolean", save_freq = "any",
  optimizer = "boolean", initial_value_threshold = "number", verbose = "whole",
  metadata = "table",
}

-- "epoch", or a number of batches.
local function frequency(value)
  if value == nil or value == "epoch" then return nil end
  if not compat.is_whole(value) or value < 1 then
    check.expect(who, "option save_freq", value, "\"epoch\", or a number of batches")
  end
  return value
end

local after_batch

--- @param path string; in braces stand epoch, batch or a measurement, perhaps with a format:
-- "best-{epoch:02d}-{val_loss:.2f}.safetensors"
-- @param options table? monitor ("val_loss"), mode ("auto"), save_best_only (false), save_weights_only (false: the file
-- has the architecture too, so that nn.load gives the model), optimizer (false; true: and the optimizer), save_freq
-- ("epoch", or a number of batches), initial_value_threshold (what the first must be better than), verbose (0, 1),
-- metadata (what nn.load gives back behind the model, see model:save)
function ModelCheckpoint:init(path, options)
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
  options = check.options(who, options, rules)
  self.path, self.options, self.every = path, options, frequency(options.save_freq)
  self.monitor = Monitor.new(who, options)
  if self.every then self.on_train_batch_end = after_batch end
end

function ModelCheckpoint:on_train_begin()
  self:make_folder_of(self.path)
  if self.options.save_best_only and not self.every then self.monitor:check(self) end
  self.batches = 0
  self.best = self.options.initial_value_threshold or self.monitor:worst()
end

function ModelCheckpoint:on_epoch_begin(epoch) self.epoch = epoch end

-- The path with its braces filled.
local function path_for(self, epoch, batch, logs)
  return (self.path:gsub("{([%w_]+):?([^}]*)}", function(name, format)
    local value = name == "epoch" and epoch or name == "batch" and (batch or 0) or logs[name]
    if type(value) ~= "number" then
      check.fail(who, ("%s: nothing called %s is measured"):format(self.path, name))
    end
    if format == "" then return compat.is_whole(value) and ("%d"):format(value) or ("%.4f"):format(value) end
    local ok, text = pcall(string.format, "%" .. format, value)
    return ok and text or check.fail(who, ("%s: the format %q does not fit %s"):format(self.path, format, name))
  end))
end

local function write(self, path)
  if self.options.save_weights_only then return files.save(self.model:state_dict(), path) end
  return self.model:save(path, { optimizer = self.options.optimizer, metadata = self.options.metadata })
end

local function save(self, epoch, batch, logs, why)
  local compiled = require "nnlua.training.compiled"
  local path = path_for(self, epoch, batch, logs)
  local ok, message = compiled.with_averages(compiled.peek(self.model), write, self, path)
  if not ok then check.fail(who, message) end
  if (self.options.verbose or 0) > 0 then self:say(("ModelCheckpoint: %s%s"):format(path, why or "")) end
end

local function consider(self, epoch, batch, logs)
  if not self.options.save_best_only then return save(self, epoch, batch, logs) end
  local value = self.monitor:value(self, logs)
  if not value or not self.monitor:improves(value, self.best) then return end
  local why = (", %s %g after %g"):format(self.monitor.name, value, self.best)
  self.best = value
  save(self, epoch, batch, logs, why)
end

function ModelCheckpoint:on_epoch_end(epoch, logs)
  if not self.every then consider(self, epoch, nil, logs) end
end

function after_batch(self, batch, logs)
  self.batches = self.batches + 1
  if self.batches % self.every == 0 then consider(self, self.epoch, batch, logs) end
end

function ModelCheckpoint:get_state()
  return { best = self.best, batches = self.batches, epoch = self.epoch }
end

function ModelCheckpoint:set_state(state)
  self.best, self.batches, self.epoch = state.best, state.batches, state.epoch
end

return ModelCheckpoint
