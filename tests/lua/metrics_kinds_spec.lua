-- Every kind of metric against the same counted sample by sample in plain Lua, whole and in batches.
local nn = require "nnlua"
local support = require "support"

local function int(list) return nn.tensor(list, { dtype = "int64" }) end

-- The value from one call, and from batches of `size`.
local function both(name, prediction, target, options, size, weight)
  options = options or {}
  local metric = nn.metrics.new(name, options)
  local rows = #prediction
  for first = 1, rows, size do
    local count = math.min(size, rows - first + 1)
    metric:update(prediction:narrow(1, first, count), target:narrow(1, first, count),
      weight and weight:narrow(1, first, count))
  end
  local with_weight = { sample_weight = weight }
  for key, value in pairs(options) do with_weight[key] = value end
  return nn.metrics[name](prediction, target, with_weight), metric:result()
end

local function near(expected, whole, batched)
  assert.near(expected, whole, 1e-6)
  assert.near(expected, batched, 1e-6)
end

-- ---- in plain Lua

local function argmax(row)
  local best = 1
  for c = 2, #row do
    if row[c] > row[best] then best = c end
  end
  return best
end

-- found, guessed and actual for each class, from lists of labels and weights
local function count(guess, truth, weights, classes)
  local found, guessed, actual = {}, {}, {}
  for c = 1, classes do found[c], guessed[c], actual[c] = 0, 0, 0 end
  for i, g in ipairs(guess) do
    local t, w = truth[i], weights and weights[i] or 1
    guessed[g], actual[t] = guessed[g] + w, actual[t] + w
    if g == t then found[g] = found[g] + w end
  end
  return found, guessed, actual
end

local function ratio(a, b) return b == 0 and 0 or a / b end

local formulas = {
  precision = function(f, g) return ratio(f, g) end,
  recall = function(f, _, a) return ratio(f, a) end,
  f1 = function(f, g, a) return ratio(2 * f, g + a) end,
}

local function averaged(name, average, found, guessed, actual)
  local formula, sum, present, weight, F, G, A = formulas[name], 0, 0, 0, 0, 0, 0
  for c = 1, #found do
    local value = formula(found[c], guessed[c], actual[c])
    F, G, A = F + found[c], G + guessed[c], A + actual[c]
    if average == "weighted" then
      sum, weight = sum + value * actual[c], weight + actual[c]
    elseif guessed[c] + actual[c] > 0 then
      sum, present = sum + value, present + 1
    end
  end
  if average == "micro" then return formula(F, G, A) end
  return ratio(sum, average == "weighted" and weight or present)
end

-- The share of pairs of a true and a false sample whose scores stand in that order; a tie is half a pair.
local function pairs_in_order(scores, truth, weights)
  local right, all = 0, 0
  for i = 1, #scores do
    for j = 1, #scores do
      if truth[i] and not truth[j] then
        local w = weights and weights[i] * weights[j] or 1
        all = all + w
        right = right + (scores[i] > scores[j] and w or scores[i] == scores[j] and w / 2 or 0)
      end
    end
  end
  return right / all
end

local function answers(t)
  local list = {}
  for i, x in ipairs(t:reshape(-1):tolist()) do list[i] = x > 0.5 end
  return list
end

