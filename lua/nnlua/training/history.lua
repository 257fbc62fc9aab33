--- What fit returns: lists by name of what was measured in each epoch, history.loss[i], history.val_accuracy[i] ...;
-- history.epoch[i] is the epoch that entry i is of. Validation that comes not every epoch has shorter lists.

local History = {}
History.__index = History

function History.new()
  return setmetatable({ epoch = {} }, History)
end

--- Take what an epoch gave: numbers, and tensors from metrics that give such.
function History:_record(epoch, logs)
  self.epoch[#self.epoch + 1] = epoch
  for name, value in pairs(logs) do
    local list = rawget(self, name)
    if not list then
      list = {}
      self[name] = list
    end
    list[#list + 1] = value
  end
end

--- Draw the curves, a panel for each measurement: see nn.plot.history.
-- @param path string? a file by the name of .png, .svg or .pdf; without it they are drawn on the terminal
-- @param options table?
-- @return true; nil and a message where the file cannot be written
function History:plot(path, options)
  return require "nnlua.plot".history(self, path, options)
end

--- A plain copy, for files.
function History:_plain()
  local plain = {}
  for name, list in pairs(self) do
    plain[name] = {}
    for i, value in ipairs(list) do plain[name][i] = value end
  end
  return plain
end

function History.from(plain)
  local history = History.new()
  for name, list in pairs(plain) do history[name] = list end
  return history
end

return History
