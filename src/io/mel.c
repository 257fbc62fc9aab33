// mel.c: the plan of features: options checked, window, bank of mel weights (Stevens et al. 1937 as HTK and
// Slaney's Auditory Toolbox write the scale), cosine transform; and the cepstrum itself.
#include "io/features_plan.h"

#include "kernel/kernel.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846
#define MEL_LIMIT 8192
#define SMALLEST 1e-10f // of a mel spectrum in decibels
#define LOG_OFFSET 1e-6f

nnl_feature_options nnl_feature_defaults(nnl_feature feature) {
    return (nnl_feature_options){.feature = feature,
                                 .n_fft = 400,
                                 .center = true,
                                 .power = 2,
                                 .rate = 16000,
                                 .n_mels = 128,
                                 .n_mfcc = 40,
                                 .top_db = 80};
}

// ---- options

static nnl_status refuse(nnl_context *ctx, const char *what) {
    return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s", what);
}

static nnl_status check_frames(nnl_context *ctx, nnl_feature_options *o) {
    if (o->n_fft < 1 || o->n_fft > (int64_t)NNL_FFT_MOST)
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "n_fft: expected 1 to %zu, got %lld", NNL_FFT_MOST,
                        (long long)o->n_fft);
    if (o->win_length == 0) o->win_length = o->n_fft;
    if (o->win_length < 1 || o->win_length > o->n_fft)
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "win_length: expected 1 to n_fft = %lld, got %lld",
                        (long long)o->n_fft, (long long)o->win_length);
    if (o->hop_length == 0) o->hop_length = o->feature == NNL_FEATURE_STFT ? o->n_fft / 4 : o->win_length / 2;
    if (o->hop_length == 0) o->hop_length = 1;
    if (o->hop_length < 1) return refuse(ctx, "hop_length: expected a number from 1");
    return o->power > 0 ? NNL_OK : refuse(ctx, "power: expected a number above 0");
}

static nnl_status check_bands(nnl_context *ctx, nnl_feature_options *o) {
    if (o->feature != NNL_FEATURE_MEL && o->feature != NNL_FEATURE_MFCC) return NNL_OK;
    if (!(o->rate > 0)) return refuse(ctx, "rate: expected a number above 0");
    if (o->f_max == 0) o->f_max = o->rate / 2;
    if (!(o->f_min >= 0 && o->f_min < o->f_max))
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "f_min: expected a number from 0 to below f_max = %g, got %g",
                        o->f_max, o->f_min);
    if (o->n_mels < 1 || o->n_mels > MEL_LIMIT)
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "n_mels: expected 1 to %d, got %lld", MEL_LIMIT,
                        (long long)o->n_mels);
    if (o->feature == NNL_FEATURE_MFCC && (o->n_mfcc < 1 || o->n_mfcc > o->n_mels))
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "n_mfcc: expected 1 to n_mels = %lld, got %lld",
                        (long long)o->n_mels, (long long)o->n_mfcc);
    return NNL_OK;
}

// ---- tables

// Periodic: number `length` would be number 0 again.
static double window_at(nnl_window window, double part) {
    switch (window) {
    case NNL_WINDOW_HANN:
        return 0.5 - 0.5 * cos(2 * PI * part);
    case NNL_WINDOW_HAMMING:
        return 0.54 - 0.46 * cos(2 * PI * part);
    case NNL_WINDOW_BLACKMAN:
        return 0.42 - 0.5 * cos(2 * PI * part) + 0.08 * cos(4 * PI * part);
    default:
        return 1;
    }
}

// In the middle of the frame where it is shorter.
static void fill_window(nnl_features *plan) {
    const nnl_feature_options *o = &plan->options;
    int64_t left = (o->n_fft - o->win_length) / 2;
    double squares = 0, scale = 1;
    memset(plan->window, 0, (size_t)o->n_fft * sizeof *plan->window);
    for (int64_t i = 0; i < o->win_length; i++) {
        double value =
            o->own_window ? o->own_window[i] : window_at(o->window, (double)i / (double)o->win_length);
        plan->window[left + i] = (float)value;
        squares += value * value;
    }
    if (o->scale == NNL_SCALE_BY_LENGTH) scale = 1 / sqrt((double)o->n_fft);
    if (o->scale == NNL_SCALE_BY_WINDOW) scale = 1 / sqrt(squares);
    for (int64_t i = 0; scale != 1 && i < o->n_fft; i++) plan->window[i] = (float)(plan->window[i] * scale);
}

