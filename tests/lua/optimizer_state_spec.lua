-- Optimizers that keep what they know in 8 or 16 bits a number.
local nn = require "nnlua"
local support = require "support"

local rates = {
  SGD = 0.1, Adam = 1e-3, AdamW = 1e-3, NAdam = 1e-3, RMSprop = 1e-3, Adagrad = 1e-2, Adadelta = 1, Lion = 1e-3,
}
local more = { SGD = { momentum = 0.9 }, RMSprop = { momentum = 0.5, centered = true }, Adam = { amsgrad = true },
  Adagrad = { initial_accumulator_value = 0.1 } }

local function options_of(name, kind)
  local options = { lr = rates[name], state_dtype = kind }
  for key, value in pairs(more[name] or {}) do options[key] = value end
  return options
end

-- The loss of a small network after some steps.
local function train(name, kind)
  nn.manual_seed(3)
  local model = nn.Sequential { nn.Linear(32, 128, { activation = "relu" }), nn.Linear(128, 64), nn.Linear(64, 4) }
  local x, loss = nn.randn(256, 32), nn.CrossEntropyLoss()
  local y = x:matmul(nn.randn(32, 4)):argmax(2)
  local optimizer = nn.optim[name](model:parameters(), options_of(name, kind))
  local value
  for _ = 1, 40 do
    value = loss(model(x), y)
    optimizer:zero_grad()
    value:backward()
    optimizer:step()
  end
  return value:item(), optimizer
end

local function parameter_with(gradient)
  local parameter = nn.Parameter(nn.zeros(gradient.shape))
  parameter.grad = gradient
  return parameter
end

