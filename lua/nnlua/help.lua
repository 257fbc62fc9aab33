--- nn.help([x]): documentation as text, written where all output of nnlua goes (nn.set_output).
-- Without an argument an overview; of a layer, loss, optimizer, schedule, function, method, class or library what it is
-- and takes; of a string the entry of that name, or what is found by it. See docs.lua for where it comes from.

local core = require "nnlua.core"
local check = require "nnlua.check"
local docs = require "nnlua.docs"
local tree = require "nnlua.tree"

local MOST_FOUND = 40 -- lines of a search

-- ---- text

-- The words of a text in lines of this width, each behind the indentation.
local function wrap(text, width, indentation)
  local lines, line = {}, ""
  for word in text:gmatch "%S+" do
    if line ~= "" and #line + 1 + #word > width - #indentation then
      lines[#lines + 1] = indentation .. line
      line = word
    else
      line = line == "" and word or line .. " " .. word
    end
  end
  if line ~= "" then lines[#lines + 1] = indentation .. line end
  return lines
end

local function add_wrapped(page, text, indentation)
  for paragraph in (text .. "\n\n"):gmatch "(.-)\n\n+" do
    for _, line in ipairs(wrap(paragraph, page.width, indentation)) do page[#page + 1] = line end
  end
end

-- A line with its beginning in a column of its own; the rest is wrapped beside it.
local function add_row(page, left, column, text)
  local room = (" "):rep(column)
  local lines = wrap(text, page.width, room)
  local first = lines[1] and lines[1]:sub(column + 1) or ""
  if #left >= column and first ~= "" then
    page[#page + 1] = left
    page[#page + 1] = room .. first
  else
    page[#page + 1] = (left .. room:sub(#left + 1) .. first):gsub("%s+$", "")
  end
  for i = 2, #lines do page[#page + 1] = lines[i] end
end

local function heading(page, text)
  page[#page + 1] = ""
  page[#page + 1] = text
end

-- Names side by side.
local function add_columns(page, names, indentation)
  local widest = 0
  for _, name in ipairs(names) do widest = math.max(widest, #name) end
  local across = math.max(1, math.floor((page.width - #indentation + 2) / (widest + 2)))
  local down = math.ceil(#names / across)
  for row = 1, down do
    local cells = {}
    for i = row, #names, down do cells[#cells + 1] = names[i] .. (" "):rep(widest - #names[i]) end
    page[#page + 1] = (indentation .. table.concat(cells, "  ")):gsub("%s+$", "")
  end
end

-- ---- an entry

local function value_text(value)
  if type(value) == "string" then return ("%q"):format(value) end
  if type(value) == "number" then return ("%.6g"):format(value) end
  if type(value) ~= "table" then return tostring(value) end
  local items = {}
  for i, item in ipairs(value) do items[i] = value_text(item) end
  return "{" .. table.concat(items, ", ") .. "}"
end

-- The default of an option, or what it must be: "0.001", "integer".
local function kind_text(option)
  local rules = { count = "whole number from 1", whole = "whole number from 0", fraction = "0 to below 1", any = "" }
  local kind = rules[option.type] or option.type or ""
  if option.required then return kind end
  if option.default ~= nil then return value_text(option.default) end
  return kind
end

local function doc_text(option)
  local doc = option.doc or ""
  if option.choices and #option.choices < 200 then
    local words = option.choices:gsub(" ", ", ")
    doc = doc .. (doc == "" and "" or "; ") .. "one of " .. words
  end
  return doc
end

local function add_options(page, title, options)
  local rows, widest = {}, 0
  for i, option in ipairs(options) do
    rows[i] = { option.name, kind_text(option), doc_text(option) }
    widest = math.max(widest, #option.name)
  end
  if #rows == 0 then return end
  local second = 0
  for _, row in ipairs(rows) do second = math.max(second, math.min(#row[2], 16)) end
  heading(page, title)
  for _, row in ipairs(rows) do
    local left = ("  %-" .. widest .. "s  %s"):format(row[1], row[2])
    add_row(page, left, widest + second + 6, row[3])
  end
end

-- Arguments of a function as its comment tells them; options become a table below.
local function add_params(page, entry)
  local widest, shown = 0, {}
  for _, param in ipairs(entry.params or {}) do
    if param.name ~= "options" or #entry.options == 0 then
      shown[#shown + 1] = param
      widest = math.max(widest, #param.name)
    end
  end
  if #shown > 0 then heading(page, "Arguments") end
  for _, param in ipairs(shown) do add_row(page, "  " .. param.name, widest + 4, param.doc) end
end

local function without_self(options, entry)
  if not entry.name:find "^tensor:" or entry.kind ~= "operation" then return options end
  local list = {}
  for i = 2, #options do list[i - 1] = options[i] end
  return list
end

local function add_tensors(page, record)
  if not record.tensors or #record.tensors == 0 then return end
  local widest = 0
  for _, slot in ipairs(record.tensors) do widest = math.max(widest, #slot.name) end
  heading(page, "Tensors")
  for _, slot in ipairs(record.tensors) do
    local notes = "(" .. slot.shape:gsub(" ", ", ") .. ")"
    if slot.buffer then notes = notes .. ", not trained" end
    if slot.when then notes = notes .. ", with " .. slot.when end
    add_row(page, "  " .. slot.name, widest + 4, notes)
  end
end

-- "input {h c}" as it is written in Lua: "input, {h, c}".
local function with_commas(names)
  return (names:gsub("([%w_}]) ", "%1, "))
end

local function add_call(page, entry)
  local record = entry.record
  if entry.kind ~= "layer" and entry.kind ~= "loss" then return end
  local takes = record.takes or (entry.kind == "loss" and "prediction target") or "x"
  local call = with_commas(takes)
  heading(page, "Call")
  page[#page + 1] = "  " .. entry.kind .. "(" .. call .. (record.call and ", {options}" or "") .. ")" ..
    (record.gives and " gives " .. with_commas(record.gives) or "")
  if record.call then add_options(page, "Options of a call", record.call) end
end

local function kind_of(entry)
  if entry.kind == "operation" and entry.name:find "^tensor:" then return "method of tensors" end
  if entry.name:find "^model:" then return "method of models and layers" end
  return entry.kind
end

local function add_title(page, entry)
  local title, kind = docs.signature(entry), kind_of(entry)
  local gap = page.width - #title - #kind
  if gap >= 2 then
    page[#page + 1] = title .. (" "):rep(gap) .. kind
  else
    page[#page + 1] = title
    page[#page + 1] = "  " .. kind
  end
end

local function add_library(page, library)
  local kinds, order = {}, {}
  for _, name in ipairs(docs.names(library)) do
    local entry = docs.of(library[name])
    local kind = entry and entry.kind or type(library[name])
    if not kinds[kind] then
      kinds[kind] = {}
      order[#order + 1] = kind
    end
    table.insert(kinds[kind], name)
  end
  local titles = {
    transform = "Transforms",
    layer = "Layers", loss = "Losses", optimizer = "Optimizers", operation = "Operations", class = "Classes",
    initializer = "Initialisers", library = "Libraries", schedule = "Schedules", ["function"] = "Functions",
    string = "Values", number = "Values", boolean = "Values",
  }
  table.sort(order)
  for _, kind in ipairs(order) do
    heading(page, titles[kind] or kind)
    add_columns(page, kinds[kind], "  ")
  end
end

local function add_class(page, class)
  local own = {}
  for _, name in ipairs(docs.names(class)) do
    if type(class[name]) == "function" and name ~= "init" then own[#own + 1] = name end
  end
  if #own == 0 then return end
  heading(page, class.class_name and "Methods, besides those of all models" or "Methods")
  add_columns(page, own, "  ")
end

local function add_entry(page, entry)
  add_title(page, entry)
  if entry.doc ~= "" then
    page[#page + 1] = ""
    add_wrapped(page, entry.doc, "  ")
  end
  if entry.in_place then add_wrapped(page, "Changes the tensor itself, and returns it.", "  ") end
  add_params(page, entry)
  local options = without_self(entry.options or {}, entry)
  add_options(page, entry.kind == "operation" and "Arguments" or "Options", options)
  if entry.record then
    add_call(page, entry)
    add_tensors(page, entry.record)
  end
  if entry.returns then
    heading(page, "Returns")
    add_wrapped(page, entry.returns, "  ")
  end
  if entry.kind == "library" then add_library(page, entry.value) end
  if entry.kind == "class" and entry.value ~= require("nnlua.module").Module then add_class(page, entry.value) end
end

-- ---- the overview, and searching

local overview = [[
nnlua: neural networks in Lua

  nn.Sequential{nn.Dense(16, {activation = "relu"}), nn.Dense(1)}    a model
  model:compile{optimizer = "adam", loss = "mse"}                    how to train it
  model:fit(x, y, {epochs = 20})                                     training; model:predict(x)
  loss:backward(), optimizer:step()                                  or by hand
]]

local asking = [[
Ask for more: help(nn.Dense)  help(model.fit)  help(x.sum)  help(nn.optim)  help"conv" searches]]

local function add_overview(page)
  for line in overview:gmatch "(.-)\n" do page[#page + 1] = line end
  add_library(page, require "nnlua")
  heading(page, "Methods of tensors")
  add_columns(page, docs.names(core.tensor_methods), "  ")
  heading(page, "Methods of models and layers")
  local methods = {}
  for _, name in ipairs(docs.names(core.layer_methods)) do methods[#methods + 1] = name end
  add_columns(page, methods, "  ")
  heading(page, asking)
end

-- How well an entry fits what is searched: 1 is best, nil not at all.
local function rank(entry, text)
  local name = entry.name:lower()
  local short = name:match "[^%.:]+$"
  if short == text then return 1 end
  if short:sub(1, #text) == text then return 2 end
  if name:find(text, 1, true) then return 3 end
  if entry.doc:lower():find(text, 1, true) then return 4 end
  return nil
end

local function find_all(text)
  local found = {}
  text = text:lower()
  for _, entry in ipairs(docs.all()) do
    local r = rank(entry, text)
    if r then found[#found + 1] = { entry, r } end
  end
  table.sort(found, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[1].name < b[1].name
  end)
  return found
end

-- Entries of exactly this name, with or without what leads to it. One of a record stands for all of the same record.
local function find_named(text)
  local named = docs.named(text) or docs.named("nn." .. text) or docs.named((text:gsub("^[%w_]+:", "tensor:")))
    or docs.named((text:gsub("^[%w_]+:", "model:"))) or docs.named("nn.optim." .. text)
    or docs.named("nn.optim.lr_scheduler." .. text) or docs.named("tensor:" .. text) or docs.named("model:" .. text)
  return named
end

local function nearest_name(text)
  local names = {}
  for _, entry in ipairs(docs.all()) do names[entry.name:match "[^%.:]+$"] = true end
  return core.nearest(text, names)
end

local function add_found(page, text)
  local found = find_all(text)
  if #found == 0 then
    local near = nearest_name(text)
    page[#page + 1] = ("nothing is known of %q%s"):format(text, near and "; did you mean '" .. near .. "'?" or "")
    return
  end
  for i = 1, math.min(#found, MOST_FOUND) do
    local entry = found[i][1]
    add_row(page, docs.signature(entry):gsub("%(.*$", ""), 32, docs.first_sentence(entry.doc))
  end
  if #found > MOST_FOUND then page[#page + 1] = ("... and %d more"):format(#found - MOST_FOUND) end
end

local function add_named(page, text)
  local entry = find_named(text)
  if not entry then return add_found(page, text) end
  add_entry(page, entry)
  local others = 0
  for _, each in ipairs(find_all(text)) do
    if each[1] ~= entry and each[2] <= 3 then others = others + 1 end
  end
  if others > 0 and #text > 2 then
    local more = find_all(text)
    local names = {}
    for _, each in ipairs(more) do
      local name = docs.signature(each[1]):gsub("%(.*$", "")
      if each[1] ~= entry and each[2] <= 3 and #names < 12 then names[#names + 1] = name end
    end
    heading(page, "See also")
    add_wrapped(page, table.concat(names, "  ") .. (others > #names and "  ..." or ""), "  ")
  end
end

-- ---- values

local function add_tensor(page, x)
  page[#page + 1] = ("a tensor of shape %s, %s"):format(check.shape(x.shape), x.dtype)
  heading(page, "Fields")
  page[#page + 1] = "  shape  dtype  ndim  grad  requires_grad  is_leaf  #x"
  heading(page, "Methods")
  add_columns(page, docs.names(core.tensor_methods), "  ")
  heading(page, "help(x.sum) tells about one of them")
end

local function add_model(page, model)
  local class = tree.class_of(model)
  page[#page + 1] = ("a model of the class %s, %d parameters"):format(class.class_name, model:num_parameters())
  local entry = docs.of(class)
  if entry and entry.doc ~= "" then add_wrapped(page, entry.doc, "  ") end
  heading(page, "Methods")
  add_columns(page, docs.names(require("nnlua.module").Module), "  ")
end

local function add_value(page, x)
  if core.is_tensor(x) then return add_tensor(page, x) end
  if core.is_layer(x) then return add_entry(page, docs.named("nn." .. x:_class())) end
  if core.is_optimizer(x) then
    local name = tostring(x):match "^[%w_%.]+"
    local entry = docs.named(name) or docs.named("nn.optim." .. name)
    if entry then return add_entry(page, entry) end
  end
  if tree.class_of(x) then return add_model(page, x) end
  local entry, info = docs.of(x)
  if entry then return add_entry(page, entry) end
  if info and info.what ~= "C" then
    page[#page + 1] = ("a function from %s:%d, without a comment that begins with ---")
      :format(info.source:gsub("^[@=]", ""), info.linedefined)
    return
  end
  page[#page + 1] = ("%s: nothing is known of it"):format(type(x) == "table" and "a table" or tostring(x))
end

--- Write what is known of a value; without one an overview, of a string what is found by that name.
-- @param x anything: nn.Dense, model.fit, x.sum, nn.optim, "conv"
local function help(...)
  local page = { width = math.max(40, math.min(core.terminal_width(), 100)) }
  local x = ...
  if select("#", ...) == 0 then
    add_overview(page)
  elseif x == nil then
    page[1] = "nil: a name that is nothing, perhaps misspelt"
  elseif type(x) == "string" then
    add_named(page, x)
  else
    add_value(page, x)
  end
  core.write(table.concat(page, "\n") .. "\n")
end

return help
