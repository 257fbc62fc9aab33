--- fit beyond one tensor in and one out: several inputs and outputs, weights, endless data, gradients over batches.

local nn = require "nnlua"
local support = require "support"

local message_of = support.message_of

local Two = nn.Module:extend("FitTwo")
function Two:init()
  self.left, self.right = nn.Dense(3, 4), nn.Dense(2, 4)
  self.class, self.value = nn.Dense(4, 3), nn.Dense(4, 1)
end

function Two:forward(a, b)
  local h = (self.left(a) + self.right(b)):tanh()
  return self.class(h), self.value(h)
end

local Named = nn.Module:extend("FitNamed")
function Named:init() self.inner = Two() end
function Named:forward(x)
  local class, value = self.inner(x.a, x.b)
  return { class = class, value = value }
end

local function problem(count)
  count = count or 24
  return nn.randn(count, 3), nn.randn(count, 2), nn.randint(1, 4, { count }), nn.randn(count)
end

local function quiet(options)
  options = options or {}
  options.verbose = 0
  return options
end

-- A linear model whose weight is 0, of one input.
local function zero_line(options)
  local model = nn.Dense(1, 1, { bias = false })
  model:load_state_dict { weight = nn.zeros(1, 1) }
  options.optimizer = options.optimizer or { "sgd", lr = 0.1 }
  options.loss = options.loss or "mse"
  return model:compile(options)
end

