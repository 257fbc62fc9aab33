// reduce.c: sums, means and products over dimensions, and truth over them. Extremes are in extreme.c, moments
// and norms in moment.c.
#include "tensor/reduce.h"
#include "grad/records.h"

typedef struct reduce_state {
    nnl_shape shape; // of the input
    nnl_shape kept;  // the result's, every dimension kept
    double count;    // elements that made one result
} reduce_state;

nnl_status nnl_call_dims(nnl_context *ctx, const nnl_call *call, int arg, const nnl_tensor *x,
                         bool *dropped) {
    const nnl_arg *list = &call->arg[arg];
    bool all = !list->given || list->list->ndim == 0;
    for (int d = 0; d < x->shape.ndim; d++) dropped[d] = all;
    if (all) return NNL_OK;
    for (int k = 0; k < list->list->ndim; k++) {
        if (x->shape.ndim == 0) continue;
        int dim = (int)list->list->size[k];
        if (dropped[dim]) {
            return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: dimension %d is named twice", call->op->name,
                            dim + 1);
        }
        dropped[dim] = true;
    }
    return NNL_OK;
}

// The native dtype that a dtype's arithmetic runs in.
static nnl_dtype working_dtype(nnl_dtype dtype) {
    static const nnl_dtype native[NNL_COMPUTE_COUNT] = {NNL_FLOAT32, NNL_FLOAT64, NNL_INT64};
    return native[nnl_dtype_get(dtype)->compute];
}

// Everything to one, of few elements that lie in memory as the kernel wants them: no layout to be found.
static bool is_one_row(const nnl_tensor *x, const bool *dropped, nnl_dtype working) {
    for (int d = 0; d < x->shape.ndim; d++) {
        if (!dropped[d]) return false;
    }
    return x->dtype == working && nnl_tensor_is_contiguous(x) && nnl_tensor_numel(x) <= NNL_REDUCE_SMALL;
}

nnl_tensor *nnl_reduced(nnl_context *ctx, nnl_reduction kind, const nnl_tensor *x, const bool *dropped,
                        bool keepdim, nnl_dtype dtype) {
    nnl_rows rows;
    nnl_shape shape = nnl_shape_reduced(&x->shape, dropped, keepdim);
    nnl_dtype working = working_dtype(dtype);
    if (dtype == working && is_one_row(x, dropped, working)) {
        nnl_tensor *one = nnl_tensor_new(ctx, dtype, &shape);
        if (one) nnl_reduce_small(ctx, kind, x, one);
        return one;
    }
    if (nnl_rows_init(ctx, &rows, x, dropped, working) != NNL_OK) return NULL;
    nnl_tensor *out = nnl_tensor_new(ctx, working, &shape);
    if (out && nnl_reduce_rows(ctx, &rows, kind, out) != NNL_OK) {
        nnl_tensor_release(out);
        out = NULL;
    }
    nnl_rows_done(&rows);
    if (!out || dtype == working) return out;
    nnl_tensor *converted = nnl_to(ctx, out, dtype);
    nnl_tensor_release(out);
    return converted;
}

nnl_status nnl_has_zero(nnl_context *ctx, const nnl_tensor *x, bool *found) {
    bool all[NNL_MAX_DIMS] = {false};
    for (int d = 0; d < x->shape.ndim; d++) all[d] = true;
    nnl_tensor *count = nnl_reduced(ctx, NNL_REDUCE_COUNT_NONZERO, x, all, false, working_dtype(x->dtype));
    if (!count) return ctx->status;
    *found = nnl_element_read(count->dtype, nnl_tensor_data(count)).d < (double)nnl_tensor_numel(x);
    nnl_tensor_release(count);
    return NNL_OK;
}

static double count_of(const nnl_tensor *x, const bool *dropped) {
    double count = 1;
    for (int d = 0; d < x->shape.ndim; d++) count *= dropped[d] ? (double)x->shape.size[d] : 1;
    return count;
}

