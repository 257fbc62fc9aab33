local nn = require "nnlua"

local function message_of(f, ...)
  local ok, message = pcall(f, ...)
  assert.is_false(ok)
  return message
end

local function labels(list) return nn.tensor(list, {dtype = "int64"}) end

local function near(expected, got) assert.is_true(math.abs(expected - got) < 1e-5, expected .. " is not " .. got) end

describe("pointwise losses", function()
  it("reduce to a mean, a sum or nothing", function()
    local x, t = nn.tensor{1, 2, 3, 4}, nn.tensor{1, 0, 3, 0}
    assert.equal(5, nn.MSELoss()(x, t):item())
    assert.equal(20, nn.MSELoss{reduction = "sum"}(x, t):item())
    assert.same({0, 2, 0, 4}, nn.L1Loss{reduction = "none"}(x, t):tolist())
  end)

  it("stay finite for logits of a thousand", function()
    local x = nn.tensor({-1000, 1000, 1000, -1000}):requires_grad_()
    local loss = nn.BCEWithLogitsLoss()(x, nn.tensor{0, 1, 0, 1})
    loss:backward()
    assert.equal(500, loss:item())
    assert.same({0, 0, 0.25, -0.25}, x.grad:tolist())
  end)

  it("have gradients that differences confirm, twice over", function()
    nn.manual_seed(2)
    local x = nn.rand({3, 2}, {dtype = "float64"}):mul(0.8):add(0.1):requires_grad_()
    local t = nn.rand({3, 2}, {dtype = "float64"})
    local w = nn.rand({2}, {dtype = "float64"})
    local losses = {
      nn.MSELoss(), nn.BCELoss{weight = w}, nn.BCEWithLogitsLoss{pos_weight = w, weight = w},
      nn.BCEWithLogitsLoss{reduction = "sum"}, nn.MSELoss{reduction = "none"},
      nn.SmoothL1Loss{beta = 0.1}, nn.HuberLoss{delta = 0.2}, nn.KLDivLoss{reduction = "batchmean"},
      nn.KLDivLoss{log_target = true}, nn.HingeLoss(), nn.SmoothL1Loss{beta = 0},
    }
    for _, loss in ipairs(losses) do
      assert.is_true(nn.gradcheck(function(p) return loss(p, t) end, {x}), tostring(loss))
    end
    local g = nn.grad(nn.BCELoss()(x, t), x, {create_graph = true})
    g:sum():backward()
    local h, e = x.grad, 1e-5
    local function slope(at) return nn.grad(nn.BCELoss()(at, t), at) end
    local up, down = (x + e):detach():requires_grad_(), (x - e):detach():requires_grad_()
    assert.is_true(h:allclose((slope(up) - slope(down)) / (2 * e), {rtol = 1e-4}))
  end)

  it("add up large inputs to the same bits for any number of threads", function()
    local before, sums = nn.get_num_threads(), {}
    nn.manual_seed(4)
    local x, t = nn.randn(500, 1000), nn.randn(500, 1000)
    for _, threads in ipairs{1, 2} do
      nn.set_num_threads(threads)
      sums[threads] = nn.MSELoss()(x, t):item()
    end
    nn.set_num_threads(before)
    assert.equal(sums[1], sums[2])
  end)

  it("take views and integer targets", function()
    local x = nn.tensor{{1, 2}, {3, 4}}:t()
    assert.equal(0, nn.MSELoss()(x, labels{{1, 3}, {2, 4}}):item())
  end)

  it("refuse shapes that differ, telling both", function()
    assert.matches("nn.MSELoss: expected prediction and target of one shape, got %(4, 1%) and %(4%)",
                   message_of(function() nn.MSELoss()(nn.zeros(4, 1), nn.zeros(4)) end))
    assert.matches("weight of shape %(3%) does not fit",
                   message_of(function() nn.BCELoss{weight = nn.ones(3)}(nn.zeros(4), nn.zeros(4)) end))
  end)
end)

