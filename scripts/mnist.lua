-- mnist.lua: which digit is it? Ten classes, from 60,000 scanned digits of 28 x 28 pixels (LeCun et al., 1998).
--
--   nnlua scripts/mnist.lua FOLDER [--model mlp|cnn] [--epochs N] ...      --help lists all
--
-- The best model is saved as mnist-mlp.safetensors or mnist-cnn.safetensors; classify.lua uses it.

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local images = dofile(here .. "lib/images.lua")

-- ---- two networks

local networks = {}

--- 784-512-512-10. Dropout at the input, too, is as if each image came with other pixels missing.
function networks.mlp()
  return nn.Sequential {
    nn.Flatten(),
    nn.Dropout(0.2),
    nn.Dense(784, 512, { activation = "gelu" }),
    nn.Dropout(0.4),
    nn.Dense(512, 512, { activation = "gelu" }),
    nn.Dropout(0.4),
    nn.Dense(512, 10),
  }
end

local function convolution(inputs, outputs)
  return nn.Sequential {
    nn.Conv2d(inputs, outputs, 3, { padding = 1, bias = false }), -- the normalisation has a bias
    nn.BatchNorm2d(outputs),
    nn.ReLU(),
  }
end

--- A convolution at 28 x 28 pixels, two at 14 x 14, two dense layers.
function networks.cnn()
  return nn.Sequential {
    convolution(1, 32), nn.MaxPool2d(2), nn.Dropout(0.1),
    convolution(32, 64), convolution(64, 64), nn.MaxPool2d(2), nn.Dropout(0.2),
    nn.Flatten(),
    nn.Dense(64 * 7 * 7, 128, { activation = "relu" }),
    nn.Dropout(0.4),
    nn.Dense(128, 10),
  }
end

local options = images.options {
  script = "mnist", collection = "mnist",
  about = "Learns which digit an image of MNIST shows.",
  recipes = {
    {
      name = "mlp", epochs = 20, batch_size = 128, lr = 0.002, validation = 5000, label_smoothing = 0.1,
      augment = nn.image.random_crop(28, { padding = 1 }), -- shifted by a pixel or not
    },
    {
      name = "cnn", epochs = 8, batch_size = 128, lr = 0.003, validation = 5000, weight_decay = 0.01,
      augment = nn.image.random_crop(28, { padding = 2 }), -- shifted by up to 2 pixels
    },
  },
}

local data = images.read(nn.data.mnist, options, {}, [[
The folder must hold the four files of MNIST, as they are or with .gz:
  train-images-idx3-ubyte  train-labels-idx1-ubyte  t10k-images-idx3-ubyte  t10k-labels-idx1-ubyte
One place to download them from is https://storage.googleapis.com/cvdf-datasets/mnist/]])

local model = networks[options.recipe.name]()
model:summary { 1, 28, 28 }

local best = images.train(model, data, options, {
  classes = data.classes,
  input = { channels = 1, height = 28, width = 28, background = "dark", frame = "digit" },
})
images.report(best, data)