// Slaney's scale is linear up to 1000 Hz and logarithmic from there on.
static double to_mel(const nnl_feature_options *o, double hertz) {
    if (!o->slaney_scale) return 2595 * log10(1 + hertz / 700);
    return hertz < 1000 ? hertz * 3 / 200 : 15 + log(hertz / 1000) * 27 / log(6.4);
}

static double to_hertz(const nnl_feature_options *o, double mel) {
    if (!o->slaney_scale) return 700 * (pow(10, mel / 2595) - 1);
    return mel < 15 ? mel * 200 / 3 : 1000 * exp((mel - 15) * log(6.4) / 27);
}

// Hz of corner i of the triangles: 0 is where the first begins.
static double corner(const nnl_feature_options *o, int64_t i) {
    double low = to_mel(o, o->f_min), high = to_mel(o, o->f_max);
    return to_hertz(o, low + (high - low) * (double)i / (double)(o->n_mels + 1));
}

static float weight_at(const nnl_feature_options *o, const double corners[3], size_t bin, size_t bins) {
    double hertz = bins > 1 ? floor(o->rate / 2) * (double)bin / (double)(bins - 1) : 0;
    double up = (hertz - corners[0]) / (corners[1] - corners[0]);
    double down = (corners[2] - hertz) / (corners[2] - corners[1]);
    double weight = fmax(0, fmin(up, down));
    return (float)(o->slaney_norm ? weight * 2 / (corners[2] - corners[0]) : weight);
}

// Bins from the first to the last with a weight; `weights` may be NULL to only count them.
static size_t fill_band(const nnl_features *plan, int64_t m, nnl_mel_band *band, float *weights) {
    const nnl_feature_options *o = &plan->options;
    const double corners[3] = {corner(o, m), corner(o, m + 1), corner(o, m + 2)};
    double step = plan->bins > 1 ? floor(o->rate / 2) / (double)(plan->bins - 1) : 1;
    double first = fmax(0, floor(corners[0] / step)),
           last = fmin(ceil(corners[2] / step), (double)plan->bins - 1);
    band->first = first <= last ? (size_t)first : 0;
    band->count = first <= last ? (size_t)(last - first) + 1 : 0;
    for (size_t i = 0; weights && i < band->count; i++)
        weights[i] = weight_at(o, corners, band->first + i, plan->bins);
    return band->count;
}

static nnl_status make_bank(nnl_features *plan) {
    const nnl_feature_options *o = &plan->options;
    size_t count = 0;
    plan->bands = nnl_alloc(&plan->ctx->allocator, (size_t)o->n_mels * sizeof *plan->bands);
    if (!plan->bands) return nnl_fail(plan->ctx, NNL_ERR_MEMORY, "out of memory");
    for (int64_t m = 0; m < o->n_mels; m++) {
        plan->bands[m].at = count;
        count += fill_band(plan, m, &plan->bands[m], NULL);
    }
    plan->weights = nnl_alloc(&plan->ctx->allocator, count * sizeof *plan->weights);
    if (!plan->weights) return nnl_fail(plan->ctx, NNL_ERR_MEMORY, "out of memory");
    for (int64_t m = 0; m < o->n_mels; m++)
        fill_band(plan, m, &plan->bands[m], plan->weights + plan->bands[m].at);
    return NNL_OK;
}

// The second cosine transform, orthonormal (Ahmed et al. 1974).
static nnl_status make_cosines(nnl_features *plan) {
    const nnl_feature_options *o = &plan->options;
    float *to = nnl_alloc(&plan->ctx->allocator, (size_t)(o->n_mfcc * o->n_mels) * sizeof *to);
    if (!to) return nnl_fail(plan->ctx, NNL_ERR_MEMORY, "out of memory");
    plan->cosines = to;
    for (int64_t k = 0; k < o->n_mfcc; k++) {
        double scale = sqrt((k == 0 ? 1.0 : 2.0) / (double)o->n_mels);
        for (int64_t m = 0; m < o->n_mels; m++)
            *to++ = (float)(scale * cos(PI / (double)o->n_mels * ((double)m + 0.5) * (double)k));
    }
    return NNL_OK;
}

