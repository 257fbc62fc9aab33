-- gpt.lua: a language model from scratch (Radford et al. 2019), trained on any text.
--
--   nnlua scripts/gpt.lua TEXT [--layers N] [--width N] ...             trains, and writes a sample; --help lists all
--   nnlua scripts/gpt.lua --sample 500 --prompt "ROMEO:" [--save FILE]  writes with the model that was saved
--
-- The model that did best on the part of the text that is held out is saved as gpt.safetensors, with its tokenizer.
-- After a crash or Ctrl-C the same command with --resume goes on, and ends with the same bits as if nothing had been.

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local options = dofile(here .. "lib/options.lua")
local language = dofile(here .. "lib/language.lua")

-- ---- the command line

local numbers = {
  { "layers", options.count, 4, "blocks" },
  { "heads", options.count, 4, "heads of attention" },
  { "kv-heads", options.count, nil, "heads of keys and values (default: as many)" },
  { "width", options.count, 128, "size of each token's vector" },
  { "context", options.count, 64, "tokens that the model looks back on" },
  { "dropout", options.fraction, 0, "share of numbers that are 0 while training" },
  { "vocab", options.count, 1024, "tokens that --tokenizer bpe learns" },
  { "steps", options.count, 2000, "steps of training" },
  { "batch-size", options.count, 12, "rows of text in a batch" },
  { "accumulate", options.count, 1, "batches whose gradients make one step" },
  { "lr", options.positive, 3e-3, "the highest learning rate" },
  { "min-lr", options.positive, nil, "the last one (default: a tenth of it)" },
  { "warmup", options.whole, 100, "steps until the highest learning rate" },
  { "weight-decay", options.amount, 0.1, "of matrices" },
  { "beta2", options.fraction, 0.99, "how much of the average of squares is kept" },
  { "clip", options.positive, 1, "the largest norm of the gradients" },
  { "validation", options.fraction, 0.1, "share of the text that is held out" },
  { "eval-every", options.count, 250, "steps from one look at the held out text to the next" },
  { "eval-rows", options.count, 240, "rows of it that these looks take (the last one takes all)" },
  { "seed", options.whole, 1, "first random number" },
  { "threads", options.count, nil, "processor cores to use (default: all)" },
  { "sample", options.whole, nil, "tokens to write (default: 300 after a training)" },
  { "temperature", options.amount, 0.8, "0: always the likeliest token" },
  { "top-k", options.whole, 0, "write only with the k likeliest tokens (0: all)" },
  { "top-p", options.fraction, nil, "write only with the likeliest tokens that together have this probability" },
}

local function command_line()
  local parser = options.parser "Trains a language model on a text, or writes with one that was trained."
  parser:argument("text", "a file of text to train on"):args "?"
  for _, n in ipairs(numbers) do
    options.add(parser, n[1], n[2], n[3] and ("%s (default: %g)"):format(n[4], n[3]) or n[4])
  end
  options.choose(parser, "activation", { "gelu", "gelu_tanh", "relu", "silu", "swiglu", "geglu" },
    "between the layers of a block")
  options.choose(parser, "positions", { "learned", "rotary", "none" }, "how the model knows where a token is")
  options.choose(parser, "norm", { "layer", "rms" }, "how vectors are normalised")
  options.choose(parser, "tokenizer", { "char", "bpe" }, "characters, or pieces of words learned from the text")
  parser:flag("--bias", "linear layers and normalisations add one")
  parser:flag("--untied", "the head has weights of its own, not the embedding's")
  options.add(parser, "save", nil, "the model (default: gpt.safetensors)")
  options.add(parser, "prompt", nil, "what the text to write begins with (default: a new line)", "text")
  parser:flag("--resume", "go on where the last run was cut off")
  local o = options.parse(parser)
  for _, n in ipairs(numbers) do
    local key = n[1]:gsub("-", "_")
    if o[key] == nil then o[key] = n[3] end
  end
  o.min_lr, o.save, o.prompt = o.min_lr or o.lr / 10, o.save or "gpt.safetensors", o.prompt or "\n"
  o.backup = o.save:gsub("%.safetensors$", "") .. ".backup"
  return o
end

local o = command_line()
if o.threads then nn.set_num_threads(o.threads) end
nn.manual_seed(o.seed)

-- ---- writing

local function write(model, count)
  local settings = { count = count, temperature = o.temperature, top_k = o.top_k, top_p = o.top_p, seed = o.seed }
  local fine, info = pcall(language.write, model, o.prompt, settings)
  if not fine then options.fail((tostring(info):gsub("^[^\n]-:%d+: ", ""))) end
  print(("-- %d tokens, %.0f per second"):format(info.count, info.tokens_per_second))
end

local function load_model()
  local model, metadata = nn.load(o.save)
  if not model then options.fail(metadata) end
  local tokenizer = type(metadata.tokenizer) == "table" and nn.text.from_table(metadata.tokenizer)
  if not tokenizer then options.fail(o.save .. ": this is no model of gpt.lua") end
  model.tokenizer = tokenizer
  return model:eval()
