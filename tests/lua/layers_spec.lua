local nn = require "nnlua"

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

describe("Dense", function()
  it("is the product with the weight, plus the bias, activated", function()
    local layer = nn.Dense(2, 3, {activation = "relu"})
    layer:load_state_dict{
      weight = nn.tensor{{1, 2}, {-1, 0}, {0.5, -1}},
      bias = nn.tensor{1, 0, 2},
    }
    assert.same({{6, 0, 0.5}}, layer(nn.tensor{{1, 2}}):tolist())
  end)

  it("starts within one over the root of the inputs", function()
    nn.manual_seed(3)
    local layer = nn.Dense(100, 50)
    for _, t in ipairs{layer.weight, layer.bias} do
      assert.is_true(t:abs():max():item() <= 0.1)
      assert.is_true(t:abs():max():item() > 0.08)
    end
  end)

  it("takes its input size from the first batch when only one size is given", function()
    local layer = nn.Dense(4)
    assert.is_nil(layer.in_features)
    assert.is_nil(layer.weight)
    assert.equal("Dense(4)", tostring(layer))
    assert.same({5, 4}, layer(nn.ones(5, 3)).shape)
    assert.equal(3, layer.in_features)
    assert.equal("Dense(3, 4)", tostring(layer))
  end)

  it("takes its input size from loaded values, in either order", function()
    local weight, bias = nn.ones(4, 3), nn.full({4}, 2)
    for _, order in ipairs{{"weight", "bias"}, {"bias", "weight"}} do
      local layer, values = nn.Dense(4), {weight = weight, bias = bias}
      for _, name in ipairs(order) do layer:_load(name, values[name]) end
      assert.same({{5, 5, 5, 5}}, layer(nn.ones(1, 3)):tolist())
    end
  end)

  it("says which input it expected", function()
    local layer = nn.Dense(784, 10)
    assert.matches("nn.Dense: expected input %(%*, 784%), got %(32, 100%)",
                   message_of(function() layer(nn.zeros(32, 100)) end))
  end)

  it("refuses options that it has not, at the caller's line", function()
    local message = message_of(function() nn.Dense(2, 3, {activaton = "relu"}) end)
    assert.matches("layers_spec.lua:%d+: nn.Dense: unknown option 'activaton'; allowed: .*activation", message)
    assert.matches("option 'bias' must be true or false, got number",
                   message_of(function() nn.Dense(2, 3, {bias = 1}) end))
    assert.matches("option 'activation' must be one of .*relu.*, got 'rulu'",
                   message_of(function() nn.Dense(2, 3, {activation = "rulu"}) end))
    assert.matches("option 'out_features' must be at least 1, got 0", message_of(function() nn.Dense(2, 0) end))
    assert.matches("'out_features' is required", message_of(function() nn.Dense() end))
    assert.matches("at most 2 arguments", message_of(function() nn.Dense(2, 3, 4) end))
  end)

  it("adds a penalty for what it holds, and for its last result", function()
    local layer = nn.Dense(2, 2, {
      kernel_regularizer = {l1 = 1, l2 = 0.5}, bias_regularizer = {l2 = 1}, activity_regularizer = {l1 = 1},
    })
    layer:load_state_dict{weight = nn.tensor{{1, -2}, {0, 1}}, bias = nn.tensor{1, 2}}
    assert.equal(4 + 3 + 5, layer:_penalty():item())
    layer(nn.tensor{{1, 1}, {0, 0}})
    assert.equal(12 + (0 + 3 + 1 + 2) / 2, layer:_penalty():item())
    assert.is_nil(nn.Dense(2, 2):_penalty())
  end)

  it("is made again by its configuration", function()
    local layer = nn.Dense(2, 3, {activation = "tanh", bias = false, kernel_regularizer = {l2 = 0.1}})
    local config = layer:_config()
    assert.equal("Dense", config.class)
    assert.equal(tostring(layer), tostring(nn.Dense(config.options)))
  end)

  it("computes in float64 where asked", function()
    assert.equal("float64", nn.Dense(2, 3, {dtype = "float64"})(nn.ones({1, 2}, {dtype = "float64"})).dtype)
  end)

  it("shares its weight with another by assignment", function()
    local a, b = nn.Dense(2, 2), nn.Dense(2, 2)
    b.weight = a.weight
    assert.is_true(a.weight == b.weight)
    assert.matches("has shape", message_of(function() a.weight = nn.zeros(3, 3) end))
  end)
end)

