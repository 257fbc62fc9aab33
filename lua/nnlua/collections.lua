--- nn.data.mnist, cifar10 and cifar100: the collections of images that everybody begins with, from the files that they
-- are published as. What is wrong with a file is not raised but returned: nil and a message.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local collections = {}

-- ---- options that all have

local FLOATS = { float32 = true, float64 = true, float16 = true, bfloat16 = true }
local PARTS = { train = true, test = true }

local function number_list(who, what, value)
  local list = type(value) == "table" and value or { value }
  for _, number in ipairs(list) do
    if type(number) ~= "number" then list = {} end
  end
  if #list == 0 then check.expect(who, "option normalize: " .. what, value, "a number, or a list, one a channel") end
  return list
end

-- Means and deviations as lists; true or false as they are.
local function check_normalize(who, given, dtype)
  if given == nil or type(given) == "boolean" then return given end
  if type(given) ~= "table" then check.expect(who, "option normalize", given, "true, false or {mean =, std =}") end
  if not FLOATS[dtype] then
    check.fail(who, ("option normalize: a mean and a deviation need a float dtype, not %s"):format(dtype))
  end
  return { mean = number_list(who, "mean", given.mean), std = number_list(who, "std", given.std) }
end

local common = { dtype = "string", normalize = "any", flat = "boolean", only = "string", label_dtype = "string" }

local function check_options(who, folder, given, more)
  if type(folder) ~= "string" then check.expect(who, "folder", folder, "a string") end
  local rules = {}
  for _, set in ipairs { common, more or {} } do
    for name, rule in pairs(set) do rules[name] = rule end
  end
  local options = {}
  for name, value in pairs(check.options(who, given, rules)) do options[name] = value end
  options.dtype = options.dtype or "float32"
  options.label_dtype = options.label_dtype or "int64"
  options.normalize = check_normalize(who, options.normalize, options.dtype)
  if options.only then check.choice(who, "option only", options.only, PARTS) end
  return options
end

-- ---- from bytes to what the options want

