// init.c: initialisers: random and constant fills, and the rules that scale them by a weight's fans. The
// orthogonal one is in orthogonal.c.
#include "nn/init.h"
#include "kernel/kernel.h"
#include "tensor/apply.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- filling

static nnl_status check_float(nnl_context *ctx, const nnl_tensor *t) {
    if (nnl_dtype_is_float(t->dtype)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "nn.init: expected a tensor of a float dtype, got \"%s\"",
                    nnl_dtype_get(t->dtype)->name);
}

static nnl_dtype compute_dtype(const nnl_tensor *t) {
    return nnl_tensor_compute(t) == NNL_IN_DOUBLE ? NNL_FLOAT64 : NNL_FLOAT32;
}

// t itself where kernels can write to it, else a new array of the compute type for settle to copy from.
static nnl_tensor *scratch(nnl_context *ctx, nnl_tensor *t, nnl_dtype dtype) {
    if (t->dtype == dtype && nnl_tensor_is_contiguous(t)) return nnl_tensor_retain(t);
    return nnl_tensor_new(ctx, dtype, &t->shape);
}

static void settle(nnl_tensor *t, nnl_tensor *values) {
    if (values != t) nnl_apply_copy(t, values);
    nnl_tensor_changed(t);
    nnl_tensor_release(values);
}

nnl_status nnl_init_uniform(nnl_context *ctx, nnl_tensor *t, double low, double high) {
    if (check_float(ctx, t) != NNL_OK) return ctx->status;
    nnl_tensor *values = scratch(ctx, t, compute_dtype(t));
    if (!values) return ctx->status;
    uint64_t block = nnl_random_reserve(&ctx->random, 2 * (size_t)nnl_tensor_numel(t));
    nnl_apply_draw(values, ctx->kernels->random->uniform[nnl_tensor_compute(values)], block, low, high);
    settle(t, values);
    return NNL_OK;
}

nnl_status nnl_init_normal(nnl_context *ctx, nnl_tensor *t, double mean, double std) {
    if (check_float(ctx, t) != NNL_OK) return ctx->status;
    nnl_tensor *values = scratch(ctx, t, compute_dtype(t));
    if (!values) return ctx->status;
    uint64_t block = nnl_random_reserve(&ctx->random, 2 * (size_t)nnl_tensor_numel(t) + 4);
    nnl_apply_draw(values, ctx->kernels->random->normal[nnl_tensor_compute(values)], block, mean, std);
    settle(t, values);
    return NNL_OK;
}

// ---- the truncated normal distribution, by the inverse of its distribution function

static double normal_cdf(double x) { return 0.5 * erfc(-x * 0.7071067811865476); }

static double polynomial(const double *c, int n, double x) {
    double sum = c[0];
    for (int k = 1; k < n; k++) sum = sum * x + c[k];
    return sum;
}

// Giles, "Approximating the erfinv function" (2012), to seven digits, then one step of Newton's.
static double inverse_erf(double x) {
    static const double centre[] = {2.81022636e-08,  3.43273939e-07, -3.5233877e-06,
                                    -4.39150654e-06, 0.00021858087,  -0.00125372503,
                                    -0.00417768164,  0.246640727,    1.50140941};
    static const double tail[] = {-0.000200214257, 0.000100950558, 0.00134934322,
                                  -0.00367342844,  0.00573950773,  -0.0076224613,
                                  0.00943887047,   1.00167406,     2.83297682};
    double w = -log((1 - x) * (1 + x));
    double y = x * (w < 5 ? polynomial(centre, 9, w - 2.5) : polynomial(tail, 9, sqrt(w) - 3));
    if (!isfinite(y)) return y;
    return y - (erf(y) - x) * 0.8862269254527580 * exp(y * y);
}

static nnl_status run_trunc_normal(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    double mean = option[0].d, std = option[1].d, low = option[2].d, high = option[3].d;
    if (!(low < high)) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "nn.init.trunc_normal_: a must be less than b, got %.14g and %.14g", low, high);
    }
    if (check_float(ctx, t) != NNL_OK) return ctx->status;
    nnl_tensor *values = scratch(ctx, t, NNL_FLOAT64);
    if (!values) return ctx->status;
    double from = normal_cdf((low - mean) / std), to = normal_cdf((high - mean) / std);
    nnl_status status = nnl_init_uniform(ctx, values, 2 * from - 1, 2 * to - 1);
    double *x = nnl_tensor_data(values);
    for (int64_t i = 0, n = nnl_tensor_numel(values); i < n && status == NNL_OK; i++) {
        x[i] = fmin(fmax(mean + std * 1.4142135623730951 * inverse_erf(x[i]), low), high);
    }
    settle(t, values);
    return status;
}

