-- What every layer and loss has to do, taken from their declarations: a new one is tested here as soon as it exists.
-- Only what cannot be guessed is told: arguments and inputs.
local nn = require "nnlua"
local core = require "nnlua.core"

local f64 = {dtype = "float64"}
local function randn(...) return nn.randn({...}, f64) end
local function labels(...) return nn.tensor({...}, {dtype = "int64"}) end
local function away_from_kinks(t) return t:sign() * (t:abs() + 0.1) end

local positions = labels({1, 2}, {3, 1})

-- By class: arguments, and a function that gives the inputs; without one a matrix (2, 4).
local recipes = {
  Dense = {{4, 3}}, Linear = {{4, 3}}, Dropout = {{0}}, Dropout2d = {{0}, function() return randn(2, 3, 2, 2) end},
  Conv1d = {{3, 2, 3}, function() return randn(2, 3, 5) end},
  Conv2d = {{3, 2, 3}, function() return randn(2, 3, 5, 4) end},
  ConvTranspose1d = {{3, 2, 3}, function() return randn(2, 3, 4) end},
  ConvTranspose2d = {{3, 2, 3}, function() return randn(2, 3, 4, 3) end},
  MaxPool1d = {{2}, function() return randn(2, 3, 6) end}, AvgPool1d = {{2}, function() return randn(2, 3, 6) end},
  MaxPool2d = {{2}, function() return randn(2, 3, 4, 6) end},
  AvgPool2d = {{2}, function() return randn(2, 3, 4, 6) end},
  AdaptiveAvgPool1d = {{2}, function() return randn(2, 3, 5) end},
  AdaptiveMaxPool1d = {{2}, function() return randn(2, 3, 5) end},
  AdaptiveAvgPool2d = {{2}, function() return randn(2, 3, 5, 4) end},
  AdaptiveMaxPool2d = {{2}, function() return randn(2, 3, 5, 4) end},
  GlobalAvgPool2d = {{}, function() return randn(2, 3, 3, 2) end},
  Upsample = {{{scale_factor = 2}}, function() return randn(2, 2, 2, 3) end},
  ZeroPad2d = {{1}, function() return randn(2, 2, 2, 3) end}, Unflatten = {{2, {2, 2}}},
  LayerNorm = {{4}}, RMSNorm = {{4}}, GroupNorm = {{2, 4}}, BatchNorm1d = {{4}, function() return randn(5, 4) end},
  BatchNorm2d = {{3}, function() return randn(2, 3, 2, 2) end},
  Embedding = {{3, 4}, function() return positions end},
  RNN = {{3, 2}, function() return randn(2, 3, 3) end}, LSTM = {{3, 2}, function() return randn(2, 3, 3) end},
  GRU = {{3, 2}, function() return randn(2, 3, 3) end}, RNNCell = {{4, 2}}, LSTMCell = {{4, 2}}, GRUCell = {{4, 2}},
  MultiHeadAttention = {{4, 2}, function() return randn(2, 3, 4), randn(2, 3, 4), randn(2, 3, 4) end},
  TransformerEncoderLayer = {{4, 2, {dim_feedforward = 5, dropout = 0}}, function() return randn(2, 3, 4) end},
  TransformerDecoderLayer = {{4, 2, {dim_feedforward = 5, dropout = 0}},
    function() return randn(2, 3, 4), randn(2, 2, 4) end},
  CausalAttention = {{2, {kv_heads = 1, rotary = true}}, function() return randn(2, 3, 8) end},
  PositionalEncoding = {{4, {dropout = 0}}, function() return randn(2, 3, 4) end},
  RotaryEmbedding = {{4}, function() return randn(1, 2, 3, 4) end},
  BCELoss = {{}, function() return nn.rand({2, 3}, f64) * 0.8 + 0.1, nn.rand({2, 3}, f64) end},
  CrossEntropyLoss = {{}, function() return randn(3, 4), labels(1, 4, 2) end},
  NLLLoss = {{}, function() return randn(3, 4), labels(1, 4, 2) end},
  KLDivLoss = {{}, function() return randn(2, 3), nn.rand({2, 3}, f64) + 0.1 end},
  HingeLoss = {{}, function() return randn(2, 3), nn.tensor({{1, -1, 1}, {-1, 1, 1}}, f64) end},
  CosineEmbeddingLoss = {{}, function() return randn(3, 4), randn(3, 4), labels(1, -1, 1) end},
  TripletMarginLoss = {{{margin = 9}}, function() return randn(3, 4), randn(3, 4), randn(3, 4) end},
  CTCLoss = {{}, function() return randn(2, 5, 3):log_softmax(-1), labels({2, 3}, {3, 2}) end},
}

