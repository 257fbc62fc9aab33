// softmax.c: softmax, log_softmax and logsumexp; the kernels are in kernel/isa/rows.c and columns.c.
#include "grad/records.h"
#include "tensor/reduce.h"

#define PART_ELEMENTS 16384
#define COLUMNS 64 // taken together at least

typedef struct row_state {
    int dim;
} row_state;

// Along a dimension of n elements: a matrix (n, inner) for each of `outer`, or, where inner is 1, rows.
typedef struct job {
    nnl_row_fn *row;
    nnl_row_grad_fn *row_grad;
    nnl_column_fn *column;
    nnl_column_grad_fn *column_grad;
    char *out;
    const char *a, *b;
    size_t outer, n, inner, element;
    size_t step;  // rows in one part, or columns
    size_t parts; // of one matrix
} job;

static void row_part(void *arg, size_t part) {
    const job *j = arg;
    size_t last = (part + 1) * j->step < j->outer ? (part + 1) * j->step : j->outer;
    size_t first = part * j->step, rows = last - first, at = first * j->n * j->element;
    if (j->row) j->row(rows, j->n, j->out + at, j->a + at);
    if (j->row_grad) j->row_grad(rows, j->n, j->out + at, j->a + at, j->b + at);
}

static void column_part(void *arg, size_t part) {
    const job *j = arg;
    size_t block = part / j->parts, first = part % j->parts * j->step;
    size_t width = j->inner - first < j->step ? j->inner - first : j->step;
    size_t at = (block * j->n * j->inner + first) * j->element;
    if (j->column) j->column(j->n, width, j->inner, j->out + at, j->a + at);
    if (j->column_grad) j->column_grad(j->n, width, j->inner, j->out + at, j->a + at, j->b + at);
}

// What a part takes follows from the shape alone.
static void run(nnl_context *ctx, job *j) {
    if (j->outer * j->n * j->inner == 0) return;
    size_t most = PART_ELEMENTS / j->n;
    if (j->inner == 1) {
        j->step = most > 0 ? most : 1;
        nnl_pool_try(ctx->pool, (j->outer + j->step - 1) / j->step, row_part, j);
        return;
    }
    j->step = most > COLUMNS ? most / COLUMNS * COLUMNS : COLUMNS;
    j->parts = (j->inner + j->step - 1) / j->step;
    nnl_pool_try(ctx->pool, j->outer * j->parts, column_part, j);
}

static job job_along(const nnl_tensor *x, int dim) {
    job j = {.outer = 1, .n = 1, .inner = 1, .element = nnl_dtype_size(x->dtype)};
    for (int d = 0; d < x->shape.ndim; d++) {
        size_t size = (size_t)x->shape.size[d], *part = d < dim ? &j.outer : d == dim ? &j.n : &j.inner;
        *part *= size;
    }
    return j;
}

static nnl_tensor *forward(nnl_context *ctx, nnl_tensor *x, int dim, bool is_log) {
    nnl_tensor *whole = nnl_contiguous(ctx, x);
    nnl_tensor *out = whole ? nnl_tensor_new(ctx, x->dtype, &x->shape) : NULL;
    if (out) {
        nnl_compute type = nnl_tensor_compute(x);
        const nnl_kernels *kernels = ctx->kernels;
        job j = job_along(x, dim);
        j.row = is_log ? kernels->rows->log_softmax[type] : kernels->rows->softmax[type];
        j.column = is_log ? kernels->columns->log_softmax[type] : kernels->columns->softmax[type];
        j.out = nnl_tensor_data(out);
        j.a = nnl_tensor_data(whole);
        run(ctx, &j);
    }
    nnl_tensor_release(whole);
    return out;
}

static nnl_tensor *backward(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *y, int dim, bool is_log) {
    nnl_tensor *whole = nnl_contiguous(ctx, dout);
    nnl_tensor *out = whole ? nnl_tensor_new(ctx, y->dtype, &y->shape) : NULL;
    if (out) {
        nnl_compute type = nnl_tensor_compute(y);
        const nnl_kernels *kernels = ctx->kernels;
        job j = job_along(y, dim);
        j.row_grad = is_log ? kernels->rows->log_softmax_grad[type] : kernels->rows->softmax_grad[type];
        j.column_grad =
            is_log ? kernels->columns->log_softmax_grad[type] : kernels->columns->softmax_grad[type];
        j.out = nnl_tensor_data(out);
        j.a = nnl_tensor_data(whole);
        j.b = nnl_tensor_data(y);
        run(ctx, &j);
    }
    nnl_tensor_release(whole);
    return out;
}

// ---- softmax and log_softmax (variant 1)

static bool has_rows(const nnl_tensor *x) { return x->dtype == NNL_FLOAT32 || x->dtype == NNL_FLOAT64; }

// Dtypes that have no row kernels, by way of float32.
static nnl_status through_float32(nnl_context *ctx, nnl_call *call, nnl_dtype result) {
    nnl_call inner = *call;
    nnl_tensor *x = nnl_to(ctx, call->arg[0].tensor, NNL_FLOAT32);
    inner.arg[0].tensor = x;
    nnl_tensor *out = x ? nnl_call_result(ctx, &inner) : NULL;
    call->out[0] = out ? nnl_to(ctx, out, result) : NULL;
    nnl_tensor_release(x);
    nnl_tensor_release(out);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_status not_float(nnl_context *ctx, const char *who, const nnl_tensor *x) {
    return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected a floating-point tensor, got %s", who,
                    nnl_dtype_get(x->dtype)->name);
}

static nnl_status softmax_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    if (!nnl_dtype_is_float(x->dtype)) return not_float(ctx, call->op->name, x);
    if (!has_rows(x)) return through_float32(ctx, call, x->dtype);
    row_state state = {.dim = (int)call->arg[1].i};
    call->out[0] = forward(ctx, x, state.dim, call->op->variant == 1);
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
    if (composed) {
        dx[0] = is_log ? log_softmax_grad_composed(ctx, dout[0], y, s->dim)
                       : softmax_grad_composed(ctx, dout[0], y, s->dim);
    } else {
        dx[0] = backward(ctx, dout[0], y, s->dim, is_log);
    }
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- logsumexp: max + log(sum(exp(x - max))), in one fused pass

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
    size_t first = part * j->step;
    j->kernel(last - first, n, j->out + first * j->element, j->x + first * n * j->element);
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
        nnl_pool_try(ctx->pool, ((size_t)rows.outer + j.step - 1) / j.step, lse_part, &j);
    }
    nnl_rows_done(&rows);
    return out;
}

static nnl_status logsumexp_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS];
    if (!has_rows(x)) return through_float32(ctx, call, nnl_float_dtype(x->dtype));
    nnl_status status = nnl_call_dims(ctx, call, 1, x, dropped);
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
