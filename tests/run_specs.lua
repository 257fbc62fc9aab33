-- Runs busted specs by the Lua of the program itself, and ends with the line "N passed, N failed".
--
--   nnlua tests/run_specs.lua [BUSTED OPTIONS] FILE...
--
-- NNLUA_TEST_COLLECTOR=aggressive makes the collector run at every chance, which finds values that nobody holds.

package.path = "tests/lua/?.lua;tests/?.lua;" .. package.path

if os.getenv("NNLUA_TEST_COLLECTOR") == "aggressive" then
  collectgarbage("incremental", 1, 1000, 0)
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
