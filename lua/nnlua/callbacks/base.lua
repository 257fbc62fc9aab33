--- nn.callbacks.Callback: what callbacks have in common. A class of one's own: nn.callbacks.Callback:extend("Mine").

local core = require "nnlua.core"
local check = require "nnlua.check"

local Callback = { name = "Callback", is_callback = true, is_class = true }
Callback.__index = Callback

local function construct(class, ...)
  local self = setmetatable({ is_class = false }, class)
  if self.init then self:init(...) end
  return self
end

--- A new class of callbacks. Calling it makes one; the arguments reach init.
-- @param name string by which a backup knows its state
function Callback:extend(name)
  if type(name) ~= "string" or name == "" then check.expect("extend", "class name", name, "a string") end
  local class = { name = name, super = self, is_class = true }
  class.__index = class
  class.__tostring = function() return "nn.callbacks." .. name end
  return setmetatable(class, { __index = self, __call = construct })
end

--- A line for the person who watches, below what the bar shows.
function Callback:say(text)
  local bar = self.params and self.params.bar
  if bar then bar:close() end
  core.write(text .. "\n")
end

--- Make the folder that a file is to lie in, where there is none.
function Callback:make_folder_of(path)
  local folder = path:match("^(.+)[/\\][^/\\]*$")
  if not folder or folder:find("{", 1, true) then return end
  local made, message = core.events.make_folder(folder)
  if not made then check.fail("nn.callbacks." .. self.name, message) end
end

return setmetatable(Callback, { __call = construct })
