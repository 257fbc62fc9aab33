-- small.lua: the time of one operation on 100 elements, in microseconds, as lines "name time". Beside small.py.

local nn = require "nnlua"

local COUNT, ROUNDS = 200000, 3

nn.set_num_threads(1)
local a, b = nn.randn(100), nn.randn(100)

local workloads = {
  { "a+b", function() for _ = 1, COUNT do local _ = a + b end end },
  { "a*2", function() for _ = 1, COUNT do local _ = a * 2 end end },
  { "a:sum()", function() for _ = 1, COUNT do local _ = a:sum() end end },
  { "a[i]", function() for i = 1, COUNT do local _ = a[i % 100 + 1] end end },
  { "a[i]=x", function() for i = 1, COUNT do a[i % 100 + 1] = 0.5 end end },
  { "a:add_(b)", function() for _ = 1, COUNT do a:add_(b) end end },
  { "a:exp()", function() for _ = 1, COUNT do local _ = b:exp() end end },
  { "a:reshape(10,10)", function() for _ = 1, COUNT do local _ = b:reshape(10, 10) end end },
}

local function least(run)
  local best = math.huge
  for _ = 1, ROUNDS do
    local start = nn.clock()
    run()
    best = math.min(best, nn.clock() - start)
  end
  return best / COUNT * 1e6
end

for _, workload in ipairs(workloads) do print(("%s %.4f"):format(workload[1], least(workload[2]))) end
