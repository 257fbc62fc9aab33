--- nn.callbacks.EarlyStopping: training ends when a measurement has not improved for some epochs.

local core = require "nnlua.core"
local check = require "nnlua.check"
local Callback = require "nnlua.callbacks.base"
local Monitor = require "nnlua.callbacks.monitor"

local EarlyStopping = Callback:extend("EarlyStopping")
local who = "nn.callbacks.EarlyStopping"

local rules = {
  monitor = "string", min_delta = "number", patience = "whole", mode = "string", baseline = "number",
  restore_best_weights = "boolean", start_from_epoch = "whole", verbose = "whole",
}

--- @param options table? monitor ("val_loss"), min_delta (0: less counts as no improvement), patience (0: epochs
-- without improvement before the end), mode ("auto": from the name; "min", "max"), baseline (to be reached),
-- restore_best_weights (false; true: the model ends with those of its best epoch), start_from_epoch (0: epochs that do
-- not count), verbose (0, 1)
function EarlyStopping:init(options)
  options = check.options(who, options, rules)
  self.options = options
  self.monitor = Monitor.new(who, options)
end

function EarlyStopping:on_train_begin()
  self.monitor:check(self)
  self.wait, self.stopped_epoch, self.best_epoch, self.best_weights = 0, 0, 0, nil
  self.best = self.monitor:worst()
end

local function copy(state)
  local result = {}
  for name, tensor in pairs(state) do result[name] = tensor:clone() end
  return result
end

local function keep_weights(self)
  local compiled = require "nnlua.training.compiled"
  self.best_weights = compiled.with_averages(compiled.peek(self.model), function()
    return copy(self.model:state_dict())
  end)
end

local function improved(self, epoch, value)
  self.best, self.best_epoch = value, epoch
  if self.options.restore_best_weights then keep_weights(self) end
  local baseline = self.options.baseline
  if baseline and not self.monitor:improves(value, baseline) then return false end
  self.wait = 0
  return true
end

function EarlyStopping:on_epoch_end(epoch, logs)
  local value = self.monitor:value(self, logs)
  if not value or epoch <= (self.options.start_from_epoch or 0) then return end
  if self.options.restore_best_weights and not self.best_weights then keep_weights(self) end
  self.wait = self.wait + 1
  if self.monitor:improves(value, self.best) and improved(self, epoch, value) then return end
  if self.wait >= (self.options.patience or 0) and epoch > 1 and self.stopped_epoch == 0 then
    self.stopped_epoch = epoch
    return "stop"
  end
end

function EarlyStopping:on_train_end()
  local shown = (self.options.verbose or 0) > 0
  if shown and self.stopped_epoch > 0 then
    self:say(("EarlyStopping: ended at epoch %d, no better %s for %d epochs"):format(
      self.stopped_epoch, self.monitor.name, self.wait))
  end
  if not self.best_weights then return end
  if shown then
    self:say(("EarlyStopping: the weights are those of epoch %d, %s = %g"):format(
      self.best_epoch, self.monitor.name, self.best))
  end
  core.no_grad(function() self.model:load_state_dict(self.best_weights) end)
  self.best_weights = nil
end

function EarlyStopping:get_state()
  return {
    wait = self.wait, best = self.best, best_epoch = self.best_epoch, stopped_epoch = self.stopped_epoch,
    best_weights = self.best_weights,
  }
end

function EarlyStopping:set_state(state)
  self.wait, self.best, self.best_weights = state.wait, state.best, state.best_weights
  self.best_epoch, self.stopped_epoch = state.best_epoch, state.stopped_epoch
end

return EarlyStopping
