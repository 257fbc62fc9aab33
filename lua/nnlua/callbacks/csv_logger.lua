--- nn.callbacks.CSVLogger: a line of numbers for each epoch.

local check = require "nnlua.check"
local Callback = require "nnlua.callbacks.base"

local CSVLogger = Callback:extend("CSVLogger")
local who = "nn.callbacks.CSVLogger"

--- @param path string
-- @param options table? separator (","), append (false; true: behind what the file has)
function CSVLogger:init(path, options)
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
  options = check.options(who, options, { separator = "string", append = "boolean" })
  self.path, self.separator, self.append = path, options.separator or ",", options.append
end

local function write(self, text, mode)
  local file, message = io.open(self.path, mode)
  if not file then check.fail(who, message) end
  file:write(text)
  file:close()
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read("*a")
  file:close()
  return text
end

-- All that the file has is kept, to be put back when training goes on from a backup.
local function add(self, text)
  self.text = self.text .. text
  write(self, text, "ab")
end

function CSVLogger:on_train_begin()
  self:make_folder_of(self.path)
  self.columns, self.text = nil, ""
  if self.append then
    self.text = read(self.path)
  else
    write(self, "", "wb")
  end
end

local function quote(self, text)
  if not text:find('["\r\n]') and not text:find(self.separator, 1, true) then return text end
  return '"' .. text:gsub('"', '""') .. '"'
end

-- As many digits as bring the same number back.
local function number_text(value)
  if value ~= value then return "nan" end
  local short = ("%.14g"):format(value)
  return tonumber(short) == value and short or ("%.17g"):format(value)
end

-- The names in the order of the training, then those that callbacks have added. Matrices have no place in a line.
local function columns_of(self, logs)
  local columns, seen, more = {}, {}, {}
  for _, name in ipairs(self.params.metrics or {}) do
    seen[name] = true
    if logs[name] == nil or type(logs[name]) == "number" then columns[#columns + 1] = name end
  end
  for name, value in pairs(logs) do
    if not seen[name] and type(value) == "number" then more[#more + 1] = name end
  end
  table.sort(more)
  for _, name in ipairs(more) do columns[#columns + 1] = name end
  return columns
end

local function line(self, values)
  return table.concat(values, self.separator) .. "\n"
end

function CSVLogger:on_epoch_end(epoch, logs)
  if not self.columns then
    self.columns = columns_of(self, logs)
    local names = { "epoch" }
    for i, name in ipairs(self.columns) do names[i + 1] = quote(self, name) end
    if self.text == "" then add(self, line(self, names)) end
  end
  local values = { ("%d"):format(epoch) }
  for i, name in ipairs(self.columns) do
    values[i + 1] = type(logs[name]) == "number" and number_text(logs[name]) or ""
  end
  add(self, line(self, values))
end

function CSVLogger:get_state()
  return { text = self.text, columns = self.columns }
end

function CSVLogger:set_state(state)
  self.text, self.columns = state.text, state.columns
  write(self, self.text, "wb")
end

return CSVLogger
