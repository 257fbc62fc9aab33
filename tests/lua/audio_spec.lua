--- nn.audio and nn.data.audio: features against tests/golden/audio.npz (made by audio.py beside it), files of sound.

-- Needs Lua 5.3: string.pack.
local nn = require "nnlua"
local support = require "support"

local golden, paths = nil, {}

local function temporary(suffix)
  local path = os.tmpname()
  os.remove(path)
  paths[#paths + 1] = path .. suffix
  return path .. suffix
end

local function read_bytes(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("a")
  file:close()
  return bytes
end

local function assert_near(expected, got, tolerance)
  assert.same(expected.shape, got.shape)
  local worst = (expected - got):abs():max():item()
  assert.is_true(worst <= tolerance, ("differs by %g"):format(worst))
end

local function use_golden(before_each, after_each)
  before_each(function() golden = golden or assert(nn.data.npz("tests/golden/audio.npz")) end)
  support.count_tensors(before_each, after_each)
  teardown(function() golden = nil end)
end

describe("Features of sound", function()
  use_golden(before_each, after_each)

  it("are those of torch.stft, for every size", function()
    local x = golden.x
    assert_near(golden.power_of_two, nn.audio.stft(x, { n_fft = 32, hop_length = 16 }), 2e-6)
    local mixed = { n_fft = 60, hop_length = 25, win_length = 45, window = "hamming", normalized = true }
    assert_near(golden.mixed, nn.audio.stft(x, mixed), 1e-6)
    assert_near(golden.prime, nn.audio.stft(x, { n_fft = 37, hop_length = 20, pad_mode = "constant" }), 3e-6)
    local apart = { n_fft = 24, hop_length = 30, window = "blackman", center = false }
    assert_near(golden.not_centered, nn.audio.stft(x, apart), 2e-6)
  end)

  it("are what the definition says, for all sizes up to 40", function()
    local n = 40
    local x = nn.randn(n)
    for size = 1, n do
      local angle = nn.outer(nn.range(0, math.floor(size / 2)), nn.range(0, size - 1)):double() * (2 * math.pi / size)
      local frame = x:narrow(1, 1, size):double()
      local expected = nn.stack({ angle:cos():mv(frame), -angle:sin():mv(frame) }, 2):float():unsqueeze(2)
      local options = { n_fft = size, hop_length = n, window = "ones", center = false }
      assert_near(expected, nn.audio.stft(x, options), 1e-5)
    end
  end)

  it("are spectrograms, mel spectrograms and cepstral coefficients", function()
    local frame = { n_fft = 64, hop_length = 20, rate = 8000, n_mels = 10 }
    local function with(more)
      local all = {}
      for _, set in ipairs { frame, more } do
        for name, value in pairs(set) do all[name] = value end
      end
      return all
    end
    assert_near(golden.spectrogram, nn.audio.spectrogram(golden.x, { n_fft = 64, hop_length = 20 }), 3e-5)
    assert_near(golden.magnitudes, nn.audio.spectrogram(golden.x, { n_fft = 64, hop_length = 20, power = 1 }), 5e-6)
    local slaney = {
      mel_scale = "slaney", norm = "slaney", f_min = 100, f_max = 3800, n_fft = 64, rate = 8000, n_mels = 10,
    }
    assert_near(golden.htk_bank, nn.audio.mel_filter_bank { n_fft = 64, rate = 8000, n_mels = 10 }, 1e-6)
    assert_near(golden.slaney_bank, nn.audio.mel_filter_bank(slaney), 1e-6)
    assert_near(golden.mel, nn.audio.mel_spectrogram(golden.x, frame), 5e-5)
    slaney.power, slaney.hop_length = 1, 20
    assert_near(golden.slaney_mel, nn.audio.mel_spectrogram(golden.x, slaney), 1e-6)
    assert_near(golden.mfcc, nn.audio.mfcc(golden.x, with { n_mfcc = 5 }), 1e-4)
    assert_near(golden.log_mfcc, nn.audio.mfcc(golden.x, with { n_mfcc = 5, log_mels = true }), 1e-4)
  end)

  it("keep the dimensions before the last, and are the same for any number of threads", function()
    local x = nn.randn(3, 2, 4000)
    local options = { n_fft = 200, hop_length = 50, n_mels = 20, n_mfcc = 8 }
    local all = nn.audio.mfcc(x, options)
    assert.same({ 3, 2, 8, 81 }, all.shape)
    assert.is_true(all[{ 2, 1 }]:equal(nn.audio.mfcc(x[{ 2, 1 }], options)))
    local threads = nn.get_num_threads()
    nn.set_num_threads(1)
    assert.is_true(all:equal(nn.audio.mfcc(x, options)))
    nn.set_num_threads(threads)
    assert.same({ 0, 101, 81, 2 }, nn.audio.stft(nn.zeros(0, 4000), { n_fft = 200 }).shape)
  end)

  it("take windows of one's own, strided and other samples", function()
    local x = nn.randn(400, 2)
    local own = nn.rand(100)
    assert.is_true(nn.audio.stft(x:t(), { n_fft = 100 }):equal(nn.audio.stft(x:t():contiguous(), { n_fft = 100 })))
    local by_hand = nn.audio.stft(x[{ { 1, 100 }, 1 }] * own, { n_fft = 100, window = "ones", center = false })
    local options = { n_fft = 100, window = own, center = false }
    assert_near(by_hand, nn.audio.stft(x[{ { 1, 100 }, 1 }]:double(), options), 1e-5)
  end)

  it("say what is wrong", function()
    local x = nn.zeros(1000)
    local cases = {
      { "stft", { windo = "hann" }, "did you mean 'window'" }, { "stft", { window = "hanm" }, "did you mean 'hann'" },
      { "stft", { win_length = 500 }, "win_length: expected 1 to n_fft = 400, got 500" },
      { "stft", { n_fft = 2001 }, "1000 samples is too short" },
      { "stft", { n_fft = 2 ^ 30 | 0 }, "n_fft: expected 1 to" },
      { "stft", { window = nn.ones(3) }, "expected 400 numbers" },
      { "mfcc", { n_mfcc = 200 }, "n_mfcc: expected 1 to n_mels = 128, got 200" },
      { "mel_spectrogram", { f_min = 9000 }, "f_min: expected a number from 0 to below f_max = 8000, got 9000" },
      { "mel_spectrogram", { mel_scale = "hkt" }, "expected one of htk slaney" },
      { "spectrogram", { power = 0 }, "power: expected a number above 0" },
      { "delta", { win_length = 4 }, "odd number" },
    }
    for _, case in ipairs(cases) do
      local message = select(2, pcall(nn.audio[case[1]], x, case[2]))
      assert.matches("nn.audio." .. case[1] .. ": .*" .. case[3], tostring(message))
    end
    assert.error_matches(function() nn.audio.stft("x") end, "nn.audio.stft: samples: expected a tensor")
  end)

  it("leak nothing where memory runs out", function()
    local x = nn.randn(2, 300)
    assert.is_true(support.fail_each(function() nn.audio.mfcc(x, { n_fft = 37, n_mels = 8, n_mfcc = 4 }) end) > 8)
    assert.is_true(support.fail_each(function() nn.audio.resample(x, 3, 2) end) > 2)
  end)
end)

describe("Sound", function()
  use_golden(before_each, after_each)
  after_each(function()
    for _, path in ipairs(paths) do os.remove(path) end
    paths = {}
  end)

  it("comes at another rate", function()
    assert_near(golden.slower, nn.audio.resample(golden.x, 3, 2), 1e-6)
    assert_near(golden.faster, nn.audio.resample(golden.x, 8000, 11025), 1e-6)
    assert.is_true(nn.audio.resample(golden.x, 5, 5):equal(golden.x))
    assert.error_matches(function() nn.audio.resample(golden.x, 0, 5) end, "from: expected a whole number of Hz, got 0")
  end)

  it("is cut into frames, changes, and is told in decibels", function()
    assert_near(golden.delta, nn.audio.delta(golden.x), 1e-6)
    assert.same({ 2, 9, 40 }, nn.audio.frames(golden.x, 40, 20).shape)
    assert.is_true(nn.audio.amplitude_to_db(nn.tensor { 1, 10, 1e-20 }):allclose(nn.tensor { 0, 10, -100 }))
    assert.is_true(nn.audio.amplitude_to_db(nn.tensor { 1, 10, 0 }, { power = false, top_db = 30, ref = 10 })
      :allclose(nn.tensor { -20, 0, -30 }))
  end)

  it("comes back from WAV and FLAC as it was written, from OGG nearly", function()
    local x = nn.randint(-32768, 32768, { 2, 3000 }) / 32768
    for _, suffix in ipairs { ".wav", ".flac" } do
      local path = temporary(suffix)
      assert.is_true(nn.audio.save(path, x, 8000))
      local y, rate = nn.data.audio(path)
      assert.equal(8000, rate)
      assert.is_true(y:equal(x))
      assert.is_true(nn.data.audio(read_bytes(path)):equal(x))
    end
    local path, tone = temporary(".ogg"), nn.range(1, 4000):mul(0.05):sin() * 0.5
    assert.is_true(nn.audio.save(path, tone, 16000))
    assert.is_true((nn.data.audio(path)[1] - tone):abs():max():item() < 0.1)
  end)

  it("is mixed, brought to a rate, cut off or kept as floats", function()
    local path = temporary(".wav")
    local x = nn.tensor { { 0.5, 2 }, { 0, -0.5 } }
    assert.is_true(nn.audio.save(path, x, 8000, { bits = 32 }))
    assert.is_true(nn.data.audio(path):equal(x))
    assert.is_true(nn.audio.save(path, x:select(1, 1), 8000))
    assert.is_true(nn.data.audio(path):allclose(nn.tensor { { 0.5, 1 } }, { atol = 1e-4 }))
    assert.is_true(nn.audio.save(path, x * 0.25, 8000))
    assert.is_true(nn.data.audio(path, { mono = true }):equal(nn.tensor { { 0.0625, 0.1875 } }))
    local y, rate = nn.data.audio(path, { rate = 16000, dtype = "float64" })
    assert.same({ 2, 4 }, y.shape)
    assert.equal("float64", y.dtype)
    assert.equal(16000, rate)
    assert.is_true(nn.audio.save(path, nn.zeros(1, 0), 8000))
    assert.same({ 1, 0 }, nn.data.audio(path).shape)
  end)

  it("that is none gives nil and a message", function()
    assert.matches("/no/such.wav: cannot open", select(2, nn.data.audio("/no/such.wav")))
    assert.matches("no sound file", select(2, nn.data.audio("RIFF and nothing more")))
    assert.matches("no sound file: WAV, FLAC, OGG", select(2, nn.data.audio("\255\251\144\0" .. ("\0"):rep(5000))))
    assert.matches("/no/such.wav: cannot write", select(2, nn.audio.save("/no/such.wav", nn.zeros(3), 8000)))
    assert.error_matches(function() nn.audio.save("x.mp3", nn.zeros(3), 8000) end, "expected one of flac oga ogg wav")
    local floats = { bits = 32 }
    assert.error_matches(function() nn.audio.save("x.flac", nn.zeros(3), 8000, floats) end, "bits: expected 16 or 24")
    assert.error_matches(function() nn.audio.save("x.wav", nn.zeros(3)) end, "rate: expected a whole number of Hz")
    assert.error_matches(function() nn.data.audio("x", { mone = true }) end, "did you mean 'mono'")
  end)

  it("that is cut or damaged is read as far as it goes, or refused", function()
    local path, damaged = temporary(".flac"), temporary(".flac")
    assert.is_true(nn.audio.save(path, nn.range(1, 600):mul(0.1):sin() * 0.5, 8000))
    local bytes = read_bytes(path)
    for length = 0, #bytes - 1, 3 do
      local x, message = nn.data.audio(bytes:sub(1, math.max(length, 4)))
      assert.is_true(x == nil and type(message) == "string" or x ~= nil)
      local file = assert(io.open(damaged, "wb"))
      file:write(bytes:sub(1, length), string.char(bytes:byte(length + 1) ~ 0xff), bytes:sub(length + 2))
      file:close()
      x, message = nn.data.audio(damaged)
      assert.is_true(x == nil and type(message) == "string" or x ~= nil)
    end
  end)

  it("leaks nothing where memory runs out", function()
    local path = temporary(".wav")
    assert.is_true(support.fail_each(function() assert(nn.audio.save(path, nn.zeros(2, 300), 8000)) end) > 2)
    assert.is_true(support.fail_each(function() assert(nn.data.audio(path)) end) > 2)
  end)
end)

describe("Sound for training", function()
  it("gets noise as loud as asked for, one loudness for all or for each signal", function()
    nn.manual_seed(1)
    local x, noise, wanted = nn.randn(3, 1000) * 7, nn.randn(3, 1000), { 0, 10, 20 }
    local function loudness(y)
      local added = y - x
      return (10 / math.log(10) * ((x * x):mean(-1) / (added * added):mean(-1)):log()):tolist()
    end
    for i, snr in ipairs(loudness(nn.audio.add_noise(x, noise, nn.tensor(wanted)))) do
      assert.is_true(math.abs(snr - wanted[i]) < 1e-3)
    end
    for _, snr in ipairs(loudness(nn.audio.add_noise(x, noise[1], 6))) do assert.is_true(math.abs(snr - 6) < 1e-3) end
    assert.error_matches(function() nn.audio.add_noise(x, noise, "loud") end, "snr: expected a number of dB")
  end)

  it("is hidden in bands and stretches that differ from sample to sample", function()
    nn.manual_seed(2)
    local x = nn.ones(64, 3, 6, 10)
    local y = nn.audio.spec_augment(x, { frequency = 2, time = 3, fill = -1 })
    local hidden = y:eq(-1)
    assert.same({ 64, 3, 6, 10 }, y.shape)
    assert.is_true(hidden[{ {}, 1 }]:equal(hidden[{ {}, 3 }])) -- channels of a sample lose the same
    local bands, frames = hidden[{ {}, 1 }]:all(3):sum(2), hidden[{ {}, 1 }]:all(2):sum(2)
    assert.same({ 0, 2 }, { bands:min():item(), bands:max():item() })
    assert.same({ 0, 3 }, { frames:min():item(), frames:max():item() })
    assert.is_false(hidden[1]:equal(hidden[2]) and hidden[2]:equal(hidden[3]) and hidden[3]:equal(hidden[4]))
    assert.is_true(nn.audio.spec_augment(x[1][1], { frequency_masks = 0, time = 0 }):equal(x[1][1]))
    assert.is_true(nn.audio.spec_augment(nn.ones(2, 3), { frequency = 9, time = 9, time_masks = 4 }):numel() == 6)
    assert.error_matches(function() nn.audio.spec_augment(nn.ones(3)) end, "expected %(%.%.%., bands, frames%)")
  end)
end)
