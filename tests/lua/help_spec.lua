--- nn.help: from the declarations, for everything public.

local nn = require "nnlua"
local core = require "nnlua.core"
local docs = require "nnlua.docs"

local function help(...)
  local pieces = {}
  nn.set_output(function(text) pieces[#pieces + 1] = text end)
  nn.help(...)
  nn.set_output()
  return table.concat(pieces)
end

--- Add two numbers.
-- @param a number
-- @param b number
-- @return their sum
local function documented(a, b) return a + b end

local function undocumented() end

describe("Help", function()
  it("has words about everything public", function()
    local missing = {}
    for _, entry in ipairs(docs.all()) do
      if entry.doc == "" then missing[#missing + 1] = entry.name end
    end
    assert.equal("", table.concat(missing, " "))
  end)

  it("says of nothing in the manual that is not there", function()
    local source, absent = core.module_source "nnlua.manual", {}
    for name in source:gmatch "\nfunction ([%w_%.:]+)%(" do
      if not docs.named(name) then absent[#absent + 1] = name end
    end
    assert.equal("", table.concat(absent, " "))
  end)

  it("tells of a layer: its options with type or default, its tensors, its call", function()
    local text = help(nn.Dense)
    assert.matches("^nn%.Dense%(%[in_features%], out_features, {options}%) +layer\n", text)
    assert.matches("\n  bias +true +whether one is added\n", text)
    assert.matches("\n  weight +%(out_features, in_features%)\n", text)
    assert.matches("\nCall\n  layer%(x%)\n", text)
    assert.equal(text, help(nn.Dense(2, 3)))
    assert.matches("layer%(input, {h, c}, {options}%) gives output, {h, c}", help(nn.LSTM))
  end)

  it("tells of losses, optimizers, schedules and initialisers", function()
    assert.matches("loss%(prediction, target%)", help(nn.CrossEntropyLoss))
    assert.matches("\n  lr +0%.001 +learning rate\n", help(nn.optim.Adam))
    assert.matches("^nn%.optim%.lr_scheduler%.StepLR%(optimizer, step_size, {options}%)",
      help(nn.optim.lr_scheduler.StepLR))
    assert.matches("^nn%.init%.orthogonal_%(tensor, %[gain%]", (help(nn.init.orthogonal_):gsub("{options}", "[gain]")))
  end)

  it("tells of methods: of tensors, in place, of models, and of optimizers", function()
    local x, model = nn.ones(2), nn.Sequential { nn.Dense(2, 3) }
    assert.matches("^x:sum%(%[dim%], %[keepdim%]%) +method of tensors\n", help(x.sum))
    assert.matches("Changes the tensor itself", help(x.add_))
    assert.matches("^model:fit%(x, y, options%)", help(model.fit))
    assert.matches("\n  epochs +1\n", help(model.fit))
    assert.matches("^x:item%(%)", help(x.item))
    assert.matches("^optimizer:step%(closure%)", help(nn.optim.SGD(model:parameters()).step))
  end)

  it("gives an overview, and the names of a library", function()
    assert.matches("Sequential", help())
    assert.matches("\nLayers\n", help())
    assert.matches("\nOptimizers\n", help(nn.optim))
  end)

  it("searches names and texts, best first", function()
    local text = help "conv"
    assert.matches("^nn%.Conv1d +%S", text)
    assert.matches("\nnn%.functional%.conv2d ", text)
    assert.matches("^nn%.Conv2d%(", help "Conv2d")
    assert.matches("^nn%.optim%.Adam%(", help "Adam")
    assert.matches("^model:fit%(", help "model:fit")
    assert.matches("^nothing is known of \"qqqq\"", help "qqqq")
    assert.matches("did you mean 'logsumexp'", help "logsumxep")
  end)

  it("tells of tensors, models, and what it knows nothing of", function()
    assert.matches("^a tensor of shape %(2, 3%), float32\n", help(nn.ones(2, 3)))
    assert.matches("^a model of the class Sequential, 9 parameters\n", help(nn.Sequential { nn.Dense(2, 3) }))
    assert.matches("^nil: ", help(nil))
    assert.matches("nothing is known", help(12))
    assert.matches("nothing is known", help({}))
  end)

  it("reads the comment above a function of the script's own", function()
    local text = help(documented)
    assert.matches("Add two numbers%.", text)
    assert.matches("\n  a +number\n", text)
    assert.matches("Returns\n  their sum\n", text)
    assert.matches("without a comment", help(undocumented))
  end)

  it("stays within the width", function()
    for line in help(nn.Dense):gmatch "[^\n]+" do assert.truthy(#line <= 100, line) end
  end)
end)
