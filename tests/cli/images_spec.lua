--- The scripts that learn from images, on small files made here.

local nn = require "nnlua"
local program = dofile("tests/cli/program.lua")

local folder

local function path(name) return folder .. "/" .. name end

local function exists(name)
  local file = io.open(path(name), "rb")
  if file then file:close() end
  return file ~= nil
end

-- An image of class k, from 0 to 9, is a bright bar in a place of its own, with some noise.
local function bar(k, height, width, seed)
  local pixels = {}
  for row = 1, height do
    for column = 1, width do
      seed = (seed * 1103515245 + 12345) % 2 ^ 31
      local inside = math.floor((row - 3) / 2.3) == k and column > 5 and column < width - 5
      pixels[#pixels + 1] = string.char(math.floor(inside and 255 - seed % 60 or seed % 40))
    end
  end
  return table.concat(pixels)
end

local function write_mnist(part, count)
  local images, labels = {}, {}
  for i = 1, count do
    images[i], labels[i] = bar(i % 10, 28, 28, i), string.char(i % 10)
  end
  local head = (">I4"):pack(count)
  local sizes = head .. (">I4I4"):pack(28, 28)
  program.write("\0\0\8\3" .. sizes .. table.concat(images), path(part .. "-images-idx3-ubyte"))
  program.write("\0\0\8\1" .. head .. table.concat(labels), path(part .. "-labels-idx1-ubyte"))
end

local function write_cifar(name, count)
  local records = {}
  for i = 1, count do
    local class = i % 10
    records[i] = string.char(class) .. bar(class, 32, 32, i) .. bar(class, 32, 32, 2 * i) .. bar(class, 32, 32, 3 * i)
  end
  program.write(table.concat(records), path(name))
end

-- Shell commands for a script of scripts/ with these arguments (words), run in `folder`.
local function command(...) return program.command(folder, ...) end

local function run(...) return program.shell(command(...)) end

describe("The scripts for images", function()
  setup(function()
    folder = program.folder()
    write_mnist("train", 300)
    write_mnist("t10k", 100)
    write_cifar("train.bin", 60)
    write_cifar("test_batch.bin", 20)
  end)

  teardown(function() os.execute("rm -r '" .. folder .. "'") end)

  it("learn, save, draw curves, and say how they did", function()
    local result = run("mnist.lua", ". --epochs 3 --batch-size 16 --validation 50 --seed 3 --threads 1")
    assert.equal("", result.err)
    assert.equal(0, result.code)
    assert.matches("Epoch 3/3 .*val_accuracy", result.out)
    assert.matches("\n0 +10 +0 .*\n9[ 0]+10 *\n", result.out)
    assert.matches("\n.*curves: mnist%-mlp.svg\n", result.out)
    assert.is_true(exists("mnist-mlp.svg"))
    assert.matches("test accuracy: 100.00 %% of 100 images\n$", result.out)
    assert.is_true(exists("mnist-mlp.safetensors"))
    assert.is_false(exists("mnist-mlp.backup"))
  end)

  for _, case in ipairs {
    { "mnist.lua", "--model cnn", "mnist-cnn.safetensors" }, { "fashion_mnist.lua", "", "fashion_mnist.safetensors" },
    { "cifar10.lua", "", "cifar10.safetensors" },
  } do
    it(case[1] .. " " .. case[2] .. " runs", function()
      local result = run(case[1], ". --epochs 1 --batch-size 20 --validation 20 --threads 1 " .. case[2])
      assert.equal("", result.err)
      assert.equal(0, result.code)
      assert.matches("test accuracy: ", result.out)
      assert.is_true(exists(case[3]))
    end)
  end

  it("give a model that classify.lua asks about pictures of any size, also dark on bright", function()
    local bright = nn.zeros(1, 28, 28)
    bright:narrow(2, 22, 2):narrow(3, 6, 17):fill_(1) -- class 8
    assert(nn.image.save(bright, path("small.png")))
    assert(nn.image.save(nn.ones(3, 90, 50), path("blank.png")))
    assert(nn.image.save(1 - nn.image.resize(bright, { size = { 56, 56 } }), path("large.png")))
    local result = run("classify.lua",
      "mnist-mlp.safetensors small.png blank.png large.png --save-input in.png --top 2")
    assert.equal("", result.err)
    assert.equal(0, result.code)
    assert.matches("^small.png\n +%d+%.%d %%  8\n +%d+%.%d %%  %d\nblank.png\n.*%%  %d\nlarge.png\n", result.out)
    local framed = assert(nn.image.load(path("in.png")))
    assert.same({ 1, 28, 28 }, framed.shape)
    assert.is_true(framed[1]:narrow(1, 14, 2):mean():item() > 0.5) -- the bar is in the middle, and bright
    assert.is_true(framed[1]:narrow(1, 1, 8):max():item() < 0.1)
    result = run("classify.lua", "cifar10.safetensors small.png large.png --top 1")
    assert.equal("", result.err)
    assert.matches("^small.png\n +%d+%.%d %%  %a+\nlarge.png\n +%d+%.%d %%  %a+\n$", result.out)
  end)

  it("and classify.lua says what is wrong", function()
    assert(nn.save({ a = nn.ones(1) }, path("foreign.safetensors")))
    for arguments, expected in pairs {
      ["missing.safetensors small.png"] = "missing.safetensors: .*No such file",
      ["foreign.safetensors small.png"] = "the file does not say what its input and its classes are",
      ["mnist-mlp.safetensors missing.png"] = "missing.png: .*No such file",
      ["mnist-mlp.safetensors foreign.safetensors"] = "foreign.safetensors: ",
      ["mnist-mlp.safetensors"] = "missing argument 'picture'",
      ["mnist-mlp.safetensors small.png --top 0"] = "%-%-top: expected a whole number from 1, got '0'",
    } do
      local result = run("classify.lua", arguments)
      assert.matches("^classify.lua: " .. ".*" .. expected, result.err)
      assert.is_true(result.code > 0)
    end
  end)

  it("give the same for the same seed", function()
    local text = {}
    for i = 1, 2 do
      run("mnist.lua", ". --epochs 1 --validation 50 --seed 5 --save again.safetensors")
      text[i] = program.read(path("again.safetensors"))
    end
    assert.is_true(#text[1] > 1000 and text[1] == text[2])
  end)

  it("go on with --resume after kill -9, and end with the same bits", function()
    local arguments = ". --epochs 30 --validation 50 --threads 1 --save "
    run("mnist.lua", arguments .. "whole.safetensors")
    local killed = program.shell(command("mnist.lua", arguments .. "cut.safetensors", "exec") .. [[ >cut.out &
      i=0; while [ ! -e cut.backup ] && [ $i -lt 1000 ]; do sleep 0.01; i=$((i + 1)); done
      kill -9 $!; wait $!; cat cut.out]])
    assert.not_matches("test accuracy", killed.out)
    assert.is_true(exists("cut.backup"))
    local resumed = run("mnist.lua", arguments .. "cut.safetensors --resume")
    assert.matches("going on after epoch %d", resumed.out)
    assert.is_true(program.read(path("whole.safetensors")) == program.read(path("cut.safetensors")))
    assert.is_false(exists("cut.backup"))
    assert.matches("nothing to resume .*beginning with the first epoch",
      run("mnist.lua", ". --epochs 1 --validation 50 --resume").out)
  end)

  it("list their options", function()
    for _, name in ipairs { "mnist.lua", "fashion_mnist.lua", "cifar10.lua" } do
      local result = run(name, "--help")
      assert.equal(0, result.code)
      for _, option in ipairs { "epochs", "batch%-size", "lr", "seed", "resume", "threads", "save", "plot" } do
        assert.matches("%-%-" .. option .. " ", result.out .. " ")
      end
    end
  end)

  it("name a wrong option or value", function()
    for arguments, message in pairs {
      ["--epoch 3"] = "mnist.lua: unknown option '--epoch'\nDid you mean '--epochs'?",
      ["--epochs 0"] = "mnist.lua: --epochs: expected a whole number from 1, got '0'",
      ["--lr fast"] = "mnist.lua: --lr: expected a number above 0, got 'fast'",
      ["--model rnn"] = "must be one of 'mlp', 'cnn'",
      [". --validation 300"] = "mnist.lua: --validation: there are only 300 images",
    } do
      local result = run("mnist.lua", arguments)
      assert.truthy(result.err:find(message, 1, true), result.err)
      assert.equal(2, result.code)
    end
  end)

  it("say what a folder must hold and where that is to be had", function()
    for name, expected in pairs {
      ["mnist.lua"] = "train-images-idx3-ubyte", ["fashion_mnist.lua"] = "train-images-idx3-ubyte",
      ["cifar10.lua"] = "data_batch_1.bin",
    } do
      local result = run(name, "/nowhere")
      assert.matches("^" .. name .. ": /nowhere: .*" .. expected:gsub("%-", "%%-") .. ".*https://", result.err)
      assert.equal(1, result.code)
      assert.matches("NNLUA_DATA is not set\nThe folder must hold", run(name, "", "env -u NNLUA_DATA").err)
    end
  end)

  it("find their folder below NNLUA_DATA", function()
    local result = run("mnist.lua", "", "NNLUA_DATA=/nowhere")
    assert.matches("^mnist.lua: /nowhere/mnist: ", result.err)
  end)

  it("say what to install where argparse is missing", function()
    local result = run("mnist.lua", "--help", "LUA_PATH=/nowhere/?.lua")
    assert.matches("^mnist.lua: .*apt%-get install lua%-argparse", result.err)
    assert.equal(1, result.code)
  end)
end)
