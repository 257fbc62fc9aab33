-- xor.lua: the smallest network worth training, for a first reading. Run it with:   nnlua scripts/xor.lua
--
-- The task: two switches, one lamp. The lamp is on when just one of the switches is. No straight line divides "on" from
-- "off", so a single layer cannot learn it, and two can.

local nn = require "nnlua"

-- Everything random comes from here: the same seed gives the same run, to the last bit.
nn.manual_seed(1)

-- A tensor is a block of numbers with a shape. x has four rows (the samples) and two columns (the switches); y has
-- the answer for each row.
local x = nn.tensor {{0, 0}, {0, 1}, {1, 0}, {1, 1}}
local y = nn.tensor {{0}, {1}, {1}, {0}}

-- The network: eight numbers computed from two, then one from eight. "tanh" bends the straight lines, and "sigmoid"
-- puts the result between 0 and 1, so that we may read it as a probability. How many numbers come in, a layer sees
-- when it is first called.
local model = nn.Sequential {
  nn.Dense(8, {activation = "tanh"}),
  nn.Dense(1, {activation = "sigmoid"}),
}

-- How to learn. The loss says how wrong the answers are; the optimizer changes the weights a little so that it falls;
-- the accuracy is only for us to look at. "lr" is how large the changes are.
model:compile {optimizer = {"adam", lr = 0.1}, loss = "binary_crossentropy", metrics = {"accuracy"}}

-- Learn: an epoch goes once through all samples. `history.loss[i]` is the loss of epoch i.
local history = model:fit(x, y, {epochs = 200, verbose = 0})
print(("loss: %.4f at first, %.4f at last"):format(history.loss[1], history.loss[200]))

-- Ask. predict takes any number of rows and gives as many answers. Counting is from 1, as everywhere in Lua.
local answers = model:predict(x)
for i = 1, #x do
  print(("%d xor %d: %.3f"):format(x[{i, 1}], x[{i, 2}], answers[{i, 1}]))
end

print(("accuracy: %.2f"):format(model:evaluate(x, y).accuracy))
