-- classify.lua: what does a picture show? Asks a model that mnist.lua, fashion_mnist.lua or cifar10.lua saved.
--
--   nnlua scripts/classify.lua mnist-cnn.safetensors digit.png [more pictures] [--top N]
--
-- The model's file says what its input has to be (size, colours, a dark background) and what the classes are called.

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local options = dofile(here .. "lib/options.lua")

local parser = options.parser(
  "Says what pictures show, by a model that mnist.lua, fashion_mnist.lua or cifar10.lua saved.")
parser:argument("model", "a file that one of these scripts saved")
parser:argument("picture", "PNG or JPEG files"):args("+")
options.add(parser, "top", options.count, "how many classes are listed, the likeliest first (default: 3)")
parser:option("--invert", "swap dark and bright (default: auto, where a bright edge is not what the model knows)")
  :choices { "auto", "yes", "no" }
options.add(parser, "save-input", nil, "write what the model is shown of the (last) picture, as PNG")
local given = options.parse(parser)

-- ---- the model

local model, metadata = nn.load(given.model)
if not model then options.fail(metadata) end
local input, classes = (metadata or {}).input, (metadata or {}).classes
if type(input) ~= "table" or type(classes) ~= "table" then
  options.fail(given.model .. ": the file does not say what its input and its classes are; was it saved by " ..
    "mnist.lua, fashion_mnist.lua or cifar10.lua?")
end

-- ---- a picture as the model wants it: (C, H, W), from 0 to 1

-- Whether the edge of a picture (1, H, W) is bright.
local function has_bright_edge(x)
  local edge = nn.cat { x[1][1], x[1][-1], x[1]:select(2, 1), x[1]:select(2, -1) }
  return edge:mean():item() > 0.5
end

local function should_invert(x)
  if given.invert == "yes" then return true end
  if given.invert == "no" or input.background ~= "dark" then return false end
  return has_bright_edge(x)
end

-- The largest side becomes `side` pixels.
local function shrink(x, side)
  local height, width = x:size(2), x:size(3)
  local scale = side / math.max(height, width)
  local function scaled(size) return math.max(1, math.floor(size * scale + 0.5)) end
  return nn.image.resize(x, { size = { scaled(height), scaled(width) } })
end

-- Zeros around, so that the pixel (row, column), fractions allowed, comes to the middle as nearly as may be.
local function place(x, row, column)
  local height, width = x:size(2), x:size(3)
  local function offset(middle, size, whole)
    return math.floor(math.min(math.max((whole + 1) / 2 - middle + 0.5, 0), whole - size))
  end
  local top, left = offset(row, height, input.height), offset(column, width, input.width)
  return nn.image.pad(x, { padding = { left, top, input.width - width - left, input.height - height - top } })
end

-- From the first to the last position where the sums are not next to nothing.
local function extent(sums, limit)
  local first, last
  for i, value in ipairs(sums:tolist()) do
    if value > limit then first, last = first or i, i end
  end
  return first or 1, last or #sums
end

local function middle_of_mass(sums)
  local total = sums:sum():item()
  if total <= 0 then return (#sums + 1) / 2 end
  return (sums * nn.range(1, #sums)):sum():item() / total
end

-- As MNIST was made: the digit without its margins in 20 x 20 pixels, its middle of mass in the middle of the picture.
local function frame_digit(x)
  local limit = 0.2 * x:max():item()
  local ink = nn.where(x:gt(limit), x, nn.zeros_like(x)):squeeze(1)
  local top, bottom = extent(ink:amax(2), limit)
  local left, right = extent(ink:amax(1), limit)
  local digit = ink:narrow(1, top, bottom - top + 1):narrow(2, left, right - left + 1):unsqueeze(1)
  local small = shrink(digit, 20)
  local flat = small:squeeze(1)
  return place(small, middle_of_mass(flat:sum(2)), middle_of_mass(flat:sum(1)))
end

local function frame_whole(x)
  local small = shrink(x, math.max(input.height, input.width))
  return place(small, (small:size(2) + 1) / 2, (small:size(3) + 1) / 2)
end

local function read(path)
  local x, problem = nn.image.load(path, { mode = input.channels == 1 and "gray" or "rgb" })
  if not x then options.fail(problem) end
  if should_invert(x) then x = 1 - x end
  if x:size(2) ~= input.height or x:size(3) ~= input.width then
    x = input.frame == "digit" and frame_digit(x) or frame_whole(x)
  end
  if given.save_input then assert(nn.image.save(x, given.save_input)) end
  if input.mean then x = nn.image.normalize(x, { mean = input.mean, std = input.std }) end
  return x:unsqueeze(1)
end

-- ---- the answers

for _, path in ipairs(given.picture) do
  local probabilities = model:predict(read(path)):softmax(-1)[1]
  local values, labels = probabilities:topk(math.min(given.top or 3, #classes))
  print(path)
  for i = 1, #values do print(("  %5.1f %%  %s"):format(100 * values[i], classes[labels[i]])) end
end
