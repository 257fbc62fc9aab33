local nn = require "nnlua"
local support = require "support"

local function keys_of(model)
  local keys = {}
  for name in pairs(model:state_dict()) do keys[#keys + 1] = name end
  table.sort(keys)
  return keys
end

describe("Sequential", function()
  support.count_tensors(before_each, after_each)

  it("calls one child after the other", function()
    local model = nn.Sequential { nn.Dense(3, 4), nn.ReLU(), nn.Dense(4, 2) }
    assert.equal(3, #model)
    assert.same({ 5, 2 }, model(nn.ones(5, 3)).shape)
    local x = nn.ones(5, 3)
    assert.is_true(model[3](model[2](model[1](x))):equal(model(x)))
  end)

  it("numbers its children from 0 in the state_dict, from 1 in Lua", function()
    local model = nn.Sequential(nn.Dense(3, 4), nn.ReLU(), nn.Dense(4, 2))
    assert.same({ "0.bias", "0.weight", "2.bias", "2.weight" }, keys_of(model))
    assert.matches("%(1%): Dense%(3, 4%)", tostring(model))
  end)

  it("takes children with names", function()
    local model = nn.Sequential { { "fc1", nn.Dense(3, 4) }, nn.ReLU(), { "fc2", nn.Dense(4, 2) } }
    assert.same({ "fc1.bias", "fc1.weight", "fc2.bias", "fc2.weight" }, keys_of(model))
    assert.equal(model[1], model.fc1)
    model.fc1 = nn.Dense(3, 4, { bias = false })
    assert.equal(model[1], model.fc1)
    assert.same({ "fc1.weight", "fc2.bias", "fc2.weight" }, keys_of(model))
    assert.same({ 1, 2 }, model(nn.ones(1, 3)).shape)
  end)

  it("grows by add and by the next position", function()
    local model = nn.Sequential {}
    model:add(nn.Dense(2, 3)):add { "out", nn.Dense(3, 1) }
    model[3] = nn.Sigmoid()
    assert.equal(3, #model)
    assert.same({ "0.bias", "0.weight", "out.bias", "out.weight" }, keys_of(model))
    assert.same({ 4, 1 }, model(nn.ones(4, 2)).shape)
  end)

  it("refuses what is no layer", function()
    assert.error_matches(function() nn.Sequential { 3 } end,
      "nn.Sequential: child: expected a layer or module, got 3")
    assert.error_matches(function() nn.Sequential { nn.ReLU(), print } end, "got function: nn.Lambda")
    assert.error_matches(function() nn.Sequential { { "train", nn.ReLU() } } end, '"train" cannot be a child')
  end)

  it("may be a part of itself only as far as it goes: a child that comes twice has two names, one set of values",
    function()
      local shared = nn.Dense(2, 2)
      local model = nn.Sequential { shared, nn.ReLU(), shared }
      assert.equal(2, #model:parameters())
      assert.equal(4, #keys_of(model))
    end)
end)

describe("ModuleList", function()
  support.count_tensors(before_each, after_each)

  it("holds modules by position and is no layer itself", function()
    local Net = nn.Module:extend("Listed")
    function Net:init()
      self.layers = nn.ModuleList { nn.Dense(2, 2), nn.Dense(2, 2) }
    end
    function Net:forward(x)
      for _, layer in ipairs(self.layers) do x = layer(x) end
      return x
    end
    local model = Net()
    assert.same({ "layers.0.bias", "layers.0.weight", "layers.1.bias", "layers.1.weight" }, keys_of(model))
    assert.same({ 1, 2 }, model(nn.ones(1, 2)).shape)
  end)
end)

describe("ModuleDict", function()
  support.count_tensors(before_each, after_each)

  it("holds modules by name", function()
    local dict = nn.ModuleDict { { "second", nn.Dense(1, 1) }, { "first", nn.ReLU() } }
    dict.third = nn.Dense(1, 1)
    local names = {}
    for name in dict:items() do names[#names + 1] = name end
    assert.same({ "second", "first", "third" }, names)
    assert.same({ "second.bias", "second.weight", "third.bias", "third.weight" }, keys_of(dict))
    assert.error_matches(function() dict.train = nn.ReLU() end, "it is a method")
  end)
end)

describe("Residual and Lambda", function()
  support.count_tensors(before_each, after_each)

  it("add the input, and call a function", function()
    local inner = nn.Dense(2, 2)
    local model = nn.Sequential { nn.Residual(inner), nn.Lambda(function(x) return x * 2 end) }
    local x = nn.ones(1, 2)
    assert.is_true(model(x):equal((x + inner(x)) * 2))
    assert.same({ "0.inner.bias", "0.inner.weight" }, keys_of(model))
  end)
end)

describe("branches", function()
  support.count_tensors(before_each, after_each)

  it("get the same input, and are joined or given apart", function()
    local a, b = nn.Dense(4, 3), nn.Dense(4, 2)
    local x = nn.randn(2, 4)
    local one, other = nn.Parallel { a, b }(x)
    assert.is_true(one:equal(a(x)) and other:equal(b(x)))
    local joined = nn.Concat { a, b }
    assert.is_true(joined(x):equal(nn.cat({ a(x), b(x) }, 2)))
    assert.same({ "0.bias", "0.weight", "1.bias", "1.weight" }, keys_of(joined))
    assert.same({ 6, 4 }, nn.Concat({ nn.Identity(), nn.Identity(), nn.ReLU() }, { dim = 1 })(x).shape)
    assert.error_matches(function() nn.Concat(nn.Dense(1, 1)) end, "a list of layers and modules")
  end)

  it("come back from a file as they were", function()
    local path = os.tmpname()
    local model = nn.Sequential { nn.Concat({ nn.ReLU(), nn.Tanh() }, { dim = 1 }), nn.Dense(2, 1) }
    model:save(path)
    local again = nn.load(path)
    os.remove(path)
    local x = nn.randn(3, 2)
    assert.same({ 6, 1 }, again(x).shape)
    assert.is_true(again(x):equal(model(x)))
  end)
end)

describe("freezing", function()
  it("takes parameters by their names out of training and back", function()
    local model = nn.Sequential { { "body", nn.Dense(2, 3) }, { "head", nn.Dense(3, 1) } }
    model:freeze("^body%.")
    assert.equal(4, model:num_parameters(true))
    model:unfreeze("weight$")
    assert.equal(10, model:num_parameters(true))
    model:freeze()
    assert.equal(0, model:num_parameters(true))
    assert.error_matches(function() model:freeze("^hat") end, 'no parameter has a name like "^hat"')
  end)

  it("has a neighbour that keeps rows of weights short", function()
    local w = nn.tensor { { 3, 4 }, { 0.3, 0.4 } }
    nn.utils.max_norm_(w, 1)
    assert.is_true(w:allclose(nn.tensor { { 0.6, 0.8 }, { 0.3, 0.4 } }))
    assert.error_matches(function() nn.utils.max_norm_(nn.zeros(3), 1) end, "expected at least 2 dimensions")
  end)
end)
