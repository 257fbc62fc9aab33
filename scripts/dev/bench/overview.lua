-- overview.lua RESULTS [PICTURE]: the table of `bench.sh`, of lines "who workload threads precision microseconds bytes"
-- with who being nnlua or torch; the least time counts, and the least memory. RESULTS may be from `bench.sh sweep`.

local nn = require "nnlua"

-- The workloads in order, in microseconds: what nnlua is to reach in float32 and in mixed precision.
local workloads = {
  {name = "w1", title = "w1: MLP 30-128-64-1, batch 32", threads = 1, goal = 28},
  {name = "w1_batch1", title = "w1, batch 1", threads = 1, goal = 6},
  {name = "w1_predict", title = "w1, prediction of one row", threads = 1, goal = 1},
  {name = "w2", title = "w2: MLP 784-512-512-10", threads = 2, goal = 2300},
  {name = "w3", title = "w3: CNN, 32 and 64 channels", threads = 2, goal = 20000},
  {name = "w4", title = "w4: ResNet-20", threads = 2, goal = 70000, mixed_goal = 45000},
  {name = "w5", title = "w5: 2 LSTM layers of 256", threads = 2, goal = 72000},
  {name = "w6s", title = "w6s: GPT, 4 layers of 128", threads = 2, goal = 22000, mixed_goal = 14000},
  {name = "w6", title = "w6: GPT, 6 layers of 384", threads = 2, goal = 720000, mixed_goal = 400000},
  {name = "start", title = "start and require", threads = 1, goal = 5000},
}

local least = {} -- [who][workload][threads][precision] = {time, bytes}

local function place(who, name, threads, precision)
  least[who] = least[who] or {}
  least[who][name] = least[who][name] or {}
  local by_threads = least[who][name]
  by_threads[threads] = by_threads[threads] or {}
  by_threads[threads][precision] = by_threads[threads][precision] or {time = math.huge, bytes = math.huge}
  return by_threads[threads][precision]
end

local function found(who, name, threads, precision)
  local result = place(who, name, threads, precision)
  return result.time < math.huge and result or nil
end

