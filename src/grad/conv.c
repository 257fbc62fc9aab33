// conv.c: convolution and transposed convolution of one and two dimensions, over kernel/conv.h. The gradients
// of a convolution are the two other kinds of the same three, so one backward function serves all of them, to
// any order.
#include "kernel/conv.h"
#include "grad/spatial.h"

typedef struct conv_state {
    nnl_conv_kind kind;
    nnl_conv_shape shape;
} conv_state;

// ---- one of the three kinds

static nnl_status conv_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op conv_record = {.name = "conv", .outputs = 1, .backward = conv_backward};

static nnl_shape result_shape(nnl_conv_kind kind, const nnl_conv_shape *s) {
    int64_t batch = (int64_t)s->batch, in = (int64_t)(s->groups * s->in), out = (int64_t)(s->groups * s->out);
    if (kind == NNL_CONV_WEIGHT)
        return (nnl_shape){4, {out, (int64_t)s->in, (int64_t)s->kernel[0], (int64_t)s->kernel[1]}};
    if (kind == NNL_CONV_INPUT) return (nnl_shape){4, {batch, in, (int64_t)s->size[0], (int64_t)s->size[1]}};
    return (nnl_shape){4, {batch, out, (int64_t)s->result[0], (int64_t)s->result[1]}};
}

static nnl_status compute(nnl_context *ctx, nnl_conv_kind kind, const nnl_conv_shape *shape,
                          const nnl_tensor *a, const nnl_tensor *b, const nnl_tensor *bias, nnl_tensor *out) {
    nnl_conv_plan plan;
    nnl_conv_plan_init(&plan, ctx->kernels, ctx->pool, nnl_tensor_compute(a), ctx->mixed, kind, shape);
    if (plan.window.elements > INT32_MAX) {
        return nnl_fail(ctx, NNL_ERR_MEMORY,
                        "conv: one row of results needs a window of %zu elements, too many",
                        plan.window.elements);
    }
    void *room = nnl_alloc(&ctx->allocator, plan.room);
    if (!room) {
        return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: conv needs %zu bytes to work in", plan.room);
    }
    nnl_conv_run(&plan, nnl_tensor_data(a), nnl_tensor_data(b), bias ? nnl_tensor_data(bias) : NULL,
                 nnl_tensor_data(out), room);
    nnl_free(&ctx->allocator, room);
    return NNL_OK;
}

static nnl_status record(nnl_context *ctx, nnl_conv_kind kind, const nnl_conv_shape *shape, nnl_tensor *a,
                         nnl_tensor *b, nnl_tensor *bias, nnl_tensor *out) {
    conv_state state = {kind, *shape};
    bool wants_a = nnl_requires_grad(a), wants_b = nnl_requires_grad(b);
    return nnl_record(ctx, &(nnl_recording){.op = &conv_record,
                                            .n_inputs = 3,
                                            .inputs = (nnl_tensor *const[]){a, b, bias},
                                            .n_outputs = 1,
                                            .outputs = &out,
                                            .n_saved = 2,
                                            .saved = {wants_b ? a : NULL, wants_a ? b : NULL},
                                            .state = &state,
                                            .state_size = sizeof state});
}

