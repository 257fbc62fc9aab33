local nn = require "nnlua"
local support = require "support"

local function collect()
  collectgarbage()
  collectgarbage()
end

-- What fit takes at its peak.
local function measured(model, x, y, batch_size)
  collect()
  nn.reset_peak_memory()
  model:fit(x, y, { epochs = 3, batch_size = batch_size, verbose = 0 })
  return nn.memory().peak
end

local function convolution(inputs, outputs)
  return nn.Sequential {
    nn.Conv2d(inputs, outputs, 3, { padding = 1, bias = false }), nn.BatchNorm2d(outputs), nn.ReLU(),
  }
end

-- For each a model, data, and the size of a batch.
local cases = {
  dense = function()
    local model = nn.Sequential {
      nn.Dense(400, 500, { activation = "relu" }), nn.Dropout(0.2), nn.Dense(500, 500, { activation = "gelu" }),
      nn.Dense(500, 10),
    }
    return model, nn.rand(384, 400), nn.randint(1, 11, { 384 }), 128
  end,
  convolutional = function()
    local model = nn.Sequential {
      convolution(3, 16), nn.MaxPool2d(2), convolution(16, 32), nn.Flatten(), nn.Dense(32 * 16 * 16, 10),
    }
    return model, nn.rand(192, 3, 32, 32), nn.randint(1, 11, { 192 }), 64
  end,
  transformer = function()
    local model = nn.Sequential { nn.Embedding(40, 64) }
    for _ = 1, 3 do model:add(nn.TransformerEncoderLayer(64, 4, { dim_feedforward = 128 })) end
    model:add(nn.Linear(64, 40))
    model:add(nn.Lambda(function(logits) return logits:transpose(2, 3) end))
    return model, nn.randint(1, 41, { 96, 32 }), nn.randint(1, 41, { 96, 32 }), 32
  end,
}

-- Garbage that waits counts as in training. In stock Lua its share is not foreseen well enough yet: estimates there are
-- off by up to two fifths, and these tests wait for better.
local exactly = os.getenv "NNLUA_TEST_LUA" and pending or it

