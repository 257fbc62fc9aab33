// moment.c: variance, standard deviation and norms: forward in one pass, backward made of operations.
#include "grad/records.h"
#include "tensor/reduce.h"

#include <math.h>

static nnl_status check_float(nnl_context *ctx, const char *who, const nnl_tensor *x) {
    if (nnl_dtype_is_float(x->dtype)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected a floating-point tensor, got %s", who,
                    nnl_dtype_get(x->dtype)->name);
}

// The dims of a list argument, as a list of their own; 0 stands for all. Returns how many.
static nnl_status listed_dims(nnl_context *ctx, const nnl_call *call, int arg, nnl_shape *dims,
                              double *count) {
    const nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS];
    nnl_status status = nnl_call_dims(ctx, call, arg, x, dropped);
    dims->ndim = 0;
    *count = 1;
    for (int d = 0; status == NNL_OK && d < x->shape.ndim; d++) {
        if (!dropped[d]) continue;
        dims->size[dims->ndim++] = d;
        *count *= (double)x->shape.size[d];
    }
    return status;
}

// ---- var: sum((x - mean)^2) / (count - correction)

typedef struct var_state {
    nnl_shape dims; // a list
    nnl_shape kept; // the result's shape, every dimension kept
    double divisor;
} var_state;

// As an array of the compute type, which halves are converted to.
static nnl_tensor *var_values(nnl_context *ctx, const nnl_tensor *x, const bool *dropped, bool keepdim,
                              double divisor) {
    nnl_rows rows;
    nnl_dtype working = nnl_tensor_compute(x) == NNL_IN_DOUBLE ? NNL_FLOAT64 : NNL_FLOAT32;
    nnl_shape shape = nnl_shape_reduced(&x->shape, dropped, keepdim);
    if (nnl_rows_init(ctx, &rows, x, dropped, working) != NNL_OK) return NULL;
    nnl_tensor *out = nnl_tensor_new(ctx, working, &shape);
    size_t count = out ? (size_t)nnl_tensor_numel(out) : 0;
    nnl_moment *moments = out ? nnl_alloc(&ctx->allocator, count * sizeof *moments) : NULL;
    if (out && !moments) nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a variance");
    bool done = moments && nnl_moments_rows(ctx, &rows, moments) == NNL_OK;
    for (size_t i = 0; done && i < count; i++) {
        nnl_element_write(working, (char *)nnl_tensor_data(out) + i * nnl_dtype_size(working),
                          nnl_number_float(moments[i].square / divisor));
    }
    nnl_free(&ctx->allocator, moments);
    nnl_rows_done(&rows);
    if (done) return out;
    nnl_tensor_release(out);
    return NULL;
}

static nnl_status var_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op var_record = {.name = "var", .outputs = 1, .backward = var_backward};

static nnl_tensor *variance(nnl_context *ctx, nnl_call *call, const nnl_shape *dims, double count) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS] = {false};
    double divisor = count - (call->arg[3].flag ? 1 : 0);
    for (int k = 0; k < dims->ndim; k++) dropped[dims->size[k]] = true;
    var_state state = {.dims = *dims,
                       .kept = nnl_shape_reduced(&x->shape, dropped, true),
                       .divisor = divisor > 0 ? divisor : 0};
    nnl_tensor *values = var_values(ctx, x, dropped, call->arg[2].flag, state.divisor);
    nnl_tensor *out = values && values->dtype != x->dtype ? nnl_to(ctx, values, x->dtype) : values;
    if (out != values) nnl_tensor_release(values);
    if (!out) return NULL;
    nnl_status status = nnl_record(ctx, &(nnl_recording){.op = &var_record,
                                                         .n_inputs = 1,
                                                         .inputs = &x,
                                                         .n_outputs = 1,
                                                         .outputs = &out,
                                                         .n_saved = 1,
                                                         .saved = {x},
                                                         .state = &state,
                                                         .state_size = sizeof state});
    if (status == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// 2 / divisor * dout * (x - mean)
static nnl_status var_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const var_state *s = node->state;
    nnl_tensor *x = nnl_node_saved(node, 0);
    nnl_tensor *mean = nnl_mean(ctx, x, s->dims.ndim, s->dims.size, true);
    nnl_tensor *deviation = mean ? nnl_sub(ctx, x, mean) : NULL;
    nnl_tensor *kept = deviation ? nnl_reshape(ctx, dout[0], &s->kept) : NULL;
    nnl_tensor *scale = kept ? nnl_mul_number(ctx, kept, 2 / s->divisor) : NULL;
    dx[0] = scale ? nnl_mul(ctx, deviation, scale) : NULL;
    nnl_tensor_release(mean);
    nnl_tensor_release(deviation);
    nnl_tensor_release(kept);
    nnl_tensor_release(scale);
    return dx[0] ? NNL_OK : ctx->status;
}

