// loss.c: losses of one prediction and one target at a time, over the POINTWISE_LOSS kernels of ops.def, with
// weights and reductions. Cross entropy of classes is in cross_entropy.c.
#include "grad/records.h"
#include "tensor/apply.h"

#include <string.h>

#define PART_ELEMENTS 65536

typedef struct loss_state {
    nnl_pointwise_loss kind;
    nnl_loss_reduction reduction;
    bool fixed_target; // with pos_weight, what is saved as target is not the target itself
    double p[1];       // of the kernels
} loss_state;

static const char *const loss_names[NNL_POINTWISE_LOSS_COUNT] = {
    [NNL_LOSS_mse] = "nn.MSELoss",
    [NNL_LOSS_l1] = "nn.L1Loss",
    [NNL_LOSS_bce] = "nn.BCELoss",
    [NNL_LOSS_bce_with_logits] = "nn.BCEWithLogitsLoss",
    [NNL_LOSS_smooth_l1] = "nn.SmoothL1Loss",
    [NNL_LOSS_huber] = "nn.HuberLoss",
    [NNL_LOSS_kl_div] = "nn.KLDivLoss",
    [NNL_LOSS_kl_div_log] = "nn.KLDivLoss",
    [NNL_LOSS_hinge] = "nn.HingeLoss",
};

// The operands as arrays of one compute type.
typedef struct operands {
    nnl_tensor *x, *target, *weight; // new; weight may be NULL
} operands;

static void operands_release(operands *o) {
    nnl_tensor_release(o->x);
    nnl_tensor_release(o->target);
    nnl_tensor_release(o->weight);
}

// ---- preparing

static nnl_status check_operands(nnl_context *ctx, nnl_pointwise_loss kind, const nnl_tensor *x,
                                 const nnl_tensor *target) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    if (!nnl_dtype_is_float(x->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected a prediction of a float dtype, got \"%s\"",
                        loss_names[kind], nnl_dtype_get(x->dtype)->name);
    }
    if (nnl_shape_equal(&x->shape, &target->shape)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected prediction and target of one shape, got %s and %s",
                    loss_names[kind], nnl_shape_text(&x->shape, a), nnl_shape_text(&target->shape, b));
}

static nnl_tensor *as_array(nnl_context *ctx, nnl_tensor *t, nnl_dtype dtype) {
    if (t->dtype == dtype) return nnl_contiguous(ctx, t);
    nnl_tensor *converted = nnl_to(ctx, t, dtype);
    nnl_tensor *whole = converted ? nnl_contiguous(ctx, converted) : NULL;
    nnl_tensor_release(converted);
    return whole;
}

// A constant of this shape and dtype; the values are broadcast.
static nnl_tensor *broadcast(nnl_context *ctx, const char *who, const char *name, const nnl_tensor *t,
                             const nnl_shape *shape, nnl_dtype dtype) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    if (!nnl_shape_broadcasts_to(&t->shape, shape)) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE, "%s: %s of shape %s does not fit a prediction of shape %s",
                             who, name, nnl_shape_text(&t->shape, a), nnl_shape_text(shape, b));
    }
    nnl_tensor *whole = nnl_tensor_new(ctx, dtype, shape);
    if (whole) nnl_try_copy(whole, t);
    return whole;
}

static nnl_status prepare(nnl_context *ctx, nnl_pointwise_loss kind, nnl_tensor *x, nnl_tensor *target,
                          nnl_tensor *weight, operands *o) {
    nnl_dtype dtype =
        nnl_dtype_promote(x->dtype, nnl_dtype_is_float(target->dtype) ? target->dtype : x->dtype);
    if (!nnl_dtype_get(dtype)->native) dtype = NNL_FLOAT32;
    o->x = as_array(ctx, x, dtype);
    o->target = o->x ? as_array(ctx, target, dtype) : NULL;
    if (!o->target) return ctx->status;
    if (weight) o->weight = broadcast(ctx, loss_names[kind], "weight", weight, &x->shape, dtype);
    return weight && !o->weight ? ctx->status : NNL_OK;
}

