// cross_entropy.c: cross entropy of classes, with the logarithm of softmax inside it, and of probabilities
// that are logarithms already. A row of logits x with a target distribution q (weights included) has the loss
// sum(q) * logsumexp(x) - q . x and the gradient sum(q) * softmax(x) - q; for a label q is one number.
#include "grad/records.h"
#include "tensor/apply.h"

#include <math.h>

#define PART_ELEMENTS 65536

typedef struct entropy_state {
    nnl_cross_entropy_options options;
    double divisor; // of the mean, 1 for other reductions
    bool dense;     // the target is a distribution
} entropy_state;

// Rows of C classes. All tensors are arrays of x's dtype, but labels.
typedef struct entropy {
    nnl_context *ctx;
    nnl_compute type;
    size_t rows, classes, part_rows;
    bool dense, log_probabilities;
    double smoothing;
    int64_t ignore_index;
    const char *x;
    const char *weight;    // of classes; NULL for 1
    const int64_t *labels; // from 1
    const char *target;    // distributions
    char *lse;             // logsumexp of each row, NULL for log-probabilities
    char *out;             // losses of the rows, or dx
    const char *dout;      // with step 0 one number
    size_t dout_step;
    double share; // of each row's gradient
} entropy;

static double real(nnl_compute type, const void *data, size_t i) {
    return type == NNL_IN_DOUBLE ? ((const double *)data)[i] : (double)((const float *)data)[i];
}

static void set_real(nnl_compute type, void *data, size_t i, double value) {
    if (type == NNL_IN_DOUBLE) ((double *)data)[i] = value;
    if (type == NNL_IN_FLOAT) ((float *)data)[i] = (float)value;
}

static size_t element_size(nnl_compute type) {
    return type == NNL_IN_DOUBLE ? sizeof(double) : sizeof(float);
}

static double class_weight(const entropy *e, size_t c) { return e->weight ? real(e->type, e->weight, c) : 1; }

static bool is_ignored(const entropy *e, size_t row) {
    return !e->dense && e->labels[row] == e->ignore_index;
}

static bool is_single(const entropy *e) { return !e->dense && e->smoothing == 0; }

// q of class c
static double share_of(const entropy *e, size_t row, size_t c) {
    double even = e->smoothing / (double)e->classes;
    if (e->dense) {
        double t = real(e->type, e->target, row * e->classes + c);
        return class_weight(e, c) * (t * (1 - e->smoothing) + even);
    }
    size_t label = (size_t)e->labels[row] - 1;
    return class_weight(e, c) * even + (c == label ? class_weight(e, c) * (1 - e->smoothing) : 0);
}

// Smoothed labels without weights: what each class has is the same but for the label's.
static bool is_smoothed(const entropy *e) { return !e->dense && !e->weight && e->smoothing > 0; }

static double row_total(const entropy *e, size_t row) {
    if (is_smoothed(e)) return 1;
    if (is_single(e)) return class_weight(e, (size_t)e->labels[row] - 1);
    double total = 0;
    for (size_t c = 0; c < e->classes; c++) total += share_of(e, row, c);
    return total;
}

// ---- forward

// The sum in eight lanes, which the compiler adds side by side.
static double row_sum(nnl_compute type, size_t n, const void *row) {
    double lane[8] = {0}, sum = 0;
    size_t c = 0;
    if (type == NNL_IN_DOUBLE) {
        const double *x = row;
        for (; c + 8 <= n; c += 8)
            for (size_t k = 0; k < 8; k++) lane[k] += x[c + k];
    } else {
        const float *x = row;
        for (; c + 8 <= n; c += 8)
            for (size_t k = 0; k < 8; k++) lane[k] += (double)x[c + k];
    }
    for (size_t k = 0; k < 8; k++) sum += lane[k];
    for (; c < n; c++) sum += real(type, row, c);
    return sum;
}

