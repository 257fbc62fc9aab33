// features.c: frames of a signal, NNL_FFT_LANES pairs at a time, through window, transform and weights. See
// mel.c for the bank of weights and the cosine transform.
#include "io/features.h"

#include "io/features_plan.h"

#include <math.h>
#include <string.h>

#define LANES NNL_FFT_LANES
#define BLOCK (2 * LANES) // frames: one of each pair as real, one as imaginary part
#define PARTS 16          // that all frames are shared out in, at most

// ---- one block: the scratch holds re and im of the transform, its own scratch, then both halves of the
// spectra

typedef struct block {
    const nnl_features *plan;
    const float *samples;
    int64_t count, frames, first; // of the signal; the first frame here
    float *re, *im, *fft, *bins_re, *bins_im;
} block;

static size_t block_floats(const nnl_features *plan) {
    size_t n = (size_t)plan->options.n_fft;
    return 2 * n * LANES + nnl_fft_scratch(n) + 2 * plan->bins * BLOCK;
}

static block block_at(const nnl_features *plan, const float *samples, int64_t count, float *scratch) {
    size_t n = (size_t)plan->options.n_fft;
    block b = {.plan = plan, .samples = samples, .count = count, .frames = nnl_features_frames(plan, count)};
    b.re = scratch;
    b.im = b.re + n * LANES;
    b.fft = b.im + n * LANES;
    b.bins_re = b.fft + nnl_fft_scratch(n);
    b.bins_im = b.bins_re + plan->bins * BLOCK;
    return b;
}

// A sample that may lie before the first or behind the last.
static float padded(const block *b, int64_t i) {
    if (i >= 0 && i < b->count) return b->samples[i];
    switch (b->plan->options.pad) {
    case NNL_SOUND_PAD_ZERO:
        return 0;
    case NNL_SOUND_PAD_EDGE:
        return b->samples[i < 0 ? 0 : b->count - 1];
    default:
        return b->samples[i < 0 ? -i : 2 * (b->count - 1) - i];
    }
}

static void load_frame(const block *b, int64_t frame, float *to) {
    const nnl_features *plan = b->plan;
    int64_t n = plan->options.n_fft, start = frame * plan->options.hop_length - plan->margin;
    if (frame >= b->frames) {
        for (int64_t p = 0; p < n; p++) to[p * LANES] = 0;
    } else if (start >= 0 && start + n <= b->count) {
        for (int64_t p = 0; p < n; p++) to[p * LANES] = plan->window[p] * b->samples[start + p];
    } else {
        for (int64_t p = 0; p < n; p++) to[p * LANES] = plan->window[p] * padded(b, start + p);
    }
}

// The spectra of the block, of the power that the plan asks for.
static void transform(const block *b) {
    const nnl_features *plan = b->plan;
    const nnl_fft_kernels *kernels = plan->kernels;
    size_t n = (size_t)plan->options.n_fft, all = plan->bins * BLOCK;
    for (int64_t l = 0; l < LANES; l++) {
        load_frame(b, b->first + l, b->re + l);
        load_frame(b, b->first + LANES + l, b->im + l);
    }
    nnl_fft_run(kernels, &plan->fft, b->re, b->im, b->fft);
    kernels->split(n, b->re, b->im, b->bins_re, b->bins_im);
    if (plan->options.feature == NNL_FEATURE_STFT) return;
    double power = plan->options.power;
    if (power == 1)
        kernels->magnitude(all, b->bins_re, b->bins_im);
    else
        kernels->square(all, b->bins_re, b->bins_im);
    for (size_t i = 0; power != 1 && power != 2 && i < all; i++)
        b->bins_re[i] = powf(b->bins_re[i], (float)(power / 2));
}

static void write_complex(const block *b, int64_t used, float *out) {
    for (size_t k = 0; k < b->plan->bins; k++) {
        float *to = out + 2 * ((int64_t)k * b->frames + b->first);
        for (int64_t l = 0; l < used; l++) {
            to[2 * l] = b->bins_re[(int64_t)k * BLOCK + l];
            to[2 * l + 1] = b->bins_im[(int64_t)k * BLOCK + l];
        }
    }
}

static void write_mels(const block *b, int64_t used, float *out) {
    const nnl_features *plan = b->plan;
    for (int64_t m = 0; m < plan->options.n_mels; m++) {
        const nnl_mel_band *band = &plan->bands[m];
        float row[BLOCK];
        plan->kernels->weigh(band->count, BLOCK, b->bins_re + band->first * BLOCK, BLOCK,
                             plan->weights + band->at, row);
        memcpy(out + m * b->frames + b->first, row, (size_t)used * sizeof *row);
    }
}