describe("Several inputs and outputs", function()
  support.count_tensors(before_each, after_each)

  it("are lists, and losses add up with their weights", function()
    local a, b, class, value = problem()
    local model = Two():compile { optimizer = { "sgd", lr = 0 }, loss = { "cross_entropy", "mse" },
      loss_weights = { 2, 0.5 }, metrics = { "accuracy", { "mae", "mse" } } }
    local history = model:fit({ a, b }, { class, value }, quiet { batch_size = 7, validation_split = 0.25 })
    local first, second = model(a:narrow(1, 1, 18), b:narrow(1, 1, 18))
    local expected = 2 * nn.functional.cross_entropy(first, class:narrow(1, 1, 18)):item()
      + 0.5 * nn.functional.mse_loss(second:squeeze(2), value:narrow(1, 1, 18)):item()
    assert.near(expected, history.loss[1], 1e-5)
    assert.near(history.output_2_mse[1], history.output_2_loss[1], 1e-5)
    assert.is_number(history.val_output_1_accuracy[1])
    local one, two = model:predict({ a, b }, { batch_size = 5 })
    assert.is_true(one:allclose((model(a, b))))
    assert.same({ 24, 1 }, two.shape)
  end)

  it("may have names, and an output without a loss", function()
    local a, b, class, value = problem()
    local model = Named():compile { optimizer = "adam", loss = { class = "cross_entropy", value = "mse" },
      metrics = { class = "accuracy" } }
    local history = model:fit({ a = a, b = b }, { class = class, value = value }, quiet { epochs = 2 })
    assert.is_number(history.class_accuracy[2] + history.value_loss[2])
    local result = model:predict { a = a, b = b }
    assert.same({ 24, 3 }, result.class.shape)
    model:compile { optimizer = "adam", loss = { class = "cross_entropy", value = false } }
    assert.same({ "class_loss", "epoch", "loss" }, (function(names)
      for name in pairs(model:fit({ a = a, b = b }, { class = class }, quiet())) do names[#names + 1] = name end
      table.sort(names)
      return names
    end)({}))
  end)

  it("come from loaders, value by value", function()
    local a, b, class, value = problem()
    local model = Two():compile { optimizer = { "sgd", lr = 0 }, loss = { "cross_entropy", "mse" } }
    local loader = nn.data.DataLoader(nn.data.TensorDataset(a, b, class, value), { batch_size = 5 })
    local by_loader = model:evaluate(loader, { inputs = 2 })
    local by_tensors = model:evaluate({ a, b }, { class, value })
    for name, expected in pairs(by_tensors) do assert.near(expected, by_loader[name], 1e-5) end
    local weighted = nn.data.DataLoader(nn.data.TensorDataset(a, b, class, value, nn.zeros(24)), { batch_size = 5 })
    assert.equal(0, model:fit(weighted, quiet { inputs = 2 }).loss[1])
    assert.is_true(model:predict(loader, { inputs = 2 }):allclose((model(a, b))))
  end)

  it("have clear errors", function()
    local a, b, class, value = problem()
    local model = Named()
    local losses = { class = "cross_entropy", value = "mse" }
    model:compile { optimizer = "adam", loss = losses }
    assert.matches("fit: y%[value%]: expected a tensor of targets, got nil", message_of(function()
      model:fit({ a = a, b = b }, { class = class }, quiet()) end))
    assert.matches("metrics: there is no output kind; the losses have class value", message_of(function()
      model:compile { optimizer = "adam", loss = losses, metrics = { kind = "mae" } } end))
    assert.matches("the tensors of x: expected as many rows in both", message_of(function()
      model:fit({ a = a, b = b:narrow(1, 1, 3) }, { class = class, value = value }, quiet()) end))
    model:compile { optimizer = "adam", loss = "mse" }
    assert.matches("evaluate: expected the model to give a tensor, got a table: give compile a loss for each output",
      message_of(function() model:evaluate({ a = a, b = b }, value) end))
  end)
end)

describe("Weights of samples", function()
  support.count_tensors(before_each, after_each)

  local x, y = { { 1 }, { 1 }, { 1 }, { 1 } }, { 1, 2, 3, 4 }

  it("count in the loss as in Keras, and in weighted metrics alone", function()
    local model = zero_line { metrics = { "mae" }, weighted_metrics = { "mae" } }
    local result = model:evaluate(x, y, { sample_weight = { 1, 0, 0, 3 } })
    assert.near((1 * 1 + 3 * 16) / 4, result.loss, 1e-6)
    assert.near(2.5, result.mae, 1e-6)
    assert.near((1 + 3 * 4) / 4, result.weighted_mae, 1e-6)
    local history = model:fit(x, y, quiet { sample_weight = { 0, 0, 0, 0 },
      validation_data = { x, y, { 1, 0, 0, 0 } } })
    assert.equal(0, history.loss[1])
    assert.near(1 / 4, history.val_loss[1], 1e-6)
    assert.equal(0, model.weight:item())
  end)

  it("of ones change nothing, whatever the loss", function()
    local labels, p = nn.randint(1, 4, { 6 }), nn.randn(6, 3):softmax(-1)
    local values = nn.rand(6, 3)
    local cases = {
      { nn.CrossEntropyLoss { weight = nn.tensor { 1, 2, 3 }, ignore_index = 2 }, labels }, { "cross_entropy", labels },
      { "sparse_categorical_crossentropy", labels }, { "binary_crossentropy", values }, { "kl_divergence", values },
      { "huber", values }, { nn.MSELoss { reduction = "sum" }, values }, { nn.NLLLoss(), labels },
      { nn.KLDivLoss { reduction = "batchmean" }, values },
      { nn.BCEWithLogitsLoss { pos_weight = nn.ones(3) * 2 }, values },
      { function(a, b) return (a - b):abs() end, values },
    }
    for i, case in ipairs(cases) do
      local model = nn.Lambda(function(t) return t end):compile { optimizer = function() end, loss = case[1] }
      local plain = model:evaluate(p, case[2]).loss
      assert.near(plain, model:evaluate(p, case[2], { sample_weight = nn.ones(6) }).loss, 1e-5, "case " .. i)
      assert.near(2 * plain, model:evaluate(p, case[2], { sample_weight = nn.ones(6) * 2 }).loss, 1e-4, "case " .. i)
    end
  end)

  it("may be given for each step of a sequence", function()
    local p, labels = nn.randn(2, 3, 4):softmax(-1), nn.randint(1, 5, { 2, 3 })
    local model = nn.Lambda(function(t) return t end):compile { optimizer = function() end,
      loss = "sparse_categorical_crossentropy" }
    local weights = nn.tensor { { 1, 0, 0 }, { 0, 0, 0 } }
    local expected = -math.log(p[{ 1, 1, labels[{ 1, 1 }] }]) / 6
    assert.near(expected, model:evaluate(p, labels, { sample_weight = weights }).loss, 1e-5)
  end)

  it("follow from their class", function()
    local p = nn.tensor { { 0.5, 0.25, 0.25 }, { 0.25, 0.5, 0.25 } }
    local model = nn.Lambda(function(t) return t end):compile { optimizer = function() end,
      loss = "sparse_categorical_crossentropy" }
    local function loss_of(target, weights)
      return model:test_step(p, target, { class_weight = weights }).loss
    end
    local labels = nn.tensor({ 1, 3 }, { dtype = "int64" })
    assert.near(2 * -math.log(0.5) / 2, loss_of(labels, { [1] = 2, [3] = 0 }), 1e-5)
    assert.near(4 * -math.log(0.25) / 2, loss_of(nn.tensor { { 0, 1, 0 }, { 1, 0, 0 } }, { 0, 4 }), 1e-5)
    local line = zero_line {}
    local binary = line:train_step({ { 1 }, { 1 } }, { 1, 0 }, { class_weight = { [0] = 9, [1] = 4 } })
    assert.near(4 / 2, binary.loss, 1e-6)
    assert.matches("the targets are 0 and 1, so its keys are too", message_of(function()
      line:train_step({ { 1 }, { 1 } }, { 1, 0 }, { class_weight = { 1, 2 } }) end))
  end)

  it("need a loss that gives a value for each sample", function()
    local model = zero_line { loss = function(p, t) return (p - t):square():mean() end }
    assert.matches("leave out its mean", message_of(function()
      model:fit(x, y, quiet { sample_weight = { 1, 1, 1, 1 } }) end))
    assert.matches("x and sample_weight: expected as many rows in both, got 4 and 1", message_of(function()
      zero_line {}:fit(x, y, quiet { sample_weight = { 1 } }) end))
  end)
end)

describe("compile", function()
  support.count_tensors(before_each, after_each)

  it("may let several batches make one step", function()
    local x, y = nn.randn(12, 1), nn.randn(12, 1)
    local whole, parts = zero_line {}, zero_line { accumulate = 3 }
    whole:fit(x, y, quiet { batch_size = 12, shuffle = false })
    parts:fit(x, y, quiet { batch_size = 4, shuffle = false })
    assert.near(whole.weight:item(), parts.weight:item(), 1e-6)
    local rest = zero_line { accumulate = 5 } -- an epoch of three batches: its end makes the step
    rest:fit(x, y, quiet { batch_size = 4, shuffle = false })
    assert.near(whole.weight:item(), rest.weight:item(), 1e-6)
  end)

  it("clips gradients", function()
    local x, y = { { 1 } }, { { 100 } } -- gradient -200
    local by_norm, by_value = zero_line { clip_norm = 3 }, zero_line { clip_value = 2 }
    by_norm:train_step(x, y)
    by_value:train_step(x, y)
    assert.near(0.3, by_norm.weight:item(), 1e-5)
    assert.near(0.2, by_value.weight:item(), 1e-6)
  end)

  it("keeps averages of the weights, which measure and stay", function()
    local x, y = { { 1 } }, { { 1 } }
    local model = zero_line { ema = 0.5 }
    model:train_step(x, y) -- weight 0.2, average 0.1
    assert.near(0.1, model:predict(x):item(), 1e-6)
    assert.near(0.81, model:evaluate(x, y).loss, 1e-5)
    assert.near(0.2, model.weight:item(), 1e-6)
    local history = model:fit(x, y, quiet { validation_data = { x, y } }) -- weight 0.36, average 0.23
    assert.near(0.77 ^ 2, history.val_loss[1], 1e-5)
    assert.near(0.23, model.weight:item(), 1e-6)
  end)

  it("takes LBFGS, and a function that makes an optimizer", function()
    local x = nn.randn(20, 2)
    local y = x:matmul(nn.tensor { { 1 }, { -2 } }) + 3
    local model = nn.Dense(2, 1)
    model:compile { optimizer = nn.optim.LBFGS(model:parameters(), { lr = 1 }), loss = "mse" }
    assert.is_true(model:fit(x, y, quiet { epochs = 3 }).loss[3] < 1e-6)
    local groups = nn.Dense(2, 1)
    groups:compile { loss = "mse", optimizer = function(parameters)
      return nn.optim.SGD { { params = { parameters[1] }, lr = 0.1 }, { params = { parameters[2] }, lr = 0 } }
    end }
    local bias = groups.bias:item()
    groups:fit(x, y, quiet())
    assert.equal(bias, groups.bias:item())
  end)

  it("takes metrics of several forms", function()
    local model = zero_line { metrics = { "mae", worst = function(p, t) return (p - t):abs():max():item() end } }
    local result = model:evaluate({ { 1 }, { 1 } }, { { 1 }, { 3 } })
    assert.near(3, result.worst, 1e-6)
    assert.near(2, result.mae, 1e-6)
    assert.matches("two things to measure have the name \"mae\"", message_of(function()
      zero_line { metrics = { "mae", "mae" } } end))
    assert.matches("unknown option \"clipnorm\".* did you mean 'clip_norm'", message_of(function()
      zero_line { clipnorm = 1 } end))
  end)
end)

describe("fit", function()
  support.count_tensors(before_each, after_each)

  local function loader_of(count, seen)
    return { batches = function()
      local i = 0
      return function()
        i = i + 1
        if i > count then return nil end
        seen[#seen + 1] = i
        return nn.ones(2, 1) * i, nn.ones(2, 1)
      end
    end }
  end

  it("cuts epochs out of data that do not end, or go round", function()
    local seen = {}
    local history = zero_line {}:fit(loader_of(5, seen), quiet { epochs = 3, steps_per_epoch = 2 })
    assert.same({ 1, 2, 3, 4, 5, 1 }, seen)
    assert.equal(3, #history.loss)
    local calls = 0
    local function endless()
      calls = calls + 1
      return nn.ones(2, 1), nn.ones(2, 1)
    end
    zero_line {}:fit(endless, quiet { epochs = 2, steps_per_epoch = 3, validation_data = endless,
      validation_steps = 2 })
    assert.equal(10, calls)
    assert.matches("say when with the option steps_per_epoch", message_of(function()
      zero_line {}:fit(endless, quiet()) end))
    assert.matches("there are no batches", message_of(function() zero_line {}:fit(loader_of(0, {}), quiet()) end))
  end)

  it("takes a function that gives an iterator for each epoch", function()
    local seen = {}
    zero_line {}:fit(function() return loader_of(2, seen):batches() end, quiet { epochs = 2 })
    assert.same({ 1, 2, 1, 2 }, seen)
  end)

  it("validates when it is told to", function()
    local x, y = nn.ones(4, 1), nn.ones(4, 1)
    local history = zero_line {}:fit(x, y, quiet { epochs = 5, validation_data = { x, y }, validation_freq = 2 })
    assert.equal(2, #history.val_loss)
    history = zero_line {}:fit(x, y, quiet { epochs = 5, validation_data = { x, y }, validation_freq = { 1, 4, 5 } })
    assert.equal(3, #history.val_loss)
    local steps = 0
    zero_line {}:fit(x, y, quiet { validation_data = { x, y }, validation_batch_size = 1, validation_steps = 3,
      callbacks = { { on_test_batch_end = function() steps = steps + 1 end } } })
    assert.equal(3, steps)
  end)

  it("gives sequences of batches to evaluate and predict too", function()
    local seen = {}
    local model = zero_line {}
    model:evaluate(loader_of(9, seen), { steps = 2 })
    assert.same({ 6, 1 }, model:predict(loader_of(3, seen)).shape)
    assert.same({ 1, 2, 1, 2, 3 }, seen)
    assert.same({ 4, 1 }, model:predict(nn.ones(9, 1), { batch_size = 2, steps = 2 }).shape)
  end)

  it("shows nothing but what was asked for", function()
    local text = ""
    nn.set_output(function(piece) text = text .. piece end)
    zero_line {}:fit({ { 1 } }, { { 1 } }, quiet())
    assert.equal("", text)
    zero_line {}:evaluate({ { 1 } }, { { 1 } }, { verbose = 1 })
    nn.set_output()
    assert.matches("^Evaluate .*loss 1.0000\n$", text)
  end)
end)

describe("test_step", function()
  support.count_tensors(before_each, after_each)

  it("measures one batch and changes nothing", function()
    local model = nn.Sequential { nn.Dense(2, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Dense(4, 1) }
    model:compile { optimizer = "adam", loss = "mse", metrics = { "mae" } }
    local x, y = nn.randn(8, 2), nn.randn(8, 1)
    local before = model[2].running_mean:clone()
    local logs = model:test_step(x, y)
    assert.same(logs, model:evaluate(x, y))
    assert.is_true(before:equal(model[2].running_mean))
    assert.is_true(model.training)
    assert.is_nil(model[1].weight.grad)
    model:eval()
    model:train_step(x, y)
    assert.is_true(model[3].training)
  end)
end)
