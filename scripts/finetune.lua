-- finetune.lua: what was learned on much, adapted to little: several ways, and what each takes of time and memory.
--
--   nnlua scripts/finetune.lua images [--labels N] ...     digits (MNIST) to clothes (Fashion-MNIST) with few labels
--   nnlua scripts/finetune.lua text [--steps N] ...        a language model of stories to Shakespeare
--
-- --help lists the options of both. Ways: all weights ("full"), a new head on the old body ("head"), low-rank adapters
-- (Hu et al. 2021, "lora"), and no use of the old weights at all ("scratch").

local nn = require "nnlua"

local here = arg[0]:match("^(.*[/\\])") or ""
local options = dofile(here .. "lib/options.lua")

-- ---- the command line

local data_folder = os.getenv("NNLUA_DATA")

local function below(name) return data_folder and data_folder .. "/" .. name end

local function add_common(parser, defaults)
  local function add(name, kind, text) options.add(parser, name, kind, text) end
  parser:option("--ways", ("which of %s, by commas (default: all)"):format(table.concat(defaults.ways, " ")))
  add("batch-size", options.count, ("samples in a step (default: %d)"):format(defaults.batch_size))
  add("rank", options.count, ("of the adapters (default: %d)"):format(defaults.rank))
  add("alpha", options.positive, "their result is scaled by alpha / rank (default: twice the rank)")
  add("seed", options.whole, "first random number (default: 1)")
  add("threads", options.count, "processor cores to use (default: all)")
end

local image_defaults = {
  ways = { "scratch", "head", "lora", "full" }, batch_size = 20, rank = 8, epochs = 40, labels = 20, seed = 1,
  base = "finetune-mnist.safetensors",
}
local text_defaults = {
  ways = { "head", "lora", "full" }, batch_size = 16, rank = 4, steps = 300, context = 128, seed = 1,
  adapters = "finetune-shakespeare.safetensors",
}

local function read_command_line()
  local parser = options.parser("Adapts trained networks to other data, in several ways.")
  parser:require_command(true)
  parser:command_target("task")
  local images = parser:command("images", "digits to clothes")
  images:option("--mnist", "folder with MNIST (default: $NNLUA_DATA/mnist)")
  images:option("--fashion", "folder with Fashion-MNIST (default: $NNLUA_DATA/fashion-mnist)")
  options.add(images, "labels", options.count, "labelled images of each class (default: 20)")
  options.add(images, "epochs", options.count, "how often they are seen (default: 40)")
  images:option("--base", "the network of digits, trained if it is not there (default: finetune-mnist.safetensors)")
  add_common(images, image_defaults)
  local text = parser:command("text", "stories to Shakespeare")
  text:option("--model", "a folder of Llama's kind, as convert_llama2c.lua writes it")
  text:option("--text", "what to learn (default: $NNLUA_DATA/text/tinyshakespeare.txt)")
  options.add(text, "steps", options.count, "of the optimizer (default: 300)")
  options.add(text, "context", options.count, "tokens of a sample (default: 128)")
  text:option("--adapters", "where the adapters go (default: finetune-shakespeare.safetensors)")
  add_common(text, text_defaults)
  return options.parse(parser)
end

