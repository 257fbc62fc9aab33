--- nn.data.idx, mnist and cifar10, on small files made here.

local nn = require "nnlua"
local core = require "nnlua.core"
local support = require "support"
-- Needs Lua 5.3: string.pack.

local folder

local function write(name, bytes)
  local file = assert(io.open(folder .. "/" .. name, "wb"))
  file:write(bytes)
  file:close()
  return folder .. "/" .. name
end

local function compress(name)
  assert(os.execute(("gzip -f '%s/%s'"):format(folder, name)))
  return folder .. "/" .. name .. ".gz"
end

local function use_folder(before_each, after_each)
  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir '" .. folder .. "'"))
  end)
  after_each(function() os.execute("rm -r '" .. folder .. "'") end)
end

local function idx(code, sizes, bytes)
  return string.char(0, 0, code, #sizes) .. (">" .. ("I4"):rep(#sizes)):pack(table.unpack(sizes)) .. bytes
end


describe("nn.data.idx", function()
  support.count_tensors(before_each, after_each)
  use_folder(before_each, after_each)

  it("reads every type of element", function()
    local cases = {
      { 0x08, "uint8", "B", { 0, 7, 255 } }, { 0x09, "int64", "b", { -128, 0, 127 } },
      { 0x0b, "int64", ">i2", { -32768, 258, 32767 } },
      { 0x0c, "int32", ">i4", { -2147483648, 66051, 2147483647 } },
      { 0x0d, "float32", ">f", { -1.5, 0, 3e38 } }, { 0x0e, "float64", ">d", { -0.1, 1e300, 2 } },
    }
    for _, case in ipairs(cases) do
      local bytes = ""
      for _, value in ipairs(case[4]) do bytes = bytes .. case[3]:pack(value) end
      local values = assert(nn.data.idx(write("x", idx(case[1], { 3, 1 }, bytes))))
      assert.equal(case[2], values.dtype)
      assert.same({ 3, 1 }, values.shape)
      assert.is_true(values:flatten():equal(nn.tensor(case[4], { dtype = case[2] })))
    end
  end)

  it("reads a long row of widened elements, a number, and nothing", function()
    local bytes = {}
    for i = 1, 10000 do bytes[i] = (">i2"):pack(i - 5000) end
    local values = nn.data.idx(write("x", idx(0x0b, { 10000 }, table.concat(bytes))))
    assert.is_true(values:equal(nn.range(-4999, 5000, { dtype = "int64" })))
    assert.equal(7, nn.data.idx(write("x", idx(8, {}, "\7"))):item())
    assert.same({ 2, 0 }, nn.data.idx(write("x", idx(8, { 2, 0 }, ""))).shape)
  end)

  it("reads a file in gzip, also of several members", function()
    local plain = idx(8, { 2, 3 }, "abcdef")
    write("x", plain:sub(1, 9))
    compress("x")
    write("y", plain:sub(10))
    compress("y")
    assert(os.execute(("cat '%s/x.gz' '%s/y.gz' > '%s/z.gz'"):format(folder, folder, folder)))
    assert.same({ { 97, 98, 99 }, { 100, 101, 102 } }, nn.data.idx(folder .. "/z.gz"):tolist())
  end)

  it("gives nil and a message for whatever is wrong", function()
    local cases = {
      { "", "bytes expected" }, { "\1\0\8\1\0\0\0\0", "no IDX file" }, { "\0\0\7\1\0\0\0\0", "element type 0x07" },
      { "\0\0\8\200", "200 dimensions" }, { idx(8, { 4 }, "abc"), "too short for its shape %(4%)" },
      { idx(8, { 2 }, "abc"), "behind the last element" },
      { idx(8, { 0xffffffff, 0xffffffff, 0xffffffff }, ""), "shape" },
    }
    for _, case in ipairs(cases) do
      local values, message = nn.data.idx(write("x", case[1]))
      assert.is_nil(values)
      assert.matches(folder .. "/x: ", message, 1, true)
      assert.matches(case[2], message)
    end
    assert.error_matches(function() nn.data.idx() end, "nn.data.idx: path: expected a string, got nil")
  end)

  it("does not take memory that the file cannot fill", function()
    local bytes = idx(8, { 0x7fffffff, 1000 }, ("x"):rep(1000))
    write("x", bytes)
    local before = nn.memory().peak
    assert.is_nil(nn.data.idx(folder .. "/x"))
    assert.is_nil(nn.data.idx(compress("x")))
    assert.is_true(nn.memory().peak - before < 2 ^ 20)
  end)

  it("refuses a compressed file that is cut anywhere", function()
    write("x", idx(8, { 40 }, ("0123456789"):rep(4)))
    local file = assert(io.open(compress("x"), "rb"))
    local bytes = file:read("a")
    file:close()
    for length = 0, #bytes - 1 do
      local values, message = nn.data.idx(write("y", bytes:sub(1, length)))
      assert.is_nil(values)
      assert.is_string(message)
    end
  end)
end)

describe("nn.data.mnist", function()
  support.count_tensors(before_each, after_each)
  use_folder(before_each, after_each)

  local function fill(images, labels)
    write("train-images-idx3-ubyte", idx(8, { 2, 2, 2 }, images or "\0\51\102\255\1\2\3\4"))
    write("train-labels-idx1-ubyte", idx(8, { 2 }, labels or "\0\9"))
    write("t10k-images-idx3-ubyte", idx(8, { 1, 2, 2 }, "\255\255\255\255"))
    write("t10k-labels-idx1-ubyte", idx(8, { 1 }, "\4"))
    compress("t10k-labels-idx1-ubyte")
  end

  it("gives images from 0 to 1 and labels from 1", function()
    fill()
    local x, y, x_test, y_test, info = nn.data.mnist(folder)
    assert.same({ 2, 1, 2, 2 }, x.shape)
    assert.is_true(x[1]:flatten():allclose(nn.tensor { 0, 0.2, 0.4, 1 }))
    assert.same({ 1, 10 }, y:tolist())
    assert.equal("int64", y.dtype)
    assert.same({ { { { 1, 1 }, { 1, 1 } } } }, x_test:tolist())
    assert.equal("4", info.classes[y_test[1]])
  end)

  it("gives bytes, rows, other numbers, or one part", function()
    fill()
    local x, y, info = nn.data.mnist(folder, { dtype = "uint8", flat = true, only = "train", label_dtype = "int32" })
    assert.same({ { 0, 51, 102, 255 }, { 1, 2, 3, 4 } }, x:tolist())
    assert.equal("uint8", x.dtype)
    assert.equal("int32", y.dtype)
    assert.equal(10, #info.classes)
    x = nn.data.mnist(folder, { normalize = false, only = "test", dtype = "float64" })
    assert.equal(255, x:max():item())
    x = nn.data.mnist(folder, { normalize = { mean = 0.5, std = 0.25 }, only = "test" })
    assert.equal(2, x:max():item())
  end)

  it("finds the files where other programs unpack them", function()
    fill()
    assert(os.execute(("mkdir -p '%s/MNIST/raw' && mv '%s'/*ubyte* '%s/MNIST/raw'"):format(folder, folder, folder)))
    assert.same({ 1, 10 }, (select(2, nn.data.mnist(folder))):tolist())
  end)

  it("says which file is missing or wrong", function()
    local x, message = nn.data.mnist(folder)
    assert.is_nil(x)
    assert.matches("there is no train-images-idx3-ubyte in this folder", message, 1, true)
    fill()
    os.remove(folder .. "/train-labels-idx1-ubyte")
    x, message = nn.data.mnist(folder)
    assert.is_nil(x)
    assert.matches("there is no train-labels-idx1-ubyte", message, 1, true)
    write("train-labels-idx1-ubyte", idx(8, { 3 }, "abc"))
    assert.matches("2 images and 3 labels", select(2, nn.data.mnist(folder)))
    write("train-labels-idx1-ubyte", idx(8, { 2, 1 }, "ab"))
    assert.matches("expected bytes in 1 dimensions", select(2, nn.data.mnist(folder)))
    assert.matches("/no/such: cannot open", select(2, nn.data.mnist("/no/such")))
  end)

  it("names what is wrong with its options", function()
    assert.error_matches(function() nn.data.mnist(folder, { only = "trian" }) end, "did you mean 'train'")
    assert.error_matches(function() nn.data.mnist(folder, { normalise = true }) end, "did you mean 'normalize'")
    assert.error_matches(function() nn.data.mnist(folder, { dtype = "uint8", normalize = { mean = 0, std = 1 } }) end,
      "a mean and a deviation need a float dtype, not uint8")
  end)
end)

describe("nn.data.cifar10", function()
  support.count_tensors(before_each, after_each)
  use_folder(before_each, after_each)

  local function record(label, r, g, b)
    return string.char(label) .. string.char(r):rep(1024) .. string.char(g):rep(1024) .. string.char(b):rep(1024)
  end

  it("reads all batches, channels first", function()
    write("data_batch_1.bin", record(3, 255, 0, 51) .. record(9, 0, 0, 0))
    write("data_batch_2.bin", record(0, 1, 2, 3))
    write("test_batch.bin", record(5, 0, 255, 0))
    compress("test_batch.bin")
    write("test_batch.bin", record(5, 0, 255, 0))
    local x, y, x_test, y_test, info = nn.data.cifar10(folder)
    assert.same({ 3, 3, 32, 32 }, x.shape)
    assert.is_true(x[1]:mean({ 2, 3 }):allclose(nn.tensor { 1, 0, 0.2 }))
    assert.same({ 4, 10, 1 }, y:tolist())
    assert.same({ 1, 3, 32, 32 }, x_test.shape)
    assert.equal("dog", info.classes[y_test[1]])
    x = nn.data.cifar10(folder, { only = "test", normalize = { mean = { 0, 0.5, 0 }, std = { 1, 0.5, 2 } } })
    assert.same({ 0, 1, 0 }, x:mean({ 1, 3, 4 }):tolist())
  end)

  it("takes the names of the classes from the folder", function()
    write("train_2.bin", record(1, 0, 0, 0))
    write("batches.meta.txt", "plane\ncar\n\n")
    local _, y, info = nn.data.cifar10(folder, { only = "train" })
    assert.equal("car", info.classes[y[1]])
    write("train_2.bin", record(2, 0, 0, 0))
    assert.matches("label 2 where there are 2 classes", select(2, nn.data.cifar10(folder)))
  end)

  it("reads CIFAR-100's two labels", function()
    write("train.bin", "\3" .. record(99, 0, 0, 0))
    assert.same({ 100 }, (select(2, nn.data.cifar100(folder, { only = "train" }))):tolist())
    assert.same({ 4 }, (select(2, nn.data.cifar100(folder, { only = "train", coarse = true }))):tolist())
  end)

  it("says what is missing or cut", function()
    assert.matches("there is no data_batch_1.bin or train.bin", select(2, nn.data.cifar10(folder)), 1, true)
    write("train.bin", record(1, 0, 0, 0):sub(2))
    local message = select(2, nn.data.cifar10(folder))
    assert.matches("train.bin: 3072 bytes are no whole number of records of 3073", message, 1, true)
  end)
end)

describe("the readers", function()
  support.count_tensors(before_each, after_each)
  use_folder(before_each, after_each)

  it("leak nothing where memory runs out", function()
    write("x", idx(0x0b, { 3 }, "abcdef"))
    local path = compress("x")
    assert.is_true(support.fail_each(function() assert(core.readers.idx(path)) end) > 2)
    assert.is_true(support.fail_each(function() assert(core.readers.folder(folder)) end) > 0)
    assert.is_true(support.fail_each(function() assert(core.readers.records(path, 1)) end) > 0)
  end)
end)