local points, seen = {}, {}
for line in assert(io.lines(arg[1])) do
  local who, name, threads, precision, time, bytes = line:match("^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$")
  if who then
    local result = place(who, name, tonumber(threads), precision)
    result.time, result.bytes = math.min(result.time, tonumber(time)), math.min(result.bytes, tonumber(bytes))
    local batch, width = name:match("^mlp_(%d+)_(%d+)$")
    if batch and not seen[name] then
      seen[name] = true
      points[#points + 1] = {name = name, batch = tonumber(batch), width = tonumber(width)}
    end
  end
end

-- ---- text

local function duration(result)
  if not result then return "-" end
  local time = result.time
  if time < 100 then return ("%.1f us"):format(time) end
  if time < 1000 then return ("%.0f us"):format(time) end
  return ("%.2f ms"):format(time / 1000)
end

local function megabytes(result)
  return result and ("%.0f"):format(result.bytes / 1e6) or "-"
end

local function ratio(a, b)
  return a and b and ("%.2f"):format(a.time / b.time) or "-"
end

local function reached(result, goal)
  if not goal then return "-", "" end
  return duration{time = goal}, result and (result.time <= goal and "yes" or ("%.2f"):format(result.time / goal)) or ""
end

local columns = "%2s %-31s %10s %10s %6s %10s %6s %6s %7s %7s"

-- ---- the overview

-- `count`: the rows before.
local function rows_of(workload, count)
  local rows = {}
  local function add(precision, title, goal)
    local mine = found("nnlua", workload.name, workload.threads, precision)
    if not mine then return end
    local peer = found("torch", workload.name, workload.threads, precision)
    local one = workload.threads > 1 and found("nnlua", workload.name, 1, precision)
    local wanted, share = reached(mine, goal)
    rows[#rows + 1] = {mine = mine, peer = peer, title = title, goal = goal,
      text = columns:format(count + #rows + 1, title, duration(mine), duration(peer), ratio(peer, mine), wanted, share,
        one and ratio(one, mine) or "-", megabytes(mine), megabytes(peer))}
  end
  add("full", workload.title, workload.goal)
  add("mixed", "  in mixed precision", workload.mixed_goal)
  if #rows == 2 then
    rows[2].text = rows[2].text .. ("   %s times float32"):format(ratio(rows[1].mine, rows[2].mine))
  end
  return rows
end

local function overview(picture)
  print(columns:format("", "", "nnlua", "PyTorch", "ratio", "goal", "", "1 to 2", "nnlua", "PyTorch"))
  print(columns:format("", "", "", "", "", "", "", "threads", "MB", "MB"))
  local times = {{}, {}, {}}
  local x = {{}, {}, {}}
  local position = 0
  for _, workload in ipairs(workloads) do
    for _, row in ipairs(rows_of(workload, position)) do
      print(row.text)
      position = position + 1
      local values = {row.mine.time, row.peer and row.peer.time, row.goal}
      for k = 1, 3 do
        if values[k] then
          x[k][#x[k] + 1] = position
          times[k][#times[k] + 1] = values[k] / 1000
        end
      end
    end
  end
  print("\nratio: how many times as long PyTorch takes; beside the goal: yes, or how many times it nnlua takes")
  if not picture or position == 0 then return end
  local series = {}
  for k, label in ipairs{"nnlua", "PyTorch", "goal"} do
    if #x[k] > 0 then series[#series + 1] = {x = x[k], y = times[k], label = label} end
  end
  local ok, message = nn.plot.lines(series, picture, {logy = true, style = "points", title = "Time of a call",
    xlabel = "row of the table", ylabel = "milliseconds", xrange = {0.5, position + 0.5}})
  print(ok and "picture: " .. picture or "no picture: " .. message)
end

-- ---- the sweep

local function sweep(picture)
  for _, point in ipairs(points) do
    point.mine, point.peer = found("nnlua", point.name, 2, "full"), found("torch", point.name, 2, "full")
  end
  table.sort(points, function(a, b)
    local first = a.peer and a.mine and a.peer.time / a.mine.time or 0
    local second = b.peer and b.mine and b.peer.time / b.mine.time or 0
    if first ~= second then return first > second end
    return a.name < b.name
  end)
  print(("%8s %8s %12s %12s %8s"):format("batch", "width", "nnlua", "PyTorch", "ratio"))
  local x, y = {}, {}
  for _, point in ipairs(points) do
    print(("%8d %8d %12s %12s %8s"):format(point.batch, point.width, duration(point.mine), duration(point.peer),
      ratio(point.peer, point.mine)))
    if point.mine and point.peer then
      x[point.batch], y[point.batch] = x[point.batch] or {}, y[point.batch] or {}
      table.insert(x[point.batch], {point.width, point.peer.time / point.mine.time})
    end
  end
  if not picture then return end
  local series, batches = {}, {}
  for batch in pairs(x) do batches[#batches + 1] = batch end
  table.sort(batches)
  for _, batch in ipairs(batches) do
    table.sort(x[batch], function(a, b) return a[1] < b[1] end)
    local each = {x = {}, y = {}, label = "batch " .. batch}
    for i, pair in ipairs(x[batch]) do each.x[i], each.y[i] = pair[1], pair[2] end
    series[#series + 1] = each
  end
  local ok, message = nn.plot.lines(series, picture, {logx = true, logy = true, style = "linespoints",
    title = "A step of an MLP: how many times as long PyTorch takes", xlabel = "width", ylabel = "times as long"})
  print(ok and "picture: " .. picture or "no picture: " .. message)
end

if #points > 0 then sweep(arg[2]) else overview(arg[2]) end
