// split.c: a tensor cut into views along a dimension: split, chunk, and unbind, whose views are without it.
// The way back joins the gradients of all the pieces at once.
#include "grad/records.h"

static nnl_status check_dims(nnl_context *ctx, const char *who, const nnl_tensor *x) {
    if (x->shape.ndim > 0) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: a tensor of no dimensions has no parts", who);
}

// Views next to each other, piece k with sizes[k] positions of the dimension. The sizes fit together.
static nnl_status make_pieces(nnl_context *ctx, nnl_call *call, int dim, const int64_t *sizes) {
    const nnl_tensor *x = call->arg[0].tensor;
    nnl_shape shape = x->shape;
    int64_t start = 0, last = x->shape.size[dim] - 1;
    for (size_t k = 0; k < call->results.count; k++) {
        int64_t at = start < last ? start : last < 0 ? 0 : last; // of an empty piece: within the memory
        shape.size[dim] = sizes[k];
        call->results.items[k] = nnl_tensor_alias(x, &shape, x->stride, x->offset + at * x->stride[dim]);
        if (!call->results.items[k]) return ctx->status;
        start += sizes[k];
    }
    return NNL_OK;
}

static nnl_status record_pieces(nnl_context *ctx, nnl_call *call, const int64_t *state, size_t length) {
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 1,
                                            .inputs = &call->arg[0].tensor,
                                            .n_outputs = (int)call->results.count,
                                            .outputs = call->results.items,
                                            .state = state,
                                            .state_size = length * sizeof *state});
}

// A gradient of the shape of `like`, but for `size` positions of the dimension (-1: as many as it has): the
// given one, or zeros that take up no memory.
static nnl_tensor *piece_gradient(nnl_context *ctx, nnl_tensor *given, const nnl_tensor *like, int dim,
                                  int64_t size) {
    if (given) return nnl_tensor_retain(given);
    nnl_shape shape = like->shape;
    if (size >= 0) shape.size[dim] = size;
    nnl_tensor *zero = nnl_tensor_new(ctx, like->dtype, &(nnl_shape){.ndim = 0});
    if (zero) nnl_try_fill(zero, nnl_number_int(0));
    nnl_tensor *wide = zero ? nnl_expand(ctx, zero, &shape) : NULL;
    nnl_tensor_release(zero);
    return wide;
}

static const nnl_tensor *any_gradient(const nnl_node *node, nnl_tensor *const *dout) {
    int k = 0;
    while (k < node->n_outputs - 1 && !dout[k]) k++;
    return dout[k];
}

// The gradients of all pieces, one after the other along the dimension. sizes is NULL where the pieces are
// slices without the dimension, which each gets back.
static nnl_status join_gradients(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, int dim,
                                 const int64_t *sizes, nnl_tensor **dx) {
    const nnl_tensor *like = any_gradient(node, dout);
    size_t count = (size_t)node->n_outputs, made = 0;
    nnl_tensor **parts = nnl_alloc(&ctx->allocator, count * sizeof *parts);
    if (!parts) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a list");
    for (; made < count; made++) {
        nnl_tensor *part = piece_gradient(ctx, dout[made], like, dim, sizes ? sizes[made] : -1);
        if (!part) break;
        parts[made] = sizes ? nnl_tensor_retain(part) : nnl_unsqueeze(ctx, part, dim);
        nnl_tensor_release(part);
        if (!parts[made]) break;
    }
    if (made == count) dx[0] = nnl_cat(ctx, count, parts, dim);
    for (size_t k = 0; k < made; k++) nnl_tensor_release(parts[k]);
    nnl_free(&ctx->allocator, parts);
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- split, chunk

// The dimension and the sizes of `count` pieces of n positions, `step` each as long as there are some left.
static void even_plan(int64_t *plan, size_t count, int64_t n, int64_t step) {
    for (size_t k = 0; k < count; k++, n -= step) plan[k + 1] = n < step ? n : step;
}

static nnl_status cut(nnl_context *ctx, nnl_call *call, int dim, size_t count, const int64_t *sizes,
                      int64_t step) {
    nnl_status status = nnl_call_results(ctx, call, count);
    if (status != NNL_OK) return status;
    int64_t *plan = nnl_alloc(&ctx->allocator, (count + 1) * sizeof *plan);
    if (!plan) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a list");
    plan[0] = dim;
    even_plan(plan, count, call->arg[0].tensor->shape.size[dim], step);
    for (size_t k = 0; sizes && k < count; k++) plan[k + 1] = sizes[k];
    status = make_pieces(ctx, call, dim, plan + 1);
    if (status == NNL_OK) status = record_pieces(ctx, call, plan, count + 1);
    nnl_free(&ctx->allocator, plan);
    return status;
}

static nnl_status check_sizes(nnl_context *ctx, const nnl_tensor *x, int dim, nnl_int_list sizes) {
    char text[NNL_SHAPE_TEXT];
    int64_t left = x->shape.size[dim];
    bool fit = true;
    for (size_t k = 0; k < sizes.count; k++) {
        if (sizes.items[k] < 0) {
            return nnl_fail(ctx, NNL_ERR_ARGUMENT, "split: size %zu is negative: %lld", k + 1,
                            (long long)sizes.items[k]);
        }
        fit = fit && sizes.items[k] <= left;
        if (fit) left -= sizes.items[k];
    }
    if (fit && left == 0) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE,
                    "split: the sizes do not add up to %lld, the size of dimension %d of shape %s",
                    (long long)x->shape.size[dim], dim + 1, nnl_shape_text(&x->shape, text));
}

