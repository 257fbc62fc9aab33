local nn = require "nnlua"
local support = require "support"

local F = nn.functional

local function double(...)
  return nn.randn({...}, {dtype = "float64", requires_grad = true})
end

-- Each normalisation as a function of x and what it learns; x is (3, 4, 5), four channels, rows of five. Running
-- statistics are fresh in every call, for they move.
local forms = {
  layer = {function(x, w, b) return F.layer_norm(x, 5, w, b) end, 5},
  layer_of_two = {function(x, w, b) return F.layer_norm(x, {4, 5}, w:reshape(4, 1) * nn.ones(4, 5):double(),
                                                        b:reshape(4, 1) * nn.ones(4, 5):double()) end, 4},
  rms = {function(x, w, b) return F.rms_norm(x, 5, w) + b end, 5},
  group = {function(x, w, b) return F.group_norm(x, 2, w, b) end, 4},
  instance = {function(x, w, b) return F.instance_norm(x, nil, nil, w, b) end, 4},
  batch = {function(x, w, b) return F.batch_norm(x, nil, nil, w, b, {training = true}) end, 4},
  batch_of_rows = {function(x, w, b)
    return F.batch_norm(x:reshape(15, 4), nil, nil, w, b, {training = true})
  end, 4},
  fixed = {function(x, w, b)
    local mean = nn.tensor({0.1, -0.2, 0.3, 0}, {dtype = "float64"})
    return F.batch_norm(x, mean, mean:abs() + 0.5, w, b)
  end, 4},
}

