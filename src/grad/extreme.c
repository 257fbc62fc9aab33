// extreme.c: the largest and smallest of things: max, min, amax, amin, argmax, argmin. Positions count
// from 1.
#include "grad/records.h"
#include "tensor/reduce.h"

typedef struct extreme_state {
    int dim;
    nnl_shape shape, kept;
} extreme_state;

static nnl_status check_not_empty(nnl_context *ctx, const char *who, const nnl_tensor *x,
                                  const bool *dropped) {
    char text[NNL_SHAPE_TEXT];
    for (int d = 0; d < x->shape.ndim; d++) {
        if (!dropped[d] || x->shape.size[d] > 0) continue;
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: dimension %d of shape %s is empty and has no such element",
                        who, d + 1, nnl_shape_text(&x->shape, text));
    }
    return NNL_OK;
}

static void drop_one(const nnl_tensor *x, int dim, bool *dropped) {
    for (int d = 0; d < x->shape.ndim; d++) dropped[d] = d == dim;
}

// The dtype of memory that a dtype's arithmetic runs in.
static nnl_dtype working_dtype(const nnl_tensor *x) {
    static const nnl_dtype native[NNL_COMPUTE_COUNT] = {NNL_FLOAT32, NNL_FLOAT64, NNL_INT64};
    return native[nnl_tensor_compute(x)];
}

// Positions, new, and with `values` not NULL what stands there, new and of x's dtype too.
static nnl_tensor *positions(nnl_context *ctx, const nnl_tensor *x, const bool *dropped, bool keepdim,
                             bool largest, nnl_tensor **values) {
    nnl_rows rows;
    nnl_shape shape = nnl_shape_reduced(&x->shape, dropped, keepdim);
    nnl_dtype working = working_dtype(x);
    if (nnl_rows_init(ctx, &rows, x, dropped, working) != NNL_OK) return NULL;
    nnl_tensor *out = nnl_tensor_new(ctx, NNL_INT64, &shape);
    nnl_tensor *found = out && values ? nnl_tensor_new(ctx, working, &shape) : NULL;
    bool ready = out && (found || !values);
    if (ready) nnl_arg_reduce_rows(ctx, &rows, largest, out, found);
    nnl_rows_done(&rows);
    if (values) *values = ready ? nnl_to(ctx, found, x->dtype) : NULL;
    nnl_tensor_release(found);
    if (ready && (!values || *values)) return out;
    nnl_tensor_release(out);
    return NULL;
}

// ---- amax, amin: over any dimensions; ties share the gradient

static nnl_status extreme_forward(nnl_context *ctx, nnl_call *call, const bool *dropped, bool keepdim) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_status status = check_not_empty(ctx, call->op->name, x, dropped);
    if (status != NNL_OK) return status;
    nnl_reduction kind = call->op->variant ? NNL_REDUCE_MAX : NNL_REDUCE_MIN;
    call->out[0] = nnl_reduced(ctx, kind, x, dropped, keepdim, x->dtype);
    if (!call->out[0]) return ctx->status;
    extreme_state state = {.shape = x->shape, .kept = nnl_shape_reduced(&x->shape, dropped, true)};
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .n_saved = 2,
                                            .saved = {x, call->out[0]},
                                            .state = &state,
                                            .state_size = sizeof state});
}

static nnl_status amax_forward(nnl_context *ctx, nnl_call *call) {
    bool dropped[NNL_MAX_DIMS];
    nnl_status status = nnl_call_dims(ctx, call, 1, call->arg[0].tensor, dropped);
    return status == NNL_OK ? extreme_forward(ctx, call, dropped, call->arg[2].flag) : status;
}

static nnl_status amax_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const extreme_state *s = node->state;
    nnl_tensor *x = nnl_node_saved(node, 0);
    bool dropped[NNL_MAX_DIMS];
    for (int d = 0; d < s->shape.ndim; d++) dropped[d] = s->kept.size[d] != s->shape.size[d];
    nnl_tensor *y = nnl_reshape(ctx, nnl_node_saved(node, 1), &s->kept);
    nnl_tensor *hit = y ? nnl_compare_op(ctx, NNL_COMPARE_eq, x, y) : NULL;
    nnl_tensor *hits = hit ? nnl_reduced(ctx, NNL_REDUCE_SUM, hit, dropped, true, x->dtype) : NULL;
    nnl_tensor *kept = hits ? nnl_reshape(ctx, dout[0], &s->kept) : NULL;
    nnl_tensor *share = kept ? nnl_div(ctx, kept, hits) : NULL;
    dx[0] = share ? nnl_mul(ctx, share, hit) : NULL;
    nnl_tensor *all[] = {y, hit, hits, kept, share};
    for (int i = 0; i < 5; i++) nnl_tensor_release(all[i]);
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- max, min: of all, or over one dimension with positions

