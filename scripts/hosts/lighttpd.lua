-- For mod_magnet: lighttpd keeps a state for this script in each worker process, so each loads the model once.
-- luacheck: read_globals lighty
local answer = package.loaded.nnlua_answer
if not answer then
  package.path = os.getenv "NNLUA_HOSTS" .. "/?.lua;" .. package.path
  answer = require "predict".open(os.getenv "NNLUA_MODEL")
  package.loaded.nnlua_answer = answer
end
local r = lighty.r
if not r.req_body.collect then return 0 end -- called again when all of it is there
local body = r.req_body.get
if body then body = body:sub(-r.req_body.len) end -- lighttpd 1.4.69 puts bytes of the head in front
local status, text = answer(body)
r.resp_body:set(text)
return status
