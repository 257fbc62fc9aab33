// cumulative.c: running sums and products along a dimension, computed line by line by the kernels of
// kernel/isa/rows.c. The product's gradient is a recurrence, which divides by nothing and so has no trouble
// with 0.
#include "grad/records.h"

#define STRETCH ((size_t)1 << 20)

typedef enum scan_kind { SUM, PROD, SUM_FROM_END } scan_kind;

// ---- lines: a tensor's memory with the dimension last

// A look at x with `dim` last, read from its end where `turned`; the same look at the result leads back.
static nnl_tensor dim_last(const nnl_tensor *x, int dim, bool turned) {
    nnl_tensor look = *x;
    int last = x->shape.ndim - 1;
    if (last < 0) return look;
    look.shape.size[dim] = x->shape.size[last];
    look.stride[dim] = x->stride[last];
    look.shape.size[last] = x->shape.size[dim];
    look.stride[last] = x->stride[dim];
    if (turned && x->shape.size[dim] > 0) {
        look.offset += (x->shape.size[dim] - 1) * x->stride[dim];
        look.stride[last] = -x->stride[dim];
    }
    return look;
}

// The native dtype that a dtype's arithmetic runs in.
static nnl_dtype working_dtype(nnl_dtype dtype) {
    static const nnl_dtype native[NNL_COMPUTE_COUNT] = {NNL_FLOAT32, NNL_FLOAT64, NNL_INT64};
    return native[nnl_dtype_get(dtype)->compute];
}

// A contiguous copy of such a look in the dtype's working dtype. Returns new.
static nnl_tensor *lines_of(nnl_context *ctx, const nnl_tensor *x, int dim, bool turned, nnl_dtype dtype) {
    nnl_tensor look = dim_last(x, dim, turned);
    nnl_tensor *lines = nnl_tensor_new(ctx, working_dtype(dtype), &look.shape);
    if (lines) nnl_try_copy(lines, &look);
    return lines;
}

// The way back: lines as a tensor of the shape and dtype. Takes lines; returns new.
static nnl_tensor *from_lines(nnl_context *ctx, nnl_tensor *lines, const nnl_shape *shape, int dim,
                              bool turned, nnl_dtype dtype) {
    bool done = lines->dtype == dtype && !turned && dim >= shape->ndim - 1;
    if (done) return lines;
    nnl_tensor *out = nnl_tensor_new(ctx, dtype, shape);
    nnl_tensor look = out ? dim_last(out, dim, turned) : *lines;
    if (out) nnl_try_copy(&look, lines);
    nnl_tensor_release(lines);
    return out;
}

typedef struct job {
    nnl_scan_fn *scan;
    nnl_carry start; // of a scan
    nnl_recur_fn *recur;
    char *data; // lines that the results come in place of
    const char *factors;
    size_t n, bytes; // elements and bytes of a line
    size_t lines, step;
    const nnl_pool *pool;
} job;

// A long line in stretches, between which the host may want an end.
static void scan_line(const job *j, char *data) {
    nnl_carry carry = j->start;
    size_t element = j->bytes / j->n;
    for (size_t at = 0; at < j->n && !nnl_pool_stops(j->pool); at += STRETCH) {
        size_t n = j->n - at < STRETCH ? j->n - at : STRETCH;
        j->scan(n, data + at * element, data + at * element, &carry);
    }
}

static void run_part(void *arg, size_t part) {
    const job *j = arg;
    size_t first = part * j->step, end = first + j->step < j->lines ? first + j->step : j->lines;
    for (size_t line = first; line < end; line++) {
        char *data = j->data + line * j->bytes;
        if (j->scan) {
            scan_line(j, data);
        } else {
            j->recur(j->n, data, j->factors + line * j->bytes, data);
        }
    }
}

