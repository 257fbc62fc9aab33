local nn = require "nnlua"
local support = require "support"

local function net(activation)
  return nn.Sequential { nn.Dense(8, { activation = "tanh" }), nn.Dense(1, { activation = activation }) }
end

-- y = 1 where the sum of three numbers is above 0.
local function problem(count)
  nn.manual_seed(7)
  local x = nn.randn(count or 100, 3)
  return x, x:sum(2, true):gt(0):float()
end

local quiet = { verbose = 0 }

local function options(more)
  more.verbose = 0
  return more
end

describe("fit", function()
  support.count_tensors(before_each, after_each)

  it("learns, and tells the mean of each epoch", function()
    local x, y = problem()
    local model = net("sigmoid")
    model:compile { optimizer = { "adam", lr = 0.05 }, loss = "binary_crossentropy", metrics = { "accuracy" } }
    local history = model:fit(x, y, options { epochs = 20 })
    assert.equal(20, #history.loss)
    assert.equal(20, #history.accuracy)
    assert.is_true(history.loss[20] < 0.5 * history.loss[1])
    assert.is_true(model:evaluate(x, y).accuracy > 0.9)
  end)

  it("weighs the batches by their samples", function()
    local x = nn.tensor { { 1 }, { 2 }, { 3 } }
    local model = nn.Dense(1, 1, { bias = false })
    model:load_state_dict { weight = nn.zeros(1, 1) }
    model:compile { optimizer = { "sgd", lr = 0 }, loss = "mse", metrics = { "mae" } }
    local history = model:fit(x, x, options { batch_size = 2, shuffle = false })
    assert.near(14 / 3, history.loss[1], 1e-5)
    assert.near(2, history.mae[1], 1e-5)
  end)

  it("takes (N) targets for (N, 1) predictions, of any type", function()
    local x, y = problem(10)
    for _, target in ipairs { y:squeeze(2), y:squeeze(2):to("int64"), y:to("bool"), y } do
      local model = net("sigmoid"):compile { optimizer = "sgd", loss = "binary_crossentropy", metrics = { "accuracy" } }
      nn.manual_seed(1)
      local history = model:fit(x, target, options {})
      assert.is_true(history.loss[1] < 2)
    end
  end)

  it("holds back the last share of the rows", function()
    local x, y = problem()
    local model = net("sigmoid"):compile { optimizer = "adam", loss = "binary_crossentropy", metrics = { "accuracy" } }
    local history = model:fit(x, y, options { validation_split = 0.25, epochs = 3 })
    assert.equal(3, #history.val_loss)
    local again = model:evaluate(x:narrow(1, 76, 25), y:narrow(1, 76, 25))
    assert.near(again.loss, history.val_loss[3], 1e-6)
    assert.equal(again.accuracy, history.val_accuracy[3])
  end)

  it("takes other data for validation, and a loader", function()
    local x, y = problem()
    local loader = nn.data.DataLoader(nn.data.TensorDataset(x, y), { batch_size = 10 })
    local model = net("sigmoid"):compile { optimizer = "adam", loss = "binary_crossentropy" }
    local history = model:fit(loader, nil, options { validation_data = { x, y }, epochs = 2 })
    assert.equal(2, #history.val_loss)
  end)

  it("gives the same bits for the same seed", function()
    local function run()
      local x, y = problem()
      local model = net("sigmoid"):compile { optimizer = "adam", loss = "binary_crossentropy" }
      model:fit(x, y, options { epochs = 3 })
      return model[1].weight
    end
    assert.is_true(run():equal(run()))
  end)

  it("calls the callbacks and stops where one says so", function()
    local x, y = problem()
    local model = net("sigmoid"):compile { optimizer = "adam", loss = "binary_crossentropy" }
    local calls, batches = {}, 0
    local history = model:fit(x, y, options { epochs = 10, callbacks = { {
      on_train_begin = function() calls[#calls + 1] = "train" end,
      on_epoch_begin = function(_, epoch) calls[#calls + 1] = "begin " .. epoch end,
      on_batch_end = function(_, _, logs) batches = batches + (logs.loss and 1 or 0) end,
      on_epoch_end = function(self, epoch, logs)
        calls[#calls + 1] = "end " .. epoch
        assert.equal(model, self.model)
        assert.is_number(logs.loss)
        if epoch == 2 then return "stop" end
      end,
      on_train_end = function() calls[#calls + 1] = "over" end,
    } } })
    assert.same({ "train", "begin 1", "end 1", "begin 2", "end 2", "over" }, calls)
    assert.equal(2, #history.loss)
    assert.equal(8, batches)
  end)

  it("stops by model.stop_training, and starts again from a later epoch", function()
    local x, y = problem()
    local model = net("sigmoid"):compile { optimizer = "adam", loss = "binary_crossentropy" }
    local stop = { on_epoch_end = function(self) self.model.stop_training = true end }
    assert.equal(1, #model:fit(x, y, options { epochs = 5, callbacks = { stop } }).loss)
    assert.same({ 4, 5 }, model:fit(x, y, options { epochs = 5, initial_epoch = 3 }).epoch)
  end)

  it("adds the penalties of the layers to the loss", function()
    local x = nn.ones(4, 2)
    local layer = nn.Dense(2, 1, { kernel_regularizer = { l2 = 0.5 }, bias = false })
    layer:load_state_dict { weight = nn.ones(1, 2) }
    local y = layer(x):detach()
    layer:compile { optimizer = { "sgd", lr = 0 }, loss = "mse" }
    assert.near(1, layer:fit(x, y, quiet).loss[1], 1e-6)
    assert.near(1, layer:evaluate(x, y).loss, 1e-6)
  end)

  it("names the place of a NaN in the data", function()
    local x, y = problem()
    x[{ 17, 2 }] = 0 / 0
    local model = net("sigmoid"):compile { optimizer = "adam", loss = "binary_crossentropy" }
    local pattern = "^fit: the loss is NaN in epoch 1, batch %d; the data hold NaN: x%[17, 2%]"
    assert.error_matches(function() model:fit(x, y, quiet) end, pattern)
    assert.error_matches(function() model:evaluate(x, y) end, "^evaluate: .* NaN: x%[17, 2%]")
    assert.error_matches(function() model:train_step(x, y) end, "train_step: the loss is NaN; the data hold NaN: x%[17")
    assert.equal(0, model[1].weight:isnan():sum():item())
  end)

  it("tells the line of the script that an error comes from", function()
    local x, y = problem()
    x[{ 17, 2 }] = 0 / 0
    local model = net("sigmoid"):compile { optimizer = "adam", loss = "binary_crossentropy" }
    local line = debug.getinfo(1, "l").currentline
    local _, from_fit = pcall(function() return (model:fit(x, y, quiet)) end)
    local _, from_predict = pcall(function() return (model:predict(3)) end)
    local _, from_list = pcall(function() return (nn.Sequential { 3 }) end)
    for i, message in ipairs { from_fit, from_predict, from_list } do
      assert.equal(("tests/lua/fit_spec.lua:%d:"):format(line + i), message:match("^%S+"))
    end
  end)

  it("says so when the model itself gives NaN", function()
    local x, y = problem()
    local model = nn.Dense(3, 1):compile { optimizer = { "sgd", lr = 1e30 }, loss = "mse" }
    assert.error_matches(function() model:fit(x * 1e10, y, options { epochs = 9 }) end, "smaller learning rate")
  end)

  it("leaves the modes as they were, also after an error", function()
    local x, y = problem()
    local model = net("sigmoid"):compile { optimizer = "adam", loss = "binary_crossentropy" }
    model:predict(x)
    model[2]:eval()
    model:predict(x)
    assert.is_true(model[1].training)
    assert.is_false(model[2].training)
    assert.is_false(pcall(model.predict, model, nn.ones(2, 9)))
    assert.is_true(model.training)
    assert.is_true(nn.is_grad_enabled())
    model:evaluate(x, y)
    assert.is_true(model[1].training)
  end)

  it("has clear errors", function()
    local x, y = problem(10)
    local model = net("sigmoid")
    assert.error_matches(function() model:fit(x, y) end, "the model is not compiled")
    assert.error_matches(function() model:compile { loss = "mse" } end, "option optimizer is missing")
    assert.error_matches(function() model:compile { optimizer = "adam", loss = "mean" } end,
      "compile: loss: expected one of .*binary_crossentropy.*, got \"mean\"")
    assert.error_matches(function() model:compile { optimizer = "adan", loss = "mse" } end,
      "optimizer: expected one of .*adamw")
    assert.error_matches(function() model:compile { optimizer = "adam", loss = "mse", metric = {} } end,
      "unknown option \"metric\"; allowed: .*did you mean .metrics")
    model:compile { optimizer = "adam", loss = "mse" }
    assert.error_matches(function() model:fit(x, y, { epochs = "3" }) end,
      "fit: option epochs: expected a whole number from 1, got \"3\"")
    assert.error_matches(function() model:fit(x, nn.ones(3, 1), quiet) end, "as many rows")
    assert.error_matches(function() model:fit(x, nil, quiet) end, "fit: y: expected a tensor, got nil")
  end)
end)

describe("Losses by name", function()
  support.count_tensors(before_each, after_each)

  it("take probabilities, as Keras's do", function()
    local p = nn.tensor { { 0.7, 0.2, 0.1 }, { 0.1, 0.8, 0.1 } }
    local model = nn.Lambda(function(x) return x end)
    local expected = -(math.log(0.7) + math.log(0.8)) / 2
    model:compile { optimizer = "sgd", loss = "sparse_categorical_crossentropy", metrics = { "accuracy" } }
    local result = model:evaluate(p, nn.tensor({ 1, 2 }, { dtype = "int64" }))
    assert.near(expected, result.loss, 1e-5)
    assert.equal(1, result.accuracy)
    assert.near(expected, model:evaluate(p, nn.tensor { { 1 }, { 2 } }).loss, 1e-5)
    model:compile { optimizer = "sgd", loss = "categorical_crossentropy" }
    assert.near(expected, model:evaluate(p, nn.tensor { { 1, 0, 0 }, { 0, 1, 0 } }).loss, 1e-5)
    model:compile { optimizer = "sgd", loss = "binary_crossentropy" }
    assert.near(-(math.log(0.7) + math.log(0.8) + math.log(0.9)) / 3,
      model:evaluate(nn.tensor { { 0.7 }, { 0.2 }, { 0.1 } }, nn.tensor { 1, 0, 0 }).loss, 1e-5)
  end)

  it("take logits where they mean PyTorch's objects", function()
    local logits = nn.tensor { { 2, -1 }, { 0, 1 } }
    local model = nn.Lambda(function(x) return x end)
    local target = nn.tensor({ 1, 2 }, { dtype = "int64" })
    model:compile { optimizer = "sgd", loss = "cross_entropy" }
    local by_name = model:evaluate(logits, target).loss
    model:compile { optimizer = "sgd", loss = nn.CrossEntropyLoss(), metrics = { "accuracy" } }
    local by_object = model:evaluate(logits, target)
    assert.equal(by_name, by_object.loss)
    assert.equal(1, by_object.accuracy)
  end)

  it("may be a function", function()
    local model = nn.Dense(1, 1)
    model:compile { optimizer = "sgd", loss = function(p, t) return (p - t):abs():mean() end }
    assert.is_number(model:fit(nn.ones(2, 1), nn.ones(2, 1), quiet).loss[1])
  end)
end)

describe("predict", function()
  support.count_tensors(before_each, after_each)

  it("gives the same as a call, whatever the batches", function()
    local x = problem(70)
    local model = net("sigmoid")
    local all = model(x):detach()
    assert.is_true(model:predict(x, { batch_size = 9 }):allclose(all))
    assert.is_false(model:predict(x).requires_grad)
  end)
end)

describe("train_step", function()
  support.count_tensors(before_each, after_each)

  it("does one batch and tells its loss", function()
    local x, y = problem()
    local model = net("sigmoid"):compile { optimizer = { "adam", lr = 0.1 }, loss = "mse", metrics = { "accuracy" } }
    local first = model:train_step(x, y)
    for _ = 1, 20 do model:train_step(x, y) end
    assert.is_true(model:train_step(x, y).loss < first.loss)
    assert.is_number(first.accuracy)
  end)
end)
