--- Statements of a program, made at random: rows of a weight and a function from the source (source.lua) to a line, or
-- to nil where nothing fits. Most lines fit the shapes; what does not must be an error.

local model = require "model"
local number = require "number"

local rows = {}
local function add(weight, fn) rows[#rows + 1] = {weight, fn} end

local function not_empty(t) return model.numel(t._shape) > 0 end
local function has_dims(t) return #t._shape > 0 end
local function is_small(t) return model.numel(t._shape) <= 5000 end

local function assigned(s, text, ...) return s:target() .. " = " .. text:format(...) end

-- A method with no further arguments, or in its form that changes the tensor.
local function call(s, name, method) return assigned(s, "%s:%s()", name, method) end

-- ---- new ones

add(6, function(s)
  return assigned(s, "%s", s:fresh(s:new_shape(), s:dtype()))
end)

add(2, function(s)
  local name = s:variable()
  return assigned(s, s:pick{"%s:clone()", "%s:contiguous()", "%s:detach()", "%s:to(%q)", "%s:to(%q)"}, name, s:dtype())
end)

-- ---- element by element

local unary = {
  "neg", "abs", "sign", "square", "relu", "floor", "ceil", "trunc", "round", "exp", "expm1", "log", "log1p", "log2",
  "log10", "sqrt", "rsqrt", "reciprocal", "sin", "cos", "tanh", "sigmoid", "erf", "log_sigmoid", "silu", "gelu", "mish",
  "softplus",
  "leaky_relu", "elu", "hardtanh",
}

add(5, function(s) return call(s, s:variable(), s:pick(unary)) end)
add(4, function(s) return ("%s:%s_()"):format(s:variable(), s:pick(unary)) end)
add(1, function(s) return call(s, s:variable(), s:pick{"isnan", "isinf", "isfinite", "logical_not"}) end)
add(1, function(s)
  local name, t = s:variable()
  local low = number.is_float(t._dtype) and s:pick{"-0.5", "nil", "0"} or s:pick{"-1", "nil", "0"}
  return assigned(s, "%s:clamp(%s, %s)", name, low, s:pick{"1", "2"})
end)

local binary = {
  "add", "sub", "mul", "div", "maximum", "minimum", "floor_divide", "remainder", "atan2", "add", "sub", "mul", "pow",
}
local comparisons = {"eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"}
local operators = {"+", "-", "*", "/", "%", "//", "^"}

add(8, function(s)
  local name, t = s:variable()
  local method = s:chance(0.2) and s:pick(comparisons) or s:pick(binary)
  local other = s:chance(0.2) and s:scalar() or s:operand(t._shape)
  if s:chance(0.2) then return assigned(s, "%s %s %s", name, s:pick(operators), other) end
  if s:chance(0.1) then return assigned(s, "%s %s %s", s:scalar(), s:pick(operators), name) end
  return assigned(s, "%s:%s(%s)", name, method, other)
end)

add(9, function(s)
  local name, t = s:variable()
  local other = s:chance(0.2) and s:scalar() or s:operand(t._shape, s:chance(0.6) and t._dtype or nil, name)
  return ("%s:%s_(%s)"):format(name, s:pick(binary), other)
end)

add(2, function(s)
  local name, t = s:variable()
  local other = s:chance(0.3) and s:scalar() or s:operand(t._shape)
  local mask = s:mask(s:smaller(t._shape))
  if s:chance(0.5) then return assigned(s, "%s:where(%s, %s)", name, mask, other) end
  return assigned(s, "nn.where(%s, %s, %s)", mask, name, other)
end)

add(3, function(s)
  local name, t = s:variable()
  local mask, value = s:mask(s:smaller(t._shape)), s:scalar()
  if s:chance(0.5) then return ("%s:masked_fill_(%s, %s)"):format(name, mask, value) end
  return assigned(s, "%s:masked_fill(%s, %s)", name, mask, value)
end)

-- ---- views

local function factored(s, n)
  local shape = {}
  while n > 1 and #shape < 3 do
    local divisors = {}
    for k = 1, math.min(n, 64) do
      if n % k == 0 then divisors[#divisors + 1] = k end
    end
    shape[#shape + 1] = s:pick(divisors)
    n = n // shape[#shape]
  end
  table.insert(shape, s:int(1, #shape + 1), n)
  return shape
end

add(5, function(s)
  local name, t = s:variable()
  local shape = not_empty(t) and factored(s, model.numel(t._shape)) or s:order(0)
  if #shape > 0 and s:chance(0.3) then shape[s:int(1, #shape)] = -1 end
  if s:sloppy() then shape[1] = (shape[1] or 1) + 1 end
  return assigned(s, "%s:%s(%s)", name, s:pick{"view", "reshape", "reshape"}, s:shape_text(shape))
end)

add(5, function(s)
  local name, t = s:variable(function(x) return s:sloppy() or #x._shape > 1 end)
  if not name then return nil end
  if #t._shape == 2 and s:chance(0.4) then return assigned(s, "%s:t()", name) end
  if s:chance(0.5) then return assigned(s, "%s:transpose(%d, %d)", name, s:dim(t), s:dim(t)) end
  return assigned(s, "%s:permute(%s)", name, s:shape_text(s:order(#t._shape)))
end)

add(4, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local d = s:dim(t)
  local size = t._shape[d > 0 and d or d + #t._shape + 1] or 1
  if s:chance(0.4) then
    return assigned(s, "%s:select(%d, %d)", name, d, s:sloppy() and size + 1 or s:int(1, math.max(size, 1)))
  end
  local start = s:int(1, math.max(size, 1))
  local length = s:int(s:sloppy() and -1 or 0, math.max(size - start + 1, 0))
  return assigned(s, "%s:narrow(%d, %d, %d)", name, d, start, length)
end)

add(2, function(s)
  local name, t = s:variable()
  local kind = s:int(1, 4)
  if kind == 1 then return assigned(s, "%s:unsqueeze(%d)", name, s:dim(t, 1)) end
  if kind == 2 then return assigned(s, "%s:squeeze(%s)", name, s:dims(t)) end
  if kind == 3 then return assigned(s, "%s:flatten(%d, %d)", name, s:dim(t), s:dim(t)) end
  return assigned(s, "%s:flatten()", name)
end)

add(2, function(s)
  local name, t = s:variable(is_small)
  if not name then return nil end
  local shape = model.copy_list(t._shape)
  for d = 1, #shape do
    if shape[d] == 1 then shape[d] = s:pick{1, 2, 3, 0} elseif s:chance(0.2) then shape[d] = -1 end
  end
  if #shape < 4 and s:chance(0.3) then table.insert(shape, 1, s:int(1, 3)) end
  if s:sloppy() and #shape > 0 then shape[#shape] = 7 end
  return assigned(s, "%s:expand(%s)", name, s:shape_text(shape))
end)

add(1, function(s)
  local name, t = s:variable(function(x) return #x._shape > 1 end)
  if not name then return nil end
  local order = s:order(#t._shape)
  return assigned(s, "%s:diagonal(%d, %d, %d)", name, s:int(-2, 2), order[1], order[2])
end)

add(1, function(s)
  local name, t = s:variable(has_dims)
  if not name or #t._shape > 5 then return nil end
  return assigned(s, "%s:unfold(%d, %d, %d)", name, s:dim(t), s:int(1, 3), s:int(1, 3))
end)

-- ---- indexing

add(5, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  if s:chance(0.2) then return assigned(s, "%s[%d]", name, s:int(-1, 3)) end
  return assigned(s, "%s[%s]", name, s:key(t))
end)

add(3, function(s)
  local name, t = s:variable(function(x) return has_dims(x) and is_small(x) end)
  if not name then return nil end
  if s:chance(0.5) then
    local depth = s:int(1, #t._shape)
    return assigned(s, "%s[%s]", name, s:mask(table.move(t._shape, 1, depth, 1, {})))
  end
  return assigned(s, "%s[%s]", name, s:positions(s:shape(s:int(0, 2)), t._shape[1]))
end)

-- The shape of what a key, or a tensor as a key, picks: taken from the reference.
local function picked(s, name, key)
  local chunk = load(("return %s[%s]"):format(name, key), "=key", "t", s.env)
  local ok, part = pcall(chunk)
  return ok and model.is_tensor(part) and part._shape or {}
end

add(6, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local key = s:key(t)
  local alias = s:chance(0.2) and name or nil
  local value = s:chance(0.3) and s:number(t._dtype) or s:operand(picked(s, name, key), nil, alias)
  return ("%s[%s] = %s"):format(name, key, value)
end)

add(4, function(s)
  local name, t = s:variable(function(x) return has_dims(x) and is_small(x) end)
  if not name then return nil end
  local key = s:chance(0.5) and s:mask(table.move(t._shape, 1, s:int(1, #t._shape), 1, {}))
    or s:positions(s:shape(1), t._shape[1])
  local value = s:chance(0.4) and s:number(t._dtype) or s:operand(picked(s, name, key))
  return ("%s[%s] = %s"):format(name, key, value)
end)

add(4, function(s)
  local name, t = s:variable()
  if s:chance(0.2) then return ("%s:zero_()"):format(name) end
  if s:chance(0.2) then return ("%s:fill_(%s)"):format(name, s:scalar()) end
  return ("%s:copy_(%s)"):format(name, s:operand(t._shape, nil, name))
end)

-- A part written from another part of the same memory, one step further.
add(2, function(s)
  local name, t = s:variable(function(x) return has_dims(x) and x._shape[1] > 1 end)
  if not name then return nil end
  local n, up = t._shape[1], s:int(0, 1)
  return ("%s:narrow(1, %d, %d):%s(%s:narrow(1, %d, %d))"):format(
    name, 1 + up, n - 1, s:pick{"copy_", "add_", "mul_", "sub_"}, name, 2 - up, n - 1)
end)

-- ---- reductions

local reductions = {"sum", "mean", "prod", "all", "any", "amax", "amin", "var", "std", "sum", "logsumexp"}

add(7, function(s)
  local name, t = s:variable()
  local kind = s:int(1, 6)
  if kind == 1 then return assigned(s, "%s:%s(%d, %s)", name, s:pick{"argmax", "argmin"}, s:dim(t), s:flag()) end
  if kind == 2 then
    if s:chance(0.3) then return call(s, name, s:pick{"max", "min", "argmax", "argmin"}) end
    local first = s:target()
    return ("%s, %s = %s:%s(%d, %s)"):format(first, s:target(), name, s:pick{"max", "min"}, s:dim(t), s:flag())
  end
  if kind == 3 and s:chance(0.5) then return assigned(s, "%s:count_nonzero(%s)", name, s:dims(t)) end
  if kind == 4 and s:chance(0.5) then
    local p = s:pick{"nil", "1", "2", "3", "math.huge", "-math.huge", "0.5"}
    return assigned(s, "%s:norm(%s, %s, %s)", name, p, s:dims(t), s:flag())
  end
  return assigned(s, "%s:%s(%s, %s)", name, s:pick(reductions), s:dims(t), s:flag())
end)

add(3, function(s)
  local name, t = s:variable(function(x) return number.is_float(x._dtype) end)
  if not name then return nil end
  return assigned(s, "%s:%s(%d)", name, s:pick{"softmax", "log_softmax"}, s:dim(t))
end)

add(3, function(s)
  local name, t = s:variable()
  local kind = s:int(1, 4)
  if kind == 1 then return assigned(s, "%s:argsort(%d, %s)", name, s:dim(t), s:flag()) end
  if kind == 2 then return assigned(s, "%s:%s(%d)", name, s:pick{"cumsum", "cumprod"}, s:dim(t)) end
  local first = s:target()
  if kind == 3 then return ("%s, %s = %s:sort(%d, %s)"):format(first, s:target(), name, s:dim(t), s:flag()) end
  return ("%s, %s = %s:topk(%d, %d, %s)"):format(first, s:target(), name, s:int(0, 3), s:dim(t), s:flag())
end)

add(1, function(s)
  local name, t = s:variable(has_dims)
  return name and assigned(s, "%s:flip(%d)", name, s:dim(t))
end)

-- ---- positions, joins, products

local function index_shape(s, t, d)
  local shape = model.copy_list(t._shape)
  for k = 1, #shape do
    if k == d then shape[k] = s:int(0, 4) elseif s:chance(0.3) then shape[k] = s:int(0, shape[k]) end
  end
  return shape
end

add(5, function(s)
  local name, t = s:variable(function(x) return has_dims(x) and is_small(x) end)
  if not name then return nil end
  local d = s:int(1, #t._shape)
  if s:chance(0.3) then
    local index = s:positions({s:int(0, 4)}, t._shape[d])
    return index and assigned(s, "%s:index_select(%d, %s)", name, d, index)
  end
  local shape = index_shape(s, t, d)
  local index = s:positions(shape, t._shape[d])
  if not index then return nil end
  if s:chance(0.4) then return assigned(s, "%s:gather(%d, %s)", name, d, index) end
  local source = s:chance(0.3) and s:scalar() or s:fresh(shape, s:sloppy() and s:dtype() or t._dtype)
  local method = s:pick{"scatter", "scatter_add"}
  if s:chance(0.4) then return ("%s:%s_(%d, %s, %s)"):format(name, method, d, index, source) end
  return assigned(s, "%s:%s(%d, %s, %s)", name, method, d, index, source)
end)

add(1, function(s)
  local name, t = s:variable(is_small)
  return name and assigned(s, "%s:masked_select(%s)", name, s:mask(s:smaller(t._shape)))
end)

add(3, function(s)
  local name, t = s:variable(is_small)
  if not name then return nil end
  local items, d = {name}, s:dim(t)
  for i = 2, s:int(1, 4) do
    local shape = model.copy_list(t._shape)
    local at = d < 0 and d + #shape + 1 or d
    if shape[at] then shape[at] = s:int(0, 3) end
    local other = s:variable(function(x) return model.same_shape(x._shape, t._shape) end)
    items[i] = other and s:chance(0.5) and other or s:fresh(s:chance(0.1) and {0} or shape, s:dtype())
  end
  return assigned(s, "nn.cat({%s}, %d)", table.concat(items, ", "), d)
end)

add(2, function(s)
  local name, t = s:variable(is_small)
  if not name or #t._shape > 4 then return nil end
  local other = s:variable(function(x) return model.same_shape(x._shape, t._shape) end)
  return assigned(s, "nn.stack({%s, %s}, %d)", name, s:sloppy() and s:variable() or other, s:dim(t, 1))
end)

add(4, function(s)
  local name, t = s:variable(function(x) return has_dims(x) and is_small(x) end)
  if not name then return nil end
  local inner = t._shape[#t._shape]
  local shape = s:pick{{inner}, {inner, s:int(0, 4)}, {inner, s:int(1, 3)}, {s:int(1, 3), inner, s:int(1, 3)}}
  if #t._shape > 2 and #shape > 2 then shape[1] = s:pick{1, t._shape[#t._shape - 2]} end
  local other = s:chance(0.3) and s:variable(function(x)
    return has_dims(x) and is_small(x) and x._dtype == t._dtype and x._shape[math.max(1, #x._shape - 1)] == inner
  end)
  other = other or s:fresh(shape, s:sloppy() and s:dtype() or t._dtype)
  return assigned(s, "%s:%s(%s)", name, s:pick{"matmul", "matmul", "matmul", "mm", "mv", "bmm", "dot", "outer"}, other)
end)

-- ---- order, repetition, slices

add(4, function(s)
  local name, t = s:variable(function(x) return has_dims(x) and is_small(x) end)
  if not name then return nil end
  local d = s:dim(t)
  local forms = {
    ("%s:roll(%d, %d)"):format(name, s:int(-3, 3), d), ("%s:roll(%d)"):format(name, s:int(-3, 3)),
    ("%s:movedim(%d, %d)"):format(name, d, s:dim(t)), ("%s:tile({%d, %d})"):format(name, s:int(0, 2), s:int(1, 2)),
    ("%s:repeat_interleave(%d, %d)"):format(name, s:int(0, 3), d), ("%s:repeat_interleave(2)"):format(name),
    ("%s:tril(%d)"):format(name, s:int(-2, 2)), ("%s:triu(%d)"):format(name, s:int(-2, 2)), ("%s:trace()"):format(name),
    ("%s:split(%d, %d)[1]"):format(name, s:int(1, 3), d), ("%s:chunk(%d, %d)[1]"):format(name, s:int(1, 3), d),
    ("%s:unbind(%d)[1]"):format(name, d),
  }
  return assigned(s, "%s", s:pick(forms))
end)

add(3, function(s)
  local name, t = s:variable(function(x) return has_dims(x) and is_small(x) end)
  if not name then return nil end
  local d, n = s:int(1, #t._shape), s:int(0, 3)
  local shape = model.copy_list(t._shape)
  shape[d] = n
  local index = s:positions({n}, t._shape[d])
  local source = s:fresh(shape, s:sloppy() and s:dtype() or t._dtype)
  local method = s:pick{"index_add", "index_copy", "index_fill", "masked_scatter"}
  local in_place = s:chance(0.5)
  local arguments = method == "index_fill" and ("%d, %s, %d"):format(d, index, s:int(0, 3))
    or method == "masked_scatter" and ("%s, %s"):format(s:mask(s:smaller(t._shape)), s:fresh({12}, t._dtype))
    or ("%d, %s, %s"):format(d, index, source)
  if in_place then return ("%s:%s_(%s)"):format(name, method, arguments) end
  return assigned(s, "%s:%s(%s)", name, method, arguments)
end)

-- A clone, as the result may be a view or lie in any order.
local equations = {
  {"ij,jk->ik", 2}, {"ij,kj->ik", 2}, {"ij->ji", 2}, {"ij->i", 2}, {"ii->i", 2}, {"ii->", 2}, {"ij,ij->ij", 2},
  {"ij,ij->", 2},
  {"i,j->ij", 1}, {"i,i->", 1}, {"bij,bjk->bik", 3}, {"bij->bji", 3}, {"bij,bij->b", 3}, {"ijk->k", 3},
}

add(2, function(s)
  local row = s:pick(equations)
  local function fits(x) return #x._shape == row[2] and model.numel(x._shape) < 200 end
  local name, t = s:variable(fits)
  if not name then return nil end
  if not row[1]:find(",", 1, true) then return assigned(s, "nn.einsum(%q, %s):clone()", row[1], name) end
  local other = s:variable(function(x) return fits(x) and x._dtype == t._dtype end)
  return assigned(s, "nn.einsum(%q, %s, %s):clone()", row[1], name, other)
end)

-- ---- what is wrong whatever the tensors are

local wrong = {
  '%s:sum("x")', "%s:add({})", "%s:add()", "%s:reshape(-2)", "%s:reshape(-1, -1)", "nn.cat({})", "nn.cat({%s, 1})",
  "%s:narrow(1, math.maxinteger, 1)", "%s:narrow(1, 1, math.maxinteger)", "%s:select(1, math.mininteger)",
  "%s:topk(math.maxinteger)", "%s:expand(math.maxinteger, math.maxinteger)", "nn.zeros(math.maxinteger, 4)",
  "nn.zeros(-1)", "nn.zeros(1 << 40, 1 << 20)", '%s:to("float")', "%s:permute(1, 1, 1, 1, 1, 1, 1, 1, 1)",
  "%s:view({1.5})", "%s:sum(2.5)", "%s:sum(1, 2)", "%s:add(1, 2, 3, 4)",
  '%s:sum(1, {keepdims = true})', "%s:reshape(1 << 32, 1 << 32, 1, 3)", "%s[nil]",
  "%s[{}][{{1, 2, 3, 4}}]", '%s[{"a"}]', "%s:gather(1, 5)", "%s:index_select(1, {1, 2})", "%s:where(%s, %s, %s)",
  "%s:squeeze(9)", "%s:transpose(1)", "%s:matmul(2)", "nn.stack({%s}, 9)", "%s:item(1):x()", "%s:no_such_method()",
  "%s:masked_fill(1, 2)", '%s:softmax("last")', "nn.tensor({{1, 2}, {3}})", "nn.arange(0, 1 << 62)",
  "%s:unsqueeze(9)", "%s:unflatten(9, {1})", "%s:copy_(3)", "%s:fill_({})", "%s:argmax(1.5)", "nn.full({2}, {})",
  "nn.eye(-3)", "nn.linspace(0, 1, -2)", 'nn.from_bytes("abc", {1})', "%s:flatten(9, 1)", "%s:sort(1, 1)",
  "%s:backward()", "nn.grad(%s, %s)", "%s:register_hook(print)", "%s:index_add(9, %s, %s)", "%s:scatter(1, %s)",
  "%s:roll({1, 2}, 1)", 'nn.einsum("ij->k", %s)', 'nn.einsum("->")', "%s:repeat_interleave(-1)", "%s:tile({-1})",
  "%s:unfold(1, -1, 0)", "%s:chunk(0)", "%s:split(-1)", "%s:diagonal(0, 1, 1)", "nn.functional.linear(%s)",
  "nn.where(%s, 1)", "%s:clamp()", '%s:gelu("x")', "%s:allclose(1)", "%s:equal({})",
  "nn.ones({1, 2, 3, 4, 5, 6, 7, 8, 9, 10})", "nn.randint(5, 1, {2})", "nn.randperm(-1)", "%s:size(99)",
}

--- A line that must be an error in the engine, whatever came before.
function rows.wrong(s) return s:target() .. " = " .. s:pick(wrong):gsub("%%s", (s:variable() or "nn.ones(2)")) end

return rows