static double smoothed_loss(const entropy *e, const char *x, size_t label, double lse) {
    double even = e->smoothing / (double)e->classes, rest = 1 - e->smoothing;
    return lse - even * row_sum(e->type, e->classes, x) - (rest > 0 ? rest * real(e->type, x, label) : 0);
}

static double row_loss(const entropy *e, size_t row) {
    const char *x = e->x + row * e->classes * element_size(e->type);
    double lse = e->lse ? real(e->type, e->lse, row) : 0;
    if (is_single(e)) {
        size_t label = (size_t)e->labels[row] - 1;
        return class_weight(e, label) * (lse - real(e->type, x, label));
    }
    if (is_smoothed(e)) return smoothed_loss(e, x, (size_t)e->labels[row] - 1, lse);
    double loss = 0;
    for (size_t c = 0; c < e->classes; c++) {
        double q = share_of(e, row, c);
        if (q != 0) loss += q * (lse - real(e->type, x, c));
    }
    return loss;
}

static void forward_part(void *arg, size_t part) {
    const entropy *e = arg;
    size_t from = part * e->part_rows, to = from + e->part_rows < e->rows ? from + e->part_rows : e->rows;
    size_t element = element_size(e->type);
    if (e->lse) {
        e->ctx->kernels->rows->logsumexp[e->type](to - from, e->classes, e->lse + from * element,
                                                  e->x + from * e->classes * element);
    }
    for (size_t row = from; row < to; row++) {
        set_real(e->type, e->out, row, is_ignored(e, row) ? 0 : row_loss(e, row));
    }
}

static void run_rows(entropy *e, nnl_task *task) {
    e->part_rows = e->classes > 0 && e->classes < PART_ELEMENTS ? PART_ELEMENTS / e->classes : 1;
    nnl_pool_try(e->ctx->pool, (e->rows + e->part_rows - 1) / e->part_rows, task, e);
}

// ---- backward

// Each number times `by`, and `less` subtracted.
static void scale_row(nnl_compute type, size_t n, void *row, double by, double less) {
    if (type == NNL_IN_DOUBLE) {
        double *x = row;
        for (size_t c = 0; c < n; c++) x[c] = x[c] * by - less;
    } else {
        float *x = row, factor = (float)by, subtracted = (float)less;
        for (size_t c = 0; c < n; c++) x[c] = x[c] * factor - subtracted;
    }
}

// dx = g * (sum(q) * softmax(x) - q), the softmax, absent for log-probabilities, being there already
static void row_gradient(const entropy *e, size_t row, char *dx, double g) {
    bool smoothed = is_smoothed(e);
    double even = smoothed ? g * e->smoothing / (double)e->classes : 0;
    scale_row(e->type, e->classes, dx, e->lse ? g * row_total(e, row) : 0, even);
    if (smoothed || is_single(e)) {
        size_t label = (size_t)e->labels[row] - 1;
        double share = smoothed ? 1 - e->smoothing : class_weight(e, label);
        set_real(e->type, dx, label, real(e->type, dx, label) - g * share);
        return;
    }
    for (size_t c = 0; c < e->classes; c++) {
        set_real(e->type, dx, c, real(e->type, dx, c) - g * share_of(e, row, c));
    }
}

static void zero_row(const entropy *e, char *dx) {
    for (size_t c = 0; c < e->classes; c++) set_real(e->type, dx, c, 0);
}

static void backward_part(void *arg, size_t part) {
    const entropy *e = arg;
    size_t from = part * e->part_rows, to = from + e->part_rows < e->rows ? from + e->part_rows : e->rows;
    size_t bytes = e->classes * element_size(e->type);
    if (e->lse) {
        e->ctx->kernels->rows->softmax[e->type](to - from, e->classes, e->out + from * bytes,
                                                e->x + from * bytes);
    }
    for (size_t row = from; row < to; row++) {
        char *dx = e->out + row * bytes;
        if (!e->lse || is_ignored(e, row)) zero_row(e, dx);
        if (!is_ignored(e, row))
            row_gradient(e, row, dx, real(e->type, e->dout, row * e->dout_step) * e->share);
    }
}

