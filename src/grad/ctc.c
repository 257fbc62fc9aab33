// ctc.c: connectionist temporal classification (Graves et al. 2006): minus the logarithm of the probability
// of all paths that read as the target once repeated labels are merged and blanks dropped. Forward and
// backward variables run over the target with a blank before, between and behind its labels, as logarithms in
// double.
#include "grad/records.h"

#include <math.h>

// One sequence.
typedef struct sequence {
    const char *log_probs; // (T, C)
    const int64_t *labels;
    int64_t steps, count; // T, and how many labels
} sequence;

typedef struct ctc {
    nnl_context *ctx;
    nnl_tensor *log_probs; // (N, T, C), contiguous, of a native dtype
    int64_t N, T, C, longest, blank;
    bool single; // given without N
    sequence *sequences;
    nnl_tensor *loss;     // (N), float64
    nnl_tensor *gradient; // of each loss by log_probs, or NULL where none is wanted
    double *room;         // of each sequence: 2 T L + L numbers
    size_t room_each;
} ctc;

static double value(const nnl_tensor *t, const char *row, int64_t c) {
    return t->dtype == NNL_FLOAT64 ? ((const double *)(const void *)row)[c]
                                   : (double)((const float *)(const void *)row)[c];
}

static void add_value(const nnl_tensor *t, int64_t at, double x) {
    void *data = nnl_tensor_data(t);
    if (t->dtype == NNL_FLOAT64) ((double *)data)[at] += x;
    if (t->dtype == NNL_FLOAT32) ((float *)data)[at] += (float)x;
}

static double log_sum(double a, double b) {
    double high = a > b ? a : b, low = a > b ? b : a;
    return high == -INFINITY ? high : high + log1p(exp(low - high));
}

// The label at place s of the target with blanks, from 0.
static int64_t label_at(const ctc *c, const sequence *q, int64_t s) {
    return (s & 1 ? q->labels[s / 2] : c->blank) - 1;
}

// Whether a path may go from s - 2 to s without the blank between: not between equal labels.
static bool may_skip(const ctc *c, const sequence *q, int64_t s) {
    return (s & 1) && s >= 2 && label_at(c, q, s) != label_at(c, q, s - 2);
}

static double log_prob(const ctc *c, const sequence *q, int64_t t, int64_t s) {
    size_t row = (size_t)c->C * nnl_dtype_size(c->log_probs->dtype);
    return value(c->log_probs, q->log_probs + (size_t)t * row, label_at(c, q, s));
}

// alpha[t][s]: all beginnings of paths that are at s at time t
static void run_forward(const ctc *c, const sequence *q, double *alpha) {
    int64_t L = 2 * q->count + 1;
    for (int64_t s = 0; s < L; s++) alpha[s] = s < 2 ? log_prob(c, q, 0, s) : -INFINITY;
    for (int64_t t = 1; t < q->steps; t++) {
        const double *before = alpha + (t - 1) * L;
        double *now = alpha + t * L;
        for (int64_t s = 0; s < L; s++) {
            double sum = before[s];
            if (s > 0) sum = log_sum(sum, before[s - 1]);
            if (may_skip(c, q, s)) sum = log_sum(sum, before[s - 2]);
            now[s] = sum + log_prob(c, q, t, s);
        }
    }
}

// The sum over both ends: the last label, or the blank behind it.
static double path_sum(const ctc *c, const sequence *q, const double *alpha) {
    int64_t L = 2 * q->count + 1;
    if (q->steps == 0) return q->count == 0 ? 0 : -INFINITY;
    (void)c;
    const double *last = alpha + (q->steps - 1) * L;
    return L > 1 ? log_sum(last[L - 1], last[L - 2]) : last[0];
}

