// conv.c: convolutions and transposed convolutions of one and two dimensions. The operation is in
// grad/conv.c.
#include "grad/spatial.h"
#include "nn/weighted.h"

#include <stdio.h>

// Positions in the declarations below.
enum { IN, OUT, KERNEL, STRIDE, PADDING, DILATION, GROUPS, SHARED, OUTPUT_PADDING = SHARED + 7 };

// A class's variant: its dimensions, and whether it is transposed.
#define TRANSPOSED 4

#define WHO_ROOM 32

static const char *who_of(const nnl_layer *layer, char who[WHO_ROOM]) {
    snprintf(who, WHO_ROOM, "nn.%s", layer->class->name);
    return who;
}

static int dims_of(const nnl_layer *layer) { return layer->class->variant % TRANSPOSED; }
static bool is_transposed(const nnl_layer *layer) { return layer->class->variant >= TRANSPOSED; }

static nnl_status check_lists(nnl_context *ctx, const nnl_layer *layer) {
    char who[WHO_ROOM];
    int last = is_transposed(layer) ? OUTPUT_PADDING : DILATION;
    for (int k = KERNEL; k <= last; k++) {
        const nnl_option *option = &layer->class->options[k];
        const nnl_option_value *value = &layer->option[k];
        if (option->type != NNL_OPTION_INTS || !value->given || value->word) continue;
        nnl_status status = nnl_check_sizes(ctx, who_of(layer, who), option->name, value->count,
                                            dims_of(layer), (int64_t)option->low, value->ints);
        if (status != NNL_OK) return status;
    }
    return NNL_OK;
}

// in_channels of 0 are still open.
static nnl_status conv_check(nnl_context *ctx, const nnl_layer *layer) {
    char who[WHO_ROOM];
    int64_t in = layer->option[IN].i, out = layer->option[OUT].i, groups = layer->option[GROUPS].i;
    if (in % groups == 0 && out % groups == 0) return check_lists(ctx, layer);
    return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                    "%s: option 'groups' must divide in_channels (%lld) and out_channels (%lld), got %lld",
                    who_of(layer, who), (long long)in, (long long)out, (long long)groups);
}

static nnl_status conv_reset(nnl_context *ctx, nnl_layer *layer) {
    const nnl_shape *shape = &layer->tensor[NNL_WEIGHT]->shape;
    double fan_in = 1;
    for (int d = 1; d < shape->ndim; d++) fan_in *= (double)shape->size[d];
    return nnl_weighted_reset(ctx, layer, SHARED, fan_in);
}

static nnl_status conv_infer(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x) {
    char who[WHO_ROOM], text[NNL_SHAPE_TEXT];
    int channels = x->shape.ndim - dims_of(layer) - 1;
    if ((channels != 0 && channels != 1) || x->shape.size[channels] < 1) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected input (N, C, %s), got %s", who_of(layer, who),
                        dims_of(layer) == 1 ? "L" : "H, W", nnl_shape_text(&x->shape, text));
    }
    if (x->shape.size[channels] % layer->option[GROUPS].i != 0) {
        return nnl_fail(
            ctx, NNL_ERR_SHAPE, "%s: option 'groups' must divide the input's channels, got %lld for %s",
            who_of(layer, who), (long long)layer->option[GROUPS].i, nnl_shape_text(&x->shape, text));
    }
    nnl_weighted_infer_dtype(layer, SHARED, x);
    layer->option[IN].i = x->shape.size[channels];
    layer->option[IN].given = true;
    return NNL_OK;
}

static nnl_status conv_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                               nnl_tensor **out) {
    char who[WHO_ROOM];
    const nnl_option_value *option = layer->option;
    nnl_conv_options o = {.who = who_of(layer, who),
                          .dims = dims_of(layer),
                          .transposed = is_transposed(layer),
                          .padding_rule = (nnl_padding_rule)option[PADDING].word,
                          .groups = option[GROUPS].i};
    for (int d = 0; d < o.dims; d++) {
        o.stride[d] = option[STRIDE].ints[d];
        o.padding[d] = option[PADDING].ints[d];
        o.dilation[d] = option[DILATION].ints[d];
        o.output_padding[d] = o.transposed ? option[OUTPUT_PADDING].ints[d] : 0;
    }
    nnl_tensor *y = nnl_conv(ctx, inputs[0], layer->tensor[NNL_WEIGHT], layer->tensor[NNL_BIAS], &o);
    return nnl_weighted_finish(ctx, layer, SHARED, y, false, out);
}

static nnl_status conv_penalty(nnl_context *ctx, nnl_layer *layer, nnl_tensor **out) {
    return nnl_weighted_penalty(ctx, layer, SHARED, out);
}