static nnl_status record_reduction(nnl_context *ctx, nnl_call *call, nnl_tensor *x, const bool *dropped,
                                   bool save) {
    if (!nnl_grad_wanted(ctx, &x, 1)) return NNL_OK;
    reduce_state state = {.shape = x->shape,
                          .kept = nnl_shape_reduced(&x->shape, dropped, true),
                          .count = count_of(x, dropped)};
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .n_saved = save ? 2 : 0,
                                            .saved = {x, call->out[0]},
                                            .state = &state,
                                            .state_size = sizeof state});
}

// A gradient of the result, with its dimensions back, expanded over the input.
static nnl_tensor *spread(nnl_context *ctx, nnl_tensor *dout, const reduce_state *state) {
    nnl_tensor *kept = nnl_reshape(ctx, dout, &state->kept);
    nnl_tensor *wide = kept ? nnl_expand(ctx, kept, &state->shape) : NULL;
    nnl_tensor_release(kept);
    return wide;
}

// ---- sum, mean

static nnl_status sum_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS];
    nnl_status status = nnl_call_dims(ctx, call, 1, x, dropped);
    if (status != NNL_OK) return status;
    nnl_dtype dtype = nnl_dtype_is_float(x->dtype) ? x->dtype : NNL_INT64;
    call->out[0] = nnl_reduced(ctx, NNL_REDUCE_SUM, x, dropped, call->arg[2].flag, dtype);
    return call->out[0] ? record_reduction(ctx, call, x, dropped, false) : ctx->status;
}

static nnl_tensor *sum_quick(nnl_context *ctx, const nnl_op *op, const nnl_tensor *x, const nnl_tensor *y,
                             size_t count) {
    (void)op, (void)y;
    if (count > NNL_REDUCE_SMALL) return NULL;
    nnl_tensor *out = nnl_tensor_new(ctx, x->dtype, &(nnl_shape){.ndim = 0});
    if (out) nnl_reduce_small(ctx, NNL_REDUCE_SUM, x, out);
    return out;
}

static nnl_status sum_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    dx[0] = spread(ctx, dout[0], node->state);
    return dx[0] ? NNL_OK : ctx->status;
}

static nnl_status as_dtype(nnl_context *ctx, nnl_call *call, nnl_dtype dtype) {
    nnl_tensor *out = call->out[0];
    call->out[0] = nnl_to(ctx, out, dtype);
    nnl_tensor_release(out);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_status mean_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS];
    if (!nnl_dtype_is_float(x->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE,
                        "mean: expected a floating-point tensor, got %s; convert with float()",
                        nnl_dtype_get(x->dtype)->name);
    }
    nnl_status status = nnl_call_dims(ctx, call, 1, x, dropped);
    if (status != NNL_OK) return status;
    nnl_tensor *out = nnl_reduced(ctx, NNL_REDUCE_SUM, x, dropped, call->arg[2].flag,
                                  working_dtype(x->dtype)); // 16 bits may not hold the sum
    if (!out) return ctx->status;
    nnl_compute type = nnl_tensor_compute(out);
    nnl_apply_binary_number(out, out, nnl_number_float(count_of(x, dropped)), false, type, NNL_BINARY_div);
    call->out[0] = out;
    status = as_dtype(ctx, call, x->dtype);
    return status == NNL_OK ? record_reduction(ctx, call, x, dropped, false) : status;
}

static nnl_status mean_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const reduce_state *state = node->state;
    nnl_tensor *share = nnl_mul_number(ctx, dout[0], 1 / state->count);
    dx[0] = share ? spread(ctx, share, state) : NULL;
    nnl_tensor_release(share);
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- prod

// x:prod([dim], [keepdim])
static nnl_status prod_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS];
    nnl_status status = nnl_call_dims(ctx, call, 1, x, dropped);
    if (status != NNL_OK) return status;
    nnl_dtype dtype = nnl_dtype_is_float(x->dtype) ? x->dtype : NNL_INT64;
    call->out[0] = nnl_reduced(ctx, NNL_REDUCE_PROD, x, dropped, call->arg[2].flag, dtype);
    return call->out[0] ? record_reduction(ctx, call, x, dropped, true) : ctx->status;
}

