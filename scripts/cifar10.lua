-- cifar10.lua: bird or plane? Ten classes of small photographs, 32 x 32 pixels in colour (Krizhevsky, 2009).
--
--   nnlua scripts/cifar10.lua FOLDER [--epochs N] [--seed N] ...      --help lists all
--
-- The best model is saved as cifar10.safetensors; classify.lua uses it. dev/bench/cifar10.py is the same in PyTorch.

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local images = dofile(here .. "lib/images.lua")

-- Of the three colours, over all training images.
local MEAN, STD = { 0.4914, 0.4822, 0.4465 }, { 0.2470, 0.2435, 0.2616 }

local options = images.options {
  script = "cifar10", collection = "cifar10",
  about = "Learns what a photograph of CIFAR-10 shows.",
  recipes = {
    {
      name = "resnet", epochs = 30, batch_size = 128, lr = 0.005, validation = 1000, weight_decay = 0.05,
      label_smoothing = 0.1,
      augment = nn.image.compose { nn.image.random_flip(), nn.image.random_crop(32, { padding = 4 }) },
    },
  },
}

local data = images.read(nn.data.cifar10, options, { normalize = { mean = MEAN, std = STD } }, [[
The folder must hold CIFAR-10 in its binary form, as it is or with .gz:
  data_batch_1.bin ... data_batch_5.bin and test_batch.bin, or train*.bin and test*.bin
It can be downloaded from https://www.cs.toronto.edu/~kriz/cifar.html (CIFAR-10 binary version)]])

local function convolution(inputs, outputs)
  return nn.Sequential {
    nn.Conv2d(inputs, outputs, 3, { padding = 1, bias = false }), -- the normalisation has a bias
    nn.BatchNorm2d(outputs),
    nn.ReLU(),
  }
end

-- What two convolutions add to their input (He et al., 2016).
local function residual(channels)
  return nn.Residual(nn.Sequential { convolution(channels, channels), convolution(channels, channels) })
end

local model = nn.Sequential {
  convolution(3, 32), convolution(32, 64), nn.MaxPool2d(2), residual(64),
  convolution(64, 128), nn.MaxPool2d(2),
  convolution(128, 256), nn.MaxPool2d(2), residual(256),
  nn.MaxPool2d(4), nn.Flatten(), nn.Dropout(0.2), nn.Dense(256, 10),
}
model:summary { 3, 32, 32 }

local best = images.train(model, data, options, {
  classes = data.classes,
  input = { channels = 3, height = 32, width = 32, mean = MEAN, std = STD },
})
images.report(best, data)
