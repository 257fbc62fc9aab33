--- nn.text.BPETokenizer: byte pair encoding (Sennrich et al. 2016) over bytes, as GPT-2 does it, so that any string of
-- bytes becomes ids and comes back as it was. Trained here, or loaded: GPT-2's two files, or a tokenizer.json of
-- Hugging Face's, those of Llama's kind (characters, and bytes to fall back on) too. Ids are theirs plus 1.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local hugging_face = require "nnlua.text.hugging_face"
local tokenizer = require "nnlua.text.tokenizer"

local who = "nn.text.BPETokenizer"
local BPE = tokenizer.class "BPETokenizer"

-- ---- making one of parts: {kind, rule, digits, prefix, whole, lowercase, tokens, plain, specials, merges, roles,
-- unknown}, of which all but lowercase and roles are the core's

local function special_names(parts)
  local names = {}
  for _, special in ipairs(parts.specials) do names[parts.tokens[special.id]] = true end
  return names
end

-- A tokenizer; nil and a message where the parts do not fit together.
local function make(parts)
  local made, message = core.text.tokenizer(parts)
  if not made then return nil, message end
  local self = setmetatable({
    core = made, kind = parts.kind, rule = parts.rule, digits = parts.digits or 0, prefix = parts.prefix or false,
    whole = parts.whole or false, lowercase = parts.lowercase or false, strip = parts.strip or false,
    specials = parts.specials, unknown = parts.unknown,
  }, BPE)
  tokenizer.set_roles(self, parts.roles or {}, special_names(parts))
  return self
end

-- ---- training

local rules = { gpt2 = "gpt2", gpt4 = "gpt4", none = "none" }

local train_options = tokenizer.with_specials {
  vocab_size = "count", merges = "count", min_frequency = "count", max_token_length = "count", split = "string",
  digits = "whole", lowercase = "boolean", prefix = "boolean",
}