describe("cross entropy", function()
  it("counts labels from 1", function()
    local x = nn.tensor{{0, 0, 0}, {0, 0, math.log(2)}}
    local loss = nn.CrossEntropyLoss{reduction = "none"}(x, labels{1, 3}):tolist()
    near(math.log(3), loss[1])
    near(math.log(2), loss[2])
  end)

  it("stays finite for logits of a thousand", function()
    local x = nn.tensor({{1000, -1000}, {-1000, 1000}}):requires_grad_()
    local loss = nn.CrossEntropyLoss()(x, labels{1, 1})
    loss:backward()
    assert.equal(1000, loss:item())
    assert.same({{0, 0}, {-0.5, 0.5}}, x.grad:tolist())
  end)

  it("has gradients that differences confirm", function()
    nn.manual_seed(6)
    local options = {dtype = "float64"}
    local x, w = nn.randn({4, 3}, options):requires_grad_(), nn.rand({3}, options)
    local y, p = labels{1, 3, -100, 2}, nn.rand({4, 3}, options):softmax(2)
    for _, reduction in ipairs{"mean", "sum", "none"} do
      local loss = nn.CrossEntropyLoss{weight = w, label_smoothing = 0.2, reduction = reduction}
      assert.is_true(nn.gradcheck(function(z) return loss(z, y) end, {x}))
      assert.is_true(nn.gradcheck(function(z) return loss(z, p) end, {x}))
    end
    local places = nn.randn({2, 3, 2, 2}, options):requires_grad_()
    local at = labels{{{1, 2}, {3, 1}}, {{2, 2}, {1, 3}}}
    assert.is_true(nn.gradcheck(function(z) return nn.CrossEntropyLoss()(z, at) end, {places}))
    assert.is_true(nn.gradcheck(function(z) return nn.NLLLoss()(z, at) end, {places}))
  end)

  it("can be differentiated twice", function()
    nn.manual_seed(7)
    local x = nn.randn({2, 3}, {dtype = "float64"}):requires_grad_()
    local y, loss = labels{2, 3}, nn.CrossEntropyLoss()
    local g = nn.grad(loss(x, y), x, {create_graph = true})
    g:mul(g):sum():backward()
    local composed = x:detach():requires_grad_()
    local log_p = composed:log_softmax(2)
    local other = (log_p[{1, {2, 2}}] + log_p[{2, {3, 3}}]):sum() * -0.5
    local h = nn.grad(other, composed, {create_graph = true})
    h:mul(h):sum():backward()
    assert.is_true(x.grad:allclose(composed.grad))
  end)

  it("names a wrong label, its row and what is allowed", function()
    local x, loss = nn.zeros(2, 3), nn.CrossEntropyLoss()
    assert.matches("label 0 in row 2 is not within 1 to 3", message_of(function() loss(x, labels{1, 0}) end))
    assert.matches("label 4 in row 1 is not within 1 to 3", message_of(function() loss(x, labels{4, 1}) end))
    assert.matches("labels are int64", message_of(function() loss(x, nn.tensor{1, 2}) end))
    assert.matches("needs labels of shape %(2%), got %(3%)", message_of(function() loss(x, labels{1, 2, 3}) end))
    assert.matches("one number for each of 3 classes",
                   message_of(function() nn.CrossEntropyLoss{weight = nn.ones(2)}(x, labels{1, 2}) end))
  end)

  it("agrees with nll_loss of log_softmax", function()
    nn.manual_seed(8)
    local x, y = nn.randn(5, 4), labels{1, 2, 3, 4, 1}
    near(nn.CrossEntropyLoss()(x, y):item(), nn.NLLLoss()(x:log_softmax(2), y):item())
  end)
end)

describe("losses of vectors", function()
  it("want like pairs near and unlike ones apart", function()
    local a = nn.tensor{{1, 0}, {1, 0}, {1, 0}}
    local b = nn.tensor{{2, 0}, {0, 3}, {2, 0}}
    local target = labels{1, 1, -1}
    local each = nn.CosineEmbeddingLoss{margin = 0.25, reduction = "none"}(a, b, target)
    assert.is_true(each:allclose(nn.tensor{0, 1, 0.75}), tostring(each))
    assert.matches("expected %(N, D%), %(N, D%) and a target %(N%)",
      message_of(nn.CosineEmbeddingLoss(), a, b, labels{1}))
  end)

  it("want the positive nearer than the negative by a margin", function()
    local anchor, positive = nn.tensor{{0, 0}, {0, 0}}, nn.tensor{{3, 4}, {0, 1}}
    local negative = nn.tensor{{0, 5}, {0, 9}}
    local each = nn.TripletMarginLoss{reduction = "none"}(anchor, positive, negative)
    assert.is_true(each:allclose(nn.tensor{1, 0}, {atol = 1e-5}), tostring(each))
    near(0.5, nn.TripletMarginLoss()(anchor, positive, negative):item())
  end)

  it("have gradients that differences confirm", function()
    nn.manual_seed(3)
    local function leaf() return nn.randn({3, 4}, {dtype = "float64"}):requires_grad_() end
    local a, b, c = leaf(), leaf(), leaf()
    local cosine = nn.CosineEmbeddingLoss{margin = -0.9}
    assert.is_true(nn.gradcheck(function(x, y) return cosine(x, y, labels{1, -1, 1}) end, {a, b}))
    for _, options in ipairs{{swap = true, margin = 5}, {p = 3, margin = 5}, {p = 1, margin = 9}} do
      assert.is_true(nn.gradcheck(nn.TripletMarginLoss(options), {a, b, c}))
    end
  end)
end)

