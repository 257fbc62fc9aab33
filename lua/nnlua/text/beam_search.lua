--- nn.text.beam_search: the likeliest sequences that a model writes token by token.

local core = require "nnlua.core"
local check = require "nnlua.check"

local who = "nn.text.beam_search"

local rules = {
  start = "count", stop = "count", beam = "count", max_length = "any", length_penalty = "number", best = "count",
}

-- ---- one sequence to be written: its unfinished hypotheses and the finished ones

-- The divisor of a sum of logarithms (Wu et al. 2016, equation 14, without coverage).
local function penalty(length, alpha)
  return ((5 + length) / 6) ^ alpha
end

local function worst_of(finished, count)
  if #finished < count then return -math.huge end
  local worst = math.huge
  for _, each in ipairs(finished) do worst = math.min(worst, each.score) end
  return worst
end

local function copy_with(tokens, token)
  local list = {}
  for i = 1, #tokens do list[i] = tokens[i] end
  list[#list + 1] = token
  return list
end

local function finish(search, tokens, sum)
  local finished, length = search.finished, #tokens + 1 -- the end counts
  finished[#finished + 1] = { tokens = tokens, score = sum / penalty(length, search.alpha) }
  table.sort(finished, function(a, b) return a.score > b.score end)
  finished[search.beam + 1] = nil
end

-- Take the best continuations {sum, row, token} of a sequence, best first.
local function advance(search, candidates, stop)
  local live = {}
  for rank, candidate in ipairs(candidates) do
    local from = search.live[candidate.row]
    if candidate.sum == -math.huge then break end
    if candidate.token == stop then
      if rank <= search.beam then finish(search, from.tokens, candidate.sum) end
    elseif #live < search.beam then
      live[#live + 1] = { tokens = copy_with(from.tokens, candidate.token), sum = candidate.sum, row = from.row }
    end
  end
  search.live = live
end

-- Nothing unfinished would be better than what is finished if it ended now, or there is no room for more.
local function is_done(search)
  local best = search.live[1]
  if not best then return true end
  if #best.tokens >= search.max_length then
    for _, each in ipairs(search.live) do finish(search, each.tokens, each.sum) end
    return true
  end
  return best.sum / penalty(#best.tokens + 1, search.alpha) < worst_of(search.finished, search.beam)
end

-- ---- all sequences together

-- For each search its best continuations: sums of logarithms of probabilities, rows of the search, tokens.
local function candidates_of(searches, scores, beam)
  local logs = scores:log_softmax(-1)
  local top, tokens = logs:topk(math.min(2 * beam, logs:size(2)), 2)
  top, tokens = top:tolist(), tokens:tolist()
  local row, found = 0, {}
  for i, search in ipairs(searches) do
    local list = {}
    for own, hypothesis in ipairs(search.live) do
      row = row + 1
      hypothesis.row = row
      for k, value in ipairs(top[row]) do
        list[#list + 1] = { sum = hypothesis.sum + value, row = own, token = tokens[row][k] }
      end
    end
    table.sort(list, function(a, b)
      if a.sum ~= b.sum then return a.sum > b.sum end
      if a.row ~= b.row then return a.row < b.row end
      return a.token < b.token
    end)
    found[i] = list
  end
  return found
end

-- The rows of the next step: their last tokens, and which row of this step each goes on from.
local function next_rows(searches)
  local tokens, order = {}, {}
  for _, search in ipairs(searches) do
    for _, hypothesis in ipairs(search.live) do
      tokens[#tokens + 1] = { hypothesis.tokens[#hypothesis.tokens] }
      order[#order + 1] = hypothesis.row
    end
  end
  return core.tensor(tokens, { dtype = "int64" }), core.tensor(order, { dtype = "int64" })
end

local function limit_of(max_length, i)
  if type(max_length) == "table" then return max_length[i] end
  return max_length
end

local function begin(count, options)
  local searches = {}
  for i = 1, count do
    local limit = limit_of(options.max_length or 100, i)
    if type(limit) ~= "number" or limit < 1 then
      check.expect(who, "option max_length", limit, "a whole number from 1, or a list with one for each sequence")
    end
    searches[i] = {
      beam = options.beam or 4, alpha = options.length_penalty or 0.6, max_length = limit, finished = {},
      live = { { tokens = {}, sum = 0 } },
    }
  end
  return searches
end

local function check_scores(scores, rows)
  check.tensor(who, "the function's result", scores)
  if scores.ndim == 3 and scores:size(2) == 1 then scores = scores:squeeze(2) end
  if scores.ndim ~= 2 or #scores ~= rows then
    check.expect(who, "the function's result", scores, ("scores (%d, tokens)"):format(rows))
  end
  return scores
end

local function run(step, searches, options)
  local active, order = searches, nil
  local tokens = core.full({ #searches, 1 }, options.start, { dtype = "int64" })
  local position = 0
  while #active > 0 do
    local scores = check_scores(step(tokens, order, position), #tokens)
    local candidates, left = candidates_of(active, scores, options.beam or 4), {}
    for i, search in ipairs(active) do
      advance(search, candidates[i], options.stop)
      if not is_done(search) then left[#left + 1] = search end
    end
    active, position = left, position + 1
    if #active > 0 then tokens, order = next_rows(active) end
  end
end

--- The likeliest sequences, written token by token, several of them kept at each step.
-- Rows of a step are the unfinished sequences of all `count`, in an order that changes from step to step: what a model
-- keeps for each row, such as a cache of keys and values, is to be put into the new order by index_select(dim, order).
-- @param step function(tokens, order, position): tokens (rows, 1) int64, the last of each row (at first `start`);
-- order (rows) int64, the row of the step before that each goes on from, nil at the first step, which has `count` rows;
-- position, the steps done. It gives logits or logarithms of probabilities, (rows, V) or (rows, 1, V)
-- @param count integer how many sequences are to be written
-- @param options table? start (required: the token before the first), stop (required: the token that ends a sequence),
-- beam (4: how many are kept at a step; 1 is greedy), max_length (100; or a list with one for each sequence),
-- length_penalty (0.6; 0 prefers short ones, see Wu et al. 2016), best (1: how many of each are wanted)
-- @return list with, for each sequence, a list of tokens without start and stop, and a list of their scores; with best
-- above 1 these are lists of as many, the best first
local function beam_search(step, count, options)
  if type(step) ~= "function" then check.expect(who, "step", step, "a function") end
  options = check.options(who, options, rules)
  for _, name in ipairs { "start", "stop" } do
    if not options[name] then check.fail(who, ("option %s: expected a token, got nil"):format(name)) end
  end
  local searches = begin(count, options)
  core.no_grad(function() run(step, searches, options) end)
  local sequences, scores = {}, {}
  for i, search in ipairs(searches) do
    local tokens, values = {}, {}
    for k = 1, math.min(options.best or 1, #search.finished) do
      tokens[k], values[k] = search.finished[k].tokens, search.finished[k].score
    end
    sequences[i], scores[i] = tokens, values
    if (options.best or 1) == 1 then sequences[i], scores[i] = tokens[1], values[1] end
  end
  return sequences, scores
end

return { beam_search = beam_search }
