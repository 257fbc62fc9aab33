// binary.c: the operations of two operands, tensors or numbers: promotion, broadcasting, derivatives.
// Comparisons and tests too. The loops are in kernel/isa/elementwise.c.
#include "grad/records.h"

#include <math.h>

typedef struct binary_state {
    nnl_number number;
    bool number_first;
} binary_state;

// Tensors with dimensions decide before tensors without, and these before numbers; a lower one counts only
// when its kind is higher (an integer tensor and a float number meet in float32).
static nnl_dtype promote_ranked(nnl_dtype strong, nnl_dtype weak) {
    return nnl_dtype_get(weak)->kind > nnl_dtype_get(strong)->kind ? weak : strong;
}

nnl_dtype nnl_operands_dtype(const nnl_arg *a, const nnl_arg *b) {
    if (a->is_number && b->is_number)
        return nnl_dtype_promote(nnl_number_dtype(a->number), nnl_number_dtype(b->number));
    if (a->is_number) return promote_ranked(b->tensor->dtype, nnl_number_dtype(a->number));
    if (b->is_number) return promote_ranked(a->tensor->dtype, nnl_number_dtype(b->number));
    const nnl_tensor *x = a->tensor, *y = b->tensor;
    if ((x->shape.ndim == 0) == (y->shape.ndim == 0)) return nnl_dtype_promote(x->dtype, y->dtype);
    return x->shape.ndim > 0 ? promote_ranked(x->dtype, y->dtype) : promote_ranked(y->dtype, x->dtype);
}

static nnl_status check_operands(nnl_context *ctx, const nnl_call *call) {
    if (call->arg[0].is_number && call->arg[1].is_number) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: expected a tensor as one of the operands",
                        call->op->name);
    }
    return NNL_OK;
}

static nnl_status operand_shape(nnl_context *ctx, const nnl_call *call, nnl_shape *shape) {
    const nnl_arg *a = &call->arg[0], *b = &call->arg[1];
    if (a->is_number || b->is_number) {
        *shape = a->is_number ? b->tensor->shape : a->tensor->shape;
        return NNL_OK;
    }
    return nnl_shape_broadcast(ctx, call->op->name, &a->tensor->shape, &b->tensor->shape, shape);
}

static nnl_tensor *tensor_of(const nnl_arg *arg) { return arg->is_number ? NULL : arg->tensor; }

// Sums need no operand for their derivatives, a product only the other one: what is not saved may change or
// go.
static void operands_to_save(nnl_binary kind, nnl_tensor **x, nnl_tensor **y) {
    bool x_wanted = *x && nnl_requires_grad(*x), y_wanted = *y && nnl_requires_grad(*y);
    if (kind == NNL_BINARY_add || kind == NNL_BINARY_sub) x_wanted = y_wanted = false;
    if (kind == NNL_BINARY_add || kind == NNL_BINARY_sub || kind == NNL_BINARY_mul) {
        if (!y_wanted) *x = NULL;
        if (!x_wanted) *y = NULL;
    }
}

static nnl_status binary_record(nnl_context *ctx, const nnl_call *call) {
    const nnl_arg *a = &call->arg[0], *b = &call->arg[1];
    nnl_tensor *x = tensor_of(a), *y = tensor_of(b);
    if (!nnl_grad_wanted(ctx, (nnl_tensor *const[]){x, y}, 2)) return NNL_OK;
    binary_state state = {.number_first = a->is_number};
    if (a->is_number || b->is_number) state.number = a->is_number ? a->number : b->number;
    nnl_tensor *saved_x = x, *saved_y = y;
    operands_to_save((nnl_binary)call->op->variant, &saved_x, &saved_y);
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 2,
                                            .inputs = (nnl_tensor *const[]){x, y},
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .n_saved = 2,
                                            .saved = {saved_x, saved_y},
                                            .state = &state,
                                            .state_size = sizeof state});
}

static nnl_status binary_dtype(nnl_context *ctx, const nnl_call *call, nnl_dtype *dtype) {
    nnl_binary kind = (nnl_binary)call->op->variant;
    *dtype = nnl_operands_dtype(&call->arg[0], &call->arg[1]);
    if (kind == NNL_BINARY_div || kind == NNL_BINARY_atan2) *dtype = nnl_float_dtype(*dtype);
    if (*dtype == NNL_BOOL && kind == NNL_BINARY_sub) {
        return nnl_fail(ctx, NNL_ERR_DTYPE,
                        "sub: not defined for two bool tensors; use logical_xor or to(\"int64\")");
    }
    return NNL_OK;
}

