-- program.lua: runs the program under test and says what it printed and how it ended. For the specs in this folder.

local program = {}

--- The program: the environment variable NNLUA, or where a build leaves it.
program.path = os.getenv("NNLUA") or "build/nnlua"

--- A word for the shell, whatever it contains.
function program.quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

--- The whole content of a file.
function program.read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

--- Write a file and return its path: a new temporary one by default.
function program.write(text, path)
  path = path or os.tmpname()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

--- Run shell commands in which $NNLUA is the program.
-- No variable of the caller's environment that Lua reads reaches it.
-- @param commands string
-- @param input string? what it finds on standard input (default: nothing)
-- @return table with out, err (strings) and code (integer)
function program.shell(commands, input)
  local script, stdin = program.write(commands), program.write(input or "")
  local out, err, code = os.tmpname(), os.tmpname(), os.tmpname()
  os.execute(string.format(
    "unset LUA_INIT LUA_INIT_5_4; NNLUA=%s sh %s <%s >%s 2>%s; echo $? >%s",
    program.quote(program.path), script, stdin, out, err, code))
  local result = { out = program.read(out), err = program.read(err), code = tonumber(program.read(code)) }
  for _, path in ipairs { script, stdin, out, err, code } do os.remove(path) end
  return result
end

--- Run the program with these arguments.
-- @param arguments table of strings
-- @param input string? what it finds on standard input
-- @return as program.shell
function program.run(arguments, input)
  local words = { '"$NNLUA"' }
  for i, argument in ipairs(arguments) do words[i + 1] = program.quote(argument) end
  return program.shell(table.concat(words, " "), input)
end

--- Run Lua code as a script in a file.
-- @param code string
-- @param arguments table? the script's own
-- @return as program.shell, and the path that the script had
function program.run_script(code, arguments)
  local path = program.write(code)
  local result = program.run({ path, (table.unpack or unpack)(arguments or {}) })
  os.remove(path)
  return result, path
end

--- Shell commands for a script of scripts/, run in another folder.
-- @param folder string
-- @param name string such as "mnist.lua"
-- @param arguments string, words for the shell
-- @param before string? what stands before the program, such as variables
function program.command(folder, name, arguments, before)
  local here = program.shell("pwd").out:gsub("\n", "")
  local binary = program.path:sub(1, 1) == "/" and program.path or here .. "/" .. program.path
  return ("cd %s || exit 1\n%s %s %s/scripts/%s %s"):format(
    program.quote(folder), before or "", program.quote(binary), program.quote(here), name, arguments)
end

--- A new empty folder.
function program.folder()
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir '" .. folder .. "'"))
  return folder
end

return program