describe("the cheap layers", function()
  it("drop elements in training and scale the rest", function()
    nn.manual_seed(1)
    local layer, x = nn.Dropout(0.25), nn.ones(100, 100):requires_grad_()
    local y = layer(x)
    local kept = y:gt(0):sum():item()
    assert.is_true(math.abs(kept - 7500) < 250)
    assert.is_true(math.abs(y:max():item() - 1 / 0.75) < 1e-6)
    y:sum():backward()
    assert.is_true(x.grad:equal(y:detach()))
    layer:eval()
    assert.is_true(layer(x):equal(x))
  end)

  it("drop the same elements for any number of threads", function()
    local before, results = nn.get_num_threads(), {}
    for _, threads in ipairs{1, 2} do
      nn.set_num_threads(threads)
      nn.manual_seed(5)
      results[threads] = nn.Dropout(0.5)(nn.ones(300, 1000))
    end
    nn.set_num_threads(before)
    assert.is_true(results[1]:equal(results[2]))
  end)

  it("flatten dimensions", function()
    local x = nn.zeros(2, 3, 4, 5)
    assert.same({2, 60}, nn.Flatten()(x).shape)
    assert.same({2, 12, 5}, nn.Flatten(2, 3)(x).shape)
    assert.same({120}, nn.Flatten(1)(x).shape)
    assert.matches("dimension 7", message_of(function() nn.Flatten(7)(x) end))
  end)

  it("are activations by name and by class alike", function()
    local x = nn.tensor{{-2, -0.5, 0, 0.5, 30}}
    local pairs_of = {
      ReLU = x:relu(), Tanh = x:tanh(), Sigmoid = x:sigmoid(), SiLU = x:silu(), GELU = x:gelu(),
      Softplus = x:softplus(), Softmax = x:softmax(-1), LogSoftmax = x:log_softmax(-1), Identity = x,
    }
    for name, expected in pairs(pairs_of) do
      assert.is_true(nn[name]()(x):allclose(expected), name)
    end
    assert.is_true(nn.LeakyReLU(0.5)(x):allclose(nn.tensor{{-1, -0.25, 0, 0.5, 30}}))
    assert.same({{-1, -0.5, 0, 0.5, 1}}, nn.Hardtanh()(x):tolist())
  end)

  it("refuse anything but tensors", function()
    assert.matches("nn.ReLU: expected a tensor as input 1, got table", message_of(function() nn.ReLU()({1}) end))
    assert.matches("nn.ReLU: expected 1 input, got 0", message_of(function() nn.ReLU()() end))
  end)
end)

describe("gates and learnt slopes", function()
  it("halve a dimension, and let one half decide on the other", function()
    local x = nn.tensor { { 1, 2, 0, 100 }, { 3, 4, 0, -100 } }
    assert.is_true(nn.GLU()(x):allclose(nn.tensor { { 0.5, 2 }, { 1.5, 0 } }))
    assert.is_true(nn.GLU(1)(x):equal(nn.functional.glu(x, 1)))
    local odd = "glu: expected an even size of dimension 2, got %(2, 3%)"
    assert.error_matches(function() nn.GLU()(nn.zeros(2, 3)) end, odd)
  end)

  it("multiply what is below 0, by one slope or one for each channel", function()
    local one, each = nn.PReLU(), nn.PReLU(2, { init = 0.5 })
    local x = nn.tensor { { -4, -2 }, { 4, 2 } }
    assert.same({ { -1, -0.5 }, { 4, 2 } }, one(x):tolist())
    nn.no_grad(function() each.weight[2] = 0 end)
    assert.same({ { -2, 0 }, { 4, 2 } }, each(x):tolist())
    each(x):sum():backward()
    assert.same({ -4, -2 }, each.weight.grad:tolist())
    assert.error_matches(function() each(nn.zeros(1, 3)) end, "one for each channel of %(1, 3%), got %(2%)")
  end)
end)