describe("An estimate", function()
  support.count_tensors(before_each, after_each)

  for name, make in pairs(cases) do
    exactly("tells the peak of training before it begins: " .. name, function()
      local model, x, y, batch_size = make()
      model:compile { optimizer = "adam", loss = nn.CrossEntropyLoss() }
      local options = { input = x:narrow(1, 1, 8), target = y:narrow(1, 1, 8), batch_size = batch_size }
      local result = nn.estimate(model, options)
      local peak = measured(model, x, y, batch_size)
      local ratio = result.total / peak
      assert.is_true(ratio > 0.88 and ratio < 1.12, ("%.0f estimated, %.0f measured"):format(result.total, peak))
      assert.is_true(result.needed <= result.total)
    end)
  end

  it("says what the memory is for", function()
    local model = nn.Sequential { nn.Linear(100, 200), nn.Linear(200, 10) }
    local numbers = 100 * 200 + 200 + 200 * 10 + 10
    local result = nn.estimate(model, { input = { 100 }, batch_size = 8, optimizer = "sgd" })
    assert.equal(4 * numbers, result.parameters)
    assert.equal(4 * numbers, result.gradients)
    assert.equal(0, result.optimizer)
    result = nn.estimate(model, { input = { 100 }, batch_size = 8, optimizer = { "adamw", lr = 1e-3 } })
    assert.is_true(math.abs(result.optimizer / (8 * numbers) - 1) < 0.3)
    local bytes = nn.estimate(model, { input = { 100 }, optimizer = { "adamw", lr = 1e-3, state_dtype = "uint8" } })
    assert.is_true(bytes.optimizer < 0.5 * result.optimizer)
    model[1]:requires_grad_(false)
    assert.equal(4 * (200 * 10 + 10), nn.estimate(model, { input = { 100 } }).gradients)
    local inference = nn.estimate(model, { input = { 100 }, training = false })
    assert.equal(0, inference.gradients + inference.optimizer)
    assert.is_true(inference.total < result.total)
    assert.matches("for training with batch_size = 8\n  parameters   86.8 KB", tostring(result))
    assert.matches("for inference with batch_size = 32", tostring(inference))
  end)

  exactly("grows with the batch, and less with checkpoints", function()
    local blocks = nn.ModuleList {}
    for _ = 1, 6 do blocks:add(nn.Sequential { nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh() }) end
    local Deep = nn.Module:extend("EstimateSpecDeep")
    function Deep:init(by, list) self.by, self.blocks = by, list end
    function Deep:forward(x)
      for i = 1, #self.blocks do x = self.by(self.blocks[i], x) end
      return x
    end
    local function activations(by, batch_size)
      return nn.estimate(Deep(by, blocks), { input = { 64 }, batch_size = batch_size }).activations
    end
    local function plain(fn, x) return fn(x) end
    local few, many = activations(plain, 1024), activations(plain, 4096)
    assert.is_true(many / few > 3.4 and many / few < 4.6, ("%d and %d"):format(few, many))
    local again = activations(nn.checkpoint, 4096)
    assert.is_true(again < 0.8 * many, ("%d and %d"):format(again, many))
  end)

  it("changes nothing", function()
    local model = nn.Sequential { nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2) }
    model:eval()
    model[1].weight.grad = nn.ones(6, 4)
    local before, random = {}, nn.get_rng_state()
    for name, tensor in pairs(model:state_dict()) do before[name] = tensor:clone() end
    local live = support.live_tensors()
    local bytes = nn.memory().live
    nn.estimate(model, { input = { 4 }, batch_size = 64 })
    assert.equal(live, support.live_tensors())
    for name, tensor in pairs(model:state_dict()) do assert.is_true(tensor:equal(before[name]), name) end
    assert.equal(random, nn.get_rng_state())
    assert.is_false(model[2].training)
    assert.is_true(model[1].weight.grad:equal(nn.ones(6, 4)))
    assert.is_nil(model[4].weight.grad)
    collect()
    assert.equal(bytes, nn.memory().live)
  end)

  it("takes a loss, a step, several inputs, and what the model has seen", function()
    local Pair = nn.Module:extend("EstimateSpecPair")
    function Pair:init() self.a, self.b = nn.Linear(3, 4), nn.Embedding(5, 4) end
    function Pair:forward(x, ids) return self.a(x) + self.b(ids), self.a(x) end
    local model = Pair()
    local inputs = { nn.rand(2, 3), nn.randint(1, 6, { 2 }) }
    assert.is_true(nn.estimate(model, { input = inputs, batch_size = 16 }).total > 0)
    local calls = 0
    local result = nn.estimate(model, { input = inputs, batch_size = 16, step = function(m, x)
      calls = calls + 1
      return (m(x[1], x[2])):pow(2):mean()
    end })
    assert.is_true(calls > 3 and result.total > 0)
    local layer = nn.Linear(3, 2)
    assert.is_true(nn.estimate(layer, { input = { 3 }, target = { 2 }, target_dtype = "float32", loss = nn.MSELoss() })
      .total > 0)
    layer:compile { optimizer = "sgd", loss = "mse" }
    layer:predict(nn.rand(4, 3))
    layer:train_step(nn.rand(4, 3), nn.rand(4, 2))
    assert.is_true(nn.estimate(layer, {}).total > 0)
  end)

  it("refuses what it cannot use, with the reason", function()
    local function refused(message, ...)
      local arguments = { ... }
      assert.error_matches(function() nn.estimate(arguments[1], arguments[2]) end, message)
    end
    refused("argument 1: expected a model, got 3", 3)
    refused("option input is missing: the shape of a sample", nn.Linear(3, 2))
    refused("option input: expected a tensor, a list of tensors, or the shape of a sample, got 7", nn.Linear(3, 2),
      { input = 7 })
    refused("takes its sizes from the first input", nn.Dense(2), { input = { 3 } })
    refused("expected input %(%*, 3%)", nn.Linear(3, 2), { input = { 4 } })
    refused("unknown option \"batch\"", nn.Linear(3, 2), { batch = 4 })
    assert.is_true(nn.is_grad_enabled())
  end)
end)

describe("A limit on memory", function()
  support.count_tensors(before_each, after_each)
  after_each(function() nn.set_memory_limit() end)

  local function model_and_data()
    local model = nn.Sequential { nn.Dense(100, 300, { activation = "relu" }), nn.Dense(300, 4) }
    model:compile { optimizer = "adam", loss = nn.CrossEntropyLoss() }
    return model, nn.rand(2048, 100), nn.randint(1, 5, { 2048 })
  end

  it("that is too low is an error before training starts, with the estimate", function()
    local model, x, y = model_and_data()
    local weight = model[1].weight:clone()
    collect()
    local live = nn.memory().live
    nn.set_memory_limit(live + 200000) -- not even the gradients and Adam's averages
    assert.error_matches(function() model:fit(x, y, { batch_size = 32, verbose = 0 }) end,
      "fit: training needs at least .* with batch_size = 32 %(parameters 123.1 KB, gradients 123.1 KB, optimizer .*%), "
      .. "more than the .* that nn.set_memory_limit leaves.*check_memory = false")
    nn.set_memory_limit(live + 3000000) -- these, but no step of 2048 samples
    assert.error_matches(function() model:fit(x, y, { batch_size = 2048, verbose = 0 }) end,
      "fit: training needs about .* with batch_size = 2048")
    nn.set_memory_limit()
    assert.is_true(model[1].weight:equal(weight))
    nn.set_memory_limit(live + 3000000)
    local history = model:fit(x, y, { batch_size = 64, verbose = 0 })
    assert.is_true(history.loss[1] > 0)
  end)

  it("is not looked at beforehand where fit is told so", function()
    local model, x, y = model_and_data()
    collect()
    nn.set_memory_limit(nn.memory().live + 3000000)
    assert.error_matches(function() model:fit(x, y, { batch_size = 2048, verbose = 0, check_memory = false }) end,
      "out of memory")
  end)
end)
