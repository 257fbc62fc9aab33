local program = dofile("tests/cli/program.lua")

-- Start the program in the background, interrupt it once it has printed something, and wait for its end, 5 s at most.
local interrupt_when_ready = [[
wait_for() { n=0; until "$@" || [ $n -ge 100 ]; do n=$((n + 1)); sleep 0.05; done; }
ended() { ! kill -0 "$pid" 2>/dev/null; }
interrupt() { wait_for [ -s "$ready" ]; kill -INT "$pid"; }
finish() { wait_for ended; ended || { echo "still running" >&2; kill -KILL "$pid"; }; wait "$pid"; exit $?; }
]]

local function interrupt_script(code)
  local ready, script = os.tmpname(), program.write(code)
  local result = program.shell(interrupt_when_ready .. string.format([[
    ready=%s
    "$NNLUA" %s >"$ready" & pid=$!
    interrupt
    finish]], ready, script))
  result.printed = program.read(ready)
  os.remove(ready)
  os.remove(script)
  return result
end

local announce = "print 'ready' io.stdout:flush()\n"

describe("Ctrl-C", function()
  it("stops an endless loop with a traceback and code 1", function()
    local result = interrupt_script(announce .. "local function spin()\n  while true do end\nend\nspin()")
    assert.matches("^nnlua: [^\n]*:3: interrupted!\nstack traceback:\n", result.err)
    assert.matches(":5: in main chunk", result.err)
    assert.equal(1, result.code)
  end)

  it("stops a script that waits for input", function()
    local ready, pipe = os.tmpname(), os.tmpname()
    os.remove(pipe)
    local result = program.shell(interrupt_when_ready .. string.format([[
      ready=%s pipe=%s
      mkfifo "$pipe"
      "$NNLUA" -e "print 'ready' io.stdout:flush() io.read() print 'went on'" <"$pipe" >"$ready" & pid=$!
      exec 3>"$pipe"
      rm "$pipe"
      interrupt
      finish]], ready, pipe))
    assert.equal("ready\n", program.read(ready))
    assert.matches("^nnlua: [^\n]*interrupted!\nstack traceback:\n", result.err)
    assert.equal(1, result.code)
    os.remove(ready)
  end)

  it("is an error that a script may catch", function()
    local result = interrupt_script(announce .. [[
      print(pcall(function() while true do end end))
      print 'went on']])
    assert.matches("ready\nfalse\t[^\n]*interrupted!\nwent on\n", result.printed)
    assert.equal(0, result.code)
  end)

  it("lets finalizers do their work", function()
    local result = interrupt_script(announce .. [[
      setmetatable({}, { __gc = function() print 'collected' end })
      while true do end]])
    assert.equal("ready\ncollected\n", result.printed)
    assert.equal(1, result.code)
  end)

  it("stops what runs at the prompt and keeps the session", function()
    local ready, pipe = os.tmpname(), os.tmpname()
    os.remove(pipe)
    local result = program.shell(interrupt_when_ready .. string.format([[
      ready=%s pipe=%s
      mkfifo "$pipe"
      "$NNLUA" -i <"$pipe" & pid=$!
      exec 3>"$pipe"
      echo "x = 20 io.open('$ready', 'w'):write('ready'):close() while true do end" >&3
      interrupt
      echo "x + 1" >&3
      exec 3>&-
      rm "$pipe"
      finish]], ready, pipe))
    assert.matches("interrupted!", result.err)
    assert.matches("> 21\n", result.out)
    assert.equal(0, result.code)
    os.remove(ready)
  end)
end)
