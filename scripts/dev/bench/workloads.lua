-- workloads.lua NAME[,NAME...] THREADS [PRECISION] [SECONDS]: times workloads, each for about so many seconds (2), and
-- prints lines "name threads precision microseconds bytes": the least time of one call, and the most memory that the
-- process had so far. A training workload's call is a step: zero gradients, forward, loss, backward, update. PRECISION:
-- "full" or "mixed". workloads.py does the same in PyTorch, bench.sh runs both.

local nn = require "nnlua"

local names, threads = arg[1] or "", tonumber(arg[2] or 2)
local precision, seconds = arg[3] or "full", tonumber(arg[4] or 2)

local function step_of(optimizer, loss_of)
  local forward = loss_of
  if precision == "mixed" then forward = function() return nn.autocast(loss_of) end end
  return function()
    optimizer:zero_grad()
    forward():backward()
    optimizer:step()
  end
end

local function classifier(model, shape, classes, optimizer)
  local x, y = nn.randn(shape), nn.randint(1, classes + 1, {shape[1]})
  local criterion = nn.CrossEntropyLoss()
  return step_of(optimizer or nn.optim.Adam(model:parameters()), function() return criterion(model(x), y) end)
end

-- ---- multilayer perceptrons

local Small = nn.Module:extend("Small")

function Small:init()
  self.dense1 = nn.Dense(30, 128, {activation = "relu"})
  self.dense2 = nn.Dense(128, 64, {activation = "relu"})
  self.dense3 = nn.Dense(64, 1, {activation = "sigmoid"})
end

function Small:forward(x)
  return self.dense3(self.dense2(self.dense1(x)))
end

local function w1(batch)
  local model, criterion = Small(), nn.BCELoss()
  local x, y = nn.randn(batch, 30), nn.randint(0, 2, {batch, 1}):to("float32")
  return step_of(nn.optim.Adam(model:parameters()), function() return criterion(model(x), y) end)
end

local function w1_predict()
  local model, x = Small():eval(), nn.randn(1, 30)
  nn.set_grad_enabled(false)
  return function() return model(x) end
end

local function perceptron(inputs, width, outputs, batch)
  return classifier(nn.Sequential{
    nn.Dense(inputs, width, {activation = "relu"}), nn.Dense(width, width, {activation = "relu"}),
    nn.Dense(width, outputs),
  }, {batch, inputs}, outputs)
end

-- ---- pictures

