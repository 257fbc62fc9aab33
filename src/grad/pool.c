// pool.c: pooling of one and two dimensions: the largest or the mean of windows, sliding or adapted to a
// size.
#include "grad/resample.h"

// ---- rules

static nnl_status rule_of(nnl_context *ctx, const nnl_pool_options *o, int d, int64_t size,
                          nnl_axis_rule *r) {
    static const char *const names[] = {"height", "width"};
    int64_t kernel = o->kernel[d], stride = o->stride[d] > 0 ? o->stride[d] : kernel, padding = o->padding[d];
    *r = (nnl_axis_rule){.kind = NNL_AXIS_WINDOW,
                         .size = size,
                         .kernel = kernel,
                         .stride = stride,
                         .padding = padding,
                         .dilation = o->dilation[d],
                         .counts_padding = o->count_include_pad,
                         .divisor = o->divisor_override == 0 ? 0
                                    : d == 0                 ? (double)o->divisor_override
                                                             : 1};
    if (padding > kernel / 2) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "%s: padding must be at most half of the kernel's size, got %lld for %lld", o->who,
                        (long long)padding, (long long)kernel);
    }
    int64_t field = (kernel - 1) * r->dilation + 1, room = size + 2 * padding - field;
    if (size < 1 || room < (o->ceil_mode ? 1 - stride : 0)) {
        return nnl_fail(
            ctx, NNL_ERR_SHAPE,
            "%s: a kernel of size %lld%s reaches over %lld, more than the %s of the padded input, %lld",
            o->who, (long long)kernel, r->dilation > 1 ? " with its dilation" : "", (long long)field,
            o->dims == 1 ? "length" : names[d], (long long)(size + 2 * padding));
    }
    r->result = (room + (o->ceil_mode ? stride - 1 : 0)) / stride + 1;
    if (o->ceil_mode && (r->result - 1) * stride >= size + padding) r->result--;
    return NNL_OK;
}

static nnl_pool_options widened(const nnl_pool_options *o) {
    nnl_pool_options wide = *o;
    nnl_widen_sizes(o->dims, 1, wide.kernel);
    nnl_widen_sizes(o->dims, 1, wide.stride);
    nnl_widen_sizes(o->dims, 0, wide.padding);
    nnl_widen_sizes(o->dims, 1, wide.dilation);
    return wide;
}

static nnl_tensor *pool_images(nnl_context *ctx, nnl_tensor *x, const nnl_axis_rule rules[2], bool largest,
                               nnl_tensor **at) {
    nnl_tensor *positions = NULL;
    if (!largest) return nnl_resample_sum(ctx, x, rules);
    nnl_tensor *y = nnl_resample_max(ctx, x, rules, &positions);
    if (y && at) {
        *at = positions;
    } else {
        nnl_tensor_release(positions);
    }
    return y;
}

// int32 from 0 to int64 from 1, as scripts count. Takes `at`.
static nnl_tensor *as_positions(nnl_context *ctx, nnl_tensor *at, const nnl_tensor *x, int dims) {
    nnl_tensor *wide = nnl_tensor_new(ctx, NNL_INT64, &at->shape);
    if (wide) {
        const int32_t *from = nnl_tensor_data(at);
        int64_t *to = nnl_tensor_data(wide);
        for (int64_t i = 0, n = nnl_tensor_numel(wide); i < n; i++) to[i] = from[i] + 1;
    }
    nnl_tensor_release(at);
    return nnl_as_given(ctx, wide, x, dims);
}

static nnl_tensor *pool(nnl_context *ctx, nnl_tensor *x, const nnl_tensor *given, int dims,
                        const nnl_axis_rule rules[2], bool largest, nnl_tensor **indices) {
    nnl_tensor *at = NULL, *y = pool_images(ctx, x, rules, largest, indices ? &at : NULL);
    if (!y || !indices) return nnl_as_given(ctx, y, given, dims);
    *indices = as_positions(ctx, at, given, dims);
    if (*indices) return nnl_as_given(ctx, y, given, dims);
    nnl_tensor_release(y);
    return NULL;
}

