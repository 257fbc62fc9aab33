// rearrange.c: elements in another order along dimensions: flip, roll, movedim.
#include "grad/records.h"

#include <string.h>

// What each dimension is done to: 1 where it is turned around (flip), how far it moves (roll).
typedef struct order_state {
    int64_t by[NNL_MAX_DIMS];
} order_state;

static nnl_status record_order(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, nnl_tensor **out,
                               const order_state *s) {
    return nnl_record_one(ctx, op, x, out, s, sizeof *s);
}

// ---- flip

// A copy read backwards, by strides below 0.
static nnl_status flipped(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, const order_state *s,
                          nnl_tensor **out) {
    *out = nnl_tensor_new(ctx, x->dtype, &x->shape);
    if (!*out) return ctx->status;
    nnl_tensor backwards = *x;
    for (int d = 0; d < x->shape.ndim && nnl_tensor_numel(x) > 0; d++) {
        if (s->by[d] == 0) continue;
        backwards.offset += (x->shape.size[d] - 1) * x->stride[d];
        backwards.stride[d] = -x->stride[d];
    }
    nnl_try_copy(*out, &backwards);
    return record_order(ctx, op, x, out, s);
}

// x:flip(dims)
static nnl_status flip_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    const nnl_shape *dims = call->arg[1].list;
    order_state s = {{0}};
    bool turned[NNL_MAX_DIMS] = {false};
    nnl_status status = dims->ndim > 0 ? nnl_call_dims(ctx, call, 1, x, turned) : NNL_OK;
    if (status != NNL_OK) return status;
    for (int d = 0; d < x->shape.ndim; d++) s.by[d] = turned[d];
    return flipped(ctx, call->op, x, &s, &call->out[0]);
}

static nnl_status flip_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    return flipped(ctx, node->op, dout[0], node->state, &dx[0]);
}

// ---- roll

// Copies x to `to`, moved on from dimension d: two parts of each dimension that moves.
static void roll_copy(nnl_tensor to, nnl_tensor x, const order_state *s, int d) {
    while (d < x.shape.ndim && s->by[d] == 0) d++;
    if (d == x.shape.ndim) {
        nnl_try_copy(&to, &x);
        return;
    }
    int64_t size = x.shape.size[d], by = s->by[d];
    nnl_tensor front = to, back = to, head = x, tail = x;
    front.shape.size[d] = tail.shape.size[d] = by;
    back.shape.size[d] = head.shape.size[d] = size - by;
    back.offset += by * to.stride[d];
    tail.offset += (size - by) * x.stride[d];
    roll_copy(front, tail, s, d + 1);
    roll_copy(back, head, s, d + 1);
}

static nnl_status rolled(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, const order_state *s,
                         nnl_tensor **out) {
    *out = nnl_tensor_new(ctx, x->dtype, &x->shape);
    if (!*out) return ctx->status;
    if (nnl_tensor_numel(x) > 0) roll_copy(**out, *x, s, 0);
    return record_order(ctx, op, x, out, s);
}

// A shift as 0 to size - 1.
static int64_t wrapped(int64_t shift, int64_t size) {
    int64_t rest = size > 0 ? shift % size : 0;
    return rest < 0 ? rest + size : rest;
}

// Without dims, the elements move through the flattened tensor.
static nnl_status roll_flat(nnl_context *ctx, nnl_call *call, int64_t shift) {
    nnl_tensor *x = call->arg[0].tensor, *out = NULL;
    int64_t numel = nnl_tensor_numel(x);
    order_state s = {{wrapped(shift, numel)}};
    nnl_tensor *flat = nnl_reshape(ctx, x, &(nnl_shape){.ndim = 1, .size = {numel}});
    nnl_status status = flat ? rolled(ctx, call->op, flat, &s, &out) : ctx->status;
    if (status == NNL_OK) call->out[0] = nnl_reshape(ctx, out, &x->shape);
    nnl_tensor_release(flat);
    nnl_tensor_release(out);
    return call->out[0] ? NNL_OK : ctx->status;
}

// x:roll(shifts, [dims]): a dimension that is named twice moves by both shifts
static nnl_status roll_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_int_list shifts = call->arg[1].ints;
    order_state s = {{0}};
    int dims = call->arg[2].given ? call->arg[2].list->ndim : 0;
    if (dims == 0 && shifts.count == 1) return roll_flat(ctx, call, shifts.items[0]);
    if (shifts.count != (size_t)dims) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "roll: expected as many shifts as dims, got %zu and %d",
                        shifts.count, dims);
    }
    if (x->shape.ndim == 0) return nnl_fail(ctx, NNL_ERR_SHAPE, "roll: the tensor has no dimensions");
    for (int k = 0; k < dims; k++) {
        int64_t d = call->arg[2].list->size[k], size = x->shape.size[d];
        s.by[d] = wrapped(s.by[d] + wrapped(shifts.items[k], size), size);
    }
    return rolled(ctx, call->op, x, &s, &call->out[0]);
}

static nnl_status roll_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    order_state s = *(const order_state *)node->state;
    const nnl_shape *shape = &dout[0]->shape;
    for (int d = 0; d < shape->ndim; d++) s.by[d] = wrapped(-s.by[d], shape->size[d]);
    return rolled(ctx, node->op, dout[0], &s, &dx[0]);
}

// ---- movedim

// x:movedim(source, destination): the other dimensions keep their order
static nnl_status movedim_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    const nnl_shape *from = call->arg[1].list, *to = call->arg[2].list;
    bool moved[NNL_MAX_DIMS], taken[NNL_MAX_DIMS];
    int order[NNL_MAX_DIMS], next = 0;
    if (from->ndim != to->ndim) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "movedim: expected as many destinations as sources, got %d and %d", to->ndim,
                        from->ndim);
    }
    if (x->shape.ndim == 0 || from->ndim == 0) return (call->out[0] = nnl_tensor_retain(x)), NNL_OK;
    nnl_status status = nnl_call_dims(ctx, call, 1, x, moved);
    if (status == NNL_OK) status = nnl_call_dims(ctx, call, 2, x, taken);
    if (status != NNL_OK) return status;
    for (int k = 0; k < from->ndim; k++) order[to->size[k]] = (int)from->size[k];
    for (int d = 0; d < x->shape.ndim; d++) {
        if (taken[d]) continue;
        while (moved[next]) next++;
        order[d] = next++;
    }
    call->out[0] = nnl_permute(ctx, x, order);
    return call->out[0] ? NNL_OK : ctx->status;
}

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define DIMS(name, optional)                                                                                 \
    { name, NNL_ARG_DIMS, optional, 0, NULL }

const nnl_op nnl_rearrange_records[] = {
    {.name = "flip",
     .doc = "a copy with the order along each of dims turned around",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, DIMS("dims", false)},
     .forward = flip_forward,
     .backward = flip_backward},
    {.name = "roll",
     .doc = "a copy with the elements moved on by `shifts` along dims, around the end; without dims, through "
            "the "
            "flattened tensor",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, {"shifts", NNL_ARG_INTS, false, 0, NULL}, DIMS("dims", true)},
     .forward = roll_forward,
     .backward = roll_backward},
    {.name = "movedim",
     .doc = "a view with the dimensions `source` at `destination`; the others keep their order",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, DIMS("source", false), DIMS("destination", false)},
     .forward = movedim_forward},
    {.name = NULL},
};
