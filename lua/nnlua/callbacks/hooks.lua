--- The moments at which training calls callbacks: names, checks, and the calls themselves.

local core = require "nnlua.core"
local check = require "nnlua.check"
local tree = require "nnlua.tree"

local Hooks = {}
Hooks.__index = Hooks

-- By name: another name of the same moment, or itself.
local moments = {}

for _, what in ipairs { "train", "test", "predict" } do
  for _, when in ipairs { "begin", "end" } do
    moments[("on_%s_%s"):format(what, when)] = ("on_%s_%s"):format(what, when)
    moments[("on_%s_batch_%s"):format(what, when)] = ("on_%s_batch_%s"):format(what, when)
  end
end
moments.on_epoch_begin, moments.on_epoch_end = "on_epoch_begin", "on_epoch_end"
moments.on_bad_loss = "on_bad_loss"
moments.on_batch_begin, moments.on_batch_end = "on_train_batch_begin", "on_train_batch_end"

--- The names that callbacks may have, as keys.
Hooks.names = moments

-- A misspelt moment would never come.
local function check_names(who, callback)
  local place = callback
  while type(place) == "table" do
    for name, value in pairs(place) do
      if type(name) == "string" and name:find("^on_") and type(value) == "function" and not moments[name] then
        local nearest = core.nearest(name, moments)
        local hint = nearest and ("; did you mean '%s'?"):format(nearest) or ""
        check.fail(who, ("a callback has %s, which is no moment of training%s"):format(name, hint))
      end
    end
    local meta = getmetatable(place)
    place = type(meta) == "table" and rawget(meta, "__index") or nil
  end
end

local function is_callback(value)
  return type(value) == "table" and (type(value.on_epoch_end) == "function" or value.is_callback)
end

local function check_callback(who, i, callback)
  if type(callback) == "function" or (type(callback) == "table" and rawget(callback, "is_class")) then
    check.fail(who, ("callback %d is a class; call it: nn.callbacks.NAME(...)"):format(i))
  end
  if type(callback) ~= "table" or tree.is_node(callback) then
    check.expect(who, "callback " .. i, callback, "a table with functions such as on_epoch_end")
  end
  check_names(who, callback)
end

local function add(self, moment, callback, hook)
  local list = self.lists[moment] or {}
  list[#list + 1] = { callback, hook }
  self.lists[moment] = list
end

--- The callbacks of one call of fit, evaluate or predict.
-- @param who string the function that the script called
-- @param list table? of callbacks, or one
-- @param model what they find in self.model
-- @param params table that they find in self.params
function Hooks.new(who, list, model, params)
  if is_callback(list) then list = { list } end
  local self = setmetatable({ callbacks = {}, lists = {}, model = model }, Hooks)
  for i, callback in ipairs(list or {}) do
    check_callback(who, i, callback)
    self.callbacks[i] = callback
    rawset(callback, "model", model)
    rawset(callback, "params", params)
    for name, moment in pairs(moments) do
      if type(callback[name]) == "function" then add(self, moment, callback, name) end
    end
  end
  for key in pairs(list or {}) do
    if not self.callbacks[key] then
      check.fail(who, ("callbacks: expected a list, got the key %q"):format(tostring(key)))
    end
  end
  return self
end

--- Whether anything listens to this moment.
function Hooks:has(moment) return self.lists[moment] ~= nil end

--- Call a moment. A callback that returns "stop" ends the training.
function Hooks:call(moment, ...)
  local list = self.lists[moment]
  if not list then return end
  for i = 1, #list do
    local callback = list[i][1]
    if callback[list[i][2]](callback, ...) == "stop" then self.stop = true end
  end
end

--- A loss that is NaN or infinite: whether a callback takes care of it.
function Hooks:bad_loss(batch, loss)
  local handled = false
  for _, callback in ipairs(self.callbacks) do
    if type(callback.on_bad_loss) == "function" then
      handled = true
      if callback:on_bad_loss(batch, loss) == "stop" then self.stop = true end
    end
  end
  return handled
end

--- What the callbacks remember, in their order: {name, state}.
function Hooks:get_state()
  local states = {}
  for _, callback in ipairs(self.callbacks) do
    if callback.get_state then
      states[#states + 1] = { name = callback.name or "callback", state = callback:get_state() }
    end
  end
  return states
end

--- Give callbacks what they remembered: the first of a name the first of that name, and so on.
function Hooks:set_state(states)
  local used = {}
  for _, callback in ipairs(self.callbacks) do
    local name = callback.name or "callback"
    for i, saved in ipairs(callback.set_state and states or {}) do
      if saved.name == name and not used[i] then
        used[i] = true
        callback:set_state(saved.state)
        break
      end
    end
  end
end

return Hooks
