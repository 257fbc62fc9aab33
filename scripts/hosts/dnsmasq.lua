-- For dnsmasq (built with Lua 5.4: package dnsmasq-base-lua): scores each device that gets an address by the names
-- it gives itself, with a model of words.lua that learned which are, say, cameras and plugs, and keeps a list of those
-- that score high, for a firewall or a person to look at. dnsmasq runs this in a process of its own, beside the one
-- that answers, so that no device waits for it.
--
--   NNLUA_MODEL=/path/to/model.safetensors NNLUA_LIST=/var/lib/misc/gadgets \
--     dnsmasq --dhcp-range=192.168.1.50,192.168.1.150 --dhcp-luascript=/path/to/scripts/hosts/dnsmasq.lua
--
-- Lines of the list: address, hardware address, score, host name. dnsmasq tells of the leases that it has when it
-- starts, so the list is made anew then.
-- luacheck: globals init lease
local folder = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
package.path = folder .. "/?.lua;" .. package.path

local THRESHOLD = tonumber(os.getenv "NNLUA_THRESHOLD" or 0.8)
local path = assert(os.getenv "NNLUA_LIST", "NNLUA_LIST is not set: where to write the list of devices")
local score
local listed = {} -- lines by address

local function write_list()
  local lines = {}
  for _, line in pairs(listed) do lines[#lines + 1] = line end
  table.sort(lines)
  local file = assert(io.open(path .. ".new", "w"))
  file:write(table.concat(lines))
  assert(file:close())
  assert(os.rename(path .. ".new", path))
end

--- dnsmasq calls this once it has read the script.
function init()
  local model = assert(os.getenv "NNLUA_MODEL", "NNLUA_MODEL is not set: the path of a model made by words.lua")
  score = require "words".open(model)
  write_list()
end

--- And this for each lease: "add" is a new one, "old" one that goes on, "del" one that is over.
function lease(action, device)
  local address = device.ip_address
  if not address then return end
  listed[address] = nil
  if action ~= "del" then
    local names = { device.hostname or "", device.supplied_hostname or "", device.vendor_class or "" }
    local probability = score(table.concat(names, " "))
    if probability >= THRESHOLD then
      listed[address] = ("%s %s %.3f %s\n"):format(
        address, device.mac_address or "-", probability, device.hostname or "-")
    end
  end
  write_list()
end