// One step of the backward variables, which leave out the time they stand at: beta[s] from those of the next.
static void step_back(const ctc *c, const sequence *q, int64_t t, const double *next, double *beta) {
    int64_t L = 2 * q->count + 1;
    for (int64_t s = 0; s < L; s++) {
        double sum = next[s] + log_prob(c, q, t + 1, s);
        if (s + 1 < L) sum = log_sum(sum, next[s + 1] + log_prob(c, q, t + 1, s + 1));
        if (s + 2 < L && may_skip(c, q, s + 2))
            sum = log_sum(sum, next[s + 2] + log_prob(c, q, t + 1, s + 2));
        beta[s] = sum;
    }
}

// d loss / d log_prob[t][k] = -sum of exp(alpha + beta - log p) over the places with label k
static void fill_gradient(const ctc *c, const sequence *q, int64_t n, const double *alpha, double *beta,
                          double total) {
    int64_t L = 2 * q->count + 1;
    double *row[2] = {beta, beta + L};
    for (int64_t s = 0; s < L; s++) row[0][s] = s >= L - 2 ? 0 : -INFINITY;
    for (int64_t t = q->steps - 1; t >= 0; t--) {
        for (int64_t s = 0; s < L; s++) {
            int64_t at = (n * c->T + t) * c->C + label_at(c, q, s);
            add_value(c->gradient, at, -exp(alpha[t * L + s] + row[0][s] - total));
        }
        if (t == 0) break;
        step_back(c, q, t - 1, row[0], row[1]);
        double *swapped = row[0];
        row[0] = row[1];
        row[1] = swapped;
    }
}

static void run_sequence(void *arg, size_t part) {
    const ctc *c = arg;
    int64_t n = (int64_t)part;
    const sequence *q = &c->sequences[n];
    double *alpha = c->room + part * c->room_each;
    if (q->steps > 0) run_forward(c, q, alpha);
    double total = path_sum(c, q, alpha);
    ((double *)nnl_tensor_data(c->loss))[n] = total == 0 ? 0 : -total;
    if (c->gradient && q->steps > 0)
        fill_gradient(c, q, n, alpha, alpha + q->steps * (2 * q->count + 1), total);
}

// ---- arguments

static nnl_status read_sizes(ctc *c, const nnl_tensor *x) {
    char text[NNL_SHAPE_TEXT];
    c->single = x->shape.ndim == 2;
    if (!nnl_dtype_is_float(x->dtype) || (x->shape.ndim != 3 && !c->single)) {
        return nnl_fail(
            c->ctx, NNL_ERR_SHAPE,
            "nn.CTCLoss: expected logarithms of probabilities (N, T, C) of a float dtype, got %s of %s",
            nnl_shape_text(&x->shape, text), nnl_dtype_get(x->dtype)->name);
    }
    const int64_t *size = x->shape.size;
    c->N = c->single ? 1 : size[0];
    c->T = c->single ? size[0] : size[1];
    c->C = c->single ? size[1] : size[2];
    if (c->blank >= 1 && c->blank <= c->C) return NNL_OK;
    return nnl_fail(c->ctx, NNL_ERR_ARGUMENT, "nn.CTCLoss: blank: expected a class from 1 to %lld, got %lld",
                    (long long)c->C, (long long)c->blank);
}

// (N) int64, contiguous; all of `whole` where none is given. New.
static nnl_tensor *lengths_of(const ctc *c, const char *name, nnl_tensor *given, int64_t whole) {
    char text[NNL_SHAPE_TEXT];
    nnl_shape shape = {1, {c->N}};
    nnl_tensor *lengths = nnl_tensor_new(c->ctx, NNL_INT64, &shape);
    if (!lengths) return NULL;
    bool fits = !given || nnl_shape_equal(&given->shape, &shape) || (c->N == 1 && given->shape.ndim == 0);
    if (given && (!fits || nnl_dtype_get(given->dtype)->kind != NNL_KIND_INT)) {
        nnl_fail(c->ctx, NNL_ERR_SHAPE, "nn.CTCLoss: %s: expected (%lld) of int64, got %s of %s", name,
                 (long long)c->N, nnl_shape_text(&given->shape, text), nnl_dtype_get(given->dtype)->name);
        nnl_tensor_release(lengths);
        return NULL;
    }
    if (given) nnl_try_copy(lengths, given);
    if (!given) nnl_try_fill(lengths, nnl_number_int(whole));
    return lengths;
}