describe("normalisations", function()
  support.count_tensors(before_each, after_each)

  for name, form in pairs(forms) do
    local fn, weights = form[1], form[2]

    it("have right gradients: " .. name, function()
      assert(nn.gradcheck(fn, {double(3, 4, 5), double(weights), double(weights)}))
    end)

    it("have right second gradients: " .. name, function()
      local inputs = {double(3, 4, 5), double(weights), double(weights)}
      local along = {double(3, 4, 5):detach(), double(weights):detach()}
      -- A number made of the first gradients: recorded, from operations; else from one pass.
      local function number(create_graph)
        local loss = fn(inputs[1], inputs[2], inputs[3]):sin():sum()
        local gx, gw = nn.grad(loss, {inputs[1], inputs[2]}, {create_graph = create_graph})
        return (gx * along[1]):sum() + (gw * along[2]):sum()
      end
      local second = {nn.grad(number(true), inputs)}
      for i, input in ipairs(inputs) do
        local flat, found = input:detach():view(-1), second[i]:reshape(-1)
        for k = 1, flat:numel() do
          local kept = flat[k]
          flat[k] = kept + 1e-5
          local above = number(false):item()
          flat[k] = kept - 1e-5
          local below = number(false):item()
          flat[k] = kept
          local slope = (above - below) / 2e-5
          assert(math.abs(slope - found[k]) <= 1e-6 + 1e-5 * math.abs(slope), ("input %d, element %d"):format(i, k))
        end
      end
    end)

    it("have the same gradients from one pass and from operations: " .. name, function()
      local inputs = {double(3, 4, 5), double(weights), double(weights)}
      local flow = double(3, 4, 5):detach()
      local function gradients(options)
        local y = fn(inputs[1], inputs[2], inputs[3])
        options.grad_outputs = {flow:reshape(y.shape)}
        return {nn.grad({y}, inputs, options)}
      end
      local fused, composed = gradients{}, gradients{create_graph = true}
      for i = 1, 3 do assert(fused[i]:allclose(composed[i], {rtol = 1e-10, atol = 1e-12})) end
    end)
  end

  it("keep their digits beside a large mean", function()
    local x = nn.randn(64, 96)
    local far = x + 4096
    local exact = F.layer_norm(far:double(), 96):float()
    assert(F.layer_norm(far, 96):allclose(exact, {atol = 1e-3}))
    local batch = F.batch_norm(far:double(), nil, nil, nil, nil, {training = true}):float()
    assert(F.batch_norm(far, nil, nil, nil, nil, {training = true}):allclose(batch, {atol = 1e-3}))
  end)

  it("give the same bits for any number of threads", function()
    local threads = nn.get_num_threads()
    local shapes = {layer = {700, 300}, group = {6, 8, 50, 50}, batch = {30, 8, 30, 30}, flat = {3000, 70}}
    local calls = {
      layer = function(x)
        local w = nn.ones({300}, {requires_grad = true})
        return F.layer_norm(x, 300, w), w
      end,
      group = function(x) return F.group_norm(x, 2) end,
      batch = function(x) return F.batch_norm(x, nil, nil, nil, nil, {training = true}) end,
      flat = function(x) return F.batch_norm(x, nil, nil, nil, nil, {training = true}) end,
    }
    for name, call in pairs(calls) do
      local x = nn.randn(shapes[name], {requires_grad = true})
      local seen
      for count = 1, 3 do
        nn.set_num_threads(count)
        local y, w = call(x)
        local gradients = {nn.grad((y * y * y):sum(), {x, w})}
        local bits = y:detach():to_bytes() .. gradients[1]:to_bytes() .. (w and gradients[2]:to_bytes() or "")
        seen = seen or bits
        assert(bits == seen, name)
      end
    end
    nn.set_num_threads(threads)
  end)

  it("work on halves, strided and empty inputs", function()
    local x = nn.randn(6, 4)
    local half = F.layer_norm(x:to("bfloat16"), 4)
    assert.equal("bfloat16", half.dtype)
    assert(half:float():allclose(F.layer_norm(x, 4), {atol = 0.05}))
    assert(F.layer_norm(x:t(), 6):allclose(F.layer_norm(x:t():contiguous(), 6)))
    local none = nn.zeros({0, 4}, {requires_grad = true})
    local w = nn.ones({4}, {requires_grad = true})
    F.layer_norm(none, 4, w):sum():backward()
    support.assert_tensor(w.grad, {4}, {0, 0, 0, 0})
    assert.same({0, 4}, F.batch_norm(none, nil, nil, nil, nil, {training = true}).shape)
    assert.same({5, 0}, F.layer_norm(nn.zeros(5, 0), 0).shape)
  end)

  it("let NaN and infinity be seen", function()
    local x = nn.tensor{{1, 2, 3}, {1, 0 / 0, 3}, {1, math.huge, 3}}
    local y = F.layer_norm(x, 3):isnan():any(2)
    assert.same({false, true, true}, y:tolist())
  end)

  it("say what does not fit", function()
    local x = nn.randn(2, 6)
    local cases = {
      {"layer_norm: expected input whose last dimensions are (5), got (2, 6)", F.layer_norm, x, 5},
      {"layer_norm: expected weight of shape (6), got (5)", F.layer_norm, x, 6, nn.ones(5)},
      {"layer_norm: expected bias of the input's dtype float32, got float64", F.layer_norm, x, 6, nil,
       nn.ones(6):double()},
      {"layer_norm: expected input of a float dtype, got int64", F.layer_norm, x:long(), 6},
      {"group_norm: expected a number of channels divisible by num_groups 4, got 6", F.group_norm, x, 4},
      {"group_norm: expected more than one value per group when training, got input (1, 6)", F.group_norm,
       x[{{1, 1}}], 6},
      {"batch_norm: expected input (N, C, ...), got (6)", F.batch_norm, x[1]},
      {"batch_norm: running_mean and running_var are needed when not training", F.batch_norm, x},
      {"batch_norm: expected running_mean of shape (6), got (3)", F.batch_norm, x, nn.zeros(3), nn.ones(3)},
      {"batch_norm: expected more than one value per channel when training, got input (1, 6)", F.batch_norm,
       x[{{1, 1}}], nil, nil, nil, nil, {training = true}},
      {"instance_norm: expected more than one value per instance when training, got input (2, 6)",
       F.instance_norm, x},
    }
    for _, case in ipairs(cases) do
      assert.equal(case[1], support.message_of(table.unpack(case, 2, 9)))
    end
  end)
end)

