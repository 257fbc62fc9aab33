--- Edit distances and error rates, and sequences from the scores of models trained with nn.CTCLoss.

local nn = require "nnlua"
local support = dofile("tests/lua/support.lua")

local edit_distance, error_rate, ctc_decode = nn.text.edit_distance, nn.text.error_rate, nn.text.ctc_decode

local function message_of(fn, ...) return select(2, pcall(fn, ...)) end

describe("nn.text.edit_distance", function()
  it("counts the fewest changes, and tells them apart", function()
    for _, case in ipairs {
      {"kitten", "sitting", 3, 2, 0, 1}, {"", "abc", 3, 0, 0, 3}, {"abc", "", 3, 0, 3, 0}, {"", "", 0, 0, 0, 0},
      {"same", "same", 0, 0, 0, 0}, {"flaw", "lawn", 2, 0, 1, 1}, {"größe", "große", 1, 1, 0, 0},
      {{1, 2, 3}, {2, 3}, 1, 0, 1, 0}, {{true, "a"}, {true, "b"}, 1, 1, 0, 0},
    } do
      local distance, kinds = edit_distance(case[1], case[2])
      assert.are.equal(case[3], distance)
      assert.are.same({substitutions = case[4], insertions = case[5], deletions = case[6]}, kinds)
    end
    assert.are.equal(1, (edit_distance("the cat sat", "the hat  sat", {unit = "words"})))
  end)

  it("is what the recursion that defines it gives", function()
    local function defined(a, b, i, j)
      if i == 0 or j == 0 then return i + j end
      local change = a[i] == b[j] and 0 or 1
      return math.min(defined(a, b, i - 1, j - 1) + change, defined(a, b, i - 1, j) + 1, defined(a, b, i, j - 1) + 1)
    end
    nn.manual_seed(5)
    for length = 0, 6 do
      local a, b = nn.randint(1, 4, {length + 1}):tolist(), nn.randint(1, 4, {6}):tolist()
      local distance, kinds = edit_distance(a, b)
      assert.are.equal(defined(a, b, #a, #b), distance)
      assert.are.equal(distance, kinds.substitutions + kinds.insertions + kinds.deletions)
      assert.are.equal(#a - #b, kinds.insertions - kinds.deletions)
    end
  end)

  it("makes rates over all sequences", function()
    local rate, counts = error_rate({"abc", "d", ""}, {"abd", "d", "xy"})
    assert.are.equal(3 / 6, rate)
    assert.are.same({substitutions = 1, insertions = 0, deletions = 2, length = 6, exact = 1}, counts)
    assert.are.equal(0.5, (error_rate({"a b"}, {"a c"}, {unit = "words"})))
    assert.are.equal(0, (error_rate({}, {})))
    assert.are.equal(math.huge, (error_rate({"a"}, {""})))
    assert.matches("as many hypotheses as references, got 1 and 2", message_of(error_rate, {"a"}, {"a", "b"}))
    assert.matches("references%[1%]: expected a list or a string, got 5", message_of(error_rate, {"a"}, {5}))
    assert.matches("unit: expected one of characters words", message_of(edit_distance, "a", "b", {unit = "lines"}))
  end)
end)

-- Logarithms of probabilities (T, C) at random.
local function random_logs(steps, classes)
  return (1.5 * nn.randn(steps, classes, {dtype = "float64"})):log_softmax(-1)
end

-- The likeliest sequence, by adding up all paths.
local function best_of_all(logs, blank)
  local steps, classes = logs:size(1), logs:size(2)
  local sums, sequences = {}, {}
  local function walk(t, labels, last, p)
    if t > steps then
      local key = table.concat(labels, " ")
      sums[key], sequences[key] = (sums[key] or 0) + math.exp(p), labels
      return
    end
    for label = 1, classes do
      local more = labels
      if label ~= blank and label ~= last then
        more = {}
        for i, each in ipairs(labels) do more[i] = each end
        more[#more + 1] = label
      end
      walk(t + 1, more, label, p + logs[{t, label}])
    end
  end
  walk(1, {}, blank, 0)
  local best
  for key, sum in pairs(sums) do
    if not best or sum > sums[best] then best = key end
  end
  return sequences[best], math.log(sums[best])
end

describe("nn.text.ctc_decode", function()
  support.count_tensors(before_each, after_each)

  it("joins what is repeated and leaves out blanks", function()
    local path = {1, 3, 3, 1, 3, 2, 2, 1, 1, 4}
    local logs = nn.one_hot(nn.tensor(path, {dtype = "int64"}), 4):float() * 9
    local labels, score = ctc_decode(logs)
    assert.are.same({3, 3, 2, 4}, labels)
    assert(math.abs(score - logs:log_softmax(-1):max():item() * #path) < 1e-4)
    assert.are.same({3, 3, 2, 4}, (ctc_decode(logs, {beam = 4})))
    assert.are.same({{3, 3}}, (ctc_decode(logs:unsqueeze(1), {lengths = {5}})))
    assert.are.same({1, 1, 2, 1, 4}, (ctc_decode(logs, {blank = 3})))
  end)

  it("finds with a beam the likeliest sequence over all paths", function()
    nn.manual_seed(11)
    for _, blank in ipairs {1, 3} do
      for _ = 1, 6 do
        local logs = random_logs(5, 3)
        local expected, value = best_of_all(logs, blank)
        local labels, score = ctc_decode(logs, {beam = 200, blank = blank})
        assert.are.same(expected, labels)
        assert(math.abs(score - value) < 1e-9)
        local loss = nn.CTCLoss {blank = blank, reduction = "sum"}
        if #labels > 0 then
          local target = nn.tensor({labels}, {dtype = "int64"})
          assert(math.abs(loss(logs:unsqueeze(1), target):item() + score) < 1e-9)
        end
      end
    end
  end)

  it("reads each sequence of a batch as it reads it alone", function()
    nn.manual_seed(12)
    local logs, lengths = nn.stack({random_logs(6, 4), random_logs(6, 4), random_logs(6, 4)}, 1), {6, 3, 0}
    for _, beam in ipairs {1, 5} do
      local together, scores = ctc_decode(logs, {lengths = nn.tensor(lengths, {dtype = "int64"}), beam = beam})
      for i = 1, 2 do
        local alone, score = ctc_decode(logs[i]:narrow(1, 1, lengths[i]), {beam = beam})
        assert.are.same(alone, together[i])
        assert(math.abs(score - scores[i]) < 1e-12)
      end
      assert.are.same({}, together[3])
    end
  end)

  it("says what is wrong", function()
    assert.matches("scores: expected %(N, T, C%) or %(T, C%), got tensor %(3%)", message_of(ctc_decode, nn.zeros(3)))
    assert.matches("blank: expected a class from 1 to 2, got 3", message_of(ctc_decode, nn.zeros(3, 2), {blank = 3}))
    assert.matches("lengths%[1%]: expected a number of steps from 0 to 3, got 4",
      message_of(ctc_decode, nn.zeros(3, 2), {lengths = 4}))
    assert.are.same({}, (ctc_decode(nn.zeros(0, 3, 2))))
  end)
end)