describe("CTC", function()
  local function log_probs(...)
    nn.manual_seed(4)
    return nn.randn({...}, {dtype = "float64"}):log_softmax(-1)
  end

  -- The sum over all paths, by trying every one.
  local function brute(p, target, blank)
    local steps, classes = p.shape[1], p.shape[2]
    local total = 0
    local function reads(path)
      local read, last = {}, blank
      for _, class in ipairs(path) do
        if class ~= last and class ~= blank then read[#read + 1] = class end
        last = class
      end
      return table.concat(read, " ") == table.concat(target, " ")
    end
    local function extend(path, probability)
      if #path == steps then
        if reads(path) then total = total + probability end
        return
      end
      for class = 1, classes do
        path[#path + 1] = class
        extend(path, probability * math.exp(p[{#path, class}]))
        path[#path] = nil
      end
    end
    extend({}, 1)
    return -math.log(total)
  end

  it("is the sum over all paths that read as the target", function()
    local p = log_probs(5, 3)
    for _, case in ipairs{{{2, 3}, 1}, {{2, 2}, 1}, {{}, 1}, {{1, 2, 1}, 3}} do
      local target, blank = case[1], case[2]
      local got = nn.CTCLoss{blank = blank, reduction = "sum"}(p, nn.tensor(target, {dtype = "int64"}))
      near(brute(p, target, blank), got:item())
    end
  end)

  it("takes padded targets and those one after the other, with lengths", function()
    local p = log_probs(2, 6, 4)
    local steps, counts = labels{6, 4}, labels{2, 1}
    local loss = nn.CTCLoss{reduction = "none"}
    local padded = loss(p, labels{{2, 3}, {4, 1}}, steps, counts)
    near(padded[1], loss(p, labels{2, 3, 4}, steps, counts)[1])
    near(padded[2], nn.CTCLoss{reduction = "sum"}(p[{2, {1, 4}}], labels{4}):item())
    near((padded[1] / 2 + padded[2]) / 2, nn.CTCLoss()(p, labels{{2, 3}, {4, 1}}, steps, counts):item())
  end)

  it("has gradients that differences confirm", function()
    nn.manual_seed(5)
    local x = nn.randn({2, 5, 3}, {dtype = "float64"}):requires_grad_()
    local loss = nn.CTCLoss{reduction = "none"}
    assert.is_true(nn.gradcheck(function(y)
      return loss(y:log_softmax(-1), labels{{2, 3}, {3, 3}}, labels{5, 4}, labels{2, 2})
    end, {x}))
  end)

  it("is infinite for a target that does not fit, or 0 where that is asked for", function()
    local x = nn.randn(2, 3):requires_grad_()
    local target = labels{2, 3, 2}
    assert.equal(math.huge, nn.CTCLoss{reduction = "sum"}(x:log_softmax(-1), target):item())
    nn.CTCLoss{zero_infinity = true}(x:log_softmax(-1), target):backward()
    assert.equal(0, x.grad:abs():sum():item())
  end)

  it("names what it cannot take", function()
    local p = log_probs(2, 6, 4)
    local loss = nn.CTCLoss()
    assert.matches("expected labels from 1 to 4 other than the blank 1, got 5", message_of(loss, p, labels{{2}, {5}}))
    assert.matches("other than the blank 1, got 1", message_of(loss, p, labels{{2}, {1}}))
    assert.matches("input_lengths: expected lengths from 0 to 6, got 7",
      message_of(loss, p, labels{{2}, {3}}, labels{7, 1}))
    assert.matches("target_lengths: expected %(2%) of int64, got %(3%)",
      message_of(loss, p, labels{{2}, {3}}, labels{6, 6}, labels{1, 1, 1}))
    assert.matches("blank: expected a class from 1 to 4, got 9", message_of(nn.CTCLoss{blank = 9}, p, labels{{2}, {3}}))
    assert.matches("expected labels %(2, S%)", message_of(loss, p, nn.zeros(2, 2)))
  end)
end)
