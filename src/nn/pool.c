// pool.c: pooling layers. The operations are in grad/pool.c.
#include "grad/spatial.h"
#include "nn/classes.h"

#include <math.h>
#include <stdio.h>

// Positions in the declarations below; what comes after them is each kind's own.
enum { KERNEL, STRIDE, PADDING, CEIL_MODE, OWN, DIVISOR };

// A class's variant: its dimensions, and whether the largest is asked for.
#define LARGEST 4

#define WHO_ROOM 32

static nnl_pool_options options_of(const nnl_layer *layer, char who[WHO_ROOM]) {
    nnl_pool_options o = {.who = who,
                          .dims = layer->class->variant % LARGEST,
                          .largest = layer->class->variant >= LARGEST,
                          .dilation = {1, 1}};
    snprintf(who, WHO_ROOM, "nn.%s", layer->class->name);
    return o;
}

static nnl_status pool_check(nnl_context *ctx, const nnl_layer *layer) {
    char who[WHO_ROOM];
    nnl_pool_options o = options_of(layer, who);
    nnl_status status = NNL_OK;
    for (int k = 0; layer->class->options[k].type != NNL_OPTION_END && status == NNL_OK; k++) {
        const nnl_option *option = &layer->class->options[k];
        const nnl_option_value *value = &layer->option[k];
        if (option->type == NNL_OPTION_INTS && value->given)
            status = nnl_check_sizes(ctx, who, option->name, value->count, o.dims, (int64_t)option->low,
                                     value->ints);
    }
    return status;
}

static nnl_status pool_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                               nnl_tensor **out) {
    char who[WHO_ROOM];
    nnl_pool_options o = options_of(layer, who);
    for (int d = 0; d < o.dims; d++) {
        o.kernel[d] = layer->option[KERNEL].ints[d];
        o.stride[d] = layer->option[STRIDE].ints[d];
        o.padding[d] = layer->option[PADDING].ints[d];
        if (o.largest) o.dilation[d] = layer->option[OWN].ints[d];
    }
    o.ceil_mode = layer->option[CEIL_MODE].i != 0;
    if (!o.largest) o.count_include_pad = layer->option[OWN].i != 0;
    if (!o.largest && o.dims == 2) o.divisor_override = layer->option[DIVISOR].i;
    *out = nnl_pooling(ctx, inputs[0], &o, NULL);
    return *out ? NNL_OK : ctx->status;
}

static nnl_status adaptive_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                   nnl_tensor **out) {
    char who[WHO_ROOM];
    nnl_pool_options o = options_of(layer, who);
    for (int d = 0; d < o.dims; d++) o.kernel[d] = layer->option[KERNEL].ints[d];
    *out = nnl_adaptive_pool(ctx, inputs[0], &o, NULL);
    return *out ? NNL_OK : ctx->status;
}

static nnl_status global_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                 nnl_tensor **out) {
    (void)layer;
    *out = nnl_global_avg_pool(ctx, "nn.GlobalAvgPool2d", inputs[0]);
    return *out ? NNL_OK : ctx->status;
}

#define SIZES(n, needed, least, text)                                                                        \
    {                                                                                                        \
        .name = n, .type = NNL_OPTION_INTS, .positional = true, .required = needed, .low = least,            \
        .high = INT32_MAX, .doc = text                                                                       \
    }
#define WINDOWS                                                                                              \
    SIZES("kernel_size", true, 1, "size of the window"),                                                     \
        SIZES("stride", false, 1, "from one window to the next; the kernel's size where left out"),          \
        SIZES("padding", false, 0, "on either side, at most half of the kernel's size"), {                   \
        .name = "ceil_mode", .type = NNL_OPTION_BOOL, .doc = "windows may reach over the end"                \
    }
#define MAX_POOL(n, dims, text)                                                                              \
    {                                                                                                        \
        .name = n, .doc = text, .inputs = 1, .check = pool_check, .forward = pool_forward,                   \
        .variant = LARGEST + dims, .options = {                                                              \
            WINDOWS,                                                                                         \
            {.name = "dilation",                                                                             \
             .type = NNL_OPTION_INTS,                                                                        \
             .fallback = {1},                                                                                \
             .low = 1,                                                                                       \
             .high = INT32_MAX,                                                                              \
             .doc = "from one element of a window to the next"}                                              \
        }                                                                                                    \
    }
#define COUNT_INCLUDE_PAD                                                                                    \
    {                                                                                                        \
        .name = "count_include_pad", .type = NNL_OPTION_BOOL, .fallback = {1},                               \
        .doc = "zeros of the padding count in the mean"                                                      \
    }
#define ADAPTIVE(n, kind, text)                                                                              \
    {                                                                                                        \
        .name = n, .doc = text, .inputs = 1, .check = pool_check, .forward = adaptive_forward,               \
        .variant = kind, .options = {                                                                        \
            SIZES("output_size", true, 1, "size of the result")                                              \
        }                                                                                                    \
    }

const nnl_layer_class nnl_pool_classes[] = {
    MAX_POOL("MaxPool1d", 1, "The largest of each window: (N, C, L) to (N, C, L')"),
    MAX_POOL("MaxPool2d", 2, "The largest of each window: (N, C, H, W) to (N, C, H', W')"),
    {.name = "AvgPool1d",
     .doc = "The mean of each window: (N, C, L) to (N, C, L')",
     .inputs = 1,
     .options = {WINDOWS, COUNT_INCLUDE_PAD},
     .check = pool_check,
     .forward = pool_forward,
     .variant = 1},
    {.name = "AvgPool2d",
     .doc = "The mean of each window: (N, C, H, W) to (N, C, H', W')",
     .inputs = 1,
     .options = {WINDOWS,
                 COUNT_INCLUDE_PAD,
                 {.name = "divisor_override",
                  .type = NNL_OPTION_INT,
                  .low = 1,
                  .high = INFINITY,
                  .doc = "what sums are divided by instead of the window's size"}},
     .check = pool_check,
     .forward = pool_forward,
     .variant = 2},
    ADAPTIVE("AdaptiveAvgPool1d", 1, "Means of windows that cover (N, C, L), to (N, C, output_size)"),
    ADAPTIVE("AdaptiveAvgPool2d", 2, "Means of windows that cover (N, C, H, W), to (N, C, output_size)"),
    ADAPTIVE("AdaptiveMaxPool1d", LARGEST + 1, "The largest of windows that cover (N, C, L)"),
    ADAPTIVE("AdaptiveMaxPool2d", LARGEST + 2, "The largest of windows that cover (N, C, H, W)"),
    {.name = "GlobalAvgPool2d",
     .doc = "The mean of each channel: (N, C, H, W) to (N, C)",
     .inputs = 1,
     .forward = global_forward},
    {.name = NULL},
};
