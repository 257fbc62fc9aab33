local nn = require "nnlua"
local support = require "support"

local F = nn.functional
local assert_tensor, message_of = support.assert_tensor, support.message_of

local function pair(value, fallback)
  if type(value) == "table" then return value end
  return {value or fallback, value or fallback}
end

--- Each window of a plane (a table of rows), as pool2d has them, reduced by fold(elements, padded elements).
local function plain_pool(plane, result, o, fold)
  local kernel, padding, dilation = pair(o.kernel), pair(o.padding, 0), pair(o.dilation, 1)
  local stride = pair(o.stride or o.kernel)
  local height, width, list = #plane, #plane[1], {}
  for i = 0, result[1] - 1 do
    for j = 0, result[2] - 1 do
      local window, padded = {}, 0
      for a = 0, kernel[1] - 1 do
        for b = 0, kernel[2] - 1 do
          local row = i * stride[1] + a * dilation[1] - padding[1]
          local column = j * stride[2] + b * dilation[2] - padding[2]
          if row < height + padding[1] and column < width + padding[2] then padded = padded + 1 end
          local value = (plane[row + 1] or {})[column + 1]
          if value then window[#window + 1] = value end
        end
      end
      list[#list + 1] = fold(window, padded)
    end
  end
  return list
end

local function largest(window) return math.max(table.unpack(window)) end

local function total(window)
  local sum = 0
  for _, value in ipairs(window) do sum = sum + value end
  return sum
end

local cases = {
  {size = {8, 40}, kernel = 2},
  {size = {7, 23}, kernel = 2},
  {size = {7, 23}, kernel = 2, ceil_mode = true},
  {size = {9, 21}, kernel = 3, stride = 1, padding = 1},
  {size = {9, 20}, kernel = 3, stride = 2, padding = 1},
  {size = {11, 19}, kernel = {2, 5}, stride = {1, 3}, padding = {1, 2}, ceil_mode = true},
  {size = {3, 3}, kernel = 3},
  {size = {1, 5}, kernel = {1, 2}},
}

local function options_of(case)
  return {stride = case.stride, padding = case.padding, dilation = case.dilation, ceil_mode = case.ceil_mode}
end

describe("max_pool2d", function()
  support.count_tensors(before_each, after_each)

  it("is the largest of each window, for both dtypes", function()
    for _, dtype in ipairs{"float32", "float64"} do
      for _, dilation in ipairs{1, 2} do
        for _, case in ipairs(cases) do
          if dilation == 1 or case.size[1] > 5 then
            case.dilation = dilation
            local x = nn.randn(1, 1, case.size[1], case.size[2]):to(dtype)
            local y = F.max_pool2d(x, case.kernel, options_of(case))
            local shape = {y.shape[3], y.shape[4]}
            assert_tensor(y[{1, 1}], shape, plain_pool(x:tolist()[1][1], shape, case, largest))
          end
        end
      end
    end
  end)

  it("gives the gradient to the largest, and its position", function()
    local x = nn.tensor{{{1, 5, 2, 2}, {3, 4, 9, 1}}}:requires_grad_()
    local y, positions = F.max_pool2d(x, 2, {return_indices = true})
    assert_tensor(y, {1, 1, 2}, {5, 9})
    assert_tensor(positions, {1, 1, 2}, {2, 7})
    assert.equal("int64", positions.dtype)
    y:mul(nn.tensor{10, 20}):sum():backward()
    assert_tensor(x.grad, {1, 2, 4}, {0, 10, 0, 0, 0, 0, 20, 0})
  end)

  it("has the gradients of finite differences, where windows overlap too", function()
    for _, case in ipairs(cases) do
      local x = nn.randn(2, 2, case.size[1], case.size[2]):double():requires_grad_()
      if x:numel() < 600 then
        assert(nn.gradcheck(function(t) return F.max_pool2d(t, case.kernel, options_of(case)) end, {x}))
      end
    end
  end)

  it("lets NaN win, and nothing else than minus infinity of an input of that", function()
    local x = nn.full({1, 1, 4, 40}, -math.huge)
    x[{1, 1, 2, 3}] = 0 / 0
    local y = F.max_pool2d(x, 2)
    local row = y:tolist()[1][1][1]
    assert.is_true(row[2] ~= row[2])
    row[2] = nil
    for _, value in pairs(row) do assert.equal(-math.huge, value) end
  end)

  it("takes images without a batch, empty batches and half floats", function()
    local x = nn.randn(3, 6, 6)
    assert.is_true(F.max_pool2d(x, 2):equal(F.max_pool2d(x:unsqueeze(1), 2):squeeze(1)))
    assert.same({0, 3, 3, 3}, F.max_pool2d(nn.zeros(0, 3, 6, 6), 2).shape)
    assert.equal("float16", F.max_pool2d(x:to("float16"), 2).dtype)
  end)

  it("says what does not fit", function()
    local x = nn.zeros(1, 1, 5, 5)
    assert.matches("padding must be at most half of the kernel's size, got 2 for 3",
                   message_of(F.max_pool2d, x, 3, {padding = 2}))
    assert.matches("max_pool2d: a kernel of size 6 reaches over 6, more than the height of the padded input, 5",
                   message_of(F.max_pool2d, x, 6))
    assert.matches("expected input %(N, C, H, W%) or %(C, H, W%), got %(5, 5%)",
                   message_of(F.max_pool2d, nn.zeros(5, 5), 2))
    assert.matches("expected input of a float dtype, got \"int64\"", message_of(F.max_pool2d, x:long(), 2))
    assert.matches("kernel_size: integer or list of integers expected, got no value", message_of(F.max_pool2d, x))
  end)
end)

describe("avg_pool2d", function()
  support.count_tensors(before_each, after_each)

  it("is the mean of each window, the padding counted or not", function()
    for _, dtype in ipairs{"float32", "float64"} do
      for _, counted in ipairs{true, false} do
        for _, case in ipairs(cases) do
          case.dilation = nil
          local x = nn.randn(1, 1, case.size[1], case.size[2]):to(dtype)
          local o = options_of(case)
          o.count_include_pad = counted
          local y = F.avg_pool2d(x, case.kernel, o)
          local shape = {y.shape[3], y.shape[4]}
          local expected = plain_pool(x:tolist()[1][1], shape, case, function(window, padded)
            return total(window) / (counted and padded or #window)
          end)
          assert_tensor(y[{1, 1}], shape, expected, 1e-6)
        end
      end
    end
    assert_tensor(F.avg_pool2d(nn.ones(1, 2, 2), 2, {divisor_override = 8}), {1, 1, 1}, {0.5})
  end)

  it("has the gradients of finite differences", function()
    for _, case in ipairs(cases) do
      local x = nn.randn(1, 2, case.size[1], case.size[2]):double():requires_grad_()
      assert(nn.gradcheck(function(t) return F.avg_pool2d(t, case.kernel, options_of(case)) end, {x}))
    end
  end)
end)

describe("pooling to a size", function()
  support.count_tensors(before_each, after_each)

  it("covers the input with windows", function()
    local x = nn.tensor{{{1, 2, 3, 4, 5}}}
    assert_tensor(F.adaptive_avg_pool1d(x[1], 2), {1, 2}, {2, 4})
    assert_tensor(F.adaptive_avg_pool2d(x, {1, 3}), {1, 1, 3}, {1.5, 3, 4.5})
    local y, positions = F.adaptive_max_pool2d(x, {1, 3}, {return_indices = true})
    assert_tensor(y, {1, 1, 3}, {2, 4, 5})
    assert_tensor(positions, {1, 1, 3}, {2, 4, 5})
    assert_tensor(F.adaptive_avg_pool2d(x, {2, 10})[{1, 1, {3, 4}}], {2}, {2, 2})
  end)

  it("has the gradients of finite differences", function()
    local x = nn.randn(2, 2, 5, 7):double():requires_grad_()
    for _, name in ipairs{"adaptive_avg_pool2d", "adaptive_max_pool2d"} do
      assert(nn.gradcheck(function(t) return (F[name](t, {3, 4})) end, {x}))
    end
  end)

  it("is the mean of whole channels for GlobalAvgPool2d", function()
    assert_tensor(nn.GlobalAvgPool2d()(nn.tensor{{{{1, 2}, {3, 6}}, {{0, 0}, {0, 4}}}}), {1, 2}, {3, 1})
  end)

  it("says what does not fit", function()
    assert.matches("adaptive_avg_pool2d: expected an input without empty dimensions, got %(1, 0, 2%)",
                   message_of(F.adaptive_avg_pool2d, nn.zeros(1, 0, 2), 2))
    assert.matches("nn.AdaptiveAvgPool2d: output_size must be one integer or a list of 2, got a list of 3",
                   message_of(nn.AdaptiveAvgPool2d, {1, 2, 3}))
  end)
end)

describe("interpolate", function()
  support.count_tensors(before_each, after_each)

  it("takes the nearest element", function()
    local x = nn.tensor{{{1, 2, 3}}}
    assert_tensor(F.interpolate(x, {scale_factor = 2}), {1, 1, 6}, {1, 1, 2, 2, 3, 3})
    assert_tensor(F.interpolate(x, {size = 2}), {1, 1, 2}, {1, 2})
    assert_tensor(F.interpolate(x, {size = 5}), {1, 1, 5}, {1, 1, 2, 2, 3})
    local infinite = F.interpolate(nn.full({1, 1, 2, 2}, math.huge), {scale_factor = {2, 1.5}})
    assert_tensor(infinite, {1, 1, 4, 3}, nn.full({12}, math.huge):tolist())
  end)

  it("draws lines between neighbours, with the ends on the ends or not", function()
    local x = nn.tensor{{{0, 4}}}
    assert_tensor(F.interpolate(x, {size = 4, mode = "linear"}), {1, 1, 4}, {0, 1, 3, 4})
    assert_tensor(F.interpolate(x, {size = 5, mode = "linear", align_corners = true}), {1, 1, 5}, {0, 1, 2, 3, 4})
    local plane = nn.tensor{{{{0, 4}, {8, 12}}}}
    assert_tensor(F.interpolate(plane, {size = {2, 3}, mode = "bilinear", align_corners = true}), {1, 1, 2, 3},
                  {0, 2, 4, 8, 10, 12})
  end)

  it("takes means of areas", function()
    assert_tensor(F.interpolate(nn.tensor{{{1, 3, 5, 7}}}, {size = 2, mode = "area"}), {1, 1, 2}, {2, 6})
  end)

  it("has the gradients of finite differences", function()
    local x = nn.randn(2, 2, 4, 3):double():requires_grad_()
    for _, o in ipairs{
      {scale_factor = 1.7}, {size = {7, 5}, mode = "bilinear"},
      {size = {2, 6}, mode = "bilinear", align_corners = true},
      {size = {3, 2}, mode = "area"},
    } do
      assert(nn.gradcheck(function(t) return F.interpolate(t, o) end, {x}))
    end
  end)

  it("says what does not fit", function()
    local x = nn.zeros(1, 1, 2, 2)
    assert.matches("either size or scale_factor must be given", message_of(F.interpolate, x))
    assert.matches("align_corners is for the modes linear and bilinear",
                   message_of(F.interpolate, x, {size = 3, align_corners = true}))
    assert.matches("expected input %(N, C, L%), got %(1, 1, 2, 2%)",
                   message_of(F.interpolate, x, {size = 3, mode = "linear"}))
    assert.matches("nn.Upsample: cannot make 0 elements of 2", message_of(nn.Upsample{scale_factor = 0.25}, x))
    assert.matches("scale_factor must be greater than 0, got %-1", message_of(F.interpolate, x, {scale_factor = -1}))
  end)
end)

describe("pad", function()
  support.count_tensors(before_each, after_each)

  it("puts a value around, and cuts off where widths are negative", function()
    local x = nn.tensor{{1, 2, 3}, {4, 5, 6}}
    assert_tensor(F.pad(x, {1, 0}, {value = 9}), {2, 4}, {9, 1, 2, 3, 9, 4, 5, 6})
    assert_tensor(F.pad(x, {-1, 1, 0, -1}), {1, 3}, {2, 3, 0})
    assert_tensor(F.pad(x, {-2, -1, 1, 0}), {3, 0}, {})
    assert_tensor(F.pad(nn.tensor({1, 2}, {dtype = "int64"}), {0, 1}, {value = 7}), {3}, {1, 2, 7})
  end)

  it("repeats the tensor's own elements", function()
    local x = nn.tensor{1, 2, 3}
    assert_tensor(F.pad(x, {2, 1}, {mode = "reflect"}), {6}, {3, 2, 1, 2, 3, 2})
    assert_tensor(F.pad(x, {2, 1}, {mode = "replicate"}), {6}, {1, 1, 1, 2, 3, 3})
    assert_tensor(F.pad(x, {2, 1}, {mode = "circular"}), {6}, {2, 3, 1, 2, 3, 1})
  end)

  it("has the gradients of finite differences", function()
    local x = nn.randn(2, 3, 4):double():requires_grad_()
    for _, mode in ipairs{"constant", "reflect", "replicate", "circular"} do
      assert(nn.gradcheck(function(t) return F.pad(t, {2, 1, 1, 0}, {mode = mode}) end, {x}))
    end
    assert(nn.gradcheck(function(t) return F.pad(t, {-1, 3, 1, -2}) end, {x}))
  end)

  it("says what does not fit", function()
    assert.matches("a tensor of shape %(3%) cannot be padded by 3 and 0 in dimension 1",
                   message_of(F.pad, nn.zeros(3), {3, 0}, {mode = "reflect"}))
    assert.matches("cannot be padded by %-2 and %-2", message_of(F.pad, nn.zeros(3), {-2, -2}))
    assert.matches("two numbers for each of the last dimensions of %(3%), got 4",
                   message_of(F.pad, nn.zeros(3), {1, 1, 1, 1}))
    assert.matches("padding' must be an integer or {left, right, top, bottom}", message_of(nn.ZeroPad2d, {1, 2}))
  end)
end)

describe("dropout2d", function()
  it("drops whole channels and scales the rest", function()
    nn.manual_seed(2)
    local layer, x = nn.Dropout2d(0.5), nn.ones(20, 30, 2, 2):requires_grad_()
    local y = layer(x)
    local channels = y:detach():view(600, 4)
    assert.is_true(channels:amax(2):equal(channels:amin(2)))
    local kept = channels:amax(2):eq(2):sum():item()
    assert.equal(600, kept + channels:amax(2):eq(0):sum():item())
    assert.is_true(kept > 240 and kept < 360)
    y:sum():backward()
    assert.is_true(x.grad:equal(y:detach()))
    assert.is_true(layer:eval()(x):equal(x))
  end)
end)

describe("the layers of pooling and resizing", function()
  it("do what the functions do", function()
    local x, line = nn.randn(2, 3, 9, 8), nn.randn(2, 3, 9)
    assert.is_true(nn.MaxPool2d(3, 2, 1)(x):equal(F.max_pool2d(x, 3, {stride = 2, padding = 1})))
    assert.is_true(nn.MaxPool1d(2, {dilation = 2})(line):equal(F.max_pool1d(line, 2, {dilation = 2})))
    assert.is_true(nn.AvgPool2d({2, 3}, {count_include_pad = false, padding = 1})(x)
                     :equal(F.avg_pool2d(x, {2, 3}, {padding = 1, count_include_pad = false})))
    assert.is_true(nn.AvgPool1d(2, {ceil_mode = true})(line):equal(F.avg_pool1d(line, 2, {ceil_mode = true})))
    assert.is_true(nn.AdaptiveMaxPool2d{2, 3}(x):equal((F.adaptive_max_pool2d(x, {2, 3}))))
    assert.is_true(nn.Upsample({4, 5}, {mode = "bilinear"})(x)
                     :equal(F.interpolate(x, {size = {4, 5}, mode = "bilinear"})))
    assert.is_true(nn.ZeroPad2d{1, 2, 0, -1}(x):equal(F.pad(x, {1, 2, 0, -1})))
    assert.same({2, 3, 2, 4, 9}, nn.Unflatten(-1, {2, -1, 9})(nn.zeros(2, 3, 72)).shape)
  end)

  it("are made again by their configuration", function()
    for _, layer in ipairs{
      nn.MaxPool2d(2), nn.MaxPool2d(2, {padding = 1}),
      nn.MaxPool2d({3, 2}, 2, {dilation = 2}), nn.AvgPool2d(2, {divisor_override = 3}),
      nn.AdaptiveAvgPool2d{2, 3}, nn.Upsample{scale_factor = {2, 1.5}}, nn.Upsample(7), nn.ZeroPad2d{1, 2, 3, 4},
      nn.Unflatten(2, {2, 2}),
    } do
      local config = layer:_config()
      assert.equal(tostring(layer), tostring(nn[config.class](config.options)))
    end
  end)
end)
