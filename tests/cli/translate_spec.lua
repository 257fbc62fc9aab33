--- scripts/translate.lua, on a small language made here.

local nn = require "nnlua"
local program = dofile("tests/cli/program.lua")

local folder

local function path(name) return folder .. "/" .. name end

local function run(...) return program.shell(program.command(folder, "translate.lua", ...)) end

-- Sentences whose verb is at the end: "Ein Hund ein Ball sieht."
local animals = { Hund = "dog", Katze = "cat", ["Bär"] = "bear", Pferd = "horse", Fisch = "fish", ["Möwe"] = "gull" }
local things = { Ball = "ball", Baum = "tree", Haus = "house", Boot = "boat", Stein = "stone", Blume = "flower" }
local verbs = { sieht = "sees", sucht = "seeks", findet = "finds", will = "wants" }

local function keys_of(set)
  local keys = {}
  for key in pairs(set) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

local function sentences()
  local german, english = {}, {}
  for _, a in ipairs(keys_of(animals)) do
    for _, b in ipairs(keys_of(things)) do
      for _, verb in ipairs(keys_of(verbs)) do
        german[#german + 1] = ("Ein %s ein %s %s."):format(a, b, verb)
        english[#english + 1] = ("A %s %s a %s."):format(animals[a], verbs[verb], things[b])
      end
    end
  end
  return german, english
end

-- Every sixth sentence is for testing.
local function write_data()
  local german, english = sentences()
  local parts = { train = { de = {}, en = {} }, val = { de = {}, en = {} }, test_2016_flickr = { de = {}, en = {} } }
  for i = 1, #german do
    local part = parts[i % 6 == 0 and "test_2016_flickr" or i % 6 == 3 and "val" or "train"]
    part.de[#part.de + 1], part.en[#part.en + 1] = german[i], english[i]
  end
  for name, part in pairs(parts) do
    for language, lines in pairs(part) do
      program.write(table.concat(lines, "\n") .. "\n", path(name .. "." .. language))
    end
  end
end

local SMALL = "--merges 60 --layers 1 --heads 2 --width 32 --feedforward 64 --dropout 0.05 --batch-size 200 " ..
  "--warmup 30 --lr 0.01 --threads 1"

describe("translate.lua", function()
  setup(function()
    folder = program.folder()
    write_data()
  end)

  teardown(function() os.execute("rm -r '" .. folder .. "'") end)

  it("learns to translate sentences that it has not seen, and says how well", function()
    local result = run(". --epochs 40 " .. SMALL)
    assert.equal("", result.err)
    assert.equal(0, result.code)
    assert.matches("\n?96 sentences, %d+ tokens, %d+ numbers to learn\n", result.out)
    assert.matches("Epoch 40/40 .*val_loss", result.out)
    local score = tonumber(result.out:match("BLEU ([%d.]+) on 24 test sentences"))
    assert.is_true(score > 80, result.out)
  end)

  it("translates what it is given with the saved model, also greedily and line by line", function()
    assert.equal("a bear wants a flower.\n", run("--translate 'Ein Bär ein Blume will.'").out)
    local lines = run("--translate - --beam 1 <<'END'\nein hund ein baum sieht.\n\nEIN MÖWE EIN BOOT SUCHT.\nEND").out
    assert.matches("^a dog sees a tree%.\n[^\n]*\na gull seeks a boat%.\n$", lines)
  end)

  it("goes on with --resume, and measures without training with --evaluate", function()
    local arguments = ". --epochs 6 --save cut.safetensors " .. SMALL
    local killed = program.shell(program.command(folder, "translate.lua", arguments, "exec") .. [[ >cut.out &
      i=0; while [ ! -e cut.backup ] && [ $i -lt 1000 ]; do sleep 0.01; i=$((i + 1)); done
      kill -9 $!; wait $!; cat cut.out]])
    assert.not_matches("BLEU", killed.out)
    local resumed = run(arguments .. " --resume").out
    assert.matches("going on after epoch %d", resumed)
    run(". --epochs 6 --save whole.safetensors " .. SMALL)
    assert.is_true(program.read(path("whole.safetensors")) == program.read(path("cut.safetensors")))
    assert.equal(resumed:match("BLEU ([%d.]+)"), run(". --evaluate --save cut.safetensors").out:match("BLEU ([%d.]+)"))
  end)

  it("says what is wrong", function()
    assert(nn.save({ a = nn.ones(1) }, path("foreign.safetensors")))
    for arguments, expected in pairs {
      ["/nowhere"] = "/nowhere/train%.de.*: .*The folder must hold.*https://",
      [". --target fr"] = "train%.fr.*: .*The folder must hold",
      ["--translate x --save no.safetensors"] = "there is no model yet",
      ["--translate x --save foreign.safetensors"] = "foreign.safetensors: no model of this script",
      [". --dropout 1"] = "%-%-dropout: expected a number from 0 to below 1, got '1'",
      [". --width 30 --heads 4"] = "%-%-heads: 4 heads cannot share a width of 30",
    } do
      local result = run(arguments)
      assert.matches("translate.lua: .*" .. expected, result.err)
      assert.is_true(result.code > 0)
    end
  end)
end)
