local nn = require "nnlua"
local support = require "support"

local message_of = support.message_of

--- The line that called this function.
local function here()
  return debug.getinfo(2, "l").currentline
end

describe("an error", function()
  support.count_tensors(before_each, after_each)

  it("carries the line of the caller", function()
    local t, line = nn.ones(2, 3), nil
    local calls = {
      function() line = here() t:matmul(t) end,
      function() line = here() nn.matmul(t, t) end,
      function() line = here() t:sum(3) end,
      function() line = here() local _ = t[5] end,
      function() line = here() t[5] = 1 end,
      function() line = here() local _ = t + nn.ones(4) end,
      function() line = here() nn.tensor { { 1 }, { 1, 2 } } end,
      function() line = here() t:item() end,
    }
    for _, call in ipairs(calls) do
      local raised_at = support.line_of(call)
      assert.equal(line, raised_at)
    end
  end)

  it("counts the arguments of a method without self", function()
    local t = nn.ones(2, 2)
    assert.equal("bad argument #1 to 'matmul' (tensor expected, got string)",
      message_of(function() t:matmul("x") end))
    assert.equal("bad argument #2 to 'matmul' (tensor expected, got string)",
      message_of(function() nn.matmul(t, "x") end))
    assert.equal("bad argument #2 to 'transpose' (dim1: dimension expected, got no value)",
      message_of(function() t:transpose(1) end))
  end)

  it("gives the function and both shapes where shapes do not fit", function()
    local t = nn.ones(2, 3)
    assert.matches("matmul.*%(2, 3%).*%(2, 3%)", message_of(t.matmul, t, t))
    assert.matches("add.*%(2, 3%).*%(4%)", message_of(t.add, t, nn.ones(4)))
    assert.matches("reshape.*%(2, 3%).*%(4, 2%)", message_of(t.reshape, t, 4, 2))
  end)

  it("names an option that there is not, and those that there are", function()
    local t = nn.ones(2)
    assert.equal("sum: unknown option 'dims'; allowed: dim keepdim; did you mean 'dim'?",
      message_of(function() t:sum { dims = 1 } end))
    assert.matches("'dtyp'; allowed: dtype requires_grad", message_of(nn.zeros, 2, { dtyp = "int64" }))
    assert.matches("'retain'; allowed: retain_graph create_graph", message_of(t.backward, t, { retain = true }))
  end)

  it("names an option whose value is wrong", function()
    local t = nn.ones(2)
    assert.equal("zeros: option 'dtype': dtype name expected, got number",
      message_of(function() nn.zeros(2, { dtype = 3 }) end))
    assert.matches("option 'dtype': unknown dtype 'float33'; there are float32",
      message_of(nn.tensor, { 1 }, { dtype = "float33" }))
    assert.equal("sum: option 'keepdim': boolean expected, got number",
      message_of(function() t:sum { keepdim = 1 } end))
    assert.equal("gelu: option 'approximate': 'fast' is not one of: none tanh",
      message_of(function() t:gelu { approximate = "fast" } end))
    assert.matches("option 'requires_grad': boolean", message_of(nn.zeros, 2, { requires_grad = 1 }))
  end)

  it("names the dimension that a tensor does not have", function()
    local t = nn.ones(2, 3)
    assert.matches("dimension 0 is not within 1 to 2", message_of(t.sum, t, 0))
    assert.matches("dimension %-3 is not within 1 to 2", message_of(t.sum, t, -3))
    assert.has_no.errors(function() nn.tensor(1):sum(1) end)
    assert.has_no.errors(function() nn.tensor(1):sum(-1) end)
  end)

  it("refuses what is no tensor and no number as an operand", function()
    local t = nn.ones(2)
    assert.matches("tensor or number expected, got boolean", message_of(function() return t + true end))
    assert.matches("tensor or number expected, got table", message_of(function() return {} * t end))
    assert.matches("tensor expected at position 2, got number", message_of(nn.cat, { t, 1 }, 1))
  end)

  it("refuses more arguments than a function takes", function()
    local t = nn.ones(2)
    assert.matches("no more arguments", message_of(t.sum, t, 1, true, 3))
  end)
end)

describe("an index", function()
  support.count_tensors(before_each, after_each)

  it("out of range is told with its dimension and size", function()
    local t = nn.ones(2, 3)
    assert.equal("index 3 is out of range: dimension 1 has positions 1 to 2", message_of(function() return t[3] end))
    assert.equal("index 0 is out of range: dimension 1 has positions 1 to 2", message_of(function() return t[0] end))
    assert.equal("index -4 is out of range: dimension 2 has positions 1 to 3",
      message_of(function() return t[{ 1, -4 }] end))
    assert.matches("dimension 2", message_of(function() return t[{ {}, { 2, 4 } }] end))
    local at = nn.tensor({ 1, 3 }, { dtype = "int64" })
    assert.matches("position 3", message_of(function() return t[at] end))
    assert.matches("position 3", message_of(function() t[at] = 1 end))
  end)

  it("of another kind is refused", function()
    local t = nn.ones(2)
    assert.matches("integer", message_of(function() return t[1.5] end))
    assert.matches("nil", message_of(function() return t[nil] end))
    assert.matches("more positions", message_of(function() return t[{ 1, 1 }] end))
    assert.matches("int64", message_of(function() return t[nn.tensor { 1 }] end))
    assert.matches("mask", message_of(function() return t[nn.tensor { true, false, true }] end))
    assert.matches("step", message_of(function() return t[{ { 1, 2, 0 } }] end))
  end)

  it("takes only values that fit", function()
    local t = nn.ones(2, 3)
    assert.matches("expected a number or a tensor, got string", message_of(function() t[1] = "x" end))
    assert.matches("%(2%).*%(3%)", message_of(function() t[1] = nn.ones(2) end))
    assert.matches("no field 'shape'", message_of(function() t.shape = { 3, 2 } end))
  end)
end)

