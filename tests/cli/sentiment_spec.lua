--- The script that learns from sentences, on a few of them that are made here.

local program = dofile("tests/cli/program.lua")

local folder

local function path(name) return folder .. "/" .. name end

local function exists(name)
  local file = io.open(path(name), "rb")
  if file then file:close() end
  return file ~= nil
end

local words = {
  [0] = { "dull", "awful", "boring", "does n't work" }, { "great", "lovely", "moving", "works" },
}
local others = { "film", "story", "actors", "music", ", it 's", "a", "the", "this one" }

-- Every second sentence is a good one.
local function write_sentences(name, count)
  local lines, seed = {}, #name
  local function any(list)
    seed = (seed * 1103515245 + 12345) % 2 ^ 31
    return list[math.floor(seed / 65536) % #list + 1]
  end
  for i = 1, count do
    local label, parts = i % 2, {}
    for _ = 1, i % 5 do parts[#parts + 1] = any(others) end
    parts[#parts + 1] = any(words[label])
    for _ = 1, i % 3 do parts[#parts + 1] = any(others) end
    lines[i] = ("%s\t%d"):format(table.concat(parts, " "), label)
  end
  program.write(table.concat(lines, "\n"), path("sst2_" .. name .. ".tsv"))
end

local function command(arguments, before) return program.command(folder, "sentiment.lua", arguments, before) end

local function run(...) return program.shell(command(...)) end

describe("sentiment.lua", function()
  setup(function()
    folder = program.folder()
    write_sentences("train", 160)
    write_sentences("dev", 40)
    write_sentences("test", 40)
  end)

  teardown(function() os.execute("rm -r '" .. folder .. "'") end)

  for model, recipe in pairs { bag = "6 --lr 0.02", lstm = "10 --lr 0.01", transformer = "16 --lr 0.003" } do
    it("learns by --model " .. model .. ", and the model that it saves answers --predict", function()
      local result = run((". --model %s --batch-size 16 --threads 1 --epochs %s"):format(model, recipe))
      assert.equal("", result.err)
      assert.equal(0, result.code)
      assert.matches("Epoch +2/%d+ .*val_accuracy", result.out)
      assert.matches("\nnegative +%d+ +%d+ *\npositive +%d+ +%d+ *\n", result.out)
      local accuracy = tonumber(result.out:match "test accuracy: (%d+%.%d+) %% of 40 sentences\n$")
      assert.is_true(accuracy >= 90, result.out)
      assert.is_true(exists("sentiment-" .. model .. ".safetensors"))
      assert.is_false(exists("sentiment-" .. model .. ".backup"))
      for text, expected in pairs { ["What a GREAT film!"] = "positive", ["This story doesn't work."] = "negative" } do
        result = run(("--model %s --predict %s"):format(model, program.quote(text)))
        assert.equal("", result.err)
        assert.matches("^" .. expected .. "  %d+%.%d %%\n$", result.out)
      end
    end)
  end

  it("goes on with --resume after a kill, and ends with the same bits", function()
    local arguments = ". --epochs 40 --threads 1 --save "
    run(arguments .. "whole.safetensors")
    local killed = program.shell(command(arguments .. "cut.safetensors", "exec") .. [[ >cut.out &
      i=0; while [ ! -e cut.backup ] && [ $i -lt 1000 ]; do sleep 0.01; i=$((i + 1)); done
      kill -9 $!; wait $!; cat cut.out]])
    assert.not_matches("test accuracy", killed.out)
    assert.matches("going on after epoch %d", run(arguments .. "cut.safetensors --resume").out)
    assert.is_true(program.read(path("whole.safetensors")) == program.read(path("cut.safetensors")))
  end)

  it("says what is wrong", function()
    program.write("good film\n", path("broken.tsv"))
    program.shell(("mkdir %s/broken; cp %s/broken.tsv %s/broken/sst2_train.tsv"):format(folder, folder, folder))
    for arguments, expected in pairs {
      ["/nowhere"] = "/nowhere/sst2_train.tsv: .*The folder must hold .*https://",
      ["broken"] = "broken/sst2_train.tsv: line 1 is no sentence",
      ["--model rnn"] = "must be one of 'bag', 'lstm', 'transformer'",
      ["--predict good --save missing.safetensors"] = "missing.safetensors: .*No such file",
      ["--predict good --save broken.tsv"] = "broken.tsv: ",
    } do
      local result = run(arguments)
      assert.matches("^sentiment.lua: .*" .. expected, result.err)
      assert.is_true(result.code > 0)
    end
    assert.matches("NNLUA_DATA is not set", run("", "env -u NNLUA_DATA").err)
    assert.matches("/nowhere/sentiment/sst2_train.tsv", run("", "NNLUA_DATA=/nowhere").err)
  end)
end)
