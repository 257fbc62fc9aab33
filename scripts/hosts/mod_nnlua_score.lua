-- For Prosody (Lua 5.4): scores the messages that local users get by a model of words.lua, logs the scores, and sends
-- back what scores too high. In Prosody's configuration:
--
--   plugin_paths = { "/path/to/scripts/hosts" }
--   modules_enabled = { ...; "nnlua_score" }
--   nnlua_score_model = "/path/to/model.safetensors"
--   nnlua_score_refuse = 0.9      -- optional: from this score on the sender gets an error; otherwise all is delivered
--
-- luacheck: globals module
package.path = module.path:match "^(.*)/" .. "/?.lua;" .. package.path
local st = require "util.stanza"
local words = require "words"

local path = module:get_option_string("nnlua_score_model")
if not path then error("nnlua_score_model is not set: the path of a model made by words.lua", 0) end
local refuse = module:get_option_number("nnlua_score_refuse", math.huge)
local score = words.open(path)

local function on_message(event)
  local stanza = event.stanza
  local text = stanza.attr.type ~= "error" and stanza:get_child_text("body")
  if not text then return end
  local probability = score(text)
  local refused = probability >= refuse
  module:log("info", "message from %s to %s scores %.3f%s", stanza.attr.from or "nobody", stanza.attr.to or "nobody",
    probability, refused and ", refused" or "")
  if not refused then return end
  event.origin.send(st.error_reply(stanza, "cancel", "policy-violation", "This message looks like spam."))
  return true -- nobody else handles it
end

-- Before those that deliver.
module:hook("message/bare", on_message, 100)
module:hook("message/full", on_message, 100)