nnl_tensor *nnl_pooling(nnl_context *ctx, nnl_tensor *x, const nnl_pool_options *options,
                        nnl_tensor **indices) {
    nnl_pool_options o = widened(options);
    nnl_axis_rule rules[2];
    nnl_tensor *images = nnl_as_images(ctx, o.who, x, o.dims), *y = NULL;
    if (images && rule_of(ctx, &o, 0, images->shape.size[2], &rules[0]) == NNL_OK &&
        rule_of(ctx, &o, 1, images->shape.size[3], &rules[1]) == NNL_OK)
        y = pool(ctx, images, x, o.dims, rules, o.largest, indices);
    nnl_tensor_release(images);
    return y;
}

nnl_tensor *nnl_adaptive_pool(nnl_context *ctx, nnl_tensor *x, const nnl_pool_options *options,
                              nnl_tensor **indices) {
    nnl_pool_options o = widened(options);
    nnl_axis_rule rules[2];
    char text[NNL_SHAPE_TEXT];
    nnl_tensor *images = nnl_as_images(ctx, o.who, x, o.dims), *y = NULL;
    if (!images) return NULL;
    for (int d = 0; d < 2; d++)
        rules[d] = (nnl_axis_rule){
            .kind = NNL_AXIS_ADAPTIVE, .size = images->shape.size[2 + d], .result = o.kernel[d]};
    if (rules[0].size > 0 && rules[1].size > 0) {
        y = pool(ctx, images, x, o.dims, rules, o.largest, indices);
    } else {
        nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected an input without empty dimensions, got %s", o.who,
                 nnl_shape_text(&x->shape, text));
    }
    nnl_tensor_release(images);
    return y;
}

nnl_tensor *nnl_global_avg_pool(nnl_context *ctx, const char *who, nnl_tensor *x) {
    char text[NNL_SHAPE_TEXT];
    int last = x->shape.ndim - 1;
    if (last == 2 || last == 3) return nnl_mean(ctx, x, 2, (const int64_t[]){last - 1, last}, false);
    return nnl_fail_null(ctx, NNL_ERR_SHAPE, "%s: expected input (N, C, H, W) or (C, H, W), got %s", who,
                         nnl_shape_text(&x->shape, text));
}

// ---- the operations

enum { LARGEST = 4 }; // in a variant, beside the dimensions

static nnl_pool_options options_of(const nnl_call *call) {
    return (nnl_pool_options){.who = call->op->name,
                              .dims = call->op->variant % LARGEST,
                              .largest = call->op->variant >= LARGEST,
                              .dilation = {1, 1}};
}

static nnl_status finish(nnl_context *ctx, nnl_call *call, nnl_tensor *y) {
    call->out[0] = y;
    return y ? NNL_OK : ctx->status;
}

static nnl_status read_windows(nnl_context *ctx, const nnl_call *call, nnl_pool_options *o) {
    nnl_status status = nnl_call_sizes(ctx, call, 1, o->dims, 1, o->kernel);
    if (status == NNL_OK) status = nnl_call_sizes(ctx, call, 2, o->dims, 1, o->stride);
    return status == NNL_OK ? nnl_call_sizes(ctx, call, 3, o->dims, 0, o->padding) : status;
}

static nnl_status max_pool_forward(nnl_context *ctx, nnl_call *call) {
    nnl_pool_options o = options_of(call);
    nnl_status status = read_windows(ctx, call, &o);
    if (status == NNL_OK) status = nnl_call_sizes(ctx, call, 4, o.dims, 1, o.dilation);
    if (status != NNL_OK) return status;
    o.ceil_mode = call->arg[5].flag;
    return finish(ctx, call,
                  nnl_pooling(ctx, call->arg[0].tensor, &o, call->arg[6].flag ? &call->out[1] : NULL));
}

