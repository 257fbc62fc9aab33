// norm.c: normalisations as layers: LayerNorm, RMSNorm, GroupNorm, BatchNorm1d and BatchNorm2d. The
// operations are in grad/norm.c.
#include "nn/classes.h"
#include "tensor/apply.h"

#include <math.h>
#include <stdio.h>

// Weights and variances start at 1; biases and means at 0, as tensors are made.
static nnl_status fill_ones(nnl_tensor *t) {
    if (t) nnl_apply_fill(t, nnl_number_int(1));
    return NNL_OK;
}

static nnl_status result(nnl_context *ctx, nnl_tensor *made, nnl_tensor **out) {
    *out = made;
    return made ? NNL_OK : ctx->status;
}

static nnl_status wrong_input(nnl_context *ctx, const nnl_layer *layer, const char *expected,
                              const nnl_tensor *x) {
    char got[NNL_SHAPE_TEXT];
    return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.%s: expected input %s, got %s", layer->class->name, expected,
                    nnl_shape_text(&x->shape, got));
}

// ---- LayerNorm, RMSNorm

enum { NORMALIZED, ROW_EPS };
enum { WEIGHT, BIAS, RUNNING_MEAN, RUNNING_VAR, BATCHES };

static nnl_status rows_reset(nnl_context *ctx, nnl_layer *layer) {
    (void)ctx;
    return fill_ones(layer->tensor[WEIGHT]);
}

static nnl_status check_last(nnl_context *ctx, const nnl_layer *layer, const nnl_shape *last,
                             const nnl_tensor *x) {
    char sizes[NNL_SHAPE_TEXT], expected[NNL_SHAPE_TEXT + 8];
    int extra = x->shape.ndim - last->ndim;
    bool fits = extra >= 0;
    for (int d = 0; fits && d < last->ndim; d++) fits = x->shape.size[extra + d] == last->size[d];
    if (fits) return NNL_OK;
    snprintf(expected, sizeof expected, "(*, %s", nnl_shape_text(last, sizes) + 1);
    return wrong_input(ctx, layer, expected, x);
}

// LayerNorm, and RMSNorm (variant 1)
static nnl_status rows_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                               nnl_tensor **out) {
    const nnl_option_value *sizes = &layer->option[NORMALIZED];
    double eps = layer->option[ROW_EPS].d;
    nnl_shape last = nnl_shape_of(sizes->count, sizes->ints);
    nnl_status status = check_last(ctx, layer, &last, inputs[0]);
    if (status != NNL_OK) return status;
    return result(ctx,
                  layer->class->variant ? nnl_rms_norm(ctx, inputs[0], &last, layer->tensor[WEIGHT], eps)
                                        : nnl_layer_norm(ctx, inputs[0], &last, layer->tensor[WEIGHT],
                                                         layer->tensor[BIAS], eps),
                  out);
}

// ---- GroupNorm

enum { GROUPS, CHANNELS, GROUP_EPS };

static nnl_status group_reset(nnl_context *ctx, nnl_layer *layer) {
    int64_t groups = layer->option[GROUPS].i, channels = layer->option[CHANNELS].i;
    if (channels % groups != 0) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "nn.GroupNorm: num_channels must be divisible by num_groups, got %lld and %lld",
                        (long long)channels, (long long)groups);
    }
    return fill_ones(layer->tensor[WEIGHT]);
}

static nnl_status group_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                nnl_tensor **out) {
    nnl_tensor *x = inputs[0];
    char expected[48];
    snprintf(expected, sizeof expected, "(N, %lld, ...)", (long long)layer->option[CHANNELS].i);
    if (x->shape.ndim < 2 || x->shape.size[1] != layer->option[CHANNELS].i)
        return wrong_input(ctx, layer, expected, x);
    return result(ctx,
                  nnl_group_norm(ctx, x, layer->option[GROUPS].i, layer->tensor[WEIGHT], layer->tensor[BIAS],
                                 layer->option[GROUP_EPS].d),
                  out);
}

// ---- BatchNorm1d, BatchNorm2d (the variant is the number of dimensions)

