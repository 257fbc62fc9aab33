--- nn.text.edit_distance and nn.text.error_rate: how far sequences are from what they should be.

local check = require "nnlua.check"

local edits = {}

-- A string as the list of its characters (UTF-8; a byte that is no part of one stands for itself).
local function characters(text)
  local list = {}
  for character in text:gmatch("[%z\1-\127\194-\244][\128-\191]*") do list[#list + 1] = character end
  return list
end

-- A list as it is, a string as its characters, or, for `words`, what is between blanks.
local function items_of(who, what, value, unit)
  if type(value) == "table" then return value end
  if type(value) ~= "string" then check.expect(who, what, value, "a list or a string") end
  if unit ~= "words" then return characters(value) end
  local list = {}
  for word in value:gmatch("%S+") do list[#list + 1] = word end
  return list
end

-- A cell of the table: its cost, and of what it consists.
local function cell(from, cost, kind)
  return {
    cost = from.cost + cost, substitutions = from.substitutions + (kind == "substitution" and 1 or 0),
    insertions = from.insertions + (kind == "insertion" and 1 or 0),
    deletions = from.deletions + (kind == "deletion" and 1 or 0),
  }
end

-- Wagner and Fischer (1974), a row of the table at a time: the prefixes of a against one prefix of b.
local function compare(a, b)
  local row = { [0] = { cost = 0, substitutions = 0, insertions = 0, deletions = 0 } }
  for i = 1, #a do row[i] = cell(row[i - 1], 1, "insertion") end
  for j = 1, #b do
    local before = row
    row = { [0] = cell(before[0], 1, "deletion") }
    for i = 1, #a do
      if a[i] == b[j] then
        row[i] = before[i - 1]
      else
        local changed, dropped, added = before[i - 1].cost, before[i].cost, row[i - 1].cost
        if changed <= dropped and changed <= added then
          row[i] = cell(before[i - 1], 1, "substitution")
        elseif dropped <= added then
          row[i] = cell(before[i], 1, "deletion")
        else
          row[i] = cell(row[i - 1], 1, "insertion")
        end
      end
    end
  end
  return row[#a]
end

local units = { characters = "characters", words = "words" }

local unit_options = { unit = "string" }

local function unit_of(who, options)
  return check.choice(who, "option unit", options.unit or "characters", units)
end

--- The fewest changes that make one sequence of another: items exchanged, added or left out (Levenshtein 1966).
-- @param hypothesis list of anything, or string
-- @param reference list or string, what it should be
-- @param options table? unit (of strings, "characters" as UTF-8 has them, or "words")
-- @return integer, and a table {substitutions =, insertions =, deletions =} of one such way: insertions are in the
-- hypothesis only, deletions in the reference only
function edits.edit_distance(hypothesis, reference, options)
  local who = "nn.text.edit_distance"
  local unit = unit_of(who, check.options(who, options, unit_options))
  local found = compare(items_of(who, "hypothesis", hypothesis, unit), items_of(who, "reference", reference, unit))
  return found.cost, {
    substitutions = found.substitutions, insertions = found.insertions, deletions = found.deletions,
  }
end

--- All changes together divided by the length of all references: the word error rate for words, the character error
-- rate for characters. It can be above 1.
-- @param hypotheses list of sequences (lists or strings)
-- @param references list of as many
-- @param options table? unit (of strings, "characters" or "words")
-- @return number, and a table {substitutions =, insertions =, deletions =, length =, exact =}, exact being how many
-- hypotheses are equal to their references; without a reference that has items the rate is 0 if there are no changes,
-- else infinite
function edits.error_rate(hypotheses, references, options)
  local who = "nn.text.error_rate"
  local unit = unit_of(who, check.options(who, options, unit_options))
  for what, value in pairs { hypotheses = hypotheses, references = references } do
    if type(value) ~= "table" then check.expect(who, what, value, "a list of sequences") end
  end
  if #hypotheses ~= #references then
    check.fail(who, ("expected as many hypotheses as references, got %d and %d"):format(#hypotheses, #references))
  end
  local total = { substitutions = 0, insertions = 0, deletions = 0, length = 0, exact = 0 }
  local cost = 0
  for i, hypothesis in ipairs(hypotheses) do
    local a = items_of(who, ("hypotheses[%d]"):format(i), hypothesis, unit)
    local b = items_of(who, ("references[%d]"):format(i), references[i], unit)
    local found = compare(a, b)
    for _, kind in ipairs { "substitutions", "insertions", "deletions" } do total[kind] = total[kind] + found[kind] end
    cost, total.length = cost + found.cost, total.length + #b
    if found.cost == 0 then total.exact = total.exact + 1 end
  end
  if total.length == 0 then return cost == 0 and 0 or math.huge, total end
  return cost / total.length, total
end

return edits
