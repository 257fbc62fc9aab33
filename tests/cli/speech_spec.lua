--- scripts/speech.lua, on sounds made here: each digit is a tone of its own.

local nn = require "nnlua"
local program = dofile("tests/cli/program.lua")

local folder

local function path(name) return folder .. "/" .. name end

local function run(...) return program.shell(program.command(folder, "speech.lua", ...)) end

-- A tone of 0.1 to 0.2 s; speakers are a little apart.
local function tone(digit, speaker, seed)
  local samples = 800 + seed * 37 % 800
  local pitch = (300 + 330 * digit) * (1 + 0.01 * speaker)
  return nn.arange(samples):mul(2 * math.pi * pitch / 8000):sin() * (0.1 + seed % 5 / 10)
end

local function write_recordings()
  nn.manual_seed(1)
  assert(os.execute("mkdir '" .. path "recordings" .. "'"))
  for digit = 0, 9 do
    for speaker, name in ipairs { "ann", "bob" } do
      for index = 0, 8 do
        local file = ("recordings/%d_%s_%d.wav"):format(digit, name, index)
        assert(nn.audio.save(path(file), tone(digit, speaker, 7 * digit + index), 8000))
      end
    end
  end
end

local SMALL = "--batch-size 10 --validation 20 --threads 1 "

describe("speech.lua", function()
  setup(function()
    folder = program.folder()
    write_recordings()
  end)

  teardown(function() os.execute("rm -r '" .. folder .. "'") end)

  it("learns from files which digit is spoken, and hears one", function()
    local result = run(". --model gru --epochs 12 --lr 0.01 " .. SMALL)
    assert.equal("", result.err)
    assert.equal(0, result.code)
    assert.matches("60 recordings to learn from, 20 held out", result.out)
    assert.is_true(tonumber(result.out:match("test accuracy: ([%d.]+) %% of 100 recordings\n$")) > 80, result.out)
    local heard = run("--model gru --listen recordings/7_ann_2.wav")
    assert.equal("", heard.err)
    assert.matches("^ *%d+%.%d %%  %d\n *%d+%.%d %%  %d\n *%d+%.%d %%  %d\n$", heard.out)
  end)

  it("learns from an archive, too", function()
    program.shell(("cd '%s' && mkdir packed && tar czf packed/recordings.tar.gz recordings"):format(folder))
    local result = run("packed --epochs 1 --save cnn.safetensors " .. SMALL)
    assert.equal("", result.err)
    assert.matches("test accuracy: [%d.]+ %% of 100 recordings\n$", result.out)
  end)

  it("learns with --ctc to hear several digits in a row", function()
    local result = run(". --ctc --epochs 25 --lr 0.01 " .. SMALL)
    assert.equal("", result.err)
    assert.matches("\nspoken [%d ]+ heard", result.out)
    local rate = result.out:match("error rate: ([%d.]+) %% of 500 digits %(%d+ exchanged, %d+ added, %d+ missed%)")
    assert.is_true(tonumber(rate) < 60, result.out)
    assert(nn.audio.save(path "row.wav", nn.cat({ tone(3, 1, 2), nn.zeros(900), tone(8, 1, 3) }, 1), 8000))
    assert.matches("^[%d ]*\n$", run("--ctc --listen row.wav").out)
  end)

  it("says what is wrong", function()
    assert(nn.save({ a = nn.ones(1) }, path("foreign.safetensors")))
    for arguments, expected in pairs {
      ["/nowhere"] = "/nowhere/recordings.tar.gz: .*The folder must hold.*https://",
      ["--listen row.wav --save no.safetensors"] = "there is no model yet",
      ["--listen row.wav --save foreign.safetensors"] = "foreign.safetensors: no model of this script",
      ["--model gru --listen foreign.safetensors"] = "foreign.safetensors: ",
      [". --validation 900"] = "%-%-validation: there are only 80 recordings",
      [". --model rnn"] = "must be one of 'cnn', 'gru', 'ctc'",
    } do
      local result = run(arguments)
      assert.matches("speech.lua: .*" .. expected, result.err)
      assert.is_true(result.code > 0)
    end
  end)
end)