describe("a table of numbers", function()
  support.count_tensors(before_each, after_each)

  it("that is ragged or mixed is refused, with the place", function()
    assert.equal("tensor: the table is ragged: [2] has 1 value, where the first has 2",
      message_of(nn.tensor, { { 1, 2 }, { 3 } }))
    assert.equal("tensor: the table is ragged: [2] is a number, where others are tables of 2",
      message_of(nn.tensor, { { 1, 2 }, 3 }))
    assert.equal("tensor: the table is ragged: [2][1] has 0 values, where the first has 1",
      message_of(nn.tensor, { { { 1 }, { 2 } }, { {}, { 4 } } }))
    assert.matches("expected numbers, got string at %[2%]$", message_of(nn.tensor, { 1, "x" }))
    if #{ 1, nil, 3 } == 3 then -- which Lua decides
      assert.matches("expected numbers, got nil at %[2%]$", message_of(nn.tensor, { 1, nil, 3 }))
    end
    assert.matches("expected numbers, got table at %[2%]%[1%]$", message_of(nn.tensor, { { 1 }, { {} } }))
    assert.matches("expected booleans, got number at %[2%]$", message_of(nn.tensor, { true, 1 }))
    assert.matches("expected numbers, got boolean at %[2%]$", message_of(nn.tensor, { 1, true }))
    assert.matches("expected a number, a boolean or a table, got string", message_of(nn.tensor, "abc"))
    assert.matches("expected a number, a boolean or a table, got no value", message_of(nn.tensor))
  end)

  it("holds only numbers that its dtype can", function()
    assert.equal("tensor: 300 at [2][1] is no number that uint8 can hold",
      message_of(nn.tensor, { { 1 }, { 300 } }, { dtype = "uint8" }))
    assert.matches("inf at %[1%]", message_of(nn.tensor, { 1 / 0 }, { dtype = "int64" }))
    assert.matches("2147483648 is no number that int32", message_of(nn.tensor, 2147483648, { dtype = "int32" }))
    local t = nn.zeros(2, { dtype = "uint8" })
    local place = support.has.yields and "assignment" or "tensor"
    assert.equal(place .. ": 256 is no number that uint8 can hold", message_of(function() t[1] = 256 end))
    assert.equal(place .. ": 256 is no number that uint8 can hold", message_of(function() t[{ {} }] = 256 end))
    assert.equal("fill_: 256 is no number that uint8 can hold", message_of(function() t:fill_(256) end))
    assert.equal("full: 256 is no number that uint8 can hold",
      message_of(function() nn.full({ 2 }, 256, { dtype = "uint8" }) end))
    t[1], t[2] = -1, 2.9
    assert.same({ 255, 2 }, t:tolist())
  end)
end)

describe("what takes part in the graph", function()
  support.count_tensors(before_each, after_each)

  it("cannot be changed in place where that would be wrong", function()
    local x = nn.ones(2, { requires_grad = true })
    assert.matches("leaf.*no_grad", message_of(x.add_, x, 1))
    assert.matches("leaf.*no_grad", message_of(function() x[1] = 2 end))
    nn.no_grad(function() x:add_(1) end)
    assert.same({ 2, 2 }, x:tolist())
  end)

  it("must be of floating point", function()
    assert.matches("floating", message_of(nn.zeros, 2, { dtype = "int64", requires_grad = true }))
  end)

  it("gets gradients of its own shape and dtype only", function()
    local x = nn.ones(2, { requires_grad = true })
    assert.matches("%(2%).*%(3%)", message_of(function() x.grad = nn.ones(3) end))
    assert.matches("tensor", message_of(function() x.grad = 1 end))
    local y = x * 2
    assert.matches("gradient", message_of(y.backward, y))
    assert.matches("requires a gradient", message_of(function() nn.ones(1):backward() end))
  end)
end)

describe("after a failure of the allocator", function()
  support.count_tensors(before_each, after_each)

  it("everything is given back, and the next call works", function()
    local x = nn.ones(3, 4, { requires_grad = true })
    local mask, at = nn.ones(3, 4):gt(0), nn.tensor({ 1, 2 }, { dtype = "int64" })
    local before = support.live_tensors()
    local failed = support.fail_each(function()
      local h = (x * 2 + 1):tanh()
      local loss = (h:matmul(x:t()):sum() + h[mask]:sum() + h[at]:mean())
      loss:backward()
      x.grad = nil
    end)
    assert.is_true(failed > 5)
    x.grad = nil
    assert.equal(before, support.live_tensors())
    x:sum():backward()
    assert.equal(12, x.grad:sum():item())
  end)
end)
