--- Scores of texts, for any host that runs Lua: a bag of hashed words and a small network, so that no list of words is
-- kept and each text gives a vector of the same size.
--
--   local score = require "words".open("model.safetensors")      once a process
--   local probability = score(text)                              from 0 to 1
--
-- Training, from a file with a text a line, "1<Tab>text" for those that shall score high, "0<Tab>text" for the others:
--
--   nnlua scripts/hosts/words.lua texts.tsv model.safetensors

local nn = require "nnlua"

local words = {}

local SIZE = 1024 -- of the vector: words that meet in one place are few next to those that tell
local LONGEST = 65536 -- bytes of a text that count

--- The place of a word, from 1 to SIZE, the same in all versions of Lua: every product is below 2^53.
local function place(word)
  local hash = 7
  for i = 1, #word do hash = (hash * 257 + word:byte(i)) % 2147483647 end
  return hash % SIZE + 1
end

--- The vector of a text, of length 1 unless there is no word in it. Bytes from 128 are letters: words in UTF-8 stay
-- whole. Words that come again count once.
-- @param text string
-- @return list of SIZE numbers
function words.vector(text)
  local vector, distinct = {}, 0
  for i = 1, SIZE do vector[i] = 0 end
  for word in text:sub(1, LONGEST):lower():gmatch "[%w\128-\255]+" do
    local i = place(word)
    if vector[i] == 0 then distinct = distinct + 1 end
    vector[i] = 1
  end
  for i = 1, SIZE do vector[i] = vector[i] / math.sqrt(math.max(distinct, 1)) end
  return vector
end

--- A network that tells texts apart.
-- @param texts list of string
-- @param labels list of 0 or 1, one a text
-- @return the trained model, and the losses by epoch
function words.train(texts, labels)
  local rows, targets = {}, {}
  for i, text in ipairs(texts) do
    rows[i], targets[i] = words.vector(text), { labels[i] }
  end
  local model = nn.Sequential {
    nn.Dense(SIZE, 16, { activation = "relu" }),
    nn.Dense(16, 1, { activation = "sigmoid" }),
  }
  model:compile { optimizer = { "adam", lr = 0.01 }, loss = "binary_crossentropy" }
  local history = model:fit(nn.tensor(rows), nn.tensor(targets), { epochs = 30, batch_size = 16, verbose = 0 })
  return model, history.loss
end

--- Load a model of words.train; returns a function of a text that gives a probability.
-- @param path string
function words.open(path)
  local model = assert(nn.load(path))
  model:eval()
  return function(text)
    return nn.no_grad(function() return model(nn.tensor { words.vector(text) }):item() end)
  end
end

--- Texts and labels of a file with "label<Tab>text" in each line; nil and a message when it is of another kind.
-- @param path string
function words.read(path)
  local file, message = io.open(path)
  if not file then return nil, message end
  local texts, labels = {}, {}
  for line in file:lines() do
    local label, text = line:match "^([01])\t(.*)$"
    if not label then
      file:close()
      return nil, ("%s:%d: expected 0 or 1, a tab and a text"):format(path, #texts + 1)
    end
    texts[#texts + 1], labels[#labels + 1] = text, tonumber(label)
  end
  file:close()
  if #texts == 0 then return nil, path .. ": no texts" end
  return texts, labels
end

if arg and arg[0] and arg[0]:match "words%.lua$" then
  if #arg ~= 2 then error("usage: nnlua words.lua texts.tsv model.safetensors", 0) end
  nn.manual_seed(1)
  local texts, labels = words.read(arg[1])
  if not texts then error(labels, 0) end
  local model, losses = words.train(texts, labels)
  assert(model:save(arg[2]))
  print(("%d texts, loss %.4f, then %.4f"):format(#texts, losses[1], losses[#losses]))
end

return words