static double element(const nnl_tensor *t, int64_t i) {
    const void *data = nnl_tensor_data(t);
    return t->dtype == NNL_FLOAT64 ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static void set_element(const nnl_tensor *t, int64_t i, double value) {
    void *data = nnl_tensor_data(t);
    if (t->dtype == NNL_FLOAT64) ((double *)data)[i] = value;
    if (t->dtype == NNL_FLOAT32) ((float *)data)[i] = (float)value;
}

// With p for pos_weight: -(p t log s(x) + (1 - t) log s(-x)) = u (softplus(x) - (p t / u) x), u = p t + 1 -
// t: the loss without it, for another target and weight.
static nnl_status fold_pos_weight(nnl_context *ctx, nnl_tensor *pos_weight, operands *o) {
    const nnl_shape *shape = &o->x->shape;
    nnl_dtype dtype = o->x->dtype;
    nnl_tensor *p =
        broadcast(ctx, loss_names[NNL_LOSS_bce_with_logits], "pos_weight", pos_weight, shape, dtype);
    nnl_tensor *target = p ? nnl_tensor_new(ctx, dtype, shape) : NULL;
    for (int64_t i = 0, n = target ? nnl_tensor_numel(target) : 0; i < n; i++) {
        double t = element(o->target, i), positive = element(p, i) * t, u = positive + 1 - t;
        set_element(target, i, u != 0 ? positive / u : 0);
        set_element(p, i, o->weight ? u * element(o->weight, i) : u);
    }
    if (!target) {
        nnl_tensor_release(p);
        return ctx->status;
    }
    nnl_tensor_release(o->target);
    nnl_tensor_release(o->weight);
    o->target = target;
    o->weight = p;
    return NNL_OK;
}

// ---- forward

typedef struct summing {
    nnl_loss_sum_fn *kernel;
    const operands *o;
    size_t numel, element;
    const double *p;
    char *sums; // one for each part
} summing;

static const void *at(const nnl_tensor *t, size_t bytes) {
    return t ? (const char *)nnl_tensor_data(t) + bytes : NULL;
}

static void sum_part(void *arg, size_t part) {
    const summing *s = arg;
    size_t from = part * PART_ELEMENTS, left = s->numel - from, bytes = from * s->element;
    s->kernel(left < PART_ELEMENTS ? left : PART_ELEMENTS, s->sums + part * s->element, at(s->o->x, bytes),
              at(s->o->target, bytes), at(s->o->weight, bytes), s->p);
}

// Parts are cut by size and added in order: the same bits for any number of threads.
static nnl_status sum_all(nnl_context *ctx, const loss_state *state, const operands *o, nnl_tensor *out) {
    summing s = {.kernel = ctx->kernels->loss->sum[state->kind][nnl_tensor_compute(o->x)],
                 .p = state->p,
                 .o = o,
                 .numel = (size_t)nnl_tensor_numel(o->x),
                 .element = nnl_dtype_size(o->x->dtype),
                 .sums = nnl_tensor_data(out)};
    size_t parts = (s.numel + PART_ELEMENTS - 1) / PART_ELEMENTS;
    if (parts <= 1) {
        s.kernel(s.numel, s.sums, at(o->x, 0), at(o->target, 0), at(o->weight, 0), s.p);
        return NNL_OK;
    }
    nnl_tensor *sums = nnl_tensor_new(ctx, o->x->dtype, &(nnl_shape){1, {(int64_t)parts}});
    if (!sums) return ctx->status;
    s.sums = nnl_tensor_data(sums);
    nnl_pool_try(ctx->pool, parts, sum_part, &s);
    double total = 0;
    for (size_t k = 0; k < parts; k++) total += element(sums, (int64_t)k);
    set_element(out, 0, total);
    nnl_tensor_release(sums);
    return NNL_OK;
}

static void multiply(nnl_tensor *out, const nnl_tensor *by) {
    nnl_compute type = nnl_tensor_compute(out);
    nnl_apply_binary(out, out, by, type, NNL_BINARY_mul);
}

// What the sum of the losses is divided by.
static double divisor(nnl_loss_reduction reduction, const nnl_tensor *x) {
    if (reduction == NNL_LOSS_MEAN) return (double)nnl_tensor_numel(x);
    return reduction == NNL_LOSS_BATCH_MEAN && x->shape.ndim > 0 ? (double)x->shape.size[0] : 1;
}

static nnl_status compute(nnl_context *ctx, const loss_state *state, const operands *o, nnl_tensor *out) {
    if (state->reduction == NNL_LOSS_NONE) {
        ctx->kernels->loss->each[state->kind][nnl_tensor_compute(o->x)](
            (size_t)nnl_tensor_numel(o->x), nnl_tensor_data(out), nnl_tensor_data(o->x),
            nnl_tensor_data(o->target), state->p);
        if (o->weight) multiply(out, o->weight);
        return NNL_OK;
    }
    nnl_status status = sum_all(ctx, state, o, out);
    if (status == NNL_OK && state->reduction != NNL_LOSS_SUM)
        set_element(out, 0, element(out, 0) / divisor(state->reduction, o->x));
    return status;
}

static nnl_status loss_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op loss_record = {.name = "loss", .outputs = 1, .backward = loss_backward};

static nnl_status record_loss(nnl_context *ctx, const loss_state *state, nnl_tensor *target,
                              const operands *o, nnl_tensor *out) {
    nnl_tensor *inputs[] = {o->x, target};
    if (!nnl_grad_wanted(ctx, inputs, 2)) return NNL_OK;
    if (state->fixed_target && nnl_requires_grad(target)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "nn.BCEWithLogitsLoss: with pos_weight the target cannot require a gradient");
    }
    return nnl_record(ctx, &(nnl_recording){.op = &loss_record,
                                            .n_inputs = 2,
                                            .inputs = inputs,
                                            .n_outputs = 1,
                                            .outputs = &out,
                                            .n_saved = 3,
                                            .saved = {o->x, o->target, o->weight},
                                            .state = state,
                                            .state_size = sizeof *state});
}

