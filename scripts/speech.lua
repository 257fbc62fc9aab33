-- speech.lua: which digit is spoken? Learned from the 2,700 recordings of the Free Spoken Digit Dataset that are for
-- training; with --ctc, several digits in a row (Graves et al., 2006), from recordings that are joined.
--
--   nnlua scripts/speech.lua FOLDER [--model cnn|gru] [--ctc] [--epochs N] ...     --help lists all
--   nnlua scripts/speech.lua --listen file.wav [--ctc]
--
-- The best model is saved as speech-cnn.safetensors, speech-gru.safetensors or speech-ctc.safetensors.

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local training = dofile(here .. "lib/training.lua")

-- What the networks hear: 40 bands, a frame each 10 ms of sound with 8,000 samples a second.
local RATE, BANDS, HOP = 8000, 40, 80
local LONGEST = 8000 -- samples of a recording that a classifier hears

-- ---- networks. They take features (N, 40, frames).

local networks = {}

local function convolution(inputs, outputs, stride)
  return nn.Sequential {
    nn.Conv2d(inputs, outputs, 3, { padding = 1, stride = stride, bias = false }), -- the normalisation has a bias
    nn.BatchNorm2d(outputs),
    nn.ReLU(),
  }
end

--- The features as a picture.
function networks.cnn()
  return nn.Sequential {
    nn.Unflatten(2, { 1, BANDS }),
    convolution(1, 24), nn.MaxPool2d(2), nn.Dropout(0.1),
    convolution(24, 48), nn.MaxPool2d(2), nn.Dropout(0.2),
    convolution(48, 96), nn.MaxPool2d(2), nn.Dropout(0.2),
    convolution(96, 96), nn.GlobalAvgPool2d(),
    nn.Dropout(0.3),
    nn.Dense(96, 10),
  }
end

local Listener = nn.Module:extend("Listener")

local function shortening(inputs, outputs) -- to half as many frames
  return nn.Sequential {
    nn.Conv1d(inputs, outputs, 5, { stride = 2, padding = 2, bias = false }),
    nn.BatchNorm1d(outputs),
    nn.ReLU(),
    nn.Dropout(0.1),
  }
end

--- A recurrent network, in both directions, over what is left of the frames, one for each 40 ms. What it knows at each
-- is averaged for one answer, or made into scores for each: (N, frames / 4, outputs).
function Listener:init(outputs, each)
  self.each = each
  self.front = nn.Sequential { shortening(BANDS, 64), shortening(64, 96) }
  self.gru = nn.GRU(96, 96, { bidirectional = true })
  self.dropout = nn.Dropout(0.3)
  self.output = nn.Dense(192, outputs)
end

function Listener:forward(features)
  local x = self.gru(self.front(features):transpose(2, 3))
  if not self.each then x = x:mean(2) end
  return self.output(self.dropout(x))
end

function networks.gru() return Listener(10, false) end

-- Ten digits and the blank, which is the first.
function networks.ctc() return Listener(11, true) end

-- ---- the command line

local spec = {
  script = "speech", collection = "speech",
  recipes = {
    { name = "cnn", epochs = 25, batch_size = 32, lr = 0.003, validation = 270, weight_decay = 0.01 },
    { name = "gru", epochs = 25, batch_size = 32, lr = 0.003, validation = 270, weight_decay = 0.01 },
    { name = "ctc", epochs = 40, batch_size = 32, lr = 0.003, validation = 270, weight_decay = 0.01 },
  },
  numbers = {
    { "epochs", "count", "how often all recordings are heard" },
    { "batch-size", "count", "recordings, or joined recordings, in a step" },
    { "lr", "positive", "the highest learning rate" },
    { "validation", "count", "training recordings held out, by which the best epoch is chosen" },
  },
}

