--- Elements of each dtype in plain Lua: what a number becomes when it is stored, and how dtypes meet.

local number = {}

number.dtypes = {"float32", "float64", "int64", "int32", "uint8", "bool", "bfloat16", "float16"}

-- Bits of the fraction, smallest exponent, largest value.
local formats = {
  float32 = {23, -126, 0x1.fffffep127},
  bfloat16 = {7, -126, 0x1.fep127},
  float16 = {10, -14, 65504.0},
}

-- kind: 1 bool, 2 integer, 3 float; size in bytes; what arithmetic runs in; step: the size of a rounding; least: the
-- smallest number above 0, which is the size of roundings next to it.
number.info = {
  float32 = {kind = 3, size = 4, compute = "float32", step = 2.0 ^ -23, least = 2.0 ^ -149},
  float64 = {kind = 3, size = 8, compute = "float64", step = 2.0 ^ -52, least = 2.0 ^ -1074},
  int64 = {kind = 2, size = 8, compute = "int64", step = 0},
  int32 = {kind = 2, size = 4, compute = "int64", step = 0},
  uint8 = {kind = 2, size = 1, compute = "int64", step = 0},
  bool = {kind = 1, size = 1, compute = "int64", step = 0},
  bfloat16 = {kind = 3, size = 2, compute = "float32", step = 2.0 ^ -7, least = 2.0 ^ -133},
  float16 = {kind = 3, size = 2, compute = "float32", step = 2.0 ^ -10, least = 2.0 ^ -24},
}

local function exponent_of(x)
  return ((string.unpack("<i8", string.pack("<d", x)) >> 52) & 0x7ff) - 1023
end

-- To the nearest with that many bits, halves to even.
local function rounded(x, format)
  if x ~= x or x == math.huge or x == -math.huge or x == 0 then return x end
  local e = exponent_of(x)
  if e < format[2] then e = format[2] end
  local unit = 2.0 ^ (e - format[1])
  local y = (x / unit + 0x1.8p52) - 0x1.8p52
  local result = y * unit
  if result == 0 then return x < 0 and -0.0 or 0.0 end
  if result > format[3] then return math.huge end
  if result < -format[3] then return -math.huge end
  return result
end

--- Towards zero; the smallest integer for what lies beyond the range, and for NaN.
function number.to_integer(x)
  if math.type(x) == "integer" then return x end
  if not (x >= -0x1p63 and x < 0x1p63) then return math.mininteger end
  return math.tointeger(x < 0 and math.ceil(x) or math.floor(x))
end

local function to_int32(x)
  if math.type(x) == "float" then
    if not (x > -0x1p31 - 1 and x < 0x1p31) then return -0x80000000 end
    x = number.to_integer(x)
  end
  return ((x + 0x80000000) & 0xffffffff) - 0x80000000
end

local store = {
  float64 = function(x) return x * 1.0 end,
  int64 = number.to_integer,
  int32 = to_int32,
  uint8 = function(x) return to_int32(x) & 0xff end,
  bool = function(x) return x ~= 0 and 1 or 0 end,
}
for name, format in pairs(formats) do
  store[name] = function(x) return rounded(x * 1.0, format) end
end

--- What is read after x has been stored: a float, an integer, or 0 and 1 for bool.
function number.stored(dtype, x) return store[dtype](x) end

--- The same of a number from a script: 16-bit floats are made of it by way of float32, as in PyTorch.
function number.written(dtype, x)
  return store[dtype](number.info[dtype].size == 2 and store.float32(x) or x)
end

--- Whether a script may write this number to an element of the dtype.
function number.holds(dtype, x)
  if dtype == "uint8" then return x > -256 and x < 256 end
  if dtype == "int32" then return x > -0x1p31 - 1 and x < 0x1p31 end
  if dtype == "int64" then return math.type(x) == "integer" or x >= -0x1p63 and x < 0x1p63 end
  return true
end

function number.is_float(dtype) return number.info[dtype].kind == 3 end

function number.promote(a, b)
  if a == b then return a end
  local x, y = number.info[a], number.info[b]
  if x.kind ~= y.kind then return x.kind > y.kind and a or b end
  if x.size == y.size then return "float32" end
  return x.size > y.size and a or b
end

-- The stronger one, unless the weaker one is of a higher kind.
function number.promote_ranked(strong, weak)
  return number.info[weak].kind > number.info[strong].kind and weak or strong
end

function number.of_number(x) return math.type(x) == "integer" and "int64" or "float32" end

function number.float_dtype(dtype) return number.is_float(dtype) and dtype or "float32" end

return number
