# Makes audio.npz: features of a short noise, computed by torch.stft and by formulas written out here, in float64. The
# file is kept; this tells how it came to be.
import numpy as np
import torch

rng = np.random.default_rng(7)
x = (rng.standard_normal((2, 200)) * 0.3).astype("float32")
wide = torch.tensor(x, dtype=torch.float64)
out = {"x": x}


def stft(n_fft, hop, win, window, **options):
    return torch.stft(wide, n_fft, hop, win, window(win, dtype=torch.float64), return_complex=True, **options)


def keep(name, values):
    out[name] = np.asarray(values).astype("float32")


keep("power_of_two", torch.view_as_real(stft(32, 16, 32, torch.hann_window)))
keep("mixed", torch.view_as_real(stft(60, 25, 45, torch.hamming_window, normalized=True)))
keep("prime", torch.view_as_real(stft(37, 20, 37, torch.hann_window, pad_mode="constant")))
keep("not_centered", torch.view_as_real(stft(24, 30, 24, torch.blackman_window, center=False)))


def to_mel(scale, f):
    if scale == "htk":
        return 2595 * np.log10(1 + f / 700)
    return f * 3 / 200 if f < 1000 else 15 + np.log(f / 1000) * 27 / np.log(6.4)


def to_hertz(scale, m):
    if scale == "htk":
        return 700 * (10 ** (m / 2595) - 1)
    return m * 200 / 3 if m < 15 else 1000 * np.exp((m - 15) * np.log(6.4) / 27)


def bank(scale, norm, n_fft, rate, n_mels, low, high):
    corners = [to_hertz(scale, m) for m in np.linspace(to_mel(scale, low), to_mel(scale, high), n_mels + 2)]
    bins = np.linspace(0, rate // 2, n_fft // 2 + 1)
    weights = np.zeros((len(bins), n_mels))
    for m in range(n_mels):
        a, b, c = corners[m : m + 3]
        weights[:, m] = np.maximum(0, np.minimum((bins - a) / (b - a), (c - bins) / (c - b)))
        if norm:
            weights[:, m] *= 2 / (c - a)
    return weights


def cepstrum(mel, n_mfcc, log_mels):
    if log_mels:
        y = np.log(mel + 1e-6)
    else:
        y = 10 * np.log10(np.maximum(mel, 1e-10))
        y = np.maximum(y, y.max(axis=(1, 2), keepdims=True) - 80)
    n = y.shape[1]
    cosines = np.cos(np.pi / n * (np.arange(n) + 0.5)[None, :] * np.arange(n_mfcc)[:, None]) * np.sqrt(2 / n)
    cosines[0] /= np.sqrt(2)
    return np.einsum("km,nmt->nkt", cosines, y)


magnitudes = np.abs(stft(64, 20, 64, torch.hann_window).numpy())
htk, slaney = bank("htk", False, 64, 8000, 10, 0, 4000), bank("slaney", True, 64, 8000, 10, 100, 3800)
keep("spectrogram", magnitudes**2)
keep("magnitudes", magnitudes)
keep("htk_bank", htk)
keep("slaney_bank", slaney)
mel = np.einsum("km,nkt->nmt", htk, magnitudes**2)
keep("mel", mel)
keep("slaney_mel", np.einsum("km,nkt->nmt", slaney, magnitudes))
keep("mfcc", cepstrum(mel, 5, False))
keep("log_mfcc", cepstrum(mel, 5, True))


# As a convolution with a table of windowed sincs, one for each place between two samples.
def resample(old, new, zeros=6, rolloff=0.99):
    old, new = old // np.gcd(old, new), new // np.gcd(old, new)
    base = min(old, new) * rolloff
    width = int(np.ceil(zeros * old / base))
    t = np.arange(0, -new, -1)[:, None] / new + np.arange(-width, width + old)[None, :] / old
    t = np.clip(t * base, -zeros, zeros)
    table = np.sinc(t) * np.cos(t * np.pi / zeros / 2) ** 2 * base / old
    padded = np.pad(x.astype("float64"), ((0, 0), (width, width + old)))
    pieces = [padded[:, i : i + table.shape[1]] @ table.T for i in range(0, padded.shape[1] - table.shape[1] + 1, old)]
    return np.concatenate(pieces, 1)[:, : -(-new * x.shape[1] // old)]


keep("slower", resample(3, 2))
keep("faster", resample(8000, 11025))
edges = np.pad(x.astype("float64"), ((0, 0), (2, 2)), mode="edge")
keep("delta", sum(k * edges[:, 2 + k : 202 + k] for k in range(-2, 3)) / 10)
np.savez_compressed("audio.npz", **out)
