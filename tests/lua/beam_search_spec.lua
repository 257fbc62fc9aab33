--- nn.text.beam_search against a search of all sequences.

local nn = require "nnlua"
local support = dofile("tests/lua/support.lua")

local beam_search = nn.text.beam_search

local START, STOP, TOKENS = 1, 2, 5

-- A model whose next token depends on the last two: logarithms of probabilities (TOKENS, TOKENS, TOKENS).
local function random_model(seed)
  nn.manual_seed(seed)
  return (2 * nn.randn(TOKENS, TOKENS, TOKENS, {dtype = "float64"})):log_softmax(-1)
end

-- The best of all sequences of at most `most` tokens, by trying them all.
local function try_all(model, most, alpha)
  local best, best_score = nil, -math.huge
  local function try(tokens, sum, before, last)
    local function consider(value)
      local score = value / ((5 + #tokens + 1) / 6) ^ alpha
      if score > best_score then
        best, best_score = {}, score
        for i, token in ipairs(tokens) do best[i] = token end
      end
    end
    if #tokens == most then return consider(sum) end
    consider(sum + model[{before, last, STOP}])
    for token = 1, TOKENS do
      if token ~= STOP then
        tokens[#tokens + 1] = token
        try(tokens, sum + model[{before, last, token}], last, token)
        tokens[#tokens] = nil
      end
    end
  end
  try({}, 0, START, START)
  return best, best_score
end

-- What beam_search calls: it keeps the last two tokens of each row, as models keep caches.
local function stepper(models)
  local before, which
  return function(tokens, order, position)
    if position == 0 then
      before, which = nn.full({#tokens}, START, {dtype = "int64"}), nn.range(1, #tokens, {dtype = "int64"})
    else
      before, which = before:index_select(1, order), which:index_select(1, order)
    end
    local rows, lasts = {}, tokens:squeeze(2)
    for i = 1, #tokens do rows[i] = models[which[i]][{before[i], lasts[i]}] end
    before = lasts
    return nn.stack(rows, 1)
  end
end

local function greedy(model, most)
  local tokens, before, last = {}, START, START
  while #tokens < most do
    local token = model[{before, last}]:argmax(1):item()
    if token == STOP then break end
    tokens[#tokens + 1], before, last = token, last, token
  end
  return tokens
end

describe("nn.text.beam_search", function()
  support.count_tensors(before_each, after_each)

  it("finds the best of all sequences when the beam is wide", function()
    for seed = 1, 8 do
      local model = random_model(seed)
      for _, alpha in ipairs {0, 0.6} do
        local expected, score = try_all(model, 4, alpha)
        local found, scores = beam_search(stepper {model}, 1, {
          start = START, stop = STOP, beam = 300, max_length = 4, length_penalty = alpha,
        })
        assert.are.same(expected, found[1])
        assert(math.abs(scores[1] - score) < 1e-12)
      end
    end
  end)

  it("writes several sequences at a time as it writes each alone, however long they become", function()
    local models = {}
    for i = 1, 6 do models[i] = random_model(20 + i) end
    local options = {start = START, stop = STOP, beam = 3, max_length = 9, best = 2}
    local together, scores = beam_search(stepper(models), 6, options)
    for i, model in ipairs(models) do
      local alone, score = beam_search(stepper {model}, 1, options)
      assert.are.same(alone[1], together[i])
      assert.are.same(score[1], scores[i])
      assert(scores[i][1] >= scores[i][2])
    end
  end)

  it("is greedy with a beam of one, and stops each sequence at its own length", function()
    local models, limits = {random_model(3), random_model(4)}, {2, 7}
    local found = beam_search(stepper(models), 2, {start = START, stop = STOP, beam = 1, max_length = limits})
    for i = 1, 2 do assert.are.same(greedy(models[i], limits[i]), found[i]) end
  end)

  it("says what is wrong", function()
    local function message_of(...) return select(2, pcall(beam_search, ...)) end
    local function one() return nn.zeros(1, 4) end
    assert.matches("option start: expected a token, got nil", message_of(one, 1, {stop = 2}))
    local misspelt = message_of(one, 1, {start = 1, stop = 2, beams = 3})
    assert.matches("unknown option \"beams\"; .*did you mean 'beam'%?", misspelt)
    assert.matches("expected scores %(2, tokens%), got tensor %(1, 4%)", message_of(one, 2, {start = 1, stop = 2}))
    assert.matches("max_length: expected a whole number", message_of(one, 1, {start = 1, stop = 2, max_length = 0}))
  end)
end)
