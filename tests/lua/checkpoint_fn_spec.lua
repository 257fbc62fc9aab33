local nn = require "nnlua"
local support = require "support"

local function plain(fn, ...) return fn(...) end

local function deep(layers, width)
  local model = nn.Sequential {}
  for _ = 1, layers do
    model:add(nn.Sequential { nn.Linear(width, width), nn.Tanh(), nn.Dropout(0.2), nn.Linear(width, width), nn.ReLU() })
  end
  return model
end

-- The result, and all gradients, of a computation that goes through `by`, nn.checkpoint or a plain call, each time with
-- the same random numbers.
local function outcome(model, compute, by)
  nn.manual_seed(7)
  model:zero_grad()
  local result = compute(by)
  result:sum():backward()
  local grads = {}
  for name, parameter in model:named_parameters() do grads[name] = parameter.grad:clone() end
  return result:detach(), grads, nn.rand(1):item()
end

-- Everything is the same to the bit, the random numbers that come after included.
local function assert_same(model, compute)
  local expected, grads, random = outcome(model, compute, plain)
  local result, others, other_random = outcome(model, compute, nn.checkpoint)
  assert.is_true(result:equal(expected))
  assert.equal(random, other_random)
  for name, grad in pairs(grads) do assert.is_true(others[name]:equal(grad), name) end
end

describe("A checkpoint", function()
  support.count_tensors(before_each, after_each)

  it("changes no bit of results and gradients, dropout included", function()
    local model, x = deep(4, 8), nn.randn(5, 8)
    assert_same(model, function(by)
      local y = x
      for i = 1, #model do y = by(model[i], y) end
      return y
    end)
  end)

  it("hands gradients to its arguments", function()
    local a, b = nn.randn(3, { requires_grad = true }), nn.randn(3, { requires_grad = true })
    local first, second = nn.checkpoint(function(x, factor, y) return (x * y):exp(), y * factor, "text" end, a, 3, b)
    first:sum():add(second:sum()):backward()
    local expected = (a * b):exp():detach()
    assert.is_true(a.grad:allclose(expected * b:detach()))
    assert.is_true(b.grad:allclose(expected * a:detach() + 3))
    assert.equal("text", (select(3, nn.checkpoint(function() return 1, 2, "text" end))))
  end)

  it("hands gradients to parameters that the function refers to, though no argument needs any", function()
    local embed, head = nn.Embedding(9, 4), nn.Linear(4, 2)
    local model = nn.ModuleList { embed, head }
    local ids = nn.randint(1, 10, { 2, 5 })
    assert_same(model, function(by) return by(function(i) return head(embed(i):tanh()) end, ids) end)
  end)

  it("gives what needs no gradient where nothing does", function()
    local x = nn.randn(3)
    assert.is_false(nn.checkpoint(function(v) return v:exp() end, x).requires_grad)
    local layer = nn.Linear(3, 2)
    assert.is_false(nn.no_grad(nn.checkpoint, layer, x:view(1, 3)).requires_grad)
    local runs = 0
    layer:requires_grad_(false)
    local y = nn.checkpoint(function(v)
      runs = runs + 1
      return layer(v):sum()
    end, x:view(1, 3))
    assert.is_false(y.requires_grad)
    assert.equal(1, runs)
  end)

  it("runs once more in backward, and not again for a graph that is kept", function()
    local runs, x = 0, nn.randn(4, { requires_grad = true })
    local y = nn.checkpoint(function(v)
      runs = runs + 1
      return v:exp():tanh()
    end, x):sum()
    y:backward { retain_graph = true }
    local once = x.grad:clone()
    y:backward()
    assert.equal(2, runs)
    assert.is_true(x.grad:allclose(once * 2))
    assert.error_matches(function() y:backward() end, "was freed by an earlier backward")
  end)

  it("works with nn.grad and derivatives of derivatives", function()
    local w = nn.randn(3, { dtype = "float64", requires_grad = true })
    local x = nn.randn(3, { dtype = "float64", requires_grad = true })
    local function compute(by)
      local y = by(function(v) return (v * w):sin() * v:exp() end, x):sum()
      local first = nn.grad(y, { w }, { create_graph = true })
      return first, nn.grad((first * first):sum(), { x })
    end
    local first, second = compute(plain)
    local again, twice = compute(nn.checkpoint)
    assert.is_true(first:equal(again))
    assert.is_true(second:equal(twice))
    assert.is_nil(w.grad)
    assert.is_true(nn.gradgradcheck(function(a, b)
      return nn.checkpoint(function(v) return (v * b):tanh() end, a)
    end, { w, x }))
  end)

  it("works within checkpoints", function()
    local model, x = deep(4, 6), nn.randn(3, 6)
    assert_same(model, function(by)
      local function pair(first)
        return function(y)
          y = by(model[first], y)
          return by(function(z) return by(model[first + 1], z):tanh() end, y)
        end
      end
      return by(function(y) return by(pair(3), by(pair(1), y)) end, x)
    end)
  end)

  it("moves running statistics once", function()
    local function stats(by)
      local layer = nn.BatchNorm1d(3)
      nn.manual_seed(3)
      by(layer, nn.randn(8, 3, { requires_grad = true })):pow(2):sum():backward()
      return layer.running_mean, layer.running_var, layer.num_batches_tracked:item()
    end
    local mean, var, count = stats(plain)
    local other_mean, other_var, other_count = stats(nn.checkpoint)
    assert.is_true(mean:equal(other_mean) and var:equal(other_var))
    assert.equal(count, other_count)
  end)

  it("goes with layers of every kind", function()
    local lstm, conv = nn.LSTM(3, 4), nn.Conv2d(2, 3, 3)
    local attention = nn.TransformerEncoderLayer(8, 2, { dim_feedforward = 16 })
    local x, state = nn.randn(2, 5, 3), { nn.zeros(1, 2, 4), nn.zeros(1, 2, 4) }
    assert_same(lstm, function(by)
      local y, last = by(lstm, x, state)
      return y:sum() + last[1]:sum()
    end)
    local image = nn.randn(2, 2, 6, 6)
    assert_same(conv, function(by) return by(function(v) return conv(v):relu():max() end, image) end)
    local sequence = nn.randn(2, 4, 8)
    assert_same(attention, function(by) return by(attention, sequence, { is_causal = true }) end)
  end)

  it("goes with operations of the script's own", function()
    local double = nn.Function {
      forward = function(self, x)
        self:save_for_backward(x)
        return x * x
      end,
      backward = function(self, grad) return grad * self.saved_tensors[1] * 2 end,
    }
    local x = nn.randn(4, { requires_grad = true })
    nn.checkpoint(function(v) return double(v:exp()) end, x):sum():backward()
    assert.is_true(x.grad:allclose((x * 2):exp():detach() * 2))
  end)

  it("keeps less", function()
    local model, x = deep(8, 64), nn.randn(64, 64)
    local function held(by)
      collectgarbage()
      collectgarbage()
      local before, y = nn.memory().live, x
      for i = 1, #model do y = by(model[i], y) end
      collectgarbage()
      collectgarbage()
      return nn.memory().live - before, y
    end
    local all = held(plain)
    local few = held(nn.checkpoint)
    assert.is_true(few < 0.4 * all, ("%d of %d bytes"):format(few, all))
  end)
end)