describe("normalisation layers", function()
  support.count_tensors(before_each, after_each)

  it("have PyTorch's parameters and buffers", function()
    local function names(layer)
      local found = {}
      for name, tensor in pairs(layer:state_dict()) do
        found[#found + 1] = name .. "(" .. table.concat(tensor.shape, ",") .. ")" .. tensor.dtype
      end
      table.sort(found)
      return table.concat(found, " ")
    end
    assert.equal("bias(2,3)float32 weight(2,3)float32", names(nn.LayerNorm({2, 3})))
    assert.equal("weight(4)float32", names(nn.LayerNorm(4, {bias = false})))
    assert.equal("", names(nn.LayerNorm(4, {elementwise_affine = false})))
    assert.equal("weight(4)float64", names(nn.RMSNorm(4, {dtype = "float64"})))
    assert.equal("bias(4)float32 weight(4)float32", names(nn.GroupNorm(2, 4)))
    assert.equal("bias(3)float32 num_batches_tracked()int64 running_mean(3)float32 running_var(3)float32 "
      .. "weight(3)float32", names(nn.BatchNorm2d(3)))
    assert.equal("", names(nn.BatchNorm1d(3, {affine = false, track_running_stats = false})))
  end)

  it("move the running statistics in training alone, the variance unbiased", function()
    local norm = nn.BatchNorm1d(1, {momentum = 0.5})
    norm(nn.tensor{{1}, {2}, {3}, {6}})
    support.assert_tensor(norm.running_mean, {1}, {1.5})
    support.assert_tensor(norm.running_var, {1}, {0.5 + 0.5 * 14 / 3}, 1e-6)
    assert.equal(1, norm.num_batches_tracked:item())
    norm:eval()
    norm(nn.tensor{{100}, {200}})
    support.assert_tensor(norm.running_mean, {1}, {1.5})
    assert.equal(1, norm.num_batches_tracked:item())
  end)

  it("keep the plain mean of all batches without a momentum", function()
    local norm = nn.BatchNorm1d(1, {momentum = false})
    for _, value in ipairs{1, 2, 6} do norm(nn.tensor{{value - 1}, {value + 1}}) end
    support.assert_tensor(norm.running_mean, {1}, {3}, 1e-6)
    support.assert_tensor(norm.running_var, {1}, {2}, 1e-6)
    assert.equal("BatchNorm1d(1, momentum = false)", tostring(norm))
  end)

  it("use the batch itself in eval where nothing is tracked", function()
    local norm = nn.BatchNorm2d(2, {track_running_stats = false}):eval()
    local y = norm(nn.randn(4, 2, 3, 3) * 5 + 7)
    assert(y:mean({1, 3, 4}):allclose(nn.zeros(2), {atol = 1e-5}))
  end)

  it("take the channels of a batch norm from its first input, or from loaded values", function()
    local norm = nn.BatchNorm2d()
    assert.equal("BatchNorm2d()", tostring(norm))
    assert.same({2, 5, 3, 3}, norm(nn.randn(2, 5, 3, 3)).shape)
    assert.equal(5, norm.num_features)
    local other = nn.BatchNorm2d({eps = 1e-3})
    other:load_state_dict(norm:state_dict())
    assert.equal(5, other.num_features)
    assert.equal(1, other.num_batches_tracked:item())
  end)

  it("come back from a file as they were", function()
    local path = os.tmpname()
    local model = nn.Sequential{nn.Dense(3, 4), nn.BatchNorm1d(4, {momentum = false}), nn.LayerNorm({4}),
                                nn.GroupNorm(2, 4), nn.RMSNorm(4, {eps = 1e-3})}
    local x = nn.randn(6, 3)
    model(x)
    model:eval()
    nn.save(model, path)
    local again = nn.load(path):eval()
    os.remove(path)
    assert.equal(tostring(model), tostring(again))
    assert(again(x):equal(model(x)))
  end)

  it("say what input they expect", function()
    local cases = {
      {"nn.LayerNorm: expected input (*, 2, 3), got (2, 4)", nn.LayerNorm({2, 3}), nn.ones(2, 4)},
      {"nn.GroupNorm: expected input (N, 4, ...), got (2, 3)", nn.GroupNorm(2, 4), nn.ones(2, 3)},
      {"nn.BatchNorm1d: expected input (N, 3) or (N, 3, L), got (3)", nn.BatchNorm1d(3), nn.ones(3)},
      {"nn.BatchNorm2d: expected input (N, C, H, W), got (2, 3)", nn.BatchNorm2d(), nn.ones(2, 3)},
      {"nn.BatchNorm2d: expected input (N, 3, H, W), got (2, 4, 1, 1)", nn.BatchNorm2d(3), nn.ones(2, 4, 1, 1)},
    }
    for _, case in ipairs(cases) do assert.equal(case[1], support.message_of(case[2], case[3])) end
    assert.equal("nn.GroupNorm: num_channels must be divisible by num_groups, got 4 and 3",
      support.message_of(nn.GroupNorm, 3, 4))
    assert.equal("nn.LayerNorm: option 'normalized_shape' must be at least 1, got 0",
      support.message_of(nn.LayerNorm, 0))
  end)
end)
