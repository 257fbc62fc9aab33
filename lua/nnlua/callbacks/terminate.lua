--- nn.callbacks.TerminateOnNaN: training ends, without an error, when the loss is no number any more.

local Callback = require "nnlua.callbacks.base"

local TerminateOnNaN = Callback:extend("TerminateOnNaN")

-- For loop.lua, which calls it in place of raising an error.
function TerminateOnNaN:on_bad_loss(batch, loss)
  if self.params.verbose == 0 then return "stop" end
  self:say(("TerminateOnNaN: the loss is %s in batch %d, training ends"):format(
    loss ~= loss and "NaN" or "infinite", batch))
  return "stop"
end

return TerminateOnNaN
