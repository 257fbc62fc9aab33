-- fashion_mnist.lua: shirt or coat? Ten kinds of clothes, 60,000 images of 28 x 28 pixels (Xiao et al., 2017).
--
--   nnlua scripts/fashion_mnist.lua FOLDER [--epochs N] [--seed N] ...      --help lists all
--
-- The best model is saved as fashion_mnist.safetensors; classify.lua uses it.

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local images = dofile(here .. "lib/images.lua")

local options = images.options {
  script = "fashion_mnist", collection = "fashion-mnist",
  about = "Learns which of ten kinds of clothes an image of Fashion-MNIST shows.",
  recipes = {
    {
      name = "cnn", epochs = 15, batch_size = 128, lr = 0.003, validation = 5000, weight_decay = 0.05,
      augment = nn.image.compose { nn.image.random_flip(), nn.image.random_crop(28, { padding = 1 }) },
    },
  },
}

local data = images.read(nn.data.fashion_mnist, options, {}, [[
The folder must hold the four files of Fashion-MNIST, as they are or with .gz:
  train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
They can be downloaded from https://github.com/zalandoresearch/fashion-mnist (folder data/fashion)]])

local function convolution(inputs, outputs)
  return nn.Sequential {
    nn.Conv2d(inputs, outputs, 3, { padding = 1, bias = false }), -- the normalisation has a bias
    nn.BatchNorm2d(outputs),
    nn.ReLU(),
  }
end

local model = nn.Sequential {
  convolution(1, 32), nn.MaxPool2d(2), nn.Dropout(0.1),
  convolution(32, 64), convolution(64, 64), nn.MaxPool2d(2), nn.Dropout(0.2),
  convolution(64, 128), convolution(128, 128), nn.MaxPool2d(2), nn.Dropout(0.3),
  nn.Flatten(),
  nn.Dense(128 * 3 * 3, 128, { activation = "relu" }),
  nn.Dropout(0.3),
  nn.Dense(128, 10),
}
model:summary { 1, 28, 28 }

local best = images.train(model, data, options, {
  classes = data.classes,
  input = { channels = 1, height = 28, width = 28, background = "dark" },
})
images.report(best, data)