static nnl_status avg_pool_forward(nnl_context *ctx, nnl_call *call) {
    nnl_pool_options o = options_of(call);
    nnl_status status = read_windows(ctx, call, &o);
    if (status != NNL_OK) return status;
    o.ceil_mode = call->arg[4].flag;
    o.count_include_pad = call->arg[5].flag;
    if (o.dims == 2 && call->arg[6].given) o.divisor_override = call->arg[6].i;
    if (o.dims == 2 && call->arg[6].given && o.divisor_override == 0)
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: divisor_override must not be 0", o.who);
    return finish(ctx, call, nnl_pooling(ctx, call->arg[0].tensor, &o, NULL));
}

static nnl_status adaptive_pool_forward(nnl_context *ctx, nnl_call *call) {
    nnl_pool_options o = options_of(call);
    nnl_status status = nnl_call_sizes(ctx, call, 1, o.dims, 1, o.kernel);
    if (status != NNL_OK) return status;
    bool indices = o.largest && call->arg[2].flag;
    return finish(ctx, call, nnl_adaptive_pool(ctx, call->arg[0].tensor, &o, indices ? &call->out[1] : NULL));
}

static nnl_status global_forward(nnl_context *ctx, nnl_call *call) {
    return finish(ctx, call, nnl_global_avg_pool(ctx, call->op->name, call->arg[0].tensor));
}

#define WINDOWS                                                                                              \
    {"input", NNL_ARG_TENSOR, false, 0, NULL}, {"kernel_size", NNL_ARG_SIZES, false, 0, NULL},               \
        {"stride", NNL_ARG_SIZES, true, 0, NULL}, {                                                          \
        "padding", NNL_ARG_SIZES, true, 0, NULL                                                              \
    }
#define FLAG(name, value)                                                                                    \
    { name, NNL_ARG_BOOL, true, value, NULL }
#define MAX_POOL(n, dims, text)                                                                              \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_FUNCTIONAL | NNL_OP_POSITIONS, .outputs = 2,                 \
        .params = {WINDOWS,                                                                                  \
                   {"dilation", NNL_ARG_SIZES, true, 1, NULL},                                               \
                   FLAG("ceil_mode", 0),                                                                     \
                   FLAG("return_indices", 0)},                                                               \
        .forward = max_pool_forward, .variant = LARGEST + dims                                               \
    }
#define ADAPTIVE(n, kind, results, text, ...)                                                                \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_FUNCTIONAL, .outputs = results,                              \
        .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL},                                                \
                   {"output_size", NNL_ARG_SIZES, false, 0, NULL},                                           \
                   __VA_ARGS__},                                                                             \
        .forward = adaptive_pool_forward, .variant = kind                                                    \
    }

const nnl_op nnl_pool_records[] = {
    MAX_POOL("max_pool1d", 1, "the largest of each window of (N, C, L); the stride is the kernel's size"),
    MAX_POOL("max_pool2d", 2, "the largest of each window of (N, C, H, W); the stride is the kernel's size"),
    {.name = "avg_pool1d",
     .doc = "the mean of each window of (N, C, L); the stride is the kernel's size",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {WINDOWS, FLAG("ceil_mode", 0), FLAG("count_include_pad", 1)},
     .forward = avg_pool_forward,
     .variant = 1},
    {.name = "avg_pool2d",
     .doc = "the mean of each window of (N, C, H, W); the stride is the kernel's size",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {WINDOWS,
                FLAG("ceil_mode", 0),
                FLAG("count_include_pad", 1),
                {"divisor_override", NNL_ARG_INT, true, 0, NULL}},
     .forward = avg_pool_forward,
     .variant = 2},
    ADAPTIVE("adaptive_avg_pool1d", 1, 1, "means of as many windows of (N, C, L) as output_size says"),
    ADAPTIVE("adaptive_avg_pool2d", 2, 1, "means of as many windows of (N, C, H, W) as output_size says"),
    ADAPTIVE("adaptive_max_pool1d", LARGEST + 1, 2, "the largest of as many windows as output_size says",
             FLAG("return_indices", 0)),
    ADAPTIVE("adaptive_max_pool2d", LARGEST + 2, 2, "the largest of as many windows as output_size says",
             FLAG("return_indices", 0)),
    {.name = "global_avg_pool2d",
     .doc = "the mean of each channel: (N, C, H, W) to (N, C)",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL}},
     .forward = global_forward},
    {.name = NULL},
};