// A number is an element of the result's dtype, where that is an integer's: it wraps around.
static nnl_number number_in(nnl_number number, nnl_dtype dtype) {
    int64_t memory;
    if (nnl_dtype_get(dtype)->kind != NNL_KIND_INT) return number;
    nnl_element_write(dtype, &memory, number);
    return nnl_element_read(dtype, &memory);
}

// What integers have no result for: a quotient by 0, and a fraction as a power.
static nnl_status check_whole(nnl_context *ctx, const nnl_call *call, nnl_dtype dtype) {
    nnl_binary kind = (nnl_binary)call->op->variant;
    const nnl_arg *a = &call->arg[0], *b = &call->arg[1];
    if (nnl_dtype_is_float(dtype)) return NNL_OK;
    if (kind == NNL_BINARY_pow && b->is_number && b->number.i < 0) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "pow: a negative power of integers is a fraction; got %s and %lld",
                        nnl_dtype_get(a->tensor->dtype)->name, (long long)b->number.i);
    }
    if (kind != NNL_BINARY_floor_divide && kind != NNL_BINARY_remainder) return NNL_OK;
    bool zero = b->is_number && number_in(b->number, dtype).i == 0;
    nnl_status status = b->is_number ? NNL_OK : nnl_has_zero(ctx, b->tensor, &zero);
    if (status != NNL_OK || !zero) return status;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: an integer divided by zero", call->op->name);
}

// The dtype and shape of the result.
static nnl_status binary_result(nnl_context *ctx, const nnl_call *call, nnl_dtype *dtype, nnl_shape *shape) {
    nnl_status status = check_operands(ctx, call);
    if (status == NNL_OK) status = binary_dtype(ctx, call, dtype);
    if (status == NNL_OK) status = operand_shape(ctx, call, shape);
    return status == NNL_OK ? check_whole(ctx, call, *dtype) : status;
}

// Two float tensors of one shape and dtype: the result is as they are.
static bool are_alike(const nnl_arg *a, const nnl_arg *b) {
    return !a->is_number && !b->is_number && a->tensor->dtype == b->tensor->dtype &&
           nnl_dtype_is_float(a->tensor->dtype) && nnl_shape_equal(&a->tensor->shape, &b->tensor->shape);
}

// Few elements that lie in order, of a dtype that kernels take: the most common call of all, whose cost is
// that of asking.
static bool is_plain_pair(const nnl_call *call, const nnl_tensor *x, const nnl_tensor *y) {
    return !call->into && nnl_dtype_get(x->dtype)->native && nnl_tensor_numel(x) <= NNL_QUICK_LIMIT &&
           nnl_tensor_is_contiguous(x) && nnl_tensor_is_contiguous(y);
}

static nnl_status plain_forward(nnl_context *ctx, nnl_call *call, const nnl_tensor *x, const nnl_tensor *y) {
    nnl_tensor *out = call->out[0] = nnl_tensor_new(ctx, x->dtype, &x->shape);
    if (!out) return ctx->status;
    nnl_binary_fn *run = ctx->kernels->elementwise->binary[call->op->variant][nnl_tensor_compute(x)];
    run((size_t)nnl_tensor_numel(x), nnl_tensor_data(out), nnl_tensor_data(x), nnl_tensor_data(y));
    return binary_record(ctx, call);
}

static nnl_tensor *binary_quick(nnl_context *ctx, const nnl_op *op, const nnl_tensor *x, const nnl_tensor *y,
                                size_t count) {
    nnl_tensor *out = nnl_tensor_like(ctx, x, count);
    if (!out) return NULL;
    nnl_binary_fn *run = ctx->kernels->elementwise->binary[op->variant][nnl_tensor_compute(x)];
    run(count, nnl_tensor_data(out), nnl_tensor_data(x), nnl_tensor_data(y));
    return out;
}

