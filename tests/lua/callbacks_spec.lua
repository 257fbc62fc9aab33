local nn = require "nnlua"
local support = require "support"

local message_of = support.message_of
local C = nn.callbacks

local paths = {}

local function new_path()
  local path = os.tmpname()
  os.remove(path)
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

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- A model of one weight that starts at `value`; y = 3 x.
local function line(value, options)
  local model = nn.Sequential { nn.Dense(1, 1, { bias = false }) }
  model:load_state_dict { ["0.weight"] = nn.tensor { { value or 0 } } }
  options = options or {}
  options.optimizer, options.loss = options.optimizer or { "sgd", lr = 0.05 }, "mse"
  return model:compile(options), nn.tensor { { 1 }, { 2 } }, nn.tensor { { 3 }, { 6 } }
end

local function fit(model, x, y, options)
  options.verbose = options.verbose or 0
  return model:fit(x, y, options)
end

-- A callback that makes val_loss what the list says, epoch by epoch.
local function measured(values)
  return { on_epoch_end = function(_, epoch, logs) logs.val_loss = values[epoch] end }
end

local function weight_of(model) return model[1].weight:item() end

describe("Callbacks", function()
  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  it("are called at all moments, with what belongs there", function()
    local calls = {}
    local function note(name)
      return function(self, ...)
        assert.is_table(self.params)
        local first = ...
        calls[#calls + 1] = name .. (type(first) == "number" and " " .. first or "")
        assert.is_table((select(select("#", ...), ...)))
      end
    end
    local callback = {}
    for name in pairs(require "nnlua.callbacks.hooks".names) do callback[name] = note(name:sub(4)) end
    callback.on_batch_begin, callback.on_batch_end = nil, nil
    local model, x, y = line()
    fit(model, x, y, { callbacks = { callback }, batch_size = 1, validation_data = { x, y } })
    assert.same({
      "train_begin", "epoch_begin 1", "train_batch_begin 1", "train_batch_end 1", "train_batch_begin 2",
      "train_batch_end 2", "test_begin", "test_batch_begin 1", "test_batch_end 1", "test_batch_begin 2",
      "test_batch_end 2", "test_end", "epoch_end 1", "train_end",
    }, calls)
    assert.equal(model, callback.model)
    assert.same({ "loss", "val_loss" }, callback.params.metrics)
    assert.equal(2, callback.params.steps)
    calls = {}
    model:evaluate(x, y, { callbacks = { callback } })
    model:predict(x, { callbacks = callback })
    assert.same({ "test_begin", "test_batch_begin 1", "test_batch_end 1", "test_end", "predict_begin",
      "predict_batch_begin 1", "predict_batch_end 1", "predict_end" }, calls)
  end)

  it("may be classes of the script's own, and functions without self", function()
    local Count = C.Callback:extend("Count")
    function Count:init(step) self.step, self.total = step, 0 end
    function Count:on_batch_end() self.total = self.total + self.step end
    local count, epochs = Count(2), {}
    local model, x, y = line()
    fit(model, x, y, { epochs = 3, batch_size = 1, callbacks = {
      count, C.LambdaCallback { on_epoch_begin = function(epoch) epochs[#epochs + 1] = epoch end } } })
    assert.equal(12, count.total)
    assert.same({ 1, 2, 3 }, epochs)
  end)

  it("put into the history what they put into the logs", function()
    local model, x, y = line()
    local history = fit(model, x, y, { epochs = 2, callbacks = {
      { on_epoch_end = function(_, epoch, logs) logs.double = 2 * epoch end } } })
    assert.same({ 2, 4 }, history.double)
  end)

  local where = support.where
  where("yields", it, pending)("stop in the middle of an epoch, and let a host take over after each batch", function()
    local model, x, y = line()
    local batches = 0
    fit(model, x, y, { epochs = 5, batch_size = 1, callbacks = { { on_batch_end = function(self)
      batches = batches + 1
      self.model.stop_training = true
    end } } })
    assert.equal(1, batches)
    local turns = 0
    local training = coroutine.wrap(function()
      fit(model, x, y, { epochs = 2, batch_size = 1, callbacks = { { on_batch_end = coroutine.yield } } })
      return "done"
    end)
    while training() ~= "done" do turns = turns + 1 end
    assert.equal(4, turns)
  end)

  it("that are misspelt are errors with a hint", function()
    local model, x, y = line()
    local function try(callbacks) return message_of(function() fit(model, x, y, { callbacks = callbacks }) end) end
    assert.matches("a callback has on_epoch_ends, .*did you mean 'on_epoch_end'", try { { on_epoch_ends = print } })
    assert.matches("callback 1 is a class; call it", try { C.EarlyStopping })
    assert.matches("callback 1: expected a table .*, got 3", try { 3 })
    assert.matches("expected a list, got the key \"stop\"", try { stop = {} })
    assert.matches("unknown option \"patiense\".*did you mean 'patience'",
      message_of(function() C.EarlyStopping { patiense = 3 } end))
    assert.matches("there is no moment \"on_epoch\"", message_of(function() C.LambdaCallback { on_epoch = print } end))
    assert.matches("nn.callbacks has no 'EarlyStoping'; did you mean 'EarlyStopping'",
      message_of(function() return C.EarlyStoping end))
    assert.matches("EarlyStopping: there is no val_loss; this training measures loss: give fit validation data",
      try { C.EarlyStopping {} })
    assert.matches("there is no losss; .*did you mean 'loss'", try { C.EarlyStopping { monitor = "losss" } })
    assert.matches("option mode: expected one of auto max min",
      message_of(function() C.EarlyStopping { mode = "up" } end))
  end)
end)

describe("EarlyStopping", function()
  support.count_tensors(before_each, after_each)

  local function epochs_until(values, options)
    local model, x, y = line()
    local stopping = C.EarlyStopping(options)
    local history = fit(model, x, y, { epochs = #values, callbacks = { measured(values), stopping },
      validation_data = { x, y } })
    return #history.epoch, stopping
  end

  it("waits for as many epochs as patience says", function()
    assert.equal(3, (epochs_until({ 3, 2, 2, 1, 0 })))
    assert.equal(6, (epochs_until({ 3, 2, 2, 1, 1, 0 }, { patience = 2, min_delta = 0 })))
    assert.equal(4, (epochs_until({ 3, 2, 2.5, 2, 1 }, { patience = 2 })))
    assert.equal(5, (epochs_until({ 3, 2, 1.9, 1.8, 1.7, 1.6 }, { patience = 3, min_delta = 0.5 })))
    assert.equal(3, (epochs_until({ 5, 4, 3, 2, 1 }, { patience = 3, baseline = 0.5 })))
    assert.equal(5, (epochs_until({ 5, 4, 3, 2, 1 }, { patience = 3, baseline = 4.5 })))
    assert.equal(6, (epochs_until({ 1, 2, 3, 4, 5, 6, 7, 8 }, { start_from_epoch = 4, patience = 1 })))
    assert.equal(3, (epochs_until({ 1, 2, 1, 1, 1 }, { mode = "max", patience = 1 })))
    assert.equal(2, (epochs_until({ 0.5, 0.9, 0.4, 0.3 }, { patience = 1 })))
  end)

  it("gives back the best weights", function()
    local model, x, y = line()
    local best
    fit(model, x, y, { epochs = 9, validation_data = { x, y }, callbacks = {
      measured { 3, 1, 2, 2 }, C.EarlyStopping { patience = 2, restore_best_weights = true },
      { on_epoch_end = function(self, epoch) if epoch == 2 then best = weight_of(self.model) end end },
    } })
    assert.equal(best, weight_of(model))
  end)

  it("says what it did when asked to", function()
    local text = ""
    nn.set_output(function(piece) text = text .. piece end)
    epochs_until({ 1, 2, 3 }, { verbose = 1, restore_best_weights = true })
    nn.set_output()
    assert.equal("EarlyStopping: ended at epoch 2, no better val_loss for 1 epochs\n" ..
      "EarlyStopping: the weights are those of epoch 1, val_loss = 1\n", text)
  end)
end)

describe("Callbacks of the learning rate", function()
  support.count_tensors(before_each, after_each)

  it("reduce it where nothing improves", function()
    local model, x, y = line(0, { optimizer = { "sgd", lr = 1e-3 } })
    local history = fit(model, x, y, { epochs = 7, validation_data = { x, y }, callbacks = {
      measured { 1, 1, 1, 1, 1, 1, 1 },
      C.ReduceLROnPlateau { patience = 1, factor = 0.5, cooldown = 2, min_lr = 2e-4 } } })
    local expected = { 1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4, 2e-4 }
    for epoch, rate in ipairs(history.lr) do assert.near(expected[epoch], rate, 1e-12) end
  end)

  it("follow a function or a schedule", function()
    local model, x, y = line()
    local history = fit(model, x, y, { epochs = 3, callbacks = {
      C.LearningRateScheduler(function(epoch, lr) return epoch == 1 and lr or lr / 2 end) } })
    assert.same({ 0.05, 0.025, 0.0125 }, history.lr)
    model = line()
    local steps = {}
    fit(model, x, y, { epochs = 2, batch_size = 1, callbacks = {
      C.LearningRateScheduler({ make = function(optimizer)
        return nn.optim.lr_scheduler.StepLR(optimizer, 1, { gamma = 0.5 })
      end }, { every = "batch" }),
      { on_batch_end = function(self) steps[#steps + 1] = self.model:optimizer_in_use().lr end } } })
    assert.same({ 0.025, 0.0125, 0.00625, 0.003125 }, steps)
    local optimizer = nn.optim.SGD(model:parameters(), { lr = 1 })
    model:compile { optimizer = optimizer, loss = "mse" }
    history = fit(model, x, y, { epochs = 2, callbacks = {
      C.LearningRateScheduler(nn.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)) } })
    assert.near(0.1, history.lr[2], 1e-12)
    local other = line()
    assert.matches("of another optimizer", message_of(function()
      fit(other, x, y, { callbacks = { C.LearningRateScheduler(nn.optim.lr_scheduler.ExponentialLR(optimizer, 0.1)) } })
    end))
  end)

  it("find the optimizer of a model whose layers take their sizes from the data", function()
    local model = nn.Sequential { nn.Dense(4), nn.Dense(1) }:compile { optimizer = "adam", loss = "mse" }
    local history = fit(model, nn.ones(4, 2), nn.ones(4, 1), { callbacks = {
      C.LearningRateScheduler(function() return 0.5 end) } })
    assert.same({ 0.5 }, history.lr)
  end)
end)

describe("ModelCheckpoint", function()
  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  it("saves the best, or each by its name", function()
    local model, x, y = line()
    local folder, best, kept = new_path(), new_path(), {}
    fit(model, x, y, { epochs = 4, validation_data = { x, y }, callbacks = {
      measured { 3, 1, 2, 2 }, C.ModelCheckpoint(best, { save_best_only = true, metadata = { k = "v" } }),
      C.ModelCheckpoint(folder .. "-{epoch:02d}-{val_loss:.1f}", { save_weights_only = true }),
      { on_epoch_end = function(self, epoch) kept[epoch] = weight_of(self.model) end } } })
    assert.equal(kept[2], weight_of(assert(nn.load(best))))
    assert.same({ k = "v" }, select(2, nn.load(best)))
    for epoch, value in ipairs { "3.0", "1.0", "2.0", "2.0" } do
      local path = ("%s-%02d-%s"):format(folder, epoch, value)
      paths[#paths + 1] = path
      assert.equal(kept[epoch], assert(nn.load(path))["0.weight"]:item())
    end
  end)

  it("saves after so many batches, in a folder that it makes", function()
    local model, x, y = line()
    local folder = new_path()
    local path = folder .. "/"
    fit(model, x, y, { epochs = 3, batch_size = 1, callbacks = { C.ModelCheckpoint(path .. "{batch}-{epoch}",
      { save_freq = 3, optimizer = true }) } })
    for _, name in ipairs { "1-2", "2-3" } do
      assert.is_userdata(assert(nn.load(path .. name)):optimizer_in_use())
      os.remove(path .. name)
    end
  end)

  it("has clear errors", function()
    local model, x, y = line()
    local function try(path, options)
      return message_of(function() fit(model, x, y, { callbacks = { C.ModelCheckpoint(path, options) } }) end)
    end
    assert.matches("nothing called acc is measured", try("x-{acc:.2f}"))
    assert.matches("the format \"02y\" does not fit epoch", try("x-{epoch:02y}"))
    local file = new_path()
    assert(nn.save({ a = nn.ones(1) }, file))
    assert.matches("ModelCheckpoint: ", try(file .. "/x"))
    assert.matches("option save_freq: expected \"epoch\", or a number of batches", try("x", { save_freq = 0 }))
  end)
end)

describe("CSVLogger", function()
  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  it("writes a line for each epoch, and goes on behind what is there", function()
    local model, x, y = line()
    local path = new_path()
    local history = fit(model, x, y, { epochs = 2, validation_data = { x, y }, callbacks = {
      { on_epoch_end = function(_, epoch, logs) logs["a;b"] = epoch end }, C.CSVLogger(path, { separator = ";" }) } })
    local text = read(path)
    assert.matches('^epoch;loss;val_loss;"a;b"\n1;', text)
    local fields = {}
    for field in text:match("\n2;([^\n]*)\n$"):gmatch("[^;]+") do fields[#fields + 1] = tonumber(field) end
    assert.same({ history.loss[2], history.val_loss[2], 2 }, fields)
    fit(model, x, y, { epochs = 3, initial_epoch = 2, callbacks = {
      C.CSVLogger(path, { append = true, separator = ";" }) } })
    assert.equal(text, read(path):sub(1, #text))
    assert.matches("^3;[^\n]*\n$", read(path):sub(#text + 1))
  end)
end)

describe("TerminateOnNaN", function()
  support.count_tensors(before_each, after_each)

  it("ends training without an error, the model as it was", function()
    local model, x, y = line(1)
    local history = fit(model, x * (0 / 0), y, { epochs = 3, callbacks = { C.TerminateOnNaN() } })
    assert.equal(1, #history.loss)
    assert.is_true(history.loss[1] ~= history.loss[1])
    assert.equal(1, weight_of(model))
    assert.error_matches(function() fit(model, x * (0 / 0), y, {}) end, "the loss is NaN")
  end)
end)

describe("BackupAndRestore", function()
  local x, y, log

  before_each(function()
    nn.manual_seed(2)
    x, y = nn.randn(50, 4), nn.randint(1, 4, { 50 })
    log = new_path()
  end)

  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  -- The whole script of somebody: all that remembers something. It is cut off after so many batches.
  local function script(path, cut, options, seen)
    nn.manual_seed(11)
    local model = nn.Sequential {
      nn.Dense(4, 8, { activation = "relu" }), nn.BatchNorm1d(8), nn.Dropout(0.4), nn.Dense(8, 3),
    }
    model:compile { optimizer = { "adam", lr = 0.02 }, loss = "cross_entropy", metrics = { "accuracy", "auc" },
      accumulate = 2, ema = 0.9, clip_norm = 1 }
    local batches = 0
    local data, targets = x, y
    if options.loader then data, targets = options.loader(), nil end
    local given = {
      epochs = 4, batch_size = 8, verbose = 0, steps_per_epoch = options.steps,
      validation_data = { x:narrow(1, 1, 10), y:narrow(1, 1, 10) },
      callbacks = {
        C.EarlyStopping { patience = 2, restore_best_weights = true }, C.CSVLogger(log),
        C.LearningRateScheduler({ make = function(optimizer)
          return nn.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, { total_steps = 200 })
        end }, { every = "batch" }),
        C.BackupAndRestore(path, options.backup),
        { on_train_batch_end = function()
          batches = batches + 1
          if seen then seen[#seen + 1] = batches end
          if batches == cut then error("cut off", 0) end
        end },
      },
    }
    local ok, history = pcall(model.fit, model, data, targets, given)
    if not ok then assert(history == "cut off", history) end
    return ok, model, history, nn.get_rng_state()
  end

  local function assert_same_end(options, cuts)
    local path = new_path()
    local _, expected, history, random = script(new_path(), nil, options)
    local rows = read(log)
    for _, cut in ipairs(cuts) do
      local ok, model, again, state
      local runs = 0
      repeat
        ok, model, again, state = script(path, cut, options)
        runs = runs + 1
      until ok or runs > 40
      assert.is_true(ok and runs > 1)
      for name, tensor in pairs(expected:state_dict()) do
        assert.is_true(tensor:equal(model:state_dict()[name]), name)
      end
      for name, list in pairs(history) do assert.same(list, again[name]) end
      assert.equal(random, state)
      assert.equal(rows, read(log))
      assert.equal(options.backup and options.backup.keep or false, exists(path))
      os.remove(path)
    end
  end

  it("goes on after an epoch with the same bits", function()
    assert_same_end({}, { 8, 13 })
  end)

  it("goes on within an epoch with the same bits", function()
    assert_same_end({ backup = { save_freq = 3 } }, { 5, 9 })
  end)

  it("goes on where epochs are cut out of passes through the data", function()
    assert_same_end({ backup = { save_freq = 3 }, steps = 5 }, { 7 })
  end)

  it("goes on with a loader, and with a function that gives batches", function()
    local function loader()
      return nn.data.DataLoader(nn.data.TensorDataset(x, y), { batch_size = 8, shuffle = true })
    end
    assert_same_end({ backup = { save_freq = 4 }, loader = loader }, { 9 })
    local function endless()
      return function()
        local rows = nn.randint(1, 51, { 8 })
        return x:index_select(1, rows), y:index_select(1, rows)
      end
    end
    assert_same_end({ backup = { save_freq = 4 }, loader = endless, steps = 6 }, { 7 })
  end)

  it("keeps the file when asked to, and then a second run has nothing to do", function()
    local path, seen = new_path(), {}
    local options = { backup = { keep = true } }
    local _, model = script(path, nil, options)
    assert.is_true(exists(path))
    local _, again, history = script(path, nil, options, seen)
    assert.same({}, seen)
    assert.is_true(#history.loss >= 3)
    assert.is_true(model[1].weight:equal(again[1].weight))
    assert.same({ 10, 3 }, assert(nn.load(path)):predict(x:narrow(1, 1, 10)).shape)
  end)

  it("says so where the file is of another training, or no such file", function()
    local path = new_path()
    script(path, 12, {})
    local other = nn.Sequential { nn.Dense(4, 3) }:compile { optimizer = "adam", loss = "cross_entropy" }
    local function try(options)
      options.callbacks, options.verbose = { C.BackupAndRestore(path) }, 0
      return message_of(function() other:fit(x, y, options) end)
    end
    assert.matches("does not fit this training: batch_size was 8 and is 32 now. Remove the file", try {})
    assert.matches("the model is another one\n", try { batch_size = 8 })
    assert(nn.save({ a = nn.ones(1) }, path))
    assert.matches("not a backup of a training", try {})
    local file = assert(io.open(path, "wb"))
    file:write("nothing of the kind")
    file:close()
    assert.matches("no safetensors file", try {})
  end)

  it("tells the state of a script's own callbacks", function()
    local path = new_path()
    local function counter()
      local own = { name = "counter", total = 0 }
      function own:on_batch_end() self.total = self.total + 1 end
      function own:get_state() return { total = self.total } end
      function own:set_state(state) self.total = state.total end
      return own
    end
    local function run(stop_at)
      local model, a, b = line()
      local count = counter()
      pcall(fit, model, a, b, { epochs = 4, batch_size = 1, callbacks = { count, C.BackupAndRestore(path),
        { on_epoch_end = function(_, epoch) if epoch == stop_at then error("cut off", 0) end end } } })
      return count.total
    end
    assert.equal(6, run(3))
    assert.equal(8, run())
  end)
end)
