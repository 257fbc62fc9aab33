--- What is measured over many batches: losses as means over samples, and metrics.

local core = require "nnlua.core"

local Means = {}
Means.__index = Means

--- Nothing measured yet.
-- @param state see compiled.lua
function Means.new(state)
  local metrics = {}
  for i, entry in ipairs(state.metrics) do
    local metric = entry.metric.fresh and entry.metric:fresh() or entry.metric
    if metric.reset then metric:reset() end
    metrics[i] = { metric = metric, name = entry.name, output = entry.output, weighted = entry.weighted }
  end
  return setmetatable({
    outputs = state.outputs, metrics = metrics, parts = not state.single and {} or nil, count = 0, loss = 0,
  }, Means)
end

local function add_parts(self, count, parts)
  for i, part in ipairs(parts) do self.parts[i] = (self.parts[i] or 0) + part:item() * count end
end

--- Take a batch.
-- @param count integer how many samples it has
-- @param pass what step.forward or step.train gave, with `value`
function Means:add(count, pass)
  self.count = self.count + count
  self.loss = self.loss + pass.value * count
  if self.parts then add_parts(self, count, pass.parts) end
  local predictions, targets, weights = pass.predictions, pass.targets, pass.weights
  for _, entry in ipairs(self.metrics) do
    local i = entry.output
    entry.metric:update(predictions[i], targets[i], entry.weighted and weights and weights[i] or nil)
  end
end

--- All of it by name, behind a prefix.
-- @param into table? to be filled
function Means:logs(prefix, into)
  local logs = into or {}
  logs[prefix .. "loss"] = self.loss / self.count
  for i, part in ipairs(self.parts or {}) do
    logs[prefix .. self.outputs[i].name .. "_loss"] = part / self.count
  end
  for _, entry in ipairs(self.metrics) do logs[prefix .. entry.name] = entry.metric:result() end
  return logs
end

-- ---- saving, in the middle of an epoch

local declared = { name = true, who = true, kind = true, options = true, call = true }

-- What a metric has counted: its fields that are plain data or tensors. One of the script's own may say itself.
local function metric_state(metric)
  if metric.get_state then return metric:get_state() end
  local state = {}
  for name, value in pairs(metric) do
    local kind = type(value)
    local plain = kind == "number" or kind == "boolean" or kind == "string" or kind == "table" or core.is_tensor(value)
    if plain and not declared[name] then state[name] = value end
  end
  return state
end

local function set_metric_state(metric, state)
  if metric.set_state then return metric:set_state(state) end
  for name, value in pairs(state) do metric[name] = value end
end

--- Plain data and tensors, for set_state.
function Means:get_state()
  local state = { count = self.count, loss = self.loss, parts = self.parts, metrics = {} }
  for i, entry in ipairs(self.metrics) do state.metrics[i] = metric_state(entry.metric) end
  return state
end

function Means:set_state(state)
  self.count, self.loss = state.count, state.loss
  if self.parts then self.parts = state.parts end
  for i, entry in ipairs(self.metrics) do set_metric_state(entry.metric, state.metrics[i]) end
end

return Means
