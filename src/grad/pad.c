// pad.c: tensors made larger, or smaller, at the ends of their dimensions.
#include "grad/records.h"

#include <string.h>

typedef struct pad_state {
    int count;
    int64_t widths[NNL_MAX_DIMS];
} pad_state;

// widths[2 * k] and widths[2 * k + 1] belong to the k-th dimension from the end.
static int dim_of(const nnl_tensor *x, int k) { return x->shape.ndim - 1 - k; }

// ---- a constant

static nnl_tensor *padded(nnl_context *ctx, nnl_tensor *x, const pad_state *s, double value);

// What was added is cut off, and what was cut off has no gradient.
static nnl_status pad_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    pad_state turned = *(const pad_state *)node->state;
    for (int i = 0; i < turned.count; i++) turned.widths[i] = -turned.widths[i];
    dx[0] = padded(ctx, dout[0], &turned, 0);
    return dx[0] ? NNL_OK : ctx->status;
}

static const nnl_op pad_record = {.name = "pad", .outputs = 1, .backward = pad_backward};

// The part of `t` that the other tensor has too: where a width is positive in the one, negative in the other.
static nnl_tensor *common_part(const nnl_tensor *t, const pad_state *s, int64_t sign) {
    nnl_shape shape = t->shape;
    int64_t offset = t->offset;
    for (int k = 0; 2 * k < s->count; k++) {
        int64_t before = sign * s->widths[2 * k], after = sign * s->widths[2 * k + 1];
        if (before > 0) offset += before * t->stride[dim_of(t, k)];
        shape.size[dim_of(t, k)] -= (before > 0 ? before : 0) + (after > 0 ? after : 0);
    }
    return nnl_tensor_alias(t, &shape, t->stride, offset);
}

static nnl_status copy_common(nnl_context *ctx, const nnl_tensor *y, const nnl_tensor *x,
                              const pad_state *s) {
    nnl_tensor *to = common_part(y, s, 1), *from = to ? common_part(x, s, -1) : NULL;
    bool there = from && nnl_tensor_numel(to) > 0 && nnl_tensor_numel(from) > 0;
    if (there) nnl_try_copy(to, from);
    nnl_status status = from ? NNL_OK : ctx->status;
    nnl_tensor_release(to);
    nnl_tensor_release(from);
    return status;
}

static nnl_tensor *padded(nnl_context *ctx, nnl_tensor *x, const pad_state *s, double value) {
    nnl_shape shape = x->shape;
    for (int i = 0; i < s->count; i++) shape.size[dim_of(x, i / 2)] += s->widths[i];
    nnl_tensor *y = nnl_tensor_new(ctx, x->dtype, &shape);
    if (!y) return NULL;
    nnl_try_fill(y, nnl_number_float(value));
    nnl_status status = copy_common(ctx, y, x, s);
    if (status == NNL_OK)
        status = nnl_record(ctx, &(nnl_recording){.op = &pad_record,
                                                  .n_inputs = 1,
                                                  .inputs = &x,
                                                  .n_outputs = 1,
                                                  .outputs = &y,
                                                  .state = s,
                                                  .state_size = sizeof *s});
    if (status == NNL_OK) return y;
    nnl_tensor_release(y);
    return NULL;
}

// ---- elements of the tensor itself

// Which element of `size` stands at i, which may lie outside.
static int64_t source_of(int64_t i, int64_t size, nnl_pad_mode mode) {
    if (mode == NNL_PAD_CIRCULAR) return (i % size + size) % size;
    if (mode == NNL_PAD_REPLICATE) return i < 0 ? 0 : i >= size ? size - 1 : i;
    if (i < 0) i = -i;
    return i >= size ? 2 * (size - 1) - i : i;
}

