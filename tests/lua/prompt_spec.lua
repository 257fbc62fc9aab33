--- What the prompt asks the library: completions, the look of values, indentation.

local nn = require "nnlua"
local complete = require "nnlua.prompt.complete"
local prompt = require "nnlua.prompt"
local show = require "nnlua.prompt.show"

local folders = { ["."] = { "data.csv", "data/", "main.lua", ".hidden" }, ["data/"] = { "a.csv", "b.csv" } }

local function words(text)
  local list, replaced = complete.words(text, function(path) return folders[path] or {} end)
  return table.concat(list, " "), replaced
end

describe("Completion", function()
  local globals = {
    t_x = nn.ones(2), t_layer = nn.Dense(2, 3), t_model = nn.Sequential { nn.Dense(2, 3) }, t_lstm = nn.LSTM(2, 3),
    t_table = { alpha = { beta = 1, betray = function() end }, [1] = nn.ones(1) }, t_text = "",
  }
  globals.nn = nn
  globals.t_opt = nn.optim.Adam(globals.t_layer:parameters())

  before_each(function()
    for name, value in pairs(globals) do rawset(_G, name, value) end
  end)
  after_each(function()
    for name in pairs(globals) do rawset(_G, name, nil) end
  end)

  it("knows globals and keywords, and replaces the word that was begun", function()
    assert.equal("print", words "pri")
    assert.equal(3, select(2, words "x = pri"))
    assert.equal("while", words "whi")
    assert.equal("t_table", words "#t_ta")
  end)

  it("knows fields of tables, as deep as they are read", function()
    assert.equal("beta betray", words "t_table.alpha.b")
    assert.equal("betray", words "t_table.alpha:b")
    assert.equal("tolist", words "t_table[1]:tol")
    assert.equal("format", words "string.fo")
    assert.equal("", words "t_table.nothing.b")
  end)

  it("knows what belongs to tensors, layers, models, optimizers and strings", function()
    assert.equal("shape", words "t_x.sha")
    assert.equal("sub sub_ sum", words "t_x:su")
    assert.equal("weight", words "t_layer.wei")
    assert.equal("fit float forward freeze", words "t_model:f")
    assert.equal("weight", words "t_model[1].wei")
    assert.equal("lr", words "t_opt.lr")
    assert.equal("upper", words "t_text:up")
    assert.equal("upper", words "('x'):up")
  end)

  it("knows libraries, with what is loaded when it is used", function()
    assert.equal("Sequential", words "nn.Seque")
    assert.equal("Adadelta Adagrad", words "nn.optim.Ada" and words "nn.optim.Adad" .. " " .. words "nn.optim.Adag")
    assert.equal("StepLR", words "nn.optim.lr_scheduler.St")
  end)

  it("knows what a call gives, without making it", function()
    assert.equal("mean", words "t_x:sum():mea")
    assert.equal("parameters", words "nn.Dense(2, 3):para")
    assert.equal("step", words "nn.optim.SGD(p):ste")
  end)

  it("knows the options of a call, each once", function()
    assert.equal("activation =  activity_regularizer = ", words "nn.Dense(10, {act")
    assert.equal("activity_regularizer = ", words "nn.Dense(10, {activation = 'relu', act")
    assert.equal("epochs = ", words "t_model:fit(x, y, {ep")
    assert.equal("batch_size = ", words "t_model:fit(x, y, {epochs = {1, 2}, ba")
    assert.equal("optimizer = ", words "t_model:compile{opt")
    assert.equal("weight_decay = ", words "nn.optim.Adam(p, {\n  we")
    assert.equal("gamma = ", words "nn.optim.lr_scheduler.StepLR(o, 3, {ga")
    assert.equal("lengths = ", words "t_lstm(x, {le")
    assert.equal("keepdim = ", words "t_x:sum({kee")
    assert.equal("dtype = ", words "nn.zeros(3, {dt")
  end)

  it("knows the values of options", function()
    assert.equal("false true", words "nn.Dense(10, {bias = ")
    assert.equal("relu", words "nn.Dense(10, {activation = 'rel")
    assert.equal('"mean" "sum" "none"', words "nn.MSELoss{reduction = ")
  end)

  it("knows files in strings and behind a mark of exclamation", function()
    assert.equal("data.csv data/", words "nn.load('da")
    assert.equal("a.csv b.csv", words "io.open \"data/")
    assert.equal("main.lua", words "!cat ma")
    assert.equal(".hidden", words "io.open('.h")
  end)

  it("says nothing in comments and numbers, and where nothing is known", function()
    assert.equal("", words "-- pri")
    assert.equal("", words "x = 12")
    assert.equal("", words "")
    assert.equal("", words "unknown_name:")
    assert.equal("print", words "-- a remark\npri")
    assert.equal("print", words "[[ '' ]] .. pri")
  end)

  it("runs nothing of the script's", function()
    local touched = false
    local function touch() touched = true end
    rawset(_G, "t_trap", setmetatable({}, { __index = touch, __call = touch }))
    words "t_trap.a.b"
    words "t_trap():x"
    rawset(_G, "t_trap", nil)
    assert.is_false(touched)
  end)
end)

