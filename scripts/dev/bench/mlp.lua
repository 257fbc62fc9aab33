-- mlp.lua: times the network of train.lua: one training step at batch 32 and 1, and the prediction of one row. Prints
-- lines "name microseconds", the least of several rounds. bench/mlp.py does the same in PyTorch; bench.sh pairs them.

local nn = require "nnlua"

nn.manual_seed(1)
nn.set_num_threads(1)

local rounds = tonumber(arg and arg[1]) or 10

local Net = nn.Module:extend("Net")

function Net:init()
  self.dense1 = nn.Dense(30, 128, {activation = "relu"})
  self.dense2 = nn.Dense(128, 64, {activation = "relu"})
  self.dense3 = nn.Dense(64, 1, {activation = "sigmoid"})
end

function Net:forward(x)
  return self.dense3(self.dense2(self.dense1(x)))
end

--- The least time of one call, in microseconds. Every round begins with a new network: one that has been trained on
-- the same batch for long has gradients so small that arithmetic with them is slow.
local function least(calls, make, ...)
  local best = math.huge
  for _ = 1, rounds do
    local call = make(...)
    for _ = 1, 50 do call() end
    local start = nn.clock()
    for _ = 1, calls do call() end
    best = math.min(best, (nn.clock() - start) / calls)
  end
  return best * 1e6
end

local function training_step(batch)
  local model = Net()
  local optimizer = nn.optim.Adam(model:parameters())
  local criterion = nn.BCELoss()
  local x = nn.randn(batch, 30)
  local y = nn.randint(0, 2, {batch, 1}):to("float32")
  return function()
    optimizer:zero_grad()
    local loss = criterion(model(x), y)
    loss:backward()
    optimizer:step()
  end
end

local function prediction()
  local model = Net():eval()
  local x = nn.randn(1, 30)
  return function() return model(x) end
end

print(("step32 %.3f"):format(least(500, training_step, 32)))
print(("step1 %.3f"):format(least(500, training_step, 1)))
nn.no_grad(function()
  print(("predict %.3f"):format(least(5000, prediction)))
end)