static nnl_status over_dim_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS], keepdim = call->arg[2].flag;
    extreme_state state = {.dim = (int)call->arg[1].i, .shape = x->shape};
    drop_one(x, state.dim, dropped);
    nnl_status status = check_not_empty(ctx, call->op->name, x, dropped);
    if (status != NNL_OK) return status;
    state.kept = nnl_shape_reduced(&x->shape, dropped, true);
    call->out[1] = positions(ctx, x, dropped, keepdim, call->op->variant, &call->out[0]);
    if (!call->out[1]) return ctx->status;
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 2,
                                            .outputs = call->out,
                                            .n_saved = 1,
                                            .saved = {call->out[1]},
                                            .state = &state,
                                            .state_size = sizeof state});
}

static nnl_status max_forward(nnl_context *ctx, nnl_call *call) {
    bool dropped[NNL_MAX_DIMS];
    if (call->arg[1].given) return over_dim_forward(ctx, call);
    for (int d = 0; d < NNL_MAX_DIMS; d++) dropped[d] = true;
    return extreme_forward(ctx, call, dropped, false);
}

static nnl_status max_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    if (node->n_saved == 2) return amax_backward(ctx, node, dout, dx);
    const extreme_state *s = node->state;
    nnl_tensor *kept = nnl_reshape(ctx, dout[0], &s->kept);
    nnl_tensor *at = kept ? nnl_reshape(ctx, nnl_node_saved(node, 0), &s->kept) : NULL;
    dx[0] = at ? nnl_ungather(ctx, kept, s->dim, at, &s->shape) : NULL;
    nnl_tensor_release(kept);
    nnl_tensor_release(at);
    return dx[0] ? NNL_OK : ctx->status;
}

// x:argmax([dim], [keepdim]): without a dim, the position in the flattened tensor
static nnl_status argmax_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS];
    for (int d = 0; d < x->shape.ndim; d++) dropped[d] = !call->arg[1].given || d == (int)call->arg[1].i;
    nnl_status status = check_not_empty(ctx, call->op->name, x, dropped);
    if (status != NNL_OK) return status;
    call->out[0] = positions(ctx, x, dropped, call->arg[2].flag, call->op->variant, NULL);
    return call->out[0] ? NNL_OK : ctx->status;
}

#define EXTREME(n, text, dims, many, go, back, largest)                                                      \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_METHOD | NNL_OP_FUNCTION, .outputs = many,                   \
        .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL},                                                \
                   {"dim", dims, true, 0, NULL},                                                             \
                   {"keepdim", NNL_ARG_BOOL, true, 0, NULL}},                                                \
        .forward = go, .backward = back, .variant = largest                                                  \
    }

const nnl_op nnl_extreme_records[] = {
    EXTREME("max", "the largest of all; with dim, the largest along it and their positions", NNL_ARG_DIM, 2,
            max_forward, max_backward, 1),
    EXTREME("min", "the smallest of all; with dim, the smallest along it and their positions", NNL_ARG_DIM, 2,
            max_forward, max_backward, 0),
    EXTREME("amax", "the largest over dimensions; equal ones share the gradient", NNL_ARG_DIMS, 1,
            amax_forward, amax_backward, 1),
    EXTREME("amin", "the smallest over dimensions; equal ones share the gradient", NNL_ARG_DIMS, 1,
            amax_forward, amax_backward, 0),
    EXTREME("argmax", "the position (from 1) of the largest along dim, or in the flattened tensor",
            NNL_ARG_DIM, 1, argmax_forward, NULL, 1),
    EXTREME("argmin", "the position (from 1) of the smallest along dim, or in the flattened tensor",
            NNL_ARG_DIM, 1, argmax_forward, NULL, 0),
    {.name = NULL},
};
