--- What all tokenizers of nn.text can do. Their tokens, merges and special tokens are the engine's (src/data/bpe.h):
-- text to ids and back is one call. Ids begin with 1.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local sequences = require "nnlua.text.sequences"

local Tokenizer = {}
Tokenizer.__index = Tokenizer

local tokenizer = { methods = Tokenizer }

--- Call the engine; its errors are raised at the line of the script, by the name of `who`.
function tokenizer.run(who, what, ...)
  local ok, result = pcall(core.text[what], ...)
  if ok then return result end
  local message = tostring(result):gsub("^[^\n]-:%d+: ", "")
  check.fail(who, (message:gsub("^nn%.text%.?%w*: ", "")))
end
local run = tokenizer.run

local function check_text(who, text)
  if type(text) ~= "string" then check.expect(who, "text", text, "a string") end
  return text
end
tokenizer.check_text = check_text

-- ---- special tokens and what they are for

tokenizer.roles = { "pad", "unk", "bos", "eos" }

-- Names that say what a token is for.
local usual = {
  pad = { "<pad>", "[PAD]", "<|pad|>", "<|padding|>" },
  unk = { "<unk>", "[UNK]", "<|unk|>" },
  bos = { "<bos>", "<s>", "[BOS]", "<|begin_of_text|>", "<|startoftext|>" },
  eos = { "<eos>", "</s>", "[EOS]", "<|end_of_text|>", "<|endoftext|>" },
}

--- The options of a constructor for special tokens.
-- @param rules table of other options
function tokenizer.with_specials(rules)
  local all = { specials = "table" }
  for _, role in ipairs(tokenizer.roles) do all[role] = "any" end
  for name, rule in pairs(rules) do all[name] = rule end
  return all
end

