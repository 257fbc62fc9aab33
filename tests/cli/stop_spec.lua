--- Ctrl-C during long calls of the engine: each of the table stops soon, and the session and its tensors stay usable.
--- The whole of each call would take seconds of a processor's time, which counts here, as a busy machine does not
--- change it.

local program = dofile("tests/cli/program.lua")

local MOST = 1.2 -- seconds of a processor's time until the signal, which comes after 0.05, and until the end

-- Name, what comes before, and the call.
local calls = {
  { "randn", "", "nn.randn(400000000)" },
  { "rand of 16 bits", "", "nn.rand(400000000, {dtype = 'bfloat16'})" },
  { "randint", "", "nn.randint(1, 7, {200000000})" },
  { "randperm", "", "nn.randperm(100000000)" },
  { "a constant", "", "nn.full({600000000}, 3)" },
  { "linspace", "", "nn.linspace(0, 1, 500000000)" },
  { "an initialiser", "x = nn.empty(400000000)", "nn.init.normal_(x)" },
  { "a copy", "x = nn.ones(1):expand(800000000)", "x:clone()" },
  { "a conversion", "x = nn.ones(1):expand(500000000)", "x:long()" },
  { "elementwise functions", "x = nn.ones(1):expand(400000000)", "x ^ 2.5" },
  { "where", "x = nn.ones(1):expand(600000000)", "nn.where(x:gt(0), x, x)" },
  { "a sum", "x = nn.ones(1):expand(30000, 30000)", "x:sum(1)" },
  { "an assignment", "x = nn.empty(800000000)", "x[{{}}] = nn.ones(1)" },
  { "sort", "x = nn.randn(30000000)", "x:sort()" },
  { "sort of many lines", "x = nn.ones(1):expand(100000, 1000)", "x:sort(1)" },
  { "sort of doubles", "x = nn.randn(15000000, {dtype = 'float64'})", "x:sort()" },
  { "the largest", "x = nn.ones(1):expand(600000, 1000)", "x:topk(10, 2)" },
  { "cumsum", "x = nn.ones(1):expand(800000000)", "x:cumsum(1)" },
  { "cat", "x = nn.ones(1):expand(300000000)", "nn.cat({x, x, x}, 1)" },
  { "a mask", "x = nn.empty(600000000)", "x:masked_select(x:ge(-1))" },
  { "scatter_add", "x, i = nn.zeros(1000), nn.ones(1, {dtype = 'int64'}):expand(60000000)",
    "x:scatter_add(1, i, nn.empty(60000000))" },
  { "one_hot", "i = nn.ones(1000000, {dtype = 'int64'})", "nn.one_hot(i, 600)" },
  { "matmul", "x = nn.ones(6000, 6000)", "x:matmul(x)" },
  { "einsum", "x = nn.ones(300, 300, 300)", "nn.einsum('ijk,jkl,lmi->m', x, x, x)" },
  { "softmax", "x = nn.empty(200000, 1000)", "for _ = 1, 9 do x:softmax(2) end" },
  { "batch norm", "x, m = nn.empty(100, 100, 100, 200), nn.BatchNorm2d(100)", "for _ = 1, 9 do m(x) end" },
  { "a convolution", "x, m = nn.ones(8, 64, 128, 128), nn.Conv2d(64, 128, 7)", "m(x)" },
  { "pooling", "x, m = nn.ones(1):expand(64, 64, 200, 200), nn.MaxPool2d(5, {stride = 1})", "m(x)" },
  { "an LSTM", "x, m = nn.ones(400, 64, 256), nn.LSTM(256, 512)", "m(x)" },
  { "attention", "x, m = nn.ones(4, 3000, 512), nn.MultiHeadAttention(512, 8)", "m(x, x, x)" },
  { "backward", "x, m = nn.ones(300, 64, 128), nn.LSTM(128, 256) y = m(x):sum()", "y:backward()" },
  { "an orthogonal matrix", "x = nn.empty(3000, 3000)", "nn.init.orthogonal_(x)" },
  { "tolist", "x = nn.ones(1):expand(1000, 60000)", "x:tolist()" },
  { "text", "nn.set_print_options{profile = 'full'} x = nn.ones(1):expand(20000000)", "tostring(x)" },
  { "resampling", "x = nn.empty(50000000)", "nn.audio.resample(x, 44100, 48000)" },
  { "a spectrogram", "x = nn.empty(50000000)", "nn.audio.mel_spectrogram(x)" },
  { "CSV", "", "nn.data.csv(path)" },
}

