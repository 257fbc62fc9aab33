// unfold.c: windows that slide along a dimension, as a view. The gradient of an element is the sum over the
// windows that it lies in, which is an operation of its own (`fold`).
#include "grad/records.h"

#include <string.h>

typedef struct window_state {
    nnl_shape shape; // of the tensor that the windows lie in
    int dim;
    int64_t size, step; // of a window, and from one to the next
} window_state;

static nnl_status record_windows(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, nnl_tensor **out,
                                 const window_state *s) {
    return nnl_record_one(ctx, op, x, out, s, sizeof *s);
}

static nnl_status windows_of(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, const window_state *s,
                             nnl_tensor **out) {
    nnl_shape shape = x->shape;
    int64_t stride[NNL_MAX_DIMS];
    memcpy(stride, x->stride, sizeof stride);
    shape.size[s->dim] = (x->shape.size[s->dim] - s->size) / s->step + 1;
    stride[s->dim] = shape.size[s->dim] > 1 ? x->stride[s->dim] * s->step : 1;
    stride[shape.ndim] = x->stride[s->dim];
    shape.size[shape.ndim++] = s->size;
    *out = nnl_tensor_alias(x, &shape, stride, x->offset);
    return *out ? record_windows(ctx, op, x, out, s) : ctx->status;
}

// Adds the windows to where they lie in `whole`: element k of all of them at once, as these never meet.
static void add_windows(nnl_tensor *whole, const nnl_tensor *windows, const window_state *s) {
    nnl_compute type = nnl_tensor_compute(whole);
    nnl_tensor from = *windows, to = *whole;
    from.shape.ndim--;
    to.shape.size[s->dim] = windows->shape.size[s->dim];
    if (to.shape.size[s->dim] > 1) to.stride[s->dim] *= s->step;
    for (int64_t k = 0; k < s->size; k++) {
        if (s->size <= s->step) {
            nnl_try_copy(&to, &from);
        } else {
            nnl_apply_binary(&to, &to, &from, type, NNL_BINARY_add);
        }
        from.offset += windows->stride[from.shape.ndim];
        to.offset += whole->stride[s->dim];
    }
}

static nnl_status unfold_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);
static nnl_status fold_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op windows_record = {.name = "unfold", .outputs = 1, .backward = unfold_backward};
static const nnl_op fold_record = {.name = "fold", .outputs = 1, .backward = fold_backward};

static nnl_status unfold_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    const window_state *s = node->state;
    dx[0] = nnl_tensor_new(ctx, dout[0]->dtype, &s->shape);
    if (!dx[0]) return ctx->status;
    nnl_try_fill(dx[0], nnl_number_int(0));
    add_windows(dx[0], dout[0], s);
    return record_windows(ctx, &fold_record, dout[0], &dx[0], s);
}

static nnl_status fold_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    return windows_of(ctx, &windows_record, dout[0], node->state, &dx[0]);
}

static nnl_status check_window(nnl_context *ctx, const window_state *s) {
    char text[NNL_SHAPE_TEXT];
    if (s->step < 1) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "unfold: expected a step of at least 1, got %lld",
                        (long long)s->step);
    }
    if (s->shape.ndim == NNL_MAX_DIMS) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "unfold: no more than %d dimensions", NNL_MAX_DIMS);
    }
    if (s->size >= 0 && s->size <= s->shape.size[s->dim]) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT, "unfold: windows of size %lld do not fit dimension %d of shape %s",
                    (long long)s->size, s->dim + 1, nnl_shape_text(&s->shape, text));
}

// x:unfold(dim, size, step): a tensor of no dimensions counts as one of shape (1)
static nnl_status unfold_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *given = call->arg[0].tensor;
    nnl_tensor *x = given->shape.ndim == 0 ? nnl_unsqueeze(ctx, given, 0) : nnl_tensor_retain(given);
    if (!x) return ctx->status;
    window_state s = {x->shape, (int)call->arg[1].i, call->arg[2].i, call->arg[3].i};
    nnl_status status = check_window(ctx, &s);
    if (status == NNL_OK) status = windows_of(ctx, call->op, x, &s, &call->out[0]);
    nnl_tensor_release(x);
    if (status == NNL_OK && given->shape.ndim == 0) {
        nnl_tensor *out = nnl_select(ctx, call->out[0], 0, 0);
        nnl_tensor_release(call->out[0]);
        call->out[0] = out;
        if (!out) return ctx->status;
    }
    return status;
}

const nnl_op nnl_unfold_records[] = {
    {.name = "unfold",
     .doc = "a view of windows of `size` positions of a dimension, `step` apart; the positions within them "
            "are a "
            "new last dimension",
     .flags = NNL_OP_METHOD,
     .outputs = 1,
     .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL},
                {"dim", NNL_ARG_DIM, false, 0, NULL},
                {"size", NNL_ARG_INT, false, 0, NULL},
                {"step", NNL_ARG_INT, false, 0, NULL}},
     .forward = unfold_forward,
     .backward = unfold_backward},
    {.name = NULL},
};
