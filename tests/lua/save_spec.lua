local nn = require "nnlua"
local support = require "support"

local paths = {}

local function new_path()
  local path = os.tmpname()
  paths[#paths + 1] = path
  return path
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local function write(text)
  local path = new_path()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

local function through_file(model)
  local path = new_path()
  assert(model:save(path))
  return assert(nn.load(path))
end

local function through_string(model)
  local path = new_path()
  assert(model:save(path))
  return read(path)
end

describe("A saved model", function()
  support.count_tensors(before_each, after_each)

  after_each(function()
    for _, path in ipairs(paths) do os.remove(path) end
    paths = {}
  end)

  it("of built-in layers comes back whole", function()
    local shared = nn.Dense(4, 4)
    local model = nn.Sequential {
      nn.Dense(4, { activation = "relu", kernel_regularizer = { l2 = 0.1 } }), { "drop", nn.Dropout(0.25) },
      shared, nn.Residual(nn.Sequential { shared, nn.ReLU() }), nn.Dense(1, { bias = false }),
    }
    local x = nn.ones(3, 2)
    model:eval()
    local y = model(x)
    local again = through_file(model):eval()
    assert.equal(tostring(model), tostring(again))
    assert.is_true(again(x):equal(y))
    assert.is_true(again.drop ~= nil)
    assert.equal(#model:parameters(), #again:parameters())
  end)

  it("of the script's own class is made with the arguments it had", function()
    local Net = nn.Module:extend("SavedNet")
    function Net:init(sizes, options, inner)
      self.layers = nn.ModuleList {}
      for _, size in ipairs(sizes) do self.layers:add(nn.Dense(size, { activation = options.activation })) end
      self.inner = inner
      self.scale = nn.Parameter(nn.ones(1) * 3)
      self:register_buffer("count", nn.zeros(2))
    end
    function Net:forward(x)
      for _, layer in ipairs(self.layers) do x = layer(x) end
      return self.inner(x) * self.scale
    end
    local model = Net({ 3, 2 }, { activation = "tanh" }, nn.Dense(2, 1))
    local y = model(nn.ones(1, 5))
    model.scale:detach():fill_(7)
    local again = through_file(model)
    assert.equal(Net, getmetatable(again).__index)
    assert.is_true(again(nn.ones(1, 5)):allclose(y / 3 * 7))
    assert.equal(7, again.scale:item())
  end)

  it("says which class is missing, and gives the tensors without it", function()
    local Gone = nn.Module:extend("Gone")
    function Gone:init() self.layer = nn.Dense(1, 1) end
    local path = new_path()
    assert(Gone():save(path))
    require "nnlua.module".classes.Gone = nil
    local model, message = nn.load(path)
    assert.is_nil(model)
    assert.matches("the class Gone is not known: define it with nn.Module:extend%(\"Gone\"%) before loading", message)
    assert.same({ 1, 1 }, assert(nn.load(path, { tensors = true }))["layer.weight"].shape)
  end)

  it("is the same bytes each time", function()
    local model = nn.Sequential { nn.Dense(2, 3, { activation = "relu" }), nn.Dropout(0.1) }
    local first, second = new_path(), new_path()
    model:save(first)
    model:save(second)
    assert.equal(read(first), read(second))
  end)

  it("loads from a string", function()
    local model = nn.Dense(2, 1)
    local path = new_path()
    model:save(path)
    assert.is_true(nn.load_bytes(read(path)).weight:equal(model.weight))
  end)

  it("keeps what else it is given, and gives it back behind the model", function()
    local path = new_path()
    local metadata = { classes = { "cat", "dog" }, scale = { mean = 0.5, inverted = true }, note = "ä\n" }
    assert(nn.Dense(2, 2):save(path, { metadata = metadata }))
    local model, again = nn.load(path)
    assert.is_truthy(model)
    assert.same(metadata, again)
    assert.same({}, select(2, nn.load_bytes(through_string(nn.Dense(2, 2)))))
    assert.error_matches(function() model:save(path, { metadata = { f = print } }) end,
      "save: option metadata: .*function")
    assert.error_matches(function() model:save(path, { metadata = "x" }) end, 'save: option metadata: expected a table')
    assert.error_matches(function() model:save(path, { meta = {} }) end, 'unknown option "meta"')
  end)

  it("that holds a function is refused with the way out", function()
    local model = nn.Sequential { nn.Lambda(function(x) return x end) }
    assert.error_matches(function() model:save(new_path()) end, "Sequential%[1%]: the function of an nn.Lambda")
    local Odd = nn.Module:extend("OddArgument")
    assert.error_matches(function() Odd(print):save(new_path()) end,
      "OddArgument, argument 1: a function cannot be saved; or save the tensors alone")
  end)
end)

describe("nn.save and nn.load", function()
  support.count_tensors(before_each, after_each)

  after_each(function()
    for _, path in ipairs(paths) do os.remove(path) end
    paths = {}
  end)

  it("keep a table of tensors", function()
    local path = new_path()
    assert(nn.save({ a = nn.range(1, 6):reshape(2, 3), b = nn.tensor({ 1, 2 }, { dtype = "int64" }) }, path))
    local tensors = assert(nn.load(path))
    assert.same({ { 1, 2, 3 }, { 4, 5, 6 } }, tensors.a:tolist())
    assert.equal("int64", tensors.b.dtype)
  end)

  it("keep metadata: strings by name", function()
    local path = new_path()
    assert(nn.save({ a = nn.ones(1) }, path, { metadata = { note = "first" } }))
    assert.same({ format = "pt", note = "first" }, select(2, nn.load(path)))
    for _, value in ipairs { 3, true, {} } do
      assert.error_matches(function() nn.save({ a = nn.ones(1) }, path, { metadata = { note = value } }) end,
        "nn.save: option metadata: note: expected a string, got ")
    end
    assert.error_matches(function() nn.save({ a = nn.ones(1) }, path, { metadata = { nnlua = "x" } }) end,
      'option metadata: the name "nnlua" is taken')
  end)

  it("give nil and a message for a file that is not there, or is damaged", function()
    local model, message = nn.load("no/such/file")
    assert.is_nil(model)
    assert.matches("no/such/file: ", message)
    local path = new_path()
    assert(nn.Dense(20, 20):save(path))
    local whole = read(path)
    for _, length in ipairs { 0, 5, 8, 40, #whole - 1 } do
      local damaged
      damaged, message = nn.load(write(whole:sub(1, length)))
      assert.is_nil(damaged)
      assert.is_string(message)
    end
    local ok
    ok, message = nn.Dense(1, 1):save("no/such/folder/file")
    assert.is_nil(ok)
    assert.matches("no/such/folder/file", message)
  end)

  it("give nil and a message for an architecture that is damaged", function()
    local path = new_path()
    assert(nn.Dense(2, 1):save(path))
    local whole = read(path)
    local function with(old, new)
      assert.equal(#old, #new)
      local at = assert(whole:find(old, 1, true), old)
      return nn.load_bytes(whole:sub(1, at - 1) .. new .. whole:sub(at + #old))
    end
    local _, message = with("Dense", "Dance")
    assert.matches("there is no layer nn.Dance", message)
    _, message = with('\\"format\\":1', '\\"format\\":9')
    assert.matches("the file is of format 9, this version reads 1", message)
    for _, case in ipairs { { "layer", "later" }, { "options", "opinion" }, { "in_features", "in_feathers" } } do
      local model
      model, message = with(case[1], case[2])
      assert.is_nil(model)
      assert.is_string(message)
    end
  end)

  it("take no memory for sizes that are not in the file", function()
    local path = new_path()
    local layer = nn.Dense(20, 20)
    assert(layer:save(path))
    local whole = read(path)
    local hostile = whole:gsub('"in_features\\":20,', '"in_features\\":50000000,')
    local before = nn.memory().peak
    local length = #hostile - #whole
    local header = hostile:byte(1) + 256 * hostile:byte(2) + length
    hostile = string.char(header % 256, math.floor(header / 256)) .. hostile:sub(3)
    local model, message = nn.load_bytes(hostile)
    assert.is_nil(model)
    assert.matches("memory", message)
    assert.is_true(nn.memory().peak < before + 64 * 1024 * 1024)
    assert.is_nil(nn.memory().limit)
  end)

  it("raise for what no file can cure", function()
    assert.error_matches(function() nn.load(3) end, "nn.load: path: expected a string, got 3")
    assert.error_matches(function() nn.save({ a = { b = print } }, "x") end,
      "nn.save: a.b: expected tensors, numbers, strings, booleans or tables of such, got function")
    assert.error_matches(function() nn.save({ nn.Dense(1, 1) }, "x") end, "nn.save: 1: a model .* state_dict")
    local loop = {}
    loop.inside = { loop }
    assert.error_matches(function() nn.save(loop, "x") end, "a table that holds itself")
  end)
end)