// ---- the operation on rows

// Points the rows at the operands; lse and weight may be NULL.
static entropy rows_of(nnl_context *ctx, const entropy_state *state, nnl_tensor *x, nnl_tensor *target,
                       nnl_tensor *weight, nnl_tensor *lse) {
    return (entropy){.ctx = ctx,
                     .type = nnl_tensor_compute(x),
                     .rows = (size_t)x->shape.size[0],
                     .classes = (size_t)x->shape.size[1],
                     .dense = state->dense,
                     .smoothing = state->options.label_smoothing,
                     .ignore_index = state->options.ignore_index,
                     .x = nnl_tensor_data(x),
                     .weight = weight ? nnl_tensor_data(weight) : NULL,
                     .labels = state->dense ? NULL : nnl_tensor_data(target),
                     .target = state->dense ? nnl_tensor_data(target) : NULL,
                     .lse = lse ? nnl_tensor_data(lse) : NULL};
}

// What the mean divides by: the weights of the labels that count, or the number of distributions.
static double mean_divisor(const entropy *e) {
    double sum = 0;
    if (e->dense) return (double)e->rows;
    for (size_t row = 0; row < e->rows; row++) {
        if (!is_ignored(e, row)) sum += class_weight(e, (size_t)e->labels[row] - 1);
    }
    return sum;
}

static nnl_tensor *reduce_losses(nnl_context *ctx, entropy_state *state, const entropy *e,
                                 nnl_tensor *losses) {
    if (state->options.reduction == NNL_LOSS_NONE) return nnl_tensor_retain(losses);
    nnl_tensor *out = nnl_tensor_new(ctx, losses->dtype, &(nnl_shape){.ndim = 0});
    if (!out) return NULL;
    double sum = 0;
    for (size_t row = 0; row < e->rows; row++) sum += real(e->type, e->out, row);
    if (state->options.reduction == NNL_LOSS_MEAN) state->divisor = mean_divisor(e);
    set_real(e->type, nnl_tensor_data(out), 0, sum / state->divisor);
    return out;
}

static nnl_status entropy_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx);

static const nnl_op entropy_record = {.name = "cross_entropy", .outputs = 1, .backward = entropy_backward};