enum { FEATURES, EPS, MOMENTUM, AFFINE, TRACKS, DTYPE };

static nnl_status batch_reset(nnl_context *ctx, nnl_layer *layer) {
    (void)ctx;
    fill_ones(layer->tensor[RUNNING_VAR]);
    return fill_ones(layer->tensor[WEIGHT]);
}

// features: 0 while that is open
static nnl_status check_batch(nnl_context *ctx, const nnl_layer *layer, int64_t features,
                              const nnl_tensor *x) {
    bool flat = layer->class->variant == 1;
    bool ranks = flat ? x->shape.ndim == 2 || x->shape.ndim == 3 : x->shape.ndim == 4;
    char channels[24] = "C", expected[80];
    if (ranks && (features > 0 ? x->shape.size[1] == features : x->shape.size[1] > 0)) return NNL_OK;
    if (features > 0) snprintf(channels, sizeof channels, "%lld", (long long)features);
    if (flat) snprintf(expected, sizeof expected, "(N, %s) or (N, %s, L)", channels, channels);
    if (!flat) snprintf(expected, sizeof expected, "(N, %s, H, W)", channels);
    return wrong_input(ctx, layer, expected, x);
}

static nnl_status batch_infer(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x) {
    nnl_status status = check_batch(ctx, layer, 0, x);
    if (status != NNL_OK) return status;
    if (nnl_dtype_is_float(x->dtype) && !layer->option[DTYPE].given) layer->dtype = x->dtype;
    layer->option[FEATURES].i = x->shape.size[1];
    layer->option[FEATURES].given = true;
    return NNL_OK;
}

// The share of a batch in the running statistics: without a momentum, that of one among all so far.
static double batch_share(const nnl_layer *layer) {
    const nnl_tensor *batches = layer->tensor[BATCHES];
    if (!layer->option[MOMENTUM].none) return layer->option[MOMENTUM].d;
    return batches ? 1 / (nnl_element_read(NNL_INT64, nnl_tensor_data(batches)).d + 1) : 0;
}

static void count_batch(nnl_tensor *batches) {
    int64_t *count = nnl_tensor_data(batches);
    *count += 1;
    nnl_tensor_changed(batches);
}

static nnl_status batch_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                nnl_tensor **out) {
    bool tracks = layer->option[TRACKS].i != 0;
    const nnl_batch_norm_options options = {
        .training = layer->training || !tracks, .momentum = batch_share(layer), .eps = layer->option[EPS].d};
    nnl_status status = check_batch(ctx, layer, layer->option[FEATURES].i, inputs[0]);
    if (status != NNL_OK) return status;
    *out = nnl_batch_norm(ctx, inputs[0], layer->tensor[RUNNING_MEAN], layer->tensor[RUNNING_VAR],
                          layer->tensor[WEIGHT], layer->tensor[BIAS], &options);
    if (*out && tracks && layer->training && !ctx->repeating) count_batch(layer->tensor[BATCHES]);
    return *out ? NNL_OK : ctx->status;
}

// ---- declarations

#define EPS_OPTION(value)                                                                                    \
    {                                                                                                        \
        .name = "eps", .type = NNL_OPTION_NUMBER, .fallback = {value}, .high = INFINITY,                     \
        .doc = "added to the variance"                                                                       \
    }
#define FLAG(n, text)                                                                                        \
    { .name = n, .type = NNL_OPTION_BOOL, .fallback = {1}, .doc = text }
#define SIZE(n, need, text)                                                                                  \
    {                                                                                                        \
        .name = n, .type = NNL_OPTION_INT, .positional = true, .required = need, .low = 1, .high = INFINITY, \
        .doc = text                                                                                          \
    }
#define SIZES                                                                                                \
    {                                                                                                        \
        .name = "normalized_shape", .type = NNL_OPTION_INTS, .positional = true, .required = true, .low = 1, \
        .high = INFINITY, .doc = "sizes of the last dimensions, over which it goes"                          \
    }