// On contiguous tensors; a and b as nnl_conv_run takes them.
static nnl_tensor *run_contiguous(nnl_context *ctx, nnl_conv_kind kind, const nnl_conv_shape *shape,
                                  nnl_tensor *a, nnl_tensor *b, nnl_tensor *bias) {
    nnl_shape result = result_shape(kind, shape);
    nnl_tensor *out = nnl_tensor_new(ctx, a->dtype, &result);
    if (!out) return NULL;
    nnl_status status = nnl_tensor_numel(out) > 0 ? compute(ctx, kind, shape, a, b, bias, out) : NNL_OK;
    if (status == NNL_OK) status = record(ctx, kind, shape, a, b, bias, out);
    if (status == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

static nnl_tensor *run(nnl_context *ctx, nnl_conv_kind kind, const nnl_conv_shape *shape, nnl_tensor *a,
                       nnl_tensor *b, nnl_tensor *bias) {
    nnl_tensor *x = nnl_contiguous(ctx, a), *y = x ? nnl_contiguous(ctx, b) : NULL;
    nnl_tensor *z = y && bias ? nnl_contiguous(ctx, bias) : NULL;
    nnl_tensor *out = y && (z || !bias) ? run_contiguous(ctx, kind, shape, x, y, z) : NULL;
    nnl_tensor_release(x);
    nnl_tensor_release(y);
    nnl_tensor_release(z);
    return out;
}

// Over rows that lie together first.
static nnl_tensor *bias_gradient(nnl_context *ctx, nnl_tensor *dout) {
    nnl_tensor *each = nnl_sum(ctx, dout, 2, (const int64_t[]){2, 3}, false);
    nnl_tensor *all = each ? nnl_sum(ctx, each, 1, (const int64_t[]){0}, false) : NULL;
    nnl_tensor_release(each);
    return all;
}

static nnl_status conv_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    static const nnl_conv_kind kind_of_a[] = {NNL_CONV_INPUT, NNL_CONV_FORWARD, NNL_CONV_INPUT};
    static const nnl_conv_kind kind_of_b[] = {NNL_CONV_WEIGHT, NNL_CONV_WEIGHT, NNL_CONV_FORWARD};
    const conv_state *s = node->state;
    nnl_tensor *a = nnl_node_saved(node, 0), *b = nnl_node_saved(node, 1), *d = dout[0];
    if (nnl_node_needs(node, 0)) {
        bool swapped = s->kind == NNL_CONV_WEIGHT;
        dx[0] = run(ctx, kind_of_a[s->kind], &s->shape, swapped ? b : d, swapped ? d : b, NULL);
        if (!dx[0]) return ctx->status;
    }
    if (nnl_node_needs(node, 1)) {
        bool swapped = s->kind == NNL_CONV_INPUT;
        dx[1] = run(ctx, kind_of_b[s->kind], &s->shape, swapped ? d : a, swapped ? a : d, NULL);
        if (!dx[1]) return ctx->status;
    }
    if (nnl_node_needs(node, 2)) dx[2] = bias_gradient(ctx, d);
    return nnl_node_needs(node, 2) && !dx[2] ? ctx->status : NNL_OK;
}

// ---- checks, on (N, C, H, W) and (out, in, H, W)

static nnl_status check_weight(nnl_context *ctx, const nnl_conv_options *o, const nnl_tensor *x,
                               const nnl_tensor *weight, const nnl_tensor *bias) {
    char text[NNL_SHAPE_TEXT];
    const char *layout = o->transposed ? "(in, out / groups, kernel ...)" : "(out, in / groups, kernel ...)";
    if (weight->shape.ndim != o->dims + 2) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected a weight %s of %d dimensions, got %s", o->who,
                        layout, o->dims + 2, nnl_shape_text(&weight->shape, text));
    }
    for (int d = 0; d < weight->shape.ndim; d++) {
        if (weight->shape.size[d] > 0) continue;
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected a weight without empty dimensions, got %s", o->who,
                        nnl_shape_text(&weight->shape, text));
    }
    if (o->groups < 1 || weight->shape.size[0] % o->groups != 0) {
        return nnl_fail(
            ctx, NNL_ERR_ARGUMENT, "%s: groups must divide the %s of the weight, got %lld for %lld", o->who,
            o->transposed ? "inputs" : "outputs", (long long)o->groups, (long long)weight->shape.size[0]);
    }
    if (weight->dtype != x->dtype || (bias && bias->dtype != x->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected input, weight and bias of one dtype, got %s and %s",
                        o->who, nnl_dtype_get(x->dtype)->name,
                        nnl_dtype_get(weight->dtype != x->dtype ? weight->dtype : bias->dtype)->name);
    }
    return NNL_OK;
}

static nnl_status check_channels(nnl_context *ctx, const nnl_conv_options *o, const nnl_tensor *x,
                                 const nnl_tensor *weight, const nnl_tensor *bias) {
    char text[NNL_SHAPE_TEXT];
    int64_t in = o->transposed ? weight->shape.size[0] : weight->shape.size[1] * o->groups;
    int64_t out = o->transposed ? weight->shape.size[1] * o->groups : weight->shape.size[0];
    int channels = x->shape.ndim - o->dims - 1;
    bool fits = x->shape.ndim == o->dims + 1 || x->shape.ndim == o->dims + 2;
    if (!fits || x->shape.size[channels] != in) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected input (N, %lld, %s), got %s", o->who, (long long)in,
                        o->dims == 1 ? "L" : "H, W", nnl_shape_text(&x->shape, text));
    }
    if (bias && (bias->shape.ndim != 1 || bias->shape.size[0] != out)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected a bias of shape (%lld), got %s", o->who,
                        (long long)out, nnl_shape_text(&bias->shape, text));
    }
    return NNL_OK;
}

// ---- sizes, with two dimensions

