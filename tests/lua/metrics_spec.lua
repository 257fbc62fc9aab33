local nn = require "nnlua"
local support = require "support"

local function labels(list) return nn.tensor(list, { dtype = "int64" }) end

describe("accuracy", function()
  support.count_tensors(before_each, after_each)

  it("takes labels from 1 or rows of probabilities", function()
    local scores = nn.tensor { { 0.1, 0.9, 0 }, { 0.8, 0.1, 0.1 }, { 0.2, 0.3, 0.5 }, { 1, 2, 0 } }
    assert.equal(0.75, nn.metrics.accuracy(scores, labels { 2, 1, 3, 1 }))
    assert.equal(0.75, nn.metrics.accuracy(scores, labels { { 2 }, { 1 }, { 3 }, { 1 } }))
    assert.equal(0.5, nn.metrics.accuracy(scores, nn.tensor { { 0, 1, 0 }, { 1, 0, 0 }, { 1, 0, 0 }, { 0, 0, 1 } }))
  end)

  it("is binary at 0.5 for one column, whatever side has the column", function()
    local p = nn.tensor { { 0.9 }, { 0.2 }, { 0.6 }, { 0.5 } }
    assert.equal(0.75, nn.metrics.accuracy(p, nn.tensor { 1, 0, 0, 0 }))
    assert.equal(0.75, nn.metrics.accuracy(p, labels { 1, 0, 0, 0 }))
    assert.equal(0.75, nn.metrics.accuracy(p:squeeze(2), nn.tensor { { 1 }, { 0 }, { 0 }, { 0 } }))
  end)

  it("has another threshold for logits", function()
    local logits = nn.tensor { 0.2, -3, 4 }
    assert.equal(1, nn.metrics.binary_accuracy(logits, nn.tensor { 1, 0, 1 }, { threshold = 0 }))
  end)

  it("finds the dimension of the classes, the last or the second", function()
    local scores = nn.tensor { { { 1, 0 }, { 0, 1 }, { 3, 0 } } } -- (1, 3, 2)
    assert.equal(1, nn.metrics.accuracy(scores, labels { { 1, 2, 1 } }))
    assert.equal(0.5, nn.metrics.accuracy(scores, labels { { 3, 3 } }))
  end)

  it("says which shapes it expected", function()
    assert.error_matches(function() nn.metrics.accuracy(nn.ones(4, 3), labels { 1, 2 }) end,
      "expected labels of shape %(4%), got %(2%)")
    assert.error_matches(function() nn.metrics.binary_accuracy(nn.ones(4), nn.ones(3)) end,
      "expected targets of shape %(4%), got %(3%)")
  end)
end)

describe("mae and mse", function()
  support.count_tensors(before_each, after_each)

  it("are means of distances", function()
    local a, b = nn.tensor { 1, 2, 3 }, nn.tensor { { 1 }, { 4 }, { 4 } }
    assert.equal(1, nn.metrics.mae(a, b))
    assert.near(5 / 3, nn.metrics.mse(a, b), 1e-6)
  end)
end)