describe("State in fewer bits", function()
  support.count_tensors(before_each, after_each)

  for name in pairs(rates) do
    it("trains as well as in 32: " .. name, function()
      local whole = train(name)
      for _, kind in ipairs { "bfloat16", "uint8" } do
        local value = train(name, kind)
        assert.is_true(math.abs(value - whole) < 0.03 + 0.1 * whole, ("%s: %g, not %g"):format(kind, value, whole))
      end
    end)
  end

  it("takes a half or a quarter of the memory", function()
    local function held(kind)
      local parameter = parameter_with(nn.randn(1000, 1000))
      local optimizer = nn.optim.Adam({ parameter }, { state_dtype = kind })
      collectgarbage()
      collectgarbage()
      local before = nn.memory().live
      optimizer:step()
      return (nn.memory().live - before) / (2 * 4e6)
    end
    assert.is_true(math.abs(held("float32") - 1) < 0.3)
    assert.is_true(math.abs(held("bfloat16") - 0.5) < 0.15)
    assert.is_true(math.abs(held("uint8") - 0.25) < 0.08)
  end)

  it("is bytes with a measure for each 256 of them, halves, or, of small parameters, floats", function()
    local large, small = parameter_with(nn.randn(70, 70)), parameter_with(nn.randn(10))
    local optimizer = nn.optim.AdamW({ large, small }, { state_dtype = "uint8" })
    optimizer:step()
    local state = optimizer:state_dict().state
    assert.equal("uint8", state[1].exp_avg.dtype)
    assert.same({ 70, 70 }, state[1].exp_avg_sq.shape)
    assert.same({ 20 }, state[1].exp_avg_scale.shape) -- of 4900 numbers
    assert.equal("float32", state[1].exp_avg_sq_scale.dtype)
    assert.equal("float32", state[2].exp_avg.dtype)
    assert.is_nil(state[2].exp_avg_scale)
    local double = nn.Parameter(nn.zeros(5000, { dtype = "float64" }))
    double.grad = nn.ones(5000, { dtype = "float64" })
    optimizer = nn.optim.Adam({ double }, { state_dtype = "bfloat16" })
    optimizer:step()
    assert.equal("float64", optimizer:state_dict().state[1].exp_avg.dtype)
    optimizer = nn.optim.Adam({ small }, { state_dtype = "bfloat16" })
    optimizer:step()
    assert.equal("bfloat16", optimizer:state_dict().state[1].exp_avg.dtype)
  end)

  it("follows averages that move by less than a step of its numbers", function()
    for _, kind in ipairs { "bfloat16", "uint8" } do
      local parameter = parameter_with(nn.full({ 8192 }, 0.5))
      local optimizer = nn.optim.Adam({ parameter }, { lr = 0, betas = { 0.9, 0.99 }, state_dtype = kind })
      for step = 1, 300 do
        -- One of 256 is larger, so that the others are no measure of themselves.
        parameter.grad = nn.full({ 8192 }, step <= 150 and 0.5 or 0.3)
        parameter.grad:view(32, 256):select(2, 1):fill_(1)
        optimizer:step()
      end
      local whole = nn.optim.Adam({ parameter }, { lr = 0, betas = { 0.9, 0.99 } })
      whole:load_state_dict { state = optimizer:state_dict().state, param_groups = whole:state_dict().param_groups }
      local average = whole:state_dict().state[1].exp_avg_sq
      assert.equal("float32", average.dtype)
      local expected = 0.25 * (1 - 0.99 ^ 150) * 0.99 ^ 150 + 0.09 * (1 - 0.99 ^ 150)
      local mean = average:view(32, 256):narrow(2, 2, 255):mean():item()
      assert.is_true(math.abs(mean / expected - 1) < 0.02, ("%s: %g, not %g"):format(kind, mean, expected))
    end
  end)

  it("goes through its state_dict and files to the bit, and the training goes on as if nothing had been", function()
    for _, kind in ipairs { "bfloat16", "uint8" } do
      local function fresh()
        nn.manual_seed(5)
        local parameter = parameter_with(nn.randn(100, 100))
        return parameter, nn.optim.AdamW({ parameter }, { state_dtype = kind })
      end
      local parameter, optimizer = fresh()
      for _ = 1, 3 do optimizer:step() end
      local path = os.tmpname()
      assert(nn.save(optimizer:state_dict(), path))
      local other, again = fresh()
      nn.no_grad(function() other:copy_(parameter) end)
      again:load_state_dict(assert(nn.load(path, { mmap = false })))
      os.remove(path)
      optimizer:step()
      again:step()
      assert.is_true(parameter:equal(other))
      local state, same = optimizer:state_dict().state[1], again:state_dict().state[1]
      assert.is_true(state.exp_avg:equal(same.exp_avg) and state.exp_avg_sq:equal(same.exp_avg_sq))
    end
  end)

  it("changes from one kind to another as it is loaded", function()
    local parameter = parameter_with(nn.randn(100, 100))
    local whole = nn.optim.Adam { parameter }
    whole:step()
    local expected = whole:state_dict().state[1].exp_avg
    for kind, tolerance in pairs { bfloat16 = 2 ^ -8, uint8 = 2 ^ -4 } do
      local packed = nn.optim.Adam({ parameter }, { state_dtype = kind })
      packed:load_state_dict { state = whole:state_dict().state, param_groups = packed:state_dict().param_groups }
      assert.equal(kind, packed:state_dict().state[1].exp_avg.dtype)
      local back = nn.optim.Adam { parameter }
      back:load_state_dict { state = packed:state_dict().state, param_groups = back:state_dict().param_groups }
      local found = back:state_dict().state[1].exp_avg
      assert.is_true(found:allclose(expected, { rtol = tolerance, atol = 1e-6 }))
      -- What has been rounded is not rounded again.
      local once = packed:state_dict().state[1].exp_avg:clone()
      packed:load_state_dict { state = back:state_dict().state, param_groups = packed:state_dict().param_groups }
      assert.is_true(packed:state_dict().state[1].exp_avg:equal(once))
    end
  end)

  it("is the same for any number of threads", function()
    local threads, results = nn.get_num_threads(), {}
    for i = 1, 2 do
      nn.set_num_threads(i)
      nn.manual_seed(9)
      local parameter = parameter_with(nn.randn(300, 700))
      local optimizer = nn.optim.Adam({ parameter }, { state_dtype = "uint8" })
      for _ = 1, 3 do optimizer:step() end
      results[i] = parameter
    end
    nn.set_num_threads(threads)
    assert.is_true(results[1]:equal(results[2]))
  end)

  it("makes steps that end, however much the sizes of gradients differ", function()
    local gradient = nn.randn(8192) * (10 ^ nn.rand(8192):mul(-20))
    gradient[1] = 1e4
    local parameter = parameter_with(gradient)
    local optimizer = nn.optim.Adam({ parameter }, { lr = 1, state_dtype = "uint8" })
    for _ = 1, 20 do optimizer:step() end
    assert.is_true(parameter:isfinite():all():item())
    assert.is_true(parameter:abs():max():item() < 60)
    gradient[2] = 0 / 0
    optimizer:step()
    assert.is_true(parameter:isnan():any():item()) -- seen, not hidden
  end)

  it("is refused where it is damaged, and leaves what was there", function()
    local parameter = parameter_with(nn.randn(5000))
    local optimizer = nn.optim.Adam({ parameter }, { state_dtype = "uint8" })
    optimizer:step()
    local good = optimizer:state_dict()
    local function refused(changes, message)
      local state = {}
      for key, value in pairs(good.state[1]) do state[key] = value end
      for key, value in pairs(changes) do state[key] = value or nil end
      local other = nn.optim.Adam({ parameter }, { state_dtype = "uint8" })
      assert.error_matches(function() other:load_state_dict { state = { state }, param_groups = good.param_groups } end,
        message)
    end
    refused({ exp_avg_scale = nn.zeros(3) }, "measures of state of shape %(3%)")
    refused({ exp_avg_scale = false }, "state in bytes has its measures with it")
    refused({ exp_avg = nn.zeros(5000) }, "state in bytes has its measures with it")
    refused({ exp_avg = nn.zeros(7) }, "state of shape %(7%) for a parameter of shape %(5000%)")
    refused({ other = nn.zeros(5000) }, "'other' is no state of this optimizer")
    assert.error_matches(function() nn.optim.Adam({ parameter }, { state_dtype = "int4" }) end, "float32, bfloat16")
    support.fail_each(function()
      local each = nn.optim.Adam({ parameter }, { state_dtype = "uint8" })
      each:step()
      each:load_state_dict(good)
    end)
  end)

  it("is an option of compile, and of groups", function()
    local model = nn.Sequential { nn.Linear(80, 80), nn.Linear(80, 2) }
    model:compile { optimizer = { "adamw", lr = 1e-3, state_dtype = "uint8" }, loss = "mse" }
    model:fit(nn.randn(8, 80), nn.randn(8, 2), { verbose = 0 })
    local path = os.tmpname()
    assert(model:save(path, { optimizer = true }))
    local again = assert(nn.load(path, { mmap = false }))
    os.remove(path)
    assert.equal("uint8", again:optimizer_in_use():state_dict().state[1].exp_avg.dtype)
    assert.equal("uint8", again:optimizer_in_use().state_dtype)
    local a, b = parameter_with(nn.randn(5000)), parameter_with(nn.randn(5000))
    local optimizer = nn.optim.Adam({ { params = { a } }, { params = { b }, state_dtype = "bfloat16" } })
    optimizer:step()
    local state = optimizer:state_dict().state
    assert.same({ "float32", "bfloat16" }, { state[1].exp_avg.dtype, state[2].exp_avg.dtype })
  end)
end)
