-- Mixed precision: products in bfloat16 with sums in float32, everything else as it was.

local nn = require "nnlua"

local function rounded(t) return t:to("bfloat16"):to("float32") end

-- The largest deviation in units of the largest value.
local function deviation(a, b)
  return (a - b):abs():max():item() / b:abs():max():item()
end

local function bits(t) return t:to_bytes() end

describe("nn.autocast", function()
  before_each(function() nn.manual_seed(3) end)

  it("multiplies what is rounded to bfloat16, with sums in float32", function()
    for _, sizes in ipairs{{64, 70, 90}, {33, 200, 41}, {5, 300, 300}} do
      local a, b = nn.randn(sizes[1], sizes[2]), nn.randn(sizes[2], sizes[3])
      local mixed = nn.autocast(function() return a:matmul(b) end)
      assert.equals("float32", mixed.dtype)
      assert.is_true(deviation(mixed, rounded(a):matmul(rounded(b))) < 1e-6)
      local error = deviation(mixed, a:matmul(b))
      assert.is_true(error > 0 and error < 0.01)
    end
  end)

  it("does so for batches, transposed operands and vectors", function()
    local a, b = nn.randn(9, 40, 50), nn.randn(9, 60, 50)
    local mixed = nn.autocast(function() return a:matmul(b:transpose(2, 3)) end)
    assert.is_true(deviation(mixed, rounded(a):matmul(rounded(b):transpose(2, 3))) < 1e-6)
    local v = nn.randn(50)
    assert.is_true(deviation(nn.autocast(function() return a:matmul(v) end), a:matmul(v)) < 0.01)
  end)

  it("leaves float64 alone", function()
    local a, b = nn.randn(50, 50):double(), nn.randn(50, 50):double()
    assert.equals(bits(a:matmul(b)), bits(nn.autocast(function() return a:matmul(b) end)))
  end)

  it("passes arguments and results on", function()
    local a, b, c = nn.autocast(function(...) return select("#", ...), ... end, nil, "x")
    assert.equals(2, a)
    assert.is_nil(b)
    assert.equals("x", c)
  end)

  it("is on within, off again afterwards, also after an error", function()
    assert.is_false(nn.is_autocast_enabled())
    assert.is_true(nn.autocast(nn.is_autocast_enabled))
    assert.is_false(nn.autocast(function() return nn.autocast({enabled = false}, nn.is_autocast_enabled) end))
    assert.is_true(nn.autocast({dtype = "bfloat16"}, nn.is_autocast_enabled))
    pcall(nn.autocast, function() error("x") end)
    assert.is_false(nn.is_autocast_enabled())
  end)

  it("says what it takes", function()
    assert.error_matches(function() nn.autocast({dtype = "float16"}, print) end, 'dtype is "bfloat16"')
    assert.error_matches(function() nn.autocast({on = true}, print) end, "unknown option")
    assert.error_matches(function() nn.autocast() end, "value expected")
  end)

  it("gives gradients of float32, whose products are in bfloat16 as those of forward", function()
    local layer, x = nn.Dense(100, 80, {activation = "tanh"}), nn.randn(60, 100)
    x:requires_grad_()
    local function gradients(mode)
      layer:zero_grad()
      x.grad = nil
      local loss = nn.autocast({enabled = mode}, function() return layer(x):pow(2):sum() end)
      loss:backward()
      return {layer.weight.grad, layer.bias.grad, x.grad}
    end
    local mixed = gradients(true)
    for i, full in ipairs(gradients(false)) do
      assert.equals("float32", mixed[i].dtype)
      local error = deviation(mixed[i], full)
      assert.is_true(error > 0 and error < 0.02)
    end
  end)

  it("holds in backward for what was recorded within, and only for that", function()
    local a, b = nn.randn(40, 50, {requires_grad = true}), nn.randn(50, 60)
    local seed = nn.randn(40, 60)
    local inside = nn.autocast(function() return a:matmul(b) end)
    inside:backward(seed)
    assert.is_true(deviation(a.grad, rounded(seed):matmul(rounded(b):t())) < 1e-6)
    a.grad = nil
    local outside = a:matmul(b)
    nn.autocast(function() outside:backward(seed) end)
    assert.is_true(deviation(a.grad, seed:matmul(b:t())) < 1e-6)
  end)

  it("is what a checkpoint computes again with", function()
    local model = nn.Sequential{nn.Dense(64, 128, {activation = "tanh"}), nn.Dense(128, 64)}
    local x = nn.randn(40, 64)
    local function gradient(forward)
      model:zero_grad()
      nn.autocast(forward):pow(2):sum():backward()
      return bits(model[1].weight.grad)
    end
    local kept = gradient(function() return model(x) end)
    assert.equals(kept, gradient(function() return nn.checkpoint(model, x) end))
  end)

  -- The gradients of parameters and input of a layer, and its result.
  local function everything(layer, x, mode)
    x.grad = nil
    layer:zero_grad()
    local y = nn.autocast({enabled = mode}, function() return (layer(x)) end)
    nn.manual_seed(9)
    y:backward(nn.randn(y.shape))
    local list = {y:detach(), x.grad}
    for _, parameter in ipairs(layer:parameters()) do list[#list + 1] = parameter.grad end
    return list
  end

  local layers = {
    {"convolutions", function() return nn.Conv2d(16, 24, 3, {padding = 1}) end, {4, 16, 12, 12}},
    {"convolutions with strides", function() return nn.Conv2d(6, 20, 3, {stride = 2, padding = 1}) end, {4, 6, 16, 16}},
    {"recurrent layers", function() return nn.LSTM(40, 30) end, {5, 12, 40}},
    -- smooth, as a unit of a ReLU that rounding switches off or on changes its gradient altogether
    {"transformer layers", function()
      return nn.TransformerEncoderLayer(64, 4, {dropout = 0, activation = "gelu"})
    end, {3, 40, 64}},
  }
  for _, row in ipairs(layers) do
    it("stays near float32 in " .. row[1] .. ", forward and back", function()
      nn.manual_seed(4)
      local layer, x = row[2](), nn.randn(row[3]):requires_grad_()
      local mixed, full = everything(layer, x, true), everything(layer, x, false)
      local largest = 0
      for i, value in ipairs(mixed) do
        assert.equals("float32", value.dtype)
        local error = (value - full[i]):norm():item() / full[i]:norm():item()
        assert.is_true(error < 0.02)
        largest = math.max(largest, error)
      end
      local emulated = nn.build_info().bfloat16 == "emulated"
      assert.is_true(largest > 0 or emulated)
    end)
  end

  it("gives the same bits for any number of threads", function()
    local x, target = nn.randn(70, 200), nn.randint(1, 11, {70})
    local results = {}
    local before = nn.get_num_threads()
    for threads = 1, 3 do
      nn.set_num_threads(threads)
      nn.manual_seed(1)
      local model = nn.Sequential{nn.Dense(200, 300, {activation = "relu"}), nn.Dense(300, 10)}
      local loss = nn.autocast(function() return nn.CrossEntropyLoss()(model(x), target) end)
      loss:backward()
      results[threads] = bits(loss) .. bits(model[1].weight.grad) .. bits(model[2].weight.grad)
    end
    nn.set_num_threads(before)
    assert.equals(results[1], results[2])
    assert.equals(results[1], results[3])
  end)

  it("lets NaN and infinity through", function()
    local a, b = nn.ones(40, 40), nn.ones(40, 40)
    a[{3, 5}] = 0 / 0
    b[{7, 9}] = math.huge
    local c = nn.autocast(function() return a:matmul(b) end)
    assert.equals(40, c[{3, {}}]:isnan():sum():item())
    assert.equals(39, c[{{}, 9}]:isinf():sum():item())
    assert.equals(39 * 39, c:isfinite():sum():item())
  end)
end)

describe("tensors of bfloat16", function()
  it("multiply with sums in float32, and round the result", function()
    for _, sizes in ipairs{{1, 300, 50}, {4, 70, 64}, {30, 65, 40}} do
      local a, b = nn.randn(sizes[1], sizes[2]), nn.randn(sizes[3], sizes[2])
      local product = a:to("bfloat16"):matmul(b:to("bfloat16"):t())
      assert.equals("bfloat16", product.dtype)
      assert.is_true(deviation(product:float(), rounded(a):matmul(rounded(b):t())) < 0.005)
    end
  end)

  it("go through linear layers", function()
    local layer, x = nn.Dense(64, 48, {activation = "relu"}), nn.randn(20, 64)
    local expected = layer(x):detach()
    layer:to("bfloat16")
    local y = layer(x:to("bfloat16"))
    assert.equals("bfloat16", y.dtype)
    assert.is_true(deviation(y:detach():float(), expected) < 0.03)
    y:sum():backward()
    assert.equals("bfloat16", layer.weight.grad.dtype)
    assert.error_matches(function() layer(x) end, "one floating dtype, got float32 and bfloat16")
  end)
end)

describe("compile with a precision", function()
  local function spirals()
    local x = nn.randn(300, 20)
    return x, (x:sum(2, true)):gt(0):float()
  end

  local function trained(precision)
    nn.manual_seed(5)
    local x, y = spirals()
    local model = nn.Sequential{nn.Dense(20, 64, {activation = "relu"}), nn.Dense(64, 1, {activation = "sigmoid"})}
    model:compile{optimizer = {"adam", lr = 0.01}, loss = "binary_crossentropy", metrics = {"accuracy"},
      precision = precision}
    local history = model:fit(x, y, {epochs = 8, verbose = 0})
    return model, history, x, y
  end

  it("learns as well, with weights that stay float32", function()
    local model, mixed, x = trained("mixed")
    local _, full = trained("full")
    assert.is_true(mixed.accuracy[8] > 0.93)
    assert.is_true(math.abs(mixed.loss[8] - full.loss[8]) < 0.02)
    assert.is_true(mixed.loss[8] ~= full.loss[8])
    assert.equals("float32", model[1].weight.dtype)
    assert.is_false(nn.is_autocast_enabled())
    local plain = model(x):detach()
    local error = deviation(model:predict(x), plain)
    assert.is_true(error > 0 and error < 0.02)
  end)

  it("keeps it in the model's file", function()
    local model, _, x = trained("mixed")
    local path = os.tmpname()
    assert(model:save(path, {optimizer = true}))
    local again = nn.load(path)
    os.remove(path)
    assert.equals(bits(model:predict(x)), bits(again:predict(x)))
    assert.is_true(bits(again(x)) ~= bits(again:predict(x)))
  end)

  it("says what the words are", function()
    assert.error_matches(function() trained("bf16") end, "precision: expected one of full mixed, got \"bf16\"")
  end)
end)

describe("nn.build_info", function()
  it("tells whether products in bfloat16 are faster", function()
    local info = nn.build_info()
    assert.is_true(info.bfloat16 == "avx512_bf16" or info.bfloat16 == "emulated")
    assert.equals(info.kernels == "avx512_bf16", info.bfloat16 == "avx512_bf16")
  end)
end)
