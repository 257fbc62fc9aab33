--- nn.text.Vocab: ids for tokens that something else makes of text, by how often they come.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local tokenizer = require "nnlua.text.tokenizer"

local who = "nn.text.Vocab"
local vocab = {}

-- ---- choosing tokens; also for the tokenizers of words and characters

vocab.rules = tokenizer.with_specials { min_freq = "count", max_size = "count" }

--- Tokens in the order of their ids: special ones, then the most frequent, equals by their bytes.
-- @param counts table of counts by token
-- @param options table: min_freq, max_size (special tokens included), and those for special tokens
-- @param by_bytes boolean? all by their bytes
-- @return list of tokens, special ones among them (a set), texts by role
function vocab.choose(name, counts, options, defaults, by_bytes)
  local list, roles = tokenizer.plan_specials(name, options, defaults)
  local special, rest = {}, {}
  for _, text in ipairs(list) do special[text] = true end
  local least = options.min_freq or 1
  for token, count in pairs(counts) do
    if not special[token] and count >= least then rest[#rest + 1] = token end
  end
  table.sort(rest, function(a, b)
    if counts[a] ~= counts[b] then return counts[a] > counts[b] end
    return a < b
  end)
  local room = options.max_size and math.max(0, options.max_size - #list) or #rest
  for i = #rest, room + 1, -1 do rest[i] = nil end
  if by_bytes then table.sort(rest) end
  for _, token in ipairs(rest) do list[#list + 1] = token end
  return list, special, roles
end

-- ---- as plain values

--- Tokens that JSON can hold: those with bytes that are not UTF-8 make all of them be written in GPT-2's letters.
function vocab.pack(tokens)
  for _, token in ipairs(tokens) do
    if not core.text.is_utf8(token) then
      local letters = {}
      for i, each in ipairs(tokens) do letters[i] = core.text.letters(each) end
      return letters, true
    end
  end
  return tokens, nil
end

function vocab.unpack(value)
  if type(value.tokens) ~= "table" then return nil, "expected a list of tokens" end
  local tokens, seen = {}, {}
  for i, text in ipairs(value.tokens) do
    local token = type(text) == "string" and (value.letters and core.text.bytes(text) or not value.letters and text)
    if not token or seen[token] then return nil, ("token %d is no text, or there twice"):format(i) end
    tokens[i], seen[token] = token, true
  end
  return tokens
end

--- The special tokens and roles of such a table.
function vocab.unpack_specials(value, tokens)
  local known, special, roles = {}, {}, {}
  for _, token in ipairs(tokens) do known[token] = true end
  for _, text in ipairs(type(value.specials) == "table" and value.specials or {}) do
    if known[text] then special[text] = true end
  end
  for _, role in ipairs(tokenizer.roles) do
    local text = type(value.roles) == "table" and value.roles[role]
    if known[text or false] then roles[role] = text end
  end
  return special, roles
end

--- The special tokens in the order of their ids.
function vocab.list_specials(tokens, special)
  local list = {}
  for _, token in ipairs(tokens) do
    if special[token] then list[#list + 1] = token end
  end
  return #list > 0 and list or nil
end

-- ---- Vocab

local Vocab = {}
Vocab.__index = Vocab

function Vocab:__len() return #self.tokens end

--- How many tokens there are: the size of an embedding.
function Vocab:size() return #self.tokens end

--- The id of a token, or that of the unknown one; nil where there is neither.
function Vocab:id(token) return self.ids[token] or self.unk end

--- Whether the token has an id of its own.
function Vocab:has(token) return self.ids[token] ~= nil end

--- The token of an id.
function Vocab:token(id)
  local token = self.tokens[id]
  if not token then
    check.fail("vocab:token", ("expected an id from 1 to %d, got %s"):format(#self.tokens, check.kind(id)))
  end
  return token
end

local encode_options = { bos = "boolean", eos = "boolean", max_length = "count" }

--- Tokens to ids.
-- @param tokens list of strings
-- @param options table? bos, eos (false; true: that token before or behind), max_length (cuts what is longer, the end
-- token staying)
-- @return tensor (T), int64
function Vocab:encode(tokens, options)
  local name = "vocab:encode"
  if type(tokens) ~= "table" then check.expect(name, "tokens", tokens, "a list of strings") end
  options = check.options(name, options, encode_options)
  local ids, last = {}, #tokens
  for _, role in ipairs { "bos", "eos" } do
    if options[role] and not self[role] then
      check.fail(name, ("option %s: the vocabulary has no such token"):format(role))
    end
  end
  if options.max_length then
    last = math.max(0, math.min(last, options.max_length - (options.bos and 1 or 0) - (options.eos and 1 or 0)))
  end
  if options.bos then ids[1] = self.bos end
  for i = 1, last do
    local id = self.ids[tokens[i]] or self.unk
    if not id then
      check.fail(name, ("token %d, %s, is not in the vocabulary, which has none for what is unknown (unk)"):format(
        i, check.kind(tokens[i])))
    end
    ids[#ids + 1] = id
  end
  if options.eos then ids[#ids + 1] = self.eos end
  if #ids == 0 then return core.zeros({ 0 }, { dtype = "int64" }) end
  return core.tensor(ids, { dtype = "int64" })
end

local decode_options = { specials = "boolean" }

--- Ids to tokens.
-- @param ids tensor (T) or list of integers
-- @param options table? specials (true; false: special tokens are left out)
-- @return list of strings
function Vocab:decode(ids, options)
  local shown = check.options("vocab:decode", options, decode_options).specials ~= false
  if core.is_tensor(ids) then ids = ids:tolist() end
  if type(ids) ~= "table" then check.expect("vocab:decode", "ids", ids, "a tensor or a list of integers") end
  local tokens = {}
  for _, id in ipairs(ids) do
    local token = self:token(id)
    if shown or not self.special[token] then tokens[#tokens + 1] = token end
  end
  return tokens
end

--- All of it as plain values, for nn.save's metadata, say. nn.text.from_table reads them.
function Vocab:to_table()
  local tokens, letters = vocab.pack(self.tokens)
  return {
    format = "nnlua.text", class = "Vocab", tokens = tokens, letters = letters, roles = self.roles,
    specials = vocab.list_specials(self.tokens, self.special),
  }
end

--- Write it into a file of JSON, which nn.text.load reads. It is replaced at once or not at all.
-- @param path string
-- @return true; nil and a message where the file cannot be written
function Vocab:save(path)
  if type(path) ~= "string" then check.expect("vocab:save", "path", path, "a string") end
  return core.write_file(path, core.json_encode(self:to_table()))
end

function Vocab:__tostring() return ("nn.text.Vocab: %d tokens"):format(#self.tokens) end

local function make(tokens, special, roles)
  local self = { tokens = tokens, special = special, roles = next(roles) and roles or nil, ids = {} }
  for i, token in ipairs(tokens) do self.ids[token] = i end
  for _, role in ipairs(tokenizer.roles) do self[role] = roles[role] and self.ids[roles[role]] or nil end
  return setmetatable(self, Vocab)
end

function vocab.from_table(value)
  local tokens, message = vocab.unpack(value)
  if not tokens then return nil, message end
  return make(tokens, vocab.unpack_specials(value, tokens))
end

local function count_into(counts, list)
  for _, token in ipairs(list) do
    if type(token) ~= "string" then check.expect(who, "a token", token, "a string") end
    counts[token] = (counts[token] or 0) + 1
  end
end

-- Counts of a list of tokens, a list or iterator of such lists, or counts by token.
local function counts_of(corpus)
  local counts = {}
  if type(corpus) == "function" then
    for list in corpus do count_into(counts, list) end
    return counts
  end
  if type(corpus) ~= "table" then
    check.expect(who, "corpus", corpus, "lists of tokens, a function that gives such, or counts by token")
  end
  if type(corpus[1]) == "table" then
    for _, list in ipairs(corpus) do count_into(counts, list) end
  elseif #corpus > 0 or next(corpus) == nil then
    count_into(counts, corpus)
  else
    for token, count in pairs(corpus) do
      if type(token) ~= "string" or not compat.is_whole(count) then
        check.expect(who, "corpus", corpus, "a count for each token")
      end
      counts[token] = count
    end
  end
  return counts
end

--- Ids for tokens: special ones first, then the most frequent, equals by their bytes.
-- @param corpus list of tokens, list of such lists, a function that gives the next list (nil at the end), or a table of
-- counts by token
-- @param options table? min_freq (1: rarer tokens are left out), max_size (special tokens included), pad ("<pad>"), unk
-- ("<unk>"), bos, eos (none; true for <bos> and <eos>, or a text; false for none), specials (a list of texts, which
-- tells the order too)
-- @return vocabulary; its fields pad, unk, bos, eos are ids
function vocab.Vocab(corpus, options)
  options = check.options(who, options, vocab.rules)
  return make(vocab.choose(who, counts_of(corpus), options, { pad = true, unk = true }))
end

return vocab
