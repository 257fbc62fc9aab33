// diagonal.c: what lies along a diagonal or on one side of it: diagonal, diag, diag_embed, trace, tril, triu.
// The diagonal k = 0 is the main one, k > 0 lies above it, k < 0 below.
#include "grad/records.h"

#include <string.h>

// Which diagonal: element i lies at (i + down, i + right) of dims a and b.
typedef struct diagonal_state {
    nnl_shape shape; // of the tensor that has the diagonal
    int64_t k;
    int a, b;
} diagonal_state;

static int64_t diagonal_length(const diagonal_state *s) {
    int64_t rows = s->shape.size[s->a], columns = s->shape.size[s->b];
    if (s->k >= columns || s->k <= -rows) return 0;
    if (s->k > 0) columns -= s->k;
    if (s->k < 0) rows += s->k;
    return rows < columns ? rows : columns;
}

// The diagonal as a look at a tensor of that shape, for the time of one call: its dimension is the last one.
static nnl_tensor diagonal_of(const nnl_tensor *x, const diagonal_state *s) {
    nnl_tensor part = *x;
    part.shape.ndim = 0;
    for (int d = 0; d < x->shape.ndim; d++) {
        if (d == s->a || d == s->b) continue;
        part.stride[part.shape.ndim] = x->stride[d];
        part.shape.size[part.shape.ndim++] = x->shape.size[d];
    }
    int64_t length = diagonal_length(s);
    part.stride[part.shape.ndim] = x->stride[s->a] + x->stride[s->b];
    part.shape.size[part.shape.ndim++] = length;
    if (length > 0) part.offset += s->k > 0 ? s->k * x->stride[s->b] : -s->k * x->stride[s->a];
    return part;
}

static nnl_status record_diagonal(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, nnl_tensor **out,
                                  const diagonal_state *s) {
    return nnl_record_one(ctx, op, x, out, s, sizeof *s);
}

static nnl_status check_two_dims(nnl_context *ctx, const char *who, const nnl_shape *shape, int a, int b) {
    char text[NNL_SHAPE_TEXT];
    if (a != b && a < shape->ndim && b < shape->ndim) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected two different dimensions, got %d and %d for shape %s",
                    who, a + 1, b + 1, nnl_shape_text(shape, text));
}

// ---- reading it (diagonal, a view) and putting it into zeros (diag_embed): each is the other's way back

static nnl_status take_diagonal(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, const diagonal_state *s,
                                nnl_tensor **out) {
    nnl_tensor part = diagonal_of(x, s);
    *out = nnl_tensor_alias(x, &part.shape, part.stride, part.offset);
    return *out ? record_diagonal(ctx, op, x, out, s) : ctx->status;
}

static nnl_status put_diagonal(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, const diagonal_state *s,
                               nnl_tensor **out) {
    nnl_tensor *whole = *out = nnl_tensor_new(ctx, x->dtype, &s->shape);
    if (!whole) return ctx->status;
    nnl_try_fill(whole, nnl_number_int(0));
    if (nnl_check_stop(ctx, op->name) != NNL_OK) return ctx->status;
    nnl_tensor part = diagonal_of(whole, s);
    nnl_try_copy(&part, x);
    return record_diagonal(ctx, op, x, out, s);
}

static nnl_status take_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);
static nnl_status put_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op take_record = {.name = "diagonal", .outputs = 1, .backward = take_backward};
static const nnl_op put_record = {.name = "diag_embed", .outputs = 1, .backward = put_backward};

static nnl_status take_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    return put_diagonal(ctx, &put_record, dout[0], node->state, &dx[0]);
}

static nnl_status put_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    return take_diagonal(ctx, &take_record, dout[0], node->state, &dx[0]);
}

// x:diagonal([offset], [dim1], [dim2])
static nnl_status diagonal_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    diagonal_state s = {x->shape, call->arg[1].i, (int)call->arg[2].i, (int)call->arg[3].i};
    nnl_status status = check_two_dims(ctx, "diagonal", &x->shape, s.a, s.b);
    return status == NNL_OK ? take_diagonal(ctx, call->op, x, &s, &call->out[0]) : status;
}

