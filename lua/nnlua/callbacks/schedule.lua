--- nn.callbacks.LearningRateScheduler: a learning rate for each epoch or batch.

local check = require "nnlua.check"
local Callback = require "nnlua.callbacks.base"

local LearningRateScheduler = Callback:extend("LearningRateScheduler")
local who = "nn.callbacks.LearningRateScheduler"

local function after_batch(self) self.schedule:step() end

local rules = { verbose = "whole", every = "string" }
local moments = { epoch = true, batch = true }

--- @param schedule function(epoch, lr) that gives the rate of an epoch, from 1; or a schedule of
-- nn.optim.lr_scheduler; or {make = function(optimizer) ... end} that makes one, for an optimizer given by name
-- @param options table? every ("epoch"; "batch": a schedule takes a step after each batch), verbose (0, 1)
function LearningRateScheduler:init(schedule, options)
  options = check.options(who, options, rules)
  self.options, self.every = options, options.every or "epoch"
  check.choice(who, "option every", self.every, moments)
  if self.every == "batch" then self.on_train_batch_end = after_batch end
  if type(schedule) == "function" then
    self.rate = schedule
    if self.every == "batch" then
      check.fail(who, "a function gives a rate for each epoch; for each batch there are the schedules of " ..
        "nn.optim.lr_scheduler, such as LambdaLR")
    end
  elseif type(schedule) == "table" and type(schedule.make) == "function" then
    self.make = schedule.make
  elseif type(schedule) == "table" and type(schedule.step) == "function" then
    self.schedule = schedule
  else
    check.expect(who, "argument 1", schedule, "a function, a schedule, or {make = function(optimizer) ... end}")
  end
end

local function optimizer_of(self)
  local optimizer = self.model:optimizer_in_use()
  if optimizer then return optimizer end
  return check.fail(who, "the optimizer is made with the first batch, as layers take their sizes from it: give the " ..
    "layers their sizes, or call the model on a batch before")
end

-- The optimizer that a schedule was made for must be the one in use.
function LearningRateScheduler:on_train_begin()
  local optimizer = optimizer_of(self)
  if self.make and self.made_for ~= optimizer then
    self.schedule, self.made_for = self.make(optimizer), optimizer
    if type(self.schedule) ~= "table" or type(self.schedule.step) ~= "function" then
      check.expect(who, "the result of make", self.schedule, "a schedule")
    end
  end
  if self.schedule and self.schedule.optimizer and self.schedule.optimizer ~= optimizer then
    check.fail(who, "the schedule is of another optimizer than that of compile")
  end
end

function LearningRateScheduler:on_epoch_begin(epoch)
  if not self.rate then return end
  local optimizer = optimizer_of(self)
  local rate = self.rate(epoch, optimizer.param_groups[1].lr)
  if type(rate) ~= "number" then check.expect(who, "the function's result", rate, "a number") end
  for _, group in ipairs(optimizer.param_groups) do group.lr = rate end
  if (self.options.verbose or 0) > 0 then
    self:say(("LearningRateScheduler: the learning rate of epoch %d is %g"):format(epoch, rate))
  end
end

function LearningRateScheduler:on_epoch_end(_, logs)
  logs.lr = optimizer_of(self).param_groups[1].lr
  if self.schedule and self.every == "epoch" then self.schedule:step(logs.val_loss or logs.loss) end
end

function LearningRateScheduler:get_state()
  return { schedule = self.schedule and self.schedule:state_dict() }
end

function LearningRateScheduler:set_state(state)
  if self.schedule and state.schedule then self.schedule:load_state_dict(state.schedule) end
end

return LearningRateScheduler
