--- nn.data.npy and npz: files of NumPy's, kept in tests/golden/files, and files of our own.

local nn = require "nnlua"
local core = require "nnlua.core"
local support = require "support"
-- Needs Lua 5.3: string.pack.

local golden = "tests/golden/files/"
local path

local function read_bytes(from)
  local file = assert(io.open(from, "rb"))
  local bytes = file:read("a")
  file:close()
  return bytes
end

local function write_bytes(bytes)
  local file = assert(io.open(path, "wb"))
  file:write(bytes)
  file:close()
  return path
end

local function use_path(before_each, after_each)
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)
end

local function npy(header, data)
  return write_bytes("\x93NUMPY\1\0" .. ("<s2"):pack(header) .. (data or ""))
end

local all = {
  float32 = nn.tensor { { 1.5, -2 }, { 0 / 0, math.huge } }, float64 = nn.tensor({ 0.1 }, { dtype = "float64" }),
  float16 = nn.tensor({ 0.5 }, { dtype = "float16" }), int64 = nn.tensor({ math.mininteger }, { dtype = "int64" }),
  int32 = nn.tensor({ -7 }, { dtype = "int32" }), uint8 = nn.tensor({ 255 }, { dtype = "uint8" }),
  bool = nn.tensor { true, false }, number = nn.tensor(3), empty = nn.zeros(2, 0),
  deep = nn.arange(0, 24):reshape(1, 2, 1, 3, 2, 1, 2, 1), turned = nn.arange(0, 6):reshape(2, 3):t(),
}

local function assert_same(expected, got)
  assert.equal(expected.dtype, got.dtype)
  assert.same(expected.shape, got.shape)
  assert.is_true(got:eq(expected):logical_or(got:ne(got)):all():item())
end

