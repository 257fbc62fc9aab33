// softmax.c: softmax, log_softmax and logsumexp; the row kernels are in kernel/isa/rows.c.
#include "grad/records.h"
#include "tensor/reduce.h"

#include <string.h>

#define PART_ELEMENTS 16384

typedef struct row_state {
    int dim;
} row_state;

typedef struct row_job {
    nnl_row_fn *forward;
    nnl_row_grad_fn *backward;
    char *out;
    const char *a, *b;
    size_t rows, n, element, step;
} row_job;

static void row_part(void *arg, size_t part) {
    const row_job *j = arg;
    size_t last = (part + 1) * j->step < j->rows ? (part + 1) * j->step : j->rows;
    for (size_t row = part * j->step; row < last; row++) {
        size_t at = row * j->n * j->element;
        if (j->forward) j->forward(j->n, j->out + at, j->a + at);
        if (j->backward) j->backward(j->n, j->out + at, j->a + at, j->b + at);
    }
}

static void run_rows(nnl_context *ctx, row_job *j) {
    if (j->rows * j->n == 0) return;
    j->step = PART_ELEMENTS / j->n > 0 ? PART_ELEMENTS / j->n : 1;
    nnl_pool_run(ctx->pool, (j->rows + j->step - 1) / j->step, row_part, j);
}

// x with dimension dim last, contiguous: itself where it is so. Returns new; not recorded.
static nnl_tensor *dim_last(nnl_context *ctx, const nnl_tensor *x, int dim) {
    nnl_shape shape = x->shape;
    int64_t stride[NNL_MAX_DIMS];
    memcpy(stride, x->stride, sizeof stride);
    for (int d = dim; d + 1 < shape.ndim; d++) {
        shape.size[d] = x->shape.size[d + 1];
        stride[d] = x->stride[d + 1];
    }
    if (shape.ndim > 0) {
        shape.size[shape.ndim - 1] = x->shape.size[dim];
        stride[shape.ndim - 1] = x->stride[dim];
    }
    nnl_tensor *turned = nnl_tensor_alias(x, &shape, stride, x->offset);
    if (!turned || nnl_tensor_is_contiguous(turned)) return turned;
    nnl_tensor *copy = nnl_tensor_new(ctx, x->dtype, &shape);
    if (copy) nnl_apply_copy(copy, turned);
    nnl_tensor_release(turned);
    return copy;
}

// The last dimension put back to dim. Takes x; the result is contiguous only where nothing moved.
static nnl_tensor *dim_back(nnl_tensor *x, int dim) {
    nnl_shape shape = x->shape;
    int64_t stride[NNL_MAX_DIMS];
    int last = shape.ndim - 1;
    if (last <= 0 || dim == last) return x;
    for (int d = 0; d <= last; d++) {
        int from = d < dim ? d : d == dim ? last : d - 1;
        shape.size[d] = x->shape.size[from];
        stride[d] = x->stride[from];
    }
    nnl_tensor *turned = nnl_tensor_alias(x, &shape, stride, x->offset);
    if (turned) turned->is_view = false;
    nnl_tensor_release(x);
    return turned;
}

static nnl_tensor *rows_forward(nnl_context *ctx, nnl_tensor *x, int dim, nnl_row_fn *const *kernels) {
    nnl_tensor *rows = dim_last(ctx, x, dim);
    nnl_tensor *out = rows ? nnl_tensor_new(ctx, x->dtype, &rows->shape) : NULL;
    if (out) {
        size_t n = x->shape.ndim > 0 ? (size_t)x->shape.size[dim] : 1, numel = (size_t)nnl_tensor_numel(x);
        row_job j = {.forward = kernels[nnl_tensor_compute(x)],
                     .out = nnl_tensor_data(out),
                     .a = nnl_tensor_data(rows),
                     .rows = n > 0 ? numel / n : 0,
                     .n = n,
                     .element = nnl_dtype_size(x->dtype)};
        run_rows(ctx, &j);
        out = dim_back(out, dim);
    }
    nnl_tensor_release(rows);
    return out;
}

static nnl_tensor *rows_backward(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *y, int dim,
                                 nnl_row_grad_fn *const *kernels) {
    nnl_tensor *a = dim_last(ctx, dout, dim), *b = a ? dim_last(ctx, y, dim) : NULL;
    nnl_tensor *out = b ? nnl_tensor_new(ctx, y->dtype, &b->shape) : NULL;
    if (out) {
        size_t n = y->shape.ndim > 0 ? (size_t)y->shape.size[dim] : 1, numel = (size_t)nnl_tensor_numel(y);
        row_job j = {.backward = kernels[nnl_tensor_compute(y)],
                     .out = nnl_tensor_data(out),
                     .a = nnl_tensor_data(a),
                     .b = nnl_tensor_data(b),
                     .rows = n > 0 ? numel / n : 0,
                     .n = n,
                     .element = nnl_dtype_size(y->dtype)};
        run_rows(ctx, &j);
        out = dim_back(out, dim);
    }
    nnl_tensor_release(a);
    nnl_tensor_release(b);
    return out;
}

