// resize.c: images and signals of another size, by their nearest elements, between neighbours, or by means.
#include "grad/resample.h"

#include <math.h>

static nnl_status rule_of(nnl_context *ctx, const nnl_resize_options *o, int d, int64_t size,
                          nnl_axis_rule *r) {
    bool linear = o->mode == NNL_RESIZE_LINEAR || o->mode == NNL_RESIZE_BILINEAR;
    double wanted = o->size_count > 0 ? (double)o->size[d] : floor((double)size * o->scale[d]);
    if (!(wanted >= 1 && wanted <= INT32_MAX) || size < 1) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: cannot make %.14g elements of %lld", o->who, wanted,
                        (long long)size);
    }
    *r = (nnl_axis_rule){.kind = linear                       ? NNL_AXIS_LINEAR
                                 : o->mode == NNL_RESIZE_AREA ? NNL_AXIS_ADAPTIVE
                                                              : NNL_AXIS_NEAREST,
                         .size = size,
                         .result = (int64_t)wanted,
                         .align_corners = o->align_corners};
    if (o->align_corners) {
        r->scale = r->result > 1 ? (double)(size - 1) / (double)(r->result - 1) : 0;
    } else {
        r->scale = o->size_count > 0 ? (double)size / wanted : 1 / o->scale[d];
    }
    return NNL_OK;
}

// Exactly one of size and scale, with as many numbers as there are dimensions.
static nnl_status check_options(nnl_context *ctx, const nnl_resize_options *o, int dims) {
    bool linear = o->mode == NNL_RESIZE_LINEAR || o->mode == NNL_RESIZE_BILINEAR;
    int count = o->size_count > 0 ? o->size_count : o->scale_count;
    if ((o->size_count > 0) == (o->scale_count > 0)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: either size or scale_factor must be given", o->who);
    }
    if (count != 1 && count != dims) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "%s: expected one size or scale, or one for each of %d, got %d", o->who, dims, count);
    }
    if (o->align_corners && !linear) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: align_corners is for the modes linear and bilinear",
                        o->who);
    }
    for (int d = 0; d < o->scale_count; d++) {
        if (o->scale[d] > 0 && isfinite(o->scale[d])) continue;
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: scale_factor must be greater than 0, got %.14g", o->who,
                        o->scale[d]);
    }
    return NNL_OK;
}

// One dimension has the height 1, and keeps it.
static nnl_resize_options widened(const nnl_resize_options *o, int dims) {
    nnl_resize_options wide = *o;
    if (o->size_count == 1) wide.size[1] = o->size[0];
    if (o->scale_count == 1) wide.scale[1] = o->scale[0];
    if (dims == 1) wide.size[0] = 1;
    if (dims == 1) wide.scale[0] = 1;
    return wide;
}

nnl_tensor *nnl_resize(nnl_context *ctx, nnl_tensor *x, const nnl_resize_options *options) {
    int dims = x->shape.ndim - 2;
    char text[NNL_SHAPE_TEXT];
    bool fits = options->mode == NNL_RESIZE_LINEAR     ? dims == 1
                : options->mode == NNL_RESIZE_BILINEAR ? dims == 2
                                                       : dims == 1 || dims == 2;
    if (!fits) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE, "%s: expected input %s, got %s", options->who,
                             options->mode == NNL_RESIZE_LINEAR     ? "(N, C, L)"
                             : options->mode == NNL_RESIZE_BILINEAR ? "(N, C, H, W)"
                                                                    : "(N, C, L) or (N, C, H, W)",
                             nnl_shape_text(&x->shape, text));
    }
    if (check_options(ctx, options, dims) != NNL_OK) return NULL;
    nnl_resize_options o = widened(options, dims);
    nnl_axis_rule rules[2];
    nnl_tensor *images = nnl_as_images(ctx, o.who, x, dims), *y = NULL;
    if (images && rule_of(ctx, &o, 0, images->shape.size[2], &rules[0]) == NNL_OK &&
        rule_of(ctx, &o, 1, images->shape.size[3], &rules[1]) == NNL_OK)
        y = nnl_resample_sum(ctx, images, rules);
    nnl_tensor_release(images);
    return nnl_as_given(ctx, y, x, dims);
}

static nnl_status resize_forward(nnl_context *ctx, nnl_call *call) {
    nnl_resize_options o = {
        .who = call->op->name, .mode = (nnl_resize_mode)call->arg[3].i, .align_corners = call->arg[4].flag};
    if (call->arg[1].given) {
        nnl_status status = nnl_call_sizes(ctx, call, 1, 2, 1, o.size);
        if (status != NNL_OK) return status;
        o.size_count = call->arg[1].list->ndim;
    }
    if (call->arg[2].given) {
        o.scale_count = call->arg[2].factors.count;
        for (int d = 0; d < o.scale_count; d++) o.scale[d] = call->arg[2].factors.value[d];
    }
    call->out[0] = nnl_resize(ctx, call->arg[0].tensor, &o);
    return call->out[0] ? NNL_OK : ctx->status;
}

const nnl_op nnl_resize_records[] = {
    {.name = "interpolate",
     .doc = "(N, C, L) or (N, C, H, W) at another size: to `size` or by `scale_factor`",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL},
                {"size", NNL_ARG_SIZES, true, 0, NULL},
                {"scale_factor", NNL_ARG_FACTORS, true, 0, NULL},
                {"mode", NNL_ARG_CHOICE, true, 0, NNL_RESIZE_MODES},
                {"align_corners", NNL_ARG_BOOL, true, 0, NULL}},
     .forward = resize_forward},
    {.name = NULL},
};
