local nn = require "nnlua"
local core = require "nnlua.core"
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

local function two_layers()
  return nn.Sequential { nn.Linear(6, 16, { activation = "tanh" }), nn.Linear(16, 3) }
end

-- As after some training: B is no longer zeros.
local function stir(model)
  for _, matrix in ipairs(nn.lora.parameters(model)) do nn.init.normal_(matrix, 0, 0.3) end
  return model
end

local function copies(model)
  local values = {}
  for name, tensor in pairs(model:state_dict()) do values[name] = tensor:clone() end
  return values
end

local function largest_difference(a, b)
  return (a - b):abs():max():item()
end

-- A layer, an input for it, and the option targets where the default has nothing of it.
local kinds = {
  Linear = { function() return nn.Linear(5, 4) end, function() return nn.randn(3, 5) end },
  Embedding = {
    function() return nn.Embedding(9, 4) end, function() return nn.randint(1, 10, { 2, 7 }) end,
    "weight",
  },
  Conv2d = { function() return nn.Conv2d(3, 4, 3) end, function() return nn.randn(2, 3, 6, 6) end, "weight" },
  LSTM = { function() return nn.LSTM(3, 4) end, function() return nn.randn(2, 5, 3) end, "weight" },
  MultiHeadAttention = {
    function() return nn.MultiHeadAttention(8, 2) end, function() return nn.randn(2, 5, 8) end,
  },
  TransformerEncoderLayer = {
    function() return nn.TransformerEncoderLayer(8, 2, { dim_feedforward = 16, dropout = 0 }) end,
    function() return nn.randn(2, 5, 8) end,
  },
}

