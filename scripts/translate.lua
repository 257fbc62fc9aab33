-- translate.lua: German sentences in English, learned from the 29,000 captions of Multi30k (Elliott et al., 2016) by a
-- transformer (Vaswani et al., 2017).
--
--   nnlua scripts/translate.lua FOLDER [--epochs N] [--layers N] ...       --help lists all
--   nnlua scripts/translate.lua --translate "Ein Hund rennt durch den Schnee."
--
-- The best model is saved as translate.safetensors, with its tokenizer, and used by --translate.

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local training = dofile(here .. "lib/training.lua")

-- ---- the command line

local spec = {
  script = "translate", collection = "translation",
  recipes = {
    {
      epochs = 10, batch_size = 1400, lr = 0.001, warmup = 500, merges = 5000, layers = 3, heads = 4, width = 256,
      feedforward = 512, dropout = 0.2, beam = 5, length_penalty = 1,
    },
  },
  numbers = {
    { "epochs", "count", "how often all sentences are seen" },
    { "batch-size", "count", "tokens in a step, of the language that has more" },
    { "lr", "positive", "the highest learning rate" },
    { "warmup", "count", "steps until it is reached; then it falls, as a cosine does" },
    { "merges", "count", "pieces of words that are learned, for both languages together" },
    { "layers", "count", "layers of the encoder, and of the decoder" },
    { "heads", "count", "heads of attention in each" },
    { "width", "count", "size of each token's vector" },
    { "feedforward", "count", "size between the linear layers" },
    { "dropout", "share", "probability of a 0 while training" },
    { "beam", "count", "sentences kept in the search for the best translation" },
    { "length-penalty", "amount", "how much longer translations are preferred in it" },
  },
}

local function read_options()
  local parser = training.parser("Learns to translate captions of pictures.")
  parser:argument("folder", "where train.de, train.en, val.* and test_2016_flickr.* are, plain or with .gz " ..
    "(default: $NNLUA_DATA/translation)"):args("?")
  parser:option("--source", "the language to translate (default: de)"):argname("<name>")
  parser:option("--target", "the language to translate to (default: en)"):argname("<name>")
  training.options(parser, spec)
  parser:flag("--evaluate", "do not train: measure the saved model on the test sentences")
  parser:option("--translate", "do not train: translate this with the saved model, or each line of the input with -")
    :argname("<text>")
  local given = training.complete(training.parse(parser), spec)
  if given.width % given.heads ~= 0 then
    training.fail(("--heads: %d heads cannot share a width of %d evenly"):format(given.heads, given.width), 2)
  end
  given.source, given.target = given.source or "de", given.target or "en"
  return given
end

-- ---- the model

-- The first tokens of every tokenizer here: padding, and the beginning and the end of a sentence.
local PAD, BEGIN, END = 1, 2, 3

local Translator = nn.Module:extend("Translator")

-- One table of vectors for the words of both languages and, transposed, for the scores of what comes next: what is
-- alike in both, such as names, is learned once, and there are far fewer numbers to learn (Press and Wolf, 2017).
function Translator:init(vocabulary, o)
  self.width, self.layers = o.width, o.layers
  self.embedding = nn.Embedding(vocabulary, o.width)
  nn.init.normal_(self.embedding.weight, 0, o.width ^ -0.5)
  self.position = nn.PositionalEncoding(o.width, { dropout = o.dropout })
  local layer = { dim_feedforward = o.feedforward, dropout = o.dropout, norm_first = true }
  self.encoder, self.decoder = nn.ModuleList {}, nn.ModuleList {}
  for _ = 1, o.layers do
    self.encoder:add(nn.TransformerEncoderLayer(o.width, o.heads, layer))
    self.decoder:add(nn.TransformerDecoderLayer(o.width, o.heads, layer))
  end
  self.encoder_norm, self.decoder_norm = nn.LayerNorm(o.width), nn.LayerNorm(o.width)
end

function Translator:embed(tokens, offset)
  return self.position(self.embedding(tokens) * self.width ^ 0.5, { offset = offset or 0 })
end

--- What the decoder looks at: source (N, S) to (N, S, width), and which positions are padding.
function Translator:encode(source)
  local padding = source:eq(PAD)
  local x = self:embed(source)
  for _, layer in ipairs(self.encoder) do x = layer(x, { src_key_padding_mask = padding }) end
  return self.encoder_norm(x), padding
end

function Translator:scores(x)
  return nn.functional.linear(self.decoder_norm(x), self.embedding.weight)
end

