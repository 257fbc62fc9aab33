--- training.lua: what the scripts that train on real data have in common: options, backups, curves.

local nn = require "nnlua"

local folder = arg[0]:match("^(.*[/\\])") or ""
local options = dofile(folder .. "lib/options.lua")

local training = { fail = options.fail, parse = options.parse, parser = options.parser, add = options.add }

-- ---- the command line

-- "default: 20", or "default: mlp: 20, cnn: 8" where the networks differ.
local function default_text(recipes, key)
  local texts, same = {}, true
  for i, recipe in ipairs(recipes) do
    texts[i] = ("%s: %g"):format(recipe.name or "", recipe[key])
    same = same and recipe[key] == recipes[1][key]
  end
  return "default: " .. (same and ("%g"):format(recipes[1][key]) or table.concat(texts, ", "))
end

local function names_of(recipes)
  local names = {}
  for i, recipe in ipairs(recipes) do names[i] = recipe.name end
  return names
end

--- An option with a number whose default is in the recipes.
-- @param name string as it is written behind "--"
function training.number(parser, recipes, name, kind, text)
  local key = name:gsub("%-", "_")
  options.add(parser, name, options[kind], ("%s (%s)"):format(text, default_text(recipes, key)))
end

--- The options of all trainings.
-- @param spec table: script (a short name, for files), recipes: a list of {name =, and defaults: epochs =, lr = ...},
-- the first being the default one; numbers: a list of {name, kind, text}, options with defaults in the recipes
function training.options(parser, spec)
  local recipes = spec.recipes
  if #recipes > 1 then
    parser:option("--model", ("the network (default: %s)"):format(recipes[1].name)):choices(names_of(recipes))
  end
  for _, each in ipairs(spec.numbers) do training.number(parser, recipes, each[1], each[2], each[3]) end
  options.add(parser, "seed", options.whole, "first random number (default: 1)")
  options.add(parser, "threads", options.count, "processor cores to use (default: all)")
  options.add(parser, "save", nil, ("the model (default: %s.safetensors)"):format(
    spec.script .. (#recipes > 1 and "-MODEL" or "")))
  options.add(parser, "plot", nil, "the curves, .png or .svg (default: the model's name with .svg)")
  parser:flag("--resume", "go on where the last run was cut off")
end

--- What was not given gets its default; the chosen recipe is the field `recipe`.
-- @param spec what training.options took, and collection (name of the folder below NNLUA_DATA)
function training.complete(given, spec)
  local recipe = spec.recipes[1]
  for _, each in ipairs(spec.recipes) do
    if each.name == given.model then recipe = each end
  end
  for _, each in ipairs(spec.numbers) do
    local key = each[1]:gsub("%-", "_")
    if given[key] == nil then given[key] = recipe[key] end
  end
  local data = os.getenv("NNLUA_DATA")
  given.folder = given.folder or data and data .. "/" .. spec.collection
  given.recipe, given.seed = recipe, given.seed or 1
  given.save = given.save or spec.script .. (#spec.recipes > 1 and "-" .. recipe.name or "") .. ".safetensors"
  local stem = given.save:gsub("%.safetensors$", "")
  given.plot, given.backup = given.plot or stem .. ".svg", stem .. ".backup"
  if given.threads then nn.set_num_threads(given.threads) end
  nn.manual_seed(given.seed)
  return given
end

-- ---- backups

--- The callback that lets a training go on after it was cut off. Without --resume an old backup is thrown away.
function training.backup(given)
  local file = io.open(given.backup, "rb")
  if file then file:close() end
  if given.resume and not file then
    print("nothing to resume (there is no " .. given.backup .. "): beginning with the first epoch")
  elseif file and not given.resume then
    os.remove(given.backup)
  end
  return nn.callbacks.BackupAndRestore(given.backup)
end

-- ---- curves

--- Draw what fit measured. A curve without a renderer is no reason to lose a result.
function training.plot(history, path)
  local fine, problem = pcall(history.plot, history, path)
  if fine then
    print("curves: " .. path)
  else
    print("no curves: " .. tostring(problem))
  end
end

return training
