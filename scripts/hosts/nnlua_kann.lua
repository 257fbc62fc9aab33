--- nnlua in place of rspamd_kann: what rspamd's neural plugin asks of rspamd's own small network library, by the same
-- names, so that the plugin trains and scores with nnlua and none of its lines change. In rspamd's configuration:
--
--   lua = "/path/to/scripts/hosts/rspamd_neural.lua"
--
-- There are the nodes input, dense and cost, the transforms relu, tanh and sigm, and of a network train1, apply1 and
-- save; others are not there. What save gives is a safetensors file, not KANN's format: networks that KANN trained are
-- not read.

local nn = require "nnlua"

local kann = {
  cost = { ceb = 1, cem = 2, ceb_neg = 3, mse = 4 },
  layer = {}, transform = {}, new = {},
}

-- ---- nodes: a chain of layers that grows from the input

local Node = {}

local function node(value, argument)
  if getmetatable(value) ~= Node then error(("%s: expected a node of nnlua_kann"):format(argument), 3) end
  return value
end

local function grown(from, kind, size)
  local layers = {}
  for i, layer in ipairs(from.layers) do layers[i] = layer end
  layers[#layers + 1] = { kind = kind, size = size }
  return setmetatable({ inputs = from.inputs, layers = layers }, Node)
end

--- n numbers come in.
function kann.layer.input(n)
  return setmetatable({ inputs = n, layers = {} }, Node)
end

--- A weight and a bias: `size` sums of what comes in.
function kann.layer.dense(from, size)
  return grown(node(from, "layer.dense"), "dense", size)
end

--- The last layer, of `size` numbers, and what training makes small: kann.cost.ceb_neg (targets -1 and 1, the result is
-- from tanh), ceb (targets 0 and 1, sigmoid), cem (shares of classes, softmax), mse (any).
function kann.layer.cost(from, size, kind)
  local whole = grown(node(from, "layer.cost"), "dense", size)
  whole.cost, whole.outputs = kind, size
  return whole
end

for _, name in ipairs { "relu", "tanh", "sigm" } do
  kann.transform[name] = function(from) return grown(node(from, "transform." .. name), name) end
end

-- ---- costs: how sums become results, and the loss of sums

local function cross_entropy(z, y)
  return nn.functional.binary_cross_entropy_with_logits(z, y)
end

-- tanh(z) = 2 sigmoid(2 z) - 1, so the cross entropy of (1 + tanh(z)) / 2 is that of logits 2 z.
local costs = {
  [kann.cost.ceb_neg] = { result = nn.tanh, loss = function(z, y) return cross_entropy(z * 2, (y + 1) / 2) end },
  [kann.cost.ceb] = { result = nn.sigmoid, loss = cross_entropy },
  [kann.cost.cem] = { result = function(z) return z:softmax(-1) end, loss = nn.functional.cross_entropy },
  [kann.cost.mse] = { result = function(z) return z end, loss = nn.functional.mse_loss },
}

-- ---- networks

local Network = {}
Network.__index = Network

local activations = { relu = nn.ReLU, tanh = nn.Tanh, sigm = nn.Sigmoid }

-- Outside of training nothing wants gradients, so that a score costs no graph.
local function set_training(model, on)
  for _, p in ipairs(model:parameters()) do p:requires_grad_(on) end
  model:train(on)
end

local function network(model, inputs, cost)
  set_training(model, false)
  return setmetatable({ model = model, inputs = inputs, cost = cost }, Network)
end

--- A network of a node that layer.cost made.
function kann.new.kann(from)
  local whole = node(from, "new.kann")
  if not whole.cost then error("new.kann: expected what layer.cost gives", 2) end
  local layers, size = {}, whole.inputs
  for i, layer in ipairs(whole.layers) do
    layers[i] = layer.kind == "dense" and nn.Dense(size, layer.size) or activations[layer.kind]()
    size = layer.size or size
  end
  return network(nn.Sequential(layers), whole.inputs, whole.cost)
end

-- A matrix of rspamd's (rspamd_tensor, as principal components are) as a tensor; kept as long as it lives.
local matrices = setmetatable({}, { __mode = "k" })

local function matrix(pca)
  if not matrices[pca] then
    local rows = {}
    for i = 1, #pca do
      local row = pca[i]
      rows[i] = {}
      for k = 1, #row do rows[i][k] = row[k] end
    end
    matrices[pca] = nn.tensor(rows)
  end
  return matrices[pca]
end

local function rows_of(self, who, rows, pca)
  local x = nn.tensor(rows)
  if pca then x = x:matmul(matrix(pca):t()) end
  if x:dim() ~= 2 or x:size(2) ~= self.inputs then
    error(("%s: expected rows of %d numbers, got %s"):format(who, self.inputs, tostring(rows[1] and #rows[1])), 3)
  end
  return x
end

--- The results for a list of numbers.
-- @param vector list of numbers
-- @param pca rspamd_tensor? rows that the vector is multiplied with first
function Network:apply1(vector, pca)
  local x = rows_of(self, "apply1", { vector }, pca)
  return costs[self.cost].result(self.model(x)):tolist()[1]
end

-- The parameters' values, and the way back.
local function snapshot(model)
  local values = {}
  for i, p in ipairs(model:parameters()) do values[i] = p:detach():clone() end
  return values
end

local function restore(model, values)
  nn.no_grad(function()
    for i, p in ipairs(model:parameters()) do p:copy_(values[i]) end
  end)
end

local function train_epoch(self, optimizer, x, y, size)
  local order, total = nn.randperm(x:size(1)), 0
  for first = 1, x:size(1), size do
    local at = order[{ { first, math.min(first + size - 1, x:size(1)) } }]
    local loss = costs[self.cost].loss(self.model(x:index_select(1, at)), y:index_select(1, at))
    optimizer:zero_grad()
    loss:backward()
    optimizer:step()
    total = total + loss:item() * at:size(1)
  end
  return total / x:size(1)
end

--- Train with RMSprop. A share of the rows is held out; where the loss on them has not fallen for some epochs, training
-- is over, and the parameters are those of the best epoch, as in KANN.
-- @param inputs list of rows
-- @param outputs list of rows, one for each of inputs
-- @param options table? lr (0.001), mini_size (64: rows of a step), max_epoch (25), max_drop_streak (10), frac_val
--   (0.1), cb (function of epoch, loss, loss of those held out), pca (rspamd_tensor)
-- @return how many epochs there were
function Network:train1(inputs, outputs, options)
  local o = options or {}
  if #inputs == 0 or #inputs ~= #outputs then error("train1: expected as many outputs as inputs, and some", 2) end
  local x, y = rows_of(self, "train1", inputs, o.pca), nn.tensor(outputs)
  local order, held = nn.randperm(#inputs), math.floor(#inputs * (o.frac_val or 0.1))
  local test, train = order[{ { 1, held } }], order[{ { held + 1, #inputs } }]
  local x_test, y_test = x:index_select(1, test), y:index_select(1, test)
  x, y = x:index_select(1, train), y:index_select(1, train)
  local optimizer = nn.optim.RMSprop(self.model:parameters(), { lr = o.lr or 0.001, alpha = 0.9, eps = 1e-6 })
  local best, kept, streak, epochs = math.huge, nil, 0, 0
  set_training(self.model, true)
  while epochs < (o.max_epoch or 25) and streak < (o.max_drop_streak or 10) do
    epochs = epochs + 1
    local cost = train_epoch(self, optimizer, x, y, o.mini_size or 64)
    local test_cost = held == 0 and 0 or nn.no_grad(function()
      return costs[self.cost].loss(self.model(x_test), y_test):item()
    end)
    if o.cb then o.cb(epochs, cost, test_cost) end
    streak = streak + 1
    if held > 0 and test_cost < best then best, kept, streak = test_cost, snapshot(self.model), 0 end
    if held == 0 then streak = 0 end
  end
  if kept then restore(self.model, kept) end
  set_training(self.model, false)
  return epochs
end

--- The network as a string (rspamd puts it into Redis), or written to options.filename.
function Network:save(options)
  local path = options and options.filename or os.tmpname()
  assert(self.model:save(path, { metadata = { inputs = tostring(self.inputs), cost = tostring(self.cost) } }))
  if options and options.filename then return true end
  local file = assert(io.open(path, "rb"))
  local bytes = file:read "*a"
  file:close()
  os.remove(path)
  return bytes
end

--- A network from a string or rspamd's text that save gave; nil where it is none.
function kann.load(data)
  local model, metadata = nn.load_bytes(tostring(data))
  if type(metadata) ~= "table" then return nil end
  local inputs, cost = tonumber(metadata.inputs), tonumber(metadata.cost)
  if not model.eval or not inputs or not costs[cost] then return nil end
  return network(model, inputs, cost)
end

return kann