static nnl_status binary_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_arg *a = &call->arg[0], *b = &call->arg[1];
    nnl_dtype dtype = NNL_FLOAT32;
    nnl_shape broadcast;
    const nnl_shape *shape = &broadcast;
    nnl_status status = NNL_OK;
    if (are_alike(a, b)) {
        if (is_plain_pair(call, a->tensor, b->tensor)) return plain_forward(ctx, call, a->tensor, b->tensor);
        dtype = a->tensor->dtype;
        shape = &a->tensor->shape;
    } else {
        status = binary_result(ctx, call, &dtype, &broadcast);
    }
    if (status == NNL_OK) status = nnl_call_output(ctx, call, dtype, shape);
    if (status != NNL_OK) return status;
    nnl_compute type = nnl_dtype_get(dtype)->compute;
    nnl_binary op = (nnl_binary)call->op->variant;
    if (a->is_number || b->is_number) {
        nnl_apply_binary_number(call->out[0], a->is_number ? b->tensor : a->tensor,
                                number_in(a->is_number ? a->number : b->number, dtype), a->is_number, type,
                                op);
    } else {
        nnl_apply_binary(call->out[0], a->tensor, b->tensor, type, op);
    }
    return binary_record(ctx, call);
}

// ---- derivatives: each fills dx of the operands that want one

typedef struct pair {
    nnl_context *ctx;
    nnl_node *node;
    nnl_tensor *a, *b, *dout; // a or b is NULL where it is a number
    nnl_number number;
} pair;

static pair pair_of(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout) {
    const binary_state *state = node->state;
    return (pair){ctx, node, nnl_node_saved(node, 0), nnl_node_saved(node, 1), dout[0], state->number};
}

// Takes x; the outcome of one derivative.
static nnl_status give(nnl_context *ctx, nnl_tensor **dx, nnl_tensor *x) {
    *dx = x;
    return x ? NNL_OK : ctx->status;
}

static nnl_tensor *negative(nnl_context *ctx, nnl_tensor *x) {
    return nnl_unary_op(ctx, NNL_UNARY_neg, x, NULL);
}

static nnl_status add_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    (void)ctx;
    if (nnl_node_needs(node, 0)) dx[0] = nnl_tensor_retain(dout[0]);
    if (nnl_node_needs(node, 1)) dx[1] = nnl_tensor_retain(dout[0]);
    return NNL_OK;
}

static nnl_status sub_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    if (nnl_node_needs(node, 0)) dx[0] = nnl_tensor_retain(dout[0]);
    return nnl_node_needs(node, 1) ? give(ctx, &dx[1], negative(ctx, dout[0])) : NNL_OK;
}

static nnl_tensor *times(const pair *p, nnl_tensor *x, nnl_tensor *other) {
    return other ? nnl_mul(p->ctx, x, other) : nnl_mul_number(p->ctx, x, p->number.d);
}

static nnl_status mul_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    pair p = pair_of(ctx, node, dout);
    nnl_status status = NNL_OK;
    if (nnl_node_needs(node, 0)) status = give(ctx, &dx[0], times(&p, p.dout, p.b));
    if (status == NNL_OK && nnl_node_needs(node, 1)) status = give(ctx, &dx[1], times(&p, p.dout, p.a));
    return status;
}

// a number as a tensor of no dimensions, for formulas that want both operands
static nnl_tensor *operand(const pair *p, nnl_tensor *t, nnl_dtype dtype) {
    if (t) return nnl_tensor_retain(t);
    nnl_tensor *number = nnl_tensor_new(p->ctx, dtype, &(nnl_shape){.ndim = 0});
    if (number) nnl_try_fill(number, p->number);
    return number;
}

typedef nnl_tensor *derivative_fn(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b);

// Runs the two derivatives with both operands as tensors.
static nnl_status both_sides(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx,
                             derivative_fn *da, derivative_fn *db) {
    pair p = pair_of(ctx, node, dout);
    nnl_tensor *a = operand(&p, p.a, dout[0]->dtype), *b = operand(&p, p.b, dout[0]->dtype);
    nnl_status status = a && b ? NNL_OK : ctx->status;
    if (status == NNL_OK && nnl_node_needs(node, 0)) status = give(ctx, &dx[0], da(ctx, dout[0], a, b));
    if (status == NNL_OK && nnl_node_needs(node, 1)) status = give(ctx, &dx[1], db(ctx, dout[0], a, b));
    nnl_tensor_release(a);
    nnl_tensor_release(b);
    return status;
}

