--- A training that is killed goes on from its backup when the script runs again, and ends with the same bytes.
-- NNLUA_TEST_KILLS says how often each is killed (3), NNLUA_TEST_SEED when.

local nn = require "nnlua"
local program = dofile("tests/cli/program.lua")

local SCRIPT = [[
local nn = require "nnlua"
local folder, every = arg[1], arg[2]
nn.manual_seed(7)

local x = nn.randn(1200, 16)
local y = x:narrow(2, 1, 4):argmax(2)
local model = nn.Sequential {
  nn.Dense(64, {activation = "relu"}), nn.BatchNorm1d(64), nn.Dropout(0.3), nn.Dense(4),
}
model:compile {optimizer = {"adam", lr = 0.003}, loss = "cross_entropy", metrics = {"accuracy"}}
local C = nn.callbacks
local history = model:fit(x, y, {
  epochs = 6, batch_size = 8, validation_split = 0.1, verbose = 0,
  callbacks = {
    C.EarlyStopping {patience = 4, restore_best_weights = true},
    C.ReduceLROnPlateau {patience = 1, factor = 0.5},
    C.ModelCheckpoint(folder .. "/best", {save_best_only = true}),
    C.CSVLogger(folder .. "/log.csv"),
    C.BackupAndRestore(folder .. "/backup", {save_freq = tonumber(every) or every}),
  },
})
assert(model:save(folder .. "/final", {optimizer = true}))
assert(nn.save({history = history, random = nn.get_rng_state()}, folder .. "/history"))
]]

local RESULTS = { "final", "history", "log.csv", "best" }

local kills = tonumber(os.getenv "NNLUA_TEST_KILLS") or 3
local seed = tonumber(os.getenv "NNLUA_TEST_SEED") or os.time()

describe("A training that is killed", function()
  local folder, script

  setup(function()
    folder = program.shell("mktemp -d").out:match("%S+")
    script = program.write(SCRIPT, folder .. "/script.lua")
    math.randomseed(seed)
  end)

  teardown(function() program.shell("rm -r " .. program.quote(folder)) end)

  local function run(name, every)
    local place = folder .. "/" .. name
    local before = nn.clock()
    local result = program.shell(('mkdir -p %s && "$NNLUA" %s %s %s'):format(place, script, place, every))
    assert.equal("", result.err)
    assert.equal(0, result.code)
    return place, nn.clock() - before
  end

  -- Whether it was killed, and did not end before.
  local function run_and_kill(place, every, seconds)
    local result = program.shell(([[
      mkdir -p %s
      "$NNLUA" %s %s %s & pid=$!
      sleep %.3f
      kill -9 $pid 2>/dev/null
      wait $pid
      exit $?]]):format(place, script, place, every, seconds))
    assert.is_true(result.code == 137 or result.code == 0, result.err)
    return result.code == 137
  end

  for _, every in ipairs { "epoch", "7" } do
    it("ends with the same bytes, a backup each " .. (every == "epoch" and every or every .. " batches"), function()
      local whole, seconds = run("whole-" .. every, every)
      local place, killed = folder .. "/killed-" .. every, 0
      for attempt = 1, 10 * kills do -- where others use the machine, a time measured once says little
        if run_and_kill(place, every, seconds * (0.1 + 0.8 * math.random())) then killed = killed + 1 end
        if attempt >= kills and killed > 0 then break end
      end
      assert.is_true(killed > 0, "it was never killed in time")
      run("killed-" .. every, every)
      for _, name in ipairs(RESULTS) do
        assert.is_true(program.read(whole .. "/" .. name) == program.read(place .. "/" .. name),
          ("%s differs, with NNLUA_TEST_SEED=%d"):format(name, seed))
      end
      assert.equal("", program.shell(("find %s -name 'backup*'"):format(place)).out)
      if os.getenv "NNLUA_TEST_KILLS" then print(("killed %d of %d times"):format(killed, kills)) end
    end)
  end
end)
