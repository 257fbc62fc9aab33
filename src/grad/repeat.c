// repeat.c: elements several times over: repeat_ and tile lay copies of the whole next to each other,
// repeat_interleave copies of each position.
#include "grad/records.h"

typedef struct repeat_state {
    nnl_shape shape; // of the input, with as many dimensions as the result
    nnl_shape times;
} repeat_state;

// ---- repeat_, tile

// Fills `whole` along a dimension, whose first `done` positions are there, `wanted` being a multiple of them:
// what is there is copied behind itself, so that it doubles each time.
static void fill_along(const nnl_tensor *whole, nnl_shape *filled, int dim, int64_t wanted) {
    nnl_tensor from = *whole, to = *whole;
    while (filled->size[dim] < wanted) {
        int64_t done = filled->size[dim], more = wanted - done < done ? wanted - done : done;
        from.shape = to.shape = *filled;
        from.shape.size[dim] = to.shape.size[dim] = more;
        to.offset = whole->offset + done * whole->stride[dim];
        nnl_try_copy(&to, &from);
        filled->size[dim] += more;
    }
}

static void fill_copies(nnl_tensor *out, const nnl_tensor *x, const repeat_state *s) {
    nnl_tensor corner = *out;
    nnl_shape filled = corner.shape = s->shape;
    nnl_try_copy(&corner, x);
    for (int d = out->shape.ndim - 1; d >= 0; d--) fill_along(out, &filled, d, out->shape.size[d]);
}

static nnl_status repeated_shape(nnl_context *ctx, const char *who, const repeat_state *s, nnl_shape *shape) {
    char text[NNL_SHAPE_TEXT];
    *shape = s->shape;
    for (int d = 0; d < s->times.ndim; d++) {
        if (s->times.size[d] < 0) {
            return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: negative number of copies in %s", who,
                            nnl_shape_text(&s->times, text));
        }
        if (__builtin_mul_overflow(shape->size[d], s->times.size[d], &shape->size[d])) {
            return nnl_fail(ctx, NNL_ERR_MEMORY, "%s: %s copies are more than any memory", who,
                            nnl_shape_text(&s->times, text));
        }
    }
    return NNL_OK;
}

// `times` has at least as many entries as x has dimensions; those in front are for new ones.
static nnl_status repeat_by(nnl_context *ctx, nnl_call *call, const nnl_shape *times) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_shape shape;
    repeat_state s = {.shape = {.ndim = times->ndim}, .times = *times};
    int missing = times->ndim - x->shape.ndim;
    for (int d = 0; d < times->ndim; d++) s.shape.size[d] = d < missing ? 1 : x->shape.size[d - missing];
    nnl_status status = repeated_shape(ctx, call->op->name, &s, &shape);
    if (status != NNL_OK) return status;
    call->out[0] = nnl_tensor_new(ctx, x->dtype, &shape);
    if (!call->out[0]) return ctx->status;
    if (nnl_shape_numel(&shape) > 0) fill_copies(call->out[0], x, &s);
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .state = &s,
                                            .state_size = sizeof s});
}

// x:repeat_(times...): one for each dimension, and more for new ones in front
static nnl_status repeat_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_tensor *x = call->arg[0].tensor;
    const nnl_shape *times = call->arg[1].list;
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    if (times->ndim >= x->shape.ndim) return repeat_by(ctx, call, times);
    return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                    "repeat_: expected a number for each dimension of shape %s, got %s",
                    nnl_shape_text(&x->shape, a), nnl_shape_text(times, b));
}

// x:tile(times...): for the last dimensions, where there are fewer
static nnl_status tile_forward(nnl_context *ctx, nnl_call *call) {
    nnl_shape times = *call->arg[1].list, wide = call->arg[0].tensor->shape;
    int missing = wide.ndim - times.ndim;
    if (missing <= 0) return repeat_by(ctx, call, &times);
    for (int d = 0; d < wide.ndim; d++) wide.size[d] = d < missing ? 1 : times.size[d - missing];
    return repeat_by(ctx, call, &wide);
}

// Of the elements as (outer, times, inner), the sum over `times`.
static nnl_tensor *sum_of_copies(nnl_context *ctx, nnl_tensor *x, int64_t outer, int64_t times,
                                 int64_t inner) {
    nnl_tensor *apart = nnl_reshape(ctx, x, &(nnl_shape){.ndim = 3, .size = {outer, times, inner}});
    nnl_tensor *sum = apart ? nnl_sum(ctx, apart, 1, (const int64_t[]){1}, false) : NULL;
    nnl_tensor_release(apart);
    return sum;
}

// Where there are no copies at all.
static nnl_status no_gradient(nnl_context *ctx, nnl_dtype dtype, const nnl_shape *shape, nnl_tensor **dx) {
    *dx = nnl_tensor_new(ctx, dtype, shape);
    if (*dx) nnl_try_fill(*dx, nnl_number_int(0));
    return *dx ? NNL_OK : ctx->status;
}