// x:split(size or sizes, [dim])
static nnl_status split_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_tensor *x = call->arg[0].tensor;
    nnl_int_list sizes = call->arg[1].ints;
    int dim = (int)call->arg[2].i;
    nnl_status status = check_dims(ctx, "split", x);
    if (status != NNL_OK) return status;
    if (!call->arg[1].is_number) {
        status = check_sizes(ctx, x, dim, sizes);
        return status == NNL_OK ? cut(ctx, call, dim, sizes.count, sizes.items, 0) : status;
    }
    int64_t size = sizes.items[0], n = x->shape.size[dim];
    if (size < 0 || (size == 0 && n > 0)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "split: pieces of size %lld cannot make up %lld positions",
                        (long long)size, (long long)n);
    }
    return cut(ctx, call, dim, n > 0 ? (size_t)((n - 1) / size + 1) : 1, NULL, size);
}

// x:chunk(chunks, [dim])
static nnl_status chunk_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_tensor *x = call->arg[0].tensor;
    int64_t chunks = call->arg[1].i;
    int dim = (int)call->arg[2].i;
    nnl_status status = check_dims(ctx, "chunk", x);
    if (status != NNL_OK) return status;
    if (chunks < 1) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "chunk: expected at least 1 chunk, got %lld",
                        (long long)chunks);
    }
    int64_t n = x->shape.size[dim];
    if (n == 0) return cut(ctx, call, dim, (size_t)chunks, NULL, 0);
    int64_t step = (n - 1) / chunks + 1;
    return cut(ctx, call, dim, (size_t)((n - 1) / step + 1), NULL, step);
}

static nnl_status split_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const int64_t *plan = node->state;
    return join_gradients(ctx, node, dout, (int)plan[0], plan + 1, dx);
}

// ---- unbind

// x:unbind([dim])
static nnl_status unbind_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_tensor *x = call->arg[0].tensor;
    int64_t dim = call->arg[1].i;
    nnl_status status = check_dims(ctx, "unbind", x);
    if (status == NNL_OK) status = nnl_call_results(ctx, call, (size_t)x->shape.size[dim]);
    if (status != NNL_OK) return status;
    nnl_shape shape = {.ndim = x->shape.ndim - 1};
    int64_t stride[NNL_MAX_DIMS];
    for (int d = 0; d < shape.ndim; d++) {
        shape.size[d] = x->shape.size[d < dim ? d : d + 1];
        stride[d] = x->stride[d < dim ? d : d + 1];
    }
    for (size_t k = 0; k < call->results.count; k++) {
        int64_t offset = x->offset + (int64_t)k * x->stride[dim];
        call->results.items[k] = nnl_tensor_alias(x, &shape, stride, offset);
        if (!call->results.items[k]) return ctx->status;
    }
    return record_pieces(ctx, call, &dim, 1);
}

static nnl_status unbind_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    return join_gradients(ctx, node, dout, (int)*(const int64_t *)node->state, NULL, dx);
}

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define DIM                                                                                                  \
    { "dim", NNL_ARG_DIM, true, 0, NULL }

const nnl_op nnl_split_records[] = {
    {.name = "split",
     .doc =
         "a list of views along dim (the first): pieces of one size, of which the last may be smaller, or of "
         "the sizes listed",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = NNL_LIST_OUTPUT,
     .params = {X, {"split_size", NNL_ARG_INTS, false, 0, NULL}, DIM},
     .forward = split_forward,
     .backward = split_backward},
    {.name = "chunk",
     .doc = "a list of at most `chunks` views of one size along dim (the first); the last may be smaller",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = NNL_LIST_OUTPUT,
     .params = {X, {"chunks", NNL_ARG_INT, false, 0, NULL}, DIM},
     .forward = chunk_forward,
     .backward = split_backward},
    {.name = "unbind",
     .doc = "a list of views, one for each position of dim (the first), which they do not have",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = NNL_LIST_OUTPUT,
     .params = {X, DIM},
     .forward = unbind_forward,
     .backward = unbind_backward},
    {.name = NULL},
};
