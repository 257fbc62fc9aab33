--- model:generate: the loop around decoder and sampler.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"
local decoder = require "nnlua.models.decoder"

local WHO = "generate"

local rules = {
  max_tokens = "whole", temperature = "number", top_k = "whole", top_p = "number", min_p = "number",
  repetition_penalty = "number", seed = "whole", stop = "any", on_token = "function",
}

local function check_range(options, name, least, most, expected)
  local value = options[name]
  if value and not (value >= least and value <= most) then check.expect(WHO, "option " .. name, value, expected) end
end

local function check_options(options)
  options = check.options(WHO, options, rules)
  check_range(options, "temperature", 0, math.huge, "a number from 0")
  check_range(options, "top_p", 0, 1, "a number from 0 to 1")
  check_range(options, "min_p", 0, 1, "a number from 0 to 1")
  if options.repetition_penalty and not (options.repetition_penalty > 0 and options.repetition_penalty < math.huge) then
    check.expect(WHO, "option repetition_penalty", options.repetition_penalty, "a number above 0")
  end
  return options
end

-- ---- the prompt

local function as_list(ids)
  if core.is_tensor(ids) then return ids:reshape(-1):tolist() end
  local list = {}
  for i = 1, #ids do list[i] = ids[i] end
  return list
end

local function encode(model, text)
  local tokenizer = model.tokenizer
  if not tokenizer then
    check.fail(WHO, ("the model has no tokenizer%s: set model.tokenizer, or give a list of token ids"):format(
      model.tokenizer_problem and " (" .. model.tokenizer_problem .. ")" or ""))
  end
  local ids = as_list(tokenizer:encode(text))
  if model.begin_id and ids[1] ~= model.begin_id then table.insert(ids, 1, model.begin_id) end
  return ids
end

local function prompt_ids(model, prompt)
  local ids
  if type(prompt) == "string" then
    ids = encode(model, prompt)
  elseif type(prompt) == "table" or (core.is_tensor(prompt) and (prompt.ndim == 1 or prompt:size(1) == 1)) then
    ids = as_list(prompt)
  else
    check.expect(WHO, "prompt", prompt, "a text, a list of token ids, or a tensor (T) of them")
  end
  if #ids == 0 then check.fail(WHO, "the prompt is empty: give at least one token to begin with") end
  local vocab = model.options.vocab
  for i = 1, #ids do
    if not (compat.is_whole(ids[i]) and ids[i] >= 1 and ids[i] <= vocab) then
      check.fail(WHO, ("prompt: expected token ids from 1 to %d, got %s"):format(vocab, check.kind(ids[i])))
    end
  end
  return ids
end

-- ---- where it ends

