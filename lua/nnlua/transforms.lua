--- What is done to pictures before training: nn.image.NAME(picture, ...) does it at once, nn.image.NAME(...) without a
-- picture is a transform, to be called later or given to a DataLoader, whose threads then do it in C.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local transforms = {}

-- ---- values of options

local function fail(who, name, value, expected) check.expect(who, "option " .. name, value, expected) end

local function is_count(value) return compat.is_whole(value) and value >= 1 end

local function whole_list(value, low, high, least)
  if type(value) ~= "table" or #value < low or #value > high then return false end
  for _, each in ipairs(value) do
    if not compat.is_whole(each) or each < least then return false end
  end
  return true
end

-- Height and width; `alone` is the width where one number is given (nil: the same).
local function size(who, value, alone)
  if is_count(value) then return value, alone or value end
  if not whole_list(value, 2, 2, 1) then fail(who, "size", value, "a whole number from 1, or {height, width}") end
  return value[1], value[2]
end

-- Left, top, right, bottom.
local function padding(who, value)
  if compat.is_whole(value) and value >= 0 then return value, value, value, value end
  if whole_list(value, 2, 2, 0) then return value[1], value[2], value[1], value[2] end
  if not whole_list(value, 4, 4, 0) then
    fail(who, "padding", value, "a whole number from 0, {left and right, top and bottom} or {left, top, right, bottom}")
  end
  return value[1], value[2], value[3], value[4]
end

local function number(who, name, value, low, high)
  if type(value) ~= "number" or value ~= value or value < low or value > high then
    fail(who, name, value, ("a number from %g to %g"):format(low, high))
  end
  return value
end

-- Two numbers, the second not below the first.
local function range(who, name, value, low, high)
  local good = type(value) == "table" and #value == 2
  if not good then fail(who, name, value, "a list of two numbers, from and to") end
  number(who, name, value[1], low, high)
  number(who, name, value[2], low, high)
  if value[1] > value[2] then fail(who, name, value[1], ("at most %g"):format(value[2])) end
  return value[1], value[2]
end

-- A number stands for the range around the middle.
local function around(who, name, value, middle, most)
  if type(value) ~= "number" then return range(who, name, value, middle - most, middle + most) end
  number(who, name, value, 0, most)
  return middle - value, middle + value
end

local function factor(who, name, value)
  if type(value) ~= "number" then return range(who, name, value, 0, math.huge) end
  number(who, name, value, 0, math.huge)
  return math.max(0, 1 - value), 1 + value
end

local function word(who, name, value, words)
  for position, each in ipairs(words) do
    if each == value then return position - 1 end
  end
  fail(who, name, value, "one of " .. table.concat(words, ", "))
end

local function flag(value) return value and 1 or 0 end

local borders = { "constant", "edge", "reflect", "wrap" }
local kernels = { "nearest", "bilinear", "bicubic" }
local any = "any"

local function antialias(o) return flag(o.antialias ~= false) end

local function per_channel(who, name, value)
  if type(value) == "number" then value = { value } end
  if type(value) ~= "table" or #value < 1 or #value > 4 then
    fail(who, name, value, "a number, or a list of one for each channel")
  end
  for _, each in ipairs(value) do number(who, name, each, -math.huge, math.huge) end
  return value
end