describe("precision, recall and f1", function()
  support.count_tensors(before_each, after_each)

  it("are averages over the classes, weighted or not", function()
    nn.manual_seed(3)
    local scores, truth, weight = nn.rand(101, 6), nn.randint(1, 6, { 101 }), nn.rand(101)
    local guess = {}
    for i, row in ipairs(scores:tolist()) do guess[i] = argmax(row) end
    for name in pairs(formulas) do
      for _, average in ipairs { "macro", "micro", "weighted" } do
        local expected = averaged(name, average, count(guess, truth:tolist(), nil, 6))
        near(expected, both(name, scores, truth, { average = average }, 17))
        near(expected, both(name, int(guess), truth, { average = average }, 17))
        near(expected, both(name, scores, nn.one_hot(truth, 6), { average = average }, 17))
        expected = averaged(name, average, count(guess, truth:tolist(), weight:tolist(), 6))
        near(expected, both(name, scores, truth, { average = average }, 17, weight))
      end
    end
  end)

  it("leave out of the mean what is neither there nor guessed, and count 0 where nothing was found", function()
    local scores = nn.tensor { { 1, 0, 0, 0 }, { 0, 1, 0, 0 }, { 1, 0, 0, 0 } }
    local truth = int { 1, 3, 1 }
    assert.near(1 / 3, nn.metrics.precision(scores, truth), 1e-12)
    assert.same({ 1, 0, 0, 0 }, nn.metrics.recall(scores, truth, { average = "none" }):tolist())
  end)

  it("know only the answer yes for one column, and both answers where an average is asked for", function()
    local p, t = nn.tensor { 0.9, 0.8, 0.3, 0.2, 0.7 }, nn.tensor { 1, 0, 1, 0, 1 }
    near(2 / 3, both("precision", p, t, nil, 2))
    near(2 / 3, both("recall", p:unsqueeze(2), t, nil, 2))
    near((2 / 3 + 1 / 2) / 2, both("f1", p, t, { average = "macro" }, 2))
    near(3 / 5, both("f1", p, t, { average = "micro" }, 2))
    near(2 / 5, both("precision", p, t, nil, 2, nn.tensor { 1, 2, 1, 1, 1 / 3 }))
    near(3 / 4, both("precision", p, t, { threshold = 0.25 }, 3))
    near(2 / 3, both("precision", p:gt(0.5), t, nil, 2))
    near(2 / 3, both("precision", p:gt(0.5):long(), t:long(), { average = "binary" }, 2))
  end)

  it("take each column as a question of its own where that is said", function()
    local p = nn.tensor { { 0.9, 0.1 }, { 0.8, 0.7 }, { 0.2, 0.6 } }
    local t = nn.tensor { { 1, 1 }, { 0, 1 }, { 0, 0 } }
    near(0.5, both("precision", p, t, { multilabel = true }, 2))
    near((1 + 0.5) / 2, both("recall", p, t, { multilabel = true }, 2))
    near(2 / 3, both("recall", p, t, { multilabel = true, average = "micro" }, 2))
  end)

  it("look for the second of two classes, if asked", function()
    local scores, truth = nn.tensor { { 0.1, 0.9 }, { 0.2, 0.8 }, { 0.7, 0.3 } }, int { 2, 1, 1 }
    assert.equal(0.5, nn.metrics.precision(scores, truth, { average = "binary" }))
    assert.error_matches(function() nn.metrics.precision(nn.ones(2, 3), int { 1, 2 }, { average = "binary" }) end,
      'nn.metrics.precision: average = "binary" needs one column or two classes, got 3')
  end)

  it("pass over labels that are to be ignored", function()
    local scores = nn.tensor { { 1, 0 }, { 0, 1 }, { 0, 1 } }
    assert.equal(1, nn.metrics.precision(scores, int { 1, 2, -100 }, { ignore_index = -100 }))
    assert.equal(1, nn.metrics.accuracy(scores, int { 1, 2, -100 }, { ignore_index = -100 }))
  end)

  it("say which labels there are", function()
    assert.error_matches(function() nn.metrics.f1(nn.ones(2, 3), int { 0, 4 }) end,
      "nn.metrics.f1: targets: expected labels from 1 to 3, got 0 to 4")
    assert.error_matches(function() nn.metrics.f1(int { 0, 1 }, int { 0, 1 }) end,
      'targets: expected labels from 1, got 0 to 1; for the answers 0 and 1 .* {average = "binary"}')
  end)

  it("hold as many numbers as there are classes, not their square", function()
    local metric = nn.metrics.new("f1", { classes = 1000000 })
    metric:update(int { 1, 999999 }, int { 1, 1000000 })
    assert.near((1 + 0 + 0) / 3, metric:result(), 1e-12)
  end)
end)

