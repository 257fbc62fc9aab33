--- scripts/gpt.lua on a small text made here: it learns, goes on after a crash with the same bits, and writes.

local program = dofile("tests/cli/program.lua")

local folder, argparse = nil, pcall(require, "argparse")
local it = argparse and it or pending -- luacheck: ignore 431

-- Sentences that follow from each other.
local function make_text()
  local parts, seed = {}, 7
  for i = 1, 400 do
    seed = (seed * 1103515245 + 12345) % 2 ^ 31
    local subject = ({ "The cat", "A dog", "My bird" })[math.floor(seed / 65536) % 3 + 1]
    parts[i] = ("%s has %d %s.\n"):format(subject, i % 10, i % 2 == 0 and "mice" or "nuts")
  end
  return table.concat(parts)
end

local function run(arguments, before)
  local here = program.shell("pwd").out:gsub("\n", "")
  local binary = program.path:sub(1, 1) == "/" and program.path or here .. "/" .. program.path
  return program.shell(("cd %s || exit 1\n%s %s %s/scripts/gpt.lua %s"):format(
    program.quote(folder), program.quote(binary), before or "", program.quote(here), arguments))
end

local SMALL = "text --layers 1 --heads 2 --width 32 --context 16 --batch-size 8 --steps 60 --warmup 5 " ..
  "--eval-every 20 --lr 0.01 --sample 20 --threads 1 "

local function loss_of(result)
  return tonumber(result.out:match "best loss on what is held out: ([%d.]+)")
end

describe("The script for language models", function()
  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir '" .. folder .. "'"))
    program.write(make_text(), folder .. "/text")
  end)

  teardown(function() os.execute("rm -r '" .. folder .. "'") end)

  it("learns, and goes on where it was cut off, with the same bits", function()
    local whole = run(SMALL .. "--save whole.safetensors --dropout 0.1 --accumulate 2")
    assert.equal("", whole.err)
    assert(loss_of(whole) < 1.5, whole.out)
    local crash = [[-e 'local p = print function print(x) p(x) if x:find "^step 40" then os.exit(9) end end']]
    local cut = run(SMALL .. "--save cut.safetensors --dropout 0.1 --accumulate 2", crash)
    assert.equal(9, cut.code)
    local resumed = run(SMALL .. "--save cut.safetensors --dropout 0.1 --accumulate 2 --resume")
    assert.equal("", resumed.err)
    assert.matches("going on behind step 20", resumed.out, 1, true)
    assert.equal(program.read(folder .. "/whole.safetensors"), program.read(folder .. "/cut.safetensors"))
    assert.equal(whole.out:match "\n(step 60: loss [%d.]+, held out [%d.]+)",
      resumed.out:match "\n(step 60: loss [%d.]+, held out [%d.]+)")
    local other = run(SMALL .. "--save cut.safetensors --resume --lr 0.02")
    assert.equal(1, other.code)
    assert.matches("is of a run with other options", other.err, 1, true)
  end)

  it("writes with a saved model, the same with the same seed", function()
    run(SMALL .. "--save written.safetensors --positions rotary --norm rms --activation swiglu --kv-heads 1 --untied")
    local first = run "--sample 100 --prompt 'The cat has' --save written.safetensors --seed 3"
    assert.equal("", first.err)
    assert.equal("The cat has", first.out:sub(1, 11))
    assert.matches("\n%-%- 100 tokens, %d+ per second\n$", first.out)
    local again = run "--sample 100 --prompt 'The cat has' --save written.safetensors --seed 3"
    assert.equal(first.out:match "^(.*)\n%-%-", again.out:match "^(.*)\n%-%-")
    local greedy = run("--sample 60 --prompt 'The cat has' --save written.safetensors " ..
      "--temperature 0 --top-k 5 --top-p 0.9")
    assert.matches("^The cat has %d [mn]", greedy.out)
  end)

  it("learns pieces of words, too", function()
    local result = run(SMALL .. "--tokenizer bpe --vocab 280 --save bpe.safetensors --bias")
    assert.equal("", result.err)
    assert.matches("280 different ones", result.out, 1, true)
    assert.equal(0, run("--sample 5 --save bpe.safetensors").code)
  end)

  it("says what is wrong", function()
    assert.matches("a text to train on, or --sample N", run("").err, 1, true)
    assert.equal(2, run("").code)
    assert.matches("none: No such file", run("none").err, 1, true)
    assert.matches("is too short: %d+ tokens to train with", run("text --context 100000").err)
    assert.matches("option width must be a multiple of heads, got 10 and 4", run("text --width 10").err, 1, true)
    assert.matches("--dropout: expected a number from 0 to 1, got '2'", run("text --dropout 2").err, 1, true)
    assert.matches("No such file", run("--sample 5 --save nothing.safetensors").err, 1, true)
    assert.matches("no token for '#'", run("--sample 5 --prompt '#' --save written.safetensors").err, 1, true)
  end)
end)