local function complete(given)
  local defaults = given.task == "images" and image_defaults or text_defaults
  for name, value in pairs(defaults) do
    if name ~= "ways" and given[name] == nil then given[name] = value end
  end
  given.alpha = given.alpha or 2 * given.rank
  local known, ways = {}, {}
  for _, way in ipairs(defaults.ways) do known[way] = true end
  for way in (given.ways or table.concat(defaults.ways, ",")):gmatch("[^,%s]+") do
    if not known[way] then
      options.fail(("--ways: expected some of %s, got '%s'"):format(table.concat(defaults.ways, " "), way), 2)
    end
    ways[#ways + 1] = way
  end
  given.ways = ways
  if given.threads then nn.set_num_threads(given.threads) end
  return given
end

-- ---- measuring

local function megabytes(bytes) return bytes / 2 ^ 20 end

-- fn(), its seconds, and the most that it had of memory beyond what there was.
local function measured(fn)
  collectgarbage()
  collectgarbage()
  nn.reset_peak_memory()
  local before, start = nn.memory().live, nn.clock()
  fn()
  return nn.clock() - start, megabytes(nn.memory().peak - before)
end

local function print_table(rows, heads)
  local widths = {}
  for i, head in ipairs(heads) do
    widths[i] = #head
    for _, row in ipairs(rows) do widths[i] = math.max(widths[i], #row[i]) end
  end
  local function line(row)
    local cells = {}
    for i, text in ipairs(row) do
      cells[i] = i == 1 and text .. (" "):rep(widths[i] - #text) or (" "):rep(widths[i] - #text) .. text
    end
    return table.concat(cells, "  ")
  end
  print("\n" .. line(heads))
  for _, row in ipairs(rows) do print(line(row)) end
end

local function share(model)
  local trained, all = model:num_parameters(true), model:num_parameters()
  return ("%d (%.1f %%)"):format(trained, 100 * trained / all)
end

-- ---- images

local function network()
  return nn.Sequential {
    nn.Conv2d(1, 16, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, { padding = 1 }), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Dense(32 * 7 * 7, 128, { activation = "relu" }), nn.Dropout(0.3),
    nn.Dense(128, 10),
  }
end

local function read_images(path, what)
  if not path then
    options.fail(("no folder of %s was given (--%s), and the environment variable NNLUA_DATA is not set"):format(what,
      what == "MNIST" and "mnist" or "fashion"))
  end
  local x, y, x_test, y_test = nn.data.mnist(path)
  if not x then options.fail(y) end
  return x, y, x_test, y_test
end

-- The network of digits, from its file or trained now.
local function digits(given)
  local model = nn.load(given.base)
  if model then
    print("digits: " .. given.base)
    return model
  end
  local x, y, x_test, y_test = read_images(given.mnist or below("mnist"), "MNIST")
  model = network()
  model:compile { optimizer = { "adamw", lr = 0.002 }, loss = nn.CrossEntropyLoss(), metrics = { "accuracy" } }
  model:fit(x, y, { epochs = 3, batch_size = 64, verbose = 2 })
  local result = model:evaluate(x_test, y_test, { batch_size = 500 })
  assert(model:save(given.base))
  print(("digits: test accuracy %.2f %%, saved as %s"):format(100 * result.accuracy, given.base))
  return model
end

-- `count` images of each class, by chance.
local function few(x, y, count)
  local order, taken, list = nn.randperm(#y):tolist(), {}, {}
  for _, i in ipairs(order) do
    local class = y[i]
    taken[class] = (taken[class] or 0) + 1
    if taken[class] <= count then list[#list + 1] = i end
  end
  local index = nn.tensor(list, { dtype = "int64" })
  return x:index_select(1, index), y:index_select(1, index)
end

local HEAD = "^9%." -- the last layer's parameters

-- What each way makes of the network of digits, and its optimizer.
local image_ways = {}

function image_ways.scratch()
  local model = network()
  return model, nn.optim.AdamW(model:parameters(), { lr = 1e-3, weight_decay = 0.01 })
end

local function with_new_head(given)
  local model = assert(nn.load(given.base))
  model[#model] = nn.Dense(128, 10)
  return model
end

function image_ways.head(given)
  local model = with_new_head(given)
  model:freeze()
  model:unfreeze(HEAD)
  return model, nn.optim.AdamW(model[#model]:parameters(), { lr = 3e-3 })
end

function image_ways.lora(given)
  local model = with_new_head(given)
  nn.lora.apply(model, { rank = given.rank, alpha = given.alpha, targets = "weight", train = HEAD })
  return model, nn.optim.AdamW(model:parameters(), { lr = 2e-3 })
end

function image_ways.full(given)
  local model = with_new_head(given)
  local groups = nn.utils.layer_groups(model, { lr = 1e-3, decay = 0.7, weight_decay = 0.01 })
  return model, nn.optim.AdamW(groups)
end

local function adapt_images(given)
  digits(given)
  local x, y, x_test, y_test = read_images(given.fashion or below("fashion-mnist"), "Fashion-MNIST")
  nn.manual_seed(given.seed)
  local x_few, y_few = few(x, y, given.labels)
  x, y = nil, nil -- luacheck: ignore 311
  print(("clothes: %d labelled images, %d to test with"):format(#y_few, #y_test))
  local rows = {}
  for _, way in ipairs(given.ways) do
    nn.manual_seed(given.seed)
    local model, optimizer = image_ways[way](given)
    model:compile { optimizer = optimizer, loss = nn.CrossEntropyLoss(), metrics = { "accuracy" } }
    local seconds, memory = measured(function()
      model:fit(x_few, y_few, { epochs = given.epochs, batch_size = given.batch_size, verbose = 0 })
    end)
    local result = model:evaluate(x_test, y_test, { batch_size = 500 })
    rows[#rows + 1] = { way, share(model), ("%.1f"):format(memory), ("%.1f"):format(seconds),
      ("%.2f %%"):format(100 * result.accuracy) }
    print(table.concat(rows[#rows], "  "))
  end
  print_table(rows, { "way", "trained", "MB", "seconds", "test accuracy" })
end

-- ---- text

-- Parts of n + 1 tokens: what is read, and what follows each.
local function batch_of(ids, count, context, at)
  local x, y = {}, {}
  for i = 1, count do
    local first = at and at(i) or math.floor(nn.rand(1):item() * (#ids - context)) + 1
    x[i], y[i] = ids:narrow(1, first, context), ids:narrow(1, first + 1, context)
  end
  return nn.stack(x, 1), nn.stack(y, 1)
end

local loss_of = nn.CrossEntropyLoss()

local function loss(model, x, y)
  local logits = model(x)
  return loss_of(logits:view(-1, logits:size(-1)), y:view(-1))
end

-- The mean loss over parts of the text that nothing was trained with.
local function validate(model, ids, given)
  model:eval()
  local total, rounds = 0, 20
  local stride = math.floor((#ids - given.context - 1) / (rounds * given.batch_size))
  nn.no_grad(function()
    for round = 1, rounds do
      local x, y = batch_of(ids, given.batch_size, given.context, function(i)
        return ((round - 1) * given.batch_size + i - 1) * stride + 1
      end)
      total = total + loss(model, x, y):item()
    end
  end)
  model:train()
  return total / rounds
end

local function read_model(given)
  if not given.model then
    options.fail([[no model was given (--model). One of stories is made with
  nnlua scripts/convert_llama2c.lua stories260K.bin tok512.bin FOLDER
stories260K.bin and tok512.bin are from https://huggingface.co/karpathy/tinyllamas/tree/main/stories260K]])
  end
  local model, message = nn.models.llama(given.model)
  if not model then options.fail(message) end
  return model
end

local function read_text(given, tokenizer)
  local path = given.text or below("text/tinyshakespeare.txt")
  local file, message = io.open(path or "", "rb")
  if not file then options.fail("no text to learn (--text): " .. tostring(message)) end
  local ids = nn.tensor(tokenizer:encode(file:read("*a")), { dtype = "int64" })
  file:close()
  local held = math.floor(#ids / 10)
  if held < given.batch_size * 20 + given.context then options.fail("the text is too short") end
  return ids:narrow(1, 1, #ids - held), ids:narrow(1, #ids - held + 1, held)
end

local text_ways = {}

-- The head of this model is its table of tokens; the new one begins as a copy.
function text_ways.head(given)
  local model = read_model(given)
  model:freeze()
  local table_of_tokens = model.tokens.weight
  model.head = nn.Dense(table_of_tokens:size(2), table_of_tokens:size(1), { bias = false })
  model.head:load_state_dict { weight = table_of_tokens }
  return model, model.head:parameters(), 1e-3
end

-- Where the paper found them to be of most use: queries and values.
function text_ways.lora(given)
  local model = read_model(given)
  nn.lora.apply(model, { rank = given.rank, alpha = given.alpha, targets = { "query", "value" } })
  return model, nn.lora.parameters(model), 5e-3
end

function text_ways.full(given)
  local model = read_model(given)
  model:unfreeze()
  return model, model:parameters(), 1e-3
end

-- Up for a tenth of the steps, then down along a cosine.
local function train(model, parameters, lr, ids, given)
  local optimizer = nn.optim.AdamW(parameters, { lr = lr, weight_decay = 0.01, betas = { 0.9, 0.99 } })
  local schedule = nn.optim.lr_scheduler.OneCycleLR(optimizer, lr, { total_steps = given.steps + 1, pct_start = 0.1 })
  model:train()
  for step = 1, given.steps do
    local value = loss(model, batch_of(ids, given.batch_size, given.context))
    model:zero_grad()
    value:backward()
    nn.utils.clip_grad_norm_(parameters, 1)
    optimizer:step()
    schedule:step()
    if step % 100 == 0 then print(("  step %d: loss %.3f"):format(step, value:item())) end
  end
end

local function adapt_text(given)
  local model = read_model(given)
  local ids, held = read_text(given, model.tokenizer)
  local before = validate(model, held, given)
  print(("%d tokens to learn, %d to validate with; loss before: %.3f"):format(#ids, #held, before))
  local rows = { { "before", "0", "", "", ("%.3f"):format(before) } }
  for _, way in ipairs(given.ways) do
    print(way)
    local parameters, lr
    model, parameters, lr = text_ways[way](given)
    nn.manual_seed(given.seed)
    local seconds, memory = measured(function() train(model, parameters, lr, ids, given) end)
    local after, trained = validate(model, held, given), share(model)
    if way == "lora" then
      assert(nn.lora.save(model, given.adapters))
      nn.lora.merge(model)
      print(("  adapters: %s; merged, the loss is %.3f"):format(given.adapters, validate(model, held, given)))
    end
    rows[#rows + 1] = { way, trained, ("%.1f"):format(memory), ("%.1f"):format(seconds), ("%.3f"):format(after) }
    model:eval()
    print(("  %s"):format(model:generate("ROMEO:", { max_tokens = 60, temperature = 0.7, seed = given.seed })
      :gsub("\n", "\n  ")))
  end
  print_table(rows, { "way", "trained", "MB", "seconds", "validation loss" })
end

-- ----

local given = complete(read_command_line())
nn.manual_seed(given.seed)
if given.task == "images" then adapt_images(given) else adapt_text(given) end
