-- Runs busted specs by the Lua of the program itself, and ends with the line "N passed, N failed".
--
--   nnlua tests/run_specs.lua [BUSTED OPTIONS] FILE...
--
-- Any other Lua does too, where it finds the module. A spec with the line "-- Needs Lua 5.3: why" is skipped by older
-- ones.
--
-- NNLUA_TEST_COLLECTOR=aggressive makes the collector run at every chance, which finds values that nobody holds.

package.path = "tests/lua/?.lua;tests/?.lua;" .. package.path

if os.getenv("NNLUA_TEST_COLLECTOR") == "aggressive" then
  collectgarbage("incremental", 1, 1000, 0)
end

local function reason_to_skip(path)
  local file = not math.type and io.open(path) -- luacheck: ignore 143
  if not file then return nil end
  local reason = ("\n" .. file:read("*a")):match("\n(%-%- Needs Lua 5%.3: [^\n]*)")
  file:close()
  return reason
end

for i = #arg, 1, -1 do
  local reason = reason_to_skip(arg[i])
  if reason then
    print(("%s is skipped: %s"):format(table.remove(arg, i), reason))
    if #arg == 0 then
      print "0 passed, 0 failed"
      os.exit(0)
    end
  end
end

--- busted's plain report, and our line after it.
package.preload["busted.outputHandlers.counted"] = function()
  return function(options)
    local busted = require "busted"
    local handler = require "busted.outputHandlers.plainTerminal"(options)
    busted.subscribe({"suite", "end"}, function()
      print(("%d passed, %d failed"):format(handler.successesCount, handler.failuresCount + handler.errorsCount))
      return nil, true
    end)
    return handler
  end
end

require "busted.runner"{standalone = false, output = "counted"}