local function w3()
  return classifier(nn.Sequential{
    nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
    nn.Dense(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Dense(128, 10),
  }, {64, 1, 28, 28}, 10)
end

local Block = nn.Module:extend("Block")

function Block:init(inputs, outputs, stride)
  self.conv1 = nn.Conv2d(inputs, outputs, 3, {stride = stride, padding = 1, bias = false})
  self.norm1 = nn.BatchNorm2d(outputs)
  self.conv2 = nn.Conv2d(outputs, outputs, 3, {padding = 1, bias = false})
  self.norm2 = nn.BatchNorm2d(outputs)
  if stride > 1 then
    self.shortcut = nn.Sequential{
      nn.Conv2d(inputs, outputs, 1, {stride = stride, bias = false}), nn.BatchNorm2d(outputs),
    }
  end
end

function Block:forward(x)
  local y = self.norm1(self.conv1(x)):relu()
  y = self.norm2(self.conv2(y))
  return (y + (self.shortcut and self.shortcut(x) or x)):relu()
end

local function w4()
  local layers = {nn.Conv2d(3, 16, 3, {padding = 1, bias = false}), nn.BatchNorm2d(16), nn.ReLU()}
  local inputs = 16
  for stage, outputs in ipairs{16, 32, 64} do
    for block = 1, 3 do
      layers[#layers + 1] = Block(inputs, outputs, stage > 1 and block == 1 and 2 or 1)
      inputs = outputs
    end
  end
  layers[#layers + 1] = nn.GlobalAvgPool2d()
  layers[#layers + 1] = nn.Dense(64, 10)
  local model = nn.Sequential(layers)
  return classifier(model, {64, 3, 32, 32}, 10, nn.optim.SGD(model:parameters(), {lr = 0.01, momentum = 0.9}))
end

-- ---- text

local CHARACTERS = 65

local Recurrent = nn.Module:extend("Recurrent")

function Recurrent:init()
  self.embedding = nn.Embedding(CHARACTERS, 256)
  self.lstm = nn.LSTM(256, 256, {num_layers = 2})
  self.head = nn.Dense(256, CHARACTERS)
end

function Recurrent:forward(tokens)
  local states = self.lstm(self.embedding(tokens))
  return self.head(states)
end

local function next_character(model, optimizer, batch, length)
  local tokens = nn.randint(1, CHARACTERS + 1, {batch, length})
  local target, criterion = nn.randint(1, CHARACTERS + 1, {batch * length}), nn.CrossEntropyLoss()
  return step_of(optimizer, function() return criterion(model(tokens):reshape(-1, CHARACTERS), target) end)
end

local function w5()
  local model = Recurrent()
  return next_character(model, nn.optim.Adam(model:parameters()), 32, 64)
end

local GPT = nn.Module:extend("GPT")

function GPT:init(layers, heads, width, context)
  local options = {dim_feedforward = 4 * width, dropout = 0, activation = "gelu", norm_first = true}
  local blocks = {}
  for index = 1, layers do blocks[index] = nn.TransformerEncoderLayer(width, heads, options) end
  self.places_used = nn.arange(1, context + 1, 1, {dtype = "int64"})
  self.tokens = nn.Embedding(CHARACTERS, width)
  self.places = nn.Embedding(context, width)
  self.blocks = nn.ModuleList(blocks)
  self.norm = nn.LayerNorm(width)
  self.head = nn.Dense(width, CHARACTERS, {bias = false})
end

function GPT:forward(tokens)
  local x = self.tokens(tokens) + self.places(self.places_used)
  for _, block in ipairs(self.blocks) do x = block(x, {is_causal = true}) end
  return self.head(self.norm(x))
end

local function gpt(layers, heads, width, context, batch)
  local model = GPT(layers, heads, width, context)
  return next_character(model, nn.optim.AdamW(model:parameters(), {lr = 1e-3}), batch, context)
end

-- ---- measuring

local workloads = {
  w1 = function() return w1(32) end,
  w1_batch1 = function() return w1(1) end,
  w1_predict = w1_predict,
  w2 = function() return perceptron(784, 512, 10, 128) end,
  w3 = w3,
  w4 = w4,
  w5 = w5,
  w6s = function() return gpt(4, 4, 128, 64, 12) end,
  w6 = function() return gpt(6, 6, 384, 256, 8) end,
}

-- The most memory of this process, in bytes.
local function peak_bytes()
  local status = io.open("/proc/self/status")
  local text = status and status:read("a") or ""
  if status then status:close() end
  return 1024 * (tonumber(text:match("VmHWM:%s*(%d+)")) or 0)
end

--- Every round begins with a new network: one that has been trained on the same batch for long has gradients so small
-- that arithmetic with them is slow.
local function least(make)
  local best, rounds, begin = math.huge, 4, nn.clock()
  for _ = 1, rounds do
    local call = make()
    for _ = 1, 2 do call() end
    local start, calls = nn.clock(), 0
    repeat
      local before = nn.clock()
      for _ = 1, 3 do call() end
      best = math.min(best, (nn.clock() - before) / 3)
      calls = calls + 3
    until nn.clock() - start > seconds / rounds or calls > 3000
    collectgarbage()
    if nn.clock() - begin > seconds then break end
  end
  return best * 1e6
end

local function fail(message)
  io.stderr:write("workloads.lua: ", message, "\n")
  os.exit(1)
end

local function maker_of(name)
  local batch, width = name:match("^mlp_(%d+)_(%d+)$") -- a point of bench.sh sweep
  if batch then
    return function() return perceptron(tonumber(width), tonumber(width), 10, tonumber(batch)) end
  end
  if workloads[name] then return workloads[name] end
  local known = {}
  for each in pairs(workloads) do known[#known + 1] = each end
  table.sort(known)
  fail("expected one of " .. table.concat(known, " ") .. ", got '" .. name .. "'")
end

nn.manual_seed(1)
nn.set_num_threads(threads)
if names == "" then fail("expected the name of a workload") end
for name in names:gmatch("[^,]+") do
  print(("%s %d %s %.2f %d"):format(name, threads, precision, least(maker_of(name)), peak_bytes()))
end