local function by_channel(who, numbers, x)
  if #numbers ~= 1 and #numbers ~= x:size(2) then
    check.fail(who, ("option normalize: %d numbers for %d channels"):format(#numbers, x:size(2)))
  end
  return core.tensor(numbers, { dtype = x.dtype }):reshape(1, #numbers, 1, 1)
end

local function prepare_images(who, bytes, options)
  local x = bytes:to(options.dtype)
  if FLOATS[options.dtype] and options.normalize ~= false then x:div_(255) end
  if type(options.normalize) == "table" then
    x:sub_(by_channel(who, options.normalize.mean, x)):div_(by_channel(who, options.normalize.std, x))
  end
  return options.flat and x:flatten(2) or x
end

-- The parts that are wanted, images and labels of each, and info. `read` gives bytes: (N, C, H, W), and (N) from 0.
local function give(who, options, info, read)
  local results = {}
  for _, part in ipairs { "train", "test" } do
    if not options.only or options.only == part then
      local images, labels = read(part)
      if not images then return nil, labels end
      results[#results + 1] = prepare_images(who, images, options)
      results[#results + 1] = labels:to(options.label_dtype):add_(1)
    end
  end
  results[#results + 1] = info
  return compat.unpack(results)
end

-- ---- finding files

-- Names of files, with "" and ".gz" behind them.
local function find_name(names, patterns)
  for _, pattern in ipairs(patterns) do
    for _, name in ipairs(names) do
      if name:gsub("%.gz$", ""):find("^" .. pattern .. "$") then return name end
    end
  end
end

-- The folder itself, or the one below it that people unpack to, which holds a file of one of the patterns.
local function find_folder(folder, below, patterns, expected)
  local _, problem = core.readers.folder(folder)
  if problem then return nil, problem end
  for _, place in ipairs(below) do
    local path = folder .. place
    local names = core.readers.folder(path)
    if names and find_name(names, patterns) then return path, names end
  end
  return nil, ("%s: there is no %s in this folder, plain or with .gz"):format(folder, expected)
end

-- The lines of a small text file, or nil.
local function read_lines(path)
  local file = io.open(path, "r")
  if not file then return nil end
  local lines = {}
  for line in file:lines() do
    line = line:gsub("%s+$", "")
    if line ~= "" then lines[#lines + 1] = line end
  end
  file:close()
  return #lines > 0 and lines or nil
end

-- ---- MNIST and those in its form

local mnist_names = {
  train = { images = "train%-images[.-]idx3%-ubyte", labels = "train%-labels[.-]idx1%-ubyte" },
  test = { images = "t10k%-images[.-]idx3%-ubyte", labels = "t10k%-labels[.-]idx1%-ubyte" },
}

local digits = { "0", "1", "2", "3", "4", "5", "6", "7", "8", "9" }
local clothes = {
  "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
}

local function read_named(path, names, pattern, ndim)
  local name = find_name(names, { pattern })
  local plain = pattern:gsub("%[%.%-%]", "-"):gsub("%%", "")
  if not name then return nil, ("%s: there is no %s in this folder, plain or with .gz"):format(path, plain) end
  local values, message = core.readers.idx(path .. "/" .. name)
  if not values then return nil, message end
  if values.ndim ~= ndim or values.dtype ~= "uint8" then
    return nil, ("%s/%s: expected bytes in %d dimensions, got %s %s"):format(
      path, name, ndim, values.dtype, check.shape(values.shape))
  end
  return values
end

local function read_mnist_part(path, names, part)
  local images, labels, message
  images, message = read_named(path, names, mnist_names[part].images, 3)
  if not images then return nil, message end
  labels, message = read_named(path, names, mnist_names[part].labels, 1)
  if not labels then return nil, message end
  if #images ~= #labels then return nil, ("%s: %d images and %d labels"):format(path, #images, #labels) end
  return images:unsqueeze(2), labels
end

local function mnist_like(who, folder, given, classes, below)
  local options = check_options(who, folder, given)
  local wanted = options.only or "train"
  local path, names = find_folder(folder, below, { mnist_names[wanted].images },
    mnist_names[wanted].images:gsub("%[%.%-%]", "-"):gsub("%%", ""))
  if not path then return nil, names end
  return give(who, options, { classes = classes }, function(part) return read_mnist_part(path, names, part) end)
end

--- Read MNIST (LeCun et al., 1998), or another collection in its form: the four files train-images-idx3-ubyte and
-- kin, plain or with .gz, in this folder or in MNIST/raw below it.
-- @param folder string
-- @param options table? dtype of the images ("float32"; "uint8" leaves the bytes as they are), normalize (true: floats
-- from 0 to 1; false: 0 to 255; {mean =, std =}: taken from 0 to 1, then (x - mean) / std), flat (false; true: (N, 784)
-- instead of (N, 1, 28, 28)), label_dtype ("int64"), only ("train" or "test": just x, y and info of that part)
-- @return x_train, y_train, x_test, y_test and info: info.classes are the names of the labels, which count from 1 (the
-- digit 0 has label 1). nil and a message where a file is missing or damaged
function collections.mnist(folder, options)
  return mnist_like("nn.data.mnist", folder, options, digits, { "", "/MNIST/raw", "/raw" })
end

--- Read Fashion-MNIST (Xiao et al., 2017): the same as nn.data.mnist, with the names of the clothes in info.classes.
function collections.fashion_mnist(folder, options)
  return mnist_like("nn.data.fashion_mnist", folder, options, clothes, { "", "/FashionMNIST/raw", "/raw" })
end

-- ---- CIFAR: records of labels and 3 x 32 x 32 bytes

local SIDE = 32
local PIXELS = 3 * SIDE * SIDE

-- One file: images, and a column of labels.
local function read_cifar_file(path, labels, column)
  local records, message = core.readers.records(path, labels + PIXELS)
  if not records then return nil, message end
  return records:narrow(2, labels + 1, PIXELS), records:select(2, column)
end

local function join(list)
  return #list == 1 and list[1] or core.cat(list, 1)
end

local function has(names, wanted)
  for _, name in ipairs(names) do
    if name == wanted then return true end
  end
  return false
end

-- All files of a part, one behind the other; of a file that is there plain and compressed, the plain one.
local function read_cifar_part(path, names, patterns, labels, column)
  local images, classes = {}, {}
  for _, name in ipairs(names) do
    local plain = name:match("^(.*)%.gz$")
    if find_name({ name }, patterns) and not (plain and has(names, plain)) then
      local x, y = read_cifar_file(path .. "/" .. name, labels, column)
      if not x then return nil, y end
      images[#images + 1], classes[#classes + 1] = x, y
    end
  end
  if #images == 0 then return nil, ("%s: there is no %s in this folder"):format(path, patterns.expected) end
  local x = join(images)
  return x:reshape(#x, 3, SIDE, SIDE), join(classes)
end

local function check_classes(path, read, classes)
  return function(part)
    local x, y = read(part)
    if not x then return nil, y end
    local most = y:max():item()
    if classes and most >= #classes then
      return nil, ("%s: label %d where there are %d classes: no such files"):format(path, most, #classes)
    end
    return x, y
  end
end

local function cifar(who, folder, options, kind)
  local path, names = find_folder(folder, kind.below, { compat.unpack(kind[options.only or "train"]) },
    kind[options.only or "train"].expected)
  if not path then return nil, names end
  local classes = read_lines(path .. "/" .. kind.names) or kind.classes
  local function read(part) return read_cifar_part(path, names, kind[part], kind.labels, kind.column) end
  return give(who, options, { classes = classes }, check_classes(path, read, classes))
end

local cifar10 = {
  below = { "", "/cifar-10-batches-bin" }, labels = 1, column = 1, names = "batches.meta.txt",
  train = { "data_batch_%d+%.bin", "train[%w_]*%.bin", expected = "data_batch_1.bin or train.bin" },
  test = { "test[%w_]*%.bin", expected = "test_batch.bin or test.bin" },
  classes = { "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck" },
}

--- Read CIFAR-10 (Krizhevsky, 2009) in its binary form: data_batch_1.bin and kin with test_batch.bin, or train*.bin
-- with test*.bin, plain or with .gz, in this folder or in cifar-10-batches-bin below it.
-- @param folder string
-- @param options table? those of nn.data.mnist; means and deviations of `normalize` may be lists, one a channel
-- @return x_train (N, 3, 32, 32), y_train, x_test, y_test and info: info.classes are the names of the labels, which
-- count from 1. nil and a message where a file is missing or damaged
function collections.cifar10(folder, options)
  return cifar("nn.data.cifar10", folder, check_options("nn.data.cifar10", folder, options), cifar10)
end

local cifar100 = {
  fine = { labels = 2, column = 2, names = "fine_label_names.txt" },
  coarse = { labels = 2, column = 1, names = "coarse_label_names.txt" },
}
for _, kind in pairs(cifar100) do
  kind.below = { "", "/cifar-100-binary" }
  kind.train = { "train[%w_]*%.bin", expected = "train.bin" }
  kind.test = { "test[%w_]*%.bin", expected = "test.bin" }
end

--- Read CIFAR-100 in its binary form: train.bin and test.bin. As nn.data.cifar10.
-- @param options table? also coarse (false: the 100 classes; true: the 20 that these belong to)
function collections.cifar100(folder, options)
  local who = "nn.data.cifar100"
  options = check_options(who, folder, options, { coarse = "boolean" })
  return cifar(who, folder, options, options.coarse and cifar100.coarse or cifar100.fine)
end

return collections