// x (R, C) and target (R) or (R, C), arrays.
static nnl_tensor *entropy_rows(nnl_context *ctx, entropy_state *state, nnl_tensor *x, nnl_tensor *target,
                                nnl_tensor *weight) {
    nnl_shape shape = {.ndim = 1, .size = {x->shape.size[0]}};
    bool logits = !state->options.log_probabilities;
    nnl_tensor *lse = logits ? nnl_tensor_new(ctx, x->dtype, &shape) : NULL, *out = NULL;
    nnl_tensor *losses = logits && !lse ? NULL : nnl_tensor_new(ctx, x->dtype, &shape);
    if (losses) {
        entropy e = rows_of(ctx, state, x, target, weight, lse);
        e.out = nnl_tensor_data(losses);
        run_rows(&e, forward_part);
        out = reduce_losses(ctx, state, &e, losses);
    }
    nnl_tensor_release(losses);
    nnl_status status = !out ? ctx->status
                             : nnl_record(ctx, &(nnl_recording){.op = &entropy_record,
                                                                .n_inputs = 1,
                                                                .inputs = &x,
                                                                .n_outputs = 1,
                                                                .outputs = &out,
                                                                .n_saved = 4,
                                                                .saved = {x, target, weight, lse},
                                                                .state = state,
                                                                .state_size = sizeof *state});
    nnl_tensor_release(lse);
    if (out && status == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// q of every row as a constant (R, C), zero where ignored; and its sums (R, 1).
static void fill_targets(const entropy *e, nnl_tensor *q, nnl_tensor *total) {
    for (size_t row = 0; row < e->rows; row++) {
        bool counts = !is_ignored(e, row);
        for (size_t c = 0; c < e->classes; c++) {
            double value = counts ? e->share * share_of(e, row, c) : 0;
            set_real(e->type, nnl_tensor_data(q), row * e->classes + c, value);
        }
        set_real(e->type, nnl_tensor_data(total), row, counts && e->lse ? e->share * row_total(e, row) : 0);
    }
}

// dx = dout * (total * softmax(x) - q), as operations that are recorded themselves.
static nnl_tensor *recorded_gradient(nnl_context *ctx, const entropy *e, nnl_tensor *x, nnl_tensor *dout) {
    nnl_shape column = {.ndim = 2, .size = {x->shape.size[0], 1}};
    nnl_tensor *q = nnl_tensor_new(ctx, x->dtype, &x->shape);
    nnl_tensor *total = q ? nnl_tensor_new(ctx, x->dtype, &column) : NULL;
    if (total) fill_targets(e, q, total);
    nnl_tensor *p = total ? nnl_softmax(ctx, x, 1) : NULL;
    nnl_tensor *scaled = p ? nnl_mul(ctx, p, total) : NULL;
    nnl_tensor *change = scaled ? nnl_sub(ctx, scaled, q) : NULL;
    nnl_tensor *seed = !change                ? NULL
                       : dout->shape.ndim > 0 ? nnl_reshape(ctx, dout, &column)
                                              : nnl_tensor_retain(dout);
    nnl_tensor *dx = seed ? nnl_mul(ctx, change, seed) : NULL;
    nnl_tensor *made[] = {q, total, p, scaled, change, seed};
    for (size_t k = 0; k < sizeof made / sizeof made[0]; k++) nnl_tensor_release(made[k]);
    return dx;
}

static nnl_tensor *plain_gradient(nnl_context *ctx, entropy *e, const nnl_tensor *x, nnl_tensor *dout) {
    nnl_tensor *seed = nnl_contiguous(ctx, dout);
    nnl_tensor *dx = seed ? nnl_tensor_new(ctx, x->dtype, &x->shape) : NULL;
    if (dx) {
        e->dout = nnl_tensor_data(seed);
        e->dout_step = dout->shape.ndim > 0 ? 1 : 0;
        e->out = nnl_tensor_data(dx);
        run_rows(e, backward_part);
    }
    nnl_tensor_release(seed);
    return dx;
}

static nnl_status entropy_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    const entropy_state *state = node->state;
    nnl_tensor *x = nnl_node_saved(node, 0);
    entropy e =
        rows_of(ctx, state, x, nnl_node_saved(node, 1), nnl_node_saved(node, 2), nnl_node_saved(node, 3));
    e.share = 1 / state->divisor;
    dx[0] = ctx->grad_enabled ? recorded_gradient(ctx, &e, x, dout[0]) : plain_gradient(ctx, &e, x, dout[0]);
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- shapes, labels and the classes as last dimension

static const char *who_of(const entropy_state *state) {
    return state->options.log_probabilities ? "nn.NLLLoss" : "nn.CrossEntropyLoss";
}

// The shape that labels must have: x's without the classes.
static nnl_shape label_shape(const nnl_shape *x) {
    nnl_shape shape = {.ndim = 0};
    for (int d = 0; d < x->ndim; d++) {
        if (d != 1 && x->ndim > 1) shape.size[shape.ndim++] = x->size[d];
    }
    return shape;
}

static nnl_status check_target(nnl_context *ctx, const entropy_state *state, const nnl_tensor *x,
                               const nnl_tensor *target) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT], c[NNL_SHAPE_TEXT];
    nnl_shape labels = label_shape(&x->shape);
    const char *who = who_of(state);
    if (!nnl_dtype_is_float(x->dtype) || x->shape.ndim < 1) {
        return nnl_fail(ctx, NNL_ERR_SHAPE,
                        "%s: expected a float prediction (N, C), (C) or (N, C, ...), got %s %s", who,
                        nnl_dtype_get(x->dtype)->name, nnl_shape_text(&x->shape, a));
    }
    if (state->dense && state->options.log_probabilities) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: labels are integers from 1 (int64), got %s", who,
                        nnl_dtype_get(target->dtype)->name);
    }
    if (nnl_shape_equal(state->dense ? &x->shape : &labels, &target->shape)) return NNL_OK;
    if (state->dense) {
        return nnl_fail(
            ctx, NNL_ERR_SHAPE,
            "%s: a target of %s means probabilities, of the prediction's shape %s, but has shape %s; labels "
            "are int64: convert them with long()",
            who, nnl_dtype_get(target->dtype)->name, nnl_shape_text(&x->shape, a),
            nnl_shape_text(&target->shape, b));
    }
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: a prediction of shape %s needs labels of shape %s, got %s", who,
                    nnl_shape_text(&x->shape, a), nnl_shape_text(&labels, b),
                    nnl_shape_text(&target->shape, c));
}

