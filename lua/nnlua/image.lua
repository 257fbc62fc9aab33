--- nn.image: pictures as tensors (C, H, W): reading, writing, and what is done to them before training.

local core = require "nnlua.core"
local check = require "nnlua.check"
local transforms = require "nnlua.transforms"

local image = {}
for name, transform in pairs(transforms) do image[name] = transform end

-- ---- reading

local read_options = {
  mode = "string", dtype = "string", orient = "boolean", truncated = "boolean", max_pixels = "count",
}
local modes = { unchanged = true, gray = true, rgb = true, rgba = true }
local dtypes = { float32 = true, uint8 = true }

--- The options of a picture's reader, checked: what core.image_load takes behind its first argument.
function image._reading(who, options)
  options = check.options(who, options, read_options)
  if options.mode then check.choice(who, "option mode", options.mode, modes) end
  if options.dtype then check.choice(who, "option dtype", options.dtype, dtypes) end
  return options.mode, options.dtype, options.orient, options.truncated, options.max_pixels
end

--- Read a PNG or JPEG file.
-- @param path string
-- @param options table? mode ("unchanged": the file's own channels, 1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha;
-- or "gray", "rgb", "rgba"), dtype ("float32": 0 to 1; "uint8": 0 to 255), orient (true: turned as the EXIF data
-- say), truncated (false; true: what there is of a damaged file), max_pixels (2^27: more is refused)
-- @return tensor (C, H, W); nil and a message where the file cannot be read
function image.load(path, options)
  if type(path) ~= "string" then check.expect("nn.image.load", "path", path, "a string") end
  return core.image_load(path, image._reading("nn.image.load", options))
end

--- The same from the bytes of a file.
-- @param bytes string
function image.decode(bytes, options)
  if type(bytes) ~= "string" then check.expect("nn.image.decode", "bytes", bytes, "a string") end
  return core.image_decode(bytes, image._reading("nn.image.decode", options))
end

--- Whether a string is the bytes of a picture rather than a path.
local function is_picture(text)
  return text:sub(1, 4) == "\137PNG" or text:sub(1, 3) == "\255\216\255"
end

--- nn.data.image: from a file, or from its bytes.
function image._read(source, options)
  local who = "nn.data.image"
  if type(source) ~= "string" then check.expect(who, "path", source, "a string, a path or the bytes of a file") end
  local read = is_picture(source) and core.image_decode or core.image_load
  return read(source, image._reading(who, options))
end

-- ---- writing

local write_options = { quality = "count", level = "whole", bits = "count" }
local formats = { png = "png", jpeg = "jpeg", jpg = "jpeg" }

local function within(who, options, name, low, high)
  local value = options[name]
  if value and (value < low or value > high) then
    check.expect(who, "option " .. name, value, ("a whole number from %d to %d"):format(low, high))
  end
end

local function encode(who, tensor, format, options)
  check.tensor(who, "picture", tensor)
  options = check.options(who, options, write_options)
  within(who, options, "quality", 1, 100)
  within(who, options, "level", 0, 9)
  if options.bits and options.bits ~= 8 and options.bits ~= 16 then
    check.expect(who, "option bits", options.bits, "8 or 16")
  end
  return core.image_encode(tensor, format, options.quality, options.level, options.bits)
end

--- A picture as the bytes of a file.
-- @param tensor (C, H, W) with 1 to 4 channels (JPEG: 1 or 3), or (H, W); floats from 0 to 1, others are clamped;
-- uint8 from 0 to 255; or bool
-- @param format string? "png" (the default) or "jpeg"
-- @param options table? quality (90: of a JPEG, 1 to 100), level (6: of a PNG's compression, 0 to 9), bits (8: of a
-- PNG's channel; 16 keeps more of floats)
-- @return string
function image.encode(tensor, format, options)
  local who = "nn.image.encode"
  return encode(who, tensor, check.choice(who, "format", format or "png", formats), options)
end

--- Write a picture. The file is whole at any time: an old one stays until the new one is.
-- @param tensor as for nn.image.encode
-- @param path string its end says the format: .png, .jpg or .jpeg
-- @param options table? as for nn.image.encode
-- @return true; nil and a message where it cannot be written
function image.save(tensor, path, options)
  local who = "nn.image.save"
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
  local format = formats[(path:match("%.(%w+)$") or ""):lower()]
  if not format then check.expect(who, "path", path, "a name that ends in .png, .jpg or .jpeg") end
  return core.write_file(path, encode(who, tensor, format, options))
end

return image
