-- What the examples of scripts/hosts/ that score texts do without their hosts: words.lua, and the module for Prosody
-- between stand-ins for what Prosody gives it.
package.path = os.getenv "NNLUA_SOURCE" .. "/scripts/hosts/?.lua;" .. package.path
local nn = require "nnlua"
local words = require "words"

local good = { "see you at lunch", "the build is green again", "can you review my patch", "thanks for the cake" }
local bad = { "cheap pills buy now", "you won a prize click", "buy cheap watches now", "click to claim your prize" }

local function trained()
  nn.manual_seed(1)
  local texts, labels = {}, {}
  for _ = 1, 8 do
    for i = 1, 4 do
      texts[#texts + 1], labels[#labels + 1] = good[i], 0
      texts[#texts + 1], labels[#labels + 1] = bad[i], 1
    end
  end
  return words.train(texts, labels)
end

local function saved(model)
  local path = os.tmpname()
  assert(model:save(path))
  return path
end

local function places(text)
  local list = {}
  for i, value in ipairs(words.vector(text)) do
    if value ~= 0 then list[#list + 1] = i end
  end
  return list
end

describe("words", function()
  it("gives a vector of length 1", function()
    for _, text in ipairs { "one", "one two three", "Zwölf Boxkämpfer", ("word "):rep(1000) } do
      local sum = 0
      for _, value in ipairs(words.vector(text)) do sum = sum + value * value end
      assert.near(1, sum, 1e-9)
    end
    assert.equal(1024, #words.vector "one")
  end)

  it("takes a text without words", function()
    for _, text in ipairs { "", "  \n", "?!" } do assert.same({}, places(text)) end
  end)

  it("does not see order, repetition, case and punctuation", function()
    assert.same(places "buy cheap pills", places "PILLS, cheap pills: Buy!")
    assert.equal(3, #places "buy cheap pills")
    assert.equal(1, #places "Kämpfer")
  end)

  it("learns, and a saved model scores the same", function()
    local model, losses = trained()
    assert.is_true(losses[#losses] < losses[1] / 5)
    local path = saved(model)
    local score = words.open(path)
    os.remove(path)
    for i = 1, 4 do
      assert.is_true(score(good[i]) < 0.2)
      assert.is_true(score(bad[i]) > 0.8)
    end
    assert.is_true(score "claim your cheap pills now" > 0.8)
    assert.near(model:predict(nn.tensor { words.vector(bad[1]) }):item(), score(bad[1]), 1e-6)
  end)

  it("reads texts, and says in which line something else is", function()
    local path = os.tmpname()
    local function write(text)
      local file = assert(io.open(path, "w"))
      file:write(text)
      file:close()
    end
    write "1\tbuy\n0\thello\tyou\n"
    local texts, labels = words.read(path)
    assert.same({ "buy", "hello\tyou" }, texts)
    assert.same({ 1, 0 }, labels)
    write "1\tbuy\nhello\n"
    local _, message = words.read(path)
    assert.equal(path .. ":2: expected 0 or 1, a tab and a text", message)
    write ""
    _, message = words.read(path)
    assert.equal(path .. ": no texts", message)
    os.remove(path)
    assert.is_nil((words.read(path)))
  end)
end)

--- Loads the module with these options; returns what it hooked and what it logged.
local function load_module(options)
  local hooks, log = {}, {}
  local file = os.getenv "NNLUA_SOURCE" .. "/scripts/hosts/mod_nnlua_score.lua"
  local module = { path = file }
  function module:get_option_string(name) return options[name] end -- luacheck: no self
  function module:get_option_number(name, default) return options[name] or default end -- luacheck: no self
  function module:hook(name, handler) hooks[name] = handler end -- luacheck: no self
  function module:log(level, ...) log[#log + 1] = level .. " " .. string.format(...) end -- luacheck: no self
  package.loaded["util.stanza"] = { error_reply = function(_, kind, condition) return kind .. " " .. condition end }
  local path = package.path
  local ok, message = pcall(assert(loadfile(file, "t", setmetatable({ module = module }, { __index = _G }))))
  package.path, package.loaded["util.stanza"] = path, nil
  return ok and hooks or nil, ok and log or message
end

local function message(body, kind)
  local event = { replies = {}, stanza = { attr = { from = "a@localhost", to = "b@localhost", type = kind } } }
  function event.stanza:get_child_text() return body end -- luacheck: no self
  event.origin = { send = function(reply) event.replies[#event.replies + 1] = reply end }
  return event
end

describe("mod_nnlua_score", function()
  local path = saved((trained()))

  it("logs scores, and delivers when no limit is set", function()
    local hooks, log = load_module { nnlua_score_model = path }
    for _, name in ipairs { "message/bare", "message/full" } do
      local event = message(bad[1])
      assert.is_nil(hooks[name](event))
      assert.same({}, event.replies)
    end
    assert.equal(2, #log)
    assert.matches("^info message from a@localhost to b@localhost scores 0%.[89]%d%d$", log[1])
  end)

  it("refuses from the limit on", function()
    local hooks, log = load_module { nnlua_score_model = path, nnlua_score_refuse = 0.7 }
    local event = message(bad[1])
    assert.is_true(hooks["message/full"](event))
    assert.same({ "cancel policy-violation" }, event.replies)
    assert.matches("refused$", log[1])
    event = message(good[1])
    assert.is_nil(hooks["message/full"](event))
    assert.same({}, event.replies)
  end)

  it("leaves errors and messages without a text alone", function()
    local hooks, log = load_module { nnlua_score_model = path, nnlua_score_refuse = 0 }
    assert.is_nil(hooks["message/bare"](message(nil)))
    assert.is_nil(hooks["message/bare"](message(bad[1], "error")))
    assert.same({}, log)
  end)

  it("does not load without a model", function()
    local hooks, why = load_module {}
    assert.is_nil(hooks)
    assert.matches("nnlua_score_model is not set", why)
    hooks, why = load_module { nnlua_score_model = "/nonexistent/model.safetensors" }
    assert.is_nil(hooks)
    assert.matches("/nonexistent/model%.safetensors", why)
  end)
end)
