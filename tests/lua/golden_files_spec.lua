--- Files that were written by this version and by others before it, and by other programs, are read for ever: none of
-- tests/golden/files may change.

local nn = require "nnlua"
local support = require "support"

local folder = "tests/golden/files/"

-- Each released version, the oldest first.
local versions = { "0.1" }

local function path(name, version, suffix) return ("%s%s_%s.%s"):format(folder, name, version, suffix) end

for _, version in ipairs(versions) do
  describe("A file of version " .. version, function()
    support.count_tensors(before_each, after_each)

    it("holds a model", function()
      local model = assert(nn.load(path("model", version, "safetensors"))):eval()
      local y = model(nn.tensor { { 1, 2 }, { -1, 0.5 } })
      assert.is_true(y:detach():allclose(nn.tensor { { 2.7519 }, { 2.2383 } }, { atol = 1e-4 }))
      assert.is_true(model.fc.weight:detach():equal(nn.range(1, 6):reshape(3, 2) * 0.125 - 0.5))
    end)

    it("holds tensors and metadata, or a table of all kinds", function()
      local tensors, metadata = assert(nn.load(path("tensors", version, "safetensors")))
      assert.same({ { 1, 2.5 }, { -3, 4 } }, tensors.a:tolist())
      assert.same({ true, false }, tensors.b:tolist())
      assert.equal("bfloat16", tensors.c.dtype)
      assert.equal(1.5, tensors.c[1])
      assert.equal("by hand", metadata.made)
      local nested = assert(nn.load(path("nested", version, "safetensors")))
      assert.equal(3, nested.epoch)
      assert.equal("x", nested.name)
      assert.same({ { 1, 2.5 }, { -3, 4 } }, nested.list[1]:tolist())
      assert.same({ true, false }, nested.list[2].deep:tolist())
    end)

    it("holds a model in training, which goes on as it did then", function()
      local x, y = nn.tensor { { 1, 2 }, { 3, 4 }, { 5, 6 }, { 0, 1 } }, nn.tensor { { 1 }, { 2 }, { 3 }, { 0 } }
      local model = assert(nn.load(path("trained", version, "safetensors")))
      model:fit(x, y, { epochs = 2, batch_size = 4, verbose = 0, shuffle = false })
      local expected = nn.data.npy(path("trained_on", version, "npy"))
      assert.is_true(model(x):detach():allclose(expected, { atol = 1e-6 }))
    end)

    it("holds arrays as NumPy's", function()
      local arrays = assert(nn.data.npz(path("arrays", version, "npz")))
      assert.same({ { 1, 2.5 }, { -3, 4 } }, arrays.a:tolist())
      assert.equal(7, arrays.n:item())
      arrays = assert(nn.data.npz(path("packed", version, "npz")))
      assert.same({ { 1, 2.5 }, { -3, 4 } }, arrays.a:tolist())
      assert.equal(50, arrays.z:eq(0):sum():item())
      assert.same({ -1, 2 }, nn.data.npy(path("array", version, "npy")):tolist())
    end)
  end)
end

describe("A safetensors file of another program", function()
  support.count_tensors(before_each, after_each)

  local expected = {
    bool = { "bool", { true, false } }, u8 = { "uint8", { 0, 255 } }, i8 = { "int64", { -128, 127 } },
    i16 = { "int64", { -32768, 32767 } }, u16 = { "int64", { 0, 65535 } },
    i32 = { "int32", { -2 ^ 31, 2 ^ 31 - 1 } },
    u32 = { "int64", { 0, 2 ^ 32 - 1 } }, i64 = { "int64", { math.mininteger, math.maxinteger } },
    u64 = { "int64", { 0, math.maxinteger } },
    f16 = { "float16", { 1.5, -65504 } }, f32 = { "float32", { 0.5, -1.25 } },
    bf16 = { "bfloat16", { 1.5, -math.huge } }, f64 = { "float64", { 0.1, -1e300 } },
    e4m3 = { "float32", { 0, 2 ^ -9, 1, 448, -448, 0 / 0 } },
    e5m2 = { "float32", { -0.0, 2 ^ -16, 1, 57344, -math.huge, 0 / 0 } },
  }

  local function check(tensors)
    local count = 0
    for name, tensor in pairs(tensors) do
      count = count + 1
      assert.equal(expected[name][1], tensor.dtype)
      for i, value in ipairs(expected[name][2]) do
        local got = tensor[i]
        assert.is_true(got == value or (got ~= got and value ~= value), name)
      end
    end
    assert.equal(15, count)
  end

  it("holds every dtype that there is", function()
    local tensors, metadata = assert(nn.load(folder .. "every_dtype.safetensors"))
    check(tensors)
    check(assert(nn.load(folder .. "every_dtype.safetensors", { mmap = false })))
    assert.equal("hand", metadata["made by"])
    local file = assert(io.open(folder .. "every_dtype.safetensors", "rb"))
    check(assert(nn.load_bytes(file:read("*a"))))
    file:close()
  end)
end)
