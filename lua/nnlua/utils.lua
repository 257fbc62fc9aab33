--- nn.utils: what a training loop does to gradients and parameters between backward and step.

local core = require "nnlua.core"
local check = require "nnlua.check"
local tree = require "nnlua.tree"

local utils = {}

--- Those of one parameter or a list of them that have a gradient.
local function with_gradients(who, params)
  if core.is_tensor(params) then params = { params } end
  if type(params) ~= "table" then check.expect(who, "argument 1", params, "a tensor or a list of tensors") end
  local list = {}
  for i = 1, #params do
    local grad = check.tensor(who, "parameter " .. i, params[i]).grad
    if grad then list[#list + 1] = grad end
  end
  return list
end

local function check_limit(who, value)
  if type(value) ~= "number" or value ~= value or value < 0 then
    check.expect(who, "argument 2", value, "a number from 0")
  end
end

--- The p-norm of all gradients as one vector.
local function total_norm(grads, p)
  local sum = 0
  for _, grad in ipairs(grads) do
    local norm = grad:norm(p):item()
    if p == math.huge then
      sum = (norm ~= norm or norm > sum) and norm or sum
    else
      sum = sum + norm ^ p
    end
  end
  return p == math.huge and sum or sum ^ (1 / p)
end

--- Scale all gradients together so that their norm is at most max_norm.
-- @param params tensor|list
-- @param max_norm number
-- @param options table: norm_type (2; math.huge for the largest magnitude), error_if_nonfinite (false)
-- @return number the norm before
function utils.clip_grad_norm_(params, max_norm, options)
  local who = "nn.utils.clip_grad_norm_"
  if type(options) == "number" then options = { norm_type = options } end
  options = check.options(who, options, { norm_type = "number", error_if_nonfinite = "boolean" })
  check_limit(who, max_norm)
  local grads = with_gradients(who, params)
  local norm = total_norm(grads, options.norm_type or 2)
  if options.error_if_nonfinite and norm - norm ~= 0 then
    check.fail(who, ("the norm of the gradients is %s"):format(norm))
  end
  local scale = max_norm / (norm + 1e-6)
  if scale >= 1 then return norm end
  core.no_grad(function()
    for _, grad in ipairs(grads) do grad:mul_(scale) end
  end)
  return norm
end

--- Limit every element of every gradient to -limit .. limit.
function utils.clip_grad_value_(params, limit)
  local who = "nn.utils.clip_grad_value_"
  check_limit(who, limit)
  local grads = with_gradients(who, params)
  core.no_grad(function()
    for _, grad in ipairs(grads) do grad:clamp_(-limit, limit) end
  end)
end

--- Scale down the rows that are longer than a limit: max-norm regularisation (Srivastava et al. 2014), after a step.
-- @param params tensor|list each of at least two dimensions, such as the weights of layers
-- @param limit number the most that the 2-norm of a row may be
-- @param options table: dim (1), the dimension that counts the rows; the norm is over all others
function utils.max_norm_(params, limit, options)
  local who = "nn.utils.max_norm_"
  if core.is_tensor(params) then params = { params } end
  if type(params) ~= "table" then check.expect(who, "argument 1", params, "a tensor or a list of tensors") end
  check_limit(who, limit)
  local dim = check.options(who, options, { dim = "count" }).dim or 1
  core.no_grad(function()
    for i = 1, #params do
      local weight = check.tensor(who, "parameter " .. i, params[i])
      if weight.ndim < 2 or dim > weight.ndim then
        check.fail(who, ("parameter %d: expected at least %d dimensions, got %s"):format(i, math.max(2, dim),
          check.shape(weight.shape)))
      end
      local others = {}
      for d = 1, weight.ndim do
        if d ~= dim then others[#others + 1] = d end
      end
      local norm = weight:norm(2, others, true)
      weight:mul_((norm:clamp(0, limit) + 1e-7) / (norm + 1e-7))
    end
  end)
end

--- All parameters as one vector.
-- @param params list of tensors
-- @return tensor, one dimension
function utils.parameters_to_vector(params)
  local parts = {}
  for i = 1, #params do
    parts[i] = check.tensor("nn.utils.parameters_to_vector", "parameter " .. i, params[i]):reshape(-1)
  end
  return core.cat(parts, 1)
end

--- Copy a vector back into the parameters that it was made of.
-- @param vector tensor, one dimension
-- @param params list of tensors
function utils.vector_to_parameters(vector, params)
  local who = "nn.utils.vector_to_parameters"
  check.tensor(who, "argument 1", vector)
  local total = 0
  for i = 1, #params do total = total + check.tensor(who, "parameter " .. i, params[i]):numel() end
  if vector:numel() ~= total then
    check.fail(who, ("expected a vector of %d elements, got %d"):format(total, vector:numel()))
  end
  local from = 1
  core.no_grad(function()
    for i = 1, #params do
      local count = params[i]:numel()
      params[i]:copy_(vector:narrow(1, from, count):reshape(params[i].shape))
      from = from + count
    end
  end)
end

-- ---- learning rates by depth

-- Whether a module holds a list of blocks, itself or further down.
local function has_blocks(node)
  local found = false
  tree.each_node(node, function(_, each) found = found or tree.class_name(each) == "ModuleList" end)
  return found
end

-- The parts of a model from the input to the output, in the order of its fields: elements of a ModuleList, and what is
-- neither a Sequential nor has blocks further down. visit(part's parameters as {name, tensor} pairs).
local function each_part(node, path, visit)
  local own = {}
  local function add(list, prefix, part)
    tree.each_tensor(part, function(name, tensor, kind)
      if kind == "parameter" then list[#list + 1] = { prefix .. name, tensor } end
    end)
  end
  if core.is_layer(node) then
    add(own, path, node)
    return visit(own)
  end
  local is_list = tree.class_name(node) == "ModuleList"
  for _, entry in ipairs(tree.entries(node)) do
    local name, value = path .. entry[1], entry[2]
    if entry[3] == "module" then
      local opens = not is_list and not core.is_layer(value)
        and (tree.class_name(value) == "Sequential" or has_blocks(value))
      if opens then
        each_part(value, name .. ".", visit)
      else
        local list = {}
        add(list, name .. ".", value)
        visit(list)
      end
    elseif entry[3] == "parameter" then
      visit { { name, value } }
    end
  end
end

-- The depths of a model by themselves: lists of {name, tensor}, without those that hold nothing.
local function depths_of(model)
  local depths = {}
  each_part(model, "", function(list)
    if #list > 0 then depths[#depths + 1] = list end
  end)
  return depths
end

-- The depths that patterns tell, from the input to the output: each parameter is of the first pattern that its name
-- has.
local function depths_by(who, model, patterns)
  local depths, names = {}, {}
  for i = 1, #patterns do depths[i] = {} end
  for name, tensor in model:named_parameters() do
    names[#names + 1] = name
    local depth
    for i = #patterns, 1, -1 do
      if type(patterns[i]) ~= "string" then check.expect(who, "option layers", patterns[i], "a list of patterns") end
      if name:find(patterns[i]) then depth = i end
    end
    if not depth then check.fail(who, ("option layers: no pattern is found in %q"):format(name)) end
    table.insert(depths[depth], { name, tensor })
  end
  for i, depth in ipairs(depths) do
    if #depth == 0 then
      check.fail(who, ("option layers: no parameter is left for %q; there are %s"):format(patterns[i],
        table.concat(names, ", ", 1, math.min(#names, 12))))
    end
  end
  return depths
end

local group_rules = { lr = "number", decay = "number", weight_decay = "number", layers = "table" }

local function check_groups(who, options)
  options = check.options(who, options, group_rules)
  if not options.lr then check.fail(who, "option lr is missing: the learning rate of the last layer") end
  local decay = options.decay or 0.9
  if not (decay > 0 and decay <= 1) then check.expect(who, "option decay", decay, "a number above 0, at most 1") end
  return options, decay
end

-- A depth's parameters that are trained and met for the first time: those with weight decay, and those without.
local function trained_of(depth, seen)
  local decayed, plain = {}, {}
  for _, entry in ipairs(depth) do
    local tensor = entry[2]
    local id = tree.identity(tensor)
    if tensor.requires_grad and not seen[id] then
      seen[id] = true
      local list = tensor.ndim > 1 and decayed or plain
      list[#list + 1] = tensor
    end
  end
  return decayed, plain
end

--- Groups of parameters for an optimizer, with learning rates that become smaller with the distance from the output:
-- lr * decay ^ (layers behind), as a pretrained body needs less change than what is new on top of it (Howard and Ruder
-- 2018, "discriminative fine-tuning"). Frozen parameters are left out.
-- @param model module
-- @param options table: lr (of the last layer), decay (0.9), weight_decay (of matrices; biases and normalisations then
-- get 0), layers (patterns of parameters' names from the input to the output, such as {"^embed", "^blocks%.0%.", ...,
-- ""}; each parameter is of the first pattern found in its name. Without it: the fields of the model in their order,
-- and the elements of Sequential and ModuleList)
-- @return list of {params = , lr = [, weight_decay = ]}
-- @usage nn.optim.AdamW(nn.utils.layer_groups(model, {lr = 1e-3, decay = 0.8}))
function utils.layer_groups(model, options)
  local who = "nn.utils.layer_groups"
  if not tree.is_node(model) then check.expect(who, "argument 1", model, "a model") end
  local given, decay = check_groups(who, options)
  model:parameters() -- an error where a layer does not know its size yet
  local depths = given.layers and depths_by(who, model, given.layers) or depths_of(model)
  local groups, seen = {}, {}
  for i, depth in ipairs(depths) do
    local decayed, plain = trained_of(depth, seen)
    local lr = given.lr * decay ^ (#depths - i)
    if not given.weight_decay then
      for _, tensor in ipairs(plain) do decayed[#decayed + 1] = tensor end
      plain = {}
    end
    if #decayed > 0 then
      groups[#groups + 1] = { params = decayed, lr = lr, weight_decay = given.weight_decay }
    end
    if #plain > 0 then groups[#groups + 1] = { params = plain, lr = lr, weight_decay = 0 } end
  end
  if #groups == 0 then check.fail(who, "every parameter of the model is frozen: model:unfreeze(pattern) before") end
  return groups
end

return utils
