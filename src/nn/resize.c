// resize.c: Upsample and ZeroPad2d. The operations are in grad/resize.c and grad/pad.c.
#include "nn/classes.h"

#include <math.h>
#include <string.h>

enum { SIZE, SCALE, MODE, ALIGN_CORNERS };

static nnl_status result(nnl_context *ctx, nnl_tensor *made, nnl_tensor **out) {
    *out = made;
    return made ? NNL_OK : ctx->status;
}

static nnl_status upsample_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                   nnl_tensor **out) {
    const nnl_option_value *size = &layer->option[SIZE], *scale = &layer->option[SCALE];
    nnl_resize_options o = {.who = "nn.Upsample",
                            .mode = (nnl_resize_mode)layer->option[MODE].i,
                            .align_corners = layer->option[ALIGN_CORNERS].i != 0,
                            .size_count = size->given ? size->count : 0,
                            .scale_count = scale->given ? scale->count : 0};
    memcpy(o.size, size->ints, sizeof o.size);
    memcpy(o.scale, scale->numbers, sizeof o.scale);
    return result(ctx, nnl_resize(ctx, inputs[0], &o), out);
}

static nnl_status zero_pad_check(nnl_context *ctx, const nnl_layer *layer) {
    int count = layer->option[0].count;
    if (count == 1 || count == 4) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                    "nn.ZeroPad2d: option 'padding' must be an integer or {left, right, top, bottom}");
}

static nnl_status zero_pad_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                   nnl_tensor **out) {
    const nnl_option_value *widths = &layer->option[0];
    int ndim = inputs[0]->shape.ndim;
    char text[NNL_SHAPE_TEXT];
    if (ndim != 3 && ndim != 4) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.ZeroPad2d: expected input (N, C, H, W) or (C, H, W), got %s",
                        nnl_shape_text(&inputs[0]->shape, text));
    }
    return result(ctx, nnl_pad(ctx, "nn.ZeroPad2d", inputs[0], 4, widths->ints, NNL_PAD_CONSTANT, 0), out);
}

const nnl_layer_class nnl_resize_classes[] = {
    {.name = "Upsample",
     .doc = "(N, C, H, W) or (N, C, L) at another size: to `size` or by `scale_factor`",
     .inputs = 1,
     .options = {[SIZE] = {.name = "size",
                           .type = NNL_OPTION_INTS,
                           .positional = true,
                           .low = 1,
                           .high = INT32_MAX,
                           .doc = "of the result"},
                 [SCALE] = {.name = "scale_factor",
                            .type = NNL_OPTION_FACTORS,
                            .high = INFINITY,
                            .exclusive_low = true,
                            .doc = "of the result to the input"},
                 [MODE] = {.name = "mode",
                           .type = NNL_OPTION_CHOICE,
                           .choices = NNL_RESIZE_MODES,
                           .doc = "the nearest element, a straight line between neighbours, or means"},
                 [ALIGN_CORNERS] = {.name = "align_corners",
                                    .type = NNL_OPTION_BOOL,
                                    .doc = "linear: the first and last elements are those of the input"}},
     .forward = upsample_forward},
    {.name = "ZeroPad2d",
     .doc = "Zeros around (N, C, H, W); negative widths cut off",
     .inputs = 1,
     .options = {{.name = "padding",
                  .type = NNL_OPTION_INTS,
                  .positional = true,
                  .required = true,
                  .doc = "one width, or {left, right, top, bottom}"}},
     .check = zero_pad_check,
     .forward = zero_pad_forward},
    {.name = NULL},
};
