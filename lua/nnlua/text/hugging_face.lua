--- tokenizer.json of Hugging Face's tokenizers, those with a model of the kind BPE: to the parts of a tokenizer (see
-- bpe.lua), and back. What would change ids and is not known here is refused, not passed over.

local core = require "nnlua.core"
local compat = require "nnlua.compat"

local hugging_face = {}

local null = core.json_null

local function refuse(message) error({ refused = message }, 0) end

-- A field that may be null.
local function field(object, name, kind)
  local value = object[name]
  if value == nil or value == null then return nil end
  if kind and type(value) ~= kind then refuse(("%s: expected a %s"):format(name, kind)) end
  return value
end

-- ---- tokens

-- More ids than this, and than four times the tokens, are a mistake in the file.
local SPARE = 65536

--- A list of tokens from a table of ids (from 0) by text; false where an id is missing.
-- @return list; nil and a message
function hugging_face.tokens_of(vocab)
  local count, largest = 0, -1
  for text, id in pairs(vocab) do
    if type(text) ~= "string" or not compat.is_whole(id) or id < 0 then
      return nil, "the vocabulary must have an id from 0 for each text"
    end
    count, largest = count + 1, math.max(largest, id)
  end
  if largest >= 4 * count + SPARE then
    return nil, ("the id %d is too large for %d tokens"):format(largest, count)
  end
  local tokens = {}
  for i = 1, largest + 1 do tokens[i] = false end
  for text, id in pairs(vocab) do
    if tokens[id + 1] then return nil, ("two tokens have the id %d"):format(id) end
    tokens[id + 1] = text
  end
  return tokens
end

-- The tokens that are found in text before all else.
local function add_added(parts, list, vocab)
  for _, added in ipairs(list) do
    local id, text = type(added) == "table" and added.id, type(added) == "table" and added.content
    if not compat.is_whole(id) or id < 0 or type(text) ~= "string" or text == "" then
      refuse("added_tokens: expected an id and a content each")
    end
    if id > 4 * #parts.tokens + SPARE then refuse(("added_tokens: the id %d is too large"):format(id)) end
    id = compat.to_integer(id + 1)
    for i = #parts.tokens + 1, id - 1 do parts.tokens[i] = false end
    local there = parts.tokens[id]
    if there and there ~= text or vocab[text] and vocab[text] + 1 ~= id then
      refuse(("added_tokens: the id %d is that of another token"):format(id - 1))
    end
    if field(added, "single_word") then refuse "added_tokens: single_word is not supported" end
    parts.tokens[id], parts.plain[id] = text, true
    parts.specials[#parts.specials + 1] = {
      id = id, strips_left = field(added, "lstrip") or false, strips_right = field(added, "rstrip") or false,
      shown = field(added, "special") == false,
    }
  end
end

-- ---- what comes before the model

