local nn = require "nnlua"
local support = require "support"

local path

local function file(text)
  path = os.tmpname()
  local handle = assert(io.open(path, "wb"))
  handle:write(text)
  handle:close()
  return path
end

describe("nn.data.csv", function()
  support.count_tensors(before_each, after_each)

  after_each(function()
    if path then os.remove(path) end
    path = nil
  end)

  it("reads numbers, and the names of the columns where there is a header", function()
    local x, info = nn.data.csv(file("a,b\n1,2\n3,4.5\n"))
    assert.same({ { 1, 2 }, { 3, 4.5 } }, x:tolist())
    assert.same({ "a", "b" }, info.columns)
    assert.same({ { 1, 2 } }, nn.data.csv(file("1,2\n")):tolist())
  end)

  it("takes the label by name or position, one or several", function()
    local text = "a,b,c\n1,2,3\n4,5,6\n"
    for _, label in ipairs { "b", 2, -2 } do
      local x, y, info = nn.data.csv(file(text), { label = label, label_dtype = "int64" })
      assert.same({ { 1, 3 }, { 4, 6 } }, x:tolist())
      assert.same({ 2, 5 }, y:tolist())
      assert.equal("int64", y.dtype)
      assert.same({ "a", "c" }, info.columns)
    end
    local x, y = nn.data.csv(file(text), { label = { "c", "a" } })
    assert.same({ { 2 }, { 5 } }, x:tolist())
    assert.same({ { 3, 1 }, { 6, 4 } }, y:tolist())
  end)

  it("makes labels from 1 of a column of words", function()
    local _, y, info = nn.data.csv(file("x,kind\n1,dog\n2,cat\n3,dog\n"), { label = "kind" })
    assert.same({ 2, 1, 2 }, y:tolist())
    assert.equal("int64", y.dtype)
    assert.equal("dog", info.classes.kind[y[1]])
  end)

  it("gives nil and a message where the file cannot be read", function()
    local x, message = nn.data.csv("no/such/file.csv")
    assert.is_nil(x)
    assert.matches("no/such/file.csv", message)
    x, message = nn.data.csv(file("1,2\n3\n"))
    assert.is_nil(x)
    assert.matches("2", message)
  end)

  it("reads quotes, line ends of any system, blanks, comments and what stands before the table", function()
    local text = "\xef\xbb\xbfversion 3\r\n\"a \"\"x\"\"\",\"b,\nc\",d\r\n 1 ,\"2\",\t3\r\n\r\n# no row\r\n4,5,6"
    local x, info = nn.data.csv(file(text), { skip = 1, comment = "#" })
    assert.same({ 'a "x"', "b,\nc", "d" }, info.columns)
    assert.same({ { 1, 2, 3 }, { 4, 5, 6 } }, x:tolist())
    assert.same({ { 1, 2 }, { 3, 4 } }, nn.data.csv(file("  1   2\n3 4  \n"), { separator = " " }):tolist())
    assert.matches("line 3: 1 fields where the lines before have 2", select(2, nn.data.csv(file("1,2\n3,4\n5\n"))))
    assert.matches("line 2: a quoted field without end", select(2, nn.data.csv(file('a,b\n1,"2\n'))))
  end)

  it("leaves what is missing as NaN, or fills it", function()
    local text = "a,b,kind\n1,10,x\n,30,y\n3,NA,x\n8,20,\n"
    local x, info = nn.data.csv(file(text))
    assert.equal(3, x:isnan():sum():item())
    assert.same({ "x", "y" }, info.classes.kind)
    local function filled(fill) return nn.data.csv(file(text), { fill = fill, columns = { "a", "b" } }):tolist() end
    assert.same({ { 1, 10 }, { -1, 30 }, { 3, -1 }, { 8, 20 } }, filled(-1))
    assert.same({ { 1, 10 }, { 4, 30 }, { 3, 20 }, { 8, 20 } }, filled("mean"))
    assert.same({ { 1, 10 }, { 3, 30 }, { 3, 20 }, { 8, 20 } }, filled("median"))
    assert.same({ { 1 }, { 0 } }, nn.data.csv(file("a\n1\n?\n"), { missing = "?", fill = 0, dtype = "int32" }):tolist())
    assert.same({ { 1 }, { 5 } }, nn.data.csv(file("a\n1\n-99\n"), { missing = "-99", fill = 5 }):tolist())
    assert.matches("1 rows have no label", select(2, nn.data.csv(file(text), { label = "kind" })))
  end)

  it("numbers classes that look like numbers in their order, the last column too", function()
    local _, y, info = nn.data.csv(file("1,10\n2,9\n3,10\n"), { label = -1, classes = -1 })
    assert.same({ 2, 1, 2 }, y:tolist())
    assert.equal("int64", y.dtype)
    assert.same({ "9", "10" }, info.classes.column2)
    assert.error_matches(function() nn.data.csv(file("1,2\n"), { classes = -3 }) end, "no column %-3, there are 2")
  end)

  it("reads a file in gzip", function()
    file("1,2\n3,4\n")
    assert(os.execute(("gzip -f '%s'"):format(path)))
    path = path .. ".gz"
    assert.same({ { 1, 2 }, { 3, 4 } }, nn.data.csv(path):tolist())
  end)

  it("names what is wrong with its options", function()
    local text = file("a,b\n1,2\n")
    assert.error_matches(function() nn.data.csv(text, { fill = "mena" }) end, "did you mean 'mean'")
    assert.error_matches(function() nn.data.csv(text, { label = "c" }) end, 'no column "c"; there are: a, b')
    assert.error_matches(function() nn.data.csv(text, { label = 3 }) end, "a position from 1 to 2, got 3")
    assert.error_matches(function() nn.data.csv(text, { lable = "a" }) end, 'unknown option "lable"; allowed: ')
  end)
end)