nnl_tensor *nnl_pointwise_loss_op(nnl_context *ctx, nnl_pointwise_loss kind, nnl_tensor *x,
                                  nnl_tensor *target, const nnl_pointwise_options *options) {
    nnl_tensor *weight = options->weight, *pos_weight = options->pos_weight;
    nnl_loss_reduction reduction = options->reduction;
    static const nnl_shape scalar = {.ndim = 0};
    if (check_operands(ctx, kind, x, target) != NNL_OK) return NULL;
    loss_state state = {kind, reduction, pos_weight != NULL, {options->p}};
    operands o = {NULL, NULL, NULL};
    nnl_tensor *out = NULL, *given = NULL;
    nnl_status status = prepare(ctx, kind, x, target, weight, &o);
    if (status == NNL_OK) given = nnl_tensor_retain(o.target);
    if (status == NNL_OK && pos_weight) status = fold_pos_weight(ctx, pos_weight, &o);
    if (status == NNL_OK)
        out = nnl_tensor_new(ctx, o.x->dtype, reduction == NNL_LOSS_NONE ? &o.x->shape : &scalar);
    status = out ? compute(ctx, &state, &o, out) : ctx->status;
    if (out && status == NNL_OK) status = record_loss(ctx, &state, given, &o, out);
    nnl_tensor_release(given);
    operands_release(&o);
    if (out && status == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// ---- backward

// dout as the kernels take it: one number, or one for each element where there are weights or no reduction.
static nnl_tensor *seed_of(nnl_context *ctx, const loss_state *state, nnl_tensor *dout, nnl_tensor *x,
                           nnl_tensor *weight) {
    if (state->reduction == NNL_LOSS_NONE && !weight) return nnl_contiguous(ctx, dout);
    nnl_tensor *seed = nnl_tensor_new(ctx, x->dtype, weight ? &x->shape : &dout->shape);
    if (!seed) return NULL;
    nnl_try_copy(seed, dout);
    if (weight) multiply(seed, weight);
    double by = divisor(state->reduction, x);
    if (by == 1) return seed;
    nnl_compute type = nnl_tensor_compute(seed);
    nnl_apply_binary_number(seed, seed, nnl_number_float(by), false, type, NNL_BINARY_div);
    return seed;
}

typedef struct deriving {
    nnl_loss_grad_fn *kernel;
    size_t numel, element, step;
    const double *p;
    const nnl_tensor *seed, *x, *target;
    nnl_tensor *dx;
} deriving;

static void derive_part(void *arg, size_t part) {
    const deriving *d = arg;
    size_t from = part * PART_ELEMENTS, left = d->numel - from, bytes = from * d->element;
    d->kernel(left < PART_ELEMENTS ? left : PART_ELEMENTS, (char *)nnl_tensor_data(d->dx) + bytes,
              at(d->seed, bytes * d->step), d->step, at(d->x, bytes), at(d->target, bytes), d->p);
}

static nnl_tensor *derivative(nnl_context *ctx, nnl_loss_grad_fn *kernel, const double *p,
                              const nnl_tensor *seed, const nnl_tensor *x, const nnl_tensor *target) {
    nnl_tensor *dx = nnl_tensor_new(ctx, x->dtype, &x->shape);
    if (!dx) return NULL;
    deriving d = {.kernel = kernel,
                  .p = p,
                  .numel = (size_t)nnl_tensor_numel(x),
                  .element = nnl_dtype_size(x->dtype),
                  .step = seed->shape.ndim > 0 ? 1 : 0,
                  .seed = seed,
                  .x = x,
                  .target = target,
                  .dx = dx};
    nnl_pool_try(ctx->pool, (d.numel + PART_ELEMENTS - 1) / PART_ELEMENTS, derive_part, &d);
    return dx;
}

// ---- the derivative of each kind as a composition, for walks that are themselves recorded: it depends on
// the prediction x. The target and p are constants.

static nnl_tensor *bce_slope(nnl_context *ctx, nnl_tensor *x, nnl_tensor *target) {
    nnl_tensor *difference = nnl_sub(ctx, x, target), *square = nnl_mul(ctx, x, x);
    nnl_tensor *variance = square ? nnl_sub(ctx, x, square) : NULL;
    nnl_tensor *slope = difference && variance ? nnl_div(ctx, difference, variance) : NULL;
    nnl_tensor_release(difference);
    nnl_tensor_release(square);
    nnl_tensor_release(variance);
    return slope;
}

// min(max(x - target, -limit), limit) / scale
static nnl_tensor *clamped_slope(nnl_context *ctx, nnl_tensor *x, nnl_tensor *target, double limit,
                                 double scale) {
    const double bounds[2] = {-limit, limit};
    nnl_tensor *difference = nnl_sub(ctx, x, target);
    nnl_tensor *clamped = difference ? nnl_unary_op(ctx, NNL_UNARY_clamp, difference, bounds) : NULL;
    nnl_tensor *slope = clamped ? nnl_mul_number(ctx, clamped, 1 / scale) : NULL;
    nnl_tensor_release(difference);
    nnl_tensor_release(clamped);
    return slope;
}

// The function of x - target, or of sigmoid(x) - target, that is the slope.
static nnl_tensor *difference_slope(nnl_context *ctx, nnl_pointwise_loss kind, nnl_tensor *x,
                                    nnl_tensor *target) {
    bool logits = kind == NNL_LOSS_bce_with_logits;
    nnl_tensor *y = logits ? nnl_unary_op(ctx, NNL_UNARY_sigmoid, x, NULL) : nnl_tensor_retain(x);
    nnl_tensor *difference = y ? nnl_sub(ctx, y, target) : NULL;
    nnl_tensor_release(y);
    if (!difference || logits) return difference;
    nnl_tensor *slope = kind == NNL_LOSS_mse ? nnl_mul_number(ctx, difference, 2)
                                             : nnl_unary_op(ctx, NNL_UNARY_sign, difference, NULL);
    nnl_tensor_release(difference);
    return slope;
}

// -y where target * x < 1, else 0
static nnl_tensor *hinge_slope(nnl_context *ctx, nnl_tensor *x, nnl_tensor *target, nnl_tensor *y) {
    nnl_tensor *product = nnl_mul(ctx, x, target),
               *one = nnl_tensor_new(ctx, x->dtype, &(nnl_shape){.ndim = 0});
    if (one) nnl_try_fill(one, nnl_number_int(1));
    nnl_tensor *below = product && one ? nnl_compare_op(ctx, NNL_COMPARE_lt, product, one) : NULL;
    nnl_tensor *chosen = below ? nnl_mul(ctx, y, below) : NULL;
    nnl_tensor *slope = chosen ? nnl_unary_op(ctx, NNL_UNARY_neg, chosen, NULL) : NULL;
    nnl_tensor *made[] = {product, one, below, chosen};
    for (int k = 0; k < 4; k++) nnl_tensor_release(made[k]);
    return slope;
}

// -p, p the target's probabilities
static nnl_tensor *divergence_slope(nnl_context *ctx, nnl_tensor *target, bool logarithms) {
    nnl_tensor *p = logarithms ? nnl_unary_op(ctx, NNL_UNARY_exp, target, NULL) : nnl_tensor_retain(target);
    nnl_tensor *slope = p ? nnl_unary_op(ctx, NNL_UNARY_neg, p, NULL) : NULL;
    nnl_tensor_release(p);
    return slope;
}

// log(p) - x + 1, times p where the target is logarithms
static nnl_tensor *divergence_target_slope(nnl_context *ctx, nnl_tensor *x, nnl_tensor *target,
                                           bool logarithms) {
    nnl_tensor *log = logarithms ? nnl_tensor_retain(target) : nnl_unary_op(ctx, NNL_UNARY_log, target, NULL);
    nnl_tensor *difference = log ? nnl_sub(ctx, log, x) : NULL;
    nnl_tensor *rise = difference ? nnl_add_number(ctx, difference, 1) : NULL;
    nnl_tensor *p = rise && logarithms ? nnl_unary_op(ctx, NNL_UNARY_exp, target, NULL) : NULL;
    nnl_tensor *slope = p ? nnl_mul(ctx, rise, p) : logarithms ? NULL : nnl_tensor_retain(rise);
    nnl_tensor *made[] = {log, difference, rise, p};
    for (int k = 0; k < 4; k++) nnl_tensor_release(made[k]);
    return slope;
}

static nnl_tensor *slope_of(nnl_context *ctx, const loss_state *state, nnl_tensor *x, nnl_tensor *target) {
    switch (state->kind) {
    case NNL_LOSS_bce:
        return bce_slope(ctx, x, target);
    case NNL_LOSS_smooth_l1:
        if (state->p[0] == 0) return difference_slope(ctx, NNL_LOSS_l1, x, target);
        return clamped_slope(ctx, x, target, state->p[0], state->p[0]);
    case NNL_LOSS_huber:
        return clamped_slope(ctx, x, target, state->p[0], 1);
    case NNL_LOSS_kl_div:
    case NNL_LOSS_kl_div_log:
        return divergence_slope(ctx, target, state->kind == NNL_LOSS_kl_div_log);
    case NNL_LOSS_hinge:
        return hinge_slope(ctx, x, target, target);
    default:
        return difference_slope(ctx, state->kind, x, target);
    }
}

// log(x) with regard to a limit that the losses of probabilities have.
static nnl_tensor *limited_log(nnl_context *ctx, nnl_tensor *x) {
    static const double limits[2] = {-100, 0}; // a probability's logarithm is not above 0
    nnl_tensor *log = nnl_unary_op(ctx, NNL_UNARY_log, x, NULL);
    nnl_tensor *limited = log ? nnl_unary_op(ctx, NNL_UNARY_clamp, log, limits) : NULL;
    nnl_tensor_release(log);
    return limited;
}

static nnl_tensor *bce_target_slope(nnl_context *ctx, nnl_tensor *x) {
    nnl_tensor *minus = nnl_unary_op(ctx, NNL_UNARY_neg, x, NULL);
    nnl_tensor *rest = minus ? nnl_add_number(ctx, minus, 1) : NULL;
    nnl_tensor *a = rest ? limited_log(ctx, rest) : NULL, *b = a ? limited_log(ctx, x) : NULL;
    nnl_tensor *out = b ? nnl_sub(ctx, a, b) : NULL, *made[] = {minus, rest, a, b};
    for (int k = 0; k < 4; k++) nnl_tensor_release(made[k]);
    return out;
}

// The same with regard to the target: log(1 - x) - log(x) for probabilities, -x for logits; for functions of
// the difference the negative.
static nnl_tensor *target_slope(nnl_context *ctx, const loss_state *state, nnl_tensor *x,
                                nnl_tensor *target) {
    switch (state->kind) {
    case NNL_LOSS_bce:
        return bce_target_slope(ctx, x);
    case NNL_LOSS_bce_with_logits:
        return nnl_unary_op(ctx, NNL_UNARY_neg, x, NULL);
    case NNL_LOSS_kl_div:
    case NNL_LOSS_kl_div_log:
        return divergence_target_slope(ctx, x, target, state->kind == NNL_LOSS_kl_div_log);
    case NNL_LOSS_hinge:
        return hinge_slope(ctx, x, target, x);
    default:
        break;
    }
    nnl_tensor *rise = slope_of(ctx, state, x, target);
    nnl_tensor *fall = rise ? nnl_unary_op(ctx, NNL_UNARY_neg, rise, NULL) : NULL;
    nnl_tensor_release(rise);
    return fall;
}

// dout * weight * rise (/ n). Takes rise; NULL goes through.
static nnl_tensor *scaled_rise(nnl_context *ctx, nnl_tensor *rise, nnl_tensor *weight, double share,
                               nnl_tensor *dout) {
    nnl_tensor *weighted = rise ? (weight ? nnl_mul(ctx, rise, weight) : nnl_tensor_retain(rise)) : NULL;
    nnl_tensor *shared = weighted ? nnl_mul_number(ctx, weighted, share) : NULL;
    nnl_tensor *out = shared ? nnl_mul(ctx, shared, dout) : NULL;
    nnl_tensor_release(rise);
    nnl_tensor_release(weighted);
    nnl_tensor_release(shared);
    return out;
}

static nnl_status recorded_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *dout, nnl_tensor **dx) {
    const loss_state *state = node->state;
    nnl_tensor *x = nnl_node_saved(node, 0), *target = nnl_node_saved(node, 1),
               *weight = nnl_node_saved(node, 2);
    double share = 1 / divisor(state->reduction, x);
    if (nnl_node_needs(node, 0)) {
        dx[0] = scaled_rise(ctx, slope_of(ctx, state, x, target), weight, share, dout);
        if (!dx[0]) return ctx->status;
    }
    if (!nnl_node_needs(node, 1)) return NNL_OK;
    dx[1] = scaled_rise(ctx, target_slope(ctx, state, x, target), weight, share, dout);
    return dx[1] ? NNL_OK : ctx->status;
}

// dx = dout * weight * df/dx (/ n)
static nnl_status loss_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    if (ctx->grad_enabled) return recorded_backward(ctx, node, dout[0], dx);
    const loss_state *state = node->state;
    nnl_tensor *x = nnl_node_saved(node, 0), *target = nnl_node_saved(node, 1);
    nnl_compute type = nnl_tensor_compute(x);
    nnl_tensor *seed = seed_of(ctx, state, dout[0], x, nnl_node_saved(node, 2));
    if (!seed) return ctx->status;
    const nnl_loss_kernels *kernels = ctx->kernels->loss;
    if (nnl_node_needs(node, 0))
        dx[0] = derivative(ctx, kernels->grad[state->kind][type], state->p, seed, x, target);
    if (nnl_node_needs(node, 1))
        dx[1] = derivative(ctx, kernels->target_grad[state->kind][type], state->p, seed, x, target);
    nnl_tensor_release(seed);
    bool failed = (nnl_node_needs(node, 0) && !dx[0]) || (nnl_node_needs(node, 1) && !dx[1]);
    return failed ? ctx->status : NNL_OK;
}