// The last dimension of x as the diagonal of two new ones, at a and b of the result.
static nnl_status embed(nnl_context *ctx, nnl_call *call, int64_t k, int a, int b) {
    nnl_tensor *x = call->arg[0].tensor;
    const char *who = call->op->name;
    int last = x->shape.ndim - 1, used = 0;
    diagonal_state s = {.shape = {.ndim = x->shape.ndim + 1}, .k = k, .a = a, .b = b};
    if (last < 0) return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected a tensor with dimensions", who);
    if (last + 2 > NNL_MAX_DIMS) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: no more than %d dimensions", who, NNL_MAX_DIMS);
    }
    nnl_status status = check_two_dims(ctx, who, &s.shape, a, b);
    if (status != NNL_OK) return status;
    int64_t side, shift = k < 0 ? -(k + 1) : k; // of a negative k one less, which no int64 is too small for
    if (__builtin_add_overflow(x->shape.size[last], shift, &side) ||
        __builtin_add_overflow(side, k < 0 ? 1 : 0, &side)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: diagonal %lld is too far out", who, (long long)k);
    }
    for (int d = 0; d < s.shape.ndim; d++) {
        s.shape.size[d] = d == a || d == b ? side : x->shape.size[used++];
    }
    return put_diagonal(ctx, call->op, x, &s, &call->out[0]);
}

// x:diag_embed([offset], [dim1], [dim2]): the last two by default
static nnl_status diag_embed_forward(nnl_context *ctx, nnl_call *call) {
    int last = call->arg[0].tensor->shape.ndim;
    int a = call->arg[2].given ? (int)call->arg[2].i : last - 1;
    int b = call->arg[3].given ? (int)call->arg[3].i : last;
    return embed(ctx, call, call->arg[1].i, a, b);
}

// x:diag([diagonal]): the diagonal of a matrix as a vector of its own, the matrix of a vector
static nnl_status diag_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor, *part = NULL;
    char text[NNL_SHAPE_TEXT];
    if (x->shape.ndim == 1) return embed(ctx, call, call->arg[1].i, 0, 1);
    if (x->shape.ndim != 2) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "diag: expected a vector or a matrix, got shape %s",
                        nnl_shape_text(&x->shape, text));
    }
    diagonal_state s = {x->shape, call->arg[1].i, 0, 1};
    nnl_status status = take_diagonal(ctx, &take_record, x, &s, &part);
    if (status == NNL_OK) call->out[0] = nnl_clone(ctx, part);
    nnl_tensor_release(part);
    return call->out[0] ? NNL_OK : ctx->status;
}

// x:trace(): the sum of a matrix's diagonal
static nnl_status trace_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor, *part = NULL;
    char text[NNL_SHAPE_TEXT];
    if (x->shape.ndim != 2) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "trace: expected a matrix, got shape %s",
                        nnl_shape_text(&x->shape, text));
    }
    diagonal_state s = {x->shape, 0, 0, 1};
    nnl_status status = take_diagonal(ctx, &take_record, x, &s, &part);
    if (status == NNL_OK) call->out[0] = nnl_sum(ctx, part, 0, NULL, false);
    nnl_tensor_release(part);
    return call->out[0] ? NNL_OK : ctx->status;
}

// ---- tril (variant 0) and triu (variant 1): matrices with zeros above or below a diagonal

typedef struct triangle {
    char *data;
    int64_t rows, columns, k;
    size_t element;
    bool upper;
    size_t step; // rows in one part
    size_t total;
} triangle;

// Zeros in one part of the rows of all matrices: of row i, the columns from i + k + 1 on, or those up to i +
// k - 1.
static void clear_part(void *arg, size_t part) {
    const triangle *t = arg;
    size_t first = part * t->step, end = first + t->step < t->total ? first + t->step : t->total;
    for (size_t row = first; row < end; row++) {
        int64_t edge = (int64_t)row % t->rows + t->k + (t->upper ? 0 : 1);
        int64_t at = edge < 0 ? 0 : edge > t->columns ? t->columns : edge;
        char *data = t->data + row * (size_t)t->columns * t->element;
        size_t left = (size_t)at * t->element, right = (size_t)(t->columns - at) * t->element;
        memset(t->upper ? data : data + left, 0, t->upper ? left : right);
    }
}