static void write_block(const block *b, float *out) {
    int64_t used = b->frames - b->first < BLOCK ? b->frames - b->first : BLOCK;
    nnl_feature feature = b->plan->options.feature;
    if (feature == NNL_FEATURE_STFT) {
        write_complex(b, used, out);
    } else if (feature == NNL_FEATURE_SPECTRUM) {
        for (size_t k = 0; k < b->plan->bins; k++)
            memcpy(out + (int64_t)k * b->frames + b->first, b->bins_re + k * BLOCK,
                   (size_t)used * sizeof *out);
    } else {
        write_mels(b, used, out);
    }
}

// ---- a signal

int64_t nnl_features_frames(const nnl_features *plan, int64_t samples) {
    int64_t padded_samples = samples + 2 * plan->margin;
    bool reflects = plan->margin > 0 && plan->options.pad == NNL_SOUND_PAD_REFLECT;
    if (samples < 1 || padded_samples < plan->options.n_fft || (reflects && plan->margin >= samples))
        return 0;
    return (padded_samples - plan->options.n_fft) / plan->options.hop_length + 1;
}

int64_t nnl_features_rows(const nnl_features *plan) {
    if (plan->options.feature == NNL_FEATURE_MEL) return plan->options.n_mels;
    return plan->options.feature == NNL_FEATURE_MFCC ? plan->options.n_mfcc : (int64_t)plan->bins;
}

size_t nnl_features_scratch(const nnl_features *plan, int64_t frames) {
    bool twice = plan->options.feature == NNL_FEATURE_MFCC;
    return block_floats(plan) + (twice ? (size_t)(plan->options.n_mels * frames) : 0);
}

void nnl_features_run(const nnl_features *plan, const float *samples, int64_t count, float *out,
                      float *scratch) {
    block b = block_at(plan, samples, count, scratch);
    bool twice = plan->options.feature == NNL_FEATURE_MFCC;
    float *mels = twice ? scratch + block_floats(plan) : out;
    for (; b.first < b.frames; b.first += BLOCK) {
        transform(&b);
        write_block(&b, mels);
    }
    if (twice) nnl_features_cepstrum(plan, mels, b.frames, out);
}

// ---- many signals on many threads: parts of all blocks first, then the cosine transform of each signal

typedef struct job {
    const nnl_features *plan;
    const float *samples;
    int64_t signals, count, frames, blocks, parts;
    size_t step; // floats of the result of a signal, as far as the blocks write it
    float *mels, *out, *scratch;
} job;

static void run_part(void *arg, size_t part) {
    const job *j = arg;
    int64_t all = j->signals * j->blocks;
    int64_t from = all * (int64_t)part / j->parts, to = all * ((int64_t)part + 1) / j->parts;
    float *scratch = j->scratch + part * block_floats(j->plan);
    for (int64_t i = from; i < to && !nnl_pool_stops(j->plan->ctx->pool); i++) {
        int64_t signal = i / j->blocks;
        block b = block_at(j->plan, j->samples + signal * j->count, j->count, scratch);
        b.first = i % j->blocks * BLOCK;
        transform(&b);
        write_block(&b, j->mels + (size_t)signal * j->step);
    }
}

static void run_cepstrum(void *arg, size_t signal) {
    const job *j = arg;
    nnl_features_cepstrum(j->plan, j->mels + signal * j->step, j->frames,
                          j->out + (int64_t)signal * nnl_features_rows(j->plan) * j->frames);
}

nnl_status nnl_features_all(const nnl_features *plan, const float *samples, int64_t signals, int64_t count,
                            float *out) {
    nnl_context *ctx = plan->ctx;
    bool twice = plan->options.feature == NNL_FEATURE_MFCC;
    job j = {.plan = plan, .samples = samples, .signals = signals, .count = count, .out = out, .mels = out};
    j.frames = nnl_features_frames(plan, count);
    j.blocks = (j.frames + BLOCK - 1) / BLOCK;
    j.parts = signals * j.blocks < PARTS ? signals * j.blocks : PARTS;
    if (j.parts == 0) return NNL_OK;
    j.step = (size_t)((twice ? plan->options.n_mels : nnl_features_rows(plan)) * j.frames);
    if (plan->options.feature == NNL_FEATURE_STFT) j.step *= 2;
    size_t blocks = (size_t)j.parts * block_floats(plan);
    size_t floats = blocks + (twice ? (size_t)signals * j.step : 0);
    j.scratch = nnl_alloc(&ctx->allocator, floats * sizeof *j.scratch);
    if (!j.scratch) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory");
    if (twice) j.mels = j.scratch + blocks;
    nnl_pool_try(ctx->pool, (size_t)j.parts, run_part, &j);
    if (twice) nnl_pool_try(ctx->pool, (size_t)signals, run_cepstrum, &j);
    nnl_free(&ctx->allocator, j.scratch);
    return nnl_check_stop(ctx, "features");
}
