-- Memory: bounded in any loop without a call of the collector, limits, and nothing from the system in the steady state.
local nn = require "nnlua"
local support = require "support"
local where = support.where

local MEGABYTE = 2 ^ 20
local ELEMENTS = 2 ^ 18 -- of float32, a megabyte

--- The most that the process ever had in memory, as the system counts; nn's own count where it does not tell.
local function peak()
  local file = io.open("/proc/self/status")
  local text = file and file:read("*a") or ""
  if file then file:close() end
  local kilobytes = text:match("VmHWM:%s*(%d+)")
  return kilobytes and tonumber(kilobytes) * 1024 or nn.memory().peak
end

--- Assert that a loop of 3000 rounds, each making megabytes, stays below 200 of them more than there were.
local function assert_bounded(round)
  local before = nn.memory().live
  local most = 0
  for index = 1, 3000 do
    round(index)
    most = math.max(most, nn.memory().live - before)
  end
  assert(most < 200 * MEGABYTE, ("%.0f MB live at once"):format(most / MEGABYTE))
end

describe("memory", function()
  support.count_tensors(before_each, after_each)

  it("stays bounded where a loop makes temporaries", function()
    local x = nn.ones(ELEMENTS)
    local before = peak()
    assert_bounded(function() local _ = x + 1 end)
    local grown = (peak() - before) / MEGABYTE
    assert(grown < 200, ("%.0f MB more at the peak"):format(grown))
  end)

  it("stays bounded in coroutines, closures and graphs", function()
    local x = nn.ones(ELEMENTS)
    local w = nn.ones(ELEMENTS, { requires_grad = true })
    assert_bounded(function(index)
      if index % 3 == 0 then
        coroutine.wrap(function()
          local y = x + index
          coroutine.yield()
          return y
        end)()
      elseif index % 3 == 1 then
        local y = x * 2
        local _ = function() return y end
      else
        local _ = (w * x):sum()
      end
    end)
  end)

  where("close", it, pending)("comes back at once from a variable that closes", function()
    local before = nn.memory().live
    assert(load([[
      local nn, before = ...
      do
        local x <close> = nn.ones(2 ^ 18)
        assert(nn.memory().live >= before + 2 ^ 20)
      end
    ]]))(nn, before)
    assert.equal(before, nn.memory().live)
  end)

  it("runs out with an error that can be caught, after which everything works", function()
    local x = nn.ones(ELEMENTS)
    collectgarbage()
    nn.set_memory_limit(nn.memory().live + nn.memory().cached + 8 * MEGABYTE)
    local ok, message = pcall(function()
      local kept = {}
      for index = 1, 100 do kept[index] = x + index end
      return kept
    end)
    assert.is_false(ok)
    assert.matches("out of memory", message)
    for _ = 1, 100 do assert(x + 1) end -- garbage makes room
    local w = nn.ones(4, { requires_grad = true });
    (w * w):sum():backward()
    nn.set_memory_limit()
    assert.is_nil(nn.memory().limit)
    assert.same({ 2, 2, 2, 2 }, w.grad:tolist())
  end)

  it("comes from the cache alone in the steady state of a training loop", function()
    local model = nn.Sequential { nn.Dense(20, 32, { activation = "relu" }), nn.Dropout(0.5), nn.Dense(32, 5) }
    local optimizer = nn.optim.Adam(model:parameters(), { lr = 1e-3 })
    local criterion = nn.CrossEntropyLoss()
    local x, y = nn.randn(16, 20), nn.randint(1, 6, { 16 })
    local function step()
      optimizer:zero_grad()
      criterion(model(x), y):backward()
      optimizer:step()
    end
    for _ = 1, 1500 do step() end -- more than one round of the collector
    local before = nn.memory().allocations
    for _ = 1, 1000 do step() end
    assert.equal(before, nn.memory().allocations)
  end)
end)
