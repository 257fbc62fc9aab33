local program = dofile("tests/cli/program.lua")
local run, run_script = program.run, program.run_script

describe("A script", function()
  it("gets its arguments as ... and in arg", function()
    local result = run_script("print(select('#', ...), ...) print(#arg, arg[1], arg[2])", { "one", "two words" })
    assert.equal("2\tone\ttwo words\n2\tone\ttwo words\n", result.out)
    assert.equal(0, result.code)
  end)

  it("finds its own name at arg[0], and what stands before it at negative indices", function()
    local path = program.write("print(arg[0], arg[-1], arg[-2], arg[-3], arg[-4])")
    local result = run { "-e", "", path }
    assert.equal(table.concat({ path, "", "-e", program.path, "nil" }, "\t") .. "\n", result.out)
    os.remove(path)
  end)

  it("leaves options behind its name alone", function()
    assert.equal("-e\t-x\n", run_script("print(...)", { "-e", "-x" }).out)
  end)

  it("gets what an earlier -e made of arg", function()
    local path = program.write("print(...)")
    assert.equal("changed\n", run({ "-e", "arg[1] = 'changed'", path, "given" }).out)
    os.remove(path)
  end)

  it("is told when arg is no table any more", function()
    local path = program.write("print(...)")
    local result = run { "-e", "arg = nil", path }
    assert.matches("^nnlua: 'arg' is not a table", result.err)
    assert.equal(1, result.code)
    os.remove(path)
  end)

  it("follows -- even where its name looks like an option", function()
    local result = run { "--", "-e" }
    assert.matches("^nnlua: cannot open %-e", result.err)
    assert.equal(1, result.code)
  end)

  it("comes from standard input for -, with arguments", function()
    local result = run({ "-", "one", "two" }, "print(arg[0], ...)")
    assert.equal("-\tone\ttwo\n", result.out)
    assert.equal(0, result.code)
  end)

  it("comes from standard input when nothing is named", function()
    local result = run({}, "print('sum', 1 + 1)\nprint(arg[0] ~= nil, ...)")
    assert.equal("sum\t2\ntrue\n", result.out)
    assert.equal(0, result.code)
  end)

  it("may begin with a line for the system", function()
    assert.equal("fine\n", run_script("#!/usr/bin/env nnlua\nprint 'fine'").out)
  end)

  it("finds nnlua by require, and no global nn", function()
    assert.equal("table\tnil\n", run_script("print(type(require 'nnlua'), nn)").out)
  end)

  it("ends with the code it gives to os.exit", function()
    assert.equal(7, run_script("os.exit(7)").code)
    assert.equal(1, run_script("os.exit(false)").code)
    assert.equal(0, run_script("os.exit(true, true)").code)
  end)

  it("has its state closed at the end", function()
    local result = run_script("setmetatable({}, { __gc = function() print 'collected' end })")
    assert.equal("collected\n", result.out)
  end)
end)

describe("An error in a script", function()
  it("goes to stderr with a traceback and ends with code 1", function()
    local code = "local function inner()\n  error('broken')\nend\nprint 'before'\ninner()\nprint 'after'"
    local result, path = run_script(code)
    assert.equal("before\n", result.out)
    local beginning = "nnlua: " .. path .. ":2: broken\nstack traceback:\n\t[C]: in function 'error'\n"
    assert.equal(beginning, result.err:sub(1, #beginning))
    assert.truthy(result.err:find(path .. ":5: in main chunk", 1, true))
    assert.equal(1, result.code)
  end)

  it("of syntax names the file, the line and the place", function()
    local result, path = run_script("local a = 1\nlocal b = = 2\n")
    assert.equal("nnlua: " .. path .. ":2: unexpected symbol near '='\n", result.err)
    assert.equal(1, result.code)
  end)

  it("is reported the same from standard input", function()
    for _, arguments in ipairs { {}, { "-" } } do
      local result = run(arguments, "error 'piped'")
      assert.matches("^nnlua: stdin:1: piped\nstack traceback:\n", result.err)
      assert.equal(1, result.code)
    end
  end)

  it("is a missing file", function()
    local result = run { "no_such_file.lua" }
    assert.equal("nnlua: cannot open no_such_file.lua", (result.err:match("^[^:]*:[^:\n]*")))
    assert.equal(1, result.code)
  end)

  it("may be a table that says how it reads: no traceback then", function()
    local result = run_script("error(setmetatable({}, { __tostring = function() return 'in words' end }))")
    assert.equal("nnlua: in words\n", result.err)
    assert.equal(1, result.code)
  end)

  it("may be a table, a boolean or nil: its type is named", function()
    for value, name in pairs { ["{}"] = "table", ["true"] = "boolean", ["nil"] = "nil" } do
      local result = run_script("error(" .. value .. ")")
      assert.matches("^nnlua: %(error object is a " .. name .. " value%)\nstack traceback:\n", result.err)
      assert.equal(1, result.code)
    end
  end)

  it("may be a number", function()
    assert.matches("^nnlua: 42\nstack traceback:\n", run_script("error(42)").err)
  end)

  it("in the __tostring of an error does not hang", function()
    local result = run_script("error(setmetatable({}, { __tostring = function() error 'again' end }))")
    assert.equal(1, result.code)
    assert.truthy(#result.err > 0)
  end)

  it("of an overflowing stack is an error like others", function()
    local result = run_script("local function deeper() return 1 + deeper() end\ndeeper()")
    assert.matches("stack overflow", result.err)
    assert.equal(1, result.code)
  end)
end)
