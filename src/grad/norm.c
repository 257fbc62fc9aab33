// norm.c: layer_norm (Ba et al. 2016), rms_norm (Zhang and Sennrich 2019), group_norm (Wu and He 2018),
// batch_norm (Ioffe and Szegedy 2015) and instance_norm (Ulyanov et al. 2016): checks and shapes; the work is
// in normalize.c.
#include "grad/normalize.h"
#include "grad/records.h"

// ---- operands as arrays

typedef struct operands {
    const char *who;
    nnl_tensor *x, *weight, *bias; // as scripts gave them; the last two may be NULL
} operands;

static nnl_status check_float(nnl_context *ctx, const operands *o) {
    if (nnl_dtype_is_float(o->x->dtype)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected input of a float dtype, got %s", o->who,
                    nnl_dtype_get(o->x->dtype)->name);
}

static nnl_status check_weight(nnl_context *ctx, const operands *o, const char *name, const nnl_tensor *t,
                               const nnl_shape *shape) {
    char expected[NNL_SHAPE_TEXT], got[NNL_SHAPE_TEXT];
    if (!t) return NNL_OK;
    if (!nnl_shape_equal(&t->shape, shape)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected %s of shape %s, got %s", o->who, name,
                        nnl_shape_text(shape, expected), nnl_shape_text(&t->shape, got));
    }
    if (!nnl_dtype_is_float(t->dtype) || nnl_tensor_compute(t) != nnl_tensor_compute(o->x)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected %s of the input's dtype %s, got %s", o->who, name,
                        nnl_dtype_get(o->x->dtype)->name, nnl_dtype_get(t->dtype)->name);
    }
    return NNL_OK;
}

static nnl_status check_operands(nnl_context *ctx, const operands *o, const nnl_shape *shape) {
    nnl_status status = check_float(ctx, o);
    if (status == NNL_OK) status = check_weight(ctx, o, "weight", o->weight, shape);
    if (status == NNL_OK) status = check_weight(ctx, o, "bias", o->bias, shape);
    return status;
}

// Statistics that are not found by the row: those of x, or given; shown to `seen` before they are used.
typedef struct statistics {
    nnl_moment *moments;
    void (*seen)(const nnl_norm *norm, const nnl_moment *moments, void *arg);
    void *arg;
} statistics;

static nnl_status find_moments(nnl_context *ctx, const nnl_norm *norm, const operands *o, const nnl_tensor *x,
                               const statistics *s) {
    int64_t count = nnl_norm_statistics(norm);
    double values = (double)nnl_norm_count(norm);
    nnl_status status = nnl_norm_moments(ctx, norm, x, s->moments);
    if (status == NNL_OK) status = nnl_check_stop(ctx, o->who); // before they count
    if (status != NNL_OK) return status;
    if (s->seen && values > 0) s->seen(norm, s->moments, s->arg);
    for (int64_t i = 0; i < count; i++) s->moments[i].square /= values;
    return NNL_OK;
}

static nnl_tensor *run_norm(nnl_context *ctx, const nnl_norm *norm, const operands *o, const statistics *s) {
    nnl_tensor *x = nnl_array(ctx, o->x);
    nnl_tensor *weight = x && o->weight ? nnl_array(ctx, o->weight) : NULL;
    nnl_tensor *bias = x && o->bias ? nnl_array(ctx, o->bias) : NULL;
    bool ready = x && (weight || !o->weight) && (bias || !o->bias);
    if (ready && s && !norm->fixed) ready = find_moments(ctx, norm, o, x, s) == NNL_OK;
    nnl_tensor *y = ready ? nnl_normalize(ctx, norm, x, weight, bias, s ? s->moments : NULL) : NULL;
    nnl_tensor *out = y && y->dtype != o->x->dtype ? nnl_to(ctx, y, o->x->dtype) : y;
    if (out != y) nnl_tensor_release(y);
    nnl_tensor_release(x);
    nnl_tensor_release(weight);
    nnl_tensor_release(bias);
    return out;
}

static nnl_moment *moments_new(nnl_context *ctx, const nnl_norm *norm) {
    nnl_moment *moments = nnl_alloc(&ctx->allocator, (size_t)nnl_norm_statistics(norm) * sizeof(nnl_moment));
    return moments ? moments
                   : nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a normalisation");
}

// ---- layer_norm, rms_norm

