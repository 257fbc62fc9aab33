local program = dofile("tests/cli/program.lua")

-- What the prompt answers to these lines: without the version and the prompts, which do not end in a newline here.
local function converse(input, arguments)
  local words = { "-i" }
  for _, word in ipairs(arguments or {}) do words[#words + 1] = word end
  local result = program.run(words, input)
  result.answer = result.out:gsub("^nnlua[^\n]*\n", ""):gsub("^[> ]+", ""):gsub("\n[> ]+", "\n"):gsub("\n+$", "")
  return result
end

describe("The prompt", function()
  it("begins with the version", function()
    assert.matches("^nnlua %d+%.%d+%.%d+  Lua 5%.4", converse("").out)
  end)

  it("prints the values of expressions", function()
    assert.equal("2\n1\t2\t3\n4", converse("1 + 1\n1, 2, 3\n= 4\n").answer)
  end)

  it("prints nil for an expression, and nothing for a statement or a call without results", function()
    assert.equal("nil", converse("undefined_name\nx = 1\n(function() end)()\n\n-- a remark\n").answer)
  end)

  it("quotes strings", function()
    assert.equal([["a \"b\"\n\000\\"]], converse([["a \"b\"\n\0\\"]] .. "\n").answer)
  end)

  it("shows a table with all it holds, fields in the order of their keys", function()
    local answer = converse("{ 1, 'two', {}, { 3 }, name = 'x', ['end'] = 4, [-1] = true }\n").answer
    assert.equal([[{1, "two", {}, {3}, [-1] = true, ["end"] = 4, name = "x"}]], answer)
    assert.equal("{}", converse("{}\n").answer)
  end)

  it("cuts a long table short", function()
    local answer = converse("t = {} for i = 1, 100000 do t[i] = i end\nt\n").answer
    assert.matches("^{\n1, 2, 3, .*, %.%.%. 99,900 more\n}$", answer)
    assert.truthy(#answer < 500)
  end)

  it("shows a value that has a __tostring in its own words", function()
    assert.equal("seven", converse("setmetatable({}, { __tostring = function() return 'seven' end })\n").answer)
  end)

  it("reads on until a chunk is complete", function()
    assert.equal("3", converse("function add(a, b)\n  return a + b\nend\nadd(1, 2)\n").answer)
    assert.equal("6", converse("1 +\n2 +\n3\n").answer)
    assert.equal([["a\nb"]], converse("[[a\nb]]\n").answer)
  end)

  it("keeps globals between chunks, and the last result in _", function()
    assert.equal("42\n43", converse("x = 41\nx + 1\n_ + 1\n").answer)
  end)

  it("has the library in the global nn", function()
    assert.equal("true", converse("nn == require 'nnlua'\n").answer)
  end)

  it("runs the script before it, with its arguments", function()
    local path = program.write("value = ...")
    assert.equal([["given"]], converse("value\n", { path, "given" }).answer)
    os.remove(path)
  end)

  it("goes on after an error", function()
    local result = converse("error 'first'\nlocal x = = 1\nnil + 1\n'alive'\n")
    assert.equal([["alive"]], result.answer)
    assert.matches("stdin:1: first", result.err)
    assert.matches("stdin:1: unexpected symbol near '='", result.err)
    assert.matches("attempt to perform arithmetic on a nil value", result.err)
    assert.equal(0, result.code)
  end)

  it("spares the traceback where the typed line itself failed, and else shows it without its own calls", function()
    assert.equal("stdin:1: here\n", converse("error 'here'\n").err)
    local err = converse("function f() error 'there' end\nlocal x = f()\n").err
    assert.matches("^stdin:1: there\nstack traceback:\n\tstdin:1: in function 'f'\n", err)
    assert.matches("in main chunk\n$", err)
  end)

  it("shows error values of any type", function()
    local words = "setmetatable({}, { __tostring = function() return 'words' end })"
    local err = converse("error(nil)\nerror({})\nerror(" .. words .. ")\n").err
    assert.equal("(error object is a nil value)\n(error object is a table value)\nwords\n", err)
  end)

  it("tells the ends of a recursion without an end, at once", function()
    local result = converse("function f(n) return 1 + f(n + 1) end\nf(1)\n'alive'\n")
    assert.equal([["alive"]], result.answer)
    assert.matches("stack overflow", result.err)
    assert.matches("\n\t%.%.%.\n\tstdin:1: in function 'f'\n.-\tstdin:1: in function 'f'\n$", result.err)
    assert.truthy(#result.err < 2000)
  end)

  it("goes on after a __tostring that fails", function()
    local result = converse("setmetatable({}, { __tostring = function() error 'mute' end })\n'alive'\n")
    assert.equal([["alive"]], result.answer)
    assert.matches("mute", result.err)
  end)

  it("says what is missing when the input ends inside a chunk", function()
    local result = converse("for i = 1, 2 do\n")
    assert.matches("'end' expected near <eof>", result.err)
    assert.equal(0, result.code)
  end)

  it("takes its prompts from _PROMPT and _PROMPT2", function()
    local result = converse("_PROMPT, _PROMPT2 = 'in: ', 'more: '\n1 +\n2\n")
    assert.matches("in: more: 3\n", result.out)
  end)
end)
