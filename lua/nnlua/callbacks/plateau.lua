--- nn.callbacks.ReduceLROnPlateau: smaller steps when a measurement has not improved for some epochs.

local check = require "nnlua.check"
local Callback = require "nnlua.callbacks.base"
local Monitor = require "nnlua.callbacks.monitor"

local ReduceLROnPlateau = Callback:extend("ReduceLROnPlateau")
local who = "nn.callbacks.ReduceLROnPlateau"

local rules = {
  monitor = "string", factor = "number", patience = "whole", mode = "string", min_delta = "number", cooldown = "whole",
  min_lr = "number", verbose = "whole",
}

--- @param options table? monitor ("val_loss"), factor (0.1), patience (10: epochs without improvement before), mode
-- ("auto"), min_delta (1e-4), cooldown (0: epochs after a reduction that do not count), min_lr (0), verbose (0, 1)
function ReduceLROnPlateau:init(options)
  options = check.options(who, options, rules)
  self.options, self.factor = options, options.factor or 0.1
  if not (self.factor > 0 and self.factor < 1) then
    check.expect(who, "option factor", self.factor, "a number between 0 and 1")
  end
  local watched = { monitor = options.monitor, mode = options.mode, min_delta = options.min_delta or 1e-4 }
  self.monitor = Monitor.new(who, watched)
end

function ReduceLROnPlateau:on_train_begin()
  self.monitor:check(self)
  self.wait, self.cooldown, self.best = 0, 0, self.monitor:worst()
end

local function reduce(self, epoch)
  local optimizer = self.model:optimizer_in_use()
  local least = self.options.min_lr or 0
  for _, group in ipairs(optimizer.param_groups) do
    if group.lr > least then group.lr = math.max(group.lr * self.factor, least) end
  end
  if (self.options.verbose or 0) > 0 then
    self:say(("ReduceLROnPlateau: the learning rate is %g after epoch %d"):format(optimizer.param_groups[1].lr, epoch))
  end
end

function ReduceLROnPlateau:on_epoch_end(epoch, logs)
  logs.lr = self.model:optimizer_in_use().param_groups[1].lr
  local value = self.monitor:value(self, logs)
  if not value then return end
  if self.cooldown > 0 then self.cooldown, self.wait = self.cooldown - 1, 0 end
  if self.monitor:improves(value, self.best) then
    self.best, self.wait = value, 0
  elseif self.cooldown == 0 then
    self.wait = self.wait + 1
    if self.wait >= (self.options.patience or 10) then
      reduce(self, epoch)
      self.cooldown, self.wait = self.options.cooldown or 0, 0
    end
  end
end

function ReduceLROnPlateau:get_state()
  return { wait = self.wait, cooldown = self.cooldown, best = self.best }
end

function ReduceLROnPlateau:set_state(state)
  self.wait, self.cooldown, self.best = state.wait, state.cooldown, state.best
end

return ReduceLROnPlateau
