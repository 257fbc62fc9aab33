-- Makes the samples here that nnlua writes, with the version in their names: nnlua make.lua VERSION. A file once
-- released is never made anew: it must load in every later version (tests/lua/golden_files_spec.lua).
local nn = require "nnlua"
local version = assert(arg[1], "the version")

local function path(name, suffix) return ("%s_%s.%s"):format(name, version, suffix) end

nn.manual_seed(1)
local first = nn.Dense(2, 3, { activation = "relu" })
local model = nn.Sequential { { "fc", first }, { "norm", nn.BatchNorm1d(3) }, nn.Dense(3, 1) }
for i, p in ipairs(model:parameters()) do
  nn.no_grad(function() p:copy_(nn.range(1, p:numel()):reshape(p.shape) * 0.125 * i - 0.5) end)
end
assert(model:eval():save(path("model", "safetensors")))

local matrix = nn.tensor { { 1, 2.5 }, { -3, 4 } }
local half, flags = nn.tensor({ 1.5 }, { dtype = "bfloat16" }), nn.tensor { true, false }
local named, metadata = { a = matrix, b = flags, c = half }, { made = "by hand" }
assert(nn.save(named, path("tensors", "safetensors"), { metadata = metadata }))
assert(nn.save({ epoch = 3, name = "x", list = { matrix, { deep = flags } } }, path("nested", "safetensors")))
assert(nn.data.npz(path("arrays", "npz"), { a = matrix, n = nn.tensor(7, { dtype = "int64" }) }))
assert(nn.data.npz(path("packed", "npz"), { a = matrix, z = nn.zeros(50) }, { compress = true }))
assert(nn.data.npy(path("array", "npy"), nn.tensor({ -1, 2 }, { dtype = "int32" })))

-- A model in the middle of its training, and what it is two epochs later.
local x, y = nn.tensor { { 1, 2 }, { 3, 4 }, { 5, 6 }, { 0, 1 } }, nn.tensor { { 1 }, { 2 }, { 3 }, { 0 } }
local trained = nn.Sequential { nn.Dense(2, 4, { activation = "tanh" }), nn.Dense(4, 1) }
trained:compile { optimizer = "adam", loss = "mse", metrics = { "mae" } }
local fit = { epochs = 2, batch_size = 4, verbose = 0, shuffle = false }
trained:fit(x, y, fit)
assert(trained:save(path("trained", "safetensors"), { optimizer = true }))
trained:fit(x, y, fit)
assert(nn.data.npy(path("trained_on", "npy"), trained(x):detach()))
