-- For tests/embed/rspamd.sh, run by rspamadm: what rspamd's neural plugin does with its networks, done with nnlua in
-- the place of rspamd_kann.
local theirs = require "rspamd_kann"
dofile(os.getenv "NNLUA_SOURCE" .. "/scripts/hosts/rspamd_neural.lua")
local kann = require "rspamd_kann"
assert(kann ~= theirs and kann == require "nnlua_kann", "rspamd_kann is still rspamd's own")
local nn = require "nnlua"
nn.manual_seed(1)
math.randomseed(1)

-- Spam has more in the first half of its symbols.
local function messages(count)
  local inputs, outputs = {}, {}
  for i = 1, count do
    local spam, row = i % 2 == 0, {}
    for k = 1, 20 do row[k] = math.random() * ((k <= 10) == spam and 1 or 0.3) end
    inputs[i], outputs[i] = row, { spam and 1 or -1 }
  end
  return inputs, outputs
end

local function right(net, inputs, outputs, pca)
  local count = 0
  for i, row in ipairs(inputs) do
    local result = net:apply1(row, pca)
    assert(#result == 1 and result[1] >= -1 and result[1] <= 1, "a score is from -1 to 1")
    if (result[1] > 0) == (outputs[i][1] > 0) then count = count + 1 end
  end
  return count / #inputs
end

local create_ann = require "plugins/neural".create_ann
local inputs, outputs = messages(400)
local test_inputs, test_outputs = messages(100)

local net = create_ann(20, 3, {})
local costs = {}
local epochs = net:train1(inputs, outputs, {
  lr = 0.01,
  max_epoch = 25,
  cb = function(epoch, cost, test_cost)
    costs[epoch] = cost
    assert(test_cost > 0)
  end,
})
assert(epochs >= 1 and epochs <= 25 and #costs == epochs)
assert(costs[epochs] < costs[1] / 2, "the loss has not fallen")
assert(right(net, test_inputs, test_outputs) > 0.95, "it has not learned")

-- As the plugin keeps them, in Redis.
local again = assert(kann.load(tostring(net:save())))
for i = 1, 10 do
  assert(math.abs(again:apply1(test_inputs[i])[1] - net:apply1(test_inputs[i])[1]) < 1e-6, "another network was loaded")
end
assert(kann.load "no network" == nil and kann.load "" == nil)

-- The plugin's way to fewer inputs: rows of rspamd's own tensor.
local rows = {}
for i = 1, 5 do
  rows[i] = {}
  for k = 1, 20 do rows[i][k] = math.floor((k - 1) / 4) + 1 == i and 1 or 0 end
end
local pca = require "rspamd_tensor".fromtable(rows)
local small = create_ann(5, 3, {})
small:train1(inputs, outputs, { lr = 0.01, pca = pca })
assert(right(small, test_inputs, test_outputs, pca) > 0.9, "it has not learned from fewer inputs")

local ok, message = pcall(net.apply1, net, { 1, 2, 3 })
assert(not ok and message:find "expected rows of 20 numbers, got 3", message)
print "The neural plugin's networks are nnlua's."