describe("The look of a value", function()
  local function text(value, width) return show.text(value, { width = width or 40 }) end

  it("is that of Lua", function()
    assert.equal('{1, "a\\n", true, x = {y = {}}}', text { 1, "a\n", true, x = { y = {} } })
    assert.equal('{["a b"] = 1, ["end"] = 2, [2.5] = 3}', (text({ ["a b"] = 1, ["end"] = 2, [2.5] = 3 }):gsub(
      "^{(%[2.5%] = 3), (.*)}$", "{%2, %1}")))
  end)

  it("sorts numbers before strings before others", function()
    assert.equal("{[-1] = 1, [0.5] = 1, a = 1, b = 1, [true] = 1}",
      text({ b = 1, a = 1, [true] = 1, [-1] = 1, [0.5] = 1 }, 80))
  end)

  it("goes over lines where one is too short", function()
    assert.equal('{\n  first = "aaaaaaaaaaaaaaaaaaaa",\n  second = {1, 2, 3}\n}',
      text { first = ("a"):rep(20), second = { 1, 2, 3 } })
    for line in text({ x = { y = { z = { 1, 2, 3, "four", "five", "six and some more" } } } }, 30):gmatch "[^\n]+" do
      assert.truthy(#line <= 30, line)
    end
  end)

  it("ends where a table holds itself, and shows one that comes twice twice", function()
    local t = { 1 }
    t.me = t
    assert.equal("{1, me = <cycle>}", text(t))
    local shared = { 2 }
    assert.equal("{{2}, {2}}", text { shared, shared })
  end)

  it("cuts what is long, and says how much", function()
    local long = {}
    for i = 1, 1234567 do long[i] = i end
    assert.matches("100,%s+%.%.%. 1,234,467 more\n}$", text(long))
    local fields = {}
    for i = 1, 150 do fields["k" .. i] = i end
    assert.matches("%.%.%. 50 more fields\n}$", text(fields))
    assert.matches('^{"a+" %.%.%. %(5,000 bytes%)}$', text({ ("a"):rep(5000) }, 80))
    local deep = {}
    for _ = 1, 100 do deep = { deep } end
    assert.matches("{%.%.%.}", text(deep))
  end)

  it("is short for tensors and models in tables", function()
    assert.equal("{tensor (10, 20) float32}", text { nn.zeros(10, 20) })
    assert.matches("^{tensor%(%[1%., 1%.%], shape %(2%), float32%)}$", text({ nn.ones(2) }, 60))
    assert.equal("{Sequential( ...}", text { nn.Sequential { nn.ReLU() } })
  end)

  it("names functions of nnlua, and libraries", function()
    assert.matches("^function nn%.Dense%(", text(nn.Dense))
    assert.matches("^acc.*nn%.metrics: %d+ names; help%(nn%.metrics%) tells about them$", text(nn.metrics, 80))
  end)

  it("counts characters, not bytes or colours", function()
    local coloured = show.text({ "äöü", 1 }, { width = 12, colour = true })
    assert.falsy(coloured:find "\n")
    assert.equal('{"äöü", 1}', (coloured:gsub("\27%[%d+m", "")))
  end)
end)

describe("The prompt's session", function()
  local session = prompt.new {}

  it("indents by open blocks and brackets, whatever strings and comments say", function()
    assert.equal("  ", session:indentation "for i = 1, 2 do")
    assert.equal("    ", session:indentation "f(function(x)")
    assert.equal("  ", session:indentation "if a then x() elseif b then")
    assert.equal("", session:indentation "local s = [[ function")
    assert.equal("  ", session:indentation "repeat -- until\n local s = 'end'")
    assert.equal("", session:indentation "end end }")
  end)

  it("keeps lines as they were shown", function()
    assert.equal("  x", session:indented("do", "x"))
    assert.equal("end", session:indented("do", "end"))
    assert.equal(" x", session:indented("do", " x"))
    assert.equal("x", session:indented("s = [[", "x"))
  end)
end)
