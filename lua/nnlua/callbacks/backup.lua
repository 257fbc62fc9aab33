--- nn.callbacks.BackupAndRestore: training that was cut off goes on from its last backup when the same script runs
-- again, and ends with the same bits as if it had not been cut off. See training/snapshot.lua for what the file holds.

local check = require "nnlua.check"
local compat = require "nnlua.compat"
local Callback = require "nnlua.callbacks.base"

local BackupAndRestore = Callback:extend("BackupAndRestore")
local who = "nn.callbacks.BackupAndRestore"

BackupAndRestore.is_backup = true -- for loop.lua, which calls the methods below

--- @param path string of a file, replaced at once or not at all
-- @param options table? save_freq ("epoch", or a number of batches after which there is a backup within epochs too),
-- keep (false: the file is removed when training is done)
function BackupAndRestore:init(path, options)
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
  options = check.options(who, options, { save_freq = "any", keep = "boolean" })
  self.path, self.keep = path, options.keep
  local every = options.save_freq or "epoch"
  if every ~= "epoch" then
    if not compat.is_whole(every) or every < 1 then
      check.expect(who, "option save_freq", every, "\"epoch\", or a number of batches")
    end
    self.every = every
  end
end

--- Go on from the file, if there is one.
-- @return table? of the position: {batch, means} within an epoch
function BackupAndRestore:resume(run)
  self:make_folder_of(self.path)
  local position, message = require "nnlua.training.snapshot".load(self.path, run)
  if position == nil then return nil end
  if not position then
    check.fail(who, ("%s does not fit this training: %s. Remove the file to begin anew"):format(self.path, message))
  end
  if run.verbose > 0 then
    local where = position.batch and ("batch %d of epoch %d"):format(position.batch, position.epoch)
      or ("epoch %d"):format(position.epoch)
    self:say(("BackupAndRestore: going on after %s"):format(where))
  end
  return position.batch and position or nil
end

local function save(self, run, batch, means)
  local ok, message = require "nnlua.training.snapshot".save(self.path, run, batch, means)
  if not ok then check.fail(who, message) end
end

function BackupAndRestore:after_batch(run, batch, means)
  if self.every and run.total_batches % self.every == 0 then save(self, run, batch, means) end
end

function BackupAndRestore:after_epoch(run) save(self, run) end

function BackupAndRestore:finish()
  require "nnlua.files".remove_leftovers(self.path)
  if not self.keep then os.remove(self.path) end
end

return BackupAndRestore
