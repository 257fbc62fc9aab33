local nn = require "nnlua"
local support = require "support"

local files = {}

local function path_for(suffix)
  local path = os.tmpname()
  files[#files + 1] = path
  files[#files + 1] = path .. suffix
  return path .. suffix
end

local function write(path, bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
end

-- A smooth picture of any size and number of channels, uint8.
local function picture(channels, height, width)
  local x = nn.arange(0, channels * height * width):float():view(channels, height, width)
  return ((x * 0.05):sin() * 100 + 128):to("uint8")
end

describe("nn.image", function()
  support.count_tensors(before_each, after_each)

  after_each(function()
    for _, path in ipairs(files) do os.remove(path) end
    files = {}
  end)

  it("writes PNG files that give the same bytes back, with 1 to 4 channels", function()
    for channels = 1, 4 do
      local x = picture(channels, 5, 7)
      local path = path_for(".png")
      assert.is_true(nn.image.save(x, path))
      assert.is_true(nn.image.load(path, { dtype = "uint8" }):equal(x))
      assert.is_true(nn.data.image(path):allclose(x:float() / 255, { rtol = 0, atol = 1e-7 }))
      assert.is_true(nn.data.image(nn.image.encode(x), { dtype = "uint8" }):equal(x))
    end
  end)

  it("writes JPEG files that are near to what they show, the nearer the better the quality", function()
    local x = (picture(1, 40, 30):float() / 255):expand(3, 40, 30)
    local function error_of(quality)
      local path = path_for(".jpg")
      nn.image.save(x, path, { quality = quality })
      return (nn.image.load(path) - x):abs():mean():item()
    end
    assert.is_true(error_of(95) < 0.02)
    assert.is_true(error_of(10) > error_of(95))
    assert.same({ 1, 8, 9 }, nn.image.decode(nn.image.encode(picture(1, 8, 9), "jpeg")).shape)
  end)

  it("keeps more of floats in 16 bits", function()
    local x = nn.rand(2, 6, 5)
    local wide = nn.image.decode(nn.image.encode(x, "png", { bits = 16 }))
    assert.is_true(wide:allclose(x, { rtol = 0, atol = 1 / 65535 }))
    local narrow = nn.image.decode(nn.image.encode(x))
    assert.is_false(narrow:allclose(x, { rtol = 0, atol = 1 / 65535 }))
    local bytes = nn.image.decode(nn.image.encode(x, "png", { bits = 16 }), { dtype = "uint8" })
    assert.is_true(bytes:equal((wide * 255):round():to("uint8")))
  end)

  it("clamps floats, and takes bool, float64, views and (H, W)", function()
    local function back(x) return nn.image.decode(nn.image.encode(x), { dtype = "uint8" }) end
    assert.same({ { { 0, 255, 128, 0 } } }, back(nn.tensor { { { -1, 2, 0.5, 0 / 0 } } }):tolist())
    assert.same({ { { 255, 0 } } }, back(nn.tensor { { true, false } }):tolist())
    assert.same({ { { 51 } } }, back(nn.tensor({ { 0.2 } }, { dtype = "float64" })):tolist())
    local x = picture(3, 5, 7)
    assert.is_true(back(x:transpose(2, 3)):equal(x:transpose(2, 3)))
    assert.is_true(back(x[{ {}, { 2, 4 }, { 1, 7, 2 } }]):equal(x[{ {}, { 2, 4 }, { 1, 7, 2 } }]))
  end)

  it("reads in the channels that are asked for", function()
    local rgba = nn.image.encode(picture(4, 3, 5))
    local function read(bytes, mode) return nn.image.decode(bytes, { mode = mode, dtype = "uint8" }) end
    local all = read(rgba, "unchanged")
    assert.same({ 4, 3, 5 }, all.shape)
    assert.is_true(read(rgba, "rgb"):equal(all:narrow(1, 1, 3)))
    local gray = read(rgba, "gray")
    local weights = nn.tensor({ 0.299, 0.587, 0.114 }):view(3, 1, 1)
    local luma = (all:narrow(1, 1, 3):float() * weights):sum(1, true)
    assert.is_true((gray:float() - luma):abs():max():item() <= 0.51)
    local from_gray = read(nn.image.encode(gray), "rgba")
    for c = 1, 3 do assert.is_true(from_gray[c]:equal(gray[1])) end
    assert.is_true(from_gray[4]:eq(255):all():item())
    local two = nn.image.encode(picture(2, 3, 5))
    assert.same({ 3, 3, 5 }, read(two, "rgb").shape)
    assert.is_true(read(two, "rgba")[4]:equal(read(two)[2]))
  end)

  support.where("integers", it, pending)("turns a picture as its EXIF data say, unless told otherwise", function()
    local x = picture(1, 2, 3)
    local plain = nn.image.encode(x, "jpeg", { quality = 100 })
    local function with(orientation)
      local tiff = "II*\0\8\0\0\0\1\0\x12\1\3\0\1\0\0\0" .. string.char(orientation) .. "\0\0\0\0\0\0\0"
      local app1 = "Exif\0\0" .. tiff
      return plain:sub(1, 2) .. "\xff\xe1" .. string.pack(">I2", #app1 + 2) .. app1 .. plain:sub(3)
    end
    local function read(orientation, orient)
      return nn.image.decode(with(orientation), { orient = orient, dtype = "uint8" })
    end
    local base = nn.image.decode(plain, { dtype = "uint8" })
    local expected = {
      base, base:flip { 3 }, base:flip { 2, 3 }, base:flip { 2 }, base:transpose(2, 3),
      base:transpose(2, 3):flip { 3 }, base:flip({ 2, 3 }):transpose(2, 3), base:transpose(2, 3):flip { 2 },
    }
    for orientation = 1, 8 do
      assert.is_true(read(orientation):equal(expected[orientation]), "orientation " .. orientation)
      assert.is_true(read(orientation, false):equal(base))
    end
    assert.is_true(read(9):equal(base))
  end)

  it("refuses what is cut off anywhere, or gives what there is of it if told to", function()
    for _, format in ipairs { "png", "jpeg" } do
      local bytes = nn.image.encode(picture(3, 20, 20), format)
      for length = 0, #bytes - 1 do
        local x, message = nn.image.decode(bytes:sub(1, length))
        assert.is_nil(x)
        assert.is_string(message)
      end
      local part = nn.image.decode(bytes:sub(1, -20), { truncated = true })
      assert.same({ 3, 20, 20 }, part.shape)
      assert.is_true(part[{ {}, { 1, 4 } }]:equal(nn.image.decode(bytes)[{ {}, { 1, 4 } }]))
    end
  end)

  it("says which file is broken, and what it is instead", function()
    local path = path_for(".png")
    local function message_of(bytes)
      write(path, bytes)
      local x, message = nn.data.image(path)
      assert.is_nil(x)
      assert.equal(path, message:sub(1, #path))
      return message
    end
    assert.matches("but GIF", message_of("GIF89a" .. ("\0"):rep(20)))
    assert.matches("nothing at all", message_of(""))
    assert.matches("ends early", message_of(nn.image.encode(picture(1, 9, 9)):sub(1, 50)))
    local missing, message = nn.data.image("no/such/picture.png")
    assert.is_nil(missing)
    assert.matches("no/such/picture.png", message)
  end)

  it("takes no memory for what a few bytes claim", function()
    local bytes = nn.image.encode(picture(1, 3, 3), "jpeg")
    local at = bytes:find("\255\192", 1, true)
    local huge = bytes:sub(1, at + 4) .. "\255\0\255\0" .. bytes:sub(at + 9)
    nn.memory()
    local x, message = nn.image.decode(huge)
    assert.is_nil(x)
    assert.matches("too few bytes", message)
    x, message = nn.image.decode(nn.image.encode(picture(1, 30, 30)), { max_pixels = 899 })
    assert.is_nil(x)
    assert.matches("30 x 30 pixels is larger than max_pixels = 899", message)
  end)

  it("leaves an old file alone where a new one cannot be written", function()
    local done, message = nn.image.save(picture(1, 2, 2), "no/such/folder/x.png")
    assert.is_nil(done)
    assert.matches("no/such/folder/x.png", message)
  end)

  it("gives the memory back after every failure", function()
    local bytes = nn.image.encode(picture(3, 9, 9))
    assert.is_true(support.fail_each(function() nn.image.decode(bytes) end) > 3)
    assert.is_true(support.fail_each(function() nn.image.encode(picture(3, 9, 9)) end) > 3)
    assert.is_true(support.fail_each(function() nn.image.encode(picture(3, 9, 9), "jpeg") end) > 3)
  end)

  it("names what is wrong with arguments", function()
    local x = picture(3, 2, 2)
    local function says(pattern, ...) assert.matches(pattern, support.message_of(...)) end
    says("nn.image.load: path: expected a string, got 5", nn.image.load, 5)
    says("unknown option \"max_pixel\".*did you mean 'max_pixels'", nn.image.load, "x.png", { max_pixel = 1 })
    says("option mode: expected one of gray rgb rgba unchanged, got \"RGB\"", nn.image.load, "x.png", { mode = "RGB" })
    says("option dtype: expected one of float32 uint8", nn.image.decode, "", { dtype = "int64" })
    says("a name that ends in .png, .jpg or .jpeg, got \"x.gif\"", nn.image.save, x, "x.gif")
    says("picture: expected a tensor", nn.image.save, 3, "x.png")
    says("quality: expected a whole number from 1 to 100", nn.image.encode, x, "jpeg", { quality = 101 })
    says("C, H, W.*got %(2%)", nn.image.encode, nn.zeros(2))
    says("C, H, W.*got %(5, 2, 2%)", nn.image.encode, nn.zeros(5, 2, 2))
    says("float32, float64, uint8 or bool, got int64", nn.image.encode, nn.zeros({ 2, 2 }, { dtype = "int64" }))
    says("1 or 3 channels, and no alpha", nn.image.encode, nn.zeros(4, 2, 2), "jpeg")
  end)
end)
