--- images.lua: what the scripts that learn to name images have in common: their options, the data, the training with
-- its callbacks, and the report. The network and the recipe are in the script itself.

local nn = require "nnlua"

local folder = arg[0]:match("^(.*[/\\])") or ""
local training = dofile(folder .. "lib/training.lua")

local images = { fail = training.fail }

-- ---- the command line

local numbers = {
  { "epochs", "count", "how often all images are seen" },
  { "batch-size", "count", "images in a step" },
  { "lr", "positive", "the highest learning rate" },
  { "validation", "count", "training images held out, by which the best epoch is chosen" },
}

--- Read the command line.
-- @param spec table: script (a short name, for files), about, collection (name of the folder below NNLUA_DATA),
-- recipes: a list of {name =, epochs =, batch_size =, lr =, validation =, and what else images.train reads}, the first
-- being the default network
-- @return table of options; the chosen recipe is its field `recipe`
function images.options(spec)
  spec.numbers = numbers
  local parser = training.parser(spec.about)
  parser:argument("folder", "where the images are (default: $NNLUA_DATA/" .. spec.collection .. ")"):args("?")
  training.options(parser, spec)
  return training.complete(training.parse(parser), spec)
end

-- ---- data

--- Read a collection, or end with a message that says what the folder should hold and where that is to be had.
-- @param read nn.data.mnist or its like
-- @param given what images.options returned
-- @param reading table of options for `read`
-- @param help string: the files, and where they are from
-- @return table: x, y to train with, x_held, y_held to choose by, x_test, y_test, classes
function images.read(read, given, reading, help)
  if not given.folder then
    training.fail("no folder with images was given, and the environment variable NNLUA_DATA is not set\n" .. help)
  end
  local x, y, x_test, y_test, info = read(given.folder, reading)
  if not x then training.fail(y .. "\n" .. help) end
  if given.validation >= #x then
    training.fail(("--validation: there are only %d images to train with"):format(#x), 2)
  end
  local data = { x_test = x_test, y_test = y_test, classes = info.classes }
  data.x, data.x_held, data.y, data.y_held =
    nn.data.train_test_split(x, y, { test = given.validation / #x, stratify = true })
  return data
end

-- ---- training

-- Batches, changed by the recipe's transform as images might have come, too.
local function loader(data, given)
  return nn.data.DataLoader(nn.data.TensorDataset(data.x, data.y), {
    batch_size = given.batch_size, shuffle = true, transform = given.recipe.augment,
  })
end

local function callbacks(optimizer, given, metadata, steps)
  local schedule = nn.optim.lr_scheduler.OneCycleLR(optimizer, given.lr, { total_steps = steps * given.epochs + 1 })
  return {
    nn.callbacks.LearningRateScheduler(schedule, { every = "batch" }),
    nn.callbacks.ModelCheckpoint(given.save, { monitor = "val_accuracy", save_best_only = true, metadata = metadata }),
    training.backup(given),
  }
end

--- Train with a learning rate that goes up and down again once (Smith and Topin 2018), keeping the model of the epoch
-- that did best on what was held out.
-- @param model an nn.Module whose layers have their sizes
-- @param data what images.read returned
-- @param metadata table that classify.lua finds in the model's file
-- @return the best model
function images.train(model, data, given, metadata)
  local recipe = given.recipe
  local optimizer = nn.optim.AdamW(model:parameters(), { lr = given.lr, weight_decay = recipe.weight_decay })
  model:compile {
    optimizer = optimizer, metrics = { "accuracy" },
    loss = nn.CrossEntropyLoss { label_smoothing = recipe.label_smoothing },
  }
  local settings = {
    epochs = given.epochs, validation_data = { data.x_held, data.y_held },
    callbacks = callbacks(optimizer, given, metadata, math.ceil(#data.x / given.batch_size)),
  }
  training.plot(model:fit(loader(data, given), settings), given.plot)
  local best = assert(nn.load(given.save))
  print("best model: " .. given.save)
  return best
end

-- ---- report

--- Say how the model does on the images for testing: what it takes for what, and the accuracy.
function images.report(model, data)
  local logits = model:predict(data.x_test, { batch_size = 500 })
  local accuracy = nn.metrics.accuracy(logits, data.y_test)
  print()
  nn.plot.confusion_matrix(nn.metrics.confusion_matrix(logits, data.y_test), { classes = data.classes })
  print(("\ntest accuracy: %.2f %% of %d images"):format(100 * accuracy, #data.y_test))
end

return images