describe("confusion_matrix", function()
  support.count_tensors(before_each, after_each)

  it("has the truth in rows, and grows with the labels", function()
    local metric = nn.metrics.new("confusion_matrix")
    metric:update(int { 1, 2 }, int { 1, 1 })
    metric:update(int { 3 }, int { 2 })
    assert.same({ { 1, 1, 0 }, { 0, 0, 1 }, { 0, 0, 0 } }, metric:result():tolist())
    assert.equal("int64", metric:result().dtype)
    metric:reset()
    assert.same({ 0, 0 }, metric:result().shape)
  end)

  it("is two by two for yes and no, and so for each column", function()
    local p, t = nn.tensor { 0.9, 0.8, 0.3 }, nn.tensor { 1, 0, 0 }
    assert.same({ { 1, 1 }, { 0, 1 } }, nn.metrics.confusion_matrix(p, t):tolist())
    local columns = nn.stack({ p, 1 - p }, 2)
    assert.same({ { { 1, 1 }, { 0, 1 } }, { { 1, 0 }, { 1, 1 } } },
      nn.metrics.confusion_matrix(columns, nn.stack({ t, nn.tensor { 1, 0, 1 } }, 2), { multilabel = true }):tolist())
  end)

  it("gives shares of rows, of columns or of all", function()
    local guess, truth = int { 1, 2, 2, 2 }, int { 1, 1, 2, 2 }
    local function shares(of) return nn.metrics.confusion_matrix(guess, truth, { normalize = of }):tolist() end
    assert.same({ { 0.5, 0.5 }, { 0, 1 } }, shares "true")
    assert.same({ { 1, 1 / 3 }, { 0, 2 / 3 } }, shares "pred")
    assert.same({ { 0.25, 0.25 }, { 0, 0.5 } }, shares "all")
  end)

  it("sums weights", function()
    local m = nn.metrics.confusion_matrix(int { 1, 2 }, int { 1, 1 }, { sample_weight = nn.tensor { 0.5, 2 } })
    assert.same({ { 0.5, 2 }, { 0, 0 } }, m:tolist())
  end)
end)

describe("auc", function()
  support.count_tensors(before_each, after_each)

  it("is the share of pairs in order, with ties and weights", function()
    nn.manual_seed(5)
    local scores, truth, weight = nn.rand(83, 1), nn.rand(83, 1):gt(0.6):float(), nn.rand(83)
    local coarse = (scores * 5):floor() / 5
    for _, s in ipairs { scores, coarse } do
      local list = s:reshape(-1):tolist()
      near(pairs_in_order(list, answers(truth)), both("auc", s, truth, nil, 10))
      near(pairs_in_order(list, answers(truth), weight:tolist()), both("auc", s, truth, nil, 10, weight))
    end
    near(pairs_in_order(scores:reshape(-1):tolist(), answers(truth)), both("auc", scores:log(), truth, nil, 1))
  end)

  it("is a mean over the classes, each against the rest", function()
    nn.manual_seed(6)
    local scores, truth = nn.rand(50, 4), nn.randint(1, 5, { 50 })
    local hot, sum, weighted = nn.one_hot(truth, 4), 0, 0
    for c = 1, 4 do
      local area = pairs_in_order(scores:select(2, c):tolist(), answers(hot:select(2, c)))
      sum, weighted = sum + area, weighted + area * hot:select(2, c):sum():item()
    end
    near(sum / 4, both("auc", scores, truth, nil, 7))
    near(sum / 4, both("auc", scores, hot, { multilabel = true }, 7))
    near(weighted / 50, both("auc", scores, truth, { average = "weighted" }, 7))
    near(pairs_in_order(scores:reshape(-1):tolist(), answers(hot)),
      both("auc", scores, truth, { average = "micro" }, 7))
    assert.same({ 4 }, nn.metrics.auc(scores, truth, { average = "none" }).shape)
  end)

  it("of precision over recall is the average precision", function()
    -- By hand: hits at ranks 1, 3 and 4 of 5.
    local p, t = nn.tensor { 0.9, 0.8, 0.7, 0.6, 0.5 }, nn.tensor { 1, 0, 1, 1, 0 }
    near((1 + 2 / 3 + 3 / 4) / 3, both("auc", p, t, { curve = "PR" }, 2))
  end)

  it("is NaN where it is not defined", function()
    local function undefined(p, t)
      local value = nn.metrics.auc(nn.tensor(p), nn.tensor(t))
      assert.is_true(value ~= value)
    end
    undefined({ 0.1, 0.2 }, { 1, 1 })
    undefined({ 0.1, 0 / 0 }, { 1, 0 })
    undefined({}, {})
  end)
end)

