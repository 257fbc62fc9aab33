-- digits.lua: which digit is it? Ten classes, from images of 8x8 pixels.
--
--   nnlua scripts/digits.lua [--seed N] [--epochs N]

local nn = require "nnlua"

local options = {seed = 1, epochs = 60}

for i = 1, #arg, 2 do
  local name = arg[i]:match("^%-%-(%w+)$")
  if not options[name] then error("unknown option " .. arg[i] .. "; there are --seed N, --epochs N", 0) end
  options[name] = assert(tonumber(arg[i + 1]), "--" .. name .. " needs a number")
end

nn.manual_seed(options.seed)

-- 1797 rows of 64 pixels from 0 to 16, then the digit. Classes count from 1, so the digit 0 is class 1.
local folder = arg[0]:match("^(.*[/\\])") or ""
local pixels, digits = assert(nn.data.csv(folder .. "data/digits.csv", {label = "digit", label_dtype = "int64"}))
local x_train, x_test, y_train, y_test = nn.data.train_test_split(pixels / 16, digits + 1, {stratify = true})

local model = nn.Sequential {
  nn.Dense(256, {activation = "relu"}),
  nn.Dropout(0.3),
  nn.Dense(128, {activation = "relu"}),
  nn.Dropout(0.3),
  nn.Dense(10, {activation = "softmax"}),
}

model:compile {optimizer = "adam", loss = "sparse_categorical_crossentropy", metrics = {"accuracy"}}
model:fit(x_train, y_train, {epochs = options.epochs, batch_size = 32})
model:summary()

local result = model:evaluate(x_test, y_test)
print(("\ntest loss: %.4f, test accuracy: %.4f\n"):format(result.loss, result.accuracy))

-- One image, drawn with letters, and what the network says of it.
local image = x_test[1]:reshape(8, 8)
for row = 1, 8 do
  local line = {}
  for column = 1, 8 do line[column] = (" .:-=+*#%@"):sub(1 + math.floor(image[{row, column}] * 9)):sub(1, 1):rep(2) end
  print("    " .. table.concat(line))
end
local class = model:predict(x_test:narrow(1, 1, 1)):argmax(2):item()
print(("\nthis is a %d, the network says %d"):format(y_test[1] - 1, class - 1))