static void run_lines(nnl_context *ctx, job *j, const nnl_tensor *lines) {
    int ndim = lines->shape.ndim;
    if (nnl_tensor_numel(lines) == 0) return;
    j->data = nnl_tensor_data(lines);
    j->pool = ctx->pool;
    j->n = ndim > 0 ? (size_t)lines->shape.size[ndim - 1] : 1;
    j->bytes = j->n * nnl_dtype_size(lines->dtype);
    j->lines = (size_t)nnl_tensor_numel(lines) / j->n;
    j->step = 16384 / j->n + 1;
    nnl_pool_try(ctx->pool, (j->lines + j->step - 1) / j->step, run_part, j);
}

static nnl_status record_lines(nnl_context *ctx, const nnl_op *op, int n, nnl_tensor *const *inputs,
                               nnl_tensor **out, bool save, int dim) {
    return nnl_record(ctx, &(nnl_recording){.op = op,
                                            .n_inputs = n,
                                            .inputs = inputs,
                                            .n_outputs = 1,
                                            .outputs = out,
                                            .n_saved = save ? 2 : 0,
                                            .saved = {inputs[0], *out},
                                            .state = &dim,
                                            .state_size = sizeof dim});
}

// ---- the recurrence h[i] = b[i] + a[i] h[i - 1] along a dimension, and the one from the end, h[i] = b[i] +
// a[i + 1] h[i + 1] (variant 1). Each is the other's way back: with db the other one over a and dh, da[i] is
// db[i] h[i - 1], or db[i - 1] h[i].

static nnl_status recurrence_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                      nnl_tensor **dx);

static const nnl_op recurrence_records[] = {
    {.name = "recurrence", .outputs = 1, .backward = recurrence_backward, .variant = 0},
    {.name = "recurrence", .outputs = 1, .backward = recurrence_backward, .variant = 1},
};

