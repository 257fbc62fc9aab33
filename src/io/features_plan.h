// features_plan.h: the inside of a plan of features, which features.c runs and mel.c makes.
#ifndef NNL_IO_FEATURES_PLAN_H
#define NNL_IO_FEATURES_PLAN_H

#include "io/features.h"
#include "kernel/fft.h"

// The bins that a band weighs, and where their weights are.
typedef struct nnl_mel_band {
    size_t first, count, at;
} nnl_mel_band;

struct nnl_features {
    nnl_context *ctx; // only for making it and for nnl_features_all
    nnl_feature_options options;
    const nnl_fft_kernels *kernels;
    nnl_fft fft;
    size_t bins;
    int64_t margin; // samples that are padded on either side
    float *tables;  // of the transform
    float *window;  // n_fft numbers, the scale among them
    nnl_mel_band *bands;
    float *weights;
    float *cosines; // (n_mfcc, n_mels)
};

// Cepstral coefficients (n_mfcc, frames) of mel spectra (n_mels, frames), which become decibels or
// logarithms.
void nnl_features_cepstrum(const nnl_features *plan, float *mels, int64_t frames, float *out);

#endif