-- Runs the call of the text with the signal on its way; a line of its name and what is wrong with its end, or "ok".
-- What the signal raises comes at the next instruction, wherever that is, so that two protected calls are needed.
local driver = [[
function try(name, before, call)
  x, i, m, y = nil
  collectgarbage() collectgarbage()
  assert(load(before))()
  local run = assert(load(call:find "^for " and call or call:find " = nn.ones%(1%)$" and call or "return " .. call))
  os.execute("(sleep 0.05; kill -INT " .. pid .. ") >/dev/null 2>&1 &")
  local start = os.clock()
  local _, ok, message = pcall(pcall, run)
  local took = os.clock() - start
  local interrupted = (_ == false and ok or message)
  if type(interrupted) ~= "string" or not interrupted:find "interrupted" then
    pcall(pcall, os.execute, "sleep 0.3")
    print(name .. ": not interrupted, but " .. tostring(interrupted))
  else
    print(name .. ": " .. (took < most and "ok" or ("%.2f s"):format(took)))
  end
end
]]

local function session(lines)
  local path = program.write(table.concat(lines, "\n") .. "\n")
  local result = program.shell('"$NNLUA" -i <' .. path)
  os.remove(path)
  return result
end

local function csv_file()
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  local row = ("0.25,"):rep(99) .. "0.5\n"
  file:write((row):rep(200000))
  file:close()
  return path
end

describe("Ctrl-C", function()
  it("stops long calls of the engine, and leaves the session as it was", function()
    local path = csv_file()
    local lines = {
      "nn = require 'nnlua' path, most = " .. ("%q, %s"):format(path, MOST),
      "pid = io.popen('echo $PPID'):read()",
      (driver:gsub("%-%-[^\n]*", ""):gsub("\n%s*", " ")),
      "kept = nn.arange(100000):double() model = nn.Dense(4, 2) before = model(nn.ones(1, 4)):sum():item()",
    }
    for _, call in ipairs(calls) do lines[#lines + 1] = ("try(%q, %q, %q)"):format(call[1], call[2], call[3]) end
    lines[#lines + 1] = "print('kept: ' .. kept:sum():item(), before == model(nn.ones(1, 4)):sum():item())"
    local result = session(lines)
    os.remove(path)
    for _, call in ipairs(calls) do
      local name = call[1]:gsub("%p", "%%%0")
      assert.equal(call[1] .. ": ok", result.out:match(name .. ": [^\n]*") or call[1] .. ": nothing\n" .. result.err)
    end
    assert.matches("kept: 4999950000.0%s+true", result.out)
    assert.equal(0, result.code)
  end)

  it("keeps the running statistics of a normalisation", function()
    local result = session {
      "nn = require 'nnlua' pid = io.popen('echo $PPID'):read()",
      "m, x = nn.BatchNorm1d(10), nn.ones(1):expand(60000000, 10)",
      "m(nn.arange(40):float():reshape(4, 10)) before = m.running_mean:clone()",
      "os.execute('(sleep 0.05; kill -INT ' .. pid .. ') >/dev/null 2>&1 &') m(x)",
      "print('same: ' .. tostring(before:equal(m.running_mean)))",
    }
    assert.matches("interrupted", result.err)
    assert.matches("same: true", result.out)
  end)
end)
