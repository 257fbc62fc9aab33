local nn = require "nnlua"

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

local function parameter(values, options)
  local p = nn.tensor(values, options):requires_grad_()
  p.grad = nn.ones_like(p:detach())
  return p
end

local NAMES = {"SGD", "Adam", "AdamW", "NAdam", "RMSprop", "Adagrad", "Adadelta", "Lion"}

describe("optimizers", function()
  it("step down the gradient", function()
    local p = parameter{1, 2}
    local opt = nn.optim.SGD({p}, {lr = 0.5})
    opt:step()
    assert.same({0.5, 1.5}, p:tolist())
    opt:zero_grad()
    assert.is_nil(p.grad)
    opt:step()
    assert.same({0.5, 1.5}, p:tolist())
  end)

  it("read and write the rate of the first group and of all", function()
    local a, b = parameter{1}, parameter{1}
    local opt = nn.optim.Adam({{params = {a}}, {params = {b}, lr = 0.5}}, {lr = 0.1})
    assert.equal(0.1, opt.lr)
    assert.equal(0.5, opt.param_groups[2].lr)
    opt.param_groups[1].lr = 0.2
    assert.equal(0.2, opt.lr)
    opt.lr = 0.3
    assert.equal(0.3, opt.param_groups[2].lr)
    assert.equal(1, #opt.param_groups[1].params)
    assert.equal("Adam(lr = 0.3)", tostring(opt))
  end)

  it("update views and strided gradients as they update arrays", function()
    for _, name in ipairs(NAMES) do
      local plain = parameter{{1, 2, 3}, {4, 5, 6}}
      local turned = nn.tensor{{1, 4}, {2, 5}, {3, 6}}:t():detach():requires_grad_()
      plain.grad = nn.tensor{{1, -2, 3}, {-1, 2, -3}}
      turned.grad = nn.tensor{{1, -1}, {-2, 2}, {3, -3}}:t()
      local one, other = nn.optim[name]{plain}, nn.optim[name]{turned}
      for _ = 1, 3 do
        one:step()
        other:step()
      end
      assert.same(plain:tolist(), turned:tolist(), name)
    end
  end)

  it("give large parameters the same bits for any number of threads", function()
    local before, results = nn.get_num_threads(), {}
    for _, threads in ipairs{1, 2} do
      nn.set_num_threads(threads)
      nn.manual_seed(1)
      local p = nn.randn(300, 1000):requires_grad_()
      p.grad = nn.randn(300, 1000)
      local opt = nn.optim.Adam{p}
      opt:step()
      opt:step()
      results[threads] = p:detach()
    end
    nn.set_num_threads(before)
    assert.is_true(results[1]:equal(results[2]))
  end)

  it("go on from a saved state as if nothing had happened", function()
    for _, name in ipairs(NAMES) do
      local p = parameter{1, 2, 3}
      local options = name == "SGD" and {momentum = 0.9, dampening = 0.5} or {}
      local opt = nn.optim[name]({p}, options)
      opt:step()
      local saved = p:detach():clone()
      local again = nn.optim[name]({p})
      again:load_state_dict(opt:state_dict())
      again:step()
      local expected = p:tolist()
      nn.no_grad(function() p:copy_(saved) end)
      opt:step()
      assert.same(expected, p:tolist(), name)
    end
  end)

  it("keep their state as plain data", function()
    local p = parameter{1, 2}
    local opt = nn.optim.Adam({p}, {lr = 0.1})
    opt:step()
    local state = opt:state_dict()
    assert.equal(1, state.state[1].step)
    assert.same({2}, state.state[1].exp_avg.shape)
    assert.same({1}, state.param_groups[1].params)
    assert.equal(0.1, state.param_groups[1].lr)
    state.param_groups[1].params = {}
    assert.matches("as many parameters", message_of(function() opt:load_state_dict(state) end))
  end)

  it("call a closure with gradients on and return its loss", function()
    local p = parameter{3}
    local opt = nn.optim.SGD({p}, {lr = 0.1})
    local loss = nn.no_grad(function()
      return opt:step(function()
        opt:zero_grad()
        local l = (p * p):sum()
        l:backward()
        return l
      end)
    end)
    assert.equal(9, loss:item())
    assert.is_true(math.abs(p:tolist()[1] - 2.4) < 1e-6)
    assert.matches("oops", message_of(function() opt:step(function() error("oops") end) end))
  end)

  it("take further groups, or leave all as it was", function()
    local a, b = parameter{1}, parameter{1}
    local opt = nn.optim.SGD({a}, {lr = 1})
    opt:add_param_group{params = {b}, lr = 0.5}
    assert.equal(2, #opt.param_groups)
    assert.matches("given twice", message_of(function() opt:add_param_group{params = {b}} end))
    assert.equal(2, #opt.param_groups)
  end)

  it("refuse what they cannot use", function()
    local p = parameter{1}
    assert.matches("option 'lr' must be at least 0, got %-1", message_of(nn.optim.Adam, {p}, {lr = -1}))
    assert.matches("unknown option 'beta'; allowed: lr, betas", message_of(nn.optim.Adam, {p}, {beta = 1}))
    assert.matches("empty table", message_of(nn.optim.SGD, {}))
    assert.matches("parameter 1 is no tensor", message_of(nn.optim.SGD, {1}))
    assert.matches("result of an operation", message_of(nn.optim.SGD, {p * 2}))
    assert.matches("nesterov", message_of(nn.optim.SGD, {p}, {nesterov = true}))
  end)

  it("invalidate values that backward would need", function()
    local p = parameter{2}
    local y = (p * p):sum()
    nn.optim.SGD{p}:step()
    assert.is_false((pcall(y.backward, y)))
  end)
end)

describe("LBFGS", function()
  local function bowl(p, opt)
    return function()
      opt:zero_grad()
      local loss = ((p - nn.tensor{1, -2}) ^ 2 * nn.tensor{1, 10}):sum()
      loss:backward()
      return loss
    end
  end

  it("finds the minimum of a bowl in a few steps, with and without a line search", function()
    for _, search in ipairs{"strong_wolfe", false} do
      local p = nn.tensor{5, 5}:requires_grad_()
      local opt = nn.optim.LBFGS({p}, {lr = search and 1 or 0.5, line_search_fn = search or nil})
      for _ = 1, 3 do opt:step(bowl(p, opt)) end
      assert.is_true(p:detach():allclose(nn.tensor{1, -2}, {atol = 1e-3}), tostring(p))
    end
  end)

  it("goes on from a saved state", function()
    local p, q = nn.tensor{5, 5}:requires_grad_(), nn.tensor{5, 5}:requires_grad_()
    local one, other = nn.optim.LBFGS({p}, {max_iter = 2, lr = 0.1}), nn.optim.LBFGS({q}, {max_iter = 2, lr = 0.1})
    one:step(bowl(p, one))
    other:load_state_dict(one:state_dict())
    nn.no_grad(function() q:copy_(p) end)
    one:step(bowl(p, one))
    other:step(bowl(q, other))
    assert.same(p:tolist(), q:tolist())
  end)

  it("asks for a closure, one group and options that it has", function()
    local p = nn.tensor{1}:requires_grad_()
    local opt = nn.optim.LBFGS{p}
    assert.matches("expected a function that computes the loss, got nil", message_of(opt.step, opt))
    assert.matches("expected one of strong_wolfe", message_of(nn.optim.LBFGS, {p}, {line_search_fn = "weak"}))
    assert.matches("a list of parameters", message_of(nn.optim.LBFGS, {}))
  end)
end)

describe("averages of parameters", function()
  it("follow the parameters, stand in for them and let them come back", function()
    local p = nn.tensor{1, 2}:requires_grad_()
    local ema = nn.optim.EMA({p}, {decay = 0.5})
    nn.no_grad(function() p:copy_(nn.tensor{3, 4}) end)
    ema:update()
    ema:apply()
    assert.same({2, 3}, p:tolist())
    assert.matches("call restore%(%) first", message_of(ema.apply, ema))
    ema:restore()
    assert.same({3, 4}, p:tolist())
    assert.matches("nothing to restore", message_of(ema.restore, ema))
    local again = nn.optim.EMA({p}, 0.9)
    again:load_state_dict(ema:state_dict())
    again:apply()
    assert.same({2, 3}, p:tolist())
    assert.matches("expected a number from 0 to 1, got 2", message_of(nn.optim.EMA, {p}, 2))
  end)
end)

describe("gradients", function()
  it("are clipped by the norm of them all", function()
    local a, b, none = parameter{1}, parameter{1}, nn.tensor{1}:requires_grad_()
    a.grad, b.grad = nn.tensor{3}, nn.tensor{4}
    assert.equal(5, nn.utils.clip_grad_norm_({a, b, none}, 1))
    assert.is_true(a.grad:allclose(nn.tensor{0.6}) and b.grad:allclose(nn.tensor{0.8}))
    assert.is_true(math.abs(nn.utils.clip_grad_norm_({a, b}, 10) - 1) < 1e-5)
    assert.is_true(a.grad:allclose(nn.tensor{0.6}))
    assert.is_true(math.abs(nn.utils.clip_grad_norm_({a, b}, 1, {norm_type = math.huge}) - 0.8) < 1e-5)
    assert.equal(0, nn.utils.clip_grad_norm_({none}, 1))
    a.grad = nn.tensor{math.huge}
    assert.matches("the norm of the gradients is inf",
      message_of(nn.utils.clip_grad_norm_, {a}, 1, {error_if_nonfinite = true}))
    assert.matches("expected a number from 0, got %-1", message_of(nn.utils.clip_grad_norm_, {a}, -1))
  end)

  it("are clipped element by element", function()
    local a = parameter{1, 2, 3}
    a.grad = nn.tensor{-5, 0.5, 7}
    nn.utils.clip_grad_value_(a, 2)
    assert.same({-2, 0.5, 2}, a.grad:tolist())
  end)

  it("and parameters are one vector where that is wanted", function()
    local a, b = nn.tensor{{1, 2}, {3, 4}}, nn.tensor{5}
    local vector = nn.utils.parameters_to_vector{a, b}
    assert.same({1, 2, 3, 4, 5}, vector:tolist())
    nn.utils.vector_to_parameters(vector * 2, {a, b})
    assert.same({{2, 4}, {6, 8}}, a:tolist())
    assert.matches("expected a vector of 5 elements, got 4",
      message_of(nn.utils.vector_to_parameters, nn.zeros(4), {a, b}))
  end)
end)