// ---- softmax and log_softmax (variant 1)

static nnl_status softmax_dtype(nnl_context *ctx, const char *who, const nnl_tensor *x) {
    if (x->dtype == NNL_FLOAT32 || x->dtype == NNL_FLOAT64) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected float32 or float64, got %s", who,
                    nnl_dtype_get(x->dtype)->name);
}

static nnl_status softmax_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_status status = softmax_dtype(ctx, call->op->name, x);
    if (status != NNL_OK) return status;
    row_state state = {.dim = (int)call->arg[1].i};
    const nnl_row_kernels *kernels = ctx->kernels->rows;
    call->out[0] =
        rows_forward(ctx, x, state.dim, call->op->variant ? kernels->log_softmax : kernels->softmax);
    if (!call->out[0]) return ctx->status;
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .n_saved = 1,
                                            .saved = {call->out[0]},
                                            .state = &state,
                                            .state_size = sizeof state});
}

// y * (dout - sum(dout * y)), written in operations so that it is differentiable itself
static nnl_tensor *softmax_grad_composed(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *y, int dim) {
    int64_t dims[1] = {dim};
    nnl_tensor *weighted = nnl_mul(ctx, dout, y);
    nnl_tensor *sum = weighted ? nnl_sum(ctx, weighted, 1, dims, true) : NULL;
    nnl_tensor *rest = sum ? nnl_sub(ctx, dout, sum) : NULL;
    nnl_tensor *out = rest ? nnl_mul(ctx, y, rest) : NULL;
    nnl_tensor_release(weighted);
    nnl_tensor_release(sum);
    nnl_tensor_release(rest);
    return out;
}

// dout - exp(y) * sum(dout)
static nnl_tensor *log_softmax_grad_composed(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *y, int dim) {
    int64_t dims[1] = {dim};
    nnl_tensor *sum = nnl_sum(ctx, dout, 1, dims, true);
    nnl_tensor *p = sum ? nnl_unary_op(ctx, NNL_UNARY_exp, y, NULL) : NULL;
    nnl_tensor *share = p ? nnl_mul(ctx, p, sum) : NULL;
    nnl_tensor *out = share ? nnl_sub(ctx, dout, share) : NULL;
    nnl_tensor_release(sum);
    nnl_tensor_release(p);
    nnl_tensor_release(share);
    return out;
}

static nnl_status softmax_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    const row_state *s = node->state;
    bool is_log = node->op->variant == 1, composed = ctx->grad_enabled && dout[0]->shape.ndim > 0;
    nnl_tensor *y = nnl_node_saved(node, 0);
    const nnl_row_kernels *kernels = ctx->kernels->rows;
    if (composed) {
        dx[0] = is_log ? log_softmax_grad_composed(ctx, dout[0], y, s->dim)
                       : softmax_grad_composed(ctx, dout[0], y, s->dim);
    } else {
        dx[0] = rows_backward(ctx, dout[0], y, s->dim,
                              is_log ? kernels->log_softmax_grad : kernels->softmax_grad);
    }
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- logsumexp: max + log(sum(exp(x - max))), as one fused pass over rows where they lie together
// ------------------

typedef struct logsumexp_state {
    nnl_shape kept;
} logsumexp_state;

typedef struct lse_job {
    const nnl_rows *rows;
    nnl_row_fn *kernel;
    const char *x;
    char *out;
    size_t element, step;
} lse_job;

static void lse_part(void *arg, size_t part) {
    const lse_job *j = arg;
    size_t rows = (size_t)j->rows->outer, n = (size_t)j->rows->n;
    size_t last = (part + 1) * j->step < rows ? (part + 1) * j->step : rows;
    for (size_t row = part * j->step; row < last; row++) {
        j->kernel(n, j->out + row * j->element, j->x + row * n * j->element);
    }
}

// The dropped dimensions last, so that every reduction is a contiguous row.
static nnl_status lse_rows(nnl_context *ctx, nnl_rows *rows, nnl_tensor *x, const bool *dropped) {
    int order[NNL_MAX_DIMS], count = 0;
    bool last[NNL_MAX_DIMS];
    for (int d = 0; d < x->shape.ndim; d++) {
        if (!dropped[d]) order[count++] = d;
    }
    for (int d = 0, kept = count; d < x->shape.ndim; d++) {
        last[d] = d >= kept;
        if (dropped[d]) order[count++] = d;
    }
    nnl_tensor *turned = nnl_permute(ctx, x, order);
    nnl_status status = turned ? nnl_rows_init(ctx, rows, turned, last, x->dtype) : ctx->status;
    nnl_tensor_release(turned);
    return status;
}