static nnl_tensor *recurrence(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b, int dim, bool from_end) {
    nnl_tensor *factors = lines_of(ctx, a, dim, false, b->dtype);
    nnl_tensor *lines = factors ? lines_of(ctx, b, dim, false, b->dtype) : NULL;
    nnl_tensor *out = NULL;
    if (lines) {
        const nnl_rows_kernels *rows = ctx->kernels->rows;
        nnl_compute type = nnl_tensor_compute(lines);
        job j = {.recur = from_end ? rows->recur_back[type] : rows->recur[type],
                 .factors = nnl_tensor_data(factors)};
        run_lines(ctx, &j, lines);
        out = from_lines(ctx, lines, &b->shape, dim, false, b->dtype);
    }
    nnl_tensor_release(factors);
    if (!out) return NULL;
    nnl_tensor *const inputs[] = {a, b};
    if (record_lines(ctx, &recurrence_records[from_end], 2, inputs, &out, true, dim) == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// x moved on by one position, `first` coming before it.
static nnl_tensor *moved_on(nnl_context *ctx, nnl_tensor *x, int dim, double first) {
    nnl_shape shape = x->shape;
    if (nnl_tensor_numel(x) == 0) return nnl_tensor_retain(x);
    if (shape.ndim > 0) shape.size[dim] = 1;
    nnl_tensor *front = nnl_tensor_new(ctx, x->dtype, &shape);
    if (front) nnl_try_fill(front, nnl_number_float(first));
    if (!front || shape.ndim == 0) return front;
    nnl_tensor *rest = nnl_slice(ctx, x, dim, 0, x->shape.size[dim] - 1, 1);
    nnl_tensor *out = rest ? nnl_cat(ctx, 2, (nnl_tensor *const[]){front, rest}, dim) : NULL;
    nnl_tensor_release(front);
    nnl_tensor_release(rest);
    return out;
}

static nnl_status recurrence_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                      nnl_tensor **dx) {
    int dim = *(const int *)node->state;
    bool from_end = node->op->variant == 1;
    nnl_tensor *a = nnl_node_saved(node, 0), *h = nnl_node_saved(node, 1);
    nnl_tensor *db = recurrence(ctx, a, dout[0], dim, !from_end);
    if (db && nnl_node_needs(node, 0)) {
        nnl_tensor *before = moved_on(ctx, from_end ? db : h, dim, 0);
        dx[0] = before ? nnl_mul(ctx, before, from_end ? h : db) : NULL;
        nnl_tensor_release(before);
    }
    bool done = db && (dx[0] || !nnl_node_needs(node, 0));
    if (done && nnl_node_needs(node, 1)) {
        dx[1] = db;
    } else {
        nnl_tensor_release(db);
    }
    return done ? NNL_OK : ctx->status;
}

// ---- cumsum, cumprod

static nnl_tensor *scanned(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, int dim, nnl_dtype dtype) {
    const nnl_rows_kernels *rows = ctx->kernels->rows;
    bool turned = op->variant == SUM_FROM_END;
    nnl_tensor *lines = lines_of(ctx, x, dim, turned, dtype);
    if (!lines) return NULL;
    nnl_compute type = nnl_tensor_compute(lines);
    bool product = op->variant == PROD;
    job j = {.scan = product ? rows->cumprod[type] : rows->cumsum[type], .start = {product, product}};
    run_lines(ctx, &j, lines);
    nnl_tensor *out = from_lines(ctx, lines, &x->shape, dim, turned, dtype);
    if (!out || record_lines(ctx, op, 1, &x, &out, op->variant == PROD, dim) == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// x:cumsum(dim, [dtype]), x:cumprod(dim, [dtype])
static nnl_status scan_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *given = call->arg[0].tensor;
    nnl_dtype dtype = nnl_dtype_is_float(given->dtype) ? given->dtype : NNL_INT64;
    if (call->arg[2].given) dtype = (nnl_dtype)call->arg[2].i;
    nnl_tensor *x = nnl_to(ctx, given, dtype);
    call->out[0] = x ? scanned(ctx, call->op, x, (int)call->arg[1].i, dtype) : NULL;
    nnl_tensor_release(x);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_status cumsum_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op from_end_record = {
    .name = "cumsum", .outputs = 1, .backward = cumsum_backward, .variant = SUM_FROM_END};

// dx[i] is the sum of dout from i on; and the other way round.
static nnl_status cumsum_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    const nnl_op *other = node->op->variant == SUM ? &from_end_record : &nnl_cumulative_records[SUM];
    dx[0] = scanned(ctx, other, dout[0], *(const int *)node->state, dout[0]->dtype);
    return dx[0] ? NNL_OK : ctx->status;
}

// y[j] is x[i] times the product before i, times that of x from i + 1 to j: so dx[i] = y[i - 1] h[i], where
// h[i] = dout[i] + x[i + 1] h[i + 1].
static nnl_status cumprod_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    int dim = *(const int *)node->state;
    nnl_tensor *before = moved_on(ctx, nnl_node_saved(node, 1), dim, 1);
    nnl_tensor *after = before ? recurrence(ctx, nnl_node_saved(node, 0), dout[0], dim, true) : NULL;
    dx[0] = after ? nnl_mul(ctx, before, after) : NULL;
    nnl_tensor_release(before);
    nnl_tensor_release(after);
    return dx[0] ? NNL_OK : ctx->status;
}

#define SCAN(n, text, back, kind)                                                                            \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY,          \
        .outputs = 1,                                                                                        \
        .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL},                                                \
                   {"dim", NNL_ARG_DIM, false, 0, NULL},                                                     \
                   {"dtype", NNL_ARG_DTYPE, true, 0, NULL}},                                                 \
        .forward = scan_forward, .backward = back, .variant = kind                                           \
    }

const nnl_op nnl_cumulative_records[] = {
    [SUM] =
        SCAN("cumsum", "running sums along dim, in dtype; integers and bools in int64 where it is not given",
             cumsum_backward, SUM),
    [PROD] = SCAN("cumprod", "running products along dim, in dtype as cumsum", cumprod_backward, PROD),
    {.name = NULL},
};