static nnl_tensor *mirrored(nnl_context *ctx, nnl_tensor *x, int dim, int64_t before, int64_t after,
                            nnl_pad_mode mode) {
    nnl_shape shape = {.ndim = 1, .size = {x->shape.size[dim] + before + after}};
    nnl_tensor *index = nnl_tensor_new(ctx, NNL_INT64, &shape);
    if (!index) return NULL;
    int64_t *at = nnl_tensor_data(index);
    for (int64_t i = 0; i < shape.size[0]; i++) at[i] = source_of(i - before, x->shape.size[dim], mode) + 1;
    nnl_tensor *y = nnl_index_select(ctx, x, dim, index);
    nnl_tensor_release(index);
    return y;
}

static nnl_tensor *mirrored_all(nnl_context *ctx, nnl_tensor *x, const pad_state *s, nnl_pad_mode mode) {
    nnl_tensor *y = nnl_tensor_retain(x);
    for (int k = 0; 2 * k < s->count && y; k++) {
        nnl_tensor *last = y;
        y = mirrored(ctx, last, dim_of(x, k), s->widths[2 * k], s->widths[2 * k + 1], mode);
        nnl_tensor_release(last);
    }
    return y;
}

// ---- checks

// The most that the elements of one dimension can give on either side.
static int64_t most_of(int64_t size, nnl_pad_mode mode) {
    if (mode == NNL_PAD_REFLECT) return size - 1;
    return mode == NNL_PAD_CIRCULAR ? size : size > 0 ? INT64_MAX : 0;
}

static nnl_status check_widths(nnl_context *ctx, const char *who, const nnl_tensor *x, const pad_state *s,
                               nnl_pad_mode mode) {
    char text[NNL_SHAPE_TEXT];
    for (int k = 0; 2 * k < s->count; k++) {
        int64_t size = x->shape.size[dim_of(x, k)], before = s->widths[2 * k], after = s->widths[2 * k + 1];
        int64_t most = mode == NNL_PAD_CONSTANT ? INT64_MAX : most_of(size, mode);
        bool huge = before > INT32_MAX || after > INT32_MAX || before < -INT32_MAX || after < -INT32_MAX;
        if (!huge && size + before + after >= 0 && before <= most && after <= most) continue;
        return nnl_fail(
            ctx, NNL_ERR_SHAPE, "%s: a tensor of shape %s cannot be padded by %lld and %lld in dimension %d",
            who, nnl_shape_text(&x->shape, text), (long long)before, (long long)after, dim_of(x, k) + 1);
    }
    return NNL_OK;
}

nnl_tensor *nnl_pad(nnl_context *ctx, const char *who, nnl_tensor *x, int count, const int64_t *widths,
                    nnl_pad_mode mode, double value) {
    pad_state s = {.count = count};
    char text[NNL_SHAPE_TEXT];
    if (count % 2 != 0 || count / 2 > x->shape.ndim || count > NNL_MAX_DIMS) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE,
                             "%s: expected two numbers for each of the last dimensions of %s, got %d", who,
                             nnl_shape_text(&x->shape, text), count);
    }
    memcpy(s.widths, widths, (size_t)count * sizeof *widths);
    if (check_widths(ctx, who, x, &s, mode) != NNL_OK) return NULL;
    return mode == NNL_PAD_CONSTANT ? padded(ctx, x, &s, value) : mirrored_all(ctx, x, &s, mode);
}

static nnl_status pad_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_shape *widths = call->arg[1].list;
    call->out[0] = nnl_pad(ctx, call->op->name, call->arg[0].tensor, widths->ndim, widths->size,
                           (nnl_pad_mode)call->arg[2].i, call->arg[3].number.d);
    return call->out[0] ? NNL_OK : ctx->status;
}

const nnl_op nnl_pad_records[] = {
    {.name = "pad",
     .doc = "made larger by a value (or by its own elements) before and after the last dimension, the one "
            "before "
            "it ...; negative widths cut off",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL},
                {"pad", NNL_ARG_SIZES, false, 0, NULL},
                {"mode", NNL_ARG_CHOICE, true, 0, NNL_PAD_MODES},
                {"value", NNL_ARG_NUMBER, true, 0, NULL}},
     .forward = pad_forward},
    {.name = NULL},
};
