-- For rspamd (LuaJIT): the neural plugin trains and scores with nnlua from here on, since what it takes for
-- rspamd_kann is nnlua_kann.lua. In rspamd's configuration, before anything asks for rspamd_kann:
--
--   lua = "/path/to/scripts/hosts/rspamd_neural.lua"
--   nnlua { module = "/path/to/build/luajit"; }      # the folder of nnlua.so, unless Lua finds it anyway
--
-- The plugin itself is set up as ever (`neural { enabled = true; ... }` and Redis). Networks that KANN has trained are
-- not read, so give the rules another prefix, or let the plugin forget them.
-- luacheck: globals rspamd_config
local options = rspamd_config and rspamd_config:get_all_opt "nnlua" or {}
local folder = debug.getinfo(1, "S").source:match "^@(.*)/" or "."
package.path = folder .. "/?.lua;" .. package.path
if options.module then package.cpath = options.module .. "/?.so;" .. package.cpath end

local nn = require "nnlua"
nn.set_num_threads(1) -- rspamd has a worker for each processor
package.loaded.rspamd_kann = require "nnlua_kann"
