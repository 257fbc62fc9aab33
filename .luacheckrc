-- The modules must be readable by Lua 5.1 and LuaJIT, so they get only what all versions have; compat.lua is where
-- they ask for more. Everything else here runs by the program's own Lua 5.4.
std = "lua54"
max_line_length = 120
files["lua/nnlua"] = {std = "min", read_globals = {"unpack"}, self = false}
files["lua/nnlua/compat.lua"] = {std = "max"}
files["tests"] = {std = "lua54+busted", read_globals = {"unpack"}}
-- Mistakes are what these are for.
files["tests/golden/mistakes/require_forgotten.lua"] = {ignore = {"113"}}
files["tests/golden/mistakes/table_with_nil.lua"] = {ignore = {"221"}}