// ---- scaled by fans

nnl_status nnl_init_fans(nnl_context *ctx, const char *who, const nnl_tensor *t, double *fan_in,
                         double *fan_out) {
    char text[NNL_SHAPE_TEXT];
    if (t->shape.ndim < 2) {
        return nnl_fail(ctx, NNL_ERR_SHAPE,
                        "nn.init.%s_: expected at least 2 dimensions (out, in, ...), got %s", who,
                        nnl_shape_text(&t->shape, text));
    }
    double field = 1;
    for (int d = 2; d < t->shape.ndim; d++) field *= (double)t->shape.size[d];
    *fan_in = (double)t->shape.size[1] * field;
    *fan_out = (double)t->shape.size[0] * field;
    return NNL_OK;
}

double nnl_init_gain(const char *nonlinearity, double a) {
    static const struct {
        const char *name;
        double gain;
    } gains[] = {{"linear", 1},  {"conv", 1}, {"sigmoid", 1}, {"tanh", 5.0 / 3}, {"relu", 1.4142135623730951},
                 {"selu", 0.75}, {NULL, 0}};
    if (strcmp(nonlinearity, "leaky_relu") == 0) return sqrt(2 / (1 + a * a));
    for (int k = 0; gains[k].name; k++) {
        if (strcmp(gains[k].name, nonlinearity) == 0) return gains[k].gain;
    }
    return -1;
}

// Glorot and Bengio 2010
static nnl_status xavier_std(nnl_context *ctx, const char *who, const nnl_tensor *t, double gain,
                             double *std) {
    double fan_in, fan_out;
    nnl_status status = nnl_init_fans(ctx, who, t, &fan_in, &fan_out);
    if (status == NNL_OK) *std = gain * sqrt(2 / (fan_in + fan_out));
    return status;
}

static nnl_status run_xavier_uniform(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    double std;
    nnl_status status = xavier_std(ctx, "xavier_uniform", t, option[0].d, &std);
    return status == NNL_OK ? nnl_init_uniform(ctx, t, -sqrt(3) * std, sqrt(3) * std) : status;
}

static nnl_status run_xavier_normal(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    double std;
    nnl_status status = xavier_std(ctx, "xavier_normal", t, option[0].d, &std);
    return status == NNL_OK ? nnl_init_normal(ctx, t, 0, std) : status;
}

#define NONLINEARITIES "linear conv sigmoid tanh relu leaky_relu selu"

// He et al. 2015; option: a, mode, nonlinearity
static nnl_status kaiming_std(nnl_context *ctx, const char *who, const nnl_tensor *t,
                              const nnl_option_value *option, double *std) {
    double fan_in, fan_out;
    size_t length;
    char name[16] = {0};
    nnl_status status = nnl_init_fans(ctx, who, t, &fan_in, &fan_out);
    if (status != NNL_OK) return status;
    const char *word = nnl_choice_word(NONLINEARITIES, (int)option[2].i, &length);
    memcpy(name, word, length < sizeof name ? length : sizeof name - 1);
    *std = nnl_init_gain(name, option[0].d) / sqrt(option[1].i == 1 ? fan_out : fan_in);
    return NNL_OK;
}

static nnl_status run_kaiming_uniform(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    double std;
    nnl_status status = kaiming_std(ctx, "kaiming_uniform", t, option, &std);
    return status == NNL_OK ? nnl_init_uniform(ctx, t, -sqrt(3) * std, sqrt(3) * std) : status;
}

static nnl_status run_kaiming_normal(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    double std;
    nnl_status status = kaiming_std(ctx, "kaiming_normal", t, option, &std);
    return status == NNL_OK ? nnl_init_normal(ctx, t, 0, std) : status;
}

// ---- the table

static nnl_status run_uniform(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    return nnl_init_uniform(ctx, t, option[0].d, option[1].d);
}

static nnl_status run_normal(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    return nnl_init_normal(ctx, t, option[0].d, option[1].d);
}

static nnl_status fill(nnl_tensor *t, double value) {
    nnl_apply_fill(t, nnl_number_float(value));
    nnl_tensor_changed(t);
    return NNL_OK;
}

