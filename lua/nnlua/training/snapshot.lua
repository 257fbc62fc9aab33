--- All that a run of fit needs to go on from where it is with the same bits: for the file of a backup.
-- In the middle of an epoch that is, beside weights, optimizer, callbacks and history, the position in the data: the
-- random state when the pass began, from which the same order is drawn again, the number of batches taken, and the
-- random state now.

local core = require "nnlua.core"
local compat = require "nnlua.compat"
local files = require "nnlua.files"
local compiled = require "nnlua.training.compiled"
local History = require "nnlua.training.history"
local loop = require "nnlua.training.loop"
local saved = require "nnlua.training.saved"
local state = require "nnlua.state"
local tree = require "nnlua.tree"

local snapshot = {}

local function shape_of_data(run)
  return { count = run.source.count, size = run.source.size, total = run.source.total, steps = run.steps }
end

local function stops(run)
  return run.hooks.stop or (run.is_module and rawget(run.model, "stop_training")) or false
end

local function describe(run, batch, means)
  local in_pass = batch or run.steps
  return {
    epoch = run.epoch, batch = batch, means = means and means:get_state(), pass = in_pass and run.pass or nil,
    random = core.get_rng_state(), total_batches = run.total_batches, stop = stops(run),
    history = run.history:_plain(), callbacks = run.hooks:get_state(), data = shape_of_data(run),
  }
end

--- Write a run to a file that nn.load reads as the model too.
-- @param run see loop.lua
-- @param batch integer? how many batches of the epoch are done; nil at its end
-- @param means table? those of the epoch so far
-- @return true; nil and a message
function snapshot.save(path, run, batch, means)
  local training = {
    compile = saved.describe(run.state), optimizer = saved.optimizer(run.state), run = describe(run, batch, means),
  }
  return files.write_model(path, run.model, training)
end

-- ---- back

local function same_data(run, data)
  local now = shape_of_data(run)
  for _, each in ipairs {
    { "size", "batch_size" }, { "total", "the number of rows" }, { "count", "the number of batches" },
    { "steps", "steps_per_epoch" },
  } do
    local before, after = data[each[1]], now[each[1]]
    if before ~= after then
      return nil, ("%s was %s and is %s now"):format(each[2], tostring(before), tostring(after))
    end
  end
  return true
end

local function is_whole(value) return compat.is_whole(value) and value >= 0 end

-- Whether a file tells of a position, or is damaged.
local function is_position(was)
  if not (is_whole(was.epoch) and is_whole(was.total_batches) and type(was.random) == "string") then return false end
  if type(was.history) ~= "table" or type(was.callbacks) ~= "table" or type(was.data) ~= "table" then return false end
  for _, list in pairs(was.history) do
    if type(list) ~= "table" then return false end
  end
  for _, callback in ipairs(was.callbacks) do
    if type(callback) ~= "table" or type(callback.state) ~= "table" then return false end
  end
  local pass, means = was.pass, was.means
  if pass ~= nil and (type(pass) ~= "table" or not is_whole(pass.taken) or type(pass.random) ~= "string") then
    return false
  end
  if was.batch == nil then return true end
  return is_whole(was.batch) and was.batch >= 1 and pass ~= nil and type(means) == "table" and is_whole(means.count)
    and type(means.loss) == "number" and type(means.metrics) == "table"
end

local function restore_position(run, was)
  run.total_batches, run.history = was.total_batches, History.from(was.history)
  run.hooks:set_state(was.callbacks)
  run.hooks.stop = was.stop
  run.epoch = was.batch and was.epoch - 1 or was.epoch
  if was.pass then
    core.set_rng_state(was.pass.random)
    loop.open_pass(run, was.pass.taken)
  end
  core.set_rng_state(was.random)
end

local function restore(run, tensors, training)
  local message = state.load(run.model, tensors, true)
  if message then return nil, "the model is another one\n  " .. message end
  if tree.first_open(run.model) then return nil, "the model is another one" end
  compiled.finish(run.state)
  saved.restore_optimizer(run.state, training.optimizer)
  restore_position(run, training.run)
  return true
end

--- Go on from a file.
-- @return table {epoch, batch, means} of the position; nil where there is no file; false and a message where it does
-- not fit this run
function snapshot.load(path, run)
  if not files.exists(path) then return nil end
  local tensors, training = files.read_parts(path)
  if not tensors then return false, training end
  if not training or type(training.run) ~= "table" then return false, path .. ": not a backup of a training" end
  if type(training.optimizer) ~= "table" or not is_position(training.run) then return false, path .. ": damaged" end
  local fits, message = same_data(run, training.run.data)
  if not fits then return false, message end
  local ok, done, problem = pcall(restore, run, tensors, training)
  if not ok then return false, tostring(done) end
  if not done then return false, problem end
  return training.run
end

return snapshot
