local nn = require "nnlua"

local schedules = nn.optim.lr_scheduler

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

local function optimizer(options)
  return nn.optim.SGD({nn.zeros(2):requires_grad_()}, options or {lr = 1})
end

local function near(expected, got) assert.is_true(math.abs(expected - got) < 1e-12, expected .. " is not " .. got) end

-- The rates before the first step and after each of n.
local function rates(opt, schedule, n)
  local list = {opt.lr}
  for i = 1, n do
    schedule:step()
    list[i + 1] = opt.lr
  end
  return list
end

local function all_near(expected, got)
  assert.equal(#expected, #got)
  for i = 1, #expected do near(expected[i], got[i]) end
end

describe("learning rate schedules", function()
  it("step down, by a factor every few steps or at milestones", function()
    local opt = optimizer()
    all_near({1, 1, 0.5, 0.5, 0.25}, rates(opt, schedules.StepLR(opt, 2, {gamma = 0.5}), 4))
    opt = optimizer()
    all_near({1, 0.1, 0.1, 0.01}, rates(opt, schedules.MultiStepLR(opt, {1, 3}), 3))
    opt = optimizer()
    all_near({1, 0.9, 0.81}, rates(opt, schedules.ExponentialLR(opt, 0.9), 2))
  end)

  it("warm up, stay constant or fall along a line", function()
    local opt = optimizer()
    all_near({0.5, 0.75, 1, 1}, rates(opt, schedules.LinearLR(opt, {start_factor = 0.5, total_iters = 2}), 3))
    opt = optimizer()
    all_near({0.25, 0.25, 1}, rates(opt, schedules.ConstantLR(opt, {factor = 0.25, total_iters = 2}), 2))
    opt = optimizer()
    all_near({1, 0.75, 0.5, 0.25, 0, 0}, rates(opt, schedules.PolynomialLR(opt, {total_iters = 4}), 5))
  end)

  it("fall along half a cosine, once or with restarts", function()
    local opt = optimizer()
    all_near({1, 0.5, 0, 0.5, 1}, rates(opt, schedules.CosineAnnealingLR(opt, 2), 4))
    opt = optimizer()
    local warm = schedules.CosineAnnealingWarmRestarts(opt, 2, {T_mult = 2, eta_min = 0.2})
    all_near({1, 0.6, 1}, rates(opt, warm, 2))
    for _ = 1, 4 do warm:step() end
    near(1, opt.lr)
  end)

  it("multiply where an optimizer has two of them", function()
    local opt = optimizer()
    local a, b = schedules.ExponentialLR(opt, 0.5), schedules.StepLR(opt, 2, {gamma = 0.1})
    for _ = 1, 2 do
      a:step()
      b:step()
    end
    near(0.025, opt.lr)
    opt = optimizer()
    local both = schedules.ChainedScheduler{schedules.ExponentialLR(opt, 0.5), schedules.StepLR(opt, 2, {gamma = 0.1})}
    all_near({1, 0.5, 0.025}, rates(opt, both, 2))
  end)

  it("follow one another at milestones", function()
    local opt = optimizer()
    local s = schedules.SequentialLR(opt, {schedules.LinearLR(opt, {start_factor = 0.5, total_iters = 2}),
      schedules.ExponentialLR(opt, 0.5)}, {2})
    all_near({0.5, 0.75, 1, 0.5, 0.25}, rates(opt, s, 4))
  end)

  it("take a function, or one for each group", function()
    local a, b = nn.zeros(1):requires_grad_(), nn.zeros(1):requires_grad_()
    local opt = nn.optim.SGD({{params = {a}, lr = 1}, {params = {b}, lr = 10}}, {lr = 1})
    local s = schedules.LambdaLR(opt, {function(t) return 1 / (t + 1) end, function(t) return 2 ^ -t end})
    s:step()
    s:step()
    near(1 / 3, opt.param_groups[1].lr)
    near(2.5, opt.param_groups[2].lr)
    all_near({1 / 3, 2.5}, s:get_last_lr())
  end)

  it("cycle the rate up and down, and the momentum against it", function()
    local opt = optimizer{lr = 1, momentum = 0.9}
    local s = schedules.OneCycleLR(opt, 1, {total_steps = 10, pct_start = 0.3, div_factor = 10})
    near(0.1, opt.lr)
    near(0.95, opt.momentum)
    s:step()
    s:step()
    near(1, opt.lr)
    near(0.85, opt.momentum)
    for _ = 1, 7 do s:step() end
    near(0.1 / 1e4, opt.lr)
    s:step()
    assert.matches("OneCycleLR has 10 steps in all; step 11", message_of(s.step, s))
    local adam = nn.optim.Adam({nn.zeros(1):requires_grad_()}, {lr = 1})
    schedules.OneCycleLR(adam, 1, {epochs = 2, steps_per_epoch = 5})
    near(0.95, adam.betas[1])
  end)

  it("lower the rate when a metric stops improving", function()
    local opt = optimizer()
    local s = schedules.ReduceLROnPlateau(opt, {patience = 1, factor = 0.5, cooldown = 1, min_lr = 0.3})
    s:step(1)
    s:step(nn.tensor(2))
    near(1, opt.lr)
    s:step(2)
    near(0.5, opt.lr)
    for _ = 1, 5 do s:step(2) end
    near(0.3, opt.lr)
    s:step(0 / 0)
    assert.matches("metric: expected a number, got nil", message_of(s.step, s))
  end)

  it("go on where another one was", function()
    local one, other = optimizer(), optimizer()
    local a, b = schedules.CosineAnnealingLR(one, 7), schedules.CosineAnnealingLR(other, 7)
    for _ = 1, 3 do a:step() end
    b:load_state_dict(a:state_dict())
    other:load_state_dict(one:state_dict())
    a:step()
    b:step()
    assert.equal(one.lr, other.lr)
    assert.equal(4, b.last_epoch)
    assert.matches("expected the state_dict of a schedule", message_of(b.load_state_dict, b, {}))
  end)

  it("say what is wrong with their arguments", function()
    local opt = optimizer()
    assert.matches("nn.optim.lr_scheduler.StepLR: expected step_size", message_of(schedules.StepLR, opt))
    assert.matches("option step_size: expected a whole number from 1, got 0", message_of(schedules.StepLR, opt, 0))
    assert.matches('unknown option "gama"; allowed: gamma step_size',
      message_of(schedules.StepLR, opt, 2, {gama = 1}))
    assert.matches("argument 1: expected an optimizer, got table", message_of(schedules.StepLR, {}, 2))
    assert.matches("expected 1 milestones for 2 schedules, got 2", message_of(schedules.SequentialLR, opt,
      {schedules.ExponentialLR(opt, 1), schedules.ExponentialLR(opt, 1)}, {1, 2}))
    assert.matches("schedule 1: expected a schedule of the same optimizer",
      message_of(schedules.SequentialLR, opt, {schedules.ExponentialLR(optimizer(), 1)}, {}))
    assert.matches("expected one for each of 1 groups, got 2",
      message_of(schedules.LambdaLR, opt, {math.sin, math.cos}))
    assert.matches("expected the option total_steps", message_of(schedules.OneCycleLR, opt, 1))
  end)
end)
