--- What the program's prompt needs of the library: it shows results, completes, and has the globals help and who.
-- See src/app/repl.c for the prompt itself.

local core = require "nnlua.core"
local compat = require "nnlua.compat"
local complete = require "nnlua.prompt.complete"
local show = require "nnlua.prompt.show"

local prompt = {}

local Session = {}
Session.__index = Session

--- A session.
-- @param options table? colour (false), list_folder (a function that gives the names in a folder as a list)
-- @return a table with the methods show, complete, indentation, advice
function prompt.new(options)
  local self = setmetatable({ last = {} }, Session)
  for name, value in pairs(options or {}) do self[name] = value end
  local help = require "nnlua.help"
  local globals = { nn = require "nnlua", help = help, who = function() require "nnlua.prompt.who" () end }
  for name, value in pairs(globals) do
    if rawget(_G, name) == nil then rawset(_G, name, value) end
  end
  return self
end

-- The last results are _, __ and ___; nil is none.
local function keep(self, value)
  if value == nil then return end
  local last = self.last
  last[3], last[2], last[1] = last[2], last[1], value
  for i, name in ipairs { "_", "__", "___" } do rawset(_G, name, last[i]) end
end

-- Tensors take the whole width; what a script set by itself lasts until the window changes.
local function follow_width(self)
  local width = core.terminal_width()
  if core.is_terminal() and width ~= self.width then core.set_print_options { linewidth = math.max(20, width) } end
  self.width = width
  return width
end

--- The text for the results of a line, which become _, __ and ___.
function Session:show(...)
  local results, texts = compat.pack(...), {}
  local width, lines = follow_width(self), false
  keep(self, results[1])
  for i = 1, results.n do
    texts[i] = show.text(results[i], { width = width, colour = self.colour })
    lines = lines or texts[i]:find "\n" ~= nil
  end
  return table.concat(texts, lines and "\n" or "\t")
end

--- The words that could stand at the end of the text, and how many bytes of it each would replace.
function Session:complete(text)
  return complete.words(text, self.list_folder)
end

--- Spaces before the next line of an input that is not complete.
function Session:indentation(text) -- luacheck: no self
  return ("  "):rep(math.min(complete.depth(text), 20))
end

-- What may begin a line one step to the left.
local closing = { ["end"] = true, ["else"] = true, ["elseif"] = true, ["until"] = true }

--- The next line of such an input as it is kept: behind its indentation.
function Session:indented(text, line)
  local depth = #self:indentation(text)
  if line:find "^%s" or depth == 0 then return line end
  local closes = closing[line:match "^%a+" or ""] or line:find "^[%)%]}]"
  return (" "):rep(closes and depth - 2 or depth) .. line
end

-- Of an error about a global that is nil: the name, and what else it could have been.
local function meant(message)
  local name = message:match "%(global '([^']+)'%)"
  local near = name and message:find "a nil value" and core.nearest(name, _G)
  return near and rawget(_G, name) == nil and ("; did you mean '%s'?"):format(near) or ""
end

--- What may be added to the first line of an error's message.
function Session:advice(message) -- luacheck: no self
  return meant(message:match "^[^\n]*")
end

--- Names side by side, for a list of completions.
prompt.columns = show.columns

return prompt
