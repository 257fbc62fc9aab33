local nn = require "nnlua"
local support = require "support"

local message_of = support.message_of
local embedding = nn.functional.embedding

local function positions(list)
  return nn.tensor(list, { dtype = "int64" })
end

describe("Embedding", function()
  support.count_tensors(before_each, after_each)

  it("looks rows up by position, in the shape of the positions", function()
    local layer = nn.Embedding(3, 2)
    layer:load_state_dict { weight = nn.tensor { { 1, 2 }, { 3, 4 }, { 5, 6 } } }
    assert.same({ { { 5, 6 }, { 1, 2 } } }, layer(positions { { 3, 1 } }):tolist())
    assert.same({ 3, 4 }, layer(positions(2)):tolist())
    assert.same({ 0, 2 }, layer(nn.zeros(0, { dtype = "int64" })).shape)
    assert.same({ 2, 1, 3, 2 }, layer(nn.ones(2, 1, 3, { dtype = "uint8" })).shape)
  end)

  it("adds up the gradient of a position that comes often", function()
    local layer = nn.Embedding(4, 2)
    local rows = layer(positions { 2, 4, 2 })
    rows:backward(nn.tensor { { 1, 2 }, { 3, 4 }, { 5, 6 } })
    assert.same({ { 0, 0 }, { 6, 8 }, { 0, 0 }, { 3, 4 } }, layer.weight.grad:tolist())
  end)

  it("starts as normal numbers, or by a rule, with 0 where padding is", function()
    local layer = nn.Embedding(200, 50, { padding_idx = 7 })
    assert.is_true(math.abs(layer.weight:std():item() - 1) < 0.03)
    assert.equal(0, layer.weight[7]:abs():max():item())
    assert.is_true(nn.Embedding(20, 5, { init = "uniform" }).weight:max():item() <= 1)
    assert.equal(1, nn.Embedding(2, 2, { init = "ones" }).weight:min():item())
  end)

  it("does not train padding", function()
    local layer = nn.Embedding(3, 2, { padding_idx = 2 })
    layer(positions { 1, 2, 2 }):sum():backward()
    assert.same({ { 1, 1 }, { 0, 0 }, { 0, 0 } }, layer.weight.grad:tolist())
    assert.equal("Embedding(3, 2, padding_idx = 2)", tostring(layer))
    assert.is_nil(nn.Embedding(3, 2).padding_idx)
  end)

  it("shrinks rows in use that are too long, in place", function()
    local layer = nn.Embedding(3, 2, { max_norm = 1 })
    layer:load_state_dict { weight = nn.tensor { { 3, 4 }, { 0.3, 0.4 }, { 30, 40 } } }
    local out = layer(positions { 1, 2, 1 })
    support.assert_tensor(out, { 3, 2 }, { 0.6, 0.8, 0.3, 0.4, 0.6, 0.8 }, 1e-6)
    support.assert_tensor(layer.weight:detach(), { 3, 2 }, { 0.6, 0.8, 0.3, 0.4, 30, 40 }, 1e-6)
    layer = nn.Embedding(1, 2, { max_norm = 1, norm_type = math.huge })
    layer:load_state_dict { weight = nn.tensor { { 3, 4 } } }
    support.assert_tensor(layer(positions { 1 }), { 1, 2 }, { 0.75, 1 }, 1e-6)
  end)

  it("adds up many rows to the same bits for any number of threads", function()
    local before, sums = nn.get_num_threads(), {}
    local weight = nn.randn(11, 300, { requires_grad = true })
    local at, seed = nn.randint(1, 12, { 500 }), nn.randn(500, 300)
    for _, threads in ipairs { 1, 2, 3 } do
      nn.set_num_threads(threads)
      sums[#sums + 1] = nn.grad((embedding(at, weight) * seed):sum(), weight)
    end
    nn.set_num_threads(before)
    assert.is_true(sums[1]:equal(sums[2]))
    assert.is_true(sums[1]:equal(sums[3]))
    local expected = nn.zeros(11, 300):scatter_add(1, at:unsqueeze(2):expand(500, 300), seed)
    assert.is_true(sums[1]:allclose(expected, { atol = 1e-4 }))
  end)

  it("has the gradient of finite differences, and that has one: the rows looked up again", function()
    local weight, at = nn.randn(4, 3, { dtype = "float64", requires_grad = true }), positions { { 1, 3 }, { 3, 4 } }
    assert(nn.gradcheck(function(w) return embedding(at, w) end, { weight }))
    local seed = nn.randn(2, 2, 3, { dtype = "float64", requires_grad = true })
    local upper = nn.randn(4, 3, { dtype = "float64" })
    for _, padding in ipairs { 2, 3 } do -- one that does not occur, and one that does
      local first = nn.grad(embedding(at, weight, { padding_idx = padding }), weight,
        { grad_outputs = seed, create_graph = true })
      local expected = embedding(at, upper)
      if padding == 3 then expected = expected * nn.tensor({ { 1, 0 }, { 0, 1 } }):unsqueeze(3) end
      assert.is_true(nn.grad((first * upper):sum(), seed):equal(expected))
    end
  end)

  it("keeps the dtype of its rows, half floats too", function()
    for _, dtype in ipairs { "bfloat16", "float16", "float64" } do
      local weight = nn.ones(3, 2, { dtype = dtype, requires_grad = true })
      local out = embedding(positions { 1, 1 }, weight)
      assert.equal(dtype, out.dtype)
      out:sum():backward()
      assert.same({ { 2, 2 }, { 0, 0 }, { 0, 0 } }, weight.grad:tolist())
    end
    assert.same({ { 2 } }, embedding(positions { 2 }, positions { { 1 }, { 2 } }):tolist())
    local turned = nn.tensor { { 1, 2 }, { 3, 4 } }:t()
    assert.same({ { 2, 4 } }, embedding(positions { 2 }, turned):tolist())
  end)

  it("names the position that there is not, and those that there are", function()
    local layer = nn.Embedding(5, 2)
    assert.matches("nn.Embedding: position 6 %(element 2 of the index%) is not within 1 to 5",
      message_of(layer, positions { 1, 6 }))
    assert.matches("position 0 %(element 1", message_of(layer, positions { 0 }))
    assert.matches("embedding: position %-1", message_of(embedding, positions { -1 }, nn.ones(2, 2)))
    assert.matches("nn.Embedding: expected positions as an int64 tensor, got float32", message_of(layer, nn.ones(2)))
    assert.matches("expected a weight of shape %(rows, features%), got %(2%)",
      message_of(embedding, positions { 1 }, nn.ones(2)))
    assert.matches("padding_idx 3 is not within 1 to 2",
      message_of(embedding, positions { 1 }, nn.ones(2, 2), { padding_idx = 3 }))
    assert.matches("option 'padding_idx' must be at least 1, got 0",
      message_of(nn.Embedding, 5, 2, { padding_idx = 0 }))
    assert.matches("option 'padding_idx' must be between 1 and 5, got 6",
      message_of(nn.Embedding, 5, 2, { padding_idx = 6 }))
    assert.matches("max_norm must be greater than 0, got %-1",
      message_of(embedding, positions { 1 }, nn.ones(2, 2), { max_norm = -1 }))
  end)
end)
