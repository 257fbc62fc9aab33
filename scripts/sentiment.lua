-- sentiment.lua: does a sentence praise or complain? Learned from the 6,920 sentences of film reviews of the Stanford
-- Sentiment Treebank (Socher et al., 2013) that are plainly one or the other: SST-2.
--
--   nnlua scripts/sentiment.lua FOLDER [--model bag|lstm|transformer] [--epochs N] ...      --help lists all
--   nnlua scripts/sentiment.lua --predict "A film to fall in love with." [--model ...]
--
-- The best model is saved with its vocabulary, as sentiment-bag.safetensors and the like; --predict uses it.

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local training = dofile(here .. "lib/training.lua")

local CLASSES = { "negative", "positive" }
local PAD, UNK = 1, 2 -- the first ids of a vocabulary

-- ---- text to words, and to what a network sees of them

local endings = { "n't", "'s", "'re", "'ve", "'ll", "'d", "'m" }

--- Words as the treebank writes them: in lower case, signs apart, "don't" as "do n't". Sentences that are written so
-- already stay as they are.
local function words_of(text)
  text = " " .. nn.text.lower(text):gsub("’", "'"):gsub("[%-\128-\255]", " ") .. " "
  text = text:gsub('[,;:!?"()]', " %0 "):gsub("%.+%s", " ")
  for _, ending in ipairs(endings) do text = text:gsub(ending .. "%f[^%w']", " " .. ending) end
  return nn.text.split(text, "spaces")
end

