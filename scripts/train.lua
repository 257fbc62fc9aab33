-- train.lua: is a tumour benign? A network learns it from the Wisconsin breast cancer data.
--
--   nnlua scripts/train.lua [--seed N] [--epochs N] [--save FILE]
--
-- train_loop.lua does the same with a loop written by hand.

local nn = require "nnlua"

-- ---- the command line

local options = {seed = 1, epochs = 30}

for i = 1, #arg, 2 do
  local name = arg[i]:match("^%-%-(%w+)$")
  if name == "seed" or name == "epochs" then
    options[name] = assert(tonumber(arg[i + 1]), "--" .. name .. " needs a number")
  elseif name == "save" then
    options.save = assert(arg[i + 1], "--save needs the name of a file")
  else
    error("unknown option " .. arg[i] .. "; there are --seed N, --epochs N, --save FILE", 0)
  end
end

nn.manual_seed(options.seed)

-- ---- the data: 569 rows of 30 measurements; the last column is 1 for benign, 0 for malignant

local folder = arg[0]:match("^(.*[/\\])") or ""
local x, y = assert(nn.data.csv(folder .. "data/breast_cancer.csv", {label = "benign"}))
local x_train, x_test, y_train, y_test = nn.data.train_test_split(x, y, {test = 0.2, stratify = true})

-- Each measurement with mean 0 and deviation 1. What is known of the test rows must not help, so the training rows
-- alone say what the mean is.
local mean, deviation = x_train:mean(1), x_train:std(1)
x_train = (x_train - mean) / deviation
x_test = (x_test - mean) / deviation

-- ---- the network

local CustomNN = nn.Module:extend("CustomNN")

function CustomNN:init()
  self.dense1 = nn.Dense(128, {activation = "relu"})
  self.dense2 = nn.Dense(64, {activation = "relu"})
  self.dense3 = nn.Dense(1, {activation = "sigmoid"})
end

function CustomNN:forward(x) -- luacheck: ignore 431
  return self.dense3(self.dense2(self.dense1(x)))
end

-- ---- training

local model = CustomNN()
model:summary {x:size(2)}
print()

model:compile {optimizer = "adam", loss = "binary_crossentropy", metrics = {"accuracy"}}
model:fit(x_train, y_train, {epochs = options.epochs, batch_size = 32})

local result = model:evaluate(x_test, y_test)
print(("\ntest loss: %.4f, test accuracy: %.4f"):format(result.loss, result.accuracy))

-- ---- saving, loading, predicting

local path = options.save or os.tmpname()
assert(model:save(path))
print("saved to " .. path)

local again = assert(nn.load(path))
local probabilities = again:predict(x_test:narrow(1, 1, 5))
print("\nfive of the test rows, by the loaded model:")
for i = 1, #probabilities do
  print(("  benign with probability %.3f; in truth %s"):format(
    probabilities[{i, 1}], y_test[i] == 1 and "benign" or "malignant"))
end
