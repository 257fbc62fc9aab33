-- For rspamd (LuaJIT): a rule that scores messages by a model of words.lua, loaded once, before the workers are forked.
-- In rspamd's configuration:
--
--   lua = "/path/to/scripts/hosts/rspamd.lua"
--   nnlua {
--     model = "/path/to/model.safetensors";
--     module = "/path/to/build/luajit";      # the folder of nnlua.so, unless Lua finds it anyway
--     score = 8.0;                           # what a message gets that the model is sure of
--     threshold = 0.5;                       # below this probability a message gets no score
--   }
--
-- luacheck: globals rspamd_config
local options = rspamd_config:get_all_opt "nnlua" or {}
if not options.model then error("nnlua { model } is not set: the path of a model made by words.lua", 0) end
local folder = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
package.path = folder .. "/?.lua;" .. package.path
if options.module then package.cpath = options.module .. "/?.so;" .. package.cpath end

local logger = require "rspamd_logger"
local score = require "words".open(options.model)
local threshold = options.threshold or 0.5

--- The subject and all parts that are text.
local function text_of(task)
  local pieces = { task:get_subject() or "" }
  for _, part in ipairs(task:get_text_parts() or {}) do pieces[#pieces + 1] = tostring(part:get_content() or "") end
  return table.concat(pieces, "\n")
end

rspamd_config:register_symbol {
  name = "NNLUA_SPAM",
  type = "normal",
  group = "nnlua",
  description = "A neural network takes the words of this message for spam",
  score = options.score or 8,
  callback = function(task)
    local probability = score(text_of(task))
    logger.infox(task, "nnlua: probability %s", ("%.3f"):format(probability))
    if probability < threshold then return end
    task:insert_result("NNLUA_SPAM", probability, ("%.3f"):format(probability))
  end,
}