describe("nn.data.npy", function()
  support.count_tensors(before_each, after_each)
  use_path(before_each, after_each)

  it("reads what NumPy wrote", function()
    local x = nn.data.npy(golden .. "numpy_float32.npy")
    assert.is_true(x:equal(nn.tensor { { 0.5, -1.25, 3e38 }, { math.huge, -math.huge, 1e-40 } }))
    assert.equal("float32", x.dtype)
    local y = nn.data.npy(golden .. "numpy_fortran_big.npy")
    assert.is_true(y:equal(nn.arange(0, 12, { dtype = "float64" }):reshape(2, 3, 2)))
    assert.same({ -32768, 0, 32767 }, nn.data.npy(golden .. "numpy_int16.npy"):tolist())
    assert.same({ 0, math.maxinteger }, nn.data.npy(golden .. "numpy_uint64.npy"):tolist())
  end)

  it("says what it cannot hold", function()
    local cases = {
      uint64_large = "element 2 is too large for int64", record = "structured arrays", complex = "complex numbers",
      text = "text", object = "Python objects",
    }
    for name, expected in pairs(cases) do
      local x, message = nn.data.npy(golden .. "numpy_" .. name .. ".npy")
      assert.is_nil(x)
      assert.matches(expected, message)
    end
  end)

  it("reads back what it wrote, of every dtype and shape", function()
    for _, x in pairs(all) do
      assert.is_true(nn.data.npy(path, x))
      assert_same(x, nn.data.npy(path))
    end
    assert.is_true(nn.data.npy(path, nn.tensor({ 1.5 }, { dtype = "bfloat16" })))
    assert_same(nn.tensor { 1.5 }, nn.data.npy(path))
  end)

  it("maps a large file, whose tensor can change without the file", function()
    assert.is_true(nn.data.npy(path, nn.ones(1000, 300)))
    local before = nn.memory().live
    local x = nn.data.npy(path)
    assert.is_true(nn.memory().live - before < 10000)
    x:fill_(2)
    assert.equal(1, nn.data.npy(path, { mmap = false }):max():item())
    assert.is_true(nn.data.npy(path, nn.zeros(1)))
    assert.equal(2, x:min():item())
    assert.equal(0, nn.data.npy(path, { mmap = true }):item())
  end)

  it("reads the spellings of other programs", function()
    assert.same({ 97 }, nn.data.npy(npy('{"shape":(1L,),"fortran_order":True,"descr":"|u1"}', "a")):tolist())
    assert.same({ { 97 } }, nn.data.npy(npy("{'descr':'=i1', 'fortran_order':False, 'shape':(1,1)}\n", "a")):tolist())
    write_bytes("\x93NUMPY\3\0" .. ("<s4"):pack("{'descr': '|b1', 'fortran_order': False, 'shape': (), }") .. "\1")
    assert.is_true(nn.data.npy(path):item())
  end)

  it("refuses every damaged header", function()
    local cases = {
      { "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "short for its shape %(2%)" },
      { "{'descr': '<f4', 'fortran_order': False, 'shape': (0,), }", "behind the last element" },
      { "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "a size is no number" },
      { "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", "a size is no number" },
      { "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296), }", "short for its shape" },
      { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", "more than 8 dimensions" },
      { "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", "neither True nor False" },
      { "{'descr': '<f4', 'shape': (1,), }", "is missing" }, { "{'descr': '<f3', 'shape': (1,), }", "cannot be read" },
      { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", "an unknown name" },
      { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)", "no" }, { "", "no dictionary" },
      { "{'descr': '|b1', 'fortran_order': False, 'shape': (4,)}", "element 1 is a bool" },
    }
    for _, case in ipairs(cases) do
      local x, message = nn.data.npy(npy(case[1], "abcd"))
      assert.is_nil(x, case[1])
      assert.matches(case[2], message)
    end
  end)

  it("refuses a file that is cut anywhere", function()
    local bytes = read_bytes(golden .. "numpy_fortran_big.npy")
    for length = 0, #bytes - 1 do
      local x, message = nn.data.npy(write_bytes(bytes:sub(1, length)))
      assert.is_nil(x)
      assert.matches(path, message, 1, true)
    end
  end)

  it("names what is wrong with its arguments", function()
    assert.error_matches(function() nn.data.npy(path, 3) end, "nn.data.npy: argument 2: expected a tensor to write")
    assert.error_matches(function() nn.data.npy(path, { map = true }) end, 'unknown option "map"')
    assert.matches("/no/such/x: cannot write", select(2, nn.data.npy("/no/such/x", nn.ones(1))))
  end)
end)

describe("nn.data.npz", function()
  support.count_tensors(before_each, after_each)
  use_path(before_each, after_each)

  it("reads what NumPy wrote, plain and compressed", function()
    for _, name in ipairs { "stored", "deflated" } do
      local set, names = nn.data.npz(golden .. "numpy_" .. name .. ".npz")
      assert.same({ "f", "h", "b", "n", "e" }, names)
      assert.is_true(set.f:equal(nn.data.npy(golden .. "numpy_float32.npy")))
      assert_same(nn.tensor({ 1.5, -2 }, { dtype = "float16" }), set.h)
      assert.same({ { true }, { false } }, set.b:tolist())
      assert.equal(7, set.n:item())
      assert.same({ 0, 2 }, set.e.shape)
    end
  end)

  it("reads back what it wrote, plain and compressed", function()
    for _, compress in ipairs { false, true } do
      assert.is_true(nn.data.npz(path, all, { compress = compress }))
      local set = nn.data.npz(path)
      for name, x in pairs(all) do assert_same(x, set[name]) end
    end
  end)

  it("numbers what has no name, as NumPy does, and writes nothing, too", function()
    assert.is_true(nn.data.npz(path, { nn.ones(1), nn.ones(2), ["a/b \u{e9}"] = nn.ones(3) }))
    local set, names = nn.data.npz(path)
    assert.same({ "a/b \u{e9}", "arr_0", "arr_1" }, names)
    assert.same({ 2 }, set.arr_1.shape)
    assert.is_true(nn.data.npz(path, {}))
    assert.same({}, (nn.data.npz(path)))
  end)

  it("refuses a file that is cut or changed anywhere", function()
    for _, name in ipairs { "stored", "deflated" } do
      local bytes = read_bytes(golden .. "numpy_" .. name .. ".npz")
      for length = 0, #bytes - 1, 7 do
        assert.is_nil((nn.data.npz(write_bytes(bytes:sub(1, length)))))
        local other = string.char((bytes:byte(length + 1) + 0x55) % 256)
        local changed = bytes:sub(1, length) .. other .. bytes:sub(length + 2)
        local set, message = nn.data.npz(write_bytes(changed))
        assert.is_true(set ~= nil or type(message) == "string")
      end
    end
    local bytes = read_bytes(golden .. "numpy_stored.npz")
    local at = assert(bytes:find("\0\0\0\x3f\0\0\xa0\xbf", 1, true))
    local changed = bytes:sub(1, at + 2) .. "\x3e" .. bytes:sub(at + 4)
    assert.matches("f.npy: damaged: the checksum is another", select(2, nn.data.npz(write_bytes(changed))))
  end)

  it("does not take memory that the file cannot fill", function()
    local bomb = "{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }"
    local bytes = npy(bomb) and read_bytes(path)
    local before = nn.memory().peak
    assert.matches("too short for its shape", select(2, nn.data.npy(path)))
    assert.is_true(core.readers.npy(write_bytes(bytes)) == nil)
    assert.is_true(nn.memory().peak - before < 2 ^ 20)
  end)

  it("leaks nothing where memory runs out", function()
    local set = { a = nn.ones(3), b = nn.eye(3):t() }
    for _, compress in ipairs { false, true } do
      assert.is_true(support.fail_each(function() assert(nn.data.npz(path, set, { compress = compress })) end) > 4)
      assert.is_true(support.fail_each(function() assert(nn.data.npz(path)) end) > 4)
    end
    assert.is_true(nn.data.npy(path, set.b))
    assert.is_true(support.fail_each(function() assert(nn.data.npy(path)) end) > 1)
    assert.is_true(support.fail_each(function() assert(core.readers.npy(golden .. "numpy_fortran_big.npy")) end) > 1)
  end)

  it("names what is wrong with its arguments", function()
    assert.error_matches(function() nn.data.npz(path, { a = 1 }) end, "nn.data.npz: a: expected a tensor, got 1")
    assert.error_matches(function() nn.data.npz(path, { [0.5] = nn.ones(1) }) end, "a name, or a position from 1")
    assert.error_matches(function() nn.data.npz(path, { nn.ones(1), arr_0 = nn.ones(1) }) end, 'called "arr_0"')
    assert.error_matches(function() nn.data.npz(path, {}, { compres = true }) end, "did you mean 'compress'")
  end)
end)
