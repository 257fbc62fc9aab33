--- Files of tensors, tables and JSON, as the core reads and writes them.

require "nnlua"
local core = require "nnlua.core"
local where = require "support".where

local paths = {}

local function temporary()
  local path = os.tmpname()
  paths[#paths + 1] = path
  return path
end

local function write_file(text)
  local path = temporary()
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local function remove_files()
  for _, path in ipairs(paths) do os.remove(path) end
  paths = {}
end

describe("tensors in files", function()
  after_each(remove_files)

  it("come back with names, elements, dtypes and metadata", function()
    local path = temporary()
    local saved = {
      ["fc.weight"] = core.tensor { { 1, 2, 3 }, { 4, 5, 6 } },
      mask = core.tensor { true, false, true },
      ids = core.tensor({ 7, 8 }, { dtype = "int64" }),
      scalar = core.tensor(0.5, { dtype = "float64" }),
    }
    assert.is_true(core.save_tensors(path, saved, { format = "nnlua", note = "a\nb" }))
    local loaded, metadata, names = core.load_tensors(path)
    assert.same({ "fc.weight", "ids", "mask", "scalar" }, names)
    assert.same({ format = "nnlua", note = "a\nb" }, metadata)
    assert.same({ { 1, 2, 3 }, { 4, 5, 6 } }, loaded["fc.weight"]:tolist())
    assert.same({ true, false, true }, loaded.mask:tolist())
    assert.equal("int64", loaded.ids.dtype)
    assert.equal(0.5, loaded.scalar:item())
  end)

  it("are in the order that was asked for", function()
    local path = temporary()
    assert.is_true(core.save_tensors(path, { a = core.ones(1), b = core.ones(2), c = core.ones(3) }, nil,
      { "c", "a", "b" }))
    local _, metadata, names = core.load_tensors(path)
    assert.same({ "c", "a", "b" }, names)
    assert.same({}, metadata)
  end)

  it("make the same bytes each time", function()
    local first, second = temporary(), temporary()
    core.save_tensors(first, { x = core.ones(2), y = core.zeros(3) }, { a = "1", b = "2" })
    core.save_tensors(second, { y = core.zeros(3), x = core.ones(2) }, { b = "2", a = "1" })
    assert.equal(read_file(first), read_file(second))
  end)

  it("load from a string too", function()
    local path = temporary()
    core.save_tensors(path, { w = core.tensor { 1, 2 } })
    local loaded = core.load_tensors(nil, read_file(path))
    assert.same({ 1, 2 }, loaded.w:tolist())
  end)

  it("do not change the file when they are changed", function()
    local path = temporary()
    core.save_tensors(path, { w = core.tensor { 1, 2 } })
    local loaded = core.load_tensors(path)
    loaded.w:zero_()
    assert.same({ 0, 0 }, loaded.w:tolist())
    assert.same({ 1, 2 }, core.load_tensors(path).w:tolist())
  end)

  it("may be views", function()
    local path = temporary()
    core.save_tensors(path, { w = core.tensor({ { 1, 2 }, { 3, 4 } }):transpose(1, 2) })
    assert.same({ { 1, 3 }, { 2, 4 } }, core.load_tensors(path).w:tolist())
  end)

  it("give nil and a message where the file is to blame", function()
    local tensors, message = core.load_tensors "no/such/file"
    assert.is_nil(tensors)
    assert.equal("no/such/file: cannot open: No such file or directory", message)
    tensors, message = core.load_tensors(write_file "not a safetensors file at all")
    assert.is_nil(tensors)
    assert.matches("no safetensors file", message)
    local done, reason = core.save_tensors("no/such/folder/x", { w = core.ones(1) })
    assert.is_nil(done)
    assert.matches("^no/such/folder/x: cannot write", reason)
  end)

  it("raise an error where the script is to blame", function()
    local path = temporary()
    assert.error_matches(function() core.save_tensors(path, { w = 1 }) end, "'w' must be a tensor, got number")
    assert.error_matches(function() core.save_tensors(path, { core.ones(1) }) end, "name must be a string")
    assert.error_matches(function() core.save_tensors(path, {}, { a = 1 }) end, "metadata must be strings")
    assert.error_matches(function() core.save_tensors(path, { w = core.ones(1) }, nil, {}) end, "order")
    assert.error_matches(function() core.save_tensors("a\0b", {}) end, "zero bytes")
    assert.error_matches(function() core.save_tensors(path, { ["\255"] = core.ones(1) }) end, "not UTF.8")
    assert.error_matches(function() core.load_tensors() end, "string expected")
  end)

  it("stay alive while a script holds them, and no longer", function()
    local path = temporary()
    core.save_tensors(path, { a = core.ones(1000), b = core.ones(1000) })
    local a = core.load_tensors(path).a
    collectgarbage()
    assert.equal(1000, a:sum():item())
  end)
end)

describe("JSON", function()
  local function round_trip(value) return assert(core.json_decode(core.json_encode(value))) end

  where("integers", it, pending)("has sorted keys and short numbers", function()
    assert.equal([[{"a":[1,2.5,true],"b":{"x":"\"\n"},"c":0.1,"d":1.0}]],
      core.json_encode { d = 1.0, c = 0.1, b = { x = "\"\n" }, a = { 1, 2.5, true } })
    assert.equal("{}", core.json_encode {})
    assert.equal("null", core.json_encode(core.json_null))
  end)

  where("integers", it, pending)("keeps integers integers and floats floats", function()
    local back = round_trip { math.maxinteger, math.mininteger, 1, 1.0, -0.0, 1e300, 5e-324 }
    assert.equal("integer", math.type(back[1]))
    assert.equal(math.mininteger, back[2])
    assert.equal("integer", math.type(back[3]))
    assert.equal("float", math.type(back[4]))
    assert.equal(-math.huge, 1 / back[5])
    assert.equal(5e-324, back[7])
  end)

  it("is read into tables", function()
    local value = core.json_decode [[ {"a": [1, null, {"b": []}], "\u00e9\ud83d\ude00": "x\ty"} ]]
    assert.equal(core.json_null, value.a[2])
    assert.same({}, value.a[3].b)
    assert.equal("x\ty", value["é😀"])
  end)

  it("that is none gives nil and a message with its place", function()
    local value, message = core.json_decode "{\n \"a\": tru}"
    assert.is_nil(value)
    assert.equal("JSON, line 2, column 7: a value expected", message)
    assert.matches("a key twice", select(2, core.json_decode [[{"a":1,"a":2}]]))
    assert.matches("nested too deeply", select(2, core.json_decode(("["):rep(100000))))
    assert.equal(false, core.json_decode "false")
  end)

  it("cannot hold every Lua value", function()
    local loop = {}
    loop[1] = loop
    assert.error_matches(function() core.json_encode(loop) end, "nested too deeply")
    local message = #{ 1, nil, 3 } == 3 and "holes" or "1 to its length"
    assert.error_matches(function() core.json_encode { 1, nil, 3 } end, message)
    assert.error_matches(function() core.json_encode { 1, a = 2 } end, "both strings and numbers")
    assert.error_matches(function() core.json_encode { [true] = 1 } end, "keys must be strings")
    assert.error_matches(function() core.json_encode { f = print } end, "JSON has no function")
    assert.error_matches(function() core.json_encode(core.ones(1)) end, "JSON has no tensor")
    assert.error_matches(function() core.json_encode { 0 / 0 } end, "JSON has no NaN")
    assert.error_matches(function() core.json_encode(math.huge) end, "JSON has no infinity")
    assert.error_matches(function() core.json_encode "\255" end, "not UTF.8")
  end)
end)

describe("CSV", function()
  after_each(remove_files)

  local function read(text, options) return assert(core.csv(write_file(text), options)) end

  it("is read as a tensor, names of columns, and classes", function()
    local csv = read "length,kind,width\n1.5,setosa,2\n2.5,\"iris, other\",\n"
    assert.same({ "length", "kind", "width" }, csv.columns)
    assert.same({ kind = { "iris, other", "setosa" } }, csv.classes)
    assert.same({ 2, 3 }, csv.data.shape)
    assert.equal(2, csv.data[{ 1, 2 }])
    assert.equal(1, csv.data[{ 2, 2 }])
    local missing = csv.data[{ 2, 3 }]
    assert.is_true(missing ~= missing)
  end)

  it("without a header has columns named by their place", function()
    assert.same({ "column1", "column2" }, read("1,2\n3,4\n").columns)
    assert.same({ "a", "column2" }, read("a,a\n3,4\n").columns)
  end)

  it("takes options", function()
    local csv = read("title\n# note\nb;a\n1;NA\n2;3\n",
      { skip = 1, comment = "#", separator = ";", dtype = "float64", columns = { "a", 1 }, missing = "NA" })
    assert.same({ "a", "b" }, csv.columns)
    assert.equal("float64", csv.data.dtype)
    assert.equal(3, csv.data[{ 2, 1 }])
    csv = read("5,1\n7,2\n5,3\n", { header = false, classes = 1 })
    assert.same({ { 1, 1 }, { 2, 2 }, { 1, 3 } }, csv.data:tolist())
    assert.same({ column1 = { "5", "7" } }, csv.classes)
  end)

  it("that is broken gives nil and a message with file, line and column", function()
    local path = write_file "a,b\n1,2\n3,x\n"
    local csv, message = core.csv(path)
    assert.is_nil(csv)
    assert.equal(path .. ": line 3, column 2 'b': 'x' is not a number", message)
    assert.matches("line 2: 1 fields", select(2, core.csv(write_file "1,2\n3\n")))
    assert.matches("cannot open", select(2, core.csv "no/such/file"))
  end)

  it("with wrong options is an error", function()
    local path = write_file "1,2\n"
    assert.error_matches(function() core.csv(path, { seperator = ";" }) end, "unknown option 'seperator'")
    assert.error_matches(function() core.csv(path, { separator = ";;" }) end, "one character")
    assert.error_matches(function() core.csv(path, { dtype = "int65" }) end, "unknown dtype 'int65'")
    assert.error_matches(function() core.csv(path, { columns = { 3 } }) end, "no column 3, there are 2")
    assert.error_matches(function() core.csv(path, { columns = { 0 } }) end, "from 1")
    assert.error_matches(function() core.csv(path, { header = "yes" }) end, "header must be")
  end)
end)