#define SIZES(n, value, least, words, text)                                                                  \
    {                                                                                                        \
        .name = n, .type = NNL_OPTION_INTS, .fallback = {value}, .low = least, .high = INT32_MAX,            \
        .choices = words, .doc = text                                                                        \
    }
#define OPTIONS(padding_words, padding_text)                                                                 \
    [IN] = {.name = "in_channels",                                                                           \
            .type = NNL_OPTION_INT,                                                                          \
            .positional = true,                                                                              \
            .low = 1,                                                                                        \
            .high = INT32_MAX,                                                                               \
            .doc = "channels of the input; from the first one where left out"},                              \
    [OUT] = {.name = "out_channels",                                                                         \
             .type = NNL_OPTION_INT,                                                                         \
             .positional = true,                                                                             \
             .required = true,                                                                               \
             .low = 1,                                                                                       \
             .high = INT32_MAX,                                                                              \
             .doc = "channels of the result"},                                                               \
    [KERNEL] = {.name = "kernel_size",                                                                       \
                .type = NNL_OPTION_INTS,                                                                     \
                .positional = true,                                                                          \
                .required = true,                                                                            \
                .low = 1,                                                                                    \
                .high = INT32_MAX,                                                                           \
                .doc = "size of the window"},                                                                \
    [STRIDE] = SIZES("stride", 1, 1, NULL, "pixels from one place of the window to the next"),               \
    [PADDING] = SIZES("padding", 0, 0, padding_words, padding_text),                                         \
    [DILATION] = SIZES("dilation", 1, 1, NULL, "pixels from one tap of the window to the next"),             \
    [GROUPS] = {.name = "groups",                                                                            \
                .type = NNL_OPTION_INT,                                                                      \
                .fallback = {1},                                                                             \
                .low = 1,                                                                                    \
                .high = INT32_MAX,                                                                           \
                .doc = "parts of the channels that do not see each other"},                                  \
    NNL_WEIGHTED_OPTIONS
#define CONV_OPTIONS                                                                                         \
    {                                                                                                        \
        OPTIONS(NNL_PADDING_WORDS,                                                                           \
                "zeros on either side; \"same\": as many as keep the size, \"valid\": none")                 \
    }
#define TRANSPOSED_OPTIONS                                                                                   \
    {                                                                                                        \
        OPTIONS(NULL, "what a convolution's padding would have been: cut off either side"),                  \
            [OUTPUT_PADDING] = SIZES("output_padding", 0, 0, NULL, "places more at the end of the result")   \
    }
#define FUNCTIONS                                                                                            \
    .inputs = 1, .check = conv_check, .reset = conv_reset, .infer = conv_infer, .forward = conv_forward,     \
    .penalty = conv_penalty

const nnl_layer_class nnl_conv_classes[] = {
    {.name = "Conv1d",
     .doc = "Convolution: (N, in_channels, L) to (N, out_channels, L')",
     .options = CONV_OPTIONS,
     .slots = {{.name = "weight", .shape = "out_channels in_channels/groups kernel_size[0]"},
               {.name = "bias", .shape = "out_channels", .when = "bias"}},
     .variant = 1,
     FUNCTIONS},
    {.name = "Conv2d",
     .doc = "Convolution: (N, in_channels, H, W) to (N, out_channels, H', W')",
     .options = CONV_OPTIONS,
     .slots = {{.name = "weight", .shape = "out_channels in_channels/groups kernel_size[0] kernel_size[1]"},
               {.name = "bias", .shape = "out_channels", .when = "bias"}},
     .variant = 2,
     FUNCTIONS},
    {.name = "ConvTranspose1d",
     .doc = "The gradient of Conv1d as a layer: (N, in_channels, L) to (N, out_channels, L')",
     .options = TRANSPOSED_OPTIONS,
     .slots = {{.name = "weight", .shape = "in_channels out_channels/groups kernel_size[0]"},
               {.name = "bias", .shape = "out_channels", .when = "bias"}},
     .variant = TRANSPOSED + 1,
     FUNCTIONS},
    {.name = "ConvTranspose2d",
     .doc = "The gradient of Conv2d as a layer: (N, in_channels, H, W) to (N, out_channels, H', W')",
     .options = TRANSPOSED_OPTIONS,
     .slots = {{.name = "weight", .shape = "in_channels out_channels/groups kernel_size[0] kernel_size[1]"},
               {.name = "bias", .shape = "out_channels", .when = "bias"}},
     .variant = TRANSPOSED + 2,
     FUNCTIONS},
    {.name = NULL},
};