--- Scores of what follows each token of the target: (N, vocabulary, T), as the loss wants them.
function Translator:forward(source, target)
  local memory, padding = self:encode(source)
  local x = self:embed(target)
  for _, layer in ipairs(self.decoder) do
    x = layer(x, memory, { tgt_is_causal = true, memory_key_padding_mask = padding })
  end
  return self:scores(x):transpose(2, 3)
end

--- Translate by beam search: source (N, S) to a list of lists of tokens. Keys and values of earlier steps stay in a
-- cache, so that each step computes one position.
-- @param options table: beam and length_penalty, for nn.text.beam_search
function Translator:generate(source, options)
  local memory, padding = self:encode(source)
  local most = math.floor(1.5 * source:size(2)) + 10
  local own, seen = {}, {} -- keys and values of each layer: of what is written, and of the source
  for i = 1, self.layers do
    own[i], seen[i] = nn.zeros(2, #source, most, self.width), nn.zeros(2, #source, source:size(2), self.width)
  end
  local function step(tokens, order, position)
    if order then
      memory, padding = memory:index_select(1, order), padding:index_select(1, order)
      for i = 1, self.layers do own[i], seen[i] = own[i]:index_select(2, order), seen[i]:index_select(2, order) end
    end
    local x = self:embed(tokens, position)
    for i, layer in ipairs(self.decoder) do
      x = layer(x, memory, {
        memory_key_padding_mask = padding, cache = own[i], memory_cache = seen[i], offset = position,
      })
    end
    return self:scores(x)
  end
  return nn.text.beam_search(step, #source, {
    start = BEGIN, stop = END, max_length = most, beam = options.beam, length_penalty = options.length_penalty,
  })
end

-- ---- data

