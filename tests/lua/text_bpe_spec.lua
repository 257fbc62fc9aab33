--- nn.text.BPETokenizer: pieces against tests/golden/text.json (made by text.py beside it), training against the
-- algorithm written plainly, files, and GPT-2's ids where its files are there.

local nn = require "nnlua"
local core = require "nnlua.core"
local support = require "support"

local BPE = nn.text.BPETokenizer

local sample = [[
The quick brown fox jumps over the lazy dog; the dog doesn't mind, and the fox isn't quick enough to jump over 12 dogs.
She sells sea shells by the sea shore. The shells she sells are sea shells, I'm sure; that's what they'd say in 1999.
]]

-- The algorithm of Sennrich et al. as it is defined: pairs counted anew before each merge.
local function plain_training(text, merges)
  local words, list = {}, {}
  for _, piece in ipairs(nn.text.split(text, "gpt2")) do
    local symbols = {}
    for c in piece:gmatch "." do symbols[#symbols + 1] = c end
    words[#words + 1] = symbols
  end
  local order, rank = core.text.order(), {}
  for i = 1, #order do rank[order:sub(i, i)] = i end
  for step = 1, merges do
    local counts, best = {}, nil
    for _, symbols in ipairs(words) do
      for i = 2, #symbols do
        local key = symbols[i - 1] .. "\0" .. symbols[i]
        local pair = counts[key] or { symbols[i - 1], symbols[i], 0 }
        counts[key], pair[3] = pair, pair[3] + 1
      end
    end
    for _, pair in pairs(counts) do
      local better = not best or pair[3] > best[3]
      if best and pair[3] == best[3] then
        local a, b = rank[pair[1]], rank[best[1]]
        better = a < b or (a == b and rank[pair[2]] < rank[best[2]])
      end
      if better then best = pair end
    end
    if not best or best[3] < 2 then break end
    local made = best[1] .. best[2]
    rank[made] = rank[made] or 256 + step
    list[#list + 1] = made
    for _, symbols in ipairs(words) do
      local i = 1
      while i < #symbols do
        if symbols[i] == best[1] and symbols[i + 1] == best[2] then
          symbols[i] = made
          table.remove(symbols, i + 1)
        end
        i = i + 1
      end
    end
  end
  return list, words
end

local function random_bytes(count)
  local bytes = nn.randint(0, 256, { count }):tolist()
  for i, byte in ipairs(bytes) do bytes[i] = string.char(byte) end
  return table.concat(bytes)
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function data_folder()
  local folder = os.getenv "NNLUA_DATA" or "../shared/data"
  local file = io.open(folder .. "/gpt2-bpe/encoder.json", "rb")
  if not file then return nil end
  file:close()
  return folder
end

describe("nn.text.BPETokenizer", function()
  local path

  support.count_tensors(before_each, after_each)
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  it("looks at the pieces that the patterns of GPT-2 and GPT-4 find", function()
    for _, case in ipairs(assert(core.json_decode(read "tests/golden/text.json"))) do
      assert.same(case.gpt2, nn.text.split(case.text, "gpt2"))
      assert.same(case.gpt4, nn.text.split(case.text, "gpt4"))
    end
  end)

  it("learns the merges that counting anew each time gives, and cuts text by them", function()
    local texts = { sample, ("ab "):rep(20) .. "aaaa aaa aa abababab baab", "aaaaaaaa aaaaaaaaa aaaaaaaaaaaaa" }
    for _ = 1, 3 do -- few letters: many equal counts and overlaps
      local letters = { [0] = "a", "b", "c", " " }
      texts[#texts + 1] = random_bytes(200):gsub(".", function(c) return letters[c:byte() % 4] end)
    end
    for _, text in ipairs(texts) do
      local expected, words = plain_training(text, 30)
      local tok = BPE.train(text, { merges = 30 })
      local learnt = {}
      for id = 257, tok:size() do learnt[#learnt + 1] = tok:token(id) end
      local different, seen = {}, {}
      for _, token in ipairs(expected) do
        if not seen[token] then different[#different + 1] = token end
        seen[token] = true
      end
      assert.same(different, learnt)
      local pieces = {}
      for _, symbols in ipairs(words) do
        for _, symbol in ipairs(symbols) do pieces[#pieces + 1] = symbol end
      end
      assert.same(pieces, tok:tokens(text))
    end
  end)

  it("brings back any bytes", function()
    local tok = BPE.train(sample, { vocab_size = 320, specials = { "<|end|>" } })
    for size = 0, 300, 23 do
      local text = random_bytes(size)
      assert.equal(text, tok:decode(tok:encode(text)))
    end
    for byte = 0, 255 do
      local text = string.char(byte):rep(3)
      assert.equal(text, tok:decode(tok:encode(text)))
    end
    for _, split in ipairs { "gpt4", "none" } do
      local other = BPE.train({ sample, sample }, { vocab_size = 300, split = split })
      local text = random_bytes(400) .. sample
      assert.equal(text, other:decode(other:encode(text)))
    end
  end)

  it("merges a piece of a million letters in a moment, whatever they are", function()
    local tok = BPE.train(("ab"):rep(40), { merges = 6, split = "none" })
    local text = ("ab"):rep(2 ^ 19)
    local ids = tok:encode(text)
    assert.is_true(#ids == 2 ^ 20 / 32)
    assert.equal(text, tok:decode(ids))
  end)

  it("gives ids as an int64 tensor, and takes tensors, lists and single ids", function()
    local tok = BPE.train(sample, { vocab_size = 300 })
    local ids = tok:encode "The fox"
    assert.equal("int64", ids.dtype)
    assert.equal("The fox", tok:decode(ids:to "int32"))
    assert.equal("The fox", tok:decode(ids:tolist()))
    assert.equal(tok:token(ids[1]), tok:decode(ids[1]))
    assert.equal(tok:id(tok:token(290)), 290)
    assert.is_nil(tok:id "no such token")
    assert.same({ 0 }, tok:encode("").shape)
    assert.equal("", tok:decode {})
    assert.equal(("nn.text.BPETokenizer: %d tokens"):format(tok:size()), tostring(tok))
  end)

  it("knows special tokens, which no merge makes, and what they are for", function()
    local text = ("<eos> "):rep(50)
    local tok = BPE.train(text, { vocab_size = 300, specials = { "<pad>", "<eos>", "<sep>" }, eos = "<eos>" })
    assert.same({ 1, 2 }, { tok.pad, tok.eos })
    assert.is_nil(tok.bos)
    assert.same({ 3, 2, tok:id "a" }, tok:encode("<sep><eos>a"):tolist())
    local plain = tok:encode("<eos>", { specials = false })
    assert.equal("<eos>", tok:decode(plain))
    for _, id in ipairs(plain:tolist()) do assert.is_true(id > 3) end
    assert.equal("a", tok:decode(tok:encode "<sep>a<eos>", { specials = false }))
    assert.same({ 2 }, tok:encode("", { eos = true }):tolist())
    assert.matches("the tokenizer has no such token", support.message_of(tok.encode, tok, "a", { bos = true }))
  end)

  it("takes roles by name, and options bos, eos and max_length", function()
    local tok = BPE.train(sample, { vocab_size = 300, pad = true, bos = "<start>", eos = true })
    assert.same({ 1, 2, 3 }, { tok.pad, tok.bos, tok.eos })
    assert.equal("<start>", tok:token(2))
    local ids = tok:encode("abcdef", { bos = true, eos = true, max_length = 4 })
    assert.same({ 2, tok:id "a", tok:id "b", 3 }, ids:tolist())
  end)

  it("encodes many texts at once, filled up, and brings them back", function()
    local tok = BPE.train(sample, { vocab_size = 300, pad = true, eos = true })
    local ids, lengths = tok:encode_batch({ "ab", "", "abc" }, { eos = true })
    assert.same({ 3, 4 }, ids.shape)
    assert.same({ 3, 1, 4 }, lengths:tolist())
    assert.same({ 2, 1, 1, 1 }, ids[2]:tolist())
    assert.same({ "ab", "", "abc" }, tok:decode_batch(ids))
    assert.same({ 1, 1, 1, 2 }, (tok:encode_batch({ "ab", "", "abc" }, { eos = true, side = "left" }))[2]:tolist())
    local list = tok:encode_batch({ "ab", "a" }, { pad = false })
    assert.same({ 2, 1 }, { #list[1], #list[2] })
  end)

  it("comes back from its file with the same ids", function()
    for _, options in ipairs {
      { specials = { "<pad>", "<x y>" } }, { lowercase = true, prefix = true }, { split = "gpt4", unk = true },
      { digits = 1 },
    } do
      options.vocab_size = 320
      local tok = BPE.train(sample, options)
      assert(tok:save(path))
      local again = assert(nn.text.load(path))
      local text = sample .. "<x y>ÄÖ 2024" .. random_bytes(100)
      assert.same(tok:encode(text):tolist(), again:encode(text):tolist())
      assert.equal(tok:decode(tok:encode(text)), again:decode(again:encode(text)))
      assert.same({ tok.pad, tok.unk }, { again.pad, again.unk })
      assert.equal(core.json_encode(tok:to_table()), core.json_encode(again:to_table()))
    end
  end)

  it("writes and reads GPT-2's pair of files", function()
    local tok = BPE.train(sample, { vocab_size = 300 })
    local merges = os.tmpname()
    assert(tok:save_pair(path, merges))
    local again = assert(BPE.load(path, merges))
    assert.same(tok:encode(sample):tolist(), again:encode(sample):tolist())
    assert.matches("^#version: 0.2\n%S+ %S+\n", read(merges))
    os.remove(merges)
  end)

  it("reads a tokenizer.json of Llama's kind: blanks as signs, bytes to fall back on", function()
    local vocab = { ["<unk>"] = 0, ["<s>"] = 1, ["</s>"] = 2 }
    for byte = 0, 255 do vocab[("<0x%02X>"):format(byte)] = 3 + byte end
    for i, token in ipairs { "▁", "a", "b", "ab", "▁ab" } do vocab[token] = 258 + i end
    local file = {
      added_tokens = { { id = 1, content = "<s>", special = true }, { id = 2, content = "</s>", special = true } },
      normalizer = {
        type = "Sequence", normalizers = {
          { type = "Prepend", prepend = "▁" }, { type = "Replace", pattern = { String = " " }, content = "▁" },
        },
      },
      model = {
        type = "BPE", unk_token = "<unk>", byte_fallback = true, vocab = vocab, merges = { "a b", { "▁", "ab" } },
      },
    }
    write(path, core.json_encode(file))
    local tok = assert(nn.text.load(path))
    assert.same({ 264, 264 }, tok:encode("ab ab"):tolist())
    assert.same({ 260, 10 + 4, 262 }, tok:encode("\nb"):tolist())
    assert.same({ tok.bos, tok.eos }, { 2, 3 })
    for _, text in ipairs { "ab ab", " ab", "über ▁ab\0", random_bytes(50) } do
      assert.equal(text, tok:decode(tok:encode(text)))
    end
    assert(tok:save(path))
    local again = assert(nn.text.load(path))
    assert.same(tok:encode("ab abc über"):tolist(), again:encode("ab abc über"):tolist())
  end)

  it("says what is wrong with a file, and never raises", function()
    local good = core.json_encode(BPE.train(sample, { vocab_size = 270, specials = { "<s>" } }):to_table())
    for _ = 1, 40 do
      local bytes, at = good, nn.randint(1, #good + 1, { 4 }):tolist()
      for _, place in ipairs(at) do
        bytes = bytes:sub(1, place - 1) .. random_bytes(1) .. bytes:sub(place + nn.randint(0, 3, { 1 }):item() + 1)
      end
      write(path, bytes)
      local tok, message = nn.text.load(path)
      assert.is_true(tok ~= nil or type(message) == "string")
      if tok then tok:decode(tok:encode("<s>", { specials = true })) end
    end
    for text, expected in pairs {
      ["{}"] = "this is no tokenizer", ["[1"] = path, ["3"] = "expected an object",
      ['{"model": {"type": "WordPiece"}}'] = "of the kind WordPiece, not BPE",
      ['{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}}'] = "this kind of BPE is not supported",
      ['{"model": {"vocab": {"a": 9e9}}}'] = "id",
      ['{"model": {"vocab": {"a": 1, "b": 1}}}'] = "two tokens have the id 1",
      ['{"pre_tokenizer": {"type": "ByteLevel"}, "model": {"vocab": {"a": 0}, "merges": ["a a"]}}'] =
        "merge 1: 'a' and 'a'",
      ['{"pre_tokenizer": {"type": "BertPreTokenizer"}, "model": {"vocab": {"a": 0}}}'] =
        "BertPreTokenizer is not supported",
      ['{"format": "nnlua.text", "class": "x"}'] = "unknown class",
    } do
      write(path, text)
      local tok, message = nn.text.load(path)
      assert.is_nil(tok)
      assert.truthy(message:find(expected, 1, true), message)
    end
    assert.is_nil((BPE.load "/nowhere"))
    assert.is_nil((BPE.load("/nowhere/vocab.json", "/nowhere/merges.txt")))
  end)

  it("says what is wrong with a call", function()
    local tok = BPE.train(sample, { vocab_size = 260 })
    for expected, call in pairs {
      ["tokenizer:encode: text: expected a string, got 3"] = function() tok:encode(3) end,
      ["tokenizer:decode: expected ids from 1 to 260, got 999 (item 2)"] = function() tok:decode { 1, 999 } end,
      ["vocab_size: expected at least 256"] = function() BPE.train(sample, { vocab_size = 10 }) end,
      ["unknown option \"vocab\""] = function() BPE.train(sample, { vocab = 300 }) end,
      ["corpus: expected a string, a list of strings or a function"] = function() BPE.train(nil) end,
      ["decode_batch takes many"] = function() tok:decode(nn.ones(2, 2)) end,
    } do
      local message = support.message_of(call)
      assert.truthy(message:find(expected, 1, true), message)
    end
  end)

  it("survives any allocation failing", function()
    support.fail_each(function()
      local tok = BPE.train("abab cdcd abcd", { vocab_size = 262, pad = true })
      assert.equal("abab", tok:decode(tok:encode "abab"))
    end)
  end)

  local folder = data_folder();
  (folder and it or pending)("gives GPT-2's ids plus 1", function()
    local tok = assert(BPE.load(folder .. "/gpt2-bpe"))
    local function ids(text)
      local list = tok:encode(text):tolist()
      for i, id in ipairs(list) do list[i] = id - 1 end
      return list
    end
    assert.same({ 15496, 995 }, ids "Hello world")
    assert.same({ 15496, 11, 314, 1101, 257, 3303, 2746, 11 }, ids "Hello, I'm a language model,")
    assert.same({ 50256 }, ids "<|endoftext|>")
    assert.equal(50257, tok.eos)
    local text = read(folder .. "/text/tinyshakespeare.txt")
    local all = tok:encode(text)
    assert.equal(338025, #all)
    assert.is_true(tok:decode(all) == text)
    for _ = 1, 20 do
      local bytes = random_bytes(500)
      assert.equal(bytes, tok:decode(tok:encode(bytes)))
    end
  end)
end)