// Releases x: for chains of operations in one expression. NULL goes through.
static nnl_tensor *mul_taking(nnl_context *ctx, nnl_tensor *x, nnl_tensor *y) {
    nnl_tensor *out = x ? nnl_mul(ctx, x, y) : NULL;
    nnl_tensor_release(x);
    return out;
}

static nnl_tensor *div_da(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    (void)a;
    return nnl_div(ctx, dout, b);
}

// -dout * a / b^2
static nnl_tensor *div_db(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    nnl_tensor *square = nnl_mul(ctx, b, b);
    nnl_tensor *ratio = square ? nnl_div(ctx, a, square) : NULL;
    nnl_tensor *minus = ratio ? negative(ctx, ratio) : NULL;
    nnl_tensor_release(square);
    nnl_tensor_release(ratio);
    return mul_taking(ctx, minus, dout);
}

static nnl_status div_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    return both_sides(ctx, node, dout, dx, div_da, div_db);
}

static nnl_tensor *binary_op(nnl_context *ctx, nnl_binary kind, nnl_tensor *a, nnl_tensor *b);

// Zeros of x's dtype where the condition is true, x elsewhere. Takes both.
static nnl_tensor *zero_where(nnl_context *ctx, nnl_tensor *condition, nnl_tensor *x) {
    nnl_tensor *zero = x && condition ? nnl_tensor_new(ctx, x->dtype, &(nnl_shape){.ndim = 0}) : NULL;
    if (zero) nnl_try_fill(zero, nnl_number_int(0));
    nnl_tensor *out = zero ? nnl_where(ctx, condition, zero, x) : NULL;
    nnl_tensor_release(zero);
    nnl_tensor_release(condition);
    nnl_tensor_release(x);
    return out;
}

static nnl_tensor *compare_number(nnl_context *ctx, nnl_compare kind, nnl_tensor *x, double number) {
    nnl_tensor *other = nnl_tensor_new(ctx, x->dtype, &(nnl_shape){.ndim = 0});
    if (!other) return NULL;
    nnl_try_fill(other, nnl_number_float(number));
    nnl_tensor *out = nnl_compare_op(ctx, kind, x, other);
    nnl_tensor_release(other);
    return out;
}

// dout * b * a^(b - 1), and 0 where b is 0 whatever a is
static nnl_tensor *pow_da(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    nnl_tensor *less = nnl_add_number(ctx, b, -1);
    nnl_tensor *power = less ? binary_op(ctx, NNL_BINARY_pow, a, less) : NULL;
    nnl_tensor_release(less);
    nnl_tensor *slope = mul_taking(ctx, power, b);
    return zero_where(ctx, compare_number(ctx, NNL_COMPARE_eq, b, 0), mul_taking(ctx, slope, dout));
}

// dout * a^b * log(a), and 0 where a is 0 and b is not negative
static nnl_tensor *pow_db(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    nnl_tensor *log_a = nnl_unary_op(ctx, NNL_UNARY_log, a, NULL);
    nnl_tensor *power = log_a ? binary_op(ctx, NNL_BINARY_pow, a, b) : NULL;
    nnl_tensor *slope = power ? mul_taking(ctx, log_a, power) : NULL;
    if (!power) nnl_tensor_release(log_a);
    nnl_tensor_release(power);
    nnl_tensor *no_base = compare_number(ctx, NNL_COMPARE_eq, a, 0);
    nnl_tensor *no_pole = compare_number(ctx, NNL_COMPARE_ge, b, 0);
    nnl_tensor *flat =
        no_base && no_pole ? nnl_compare_op(ctx, NNL_COMPARE_logical_and, no_base, no_pole) : NULL;
    nnl_tensor_release(no_base);
    nnl_tensor_release(no_pole);
    return zero_where(ctx, flat, mul_taking(ctx, slope, dout));
}

static nnl_status pow_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    return both_sides(ctx, node, dout, dx, pow_da, pow_db);
}

// The winner takes dout; a tie is shared in halves.
static nnl_tensor *winner_share(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *winner, nnl_tensor *other,
                                nnl_compare wins) {
    nnl_tensor *full = nnl_compare_op(ctx, wins, winner, other);
    nnl_tensor *tie = nnl_compare_op(ctx, NNL_COMPARE_eq, winner, other);
    nnl_tensor *half = tie ? nnl_mul_number(ctx, tie, 0.5) : NULL;
    nnl_tensor *share = full && half ? nnl_add(ctx, full, half) : NULL;
    nnl_tensor_release(full);
    nnl_tensor_release(tie);
    nnl_tensor_release(half);
    return mul_taking(ctx, share, dout);
}

