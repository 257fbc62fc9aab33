--- Programs of operations on tensors: made line by line from a seed, and run again from their lines.

local Machine = require "machine"
local Source = require "source"
local statements = require "statements"

local forward = {
  skip = nil, -- a pattern: statements that match are left out
}

local function next_line(source)
  for _ = 1, 20 do
    local line = source:variable() and source:weighted(statements)[2](source)
    if line and not (forward.skip and line:find(forward.skip)) then return line end
  end
  return statements[1][2](source)
end

--- Makes the program of the seed while it runs. Returns its lines (tables of `text` and `must_fail`), how many were
-- errors, and what went wrong at the last one.
function forward.make(seed)
  local machine = Machine.new()
  local source = Source.new(seed, machine.reference)
  local lines, errors = {}, 0
  for _ = 1, source:int(6, 24) do
    local must_fail = #source.names > 0 and source:chance(0.02)
    local line = {text = must_fail and statements.wrong(source) or next_line(source), must_fail = must_fail}
    lines[#lines + 1] = line
    local outcome, problem = machine:step(line.text, must_fail)
    if outcome == "bad" then return lines, errors, problem end
    if outcome == "stop" then return lines, errors end
    errors = errors + (outcome == "error" and 1 or 0)
  end
  return lines, errors, machine:compare_all()
end

--- Runs lines again: what goes wrong, if anything.
function forward.run(lines)
  local machine = Machine.new()
  for _, line in ipairs(lines) do
    local outcome, problem = machine:step(line.text, line.must_fail)
    if outcome == "bad" then return problem end
    if outcome == "stop" then return nil end
  end
  return machine:compare_all()
end

return forward
