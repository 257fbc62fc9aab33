--- Tensors as text, and the options of it.

require "nnlua"
local core = require "nnlua.core"

local function text_of(value, dtype)
  return tostring(core.tensor(value, dtype and { dtype = dtype }))
end

describe("a tensor as text", function()
  after_each(function() core.set_print_options() end)

  it("tells elements, shape and dtype", function()
    assert.equal("tensor([[1.5000, 2.2500],\n        [3.0000, 4.0000]], shape (2, 2), float32)",
      text_of { { 1.5, 2.25 }, { 3, 4 } })
  end)

  it("aligns columns", function()
    assert.equal("tensor([[ 1.5000, -2.0000],\n        [10.0000,  0.2500]], shape (2, 2), float32)",
      text_of { { 1.5, -2 }, { 10, 0.25 } })
    assert.equal("tensor([[  1,  20],\n        [300,  -4]], shape (2, 2), int64)",
      text_of({ { 1, 20 }, { 300, -4 } }, "int64"))
  end)

  it("writes whole floats with a point and no digits behind it", function()
    assert.equal("tensor([1., 2., 3.], shape (3), float32)", text_of { 1, 2, 3 })
    assert.equal("tensor([-0.,  1.], shape (2), float32)", text_of { -0.0, 1 })
  end)

  it("writes booleans as Lua does", function()
    assert.equal("tensor([ true, false], shape (2), bool)", text_of { true, false })
  end)

  it("writes NaN and infinities among numbers", function()
    assert.equal("tensor([   nan,    inf,   -inf, 1.5000], shape (4), float32)",
      text_of { 0 / 0, 1 / 0, -1 / 0, 1.5 })
    assert.equal("tensor([nan,  1.], shape (2), float32)", text_of { 0 / 0, 1 })
  end)

  it("writes one number without brackets", function()
    assert.equal("tensor(2.5000, shape (), float32)", text_of(2.5))
    assert.equal("tensor(7, shape (), int64)", text_of(7, "int64"))
  end)

  it("writes no element as an empty list", function()
    assert.equal("tensor([], shape (0, 3), float32)", tostring(core.zeros(0, 3)))
    assert.equal("tensor([], shape (1000000000, 0), float32)", tostring(core.zeros(1000000000, 0)))
  end)

  it("is scientific only where fixed digits cannot show the numbers", function()
    assert.equal("tensor([1.0000e-05, 1.0000e+00], shape (2), float64)", text_of({ 1e-5, 1 }, "float64"))
    assert.equal("tensor([1.0000e+08, 2.5000e+00], shape (2), float64)", text_of({ 1e8 + 1, 2.5 }, "float64"))
    assert.equal("tensor([1.2346e+04, 2.5000e-01], shape (2), float64)", text_of({ 12345.5, 0.25 }, "float64"))
    assert.equal("tensor([250.0000,   0.2500], shape (2), float64)", text_of({ 250, 0.25 }, "float64"))
    assert.equal("tensor([1.0000e-04, 5.0000e-02], shape (2), float32)", text_of { 1e-4, 0.05 })
    assert.equal("tensor([0.0001, 0.0500], shape (2), float64)", text_of({ 1e-4, 0.05 }, "float64"))
  end)

  it("writes whole floats in full up to a hundred million, however far apart", function()
    assert.equal("tensor([100000000.,         2.], shape (2), float64)", text_of({ 1e8, 2 }, "float64"))
    assert.equal("tensor([1.0000e+09, 2.0000e+00], shape (2), float64)", text_of({ 1e9, 2 }, "float64"))
    assert.equal("tensor([       0., 12345678.], shape (2), float32)", text_of { 0, 12345678 })
  end)

  it("shows half floats in their own precision", function()
    assert.equal("tensor([0.1001, 1.0000], shape (2), bfloat16)", text_of({ 0.1, 1 }, "bfloat16"))
  end)

  it("shows the ends of what is large", function()
    assert.equal("tensor([   1,    2,    3, ..., 1999, 2000, 2001], shape (2001), int64)",
      tostring(core.arange(1, 2002, { dtype = "int64" })))
    local lines = {}
    for line in (tostring(core.zeros(50, 50)) .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
    assert.equal(7, #lines)
    assert.equal("tensor([[0., 0., 0., ..., 0., 0., 0.],", lines[1])
    assert.equal("        ...,", lines[4])
    assert.equal("        [0., 0., 0., ..., 0., 0., 0.]], shape (50, 50), float32)", lines[7])
  end)

  it("separates matrices by an empty line", function()
    assert.equal("tensor([[[0., 0.]],\n\n        [[0., 0.]]], shape (2, 1, 2), float32)",
      tostring(core.zeros(2, 1, 2)))
  end)

  it("wraps rows at the width of a line", function()
    for line in tostring(core.zeros(2, 100)):gmatch "[^\n]+" do assert.is_true(#line <= 80, line) end
    local lines = {}
    for line in tostring(core.full({ 1, 30 }, -1.5)):gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.equal(80, #lines[1]) -- eight of them fill the line
    core.set_print_options { linewidth = 20 }
    assert.equal("tensor([1., 2., 3.,\n        4., 5.],\n       shape (5), float32)", text_of { 1, 2, 3, 4, 5 })
  end)

  it("tells shape and dtype on a line of their own where they do not fit behind the elements", function()
    assert.equal("tensor([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], shape (16), int64)",
      tostring(core.zeros(16, { dtype = "int64" })))
    assert.equal("tensor([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],\n       shape (20), int64)",
      tostring(core.zeros(20, { dtype = "int64" })))
  end)

  it("follows strides", function()
    assert.equal("tensor([[1., 3.],\n        [2., 4.]], shape (2, 2), float32)",
      tostring(core.tensor({ { 1, 2 }, { 3, 4 } }):transpose(1, 2)))
  end)

  it("says that a gradient is wanted", function()
    assert.truthy(tostring(core.ones(2, { requires_grad = true })):find(", requires_grad)", 1, true))
  end)

  it("takes precision, threshold and edge items as options", function()
    core.set_print_options { precision = 2, threshold = 5, edgeitems = 1 }
    assert.equal("tensor([0.50, ..., 1.25], shape (6), float32)", text_of { 0.5, 2, 3, 4, 5, 1.25 })
    core.set_print_options { precision = 1 }
    assert.equal("tensor([0.5, ..., 1.2], shape (6), float32)", text_of { 0.5, 2, 3, 4, 5, 1.25 })
    core.set_print_options()
    assert.equal("tensor([0.5000], shape (1), float32)", text_of { 0.5 })
  end)

  it("takes a profile for all of them, and options beside it", function()
    core.set_print_options { profile = "short" }
    assert.equal("tensor([0.50, 2.25], shape (2), float32)", text_of { 0.5, 2.25 })
    assert.truthy(tostring(core.zeros(2000)):find("[0., 0., ..., 0., 0.]", 1, true))
    core.set_print_options { profile = "full", precision = 1 }
    assert.equal("tensor([0.5], shape (1), float32)", text_of { 0.5 })
    assert.is_nil(tostring(core.zeros(2000)):find("...", 1, true))
    core.set_print_options { profile = "default" }
    assert.equal("tensor([0.5000], shape (1), float32)", text_of { 0.5 })
    core.set_print_options { threshold = math.huge }
    assert.is_nil(tostring(core.zeros(2000)):find("...", 1, true))
  end)

  it("is scientific always or never if told to", function()
    core.set_print_options { sci_mode = true }
    assert.equal("tensor([1.0000e+00], shape (1), float32)", text_of { 1 })
    core.set_print_options { sci_mode = false }
    assert.equal("tensor([0.0000, 0.5000], shape (2), float32)", text_of { 1e-7, 0.5 })
    core.set_print_options { sci_mode = "auto" }
    assert.equal("tensor([1.], shape (1), float32)", text_of { 1 })
  end)

  it("refuses options that make no sense, and changes nothing then", function()
    assert.has_error(function() core.set_print_options { precision = 99 } end)
    assert.error_matches(function() core.set_print_options { precison = 2 } end, "unknown option 'precison'")
    assert.error_matches(function() core.set_print_options { edgeitems = 0 } end, "edgeitems must be an integer")
    assert.error_matches(function() core.set_print_options { threshold = -1 } end,
      "threshold must be an integer from 0 on, got %-1")
    assert.error_matches(function() core.set_print_options { linewidth = "80" } end,
      "linewidth must be an integer from 1 on, got string")
    assert.error_matches(function() core.set_print_options { precision = 2.5 } end,
      "precision must be an integer from 0 to 16, got 2.5")
    assert.error_matches(function() core.set_print_options { profile = "long" } end,
      'profile must be "default", "short" or "full", got long')
    assert.error_matches(function() core.set_print_options(4) end, "table of options expected, got number")
    assert.error_matches(function() core.set_print_options { sci_mode = "no" } end, "sci_mode must be")
    assert.equal("tensor([0.5000], shape (1), float32)", text_of { 0.5 })
  end)
end)
