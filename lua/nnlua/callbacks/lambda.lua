--- nn.callbacks.LambdaCallback: functions by moment, called without self: {on_epoch_end = function(epoch, logs)}.

local core = require "nnlua.core"
local check = require "nnlua.check"
local Callback = require "nnlua.callbacks.base"
local Hooks = require "nnlua.callbacks.hooks"

local LambdaCallback = Callback:extend("LambdaCallback")
local who = "nn.callbacks.LambdaCallback"

--- @param functions table by moment, see nn.callbacks
function LambdaCallback:init(functions)
  if type(functions) ~= "table" then check.expect(who, "argument 1", functions, "a table of functions by moment") end
  for name, fn in pairs(functions) do
    if not Hooks.names[name] then
      local nearest = type(name) == "string" and core.nearest(name, Hooks.names)
      check.fail(who, ("there is no moment %q%s"):format(tostring(name),
        nearest and ("; did you mean '%s'?"):format(nearest) or ""))
    end
    if type(fn) ~= "function" then check.expect(who, name, fn, "a function") end
    self[name] = function(_, ...) return fn(...) end
  end
end

return LambdaCallback