local GPT2 = [['s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+]]
local GPT4 = [[(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+]] ..
  [[|\s+(?!\S)|\s+]]
local CL100K = [['(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*]] ..
  "[\\r\\n]" ..
  [[|\s+(?!\S)|\s+]]

local function gpt4(digits)
  local text = GPT4:gsub("%%s", function() return digits == 3 and "{1,3}" or digits == 0 and "+" or "" end)
  return text
end

local patterns = {
  [GPT2] = { "gpt2", 0 }, [gpt4(3)] = { "gpt4", 3 }, [gpt4(1)] = { "gpt4", 1 }, [gpt4(0)] = { "gpt4", 0 },
  [CL100K] = { "gpt4", 3 },
}

local before = {}

function before.ByteLevel(parts, step)
  parts.byte_level = true
  parts.prefix = parts.prefix or field(step, "add_prefix_space") or false
  if field(step, "use_regex") ~= false and parts.rule == "none" then parts.rule = "gpt2" end
end

function before.Split(parts, step)
  local pattern = field(step, "pattern", "table") or {}
  local known = patterns[pattern.Regex or ""]
  if not known then
    refuse(("pre_tokenizer: this pattern is not known: %s"):format(tostring(pattern.Regex or pattern.String)))
  end
  if step.behavior ~= "Isolated" and step.behavior ~= "Removed" or (step.behavior == "Removed") ~= (step.invert == true)
  then
    refuse "pre_tokenizer: Split must isolate what the pattern finds"
  end
  parts.rule, parts.digits = known[1], known[2]
end

function before.Digits(parts, step)
  if field(step, "individual_digits") ~= true then refuse "pre_tokenizer: Digits must be individual" end
  parts.digits = 1
end

function before.Metaspace(parts, step)
  local scheme = field(step, "prepend_scheme") or (field(step, "add_prefix_space") ~= false and "always" or "never")
  parts.metaspace, parts.prefix = true, scheme ~= "never"
end

local function read_steps(parts, step, key, readers, what)
  if step == nil then return end
  if type(step) ~= "table" then refuse(what .. ": expected an object") end
  if step.type == "Sequence" then
    for _, inner in ipairs(field(step, key, "table") or {}) do read_steps(parts, inner, key, readers, what) end
    return
  end
  local reader = type(step.type) == "string" and readers[step.type]
  if not reader then refuse(("%s: the kind %s is not supported"):format(what, tostring(step.type))) end
  reader(parts, step)
end

local normalizers = {}

function normalizers.Lowercase(parts) parts.lowercase = true end

-- Text is taken to be composed already, as nearly all is.
function normalizers.NFC() end

function normalizers.Prepend(parts, step)
  if step.prepend ~= "▁" then refuse "normalizer: only the blank of SentencePiece is put before text" end
  parts.prefix, parts.metaspace = true, true
end

function normalizers.Replace(parts, step)
  local pattern = field(step, "pattern", "table") or {}
  if pattern.String ~= " " or step.content ~= "▁" then refuse "normalizer: this Replace is not supported" end
  parts.metaspace = true
end

-- ---- reading

local function check_model(model)
  if type(model) ~= "table" or (model.type ~= nil and model.type ~= "BPE") then
    refuse(("the model is of the kind %s, not BPE"):format(tostring(type(model) == "table" and model.type)))
  end
  for _, name in ipairs { "continuing_subword_prefix", "end_of_word_suffix" } do
    local text = field(model, name)
    if text and text ~= "" then refuse(("model: %s is not supported"):format(name)) end
  end
  if type(model.vocab) ~= "table" then refuse "model: expected a vocab" end
  local merges = field(model, "merges")
  if type(merges) ~= "table" and merges ~= nil then refuse "model: expected merges" end
end

local function read(value)
  if type(value) ~= "table" then refuse "expected an object" end
  local model = value.model
  check_model(model)
  local tokens, message = hugging_face.tokens_of(model.vocab)
  if not tokens then refuse(message) end
  local parts = {
    tokens = tokens, plain = {}, specials = {}, merges = model.merges or {}, rule = "none", digits = 0, roles = {},
    whole = field(model, "ignore_merges") or false,
  }
  add_added(parts, field(value, "added_tokens", "table") or {}, model.vocab)
  read_steps(parts, field(value, "normalizer"), "normalizers", normalizers, "normalizer")
  read_steps(parts, field(value, "pre_tokenizer"), "pretokenizers", before, "pre_tokenizer")
  if parts.byte_level == parts.metaspace then
    refuse "neither the bytes of ByteLevel nor the blanks of SentencePiece: this kind of BPE is not supported"
  end
  parts.kind = parts.byte_level and "bytes" or "characters"
  parts.strip = parts.kind == "characters" and parts.prefix or false
  local unknown = field(model, "unk_token", "string")
  local id = unknown and model.vocab[unknown]
  parts.unknown = id and compat.to_integer(id + 1) or nil
  for role, text in pairs(field(value, "nnlua", "table") or {}) do
    if type(text) == "string" then parts.roles[role] = text end
  end
  return parts
end

--- The parts of a tokenizer.
-- @param value table that a tokenizer.json decodes to
-- @return parts; nil and a message where it is none, or of a kind that is not supported
function hugging_face.read(value)
  local ok, result = pcall(read, value)
  if ok then return result end
  if type(result) ~= "table" then error(result, 0) end
  return nil, result.refused
end

-- ---- writing

-- How a token is written in the file.
local function writer_of(self)
  if self.kind == "bytes" then return core.text.letters end
  return function(bytes, id)
    if #bytes == 1 and core.text.id(self.core, bytes) ~= id then return ("<0x%02X>"):format(bytes:byte()) end
    return (bytes:gsub(" ", "▁"))
  end
end

local function texts_of(self)
  local ids, special, texts = {}, {}, {}
  for i = 1, self:size() do ids[i] = i end
  for _, each in ipairs(self.specials) do special[each.id] = true end
  local write, bytes = writer_of(self), core.text.pieces(self.core, ids)
  for i, token in ipairs(bytes) do texts[i] = special[i] and token or write(token, i) end
  return texts, bytes, special
end

local function merges_of(self, texts)
  local pairs_of_ids, merges = core.text.merges(self.core), {}
  for i = 1, #pairs_of_ids, 2 do
    merges[#merges + 1] = texts[pairs_of_ids[i]] .. " " .. texts[pairs_of_ids[i + 1]]
  end
  return merges
end

local function added_of(self, bytes)
  local list = {}
  for i, special in ipairs(self.specials) do
    list[i] = {
      id = special.id - 1, content = bytes[special.id], special = not special.shown, normalized = false,
      single_word = false, lstrip = special.strips_left or false, rstrip = special.strips_right or false,
    }
  end
  return #list > 0 and list or nil -- an empty list would be written as an object
end

local function byte_level(self, regex)
  return { type = "ByteLevel", add_prefix_space = self.prefix, trim_offsets = true, use_regex = regex }
end

local function splitting_of(self)
  if self.kind ~= "bytes" then return null end
  if self.rule == "gpt4" then
    local pattern = gpt4(self.digits)
    local split = { type = "Split", pattern = { Regex = pattern }, behavior = "Isolated", invert = false }
    return { type = "Sequence", pretokenizers = { split, byte_level(self, false) } }
  end
  local last = byte_level(self, self.rule == "gpt2")
  if self.digits ~= 1 then return last end
  return { type = "Sequence", pretokenizers = { { type = "Digits", individual_digits = true }, last } }
end

local function normalizer_of(self)
  local list = {}
  if self.lowercase then list[1] = { type = "Lowercase" } end
  if self.kind == "characters" then
    if self.prefix then list[#list + 1] = { type = "Prepend", prepend = "▁" } end
    list[#list + 1] = { type = "Replace", pattern = { String = " " }, content = "▁" }
  end
  if #list < 2 then return list[1] or null end
  return { type = "Sequence", normalizers = list }
end

local function decoder_of(self)
  if self.kind == "bytes" then return byte_level(self, true) end
  local list = {
    { type = "Replace", pattern = { String = "▁" }, content = " " }, { type = "ByteFallback" }, { type = "Fuse" },
  }
  if self.prefix then list[4] = { type = "Strip", content = " ", start = 1, stop = 0 } end
  return { type = "Sequence", decoders = list }
end

--- What a tokenizer.json of this tokenizer holds.
-- @param self tokenizer of bpe.lua
function hugging_face.write(self)
  local texts, bytes = texts_of(self)
  local vocab, roles = {}, {}
  for i, text in ipairs(texts) do
    if text ~= "" then vocab[text] = i - 1 end
  end
  for _, role in ipairs { "pad", "unk", "bos", "eos" } do
    roles[role] = self[role] and bytes[self[role]] or nil
  end
  local unknown = self.unknown and texts[self.unknown]
  return {
    version = "1.0", truncation = null, padding = null, post_processor = null, nnlua = next(roles) and roles or nil,
    added_tokens = added_of(self, bytes), normalizer = normalizer_of(self), pre_tokenizer = splitting_of(self),
    decoder = decoder_of(self),
    model = {
      type = "BPE", dropout = null, unk_token = unknown or null, continuing_subword_prefix = null,
      end_of_word_suffix = null, fuse_unk = false, byte_fallback = self.kind == "characters",
      ignore_merges = self.whole, vocab = vocab, merges = merges_of(self, texts),
    },
  }
end

return hugging_face