static nnl_status check_normalized(nnl_context *ctx, const operands *o, const nnl_shape *normalized) {
    char expected[NNL_SHAPE_TEXT], got[NNL_SHAPE_TEXT];
    int extra = o->x->shape.ndim - normalized->ndim;
    bool fits = extra >= 0 && normalized->ndim > 0;
    for (int d = 0; fits && d < normalized->ndim; d++)
        fits = o->x->shape.size[extra + d] == normalized->size[d];
    if (fits) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected input whose last dimensions are %s, got %s", o->who,
                    nnl_shape_text(normalized, expected), nnl_shape_text(&o->x->shape, got));
}

static nnl_tensor *over_rows(nnl_context *ctx, const operands *o, const nnl_shape *normalized,
                             nnl_norm_kind kind, double eps) {
    if (check_normalized(ctx, o, normalized) != NNL_OK) return NULL;
    if (check_operands(ctx, o, normalized) != NNL_OK) return NULL;
    nnl_norm norm = {.kind = kind, .samples = 1, .groups = 1, .members = 1, .eps = eps};
    norm.size = nnl_shape_numel(normalized);
    for (int d = 0; d < o->x->shape.ndim - normalized->ndim; d++) norm.samples *= o->x->shape.size[d];
    return run_norm(ctx, &norm, o, NULL);
}

nnl_tensor *nnl_layer_norm(nnl_context *ctx, nnl_tensor *x, const nnl_shape *normalized, nnl_tensor *weight,
                           nnl_tensor *bias, double eps) {
    return over_rows(ctx, &(operands){"layer_norm", x, weight, bias}, normalized, NNL_NORM_ROWS, eps);
}

nnl_tensor *nnl_rms_norm(nnl_context *ctx, nnl_tensor *x, const nnl_shape *normalized, nnl_tensor *weight,
                         double eps) {
    return over_rows(ctx, &(operands){"rms_norm", x, weight, NULL}, normalized, NNL_NORM_MEANLESS, eps);
}

static nnl_status layer_norm_forward(nnl_context *ctx, nnl_call *call) {
    call->out[0] = nnl_layer_norm(ctx, call->arg[0].tensor, call->arg[1].list, call->arg[2].tensor,
                                  call->arg[3].tensor, call->arg[4].number.d);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_status rms_norm_forward(nnl_context *ctx, nnl_call *call) {
    call->out[0] =
        nnl_rms_norm(ctx, call->arg[0].tensor, call->arg[1].list, call->arg[2].tensor, call->arg[3].number.d);
    return call->out[0] ? NNL_OK : ctx->status;
}

// ---- inputs (N, C, ...)

static nnl_status check_channels(nnl_context *ctx, const operands *o) {
    char got[NNL_SHAPE_TEXT];
    if (o->x->shape.ndim >= 2) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected input (N, C, ...), got %s", o->who,
                    nnl_shape_text(&o->x->shape, got));
}

static nnl_shape channel_shape(const nnl_tensor *x) { return (nnl_shape){1, {x->shape.size[1]}}; }

static nnl_norm channel_norm(nnl_norm_kind kind, const nnl_tensor *x, int64_t groups, double eps) {
    nnl_norm norm = {.kind = kind, .samples = x->shape.size[0], .groups = groups, .size = 1, .eps = eps};
    norm.members = groups > 0 ? x->shape.size[1] / groups : 0;
    for (int d = 2; d < x->shape.ndim; d++) norm.size *= x->shape.size[d];
    return norm;
}

static nnl_status too_few(nnl_context *ctx, const operands *o, const char *what) {
    char got[NNL_SHAPE_TEXT];
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected more than one %s when training, got input %s", o->who,
                    what, nnl_shape_text(&o->x->shape, got));
}

static nnl_tensor *normalized_by(nnl_context *ctx, const nnl_norm *norm, const operands *o, statistics *s) {
    s->moments = moments_new(ctx, norm);
    nnl_tensor *out = s->moments ? run_norm(ctx, norm, o, s) : NULL;
    nnl_free(&ctx->allocator, s->moments);
    return out;
}

// ---- group_norm

