-- tensors.lua: times operations on large tensors, on one thread and on two: elementwise and reductions on ten million
-- floats, rows of 1024. Prints lines "name/threads microseconds bytes"; tensors.py does the same in PyTorch. The
-- argument picks cases: patterns with | between them.

local nn = require "nnlua"

local only = arg and arg[1] or ""
local calls, warm_up = 8, 12
local rows, columns = 4096, 2441
local bytes = 4 * rows * columns

nn.manual_seed(1)

local x = nn.rand(rows, columns):add_(0.1)
local y = nn.rand(rows, columns):add_(0.1)
local z = nn.randn(rows, columns)
local w = nn.randn(4096, 1024)
local v = nn.randn(4096, 1024, {requires_grad = true})
local short = nn.randn(131072, 32)
local gain, shift = nn.ones({1024}, {requires_grad = true}), nn.zeros({1024}, {requires_grad = true})
local flow, row_flow = nn.randn(4096, 1024), nn.randn(4096)

-- Warm once memory is used again: fresh huge pages may each wait for the system to make room.
local function least(call)
  for _ = 1, warm_up do call() end
  local best = math.huge
  for _ = 1, calls do
    local start = nn.clock()
    call()
    best = math.min(best, nn.clock() - start)
  end
  return best * 1e6
end

local function is_wanted(name)
  for pattern in only:gmatch("[^|]+") do
    if name:find(pattern) then return true end
  end
  return only == ""
end

local function case(name, traffic, call)
  if not is_wanted(name) then return end
  for threads = 1, 2 do
    nn.set_num_threads(threads)
    print(("%s/%d %.1f %d"):format(name, threads, least(call), traffic))
  end
end

case("add", 3 * bytes, function() return x + y end)
case("mul", 3 * bytes, function() return x * y end)
case("mul_number", 2 * bytes, function() return x * 2 end)
case("lt", 2 * bytes + bytes / 4, function() return x:lt(y) end)
case("gt_number", bytes + bytes / 4, function() return x:gt(0.5) end)
for _, name in ipairs {"exp", "log", "tanh", "sigmoid", "gelu", "relu", "sqrt", "erf", "silu"} do
  local input = (name == "log" or name == "sqrt") and x or z
  case(name, 2 * bytes, function() return input[name](input) end)
end

for _, name in ipairs {"sum", "mean", "max", "min", "argmax", "var", "norm"} do
  local function dims(dim)
    if name == "norm" then return function() return z:norm(2, dim) end end
    return function() return z[name](z, dim) end
  end
  case(name, bytes, function() return z[name](z) end)
  case(name .. "_dim1", bytes, dims(1))
  case(name .. "_dim2", bytes, dims(2))
end

local row_bytes = 4 * 4096 * 1024

-- The gradient of v through a result, which is given the gradient `from`.
local function through(from, call)
  return function()
    v.grad = nil
    call():backward(from)
  end
end

for _, name in ipairs {"softmax", "log_softmax"} do
  case(name, 2 * row_bytes, function() return w[name](w, -1) end)
  case(name .. "_rows_of_32", 2 * row_bytes, function() return short[name](short, -1) end)
  case(name .. "_dim1", 2 * row_bytes, function() return w[name](w, 1) end)
  case(name .. "_backward", 5 * row_bytes, through(flow, function() return v[name](v, -1) end))
end

case("logsumexp", row_bytes, function() return w:logsumexp(-1) end)
case("logsumexp_rows_of_32", row_bytes, function() return short:logsumexp(-1) end)
case("logsumexp_backward", 3 * row_bytes, through(row_flow, function() return v:logsumexp(-1) end))

case("layer_norm", 2 * row_bytes, function()
  return nn.functional.layer_norm(w, 1024, gain:detach(), shift:detach())
end)
case("layer_norm_backward", 5 * row_bytes, through(flow, function()
  gain.grad, shift.grad = nil, nil
  return nn.functional.layer_norm(v, 1024, gain, shift)
end))
