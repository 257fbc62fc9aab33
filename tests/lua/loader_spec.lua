local nn = require "nnlua"
local core = require "nnlua.core"
local support = require "support"

local unpack = table.unpack or unpack
local folder

local function sh(command) assert(os.execute(command)) end

-- Ten pictures in each of the folders cat and dog: every pixel tells which one it is.
local function make_folder()
  folder = os.tmpname()
  os.remove(folder)
  for label, class in ipairs { "cat", "dog" } do
    sh(("mkdir -p '%s/%s'"):format(folder, class))
    for i = 0, 9 do
      local x = nn.full({ 3, 6, 8 }, label * 100 + i, { dtype = "uint8" })
      assert(nn.image.save(x, ("%s/%s/%d.%s"):format(folder, class, i, "png")))
    end
  end
  return folder
end

local function says(pattern, ...) assert.matches(pattern, support.message_of(...)) end

-- What # gives, also where the operator asks no metatable of a table.
local function batch_count(loader) return getmetatable(loader).__len(loader) end

local function all(loader, options)
  local batches = {}
  for x, y in loader:batches(options) do batches[#batches + 1] = { x, y } end
  return batches
end

local function assert_same(a, b, offset)
  assert.equal(#a, #b + (offset or 0))
  for i, batch in ipairs(b) do
    for k, value in ipairs(batch) do assert.is_true(a[i + (offset or 0)][k]:equal(value), "batch " .. i) end
  end
end

local augment = nn.image.compose {
  nn.image.random_crop(8, 2), nn.image.random_flip(), nn.image.random_rotation(10), nn.image.normalize(0.5, 0.2),
}

local function numbered(count)
  local x = nn.arange(0, count):view(count, 1, 1, 1):expand(count, 1, 8, 8):to("uint8")
  return nn.data.TensorDataset(x, nn.range(1, count, { dtype = "int64" }))
end

describe("nn.data.DataLoader", function()
  support.count_tensors(before_each, after_each)

  after_each(function()
    if folder then sh(("rm -r '%s'"):format(folder)) end
    folder = nil
  end)

  it("gives each sample once, in batches of one size but the last", function()
    local dataset = numbered(50)
    for _, options in ipairs { { workers = 0 }, { workers = 2 }, {} } do
      options.batch_size, options.shuffle = 8, true
      local loader, seen = nn.data.DataLoader(dataset, options), {}
      assert.equal(7, batch_count(loader))
      for i, batch in ipairs(all(loader)) do
        assert.same({ i < 7 and 8 or 2, 1, 8, 8 }, batch[1].shape)
        assert.is_true(batch[1][{ {}, 1, 1, 1 }]:to("int64"):equal(batch[2] - 1))
        for _, label in ipairs(batch[2]:tolist()) do seen[label] = (seen[label] or 0) + 1 end
      end
      for i = 1, 50 do assert.equal(1, seen[i]) end
      options.drop_last = true
      assert.equal(6, #all(nn.data.DataLoader(dataset, options)))
    end
  end)

  it("gives the same bits for any number of workers, and from any batch on", function()
    local dataset = numbered(60)
    local function run(workers, skip, transform)
      nn.manual_seed(7)
      local options = { batch_size = 7, shuffle = true, transform = transform, workers = workers, prefetch = 3 }
      local batches = all(nn.data.DataLoader(dataset, options), { skip = skip })
      return batches, nn.rand(1):item()
    end
    for _, transform in ipairs { false, augment } do
      local reference, state = run(0, nil, transform or nil)
      for _, workers in ipairs { 1, 2, 5 } do
        local batches, after = run(workers, nil, transform or nil)
        assert_same(reference, batches)
        assert.same(state, after)
        assert_same(reference, run(workers, 4, transform or nil), 4)
      end
      assert_same(reference, run(0, 8, transform or nil), 8)
      assert.same({}, (run(2, 9, transform or nil)))
      assert.same({}, (run(0, 100, transform or nil)))
    end
    assert.equal("float32", run(1, nil, augment)[1][1].dtype)
  end)

  it("does what the transform does by itself, dataset's and loader's one after the other", function()
    local x = (nn.rand(20, 3, 9, 9) * 255):to("uint8")
    local crop, norm = nn.image.center_crop(5), nn.image.normalize({ 0.1, 0.2, 0.3 }, { 1, 2, 3 })
    local dataset = nn.data.TensorDataset(x, { transform = crop })
    local loader = nn.data.DataLoader(dataset, { batch_size = 20, transform = norm, workers = 1 })
    assert.is_true(all(loader)[1][1]:equal(norm(crop(x))))
    assert.is_true(dataset:get(3):equal(crop(x[3])))
    local by_function = nn.data.DataLoader(dataset, { batch_size = 20, transform = function(t) return norm(t) end })
    assert.is_true(all(by_function)[1][1]:equal(norm(crop(x))))
  end)

  it("ends its threads when a loop is left, by break, error or collection", function()
    local loader = nn.data.DataLoader(numbered(40), { batch_size = 2, transform = augment, workers = 2 })
    for x in loader:batches() do
      if #x == 2 then break end
    end
    pcall(function()
      for _ in loader:batches() do error("enough") end
    end)
    local following = loader:batches()
    following()
    following = nil -- luacheck: ignore 311
    collectgarbage()
    local rest = loader:batches()
    for _ = 1, 20 do assert.is_truthy(rest()) end
    assert.is_nil(rest())
    assert.is_nil(rest())
  end)

  it("follows a sampler: positions, or weights with and without replacement", function()
    local dataset = numbered(10)
    local function labels(options)
      local list = {}
      for _, y in nn.data.DataLoader(dataset, options):batches() do
        for _, label in ipairs(y:tolist()) do list[#list + 1] = label end
      end
      return list
    end
    assert.same({ 3, 3, 9 }, labels { sampler = { 3, 3, 9 }, batch_size = 2 })
    assert.same({ 2, 1 }, labels { sampler = nn.tensor({ 2, 1 }, { dtype = "int64" }), workers = 1 })
    local counts = {}
    for _, label in ipairs(labels { sampler = { weights = { 1, 0, 3, 0, 0, 0, 0, 0, 0, 0 }, count = 4000 } }) do
      counts[label] = (counts[label] or 0) + 1
    end
    assert.equal(4000, counts[1] + counts[3])
    assert.is_true(math.abs(counts[1] - 1000) < 150)
    local some = labels { sampler = { weights = nn.ones(10), count = 4, replacement = false } }
    table.sort(some)
    for i = 2, 4 do assert.is_true(some[i] > some[i - 1]) end
    assert.equal(3, batch_count(nn.data.DataLoader(dataset, { batch_size = 2, sampler = { 1, 2, 3, 4, 5 } })))
  end)

  it("takes any dataset with get(i) and a length, and collate", function()
    local squares = setmetatable({}, { __len = function() return 5 end })
    function squares:get(i) return i, nn.tensor { i * i } end -- luacheck: ignore 212
    local x, y = nn.data.DataLoader(squares, { batch_size = 5, workers = 1 }):batches()()
    assert.same({ 1, 2, 3, 4, 5 }, x:tolist())
    assert.same({ { 1 }, { 4 }, { 9 }, { 16 }, { 25 } }, y:tolist())
    local function last(samples) return #samples, samples[2][2]:item() end
    local loader = nn.data.DataLoader(numbered(5), { collate = last })
    local count, second = loader:batches()()
    assert.same({ 5, 2 }, { count, second })
  end)

  it("is counted in nn's memory, and stays in bounded memory", function()
    local loader = nn.data.DataLoader(numbered(64), { batch_size = 64, transform = augment, workers = 1 })
    local x = loader:batches()()
    local held = nn.memory().live
    assert.is_true(held >= 64 * 64 * 4)
    assert.equal(64, #x)
    x = nil -- luacheck: ignore 311
    collectgarbage()
    collectgarbage()
    assert.is_true(nn.memory().live <= held - 64 * 64 * 4)
  end)

  it("turns failing allocations into errors", function()
    local dataset = numbered(6)
    for workers = 0, 1 do
      local loader = nn.data.DataLoader(dataset, { batch_size = 3, transform = augment, workers = workers })
      assert.is_true(support.fail_each(function() all(loader) end) > 2)
    end
    core.fail_allocation(nil)
  end)

  it("names what is wrong with its options", function()
    local dataset, new = numbered(10), nn.data.DataLoader
    says("dataset: expected something with get", new, 5)
    says("unknown option \"shufle\".*did you mean 'shuffle'", new, dataset, { shufle = true })
    says("option batch_size: expected a whole number from 1", new, dataset, { batch_size = 0 })
    says("option transform: expected a transform of nn.image, or a function, got 3", new, dataset, { transform = 3 })
    says("option on_error: expected one of raise skip", new, dataset, { on_error = "ignore" })
    says("sampler and shuffle", new, dataset, { sampler = { 1 }, shuffle = true })
    says("sampler: expected positions from 1 to 10, got 1 to 11", new, dataset, { sampler = { 1, 11 } })
    says("a weight for each of 10 samples, got %(2%)", new, dataset, { sampler = { weights = { 1, 2 } } })
    says("not all of them 0", new, dataset, { sampler = { weights = nn.zeros(10) } })
    says("at most 3, without replacement, got 4", new, dataset,
      { sampler = { weights = { 1, 1, 1, 0, 0, 0, 0, 0, 0, 0 }, count = 4, replacement = false } })
    says("unknown option \"skp\"", function() new(dataset):batches { skp = 1 } end)
    says("sample 1: nn.image.random_crop: 20 x 20 pixels are more", function()
      all(new(dataset, { transform = nn.image.random_crop(20), workers = 1 }))
    end)
  end)

  it("lets a model be fitted", function()
    local model = nn.Sequential { nn.Flatten(), nn.Dense(64, 50) }
    model:compile { optimizer = "sgd", loss = nn.CrossEntropyLoss() }
    local loader = nn.data.DataLoader(numbered(50), { batch_size = 8, shuffle = true, transform = augment })
    assert.equal(2, #model:fit(loader, nil, { epochs = 2, verbose = 0 }).loss)
  end)
end)

describe("datasets of files", function()
  support.count_tensors(before_each, after_each)

  after_each(function()
    if folder then sh(("rm -r '%s'"):format(folder)) end
    folder = nil
  end)

  it("find pictures by class, and read them in threads", function()
    local dataset = assert(nn.data.ImageFolder(make_folder(), { dtype = "uint8" }))
    assert.same({ "cat", "dog" }, dataset.classes)
    assert.equal(20, #dataset.paths)
    local x, label = dataset:get(13)
    assert.same({ 3, 6, 8 }, x.shape)
    assert.same({ 202, 2 }, { x[1][1][1], label })
    for workers = 0, 3 do
      local count = 0
      for a, b in nn.data.DataLoader(dataset, { batch_size = 6, shuffle = true, workers = workers }):batches() do
        assert.is_true((a[{ {}, 1, 1, 1 }]:to("int64") / 100):floor():long():equal(b))
        count = count + #a
      end
      assert.equal(20, count)
    end
    local floats = nn.data.ImageFolder(folder, { transform = nn.image.resize { 3, 3 }, classes = { "dog" } })
    local y = nn.data.DataLoader(floats, { batch_size = 10 }):batches()()
    assert.same({ 10, 3, 3, 3 }, y.shape)
    assert.is_true(math.abs(y[1][1][1][1] - 200 / 255) < 1e-6)
  end)

  it("say which file is broken, or leave it out if told to", function()
    local dataset = assert(nn.data.ImageFolder(make_folder()))
    local broken = folder .. "/dog/3.png"
    local file = assert(io.open(broken, "wb"))
    file:write("\137PNG\r\n\26\n no picture")
    file:close()
    for _, options in ipairs { { workers = 0 }, { workers = 2 }, { transform = function(...) return ... end } } do
      options.batch_size = 4
      says("nn.data.DataLoader: .*/dog/3.png: PNG: ", function() all(nn.data.DataLoader(dataset, options)) end)
    end
    for _, options in ipairs { { workers = 0 }, { workers = 2 }, { transform = function(...) return ... end } } do
      options.batch_size, options.on_error = 4, "skip"
      local loader, count = nn.data.DataLoader(dataset, options), 0
      for x in loader:batches() do count = count + #x end
      assert.equal(19, count)
      assert.equal(1, loader.skipped)
      assert.matches("dog/3.png", loader.skipped_because)
    end
    local x, message = dataset:get(14)
    assert.is_nil(x)
    assert.matches("dog/3.png", message)
  end)

  it("say which picture is of another size than the first of its batch", function()
    make_folder()
    nn.image.save(nn.zeros(3, 5, 5), folder .. "/cat/4.png")
    local dataset = nn.data.ImageFolder(folder)
    says("cat/4.png: float32 %(3, 5, 5%), where the batch began with float32 %(3, 6, 8%): .*resize", function()
      all(nn.data.DataLoader(dataset, { batch_size = 10 }))
    end)
    assert.equal(20, #all(nn.data.DataLoader(dataset, { batch_size = 1 })))
    local samples = {}
    local loader = nn.data.DataLoader(dataset, { batch_size = 10, collate = function(list)
      for _, sample in ipairs(list) do samples[#samples + 1] = sample[1].shape[2] end
      return list
    end })
    all(loader)
    assert.same({ 6, 6, 6, 6, 5, 6 }, { unpack(samples, 1, 6) })
  end)

  it("are lists of paths, with or without labels", function()
    make_folder()
    local list = { { folder .. "/cat/1.png", 1 }, { folder .. "/dog/9.png", 2 } }
    local x, y = nn.data.DataLoader(nn.data.FileDataset(list)):batches()()
    assert.same({ 2, 3, 6, 8 }, x.shape)
    assert.same({ 1, 2 }, y:tolist())
    local only = { nn.data.DataLoader(nn.data.FileDataset { list[1][1] }):batches()() }
    assert.equal(1, #only)
    says("item 2: expected {path, label}", nn.data.FileDataset, { list[1], "x.png" })
    says("list: expected a list of paths", nn.data.FileDataset, {})
    local none, message = nn.data.ImageFolder(folder .. "/cat")
    assert.is_nil(none)
    assert.matches("no folders of classes", message)
    none, message = nn.data.ImageFolder("no/such/folder")
    assert.is_nil(none)
    assert.matches("no/such/folder", message)
  end)

  it("are sounds of one form, or their features", function()
    make_folder()
    local list, signals = {}, {}
    for i = 1, 6 do
      signals[i] = nn.rand(1, 1500 + 100 * i) - 0.5
      list[i] = { ("%s/%d.wav"):format(folder, i), i }
      assert(nn.audio.save(list[i][1], signals[i], 8000, { bits = 32 }))
    end
    local options = { n_fft = 256, n_mels = 20, rate = 8000 }
    local function cut(i)
      local padded = nn.zeros(1, 1900)
      local kept = math.min(1900, 1500 + 100 * i)
      padded[{ {}, { 1, kept } }] = signals[i][{ {}, { 1, kept } }]
      return padded
    end
    for workers = 0, 2, 2 do
      local plain = nn.data.AudioDataset(list, { length = 1900 })
      local x, y = nn.data.DataLoader(plain, { batch_size = 6, workers = workers }):batches()()
      for i = 1, 6 do assert.is_true(x[i]:allclose(cut(i))) end
      assert.same({ 1, 2, 3, 4, 5, 6 }, y:tolist())
      local mels = nn.data.AudioDataset(list,
        { length = 1900, rate = 8000, features = { "mel_spectrogram", n_fft = 256, n_mels = 20 } })
      local m = nn.data.DataLoader(mels, { batch_size = 6, workers = workers }):batches()()
      for i = 1, 6 do assert.is_true(m[i]:allclose(nn.audio.mel_spectrogram(cut(i), options))) end
      assert.is_true(mels:get(2):equal(m[2]))
    end
    local other = nn.data.AudioDataset(list, { rate = 4000, length = 800 }):get(1)
    assert.is_true(other:allclose(nn.audio.resample(signals[1], 8000, 4000)[{ {}, { 1, 800 } }]))
    says("option features: expected one of mel_spectrogram mfcc spectrogram stft, got \"mel\"",
      nn.data.AudioDataset, list, { features = "mel" })
    says("unknown option \"n_mel\"", nn.data.AudioDataset, list, { features = { "mfcc", n_mel = 3 } })
    says("1.wav: .*too few for one frame", function()
      all(nn.data.DataLoader(nn.data.AudioDataset(list, { features = { "mfcc", n_fft = 4000 } })))
    end)
  end)

  it("are joined, parted and split", function()
    local a, b = numbered(10), numbered(6)
    local both = nn.data.ConcatDataset { a, nn.data.Subset(b, { 6, 1 }) }
    for workers = 0, 1 do
      local _, y = nn.data.DataLoader(both, { batch_size = 12, workers = workers }):batches()()
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 6, 1 }, y:tolist())
    end
    local train, test = nn.data.random_split(both, { 0.75, 0.25 })
    assert.same({ 9, 3 }, { #train.positions, #test.positions })
    local seen = {}
    for _, part in ipairs { train, test } do
      for _, position in ipairs(part.positions:tolist()) do seen[position] = true end
    end
    assert.equal(12, #seen)
    local one, two, three = nn.data.random_split(a, { 5, 3, 2 })
    assert.same({ 5, 3, 2 }, { #one.positions, #two.positions, #three.positions })
    local _, y = nn.data.DataLoader(train, { batch_size = 9, workers = 1, transform = augment }):batches()()
    assert.equal(9, #y)
    says("at most 1, got 1.2", nn.data.random_split, a, { 0.7, 0.5 })
    says("add up to the 10 samples there are, got 9", nn.data.random_split, a, { 5, 4 })
    says("positions from 1 to 10", nn.data.Subset, a, { 11 })
    says("sample: expected a whole number from 1 to 10, got 11", a.get, a, 11)
  end)
end)
