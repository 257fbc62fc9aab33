-- terminal.lua: the program in a terminal: a session of tmux, typed into and looked at. For the specs in this folder.

local program = dofile("tests/cli/program.lua")

local terminal = {}
terminal.__index = terminal

local PATIENCE = 20 -- seconds to wait for what must come
local sessions = 0

--- Whether there is tmux to test with.
function terminal.is_there()
  return program.shell("command -v tmux").code == 0
end

local function sleep(seconds)
  os.execute(("sleep %.2f"):format(seconds))
end

function terminal:tmux(arguments)
  return program.shell(("tmux -L %s -f /dev/null %s"):format(self.socket, arguments))
end

-- A new folder for the files of a person: history and init.lua.
function terminal.home()
  return (program.shell("mktemp -d").out:gsub("\n", ""))
end

--- Start the program.
-- @param options table? home (folder), arguments (text), environment (table), width (80), height (30)
-- @return a terminal; call close at the end
function terminal.start(options)
  options = options or {}
  sessions = sessions + 1
  local self = setmetatable({ socket = ("nnlua%s_%d"):format(tostring(options):match "%x+$", sessions) }, terminal)
  self.home = options.home or terminal.home()
  local words = { "env -u NO_COLOR -u NNLUA_INIT -u LUA_INIT", "HOME=" .. self.home, "XDG_STATE_HOME=" .. self.home,
    "XDG_CONFIG_HOME=" .. self.home, "LC_ALL=C.UTF-8",
    "ASAN_OPTIONS=detect_leaks=0" } -- libedit never frees the names of its functions
  for name, value in pairs(options.environment or {}) do words[#words + 1] = name .. "=" .. program.quote(value) end
  words[#words + 1] = program.quote(program.path) .. " " .. (options.arguments or "")
  words[#words + 1] = "; echo left with $?; sleep 60"
  self.output = os.tmpname()
  local started = self:tmux(("new-session -d -x %d -y %d %s"):format(options.width or 80, options.height or 30,
    program.quote("sleep 0.1; " .. table.concat(words, " "))))
  assert(started.code == 0, started.err)
  self:tmux("pipe-pane " .. program.quote("cat >" .. self.output))
  self:wait(options.ready or "> *$")
  return self
end

--- Type a text as it is.
function terminal:type(text)
  self:tmux("send-keys -l " .. program.quote(text))
end

--- Press keys, by their names in tmux: "Enter", "Tab", "Up", "C-c".
function terminal:press(...)
  self:tmux("send-keys " .. table.concat({ ... }, " "))
end

--- Type a line and press Enter.
function terminal:enter(text)
  self:type(text)
  self:press "Enter"
end

--- What the screen shows, without what is blank at its end.
function terminal:screen()
  local pipe = assert(io.popen(("tmux -L %s -f /dev/null capture-pane -p 2>/dev/null"):format(self.socket)))
  local text = pipe:read "*a"
  pipe:close()
  return (text:gsub("%s+$", ""))
end

--- All bytes that the program has sent.
function terminal:sent()
  return program.read(self.output)
end

--- Wait until the screen has the pattern, and return the screen; an error that shows it where it never has.
function terminal:wait(pattern)
  local text
  for _ = 1, PATIENCE * 20 do
    text = self:screen()
    if text:find(pattern) then return text end
    sleep(0.05)
  end
  error(("waited for %q in vain; the screen is\n%s"):format(pattern, text), 2)
end

--- Type a line and wait for a screen with the pattern.
function terminal:ask(text, pattern)
  self:enter(text)
  return self:wait(pattern)
end

function terminal:resize(width, height)
  self:tmux(("resize-window -x %d -y %d"):format(width, height))
end

function terminal:close()
  self:tmux("kill-server")
  os.remove(self.output)
  if self.home:find "^/tmp/" then os.execute("rm -rf " .. program.quote(self.home)) end
end

return terminal