describe("Adapters", function()
  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  it("change nothing at first, then what W + alpha / rank * B A changes", function()
    local layer, x = nn.Linear(5, 4), nn.randn(3, 5)
    local before = layer(x):detach()
    nn.lora.apply(layer, { rank = 2, alpha = 6 })
    assert.is_true(layer(x):equal(before))
    assert.same({ 2, 5 }, layer.lora_A.shape)
    assert.same({ 4, 2 }, layer.lora_B.shape)
    stir(layer)
    local expected = before + x:matmul(layer.lora_A:t()):matmul(layer.lora_B:t()) * 3
    assert.is_true(layer(x):allclose(expected, { atol = 1e-5 }))
    assert.equal("Dense(5, 4) + LoRA(weight, rank = 2, alpha = 6)", tostring(layer))
  end)

  it("begin as the paper says: A random, B zeros", function()
    local layer = nn.Linear(100, 50)
    nn.lora.apply(layer, { rank = 16 })
    assert.equal(0, layer.lora_B:abs():max():item())
    assert.is_true(layer.lora_A:abs():max():item() <= 0.1) -- 1 / sqrt(inputs)
    assert.is_true(math.abs(layer.lora_A:std():item() - 0.1 / math.sqrt(3)) < 0.005)
    nn.lora.remove(layer)
    nn.lora.apply(layer, { rank = 16, init = "gaussian" })
    assert.is_true(math.abs(layer.lora_A:std():item() - 1 / 16) < 0.005)
  end)

  for name, kind in pairs(kinds) do
    it("give the same merged and unmerged, and the weights back to the bit: " .. name, function()
      local layer, x = kind[1](), kind[2]()
      local before, weights = layer(x):detach(), copies(layer)
      nn.lora.apply(layer, { rank = 2, alpha = 4, targets = kind[3] })
      assert.is_true(largest_difference(layer(x), before) < 1e-6)
      local adapted = stir(layer)(x)
      assert.is_true(largest_difference(adapted, before) > 1e-2)
      nn.lora.merge(layer)
      assert.is_true(largest_difference(layer(x), adapted) < 1e-4)
      nn.lora.unmerge(layer)
      assert.is_true(layer(x):equal(adapted))
      for key, tensor in pairs(weights) do assert.is_true(layer:state_dict()[key]:equal(tensor)) end
    end)

    it("have right gradients: " .. name, function()
      local layer = kind[1]():double()
      local x = kind[2]()
      if x.dtype == "float32" then x = x:double() end
      nn.lora.apply(layer, { rank = 2, targets = kind[3] })
      local matrices = nn.lora.parameters(stir(layer))
      assert.is_true(nn.gradcheck(function() return (layer(x)) end, matrices))
      for key, tensor in layer:named_parameters() do
        assert.equal(key:find("lora_", 1, true) ~= nil, tensor.requires_grad)
      end
    end)
  end

  it("drop parts of their own input while training only", function()
    local layer, x = nn.Linear(50, 4), nn.ones(1, 50)
    nn.lora.apply(layer, { rank = 2, dropout = 0.5 })
    stir(layer)
    assert.is_false(layer(x):equal(layer(x)))
    layer:eval()
    assert.is_true(layer(x):equal(layer(x)))
  end)

  it("are all that fit changes, and all that the optimizer keeps state of", function()
    local model, x, y = two_layers(), nn.randn(32, 6), nn.randint(1, 4, { 32 })
    local weights = copies(model)
    nn.lora.apply(model, { rank = 2 })
    local first = copies(model)
    model:compile { optimizer = { "adamw", lr = 0.01, weight_decay = 0.1 }, loss = nn.CrossEntropyLoss() }
    model:fit(x, y, { epochs = 3, batch_size = 16, verbose = 0 })
    for name, tensor in pairs(weights) do assert.is_true(model:state_dict()[name]:equal(tensor), name) end
    assert.is_false(model:state_dict()["0.lora_B"]:equal(first["0.lora_B"]))
    local with_state = 0
    for _ in pairs(model:optimizer_in_use():state_dict().state) do with_state = with_state + 1 end
    assert.equal(4, with_state)
    local optimizer = nn.optim.SGD(nn.lora.parameters(model), { lr = 0.1 })
    assert.equal(4, #optimizer.param_groups[1].params)
  end)

  it("are under two of a hundred parameters of a transformer", function()
    local model = nn.Sequential { nn.Embedding(50, 64) }
    for _ = 1, 2 do model:add(nn.TransformerEncoderLayer(64, 4, { dim_feedforward = 256 })) end
    model:add(nn.Linear(64, 50))
    local whole = model:num_parameters()
    nn.lora.apply(model, { rank = 4, targets = "self_attn%.in_proj" })
    local trained = model:num_parameters(true)
    assert.equal(2 * 4 * (64 + 3 * 64), trained)
    assert.is_true(trained / whole < 0.02)
    assert.equal(whole + trained, model:num_parameters())
  end)

  it("leave tied weights alone when one of two layers is merged", function()
    local embed, head = nn.Embedding(7, 4), nn.Linear(4, 7, { bias = false })
    head.weight = embed.weight
    local model, ids = nn.Sequential { embed, head }, nn.tensor({ 1, 5, 7 }, { dtype = "int64" })
    local rows = embed(ids):detach()
    nn.lora.apply(model, { rank = 2 })
    nn.lora.merge(stir(model))
    assert.is_true(embed(ids):equal(rows))
    assert.is_false(head.weight:equal(embed.weight))
    nn.lora.unmerge(model)
    assert.is_true(head.weight:equal(embed.weight))
  end)

  it("leave the vector of padding at 0", function()
    local layer = nn.Embedding(5, 3, { padding_idx = 1 })
    nn.lora.apply(layer, { rank = 2, targets = "weight" })
    local optimizer = nn.optim.SGD(nn.lora.parameters(layer), { lr = 1 })
    for _ = 1, 2 do
      layer(nn.tensor({ 1, 2 }, { dtype = "int64" })):sum():backward()
      optimizer:step()
    end
    assert.equal(0, layer(nn.tensor({ 1 }, { dtype = "int64" })):abs():max():item())
    assert.is_true(layer.lora_B:abs():max():item() > 0)
  end)

  it("follow the model to another dtype", function()
    local model, x = two_layers(), nn.randn(2, 6)
    nn.lora.apply(model, { rank = 2 })
    local y = stir(model)(x)
    model:double()
    assert.equal("float64", model[1].lora_A.dtype)
    assert.is_true(model(x:double()):float():allclose(y, { atol = 1e-5 }))
    nn.lora.merge(model):float()
    nn.lora.unmerge(model)
    assert.is_true(model(x):allclose(y, { atol = 1e-5 }))
  end)

  it("leave a plain model with what they learned behind, merged and removed", function()
    local model, x = two_layers(), nn.randn(2, 6)
    nn.lora.apply(model, { rank = 2 })
    local y = stir(model)(x)
    nn.lora.merge(model)
    nn.lora.remove(model)
    assert.is_true(model(x):allclose(y, { atol = 1e-5 }))
    assert.equal("Dense(16, 3)", tostring(model[2]))
    local plain = two_layers()
    plain:load_state_dict(model:state_dict())
    model:unfreeze()
    assert.equal(model:num_parameters(), model:num_parameters(true))
  end)
end)

describe("A model with adapters", function()
  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  it("has them in its state_dict, beside the weights under their old names", function()
    local model = two_layers()
    nn.lora.apply(model, { rank = 2, targets = "^1%." })
    local names = {}
    for name in model:named_parameters() do names[#names + 1] = name end
    assert.same({ "0.weight", "0.bias", "1.weight", "1.bias", "1.lora_A", "1.lora_B" }, names)
    local other = two_layers()
    assert.error_matches(function() other:load_state_dict(model:state_dict()) end, "unexpected: 1.lora_A, 1.lora_B")
    assert.error_matches(function() model:load_state_dict(other:state_dict()) end, "missing: 1.lora_A, 1.lora_B")
    assert.same({ "1.lora_A", "1.lora_B" }, model:load_state_dict(other:state_dict(), { strict = false }).missing_keys)
    nn.lora.apply(other, { rank = 2, targets = "^1%." })
    other:load_state_dict(stir(model):state_dict())
    local x = nn.randn(2, 6)
    assert.is_true(other(x):equal(model(x)))
  end)

  it("goes through a file with its optimizer, and trains on with the same bits", function()
    local x, y = nn.randn(16, 6), nn.randint(1, 4, { 16 })
    local model = two_layers()
    nn.lora.apply(model, { rank = 2, alpha = 3, train = "1%.bias" })
    model:compile { optimizer = "adam", loss = nn.CrossEntropyLoss() }
    model:fit(x, y, { epochs = 2, verbose = 0, shuffle = false })
    local path = new_path()
    assert(model:save(path, { optimizer = true }))
    local again = assert(nn.load(path))
    assert.equal(tostring(model), tostring(again))
    assert.equal(model:num_parameters(true), again:num_parameters(true))
    for _, each in ipairs { model, again } do each:fit(x, y, { epochs = 1, verbose = 0, shuffle = false }) end
    for name, tensor in pairs(model:state_dict()) do assert.is_true(again:state_dict()[name]:equal(tensor), name) end
  end)

  it("of a class with layers of open sizes goes through a file", function()
    local Net = nn.Module:extend("LoraSpecNet")
    function Net:init(width)
      self.body = nn.Dense(width, { activation = "relu" })
      self.head = nn.Dense(2)
    end
    function Net:forward(x) return self.head(self.body(x)) end
    local model, x = Net(5), nn.randn(3, 4)
    assert.error_matches(function() nn.lora.apply(model, {}) end, "the layer body takes its sizes")
    model(x)
    nn.lora.apply(model, { rank = 2, targets = { "body", "head" } })
    local y, path = stir(model)(x), new_path()
    assert(model:save(path))
    assert.is_true(assert(nn.load(path))(x):equal(y))
    nn.lora.merge(model)
    assert(model:save(path))
    local plain = assert(nn.load(path))
    assert.is_true(plain(x):allclose(y, { atol = 1e-5 }))
    assert.error_matches(function() nn.lora.unmerge(plain) end, "has no adapters")
  end)

  it("takes a new head on an old body", function()
    local model, x, y = two_layers(), nn.randn(16, 6), nn.randint(1, 6, { 16 })
    model[2] = nn.Linear(16, 5)
    nn.lora.apply(model, { rank = 2, train = "^1%." })
    assert.equal("Dense(16, 5)", tostring(model[2]))
    assert.equal(2 * (6 + 16) + 16 * 5 + 5, model:num_parameters(true))
    model:compile { optimizer = "adam", loss = nn.CrossEntropyLoss() }
    local history = model:fit(x, y, { epochs = 20, verbose = 0 })
    assert.is_true(history.loss[20] < history.loss[1])
    local path, fresh = new_path(), two_layers()
    assert(nn.lora.save(model, path))
    fresh[2] = nn.Linear(16, 5)
    fresh[1]:load_state_dict { weight = model[1].weight, bias = model[1].bias }
    assert(nn.lora.load(fresh, path))
    assert.is_true(fresh(x):equal(model(x)))
  end)
end)

describe("A file of adapters", function()
  support.count_tensors(before_each, after_each)
  after_each(remove_files)

  local function saved()
    local model, path = two_layers(), new_path()
    local plain = copies(model)
    nn.lora.apply(model, { rank = 2, alpha = 5 })
    assert(nn.lora.save(stir(model), path, { metadata = { task = "digits" } }))
    return model, path, plain
  end

  it("has the adapters alone, and goes into a model without any", function()
    local model, path, plain = saved()
    local names = {}
    for name in pairs(assert(nn.load(path))) do names[#names + 1] = name end
    table.sort(names)
    assert.same({ "0.lora_A", "0.lora_B", "1.lora_A", "1.lora_B" }, names)
    local other, x = two_layers(), nn.randn(2, 6)
    other:load_state_dict(plain)
    local loaded, metadata = assert(nn.lora.load(other, path))
    assert.equal(other, loaded)
    assert.equal("digits", metadata.task)
    assert.is_true(other(x):equal(model(x)))
    assert.equal(4, #nn.lora.parameters(other))
    assert.equal(other:num_parameters(true), model:num_parameters(true))
    stir(other)
    assert(nn.lora.load(other, path)) -- the same adapters get the values
    assert.is_true(other(x):equal(model(x)))
  end)

  it("keeps running statistics, which training changes too", function()
    local function net() return nn.Sequential { nn.Linear(4, 4), nn.BatchNorm1d(4) } end
    local model, x, path = net(), nn.randn(8, 4), new_path()
    local other = net()
    other:load_state_dict(model:state_dict())
    nn.lora.apply(model, { rank = 1 })
    model(x)
    assert(nn.lora.save(model:eval(), path))
    assert(nn.lora.load(other, path))
    assert.is_true(other:eval()(x):equal(model(x)))
  end)

  it("does not go where it does not fit, and changes nothing there", function()
    local _, path = saved()
    local other = nn.Sequential { nn.Linear(6, 16), nn.Linear(16, 4) }
    local before = copies(other)
    local ok, message = nn.lora.load(other, path)
    assert.is_nil(ok)
    assert.matches("adapter of 1.weight is missing, or of another size than the model's weight %(4, 16%)", message)
    for name, tensor in pairs(before) do assert.is_true(other:state_dict()[name]:equal(tensor)) end
    assert.equal(4, #other:parameters())
    local same = two_layers()
    nn.lora.apply(same, { rank = 3 })
    assert.matches("the model has other adapters", select(2, nn.lora.load(same, path)))
    assert(nn.save({ x = nn.ones(2) }, path))
    assert.matches("there are no adapters of nn.lora.save in it", select(2, nn.lora.load(two_layers(), path)))
    assert.is_nil((nn.lora.load(two_layers(), path .. ".not")))
  end)

  it("that says anything else is refused", function()
    local model = two_layers()
    local tensors = { ["0.lora_A"] = nn.zeros(2, 6), ["0.lora_B"] = nn.zeros(16, 2) }
    local good = { name = "0.weight", a = "0.lora_A", b = "0.lora_B", rank = 2, alpha = 2, dropout = 0 }
    for field, values in pairs {
      name = { "0.bias", "nothing", 3, {} }, a = { "0.lora_B", "x", 7 }, rank = { 0, -1, 1e18, "2", 1.5, {} },
      alpha = { "x", {} }, dropout = { 1, -0.5, "y" },
    } do
      for _, value in ipairs(values) do
        local entry = {}
        for key, each in pairs(good) do entry[key] = each end
        entry[field] = value
        local path = new_path()
        local record = core.json_encode { format = 1, adapters = { entry } }
        assert(nn.save(tensors, path, { metadata = { nnlua_lora = record } }))
        local ok, message = nn.lora.load(model, path)
        assert.is_nil(ok)
        assert.equal("string", type(message))
      end
    end
    for _, record in ipairs { "{", "[]", "7", '{"format": 2}', '{"format": 1, "adapters": 3}',
      '{"format": 1, "adapters": [1]}', '{"format": 1, "adapters": []}' } do
      local path = new_path()
      assert(nn.save(tensors, path, { metadata = { nnlua_lora = record } }))
      assert.is_nil((nn.lora.load(model, path)))
    end
    assert.equal(4, #model:parameters())
  end)
end)

describe("Mistakes with adapters", function()
  support.count_tensors(before_each, after_each)

  it("are told, with what there is", function()
    local model = two_layers()
    local function refused(options, message)
      assert.error_matches(function() nn.lora.apply(model, options) end, message)
    end
    refused({ targets = "q_proj" }, 'option targets: nothing has a name like "q_proj"; there are 0.weight, 1.weight')
    refused({ targets = { "0", "bias" } }, 'option targets: nothing has a name like "bias"')
    refused({ train = "head" }, 'option train: nothing has a name like "head"; there are 0.weight, 0.bias')
    refused({ targets = {} }, "option targets: expected a pattern or a list of patterns, got table")
    refused({ rank = 0 }, "option rank: expected a whole number from 1, got 0")
    refused({ dropout = 1 }, "option dropout")
    refused({ ranks = 3 }, 'unknown option "ranks"; allowed: alpha dropout init rank targets train; did you mean')
    refused({ init = "zeros" }, "option init: expected one of gaussian kaiming")
    refused({ alpha = 0 / 0 }, "option alpha: expected a finite number")
    assert.error_matches(function() nn.lora.merge(model) end, "the model has no adapters: call nn.lora.apply")
    assert.error_matches(function() nn.lora.apply({}, {}) end, "expected a model or layer, got table")
    assert.error_matches(function() nn.lora.apply(nn.ReLU(), {}) end, "there is no linear layer or attention to adapt")
    assert.error_matches(function() nn.lora.apply(nn.LSTM(2, 3), { targets = "weight", dropout = 0.1 }) end,
      "option dropout: nn.LSTM has no place for it")
    nn.lora.apply(model, {})
    refused({}, "0.weight has an adapter already")
  end)

  it("leave no half of them behind where memory does not suffice", function()
    local model = two_layers()
    for k = 0, 50 do
      core.fail_allocation(k)
      local ok = pcall(nn.lora.apply, model, { rank = 2 })
      core.fail_allocation(nil)
      if ok then break end
      assert.equal(4, #model:parameters())
      assert.equal(model:num_parameters(), model:num_parameters(true))
    end
    assert.equal(8, #model:parameters())
  end)
end)

describe("Parts of a model", function()
  support.count_tensors(before_each, after_each)

  it("are frozen by patterns of their names, one or several", function()
    local model = two_layers()
    model:freeze { "^0", "bias" }
    assert.equal(16 * 3, model:num_parameters(true))
    model:unfreeze()
    assert.error_matches(function() model:freeze { "^0", "hat" } end,
      'no parameter has a name like "hat"; there are 0.weight, 0.bias, 1.weight, 1.bias')
    assert.equal(model:num_parameters(), model:num_parameters(true))
    assert.error_matches(function() model:freeze {} end, "pattern: expected a string or a list of strings")
    assert.error_matches(function() model:freeze(7) end, "expected a string or a list of strings, got 7")
  end)

  it("learn the slower, the further they are from the output", function()
    local Net = nn.Module:extend("LoraSpecBlocks")
    function Net:init()
      self.embed = nn.Embedding(5, 4)
      self.blocks = nn.ModuleList { nn.Residual(nn.Linear(4, 4)), nn.Residual(nn.Linear(4, 4)) }
      self.norm = nn.LayerNorm(4)
      self.head = nn.Linear(4, 5)
    end
    local model = Net()
    local groups = nn.utils.layer_groups(model, { lr = 1, decay = 0.5 })
    local rates = {}
    for i, group in ipairs(groups) do rates[i] = group.lr end
    assert.same({ 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1 }, rates)
    assert.equal(2, #groups[2].params)
    model:freeze("embed")
    assert.equal(4, #nn.utils.layer_groups(model, { lr = 1 }))
    groups = nn.utils.layer_groups(model, {
      lr = 1, decay = 0.1, weight_decay = 0.01, layers = { "embed", "blocks", "" },
    })
    rates = {}
    for i, group in ipairs(groups) do rates[i] = { group.lr, group.weight_decay } end
    assert.same({ { 0.1, 0.01 }, { 0.1, 0 }, { 1, 0.01 }, { 1, 0 } }, rates)
    local optimizer = nn.optim.AdamW(groups)
    assert.equal(0.1, optimizer.param_groups[1].lr)
  end)

  it("are told apart by patterns that fit", function()
    local model = two_layers()
    local function refused(options, message)
      assert.error_matches(function() nn.utils.layer_groups(model, options) end, message)
    end
    refused({}, "option lr is missing")
    refused({ lr = 1, decay = 0 }, "option decay: expected a number above 0, at most 1, got 0")
    refused({ lr = 1, layers = { "^0" } }, 'option layers: no pattern is found in "1.weight"')
    refused({ lr = 1, layers = { "", "^1" } }, 'option layers: no parameter is left for "^1"')
    model:freeze()
    refused({ lr = 1 }, "every parameter of the model is frozen")
  end)
end)
