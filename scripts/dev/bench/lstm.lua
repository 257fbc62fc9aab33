-- lstm.lua: times a character model: embedding 256, two LSTM layers of 256, 65 characters, batches of 32 sequences of
-- 64 steps, Adam. Prints lines "name/threads microseconds", the least of several rounds: one training step, and one
-- prediction of a batch. bench/lstm.py does the same in PyTorch.

local nn = require "nnlua"

local rounds = 4

nn.manual_seed(1)

local VOCABULARY, WIDTH, LENGTH, BATCH = 65, 256, 64, 32

local Net = nn.Module:extend("Net")

function Net:init()
  self.embedding = nn.Embedding(VOCABULARY, WIDTH)
  self.lstm = nn.LSTM(WIDTH, WIDTH, {num_layers = 2})
  self.head = nn.Dense(WIDTH, VOCABULARY)
end

function Net:forward(tokens)
  local states = self.lstm(self.embedding(tokens))
  return self.head(states)
end

--- The least time of one call, in microseconds, with a new network in every round.
local function least(calls, make)
  local best = math.huge
  for _ = 1, rounds do
    local call = make()
    for _ = 1, 2 do call() end
    local start = nn.clock()
    for _ = 1, calls do call() end
    best = math.min(best, (nn.clock() - start) / calls)
  end
  return best * 1e6
end

local function batch_of_tokens()
  return nn.randint(1, VOCABULARY + 1, {BATCH, LENGTH})
end

local function training_step()
  local model = Net()
  local optimizer = nn.optim.Adam(model:parameters())
  local criterion = nn.CrossEntropyLoss()
  local tokens, targets = batch_of_tokens(), batch_of_tokens():reshape(-1)
  return function()
    optimizer:zero_grad()
    local loss = criterion(model(tokens):reshape(-1, VOCABULARY), targets)
    loss:backward()
    optimizer:step()
  end
end

local function prediction()
  local model = Net():eval()
  local tokens = batch_of_tokens()
  return function() return model(tokens) end
end

for threads = 1, 2 do
  nn.set_num_threads(threads)
  print(("step/%d %.1f"):format(threads, least(5, training_step)))
  nn.no_grad(function()
    print(("predict/%d %.1f"):format(threads, least(10, prediction)))
  end)
end
