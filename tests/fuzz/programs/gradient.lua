--- Programs of differentiable operations: the engine's gradients beside differences of the reference's results. A
-- change in place of what backward needs must be an error, never a wrong gradient.

local nn = require "nnlua"
local Machine = require "machine"
local Source = require "source"
local model = require "reference"
local statements = require "differentiable"

local gradient = {}

local LARGEST = 64 -- elements of one variable

-- What the engine may refuse in a program that is right: changes in place of tensors in the graph.
local refusals = {
  "cannot be changed in place", "takes part in the graph", "must be contiguous to be written to",
  "needs a contiguous tensor outside the graph",
}

-- ---- making

local function new_leaf(source)
  local shape = {}
  for d = 1, source:pick{0, 1, 1, 2, 2, 3} do shape[d] = source:int(1, 3) end
  local values = source:list(model.numel(shape), function() -- never whole, nor a half: steps are there
    return ("%.4f37"):format(source:real() * 3 - 1.5)
  end)
  local name = source:target()
  source.kept = source.kept + 1
  local text = "%s = nn.tensor(%s, {dtype = \"float64\"}):reshape(%s):clone():requires_grad_()"
  return {text = text:format(name, values, source:shape_text(shape)), leaf = name}
end

local function too_large(env)
  for name, t in pairs(env) do
    if model.is_tensor(t) and model.numel(t._shape) > LARGEST then return name end
  end
end

local function next_line(source)
  for _ = 1, 20 do
    local change = source:chance(0.15)
    local line = source:weighted(change and statements.changes or statements)[2](source)
    if line then return {text = line, change = change} end
  end
  return {text = source:target() .. " = a:tanh()"}
end

-- The loss: all variables, each element with a weight of its own.
local function loss_lines(source)
  local lines = {{text = "loss = (a * 0.5):sum()"}}
  for _, name in ipairs(source.names) do
    local t = source.env[name]
    if model.is_tensor(t) and t._dtype == "float64" then
      local n = model.numel(t._shape)
      if n > 0 then
        lines[#lines + 1] = {
          text = ("loss = loss + (%s:reshape({-1}) * nn.arange(1, %d):double():sin()):sum()"):format(name, n + 1),
        }
      end
    end
  end
  return lines
end

-- ---- running

-- The same lines in the reference alone, with one element of a leaf moved: the loss.
local function reference_loss(chunks, env, leaf, place, step)
  for name in pairs(env) do
    if name ~= "nn" and name ~= "math" then env[name] = nil end
  end
  for _, chunk in ipairs(chunks) do
    if not pcall(chunk.run) then return nil end
    if leaf and chunk.leaf == leaf then env[leaf]._storage[place] = env[leaf]._storage[place] + step end
  end
  return env.loss and model.values(env.loss)[1]
end

local function is_finite(x) return x and x - x == 0 and math.abs(x) < 1e6 end

-- Whether the engine's derivative by one element of a leaf agrees; true too where the difference quotients from both
-- sides do not, as at a kink.
local function agrees(got, loss, chunks, env, leaf, place)
  local step = 1e-5
  local up = reference_loss(chunks, env, leaf, place, step)
  local down = reference_loss(chunks, env, leaf, place, -step)
  if not is_finite(up) or not is_finite(down) then return true end
  local central = (up - down) / (2 * step)
  local allowed = 1e-4 * math.max(1, math.abs(central), math.abs(loss) * 1e-3)
  if math.abs(central - got) <= allowed then return true end
  local kink = math.abs((up - loss) - (loss - down)) / step
  return kink > 0.2 * math.abs(central - got), central
end

local function compile(lines)
  local env = {nn = model.functions, math = math}
  local chunks = {}
  for i, line in ipairs(lines) do
    chunks[i] = {run = assert(load(line.text, "=program", "t", env)), leaf = line.leaf}
  end
  return chunks, env
end

local function compare(machine, lines)
  local chunks, env = compile(lines)
  local loss = reference_loss(chunks, env)
  if not is_finite(loss) then return nil end
  for _, line in ipairs(lines) do
    local leaf = line.leaf and machine.engine[line.leaf]
    if leaf then
      local got = leaf.grad and leaf.grad:flatten():tolist() or {}
      for i = 1, leaf:numel() do
        local fine, central = agrees(got[i] or 0, loss, chunks, env, line.leaf, i - 1)
        if not fine then
          return ("%s.grad: element %d is %s, the difference quotient is %.9g"):format(line.leaf, i, got[i], central)
        end
      end
    end
  end