--- Words, pairs of neighbours, and pieces of 3 to 6 letters within words (Bojanowski et al., 2017), which know "boring"
-- in "boringly".
local function features_of(words)
  local list = {}
  for i, word in ipairs(words) do
    list[#list + 1] = word
    if i > 1 then list[#list + 1] = words[i - 1] .. " " .. word end
    local padded = "<" .. word .. ">"
    for size = 3, 6 do
      for first = 1, #padded - size + 1 do list[#list + 1] = "#" .. padded:sub(first, first + size - 1) end
    end
  end
  return list
end

-- ---- three networks. They take ids (N, T), PAD where a sentence is over, and give (N, 2).

-- Some words are hidden in training, so that none is relied upon.
local function hide(self, ids, share, with)
  if not self.training then return ids end
  return ids:masked_fill(nn.rand(ids.shape):lt(share):logical_and(ids:ne(PAD)), with)
end

local Bag = nn.Module:extend("Bag")

--- A weighted sum of the features' vectors, whose order does not matter. Rare features weigh more (tf-idf).
-- @param size integer how many features there are
-- @param width integer of their vectors
function Bag:init(size, width)
  self.embedding = nn.Embedding(size, width, { padding_idx = PAD })
  self.rarity = nn.Embedding(size, 2) -- is counted, not learned: of words, and of pieces of words
  self.rarity:requires_grad_(false)
  self.dropout = nn.Dropout(0.5)
  self.output = nn.Dense(width, 2)
  nn.init.normal_(self.embedding.weight, 0, 0.1)
end

--- How rare each feature is in these lists of features (Spärck Jones, 1972).
function Bag:count(lists, vocab)
  local found = {}
  for _, list in ipairs(lists) do
    local seen = {}
    for _, feature in ipairs(list) do
      if not seen[feature] then found[feature] = (found[feature] or 0) + 1 end
      seen[feature] = true
    end
  end
  local rows = {}
  for id, token in ipairs(vocab.tokens) do
    local rarity = id > UNK and math.log((#lists + 1) / (found[token] + 1)) + 1 or 0
    rows[id] = token:sub(1, 1) == "#" and { 0, rarity } or { rarity, 0 }
  end
  nn.no_grad(function() self.rarity.weight:copy_(nn.tensor(rows)) end)
end

function Bag:forward(ids)
  local weights = self.rarity(hide(self, ids, 0.3, UNK))               -- (N, T, 2)
  local lengths = (weights * weights):sum(2, true):clamp(1e-6):sqrt()  -- of both kinds
  weights = (weights / lengths):sum(3)                                 -- (N, T)
  local sum = weights:unsqueeze(2):matmul(self.embedding(ids))         -- (N, 1, width)
  return self.output(self.dropout(sum:squeeze(2)))
end

local Recurrent = nn.Module:extend("Recurrent")

--- A recurrent network in both directions; of each of its numbers the largest in the sentence counts.
function Recurrent:init(size, width, hidden)
  self.embedding = nn.Embedding(size, width, { padding_idx = PAD })
  self.dropout = nn.Dropout(0.5)
  self.lstm = nn.LSTM(width, hidden, { bidirectional = true })
  self.output = nn.Dense(2 * hidden, 2)
  nn.init.normal_(self.embedding.weight, 0, 0.1)
end

function Recurrent:forward(ids)
  local filling = ids:eq(PAD)
  local x = self.dropout(self.embedding(hide(self, ids, 0.1, UNK)))
  local h = self.lstm(x, { lengths = filling:logical_not():sum(2) })
  h = h:masked_fill(filling:unsqueeze(3), -1e9):amax(2)
  return self.output(self.dropout(h))
end

local Attentive = nn.Module:extend("Attentive")

--- A small transformer (Vaswani et al., 2017); the mean over the sentence counts.
function Attentive:init(size, width, layers)
  self.embedding = nn.Embedding(size, width, { padding_idx = PAD })
  self.position = nn.PositionalEncoding(width, { dropout = 0.2, max_len = 512 })
  self.layers = nn.ModuleList()
  for _ = 1, layers do
    self.layers:add(nn.TransformerEncoderLayer(width, 4, { dim_feedforward = 2 * width, dropout = 0.2 }))
  end
  self.dropout = nn.Dropout(0.5)
  self.output = nn.Dense(width, 2)
  nn.init.normal_(self.embedding.weight, 0, 0.1)
end

function Attentive:forward(ids)
  local filling = ids:eq(PAD)
  local x = self.position(self.embedding(hide(self, ids, 0.1, UNK)))
  for i = 1, #self.layers do x = self.layers[i](x, { src_key_padding_mask = filling }) end
  local used = filling:logical_not():unsqueeze(3):float()
  return self.output(self.dropout((x * used):sum(2) / used:sum(2)))
end

local networks = {}

function networks.bag(vocab, lists)
  local model = Bag(#vocab.tokens, 32)
  model:count(lists, vocab)
  return model
end

function networks.lstm(vocab) return Recurrent(#vocab.tokens, 128, 128) end

function networks.transformer(vocab) return Attentive(#vocab.tokens, 96, 2) end

-- ---- the command line

local spec = {
  script = "sentiment", collection = "sentiment",
  recipes = {
    { name = "bag", epochs = 5, batch_size = 32, lr = 0.001, weight_decay = 0.01 },
    { name = "lstm", epochs = 8, batch_size = 32, lr = 0.002, weight_decay = 0.01 },
    { name = "transformer", epochs = 8, batch_size = 32, lr = 0.001, weight_decay = 0.01 },
  },
  numbers = {
    { "epochs", "count", "how often all sentences are seen" },
    { "batch-size", "count", "sentences in a step" },
    { "lr", "positive", "the highest learning rate" },
  },
}

local HELP = [[
The folder must hold sst2_train.tsv, sst2_dev.tsv and sst2_test.tsv: a sentence, a tab and 0 or 1 (positive) a line. One
place to download them from is https://github.com/clairett/pytorch-sentiment-classification (data/SST2, where they are
called train.tsv, dev.tsv and test.tsv).]]

local function read_options()
  local parser = training.parser("Learns whether a sentence about a film praises it (SST-2).")
  parser:argument("folder", "where the sentences are (default: $NNLUA_DATA/sentiment)"):args("?")
  training.options(parser, spec)
  training.add(parser, "predict", nil, "asks the saved model about this text; trains nothing"):argname("<text>")
  return training.complete(training.parse(parser), spec)
end

-- ---- data

local function read_sentences(path)
  local file, message = io.open(path, "r")
  if not file then training.fail(message .. "\n" .. HELP) end
  local sentences, labels, number = {}, {}, 0
  for line in file:lines() do
    number = number + 1
    local text, label = line:match "^(.-)\t([01])%s*$"
    if not text and line:find "%S" then
      training.fail(("%s: line %d is no sentence with a tab and 0 or 1 behind it"):format(path, number))
    end
    if text then sentences[#sentences + 1], labels[#labels + 1] = words_of(text), tonumber(label) + 1 end
  end
  file:close()
  if #sentences == 0 then training.fail(path .. ": there are no sentences") end
  return { words = sentences, labels = labels }
end

local function read_data(given)
  if not given.folder then
    training.fail("no folder was given, and the environment variable NNLUA_DATA is not set\n" .. HELP)
  end
  local data = {}
  for _, part in ipairs { "train", "dev", "test" } do
    data[part] = read_sentences(("%s/sst2_%s.tsv"):format(given.folder, part))
  end
  return data
end

--- What the network of this name sees of a sentence: a list of tokens.
local function seen_of(name, words) return name == "bag" and features_of(words) or words end

local function lists_of(name, sentences)
  local lists = {}
  for i, words in ipairs(sentences) do lists[i] = seen_of(name, words) end
  return lists
end

-- Ids of a sentence; none is without any.
local function encode(vocab, list)
  return vocab:encode(#list > 0 and list or { vocab:token(UNK) })
end

--- Batches of sentences of about the same length, filled up with PAD.
local function loader(vocab, lists, labels, batch_size, shuffle)
  local ids, lengths = {}, {}
  for i, list in ipairs(lists) do
    ids[i] = encode(vocab, list)
    lengths[i] = #ids[i]
  end
  local dataset = { get = function(_, i) return ids[i], labels[i] end }
  setmetatable(dataset, { __len = function() return #ids end })
  return nn.data.DataLoader(dataset, {
    batch_sampler = nn.data.BucketSampler(lengths, { batch_size = batch_size, shuffle = shuffle }),
    collate = nn.text.collate { value = PAD },
  })
end

-- ---- training, the test, and questions

local function train(given, data)
  local recipe = given.recipe
  local lists = lists_of(recipe.name, data.train.words)
  local vocab = nn.text.Vocab(lists, { min_freq = 2 })
  local model = networks[recipe.name](vocab, lists)
  model:summary()
  local function batches(part, shuffle)
    local own = part == "train" and lists or lists_of(recipe.name, data[part].words)
    return loader(vocab, own, data[part].labels, given.batch_size, shuffle)
  end
  local train_batches = batches("train", true)
  local optimizer = nn.optim.AdamW(model:parameters(), { lr = given.lr, weight_decay = recipe.weight_decay })
  model:compile { optimizer = optimizer, loss = nn.CrossEntropyLoss(), metrics = { "accuracy" } }
  local steps = math.ceil(#data.train.labels / given.batch_size) * given.epochs
  local schedule = nn.optim.lr_scheduler.OneCycleLR(optimizer, given.lr, { total_steps = steps + 1 })
  local history = model:fit(train_batches, {
    epochs = given.epochs, validation_data = batches("dev", false),
    callbacks = {
      nn.callbacks.LearningRateScheduler(schedule, { every = "batch" }),
      nn.callbacks.ModelCheckpoint(given.save, {
        monitor = "val_accuracy", save_best_only = true,
        metadata = { script = "sentiment", network = recipe.name, vocab = vocab:to_table() },
      }),
      training.backup(given),
    },
  })
  training.plot(history, given.plot)
  print("best model: " .. given.save)
end

local function load(path)
  local model, about = nn.load(path)
  if not model then training.fail(about) end
  if type(about) ~= "table" or about.script ~= "sentiment" then
    training.fail(path .. ": this is no model that sentiment.lua has saved")
  end
  local vocab, problem = nn.text.from_table(about.vocab)
  if not vocab then training.fail(path .. ": " .. problem) end
  model:eval()
  return model, vocab, about.network
end

local function test(given, data)
  local model, vocab, name = load(given.save)
  local logits, labels = {}, {}
  nn.no_grad(function()
    for ids, truth in loader(vocab, lists_of(name, data.test.words), data.test.labels, 64, false):batches() do
      logits[#logits + 1], labels[#labels + 1] = model(ids), truth
    end
  end)
  logits, labels = nn.cat(logits, 1), nn.cat(labels, 1)
  print()
  nn.plot.confusion_matrix(nn.metrics.confusion_matrix(logits, labels), { classes = CLASSES })
  print(("\ntest accuracy: %.2f %% of %d sentences"):format(100 * nn.metrics.accuracy(logits, labels), #labels))
end

--- Say what a saved model thinks of a text.
local function predict(given)
  local model, vocab, name = load(given.save)
  local words = words_of(given.predict)
  if #words == 0 then training.fail("--predict: expected a text with words", 2) end
  local ids = encode(vocab, seen_of(name, words))
  local shares = nn.no_grad(function() return model(ids:unsqueeze(1)) end):softmax(-1)[1]
  local class = shares:argmax(1):item()
  print(("%s  %.1f %%"):format(CLASSES[class], 100 * shares[class]))
end

local given = read_options()
if given.predict then
  predict(given)
else
  local data = read_data(given)
  train(given, data)
  test(given, data)
end
