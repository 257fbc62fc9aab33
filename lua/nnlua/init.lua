--- The table `nn`: everything that a script sees.
-- What computes is in C ("nnlua.core"); what composes is in the modules of this folder. Those that a script may
-- never use are loaded when it first does.

local core = require "nnlua.core"
local check = require "nnlua.check"
local module = require "nnlua.module"
require "nnlua.tensor"

local nn = {}

-- Parts of the seam between C and Lua, not of the surface.
local inside = {
  module_source = true,
  layers = true, losses = true, optimizers = true, layer_methods = true, tensor_methods = true,
  save_tensors = true, load_tensors = true, csv = true, readers = true, sound = true, tensor_id = true,
  optimizer_methods = true, attach = true, fail_allocation = true, json_encode = true, json_decode = true,
  json_null = true, nearest = true, image_load = true, image_decode = true, image_encode = true, write_file = true,
  events = true, run_program = true, feed = true, checkpoint = true, in_checkpoint = true, text = true,
  decoder = true, sampler = true, bare_layers = true, record_memory = true, plan_memory = true, replay_memory = true,
}
inside.kept = true -- of Lua 5.1

for name, value in pairs(core) do
  if not inside[name] then nn[name] = value end
end
for name, layer in pairs(core.layers) do nn[name] = layer end
for name, loss in pairs(core.losses) do nn[name] = loss end

nn.Module = module.Module
nn.Parameter = module.Parameter

--- By name: the module that has it, and whether it is a field there or all of it.
local parts = {
  Sequential = "containers", ModuleList = "containers", ModuleDict = "containers", Residual = "containers",
  Lambda = "containers", Parallel = "containers", Concat = "containers",
  save = "files", load = "files", load_bytes = "files",
  checkpoint = "checkpoint", estimate = "estimate",
  Function = "autograd", gradcheck = "autograd", gradgradcheck = "autograd",
}
local wholes = {
  help = "help",
  audio = "audio", callbacks = "callbacks", data = "data", image = "image", lora = "lora", metrics = "metrics",
  models = "models", optim = "optim",
  plot = "plot", tensorboard = "tensorboard", text = "text", utils = "utils",
}

-- All names, those of parts that are not loaded yet included.
local function all_names()
  local names = {}
  for _, set in ipairs { nn, parts, wholes } do
    for name in next, set do names[#names + 1] = name end
  end
  return names
end

local function load_part(_, name)
  local value
  if parts[name] then
    value = require("nnlua." .. parts[name])[name]
  elseif wholes[name] then
    value = require("nnlua." .. wholes[name])
    if type(value) == "table" and not getmetatable(value) then check.guard("nn." .. name, value) end
  else
    return check.name("nn", nn, name, parts, wholes)
  end
  nn[name] = value
  return value
end

check.guard("nn.functional", nn.functional)
check.guard("nn.init", nn.init)

return setmetatable(nn, { __index = load_part, __names = all_names, __library = "nn" })