-- The special tokens first, then the bytes in the order of GPT-2's letters.
local function first_tokens(specials)
  local tokens, plain, list = {}, {}, {}
  for i, text in ipairs(specials) do
    tokens[i], plain[i], list[i] = text, true, { id = i }
  end
  local order = core.text.order()
  for i = 1, #order do
    tokens[#specials + i], plain[#specials + i] = order:sub(i, i), true
  end
  return tokens, plain, list
end

local function check_specials(list)
  for _, text in ipairs(list) do
    if #text == 1 then check.fail(who .. ".train", ("a special token has more than one byte, got %q"):format(text)) end
  end
end

local function count_pieces(corpus, options, rule, digits)
  local counter = core.text.counter(rule, digits)
  tokenizer.each_text(who .. ".train", corpus, function(text)
    if options.lowercase then text = core.text.lower(text) end
    if options.prefix and text:sub(1, 1) ~= " " then text = " " .. text end
    core.text.count(counter, text)
  end)
  return counter
end

--- Learn a tokenizer from text: the pair of tokens that is most often side by side becomes a token, again and again.
-- @param corpus string, list of strings, or a function that gives the next string, nil at the end
-- @param options table? vocab_size (tokens at the end, special ones and the 256 bytes included; 8192), merges (how
-- many pairs are merged, where vocab_size is left out), min_frequency (2: rarer pairs are left), specials (a list of
-- texts, which get the first ids), pad, unk, bos, eos (texts of special tokens with these roles; true for <pad>, <unk>,
-- <bos>, <eos>), split ("gpt2": words by its pattern; "gpt4": that of cl100k and Llama 3; "none"), digits (at most so
-- many in a token: for gpt4 3, for gpt2 any number), max_token_length (bytes), lowercase (false), prefix (false; true:
-- text begins with a blank, so that its first word is a word as any other)
-- @return tokenizer
local function train(corpus, options)
  options = check.options(who .. ".train", options, train_options)
  local rule = check.choice(who .. ".train", "option split", options.split or "gpt2", rules)
  local digits = options.digits or (rule == "gpt4" and 3 or 0)
  local specials, roles = tokenizer.plan_specials(who .. ".train", options)
  check_specials(specials)
  local tokens, plain, list = first_tokens(specials)
  local self = assert(make {
    kind = "bytes", rule = rule, digits = digits, prefix = options.prefix, lowercase = options.lowercase,
    tokens = tokens, plain = plain, specials = list, roles = roles,
  })
  local size = options.merges and #tokens + options.merges or options.vocab_size or 8192
  if size < #tokens then
    local message = "option vocab_size: expected at least %d (the bytes and the special tokens), got %d"
    check.fail(who .. ".train", message:format(#tokens, size))
  end
  tokenizer.run(who .. ".train", "train", count_pieces(corpus, options, rule, digits), self.core,
    compat.to_integer(size), options.min_frequency or 2, options.max_token_length or 0)
  return self
end

-- ---- loading

local function read_file(path)
  local file, message = io.open(path, "rb")
  if not file then return nil, message end
  local text, problem = file:read "*a"
  file:close()
  if not text then return nil, path .. ": " .. tostring(problem) end
  return text
end

local function read_json(path)
  local text, message = read_file(path)
  if not text then return nil, message end
  local value, problem = core.json_decode(text)
  if value == nil then return nil, path .. ": " .. problem end
  if type(value) ~= "table" then return nil, path .. ": expected an object" end
  return value
end

local load_options = tokenizer.with_specials { lowercase = "boolean", prefix = "boolean" }
local END = "<|endoftext|>"

-- The parts of a table of tokens by their text and the text of merges.txt.
local function parts_of_pair(vocab, merges, options)
  local tokens, message = hugging_face.tokens_of(vocab)
  if not tokens then return nil, message end
  local wanted, roles = tokenizer.plan_specials(who .. ".load", options)
  local plain, specials = {}, {}
  if #wanted == 0 and vocab[END] then wanted = { END } end
  for _, text in ipairs(wanted) do
    if not vocab[text] then -- a new one behind those of the file
      tokens[#tokens + 1] = text
      vocab[text] = #tokens - 1
    end
    local id = compat.to_integer(vocab[text] + 1)
    plain[id], specials[#specials + 1] = true, { id = id }
  end
  local unknown = roles.unk or vocab[END] and END
  if vocab[END] then
    for _, role in ipairs { "bos", "eos" } do
      if roles[role] == nil then roles[role] = END end
    end
  end
  return {
    kind = "bytes", rule = "gpt2", tokens = tokens, plain = plain, specials = specials, merges = merges, roles = roles,
    unknown = unknown and vocab[unknown] and compat.to_integer(vocab[unknown] + 1) or nil,
    lowercase = options.lowercase, prefix = options.prefix,
  }
end

local function load_pair(vocab_path, merges_path, options)
  local vocab, message = read_json(vocab_path)
  if not vocab then return nil, message end
  local merges, problem = read_file(merges_path)
  if not merges then return nil, problem end
  local parts, wrong = parts_of_pair(vocab, merges, options)
  if not parts then return nil, vocab_path .. ": " .. wrong end
  local self, unfit = make(parts)
  if not self then return nil, ("%s, %s: %s"):format(vocab_path, merges_path, unfit) end
  return self
end

local function from_table(value, options)
  local parts, message = hugging_face.read(value)
  if not parts then return nil, message end
  for _, name in ipairs { "lowercase", "prefix" } do
    if options[name] ~= nil then parts[name] = options[name] end
  end
  for _, role in ipairs(tokenizer.roles) do
    if type(options[role]) == "string" then parts.roles[role] = options[role] end
  end
  return make(parts)
end

local function load_json(path, options)
  local value, message = read_json(path)
  if not value then return nil, message end
  local self, problem = from_table(value, options)
  if not self then return nil, path .. ": " .. problem end
  return self
end

local function exists(path)
  local file = io.open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

-- A folder has a tokenizer.json, or two files under the names of OpenAI's or Hugging Face's.
local function load_folder(path, options)
  local base = path:gsub("[/\\]$", "") .. "/"
  if exists(base .. "tokenizer.json") then return load_json(base .. "tokenizer.json", options) end
  for _, names in ipairs { { "vocab.json", "merges.txt" }, { "encoder.json", "vocab.bpe" } } do
    if exists(base .. names[1]) then return load_pair(base .. names[1], base .. names[2], options) end
  end
  return nil, path .. ": no tokenizer.json, vocab.json with merges.txt, or encoder.json with vocab.bpe"
end

--- Load a tokenizer. GPT-2's own files give its ids plus 1.
-- @param path string of a folder, of a tokenizer.json, or of a vocab.json (encoder.json)
-- @param merges string? the path of the merges.txt (vocab.bpe) beside it
-- @param options table? pad, unk, bos, eos (texts of special tokens with these roles), specials (a list of texts),
-- lowercase, prefix (in the place of what the file says)
-- @return tokenizer; nil and a message where the files cannot be read
local function load(path, merges, options)
  if type(path) ~= "string" then check.expect(who .. ".load", "path", path, "a string") end
  if type(merges) == "table" then merges, options = nil, merges end
  options = check.options(who .. ".load", options, load_options)
  if merges then return load_pair(path, merges, options) end
  if path:find "%.json$" then return load_json(path, options) end
  return load_folder(path, options)
end

-- ---- saving

--- What save writes, as a table: a tokenizer.json of Hugging Face's format.
-- @return table of plain values
function BPE:to_table() return hugging_face.write(self) end

--- Write the two files that GPT-2's tokenizers have.
-- @param vocab string the path of the vocab.json
-- @param merges string the path of the merges.txt
-- @return true; nil and a message where a file cannot be written
function BPE:save_pair(vocab, merges)
  local model = hugging_face.write(self).model
  if self.kind ~= "bytes" then check.fail("tokenizer:save_pair", "these files are for tokenizers of bytes") end
  local ok, message = core.write_file(vocab, core.json_encode(model.vocab))
  if not ok then return nil, message end
  return core.write_file(merges, "#version: 0.2\n" .. table.concat(model.merges, "\n") .. "\n")
end

-- ---- text

-- A tokenizer of characters puts a blank before text, which goes again.
function BPE:_text(name, ids, specials)
  local text = tokenizer.run(name, "decode", self.core, ids, specials)
  return self.strip and text:gsub("^ ", "") or text
end

return {
  BPETokenizer = tokenizer.library("BPETokenizer", { train = train, load = load }, load),
  from_table = from_table, read_json = read_json,
}