describe("nn.data.train_test_split", function()
  support.count_tensors(before_each, after_each)

  it("keeps rows together and uses each once", function()
    local x = nn.range(1, 20):reshape(10, 2)
    local x_train, x_test, y_train, y_test = nn.data.train_test_split(x, x:sum(2), { test = 0.3 })
    assert.same({ 7, 2 }, x_train.shape)
    assert.same({ 3, 2 }, x_test.shape)
    assert.is_true(x_train:sum(2):equal(y_train))
    assert.is_true(x_test:sum(2):equal(y_test))
    assert.equal(210, x_train:sum():item() + x_test:sum():item())
  end)

  it("takes the same share of each class", function()
    local y = nn.cat({ nn.ones(80), nn.zeros(20) }, 1)
    local _, _, y_train, y_test = nn.data.train_test_split(y:unsqueeze(2), y, { test = 0.25, stratify = true })
    assert.equal(60, y_train:sum():item())
    assert.equal(20, y_test:sum():item())
    assert.same({ 25 }, y_test.shape)
  end)

  it("keeps the order when not shuffling", function()
    local x = nn.range(1, 10)
    local x_train, x_test = nn.data.train_test_split(x, x:remainder(2), { shuffle = false, stratify = true })
    assert.same({ 1, 2 }, x_test:tolist())
    assert.same({ 3, 4, 5, 6, 7, 8, 9, 10 }, x_train:tolist())
  end)
end)

describe("A DataLoader", function()
  support.count_tensors(before_each, after_each)

  local function sizes(loader)
    local list = {}
    for x, y in loader:batches() do
      assert.is_true(x:squeeze(2):equal(y))
      list[#list + 1] = #x
    end
    return list
  end

  it("gives batches of a dataset, the last one smaller or left out", function()
    local y = nn.range(1, 10)
    local set = nn.data.TensorDataset(y:unsqueeze(2), y)
    if support.has.pairs then assert.equal(10, #set) end
    assert.same({ 4, 4, 2 }, sizes(nn.data.DataLoader(set, { batch_size = 4 })))
    local loader = nn.data.DataLoader(set, { batch_size = 4, drop_last = true, shuffle = true })
    assert.same({ 4, 4 }, sizes(loader))
    if support.has.pairs then assert.equal(2, #loader) end
  end)

  it("collects samples of anything with get and a length", function()
    local set = setmetatable({ get = function(_, i) return nn.ones(1) * i, i end }, { __len = function() return 5 end })
    local loader = nn.data.DataLoader(set, { batch_size = 2, transform = function(x, y) return x * 2, y end })
    local x, y = loader:batches()()
    assert.same({ { 2 }, { 4 } }, x:tolist())
    assert.same({ 1, 2 }, y:tolist())
  end)
end)
