local program = dofile("tests/cli/program.lua")
local run, shell = program.run, program.shell

describe("The options of the program", function()
  it("-e runs a statement", function()
    local result = run { "-e", "print(6 * 7)" }
    assert.equal("42\n", result.out)
    assert.equal("", result.err)
    assert.equal(0, result.code)
  end)

  it("-e takes its statement attached as well", function()
    assert.equal("42\n", run({ "-eprint(6 * 7)" }).out)
  end)

  it("several -e run in their order and share globals", function()
    assert.equal("3\n", run({ "-e", "a = 1", "-e", "a = a + 2", "-e", "print(a)" }).out)
  end)

  it("a failing -e stops everything after it", function()
    local result = run { "-e", "error 'first'", "-e", "print 'second'" }
    assert.equal("", result.out)
    assert.matches("^nnlua: %(command line%):1: first\nstack traceback:\n", result.err)
    assert.equal(1, result.code)
  end)

  it("-e reads no standard input behind itself", function()
    assert.equal("", run({ "-e", "local _ = 1" }, "print 'input'").out)
  end)

  it("-l requires a module into a global of its name", function()
    assert.equal("table\n", run({ "-l", "nnlua", "-e", "print(type(nnlua))" }).out)
  end)

  it("-l g=mod chooses the name of the global", function()
    assert.equal("table\tnil\n", run({ "-l", "nn=nnlua", "-e", "print(type(nn), nnlua)" }).out)
  end)

  it("-l of a module that does not exist names it", function()
    local result = run { "-l", "no_such_module" }
    assert.matches("^nnlua: module 'no_such_module' not found:", result.err)
    assert.equal(1, result.code)
  end)

  it("-v prints the version of nnlua and of Lua, and ends", function()
    local result = run({ "-v" }, "print 'input'")
    assert.matches("^nnlua %d+%.%d+%.%d+  Lua 5%.4%.%d+  Copyright[^\n]*\n$", result.out)
    assert.equal(0, result.code)
  end)

  it("-W turns warnings on", function()
    assert.equal("", run({ "-e", "warn 'careful'" }).err)
    assert.matches("careful", run({ "-W", "-e", "warn 'careful'" }).err)
  end)

  it("LUA_INIT runs before everything, LUA_INIT_5_4 in its place", function()
    assert.equal("1\n2\n", shell([[LUA_INIT='print(1)' "$NNLUA" -e 'print(2)']]).out)
    assert.equal("3\n2\n", shell([[LUA_INIT='print(1)' LUA_INIT_5_4='print(3)' "$NNLUA" -e 'print(2)']]).out)
  end)

  it("LUA_INIT names a file behind an @", function()
    local path = program.write("print 'from a file'")
    assert.equal("from a file\n", shell(string.format([[LUA_INIT=@%s "$NNLUA" -e '']], path)).out)
    os.remove(path)
  end)

  it("an error in LUA_INIT stops the program", function()
    local result = shell([[LUA_INIT='error "init"' "$NNLUA" -e 'print(2)']])
    assert.equal("", result.out)
    assert.matches("^nnlua: LUA_INIT:1: init\n", result.err)
    assert.equal(1, result.code)
  end)

  it("-E ignores LUA_INIT and LUA_PATH", function()
    assert.equal("2\n", shell([[LUA_INIT='print(1)' "$NNLUA" -E -e 'print(2)']]).out)
    local show = [[-e 'print((package.path:find("marker", 1, true)))']]
    assert.equal("1\n", shell([[LUA_PATH='marker/?.lua' "$NNLUA" ]] .. show).out)
    assert.equal("nil\n", shell([[LUA_PATH='marker/?.lua' "$NNLUA" -E ]] .. show).out)
  end)

  it("an unknown option shows the usage", function()
    for _, option in ipairs { "-x", "--help", "-vv", "-ix", "-Ex", "-Wx" } do
      local result = run { option }
      assert.equal("", result.out)
      assert.equal(1, (result.err:find("nnlua: unrecognized option '" .. option .. "'\nusage: nnlua ", 1, true)))
      assert.equal(1, result.code)
    end
  end)

  it("-e and -l without a value say so", function()
    for _, arguments in ipairs { { "-e" }, { "-l" }, { "-e", "-v" } } do
      local result = run(arguments)
      assert.matches("^nnlua: '%" .. arguments[1] .. "' needs argument\nusage: ", result.err)
      assert.equal(1, result.code)
    end
  end)

  it("NNLUA_INIT takes the place of LUA_INIT", function()
    local set = [[NNLUA_INIT='print(4)' LUA_INIT='print(1)' LUA_INIT_5_4='print(3)' "$NNLUA" ]]
    assert.equal("4\n2\n", shell(set .. [[-e 'print(2)']]).out)
    assert.equal("2\n", shell(set .. [[-E -e 'print(2)']]).out)
  end)

  it("all stand in the manual page, which is of this version", function()
    local page = program.read("src/app/nnlua.1"):gsub("\\%-", "-")
    assert.truthy(page:find("nnlua " .. run({ "-v" }).out:match "%d+%.%d+%.%d+", 1, true))
    for option in run({ "-x" }).err:gmatch "\n  (%-%g*)" do
      assert.truthy(page:find("\n%.BI? " .. option:gsub("%-", "%%-") .. "[ \n]"), option)
    end
  end)

  it("an option that is wrong keeps the right ones before it from running", function()
    assert.equal("", run({ "-e", "print(1)", "-x" }).out)
  end)
end)