static nnl_status run_constant(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    (void)ctx;
    return fill(t, option[0].d);
}

static nnl_status run_zeros(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    (void)ctx, (void)option;
    return fill(t, 0);
}

static nnl_status run_ones(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    (void)ctx, (void)option;
    return fill(t, 1);
}

static nnl_status run_orthogonal(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option) {
    return nnl_init_orthogonal(ctx, t, option[0].d);
}

#define NUMBER(n, value, text)                                                                               \
    { .name = n, .type = NNL_OPTION_NUMBER, .positional = true, .fallback = {value}, .doc = text }
#define STD                                                                                                  \
    {                                                                                                        \
        .name = "std", .type = NNL_OPTION_NUMBER, .positional = true, .fallback = {1}, .low = 0,             \
        .high = INFINITY, .doc = "standard deviation"                                                        \
    }
#define KAIMING                                                                                              \
    NUMBER("a", 0, "the negative slope of a leaky_relu that follows"),                                       \
        {.name = "mode",                                                                                     \
         .type = NNL_OPTION_CHOICE,                                                                          \
         .positional = true,                                                                                 \
         .choices = "fan_in fan_out",                                                                        \
         .doc = "keep the variance forward (fan_in) or backward"},                                           \
    {                                                                                                        \
        .name = "nonlinearity", .type = NNL_OPTION_CHOICE, .positional = true, .fallback = {5},              \
        .choices = NONLINEARITIES, .doc = "what follows the layer"                                           \
    }

const nnl_initializer nnl_initializers[] = {
    {"uniform", "uniform in [a, b)", {NUMBER("a", 0, "lower end"), NUMBER("b", 1, "upper end")}, run_uniform},
    {"normal", "normal distribution", {NUMBER("mean", 0, "mean"), STD}, run_normal},
    {"trunc_normal",
     "normal distribution of which only [a, b] is kept",
     {NUMBER("mean", 0, "mean"), STD, NUMBER("a", -2, "lower end"), NUMBER("b", 2, "upper end")},
     run_trunc_normal},
    {"constant",
     "one value everywhere",
     {{.name = "val", .type = NNL_OPTION_NUMBER, .positional = true, .required = true, .doc = "the value"}},
     run_constant},
    {"zeros", "0 everywhere", {{.name = NULL}}, run_zeros},
    {"ones", "1 everywhere", {{.name = NULL}}, run_ones},
    {"xavier_uniform",
     "uniform, after Glorot and Bengio 2010",
     {NUMBER("gain", 1, "scale")},
     run_xavier_uniform},
    {"xavier_normal",
     "normal, after Glorot and Bengio 2010",
     {NUMBER("gain", 1, "scale")},
     run_xavier_normal},
    {"kaiming_uniform", "uniform, after He et al. 2015", {KAIMING}, run_kaiming_uniform},
    {"kaiming_normal", "normal, after He et al. 2015", {KAIMING}, run_kaiming_normal},
    {"orthogonal",
     "orthonormal rows or columns (Saxe et al. 2014)",
     {NUMBER("gain", 1, "scale")},
     run_orthogonal},
    {.name = NULL},
};

const nnl_initializer *nnl_initializer_named(const char *name, size_t length) {
    for (const nnl_initializer *it = nnl_initializers; it->name; it++) {
        if (strlen(it->name) == length && memcmp(it->name, name, length) == 0) return it;
    }
    return NULL;
}

nnl_status nnl_initialize(nnl_context *ctx, const nnl_initializer *initializer, nnl_tensor *t,
                          const nnl_option_value *option) {
    char who[48];
    snprintf(who, sizeof who, "nn.init.%s_", initializer->name);
    for (int k = 0; initializer->options[k].type != NNL_OPTION_END; k++) {
        nnl_status status = nnl_option_check(ctx, who, &initializer->options[k], &option[k]);
        if (status != NNL_OK) return status;
    }
    nnl_status status = initializer->run(ctx, t, option);
    return status == NNL_OK ? nnl_check_stop(ctx, who) : status;
}

nnl_status nnl_initialize_default(nnl_context *ctx, const nnl_initializer *initializer, nnl_tensor *t) {
    nnl_option_value option[NNL_INIT_OPTIONS];
    for (int k = 0; initializer->options[k].type != NNL_OPTION_END; k++) {
        nnl_option_default(&initializer->options[k], &option[k]);
    }
    return initializer->run(ctx, t, option);
}
