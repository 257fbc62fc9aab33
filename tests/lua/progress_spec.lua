local nn = require "nnlua"
local support = require "support"
local core = require "nnlua.core"
local cells = require "nnlua.cells"
local Progress = require "nnlua.progress"

local saved = {
  is_terminal = core.is_terminal, terminal_width = core.terminal_width, clock = core.clock,
  are_utf8 = cells.are_utf8, have_colour = cells.have_colour, can_redraw = cells.can_redraw,
}

-- A terminal of this width, or none; what is written to it comes in the table.
local function pretend(width, abilities)
  local written, now = {}, 100
  abilities = abilities or {}
  nn.set_output(function(text) written[#written + 1] = text end)
  core.is_terminal = function() return width ~= nil end
  core.terminal_width = function() return written.width or width end
  core.clock = function() return now end
  cells.are_utf8 = function() return abilities.utf8 or false end
  cells.have_colour = function() return abilities.colour or false end
  cells.can_redraw = function() return not abilities.dumb end
  return written, function(seconds) now = now + seconds end
end

local function run_epoch(bar, wait, batches, seconds)
  bar:start(1)
  for batch = 1, batches do
    wait(seconds)
    bar:update(batch, batch * 32, function() return { loss = 0.5, accuracy = 0.75 } end)
  end
  bar:finish { loss = 0.25, accuracy = 1, val_loss = 1e-5 }
end

local function new(more)
  local options = { verbose = 1, epochs = 20, batches = 50, names = { "loss", "accuracy", "val_loss" } }
  for name, value in pairs(more or {}) do options[name] = value end
  return Progress.new(options)
end

-- The lines drawn in place.
local function drawn(written)
  local lines = {}
  for _, text in ipairs(written) do lines[#lines + 1] = text:match("^\r(.*)\27%[K$") end
  return lines
end

describe("Progress", function()
  support.count_tensors(before_each, after_each)

  after_each(function()
    nn.set_output(nil)
    for name, value in pairs(saved) do (core[name] and core or cells)[name] = value end
  end)

  it("draws a bar, the time left, the speed and the means in place on a terminal", function()
    local written, wait = pretend(120)
    run_epoch(new(), wait, 50, 1)
    assert.equal("\rEpoch 1/20  0/50  [............................]\27[K", written[1])
    assert.equal("\rEpoch 1/20  10/50  [=====>......................]  40s left  32.0 samples/s  loss 0.5000  " ..
      "accuracy 0.7500\27[K", written[11])
    assert.equal("\r\27[KEpoch  1/20  50s  32.0/s  loss 0.2500  accuracy 1.0000  val_loss 1.000e-05\n",
      written[#written])
  end)

  it("draws finer where the terminal knows UTF-8, in colours where it has them", function()
    local written, wait = pretend(120, { utf8 = true })
    run_epoch(new(), wait, 5, 1)
    local bar = ("━"):rep(2) .. "╸" .. ("─"):rep(27) .. "  46s left"
    assert.is_truthy(drawn(written)[5]:find(bar, 1, true))
    written, wait = pretend(120, { utf8 = true, colour = true })
    run_epoch(new(), wait, 20, 1)
    local painted = "\27[1mEpoch 1/20\27[m  20/50  \27[32m" ..
      ("━"):rep(12) .. "\27[m\27[90m" .. ("━"):rep(18) .. "\27[m  "
    assert.equal(painted, drawn(written)[21]:sub(1, #painted))
  end)

  it("redraws at most ten times a second", function()
    local written, wait = pretend(100)
    local bar = new { batches = 100 }
    for _ = 1, 10 do run_epoch(bar, wait, 100, 0.001) end
    assert.is_true(#drawn(written) <= 11)
    assert.is_true(#drawn(written) >= 9)
  end)

  it("draws more rarely where the means take long to compute", function()
    local written, wait = pretend(100)
    local bar = new { batches = 1000 }
    bar:start(1)
    for batch = 1, 1000 do
      wait(0.01)
      bar:update(batch, batch, function()
        wait(1)
        return { loss = 0.5 }
      end)
    end
    assert.equal(2, #drawn(written))
  end)

  it("never gets wider than the terminal, with names that are", function()
    local names = { "loss", "精度", "a name of many words", "x\27[31m\n\tred", "broken \255\128 bytes", "e\204\129" }
    local logs = {}
    for _, name in ipairs(names) do logs[name] = 0.25 end
    for width = 1, 200 do
      local written, wait = pretend(width, { utf8 = width % 2 == 0 })
      local bar = new { names = names }
      bar:start(1)
      wait(1)
      bar:update(7, 7, logs)
      bar:finish(logs)
      local lines = drawn(written)
      assert.equal(2, #lines)
      assert.is_true(cells.width(lines[2]) < math.max(width, 2), lines[2])
      assert.is_nil(lines[2]:find("[\27\n\t\255]"))
      local last = written[#written]:gsub("^\r\27%[K", "")
      for line in last:gmatch("[^\n]+") do
        if width >= 30 then assert.is_true(cells.width(line) <= width, line) end
      end
    end
  end)

  it("leaves nothing behind where the terminal became narrower", function()
    local written, wait = pretend(120)
    local bar = new()
    bar:start(1)
    wait(1)
    bar:update(25, 1, { loss = 0.5, accuracy = 0.5 })
    written.width = 40
    wait(1)
    bar:update(26, 1, { loss = 0.5, accuracy = 0.5 })
    assert.matches("^\27%[2A\r\27%[J1/20  26/50", written[#written])
  end)

  it("does without the number of batches, and shows how many there were, and how fast", function()
    local written, wait = pretend(100)
    local bar = Progress.new { verbose = 1, epochs = 1, names = { "loss" } }
    bar:start(1)
    for batch = 1, 90 do
      wait(1)
      bar:update(batch, batch * 5000, { loss = 0.5 })
    end
    assert.equal("\rEpoch 1/1  90 batches  1:30  5.00k samples/s  loss 0.5000\27[K", written[#written])
  end)

  it("shows the part of an epoch, and the speed of training afterwards", function()
    local written, wait = pretend(100)
    local bar = new()
    bar:start(3)
    wait(1)
    bar:update(50, 1000, {})
    bar:part("validation", 10)
    wait(9)
    bar:update(5, 90, { loss = 0.25 })
    assert.matches("^\rEpoch 3/20 validation  5/10  %[.*%]  9s left  10.0 samples/s  loss 0.2500", written[#written])
    bar:finish { loss = 1 }
    assert.equal("\r\27[KEpoch  3/20  10s  1.00k/s  loss 1.0000\n", written[#written])
  end)

  it("writes a plain line an epoch where the output is no terminal or a poor one, or verbose is 2", function()
    for _, case in ipairs { { nil, 1 }, { 80, 2 }, { 80, 1, { dumb = true } } } do
      local written, wait = pretend(case[1], case[3])
      run_epoch(new { verbose = case[2] }, wait, 50, 0.01)
      assert.same({ "Epoch  1/20  500 ms  3.20k/s  loss 0.2500  accuracy 1.0000  val_loss 1.000e-05\n" }, written)
    end
  end)

  it("writes numbers as people read them", function()
    local written, wait = pretend(nil)
    local bar = new { names = { "a", "b", "c", "d", "e", "f" } }
    bar:start(1)
    wait(3725)
    bar:finish { a = 0 / 0, b = 1 / 0, c = 123456, d = 0, e = nn.ones(2), f = -0.00012 }
    assert.equal("Epoch  1/20  1:02:05  a nan  b inf  c 1.235e+05  d 0.0000  f -1.200e-04\n", written[1])
  end)

  it("has lines of its own for the validation set where one line does not suffice", function()
    local written, wait = pretend(60)
    run_epoch(new(), wait, 50, 1)
    assert.equal("\r\27[KEpoch  1/20  50s  32.0/s  loss 0.2500  accuracy 1.0000\n" ..
      "             val_loss 1.000e-05\n", written[#written])
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
    bar:update(1, 1, { loss = 1 })
    bar:close()
    assert.equal("\n", written[#written])
    local count = #written
    bar:close()
    assert.equal(count, #written)
  end)

  it("is there for evaluate and predict, if asked for", function()
    local written = pretend(100)
    local model = nn.Dense(2, 1):compile { optimizer = "sgd", loss = "mse", metrics = { "mae" } }
    local x, y = nn.ones(10, 2), nn.ones(10, 1)
    model:evaluate(x, y)
    model:predict(x)
    assert.same({}, { written[1] })
    model:evaluate(x, y, { verbose = 1, batch_size = 5 })
    assert.equal("\rEvaluate  0/2  [............................]\27[K", written[1])
    assert.matches("^\r\27%[KEvaluate  0 ms  loss %S+  mae %S+\n$", written[#written])
    model:predict(x, { verbose = 1 })
    assert.matches("^\r\27%[KPredict  0 ms\n$", written[#written])
    assert.error(function() model:predict(nn.ones(10, 3), { verbose = 1 }) end)
    assert.equal("\n", written[#written])
  end)
end)

describe("cells", function()
  it("know how wide text is on a terminal", function()
    assert.equal(4, cells.width("text"))
    assert.equal(4, cells.width("精度"))
    assert.equal(1, cells.width("e\204\129"))
    assert.equal(2, cells.width("😀"))
    assert.equal(3, cells.width("a\255b"))
    assert.equal(3, cells.width("naï"))
  end)

  it("cut text between its characters", function()
    assert.equal("精", cells.cut("精度", 3))
    assert.equal("", cells.cut("精度", 1))
    assert.equal("精.", cells.fit("精度", 3))
    assert.equal("longe...", cells.fit("longer than that", 8))
    assert.equal("  ab", cells.fit("ab", 4, true))
    assert.equal("ab  ", cells.fit("ab", 4))
  end)

  it("hide what a terminal would obey", function()
    assert.equal("a?[31mb?", cells.clean("a\27[31mb\n"))
    assert.equal("?", cells.clean("\194\155"))
  end)
end)
