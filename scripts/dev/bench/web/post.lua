-- For wrk: every request brings the picture of NNLUA_PICTURE; at the end a line with what was measured: requests,
-- seconds, microseconds within which half and 99 of 100 were answered, and failures of any kind.
-- luacheck: globals wrk done
local file = assert(io.open(os.getenv "NNLUA_PICTURE", "rb"))
wrk.method, wrk.body = "POST", file:read "*a"
file:close()

function done(summary, latency)
  local e = summary.errors
  print(("measured %d %.3f %d %d %d"):format(summary.requests, summary.duration / 1e6, latency:percentile(50),
    latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