describe("The peak of memory", function()
  support.count_tensors(before_each, after_each)

  it("can be set back", function()
    nn.zeros(1000000)
    collectgarbage()
    collectgarbage()
    nn.reset_peak_memory()
    assert.equal(nn.memory().live, nn.memory().peak)
    nn.zeros(2000)
    assert.is_true(nn.memory().peak - nn.memory().live < 20000 and nn.memory().peak >= nn.memory().live)
  end)
end)

describe("Mistakes with checkpoints", function()
  support.count_tensors(before_each, after_each)

  it("are told", function()
    assert.error_matches(function() nn.checkpoint(3) end, "argument 1: expected a function, layer or module, got 3")
    assert.error_matches(function()
      nn.checkpoint(function(x) return x:matmul(nn.ones(7, 7)) end, nn.ones(2, 2, { requires_grad = true }))
    end, "matmul")
    assert.is_false(require "nnlua.core".in_checkpoint())
  end)

  it("such as a function that does not do the same again are told", function()
    local x, runs = nn.randn(3, { requires_grad = true }), 0
    local function restless(v)
      runs = runs + 1
      if runs % 2 == 0 then return v:exp():sin() end
      return v:exp():tanh()
    end
    assert.error_matches(function() nn.checkpoint(restless, x):sum():backward() end,
      "nn.checkpoint: the function did something else when it ran again")
    runs = 0
    local function longer(v)
      runs = runs + 1
      return runs % 2 == 0 and v:exp():tanh():exp() or v:exp():tanh()
    end
    assert.error_matches(function() nn.checkpoint(longer, x):sum():backward() end, "did something else")
    runs = 0
    local function broken(v)
      runs = runs + 1
      if runs == 2 then error "broken on purpose" end
      return v:exp():tanh()
    end
    assert.error_matches(function() nn.checkpoint(broken, x):sum():backward() end, "broken on purpose")
  end)

  it("such as an argument that was changed meanwhile are told", function()
    local x = nn.randn(3, { requires_grad = true })
    local y = x * 2
    local z = nn.checkpoint(function(v) return v:exp():tanh() end, y):sum()
    nn.no_grad(function() y:add_(1) end)
    assert.error_matches(function() z:backward() end, "nn.checkpoint: input 1 was changed in place")
  end)

  it("leave nothing behind, memory that does not suffice included", function()
    local model, x = deep(2, 4), nn.randn(2, 4)
    support.fail_each(function()
      local y = nn.checkpoint(function(v) return nn.checkpoint(model[2], nn.checkpoint(model[1], v)) end, x)
      y:sum():backward()
    end)
    nn.checkpoint(model, x) -- never gone through
  end)
end)