describe("top_k_accuracy", function()
  support.count_tensors(before_each, after_each)

  it("asks for the label among the k largest scores", function()
    local scores = nn.tensor { { 4, 3, 2, 1 }, { 1, 2, 3, 4 }, { 0, 0, 9, 1 } }
    near(1 / 3, both("top_k_accuracy", scores, int { 3, 4, 1 }, { k = 1 }, 2))
    near(2 / 3, both("top_k_accuracy", scores, int { 2, 3, 1 }, { k = 2 }, 2))
    near(1, both("top_k_accuracy", scores, int { 2, 3, 1 }, nil, 2))
    near(0.25, both("top_k_accuracy", scores, int { 3, 4, 1 }, { k = 1 }, 2, nn.tensor { 2, 1, 1 }))
  end)

  it("does not count a model that gives one number for all as right", function()
    assert.equal(0, nn.metrics.top_k_accuracy(nn.zeros(2, 10), int { 7, 8 }, { k = 2 }))
  end)
end)

describe("errors", function()
  support.count_tensors(before_each, after_each)

  it("are means over all elements, with the samples' weights", function()
    local p, t = nn.tensor { { 1, 2 }, { 3, 5 }, { 0, 0 } }, nn.tensor { { 0, 2 }, { 3, 1 }, { 0, 2 } }
    near(7 / 6, both("mae", p, t, nil, 2))
    near(21 / 6, both("mse", p, t, nil, 2))
    near(math.sqrt(21 / 6), both("rmse", p, t, nil, 2))
    near((1 * 2 + 4 + 0) / 6, both("mae", p, t, nil, 2, nn.tensor { 2, 1, 0 }))
    near(25, both("mape", nn.tensor { 3, 5 }, nn.tensor { 4, 4 }, nil, 1))
  end)

  it("take whole numbers", function()
    assert.equal(1.5, nn.metrics.mae(int { 1, 2 }, int { 3, 1 }))
    assert.equal(0.5, nn.metrics.mae(nn.tensor { true, false }, nn.tensor { true, true }))
  end)
end)

describe("r2", function()
  support.count_tensors(before_each, after_each)

  local function share(p, t, w)
    local total, mean, left, spread = 0, 0, 0, 0
    for i = 1, #t do total, mean = total + (w and w[i] or 1), mean + t[i] * (w and w[i] or 1) end
    mean = mean / total
    for i = 1, #t do
      left = left + (t[i] - p[i]) ^ 2 * (w and w[i] or 1)
      spread = spread + (t[i] - mean) ^ 2 * (w and w[i] or 1)
    end
    return 1 - left / spread
  end

  it("is what of the spread is explained, far from 0 too", function()
    nn.manual_seed(8)
    local t = nn.randn(64, { dtype = "float64" }) + 1e6
    local p, w = t + nn.randn(64, { dtype = "float64" }) * 0.3, nn.rand(64)
    near(share(p:tolist(), t:tolist()), both("r2", p, t, nil, 5))
    near(share(p:tolist(), t:tolist(), w:tolist()), both("r2", p, t, nil, 5, w))
  end)

  it("is a mean over the columns, weighted by their spread or not at all", function()
    nn.manual_seed(9)
    local t = nn.randn(30, 2) * nn.tensor { 1, 10 }
    local p = t + nn.randn(30, 2)
    local a = share(p:select(2, 1):tolist(), t:select(2, 1):tolist())
    local b = share(p:select(2, 2):tolist(), t:select(2, 2):tolist())
    near((a + b) / 2, both("r2", p, t, nil, 7))
    local values = nn.metrics.r2(p, t, { average = "none" })
    assert.near(a, values[1], 1e-6)
    local va, vb = t:var(1)[1], t:var(1)[2]
    near((a * va + b * vb) / (va + vb), both("r2", p, t, { average = "variance" }, 7))
  end)

  it("of targets that are all alike is 1 if they are met, else 0", function()
    assert.equal(1, nn.metrics.r2(nn.ones(3), nn.ones(3)))
    assert.equal(0, nn.metrics.r2(nn.zeros(3), nn.ones(3)))
  end)
end)

