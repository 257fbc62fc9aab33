--- nn.optim.EMA: exponential moving averages of parameters, to be used in their place for evaluation.
-- After every update(), average = decay * average + (1 - decay) * parameter. The averages start as the parameters
-- are, so there is no bias to correct.

local core = require "nnlua.core"
local check = require "nnlua.check"

local who = "nn.optim.EMA"

local EMA = {}
EMA.__index = EMA
EMA.__name = "EMA"

--- Take the parameters as they are now into the averages: once after every step of the optimizer.
function EMA:update()
  local decay = self.decay
  core.no_grad(function()
    for i, param in ipairs(self.params) do
      local average = self.averages[i]
      average:mul_(decay):add_(param * (1 - decay))
    end
  end)
  self.updates = self.updates + 1
end

--- Put the averages in the parameters' place; restore() brings the parameters back.
function EMA:apply()
  if self.kept then check.fail(who .. ":apply", "the averages are applied already; call restore() first") end
  self.kept = {}
  core.no_grad(function()
    for i, param in ipairs(self.params) do
      self.kept[i] = param:detach():clone()
      param:copy_(self.averages[i])
    end
  end)
end

function EMA:restore()
  if not self.kept then check.fail(who .. ":restore", "nothing to restore; call apply() first") end
  local kept = self.kept
  self.kept = nil
  core.no_grad(function()
    for i, param in ipairs(self.params) do param:copy_(kept[i]) end
  end)
end

--- {decay, updates, averages = list of tensors}
function EMA:state_dict()
  local averages = {}
  for i, average in ipairs(self.averages) do averages[i] = average end
  return { decay = self.decay, updates = self.updates, averages = averages }
end

function EMA:load_state_dict(state)
  if type(state) ~= "table" or type(state.averages) ~= "table" or #state.averages ~= #self.averages then
    check.expect(who, "load_state_dict", state, ("a state_dict of %d averages"):format(#self.averages))
  end
  for i, average in ipairs(self.averages) do average:copy_(state.averages[i]) end
  self.decay, self.updates = state.decay or self.decay, state.updates or self.updates
end

function EMA:__tostring()
  return ("EMA(decay = %g, %d parameters)"):format(self.decay, #self.params)
end

--- Exponential moving averages of parameters: update() after each step; apply() puts them in place, restore() undoes
-- that.
-- @param params list of tensors, such as model:parameters()
-- @param options number|table: decay, from 0 to 1; default 0.999
return function(params, options)
  if type(options) == "number" then options = { decay = options } end
  options = check.options(who, options, { decay = "number" })
  local decay = options.decay or 0.999
  if decay < 0 or decay > 1 then check.expect(who, "option decay", decay, "a number from 0 to 1") end
  if type(params) ~= "table" or #params == 0 then check.expect(who, "argument 1", params, "a list of parameters") end
  local self = { params = {}, averages = {}, decay = decay, updates = 0 }
  for i, param in ipairs(params) do
    self.params[i] = check.tensor(who, "parameter " .. i, param)
    self.averages[i] = param:detach():clone()
  end
  return setmetatable(self, EMA)
end