local function normalizing(who, o)
  local mean, std = per_channel(who, "mean", o.mean), per_channel(who, "std", o.std)
  if #mean ~= #std then
    check.fail(who, ("mean and std must have as many numbers, got %d and %d"):format(#mean, #std))
  end
  local numbers = { #mean, 0, 0, 0, 0, 1, 1, 1, 1 }
  for k = 1, #mean do
    if std[k] == 0 then fail(who, "std", 0, "a number other than 0") end
    numbers[1 + k], numbers[5 + k] = mean[k], std[k]
  end
  return numbers
end

local function turning(who, o, low, high)
  local shift = o.translate or { 0, 0 }
  if type(shift) ~= "table" or #shift ~= 2 then fail(who, "translate", shift, "a list of two numbers") end
  local scale_low, scale_high = range(who, "scale", o.scale or { 1, 1 }, 1e-6, math.huge)
  local shear_low, shear_high = around(who, "shear", o.shear or 0, 0, 89)
  return {
    low, high, number(who, "translate", shift[1], 0, 1), number(who, "translate", shift[2], 0, 1),
    scale_low, scale_high, shear_low, shear_high,
    word(who, "mode", o.mode or "bilinear", { "nearest", "bilinear" }), flag(o.expand), o.value or 0,
  }
end

local function probability(who, o, default) return number(who, "p", o.p or default, 0, 1) end

-- ---- the transforms: `doc` is for help, `order` are the options that may stand alone, in this order; `needs` must
-- be given; `step` is the engine's name, `numbers` what it takes; `random` says that samples differ.

local declared = {
  resize = {
    doc = "The picture in another size: {height, width}, or a number for the shorter side.",
    order = { "size" }, needs = { "size" }, options = { size = any, mode = "string", antialias = "boolean" },
    step = "resize",
    numbers = function(who, o)
      local height, width = size(who, o.size, 0)
      return { height, width, word(who, "mode", o.mode or "bilinear", kernels), antialias(o) }
    end,
  },
  crop = {
    doc = "The part that begins at a row and column, counted from 1.",
    order = { "top", "left", "height", "width" }, needs = { "top", "left", "height", "width" },
    options = { top = "count", left = "count", height = "count", width = "count" }, step = "crop",
    numbers = function(_, o) return { o.top - 1, o.left - 1, o.height, o.width } end,
  },
  center_crop = {
    doc = "The middle, of a height and width.",
    order = { "size" }, needs = { "size" }, options = { size = any }, step = "center_crop",
    numbers = function(who, o) return { size(who, o.size) } end,
  },
  pad = {
    doc = "More rows and columns around: a number, {left and right, top and bottom}, or {left, top, right, bottom}.",
    order = { "padding" }, needs = { "padding" }, options = { padding = any, mode = "string", value = "number" },
    step = "pad",
    numbers = function(who, o)
      local left, top, right, bottom = padding(who, o.padding)
      return { left, top, right, bottom, word(who, "mode", o.mode or "constant", borders), o.value or 0 }
    end,
  },
  flip = {
    doc = 'Mirrored: "horizontal", left for right, or "vertical".',
    order = { "direction" }, needs = {}, options = { direction = "string" }, step = "flip",
    numbers = function(who, o)
      return { word(who, "direction", o.direction or "horizontal", { "horizontal", "vertical" }), 1 }
    end,
  },
  rotate = {
    doc = "Turned by an angle in degrees.",
    order = { "angle" }, needs = { "angle" },
    options = { angle = "number", mode = "string", expand = "boolean", value = "number" }, step = "affine",
    numbers = function(who, o) return turning(who, o, o.angle, o.angle) end,
  },
  normalize = {
    doc = "(x - mean) / std: numbers, or lists of one for each channel.",
    order = { "mean", "std" }, needs = { "mean", "std" }, options = { mean = any, std = any }, step = "normalize",
    numbers = normalizing,
  },
  to_gray = {
    doc = "Brightness alone, in 1 channel or the same in 3.",
    order = { "channels" }, needs = {}, options = { channels = "count" }, step = "to_gray",
    numbers = function(who, o)
      if o.channels and o.channels ~= 1 and o.channels ~= 3 then fail(who, "channels", o.channels, "1 or 3") end
      return { o.channels or 1, 1 }
    end,
  },
  to_float = {
    doc = "Bytes from 0 to 255 as float32 from 0 to 1.",
    order = {}, needs = {}, options = {}, step = "convert", numbers = function() return { 0 } end,
  },
  to_uint8 = {
    doc = "Floats from 0 to 1 as bytes from 0 to 255.",
    order = {}, needs = {}, options = {}, step = "convert", numbers = function() return { 1 } end,
  },
  random_crop = {
    doc = "A part at a random place, after padding.",
    order = { "size", "padding" }, needs = { "size" }, random = true,
    options = { size = any, padding = any, mode = "string", value = "number" }, step = "random_crop",
    numbers = function(who, o)
      local height, width = size(who, o.size)
      local left, top, right, bottom = padding(who, o.padding or 0)
      local mode = word(who, "mode", o.mode or "constant", borders)
      return { height, width, left, top, right, bottom, mode, o.value or 0 }
    end,
  },
  random_resized_crop = {
    doc = "A part of random size and proportions (Szegedy et al. 2015), brought to one size.",
    order = { "size" }, needs = { "size" }, random = true,
    options = { size = any, scale = any, ratio = any, mode = "string", antialias = "boolean" },
    step = "random_resized_crop",
    numbers = function(who, o)
      local height, width = size(who, o.size)
      local least, most = range(who, "scale", o.scale or { 0.08, 1 }, 1e-9, 1)
      local low, high = range(who, "ratio", o.ratio or { 3 / 4, 4 / 3 }, 1e-6, 1e6)
      return { height, width, least, most, low, high, word(who, "mode", o.mode or "bilinear", kernels), antialias(o) }
    end,
  },
  random_flip = {
    doc = "Mirrored with the probability p (0.5).",
    order = { "p" }, needs = {}, random = true, options = { p = "number", direction = "string" }, step = "flip",
    numbers = function(who, o)
      local direction = word(who, "direction", o.direction or "horizontal", { "horizontal", "vertical" })
      return { direction, probability(who, o, 0.5) }
    end,
  },
  random_rotation = {
    doc = "Turned by a random angle: a range {from, to} in degrees, or a number for both directions.",
    order = { "degrees" }, needs = { "degrees" }, random = true,
    options = { degrees = any, mode = "string", expand = "boolean", value = "number" }, step = "affine",
    numbers = function(who, o) return turning(who, o, around(who, "degrees", o.degrees, 0, 360)) end,
  },
  random_affine = {
    doc = "Turned, moved, scaled and sheared, each by random amounts within a range.",
    order = { "degrees" }, needs = { "degrees" }, random = true,
    options = { degrees = any, translate = any, scale = any, shear = any, mode = "string", value = "number" },
    step = "affine",
    numbers = function(who, o) return turning(who, o, around(who, "degrees", o.degrees, 0, 360)) end,
  },
  random_erasing = {
    doc = "A random rectangle is wiped out, with the probability p (0.5) (Zhong et al. 2017).",
    order = { "p" }, needs = {}, random = true, options = { p = "number", scale = any, ratio = any, value = "number" },
    step = "random_erasing",
    numbers = function(who, o)
      local least, most = range(who, "scale", o.scale or { 0.02, 0.33 }, 0, 1)
      local low, high = range(who, "ratio", o.ratio or { 0.3, 3.3 }, 1e-6, 1e6)
      return { probability(who, o, 0.5), least, most, low, high, o.value or 0 }
    end,
  },
  random_gray = {
    doc = "Brightness alone with the probability p (0.1).",
    order = { "p" }, needs = {}, random = true, options = { p = "number" }, step = "to_gray",
    numbers = function(who, o) return { 0, probability(who, o, 0.1) } end,
  },
  color_jitter = {
    doc = "Brightness, contrast and saturation times a random factor, hue moved: numbers, or ranges {from, to}.",
    order = { "brightness", "contrast", "saturation", "hue" }, needs = {}, random = true,
    options = { brightness = any, contrast = any, saturation = any, hue = any }, step = "color_jitter",
    numbers = function(who, o)
      local numbers = {}
      for k, name in ipairs { "brightness", "contrast", "saturation" } do
        numbers[2 * k - 1], numbers[2 * k] = factor(who, name, o[name] or 0)
      end
      numbers[7], numbers[8] = around(who, "hue", o.hue or 0, 0, 0.5)
      return numbers
    end,
  },
}

-- ---- transforms as values

local Transform = {}
Transform.__index = Transform

--- The engine's steps; nil where a Lua function is among them.
function Transform:compiled()
  if self.functions then return nil end
  if not self.steps_of_core then self.steps_of_core = core.feed.steps(self.steps) end
  return self.steps_of_core
end

--- transform(picture): a new tensor; (C, H, W), (H, W), or (N, C, H, W), each with random numbers of its own.
function Transform:__call(picture, ...)
  if self.functions then
    for _, each in ipairs(self.functions) do picture = each(picture) end
    return picture, ...
  end
  check.tensor(self.name, "picture", picture)
  return core.feed.apply(self:compiled(), picture, self.random), ...
end

function Transform:__tostring() return self.text end

--- Whether a value is a transform.
function transforms.is_transform(value) return getmetatable(value) == Transform end

local function show(value)
  if type(value) ~= "table" then return type(value) == "string" and ("%q"):format(value) or tostring(value) end
  local items = {}
  for i, each in ipairs(value) do items[i] = show(each) end
  return "{" .. table.concat(items, ", ") .. "}"
end

local function text_of(name, declaration, options)
  local list, names = {}, {}
  for key in pairs(options) do names[#names + 1] = key end
  table.sort(names)
  for i, key in ipairs(names) do list[i] = key .. " = " .. show(options[key]) end
  local one = declaration.order[1]
  if #names == 1 and names[1] == one then return ("%s(%s)"):format(name, show(options[one])) end
  return ("%s(%s)"):format(name, #list > 0 and "{" .. table.concat(list, ", ") .. "}" or "")
end

-- Whether the last argument is a table of options rather than a list.
local function is_options(value)
  return type(value) == "table" and not core.is_tensor(value) and #value == 0
end

local function read_options(who, declaration, arguments)
  local count, options = arguments.n, {}
  while count > 0 and arguments[count] == nil do count = count - 1 end
  if count > 0 and is_options(arguments[count]) then
    for key, value in pairs(arguments[count]) do options[key] = value end
    count = count - 1
  end
  if count > #declaration.order then
    check.fail(who, ("expected at most %d arguments before the table of options, got %d"):format(
      #declaration.order, count))
  end
  for i = 1, count do
    if arguments[i] ~= nil then options[declaration.order[i]] = arguments[i] end
  end
  check.options(who, options, declaration.options)
  for _, name in ipairs(declaration.needs) do
    if options[name] == nil then check.fail(who, ("'%s' is required"):format(name)) end
  end
  return options
end

local function make(name, declaration, arguments)
  local who = "nn.image." .. name
  local options = read_options(who, declaration, arguments)
  local step = { declaration.step }
  for i, each in ipairs(declaration.numbers(who, options)) do step[i + 1] = each end
  local text = text_of(name, declaration, options)
  return setmetatable({ name = who, steps = { step }, random = declaration.random or false, text = text }, Transform)
end

for name, declaration in pairs(declared) do
  transforms[name] = function(first, ...)
    if core.is_tensor(first) then return make(name, declaration, compat.pack(...))(first) end
    return make(name, declaration, compat.pack(first, ...))
  end
  check.declarations[transforms[name]] = {
    kind = "transform", doc = declaration.doc, leading = "[picture]", arguments = declaration.order,
    options = declaration.options,
  }
end

--- One transform of several, one after another: nn.image.compose{nn.image.resize(64), nn.image.random_flip(), ...}. Lua
-- functions may be among them; the whole then runs on the caller's thread.
-- @param list of transforms and functions of a picture
function transforms.compose(list)
  local who = "nn.image.compose"
  if type(list) ~= "table" or transforms.is_transform(list) then
    check.expect(who, "list", list, "a list of transforms")
  end
  local steps, texts, random, mixed = {}, {}, false, false
  for i, each in ipairs(list) do
    if transforms.is_transform(each) then
      for _, step in ipairs(each.steps or {}) do steps[#steps + 1] = step end
      random, mixed = random or each.random, mixed or each.functions ~= nil
    elseif type(each) == "function" then
      mixed = true
    else
      check.expect(who, "item " .. i, each, "a transform or a function")
    end
    texts[i] = tostring(each)
  end
  local text = "compose{" .. table.concat(texts, ", ") .. "}"
  local made = { name = who, steps = not mixed and steps or nil, random = random, text = text }
  made.functions = mixed and list or nil
  return setmetatable(made, Transform)
end

return transforms
