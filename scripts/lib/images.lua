--- images.lua: what the scripts that learn to name images have in common: their options, the data, the training with
-- its callbacks, and the report. The network and the recipe are in the script itself.

local nn = require "nnlua"

local folder = arg[0]:match("^(.*[/\\])") or ""
local options = dofile(folder .. "lib/options.lua")

local images = { fail = options.fail }

-- ---- the command line

-- "20, cnn: 8": the default of each network, or the one that all share.
local function default_text(recipes, name)
  local texts = {}
  for i, network in ipairs(recipes) do
    texts[i] = #recipes == 1 and ("%g"):format(network[name]) or ("%s: %g"):format(network.name, network[name])
  end
  return "default: " .. table.concat(texts, ", ")
end

local function names_of(recipes)
  local names = {}
  for i, recipe in ipairs(recipes) do names[i] = recipe.name end
  return names
end

--- Read the command line.
-- @param spec table: script (a short name, for files), about, collection (name of the folder below NNLUA_DATA),
-- recipes: a list of {name =, epochs =, batch_size =, lr =, validation =, and what else images.train reads}, the first
-- being the default network
-- @return table of options; the chosen recipe is its field `recipe`
function images.options(spec)
  local recipes = spec.recipes
  local parser = options.parser(spec.about)
  parser:argument("folder", "where the images are (default: $NNLUA_DATA/" .. spec.collection .. ")"):args("?")
  if #recipes > 1 then
    parser:option("--model", ("the network (default: %s)"):format(recipes[1].name)):choices(names_of(recipes))
  end
  local function add(name, kind, text, key)
    options.add(parser, name, kind, ("%s (%s)"):format(text, default_text(recipes, key or name)))
  end
  add("epochs", options.count, "how often all images are seen")
  add("batch-size", options.count, "images in a step", "batch_size")
  add("lr", options.positive, "the highest learning rate")
  add("validation", options.count, "training images held out, by which the best epoch is chosen")
  options.add(parser, "seed", options.whole, "first random number (default: 1)")
  options.add(parser, "threads", options.count, "processor cores to use (default: all)")
  options.add(parser, "save", nil, ("the model (default: %s.safetensors)"):format(
    spec.script .. (#recipes > 1 and "-MODEL" or "")))
  options.add(parser, "plot", nil, "the curves, .png or .svg (default: the model's name with .svg)")
  parser:flag("--resume", "go on where the last run was cut off")
  return images.complete(options.parse(parser), spec)
end

--- What was not given gets its default.
function images.complete(given, spec)
  local recipe = spec.recipes[1]
  for _, each in ipairs(spec.recipes) do
    if each.name == given.model then recipe = each end
  end
  for _, name in ipairs { "epochs", "batch_size", "lr", "validation" } do given[name] = given[name] or recipe[name] end
  local data = os.getenv("NNLUA_DATA")
  given.folder = given.folder or data and data .. "/" .. spec.collection
  given.recipe, given.seed = recipe, given.seed or 1
  given.save = given.save or spec.script .. (#spec.recipes > 1 and "-" .. recipe.name or "") .. ".safetensors"
  given.plot = given.plot or given.save:gsub("%.safetensors$", "") .. ".svg"
  given.backup = given.save:gsub("%.safetensors$", "") .. ".backup"
  if given.threads then nn.set_num_threads(given.threads) end
  nn.manual_seed(given.seed)
  return given
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
    options.fail("no folder with images was given, and the environment variable NNLUA_DATA is not set\n" .. help)
  end
  local x, y, x_test, y_test, info = read(given.folder, reading)
  if not x then options.fail(y .. "\n" .. help) end
  if given.validation >= #x then
    options.fail(("--validation: there are only %d images to train with"):format(#x), 2)
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

-- A curve without a renderer is no reason to lose a result.
local function plot(history, path)
  local fine, problem = pcall(history.plot, history, path)
  if fine then
    print("curves: " .. path)
  else
    print("no curves: " .. tostring(problem))
  end
end

local function callbacks(optimizer, given, metadata, steps)
  local schedule = nn.optim.lr_scheduler.OneCycleLR(optimizer, given.lr, { total_steps = steps * given.epochs + 1 })
  return {
    nn.callbacks.LearningRateScheduler(schedule, { every = "batch" }),
    nn.callbacks.ModelCheckpoint(given.save, { monitor = "val_accuracy", save_best_only = true, metadata = metadata }),
    nn.callbacks.BackupAndRestore(given.backup),
  }
end

local function prepare_backup(given)
  local file = io.open(given.backup, "rb")
  if file then file:close() end
  if given.resume and not file then
    print("nothing to resume (there is no " .. given.backup .. "): beginning with the first epoch")
  elseif file and not given.resume then
    os.remove(given.backup)
  end
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
  prepare_backup(given)
  local settings = {
    epochs = given.epochs, validation_data = { data.x_held, data.y_held },
    callbacks = callbacks(optimizer, given, metadata, math.ceil(#data.x / given.batch_size)),
  }
  plot(model:fit(loader(data, given), settings), given.plot)
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
