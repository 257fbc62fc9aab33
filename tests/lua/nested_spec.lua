--- nn.save and nn.load of nested tables, and models with their training in one file.

local nn = require "nnlua"
local support = require "support"

local paths = {}

local function new_path()
  local path = os.tmpname()
  paths[#paths + 1] = path
  return path
end

local function remove_files()
  for _, path in ipairs(paths) do os.remove(path) end
  paths = {}
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function through_file(value)
  local path = new_path()
  assert(nn.save(value, path))
  return assert(nn.load(path)), path
end

describe("Nested tables in files", function()
  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  it("come back as they were", function()
    local value = {
      1, 2.5, -0.0, { "list", { deep = { deeper = true } } }, text = "ä\n\"", bytes = "\0\255\128",
      huge = math.huge, low = -math.huge, large = math.maxinteger, tenth = 0.1, whole = 3.0, none = {}, no = false,
      [10] = "ten", [true] = "yes", [-1.5] = "key", tensor = "a word", list = { 7 },
    }
    local back = through_file(value)
    assert.same(value, back)
    if support.has.integers then
      assert.equal("integer", math.type(back.large))
      assert.equal("float", math.type(back.whole))
    end
    assert.equal(-math.huge, 1 / back[3])
    local nan = through_file({ { 0 / 0 } })[1][1]
    assert.is_true(nan ~= nan)
  end)

  it("keep tensors of all dtypes, and names that would be alike", function()
    local value = { ["a.b"] = nn.ones(2), a = { b = nn.zeros(1), [3] = nn.tensor({ 1, 2 }, { dtype = "int64" }) } }
    local back = through_file(value)
    assert.same({ 1, 1 }, back["a.b"]:tolist())
    assert.same({ 0 }, back.a.b:tolist())
    assert.equal("int64", back.a[3].dtype)
  end)

  it("are the same bytes each time", function()
    local function make() return { b = { nn.ones(1), x = 1 }, a = { c = nn.zeros(2), d = { 1, [9] = 2, [8] = 1 } } } end
    local _, first = through_file(make())
    local _, second = through_file(make())
    assert.equal(read(first), read(second))
  end)

  it("that are damaged give nil and a message", function()
    local _, path = through_file { epoch = 3, rates = { 0.5, { 1 } }, state = { exp_avg = nn.ones(3) } }
    local whole = read(path)
    for at = 9, #whole, 3 do
      local changed = whole:sub(1, at - 1) .. string.char((whole:byte(at) + 1) % 256) .. whole:sub(at + 1)
      local ok, value, message = pcall(nn.load_bytes, changed)
      assert.is_true(ok, value)
      assert.is_true(value ~= nil or type(message) == "string")
    end
    local swapped = whole:gsub("state.exp_avg", "state.exp_aux", 1)
    local value, message = nn.load_bytes(swapped)
    assert.is_nil(value)
    assert.matches("the tensor state.exp_a.. is missing", message)
  end)
end)

describe("The state of optimizers in files", function()
  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  local makers = {
    Adam = function(p) return nn.optim.Adam(p, { lr = 0.1, amsgrad = true, weight_decay = 0.01 }) end,
    SGD = function(p) return nn.optim.SGD({ { params = { p[1] }, lr = 0.3 }, { params = { p[2] } } },
      { lr = 0.1, momentum = 0.9 }) end,
    RMSprop = function(p) return nn.optim.RMSprop(p, { centered = true, momentum = 0.5 }) end,
    LBFGS = function(p) return nn.optim.LBFGS(p, { lr = 0.5, max_iter = 3 }) end,
  }

  for name, make in pairs(makers) do
    it("go on with the same bits: " .. name, function()
      local x, y = nn.randn(20, 3), nn.randn(20, 1)
      local function train(model, optimizer, steps)
        for _ = 1, steps do
          optimizer:step(function()
            optimizer:zero_grad()
            local loss = nn.functional.mse_loss(model(x), y)
            loss:backward()
            return loss
          end)
        end
      end
      local model, other = nn.Dense(3, 1), nn.Dense(3, 1)
      local optimizer = make(model:parameters())
      train(model, optimizer, 3)
      optimizer.param_groups[1].lr = 0.07
      local back = through_file { model = model:state_dict(), optimizer = optimizer:state_dict() }
      local again = make(other:parameters())
      other:load_state_dict(back.model)
      again:load_state_dict(back.optimizer)
      assert.equal(0.07, again.param_groups[1].lr)
      train(model, optimizer, 3)
      train(other, again, 3)
      assert.is_true(model.weight:equal(other.weight))
      assert.is_true(model.bias:equal(other.bias))
    end)
  end
end)

describe("A compiled model in a file", function()
  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  local function compare(options, steps)
    local x, y = nn.randn(32, 4), nn.randint(1, 4, { 32 })
    local model = nn.Sequential { nn.Dense(8, { activation = "tanh" }), nn.Dense(3) }
    model:compile(options)
    model:fit(x, y, { epochs = 2, batch_size = 8, verbose = 0 })
    for _ = 1, steps or 0 do model:train_step(x, y) end
    local path = new_path()
    assert(model:save(path, { optimizer = true }))
    local again = assert(nn.load(path))
    for _ = 1, 3 do
      local one, two = model:train_step(x, y), again:train_step(x, y)
      assert.same(one, two)
    end
    for name, tensor in pairs(model:state_dict()) do assert.is_true(tensor:equal(again:state_dict()[name]), name) end
    assert.same(model:evaluate(x, y), again:evaluate(x, y))
    return again, path, x
  end

  it("trains on as if nothing had been", function()
    local again = compare({ optimizer = { "adamw", lr = 0.01 }, loss = "cross_entropy", metrics = { "accuracy" } })
    assert.equal(0.01, again:optimizer_in_use().lr)
    compare({ optimizer = "sgd", metrics = { { "f1", average = "micro" } }, clip_norm = 0.1, ema = 0.9,
      loss = nn.CrossEntropyLoss { weight = nn.tensor { 1, 2, 3 }, label_smoothing = 0.1 } })
  end)

  it("keeps gradients that wait for their step", function()
    compare({ optimizer = "adam", loss = "cross_entropy", accumulate = 4 }, 2)
  end)

  it("has the model's tensors alone for others, and a smaller file without the training", function()
    local _, path, x = compare({ optimizer = "adam", loss = "cross_entropy" })
    local plain = new_path()
    assert(assert(nn.load(path)):save(plain))
    assert.is_true(#read(plain) < #read(path))
    assert.error_matches(function() assert(nn.load(plain)):evaluate(x, x) end, "not compiled")
    local other = nn.Sequential { nn.Dense(8, { activation = "tanh" }), nn.Dense(3) }
    assert.same({ missing_keys = {}, unexpected_keys = {} }, assert(other:load_weights(path)))
    assert.is_true(other:predict(x):equal(assert(nn.load(path)):predict(x)))
    local _, message = nn.Dense(2, 2):load_weights(path)
    assert.matches("do not fit the model", message)
  end)

  it("says what it cannot hold", function()
    local model = nn.Dense(2, 1):compile { optimizer = "sgd", loss = function(p, t) return (p - t):abs() end }
    assert.error_matches(function() model:save(new_path(), { optimizer = true }) end,
      "save: the loss is no name .*state_dict")
    assert.error_matches(function() nn.Dense(2, 1):save(new_path(), { optimizer = true }) end, "save: .* not compiled")
    assert.error_matches(function() model:save(new_path(), { optimiser = true }) end, "did you mean 'optimizer'")
  end)

  it("may be loaded without some tensors, or with too many", function()
    local path = new_path()
    local model = nn.Sequential { nn.Dense(2, 1) }
    assert(model:save(path))
    local core = require "nnlua.core"
    local tensors, metadata = core.load_tensors(path)
    tensors["0.bias"] = nil
    tensors.more = nn.ones(1)
    assert(core.save_tensors(path, tensors, metadata))
    local none, message = nn.load(path)
    assert.is_nil(none)
    assert.matches("missing: 0.bias\n.*unexpected: more", message)
    assert.is_true(assert(nn.load(path, { strict = false }))[1].weight:equal(model[1].weight))
  end)
end)