local HELP = [[
The folder must hold, for each language, the files of Multi30k's first task, plain or with .gz:
  train.de  train.en  val.de  val.en  test_2016_flickr.de  test_2016_flickr.en
They are in https://github.com/multi30k/dataset, in the folder data/task1/raw.]]

local function read_lines(given, part, language)
  local path = ("%s/%s.%s"):format(given.folder, part, language)
  local lines, problem = nn.data.lines(path .. ".gz")
  lines = lines or nn.data.lines(path) or training.fail(problem .. "\n" .. HELP)
  for i, line in ipairs(lines) do lines[i] = line:match("^%s*(.-)%s*$") end
  return lines
end

-- The sentences of a part in both languages, line by line.
local function read_part(given, part)
  if not given.folder then
    training.fail("no folder with sentences was given, and the environment variable NNLUA_DATA is not set\n" .. HELP)
  end
  local source, target = read_lines(given, part, given.source), read_lines(given, part, given.target)
  if #source ~= #target then
    training.fail(("%s: %d sentences in %s, but %d in %s"):format(part, #source, given.source, #target, given.target))
  end
  return source, target
end

-- One tokenizer for both languages. It sees small letters only, and a blank before the first word, as before others.
local function train_tokenizer(source, target, merges)
  local both = {}
  for i = 1, #source do both[2 * i - 1], both[2 * i] = source[i], target[i] end
  return nn.text.BPETokenizer.train(both, {
    merges = merges, pad = true, bos = true, eos = true, lowercase = true, prefix = true,
  })
end

-- Batches for fit, of sentences that are about as long: the source, the target behind BEGIN as the decoder sees it, and
-- before END as the decoder shall write it.
local function loader(source, target, tokenizer, options)
  local samples, lengths = {}, {}
  for i = 1, #source do
    local inner = tokenizer:encode(target[i])
    local before, behind = nn.full({ 1 }, BEGIN, { dtype = "int64" }), nn.full({ 1 }, END, { dtype = "int64" })
    samples[i] = {
      tokenizer:encode(source[i], { eos = true }), nn.cat({ before, inner }, 1), nn.cat({ inner, behind }, 1),
    }
    lengths[i] = math.max(#samples[i][1], #samples[i][2])
  end
  local dataset = { get = function(_, i) return samples[i][1], samples[i][2], samples[i][3] end }
  setmetatable(dataset, { __len = function() return #samples end })
  return nn.data.DataLoader(dataset, {
    batch_sampler = nn.data.BucketSampler(lengths, options), collate = nn.text.collate { value = PAD },
  })
end

-- ---- training

-- The rate rises evenly to its highest and falls to 0 as half a cosine.
local function warm_up(optimizer, given, steps)
  local schedules = nn.optim.lr_scheduler
  local rise = math.min(given.warmup, math.floor(steps / 2))
  return schedules.SequentialLR(optimizer, {
    schedules.LinearLR(optimizer, { start_factor = 0.01, total_iters = rise }),
    schedules.CosineAnnealingLR(optimizer, steps - rise + 1),
  }, { rise })
end

local function train(given)
  local source, target = read_part(given, "train")
  local held_source, held_target = read_part(given, "val")
  local tokenizer = train_tokenizer(source, target, given.merges)
  local batches = loader(source, target, tokenizer, { max_tokens = given.batch_size })
  local held = loader(held_source, held_target, tokenizer, { max_tokens = given.batch_size, shuffle = false })
  local model = Translator(tokenizer:size(), {
    width = given.width, layers = given.layers, heads = given.heads, feedforward = given.feedforward,
    dropout = given.dropout,
  })
  print(("%d sentences, %d tokens, %d numbers to learn"):format(#source, tokenizer:size(), model:num_parameters()))
  local optimizer = nn.optim.Adam(model:parameters(), { lr = given.lr, betas = { 0.9, 0.98 }, eps = 1e-9 })
  model:compile {
    optimizer = optimizer, loss = nn.CrossEntropyLoss { label_smoothing = 0.1, ignore_index = PAD }, clip_norm = 1,
  }
  local metadata = { tokenizer = tokenizer:to_table(), source = given.source, target = given.target }
  training.plot(model:fit(batches, {
    epochs = given.epochs, inputs = 2, validation_data = held,
    callbacks = {
      nn.callbacks.LearningRateScheduler(warm_up(optimizer, given, #batches * given.epochs), { every = "batch" }),
      nn.callbacks.ModelCheckpoint(given.save, { save_best_only = true, metadata = metadata }),
      training.backup(given),
    },
  }), given.plot)
  print("best model: " .. given.save)
end

-- ---- translating

local function load_model(given)
  local model, metadata = nn.load(given.save)
  if not model then
    training.fail(metadata .. "\nthere is no model yet: train one, or name its file by --save")
  end
  local tokenizer = type(metadata) == "table" and metadata.tokenizer and nn.text.from_table(metadata.tokenizer)
  if not tokenizer then training.fail(given.save .. ": no model of this script") end
  given.source, given.target = metadata.source, metadata.target
  return model:eval(), tokenizer
end

-- Sentences of about one length are translated together; the results are in the order of the sentences.
local function translate(model, tokenizer, sentences, options)
  local tokens, lengths, results = {}, {}, {}
  for i, sentence in ipairs(sentences) do
    tokens[i] = tokenizer:encode(sentence, { eos = true })
    lengths[i] = #tokens[i]
  end
  if #sentences == 0 then return results end
  for _, positions in ipairs(nn.data.BucketSampler(lengths, { batch_size = 50, shuffle = false }):batches()) do
    local rows = {}
    for k, i in ipairs(positions:tolist()) do rows[k] = tokens[i] end
    local source = nn.text.pad(rows, { value = PAD })
    local found = nn.no_grad(function() return model:generate(source, options) end)
    for k, i in ipairs(positions:tolist()) do
      results[i] = tokenizer:decode(found[k]):match("^%s*(.-)%s*$")
    end
  end
  return results
end

local function evaluate(given)
  local model, tokenizer = load_model(given)
  local source, target = read_part(given, "test_2016_flickr")
  local start = nn.clock()
  local written = translate(model, tokenizer, source, given)
  local seconds = nn.clock() - start
  for i = 1, math.min(5, #source) do
    print(("\n%s:   %s\n%s:   %s\nhere: %s"):format(given.source, source[i], given.target, target[i], written[i]))
  end
  local score, info = nn.text.bleu(written, target, { lowercase = true })
  print(("\nBLEU %.2f on %d test sentences (small letters, tokenised as by mteval-v13a; %.1f/%.1f/%.1f/%.1f, " ..
    "length %.3f), %.1f sentences a second"):format(score, #source, info.precisions[1], info.precisions[2],
    info.precisions[3], info.precisions[4], info.length / info.reference_length, #source / seconds))
end

local function translate_text(given)
  local model, tokenizer = load_model(given)
  local function say(sentence) print(translate(model, tokenizer, { sentence }, given)[1]) end
  if given.translate ~= "-" then return say(given.translate) end
  for line in io.lines() do say(line) end
end

-- ----

local given = read_options()
if given.translate then
  translate_text(given)
else
  if not given.evaluate then train(given) end
  evaluate(given)
end
