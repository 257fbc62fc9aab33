local nn = require "nnlua"
local support = require "support"
local core = require "nnlua.core"
local Progress = require "nnlua.progress"

local is_terminal, terminal_width, clock = core.is_terminal, core.terminal_width, core.clock

-- A terminal of this width, or none; what is written to it comes in the table.
local function pretend(width)
  local written, now = {}, 100
  nn.set_output(function(text) written[#written + 1] = text end)
  core.is_terminal = function() return width ~= nil end
  core.terminal_width = function() return width end
  core.clock = function() return now end
  return written, function(seconds) now = now + seconds end
end

local function run_epoch(bar, wait, batches, seconds)
  bar:start(1)
  for batch = 1, batches do
    wait(seconds)
    bar:update(batch, batch, function() return { loss = 0.5, accuracy = 0.75 } end)
  end
  bar:finish { loss = 0.25, accuracy = 1, val_loss = 1e-5 }
end

local function new(more)
  local options = { verbose = 1, epochs = 20, batches = 50, names = { "loss", "accuracy", "val_loss" } }
  for name, value in pairs(more or {}) do options[name] = value end
  return Progress.new(options)
end

describe("Progress", function()
  support.count_tensors(before_each, after_each)

  after_each(function()
    nn.set_output(nil)
    core.is_terminal, core.terminal_width, core.clock = is_terminal, terminal_width, clock
  end)

  it("draws a bar, the time left and the means in place on a terminal", function()
    local written, wait = pretend(100)
    run_epoch(new(), wait, 50, 1)
    assert.equal("\rEpoch 1/20  10/50 [=====>........................] 40s left  loss 0.5000  accuracy 0.7500\27[K",
      written[10])
    assert.equal("\r\27[KEpoch  1/20  50s  loss 0.2500  accuracy 1.0000  val_loss 1.000e-05\n", written[#written])
  end)

  it("redraws at most ten times a second", function()
    local written, wait = pretend(100)
    run_epoch(new { batches = 1000 }, wait, 1000, 0.001)
    assert.is_true(#written <= 12)
  end)

  it("never gets wider than the terminal", function()
    for _, width in ipairs { 1, 2, 10, 20, 40, 60, 79, 80, 81, 200 } do
      local written, wait = pretend(width)
      run_epoch(new(), wait, 50, 60)
      for _, text in ipairs(written) do
        local line = text:match("^\r(.*)\27%[K$")
        if line then assert.is_true(#line < width) end
      end
    end
  end)

  it("does without the number of batches", function()
    local written, wait = pretend(100)
    run_epoch(Progress.new { verbose = 1, epochs = 1, names = { "loss" } }, wait, 3, 1)
    assert.equal("\rEpoch 1/1  2 loss 0.5000\27[K", written[2])
  end)

  it("writes a plain line an epoch where the output is no terminal, or verbose is 2", function()
    for _, case in ipairs { { nil, 1 }, { 80, 2 } } do
      local written, wait = pretend(case[1])
      run_epoch(new { verbose = case[2] }, wait, 50, 0.01)
      assert.same({ "Epoch  1/20  500 ms  loss 0.2500  accuracy 1.0000  val_loss 1.000e-05\n" }, written)
    end
  end)

  it("is silent at verbose 0", function()
    local written, wait = pretend(80)
    run_epoch(new { verbose = 0 }, wait, 5, 1)
    assert.same({}, written)
  end)

  it("leaves the line when training ends early", function()
    local written, wait = pretend(80)
    local bar = new()
    bar:start(1)
    wait(1)
    bar:update(1, 1, function() return { loss = 1 } end)
    bar:close()
    assert.equal("\n", written[#written])
    bar:close()
    assert.equal(2, #written)
  end)
end)
