--- nn.audio: sound from and to files, spectrograms, mel spectrograms, cepstral coefficients, and what goes with them.
-- Samples are float32 from -1 to 1; functions take (samples), (channels, samples) or (N, channels, samples) and put
-- their own dimensions in the place of the last one. They take no part in gradients. Defaults are torchaudio's.

local core = require "nnlua.core"
local check = require "nnlua.check"
local compat = require "nnlua.compat"

local audio = {}

-- ---- what the functions share

-- The samples as (signals, samples) of float32, and the dimensions before the last.
local function as_signals(who, x)
  check.tensor(who, "samples", x)
  if x.ndim == 0 then check.fail(who, "samples: expected at least one dimension, got a number") end
  local outer = x.shape
  local samples, signals = table.remove(outer), 1
  for _, size in ipairs(outer) do signals = signals * size end
  return x:detach():to("float32"):reshape(signals, samples):contiguous(), outer
end

-- The first dimension of y, (signals, ...), becomes those that x had.
local function with_outer(y, outer)
  local shape = {}
  for i = 1, #outer do shape[i] = outer[i] end
  for i = 2, y.ndim do shape[#shape + 1] = y:size(i) end
  return y:reshape(shape)
end

-- The core's errors about options, at the line of the script.
local function run(who, what, ...)
  local ok, result = pcall(core.sound[what], ...)
  if ok then return result end
  check.fail(who, (tostring(result):gsub("^[^\n]-:%d+: ", "")))
end

-- ---- files

local load_options = { mono = "boolean", rate = "count", dtype = "string" }

local function is_path(text)
  local head = text:sub(1, 4)
  return #text < 4096 and not (head == "RIFF" or head == "fLaC" or head == "OggS" or head == "FORM" or text:find("%z"))
end

--- Read a sound file: WAV, FLAC, OGG, AIFF and what else libsndfile knows.
-- @param source string a path, or all bytes of a file (known by their first ones)
-- @param options table? mono (false; true: the mean of the channels), rate (that of the file; Hz: another one, to which
-- the samples are brought), dtype ("float32")
-- @return samples (channels, N) from -1 to 1, and their rate in Hz; nil and a message where the file cannot be read
function audio.load(source, options)
  local who = "nn.data.audio"
  if type(source) ~= "string" then check.expect(who, "argument 1", source, "a path, or the bytes of a file") end
  options = check.options(who, options, load_options)
  local path = is_path(source) and source or nil
  local x, rate = core.sound.load(path, not path and source or nil, options.mono)
  if not x then return nil, rate end
  if options.rate and options.rate ~= rate then
    x, rate = run(who, "resample", x, rate, options.rate), compat.to_integer(options.rate)
  end
  return options.dtype and x:to(options.dtype) or x, rate
end

local formats = { wav = "wav", flac = "flac", ogg = "ogg", oga = "ogg" }
local save_options = { bits = "count", format = "string" }

--- Write a sound file. It is replaced at once or not at all.
-- @param path string its end tells the format: .wav, .flac or .ogg (Vorbis)
-- @param samples tensor (N) or (channels, N), from -1 to 1; what lies beyond is cut off
-- @param rate integer in Hz
-- @param options table? format (in the place of the path's end), bits (16; 24, and 32 for floats in WAV)
-- @return true; nil and a message where the file cannot be written
function audio.save(path, samples, rate, options)
  local who = "nn.audio.save"
  if type(path) ~= "string" then check.expect(who, "path", path, "a string") end
  check.tensor(who, "samples", samples)
  if not compat.is_whole(rate) or rate < 1 then check.expect(who, "rate", rate, "a whole number of Hz") end
  options = check.options(who, options, save_options)
  local format = check.choice(who, "format", (options.format or path:match("%.(%w+)$") or "none"):lower(), formats)
  local bits = options.bits or 16
  if bits ~= 16 and bits ~= 24 and not (bits == 32 and format == "wav") then
    check.fail(who, ("bits: expected 16 or 24, or 32 for wav, got %d"):format(bits))
  end
  if samples.ndim == 1 then samples = samples:unsqueeze(1) end
  if samples.ndim ~= 2 then check.expect(who, "samples", samples, "(N) or (channels, N)") end
  return core.sound.save(path, samples:detach():to("float32"):contiguous(), compat.to_integer(rate), format, bits)
end

-- ---- features

local frame_options = {
  n_fft = "count", hop_length = "count", win_length = "count", window = "any", center = "boolean", pad_mode = "string",
  normalized = "any",
}
local words = {
  window = { hann = true, hamming = true, blackman = true, ones = true },
  pad_mode = { reflect = true, constant = true, replicate = true },
  normalized = { frame_length = true, window = true },
  mel_scale = { htk = true, slaney = true }, norm = { slaney = true },
}

local function extend(rules, more)
  local all = {}
  for _, set in ipairs { rules, more } do
    for name, rule in pairs(set) do all[name] = rule end
  end
  return all
end

local spectrum_options = extend(frame_options, { power = "number" })
local mel_options = extend(spectrum_options, {
  rate = "number", n_mels = "count", f_min = "number", f_max = "number", mel_scale = "string", norm = "string",
})
local mfcc_options = extend(mel_options, { n_mfcc = "count", log_mels = "boolean", top_db = "number" })

-- The options for the core; `normalized = true` means what it does in the function that PyTorch calls so.
local function check_feature(who, feature, options, rules)
  local checked = { feature = feature }
  for name, value in pairs(check.options(who, options, rules)) do
    local is_word = words[name] and not (name == "window" and core.is_tensor(value)) and type(value) ~= "boolean"
    if is_word then check.choice(who, "option " .. name, value, words[name]) end
    checked[name] = value
  end
  if type(checked.window) == "boolean" then check.expect(who, "option window", checked.window, "a name or a tensor") end
  if core.is_tensor(checked.window) then checked.window = checked.window:detach():to("float32"):contiguous() end
  if checked.normalized == true then checked.normalized = feature == "stft" and "frame_length" or "window" end
  if checked.normalized == false then checked.normalized = nil end
  return checked
end

local rules_of = { spectrogram = spectrum_options, mel_spectrogram = mel_options, mfcc = mfcc_options }
rules_of.stft = frame_options

--- The options of a feature by its name, checked, for nn.data.AudioDataset.
function audio._feature(who, name, options)
  check.choice(who, "option features", name, rules_of)
  return check_feature(who, name, options, rules_of[name])
end

local function features(who, feature, x, options, rules)
  local checked = check_feature(who, feature, options, rules)
  local signals, outer = as_signals(who, x)
  return with_outer(run(who, "features", checked, signals), outer)
end

--- Short-time Fourier transform, as torch.stft.
-- @param x tensor (..., samples)
-- @param options table? n_fft (400), hop_length (n_fft / 4), win_length (n_fft), window ("hann", periodic; "hamming",
-- "blackman", "ones", or a tensor of win_length numbers), center (true: frame t lies around sample t * hop_length),
-- pad_mode ("reflect"; "constant", "replicate"), normalized (false; true: divided by the root of n_fft)
-- @return tensor (..., n_fft / 2 + 1, frames, 2): real and imaginary parts, as torch.view_as_real gives them
function audio.stft(x, options)
  return features("nn.audio.stft", "stft", x, options, frame_options)
end

--- The size of the Fourier transform to some power.
-- @param options table? those of nn.audio.stft, with hop_length (half of win_length), power (2; 1 for magnitudes),
-- normalized (false; true: divided by the root of the window's squares)
-- @return tensor (..., n_fft / 2 + 1, frames)
function audio.spectrogram(x, options)
  return features("nn.audio.spectrogram", "spectrogram", x, options, spectrum_options)
end

--- Spectrogram in bands that are as far apart as they sound.
-- @param options table? those of nn.audio.spectrogram, and rate (16000 Hz), n_mels (128), f_min (0), f_max (half the
-- rate), mel_scale ("htk" or "slaney"), norm (none; "slaney": each band's weights have the area 1)
-- @return tensor (..., n_mels, frames)
function audio.mel_spectrogram(x, options)
  return features("nn.audio.mel_spectrogram", "mel_spectrogram", x, options, mel_options)
end

--- Mel-frequency cepstral coefficients: the orthonormal cosine transform of the mel spectrogram in decibels.
-- @param options table? those of nn.audio.mel_spectrogram, and n_mfcc (40), log_mels (false; true: the logarithm of
-- mel + 1e-6 in the place of decibels), top_db (80: what is further below the loudest of a signal is raised to that)
-- @return tensor (..., n_mfcc, frames)
function audio.mfcc(x, options)
  return features("nn.audio.mfcc", "mfcc", x, options, mfcc_options)
end

local bank_options = {
  n_fft = "count", rate = "number", n_mels = "count", f_min = "number", f_max = "number", mel_scale = "string",
  norm = "string",
}

--- The weights that turn a spectrogram into a mel spectrogram: mel = bank:t():matmul(spectrogram).
-- @param options table? n_fft (400), rate, n_mels, f_min, f_max, mel_scale, norm as in nn.audio.mel_spectrogram
-- @return tensor (n_fft / 2 + 1, n_mels)
function audio.mel_filter_bank(options)
  local who = "nn.audio.mel_filter_bank"
  return run(who, "features", check_feature(who, "mel_spectrogram", options, bank_options))
end

-- ---- what is composed of tensor operations

local db_options = { power = "boolean", amin = "number", ref = "number", top_db = "number" }

--- Power (or amplitude) in decibels: 10 log10(x / ref) for power, 20 for amplitude.
-- @param options table? power (true; false: x is an amplitude), amin (1e-10: the smallest that is told apart from 0),
-- ref (1), top_db (none; how far below the loudest of x the quietest may be)
-- @return tensor of x's shape
function audio.amplitude_to_db(x, options)
  local who = "nn.audio.amplitude_to_db"
  check.tensor(who, "x", x)
  options = check.options(who, options, db_options)
  local amin, times = options.amin or 1e-10, options.power == false and 20 or 10
  local decibels = times / math.log(10)
  local y = x:clamp(amin):log() * decibels - decibels * math.log(math.max(amin, options.ref or 1))
  if not options.top_db or y:numel() == 0 then return y end
  return y:clamp(y:max():item() - options.top_db)
end

--- Noise added so that it is as much quieter than each signal as asked for.
-- @param x tensor (..., samples)
-- @param noise tensor that broadcasts to x
-- @param snr number in dB (20: the noise has a tenth of the signal's amplitude), or a tensor with one for each signal,
-- of x's dimensions before the last
-- @return tensor of x's shape
function audio.add_noise(x, noise, snr)
  local who = "nn.audio.add_noise"
  check.tensor(who, "samples", x)
  check.tensor(who, "noise", noise)
  if core.is_tensor(snr) then
    snr = snr:unsqueeze(-1)
  elseif type(snr) ~= "number" then
    check.expect(who, "snr", snr, "a number of dB or a tensor")
  end
  local power = (x * x):mean(-1, true) / (noise * noise):mean(-1, true):clamp(1e-20)
  return x + noise * (power * 10 ^ (snr * -0.1)):sqrt()
end

-- True for a stretch of random length and place along the last dimension of (N, size).
local function stretches(count, size, most)
  local length = (core.rand(count, 1) * (most + 1)):floor():clamp(0, size)
  local first = (core.rand(count, 1) * (size - length + 1)):floor()
  local at = core.arange(size)
  return at:ge(first):logical_and(at:lt(first + length))
end

local mask_options = {
  frequency = "whole", time = "whole", frequency_masks = "whole", time_masks = "whole", fill = "number",
}

--- Hide bands of frequencies and stretches of time at random, as if a model had not heard them (SpecAugment, Park et
-- al. 2019).
-- @param x tensor (bands, frames) or (N, ..., bands, frames): each of the N gets masks of its own
-- @param options table? frequency (8: bands of a mask at most), time (10: frames), frequency_masks (1), time_masks (1),
-- fill (0: what stands in the place of what is hidden)
-- @return tensor of x's shape
function audio.spec_augment(x, options)
  local who = "nn.audio.spec_augment"
  check.tensor(who, "features", x)
  if x.ndim < 2 then check.expect(who, "features", x, "(..., bands, frames)") end
  options = check.options(who, options, mask_options)
  local count, bands, frames = x.ndim > 2 and #x or 1, x:size(-2), x:size(-1)
  local hidden = core.zeros(count, bands, frames, { dtype = "bool" })
  for _ = 1, options.frequency_masks or 1 do
    hidden = hidden:logical_or(stretches(count, bands, options.frequency or 8):unsqueeze(3))
  end
  for _ = 1, options.time_masks or 1 do
    hidden = hidden:logical_or(stretches(count, frames, options.time or 10):unsqueeze(2))
  end
  local shape = x.shape
  for d = 2, x.ndim - 2 do shape[d] = 1 end
  return x:masked_fill(hidden:reshape(shape), options.fill or 0)
end

--- Samples at another rate.
-- @param x tensor (..., samples)
-- @param from integer the rate that they have, in Hz
-- @param to integer the rate that they shall have
-- @return tensor (..., samples * to / from, rounded up)
function audio.resample(x, from, to)
  local who = "nn.audio.resample"
  for what, value in pairs { from = from, to = to } do
    if not compat.is_whole(value) or value < 1 then check.expect(who, what, value, "a whole number of Hz") end
  end
  local signals, outer = as_signals(who, x)
  if from == to then return with_outer(signals, outer) end
  return with_outer(run(who, "resample", signals, compat.to_integer(from), compat.to_integer(to)), outer)
end

--- Pieces of a signal: a view (..., frames, size), each `hop` samples behind the one before.
function audio.frames(x, size, hop)
  check.tensor("nn.audio.frames", "samples", x)
  return x:unfold(-1, size, hop or size)
end

--- How features change from frame to frame: the slope of a line through `win_length` of them, the first and the last
-- going on beyond the ends.
-- @param x tensor (..., frames)
-- @param options table? win_length (5; odd, from 3 on)
-- @return tensor of x's shape
function audio.delta(x, options)
  local who = "nn.audio.delta"
  check.tensor(who, "x", x)
  local length = check.options(who, options, { win_length = "count" }).win_length or 5
  if length < 3 or length % 2 == 0 then check.expect(who, "option win_length", length, "an odd number from 3") end
  local frames = x:size(-1)
  if frames == 0 then return x:clone() end
  local reach = compat.to_integer((length - 1) / 2)
  local first, last = x:narrow(-1, 1, 1), x:narrow(-1, frames, 1)
  local padded = core.cat({ first:repeat_interleave(reach, -1), x, last:repeat_interleave(reach, -1) }, -1)
  local sum
  for k = 1, reach do
    local slope = (padded:narrow(-1, 1 + reach + k, frames) - padded:narrow(-1, 1 + reach - k, frames)) * k
    sum = sum and sum + slope or slope
  end
  return sum * (3 / (reach * (reach + 1) * (2 * reach + 1)))
end

return audio
