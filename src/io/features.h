// features.h: what networks are shown of sound: spectra, mel spectra, cepstral coefficients. A plan is made
// in its context's thread and then only read: nnl_features_run may be called from any thread, by several at
// once. It allocates nothing, knows no context and writes into the caller's memory, as nnl_sound_decode
// (sound.h) does.
#ifndef NNL_IO_FEATURES_H
#define NNL_IO_FEATURES_H

#include "base/context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum nnl_feature {
    NNL_FEATURE_STFT,     // (n_fft / 2 + 1, frames, 2): real and imaginary parts
    NNL_FEATURE_SPECTRUM, // (n_fft / 2 + 1, frames): their size to some power
    NNL_FEATURE_MEL,      // (n_mels, frames): weighted sums of these
    NNL_FEATURE_MFCC, // (n_mfcc, frames): the cosine transform of these in decibels, or of their logarithm
} nnl_feature;

typedef enum nnl_window {
    NNL_WINDOW_HANN,
    NNL_WINDOW_HAMMING,
    NNL_WINDOW_BLACKMAN,
    NNL_WINDOW_ONES
} nnl_window;
typedef enum nnl_sound_pad { NNL_SOUND_PAD_REFLECT, NNL_SOUND_PAD_ZERO, NNL_SOUND_PAD_EDGE } nnl_sound_pad;
typedef enum nnl_spectrum_scale {
    NNL_SCALE_NONE,
    NNL_SCALE_BY_LENGTH,
    NNL_SCALE_BY_WINDOW
} nnl_spectrum_scale;

// The defaults are torchaudio's (nnl_feature_defaults); hop and win_length 0 stand for half the window and
// for n_fft, f_max 0 for half the rate.
typedef struct nnl_feature_options {
    nnl_feature feature;
    int64_t n_fft, hop_length, win_length;
    nnl_window window;
    const float *own_window; // win_length numbers in the place of `window`; borrowed while the plan is made
    bool center;             // frames lie around multiples of the hop: half a frame is padded on either side
    nnl_sound_pad pad;
    nnl_spectrum_scale scale; // divides by the root of n_fft, or of the window's squares
    double power;
    double rate, f_min, f_max; // Hz
    int64_t n_mels, n_mfcc;
    bool slaney_scale, slaney_norm; // instead of HTK's scale; areas of 1 instead of heights of 1
    bool log_mels;                  // log(mel + 1e-6) instead of decibels
    double top_db;                  // decibels below the loudest that are told apart; negative for all
} nnl_feature_options;

nnl_feature_options nnl_feature_defaults(nnl_feature feature);

typedef struct nnl_features nnl_features;

// Checks the options. Returns new, or NULL with the context's error.
nnl_features *nnl_features_new(nnl_context *ctx, const nnl_feature_options *options);
void nnl_features_free(nnl_features *plan);

// Frames of a signal of so many samples; 0 where it is too short for one, or for its padding.
int64_t nnl_features_frames(const nnl_features *plan, int64_t samples);
int64_t nnl_features_rows(const nnl_features *plan); // n_fft / 2 + 1, n_mels or n_mfcc
// The bank of weights (n_fft / 2 + 1, n_mels) that mel and MFCC use, into `out`.
void nnl_features_bank(const nnl_features *plan, float *out);

// Floats of scratch for a run over so many frames.
size_t nnl_features_scratch(const nnl_features *plan, int64_t frames);

// All frames of one signal, row-major, with memory of the caller's.
void nnl_features_run(const nnl_features *plan, const float *samples, int64_t count, float *out,
                      float *scratch);

// The same for `signals` of `count` samples each, one behind the other, on the threads of the plan's context.
nnl_status nnl_features_all(const nnl_features *plan, const float *samples, int64_t signals, int64_t count,
                            float *out);

#endif
