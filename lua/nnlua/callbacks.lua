--- nn.callbacks: what fit, evaluate and predict call at certain moments. Each is loaded when it is first used.
--
-- A callback is a table with functions of these names, called with the callback itself first:
--
--   on_train_begin(logs)    on_train_end(logs)    on_train_batch_begin(batch, logs)    on_train_batch_end(batch, logs)
--   on_test_begin(logs)     on_test_end(logs)     on_test_batch_begin(batch, logs)     on_test_batch_end(batch, logs)
--   on_predict_begin(logs)  on_predict_end(logs)  on_predict_batch_begin(batch, logs)
--   on_predict_batch_end(batch, logs)  on_epoch_begin(epoch, logs)  on_epoch_end(epoch, logs)
--   on_batch_begin(batch, logs) and on_batch_end(batch, logs) are those of train
--   on_bad_loss(batch, loss): the loss of a batch is NaN or infinite; without it, NaN is an error
--
-- Epochs and batches count from 1. `logs` has what was measured so far by name, and what a callback puts there at the
-- end of an epoch is in the history too. self.model is the model, self.params a table of epochs, steps (batches of an
-- epoch), batch_size, samples, verbose and metrics (names). A callback that returns "stop" ends the training, and so
-- does model.stop_training = true. With get_state() and set_state(state), tables of plain data and tensors, what it
-- remembers is in the file of a BackupAndRestore.

local check = require "nnlua.check"

-- By name: the module under nnlua that gives it.
local places = {
  Callback = "callbacks.base", EarlyStopping = "callbacks.early_stopping", ModelCheckpoint = "callbacks.checkpoint",
  BackupAndRestore = "callbacks.backup", ReduceLROnPlateau = "callbacks.plateau",
  LearningRateScheduler = "callbacks.schedule", CSVLogger = "callbacks.csv_logger",
  TerminateOnNaN = "callbacks.terminate", LambdaCallback = "callbacks.lambda",
  TensorBoard = "callbacks.tensorboard",
}

local callbacks = {}

return setmetatable(callbacks, {
  __library = "nn.callbacks",
  __names = function()
    local names = {}
    for name in pairs(places) do names[#names + 1] = name end
    return names
  end,
  __index = function(_, name)
    local place = places[name]
    if not place then return check.name("nn.callbacks", callbacks, name, places) end
    local callback = require("nnlua." .. place)
    callbacks[name] = callback
    return callback
  end,
})
