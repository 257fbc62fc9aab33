-- Cases at the edges that random programs (tests/fuzz/programs) have found.
local nn = require "nnlua"

describe("at the edges", function()
  it("a tensor without elements is contiguous, whatever its strides", function()
    assert.is_true(nn.zeros(0, 5, 3):transpose(2, 3):is_contiguous())
    assert.is_true(nn.zeros(5, 3):t():narrow(1, 1, 0):is_contiguous())
  end)

  it("softmax over any dimension gives a contiguous result", function()
    local y = nn.arange(0, 6):float():reshape(2, 3):softmax(1)
    assert.is_true(y:is_contiguous())
    assert.same({6}, y:view(6).shape)
    assert.is_true(y:sum(1):allclose(nn.ones(3)))
  end)

  it("the mean, the norm and std of halves do not overflow on the way", function()
    local x = nn.full({4}, 40000, {dtype = "float16"})
    assert.equal(40000, x:mean():item())
    assert.equal(500, nn.tensor({300, 400}, {dtype = "float16"}):norm():item())
    assert.equal(1000, nn.tensor({-1000, 1000}, {dtype = "float16"}):std{unbiased = false}:item())
  end)

  it("gradients flow through cat beside a tensor of shape (0)", function()
    local x, none = nn.ones(2, 3, {requires_grad = true}), nn.zeros(0, {requires_grad = true})
    nn.cat({none, x}, 1):sum():backward()
    assert.same({0}, none.grad.shape)
    assert.is_true(x.grad:equal(nn.ones(2, 3)))
  end)

  it("a table with names is no list of dimensions", function()
    local fine, message = pcall(nn.ones(2).sum, nn.ones(2), {dim = "one"}, {dim = "one"})
    assert.is_false(fine)
    assert.matches("list of dimensions expected", message)
  end)
end)
