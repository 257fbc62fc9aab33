--- nn.callbacks.TensorBoard: what training measures, for TensorBoard, by the names of Keras: epoch_loss and kin
-- in folder/train and folder/validation, steps counted in epochs; batch_loss and kin, counted in batches.

local check = require "nnlua.check"
local compat = require "nnlua.compat"
local tiles = require "nnlua.tiles"
local tree = require "nnlua.tree"
local Callback = require "nnlua.callbacks.base"

local TensorBoard = Callback:extend("TensorBoard")
local who = "nn.callbacks.TensorBoard"

--- @param folder string
-- @param options table? update_freq ("epoch"; "batch", or how many batches lie between two records), histogram_freq (0:
-- none, or how many epochs lie between two histograms of each parameter and its gradient), write_images (false; true:
-- the weights as pictures, as often as histograms), write_graph (true: the text of the model and its summary)
function TensorBoard:init(folder, options)
  if type(folder) ~= "string" then check.expect(who, "folder", folder, "a string") end
  options = check.options(who, options, {
    update_freq = "any", histogram_freq = "whole", write_images = "boolean", write_graph = "boolean",
  })
  local every = options.update_freq or "epoch"
  if every == "batch" then every = 1 end
  if every ~= "epoch" and not (compat.is_whole(every) and every >= 1) then
    check.expect(who, "option update_freq", every, '"epoch", "batch" or a number of batches')
  end
  self.folder, self.every = folder, every ~= "epoch" and every or nil
  self.histogram_freq, self.write_images = options.histogram_freq or 0, options.write_images
  self.write_graph, self.batches, self.writers = options.write_graph ~= false, 0, {}
end

-- The file of a part of the training: "train" or "validation".
function TensorBoard:writer(part)
  local writer = self.writers[part]
  if writer then return writer end
  local message
  writer, message = require "nnlua.tensorboard".Writer(self.folder .. "/" .. part)
  if not writer then check.fail(who, message) end
  self.writers[part] = writer
  return writer
end

local function checked(ok, message)
  if not ok then check.fail(who, message) end
end

local function write_text(self)
  if not self.write_graph or self.text_written or tree.first_open(self.model) then return end
  self.text_written = true
  local train = self:writer "train"
  local function code(text) return "```\n" .. text .. "\n```" end
  checked(train:add_text("model", code(tostring(self.model))))
  checked(train:add_text("summary", code(require "nnlua.summary".text(self.model))))
end

function TensorBoard:on_train_begin()
  self:writer "train"
  write_text(self)
end

-- Numbers of `logs` by name; those of the validation set without their prefix, apart.
local function write_logs(self, logs, prefix, step)
  local names = {}
  for name, value in pairs(logs) do
    if type(value) == "number" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local held = name:match("^val_(.*)$")
    self:writer(held and "validation" or "train"):_scalar(prefix .. (held or name), logs[name], step)
  end
end

function TensorBoard:on_train_batch_end(_, logs)
  self.batches = self.batches + 1
  if not self.every or self.batches % self.every ~= 0 then return end
  write_logs(self, logs, "batch_", self.batches)
  checked(self:writer("train"):flush())
end

local function write_tensors(self, epoch)
  local train = self:writer "train"
  tree.each_tensor(self.model, function(name, tensor, kind)
    if tensor:numel() == 0 or kind == "temporary" then return end
    local gradient = kind == "parameter" and tensor.grad
    if tensor:isfinite():any():item() then train:add_histogram(name, tensor, epoch) end
    if gradient and gradient:isfinite():any():item() then train:add_histogram(name .. "/gradient", gradient, epoch) end
    if self.write_images and kind == "parameter" and tensor.ndim > 1 then
      train:add_image(name .. "/image", tiles.grid(tiles.of_weights(tensor, 256)), epoch)
    end
  end, true)
end

local function learning_rate(model)
  local found, optimizer = pcall(function() return model:optimizer_in_use() end)
  return found and optimizer and optimizer.lr
end

function TensorBoard:on_epoch_end(epoch, logs)
  write_text(self)
  write_logs(self, logs, "epoch_", epoch)
  local rate = learning_rate(self.model)
  if rate and not logs.lr and not logs.learning_rate then
    self:writer("train"):_scalar("epoch_learning_rate", rate, epoch)
  end
  if self.histogram_freq > 0 and epoch % self.histogram_freq == 0 then write_tensors(self, epoch) end
  for _, writer in pairs(self.writers) do checked(writer:flush()) end
end

function TensorBoard:on_train_end()
  for part, writer in pairs(self.writers) do
    writer:close()
    self.writers[part] = nil
  end
end

function TensorBoard:get_state() return { batches = self.batches } end

function TensorBoard:set_state(state) self.batches = state.batches end

return TensorBoard