nnl_tensor *nnl_group_norm(nnl_context *ctx, nnl_tensor *x, int64_t groups, nnl_tensor *weight,
                           nnl_tensor *bias, double eps) {
    const operands o = {"group_norm", x, weight, bias};
    if (check_channels(ctx, &o) != NNL_OK) return NULL;
    int64_t channels = x->shape.size[1];
    nnl_shape shape = channel_shape(x);
    if (groups < 1 || channels % groups != 0) {
        return nnl_fail_null(
            ctx, NNL_ERR_SHAPE,
            "group_norm: expected a number of channels divisible by num_groups %lld, got %lld",
            (long long)groups, (long long)channels);
    }
    if (check_operands(ctx, &o, &shape) != NNL_OK) return NULL;
    nnl_norm norm = channel_norm(NNL_NORM_GROUPS, x, groups, eps);
    if (norm.samples * nnl_norm_count(&norm) == 1 && too_few(ctx, &o, "value per group") != NNL_OK)
        return NULL;
    return normalized_by(ctx, &norm, &o, &(statistics){NULL, NULL, NULL});
}

static nnl_status group_norm_forward(nnl_context *ctx, nnl_call *call) {
    call->out[0] = nnl_group_norm(ctx, call->arg[0].tensor, call->arg[1].i, call->arg[2].tensor,
                                  call->arg[3].tensor, call->arg[4].number.d);
    return call->out[0] ? NNL_OK : ctx->status;
}

// ---- running statistics: running = (1 - momentum) running + momentum (mean, or unbiased variance)

typedef struct running {
    nnl_tensor *mean, *var; // NULL where nothing is kept
    double momentum;
} running;

static char *element_of(const nnl_tensor *t, int64_t i) {
    return (char *)nnl_tensor_data(t) + (size_t)(i * t->stride[0]) * nnl_dtype_size(t->dtype);
}

static void run_on(nnl_tensor *t, int64_t i, double momentum, double value) {
    double old = nnl_element_read(t->dtype, element_of(t, i)).d;
    nnl_element_write(t->dtype, element_of(t, i), nnl_number_float((1 - momentum) * old + momentum * value));
}

// Instances have as many statistics for a channel as there are samples, whose mean counts.
static void update_running(const nnl_norm *norm, const nnl_moment *moments, void *arg) {
    const running *r = arg;
    int64_t channels = norm->groups, samples = nnl_norm_statistics(norm) / channels;
    double divisor = (double)nnl_norm_count(norm) - 1;
    for (int64_t c = 0; c < channels; c++) {
        double mean = 0, square = 0;
        for (int64_t s = 0; s < samples; s++) {
            mean += moments[s * channels + c].mean / (double)samples;
            square += moments[s * channels + c].square / (double)samples;
        }
        run_on(r->mean, c, r->momentum, mean);
        run_on(r->var, c, r->momentum, square / divisor);
    }
    nnl_tensor_changed(r->mean);
    nnl_tensor_changed(r->var);
}

static nnl_status check_running(nnl_context *ctx, const operands *o, const running *r, bool needed) {
    nnl_shape shape = channel_shape(o->x);
    if (needed && !(r->mean && r->var)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "%s: running_mean and running_var are needed when not training", o->who);
    }
    if (!r->mean != !r->var) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: expected running_mean and running_var, got one of them",
                        o->who);
    }
    nnl_status status = check_weight(ctx, o, "running_mean", r->mean, &shape);
    return status == NNL_OK ? check_weight(ctx, o, "running_var", r->var, &shape) : status;
}

static nnl_tensor *by_running(nnl_context *ctx, const operands *o, const running *r, double eps) {
    nnl_norm norm = channel_norm(NNL_NORM_CHANNELS, o->x, o->x->shape.size[1], eps);
    norm.fixed = true;
    statistics s = {moments_new(ctx, &norm), NULL, NULL};
    for (int64_t c = 0; s.moments && c < norm.groups; c++) {
        s.moments[c].mean = nnl_element_read(r->mean->dtype, element_of(r->mean, c)).d;
        s.moments[c].square = nnl_element_read(r->var->dtype, element_of(r->var, c)).d;
    }
    nnl_tensor *out = s.moments ? run_norm(ctx, &norm, o, &s) : NULL;
    nnl_free(&ctx->allocator, s.moments);
    return out;
}

// ---- batch_norm and instance_norm

static nnl_tensor *with_running(nnl_context *ctx, const operands *o, nnl_norm_kind kind, running *r,
                                const nnl_batch_norm_options *options) {
    if (check_channels(ctx, o) != NNL_OK) return NULL;
    nnl_shape shape = channel_shape(o->x);
    if (check_operands(ctx, o, &shape) != NNL_OK) return NULL;
    if (check_running(ctx, o, r, !options->training) != NNL_OK) return NULL;
    if (!options->training) return by_running(ctx, o, r, options->eps);
    nnl_norm norm = channel_norm(kind, o->x, o->x->shape.size[1], options->eps);
    if (nnl_norm_count(&norm) == 1) {
        too_few(ctx, o, kind == NNL_NORM_GROUPS ? "value per instance" : "value per channel");
        return NULL;
    }
    r->momentum = options->momentum;
    bool updates = r->mean && norm.groups > 0 && norm.samples > 0 && !ctx->repeating;
    return normalized_by(ctx, &norm, o, &(statistics){NULL, updates ? update_running : NULL, r});
}

