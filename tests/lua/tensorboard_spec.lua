-- Event files, read back by a decoder of protocol buffers that knows nothing of how they were written.
-- Needs Lua 5.3: string.unpack.
local nn = require "nnlua"
local support = require "support"
local events = require "nnlua.core".events

-- ---- files

local function temporary_folder()
  local path = os.tmpname()
  os.remove(path)
  return path
end

local function remove(folder)
  os.execute("rm -r '" .. folder .. "'")
end

local function files_of(folder)
  local list = {}
  for path in io.popen("ls '" .. folder .. "'"):lines() do list[#list + 1] = folder .. "/" .. path end
  return list
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("a")
  file:close()
  return bytes
end

-- ---- the decoder: a message is a list of values for each number of a field

local function varint(bytes, at)
  local value, factor = 0, 1
  while true do
    local byte = bytes:byte(at)
    value, at = value + byte % 128 * factor, at + 1
    if byte < 128 then return value, at end
    factor = factor * 128
  end
end

local readers = {
  [0] = varint,
  [1] = function(bytes, at) return ("<d"):unpack(bytes, at), at + 8 end,
  [2] = function(bytes, at)
    local length, start = varint(bytes, at)
    assert(start + length - 1 <= #bytes)
    return bytes:sub(start, start + length - 1), start + length
  end,
  [5] = function(bytes, at) return ("<f"):unpack(bytes, at), at + 4 end,
}

local function decode(bytes)
  local message, at = {}, 1
  while at <= #bytes do
    local key, value
    key, at = varint(bytes, at)
    value, at = readers[key % 8](bytes, at)
    local field = key // 8
    message[field] = message[field] or {}
    table.insert(message[field], value)
  end
  return message
end

local function doubles(bytes)
  local list = {}
  for at = 1, #bytes, 8 do list[#list + 1] = ("<d"):unpack(bytes, at) end
  return list
end

local function masked(bytes)
  local crc = events.crc32c(bytes)
  return ((crc >> 15 | crc << 17) + 0xa282ead8) & 0xffffffff
end

-- All events of a file; the frames must be whole and their checksums right.
local function events_of(bytes)
  local list, at = {}, 1
  while at <= #bytes do
    local length, crc = ("<I8I4"):unpack(bytes, at)
    assert(crc == masked(bytes:sub(at, at + 7)), "checksum of a length")
    local data = bytes:sub(at + 12, at + 11 + length)
    assert(#data == length, "a record cut short")
    assert(("<I4"):unpack(bytes, at + 12 + length) == masked(data), "checksum of a record")
    list[#list + 1] = decode(data)
    at = at + 16 + length
  end
  return list
end

-- The values of a file: a list of {tag, step, time, fields of the value}.
local function values_of(path)
  local list = {}
  for _, event in ipairs(events_of(read(path))) do
    for _, summary in ipairs(event[5] or {}) do
      for _, value in ipairs(decode(summary)[1]) do
        local fields = decode(value)
        list[#list + 1] = { tag = fields[1][1], step = event[2][1], time = event[1][1], fields = fields }
      end
    end
  end
  return list
end

local function scalars_of(path)
  local result = {}
  for _, value in ipairs(values_of(path)) do
    if value.fields[2] then
      result[#result + 1] = ("%s %d %.4g"):format(value.tag, value.step, value.fields[2][1])
    end
  end
  return result
end

describe("crc32c", function()
  it("gives the values of RFC 3720", function()
    assert.equal(0xe3069283, events.crc32c("123456789"))
    assert.equal(0x8a9136aa, events.crc32c(("\0"):rep(32)))
    assert.equal(0x62a8ab43, events.crc32c(("\255"):rep(32)))
    local rising = {}
    for i = 0, 31 do rising[i + 1] = string.char(i) end
    assert.equal(0x46dd794e, events.crc32c(table.concat(rising)))
    assert.equal(0x113fdb5c, events.crc32c(table.concat(rising):reverse()))
    assert.equal(0, events.crc32c(""))
  end)
end)

describe("a record", function()
  support.count_tensors(before_each, after_each)

  it("is whole or an error, whatever allocation fails", function()
    local core = require "nnlua.core"
    local values = nn.ones(300, { dtype = "float64" }):cumsum(1)
    local expected, failures = events.histogram(0, 1, "tag", values), 0
    for k = 0, 100 do
      core.fail_allocation(k)
      local ok, record = pcall(events.histogram, 0, 1, "tag", values)
      core.fail_allocation()
      if ok then
        assert.equal(expected, record)
        break
      end
      assert.matches("out of memory", record)
      failures = failures + 1
    end
    assert.is_true(failures > 0 and failures < 100)
  end)
end)

describe("nn.tensorboard.Writer", function()
  support.count_tensors(before_each, after_each)

  local folder, writer

  before_each(function()
    folder = temporary_folder()
    writer = assert(nn.tensorboard.Writer(folder .. "/deep er/er"))
  end)

  after_each(function()
    writer:close()
    remove(folder)
  end)

  it("makes the folder and a file by the name that TensorBoard looks for", function()
    local name = writer.path:match("/deep er/er/(.*)$")
    assert.matches("^events%.out%.tfevents%.%d+%..+%.%d+%.%d+$", name)
    assert.equal(writer.path, files_of(folder .. "/deep er/er")[1])
    local first = events_of(read(writer.path))[1]
    assert.equal("brain.Event:2", first[3][1])
    assert.near(os.time(), first[1][1], 2)
    local other = assert(nn.tensorboard.Writer(folder .. "/deep er/er/"))
    assert.not_equal(writer.path, other.path)
    other:close()
  end)

  it("writes scalars that are in the file at once", function()
    assert.is_true(writer:add_scalar("loss/train", 0.25, 7))
    writer:add_scalar("loss/train", nn.tensor(1e10), 3000000000)
    writer:add_scalar("nan", 0 / 0)
    local values = values_of(writer.path)
    assert.same({ "loss/train 7 0.25", "loss/train 3000000000 1e+10" }, { table.unpack(scalars_of(writer.path), 1, 2) })
    assert.is_true(values[3].fields[2][1] ~= values[3].fields[2][1])
    assert.equal(0, values[3].step)
    assert.near(os.time(), values[1].time, 2)
  end)

  it("writes histograms whose buckets hold all numbers between their limits", function()
    nn.manual_seed(4)
    local numbers = nn.randn(500)
    numbers[1], numbers[2], numbers[3] = 0, 1e-20, -3e30
    assert.is_true(writer:add_histogram("weights", numbers:reshape(20, 25):t(), 2))
    local histogram = decode(values_of(writer.path)[1].fields[5][1])
    local list = numbers:tolist()
    table.sort(list)
    assert.equal(list[1], histogram[1][1])
    assert.equal(list[500], histogram[2][1])
    assert.equal(500, histogram[3][1])
    local sum, squares = 0, 0
    for _, x in ipairs(list) do sum, squares = sum + x, squares + x * x end
    assert.near(1, histogram[4][1] / sum, 1e-9)
    assert.near(1, histogram[5][1] / squares, 1e-9)
    local limits, counts = doubles(histogram[6][1]), doubles(histogram[7][1])
    assert.equal(#limits, #counts)
    for i = 2, #limits do
      local expected = 0
      for _, x in ipairs(list) do
        if x >= limits[i - 1] and x < limits[i] then expected = expected + 1 end
      end
      assert.equal(expected, counts[i])
    end
    assert.is_true(counts[#counts] > 0)
  end)

  it("leaves NaN and infinities out of histograms", function()
    writer:add_histogram("some", { 1, 0 / 0, 1 / 0, 2 })
    local histogram = decode(values_of(writer.path)[1].fields[5][1])
    assert.equal(2, histogram[3][1])
    assert.equal(0, doubles(histogram[7][1])[1]) -- what lies below the first bucket
    assert.error_matches(function() writer:add_histogram("none", { 0 / 0 }) end, "at least one finite number in %(1%)")
    assert.error_matches(function() writer:add_histogram("none", nn.zeros(0, 3)) end, "finite number in %(0, 3%)")
  end)

  it("writes text", function()
    writer:add_text("notes", "**ü**\0", 1)
    local value = values_of(writer.path)[1]
    assert.equal("notes/text_summary", value.tag)
    assert.equal("text", decode(decode(value.fields[9][1])[1][1])[1][1])
    local tensor = decode(value.fields[8][1])
    assert.equal(7, tensor[1][1])
    assert.equal("**ü**\0", tensor[8][1])
  end)

  it("writes pictures as PNG, or says what is missing", function()
    local ok, message = pcall(writer.add_image, writer, "picture", nn.rand(3, 4, 5), 1)
    if not pcall(nn.image.encode, nn.rand(3, 4, 5)) then
      assert.is_false(ok)
      return assert.matches("libpng", message)
    end
    local picture = decode(values_of(writer.path)[1].fields[4][1])
    assert.same({ 4, 5, 3 }, { picture[1][1], picture[2][1], picture[3][1] })
    local signature, width, height = (">c8xxxxxxxxI4I4"):unpack(picture[4][1])
    assert.same({ "\137PNG\r\n\26\n", 5, 4 }, { signature, width, height })
  end)

  it("takes a scalar as long as a message can be", function()
    writer:add_scalar(("x"):rep(100000), 1)
    assert.equal(100000, #values_of(writer.path)[1].tag)
  end)

  it("says what it does not take, and that it is closed", function()
    assert.error_matches(function() writer:add_scalar("a", "1") end, 'add_scalar: value: expected a number, got "1"')
    assert.error_matches(function() writer:add_scalar(3, 1) end, "tag: expected a string, got 3")
    assert.error_matches(function() writer:add_scalar("a", 1, 0.5) end, "step: expected a whole number, got 0.5")
    assert.error_matches(function() writer:add_image("a", nn.rand(2, 2, 2, 2)) end, "1 or 3 channels")
    assert.is_true(writer:close())
    assert.error_matches(function() writer:add_scalar("a", 1) end, "the writer is closed")
    assert.is_true(writer:close())
  end)

  it("gives nil and a message where there is no place for a file", function()
    local file = writer.path
    local none, message = nn.tensorboard.Writer(file .. "/below")
    assert.is_nil(none)
    assert.matches("cannot make the folder: Not a directory", message)
  end)
end)

describe("the callback TensorBoard", function()
  support.count_tensors(before_each, after_each)

  local folder

  before_each(function() folder = temporary_folder() end)
  after_each(function() remove(folder) end)

  local function train(options)
    nn.manual_seed(1)
    local callback = nn.callbacks.TensorBoard(folder, options)
    local model = nn.Sequential { nn.Dense(3, 2), nn.ReLU(), nn.Dense(1) }
    model:compile { optimizer = { "sgd", lr = 0.5 }, loss = "mse", metrics = { "mae", "confusion_matrix" } }
    local x = nn.randn(9, 3)
    local history = model:fit(x, x:gt(0):any(2, true):float(), { epochs = 2, batch_size = 2, validation_split = 0.3,
      verbose = 0, callbacks = { callback } })
    return callback, history
  end

  local function line(tag, step, value) return ("%s %d %.4g"):format(tag, step, value) end

  it("writes what an epoch measured, as Keras names it", function()
    local _, history = train()
    local expected, held = {}, {}
    for epoch = 1, 2 do
      expected[#expected + 1] = line("epoch_loss", epoch, history.loss[epoch])
      expected[#expected + 1] = line("epoch_mae", epoch, history.mae[epoch])
      expected[#expected + 1] = line("epoch_learning_rate", epoch, 0.5)
      held[#held + 1] = line("epoch_loss", epoch, history.val_loss[epoch])
      held[#held + 1] = line("epoch_mae", epoch, history.val_mae[epoch])
    end
    assert.same(expected, scalars_of(files_of(folder .. "/train")[1]))
    assert.same(held, scalars_of(files_of(folder .. "/validation")[1]))
  end)

  it("writes batches, as often as asked, counted through", function()
    local callback = train { update_freq = 2 }
    local steps = {}
    for _, text in ipairs(scalars_of(files_of(folder .. "/train")[1])) do
      steps[#steps + 1] = tonumber(text:match("^batch_loss (%d+) "))
    end
    assert.same({ 2, 4, 6 }, steps)
    local other = nn.callbacks.TensorBoard(folder)
    other:set_state(callback:get_state())
    assert.equal(6, other.batches)
  end)

  it("writes the text of the model, and histograms of parameters and gradients", function()
    train { histogram_freq = 2 }
    local tags = {}
    for _, value in ipairs(values_of(files_of(folder .. "/train")[1])) do
      if not value.fields[2] then tags[#tags + 1] = value.tag .. " " .. value.step end
    end
    assert.same({
      "model/text_summary 0", "summary/text_summary 0", "0.weight 2", "0.weight/gradient 2", "0.bias 2",
      "0.bias/gradient 2", "2.weight 2", "2.weight/gradient 2", "2.bias 2", "2.bias/gradient 2",
    }, tags)
  end)

  it("checks its options", function()
    assert.error_matches(function() nn.callbacks.TensorBoard(3) end,
      "nn.callbacks.TensorBoard: folder: expected a string")
    assert.error_matches(function() nn.callbacks.TensorBoard(folder, { update_freq = "bach" }) end,
      'option update_freq: expected "epoch", "batch" or a number of batches')
    assert.error_matches(function() nn.callbacks.TensorBoard(folder, { histogram = 1 }) end,
      'unknown option "histogram".*histogram_freq')
    os.execute("touch '" .. folder .. "'")
  end)
end)