local HELP = [[
The folder must hold recordings.tar.gz, or the recordings themselves, such as recordings/7_theo_12.wav.
They are in https://github.com/Jakobovski/free-spoken-digit-dataset.]]

local function read_options()
  local parser = training.parser("Learns which digits are spoken.")
  parser:argument("folder", "where the recordings are (default: $NNLUA_DATA/speech)"):args("?")
  parser:flag("--ctc", "learn to hear several digits in a row: --model ctc")
  parser:option("--listen", "do not train: say what the saved model hears in this file"):argname("<file>")
  training.options(parser, spec)
  local given = training.parse(parser)
  if given.ctc then given.model = "ctc" end
  return training.complete(given, spec)
end

-- ---- recordings

-- The bytes of the recordings by name: from an archive, or from files.
local function read_files(folder)
  local archive, problem = nn.data.tar(folder .. "/recordings.tar.gz")
  if archive then return archive end
  local files = {}
  for _, place in ipairs { folder, folder .. "/recordings" } do
    for _, name in ipairs(nn.data.folder(place) or {}) do
      if name:find("%.wav$") then files[name] = assert(nn.data.bytes(place .. "/" .. name)) end
    end
  end
  if next(files) then return files end
  training.fail(problem .. "\n" .. HELP)
end

local function decode_sound(bytes, name)
  local samples, rate = nn.data.audio(bytes, { mono = true, rate = RATE })
  if not samples then training.fail(name .. ": " .. rate) end
  return samples:squeeze(1)
end

-- Two lists of {samples, label (digit + 1), speaker}: for training, and for testing. By the official split the latter
-- are the recordings 0 to 4 of each speaker and digit.
local function read_recordings(folder)
  local files, names = read_files(folder), {}
  for name in pairs(files) do names[#names + 1] = name end
  table.sort(names)
  local train, test = {}, {}
  for _, name in ipairs(names) do
    local digit, speaker, index = name:match("(%d)_([^_/]+)_(%d+)%.wav$")
    if digit then
      local list = tonumber(index) < 5 and test or train
      list[#list + 1] = { samples = decode_sound(files[name], name), label = tonumber(digit) + 1, speaker = speaker }
    end
  end
  if #train == 0 or #test == 0 then
    training.fail(folder .. ": there are no recordings for training, or none for testing\n" .. HELP)
  end
  return train, test
end

-- The first `count` in a random order, and the rest.
local function hold_out(list, count)
  local held, rest = {}, {}
  for place, i in ipairs(nn.randperm(#list):tolist()) do
    local to = place <= count and held or rest
    to[#to + 1] = list[i]
  end
  return held, rest
end

-- ---- features

-- Signals (N, samples) to (N, 40, frames): logarithms, each recording with mean 0 and deviation 1, so that it does not
-- matter how loud somebody speaks.
local function features(signals)
  local mel = nn.audio.mel_spectrogram(signals, {
    rate = RATE, n_fft = 256, hop_length = HOP, n_mels = BANDS, f_min = 50, pad_mode = "constant",
  })
  local x = (mel + 1e-6):log()
  local mean, deviation = x:mean({ 2, 3 }, true), x:std({ 2, 3 }, true)
  return (x - mean) / (deviation + 1e-3)
end

local function random(low, high) return low + (high - low) * nn.rand(1)[1] end

-- Noise at random between 10 and 60 dB below the signal, then masks over bands and frames.
local function augmented_features(signals)
  local noise = nn.randn(signals.shape)
  signals = nn.audio.add_noise(signals, noise, nn.rand(#signals) * 50 + 10)
  return nn.audio.spec_augment(features(signals), { frequency = 6, time = 8 })
end

-- Put a recording into `row`, a tensor, at sample `first` (from 0); what is beyond its end is cut off.
local function place(row, samples, first)
  local count = math.min(#samples, #row - first)
  if count > 0 then row:narrow(1, first + 1, count):copy_(samples:narrow(1, 1, count)) end
end

-- ---- one digit

-- Batches for fit: features and labels. For training, recordings begin at a random time and are changed.
local function classifier_loader(list, batch_size, augment)
  local function collate(samples)
    local signals, labels = nn.zeros(#samples, LONGEST), {}
    for i, sample in ipairs(samples) do
      local recording = sample[1]
      local room = math.max(LONGEST - #recording.samples, 0)
      place(signals[i], recording.samples, math.floor(augment and random(0, room + 0.999) or room / 2))
      labels[i] = recording.label
    end
    return (augment and augmented_features or features)(signals), nn.tensor(labels, { dtype = "int64" })
  end
  local dataset = { get = function(_, i) return list[i] end }
  setmetatable(dataset, { __len = function() return #list end })
  return nn.data.DataLoader(dataset, { batch_size = batch_size, shuffle = augment, collate = collate })
end

-- ---- several digits

-- Recordings of one speaker after another with some silence between them: samples and digits.
local function join(recordings)
  local parts, labels = {}, {}
  for i, recording in ipairs(recordings) do
    parts[#parts + 1] = nn.zeros(math.floor(random(0, 0.25 * RATE)))
    parts[#parts + 1] = recording.samples
    labels[i] = recording.label
  end
  parts[#parts + 1] = nn.zeros(math.floor(random(0, 0.25 * RATE)))
  return { samples = nn.cat(parts, 1), labels = labels }
end

local function by_speaker(list)
  local groups, names = {}, {}
  for _, recording in ipairs(list) do
    if not groups[recording.speaker] then
      groups[recording.speaker] = {}
      names[#names + 1] = recording.speaker
    end
    table.insert(groups[recording.speaker], recording)
  end
  return groups, names
end

-- All recordings once, in rows of 1 to `most` of the same speaker, in random order.
local function joined(list, most)
  local rows, groups, names = {}, by_speaker(list)
  for _, name in ipairs(names) do
    local row, wanted = {}, 0
    for _, i in ipairs(nn.randperm(#groups[name]):tolist()) do
      if wanted == 0 then wanted = math.floor(random(1, most + 0.999)) end
      row[#row + 1] = groups[name][i]
      if #row == wanted then
        rows[#rows + 1], row, wanted = join(row), {}, 0
      end
    end
    if #row > 0 then rows[#rows + 1] = join(row) end
  end
  local shuffled = {}
  for i, from in ipairs(nn.randperm(#rows):tolist()) do shuffled[i] = rows[from] end
  return shuffled
end

-- Joined recordings as signals of one length and their digits, filled up with 0; what is added is more silence.
local function collate_rows(rows)
  local longest, digits = 0, 0
  for _, row in ipairs(rows) do
    longest, digits = math.max(longest, #row.samples), math.max(digits, #row.labels)
  end
  local signals, labels = nn.zeros(#rows, longest), nn.zeros(#rows, digits, { dtype = "int64" })
  for i, row in ipairs(rows) do
    place(signals[i], row.samples, 0)
    for k, label in ipairs(row.labels) do labels[{ i, k }] = label + 1 end -- behind the blank
  end
  return signals, labels
end

-- Batches for fit: new rows each time for training, always the same ones for choosing.
local Rows = {}
Rows.__index = Rows

local function row_loader(list, batch_size, augment)
  local self = setmetatable({ list = list, batch_size = batch_size, augment = augment }, Rows)
  if not augment then self.rows = joined(list, 5) end
  self.count = math.ceil(augment and #list / 2 / batch_size or #self.rows / batch_size)
  return self
end

function Rows:__len() return self.count end

function Rows:batches()
  local rows, k = self.rows or {}, 0
  return function()
    k = k + 1
    if k > self.count then return nil end
    if self.augment and #rows < k * self.batch_size then
      for _, row in ipairs(joined(self.list, 5)) do rows[#rows + 1] = row end
    end
    local batch = {}
    for i = (k - 1) * self.batch_size + 1, math.min(#rows, k * self.batch_size) do batch[#batch + 1] = rows[i] end
    local signals, labels = collate_rows(batch)
    return (self.augment and augmented_features or features)(signals), labels
  end
end

-- ---- training

local ctc = nn.CTCLoss { zero_infinity = true }

-- Scores (N, T, 11) and digits (N, S), filled up with 0.
local function ctc_loss(scores, labels)
  local steps = nn.full({ #scores }, scores:size(2), { dtype = "int64" })
  return ctc(scores:log_softmax(-1), labels:clamp(1), steps, labels:gt(0):sum(2))
end

local kinds = {
  digit = {
    loader = classifier_loader, loss = nn.CrossEntropyLoss { label_smoothing = 0.1 }, metrics = { "accuracy" },
    monitor = "val_accuracy",
  },
  digits = { loader = row_loader, loss = ctc_loss, monitor = "val_loss" },
}

local function callbacks(optimizer, given, kind, steps)
  local schedule = nn.optim.lr_scheduler.OneCycleLR(optimizer, given.lr, { total_steps = steps * given.epochs + 1 })
  return {
    nn.callbacks.LearningRateScheduler(schedule, { every = "batch" }),
    nn.callbacks.ModelCheckpoint(given.save, {
      monitor = kind.monitor, save_best_only = true, metadata = { network = given.recipe.name },
    }),
    training.backup(given),
  }
end

local function train(given, list)
  local kind = kinds[given.recipe.name == "ctc" and "digits" or "digit"]
  local held, rest = hold_out(list, given.validation)
  local loader = kind.loader(rest, given.batch_size, true)
  local model = networks[given.recipe.name]()
  print(("%d recordings to learn from, %d held out, %d numbers to learn"):format(
    #rest, #held, model:num_parameters()))
  local optimizer = nn.optim.AdamW(model:parameters(), { lr = given.lr, weight_decay = given.recipe.weight_decay })
  model:compile { optimizer = optimizer, loss = kind.loss, metrics = kind.metrics, clip_norm = 5 }
  training.plot(model:fit(loader, {
    epochs = given.epochs, validation_data = kind.loader(held, 100, false),
    callbacks = callbacks(optimizer, given, kind, #loader),
  }), given.plot)
  print("best model: " .. given.save)
  return assert(nn.load(given.save))
end

-- ---- what it hears

-- The digits that the model for several of them hears in signals (N, samples): for each a list.
local function hear_rows(model, signals)
  local scores = nn.no_grad(function() return model:eval()(features(signals)) end)
  local rows = nn.text.ctc_decode(scores, { beam = 8 })
  for _, row in ipairs(rows) do
    for k, label in ipairs(row) do row[k] = label - 2 end
  end
  return rows
end

local function report_digits(model, test)
  local heard, spoken = {}, {}
  for _ = 1, 5 do -- each recording in five rows
    for _, row in ipairs(joined(test, 5)) do
      heard[#heard + 1] = hear_rows(model, row.samples:unsqueeze(1))[1]
      spoken[#spoken + 1] = {}
      for k, label in ipairs(row.labels) do spoken[#spoken][k] = label - 1 end
    end
  end
  for i = 1, math.min(5, #heard) do
    print(("spoken %-10s heard %s"):format(table.concat(spoken[i], " "), table.concat(heard[i], " ")))
  end
  local rate, counts = nn.text.error_rate(heard, spoken)
  print(("\ndigit error rate: %.2f %% of %d digits (%d exchanged, %d added, %d missed); %d of %d rows without error")
    :format(100 * rate, counts.length, counts.substitutions, counts.insertions, counts.deletions, counts.exact, #heard))
end

local function report_digit(model, test)
  local scores, labels, names = {}, {}, {}
  for features_of, label in classifier_loader(test, 100, false):batches() do
    scores[#scores + 1], labels[#labels + 1] = model:predict(features_of), label
  end
  for digit = 0, 9 do names[digit + 1] = tostring(digit) end
  scores, labels = nn.cat(scores, 1), nn.cat(labels, 1)
  print()
  nn.plot.confusion_matrix(nn.metrics.confusion_matrix(scores, labels), { classes = names })
  print(("\ntest accuracy: %.2f %% of %d recordings"):format(100 * nn.metrics.accuracy(scores, labels), #labels))
end

-- ---- listening

local function load_model(given)
  local model, metadata = nn.load(given.save)
  if not model then
    training.fail(metadata .. "\nthere is no model yet: train one, or name its file by --save")
  end
  if type(metadata) ~= "table" or not networks[metadata.network] then
    training.fail(given.save .. ": no model of this script")
  end
  return model, metadata.network
end

local function listen(given)
  local model, network = load_model(given)
  local samples, problem = nn.data.audio(given.listen, { mono = true, rate = RATE })
  if not samples then training.fail(problem) end
  if network == "ctc" then return print(table.concat(hear_rows(model, samples)[1], " ")) end
  local dataset = classifier_loader({ { samples = samples:squeeze(1), label = 1 } }, 1, false)
  local probabilities
  for x in dataset:batches() do probabilities = model:predict(x):softmax(-1)[1] end
  local best, digits = probabilities:topk(3, 1)
  for k = 1, 3 do print(("%5.1f %%  %d"):format(100 * best[k], digits[k] - 1)) end
end

-- ----

local given = read_options()
if given.listen then
  listen(given)
else
  if not given.folder then
    training.fail("no folder with recordings was given, and the environment variable NNLUA_DATA is not set\n" .. HELP)
  end
  local list, test = read_recordings(given.folder)
  if given.validation >= #list then
    training.fail(("--validation: there are only %d recordings to train with"):format(#list), 2)
  end
  local model = train(given, list)
  local report = given.recipe.name == "ctc" and report_digits or report_digit
  report(model, test)
end