static nnl_tensor *max_da(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    return winner_share(ctx, dout, a, b, NNL_COMPARE_gt);
}

static nnl_tensor *max_db(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    return winner_share(ctx, dout, b, a, NNL_COMPARE_gt);
}

static nnl_tensor *min_da(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    return winner_share(ctx, dout, a, b, NNL_COMPARE_lt);
}

static nnl_tensor *min_db(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    return winner_share(ctx, dout, b, a, NNL_COMPARE_lt);
}

static nnl_status maximum_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    return both_sides(ctx, node, dout, dx, max_da, max_db);
}

static nnl_status minimum_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    return both_sides(ctx, node, dout, dx, min_da, min_db);
}

static nnl_tensor *remainder_da(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    (void)ctx, (void)a, (void)b;
    return nnl_tensor_retain(dout);
}

// -dout * floor(a / b)
static nnl_tensor *remainder_db(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    nnl_tensor *quotient = binary_op(ctx, NNL_BINARY_floor_divide, a, b);
    nnl_tensor *minus = quotient ? negative(ctx, quotient) : NULL;
    nnl_tensor_release(quotient);
    return mul_taking(ctx, minus, dout);
}

static nnl_status remainder_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                     nnl_tensor **dx) {
    return both_sides(ctx, node, dout, dx, remainder_da, remainder_db);
}

// dout * other / (a^2 + b^2)
static nnl_tensor *angle_slope(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *other, nnl_tensor *a,
                               nnl_tensor *b) {
    nnl_tensor *aa = nnl_mul(ctx, a, a), *bb = nnl_mul(ctx, b, b);
    nnl_tensor *radius = aa && bb ? nnl_add(ctx, aa, bb) : NULL;
    nnl_tensor *slope = radius ? nnl_div(ctx, other, radius) : NULL;
    nnl_tensor_release(aa);
    nnl_tensor_release(bb);
    nnl_tensor_release(radius);
    return mul_taking(ctx, slope, dout);
}

static nnl_tensor *atan2_da(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    return angle_slope(ctx, dout, b, a, b);
}

static nnl_tensor *atan2_db(nnl_context *ctx, nnl_tensor *dout, nnl_tensor *a, nnl_tensor *b) {
    nnl_tensor *slope = angle_slope(ctx, dout, a, a, b);
    nnl_tensor *minus = slope ? negative(ctx, slope) : NULL;
    nnl_tensor_release(slope);
    return minus;
}

static nnl_status atan2_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    return both_sides(ctx, node, dout, dx, atan2_da, atan2_db);
}

static nnl_status floor_divide_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                        nnl_tensor **dx) {
    for (int i = 0; i < 2; i++) {
        if (!nnl_node_needs(node, i)) continue;
        dx[i] = nnl_mul_number(ctx, dout[0], 0);
        if (!dx[i]) return ctx->status;
    }
    return NNL_OK;
}

// ---- comparisons and tests

static nnl_status compare_forward(nnl_context *ctx, nnl_call *call) {
    nnl_shape shape;
    nnl_status status = check_operands(ctx, call);
    if (status == NNL_OK) status = operand_shape(ctx, call, &shape);
    if (status != NNL_OK) return status;
    const nnl_arg *a = &call->arg[0], *b = &call->arg[1];
    nnl_compute type = nnl_dtype_get(nnl_operands_dtype(a, b))->compute;
    nnl_compare_fn *fn = ctx->kernels->elementwise->compare[call->op->variant][type];
    nnl_tensor *number = NULL;
    if (a->is_number || b->is_number) {
        static const nnl_dtype native[NNL_COMPUTE_COUNT] = {NNL_FLOAT32, NNL_FLOAT64, NNL_INT64};
        number = nnl_tensor_new(ctx, native[type], &(nnl_shape){.ndim = 0});
        if (!number) return ctx->status;
        nnl_try_fill(number, a->is_number ? a->number : b->number);
    }
    call->out[0] = nnl_tensor_new(ctx, NNL_BOOL, &shape);
    if (call->out[0]) {
        nnl_apply_compare(call->out[0], a->is_number ? number : a->tensor, b->is_number ? number : b->tensor,
                          type, fn);
    }
    nnl_tensor_release(number);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_status test_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    call->out[0] = nnl_tensor_new(ctx, NNL_BOOL, &x->shape);
    if (!call->out[0]) return ctx->status;
    nnl_compute type = nnl_tensor_compute(x);
    nnl_apply_test(call->out[0], x, type, ctx->kernels->elementwise->test[call->op->variant][type]);
    return NNL_OK;
}