static nnl_status var_forward(nnl_context *ctx, nnl_call *call);

// The variance of 16-bit floats may be more than these hold: its root is taken in float32.
static nnl_status std_of_halves(nnl_context *ctx, nnl_call *call) {
    nnl_call wide = *call;
    nnl_tensor *x = nnl_to(ctx, call->arg[0].tensor, NNL_FLOAT32), *out = NULL;
    wide.arg[0].tensor = x;
    if (x && var_forward(ctx, &wide) == NNL_OK) out = wide.out[0];
    call->out[0] = out ? nnl_to(ctx, out, call->arg[0].tensor->dtype) : NULL;
    nnl_tensor_release(x);
    nnl_tensor_release(out);
    return call->out[0] ? NNL_OK : ctx->status;
}

// var, and std (variant 1), its square root
static nnl_status var_forward(nnl_context *ctx, nnl_call *call) {
    nnl_shape dims;
    double count;
    nnl_dtype dtype = call->arg[0].tensor->dtype;
    if (call->op->variant && (dtype == NNL_FLOAT16 || dtype == NNL_BFLOAT16)) return std_of_halves(ctx, call);
    nnl_status status = check_float(ctx, call->op->name, call->arg[0].tensor);
    if (status == NNL_OK) status = listed_dims(ctx, call, 1, &dims, &count);
    if (status != NNL_OK) return status;
    nnl_tensor *var = variance(ctx, call, &dims, count);
    call->out[0] = var && call->op->variant ? nnl_unary_op(ctx, NNL_UNARY_sqrt, var, NULL) : var;
    if (call->op->variant) nnl_tensor_release(var);
    return call->out[0] ? NNL_OK : ctx->status;
}

// ---- norms

// (sum |x|^p)^(1/p), with the pieces for p = 1 and 2 that need no powers. At 0 the 2-norm's derivative is 0.
static nnl_tensor *power_norm(nnl_context *ctx, nnl_tensor *x, double p, const nnl_shape *dims,
                              bool keepdim) {
    double power[2] = {p, 0}, root[2] = {1 / p, 0};
    nnl_tensor *size = nnl_unary_op(ctx, NNL_UNARY_abs, x, NULL);
    nnl_tensor *raised = size && p != 1 ? nnl_unary_op(ctx, NNL_UNARY_pow_number, size, power) : NULL;
    nnl_tensor *sum = p == 1   ? size ? nnl_sum(ctx, size, dims->ndim, dims->size, keepdim) : NULL
                      : raised ? nnl_sum(ctx, raised, dims->ndim, dims->size, keepdim)
                               : NULL;
    nnl_tensor_release(size);
    nnl_tensor_release(raised);
    if (p == 1 || !sum) return sum;
    nnl_tensor *out = nnl_unary_op(ctx, NNL_UNARY_pow_number, sum, root);
    nnl_tensor_release(sum);
    return out;
}

// How many are not 0, as the limit of p = 0. Without a derivative.
static nnl_tensor *zero_norm(nnl_context *ctx, nnl_tensor *x, const nnl_shape *dims, bool keepdim) {
    nnl_tensor *sign = nnl_tensor_new(ctx, NNL_BOOL, &x->shape);
    if (sign) nnl_try_copy(sign, x);
    nnl_tensor *ones = sign ? nnl_to(ctx, sign, x->dtype) : NULL;
    nnl_tensor *out = ones ? nnl_sum(ctx, ones, dims->ndim, dims->size, keepdim) : NULL;
    nnl_tensor_release(sign);
    nnl_tensor_release(ones);
    return out;
}

static nnl_status norm_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op norm_record = {.name = "norm", .outputs = 1, .backward = norm_backward};