static nnl_status forward_size(nnl_context *ctx, const nnl_conv_options *o, int d, int64_t padding,
                               nnl_conv_shape *s) {
    int64_t padded = (int64_t)s->size[d] + padding;
    int64_t field = (int64_t)((s->kernel[d] - 1) * s->dilation[d]) + 1;
    if (padded < field) {
        return nnl_fail(
            ctx, NNL_ERR_SHAPE,
            "%s: a kernel of size %zu%s reaches over %lld, more than the %s of the padded input, %lld",
            o->who, s->kernel[d], s->dilation[d] > 1 ? " with its dilation" : "", (long long)field,
            d == 0         ? "height"
            : o->dims == 1 ? "length"
                           : "width",
            (long long)padded);
    }
    s->result[d] = (size_t)((padded - field) / (int64_t)s->stride[d] + 1);
    return NNL_OK;
}

// "same" puts the odd one behind.
static nnl_status forward_sizes(nnl_context *ctx, const nnl_conv_options *o, nnl_conv_shape *s) {
    for (int d = 0; d < 2; d++) {
        int64_t both = 2 * o->padding[d];
        if (o->padding_rule == NNL_PADDING_SAME) both = (int64_t)((s->kernel[d] - 1) * s->dilation[d]);
        if (o->padding_rule == NNL_PADDING_VALID) both = 0;
        if (o->padding_rule == NNL_PADDING_SAME && s->stride[d] != 1) {
            return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: padding \"same\" needs a stride of 1, got %zu",
                            o->who, s->stride[d]);
        }
        s->padding[d] = both / 2;
        nnl_status status = forward_size(ctx, o, d, both, s);
        if (status != NNL_OK) return status;
    }
    return NNL_OK;
}

// The input of the operation is what a convolution would result in.
static nnl_status transposed_sizes(nnl_context *ctx, const nnl_conv_options *o, nnl_conv_shape *s) {
    for (int d = 0; d < 2; d++) {
        int64_t stride = (int64_t)s->stride[d], dilation = (int64_t)s->dilation[d],
                more = o->output_padding[d];
        if (more < 0 || (more >= stride && more >= dilation)) {
            return nnl_fail(
                ctx, NNL_ERR_ARGUMENT,
                "%s: output_padding must be less than stride or dilation, got %lld, %lld and %lld", o->who,
                (long long)more, (long long)stride, (long long)dilation);
        }
        int64_t size = ((int64_t)s->result[d] - 1) * stride - 2 * o->padding[d] +
                       (int64_t)(s->kernel[d] - 1) * dilation + more + 1;
        if (size < 1 || s->result[d] == 0) {
            return nnl_fail(ctx, NNL_ERR_SHAPE,
                            "%s: nothing is left of an input of size %zu with padding %lld", o->who,
                            s->result[d], (long long)o->padding[d]);
        }
        s->size[d] = (size_t)size;
        s->padding[d] = (ptrdiff_t)o->padding[d];
    }
    return NNL_OK;
}

static nnl_status conv_shape(nnl_context *ctx, const nnl_conv_options *o, const nnl_tensor *x,
                             const nnl_tensor *weight, nnl_conv_shape *s) {
    size_t groups = (size_t)o->groups;
    *s = (nnl_conv_shape){.batch = (size_t)x->shape.size[0],
                          .groups = groups,
                          .in = (size_t)weight->shape.size[1],
                          .out = (size_t)weight->shape.size[0] / groups};
    for (int d = 0; d < 2; d++) {
        s->size[d] = s->result[d] = (size_t)x->shape.size[2 + d];
        s->kernel[d] = (size_t)weight->shape.size[2 + d];
        s->stride[d] = (size_t)o->stride[d];
        s->dilation[d] = (size_t)o->dilation[d];
    }
    return o->transposed ? transposed_sizes(ctx, o, s) : forward_sizes(ctx, o, s);
}

// ---- the operations

static nnl_tensor *conv_images(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                               const nnl_conv_options *o) {
    nnl_conv_shape shape;
    if (conv_shape(ctx, o, x, weight, &shape) != NNL_OK) return NULL;
    return run(ctx, o->transposed ? NNL_CONV_INPUT : NNL_CONV_FORWARD, &shape, x, weight, bias);
}

static nnl_conv_options widened(const nnl_conv_options *o) {
    nnl_conv_options wide = *o;
    nnl_widen_sizes(o->dims, 1, wide.stride);
    nnl_widen_sizes(o->dims, 0, wide.padding);
    nnl_widen_sizes(o->dims, 1, wide.dilation);
    nnl_widen_sizes(o->dims, 0, wide.output_padding);
    return wide;
}