--- Special tokens in the order of their ids, and the text of each role's.
-- @param options table: specials (a list), pad, unk, bos, eos (a text; true for the usual one; false for none)
-- @param defaults table? the same, for what the options leave out
function tokenizer.plan_specials(who, options, defaults)
  local list, roles, taken = {}, {}, {}
  local function add(text)
    if type(text) ~= "string" or text == "" then check.expect(who, "a special token", text, "a text") end
    if not taken[text] then list[#list + 1] = text end
    taken[text] = true
  end
  for _, role in ipairs(tokenizer.roles) do
    local given = options[role]
    if given == nil and defaults then given = defaults[role] end
    if given == true then given = usual[role][1] end
    if given ~= nil and given ~= false and type(given) ~= "string" then
      check.expect(who, "option " .. role, given, "a text, true or false")
    end
    roles[role] = given
  end
  local given = options.specials
  for _, role in ipairs(given and {} or tokenizer.roles) do
    if roles[role] then add(roles[role]) end
  end
  for _, text in ipairs(given or {}) do add(text) end
  for _, role in ipairs(tokenizer.roles) do
    if roles[role] then add(roles[role]) end
  end
  for _, role in ipairs(tokenizer.roles) do
    for _, name in ipairs(roles[role] == nil and usual[role] or {}) do
      roles[role] = roles[role] or (taken[name] and name) or nil
    end
  end
  return list, roles
end

--- Note the ids of a tokenizer's roles.
-- @param roles table of texts by role; where one is missing, a special token of a usual name has it
function tokenizer.set_roles(object, roles, is_special)
  for _, role in ipairs(tokenizer.roles) do
    local text = roles[role]
    if text then object[role] = core.text.id(object.core, text) end
    for _, name in ipairs(text == nil and is_special and usual[role] or {}) do
      if not object[role] and is_special[name] then object[role] = core.text.id(object.core, name) end
    end
  end
end

-- ---- asking

--- How many tokens there are: the size of an embedding.
function Tokenizer:size() return core.text.size(self.core) end

Tokenizer.__len = Tokenizer.size

--- The id of a token.
-- @param token string its bytes; a blank is a blank, whatever a file writes for it
-- @return integer, or nil where there is no such token
function Tokenizer:id(token)
  return core.text.id(self.core, check_text("tokenizer:id", token))
end

--- The bytes of the token of an id.
function Tokenizer:token(id)
  if not compat.is_whole(id) then check.expect("tokenizer:token", "id", id, "a whole number") end
  return run("tokenizer:token", "pieces", self.core, { compat.to_integer(id) })[1]
end

-- ---- text to ids

-- What a subclass does to text before it is looked at.
function Tokenizer:_prepare(text)
  return self.lowercase and core.text.lower(text) or text
end

function Tokenizer:_ids(who, text, specials)
  return run(who, "encode", self.core, self:_prepare(text), specials)
end

local function id_for(self, who, role)
  if self[role] then return core.tensor({ self[role] }, { dtype = "int64" }) end
  check.fail(who, ("option %s: the tokenizer has no such token"):format(role))
end

-- With the beginning and the end that the options want, cut to max_length.
local function frame(self, who, ids, options)
  local extra = (options.bos and 1 or 0) + (options.eos and 1 or 0)
  if options.max_length and #ids + extra > options.max_length then
    ids = ids:narrow(1, 1, math.max(0, options.max_length - extra))
  end
  if extra == 0 then return ids end
  local parts = { ids }
  if options.bos then table.insert(parts, 1, id_for(self, who, "bos")) end
  if options.eos then parts[#parts + 1] = id_for(self, who, "eos") end
  return core.cat(parts, 1)
end

local encode_options = { bos = "boolean", eos = "boolean", max_length = "count", specials = "boolean" }

--- Text to ids.
-- @param text string of any bytes
-- @param options table? bos, eos (false; true: that token before or behind), max_length (cuts what is longer, the end
-- token staying), specials (true: special tokens in the text are such; false: they are text as any other)
-- @return tensor (T), int64
function Tokenizer:encode(text, options)
  local who = "tokenizer:encode"
  check_text(who, text)
  if options == nil then return self:_ids(who, text, true) end
  options = check.options(who, options, encode_options)
  return frame(self, who, self:_ids(who, text, options.specials ~= false), options)
end

local batch_options = {
  bos = "boolean", eos = "boolean", max_length = "count", specials = "boolean", pad = "boolean", side = "string",
  length = "count",
}

--- Many texts to ids.
-- @param texts list of strings
-- @param options table? those of encode, and pad (true where there is a pad token; false: a list of tensors), side
-- ("right"; "left": where it is filled up), length (columns: those of the longest)
-- @return tensor (N, T) of ids, and their lengths (N); or a list of tensors (T)
function Tokenizer:encode_batch(texts, options)
  local who = "tokenizer:encode_batch"
  if type(texts) ~= "table" then check.expect(who, "texts", texts, "a list of strings") end
  options = check.options(who, options, batch_options)
  local list = {}
  for i = 1, #texts do
    if type(texts[i]) ~= "string" then check.expect(who, ("text %d"):format(i), texts[i], "a string") end
    list[i] = frame(self, who, self:_ids(who, texts[i], options.specials ~= false), options)
  end
  local pad = options.pad
  if pad == nil then pad = self.pad ~= nil end
  if not pad then return list end
  if not self.pad then check.fail(who, "option pad: the tokenizer has no such token") end
  return sequences.pad(list, { value = self.pad, side = options.side, length = options.length })
end

--- The pieces that encode makes of a text.
-- @return list of strings: the bytes of each token
function Tokenizer:tokens(text)
  local who = "tokenizer:tokens"
  return run(who, "pieces", self.core, self:_ids(who, check_text(who, text), true))
end

-- ---- ids to text

function Tokenizer:_text(who, ids, specials)
  return run(who, "decode", self.core, ids, specials)
end

local decode_options = { specials = "boolean" }

--- Ids to text.
-- @param ids tensor (T) of integers, a list of integers, or one
-- @param options table? specials (true; false: special tokens are left out)
-- @return string
function Tokenizer:decode(ids, options)
  local who = "tokenizer:decode"
  options = check.options(who, options, decode_options)
  if core.is_tensor(ids) and ids.ndim > 1 then
    check.fail(who, ("expected ids (T), got %s; decode_batch takes many"):format(check.shape(ids.shape)))
  end
  return self:_text(who, ids, options.specials ~= false)
end

--- Rows of ids to texts.
-- @param ids tensor (N, T), or a list of what decode takes
-- @param options table? specials (false: special tokens, so padding too, are left out; true)
-- @return list of strings
function Tokenizer:decode_batch(ids, options)
  local who = "tokenizer:decode_batch"
  local specials = check.options(who, options, decode_options).specials == true
  if core.is_tensor(ids) and ids.ndim ~= 2 then
    check.fail(who, ("expected ids (N, T), got %s"):format(check.shape(ids.shape)))
  end
  if not core.is_tensor(ids) and type(ids) ~= "table" then check.expect(who, "ids", ids, "a tensor or a list") end
  local texts = {}
  for i = 1, #ids do
    texts[i] = self:_text(who, core.is_tensor(ids) and ids:select(1, i) or ids[i], specials)
  end
  return texts
end

-- ---- files

--- Write the tokenizer into a file of JSON, which nn.text.load reads. It is replaced at once or not at all.
-- @param path string
-- @return true; nil and a message where the file cannot be written
function Tokenizer:save(path)
  if type(path) ~= "string" then check.expect("tokenizer:save", "path", path, "a string") end
  return core.write_file(path, core.json_encode(self:to_table()))
end

function Tokenizer:__tostring()
  return ("nn.text.%s: %d tokens"):format(self.class, self:size())
end

-- ---- making classes

--- A class with these methods besides.
function tokenizer.class(name)
  local class = { class = name, __len = Tokenizer.__len, __tostring = Tokenizer.__tostring }
  class.__index = class
  return setmetatable(class, { __index = Tokenizer })
end

--- A constructor that is also a library of functions.
function tokenizer.library(name, functions, call)
  return setmetatable(functions, {
    __library = "nn.text." .. name, __call = function(_, ...) return call(...) end,
    __index = function(_, key) return check.name("nn.text." .. name, functions, key) end,
  })
end

--- Call fn with each text of a corpus: a string, a list of strings, or a function that gives the next one or nil.
function tokenizer.each_text(who, corpus, fn)
  if type(corpus) == "string" then return fn(corpus) end
  if type(corpus) ~= "table" and type(corpus) ~= "function" then
    check.expect(who, "corpus", corpus, "a string, a list of strings or a function")
  end
  local i = 0
  local function following()
    i = i + 1
    return type(corpus) == "table" and corpus[i] or nil
  end
  if type(corpus) == "function" then following = corpus end
  for text in following do fn(check_text(who, text)) end
end

return tokenizer