#define TWO(kind)                                                                                            \
    {"input", kind, false, 0, NULL}, { "other", kind, false, 0, NULL }

const nnl_op nnl_binary_records[] = {
#define BINARY(n, f, whole, text)                                                                            \
    {.name = #n,                                                                                             \
     .doc = text,                                                                                            \
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE,                                             \
     .outputs = 1,                                                                                           \
     .params = {TWO(NNL_ARG_OPERAND)},                                                                       \
     .forward = binary_forward,                                                                              \
     .quick = binary_quick,                                                                                  \
     .backward = n##_backward,                                                                               \
     .variant = NNL_BINARY_##n},
#include "kernel/ops.def"
#undef BINARY
    {.name = NULL},
};

const nnl_op nnl_compare_records[] = {
#define COMPARE(n, f, text)                                                                                  \
    {.name = #n,                                                                                             \
     .doc = text,                                                                                            \
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY,                                     \
     .outputs = 1,                                                                                           \
     .params = {TWO(NNL_ARG_VALUE)},                                                                         \
     .forward = compare_forward,                                                                             \
     .variant = NNL_COMPARE_##n},
#define TEST(n, f, whole, text)                                                                              \
    {.name = #n,                                                                                             \
     .doc = text,                                                                                            \
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION |                                                              \
              (NNL_TEST_##n == NNL_TEST_logical_not ? NNL_OP_IN_PLACE_BY_COPY : 0),                          \
     .outputs = 1,                                                                                           \
     .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL}},                                                  \
     .forward = test_forward,                                                                                \
     .variant = NNL_TEST_##n},
#include "kernel/ops.def"
#undef COMPARE
#undef TEST
    {.name = NULL},
};

static nnl_tensor *two_tensors(nnl_context *ctx, const nnl_op *op, nnl_tensor *a, nnl_tensor *b) {
    nnl_call call;
    nnl_call_init(&call, op);
    call.arg[0].tensor = a;
    call.arg[1].tensor = b;
    return nnl_call_result(ctx, &call);
}

static nnl_tensor *binary_op(nnl_context *ctx, nnl_binary kind, nnl_tensor *a, nnl_tensor *b) {
    return two_tensors(ctx, &nnl_binary_records[kind], a, b);
}

static nnl_tensor *with_number(nnl_context *ctx, nnl_binary kind, nnl_tensor *a, double b) {
    nnl_call call;
    nnl_call_init(&call, &nnl_binary_records[kind]);
    call.arg[0].tensor = a;
    call.arg[1].is_number = true;
    call.arg[1].number = nnl_number_float(b);
    return nnl_call_result(ctx, &call);
}

nnl_tensor *nnl_add(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    return binary_op(ctx, NNL_BINARY_add, a, b);
}
nnl_tensor *nnl_sub(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    return binary_op(ctx, NNL_BINARY_sub, a, b);
}
nnl_tensor *nnl_mul(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    return binary_op(ctx, NNL_BINARY_mul, a, b);
}
nnl_tensor *nnl_div(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b) {
    return binary_op(ctx, NNL_BINARY_div, a, b);
}

nnl_tensor *nnl_mul_number(nnl_context *ctx, nnl_tensor *a, double b) {
    return with_number(ctx, NNL_BINARY_mul, a, b);
}

nnl_tensor *nnl_add_number(nnl_context *ctx, nnl_tensor *a, double b) {
    return with_number(ctx, NNL_BINARY_add, a, b);
}

nnl_tensor *nnl_compare_op(nnl_context *ctx, nnl_compare kind, nnl_tensor *a, nnl_tensor *b) {
    return two_tensors(ctx, &nnl_compare_records[kind], a, b);
}
