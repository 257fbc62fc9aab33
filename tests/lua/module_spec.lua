local nn = require "nnlua"
local support = require "support"

local function names_of(model)
  local names = {}
  for name in model:named_parameters() do names[#names + 1] = name end
  return names
end

local function two_layers()
  local Net = nn.Module:extend("TwoLayers")
  function Net:init(hidden)
    self.first = nn.Dense(3, hidden or 4, { activation = "relu" })
    self.second = nn.Dense(hidden or 4, 2)
  end
  function Net:forward(x) return self.second(self.first(x)) end
  return Net
end

describe("A class of models", function()
  support.count_tensors(before_each, after_each)

  it("is made by extend, and an instance by calling it; arguments reach init", function()
    local model = two_layers()(5)
    assert.same({ 7, 2 }, model(nn.ones(7, 3)).shape)
    assert.equal(5, model.first.out_features)
  end)

  it("inherits from the class it extends", function()
    local Base = two_layers()
    local Derived = Base:extend("Derived")
    function Derived:init()
      self.super.init(self, 6)
      self.third = nn.Dense(2, 1)
    end
    function Derived:forward(x) return self.third(Base.forward(self, x)) end
    local model = Derived()
    assert.same({ 1, 1 }, model(nn.ones(1, 3)).shape)
    assert.equal(6, #model:parameters())
    assert.equal(Base, Derived.super)
  end)

  it("says what is missing when it has no forward", function()
    local Empty = nn.Module:extend("Empty")
    assert.error_matches(function() Empty()(1) end, "Empty: there is no forward")
  end)

  it("needs a name", function()
    assert.error_matches(function() nn.Module:extend(3) end, "extend: class name: expected a string, got 3")
  end)

  it("may get a new forward while instances live", function()
    local Net = two_layers()
    local model = Net()
    function Net.forward() return "new" end
    assert.equal("new", model(1))
  end)
end)

describe("Assigning to a field", function()
  support.count_tensors(before_each, after_each)

  it("registers layers, modules and parameters in the order of assignment", function()
    local Net = nn.Module:extend("Ordered")
    function Net:init()
      self.z = nn.Dense(2, 2)
      self.scale = nn.Parameter(nn.ones(3))
      self.a = two_layers()()
      self.plain = nn.ones(3)
    end
    assert.same({ "z.weight", "z.bias", "scale", "a.first.weight", "a.first.bias", "a.second.weight", "a.second.bias" },
      names_of(Net()))
  end)

  it("replaces what was there and keeps its place", function()
    local model = two_layers()()
    model.first = nn.Dense(9, 4)
    assert.same({ "first.weight", "first.bias", "second.weight", "second.bias" }, names_of(model))
    assert.same({ 4, 9 }, model:state_dict()["first.weight"].shape)
  end)

  it("removes with nil, and adds at the end again", function()
    local model = two_layers()()
    local first = model.first
    model.first = nil
    assert.same({ "second.weight", "second.bias" }, names_of(model))
    model.first = first
    assert.same({ "second.weight", "second.bias", "first.weight", "first.bias" }, names_of(model))
  end)

  it("finds a layer where something else was before", function()
    local model = two_layers()()
    model.extra = false
    model.extra = nn.Dense(1, 1)
    assert.equal(6, #model:parameters())
  end)

  it("counts a shared parameter once", function()
    local model = two_layers()()
    model.again = model.first
    assert.equal(4, #model:parameters())
    local other = nn.Dense(3, 4)
    other.weight = model.first.weight
    model.other = other
    assert.equal(5, #model:parameters())
    assert.equal(3 * 4 + 4 + 4 * 2 + 2 + 4, model:num_parameters())
  end)
end)

describe("nn.Parameter", function()
  support.count_tensors(before_each, after_each)

  it("is a leaf that is trained", function()
    local parameter = nn.Parameter(nn.ones(2))
    assert.is_true(parameter.requires_grad)
    assert.is_true(parameter.is_leaf)
    assert.is_false(nn.Parameter(nn.ones(2), { requires_grad = false }).requires_grad)
  end)

  it("takes only tensors of float types", function()
    assert.error_matches(function() nn.Parameter(3) end, "nn.Parameter: value: expected a tensor, got 3")
    assert.error_matches(function() nn.Parameter(nn.ones({ 2 }, { dtype = "int64" })) end, "float type, got int64")
  end)
end)

describe("A model", function()
  support.count_tensors(before_each, after_each)

  it("has children and modules, parents first", function()
    local model = two_layers()()
    assert.equal(2, #model:children())
    local names = {}
    for name in model:named_modules() do names[#names + 1] = name end
    assert.same({ "", "first", "second" }, names)
    assert.equal(3, #model:modules())
  end)

  it("switches all of itself to training and back", function()
    local model = two_layers()()
    model:eval()
    assert.is_false(model.training)
    assert.is_false(model.first.training)
    model:train()
    assert.is_true(model.second.training)
  end)

  it("has buffers, saved unless they are not persistent", function()
    local model = two_layers()()
    model:register_buffer("mean", nn.zeros(3))
    model:register_buffer("cache", nn.zeros(3), { persistent = false })
    assert.equal(2, #model:buffers())
    assert.equal(4, #model:parameters())
    local state = model:state_dict()
    assert.is_truthy(state.mean)
    assert.is_nil(state.cache)
  end)

  it("lets go of gradients", function()
    local model = two_layers()()
    model(nn.ones(1, 3)):sum():backward()
    assert.is_truthy(model.first.weight.grad)
    model:zero_grad()
    assert.is_nil(model.first.weight.grad)
  end)

  it("is frozen by requires_grad_(false)", function()
    local model = two_layers()():requires_grad_(false)
    assert.is_false(model(nn.ones(1, 3)).requires_grad)
    assert.equal(0, model:num_parameters(true))
  end)

  it("converts to another float type", function()
    local model = two_layers()()
    model.scale = nn.Parameter(nn.ones(1))
    model:double()
    assert.equal("float64", model.first.weight.dtype)
    assert.equal("float64", model.scale.dtype)
    assert.equal(5, #model:parameters())
    assert.error_matches(function() model:to("int64") end, "expected one of bfloat16 float16 float32 float64")
  end)

  it("applies a function to all of itself, children first", function()
    local model = two_layers()()
    local seen = {}
    model:apply(function(node) seen[#seen + 1] = node end)
    assert.equal(3, #seen)
    assert.equal(model, seen[3])
  end)

  it("prints itself with its layers", function()
    assert.equal('TwoLayers(\n  (first): Dense(3, 4, activation = "relu")\n  (second): Dense(4, 2)\n)',
      tostring(two_layers()()))
  end)

  it("refuses to list parameters that are not there yet, and names the layer", function()
    local model = nn.Sequential { nn.Dense(2, 2), nn.Dense(3) }
    assert.error_matches(function() model:parameters() end, "the layer 2 has none yet")
    model(nn.ones(1, 2))
    assert.equal(4, #model:parameters())
  end)
end)

describe("A state_dict", function()
  support.count_tensors(before_each, after_each)

  it("goes from one model into another", function()
    local Net = two_layers()
    local a, b = Net(), Net()
    b:load_state_dict(a:state_dict())
    assert.is_true(a.first.weight:equal(b.first.weight))
    b.first.weight:detach():zero_()
    assert.is_false(a.first.weight:equal(b.first.weight))
  end)

  it("gives lazy layers their sizes", function()
    local lazy = nn.Sequential { nn.Dense(4, { bias = false }), nn.Dense(2) }
    local whole = nn.Sequential { nn.Dense(3, 4, { bias = false }), nn.Dense(4, 2) }
    lazy:load_state_dict(whole:state_dict())
    local x = nn.ones(2, 3)
    assert.is_true(lazy(x):equal(whole(x)))
  end)

  it("that does not fit gives one error with all that is wrong", function()
    local model = two_layers()()
    local state = model:state_dict()
    state["first.bias"] = nil
    state["second.weight"] = nn.ones(5, 5)
    state.more = nn.ones(1)
    local ok, message = pcall(model.load_state_dict, model, state)
    assert.is_false(ok)
    assert.matches("missing: first%.bias", message)
    assert.matches("unexpected: more", message)
    assert.matches("wrong shape: second%.weight: expected %(2, 4%), got %(5, 5%)", message)
  end)

  it("may lack names when not strict", function()
    local model = two_layers()()
    local keys = model:load_state_dict({ ["first.bias"] = nn.ones(4), other = nn.ones(1) }, { strict = false })
    assert.equal(1, model.first.bias[1])
    assert.same({ "other" }, keys.unexpected_keys)
    assert.equal(3, #keys.missing_keys)
  end)
end)

describe("A layer by itself", function()
  support.count_tensors(before_each, after_each)

  it("has the methods of a model", function()
    local layer = nn.Dense(3, 2)
    assert.equal(2, #layer:parameters())
    assert.equal(8, layer:num_parameters())
    assert.same({ "weight", "bias" }, names_of(layer))
    assert.equal(0, #layer:children())
    assert.is_false(layer:eval().training)
    layer:load_state_dict({ weight = nn.zeros(2, 3), bias = nn.ones(2) })
    assert.equal(1, layer(nn.ones(1, 3))[{ 1, 1 }])
  end)
end)

describe("hooks of calls", function()
  it("see what goes in and comes out, and may change both", function()
    local dense = nn.Dense(2, 2)
    local model = nn.Sequential { dense, nn.ReLU() }
    local seen = {}
    local handle = dense:register_forward_hook(function(layer, inputs, result)
      seen[#seen + 1] = { layer == dense, inputs[1].shape[1], result.shape[2] }
    end)
    model(nn.ones(3, 2))
    assert.same({ { true, 3, 2 } }, seen)
    handle:remove()
    model(nn.ones(3, 2))
    assert.equal(1, #seen)
    local plain = model(nn.ones(1, 2))
    local after = model:register_forward_hook(function(_, _, result) return result + 1 end)
    assert.is_true(model(nn.ones(1, 2)):equal(plain + 1))
    assert.is_true(model:forward(nn.ones(1, 2)):equal(plain))
    after:remove()
    model:register_forward_pre_hook(function(_, inputs) return inputs[1] * 0 end)
    assert.is_true(model(nn.ones(1, 2)):equal(model:forward(nn.zeros(1, 2))))
  end)

  it("keep all results, and say what they need", function()
    local lstm = nn.LSTM(2, 3)
    lstm:register_forward_hook(function(_, _, out) return out * 2 end)
    local x = nn.randn(1, 4, 2)
    local out, state = lstm(x)
    assert.is_true(out:equal(lstm:forward(x) * 2))
    assert.same({ 1, 1, 3 }, state[1].shape)
    assert.error_matches(function() lstm:register_forward_hook(1) end, "expected a function, got 1")
  end)
end)
