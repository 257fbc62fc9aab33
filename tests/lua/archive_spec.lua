--- Whole files, lines and tar archives.

local nn = require "nnlua"

local folder

local function path(name) return folder .. "/" .. name end

local function write(name, bytes)
  local file = assert(io.open(path(name), "wb"))
  file:write(bytes)
  file:close()
end

local function shell(command) assert(os.execute(("cd '%s' && %s"):format(folder, command))) end

describe("Files as they are", function()
  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute("mkdir '" .. folder .. "'"))
  end)

  teardown(function() os.execute("rm -r '" .. folder .. "'") end)

  it("are read plain or in gzip", function()
    local bytes = "\0\1\255\r\nabc"
    write("plain", bytes)
    write("empty", "")
    assert.are.equal(bytes, nn.data.bytes(path "plain"))
    assert.are.equal("", nn.data.bytes(path "empty"))
    shell "gzip -k plain"
    assert.are.equal(bytes, nn.data.bytes(path "plain.gz"))
    local nothing, message = nn.data.bytes(path "missing")
    assert.is_nil(nothing)
    assert.matches("missing", message)
  end)

  it("are cut into lines, whatever ends them", function()
    write("lines", "one\ntwo\r\n\nfour")
    assert.are.same({"one", "two", "", "four"}, nn.data.lines(path "lines"))
    write("lines", "one\n")
    assert.are.same({"one"}, nn.data.lines(path "lines"))
    write("lines", "")
    assert.are.same({}, nn.data.lines(path "lines"))
  end)

  it("are listed", function()
    shell "mkdir list && touch list/b list/a list/c"
    assert.are.same({"a", "b", "c"}, nn.data.folder(path "list"))
    assert.is_nil(nn.data.folder(path "lists"))
  end)

  for _, format in ipairs {"ustar", "gnu", "pax", "v7"} do
    it("are read from a tar archive of the form " .. format, function()
      local long = ("x"):rep(60) .. "/" .. ("y"):rep(format == "v7" and 20 or 99)
      shell("rm -rf in && mkdir -p in/" .. ("x"):rep(60))
      write("in/small", "abc")
      write("in/empty", "")
      write("in/block", ("z"):rep(1024))
      write("in/" .. long, "deep")
      shell(("tar cf %s.tar --format=%s --sort=name in"):format(format, format))
      local contents, names = nn.data.tar(path(format .. ".tar"))
      assert.are.same({"in/block", "in/empty", "in/small", "in/" .. long}, names)
      assert.are.same({
        ["in/small"] = "abc", ["in/empty"] = "", ["in/block"] = ("z"):rep(1024), ["in/" .. long] = "deep",
      }, contents)
    end)
  end

  it("that are no archives, or only parts of one, are refused", function()
    local all = nn.data.bytes(path "ustar.tar")
    for _, case in ipairs {
      {("text "):rep(200), "no tar archive: there is no header at byte 0"},
      {all:sub(1, 1100), "ends in the middle of in/"},
      {all:sub(1, 520) .. "!" .. all:sub(522), "no header at byte 512"},
    } do
      write("broken.tar", case[1])
      local nothing, message = nn.data.tar(path "broken.tar")
      assert.is_nil(nothing)
      assert.matches(case[2], message)
    end
    write("cut.gz", "\31\139\8\0")
    assert.is_nil(nn.data.tar(path "cut.gz"))
    nn.manual_seed(3)
    for _, place in ipairs(nn.randint(1, 1537, {150}):tolist()) do -- any byte of the first headers and bodies
      local changed = string.char((all:byte(place) + 1 + place) % 256)
      write("broken.tar", all:sub(1, place - 1) .. changed .. all:sub(place + 1))
      local contents, message = nn.data.tar(path "broken.tar")
      assert.is_true(type(contents) == "table" or contents == nil and type(message) == "string")
    end
    write("broken.tar", "")
    assert.are.same({}, (nn.data.tar(path "broken.tar")))
  end)
end)