local function inputs_of(name, is_loss)
  local recipe = recipes[name]
  if recipe and recipe[2] then return {recipe[2]()} end
  if is_loss then return {away_from_kinks(randn(2, 3)), randn(2, 3) * 0.1} end
  return {away_from_kinks(randn(2, 4))}
end

-- With an option more where it is given.
local function make(name, constructor, option, value)
  local recipe = recipes[name]
  local arguments = {}
  for i, argument in ipairs(recipe and recipe[1] or {}) do arguments[i] = argument end
  if option then
    local options = {}
    if type(arguments[#arguments]) == "table" then
      for key, set in pairs(table.remove(arguments)) do options[key] = set end
    end
    options[option] = value
    arguments[#arguments + 1] = options
  end
  return constructor((table.unpack or unpack)(arguments)) -- luacheck: ignore 143
end

local function each(visit)
  local names = {}
  for name in pairs(core.layers) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do visit(name, core.layers[name], false) end
  names = {}
  for name in pairs(core.losses) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do visit(name, core.losses[name], true) end
end

local function refusal(f, ...)
  local fine, message = pcall(f, ...)
  return not fine and type(message) == "string" and message or nil
end

describe("every layer and loss", function()
  each(function(name, constructor, is_loss)
    it(name .. " has gradients that differences confirm", function()
      nn.manual_seed(7)
      local layer = make(name, constructor)
      if not is_loss then layer:to("float64") end
      local inputs, leaves = inputs_of(name, is_loss), {}
      for i, input in ipairs(inputs) do
        local leaf = input.dtype == "float64" and (not is_loss or i == 1 or name == "TripletMarginLoss")
        if leaf then
          inputs[i] = input:detach():requires_grad_()
          leaves[#leaves + 1] = inputs[i]
        end
      end
      local function call() return (layer((table.unpack or unpack)(inputs))) end -- luacheck: ignore 143
      call()
      if not is_loss then
        for _, parameter in ipairs(layer:parameters()) do leaves[#leaves + 1] = parameter end
      end
      if #leaves > 0 then
        local fine, where = nn.gradcheck(call, leaves)
        assert.is_true(fine, name .. ": " .. tostring(where))
      end
    end)

    it(name .. " names options that it does not have, and those of a wrong type", function()
      local unknown = refusal(constructor, {nonsense = 1})
      assert(unknown, name .. " accepts an unknown option")
      assert.matches("nonsense", unknown, 1, true)
      assert.matches("nn." .. core.describe(name).name, unknown, 1, true)
      for _, option in ipairs(core.describe(name).options) do
        local wrong = refusal(constructor, {[option.name] = function() end})
        assert(wrong, name .. " accepts a function as " .. option.name)
        assert.matches(option.name, wrong, 1, true)
        if option.low and option.type == "integer" and not option.positional then
          local low = refusal(make, name, constructor, option.name, option.low - 1)
          assert(low and low:find(option.name, 1, true), name .. " accepts too low a value of " .. option.name)
        end
      end
    end)

    it(name .. " survives inputs of any shape and dtype", function()
      local layer = make(name, constructor)
      local shapes = {
        {}, {0}, {1}, {0, 4}, {2, 0}, {3, 5}, {1, 1, 1}, {2, 3, 4}, {0, 3, 4, 4}, {2, 7, 3, 3}, {1, 2, 3, 4, 5},
      }
      for _, shape in ipairs(shapes) do
        for _, dtype in ipairs{"float32", "int64", "bool", "float16"} do
          local x = nn.ones(shape, {dtype = dtype})
          for _, count in ipairs{0, 1, 2, 3, 4} do
            local list = {}
            for i = 1, count do list[i] = x end
            local fine, message = pcall(layer, (table.unpack or unpack)(list)) -- luacheck: ignore 143
            assert(fine or type(message) == "string", name)
          end
        end
      end
    end)
  end)
end)

describe("labels of losses", function()
  it("are from 1 to the number of classes, and whole", function()
    local x = nn.randn(2, 3):log_softmax(2)
    for _, loss in ipairs{nn.CrossEntropyLoss(), nn.NLLLoss()} do
      assert.matches("0", refusal(loss, x, labels(0, 1)), 1, true)
      assert.matches("4", refusal(loss, x, labels(1, 4)), 1, true)
      assert.matches("int64", refusal(loss, x, nn.tensor{1, 2}), 1, true)
    end
  end)
end)
