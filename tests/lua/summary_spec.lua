local nn = require "nnlua"
local support = require "support"

local function summary_of(model, ...)
  local written = {}
  nn.set_output(function(text) written[#written + 1] = text end)
  local ok, message = pcall(model.summary, model, ...)
  nn.set_output(nil)
  if not ok then error(message, 0) end
  return table.concat(written)
end

local function net()
  local Net = nn.Module:extend("Summed")
  function Net:init()
    self.body = nn.Sequential { nn.Dense(8, { activation = "relu" }), nn.Dropout(0.5) }
    self.head = nn.Dense(3)
  end
  function Net:forward(x) return self.head(self.body(x)) end
  return Net()
end

describe("summary", function()
  support.count_tensors(before_each, after_each)

  it("is a table of layers, shapes, counts and sizes", function()
    assert.equal(table.concat({
      "Summed",
      "Layer             Output  Parameters   Size",
      "-------------------------------------------",
      "body.1 (Dense)    (N, 8)          40  160 B",
      "body.2 (Dropout)  (N, 8)           0    0 B",
      "head (Dense)      (N, 3)          27  108 B",
      "-------------------------------------------",
      "67 parameters, 268 B",
      "",
    }, "\n"), summary_of(net(), { 4 }))
  end)

  it("knows no shapes before the model has seen data, and knows them afterwards", function()
    local model = net()
    assert.matches("head %(Dense%) +%? +not yet known", summary_of(model))
    model:predict(nn.ones(5, 4))
    assert.matches("head %(Dense%) +%(N, 3%) +27", summary_of(model))
  end)

  it("leaves the model as it was", function()
    local model = net()
    local head = model.head
    summary_of(model, { 4 })
    assert.equal(head, model.head)
    assert.is_true(model.body[2].training)
    assert.is_true(nn.is_grad_enabled())
  end)

  it("counts a shared layer once, and tells what is frozen", function()
    local shared = nn.Dense(2, 2)
    local model = nn.Sequential { shared, nn.ReLU(), shared }
    assert.matches("\n6 parameters, 24 B\n$", summary_of(model))
    shared:requires_grad_(false)
    assert.matches("\n6 parameters, 24 B, 6 of them frozen\n$", summary_of(model))
  end)

  it("has a row for each place of a shared layer", function()
    local shared = nn.Dense(2, 2)
    local text = summary_of(nn.Sequential { shared, nn.ReLU(), shared, { "inner", nn.Sequential { shared } } })
    assert.matches("\n3 %(Dense%) +as 1\n", text)
    assert.matches("\ninner.1 %(Dense%) +as 1\n", text)
    assert.matches("\n6 parameters, 24 B\n$", text)
  end)

  it("keeps within a width, the ends of long names before their beginnings, sizes only where there is room", function()
    local cells = require "nnlua.cells"
    local text = require "nnlua.summary".text
    local inner = nn.Sequential { { "of_a_layer_精度", nn.Dense(3000, 4000) } }
    local model = nn.Sequential { { "a_rather_long_name", nn.Sequential { { "another_long_name", inner } } } }
    for _, width in ipairs { 50, 60, 80, 200 } do
      local table_text = text(model, { 3000 }, width)
      for line in table_text:gmatch("[^\n]+") do assert.is_true(cells.width(line) <= width, line) end
      assert.matches("精度 %(Dense%)  %(N, 4000%)  12,004,000", table_text)
      assert.equal(width >= 60, table_text:find("45.8 MB\n%-") ~= nil)
    end
    assert.matches("\na_rather_long_name.another_long_name.of_a_layer_精度 %(Dense%)", text(model, { 3000 }))
  end)

  it("says that more is known later", function()
    assert.matches("\n0 parameters, 0 B; the rest is known after the first batch\n$",
      summary_of(nn.Sequential { nn.Dense(2) }))
  end)

  it("of one layer works too", function()
    assert.matches("Dense +%(N, 2%) +8 +32 B", summary_of(nn.Dense(3, 2)))
  end)

  it("says when the model refuses the shape, and is whole afterwards", function()
    local model = nn.Sequential { nn.Dense(3, 2) }
    assert.error_matches(function() summary_of(model, { 4 }) end, "summary: the model takes no input of shape %(4%)")
    assert.same({ 1, 2 }, model(nn.ones(1, 3)).shape)
  end)
end)
