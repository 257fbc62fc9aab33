local nn = require "nnlua"

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

describe("initialisers", function()
  before_each(function() nn.manual_seed(1) end)

  it("fill in place and return the tensor", function()
    local t = nn.zeros(2, 2)
    assert.is_true(t == nn.init.constant_(t, 3))
    assert.same({{3, 3}, {3, 3}}, t:tolist())
    assert.same({{1, 1}, {1, 1}}, nn.init.ones_(t):tolist())
  end)

  it("draw the same numbers from the same seed, in any layout", function()
    local a = nn.init.normal_(nn.zeros(3, 4))
    nn.manual_seed(1)
    local turned = nn.zeros(4, 3):t()
    assert.is_true(nn.init.normal_(turned):equal(a))
  end)

  it("keep to their ranges", function()
    local t = nn.init.uniform_(nn.zeros(1000), -2, 5)
    assert.is_true(t:min():item() >= -2 and t:max():item() < 5)
    local n = nn.init.trunc_normal_(nn.zeros(2000), {mean = 1, std = 2, a = 0.5, b = 3})
    assert.is_true(n:min():item() >= 0.5 and n:max():item() <= 3)
    local tail = nn.init.trunc_normal_(nn.zeros(100), {a = 4, b = 5})
    assert.is_true(tail:min():item() >= 4 and tail:max():item() <= 5)
  end)

  it("scale by fans", function()
    local w = nn.zeros(200, 100)
    assert.is_true(math.abs(nn.init.kaiming_normal_(w, {nonlinearity = "relu"}):std():item() - 0.1414) < 0.003)
    assert.is_true(nn.init.xavier_uniform_(w):abs():max():item() <= math.sqrt(6 / 300))
  end)

  it("make orthonormal rows or columns", function()
    for _, shape in ipairs{{50, 80}, {80, 50}, {40, 40}} do
      local t = nn.init.orthogonal_(nn.zeros(shape), {gain = 2})
      local product = shape[1] <= shape[2] and t:matmul(t:t()) or t:t():matmul(t)
      assert.is_true(product:allclose(nn.eye(product.shape[1]) * 4, {atol = 1e-5}))
    end
  end)

  it("work on parameters, outside the graph", function()
    local p = nn.zeros(2, 2):requires_grad_()
    nn.init.zeros_(p)
    assert.is_true(p.is_leaf and p.requires_grad)
  end)

  it("tell what they expect", function()
    assert.matches("at least 2 dimensions", message_of(nn.init.xavier_normal_, nn.zeros(3)))
    assert.matches("option 'mode' must be one of fan_in, fan_out, got 'both'",
                   message_of(nn.init.kaiming_normal_, nn.zeros(3, 3), {mode = "both"}))
    assert.matches("float dtype", message_of(nn.init.normal_, nn.zeros({3}, {dtype = "int64"})))
    assert.matches("'val' is required", message_of(nn.init.constant_, nn.zeros(3)))
  end)

  it("know gains", function()
    assert.equal(5 / 3, nn.init.calculate_gain("tanh"))
    assert.matches("no gain is known", message_of(nn.init.calculate_gain, "foo"))
  end)
end)