static nnl_tensor *lse_run(nnl_context *ctx, nnl_tensor *x, const bool *dropped, bool keepdim) {
    nnl_rows rows;
    nnl_shape shape = nnl_shape_reduced(&x->shape, dropped, keepdim);
    if (lse_rows(ctx, &rows, x, dropped) != NNL_OK) return NULL;
    nnl_tensor *out = nnl_tensor_new(ctx, x->dtype, &shape);
    if (out && rows.outer > 0) {
        lse_job j = {&rows,
                     ctx->kernels->rows->logsumexp[rows.type],
                     nnl_tensor_data(rows.source),
                     nnl_tensor_data(out),
                     nnl_dtype_size(x->dtype),
                     1};
        if (rows.n > 0 && rows.n < PART_ELEMENTS) j.step = PART_ELEMENTS / (size_t)rows.n;
        nnl_pool_run(ctx->pool, ((size_t)rows.outer + j.step - 1) / j.step, lse_part, &j);
    }
    nnl_rows_done(&rows);
    return out;
}

static nnl_status logsumexp_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS];
    nnl_status status = softmax_dtype(ctx, "logsumexp", x);
    if (status == NNL_OK) status = nnl_call_dims(ctx, call, 1, x, dropped);
    if (status != NNL_OK) return status;
    call->out[0] = lse_run(ctx, x, dropped, call->arg[2].flag);
    if (!call->out[0]) return ctx->status;
    logsumexp_state state = {nnl_shape_reduced(&x->shape, dropped, true)};
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

// dout * exp(x - y)
static nnl_status logsumexp_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                     nnl_tensor **dx) {
    const logsumexp_state *s = node->state;
    nnl_tensor *y = nnl_reshape(ctx, nnl_node_saved(node, 1), &s->kept);
    nnl_tensor *shifted = y ? nnl_sub(ctx, nnl_node_saved(node, 0), y) : NULL;
    nnl_tensor *p = shifted ? nnl_unary_op(ctx, NNL_UNARY_exp, shifted, NULL) : NULL;
    nnl_tensor *kept = p ? nnl_reshape(ctx, dout[0], &s->kept) : NULL;
    dx[0] = kept ? nnl_mul(ctx, p, kept) : NULL;
    nnl_tensor_release(y);
    nnl_tensor_release(shifted);
    nnl_tensor_release(p);
    nnl_tensor_release(kept);
    return dx[0] ? NNL_OK : ctx->status;
}

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define SOFTMAX(n, text, kind)                                                                               \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_FUNCTIONAL, .outputs = 1,  \
        .params = {X, {"dim", NNL_ARG_DIM, false, 0, NULL}}, .forward = softmax_forward,                     \
        .backward = softmax_backward, .variant = kind                                                        \
    }

enum { SOFTMAX_RECORD, LOG_SOFTMAX_RECORD, LOGSUMEXP_RECORD };

const nnl_op nnl_softmax_records[] = {
    SOFTMAX("softmax", "exp(x) / sum(exp(x)) over a dimension", 0),
    SOFTMAX("log_softmax", "x - log(sum(exp(x))) over a dimension", 1),
    {.name = "logsumexp",
     .doc = "log(sum(exp(x))) over dimensions, or of all, stable for any x",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, {"dim", NNL_ARG_DIMS, true, 0, NULL}, {"keepdim", NNL_ARG_BOOL, true, 0, NULL}},
     .forward = logsumexp_forward,
     .backward = logsumexp_backward},
    {.name = NULL},
};

static nnl_tensor *over_dim(nnl_context *ctx, int record, nnl_tensor *x, int dim) {
    nnl_call call;
    nnl_call_init(&call, &nnl_softmax_records[record]);
    call.arg[0].tensor = x;
    call.arg[1].i = dim;
    return nnl_call_result(ctx, &call);
}

nnl_tensor *nnl_softmax(nnl_context *ctx, nnl_tensor *x, int dim) {
    return over_dim(ctx, SOFTMAX_RECORD, x, dim);
}

nnl_tensor *nnl_log_softmax(nnl_context *ctx, nnl_tensor *x, int dim) {
    return over_dim(ctx, LOG_SOFTMAX_RECORD, x, dim);
}

nnl_tensor *nnl_logsumexp(nnl_context *ctx, nnl_tensor *x, int ndims, const int64_t *dims, bool keepdim) {
    nnl_call call;
    nnl_call_init(&call, &nnl_softmax_records[LOGSUMEXP_RECORD]);
    call.arg[0].tensor = x;
    if (ndims > 0) *nnl_call_list(&call, 1) = nnl_shape_of(ndims, dims);
    call.arg[2].flag = keepdim;
    return nnl_call_result(ctx, &call);
}
