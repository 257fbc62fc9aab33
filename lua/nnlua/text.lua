--- nn.text: text to tensors and back. Tokenizers and vocabularies (ids begin with 1), sequences of different lengths,
-- beam search, decoding of CTC, BLEU and error rates. Each part is loaded when it is first used.

local core = require "nnlua.core"
local check = require "nnlua.check"

-- By name: the module under nnlua.text that has it.
local places = {
  BPETokenizer = "bpe", CharTokenizer = "pieces", WordTokenizer = "pieces", Vocab = "vocab", bleu = "bleu",
  pad = "sequences", unpad = "sequences", pack = "sequences", padding_mask = "sequences", causal_mask = "sequences",
  collate = "sequences", beam_search = "beam_search", ctc_decode = "ctc", edit_distance = "edits", error_rate = "edits",
}

local text = {}

local function check_string(who, value)
  if type(value) ~= "string" then check.expect(who, "text", value, "a string") end
end

--- Text in lower case, characters outside ASCII too (by Unicode's simple mappings); bytes that are not UTF-8 stay.
-- @param value string
-- @return string
function text.lower(value)
  check_string("nn.text.lower", value)
  return core.text.lower(value)
end

local rules = { words = "words", spaces = "spaces", characters = "characters", gpt2 = "gpt2", gpt4 = "gpt4" }

--- Text in pieces.
-- @param value string
-- @param rule string? "words": words, numbers, and signs one by one, without white space; "spaces": what stands between
-- white space; "characters"; "gpt2" and "gpt4": as those models' tokenizers cut it, white space included
-- @return list of strings
function text.split(value, rule)
  check_string("nn.text.split", value)
  rule = check.choice("nn.text.split", "rule", rule or "words", rules)
  return core.text.split(value, rule, rule == "gpt4" and 3 or 0)
end

--- A tokenizer or vocabulary of what its to_table() gave.
-- @param value table
-- @return tokenizer or vocabulary; nil and a message where the table is none
function text.from_table(value)
  if type(value) ~= "table" then check.expect("nn.text.from_table", "value", value, "a table") end
  if value.format ~= "nnlua.text" then
    if value.model == nil then return nil, "this is no tokenizer" end
    return require("nnlua.text.bpe").from_table(value, {})
  end
  if value.class == "Vocab" then return require("nnlua.text.vocab").from_table(value) end
  if value.class == "CharTokenizer" or value.class == "WordTokenizer" then
    return require("nnlua.text.pieces").from_table(value)
  end
  return nil, "unknown class of tokenizer: " .. tostring(value.class)
end

--- Load a tokenizer or vocabulary that save() wrote, or a tokenizer.json of Hugging Face's. nn.text.BPETokenizer.load
-- reads GPT-2's pairs of files.
-- @param path string
-- @return tokenizer or vocabulary; nil and a message where the file cannot be read
function text.load(path)
  if type(path) ~= "string" then check.expect("nn.text.load", "path", path, "a string") end
  local value, message = require("nnlua.text.bpe").read_json(path)
  if not value then return nil, message end
  local result, problem = text.from_table(value)
  if not result then return nil, path .. ": " .. problem end
  return result
end

return setmetatable(text, {
  __library = "nn.text",
  __names = function()
    local names = {}
    for name in pairs(places) do names[#names + 1] = name end
    return names
  end,
  __index = function(_, name)
    local place = places[name]
    if not place then return check.name("nn.text", text, name, places) end
    local value = require("nnlua.text." .. place)[name]
    text[name] = value
    return value
  end,
})
