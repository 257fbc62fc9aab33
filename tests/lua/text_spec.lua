--- nn.text without BPE: characters, words, vocabularies, filling up, masks, batches by length, BLEU.

local nn = require "nnlua"
local support = require "support"

local text = nn.text

describe("nn.text", function()
  local path

  support.count_tensors(before_each, after_each)
  before_each(function() path = os.tmpname() end)
  after_each(function() os.remove(path) end)

  local function again(object)
    assert(object:save(path))
    return assert(text.load(path))
  end

  describe("lower and split", function()
    it("know letters outside ASCII, and leave bytes alone that are no text", function()
      assert.equal("äöü ςß αβγ дж ñ \255a\128", text.lower "ÄÖÜ ςẞ ΑΒΓ ДЖ Ñ \255A\128")
      assert.equal("", text.lower "")
    end)

    it("cut into words and signs", function()
      assert.same({ "Don't", "go", ",", "it", "'s", "3.5", "km", "to", "well-known", "“", "Straße", "”", "!", "?" },
        text.split "Don't go, it 's 3.5 km to well-known “Straße”!?")
      assert.same({ "1,000", ",", "a", ".", "b", "-", "e\204\129t", "o’clock" },
        text.split "1,000,a.b -e\204\129t o’clock")
      assert.same({ "a,b", "c" }, text.split("  a,b\n\tc ", "spaces"))
      assert.same({ "a", "é", "\255", "中" }, text.split("aé\255中", "characters"))
      assert.same({}, text.split " \n ")
      assert.matches("rule: expected one of", support.message_of(text.split, "a", "letters"))
    end)
  end)

  describe("CharTokenizer", function()
    it("has the characters of a text in the order of their codes, and brings text back", function()
      local tok = text.CharTokenizer "hello wörld"
      assert.same({ " ", "d", "e", "h", "l", "o", "r", "w", "ö" }, tok.list)
      assert.same({ 4, 3, 5, 5, 6 }, tok:encode("hello"):tolist())
      assert.equal("wörld", tok:decode(tok:encode "wörld"))
      assert.same({ "w", "ö" }, tok:tokens "wö")
      assert.equal(9, tok:size())
    end)

    it("says which character it does not know, or takes it as unk", function()
      local tok = text.CharTokenizer({ "ab", "c" }, { unk = true, bos = "<s>" })
      assert.same({ 2, 3, 1 }, { tok.bos, tok:id "a", tok.unk })
      assert.same({ 2, 3, 1, 5 }, tok:encode("axc", { bos = true }):tolist())
      assert.matches("no token for 'x'", support.message_of(function() text.CharTokenizer("ab"):encode "x" end))
    end)

    it("comes back from its file, bytes that are no text too", function()
      local tok = text.CharTokenizer("a\255\0é\"\\", { pad = true })
      local other = again(tok)
      assert.same(tok.list, other.list)
      assert.equal("\255é\0", other:decode(other:encode "\255é\0"))
      assert.equal(1, other.pad)
    end)
  end)

  describe("WordTokenizer", function()
    local corpus = { "the cat sat", "the dog sat", "The end." }

    it("has the most frequent words first, and unknown ones", function()
      local tok = text.WordTokenizer(corpus, { lowercase = true })
      assert.same({ "<pad>", "<unk>", "the", "sat", ".", "cat", "dog", "end" }, tok.list)
      assert.same({ 3, 2, 4, 5 }, tok:encode("The bird sat."):tolist())
      assert.equal("the <unk> sat.", tok:decode(tok:encode "The bird sat."))
      assert.equal("the sat", tok:decode({ 3, 2, 4, 1 }, { specials = false }))
    end)

    it("takes min_freq, max_size, special tokens, and a way to split", function()
      local tok = text.WordTokenizer(corpus, { min_freq = 2, split = "spaces", bos = true, eos = true, pad = false })
      assert.same({ "<unk>", "<bos>", "<eos>", "sat", "the" }, tok.list)
      assert.same({ 2, 5, 1, 3 }, tok:encode("the end.", { bos = true, eos = true }):tolist())
      assert.equal(4, text.WordTokenizer(corpus, { max_size = 4 }):size())
      local own = text.WordTokenizer("a-b a-c", {
        split = function(line)
          local parts = {}
          for part in line:gmatch "[^- ]+" do parts[#parts + 1] = part end
          return parts
        end,
      })
      assert.same({ 3, 2, 4 }, own:encode("a-x-b"):tolist())
      assert.matches("cannot be saved", support.message_of(own.save, own, path))
    end)

    it("comes back from its file", function()
      local tok = text.WordTokenizer(corpus, { lowercase = true, eos = true, split = "spaces" })
      local other = again(tok)
      local ids = tok:encode("THE cat, end.", { eos = true }):tolist()
      assert.same(ids, other:encode("THE cat, end.", { eos = true }):tolist())
      assert.equal(tostring(tok), tostring(other))
    end)
  end)

  describe("Vocab", function()
    it("counts tokens of lists, of an iterator, or takes counts", function()
      local lists, i = { { "b", "a" }, { "b" } }, 0
      local function following()
        i = i + 1
        return lists[i]
      end
      for _, corpus in ipairs { lists, { "b", "a", "b" }, following, { a = 1, b = 2 } } do
        local vocab = text.Vocab(corpus)
        assert.same({ "<pad>", "<unk>", "b", "a" }, vocab.tokens)
        assert.same({ 1, 2 }, { vocab.pad, vocab.unk })
      end
    end)

    it("gives ids and tokens", function()
      local vocab = text.Vocab({ { "a", "b", "a" } }, { bos = true, eos = "</s>", max_size = 5 })
      assert.same({ "<pad>", "<unk>", "<bos>", "</s>", "a" }, vocab.tokens)
      assert.same({ 3, 5, 2, 4 }, vocab:encode({ "a", "b" }, { bos = true, eos = true }):tolist())
      assert.same({ 3, 5, 4 }, vocab:encode({ "a", "b", "a" }, { bos = true, eos = true, max_length = 3 }):tolist())
      assert.same({ "a", "<unk>" }, vocab:decode { 5, 2 })
      assert.same({ "a" }, vocab:decode(nn.tensor({ 3, 5, 4, 1 }, { dtype = "int64" }), { specials = false }))
      assert.is_true(vocab:has "a" and not vocab:has "b")
      assert.same({ 5, 2, 5 }, { vocab:id "a", vocab:id "b", vocab:size() })
      assert.matches("expected an id from 1 to 5, got 6", support.message_of(vocab.token, vocab, 6))
      assert.same({ 0 }, vocab:encode({}).shape)
    end)

    it("refuses what it does not know where there is no unk", function()
      local vocab = text.Vocab({ "a" }, { unk = false, pad = false })
      assert.is_nil(vocab:id "b")
      assert.matches('token 2, "b", is not in the vocabulary', support.message_of(vocab.encode, vocab, { "a", "b" }))
    end)

    it("comes back from its file and from its table", function()
      local vocab = text.Vocab({ { "a", "é", "x\255" } }, { bos = true, specials = { "<bos>", "<sep>" } })
      for _, other in ipairs { again(vocab), assert(text.from_table(vocab:to_table())) } do
        assert.same(vocab.tokens, other.tokens)
        assert.same({ vocab.pad, vocab.unk, vocab.bos, vocab.eos }, { other.pad, other.unk, other.bos, other.eos })
        assert.same({ "a" }, other:decode({ vocab:id "<sep>", vocab:id "a" }, { specials = false }))
      end
      assert.same({ nil, "token 2 is no text, or there twice" },
        { text.from_table { format = "nnlua.text", class = "Vocab", tokens = { "a", "a" } } })
    end)
  end)

  describe("pad", function()
    it("fills up on the right or left, and tells the lengths", function()
      local x, lengths = text.pad { { 5, 6 }, { 7 }, nn.tensor({ 8, 9, 10 }, { dtype = "int64" }) }
      assert.same({ { 5, 6, 1 }, { 7, 1, 1 }, { 8, 9, 10 } }, x:tolist())
      assert.same({ 2, 1, 3 }, lengths:tolist())
      assert.same({ { 5, 6 }, { 2, 7 } }, (text.pad({ { 5, 6 }, { 7 } }, { side = "left", value = 2 })):tolist())
      assert.same({ { 5 }, { 7 } }, (text.pad({ { 5, 6 }, { 7 } }, { length = 1 })):tolist())
      assert.same({ { 7, 1 } }, (text.pad({ { 7 } }, { length = 2 })):tolist())
      local back = text.unpad(x, lengths)
      assert.same({ 5, 6 }, back[1]:tolist())
      assert.same({ 7 }, back[2]:tolist())
    end)

    it("takes sequences of vectors, empty ones too, and refuses what does not fit", function()
      local x, lengths = text.pad { nn.ones(2, 3), nn.zeros(0, 3) }
      assert.same({ 2, 2, 3 }, x.shape)
      assert.same({ 2, 0 }, lengths:tolist())
      assert.equal(6, x:sum():item())
      assert.matches("sequence 2: expected %(%*, %.%.%.%) as in %(2, 3%), got %(2%)",
        support.message_of(text.pad, { nn.ones(2, 3), nn.ones(2) }))
      assert.matches("at least one", support.message_of(text.pad, {}))
    end)

    it("has masks that are true where nothing is to be looked at", function()
      local mask = text.padding_mask { 2, 0, 3 }
      assert.same({ { false, false, true }, { true, true, true }, { false, false, false } }, mask:tolist())
      assert.same({ { true, false } }, text.padding_mask({ 1 }, { length = 2, side = "left" }):tolist())
      assert.same({ { false, true }, { false, false } }, text.causal_mask(2):tolist())
    end)

    it("packs a stream of tokens into rows", function()
      local list = { { 5, 6, 7 }, { 8, 9 } }
      assert.same({ { 5, 6 }, { 7, 8 } }, text.pack(list, 2):tolist())
      assert.same({ { 5, 6, 7, 2 }, { 8, 9, 2, 1 } }, text.pack(list, 4, { eos = 2, drop_last = false }):tolist())
      assert.same({ 0, 9 }, text.pack(list, 9).shape)
    end)
  end)

  describe("batches by length", function()
    local lengths = {}
    for i = 1, 103 do lengths[i] = i * 37 % 29 + 1 end
    local dataset = setmetatable({}, { __len = function() return #lengths end })
    function dataset.get(_, i) return nn.full({ lengths[i] }, i, { dtype = "int64" }), i % 2 + 1 end

    local function pass(loader)
      local seen, filling, count, orders = {}, 0, 0, {}
      for x, y in loader:batches() do
        count = count + 1
        for row = 1, #x do
          local i = x[{ row, 1 }]
          assert.equal(i % 2 + 1, y[row])
          seen[i] = (seen[i] or 0) + 1
          orders[#orders + 1] = i
          filling = filling + x:size(2) - lengths[i]
        end
      end
      for i = 1, #lengths do assert.equal(1, seen[i]) end
      return filling, count, table.concat(orders, " ")
    end

    it("hold each sample once, with little to fill up, in another order each pass", function()
      local sampler = nn.data.BucketSampler(lengths, { batch_size = 8 })
      local loader = nn.data.DataLoader(dataset, { batch_sampler = sampler, collate = text.collate() })
      local filling, count, first = pass(loader)
      local plain = pass(nn.data.DataLoader(dataset, { batch_size = 8, shuffle = true, collate = text.collate() }))
      assert.is_true(filling < plain / 4)
      local meta = getmetatable(loader)
      assert.same({ 13, 13 }, { count, meta.__len(loader) })
      local _, _, second = pass(loader)
      assert.is_true(first ~= second)
      nn.manual_seed(4)
      local _, _, third = pass(loader)
      nn.manual_seed(4)
      local _, _, fourth = pass(loader)
      assert.equal(third, fourth)
    end)

    it("hold at most so many tokens, or skip the batches that are done", function()
      local sampler = nn.data.BucketSampler(lengths, { max_tokens = 60, shuffle = false })
      local loader = nn.data.DataLoader(dataset, { batch_sampler = sampler, collate = text.collate { lengths = true } })
      pass(loader)
      local all, rest = {}, {}
      for x, _, own in loader:batches() do
        assert.is_true(x:numel() <= 60)
        assert.equal(x:size(2), own:max():item())
        all[#all + 1] = x:tolist()
      end
      for x in loader:batches { skip = 3 } do rest[#rest + 1] = x:tolist() end
      assert.same(#all - 3, #rest)
      assert.same(all[4], rest[1])
    end)

    it("take tensors at once, and say what does not go together", function()
      local x = nn.range(1, 6, { dtype = "int64" })
      local sampler = nn.data.BucketSampler({ 3, 1, 2, 6, 5, 4 }, { batch_size = 2, shuffle = false })
      local loader = nn.data.DataLoader(nn.data.TensorDataset(x, x * 2), { batch_sampler = sampler })
      local seen = {}
      for a, b in loader:batches() do seen[#seen + 1] = { a:tolist(), b:tolist() } end
      assert.same({ { { 2, 3 }, { 4, 6 } }, { { 1, 6 }, { 2, 12 } }, { { 5, 4 }, { 10, 8 } } }, seen)
      assert.matches("options batch_sampler and shuffle",
        support.message_of(nn.data.DataLoader, dataset, { batch_sampler = sampler, shuffle = true }))
      assert.matches("length 1: expected a number from 0", support.message_of(nn.data.BucketSampler, { "a" }))
    end)

    it("train a model by fit", function()
      local sampler = nn.data.BucketSampler(lengths, { batch_size = 16 })
      local loader = nn.data.DataLoader(dataset, { batch_sampler = sampler, collate = text.collate() })
      local model = nn.Sequential {
        nn.Embedding(120, 2), nn.Lambda(function(x) return x:mean(2) end), nn.Dense(2, 2),
      }
      model:compile { optimizer = "adam", loss = nn.CrossEntropyLoss() }
      assert.equal(2, #model:fit(loader, { epochs = 2, verbose = 0 }).loss)
    end)
  end)

  describe("bleu", function()
    local hypotheses = { "The dog bit the man.", "It wasn't surprising.", "The man had just bitten him." }
    local references = {
      { "The dog bit the man.", "The dog had bit the man." }, { "It was not unexpected.", "No one was surprised." },
      { "The man bit him first.", "The man had bitten the dog." },
    }

    local function near(expected, got)
      assert.is_true(math.abs(expected - got) < 0.005, ("%f, not %f"):format(got, expected))
    end

    it("is what sacreBLEU says", function()
      local score, info = text.bleu(hypotheses, references)
      near(48.53, score)
      near(0.943, info.brevity)
      assert.same({ 17, 18 }, { info.length, info.reference_length })
      for n, expected in ipairs { 82.35, 50, 45.45, 37.5 } do near(expected, info.precisions[n]) end
    end)

    it("is 100 for the same, 0 for nothing in common, and lower for what is short", function()
      near(100, text.bleu({ "a b c d e" }, { "a b c d e" }))
      near(0, text.bleu({ "a b c d" }, { "w x y z" }))
      near(0, text.bleu({ "" }, { "a b" }))
      near(100 * math.exp(1 - 8 / 4), text.bleu({ "a b c d" }, { "a b c d e f g h" }))
      near(0, text.bleu({ "a b c x" }, { "a b c d" }, { smooth = "none" }))
      near(100 * (0.75 * 2 / 3 * 0.5 * 0.5) ^ 0.25, text.bleu({ "a b c x" }, { "a b c d" }))
      near(100, text.bleu({ "A B" }, { "a b" }, { lowercase = true, effective_order = true }))
    end)

    it("cuts text as mteval-v13a does", function()
      local function words(line)
        local _, info = text.bleu({ line }, { "x" })
        return info.length
      end
      assert.equal(3, words "1,000.5 5.5 v2.0x") -- signs between digits stay
      assert.equal(5, words "a,b (c")
      assert.equal(5, words "don't u.s.")
      assert.equal(6, words "&quot;a&quot; 3-x")
    end)

    it("takes other ways to cut text, and refuses what does not fit", function()
      near(100, text.bleu({ "中文字符" }, { "中文字符" }, { tokenize = "char" }))
      near(100, text.bleu({ "a|b|c|d" }, { "a|b|c|d" }, { tokenize = function(line)
        local words = {}
        for word in line:gmatch "[^|]+" do words[#words + 1] = word end
        return words
      end }))
      assert.matches("got 1 and 2", support.message_of(text.bleu, { "a" }, { "a", "b" }))
      assert.matches("option tokenize: expected one of",
        support.message_of(text.bleu, { "a" }, { "a" }, { tokenize = "14a" }))
    end)
  end)
end)
