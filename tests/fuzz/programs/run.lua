--- Random programs, run with the engine and with a plain-Lua reference: what they compute, their gradients, and that
-- wrong calls are errors which leave nothing behind. Ends with the line "N passed, N failed".
--
--   nnlua tests/fuzz/programs/run.lua [--seconds N] [--programs N] [--seed S] [--kind forward|gradient]
--     [--skip PATTERN] [--keep-going] [--journal FILE] [--trace]
--
-- A program follows from its seed alone: --seed S --programs 1 runs it again. The program of a failure is printed as
-- Lua source, without the lines that it does not need. --skip leaves out the statements that a Lua pattern finds.
-- For what crashes: --journal keeps the seed that runs in a file, --trace prints every line before it runs.

local folder = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = folder .. "/?.lua;" .. package.path

local nn = require "nnlua"
local Machine = require "machine"
local shrink = require "shrink"

local kinds = {forward = require "forward", gradient = require "gradient"}

local options = {seconds = nil, programs = nil, seed = 1, kind = nil, keep_going = false, journal = nil}

local function parse(words)
  local i = 1
  while i <= #words do
    local name = words[i]:match("^%-%-(.*)$")
    if name == "keep-going" then
      options.keep_going = true
    elseif name == "trace" then
      Machine.trace = true
    elseif name == "journal" then
      i = i + 1
      options.journal = assert(io.open(words[i] or "", "w"))
    elseif name == "kind" then
      i = i + 1
      options.kind = assert(kinds[words[i]] and words[i], "--kind forward or gradient")
    elseif name == "skip" then
      i = i + 1
      kinds.forward.skip = assert(words[i], "--skip needs a pattern")
    else
      assert(name == "seconds" or name == "programs" or name == "seed", "no such option: " .. words[i])
      i = i + 1
      options[name] = assert(math.tointeger(tonumber(words[i])), "--" .. name .. " needs an integer")
    end
    i = i + 1
  end
  if not options.seconds and not options.programs then options.programs = 2000 end
end

-- One seed in four is of a program of gradients.
local function kind_of(seed) return options.kind or (seed % 4 == 0 and "gradient" or "forward") end

local function live()
  collectgarbage()
  collectgarbage()
  return nn.memory().tensors
end

local function report(seed, kind, lines, problem)
  print(("FAIL  seed %d (%s): %s"):format(seed, kind, problem))
  local short, short_problem = shrink(lines, kinds[kind].run)
  print("--- program")
  print('local nn = require "nnlua"')
  for _, line in ipairs(short) do print((line.must_fail and "-- must be an error:\n" or "") .. line.text) end
  print("--- " .. tostring(short_problem))
end

-- Programs whose tensors have not been counted yet are counted together; if some are left, one by one.
local function leaking(first, last, before)
  local now = live()
  if now == before then return nil end
  for seed = first, last do
    kinds[kind_of(seed)].make(seed)
    if live() ~= now then return seed end
  end
  return first
end

-- The seed that runs now, for the case that it is the last thing that happens.
local function note(seed)
  if not options.journal then return end
  options.journal:seek("set", 0)
  options.journal:write(("%-20d\n"):format(seed))
  options.journal:flush()
end

local BATCH = 200

-- Some results broadcast to more than a machine has; that is an error, and the machine is left alone.
local MOST_MEMORY = 2147483648

local function main()
  parse(arg)
  nn.set_memory_limit(MOST_MEMORY)
  local start, seed, count, failed, errors, statements = nn.clock(), options.seed, 0, 0, 0, 0
  local base = live()
  local batch = seed
  local function enough()
    return options.programs and count >= options.programs or options.seconds and nn.clock() - start >= options.seconds
  end
  while not enough() and (failed == 0 or options.keep_going) do
    local kind = kind_of(seed)
    nn.set_num_threads(1 + seed % 3)
    note(seed)
    local lines, raised, problem = kinds[kind].make(seed)
    count, errors, statements = count + 1, errors + raised, statements + #lines
    if problem then
      failed = failed + 1
      report(seed, kind, lines, problem)
    end
    seed = seed + 1
    if count % BATCH == 0 or enough() then
      local leak = leaking(batch, seed - 1, base)
      if leak then
        failed = failed + 1
        print(("FAIL  seed %d: tensors are left over: %d, %d before"):format(leak, nn.memory().tensors, base))
        base = nn.memory().tensors
      end
      batch = seed
    end
  end
  local seconds = nn.clock() - start
  print(("%d programs of %d statements, %d of them errors as they should be, in %.1f s: %.0f programs a minute"):format(
    count, statements, errors, seconds, count / seconds * 60))
  print(("%d passed, %d failed"):format(count - failed, failed))
  os.exit(failed == 0, true)
end

main()