// With zeros about, the product of the others cannot come from a division: the factors equal to 0 are
// replaced by 1, and only where there is one zero has that one a derivative.
static nnl_tensor *product_of_others(nnl_context *ctx, nnl_tensor *x, const reduce_state *state) {
    bool dropped[NNL_MAX_DIMS];
    for (int d = 0; d < x->shape.ndim; d++)
        dropped[d] = state->kept.size[d] != x->shape.size[d] || x->shape.size[d] == 1;
    nnl_tensor *none = nnl_tensor_new(ctx, x->dtype, &(nnl_shape){.ndim = 0});
    if (!none) return NULL;
    nnl_try_fill(none, nnl_number_int(0));
    nnl_tensor *zero = nnl_compare_op(ctx, NNL_COMPARE_eq, x, none);
    nnl_tensor *zeros = zero ? nnl_reduced(ctx, NNL_REDUCE_SUM, zero, dropped, true, x->dtype) : NULL;
    nnl_tensor *others = zeros ? nnl_sub(ctx, zeros, zero) : NULL; // zeros among the other factors
    nnl_tensor *alone = others ? nnl_compare_op(ctx, NNL_COMPARE_eq, others, none) : NULL;
    nnl_tensor *filled = alone ? nnl_add(ctx, x, zero) : NULL;
    nnl_tensor *product = filled ? nnl_reduced(ctx, NNL_REDUCE_PROD, filled, dropped, true, x->dtype) : NULL;
    nnl_tensor *ratio = product ? nnl_div(ctx, product, filled) : NULL;
    nnl_tensor *out = ratio ? nnl_where(ctx, alone, ratio, none) : NULL;
    nnl_tensor *all[] = {none, zero, zeros, others, alone, filled, product, ratio};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) nnl_tensor_release(all[i]);
    return out;
}

// It is made outside of the graph: to go back through it to x is an error that names it.
static const nnl_op others_record = {.name = "the gradient of prod where a factor is 0", .outputs = 1};

static nnl_tensor *recorded_product_of_others(nnl_context *ctx, nnl_tensor *x, const reduce_state *state) {
    bool mode = ctx->grad_enabled;
    ctx->grad_enabled = false;
    nnl_tensor *out = product_of_others(ctx, x, state);
    ctx->grad_enabled = mode;
    nnl_recording recording = {
        .op = &others_record, .n_inputs = 1, .inputs = &x, .n_outputs = 1, .outputs = &out};
    if (!out || nnl_record(ctx, &recording) == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

static nnl_status prod_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const reduce_state *state = node->state;
    nnl_tensor *x = nnl_node_saved(node, 0), *y = nnl_node_saved(node, 1);
    bool zeros;
    if (nnl_has_zero(ctx, x, &zeros) != NNL_OK) return ctx->status;
    nnl_tensor *wide_y = zeros ? NULL : spread(ctx, y, state);
    nnl_tensor *slope = zeros    ? recorded_product_of_others(ctx, x, state)
                        : wide_y ? nnl_div(ctx, wide_y, x)
                                 : NULL;
    nnl_tensor *wide = slope ? spread(ctx, dout[0], state) : NULL;
    dx[0] = wide ? nnl_mul(ctx, wide, slope) : NULL;
    nnl_tensor_release(wide_y);
    nnl_tensor_release(slope);
    nnl_tensor_release(wide);
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- truth

static nnl_tensor *nonzero_count(nnl_context *ctx, nnl_call *call, const bool *dropped, bool keepdim) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_tensor *count =
        nnl_reduced(ctx, NNL_REDUCE_COUNT_NONZERO, x, dropped, keepdim, working_dtype(x->dtype));
    nnl_tensor *whole = count ? nnl_to(ctx, count, NNL_INT64) : NULL;
    nnl_tensor_release(count);
    return whole;
}

static nnl_status count_nonzero_forward(nnl_context *ctx, nnl_call *call) {
    bool dropped[NNL_MAX_DIMS];
    nnl_status status = nnl_call_dims(ctx, call, 1, call->arg[0].tensor, dropped);
    if (status != NNL_OK) return status;
    call->out[0] = nonzero_count(ctx, call, dropped, false);
    return call->out[0] ? NNL_OK : ctx->status;
}

// all (variant 1): as many as there are; any: one or more
static nnl_status truth_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS];
    nnl_status status = nnl_call_dims(ctx, call, 1, x, dropped);
    if (status != NNL_OK) return status;
    nnl_tensor *count = nonzero_count(ctx, call, dropped, call->arg[2].flag);
    nnl_tensor *least = count ? nnl_tensor_new(ctx, NNL_INT64, &(nnl_shape){.ndim = 0}) : NULL;
    if (least) nnl_try_fill(least, nnl_number_float(call->op->variant ? count_of(x, dropped) : 1));
    call->out[0] = least ? nnl_compare_op(ctx, NNL_COMPARE_ge, count, least) : NULL;
    nnl_tensor_release(count);
    nnl_tensor_release(least);
    return call->out[0] ? NNL_OK : ctx->status;
}