// ---- nn.functional

// By name: weight, pos_weight, reduction; a number is the kernels' own, log_target picks another kind.
static nnl_status loss_forward(nnl_context *ctx, nnl_call *call) {
    nnl_pointwise_loss kind = (nnl_pointwise_loss)call->op->variant;
    nnl_pointwise_options options = {.reduction = NNL_LOSS_MEAN};
    for (int i = 2; i < NNL_MAX_ARGS && call->op->params[i].kind != NNL_ARG_END; i++) {
        const nnl_arg *arg = &call->arg[i];
        const char *name = call->op->params[i].name;
        if (strcmp(name, "weight") == 0) options.weight = arg->tensor;
        if (strcmp(name, "pos_weight") == 0) options.pos_weight = arg->tensor;
        if (strcmp(name, "reduction") == 0) options.reduction = (nnl_loss_reduction)arg->i;
        if (call->op->params[i].kind == NNL_ARG_NUMBER) options.p = arg->number.d;
        if (strcmp(name, "log_target") == 0 && arg->flag) kind = NNL_LOSS_kl_div_log;
    }
    call->out[0] = nnl_pointwise_loss_op(ctx, kind, call->arg[0].tensor, call->arg[1].tensor, &options);
    return call->out[0] ? NNL_OK : ctx->status;
}