end

if not o.text then
  if not o.sample then options.fail("a text to train on, or --sample N to write with a trained model, must be given",
    2) end
  write(load_model(), o.sample)
  os.exit(0, true)
end

-- ---- the text

local file, message = io.open(o.text, "rb")
if not file then options.fail(message) end
local text = file:read "*a"
file:close()

local tokenizer
if o.tokenizer == "bpe" then
  tokenizer = nn.text.BPETokenizer.train(text, { vocab_size = o.vocab })
else
  tokenizer = nn.text.CharTokenizer(text)
end
local train, held = language.split(tokenizer, text, o.validation)
if math.min(#train, #held) <= o.context then
  options.fail(("%s is too short: %d tokens to train with and %d held out, for a context of %d"):format(
    o.text, #train, #held, o.context))
end

-- ---- the model and its optimizer

local fine, model = pcall(nn.models.GPT, {
  vocab = tokenizer:size(), layers = o.layers, heads = o.heads, kv_heads = o.kv_heads, width = o.width,
  context = o.context, dropout = o.dropout, tied = not o.untied, activation = o.activation, positions = o.positions,
  norm = o.norm, bias = o.bias or false,
})
if not fine then options.fail((tostring(model):gsub("^.-: ", "")), 2) end
model.tokenizer = tokenizer

local parameters = model:parameters()
local optimizer = nn.optim.AdamW(language.groups(model, o.weight_decay), { lr = o.lr, betas = { 0.9, o.beta2 } })
local criterion = nn.CrossEntropyLoss()
print(("%d tokens to train with, %d held out, %d different ones; %d parameters"):format(
  #train, #held, tokenizer:size(), model:num_parameters()))

local function training_step(step)
  optimizer.lr = language.rate(step, o)
  optimizer:zero_grad()
  local total = 0
  for _ = 1, o.accumulate do
    local x, y = language.batch(train, o.batch_size, o.context)
    local loss = criterion(model(x):reshape(-1, tokenizer:size()), y) / o.accumulate
    loss:backward()
    total = total + loss:item()
  end
  nn.utils.clip_grad_norm_(parameters, o.clip)
  optimizer:step()
  return total
end

-- ---- backups: what a run needs to go on with the same bits

-- Options that a run must have in common with the one that it goes on from.
local function signature()
  local parts = {}
  for _, name in ipairs { "text", "layers", "heads", "kv_heads", "width", "context", "dropout", "activation",
    "positions",
    "norm", "tokenizer", "bias", "untied", "steps", "batch_size", "accumulate", "lr", "min_lr", "warmup",
    "weight_decay", "beta2", "clip", "validation", "seed" } do
    parts[#parts + 1] = name .. " " .. tostring(o[name])
  end
  return table.concat(parts, ", ")
end

local function back_up(step, best)
  local saved, problem = nn.save({
    step = step, best = best, model = model:state_dict(), optimizer = optimizer:state_dict(),
    random = nn.get_rng_state(), signature = signature(),
  }, o.backup)
  if not saved then options.fail(problem) end
end

local function resume()
  local backup, problem = nn.load(o.backup)
  if not backup then
    print(("nothing to resume (%s): beginning with the first step"):format(problem))
    return 0, math.huge
  end
  if backup.signature ~= signature() then
    options.fail(("%s is of a run with other options:\n%s\nthis one has\n%s"):format(o.backup,
      tostring(backup.signature),
      signature()))
  end
  model:load_state_dict(backup.model)
  optimizer:load_state_dict(backup.optimizer)
  nn.set_rng_state(backup.random)
  print(("going on behind step %d"):format(backup.step))
  return backup.step, backup.best
end

-- ---- training

local function evaluate(step, best, loss, seconds)
  local rows = step < o.steps and o.eval_rows or nil
  local value = language.loss(model, criterion, held, o.context, rows)
  print(("step %d: loss %.4f, held out %.4f; %.1f ms a step, %.0f tokens per second"):format(step, loss, value,
    1000 * seconds, o.batch_size * o.accumulate * o.context / seconds))
  if value < best then
    local saved, problem = model:save(o.save, { metadata = { tokenizer = tokenizer:to_table() } })
    if not saved then options.fail(problem) end
  end
  return math.min(best, value)
end

local done, best = 0, math.huge
if o.resume then done, best = resume() end

local sum, count, start = 0, 0, nn.clock()
for step = done + 1, o.steps do
  sum, count = sum + training_step(step - 1), count + 1
  if step % o.eval_every == 0 or step == o.steps then
    best = evaluate(step, best, sum / count, (nn.clock() - start) / count)
    back_up(step, best)
    sum, count, start = 0, 0, nn.clock()
  end
end

print(("best loss on what is held out: %.4f; the model: %s"):format(best, o.save))
if o.sample ~= 0 then
  print()
  write(load_model(), o.sample or 300)
end
