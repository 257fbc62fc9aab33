local nn = require "nnlua"
local support = require "support"

local message_of = support.message_of

local kinds = { "RNN", "LSTM", "GRU" }

--- The state a call takes or gives, as a list.
local function as_list(state)
  return type(state) == "table" and state or { state }
end

local function random_state(kind, shape, dtype)
  local h = nn.randn(shape, { dtype = dtype })
  if kind ~= "LSTM" then return h end
  return { h, nn.randn(shape, { dtype = dtype }) }
end

local function assert_close(a, b, tolerance)
  assert.same(b.shape, a.shape)
  local difference = (a:double() - b:double()):abs():max():item()
  assert.is_true(difference <= (tolerance or 1e-12), ("differ by %g"):format(difference))
end

--- One step of a cell, of single operations: x (N, in), the weights of a layer; PyTorch's equations.
local steps = {}

local function gates_of(layer, x, h, part)
  local size = layer.hidden_size
  local function rows(t) return t[{ { (part - 1) * size + 1, part * size } }] end
  return x:matmul(rows(layer.weight_ih_l0):t()) + rows(layer.bias_ih_l0),
    h:matmul(rows(layer.weight_hh_l0):t()) + rows(layer.bias_hh_l0)
end

function steps.RNN(layer, x, state)
  local a, b = gates_of(layer, x, state[1], 1)
  return { (a + b)[layer.nonlinearity](a + b) }
end

function steps.LSTM(layer, x, state)
  local sums = {}
  for part = 1, 4 do
    local a, b = gates_of(layer, x, state[1], part)
    sums[part] = a + b
  end
  local c = sums[2]:sigmoid() * state[2] + sums[1]:sigmoid() * sums[3]:tanh()
  return { sums[4]:sigmoid() * c:tanh(), c }
end

function steps.GRU(layer, x, state)
  local a, b = gates_of(layer, x, state[1], 1)
  local r = (a + b):sigmoid()
  a, b = gates_of(layer, x, state[1], 2)
  local z = (a + b):sigmoid()
  a, b = gates_of(layer, x, state[1], 3)
  local n = (a + r * b):tanh()
  return { (1 - z) * n + z * state[1] }
end

local function composed(kind, layer, x, state)
  state = as_list(state)
  local outputs = {}
  for t = 1, x.shape[2] do
    state = steps[kind](layer, x:select(2, t), state)
    outputs[t] = state[1]
  end
  return nn.stack(outputs, 2), state
end