static nnl_status triangle_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    char text[NNL_SHAPE_TEXT];
    int ndim = x->shape.ndim;
    if (ndim < 2) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected a matrix or a batch of them, got shape %s",
                        call->op->name, nnl_shape_text(&x->shape, text));
    }
    nnl_tensor *out = call->out[0] = nnl_tensor_new(ctx, x->dtype, &x->shape);
    if (!out) return ctx->status;
    nnl_try_copy(out, x);
    int64_t rows = x->shape.size[ndim - 2], columns = x->shape.size[ndim - 1], k = call->arg[1].i;
    triangle t = {.data = nnl_tensor_data(out),
                  .rows = rows,
                  .columns = columns,
                  .k = k < -rows     ? -rows
                       : k > columns ? columns
                                     : k,
                  .element = nnl_dtype_size(x->dtype),
                  .upper = call->op->variant == 1};
    if (nnl_tensor_numel(x) > 0) {
        t.total = (size_t)(nnl_tensor_numel(x) / t.columns);
        t.step = 65536 / (size_t)t.columns + 1;
        nnl_pool_try(ctx->pool, (t.total + t.step - 1) / t.step, clear_part, &t);
    }
    diagonal_state s = {.k = t.k};
    return record_diagonal(ctx, call->op, x, call->out, &s);
}

// The same triangle of the gradient.
static nnl_status triangle_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                    nnl_tensor **dx) {
    nnl_call call;
    nnl_call_init(&call, node->op);
    call.arg[0].tensor = dout[0];
    call.arg[1].i = ((const diagonal_state *)node->state)->k;
    dx[0] = nnl_call_result(ctx, &call);
    return dx[0] ? NNL_OK : ctx->status;
}

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define WHICH(name)                                                                                          \
    { name, NNL_ARG_INT, true, 0, NULL }

const nnl_op nnl_diagonal_records[] = {
    {.name = "diagonal",
     .doc = "a view of the diagonal of dim1 and dim2 (the first two), which is its last dimension; offset 0 "
            "is the "
            "main one, 1 lies above it",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params =
         {X, WHICH("offset"), {"dim1", NNL_ARG_DIM, true, 0, NULL}, {"dim2", NNL_ARG_DIM, true, 1, NULL}},
     .forward = diagonal_forward,
     .backward = take_backward},
    {.name = "diag_embed",
     .doc = "zeros with the last dimension as the diagonal of dim1 and dim2 of the result (the last two)",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X,
                WHICH("offset"),
                {"dim1", NNL_ARG_NEW_DIM, true, 0, NULL},
                {"dim2", NNL_ARG_NEW_DIM, true, 0, NULL}},
     .forward = diag_embed_forward,
     .backward = put_backward},
    {.name = "diag",
     .doc = "the diagonal of a matrix as a vector, or the matrix of zeros that has a vector as its diagonal",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, WHICH("diagonal")},
     .forward = diag_forward,
     .backward = put_backward},
    {.name = "trace",
     .doc = "the sum of a matrix's diagonal",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X},
     .forward = trace_forward},
    {.name = "tril",
     .doc =
         "matrices (the last two dimensions) with zeros above a diagonal: 0 is the main one, 1 lies above it",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY,
     .outputs = 1,
     .params = {X, WHICH("diagonal")},
     .forward = triangle_forward,
     .backward = triangle_backward},
    {.name = "triu",
     .doc =
         "matrices (the last two dimensions) with zeros below a diagonal: 0 is the main one, 1 lies above it",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY,
     .outputs = 1,
     .params = {X, WHICH("diagonal")},
     .forward = triangle_forward,
     .backward = triangle_backward,
     .variant = 1},
    {.name = NULL},
};