static nnl_status check_length(const ctc *c, const char *name, int64_t length, int64_t most) {
    if (length >= 0 && length <= most) return NNL_OK;
    return nnl_fail(c->ctx, NNL_ERR_ARGUMENT, "nn.CTCLoss: %s: expected lengths from 0 to %lld, got %lld",
                    name, (long long)most, (long long)length);
}

static nnl_status check_labels(const ctc *c, const sequence *q) {
    for (int64_t i = 0; i < q->count; i++) {
        int64_t label = q->labels[i];
        if (label >= 1 && label <= c->C && label != c->blank) continue;
        return nnl_fail(c->ctx, NNL_ERR_ARGUMENT,
                        "nn.CTCLoss: expected labels from 1 to %lld other than the blank %lld, got %lld",
                        (long long)c->C, (long long)c->blank, (long long)label);
    }
    return NNL_OK;
}

// Where each sequence's values and labels are. targets: int64, contiguous, (N, S) or all labels in a row.
static nnl_status cut_sequences(ctc *c, const nnl_tensor *targets, const int64_t *steps,
                                const int64_t *counts) {
    const int64_t *labels = nnl_tensor_data(targets);
    bool padded = targets->shape.ndim == 2;
    int64_t width = padded ? targets->shape.size[1] : nnl_tensor_numel(targets), used = 0;
    size_t each = (size_t)(c->T * c->C) * nnl_dtype_size(c->log_probs->dtype);
    nnl_status status = NNL_OK;
    for (int64_t n = 0; n < c->N && status == NNL_OK; n++) {
        sequence *q = &c->sequences[n];
        int64_t from = padded ? n * width : used;
        *q = (sequence){(const char *)nnl_tensor_data(c->log_probs) + (size_t)n * each, labels + from,
                        steps[n], counts[n]};
        status = check_length(c, "input_lengths", steps[n], c->T);
        if (status == NNL_OK)
            status = check_length(c, "target_lengths", counts[n], padded ? width : width - used);
        if (status == NNL_OK) status = check_labels(c, q);
        if (counts[n] > c->longest) c->longest = counts[n];
        used += counts[n];
    }
    return status;
}

static nnl_status check_targets(const ctc *c, const nnl_tensor *targets) {
    char text[NNL_SHAPE_TEXT];
    bool padded = targets->shape.ndim == 2 && targets->shape.size[0] == c->N;
    if (nnl_dtype_get(targets->dtype)->kind == NNL_KIND_INT && (padded || targets->shape.ndim == 1))
        return NNL_OK;
    return nnl_fail(c->ctx, NNL_ERR_SHAPE,
                    "nn.CTCLoss: expected labels (%lld, S) or one after the other, int64, got %s of %s",
                    (long long)c->N, nnl_shape_text(&targets->shape, text),
                    nnl_dtype_get(targets->dtype)->name);
}

// ---- the operation

// dx = dout_n * gradient_n
static nnl_status ctc_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    if (ctx->grad_enabled) {
        return nnl_fail(ctx, NNL_ERR_STATE, "nn.CTCLoss: there are no gradients of its gradient");
    }
    const nnl_shape column = {3, {nnl_tensor_numel(dout[0]), 1, 1}};
    nnl_tensor *gradient = nnl_node_saved(node, 0);
    nnl_tensor *wide =
        gradient->shape.ndim == 3 ? nnl_reshape(ctx, dout[0], &column) : nnl_tensor_retain(dout[0]);
    dx[0] = wide ? nnl_mul(ctx, gradient, wide) : NULL;
    nnl_tensor_release(wide);
    return dx[0] ? NNL_OK : ctx->status;
}

static const nnl_op ctc_record = {.name = "ctc_loss", .outputs = 1, .backward = ctc_backward};

