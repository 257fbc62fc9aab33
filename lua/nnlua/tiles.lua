--- Many pictures as one: what image grids, pictures of filters and TensorBoard have in common.

local core = require "nnlua.core"
local check = require "nnlua.check"

local tiles = {}

--- The tensor with its numbers stretched to 0 ... 1; what is not finite becomes 0.
function tiles.stretch(t)
  t = t:detach():float()
  local finite = t:isfinite()
  if not finite:any():item() then return core.zeros(t.shape) end
  local known = finite:all():item() and t or t:masked_select(finite)
  local least, most = known:min():item(), known:max():item()
  local span = most > least and most - least or 1
  return ((t - least) / span):masked_fill(finite:logical_not(), 0)
end

--- Pictures of any layout as (N, C, H, W) with C 1 or 3: (H, W), (C, H, W), (N, H, W) where N is no number of channels,
-- or (N, C, H, W).
function tiles.batch(who, t)
  check.tensor(who, "images", t)
  t = t:detach()
  if t.ndim == 2 then t = t:unsqueeze(1) end
  if t.ndim == 3 then
    local channels = t:size(1)
    t = (channels == 1 or channels == 3) and t:unsqueeze(1) or t:unsqueeze(2)
  end
  if t.ndim ~= 4 or (t:size(2) ~= 1 and t:size(2) ~= 3) then
    check.expect(who, "images", t, "(H, W), (C, H, W), (N, H, W) or (N, C, H, W) with 1 or 3 channels")
  end
  if t:numel() == 0 then check.expect(who, "images", t, "at least one picture with pixels") end
  return t
end

--- A grid of pictures.
-- @param images (N, C, H, W)
-- @param options table? columns (about as many as rows), padding (1 pixel), fill (0: the number between the pictures),
-- border (0 pixels around all)
-- @return tensor (C, rows * (H + padding) - padding, ...), columns
function tiles.grid(images, options)
  options = options or {}
  local count, channels, height, width = images:size(1), images:size(2), images:size(3), images:size(4)
  local columns = math.min(options.columns or math.ceil(math.sqrt(count)), count)
  local rows, padding = math.ceil(count / columns), options.padding or 1
  local border = options.border or 0
  local grid = core.full({ channels, rows * (height + padding) - padding + 2 * border,
    columns * (width + padding) - padding + 2 * border }, options.fill or 0, { dtype = images.dtype })
  for i = 0, count - 1 do
    local column = i % columns
    local y, x = border + (i - column) / columns * (height + padding), border + column * (width + padding)
    grid[{ {}, { y + 1, y + height }, { x + 1, x + width } }] = images:select(1, i + 1)
  end
  return grid, columns
end

--- The weights of a layer as pictures (N, C, H, W) from 0 to 1: filters of a convolution (three channels are colours,
-- others come one by one), any other weights as one picture.
-- @param most integer? no more pictures than that
-- @return tensor, and how many columns show the filters row by row (nil where that does not matter)
function tiles.of_weights(weight, most)
  weight = weight:detach()
  if weight.ndim == 3 then weight = weight:unsqueeze(3) end
  if weight.ndim < 2 then weight = weight:reshape(1, 1, 1, -1) end
  if weight.ndim == 2 then weight = weight:unsqueeze(1):unsqueeze(1) end
  local columns
  if weight:size(2) ~= 1 and weight:size(2) ~= 3 then
    columns = weight:size(2) <= 32 and weight:size(2) or nil
    weight = weight:reshape(-1, 1, weight:size(3), weight:size(4))
  end
  if most and weight:size(1) > most then weight = weight:narrow(1, 1, most) end
  return tiles.stretch(weight), columns
end

return tiles
