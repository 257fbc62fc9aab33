--- Mistakes that everybody makes, and the exact message of each: tests/golden/mistakes/NAME.lua and NAME.txt. After a
-- change of a message that is meant, NNLUA_GOLDEN=write makes this spec write the files anew, to be read and kept.

local program = dofile("tests/cli/program.lua")

local FOLDER = "tests/golden/mistakes/"
local PREFIX = "nnlua: "

local function names()
  local listing = program.shell("cd " .. FOLDER .. " && ls *.lua").out
  local list = {}
  for name in listing:gmatch "([%w_]+)%.lua" do list[#list + 1] = name end
  return list
end

--- The first line that the program writes when it runs the script by this name, without its own name.
local function message_of_script(name)
  local whole_path = 'case $NNLUA in /*) ;; *) NNLUA="$PWD/$NNLUA" ;; esac'
  local result = program.shell(("%s; cd %s && exec \"$NNLUA\" %s.lua"):format(whole_path, FOLDER, name))
  assert(result.code == 1, name .. " ended without an error")
  local line = result.err:match "^[^\n]*"
  assert(line:sub(1, #PREFIX) == PREFIX, line)
  return line:sub(#PREFIX + 1)
end

--- What pcall gives for the same.
local function message_of_chunk(name)
  local chunk = assert(load(program.read(FOLDER .. name .. ".lua"), "@" .. name .. ".lua"))
  local ok, message = pcall(chunk)
  assert(not ok, name .. " ended without an error")
  return message
end

describe("The message of a mistake", function()
  if os.getenv "NNLUA_GOLDEN" == "write" then
    for _, name in ipairs(names()) do
      program.write(message_of_script(name) .. "\n", FOLDER .. name .. ".txt")
    end
  end

  it("is kept for forty of them and more", function()
    assert.is_true(#names() >= 40)
  end)

  for _, name in ipairs(names()) do
    it("is as written: " .. name, function()
      local expected = program.read(FOLDER .. name .. ".txt"):gsub("\n$", "")
      assert.equal(expected, message_of_script(name))
      -- the program's own advice ends the line of a script that forgot to require
      if name ~= "require_forgotten" then assert.equal(expected, message_of_chunk(name)) end
    end)
  end
end)