nnl_tensor *nnl_conv(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                     const nnl_conv_options *o) {
    nnl_conv_options wide = widened(o);
    if (check_weight(ctx, o, x, weight, bias) != NNL_OK || check_channels(ctx, o, x, weight, bias) != NNL_OK)
        return NULL;
    nnl_tensor *images = nnl_as_images(ctx, o->who, x, o->dims);
    nnl_tensor *kernels = images ? nnl_as_images(ctx, o->who, weight, o->dims) : NULL;
    nnl_tensor *added = kernels && bias ? nnl_to(ctx, bias, images->dtype) : NULL;
    nnl_tensor *y = kernels && (added || !bias) ? conv_images(ctx, images, kernels, added, &wide) : NULL;
    nnl_tensor_release(images);
    nnl_tensor_release(kernels);
    nnl_tensor_release(added);
    return nnl_as_given(ctx, y, x, o->dims);
}

typedef enum conv_variant { CONV1D = 1, CONV2D = 2, CONV_TRANSPOSE1D = 3, CONV_TRANSPOSE2D = 4 } conv_variant;

// Positions of the optional arguments; the two kinds have them in different orders.
typedef struct conv_arguments {
    int stride, padding, output_padding, dilation, groups;
} conv_arguments;

static nnl_status conv_forward(nnl_context *ctx, nnl_call *call) {
    bool transposed = call->op->variant >= CONV_TRANSPOSE1D;
    conv_arguments at = transposed ? (conv_arguments){3, 4, 5, 7, 6} : (conv_arguments){3, 4, -1, 5, 6};
    nnl_conv_options o = {.who = call->op->name,
                          .dims = transposed ? call->op->variant - CONV2D : call->op->variant,
                          .transposed = transposed,
                          .stride = {1, 1},
                          .dilation = {1, 1},
                          .groups = call->arg[at.groups].i};
    o.padding_rule = (nnl_padding_rule)call->arg[at.padding].word;
    nnl_status status = nnl_call_sizes(ctx, call, at.stride, o.dims, 1, o.stride);
    if (status == NNL_OK) status = nnl_call_sizes(ctx, call, at.dilation, o.dims, 1, o.dilation);
    if (status == NNL_OK && o.padding_rule == NNL_PADDING_SIZES)
        status = nnl_call_sizes(ctx, call, at.padding, o.dims, 0, o.padding);
    if (status == NNL_OK && transposed)
        status = nnl_call_sizes(ctx, call, at.output_padding, o.dims, 0, o.output_padding);
    if (status != NNL_OK) return status;
    call->out[0] = nnl_conv(ctx, call->arg[0].tensor, call->arg[1].tensor, call->arg[2].tensor, &o);
    return call->out[0] ? NNL_OK : ctx->status;
}

#define INPUTS                                                                                               \
    {"input", NNL_ARG_TENSOR, false, 0, NULL}, {"weight", NNL_ARG_TENSOR, false, 0, NULL},                   \
        {"bias", NNL_ARG_TENSOR, true, 0, NULL}, {                                                           \
        "stride", NNL_ARG_SIZES, true, 1, NULL                                                               \
    }
#define CONV(n, kind, text)                                                                                  \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_FUNCTIONAL, .outputs = 1,                                    \
        .params = {INPUTS,                                                                                   \
                   {"padding", NNL_ARG_SIZES, true, 0, NNL_PADDING_WORDS},                                   \
                   {"dilation", NNL_ARG_SIZES, true, 1, NULL},                                               \
                   {"groups", NNL_ARG_INT, true, 1, NULL}},                                                  \
        .forward = conv_forward, .variant = kind                                                             \
    }
#define CONV_TRANSPOSE(n, kind, text)                                                                        \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_FUNCTIONAL, .outputs = 1,                                    \
        .params = {INPUTS,                                                                                   \
                   {"padding", NNL_ARG_SIZES, true, 0, NULL},                                                \
                   {"output_padding", NNL_ARG_SIZES, true, 0, NULL},                                         \
                   {"groups", NNL_ARG_INT, true, 1, NULL},                                                   \
                   {"dilation", NNL_ARG_SIZES, true, 1, NULL}},                                              \
        .forward = conv_forward, .variant = kind                                                             \
    }

const nnl_op nnl_conv_records[] = {
    CONV("conv1d", CONV1D, "(N, C, L) with weight (out, C / groups, K) to (N, out, L')"),
    CONV("conv2d", CONV2D, "(N, C, H, W) with weight (out, C / groups, KH, KW) to (N, out, H', W')"),
    CONV_TRANSPOSE("conv_transpose1d", CONV_TRANSPOSE1D,
                   "the gradient of conv1d as an operation: weight (C, out / groups, K)"),
    CONV_TRANSPOSE("conv_transpose2d", CONV_TRANSPOSE2D,
                   "the gradient of conv2d as an operation: weight (C, out / groups, KH, KW)"),
    {.name = NULL},
};
