--- Sessions at the prompt, driven in a terminal.

local program = dofile("tests/cli/program.lua")
local terminal = dofile("tests/cli/terminal.lua")

if not terminal.is_there() then
  describe("A session", function()
    it("needs tmux to be tested", function() pending("there is no tmux") end)
  end)
  return
end

local open = {}

local function start(options)
  local t = terminal.start(options)
  open[#open + 1] = t
  return t
end

describe("A session", function()
  after_each(function()
    for i = #open, 1, -1 do
      open[i]:close()
      open[i] = nil
    end
  end)

  it("greets, shows results, keeps the last three, and leaves by Ctrl-D", function()
    local t = start()
    assert.matches("^nnlua %d+%.%d+%.%d+  Lua 5%.4.-\nhelp%(%) tells what there is", t:screen())
    t:ask("6 * 7", "\n42\n> *$")
    t:ask("_ + 1", "\n43\n> *$")
    t:ask("__ + _", "\n85\n> *$")
    t:ask("nil", "\nnil\n> *$")
    t:ask("_, __, ___", "\n85%s+43%s+42\n> *$")
    t:press "C-d"
    t:wait "left with 0"
  end)

  it("completes names, fields, methods, options, their values and files", function()
    local t = start()
    t:type "nn.optim.Adad"
    t:press "Tab"
    t:wait "> nn%.optim%.Adadelta$"
    t:press "C-c"
    t:ask("x = nn.ones(2, 3)", "> *$")
    t:type "x:su"
    t:press "Tab"
    t:wait "\nsub +sub_ +sum\n> x:su$"
    t:type "m()"
    t:press "Enter"
    t:wait "\ntensor%(6%., shape %(%), float32%)\n"
    t:type "nn.Dense(2, {act"
    t:press "Tab"
    t:wait "> nn%.Dense%(2, {activ$"
    t:type "a"
    t:press "Tab"
    t:type '"rel'
    t:press "Tab"
    t:wait '> nn%.Dense%(2, {activation = "relu$'
    t:type '"}):par'
    t:press "Tab"
    t:wait ":parameters$"
    t:press "C-c"
    t:type "io.open('tests/cli/session_s"
    t:press "Tab"
    t:wait "> io%.open%('tests/cli/session_spec%.lua$"
    t:press "C-c"
    t:type "whi"
    t:press "Tab"
    t:wait "> while$"
  end)

  it("continues a function over lines, each indented as deep as it is", function()
    local t = start()
    t:enter "function area(w, h)"
    t:wait "\n>>$"
    t:enter "if w and h then"
    t:enter "return w * h"
    t:enter "end"
    t:enter "end"
    local screen = t:ask("area(6, 7)", "\n42\n")
    assert.matches("\n>>   if w and h then\n>>     return w %* h\n>>     end\n>>   end\n> area", screen)
  end)

  it("keeps its history over restarts, an entry of several lines as one, without doubles", function()
    local t = start()
    t:enter "function twice(x)"
    t:enter "return 2 * x"
    t:ask("end", "> *$")
    t:ask("twice(21)", "\n42\n> *$")
    t:ask("twice(21)", "42\n> twice.*\n42\n> *$")
    t:press "C-d"
    t:wait "left with 0"
    local home = t.home
    t = start { home = home }
    t:press("Up")
    t:wait "> twice%(21%)$"
    t:press("Up")
    t:wait "> function twice%(x%)\n  return 2 %* x\nend$"
    t:press "Enter"
    t:ask("twice(4)", "\n8\n")
    local entry = "function twice(x)\\n  return 2 * x\\nend\n"
    assert.equal(entry .. "twice(21)\n" .. entry .. "twice(4)\n", program.read(home .. "/nnlua/history"))
  end)

  it("reads a history file of whatever is in it, and keeps it bounded", function()
    local home = terminal.home()
    os.execute("mkdir -p " .. home .. "/nnlua")
    local lines = { ("x"):rep(300000), "zero \0 byte", "", "\255\254 no text", "back\\\\slash\\", "\27[31m" }
    for i = 1, 5000 do lines[#lines + 1] = "return " .. i end
    lines[#lines + 1] = "cut off"
    program.write(table.concat(lines, "\n"), home .. "/nnlua/history")
    local t = start { home = home }
    t:press "Up"
    t:wait "> cut off$"
    t:press "Up"
    t:wait "> return 5000$"
    t:press "C-c"
    local kept = select(2, program.read(home .. "/nnlua/history"):gsub("\n", "\n"))
    assert.truthy(kept > 1000 and kept <= 2000, kept)
  end)

  it("adds what sessions side by side are told to one history", function()
    local home = terminal.home()
    local a, b = start { home = home }, start { home = home }
    a:ask("1", "\n1\n> *$")
    b:ask("2", "\n2\n> *$")
    a:ask("3", "\n3\n> *$")
    assert.equal("1\n2\n3\n", program.read(home .. "/nnlua/history"))
  end)

  it("is kept where Ctrl-C stops a loop, one in a coroutine, and one that catches errors", function()
    local t = start()
    t:ask("kept = 5", "> *$")
    t:enter "print 'runs' while true do end"
    t:wait "\nruns"
    t:press "C-c"
    t:wait "interrupted!.*\n> *$"
    t:enter "print 'resumed' coroutine.wrap(function() while true do end end)()"
    t:wait "\nresumed"
    t:press "C-c"
    t:wait "resumed\n.-interrupted!.*\n> *$"
    t:enter "print 'caught' while true do pcall(function() while true do end end) end"
    t:wait "\ncaught"
    t:press "C-c"
    os.execute "sleep 0.1"
    t:press "C-c"
    t:wait "caught\n.-interrupted!.*\n> *$"
    t:ask("kept + 1", "\n6\n> *$")
  end)

  it("is kept where Ctrl-C stops a long product", function()
    local t = start()
    t:ask("a = nn.ones(8000, 8000)", "> *$")
    t:enter "print 'multiplies' b = a:matmul(a)"
    t:wait "\nmultiplies"
    t:press "C-c"
    t:wait "multiplies\n.-interrupted.*\n> *$"
    t:ask("b, a:sum()", "\nnil%s+tensor%(64000000%.")
  end)

  it("drops the line at Ctrl-C, and the lines before", function()
    local t = start()
    t:enter "x = {"
    t:wait "\n>>$"
    t:type "1, 2"
    t:press "C-c"
    t:wait "%^C\n> *$"
    t:ask("x", "\nnil\n> *$")
  end)

  it("tells of an error in one red line, with the way there where it was long, and no part of nnlua", function()
    local t = start()
    t:ask("function f(x) return (x:matmul(x)) end", "> *$")
    t:ask("function g() return (f(nn.ones(2, 3))) end", "> *$")
    local screen = t:ask("g()", "stack traceback:.*\n> *$")
    assert.matches("\nstdin:1: matmul: cannot multiply %(2, 3%) by %(2, 3%)", screen)
    assert.matches("\nstack traceback:\n%s+stdin:1: in function 'f'\n%s+stdin:1: in function 'g'\n", screen)
    assert.falsy(screen:find "%[C%]")
    assert.matches("\27%[31mstdin:1: matmul", t:sent())
    t:ask("prinnt(1)", "did you mean 'print'%?\n> *$")
  end)

  it("helps", function()
    local t = start { height = 60 }
    local screen = t:ask("help(nn.Dense)", "\nTensors\n.*\n> *$")
    assert.matches("\nnn%.Dense%(%[in_features%], out_features, {options}%) +layer\n", screen)
    assert.matches("\n  activation +\"linear\" +applied to the result", screen)
    assert.matches("\n  weight +%(out_features, in_features%)\n", screen)
  end)

  it("shows tables and tensors as wide as the window is", function()
    local t = start { width = 60 }
    t:ask("t = {1, {2}, name = 'x', loss = {0.5, 0.25}, deep = {a = {b = {c = ('y'):rep(20)}}}} t.me = t", "> *$")
    local screen = t:ask("t", "\n}\n> *$")
    assert.truthy(screen:find([[
{
  1, {2},
  deep = {a = {b = {c = "yyyyyyyyyyyyyyyyyyyy"}}},
  loss = {0.5, 0.25},
  me = <cycle>,
  name = "x"
}]], 1, true))
    t:resize(110, 30)
    os.execute "sleep 0.2"
    assert.matches("\n> *$", t:screen())
    t:ask("nn.zeros(20)", "\ntensor%(%[" .. ("0%., "):rep(19) .. "0%.%], shape %(20%), float32%)\n")
  end)

  it("tells who holds memory, runs commands, and the time of what takes long", function()
    local t = start()
    t:ask("x, n = nn.ones(100, 10), 3", "> *$")
    t:ask("who()", "\nx  tensor  %(100, 10%)  float32  3%.9 KB\n1 tensor alive, %d%.%d KB; peak")
    t:ask("!echo from the shell; exit 3", "\nfrom the shell\n%(exit code 3%)\n> *$")
    t:ask("local t = nn.clock() while nn.clock() - t < 1.1 do end", "\n%(1%.%d s%)\n> *$")
  end)

  it("begins with init.lua, unless -E says no", function()
    local home = terminal.home()
    os.execute("mkdir -p " .. home .. "/nnlua")
    program.write("seven = 7", home .. "/nnlua/init.lua")
    start({ home = home }):ask("seven", "\n7\n> *$")
    start({ home = home, arguments = "-E" }):ask("seven", "\nnil\n> *$")
  end)

  it("sends a dumb terminal no escapes, and no colours where NO_COLOR says so", function()
    local t = start { environment = { TERM = "dumb" } }
    t:ask("{1, 'two'}", '\n{1, "two"}\n> *$')
    t:ask("nil + 1", "arithmetic on a nil value\n> *$")
    assert.falsy(t:sent():find "\27")
    t = start { environment = { NO_COLOR = "1" } }
    t:ask("{1, 'two'}", '\n{1, "two"}\n> *$')
    assert.falsy(t:sent():find "\27%[3%dm")
  end)
end)