// Losses that no path fulfils count nothing.
static void drop_infinities(const ctc *c) {
    double *loss = nnl_tensor_data(c->loss);
    for (int64_t n = 0; n < c->N; n++) {
        if (loss[n] != INFINITY) continue;
        loss[n] = 0;
        if (!c->gradient) continue;
        nnl_shape shape = {2, {c->T, c->C}};
        nnl_tensor *part = nnl_tensor_alias(c->gradient, &shape, (const int64_t[]){c->C, 1}, n * c->T * c->C);
        if (part) nnl_try_fill(part, nnl_number_int(0));
        nnl_tensor_release(part);
    }
}

// The losses in the prediction's dtype, recorded: (N), or of no dimensions. New.
static nnl_tensor *record_losses(const ctc *c, nnl_tensor *x) {
    nnl_tensor *typed = nnl_to(c->ctx, c->loss, x->dtype);
    nnl_shape scalar = {.ndim = 0};
    nnl_tensor *out = typed && c->single ? nnl_reshape(c->ctx, typed, &scalar) : nnl_tensor_retain(typed);
    nnl_tensor_release(typed);
    if (!out || !c->gradient) return out;
    nnl_status status = nnl_record(c->ctx, &(nnl_recording){.op = &ctc_record,
                                                            .n_inputs = 1,
                                                            .inputs = &x,
                                                            .n_outputs = 1,
                                                            .outputs = &out,
                                                            .n_saved = 1,
                                                            .saved = {c->gradient}});
    if (status == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// mean: of each loss divided by its number of labels
static nnl_tensor *reduce_losses(const ctc *c, nnl_tensor *losses, nnl_loss_reduction reduction) {
    if (reduction == NNL_LOSS_NONE) return nnl_tensor_retain(losses);
    if (reduction == NNL_LOSS_SUM) return nnl_sum(c->ctx, losses, 0, NULL, false);
    nnl_tensor *counts = nnl_tensor_new(c->ctx, losses->dtype, &losses->shape);
    for (int64_t n = 0; counts && n < c->N; n++) {
        int64_t count = c->sequences[n].count;
        nnl_element_write(counts->dtype,
                          (char *)nnl_tensor_data(counts) + (size_t)n * nnl_dtype_size(counts->dtype),
                          nnl_number_int(count > 0 ? count : 1));
    }
    nnl_tensor *shares = counts ? nnl_div(c->ctx, losses, counts) : NULL;
    nnl_tensor *mean = shares ? nnl_mean(c->ctx, shares, 0, NULL, false) : NULL;
    nnl_tensor_release(counts);
    nnl_tensor_release(shares);
    return mean;
}

// Memory for the losses, the gradient and the variables of all sequences.
static nnl_status make_room(ctc *c, bool with_gradient) {
    int64_t L = 2 * c->longest + 1;
    c->room_each = (size_t)((c->T + 2) * L);
    c->room = nnl_alloc(&c->ctx->allocator, (size_t)c->N * c->room_each * sizeof(double));
    if (!c->room) return nnl_fail(c->ctx, NNL_ERR_MEMORY, "nn.CTCLoss: out of memory");
    c->loss = nnl_tensor_new(c->ctx, NNL_FLOAT64, &(nnl_shape){1, {c->N}});
    if (with_gradient) c->gradient = nnl_tensor_new(c->ctx, c->log_probs->dtype, &c->log_probs->shape);
    if (!c->loss || (with_gradient && !c->gradient)) return c->ctx->status;
    if (c->gradient) nnl_try_fill(c->gradient, nnl_number_int(0));
    return NNL_OK;
}

// From the arguments to the losses of all sequences.
static nnl_tensor *losses_of(ctc *c, nnl_tensor *x, const nnl_tensor *targets, const nnl_tensor *steps,
                             const nnl_tensor *counts, bool zero_infinity) {
    c->sequences = nnl_alloc(&c->ctx->allocator, (size_t)(c->N + 1) * sizeof *c->sequences);
    if (!c->sequences) return nnl_fail_null(c->ctx, NNL_ERR_MEMORY, "nn.CTCLoss: out of memory");
    nnl_status status = cut_sequences(c, targets, nnl_tensor_data(steps), nnl_tensor_data(counts));
    if (status == NNL_OK) status = make_room(c, nnl_grad_wanted(c->ctx, &x, 1));
    if (status != NNL_OK) return NULL;
    nnl_pool_try(c->ctx->pool, (size_t)c->N, run_sequence, c);
    if (zero_infinity) drop_infinities(c);
    return record_losses(c, x);
}

static nnl_tensor *as_array(nnl_context *ctx, nnl_tensor *t, nnl_dtype dtype) {
    nnl_tensor *typed = nnl_to(ctx, t, dtype);
    nnl_tensor *whole = typed ? nnl_contiguous(ctx, typed) : NULL;
    nnl_tensor_release(typed);
    return whole;
}

nnl_tensor *nnl_ctc_loss(nnl_context *ctx, nnl_tensor *log_probs, nnl_tensor *targets,
                         nnl_tensor *input_lengths, nnl_tensor *target_lengths,
                         const nnl_ctc_options *options) {
    ctc c = {.ctx = ctx, .blank = options->blank};
    if (read_sizes(&c, log_probs) != NNL_OK || check_targets(&c, targets) != NNL_OK) return NULL;
    int64_t width = targets->shape.ndim == 2 ? targets->shape.size[1]
                    : c.N > 0                ? nnl_tensor_numel(targets) / c.N
                                             : 0;
    nnl_dtype dtype = log_probs->dtype == NNL_FLOAT64 ? NNL_FLOAT64 : NNL_FLOAT32;
    nnl_tensor *x = c.log_probs = as_array(ctx, log_probs, dtype);
    nnl_tensor *labels = as_array(ctx, targets, NNL_INT64);
    nnl_tensor *steps = lengths_of(&c, "input_lengths", input_lengths, c.T);
    nnl_tensor *counts = steps ? lengths_of(&c, "target_lengths", target_lengths, width) : NULL;
    nnl_tensor *losses =
        x && labels && counts ? losses_of(&c, x, labels, steps, counts, options->zero_infinity) : NULL;
    nnl_tensor *out = losses ? reduce_losses(&c, losses, options->reduction) : NULL;
    nnl_tensor *tensors[] = {x, labels, steps, counts, losses, c.loss, c.gradient};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) nnl_tensor_release(tensors[i]);
    nnl_free(&ctx->allocator, c.room);
    nnl_free(&ctx->allocator, c.sequences);
    return out;
}

static nnl_status ctc_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_arg *arg = call->arg;
    nnl_ctc_options options = {
        .blank = arg[4].i, .reduction = (nnl_loss_reduction)arg[5].i, .zero_infinity = arg[6].flag};
    call->out[0] = nnl_ctc_loss(ctx, arg[0].tensor, arg[1].tensor, arg[2].given ? arg[2].tensor : NULL,
                                arg[3].given ? arg[3].tensor : NULL, &options);
    return call->out[0] ? NNL_OK : ctx->status;
}

const nnl_op nnl_ctc_records[] = {
    {.name = "ctc_loss",
     .doc =
         "minus the log probability of the targets under log_probs (N, T, C), over all alignments (Graves et "
         "al. 2006); labels (N, S) or one after the other, from 1; lengths default to all",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {{"log_probs", NNL_ARG_TENSOR, false, 0, NULL},
                {"targets", NNL_ARG_TENSOR, false, 0, NULL},
                {"input_lengths", NNL_ARG_TENSOR, true, 0, NULL},
                {"target_lengths", NNL_ARG_TENSOR, true, 0, NULL},
                {"blank", NNL_ARG_INT, true, 1, NULL},
                {"reduction", NNL_ARG_CHOICE, true, 0, "mean sum none"},
                {"zero_infinity", NNL_ARG_BOOL, true, 0, NULL}},
     .forward = ctc_forward},
    {.name = NULL},
};