// The sum over the copies, one dimension after the other. The walk takes away the dimensions in front.
static nnl_status repeat_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    const repeat_state *s = node->state;
    nnl_shape left = s->shape; // what each dimension still has, in the gradient
    if (nnl_tensor_numel(dout[0]) == 0) return no_gradient(ctx, dout[0]->dtype, &s->shape, &dx[0]);
    nnl_tensor *sum = nnl_tensor_retain(dout[0]);
    for (int d = 0; d < left.ndim; d++) left.size[d] *= s->times.size[d];
    for (int d = 0; d < left.ndim && sum; d++) {
        int64_t outer = 1, inner = s->shape.size[d];
        if (s->times.size[d] == 1) continue;
        left.size[d] = s->shape.size[d];
        for (int e = 0; e < left.ndim; e++) {
            if (e < d) outer *= left.size[e];
            if (e > d) inner *= left.size[e];
        }
        nnl_tensor *less = sum_of_copies(ctx, sum, outer, s->times.size[d], inner);
        nnl_tensor_release(sum);
        sum = less;
    }
    dx[0] = sum ? nnl_reshape(ctx, sum, &s->shape) : NULL;
    nnl_tensor_release(sum);
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- repeat_interleave

// How many copies position i of n gets: one number is for all.
static int64_t copies_of(const nnl_int_list *repeats, size_t i) {
    return repeats->count == 1 ? repeats->items[0] : repeats->items[i];
}

static nnl_status count_copies(nnl_context *ctx, const nnl_int_list *repeats, int64_t n, int64_t *total) {
    if (repeats->count != 1 && repeats->count != (size_t)n) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "repeat_interleave: expected 1 or %lld numbers of copies, got %zu", (long long)n,
                        repeats->count);
    }
    for (size_t i = 0; i < repeats->count; i++) {
        int64_t copies = repeats->items[i];
        if (copies < 0) {
            return nnl_fail(ctx, NNL_ERR_ARGUMENT, "repeat_interleave: negative number of copies: %lld",
                            (long long)copies);
        }
        if (repeats->count == 1 ? __builtin_mul_overflow(copies, n, total)
                                : __builtin_add_overflow(*total, copies, total)) {
            return nnl_fail(ctx, NNL_ERR_MEMORY, "repeat_interleave: more copies than any memory");
        }
    }
    return NNL_OK;
}

// The position (from 1) that each of the result comes from.
static nnl_tensor *sources(nnl_context *ctx, const nnl_int_list *repeats, int64_t n) {
    int64_t total = 0;
    if (count_copies(ctx, repeats, n, &total) != NNL_OK) return NULL;
    nnl_tensor *index = nnl_tensor_new(ctx, NNL_INT64, &(nnl_shape){.ndim = 1, .size = {total}});
    int64_t *at = index ? nnl_tensor_data(index) : NULL;
    for (int64_t i = 0; at && i < n; i++) {
        for (int64_t k = copies_of(repeats, (size_t)i); k > 0; k--) *at++ = i + 1;
    }
    return index;
}

// x:repeat_interleave(repeats, [dim]): without a dim, of the flattened tensor
static nnl_status interleave_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool flat = !call->arg[2].given || x->shape.ndim == 0;
    nnl_shape shape = flat ? (nnl_shape){.ndim = 1, .size = {nnl_tensor_numel(x)}} : x->shape;
    int dim = flat ? 0 : (int)call->arg[2].i;
    nnl_tensor *index = sources(ctx, &call->arg[1].ints, shape.size[dim]);
    nnl_tensor *seen = index ? nnl_reshape(ctx, x, &shape) : NULL;
    if (seen) call->out[0] = nnl_index_select(ctx, seen, dim, index);
    nnl_tensor_release(index);
    nnl_tensor_release(seen);
    return call->out[0] ? NNL_OK : ctx->status;
}

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define TIMES                                                                                                \
    { "repeats", NNL_ARG_SHAPE, false, 0, NULL }

const nnl_op nnl_repeat_records[] = {
    {.name = "repeat_",
     .doc = "copies side by side, a number of them for each dimension; more numbers make new dimensions in "
            "front. "
            "Lua has `repeat` to itself, so that x[\"repeat\"](x, ...) is the same",
     .flags = NNL_OP_METHOD,
     .outputs = 1,
     .params = {X, TIMES},
     .forward = repeat_forward,
     .backward = repeat_backward},
    {.name = "tile",
     .doc = "copies side by side, a number of them for each of the last dimensions; more numbers make new "
            "dimensions",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, TIMES},
     .forward = tile_forward,
     .backward = repeat_backward},
    {.name = "repeat_interleave",
     .doc = "each position of dim (of the flattened tensor without one) several times: one number, or a list "
            "or int "
            "tensor with one for each",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, {"repeats", NNL_ARG_INTS, false, 0, NULL}, {"dim", NNL_ARG_DIM, true, 0, NULL}},
     .forward = interleave_forward},
    {.name = NULL},
};
