--- Sequences of different lengths: filling them up to one length, masks for that, cutting a stream of tokens into rows.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local sequences = {}

local sides = { right = "right", left = "left" }

-- The items as tensors; lists of numbers are ids.
local function as_tensors(who, list)
  if type(list) ~= "table" or core.is_tensor(list) then check.expect(who, "sequences", list, "a list of tensors") end
  if #list == 0 then check.expect(who, "sequences", list, "at least one") end
  local tensors = {}
  for i = 1, #list do
    local item = list[i]
    if type(item) == "table" and not core.is_tensor(item) then item = core.tensor(item, { dtype = "int64" }) end
    check.tensor(who, ("sequence %d"):format(i), item)
    if item.ndim == 0 then check.expect(who, ("sequence %d"):format(i), item, "at least one dimension") end
    tensors[i] = item
  end
  return tensors
end

local function longest_of(tensors)
  local longest = 0
  for _, t in ipairs(tensors) do longest = math.max(longest, #t) end
  return longest
end

local function check_alike(who, tensors)
  local first = tensors[1]
  for i, t in ipairs(tensors) do
    local same = t.ndim == first.ndim
    for d = 2, first.ndim do same = same and t:size(d) == first:size(d) end
    if not same then
      check.fail(who, ("sequence %d: expected (*, ...) as in %s, got %s"):format(
        i, check.shape(first.shape), check.shape(t.shape)))
    end
  end
end

local pad_options = { value = "number", length = "count", side = "string", dtype = "string" }

--- Sequences as one tensor, the shorter ones filled up. What is longer than `length` is cut.
-- @param list list of tensors (T) or (T, ...), or of lists of ids
-- @param options table? value (what they are filled with: 1 in integers, which is the pad token of a vocabulary here; 0
-- in floats), length (that of the longest), side ("right"; "left": where they are filled), dtype
-- @return tensor (N, length, ...), and the lengths (N), int64: what layers such as nn.LSTM take as `lengths`
function sequences.pad(list, options)
  local who = "nn.text.pad"
  options = check.options(who, options, pad_options)
  local side = check.choice(who, "option side", options.side or "right", sides)
  local tensors = as_tensors(who, list)
  check_alike(who, tensors)
  local first, columns = tensors[1], options.length or longest_of(tensors)
  local dtype = options.dtype or first.dtype
  local value = options.value or (dtype:find("int") and 1 or 0)
  local shape = first.shape
  shape[1] = columns
  table.insert(shape, 1, #tensors)
  local padded, lengths = core.full(shape, value, { dtype = dtype }), {}
  for i, t in ipairs(tensors) do
    local count = math.min(#t, columns)
    lengths[i] = count
    if count > 0 then
      padded:select(1, i):narrow(1, side == "left" and columns - count + 1 or 1, count):copy_(t:narrow(1, 1, count))
    end
  end
  return padded, core.tensor(lengths, { dtype = "int64" })
end

--- Take the filling away again.
-- @param padded tensor (N, T, ...), filled on the right
-- @param lengths tensor (N) or list of integers
-- @return list of views (length, ...)
function sequences.unpad(padded, lengths)
  local who = "nn.text.unpad"
  check.tensor(who, "padded", padded)
  if core.is_tensor(lengths) then lengths = lengths:tolist() end
  if type(lengths) ~= "table" or #lengths ~= #padded then
    check.expect(who, "lengths", lengths, ("a length for each of %d rows"):format(#padded))
  end
  local list = {}
  for i, length in ipairs(lengths) do list[i] = padded:select(1, i):narrow(1, 1, length) end
  return list
end

-- ---- masks: true is what attention must not look at, as in layers

local mask_options = { length = "count", side = "string" }

--- Which places are filling: the key_padding_mask of attention.
-- @param lengths tensor (N) or list of integers
-- @param options table? length (columns: the largest length), side ("right"; "left")
-- @return tensor (N, T), bool: true where there is nothing
function sequences.padding_mask(lengths, options)
  local who = "nn.text.padding_mask"
  if type(lengths) == "table" and not core.is_tensor(lengths) then
    lengths = core.tensor(lengths, { dtype = "int64" })
  end
  check.tensor(who, "lengths", lengths)
  options = check.options(who, options, mask_options)
  local side = check.choice(who, "option side", options.side or "right", sides)
  local columns = options.length or (#lengths > 0 and lengths:max():item() or 0)
  if columns == 0 then return core.zeros({ #lengths, 0 }, { dtype = "bool" }) end
  local places = core.range(1, columns, { dtype = "int64" }):unsqueeze(1)
  local limits = lengths:to("int64"):unsqueeze(2)
  if side == "right" then return places:gt(limits) end
  return places:le(columns - limits)
end

--- Which places a token must not look at because they come later: an attn_mask.
-- @param size integer
-- @return tensor (size, size), bool: true above the diagonal
function sequences.causal_mask(size)
  if not compat.is_whole(size) or size < 1 then check.expect("nn.text.causal_mask", "size", size, "a count") end
  return core.ones({ size, size }):triu(1):bool()
end

-- ---- rows of one length from many texts

local pack_options = { eos = "count", drop_last = "boolean", value = "number" }

--- Join sequences of ids and cut the stream into rows, for language models: no place is filling but at the end.
-- @param list list of tensors (T), or one
-- @param length integer of a row
-- @param options table? eos (an id between them), drop_last (true: what does not fill a row is left out; false: it is
-- filled up with `value`), value (1)
-- @return tensor (N, length), int64
function sequences.pack(list, length, options)
  local who = "nn.text.pack"
  options = check.options(who, options, pack_options)
  if not compat.is_whole(length) or length < 1 then check.expect(who, "length", length, "a count") end
  local parts = {}
  for _, t in ipairs(as_tensors(who, core.is_tensor(list) and { list } or list)) do
    if t.ndim ~= 1 then check.fail(who, ("expected ids (T), got %s"):format(check.shape(t.shape))) end
    parts[#parts + 1] = t:to("int64")
    if options.eos then parts[#parts + 1] = core.tensor({ options.eos }, { dtype = "int64" }) end
  end
  local stream = core.cat(parts, 1)
  local rest = #stream % length
  local rows = (#stream - rest) / length
  if rest > 0 and options.drop_last == false then
    local filling = core.full({ length - rest }, options.value or 1, { dtype = "int64" })
    return core.cat({ stream, filling }, 1):reshape(rows + 1, length)
  end
  return stream:narrow(1, 1, #stream - rest):reshape(rows, length)
end

-- ---- batches

local collate_options = { value = "number", side = "string", lengths = "boolean", max_length = "count" }

local function numbers(values)
  if core.is_tensor(values[1]) then return core.stack(values, 1) end
  local whole = true
  for _, value in ipairs(values) do whole = whole and compat.is_whole(value) end
  return core.tensor(values, whole and { dtype = "int64" } or nil)
end

local function is_sequence(value)
  return core.is_tensor(value) and value.ndim > 0 or type(value) == "table"
end

--- A function that makes batches of samples of different lengths, for nn.data.DataLoader's option collate: sequences
-- are filled up with nn.text.pad, numbers become a tensor.
-- @param options table? value, side (see nn.text.pad), max_length (longer ones are cut), lengths (false; true: the
-- lengths of the first sequences are the last value of a batch)
-- @return function of a list of samples
function sequences.collate(options)
  options = check.options("nn.text.collate", options, collate_options)
  return function(samples)
    local batch, lengths = {}, nil
    for place = 1, samples[1].n or #samples[1] do
      local values, longest = {}, 1
      for i, sample in ipairs(samples) do
        values[i] = sample[place]
        if is_sequence(values[i]) then longest = math.max(longest, #values[i]) end
      end
      if is_sequence(values[1]) then
        local length = options.max_length and math.min(longest, options.max_length) or longest
        local padded, own = sequences.pad(values, { value = options.value, side = options.side, length = length })
        batch[place], lengths = padded, lengths or own
      else
        batch[place] = numbers(values)
      end
    end
    if options.lengths then batch[#batch + 1] = lengths end
    return compat.unpack(batch)
  end
end

return sequences
