-- Training inside Neovim (LuaJIT), from an empty buffer to one with a report:
--
--   LUA_CPATH="$PWD/build/luajit/?.so;;" nvim --headless --clean -S scripts/hosts/neovim.lua -c "w !cat" -c "qa!"
--
-- Without --headless and what comes after the name, the report grows on the screen. The data are four clouds of points,
-- labelled as XOR labels the corners of a square, so that no straight line parts them.
-- luacheck: read_globals vim jit
local nn = require "nnlua"
nn.manual_seed(1)

local api = vim.api
local buffer = api.nvim_get_current_buf()
local function report(...) api.nvim_buf_set_lines(buffer, -1, -1, false, { string.format(...) }) end

--- Points around the corners of the square from -1 to 1, `count` a corner, and whether the two signs differ.
local function clouds(count)
  local corners, labels = {}, {}
  for _, corner in ipairs { { -1, -1, 0 }, { -1, 1, 1 }, { 1, -1, 1 }, { 1, 1, 0 } } do
    for _ = 1, count do
      corners[#corners + 1] = { corner[1], corner[2] }
      labels[#labels + 1] = { corner[3] }
    end
  end
  return nn.tensor(corners) + nn.randn(#corners, 2) * 0.25, nn.tensor(labels)
end

local x, y = clouds(50)
local test_x, test_y = clouds(25)
local model = nn.Sequential {
  nn.Dense(2, 8, { activation = "tanh" }),
  nn.Dense(8, 1, { activation = "sigmoid" }),
}
model:compile { optimizer = { "adam", lr = 0.05 }, loss = "binary_crossentropy", metrics = { "accuracy" } }
local title = ("a network of %d numbers, in %s"):format(model:num_parameters(), jit and jit.version or _VERSION)
api.nvim_buf_set_lines(buffer, 0, -1, false, { title })

local function show(_, epoch, logs)
  if epoch ~= 1 and epoch % 10 ~= 0 then return end
  report("epoch %d loss %.4f accuracy %.3f", epoch, logs.loss, logs.accuracy)
  vim.cmd "redraw"
end
model:fit(x, y, { epochs = 40, batch_size = 20, verbose = 0, callbacks = { { on_epoch_end = show } } })

local scores = model:evaluate(test_x, test_y, { verbose = 0 })
report("points not seen: loss %.4f accuracy %.3f", scores.loss, scores.accuracy)
for _, corner in ipairs { { -1, -1 }, { -1, 1 }, { 1, -1 }, { 1, 1 } } do
  report("(%d, %d) gives %.3f", corner[1], corner[2], model:predict(nn.tensor { corner }):item())
end
