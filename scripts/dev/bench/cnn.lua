-- cnn.lua: times a training step of convolutional networks, on one thread and on two: w3 (32 and 64 channels of 3 x 3
-- on 28 x 28, max-pooling, dropout, 9216-128-10, Adam) and w4 (ResNet-20 on 32 x 32, SGD), both at batch 64. Prints
-- lines "name/threads microseconds bytes", the bytes being the most that were live; cnn.py does the same in PyTorch.
-- The argument picks cases: patterns with | between them.

local nn = require "nnlua"

local only = arg and arg[1] or ""
local steps = 10
local batch = 64

local function w3()
  return nn.Sequential{
    nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
    nn.Dense(9216, 128), nn.ReLU(), nn.Dropout(0.5), nn.Dense(128, 10),
  }
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
  return nn.Sequential(layers)
end

local networks = {
  {name = "w3", make = w3, shape = {batch, 1, 28, 28}, optimizer = function(p) return nn.optim.Adam(p) end},
  {name = "w4", make = w4, shape = {batch, 3, 32, 32},
   optimizer = function(p) return nn.optim.SGD(p, {lr = 0.01, momentum = 0.9}) end},
}

local function training_step(network)
  local model = network.make()
  local optimizer, criterion = network.optimizer(model:parameters()), nn.CrossEntropyLoss()
  local x, y = nn.randn(network.shape), nn.randint(1, 11, {batch})
  return function()
    optimizer:zero_grad()
    criterion(model(x), y):backward()
    optimizer:step()
  end
end

local function least(call)
  for _ = 1, 3 do call() end
  local best = math.huge
  for _ = 1, steps do
    local start = nn.clock()
    call()
    best = math.min(best, nn.clock() - start)
  end
  return best * 1e6
end

local function is_wanted(name)
  for pattern in only:gmatch("[^|]+") do
    if name:find(pattern) then return true end
  end
  return only == ""
end

nn.manual_seed(1)
for _, network in ipairs(networks) do
  for threads = 1, 2 do
    local name = network.name .. "/" .. threads
    if is_wanted(name) then
      nn.set_num_threads(threads)
      print(("%s %.1f %d"):format(name, least(training_step(network)), nn.memory().peak))
    end
  end
end