nnl_tensor *nnl_batch_norm(nnl_context *ctx, nnl_tensor *x, nnl_tensor *running_mean, nnl_tensor *running_var,
                           nnl_tensor *weight, nnl_tensor *bias, const nnl_batch_norm_options *options) {
    running r = {running_mean, running_var, 0};
    return with_running(ctx, &(operands){"batch_norm", x, weight, bias}, NNL_NORM_CHANNELS, &r, options);
}

// batch_norm, and instance_norm (variant 1)
static nnl_status running_norm_forward(nnl_context *ctx, nnl_call *call) {
    const operands o = {call->op->name, call->arg[0].tensor, call->arg[3].tensor, call->arg[4].tensor};
    running r = {call->arg[1].tensor, call->arg[2].tensor, 0};
    const nnl_batch_norm_options options = {call->arg[5].flag, call->arg[6].number.d, call->arg[7].number.d};
    nnl_norm_kind kind = call->op->variant ? NNL_NORM_GROUPS : NNL_NORM_CHANNELS;
    call->out[0] = with_running(ctx, &o, kind, &r, &options);
    return call->out[0] ? NNL_OK : ctx->status;
}

// ---- records

#define INPUT                                                                                                \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define OPTIONAL_TENSOR(name)                                                                                \
    { name, NNL_ARG_TENSOR, true, 0, NULL }
#define NUMBER(name, fallback)                                                                               \
    { name, NNL_ARG_NUMBER, true, fallback, NULL }
#define NORMALIZED                                                                                           \
    { "normalized_shape", NNL_ARG_SHAPE, false, 0, NULL }
#define RUNNING(which, value)                                                                                \
    {                                                                                                        \
        INPUT, OPTIONAL_TENSOR("running_mean"), OPTIONAL_TENSOR("running_var"), OPTIONAL_TENSOR("weight"),   \
            OPTIONAL_TENSOR("bias"), {which, NNL_ARG_BOOL, true, value, NULL}, NUMBER("momentum", 0.1),      \
            NUMBER("eps", 1e-5)                                                                              \
    }

const nnl_op nnl_norm_records[] = {
    {.name = "layer_norm",
     .doc = "(x - mean) / sqrt(variance + eps) * weight + bias, over the last dimensions, whose sizes are "
            "normalized_shape (Ba et al. 2016)",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {INPUT, NORMALIZED, OPTIONAL_TENSOR("weight"), OPTIONAL_TENSOR("bias"), NUMBER("eps", 1e-5)},
     .forward = layer_norm_forward},
    {.name = "rms_norm",
     .doc = "x / sqrt(mean of x^2 + eps) * weight, over the last dimensions (Zhang and Sennrich 2019)",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {INPUT, NORMALIZED, OPTIONAL_TENSOR("weight"), NUMBER("eps", 1e-6)},
     .forward = rms_norm_forward},
    {.name = "group_norm",
     .doc = "x (N, C, ...) normalised over each of num_groups groups of channels of each sample; weight and "
            "bias "
            "(C) (Wu and He 2018)",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {INPUT,
                {"num_groups", NNL_ARG_INT, false, 0, NULL},
                OPTIONAL_TENSOR("weight"),
                OPTIONAL_TENSOR("bias"),
                NUMBER("eps", 1e-5)},
     .forward = group_norm_forward},
    {.name = "batch_norm",
     .doc =
         "x (N, C, ...) normalised by channel: in training by its own mean and variance, which also move the "
         "running ones by momentum, else by the running ones (Ioffe and Szegedy 2015)",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = RUNNING("training", 0),
     .forward = running_norm_forward},
    {.name = "instance_norm",
     .doc = "x (N, C, ...) normalised by channel of each sample (Ulyanov et al. 2016); by the running "
            "statistics "
            "where use_input_stats is false",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = RUNNING("use_input_stats", 1),
     .forward = running_norm_forward,
     .variant = 1},
    {.name = NULL},
};