describe("perplexity", function()
  support.count_tensors(before_each, after_each)

  it("is e to the mean cross entropy, of probabilities or of scores", function()
    local p = nn.tensor { { 0.5, 0.25, 0.25 }, { 0.1, 0.8, 0.1 } }
    local t = int { 2, 2 }
    local expected = math.exp(-(math.log(0.25) + math.log(0.8)) / 2)
    near(expected, both("perplexity", p, t, nil, 1))
    near(expected, both("perplexity", p:log() + 3, t, { from_logits = true }, 1))
    near(expected, both("perplexity", p, nn.one_hot(t, 3):float(), nil, 1))
    near(4, both("perplexity", p, t, nil, 1, nn.tensor { 1, 0 }))
  end)

  it("takes series of tokens with the classes last or second, and passes over padding", function()
    local p = nn.full({ 2, 3, 4 }, 0.25)
    local t = int { { 1, 2, 0 }, { 3, 0, 0 } }
    near(4, both("perplexity", p, t, { ignore_index = 0 }, 1))
    near(4, both("perplexity", p:transpose(2, 3), t, { ignore_index = 0 }, 1))
  end)

  it("refuses scores that are no probabilities", function()
    assert.error_matches(function() nn.metrics.perplexity(nn.ones(2, 3), int { 1, 2 }) end,
      "nn.metrics.perplexity: expected probabilities.*{from_logits = true}")
  end)
end)

