-- A client for tests/embed/prosody.sh: logs in without a name over a plain connection on loopback, sends itself each of
-- the texts of the command line, and prints for each "delivered" or the condition of the error that came back.
--
--   lua5.4 prosody_client.lua PORT TEXT...
local socket = require "socket"
local connection = assert(socket.connect("127.0.0.1", tonumber(arg[1])))
connection:settimeout(0.1) -- a read gives what is there by then

local received = ""
-- What came up to the end of the next match of a pattern.
local function await(pattern)
  local deadline = socket.gettime() + 10
  local _, last = received:find(pattern)
  while not last do
    local _, message, part = connection:receive(65536)
    received = received .. (part or "")
    if message == "closed" or socket.gettime() > deadline then
      error(("waited for %s, but got %s"):format(pattern, received), 0)
    end
    _, last = received:find(pattern)
  end
  local piece = received:sub(1, last)
  received = received:sub(last + 1)
  return piece
end

local function open()
  connection:send [[<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'
    to='localhost' version='1.0'>]]
  return await "</stream:features>"
end

open()
connection:send "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>"
await "<success[^>]*>"
open()
connection:send "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>"
local name = await "</iq>":match "<jid>(.-)</jid>"
for i = 2, #arg do
  connection:send(("<message to='%s' id='m%d' type='chat'><body>%s</body></message>"):format(name, i, arg[i]))
  local answer = await "</message>"
  print(answer:match "<error.-<([%w-]+)" or answer:find(arg[i], 1, true) and "delivered" or answer)
end
connection:send "</stream:stream>"
connection:close()