-- Ids as a set, texts as a list.
local function stops_of(model, stop)
  local ids, texts = {}, {}
  if stop == false then return ids, texts end
  for _, id in ipairs(model.end_ids or {}) do ids[id] = true end
  if stop == nil then return ids, texts end
  for _, item in ipairs(type(stop) == "table" and stop or { stop }) do
    if type(item) == "string" and item ~= "" then
      if not model.tokenizer then check.fail(WHO, "option stop: a text needs a model with a tokenizer") end
      texts[#texts + 1] = item
    elseif compat.is_whole(item) then
      ids[item] = true
    else
      check.expect(WHO, "option stop", item, "a token id, a text, or a list of these")
    end
  end
  return ids, texts
end

-- The text of one token as it comes. A text as a whole begins without the blank that its first token may have.
local function text_of_token(tokenizer, id, first)
  if not tokenizer.token then return tokenizer:decode { id } end
  local shown = tokenizer:decode({ id }, { specials = false })
  if first then return shown end
  local token = tokenizer:token(id)
  return (shown ~= "" or token:find "^ ") and token or "" -- special ones show nothing
end

-- The text of one token as it comes, and whether one of `texts` has just been completed. The longest of them decides
-- how much of what was written is looked at.
local function new_reader(tokenizer, texts)
  local tail, longest = "", 0
  for _, text in ipairs(texts) do longest = math.max(longest, #text) end
  return function(id, first)
    if not tokenizer then return nil, false end
    local text = text_of_token(tokenizer, id, first)
    if longest == 0 then return text, false end
    tail = (tail .. text):sub(-(longest + #text))
    for _, stop in ipairs(texts) do
      if tail:find(stop, 1, true) then return text, true end
    end
    return text, false
  end
end

-- Up to where a stopping text begins.
local function cut(text, from, texts)
  local last = #text
  for _, stop in ipairs(texts) do
    local at = text:find(stop, from, true)
    if at then last = math.min(last, at - 1) end
  end
  return text:sub(1, last)
end

-- ----

local Run = {}
Run.__index = Run

-- Where there is no room, the older half is dropped: what stays is read anew.
function Run:make_room()
  local _, room = self.decoder:position()
  if room > 0 then return end
  local keep = math.max(1, math.floor(self.length / 2))
  self.decoder:rewind(0)
  self.decoder:feed(self.ids, #self.ids - keep + 1)
  self.moved = true
end

function Run:read_prompt()
  local ids = self.ids
  self.decoder:feed(ids, math.max(1, #ids - self.length + 1))
  if self.penalty then
    for _, id in ipairs(ids) do self.sampler:note(id) end
  end
end

-- One token; the reason to end, or nil.
function Run:step(first)
  local id = self.sampler:pick(self.logits or self.decoder:logits())
  if self.stop_ids[id] then return "stop" end
  local ids = self.ids
  ids[#ids + 1] = id
  if self.penalty then self.sampler:note(id) end
  local stopped
  if self.read then
    local text
    text, stopped = self.read(id, first)
    if not stopped and self.on_token and self.on_token(id, text) == false then return "on_token" end
  end
  return stopped and "stop" or nil
end

function Run:loop(most)
  local count, decoder_of = 0, self.decoder
  while count < most do
    local before = #self.ids
    local reason = self:step(self.empty and count == 0)
    count = count + #self.ids - before
    if reason then return count, reason end
    if count < most then
      self.moved = false
      self:make_room()
      if not self.moved then decoder_of:feed(self.ids[#self.ids]) end
    end
  end
  return count, "max_tokens"
end

local function new_run(model, ids, options, most)
  local context = model.options.context
  local length = math.min(context, #ids + most)
  local reader, fused = decoder.new(model, length)
  local stop_ids, stop_texts = stops_of(model, options.stop)
  local reads = options.on_token or #stop_texts > 0
  local penalty = options.repetition_penalty
  return setmetatable({
    ids = ids, length = length, decoder = reader, logits = fused and reader or nil,
    sampler = core.sampler(model.options.vocab, {
      temperature = options.temperature, top_k = options.top_k, top_p = options.top_p, min_p = options.min_p,
      repetition = penalty, seed = options.seed,
    }),
    penalty = penalty and penalty ~= 1, stop_ids = stop_ids, stop_texts = stop_texts, on_token = options.on_token,
    empty = #ids == 1 and ids[1] == model.begin_id, read = reads and new_reader(model.tokenizer, stop_texts) or nil,
  }, Run)
end

local function text_of(model, run, prompt)
  local from = model.begin_id and run.ids[1] == model.begin_id and 2 or 1
  local ids = {}
  for i = from, #run.ids do ids[#ids + 1] = run.ids[i] end
  return cut(model.tokenizer:decode(ids, { specials = false }), #prompt + 1, run.stop_texts)
end

--- See GPT:generate.
return function(model, prompt, options)
  options = check_options(options)
  local ids = prompt_ids(model, prompt)
  local most, given = options.max_tokens or 100, #ids
  local start = core.clock()
  local run = new_run(model, ids, options, most)
  run:read_prompt()
  local began = core.clock()
  local count, reason = run:loop(most)
  local seconds = core.clock() - began
  local info = {
    count = count, reason = reason, prompt = given, prompt_seconds = began - start, seconds = seconds,
    tokens_per_second = seconds > 0 and count / seconds or 0,
  }
  if type(prompt) == "string" then return text_of(model, run, prompt), info end
  return ids, info
end
