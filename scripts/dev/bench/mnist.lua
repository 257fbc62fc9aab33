-- mnist.lua: one epoch of fit over a network for MNIST, 784-512-512-10 with dropout, cross entropy and Adam in batches
-- of 128 of 60,000 random images, shuffled, with the accuracy counted. Prints a line "epoch microseconds" for two
-- threads and for one: the least of some epochs. bench/mnist.py does the same in PyTorch; bench.sh pairs them.

local nn = require "nnlua"

local IMAGES, EPOCHS = 60000, 4

nn.manual_seed(1)

local images, labels = nn.rand(IMAGES, 784), nn.randint(1, 11, {IMAGES})

local function least(threads)
  nn.set_num_threads(threads)
  local model = nn.Sequential{
    nn.Dense(784, 512, {activation = "relu"}), nn.Dropout(0.2),
    nn.Dense(512, 512, {activation = "relu"}), nn.Dropout(0.2),
    nn.Dense(512, 10),
  }
  model:compile{optimizer = "adam", loss = "cross_entropy", metrics = {"accuracy"}}
  local best, start = math.huge, nil
  local clock = {
    on_epoch_begin = function() start = nn.clock() end,
    on_epoch_end = function() best = math.min(best, nn.clock() - start) end,
  }
  model:fit(images, labels, {epochs = EPOCHS, batch_size = 128, shuffle = true, verbose = 0, callbacks = {clock}})
  return best * 1e6
end

local pattern = arg and arg[1] or ""
for _, threads in ipairs{2, 1} do
  local name = "epoch/" .. threads
  if name:find(pattern) then print(("%s %.0f"):format(name, least(threads))) end
end