#define TENSOR(name, optional)                                                                               \
    { name, NNL_ARG_TENSOR, optional, 0, NULL }
#define NUMBER(name, value)                                                                                  \
    { name, NNL_ARG_NUMBER, true, value, NULL }
#define REDUCTION                                                                                            \
    { "reduction", NNL_ARG_CHOICE, true, 0, "mean sum none" }
#define LOSS(n, kind, text, ...)                                                                             \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_FUNCTIONAL, .outputs = 1,                                    \
        .params = {TENSOR("input", false), TENSOR("target", false), __VA_ARGS__}, .forward = loss_forward,   \
        .variant = NNL_LOSS_##kind                                                                           \
    }

const nnl_op nnl_loss_records[] = {
    LOSS("mse_loss", mse, "squared error", REDUCTION),
    LOSS("l1_loss", l1, "absolute error", REDUCTION),
    LOSS("binary_cross_entropy", bce, "of probabilities, logarithms not below -100", TENSOR("weight", true),
         REDUCTION),
    LOSS("binary_cross_entropy_with_logits", bce_with_logits, "stable for any logits", TENSOR("weight", true),
         TENSOR("pos_weight", true), REDUCTION),
    LOSS("smooth_l1_loss", smooth_l1, "squared below beta, linear above", NUMBER("beta", 1), REDUCTION),
    LOSS("huber_loss", huber, "squared up to delta, linear above (Huber 1964)", NUMBER("delta", 1),
         REDUCTION),
    LOSS("kl_div", kl_div, "divergence of target from exp(input); target logarithms too with log_target",
         {"reduction", NNL_ARG_CHOICE, true, 0, "mean sum none batchmean"},
         {"log_target", NNL_ARG_BOOL, true, 0, NULL}),
    LOSS("hinge_loss", hinge, "max(0, 1 - target * input), target 1 or -1", REDUCTION),
    {.name = NULL},
};
