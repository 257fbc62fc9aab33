--- Statements of float64 operations that have gradients, made at random: rows of a weight and a function from the
-- source to a line, or to nil where nothing fits. Values stay small, and away from poles.

local model = require "model"

local rows = {}
local function add(weight, fn) rows[#rows + 1] = {weight, fn} end

local function is_float(t) return t._dtype == "float64" end
local function has_dims(t) return is_float(t) and #t._shape > 0 and model.numel(t._shape) > 0 end

local function assigned(s, text, ...) return s:target() .. " = " .. text:format(...) end

local function same_shape(shape)
  return function(t) return is_float(t) and model.same_shape(t._shape, shape) end
end

local function broadcasts_to(shape)
  return function(t) return is_float(t) and (pcall(model.expanded, t, shape)) end
end

local function dim(s, t) return s:chance(0.3) and -s:int(1, #t._shape) or s:int(1, #t._shape) end

-- ---- element by element

local smooth = {
  "%s:tanh()", "%s:sigmoid()", "%s:sin()", "%s:cos()", "%s:softplus()", "%s:silu()", "%s:gelu()", "%s:mish()",
  "%s:erf()",
  "%s:square()", "-%s", "%s:abs()", "%s:relu()", "%s:leaky_relu()", "%s:elu()", "%s:log_sigmoid()", "%s:hardtanh()",
  "%s:tanh():exp()", "%s:tanh():expm1()", "(%s:abs() + 0.5):log()", "(%s:abs() + 0.5):sqrt()",
  "(%s:abs() + 0.5):rsqrt()",
  "(%s:abs() + 0.5):reciprocal()", "%s:abs():log1p()", "%s:clamp(-0.75, 0.75)", "%s:floor()", "%s:sign()", "%s:clone()",
  "%s:contiguous()", "(%s:abs() + 0.5):log2()", "(%s:abs() + 0.5):log10()", "%s * 0.5", "1.5 - %s",
  "2 / (%s:abs() + 1)",
  "(%s:abs() + 0.5) ^ 1.5", "%s ^ 2", "2 ^ %s:tanh()", "%s %% 0.7", '%s:to("float64")', "%s:round()",
}
add(10, function(s) return assigned(s, s:pick(smooth), (s:variable(is_float))) end)

add(6, function(s)
  local name, t = s:variable(is_float)
  local other = s:variable(broadcasts_to(t._shape)) or name
  local form = s:pick{
    "%s + %s", "%s - %s", "%s * %s", "%s:maximum(%s)", "%s:minimum(%s)", "%s / (%s:abs() + 0.5)", "%s:atan2(%s + 3)",
    "(%s:abs() + 0.5) ^ %s:tanh()", "%s + %s", "%s * %s",
  }
  return assigned(s, form, name, other)
end)

add(2, function(s)
  local name, t = s:variable(is_float)
  local other = s:variable(broadcasts_to(t._shape)) or "0.5"
  return assigned(s, "nn.where(%s, %s, %s)", s:mask(s:smaller(t._shape)), name, other)
end)

add(1, function(s)
  local name, t = s:variable(is_float)
  return assigned(s, "%s:masked_fill(%s, 0.25)", name, s:mask(s:smaller(t._shape)))
end)

-- ---- views and parts

add(8, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local d = dim(s, t)
  local size = t._shape[d > 0 and d or d + #t._shape + 1]
  local kind = s:int(1, 9)
  if kind == 1 then return assigned(s, "%s:transpose(%d, %d)", name, d, dim(s, t)) end
  if kind == 2 then return assigned(s, "%s:permute(%s)", name, s:shape_text(s:order(#t._shape))) end
  if kind == 3 then return assigned(s, "%s:select(%d, %d)", name, d, s:int(1, size)) end
  if kind == 4 then
    local start = s:int(1, size)
    return assigned(s, "%s:narrow(%d, %d, %d)", name, d, start, s:int(1, size - start + 1))
  end
  if kind == 5 then return assigned(s, "%s:reshape({%d, -1})", name, s:pick{1, t._shape[1], model.numel(t._shape)}) end
  if kind == 6 then return assigned(s, "%s:unsqueeze(%d)", name, s:int(1, #t._shape + 1)) end
  if kind == 7 then return assigned(s, s:pick{"%s:squeeze()", "%s:flatten()"}, name) end
  if kind == 8 and #t._shape > 1 then return assigned(s, "%s:diagonal(%d)", name, s:int(-1, 1)) end
  return assigned(s, "%s:unfold(%d, %d, %d)", name, d, s:int(1, math.max(size, 1)), s:int(1, 2))
end)

add(1, function(s)
  local name, t = s:variable(is_float)
  local shape = model.copy_list(t._shape)
  for k = 1, #shape do shape[k] = shape[k] == 1 and s:int(1, 3) or shape[k] end
  if #shape < 3 then table.insert(shape, 1, s:int(1, 2)) end
  return assigned(s, "%s:expand(%s)", name, s:shape_text(shape))
end)

-- A key that leaves a dimension, so that the part is a tensor and in the graph.
local function key(s, t)
  local text = s:key(t)
  return text:find("{", 2, true) and text or "{{}}"
end

add(3, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local kind = s:int(1, 4)
  if kind == 1 then return assigned(s, "%s[%s]", name, s:mask(table.move(t._shape, 1, s:int(1, #t._shape), 1, {}))) end
  if kind == 2 then return assigned(s, "%s[%s]", name, s:positions({s:int(1, 3)}, t._shape[1])) end
  return assigned(s, "%s[%s]", name, key(s, t))
end)

-- ---- reductions, order

add(6, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local d = dim(s, t)
  local kind = s:int(1, 6)
  if kind == 1 then
    return assigned(s, "%s:%s(%d)", name, s:pick{"softmax", "log_softmax", "cumsum", "flip", "cumprod"}, d)
  end
  if kind == 2 then
    local first = s:target()
    local form = s:pick{"%s:max(%d, %s)", "%s:min(%d, %s)", "%s:sort(%d, %s)"}
    return first .. ", n = " .. form:format(name, d, s:flag())
  end
  if kind == 3 then return s:target() .. (", n = %s:topk(1, %d, %s)"):format(name, d, s:flag()) end
  local reduction = s:pick{"sum", "mean", "prod", "amax", "amin", "logsumexp", "sum", "norm", "var"}
  if reduction == "norm" then
    return assigned(s, "(%s + 4):norm(%s, %d, %s)", name, s:pick{"1", "2", "3", "math.huge"}, d, s:flag())
  end
  local dims = s:chance(0.3) and "nil" or tostring(d)
  if reduction == "var" then return assigned(s, "%s:var(%s, %s, false)", name, dims, s:flag()) end
  return assigned(s, "%s:%s(%s, %s)", name, reduction, dims, s:flag())
end)

-- ---- positions, joins, products

add(4, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local d = s:int(1, #t._shape)
  if s:chance(0.3) then
    return assigned(s, "%s:index_select(%d, %s)", name, d, s:positions({s:int(1, 4)}, t._shape[d]))
  end
  local shape = model.copy_list(t._shape)
  shape[d] = s:int(1, 3)
  if s:chance(0.4) then return assigned(s, "%s:gather(%d, %s)", name, d, s:positions(shape, t._shape[d])) end
  local source, other = s:variable(same_shape(t._shape))
  -- positions that differ, as which of two sources stays is nobody's business
  local index = ("nn.ones(%s, {dtype = \"int64\"}):cumsum(%d)"):format(s:shape_text(other._shape), d)
  if s:chance(0.5) then return assigned(s, "%s:scatter(%d, %s, %s)", name, d, index, source) end
  return assigned(s, "%s:scatter_add(%d, %s, %s)", name, d, s:positions(other._shape, t._shape[d]), source)
end)

add(1, function(s)
  local name, t = s:variable(has_dims)
  return name and assigned(s, "%s:masked_select(%s)", name, s:mask(s:smaller(t._shape)))
end)

add(3, function(s)
  local name, t = s:variable(is_float)
  local other = s:variable(same_shape(t._shape))
  if #t._shape > 0 and s:chance(0.6) then
    return assigned(s, "nn.cat({%s, %s, %s}, %d)", name, other, name, dim(s, t))
  end
  return assigned(s, "nn.stack({%s, %s}, %d)", name, other, s:int(1, #t._shape + 1))
end)

add(4, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local inner = t._shape[#t._shape]
  local other = s:variable(function(x) return has_dims(x) and x._shape[math.max(1, #x._shape - 1)] == inner end)
  if other and s:chance(0.8) then return assigned(s, "%s:matmul(%s)", name, other) end
  return assigned(s, "%s:matmul(%s:transpose(-1, %d))", name, name, -math.min(2, #t._shape))
end)

add(3, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local d = dim(s, t)
  local forms = {
    ("%s:roll(%d, %d)"):format(name, s:int(-2, 2), d), ("%s:movedim(%d, 1)"):format(name, d),
    ("%s:tile({2})"):format(name), ("%s:repeat_interleave(2, %d)"):format(name, d),
    ("%s:split(2, %d)[1]"):format(name, d), ("%s:chunk(2, %d)[1]"):format(name, d),
    ("%s:unbind(%d)[1]"):format(name, d),
  }
  if #t._shape > 1 then
    forms[#forms + 1] = ("%s:tril(%d)"):format(name, s:int(-1, 1))
    forms[#forms + 1] = ("%s:triu(%d)"):format(name, s:int(-1, 1))
  end
  if #t._shape == 2 then
    forms[#forms + 1] = ('nn.einsum("ij,kj->ik", %s, %s)'):format(name, name)
    forms[#forms + 1] = ('nn.einsum("ij->j", %s):clone()'):format(name)
  end
  return assigned(s, "%s", s:pick(forms))
end)

-- ---- changes in place

local changes = {
  "%s:tanh_()", "%s:mul_(0.5)", "%s:sigmoid_()", "%s:relu_()", "%s:add_(1)", "%s:square_()", "%s:sin_()", "%s:neg_()",
  "%s:div_(2)", "%s:exp_()", "%s:zero_()", "%s:fill_(0.5)",
}
rows.changes = {}
local function change(weight, fn) rows.changes[#rows.changes + 1] = {weight, fn} end

change(3, function(s) return s:pick(changes):format((s:variable(is_float))) end)

change(3, function(s)
  local name, t = s:variable(is_float)
  local other = s:variable(broadcasts_to(t._shape))
  local view = s:chance(0.2) and s:overlapping(name)
  return ("%s:%s(%s)"):format(name, s:pick{"add_", "mul_", "sub_", "copy_", "maximum_"}, view or other or "0.5")
end)

change(2, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local text = key(s, t)
  local ok, part = pcall(load(("return %s[%s]"):format(name, text), "=key", "t", s.env))
  if not ok or not model.is_tensor(part) then return nil end
  local other = s:variable(broadcasts_to(part._shape))
  return ("%s[%s] = %s"):format(name, text, other or "0.5")
end)

change(1, function(s)
  local name, t = s:variable(has_dims)
  if not name then return nil end
  local mask = s:mask(table.move(t._shape, 1, s:int(1, #t._shape), 1, {}))
  if s:chance(0.5) then return ("%s[%s] = 0.25"):format(name, mask) end
  return ("%s:masked_fill_(%s, 0.25)"):format(name, s:mask(s:smaller(t._shape)))
end)

-- Behind the graph's back. A constant is added, so that the right gradient is the same as if it had been seen.
change(2, function(s) return ("%s:detach():add_(%s)"):format((s:variable(is_float)), s:pick{"0.5", "-0.25"}) end)

return rows
