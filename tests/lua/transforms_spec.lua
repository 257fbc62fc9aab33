local nn = require "nnlua"
local support = require "support"

local image = nn.image

local function ramp(channels, height, width)
  return nn.arange(0, channels * height * width):float():view(channels, height, width)
end

local function says(pattern, ...) assert.matches(pattern, support.message_of(...)) end

describe("transforms of nn.image", function()
  support.count_tensors(before_each, after_each)

  it("work at once on a picture, and later as values that say what they are", function()
    local x = nn.rand(3, 6, 8)
    local half = image.resize { 3, 4 }
    assert.is_true(half(x):equal(image.resize(x, { 3, 4 })))
    assert.equal("resize({3, 4})", tostring(half))
    local all = image.compose { half, image.flip(), image.normalize(0.5, 2) }
    assert.equal("compose{resize({3, 4}), flip(), normalize({mean = 0.5, std = 2})}", tostring(all))
    assert.is_true(all(x):allclose((half(x):flip { 3 } - 0.5) / 2))
    local mixed = image.compose { half, function(t) return t * 2 end, image.flip() }
    assert.is_true(mixed(x):allclose(half(x):flip { 3 } * 2))
  end)

  it("take (H, W), (C, H, W), batches, views, and pictures of bytes", function()
    local x = (nn.rand(4, 3, 6, 8) * 255):to("uint8")
    local cut = image.crop(2, 3, 4, 5)
    assert.is_true(cut(x):equal(x[{ {}, {}, { 2, 5 }, { 3, 7 } }]))
    assert.is_true(cut(x[1]):equal(x[{ 1, {}, { 2, 5 }, { 3, 7 } }]))
    assert.same({ 4, 5 }, cut(x[1][1]).shape)
    assert.is_true(cut(x:transpose(3, 4):contiguous():transpose(3, 4)):equal(cut(x)))
    assert.equal("uint8", image.resize(x, 3).dtype)
    assert.same({ 4, 3, 3, 4 }, image.resize(x, 3).shape)
    assert.same({ 1, 6, 8 }, image.to_gray(x[1]).shape)
  end)

  it("resize as PyTorch's interpolate does", function()
    local x = ramp(1, 2, 3)
    support.assert_tensor(image.resize(x, { 3, 2 }, { mode = "nearest" }), { 1, 3, 2 }, { 0, 1, 0, 1, 3, 4 })
    support.assert_tensor(image.resize(x, { 3, 2 }, { antialias = false }), { 1, 3, 2 },
      { 0.25, 1.75, 1.75, 3.25, 3.25, 4.75 }, 1e-6)
    support.assert_tensor(image.resize(x, { 1, 2 }), { 1, 1, 2 }, { 1.875, 3.125 }, 1e-5)
    support.assert_tensor(image.resize(x, { 3, 2 }, { mode = "bicubic", antialias = false }), { 1, 3, 2 },
      { -0.069010, 1.548177, 1.691406, 3.308594, 3.451823, 5.069010 }, 1e-5)
    for _, mode in ipairs { "nearest", "bilinear", "bicubic" } do
      for _, antialias in ipairs { true, false } do
        for _, size in ipairs { { 1, 1 }, { 5, 2 }, { 40, 1 }, { 7, 31 } } do
          local same = image.resize(nn.full({ 2, 6, 7 }, 3.5), size, { mode = mode, antialias = antialias })
          assert.is_true(same:allclose(nn.full({ 2, size[1], size[2] }, 3.5)))
        end
      end
    end
    assert.same({ 3, 5, 8 }, image.resize(nn.rand(3, 50, 80), 5).shape)
    assert.same({ 3, 8, 5 }, image.resize(nn.rand(3, 80, 50), 5).shape)
  end)

  it("pad with every kind of border, and crop the middle", function()
    local x = nn.tensor { { { 1, 2, 3 } } }
    local function padded(mode, value) return image.pad(x, { 2, 0 }, { mode = mode, value = value }):tolist()[1][1] end
    assert.same({ 9, 9, 1, 2, 3, 9, 9 }, padded("constant", 9))
    assert.same({ 1, 1, 1, 2, 3, 3, 3 }, padded("edge"))
    assert.same({ 3, 2, 1, 2, 3, 2, 1 }, padded("reflect"))
    assert.same({ 2, 3, 1, 2, 3, 1, 2 }, padded("wrap"))
    assert.same({ { { 0, 2, 0 } } }, image.pad(image.crop(x, 1, 2, 1, 1), { 1, 0, 1, 0 }):tolist())
    local y = ramp(1, 5, 4)
    assert.is_true(image.center_crop(y, { 3, 2 }):equal(y[{ {}, { 2, 4 }, { 2, 3 } }]))
    assert.is_true(image.center_crop(y, { 7, 6 }):equal(image.pad(y, 1)))
    says("too small for so wide a border", image.pad, x, 3, { mode = "reflect" })
  end)

  it("turn pictures about their middle", function()
    local x = ramp(2, 5, 5)
    assert.is_true(image.rotate(x, 90):allclose(x:transpose(2, 3):flip { 2 }, { atol = 1e-4 }))
    assert.is_true(image.rotate(x, 180):allclose(x:flip { 2, 3 }, { atol = 1e-4 }))
    assert.is_true(image.rotate(x, 0):equal(x))
    assert.same({ 2, 9, 9 }, image.rotate(x, 45, { expand = true }).shape)
    assert.equal(7, image.rotate(x, 45, { value = 7, mode = "nearest" })[1][1][1])
    assert.is_true(image.flip(x, "vertical"):equal(x:flip { 2 }))
  end)

  it("change types and colours", function()
    local x = nn.tensor({ { { 0, 255 } }, { { 51, 102 } }, { { 255, 0 } } }, { dtype = "uint8" })
    support.assert_tensor(image.to_float(x), { 3, 1, 2 }, { 0, 1, 0.2, 0.4, 1, 0 }, 1e-7)
    assert.is_true(image.to_uint8(image.to_float(x)):equal(x))
    assert.is_true(image.normalize(x, { 0, 0.2, 0.5 }, { 1, 2, 0.5 }):allclose(
      nn.tensor { { { 0, 1 } }, { { 0, 0.1 } }, { { 1, -1 } } }))
    local y = image.to_float(x)
    support.assert_tensor(image.to_gray(y), { 1, 1, 2 }, { 0.2 * 0.587 + 0.114, 0.2989 + 0.4 * 0.587 }, 1e-6)
    local function jittered(options) return image.color_jitter(options)(y) end
    assert.is_true(jittered { brightness = { 0.5, 0.5 } }:allclose(y * 0.5))
    assert.is_true(jittered { saturation = { 0, 0 } }:allclose(image.to_gray(y, 3), { atol = 1e-6 }))
    local gray = nn.full({ 3, 1, 2 }, image.to_gray(y):mean():item())
    assert.is_true(jittered { contrast = { 0, 0 } }:allclose(gray, { atol = 1e-6 }))
    support.assert_tensor(jittered { hue = { 0.5, 0.5 } }, { 3, 1, 2 }, { 1, 0, 0.8, 0.6, 0, 1 }, 1e-5)
    assert.is_true(jittered {}:equal(y))
  end)

  it("draw what is random from nn's generator, for each picture of a batch by itself", function()
    local x = ramp(1, 9, 9):expand(40, 1, 9, 9)
    for _, transform in ipairs {
      image.random_crop(6), image.random_crop(9, 2), image.random_flip(), image.random_rotation(30),
      image.random_resized_crop(5), image.random_erasing(0.9, { value = -1 }), image.color_jitter { brightness = 0.5 },
      image.random_affine(10, { translate = { 0.1, 0.2 }, scale = { 0.8, 1.2 }, shear = 5 }),
      image.random_flip { p = 0.5, direction = "vertical" },
    } do
      local function run(seed)
        nn.manual_seed(seed)
        return transform(x / 81)
      end
      assert.is_true(run(3):equal(run(3)), tostring(transform))
      assert.is_false(run(3):equal(run(4)), tostring(transform))
      local first, differ = run(3), false
      for i = 2, 40 do differ = differ or not first[i]:equal(first[1]) end
      assert.is_true(differ, tostring(transform))
    end
  end)

  it("crop at every place as often, and flip half of the time", function()
    local x = ramp(1, 4, 4):expand(6000, 1, 4, 4)
    local corners = image.random_crop(x, 2)[{ {}, 1, 1, 1 }]
    for _, corner in ipairs { 0, 1, 2, 4, 5, 6, 8, 9, 10 } do
      local share = corners:eq(corner):sum():item() / 6000
      assert.is_true(math.abs(share - 1 / 9) < 0.02, ("%d: %g"):format(corner, share))
    end
    local flipped = image.random_flip(x, 0.25)[{ {}, 1, 1, 1 }]:eq(3):sum():item() / 6000
    assert.is_true(math.abs(flipped - 0.25) < 0.03)
    assert.is_true(image.random_flip(x, 0):equal(x))
    local erased = image.random_erasing(x + 1, { p = 1, scale = { 0.25, 0.25 }, ratio = { 1, 1 } })
    assert.equal(4 * 6000, erased:eq(0):sum():item())
  end)

  it("change no random state where nothing is random", function()
    nn.manual_seed(3)
    local next_one = nn.rand(1)
    nn.manual_seed(3)
    image.compose { image.resize(3), image.flip(), image.normalize(0, 1) }(nn.zeros(1, 4, 4))
    assert.is_true(nn.rand(1):equal(next_one))
  end)

  it("name what is wrong", function()
    local x = nn.rand(3, 6, 8)
    says("nn.image.resize: 'size' is required", image.resize)
    says("option size: expected a whole number from 1, or {height, width}, got 0", image.resize, 0)
    says("unknown option \"mod\"", image.resize, 3, { mod = "nearest" })
    says("option mode: expected one of nearest, bilinear, bicubic, got \"cubic\"", image.resize, 3, { mode = "cubic" })
    says("at most 1 argument", image.resize, 3, 4)
    says("nn.image.crop: 4 x 4 pixels from %(4, 1%) on are not within a picture of 6 x 8", image.crop, x, 4, 1, 4, 4)
    says("nn.image.random_crop: 7 x 7 pixels are more than", image.random_crop, x, 7)
    says("option std: expected a number other than 0", image.normalize, 0, 0)
    says("as many numbers, got 3 and 1", image.normalize, { 1, 2, 3 }, 1)
    says("means for 2 channels, the picture has 3", image.normalize, x, { 0, 0 }, { 1, 1 })
    says("option p: expected a number from 0 to 1, got 2", image.random_flip, 2)
    says("option hue: expected a number from 0 to 0.5", image.color_jitter, { hue = 0.7 })
    says("1 or 3 channels, got 2", image.to_gray, nn.rand(2, 3, 3))
    says("expected a picture %(C, H, W%) or %(H, W%), got %(3%)", image.resize, nn.zeros(3), 2)
    says("float32 or uint8, got int64", image.flip, nn.zeros({ 2, 2 }, { dtype = "int64" }))
    says("picture: expected a tensor, got 5", image.flip(), 5)
    says("item 2: expected a transform or a function, got 3", image.compose, { image.flip(), 3 })
  end)

  it("give the memory back after every failure", function()
    local x = nn.rand(3, 9, 9):transpose(2, 3)
    local transform = image.compose { image.resize(5), image.rotate(10), image.flip() }
    assert.is_true(support.fail_each(function() transform(x) end) > 3)
  end)
end)