static nnl_status check_options(nnl_context *ctx, const entropy_state *state, int64_t classes,
                                const nnl_tensor *weight) {
    char text[NNL_SHAPE_TEXT];
    double smoothing = state->options.label_smoothing;
    if (!(smoothing >= 0 && smoothing <= 1)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: label_smoothing must be between 0 and 1, got %.14g",
                        who_of(state), smoothing);
    }
    if (weight && (weight->shape.ndim != 1 || weight->shape.size[0] != classes)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE,
                        "%s: weight must have one number for each of %lld classes, got shape %s",
                        who_of(state), (long long)classes, nnl_shape_text(&weight->shape, text));
    }
    return NNL_OK;
}

static nnl_status check_labels(nnl_context *ctx, const entropy_state *state, const nnl_tensor *labels,
                               int64_t classes) {
    const int64_t *label = nnl_tensor_data(labels);
    for (int64_t row = 0, n = nnl_tensor_numel(labels); row < n; row++) {
        if ((label[row] >= 1 && label[row] <= classes) || label[row] == state->options.ignore_index) continue;
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "%s: label %lld in row %lld is not within 1 to %lld, the classes counted from 1 "
                        "(nor %lld, which is ignored)",
                        who_of(state), (long long)label[row], (long long)row + 1, (long long)classes,
                        (long long)state->options.ignore_index);
    }
    return NNL_OK;
}

// (N, C, d ...) as (N * d ..., C), (C) as (1, C); contiguous, of this dtype, and still in the graph.
static nnl_tensor *as_rows(nnl_context *ctx, nnl_tensor *x, nnl_dtype dtype) {
    int order[NNL_MAX_DIMS], ndim = x->shape.ndim;
    int64_t classes = x->shape.size[ndim > 1 ? 1 : 0], numel = nnl_tensor_numel(x);
    nnl_shape rows = {.ndim = 2, .size = {classes > 0 ? numel / classes : 0, classes}};
    for (int d = 0; d < ndim; d++) order[d] = d == 0 ? 0 : d < ndim - 1 ? d + 1 : 1;
    nnl_tensor *typed = x->dtype == dtype ? nnl_tensor_retain(x) : nnl_to(ctx, x, dtype);
    nnl_tensor *last = !typed ? NULL : ndim > 2 ? nnl_permute(ctx, typed, order) : nnl_tensor_retain(typed);
    nnl_tensor *flat = !last ? NULL : ndim != 2 ? nnl_reshape(ctx, last, &rows) : nnl_tensor_retain(last);
    nnl_tensor *whole = flat ? nnl_contiguous(ctx, flat) : NULL;
    nnl_tensor_release(typed);
    nnl_tensor_release(last);
    nnl_tensor_release(flat);
    return whole;
}

// A contiguous constant: t itself where it is one.
static nnl_tensor *as_constant(nnl_context *ctx, nnl_tensor *t, nnl_dtype dtype) {
    if (t->dtype == dtype && nnl_tensor_is_contiguous(t)) return nnl_tensor_retain(t);
    nnl_tensor *copy = nnl_tensor_new(ctx, dtype, &t->shape);
    if (copy) nnl_try_copy(copy, t);
    return copy;
}

