-- train_loop.lua: the network of train.lua, trained by a loop written by hand.
--
--   nnlua scripts/train_loop.lua [--seed N] [--epochs N]

local nn = require "nnlua"

local options = {seed = 1, epochs = 30}

for i = 1, #arg, 2 do
  local name = arg[i]:match("^%-%-(%w+)$")
  if not options[name] then error("unknown option " .. arg[i] .. "; there are --seed N, --epochs N", 0) end
  options[name] = assert(tonumber(arg[i + 1]), "--" .. name .. " needs a number")
end

nn.manual_seed(options.seed)

local folder = arg[0]:match("^(.*[/\\])") or ""
local x, y = assert(nn.data.csv(folder .. "data/breast_cancer.csv", {label = "benign"}))
local x_train, x_test, y_train, y_test = nn.data.train_test_split(x, y:unsqueeze(2), {test = 0.2, stratify = true})

local mean, deviation = x_train:mean(1), x_train:std(1)
x_train = (x_train - mean) / deviation
x_test = (x_test - mean) / deviation

local CustomNN = nn.Module:extend("CustomNN")

function CustomNN:init(inputs)
  self.dense1 = nn.Dense(inputs, 128, {activation = "relu"})
  self.dense2 = nn.Dense(128, 64, {activation = "relu"})
  self.dense3 = nn.Dense(64, 1, {activation = "sigmoid"})
end

function CustomNN:forward(x) -- luacheck: ignore 431
  return self.dense3(self.dense2(self.dense1(x)))
end

local model = CustomNN(x:size(2))
local loss_of = nn.BCELoss()
local optimizer = nn.optim.Adam(model:parameters(), {lr = 0.001})

local loader = nn.data.DataLoader(nn.data.TensorDataset(x_train, y_train), {batch_size = 32, shuffle = true})

for epoch = 1, options.epochs do
  local total = 0
  for inputs, targets in loader:batches() do
    local loss = loss_of(model(inputs), targets)
    optimizer:zero_grad()
    loss:backward()
    optimizer:step()
    total = total + loss:item() * #inputs
  end
  print(("epoch %2d  loss %.4f"):format(epoch, total / #x_train))
end

-- Without a graph for gradients: nothing is to be learned from the test.
model:eval()
local predictions = nn.no_grad(function() return model(x_test) end)
print(("test accuracy: %.4f"):format(nn.metrics.accuracy(predictions, y_test)))
