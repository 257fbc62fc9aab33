--- nn.text.CharTokenizer and nn.text.WordTokenizer: each character or word is a token, or unknown.

local core = require "nnlua.core"
local check = require "nnlua.check"
local tokenizer = require "nnlua.text.tokenizer"
local vocab = require "nnlua.text.vocab"

local pieces = {}

local Char = tokenizer.class "CharTokenizer"
local Word = tokenizer.class "WordTokenizer"
local classes = { CharTokenizer = Char, WordTokenizer = Word }

local splits = { words = "words", spaces = "spaces" }

local function make(class, tokens, special, roles, about)
  local plain, specials, ids = {}, {}, {}
  for i, token in ipairs(tokens) do
    plain[i], ids[token] = true, i
    if special[token] then specials[#specials + 1] = { id = i } end
  end
  local made, message = core.text.tokenizer {
    kind = "pieces", rule = about.rule, tokens = tokens, plain = plain, specials = specials,
    unknown = roles.unk and ids[roles.unk] or nil,
  }
  if not made then return nil, message end
  local self = setmetatable({
    core = made, list = tokens, special = special, roles = next(roles) and roles or nil, rule = about.rule,
    lowercase = about.lowercase or false, splitter = about.splitter, ids = about.splitter and ids,
  }, class)
  tokenizer.set_roles(self, roles)
  return self
end

local function counts_of(name, corpus, rule, options)
  local counter = core.text.counter(rule)
  tokenizer.each_text(name, corpus, function(text)
    core.text.count(counter, options.lowercase and core.text.lower(text) or text)
  end)
  return core.text.counts(counter)
end

function pieces.from_table(value)
  local class = classes[value.class]
  local tokens, message = vocab.unpack(value)
  if not tokens then return nil, message end
  local rule = class == Char and "characters" or splits[value.split]
  if not rule then return nil, "unknown way to split: " .. tostring(value.split) end
  local special, roles = vocab.unpack_specials(value, tokens)
  return make(class, tokens, special, roles, { rule = rule, lowercase = value.lowercase == true })
end

local function to_table(self)
  local tokens, letters = vocab.pack(self.list)
  return {
    format = "nnlua.text", class = self.class, tokens = tokens, letters = letters, roles = self.roles,
    specials = vocab.list_specials(self.list, self.special), lowercase = self.lowercase or nil,
  }
end

-- ---- characters

local char_options = tokenizer.with_specials { lowercase = "boolean", min_freq = "count", max_size = "count" }

--- All of it as plain values, for nn.save's metadata, say. nn.text.from_table reads them.
function Char:to_table() return to_table(self) end

--- A token for each character that is in a text, in the order of their codes behind the special ones.
-- @param corpus string, list of strings, or a function that gives the next string, nil at the end
-- @param options table? pad, unk, bos, eos (none; true for <pad>, <unk>, <bos>, <eos>, or a text), specials (a list of
-- texts), min_freq (1), max_size, lowercase (false). Without unk a character that was not in the corpus is an error
-- @return tokenizer. Bytes that are not UTF-8 are characters of their own
function pieces.CharTokenizer(corpus, options)
  local who = "nn.text.CharTokenizer"
  options = check.options(who, options, char_options)
  local counts = counts_of(who, corpus, "characters", options)
  local tokens, special, roles = vocab.choose(who, counts, options, nil, true)
  return assert(make(Char, tokens, special, roles, { rule = "characters", lowercase = options.lowercase }))
end

-- ---- words

local word_options = tokenizer.with_specials {
  lowercase = "boolean", min_freq = "count", max_size = "count", split = "any",
}

--- All of it as plain values, for nn.save's metadata, say. nn.text.from_table reads them.
function Word:to_table()
  if self.splitter then check.fail("tokenizer:to_table", "a function that splits text cannot be saved") end
  local value = to_table(self)
  value.split = self.rule
  return value
end

-- The ids of words that a function of the script's finds.
local function ids_by(self, who, text)
  local ids = {}
  for i, word in ipairs(self.splitter(text)) do
    ids[i] = self.ids[word] or self.unk
    if not ids[i] then
      check.fail(who, ("no token for %q, and none for what is unknown (unk)"):format(tostring(word)))
    end
  end
  if #ids == 0 then return core.zeros({ 0 }, { dtype = "int64" }) end
  return core.tensor(ids, { dtype = "int64" })
end

function Word:_ids(who, text, specials)
  text = self:_prepare(text)
  if self.splitter then return ids_by(self, who, text) end
  return tokenizer.run(who, "encode", self.core, text, specials)
end

-- Words with blanks between them, without one before a sign that ends something.
function Word:_text(who, ids, specials)
  local list, words = tokenizer.run(who, "pieces", self.core, ids), {}
  for _, word in ipairs(list) do
    if specials or not self.special[word] then words[#words + 1] = word end
  end
  local text = table.concat(words, " ")
  if self.rule ~= "words" or self.splitter then return text end
  text = text:gsub(" ([%.,;:!%?%)%]}%%]+)", "%1"):gsub("([%(%[{]) ", "%1"):gsub(" ('%a)", "%1")
  return text
end

local function count_by(splitter, who, corpus, options)
  local counts = {}
  tokenizer.each_text(who, corpus, function(text)
    for _, word in ipairs(splitter(options.lowercase and core.text.lower(text) or text)) do
      counts[word] = (counts[word] or 0) + 1
    end
  end)
  return counts
end

--- A token for each word: the special ones first, then the most frequent. Blanks are not kept, so decode makes new
-- ones.
-- @param corpus string, list of strings, or a function that gives the next string, nil at the end
-- @param options table? split ("words": words, numbers, and signs one by one; "spaces": what stands between white
-- space; or a function of a text that gives a list, which cannot be saved), lowercase (false), min_freq (1), max_size
-- (special tokens included), pad ("<pad>"), unk ("<unk>"), bos, eos (none; true for <bos> and <eos>, or a text; false
-- for none), specials (a list of texts, which tells the order too)
-- @return tokenizer
function pieces.WordTokenizer(corpus, options)
  local who = "nn.text.WordTokenizer"
  options = check.options(who, options, word_options)
  local splitter = type(options.split) == "function" and options.split or nil
  local rule = splitter and "spaces" or check.choice(who, "option split", options.split or "words", splits)
  local counts = splitter and count_by(splitter, who, corpus, options) or counts_of(who, corpus, rule, options)
  local tokens, special, roles = vocab.choose(who, counts, options, { pad = true, unk = true })
  return assert(make(Word, tokens, special, roles, {
    rule = rule, lowercase = options.lowercase, splitter = splitter,
  }))
end

return pieces
