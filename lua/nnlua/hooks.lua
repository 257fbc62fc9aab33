--- Hooks of modules and layers: functions that see, and may change, what goes in and comes out of a call.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local hooks = { methods = {} }

-- By module or layer: {before = list, after = list}, each of {fn = function}.
local of = compat.by_object()

local function run_before(node, list, inputs)
  for _, hook in ipairs(list) do
    local changed = hook.fn(node, inputs)
    if changed ~= nil and type(changed) ~= "table" then changed = { changed } end
    if changed then inputs = compat.pack(compat.unpack(changed, 1, changed.n or #changed)) end
  end
  return inputs
end

local function run_after(node, list, inputs, results)
  for _, hook in ipairs(list) do
    local changed = hook.fn(node, inputs, results[1])
    if changed ~= nil then results[1] = changed end
  end
  return results
end

--- A call of a module or layer that has hooks.
function hooks.call(node, ...)
  local own = of[node]
  if not own then return node:forward(...) end
  local inputs = run_before(node, own.before, compat.pack(...))
  local results = run_after(node, own.after, inputs, compat.pack(node:forward(compat.unpack(inputs, 1, inputs.n))))
  return compat.unpack(results, 1, results.n)
end

--- Whether a module's calls have to come by here.
function hooks.has(node) return of[node] ~= nil end

local Handle = {}
Handle.__index = Handle

--- The hook is called no more.
function Handle:remove()
  for i, hook in ipairs(self.list) do
    if hook == self.hook then
      table.remove(self.list, i)
      return
    end
  end
end

local function register(who, node, place, fn)
  if type(fn) ~= "function" then check.expect(who, "argument 1", fn, "a function") end
  if not of[node] then
    of[node] = { before = {}, after = {} }
    if core.is_layer(node) then node:_watch(hooks.call) else rawset(node, "_hooked", hooks.call) end
  end
  local list, hook = of[node][place], { fn = fn }
  list[#list + 1] = hook
  return setmetatable({ list = list, hook = hook }, Handle)
end

--- After every call: fn(module, inputs, result); what it returns, unless nil, takes the place of the first result.
-- `inputs` is the list of the call's arguments. forward(...) called directly runs no hooks.
-- @return a handle with remove()
function hooks.methods:register_forward_hook(fn)
  return register("register_forward_hook", self, "after", fn)
end

--- Before every call: fn(module, inputs); what it returns, unless nil, are the inputs (one, or a list).
function hooks.methods:register_forward_pre_hook(fn)
  return register("register_forward_pre_hook", self, "before", fn)
end

return hooks