static nnl_tensor *two_norm(nnl_context *ctx, nnl_tensor *x, const bool *dropped, bool keepdim) {
    nnl_dtype wide = x->dtype == NNL_FLOAT64 ? NNL_FLOAT64 : NNL_FLOAT32; // 16 bits do not hold all squares
    nnl_tensor *squares = nnl_reduced(ctx, NNL_REDUCE_SUM_SQUARE, x, dropped, keepdim, wide);
    if (!squares) return NULL;
    nnl_compute type = nnl_tensor_compute(squares);
    nnl_apply_unary(squares, squares, type, NNL_UNARY_sqrt, NULL);
    nnl_tensor *out = nnl_to(ctx, squares, x->dtype);
    nnl_tensor_release(squares);
    if (!out) return NULL;
    nnl_shape kept = nnl_shape_reduced(&x->shape, dropped, true);
    nnl_status status = nnl_record(ctx, &(nnl_recording){.op = &norm_record,
                                                         .n_inputs = 1,
                                                         .inputs = &x,
                                                         .n_outputs = 1,
                                                         .outputs = &out,
                                                         .n_saved = 2,
                                                         .saved = {x, out},
                                                         .state = &kept,
                                                         .state_size = sizeof kept});
    if (status == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// dout * x / y, and 0 where y is 0
static nnl_status norm_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    nnl_tensor *x = nnl_node_saved(node, 0);
    nnl_tensor *y = nnl_reshape(ctx, nnl_node_saved(node, 1), node->state);
    nnl_tensor *zero = y ? nnl_tensor_new(ctx, y->dtype, &(nnl_shape){.ndim = 0}) : NULL;
    if (zero) nnl_try_fill(zero, nnl_number_int(0));
    nnl_tensor *flat = zero ? nnl_compare_op(ctx, NNL_COMPARE_eq, y, zero) : NULL;
    nnl_tensor *safe = flat ? nnl_add(ctx, y, flat) : NULL;
    nnl_tensor *kept = safe ? nnl_reshape(ctx, dout[0], node->state) : NULL;
    nnl_tensor *ratio = kept ? nnl_div(ctx, x, safe) : NULL;
    dx[0] = ratio ? nnl_mul(ctx, ratio, kept) : NULL;
    nnl_tensor *all[] = {y, zero, flat, safe, kept, ratio};
    for (int i = 0; i < 6; i++) nnl_tensor_release(all[i]);
    return dx[0] ? NNL_OK : ctx->status;
}

static nnl_tensor *largest_size(nnl_context *ctx, nnl_call *call, bool largest) {
    nnl_tensor *size = nnl_unary_op(ctx, NNL_UNARY_abs, call->arg[0].tensor, NULL);
    if (!size) return NULL;
    nnl_call inner;
    nnl_call_init(&inner, nnl_op_named(largest ? "amax" : "amin"));
    inner.arg[0].tensor = size;
    inner.arg[1] = call->arg[2];
    inner.arg[2].flag = call->arg[3].flag;
    nnl_tensor *out = nnl_call_result(ctx, &inner);
    nnl_tensor_release(size);
    return out;
}

// x:norm([p], [dim], [keepdim])
static nnl_status norm_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    double p = call->arg[1].number.d, count;
    bool dropped[NNL_MAX_DIMS];
    nnl_shape dims;
    nnl_status status = check_float(ctx, "norm", x);
    if (status == NNL_OK) status = listed_dims(ctx, call, 2, &dims, &count);
    if (status == NNL_OK) status = nnl_call_dims(ctx, call, 2, x, dropped);
    if (status != NNL_OK) return status;
    if (count == 0) { // 0, whatever p is
        call->out[0] = nnl_sum(ctx, x, dims.ndim, dims.size, call->arg[3].flag);
    } else if (p == 0) {
        call->out[0] = zero_norm(ctx, x, &dims, call->arg[3].flag);
    } else if (p == 2) {
        call->out[0] = two_norm(ctx, x, dropped, call->arg[3].flag);
    } else if (isinf(p)) {
        call->out[0] = largest_size(ctx, call, p > 0);
    } else {
        call->out[0] = power_norm(ctx, x, p, &dims, call->arg[3].flag);
    }
    return call->out[0] ? NNL_OK : ctx->status;
}

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define DIMS                                                                                                 \
    { "dim", NNL_ARG_DIMS, true, 0, NULL }
#define FLAG(name, fallback)                                                                                 \
    { name, NNL_ARG_BOOL, true, fallback, NULL }

const nnl_op nnl_moment_records[] = {
    {.name = "var",
     .doc = "the variance over dimensions, or of all; unbiased (the default) divides by n - 1, else by n",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, DIMS, FLAG("keepdim", 0), FLAG("unbiased", 1)},
     .forward = var_forward},
    {.name = "std",
     .doc = "the standard deviation over dimensions, or of all; unbiased as in var",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, DIMS, FLAG("keepdim", 0), FLAG("unbiased", 1)},
     .forward = var_forward,
     .variant = 1},
    {.name = "norm",
     .doc = "(sum |x|^p)^(1/p) over dimensions, or of all; p = 2 by default, infinity for the largest, 0 for "
            "how "
            "many are not 0",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, {"p", NNL_ARG_NUMBER, true, 2, NULL}, DIMS, FLAG("keepdim", 0)},
     .forward = norm_forward},
    {.name = NULL},
};
