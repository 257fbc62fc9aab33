--- nn.text.bleu: how near translations are to those of people (Papineni et al. 2002), with the numbers of sacreBLEU
-- (Post 2018), whose ways of cutting text and of smoothing these are.

local core = require "nnlua.core"
local check = require "nnlua.check"

local bleu = {}

-- ---- cutting text into words

local function fields(line)
  local words = {}
  for word in line:gmatch "%S+" do words[#words + 1] = word end
  return words
end

-- mteval-v13a, the script of the NIST that the conference WMT took over.
local function mteval(text)
  local line = text:gsub("<skipped>", ""):gsub("%-\n", ""):gsub("\n", " ")
  line = line:gsub("&quot;", '"'):gsub("&amp;", "&"):gsub("&lt;", "<"):gsub("&gt;", ">")
  line = (" " .. line .. " "):gsub("[{-~[-` -&(-+:-@/]", " %0 ")
  line = line:gsub("([^0-9])([%.,])", "%1 %2 "):gsub("([%.,])([^0-9])", " %1 %2"):gsub("([0-9])(%-)", "%1 %2 ")
  return fields(line)
end

local function characters(text)
  local list = {}
  for _, c in ipairs(core.text.split(text, "characters")) do
    if not c:find "^%s$" then list[#list + 1] = c end
  end
  return list
end

local ways = { ["13a"] = mteval, none = fields, char = characters }

-- ---- counting

-- Counts of the n words in a row that there are in a list, by what they are joined to.
local function ngrams(words, n)
  local counts = {}
  for i = 1, #words - n + 1 do
    local gram = table.concat(words, " ", i, i + n - 1)
    counts[gram] = (counts[gram] or 0) + 1
  end
  return counts
end

-- How many of the hypothesis' n-grams are in a reference, each as often as in the one that has it most often.
local function matches(words, references, n)
  local most, found = {}, 0
  for _, reference in ipairs(references) do
    for gram, count in pairs(ngrams(reference, n)) do most[gram] = math.max(most[gram] or 0, count) end
  end
  for gram, count in pairs(ngrams(words, n)) do found = found + math.min(count, most[gram] or 0) end
  return found
end

-- The length of the reference that is nearest to that of the hypothesis, the shorter one of two.
local function nearest_length(length, references)
  local best
  for _, reference in ipairs(references) do
    local distance, best_distance = math.abs(#reference - length), best and math.abs(best - length)
    local nearer = not best or distance < best_distance or (distance == best_distance and #reference < best)
    if nearer then best = #reference end
  end
  return best
end

-- ---- the score

local smoothings = { exp = true, none = true, floor = true, add_k = true }

-- Precisions in percent, and how many of the orders count.
local function precisions_of(info, options, order)
  local smooth, halving, effective, precisions = options.smooth, 1, order, {}
  for n = 1, order do precisions[n] = 0 end
  for n = 1, order do
    local correct, total = info.correct[n], info.total[n]
    if smooth == "add_k" and n > 1 then
      correct, total = correct + (options.smooth_value or 1), total + (options.smooth_value or 1)
    end
    if total == 0 then break end
    if options.effective_order then effective = n end
    if correct > 0 then
      precisions[n] = 100 * correct / total
    elseif smooth == "exp" then
      halving = 2 * halving
      precisions[n] = 100 / (halving * total)
    elseif smooth == "floor" then
      precisions[n] = 100 * (options.smooth_value or 0.1) / total
    end
  end
  return precisions, effective
end

local function score_of(info, options, order)
  local any = false
  for n = 1, order do any = any or info.correct[n] > 0 end
  info.precisions, info.brevity = {}, 1
  for n = 1, order do info.precisions[n] = 0 end
  if info.length < info.reference_length then
    info.brevity = info.length > 0 and math.exp(1 - info.reference_length / info.length) or 0
  end
  if not any then return 0 end
  local effective
  info.precisions, effective = precisions_of(info, options, order)
  local sum = 0
  for n = 1, effective do
    if info.precisions[n] == 0 then return 0 end
    sum = sum + math.log(info.precisions[n])
  end
  return info.brevity * math.exp(sum / effective)
end

local bleu_options = {
  tokenize = "any", lowercase = "boolean", smooth = "string", smooth_value = "number", max_order = "count",
  effective_order = "boolean",
}

local function cutter_of(who, options)
  local cut = options.tokenize or "13a"
  if type(cut) ~= "function" then cut = check.choice(who, "option tokenize", cut, ways) end
  return function(text)
    if type(text) ~= "string" then check.expect(who, "a text", text, "a string") end
    if options.lowercase then text = core.text.lower(text) end
    return cut(text:match "^(.-)%s*$")
  end
end

local function check_lists(who, hypotheses, references)
  for name, list in pairs { hypotheses = hypotheses, references = references } do
    if type(list) ~= "table" then check.expect(who, name, list, "a list of strings") end
  end
  if #hypotheses == 0 then check.expect(who, "hypotheses", hypotheses, "at least one") end
  if #hypotheses ~= #references then
    check.fail(who, ("expected as many hypotheses as references, got %d and %d"):format(#hypotheses, #references))
  end
end

local function count(who, hypotheses, references, options, order)
  local cut = cutter_of(who, options)
  local info = { correct = {}, total = {}, length = 0, reference_length = 0 }
  for n = 1, order do info.correct[n], info.total[n] = 0, 0 end
  for i = 1, #hypotheses do
    local words, targets = cut(hypotheses[i]), {}
    local given = type(references[i]) == "table" and references[i] or { references[i] }
    if #given == 0 then check.expect(who, ("reference %d"):format(i), given, "at least one text") end
    for k, text in ipairs(given) do targets[k] = cut(text) end
    info.length = info.length + #words
    info.reference_length = info.reference_length + nearest_length(#words, targets)
    for n = 1, order do
      info.correct[n] = info.correct[n] + matches(words, targets, n)
      info.total[n] = info.total[n] + math.max(0, #words - n + 1)
    end
  end
  return info
end

--- BLEU of a whole corpus, from 0 to 100, as sacreBLEU's corpus_bleu gives it: n-grams of all sentences are counted
-- together, 1 to 4 words long, times a penalty for being shorter than the references.
-- @param hypotheses list of strings: the translations
-- @param references list of strings, one for each, or of lists of strings where there are several
-- @param options table? tokenize ("13a": as mteval-v13a, for raw text; "none": words that are apart already; "char";
-- or a function of a text that gives a list), lowercase (false), smooth ("exp": orders without a match count as half,
-- a quarter ... of a match; "none", "floor", "add_k"), smooth_value (0.1 for floor, 1 for add_k), max_order (4),
-- effective_order (false; true: only orders that the text is long enough for, as for single sentences)
-- @return number, and a table: precisions (percent), brevity (the penalty's factor), length, reference_length, correct
-- and total (n-grams by n)
function bleu.bleu(hypotheses, references, options)
  local who = "nn.text.bleu"
  options = check.options(who, options, bleu_options)
  check_lists(who, hypotheses, references)
  local settings = { smooth = options.smooth or "exp" }
  for name, value in pairs(options) do settings[name] = value end
  check.choice(who, "option smooth", settings.smooth, smoothings)
  local order = options.max_order or 4
  local info = count(who, hypotheses, references, settings, order)
  return score_of(info, settings, order), info
end

return bleu
