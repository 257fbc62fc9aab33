-- language.lua: what scripts that train language models have in common: a text as token ids, batches of it, the loss on
-- what is held out, the schedule, and writing as it is generated.

local nn = require "nnlua"

local language = {}

local unpack = table.unpack or unpack -- luacheck: ignore 113 143

-- ---- data

--- A text's token ids, in two parts: to train with, and the last part, held out.
-- @param tokenizer one of nn.text's
-- @param share the part that is held out
function language.split(tokenizer, text, share)
  local ids = tokenizer:encode(text)
  local count = math.floor(#ids * (1 - share))
  return ids:narrow(1, 1, count):contiguous(), ids:narrow(1, count + 1, #ids - count):contiguous()
end

-- Rows of length + 1 tokens that begin at `starts`, as what is read and what is to be said at each place.
local function rows(ids, starts, length)
  local places = starts:unsqueeze(2) + nn.arange(0, length + 1, 1, { dtype = "int64" })
  local all = ids:index_select(1, places:reshape(-1)):reshape(#starts, length + 1)
  return all:narrow(2, 1, length):contiguous(), all:narrow(2, 2, length):reshape(-1)
end

--- A batch from anywhere in the text: x (count, length), y (count * length).
function language.batch(ids, count, length)
  return rows(ids, nn.randint(1, #ids - length + 1, { count }), length)
end

--- The mean loss over the windows of a text, `most` of them at the most (evenly spaced), each token being predicted
-- from those before it in its window.
function language.loss(model, criterion, ids, length, most)
  local count = math.floor((#ids - 1) / length)
  local step = most and most < count and count / most or 1
  local starts = {}
  for i = 1, most and math.min(most, count) or count do starts[i] = math.floor((i - 1) * step) * length + 1 end
  local total, was = 0, model.training
  model:eval()
  nn.no_grad(function()
    for i = 1, #starts, 64 do
      local some = nn.tensor({ unpack(starts, i, math.min(i + 63, #starts)) }, { dtype = "int64" })
      local x, y = rows(ids, some, length)
      local logits = model(x)
      total = total + criterion(logits:reshape(-1, logits:size(-1)), y):item() * #some
    end
  end)
  model:train(was)
  return total / #starts
end

-- ---- training

--- The learning rate of a step, from 0: up in a line, then down half a cosine (Loshchilov and Hutter 2017).
function language.rate(step, o)
  if step < o.warmup then return o.lr * (step + 1) / o.warmup end
  local done = math.min(1, (step - o.warmup) / math.max(1, o.steps - o.warmup))
  return o.min_lr + (o.lr - o.min_lr) * 0.5 * (1 + math.cos(math.pi * done))
end

--- Parameters in two groups: matrices decay, biases and normalisations do not.
function language.groups(model, decay)
  local matrices, rest = {}, {}
  for _, parameter in ipairs(model:parameters()) do
    local list = parameter.ndim >= 2 and matrices or rest
    list[#list + 1] = parameter
  end
  local groups = { { params = matrices, weight_decay = decay } }
  if #rest > 0 then groups[2] = { params = rest, weight_decay = 0 } end
  return groups
end

-- ---- writing

--- Write a text that the model goes on with, as it comes. Returns what model:generate tells.
function language.write(model, prompt, o)
  io.write(prompt)
  local _, info = model:generate(prompt, {
    max_tokens = o.count, temperature = o.temperature, top_k = o.top_k, top_p = o.top_p, seed = o.seed,
    on_token = function(_, text)
      io.write(text)
      io.flush()
    end,
  })
  print()
  return info
end

return language