static nnl_status check_all(nnl_context *ctx, const entropy_state *state, const nnl_tensor *x,
                            const nnl_tensor *target, const nnl_tensor *weight) {
    nnl_status status = check_target(ctx, state, x, target);
    if (status != NNL_OK) return status;
    if (state->dense && nnl_grad_wanted(ctx, (nnl_tensor *const[]){(nnl_tensor *)target}, 1)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: the target cannot require a gradient; detach it",
                        who_of(state));
    }
    return check_options(ctx, state, x->shape.size[x->shape.ndim > 1 ? 1 : 0], weight);
}

nnl_tensor *nnl_cross_entropy(nnl_context *ctx, nnl_tensor *x, nnl_tensor *target, nnl_tensor *weight,
                              const nnl_cross_entropy_options *options) {
    entropy_state state = {.options = *options, .divisor = 1, .dense = nnl_dtype_is_float(target->dtype)};
    if (check_all(ctx, &state, x, target, weight) != NNL_OK) return NULL;
    nnl_dtype dtype = nnl_dtype_get(x->dtype)->native ? x->dtype : NNL_FLOAT32;
    nnl_tensor *rows = as_rows(ctx, x, dtype), *out = NULL, *w = NULL;
    nnl_tensor *t = !rows         ? NULL
                    : state.dense ? as_rows(ctx, target, dtype)
                                  : as_constant(ctx, target, NNL_INT64);
    if (t && weight) w = as_constant(ctx, weight, dtype);
    bool ready = t && (w || !weight);
    if (ready && !state.dense) ready = check_labels(ctx, &state, t, rows->shape.size[1]) == NNL_OK;
    if (ready) out = entropy_rows(ctx, &state, rows, t, w);
    nnl_tensor_release(rows);
    nnl_tensor_release(t);
    nnl_tensor_release(w);
    if (!out || options->reduction != NNL_LOSS_NONE || x->shape.ndim == 2) return out;
    nnl_shape shape = label_shape(&x->shape);
    nnl_tensor *shaped = nnl_reshape(ctx, out, &shape);
    nnl_tensor_release(out);
    return shaped;
}

// ---- nn.functional

static nnl_status entropy_forward(nnl_context *ctx, nnl_call *call) {
    nnl_cross_entropy_options options = {.reduction = (nnl_loss_reduction)call->arg[3].i,
                                         .ignore_index = call->arg[4].i,
                                         .log_probabilities = call->op->variant == 1};
    if (!options.log_probabilities) options.label_smoothing = call->arg[5].number.d;
    call->out[0] =
        nnl_cross_entropy(ctx, call->arg[0].tensor, call->arg[1].tensor, call->arg[2].tensor, &options);
    return call->out[0] ? NNL_OK : ctx->status;
}

#define COMMON                                                                                               \
    {"input", NNL_ARG_TENSOR, false, 0, NULL}, {"target", NNL_ARG_TENSOR, false, 0, NULL},                   \
        {"weight", NNL_ARG_TENSOR, true, 0, NULL}, {"reduction", NNL_ARG_CHOICE, true, 0, "mean sum none"},  \
    {                                                                                                        \
        "ignore_index", NNL_ARG_INT, true, -100, NULL                                                        \
    }

const nnl_op nnl_cross_entropy_records[] = {
    {.name = "cross_entropy",
     .doc = "of logits (N, C), (C) or (N, C, ...) and labels from 1, or probabilities of the same shape",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {COMMON, {"label_smoothing", NNL_ARG_NUMBER, true, 0, NULL}},
     .forward = entropy_forward},
    {.name = "nll_loss",
     .doc = "of logarithms of probabilities (N, C), (C) or (N, C, ...) and labels from 1",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {COMMON},
     .forward = entropy_forward,
     .variant = 1},
    {.name = NULL},
};