end

-- ---- second derivatives: of the sum of all first ones, each with a weight, beside difference quotients of that sum,
-- which the engine too has computed

local function weights(t) return nn.arange(1, t:numel() + 1):double():cos():reshape(t.shape) end

local function sum_of_gradients(lines, leaf, place, step)
  local env, leaves, sum = {nn = nn, math = math}, {}, nil
  for _, line in ipairs(lines) do
    assert(load(line.text, "=program", "t", env))()
    if line.leaf then leaves[#leaves + 1] = env[line.leaf] end
    if leaf and line.leaf == leaf then
      local elements = env[leaf]:detach():view(-1)
      elements[place] = elements[place] + step
    end
  end
  for i, g in ipairs{nn.grad(env.loss, leaves, {create_graph = true})} do
    local part = (g * weights(leaves[i])):sum()
    sum = sum and sum + part or part
  end
  return sum, leaves
end

local function quotients(lines, leaf, place, middle)
  local step = 1e-5
  local up, down = sum_of_gradients(lines, leaf, place, step), sum_of_gradients(lines, leaf, place, -step)
  up, down = up:item(), down:item()
  if not is_finite(up) or not is_finite(down) then return nil end
  return (up - down) / (2 * step), math.abs((up - middle) - (middle - down)) / step
end

local function compare_second(lines)
  local sum, leaves = sum_of_gradients(lines)
  local middle = sum:item()
  if not is_finite(middle) or not sum.requires_grad then return nil end
  sum:backward()
  local names = {}
  for _, line in ipairs(lines) do names[#names + 1] = line.leaf end
  for k, leaf in ipairs(leaves) do
    local got = leaf.grad and leaf.grad:flatten():tolist() or {}
    for i = 1, leaf:numel() do
      local central, kink = quotients(lines, names[k], i, middle)
      local off = central and math.abs(central - (got[i] or 0)) or 0
      if off > 1e-4 * math.max(1, math.abs(central or 0), math.abs(middle)) and kink < 0.2 * off then
        return ("second derivative by %s: element %d is %s, the difference quotient is %.9g"):format(
          names[k], i, got[i], central)
      end
    end
  end
end

-- backward, and its gradients beside the difference quotients of the lines that ran.
local function check(machine, lines)
  local changed = false
  for _, line in ipairs(lines) do changed = changed or line.change end
  if not machine.engine.loss or not machine.engine.loss.requires_grad then return nil end
  local fine, message = pcall(machine.engine.loss.backward, machine.engine.loss)
  if not fine and changed and type(message) == "string" and message:find("in place", 1, true) then return nil end
  if not fine then return "backward raises: " .. tostring(message) end
  local problem = compare(machine, lines)
  if problem or changed or #lines % 3 > 0 then return problem end
  fine, problem = pcall(compare_second, lines)
  if not fine and tostring(problem):find("is not differentiable", 1, true) then return nil end
  return not fine and "second derivative raises: " .. tostring(problem) or problem
end

local function new_machine()
  local machine = Machine.new()
  machine.refusals = refusals
  return machine
end

--- Makes the program of the seed while it runs. Returns its lines, how many were refused, and what went wrong.
function gradient.make(seed)
  local machine = new_machine()
  local source = Source.new(seed, machine.reference)
  source.sloppy = function() return false end
  local lines, refused, ended = {}, 0, false
  local function run(line)
    local outcome, problem = machine:step(line.text)
    if outcome == "bad" then
      lines[#lines + 1] = line
      return problem
    end
    ended = ended or outcome == "stop" or too_large(machine.reference) ~= nil
    if outcome == "ok" then lines[#lines + 1] = line else refused = refused + 1 end
  end
  local leaves, length = source:int(1, 3), source:int(3, 12)
  for i = 1, leaves + length do
    local problem = run(i <= leaves and new_leaf(source) or next_line(source))
    if problem then return lines, refused, problem end
    if ended then return lines, refused end
  end
  for _, line in ipairs(loss_lines(source)) do
    local problem = run(line)
    if problem then return lines, refused, problem end
  end
  return lines, refused, check(machine, lines)
end

--- Runs lines again: what goes wrong, if anything.
function gradient.run(lines)
  local machine = new_machine()
  local ran = {}
  for _, line in ipairs(lines) do
    local outcome, problem = machine:step(line.text)
    if outcome == "bad" then return problem end
    if outcome == "ok" then ran[#ran + 1] = line end
  end
  return check(machine, ran)
end

return gradient
