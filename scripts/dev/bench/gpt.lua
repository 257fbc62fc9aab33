-- gpt.lua: the time of one training step of a small language model (4 layers, 128 dimensions, 4 heads, context 64,
-- batch 12, 65 characters, AdamW) on two threads and on one, in microseconds, as lines "gpt/threads<TAB>time". Beside
-- gpt.py.

local nn = require "nnlua"

local LAYERS, WIDTH, HEADS, CONTEXT, BATCH, VOCABULARY = 4, 128, 4, 64, 12, 65
local STEPS, ROUNDS = 10, 5

local GPT = nn.Module:extend("GPT")

function GPT:init()
  local options = {dim_feedforward = 4 * WIDTH, dropout = 0, activation = "gelu", norm_first = true}
  local blocks = {}
  for index = 1, LAYERS do blocks[index] = nn.TransformerEncoderLayer(WIDTH, HEADS, options) end
  self.tokens = nn.Embedding(VOCABULARY, WIDTH)
  self.places = nn.Embedding(CONTEXT, WIDTH)
  self.blocks = nn.ModuleList(blocks)
  self.norm = nn.LayerNorm(WIDTH)
  self.head = nn.Dense(WIDTH, VOCABULARY, {bias = false})
end

function GPT:forward(tokens, places)
  local x = self.tokens(tokens) + self.places(places)
  for _, block in ipairs(self.blocks) do x = block(x, {is_causal = true}) end
  return self.head(self.norm(x))
end

local function training_step()
  local model = GPT()
  local optimizer = nn.optim.AdamW(model:parameters(), {lr = 1e-3})
  local criterion = nn.CrossEntropyLoss()
  local tokens = nn.randint(1, VOCABULARY + 1, {BATCH, CONTEXT})
  local target = nn.randint(1, VOCABULARY + 1, {BATCH * CONTEXT})
  local places = nn.arange(1, CONTEXT + 1, 1, {dtype = "int64"})
  return function()
    optimizer:zero_grad()
    criterion(model(tokens, places):reshape(-1, VOCABULARY), target):backward()
    optimizer:step()
  end
end

local function least(threads)
  nn.set_num_threads(threads)
  nn.manual_seed(1)
  local step, best = training_step(), math.huge
  for _ = 1, 3 do step() end
  for _ = 1, ROUNDS do
    local start = nn.clock()
    for _ = 1, STEPS do step() end
    best = math.min(best, nn.clock() - start)
  end
  return best / STEPS * 1e6
end

for _, threads in ipairs {2, 1} do print(("gpt/%d\t%.1f"):format(threads, least(threads))) end
