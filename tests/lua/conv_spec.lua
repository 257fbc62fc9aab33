local nn = require "nnlua"
local support = require "support"

local F = nn.functional

--- Numbers by position from 0 of a 4-dimensional table; 0 outside of it.
local function at(t, i, j, k, l)
  local row = t[i + 1] and t[i + 1][j + 1] and t[i + 1][j + 1][k + 1]
  return row and row[l + 1] or 0
end

local function pair(value, fallback)
  if type(value) == "table" then return value end
  return {value or fallback, value or fallback}
end

--- The sum that one result of conv2d is, by its definition. `c`: the first of its group's channels.
local function one_result(x, w, o, n, out, c, i, j, size)
  local stride, padding, dilation = pair(o.stride, 1), pair(o.padding, 0), pair(o.dilation, 1)
  local sum = 0
  for channel = 0, size.channels - 1 do
    for a = 0, size.height - 1 do
      for b = 0, size.width - 1 do
        local row = i * stride[1] + a * dilation[1] - padding[1]
        local column = j * stride[2] + b * dilation[2] - padding[2]
        sum = sum + at(w, out, channel, a, b) * at(x, n, c + channel, row, column)
      end
    end
  end
  return sum
end

--- conv2d by its definition, as a flat list in row-major order.
local function plain_conv2d(x, w, shape, o)
  local values, weights = x:tolist(), w:tolist()
  local outputs, groups = w.shape[1], o.groups or 1
  local size = {channels = w.shape[2], height = w.shape[3], width = w.shape[4]}
  local list = {}
  for n = 0, shape[1] - 1 do
    for out = 0, outputs - 1 do
      local first = math.floor(out / math.floor(outputs / groups)) * size.channels
      for i = 0, shape[3] - 1 do
        for j = 0, shape[4] - 1 do
          list[#list + 1] = one_result(values, weights, o, n, out, first, i, j, size)
        end
      end
    end
  end
  return list
end

--- {input, weight, options}: every kernel size, stride, phase and remainder of blocks that the engine tells apart.
local cases = {
  {{2, 3, 7, 6}, {5, 3, 3, 3}, {}},
  {{1, 1, 20, 40}, {9, 1, 3, 3}, {padding = 1}},
  {{2, 2, 9, 35}, {13, 2, 3, 5}, {padding = {1, 2}}},
  {{1, 4, 8, 8}, {6, 2, 3, 3}, {groups = 2, padding = 1, stride = 2}},
  {{2, 6, 10, 11}, {6, 1, 3, 3}, {groups = 6, padding = 1}},
  {{1, 3, 13, 17}, {4, 3, 2, 3}, {stride = {3, 2}, dilation = {2, 3}, padding = {2, 1}}},
  {{3, 8, 5, 5}, {7, 8, 1, 1}, {stride = 2}},
  {{1, 2, 6, 5}, {3, 2, 4, 4}, {padding = 3}},
  {{1, 2, 5, 4}, {2, 2, 5, 4}, {}},
  {{1, 1, 3, 3}, {1, 1, 2, 2}, {dilation = 2}},
  {{1, 20, 4, 4}, {33, 20, 3, 3}, {padding = 1}},
  {{2, 16, 9, 11}, {23, 16, 3, 3}, {padding = 1}},
  {{1, 32, 10, 10}, {34, 16, 3, 3}, {groups = 2}},
  {{1, 17, 8, 39}, {16, 17, 3, 3}, {padding = {2, 0}}},
}

local function random_case(case, dtype)
  nn.manual_seed(7)
  local x = nn.randn(case[1]):to(dtype or "float32"):requires_grad_()
  local w = nn.randn(case[2]):to(dtype or "float32"):requires_grad_()
  local b = nn.randn(case[2][1]):to(dtype or "float32"):requires_grad_()
  return x, w, b
end

local function largest_difference(a, b)
  return a:double():sub(b:double()):abs():max():item()
end

describe("conv2d", function()
  support.count_tensors(before_each, after_each)

  it("is what its definition says, for both dtypes", function()
    for _, dtype in ipairs{"float32", "float64"} do
      for _, case in ipairs(cases) do
        local x, w, b = random_case(case, dtype)
        local y = F.conv2d(x, w, nil, case[3])
        support.assert_tensor(y, y.shape, plain_conv2d(x, w, y.shape, case[3]), dtype == "float32" and 1e-4 or 1e-12)
        local shifted = F.conv2d(x, w, b, case[3])
        assert.is_true(largest_difference(shifted, y + b:reshape(1, -1, 1, 1)) < 1e-5)
      end
    end
  end)

  it("has the gradients of finite differences", function()
    for _, case in ipairs(cases) do
      if nn.zeros(case[1]):numel() < 300 then
        assert(nn.gradcheck(function(x, w, b) return F.conv2d(x, w, b, case[3]) end, {random_case(case, "float64")}))
      end
    end
  end)

  it("has the same gradients in float32 as in float64", function()
    for _, case in ipairs(cases) do
      local grads = {}
      for _, dtype in ipairs{"float32", "float64"} do
        local x, w, b = random_case(case)
        local inputs = {}
        for i, t in ipairs{x, w, b} do inputs[i] = t:detach():to(dtype):requires_grad_() end
        F.conv2d(inputs[1], inputs[2], inputs[3], case[3]):square():sum():backward()
        grads[dtype] = inputs
      end
      for i = 1, 3 do
        local exact = grads.float64[i].grad
        assert.is_true(largest_difference(grads.float32[i].grad, exact) < 1e-5 * (1 + exact:abs():max():item()))
      end
    end
  end)

  it("has second gradients", function()
    local x, w = random_case({{1, 2, 5, 5}, {2, 2, 3, 3}}, "float64")
    local function slope()
      local y = F.conv2d(x, w, nil, {stride = 2, padding = 1}):square():sum()
      local dx, dw = nn.grad(y, {x, w}, {create_graph = true})
      return dx:square():sum() + dw:square():sum()
    end
    slope():backward()
    for _, t in ipairs{x, w} do
      local flat, grad, step = t:detach():view(-1), t.grad:view(-1), 1e-5
      for i = 1, flat:numel(), 3 do
        local kept = flat[i]
        flat[i] = kept + step
        local above = slope():item()
        flat[i] = kept - step
        local below = slope():item()
        flat[i] = kept
        assert.is_true(math.abs((above - below) / (2 * step) - grad[i]) < 1e-5 * (1 + math.abs(grad[i])))
      end
    end
  end)

  it("gives the same bits for any number of threads", function()
    local before, seen = nn.get_num_threads(), {}
    for _, threads in ipairs{1, 2, 3} do
      nn.set_num_threads(threads)
      local x, w, b = random_case{{5, 16, 20, 20}, {24, 16, 3, 3}}
      local y = F.conv2d(x, w, b, {padding = 1})
      y:square():sum():backward()
      seen[threads] = {y:detach(), x.grad, w.grad, b.grad}
    end
    nn.set_num_threads(before)
    for i = 1, 4 do
      assert.is_true(seen[1][i]:equal(seen[2][i]))
      assert.is_true(seen[1][i]:equal(seen[3][i]))
    end
  end)

  it("gives an image by itself what it has in a batch, large ones cut into rows", function()
    local x, w = random_case{{3, 24, 90, 70}, {8, 24, 3, 3}}
    local all = F.conv2d(x, w, nil, {padding = 1})
    for n = 1, 3 do
      assert.is_true(all:select(1, n):equal(F.conv2d(x:select(1, n), w, nil, {padding = 1})))
    end
  end)

  it("takes strided inputs, empty batches and half floats", function()
    local x, w = random_case{{2, 3, 6, 5}, {4, 3, 3, 3}}
    local turned = x:detach():transpose(3, 4)
    assert.is_true(F.conv2d(turned, w):equal(F.conv2d(turned:contiguous(), w)))
    local none = nn.zeros({0, 3, 6, 5}, {requires_grad = true})
    local y = F.conv2d(none, w)
    assert.same({0, 4, 4, 3}, y.shape)
    y:sum():backward()
    assert.equal(0, w.grad:abs():sum():item())
    w.grad = nil
    local half = F.conv2d(x:to("bfloat16"), w:to("bfloat16"))
    assert.equal("bfloat16", half.dtype)
    assert.is_true(largest_difference(half, F.conv2d(x, w)) < 0.1)
  end)

  it("pads so that the size stays with \"same\", the odd one behind", function()
    local x, w = nn.ones(1, 1, 1, 4), nn.tensor{1, 10, 100, 1000}:reshape(1, 1, 1, 4)
    assert.same({1110, 1111, 111, 11}, F.conv2d(x, w, nil, {padding = "same"}):tolist()[1][1][1])
    assert.same({1111}, F.conv2d(x, w, nil, {padding = "valid"}):tolist()[1][1][1])
    assert.matches("padding \"same\" needs a stride of 1, got 2", support.message_of(function()
      F.conv2d(x, w, nil, {padding = "same", stride = 2})
    end))
  end)

  it("says what does not fit", function()
    local x, w = nn.zeros(1, 3, 5, 5), nn.zeros(4, 3, 3, 3)
    local function message(...)
      return support.message_of(F.conv2d, ...)
    end
    assert.matches("conv2d: expected input %(N, 3, H, W%), got %(1, 2, 5, 5%)", message(nn.zeros(1, 2, 5, 5), w))
    assert.matches("conv2d: expected input %(N, 3, H, W%), got %(5, 5%)", message(nn.zeros(5, 5), w))
    assert.matches("kernel of size 3 with its dilation reaches over 7, more than the height of the padded input, 5",
                   message(x, w, nil, {dilation = 3}))
    assert.matches("expected a weight .* of 4 dimensions, got %(3, 3%)", message(x, nn.zeros(3, 3)))
    assert.matches("expected a bias of shape %(4%), got %(3%)", message(x, w, nn.zeros(3)))
    assert.matches("groups must divide the outputs of the weight, got 3 for 4", message(x, w, nil, {groups = 3}))
    assert.matches("of one dtype, got float32 and float64", message(x, w:double()))
    assert.matches("stride must be at least 1, got 0", message(x, w, nil, {stride = 0}))
    assert.matches("stride must be one integer or a list of 2, got a list of 3",
                   message(x, w, nil, {stride = {1, 1, 1}}))
    assert.matches("'sam' is not one of: same valid", message(x, w, nil, {padding = "sam"}))
  end)
end)

describe("conv1d", function()
  it("is conv2d of height 1", function()
    local x, w, b = nn.randn(2, 4, 19), nn.randn(6, 2, 3), nn.randn(6)
    local y = F.conv1d(x, w, b, {stride = 2, padding = 2, dilation = 2, groups = 2})
    local wide = {stride = {1, 2}, padding = {0, 2}, dilation = {1, 2}, groups = 2}
    local same = F.conv2d(x:unsqueeze(3), w:unsqueeze(3), b, wide)
    assert.is_true(y:equal(same:squeeze(3)))
    assert.is_true(y[1]:equal(F.conv1d(x[1], w, b, {stride = 2, padding = 2, dilation = 2, groups = 2})))
  end)
end)

describe("conv_transpose2d", function()
  local options = {
    {}, {stride = 2}, {stride = 2, padding = 1, output_padding = 1}, {stride = {3, 2}, padding = {1, 0}},
    {dilation = 2, padding = 1}, {stride = 4},
  }

  it("is the gradient of conv2d", function()
    for _, o in ipairs(options) do
      for _, groups in ipairs{1, 2} do
        local x, w = nn.randn(2, 4, 5, 4), nn.randn(4, 6 / groups, 3, 3)
        local forward = {stride = o.stride, padding = o.padding, dilation = o.dilation, groups = groups}
        local back = {output_padding = o.output_padding}
        for name, value in pairs(forward) do back[name] = value end
        local y = F.conv_transpose2d(x, w, nil, back)
        local z = nn.zeros(y.shape):requires_grad_()
        F.conv2d(z, w, nil, forward):mul(x):sum():backward()
        assert.is_true(largest_difference(y, z.grad) < 1e-5)
      end
    end
  end)

  it("has the gradients of finite differences", function()
    for _, o in ipairs(options) do
      local x, w = nn.randn(1, 2, 3, 3):double():requires_grad_(), nn.randn(2, 3, 3, 2):double():requires_grad_()
      local b = nn.randn(3):double():requires_grad_()
      assert(nn.gradcheck(function(a, c, d) return F.conv_transpose2d(a, c, d, o) end, {x, w, b}))
    end
  end)

  it("says what does not fit", function()
    assert.matches("output_padding must be less than stride or dilation, got 2, 2 and 1", support.message_of(function()
      F.conv_transpose2d(nn.zeros(1, 1, 2, 2), nn.zeros(1, 1, 2, 2), nil, {stride = 2, output_padding = 2})
    end))
    assert.matches("nothing is left of an input of size 1 with padding 3", support.message_of(function()
      F.conv_transpose2d(nn.zeros(1, 1, 1, 1), nn.zeros(1, 1, 2, 2), nil, {padding = 3})
    end))
  end)
end)

describe("the layers of convolution", function()
  it("start within one over the root of the inputs of one result", function()
    nn.manual_seed(3)
    for layer, bound in pairs{[nn.Conv2d(8, 64, 3, {groups = 2})] = 1 / 6, [nn.ConvTranspose2d(8, 64, 3)] = 1 / 24} do
      local most = layer.weight:abs():max():item()
      assert.is_true(most <= bound and most > 0.95 * bound)
      assert.is_true(layer.bias:abs():max():item() <= bound)
    end
  end)

  it("take the input's channels from the first batch, or from loaded values", function()
    local layer = nn.Conv2d(8, 3, {groups = 2})
    assert.is_nil(layer.weight)
    assert.same({2, 8, 4, 4}, layer(nn.zeros(2, 6, 6, 6)).shape)
    assert.equal("Conv2d(6, 8, 3, groups = 2)", tostring(layer))
    local loaded = nn.Conv2d(8, 3, {groups = 2})
    loaded:load_state_dict(layer:state_dict())
    assert.equal(6, loaded.in_channels)
    assert.matches("'groups' must divide the input's channels, got 2 for %(2, 5, 6, 6%)", support.message_of(function()
      nn.Conv2d(8, 3, {groups = 2})(nn.zeros(2, 5, 6, 6))
    end))
  end)

  it("apply an activation and tell penalties, as Dense does", function()
    local layer = nn.Conv1d(1, 1, 2, {activation = "relu", bias = false, kernel_regularizer = {l1 = 2}})
    layer:load_state_dict{weight = nn.tensor{{{1, -1}}}}
    assert.same({{0, 2, 0}}, layer(nn.tensor{{1, 3, 1, 4}}):tolist())
    assert.equal(4, layer:_penalty():item())
    assert.equal(0, nn.Conv2d(1, 1, 2, {init = "zeros"}).weight:abs():sum():item())
  end)

  it("are made again by their configuration", function()
    for _, layer in ipairs{
      nn.Conv2d(4, 6, {3, 2}, {stride = 2, padding = {1, 0}, groups = 2, bias = false}),
      nn.Conv1d(2, 3, 5, {padding = "same", activation = "tanh"}),
      nn.ConvTranspose2d(2, 2, 3, {output_padding = 1, stride = 2}),
      nn.Conv2d(8, 3),
    } do
      local config = layer:_config()
      assert.equal(tostring(layer), tostring(nn[config.class](config.options)))
    end
  end)

  it("say what is wrong with their options when they are made", function()
    local function message(...)
      return support.message_of(nn.Conv2d, ...)
    end
    assert.matches("nn.Conv2d: option 'groups' must divide in_channels %(3%) and out_channels %(8%), got 2",
                   message(3, 8, 3, {groups = 2}))
    assert.matches("option 'groups' must divide .* got 8", message(3, 8, 3, {groups = 8}))
    assert.matches("kernel_size must be one integer or a list of 2, got a list of 3", message(3, 8, {3, 3, 3}))
    assert.matches("option 'kernel_size' must be between 1 and %d+, got 0", message(3, 8, 0))
    assert.matches("'padding' must be one of same, valid, got 'sam'", message(3, 8, 3, {padding = "sam"}))
  end)

  it("name the input that they expected", function()
    assert.matches("nn.Conv2d: expected input %(N, 3, H, W%), got %(1, 4, 5, 5%)",
                   support.message_of(nn.Conv2d(3, 8, 3), nn.zeros(1, 4, 5, 5)))
    assert.matches("nn.ConvTranspose1d: expected input %(N, 3, L%), got %(1, 4, 5%)",
                   support.message_of(nn.ConvTranspose1d(3, 8, 3), nn.zeros(1, 4, 5)))
  end)
end)