// ---- the table

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define DIMS                                                                                                 \
    { "dim", NNL_ARG_DIMS, true, 0, NULL }
#define KEEPDIM                                                                                              \
    { "keepdim", NNL_ARG_BOOL, true, 0, NULL }
#define REDUCTION(n, text, go, back, kind, short_cut)                                                        \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_METHOD | NNL_OP_FUNCTION, .outputs = 1,                      \
        .params = {X, DIMS, KEEPDIM}, .forward = go, .backward = back, .variant = kind, .quick = short_cut   \
    }

enum { SUM, MEAN };

const nnl_op nnl_reduce_records[] = {
    [SUM] = REDUCTION("sum", "the sum over dimensions, or of all; integers and bools in int64", sum_forward,
                      sum_backward, 0, sum_quick),
    [MEAN] = REDUCTION("mean", "the mean over dimensions, or of all", mean_forward, mean_backward, 0, NULL),
    REDUCTION("prod", "the product over dimensions, or of all; integers and bools in int64", prod_forward,
              prod_backward, 0, NULL),
    REDUCTION("all", "whether no element is 0, over dimensions or of all", truth_forward, NULL, 1, NULL),
    REDUCTION("any", "whether some element is not 0, over dimensions or of all", truth_forward, NULL, 0,
              NULL),
    {.name = "count_nonzero",
     .doc = "how many elements are not 0, over dimensions or of all",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, DIMS},
     .forward = count_nonzero_forward},
    {.name = NULL},
};

static nnl_tensor *reduction(nnl_context *ctx, int record, nnl_tensor *x, int ndims, const int64_t *dims,
                             bool keepdim) {
    nnl_call call;
    nnl_call_init(&call, &nnl_reduce_records[record]);
    call.arg[0].tensor = x;
    if (ndims > 0) *nnl_call_list(&call, 1) = nnl_shape_of(ndims, dims);
    call.arg[2].flag = keepdim;
    return nnl_call_result(ctx, &call);
}

nnl_tensor *nnl_sum(nnl_context *ctx, nnl_tensor *x, int ndims, const int64_t *dims, bool keepdim) {
    return reduction(ctx, SUM, x, ndims, dims, keepdim);
}

nnl_tensor *nnl_mean(nnl_context *ctx, nnl_tensor *x, int ndims, const int64_t *dims, bool keepdim) {
    return reduction(ctx, MEAN, x, ndims, dims, keepdim);
}

nnl_tensor *nnl_sum_to(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape) {
    int64_t dims[NNL_MAX_DIMS];
    int count = 0, extra = x->shape.ndim - shape->ndim;
    for (int d = 0; d < x->shape.ndim; d++) {
        bool repeated = d < extra || (shape->size[d - extra] == 1 && x->shape.size[d] != 1);
        if (repeated) dims[count++] = d;
    }
    nnl_tensor *sum = count > 0 ? nnl_sum(ctx, x, count, dims, true) : nnl_tensor_retain(x);
    if (!sum || extra == 0) return sum;
    nnl_tensor *out = nnl_reshape(ctx, sum, shape);
    nnl_tensor_release(sum);
    return out;
}
