-- Needs Lua 5.3: string.unpack.
local nn = require "nnlua"
local support = require "support"
local core = require "nnlua.core"
local cells = require "nnlua.cells"

local run_program = core.run_program
local has_gnuplot = run_program({ "gnuplot", "--version" }, "") == 0
local missing = "drawing into a file needs gnuplot %(on Debian and Ubuntu: apt%-get install gnuplot%-nox%)"

local folder

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("a")
  file:close()
  return bytes
end

-- Draws into a file and gives its bytes; nil where there is no gnuplot, which the error must say.
local function drawn(name, draw, ...)
  local path, arguments = folder .. "/" .. name, { ... }
  arguments[#arguments + 1] = path
  arguments[#arguments + 1] = arguments.options
  local ok, result, message = pcall(draw, table.unpack(arguments))
  if not has_gnuplot then
    assert.is_false(ok)
    assert.matches(missing, result)
    return nil
  end
  if not ok then error(result, 0) end
  assert.is_true(result, message)
  return read(path)
end

local function with_options(draw, options)
  return function(...)
    local list = { ... }
    list[#list + 1] = options
    return draw(table.unpack(list))
  end
end

-- Width and height of a PNG file.
local function png_size(bytes)
  assert.equal("\137PNG\r\n\26\n", bytes:sub(1, 8))
  return (">I4I4"):unpack(bytes, 17)
end

-- What is drawn where there is no path, as a list of lines.
local function text_of(draw, ...)
  local written = {}
  nn.set_output(function(text) written[#written + 1] = text end)
  local ok, message = pcall(draw, ...)
  nn.set_output(nil)
  if not ok then error(message, 0) end
  local lines = {}
  for line in table.concat(written):gmatch("([^\n]*)\n") do lines[#lines + 1] = line end
  return lines
end

local function history()
  local h = { epoch = {}, loss = {}, val_loss = {}, accuracy = {}, matrix = { nn.ones(2, 2) } }
  for i = 1, 10 do h.epoch[i], h.loss[i], h.val_loss[i], h.accuracy[i] = i, 1 / i, 2 / i, 1 - 1 / i end
  return h
end

describe("nn.plot in files", function()
  support.count_tensors(before_each, after_each)

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(core.events.make_folder(folder))
  end)

  after_each(function()
    core.run_program = run_program
    os.execute("rm -r '" .. folder .. "'")
  end)

  it("draws lines, points, boxes and matrices as PNG of the size that was asked for", function()
    local x = nn.linspace(0, 6, 30)
    local kinds = {
      { nn.plot.lines, x, x:sin() }, { nn.plot.lines, { { x = x, y = x:cos(), label = "cos" }, { 1, 2, 3 } } },
      { nn.plot.scatter, nn.rand(20, 2) }, { nn.plot.histogram, nn.randn(100) },
      { nn.plot.confusion_matrix, nn.tensor { { 3, 1 }, { 0, 2 } } }, { nn.plot.lines, { 5 } },
    }
    for i, kind in ipairs(kinds) do
      local options = { title = "title", width = 320, height = 200 }
      local bytes = drawn(i .. ".png", with_options(kind[1], options), table.unpack(kind, 2))
      if bytes then assert.same({ 320, 200 }, { table.unpack({ png_size(bytes) }, 1, 2) }) end
    end
  end)

  it("writes SVG and PDF, by the end of the name", function()
    local texts = { title = "a_title", labels = { "first_label" } }
    local svg = drawn("a.svg", with_options(nn.plot.lines, texts), { { 1, 2 } })
    if svg then
      assert.matches("<svg", svg)
      assert.matches("a_title", svg)
      assert.matches("first_label", svg)
    end
    local pdf = drawn("a.PDF", nn.plot.lines, { 1, 2 })
    if pdf then assert.equal("%PDF", pdf:sub(1, 4)) end
    assert.error_matches(function() nn.plot.lines({ 1, 2 }, "a.gif") end,
      'nn.plot.lines: path: expected a name that ends in .png, .svg or .pdf, got "a.gif"')
  end)

  it("takes any text for text, and any name for a name", function()
    local proof = folder .. "/proof"
    local evil = ("it's \"q\" `touch %s` $(touch %s) '; system('touch %s') #\n!touch %s\n@x %%d\27[31m"):format(
      proof, proof, proof, proof)
    local name = "it's `a` \"b\" $c ;.svg"
    local texts = { title = evil, xlabel = evil, ylabel = evil, labels = { evil } }
    local svg = drawn(name, with_options(nn.plot.lines, texts), { { 1, 2 } })
    if svg then
      assert.is_truthy(svg:find("it's", 1, true) or svg:find("it&#39;s", 1, true) or svg:find("it&apos;s", 1, true))
      assert.is_nil(svg:find("\27", 1, true))
    end
    drawn("m.svg", with_options(nn.plot.confusion_matrix, { classes = { evil, "b" } }), nn.ones(2, 2))
    drawn("i.svg", with_options(nn.plot.images, { titles = { evil } }), nn.rand(2, 3, 3))
    assert.is_nil(io.open(proof))
  end)

  it("draws a long line in a time that a short one takes, with its peaks", function()
    local script
    core.run_program = function(_, input)
      script = input
      return nil, "stopped here"
    end
    local y = nn.zeros(100000)
    y[77777], y[5] = 8.25, -3.5
    pcall(nn.plot.lines, y, folder .. "/a.png")
    local _, count = script:gsub("\n%d+ [%d.-]+", "")
    assert.is_true(count > 1000 and count <= 4000)
    assert.is_truthy(script:find("\n77777 8.25\n", 1, true))
    assert.is_truthy(script:find("\n5 -3.5\n", 1, true))
    assert.is_truthy(script:find("\n100000 0\n", 1, true))
  end)

  it("leaves an old file where there is no gnuplot, or where it fails, and says so", function()
    local path = folder .. "/a.png"
    local file = io.open(path, "w")
    file:write("old")
    file:close()
    core.run_program = function() return nil, "gnuplot: cannot start: No such file or directory" end
    assert.error_matches(function() nn.plot.lines({ 1, 2 }, path) end, missing)
    core.run_program = function() return 1, "\n\ngnuplot> oops\n   line 3: wrong\n" end
    assert.error_matches(function() nn.plot.lines({ 1, 2 }, path) end, "gnuplot failed: gnuplot> oops; line 3: wrong$")
    assert.equal("old", read(path))
    assert.is_nil(io.open(path .. ".part"))
  end)

  it("gives nil and a message where the file cannot be written", function()
    local none, message = nn.plot.lines({ 1, 2 }, folder .. "/no/such/a.png")
    assert.is_nil(none)
    assert.matches("No such file or directory", message)
  end)

  it("draws the history of a training", function()
    local bytes = drawn("h.png", nn.plot.history, history())
    if bytes then assert.same({ 1120, 480 }, { table.unpack({ png_size(bytes) }, 1, 2) }) end
    local model = nn.Dense(2, 1):compile { optimizer = "sgd", loss = "mse" }
    local real = model:fit(nn.ones(4, 2), nn.ones(4, 1), { epochs = 2, verbose = 0 })
    local svg = drawn("h.svg", function(path) return real:plot(path) end)
    if svg then assert.matches("training", svg) end
    assert.is_truthy(text_of(function() return real:plot() end)[1]:find("loss"))
    assert.error_matches(function() real:plot("a.png", { metrics = { "acuracy" } }) end,
      'history:plot: option metrics: the history has no "acuracy"; it has loss')
    assert.error_matches(function() nn.plot.history { epoch = {} } end, "the history is empty")
  end)

  it("writes grids of pictures, enlarged, and filters", function()
    local ok, message = pcall(nn.image.encode, nn.rand(3, 2, 2))
    if not ok then return assert.matches("libpng", message) end
    local path = folder .. "/i.png"
    assert.is_true(nn.plot.images(nn.rand(5, 3, 4, 6), path, { columns = 3, padding = 1, scale = 2 }))
    assert.same({ (3 * 7 - 1 + 2) * 2, (2 * 5 - 1 + 2) * 2 }, { table.unpack({ png_size(read(path)) }, 1, 2) })
    local picture = nn.image.load(path)
    assert.equal(1, picture[{ 1, 1, 1 }])
    assert.is_true(nn.plot.filters(nn.Conv2d(3, 8, 5), path))
    assert.is_true(nn.plot.filters(nn.Dense(3, 8), path))
    assert.error_matches(function() nn.plot.filters(nn.ReLU(), path) end, "expected a layer with a weight, or a tensor")
    assert.error_matches(function() nn.plot.images(nn.rand(2, 5, 4, 4), path) end, "1 or 3 channels")
  end)
end)

describe("nn.plot on a terminal", function()
  support.count_tensors(before_each, after_each)

  local saved = {
    is_terminal = core.is_terminal, terminal_width = core.terminal_width, are_utf8 = cells.are_utf8,
    have_colour = cells.have_colour,
  }

  after_each(function()
    for name, value in pairs(saved) do (core[name] and core or cells)[name] = value end
  end)

  local function pretend(width)
    core.is_terminal = function() return true end
    core.terminal_width = function() return width end
    cells.are_utf8 = function() return true end
    cells.have_colour = function() return true end
  end

  it("draws with plain characters where there is no terminal", function()
    local lines = text_of(nn.plot.lines, { { 0, 1, 2, 3 }, { 3, 2, 1, 0 } },
      { labels = { "up", "down" }, title = "Two" })
    assert.matches("^ +Two$", lines[1])
    assert.matches("^ +%* up   o down$", lines[2])
    assert.matches("^3 |o+ +%*+$", lines[3])
    assert.equal(2 + 14 + 2, #lines)
    assert.matches("^  %+%-+$", lines[17])
    assert.is_nil(table.concat(lines):find("[\27\128-\255]"))
  end)

  it("keeps within the terminal", function()
    nn.manual_seed(2)
    for _, width in ipairs { 20, 40, 60, 80, 200 } do
      pretend(width)
      for _, draw in ipairs {
        function() nn.plot.lines({ 1e-9, 5e8, 3 }, { title = "t", xlabel = "x", ylabel = "y" }) end,
        function() nn.plot.histogram(nn.randn(100)) end,
        function() nn.plot.confusion_matrix(nn.ones(12, 12) * 1000) end,
        function() nn.plot.images(nn.rand(9, 3, 40, 40)) end,
      } do
        for _, line in ipairs(text_of(draw)) do
          local plain = line:gsub("\27%[[%d;]*m", "")
          assert.is_true(cells.width(plain) <= width, plain)
        end
      end
    end
  end)

  it("counts in histograms", function()
    local lines = text_of(nn.plot.histogram, { 1, 1, 1, 2, 0 / 0, 1 / 0 }, { bins = 2 })
    assert.matches("3 |%*+$", lines[2])
    assert.matches("0 |%*+$", lines[15])
    assert.is_true(#lines[15] > #lines[2])
  end)

  it("has a table for a confusion matrix", function()
    local matrix = nn.tensor({ { 5, 1 }, { 0, 10 } }, { dtype = "int64" })
    local lines = text_of(nn.plot.confusion_matrix, matrix, { classes = { "cat", "dog" } })
    assert.matches("^cat +5 +1", lines[3])
    assert.matches("^dog +0 +10", lines[4])
    lines = text_of(nn.plot.confusion_matrix, matrix, { normalize = true })
    assert.matches("^1 +0.83 +0.17", lines[3])
  end)

  it("draws what is finite, on logarithmic axes what is above 0", function()
    text_of(nn.plot.lines, { 1, 0 / 0, 3, 1 / 0 })
    text_of(nn.plot.lines, { 0, -1, 100 }, { logy = true })
    text_of(nn.plot.lines, { 7, 7, 7 })
    assert.error_matches(function() nn.plot.lines { 0 / 0 } end, "nn.plot.lines: there are no finite numbers to draw")
    assert.error_matches(function() nn.plot.lines {} end, "there are no finite numbers to draw")
    assert.error_matches(function() nn.plot.lines({ 0, -1 }, { logy = true }) end, "there is no number above 0")
    assert.error_matches(function() nn.plot.histogram { 1 / 0 } end, "there are no finite numbers")
  end)

  it("says what it does not take", function()
    assert.error_matches(function() nn.plot.lines({ 1, 2 }, { 1, 2, 3 }) end, "as many numbers in both, got 2 and 3")
    assert.error_matches(function() nn.plot.lines("a") end, 'data: expected a tensor, .*, got "a"')
    assert.error_matches(function() nn.plot.lines({ 1 }, { tilte = "a" }) end, "did you mean 'title'")
    assert.error_matches(function() nn.plot.lines({ 1 }, { xrange = { 2, 1 } }) end,
      "option xrange: expected {from, to}")
    assert.error_matches(function() nn.plot.scatter(nn.rand(3, 2), { classes = { 1 } }) end, "expected 3 labels, got 1")
    assert.error_matches(function() nn.plot.confusion_matrix(nn.ones(2, 3)) end, "expected a square matrix")
    assert.error_matches(function() nn.plot.confusion_matrix(nn.ones(2, 2), { classes = { "a" } }) end,
      "expected 2 names, got 1")
  end)
end)

describe("run_program", function()
  it("gives a program its input, and its words as they are", function()
    local code, output = core.run_program({ "cat" }, "a\0b")
    assert.equal(0, code)
    assert.equal("a\0b", output)
    local large = ("x"):rep(1000000)
    assert.equal(large, select(2, core.run_program({ "cat", "-" }, large)))
    assert.equal("$HOME `ls` 'a'\n", select(2, core.run_program({ "echo", "$HOME `ls` 'a'" }, "")))
  end)

  it("tells how a program ended, and whether it began", function()
    local code, output = core.run_program({ "sh", "-c", "echo out; echo err >&2; exit 3" }, "")
    assert.equal(3, code)
    assert.equal("out\nerr\n", output)
    assert.equal(128 + 9, (core.run_program({ "sh", "-c", "kill -9 $$" }, "")))
    local none, message = core.run_program({ "no such program" }, "")
    assert.is_nil(none)
    assert.matches("no such program: cannot start: No such file", message)
  end)
end)