local function parameters_of(layer)
  local list = {}
  for _, p in layer:named_parameters() do list[#list + 1] = p end
  return list
end

--- The gradients of everything in `leaves` of a sum of results, each element with a weight of its own.
local function gradients(outputs, leaves)
  local total
  for _, out in ipairs(outputs) do
    local weights = nn.arange(out:numel(), { dtype = "float64" }):cos():reshape(out.shape):to(out.dtype)
    local part = (out * weights):sum()
    total = total and total + part or part
  end
  return { nn.grad(total, leaves) }
end

for _, kind in ipairs(kinds) do
  describe(kind, function()
    support.count_tensors(before_each, after_each)

    it("is its equations, step by step, and so are its gradients", function()
      for _, options in ipairs { {}, kind == "RNN" and { nonlinearity = "relu" } or { num_layers = 1 } } do
        options.dtype = "float64"
        local layer = nn[kind](3, 5, options)
        local x = nn.randn(4, 6, 3, { dtype = "float64", requires_grad = true })
        local state = random_state(kind, { 1, 4, 5 }, "float64")
        local flat = {}
        for k, s in ipairs(as_list(state)) do flat[k] = s[1] end
        local out, last = layer(x, state)
        local expected, expected_last = composed(kind, layer, x, flat)
        assert_close(out, expected)
        local results, expected_results = { out }, { expected }
        for k, s in ipairs(as_list(last)) do
          assert.same({ 1, 4, 5 }, s.shape)
          assert_close(s[1], expected_last[k])
          results[k + 1], expected_results[k + 1] = s, expected_last[k]
        end
        local leaves = parameters_of(layer)
        leaves[#leaves + 1] = x
        local got, wanted = gradients(results, leaves), gradients(expected_results, leaves)
        for k = 1, #leaves do assert_close(got[k], wanted[k], 1e-11) end
      end
    end)

    it("has the gradient of finite differences: stacked, in both directions, with lengths and states", function()
      for _, lengths in ipairs { false, true } do
        local layer = nn[kind](2, 3, { num_layers = 2, bidirectional = true, dtype = "float64" })
        local inputs = { nn.randn(2, 3, 2, { dtype = "float64", requires_grad = true }) }
        for k = 1, #as_list(random_state(kind, { 4, 2, 3 }, "float64")) do
          inputs[k + 1] = nn.randn(4, 2, 3, { dtype = "float64", requires_grad = true })
        end
        for _, p in ipairs(parameters_of(layer)) do inputs[#inputs + 1] = p end
        local options = lengths and { lengths = nn.tensor({ 2, 3 }, { dtype = "int64" }) } or {}
        assert(nn.gradcheck(function(x, h, c)
          local out, state = layer(x, kind == "LSTM" and { h, c } or h, options)
          return out, (table.unpack or unpack)(as_list(state)) -- luacheck: ignore 143
        end, inputs))
      end
    end)

    it("gives each sequence of a batch with lengths what it has alone", function()
      local layer = nn[kind](3, 4, { num_layers = 2, bidirectional = true, dtype = "float64" })
      local x, lengths = nn.randn(3, 5, 3, { dtype = "float64" }), { 2, 5, 1 }
      local state = random_state(kind, { 4, 3, 4 }, "float64")
      local out, last = layer(x, state, { lengths = nn.tensor(lengths, { dtype = "int32" }) })
      for n, length in ipairs(lengths) do
        local own = {}
        for k, s in ipairs(as_list(state)) do own[k] = s:select(2, n) end
        local alone, alone_last = layer(x[{ n, { 1, length } }], kind == "LSTM" and own or own[1])
        assert_close(out[{ n, { 1, length } }], alone)
        for k, s in ipairs(as_list(last)) do assert_close(s:select(2, n), as_list(alone_last)[k]) end
        if length < 5 then assert.equal(0, out[{ n, { length + 1, 5 } }]:abs():max():item()) end
      end
    end)

    it("takes steps first, one sequence, views, and no steps of padding in its gradients", function()
      local layer = nn[kind](3, 4, { dtype = "float64", bidirectional = true })
      local x = nn.randn(2, 5, 3, { dtype = "float64" })
      local out, last = layer(x)
      local turned = nn[kind](3, 4, { dtype = "float64", bidirectional = true, batch_first = false })
      turned:load_state_dict(layer:state_dict())
      local turned_out, turned_last = turned(x:transpose(1, 2))
      assert_close(turned_out:transpose(1, 2), out)
      assert_close(as_list(turned_last)[1], as_list(last)[1])
      local single, single_last = layer(x[2])
      assert_close(single, out[2])
      assert.same({ 2, 4 }, as_list(single_last)[1].shape)
      x:requires_grad_()
      layer(x, { lengths = nn.tensor({ 5, 2 }, { dtype = "int64" }) }):sum():backward()
      assert.equal(0, x.grad[{ 2, { 3, 5 } }]:abs():max():item())
      assert.is_true(x.grad[{ 2, { 1, 2 } }]:abs():min():item() > 0)
    end)

    it("is the same in float32 and float64, for sizes of every kind", function()
      for _, size in ipairs { { 1, 1, 1, 1 }, { 3, 4, 2, 5 }, { 35, 6, 7, 37 }, { 17, 5, 33, 40 } } do
        local batch, length, input, hidden = size[1], size[2], size[3], size[4]
        local layer = nn[kind](input, hidden)
        local wide = nn[kind](input, hidden, { dtype = "float64" })
        wide:load_state_dict(layer:state_dict())
        local x = nn.randn(batch, length, input, { requires_grad = true })
        local x_wide = x:detach():double():requires_grad_()
        local out, out_wide = layer(x), wide(x_wide)
        assert_close(out, out_wide, 1e-5)
        local leaves, leaves_wide = parameters_of(layer), parameters_of(wide)
        leaves[#leaves + 1], leaves_wide[#leaves_wide + 1] = x, x_wide
        local got, wanted = gradients({ out }, leaves), gradients({ out_wide }, leaves_wide)
        for k = 1, #leaves do assert_close(got[k], wanted[k], 1e-3) end
      end
    end)

    it("has the same bits for any number of threads", function()
      local before = nn.get_num_threads()
      for _, size in ipairs { { 40, 8, 48, 48 }, { 20, 4, 8, 400 } } do
        local layer = nn[kind](size[3], size[4])
        local x = nn.randn(size[1], size[2], size[3], { requires_grad = true })
        local runs = {}
        for _, threads in ipairs { 1, 2, 3 } do
          nn.set_num_threads(threads)
          local out = layer(x)
          local leaves = parameters_of(layer)
          leaves[#leaves + 1] = x
          local grads = gradients({ out }, leaves)
          grads[#grads + 1] = out:detach()
          runs[#runs + 1] = grads
        end
        nn.set_num_threads(before)
        for k = 1, #runs[1] do
          assert.is_true(runs[1][k]:equal(runs[2][k]))
          assert.is_true(runs[1][k]:equal(runs[3][k]))
        end
      end
    end)

    it("takes its input size from the first input, or from loaded values", function()
      local layer = nn[kind](6, { num_layers = 2 })
      assert.is_nil(layer.input_size)
      assert.matches("^" .. kind .. "%(6, num_layers = 2%)$", (tostring(layer):gsub("6, 2", "6, num_layers = 2")))
      assert.same({ 2, 3, 6 }, layer(nn.ones(2, 3, 4)).shape)
      assert.equal(4, layer.input_size)
      local loaded = nn[kind](6, { num_layers = 2 })
      loaded:load_state_dict(layer:state_dict())
      assert.equal(4, loaded.input_size)
      assert_close(loaded(nn.ones(2, 3, 4)), layer(nn.ones(2, 3, 4)), 0)
    end)

    it("drops between layers alone, and only while training", function()
      local layer = nn[kind](3, 8, 2, { dropout = 0.5 })
      local x = nn.randn(2, 4, 3)
      assert.is_false(layer(x):equal((layer(x))))
      layer:eval()
      assert.is_true(layer(x):equal((layer(x))))
      local single = nn[kind](3, 8, { dropout = 0.5 })
      assert.is_true(single(x):equal((single(x))))
    end)

    it("starts within one over the root of the hidden size", function()
      local layer = nn[kind](3, 16, { num_layers = 2 })
      for _, p in ipairs(parameters_of(layer)) do
        assert.is_true(p:abs():max():item() <= 0.25)
        assert.is_true(p:abs():max():item() > 0.2)
      end
    end)

    it("says what does not fit", function()
      local layer = nn[kind](3, 4, { num_layers = 2 })
      local x = nn.ones(2, 5, 3)
      assert.matches("nn." .. kind .. ": expected input %(N, T, 3%) or %(T, 3%) .*got %(2, 5, 4%)",
        message_of(layer, nn.ones(2, 5, 4)))
      assert.matches("of at least one step, got %(2, 0, 3%)", message_of(layer, nn.ones(2, 0, 3)))
      assert.matches("got %(3%)", message_of(layer, nn.ones(3)))
      assert.matches("expected input of dtype float32 as the parameters, got int64",
        message_of(layer, nn.ones(2, 5, 3, { dtype = "int64" })))
      assert.matches("expected the state h of shape %(2, 2, 4%) .*got %(1, 2, 4%)",
        message_of(layer, x, random_state(kind, { 1, 2, 4 })))
      assert.matches("unknown option 'length'; allowed: lengths", message_of(layer, x, { length = 1 }))
      assert.matches("option 'lengths' must be a tensor, got number", message_of(layer, x, { lengths = 3 }))
      assert.matches("option 'lengths' must be an integer tensor of shape %(2%), got %(3%) of int64",
        message_of(layer, x, { lengths = nn.ones(3, { dtype = "int64" }) }))
      assert.matches("length 6 of sequence 2 is not within 1 to 5",
        message_of(layer, x, { lengths = nn.tensor({ 1, 6 }, { dtype = "int64" }) }))
      assert.matches("'lengths' is for batches, got one sequence",
        message_of(layer, x[1], { lengths = nn.ones(1, { dtype = "int64" }) }))
      assert.matches("expected at most 2 inputs, got 3", message_of(layer, x, nil, x))
      assert.matches("option 'num_layers' must be between 1 and 4096, got 0",
        message_of(nn[kind], 3, 4, { num_layers = 0 }))
      assert.matches("has no second derivative", message_of(function()
        nn.grad(layer(x):sum(), parameters_of(layer), { create_graph = true })
      end))
    end)

    it("takes an empty batch", function()
      local layer = nn[kind](3, 4)
      local out, last = layer(nn.zeros(0, 5, 3))
      assert.same({ 0, 5, 4 }, out.shape)
      assert.same({ 1, 0, 4 }, as_list(last)[1].shape)
      out:sum():backward()
      assert.equal(0, layer.weight_hh_l0.grad:abs():max():item())
    end)

    it("survives a failure of any allocation", function()
      local core = require "nnlua.core"
      local layer = nn[kind](3, 4, { num_layers = 2, bidirectional = true, dropout = 0.5 })
      local x = nn.randn(2, 5, 3, { requires_grad = true })
      local state = random_state(kind, { 4, 2, 4 })
      local options = { lengths = nn.tensor({ 5, 3 }, { dtype = "int64" }) }
      local function step()
        local out, last = layer(x, state, options)
        return gradients({ out, as_list(last)[1] }, parameters_of(layer))
      end
      step()
      local before, failures = support.live_tensors(), 0
      for k = 0, 400 do
        core.fail_allocation(k)
        local ok, message = pcall(step)
        core.fail_allocation(nil)
        if ok then break end
        failures = failures + 1
        assert.matches("out of memory", tostring(message))
        if k % 20 == 0 then assert.equal(before, support.live_tensors()) end
      end
      assert.is_true(failures > 50)
      assert.equal(before, support.live_tensors())
      step()
    end)
  end)

  describe(kind .. "Cell", function()
    support.count_tensors(before_each, after_each)

    it("is one step of the layer", function()
      local layer, cell = nn[kind](3, 4), nn[kind .. "Cell"](3, 4)
      local values = {}
      for name, p in layer:named_parameters() do values[name:gsub("_l0$", "")] = p end
      cell:load_state_dict(values)
      local x, state = nn.randn(2, 2, 3), nil
      for t = 1, 2 do
        state = { cell(x:select(2, t), kind == "LSTM" and state or state and state[1]) }
        assert.equal(kind == "LSTM" and 2 or 1, #state)
      end
      local out, last = layer(x)
      assert_close(state[1], out:select(2, 2), 1e-6)
      for k, s in ipairs(as_list(last)) do assert_close(state[k], s[1], 1e-6) end
      assert_close(cell(x[1][1]), out[1][1], 1e-6)
    end)

    it("has the gradient of finite differences", function()
      local cell = nn[kind .. "Cell"](2, 3, { dtype = "float64" })
      local inputs = { nn.randn(2, 2, { dtype = "float64", requires_grad = true }) }
      for k = 2, 3 do inputs[k] = nn.randn(2, 3, { dtype = "float64", requires_grad = true }) end
      for _, p in ipairs(parameters_of(cell)) do inputs[#inputs + 1] = p end
      assert(nn.gradcheck(function(x, h, c) return cell(x, kind == "LSTM" and { h, c } or h) end, inputs))
    end)

    it("says what does not fit", function()
      local cell = nn[kind .. "Cell"](3, 4)
      assert.matches("expected input %(N, 3%) or %(3%), got %(2, 5%)", message_of(cell, nn.ones(2, 5)))
      assert.matches("expected the state h of shape %(2, 4%), got %(2, 5%)",
        message_of(cell, nn.ones(2, 3), random_state(kind, { 2, 5 })))
    end)
  end)
end

describe("a recurrent layer", function()
  support.count_tensors(before_each, after_each)

  it("names its parameters as PyTorch does, in its order", function()
    local names = {}
    for name in nn.LSTM(2, 3, { num_layers = 2, bidirectional = true, bias = false }):named_parameters() do
      names[#names + 1] = name
    end
    assert.same({ "weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse",
      "weight_ih_l1", "weight_hh_l1", "weight_ih_l1_reverse", "weight_hh_l1_reverse" }, names)
    assert.same({ 12, 6 }, nn.LSTM(2, 3, { num_layers = 2, bidirectional = true }).weight_ih_l1_reverse.shape)
  end)

  it("takes a state as a table of the right tensors only", function()
    local lstm, gru = nn.LSTM(2, 3), nn.GRU(2, 3)
    local x, h = nn.ones(1, 2, 2), nn.ones(1, 1, 3)
    local wanted = "nn.LSTM: expected a table of the tensors {h, c} as input 2, got "
    assert.equal(wanted .. "tensor", message_of(lstm, x, h))
    assert.equal(wanted .. "a table of 1 values", message_of(lstm, x, { h }))
    assert.equal(wanted .. "string", message_of(lstm, x, { h, "c" }))
    assert.equal("nn.GRU: expected a tensor as input 2, got table", message_of(gru, x, { h }))
    assert.same(lstm(x):tolist(), lstm(x, nil, {}):tolist())
    assert.same(lstm(x):tolist(), lstm(x, {}):tolist())
  end)

  it("is saved and loaded, converted and shown with its model", function()
    local model = nn.Sequential { nn.Embedding(5, 4), nn.LSTM(4, 3, { num_layers = 2, bidirectional = true }),
      nn.Dense(6, 2) }
    local tokens = nn.tensor({ { 1, 5, 2 } }, { dtype = "int64" })
    local expected = model(tokens)
    local path = os.tmpname()
    model:save(path)
    local again = nn.load(path)
    os.remove(path)
    assert_close(again(tokens), expected, 0)
    assert_close(again:double()(tokens), expected, 1e-6)
    local lines = {}
    nn.set_output(function(text) lines[#lines + 1] = text end)
    nn.Sequential { nn.LSTM(4, 3, { bidirectional = true }), nn.Dense(6, 2) }:summary { 7, 4 }
    nn.set_output(nil)
    assert.matches("LSTM%)%s+%(N, 7, 6%)", table.concat(lines)) -- the shape of its first result
  end)

  it("learns which of two signs came first", function()
    local gru, head = nn.GRU(1, 8), nn.Dense(8, 1)
    local parameters = gru:parameters()
    for _, p in ipairs(head:parameters()) do parameters[#parameters + 1] = p end
    local optimizer = nn.optim.Adam(parameters, { lr = 0.03 })
    local criterion, loss = nn.BCEWithLogitsLoss(), nil
    local x = nn.randint(0, 2, { 32, 6, 1 }):float() * 2 - 1
    local target = (x:select(2, 1) + 1) / 2
    for _ = 1, 120 do
      optimizer:zero_grad()
      local _, state = gru(x)
      loss = criterion(head(state[1]), target)
      loss:backward()
      optimizer:step()
    end
    assert.is_true(loss:item() < 0.1)
  end)
end)