#define BATCH_NORM(n, dims, text)                                                                            \
    {                                                                                                        \
        .name = n, .doc = text, .inputs = 1, .variant = dims,                                                \
        .options =                                                                                           \
            {[FEATURES] = SIZE("num_features", false, "channels; from the first input where left out"),      \
             [EPS] = EPS_OPTION(1e-5),                                                                       \
             [MOMENTUM] = {.name = "momentum",                                                               \
                           .type = NNL_OPTION_NUMBER,                                                        \
                           .fallback = {0.1},                                                                \
                           .high = 1,                                                                        \
                           .or_false = true,                                                                 \
                           .doc = "share of a batch in the running statistics; false: their plain mean"},    \
             [AFFINE] = FLAG("affine", "whether there are weight and bias"),                                 \
             [TRACKS] = FLAG("track_running_stats", "whether statistics are kept for eval"),                 \
             [DTYPE] = NNL_DTYPE_OPTION},                                                                    \
        .slots = {[WEIGHT] = {"weight", "num_features", .when = "affine"},                                   \
                  [BIAS] = {"bias", "num_features", .when = "affine"},                                       \
                  [RUNNING_MEAN] = {"running_mean", "num_features", true, "track_running_stats", false},     \
                  [RUNNING_VAR] = {"running_var", "num_features", true, "track_running_stats", false},       \
                  [BATCHES] = {"num_batches_tracked", "", true, "track_running_stats", true}},               \
        .reset = batch_reset, .infer = batch_infer, .forward = batch_forward                                 \
    }

const nnl_layer_class nnl_norm_classes[] = {
    {.name = "LayerNorm",
     .doc = "(x - mean) / sqrt(variance + eps) * weight + bias over the last dimensions (Ba et al. 2016)",
     .inputs = 1,
     .options = {[NORMALIZED] = SIZES,
                 [ROW_EPS] = EPS_OPTION(1e-5),
                 FLAG("elementwise_affine", "whether there are weight and bias"),
                 FLAG("bias", "whether there is a bias beside the weight"),
                 NNL_DTYPE_OPTION},
     .slots = {[WEIGHT] = {"weight", "normalized_shape[*]", .when = "elementwise_affine"},
               [BIAS] = {"bias", "normalized_shape[*]", .when = "elementwise_affine bias"}},
     .reset = rows_reset,
     .forward = rows_forward},
    {.name = "RMSNorm",
     .doc = "x / sqrt(mean of x^2 + eps) * weight over the last dimensions (Zhang and Sennrich 2019)",
     .inputs = 1,
     .variant = 1,
     .options = {[NORMALIZED] = SIZES,
                 [ROW_EPS] = EPS_OPTION(1e-6),
                 FLAG("elementwise_affine", "whether there is a weight"),
                 NNL_DTYPE_OPTION},
     .slots = {[WEIGHT] = {"weight", "normalized_shape[*]", .when = "elementwise_affine"}},
     .reset = rows_reset,
     .forward = rows_forward},
    {.name = "GroupNorm",
     .doc = "(N, num_channels, ...) normalised over each group of channels of each sample (Wu and He 2018)",
     .inputs = 1,
     .options = {[GROUPS] = SIZE("num_groups", true, "groups of neighbouring channels"),
                 [CHANNELS] = SIZE("num_channels", true, "channels in all"),
                 [GROUP_EPS] = EPS_OPTION(1e-5),
                 FLAG("affine", "whether there are weight and bias"),
                 NNL_DTYPE_OPTION},
     .slots = {[WEIGHT] = {"weight", "num_channels", .when = "affine"},
               [BIAS] = {"bias", "num_channels", .when = "affine"}},
     .reset = group_reset,
     .forward = group_forward},
    BATCH_NORM("BatchNorm1d", 1,
               "(N, C) or (N, C, L) normalised by channel over the batch (Ioffe and Szegedy 2015)"),
    BATCH_NORM("BatchNorm2d", 2,
               "(N, C, H, W) normalised by channel over the batch (Ioffe and Szegedy 2015)"),
    {.name = NULL},
};