static nnl_status make_transform(nnl_features *plan) {
    nnl_allocator *allocator = &plan->ctx->allocator;
    size_t n = (size_t)plan->options.n_fft;
    plan->window = nnl_alloc(allocator, n * sizeof *plan->window);
    plan->tables = nnl_alloc(allocator, nnl_fft_floats(n) * sizeof *plan->tables);
    float *scratch = nnl_alloc(allocator, nnl_fft_scratch(n) * sizeof *scratch);
    bool whole = plan->window && plan->tables && scratch;
    if (whole) {
        fill_window(plan);
        nnl_fft_init(plan->kernels, &plan->fft, n, plan->tables, scratch);
    }
    nnl_free(allocator, scratch);
    return whole ? NNL_OK : nnl_fail(plan->ctx, NNL_ERR_MEMORY, "out of memory");
}

static nnl_status make(nnl_features *plan) {
    nnl_feature feature = plan->options.feature;
    if (make_transform(plan) != NNL_OK) return plan->ctx->status;
    if ((feature == NNL_FEATURE_MEL || feature == NNL_FEATURE_MFCC) && make_bank(plan) != NNL_OK)
        return plan->ctx->status;
    return feature == NNL_FEATURE_MFCC ? make_cosines(plan) : NNL_OK;
}

nnl_features *nnl_features_new(nnl_context *ctx, const nnl_feature_options *options) {
    nnl_feature_options checked = *options;
    if (check_frames(ctx, &checked) != NNL_OK || check_bands(ctx, &checked) != NNL_OK) return NULL;
    nnl_features *plan = nnl_alloc(&ctx->allocator, sizeof *plan);
    if (!plan) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory");
    *plan = (nnl_features){.ctx = ctx, .options = checked, .kernels = ctx->kernels->fft};
    plan->bins = (size_t)checked.n_fft / 2 + 1;
    plan->margin = checked.center ? checked.n_fft / 2 : 0;
    nnl_status status = make(plan);
    plan->options.own_window = NULL;
    if (status == NNL_OK) return plan;
    nnl_features_free(plan);
    return NULL;
}

void nnl_features_free(nnl_features *plan) {
    if (!plan) return;
    nnl_allocator *allocator = &plan->ctx->allocator;
    nnl_free(allocator, plan->tables);
    nnl_free(allocator, plan->window);
    nnl_free(allocator, plan->bands);
    nnl_free(allocator, plan->weights);
    nnl_free(allocator, plan->cosines);
    nnl_free(allocator, plan);
}

void nnl_features_bank(const nnl_features *plan, float *out) {
    int64_t n_mels = plan->options.n_mels;
    memset(out, 0, plan->bins * (size_t)n_mels * sizeof *out);
    for (int64_t m = 0; m < n_mels; m++) {
        const nnl_mel_band *band = &plan->bands[m];
        for (size_t i = 0; i < band->count; i++)
            out[(int64_t)(band->first + i) * n_mels + m] = plan->weights[band->at + i];
    }
}

// ---- the cepstrum

static void to_decibels(float *mels, int64_t n, double top_db) {
    float loudest = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        float power = mels[i] > SMALLEST ? mels[i] : mels[i] != mels[i] ? mels[i] : SMALLEST;
        mels[i] = 10 * log10f(power);
        if (mels[i] > loudest) loudest = mels[i];
    }
    float floor_db = loudest - (float)top_db;
    for (int64_t i = 0; top_db >= 0 && i < n; i++) {
        if (mels[i] < floor_db) mels[i] = floor_db;
    }
}

void nnl_features_cepstrum(const nnl_features *plan, float *mels, int64_t frames, float *out) {
    const nnl_feature_options *o = &plan->options;
    int64_t n = o->n_mels * frames;
    if (!o->log_mels) to_decibels(mels, n, o->top_db);
    for (int64_t i = 0; o->log_mels && i < n; i++) mels[i] = logf(mels[i] + LOG_OFFSET);
    for (int64_t k = 0; k < o->n_mfcc; k++)
        plan->kernels->weigh((size_t)o->n_mels, (size_t)frames, mels, (size_t)frames,
                             plan->cosines + k * o->n_mels, out + k * frames);
}