describe("nn.metrics.new", function()
  support.count_tensors(before_each, after_each)

  it("knows Keras's names and keeps the name it was given", function()
    for _, name in ipairs { "acc", "sparse_categorical_accuracy", "mean_absolute_error", "r2_score" } do
      assert.equal(name, nn.metrics.new(name).name)
    end
  end)

  it("takes functions, losses, tables and objects", function()
    local a, b = nn.tensor { 1, 2, 3 }, nn.tensor { 1, 2, 5 }
    local cases = {
      { function(p, t) return (p - t):abs():mean() end, "metric_1", 2 / 3 },
      { function(p, t) return (p - t):abs() end, "metric_1", 2 / 3 },
      { function() return 7 end, "metric_1", 7 },
      { nn.metrics.mae, "mae", 2 / 3 },
      { { "mae", name = "distance" }, "distance", 2 / 3 },
      { { name = "mine", call = function() return 3 end }, "mine", 3 },
      { { function() return 4 end, name = "four" }, "four", 4 },
      { nn.L1Loss(), "L1Loss", 2 / 3 },
      { "huber", "huber", 0.5 },
    }
    for _, case in ipairs(cases) do
      local metric = nn.metrics.new(case[1])
      assert.equal(case[2], metric.name)
      metric:update(a, b)
      assert.near(case[3], metric:result(), 1e-6)
    end
    local own = { name = "own", update = function() end, result = function() return 1 end }
    assert.equal(own, nn.metrics.new(own))
  end)

  it("weighs what a function gives by the samples", function()
    local metric = nn.metrics.new(function(p) return p:mean() end)
    metric:update(nn.tensor { 1, 1, 1 }, nn.zeros(3))
    metric:update(nn.tensor { 5 }, nn.zeros(1))
    assert.equal(2, metric:result())
  end)

  it("begins anew after reset, and fresh ones know nothing of each other", function()
    local metric = nn.metrics.new { "top_k_accuracy", k = 1 }
    local other = metric:fresh()
    metric:update(nn.tensor { { 1, 0 } }, int { 1 })
    assert.equal(1, metric:result())
    assert.equal(0, other:result())
    metric:reset()
    assert.equal(0, metric:result())
  end)

  it("says what it knows", function()
    assert.error_matches(function() nn.metrics.new("acuracy") end,
      "metric: expected one of acc accuracy auc .*; did you mean 'accuracy'%?")
    assert.error_matches(function() nn.metrics.new("f1", { averge = "micro" }) end,
      'unknown option "averge"; allowed: .*; did you mean \'average\'%?')
    assert.error_matches(function() nn.metrics.f1(nn.ones(2), nn.ones(2), { average = "mikro" }) end,
      "option average: expected one of binary macro micro none weighted, got \"mikro\"; did you mean 'micro'")
    assert.error_matches(function() nn.metrics.new {} end, "metric 1: expected a name or a function")
    assert.error_matches(function() nn.metrics.mae(nn.ones(2), nn.ones(2), { sample_weight = nn.ones(3) }) end,
      "nn.metrics.mae: expected a weight for each of 2 samples, got weights of shape %(3%)")
    assert.error_matches(function() nn.metrics.mae("a", nn.ones(2)) end, "prediction: expected a tensor, got \"a\"")
  end)
end)

describe("compile", function()
  support.count_tensors(before_each, after_each)

  -- A model that gives back its input.
  local function same(width, loss, metrics)
    local model = nn.Sequential { nn.Dense(width, width, { bias = false }) }
    model:load_state_dict { ["0.weight"] = nn.eye(width) }
    return model:compile { optimizer = "sgd", loss = loss, metrics = metrics }
  end

  it("measures over the whole set what is no mean of batches", function()
    local p, t = nn.tensor { { 0.9 }, { 0.8 }, { 0.7 }, { 0.2 } }, nn.tensor { { 1 }, { 0 }, { 0 }, { 1 } }
    local got = same(1, "binary_crossentropy", { "precision", "auc" }):evaluate(p, t, { batch_size = 1, verbose = 0 })
    assert.near(1 / 3, got.precision, 1e-12)
    assert.near(0.5, got.auc, 1e-12)
  end)

  it("reads predictions as the loss does", function()
    local logits, yes = nn.tensor { { 0.3, -2 }, { -1, 4 } }, nn.tensor { { 1, 0 }, { 0, 1 } }
    local got = same(2, nn.BCEWithLogitsLoss(), { "accuracy", "precision" }):evaluate(logits, yes, { verbose = 0 })
    assert.equal(1, got.accuracy)
    assert.equal(1, got.precision)
    local scores, labels = nn.tensor { { 2, 0 }, { 0, 2 }, { 9, 0 } }, int { 1, 2, -100 }
    got = same(2, nn.CrossEntropyLoss(), { "perplexity", "accuracy" }):evaluate(scores, labels, { verbose = 0 })
    assert.near(1 + math.exp(-2), got.perplexity, 1e-5)
    assert.equal(1, got.accuracy)
  end)

  it("keeps training and validation apart", function()
    local x, y = nn.rand(20, 1), nn.rand(20, 1):gt(0.5):float()
    local model = same(1, "mse", { "auc" })
    local history = model:fit(x, y, { epochs = 2, validation_split = 0.5, verbose = 0, batch_size = 3 })
    assert.equal(model:evaluate(x:narrow(1, 11, 10), y:narrow(1, 11, 10)).auc, history.val_auc[2])
  end)
end)
