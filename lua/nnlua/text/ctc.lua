--- nn.text.ctc_decode: the sequences that a model trained with nn.CTCLoss has read.

local core = require "nnlua.core"
local check = require "nnlua.check"

local who = "nn.text.ctc_decode"

-- ---- the likeliest label at each step

local function greedy(path, steps, blank)
  local labels, last = {}, blank
  for t = 1, steps do
    local label = path[t]
    if label ~= blank and label ~= last then labels[#labels + 1] = label end
    last = label
  end
  return labels
end

-- ---- prefix beam search (Graves 2012; Hannun et al. 2014, algorithm 1, without a language model)

local LOW = -math.huge

local function log_add(a, b)
  if a < b then a, b = b, a end
  if b == LOW then return a end
  return a + math.log(1 + math.exp(b - a))
end

-- A prefix is a node of a tree; `blank` and `label` are the logarithms of the probability of all paths that give it and
-- end with the blank, or with its last label.
local function child_of(prefix, label)
  local child = prefix.children[label]
  if not child then
    child = { parent = prefix, last = label, children = {}, length = prefix.length + 1 }
    prefix.children[label] = child
  end
  return child
end

local function entry_of(next_beams, list, prefix)
  local entry = next_beams[prefix]
  if not entry then
    entry = { prefix = prefix, blank = LOW, label = LOW }
    next_beams[prefix], list[#list + 1] = entry, entry
  end
  return entry
end

local function extend(next_beams, list, beam, labels, logs, blank)
  local prefix, total = beam.prefix, log_add(beam.blank, beam.label)
  for k, label in ipairs(labels) do
    local p = logs[k]
    if label == blank then
      local same = entry_of(next_beams, list, prefix)
      same.blank = log_add(same.blank, total + p)
    elseif label == prefix.last then
      local same = entry_of(next_beams, list, prefix)
      same.label = log_add(same.label, beam.label + p)
      local longer = entry_of(next_beams, list, child_of(prefix, label))
      longer.label = log_add(longer.label, beam.blank + p)
    else
      local longer = entry_of(next_beams, list, child_of(prefix, label))
      longer.label = log_add(longer.label, total + p)
    end
  end
end

local function labels_of(prefix)
  local labels = {}
  while prefix.parent do
    labels[prefix.length] = prefix.last
    prefix = prefix.parent
  end
  return labels
end

-- values and labels: for each step the likeliest labels, by their place, and the logarithms of their probabilities
local function search(values, labels, steps, blank, width)
  local beams = { { prefix = { children = {}, length = 0 }, blank = 0, label = LOW } }
  for t = 1, steps do
    local list, next_beams = {}, {}
    for _, beam in ipairs(beams) do extend(next_beams, list, beam, labels[t], values[t], blank) end
    for place, entry in ipairs(list) do
      entry.total, entry.place = log_add(entry.blank, entry.label), place
    end
    table.sort(list, function(a, b)
      if a.total ~= b.total then return a.total > b.total end
      return a.place < b.place
    end)
    for k = width + 1, #list do list[k] = nil end
    beams = list
  end
  local best = beams[1]
  return labels_of(best.prefix), log_add(best.blank, best.label)
end

-- ----

local function lengths_of(given, count, steps)
  if given == nil then given = steps end
  if core.is_tensor(given) then given = given:tolist() end
  local lengths = {}
  for i = 1, count do
    local length = type(given) == "table" and given[i] or given
    if type(length) ~= "number" or length < 0 or length > steps then
      check.expect(who, ("lengths[%d]"):format(i), length, ("a number of steps from 0 to %d"):format(steps))
    end
    lengths[i] = length
  end
  return lengths
end

local function by_greed(logs, lengths, blank)
  local best, path = logs:max(3)
  local values, paths, sequences, scores = best:tolist(), path:tolist(), {}, {}
  for i, steps in ipairs(lengths) do
    local score = 0
    for t = 1, steps do score = score + values[i][t] end
    sequences[i], scores[i] = greedy(paths[i], steps, blank), score
  end
  return sequences, scores
end

local function by_search(logs, lengths, blank, width)
  local values, labels = logs:topk(math.min(logs:size(3), math.max(width, 2)), 3)
  values, labels = values:tolist(), labels:tolist()
  local sequences, scores = {}, {}
  for i, steps in ipairs(lengths) do
    sequences[i], scores[i] = search(values[i], labels[i], steps, blank, width)
  end
  return sequences, scores
end

--- Sequences of labels from the scores of a model trained with nn.CTCLoss (Graves et al. 2006).
-- @param scores tensor (N, T, C), or (T, C) of one sequence: logits, or logarithms of probabilities, of each step
-- @param options table? lengths (all steps; a number, list or tensor of the steps that count in each sequence), blank
-- (1), beam (1: the likeliest label of each step, repeated ones joined and blanks left out, where a larger number is
-- for a search over all paths that keeps so many beginnings and looks at as many labels of each step)
-- @return list with the list of labels of each sequence, and a list of the logarithms of their probabilities: of the
-- likeliest path where beam is 1, else of all paths that were looked at; for (T, C) one list and one number
local function ctc_decode(scores, options)
  check.tensor(who, "scores", scores)
  options = check.options(who, options, { lengths = "any", blank = "count", beam = "count" })
  local single = scores.ndim == 2
  local x = single and scores:unsqueeze(1) or scores
  if x.ndim ~= 3 then check.expect(who, "scores", scores, "(N, T, C) or (T, C)") end
  local blank, width = options.blank or 1, options.beam or 1
  if blank > x:size(3) then
    check.fail(who, ("blank: expected a class from 1 to %d, got %d"):format(x:size(3), blank))
  end
  local lengths = lengths_of(options.lengths, #x, x:size(2))
  local sequences, values = {}, {}
  if #x > 0 and x:size(2) > 0 then
    local logs = x:detach():log_softmax(-1)
    if width == 1 then sequences, values = by_greed(logs, lengths, blank)
    else sequences, values = by_search(logs, lengths, blank, width) end
  else
    for i = 1, #x do sequences[i], values[i] = {}, 0 end
  end
  if single then return sequences[1], values[1] end
  return sequences, values
end

return { ctc_decode = ctc_decode }
