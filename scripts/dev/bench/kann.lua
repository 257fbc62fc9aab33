-- rspamd's neural plugin with its own rspamd_kann and with nnlua: the network that the plugin makes (its own function),
-- trained and asked for scores by either, in rspamd's LuaJIT. Run by bench.sh kann, as
--
--   NNLUA_ROOT=... NNLUA_MODULE=... rspamadm lua -b -s scripts/dev/bench/kann.lua
--
-- Prints a line for each measurement: library, what, value.
local root = os.getenv "NNLUA_ROOT"
package.path = root .. "/scripts/hosts/?.lua;" .. package.path
package.cpath = os.getenv "NNLUA_MODULE" .. "/?.so;" .. package.cpath
local nn = require "nnlua"
nn.set_num_threads(1)

local libraries = { kann = require "rspamd_kann", nnlua = require "nnlua_kann" }

-- The plugin's create_ann as if only this library were there.
local function create(name, inputs)
  package.loaded.rspamd_kann = libraries[name]
  package.loaded["plugins/neural"] = nil
  return require "plugins/neural".create_ann(inputs, 3, {})
end

-- Numbers as from a file: the last of each row is the class, `positive` of them 1, others -1.
local function read(path, positive)
  local inputs, outputs = {}, {}
  for line in io.lines(path) do
    local row = {}
    for number in line:gmatch "[^,]+" do row[#row + 1] = tonumber(number) end
    local class = table.remove(row)
    if class then
      inputs[#inputs + 1], outputs[#outputs + 1] = row, { positive(class) and 1 or -1 }
    end
  end
  return inputs, outputs
end

-- Every fifth row is for the test; the columns of all are scaled by those for training.
local function split(inputs, outputs)
  local train, test = { {}, {} }, { {}, {} }
  for i, row in ipairs(inputs) do
    local part = i % 5 == 0 and test or train
    table.insert(part[1], row)
    table.insert(part[2], outputs[i])
  end
  return train, test
end

local function scale(rows)
  local most = {}
  for _, row in ipairs(rows) do
    for k, x in ipairs(row) do most[k] = math.max(most[k] or 1e-9, math.abs(x)) end
  end
  for _, row in ipairs(rows) do
    for k, x in ipairs(row) do row[k] = x / most[k] end
  end
end

local function accuracy(net, test)
  local right = 0
  for i, row in ipairs(test[1]) do
    if (net:apply1(row)[1] > 0) == (test[2][i][1] > 0) then right = right + 1 end
  end
  return 100 * right / #test[1]
end

local function report(name, what, value) print(("%s %s %.6g"):format(name, what, value)) end

local function accuracies(name, what, path, positive)
  local inputs, outputs = read(path, positive)
  scale(inputs)
  local train, test = split(inputs, outputs)
  local sum, rounds = 0, 5
  for _ = 1, rounds do
    local net = create(name, #inputs[1])
    net:train1(train[1], train[2], { lr = 0.01, max_epoch = 25 })
    sum = sum + accuracy(net, test)
  end
  report(name, what, sum / rounds)
end

-- Vectors like those of the plugin: of some hundred symbols a message has a few.
local function messages(count, symbols)
  math.randomseed(1)
  local inputs, outputs = {}, {}
  for i = 1, count do
    local row = {}
    for k = 1, symbols do row[k] = math.random() < 0.05 and math.random() or 0 end
    local spam = i % 2 == 0
    for _ = 1, 4 do row[math.random(symbols / 2) + (spam and symbols / 2 or 0)] = 1 end
    inputs[i], outputs[i] = row, { spam and 1 or -1 }
  end
  return inputs, outputs
end

local function seconds(run)
  local start = nn.clock()
  run()
  return nn.clock() - start
end

local function speeds(name, symbols)
  local inputs, outputs = messages(1000, symbols)
  local net = create(name, symbols)
  local epochs
  -- No rows held out, so that neither stops early.
  local took = seconds(function()
    epochs = net:train1(inputs, outputs, { lr = 0.001, max_epoch = 10, frac_val = 0, max_drop_streak = 100 })
  end)
  report(name, ("rows_trained/s_%d_inputs"):format(symbols), 1000 * epochs / took)
  took = seconds(function()
    for i = 1, 1000 do net:apply1(inputs[i]) end
  end)
  report(name, ("scores/s_%d_inputs"):format(symbols), 1000 / took)
end

for _, name in ipairs { "kann", "nnlua" } do
  speeds(name, 100)
  speeds(name, 500)
  accuracies(name, "accuracy_cancer_%", root .. "/scripts/data/breast_cancer.csv", function(c) return c == 1 end)
  accuracies(name, "accuracy_even_digits_%", root .. "/scripts/data/digits.csv", function(c) return c % 2 == 0 end)
end
