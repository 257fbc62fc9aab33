// test_vmath.c: the float functions of kernel/vmath.h against the C library's in double, over the floats,
// through the kernels of every instruction set. Every 2003rd float, or all 2^32 with the argument `full`; a
// name after it picks one.
#include "check.h"
#include "kernel_sets.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 4096

typedef double reference(double x);

static double sigmoid(double x) { return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x)); }
static double softplus(double x) { return fmax(x, 0) + log1p(exp(-fabs(x))); }
static double log_sigmoid(double x) { return -softplus(-x); }
static double rsqrt(double x) { return 1 / sqrt(x); }
static double reciprocal(double x) { return 1 / x; }
static double relu(double x) { return x < 0 ? 0 : x; }
static double square(double x) { return x * x; }

// The limits at minus infinity, which the formulas miss.
static double gelu(double x) { return x == -INFINITY ? -0.0 : 0.5 * x * erfc(-x * 0.7071067811865476); }
static double silu(double x) { return x == -INFINITY ? -0.0 : x * sigmoid(x); }
static double gelu_tanh(double x) {
    return fabs(x) > 1e6 ? (x < 0 ? -0.0 : x) : x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x));
}
static double softplus_above(double x) { return x > 20 ? x : softplus(x); }
static double elu(double x) { return x > 0 ? x : 1.5 * expm1(x); }
static double selu(double x) { return x > 0 ? 1.0507009873554805 * x : 1.7580993408473766 * expm1(x); }
static double leaky_relu(double x) { return x > 0 ? x : 0.25 * x; }
static double negated(double x) { return -x; }
static double mish(double x) { return x == -INFINITY ? -0.0 : x * tanh(softplus(x)); }

typedef struct function_row {
    const char *name;
    nnl_unary op;
    reference *reference;
    double bound; // in units in the last place
    double p[2];  // the operation's parameters
} function_row;

#define ROW(n, f, most, ...)                                                                                 \
    {                                                                                                        \
        .name = #n, .op = NNL_UNARY_##n, .reference = f, .bound = most, .p = { __VA_ARGS__ }                 \
    }

static const function_row rows[] = {
    ROW(exp, exp, 1.1, 0, 0),    ROW(expm1, expm1, 2, 0, 0),     ROW(log, log, 1, 0, 0),
    ROW(log1p, log1p, 2, 0, 0),  ROW(log2, log2, 2, 0, 0),       ROW(log10, log10, 2, 0, 0),
    ROW(sqrt, sqrt, 0.51, 0, 0), ROW(rsqrt, rsqrt, 2, 0, 0),     ROW(reciprocal, reciprocal, 0.51, 0, 0),
    ROW(sin, sin, 2, 0, 0),      ROW(cos, cos, 2, 0, 0),         ROW(tan, tan, 1, 0, 0),
    ROW(tanh, tanh, 2, 0, 0),    ROW(sigmoid, sigmoid, 2, 0, 0), ROW(log_sigmoid, log_sigmoid, 2, 0, 0),
    ROW(erf, erf, 2, 0, 0),      ROW(gelu_erf, gelu, 4, 0, 0),   ROW(gelu_tanh, gelu_tanh, 4, 0, 0),
    ROW(silu, silu, 2, 0, 0),    ROW(mish, mish, 2, 0, 0),       ROW(softplus, softplus_above, 2, 1, 20),
    ROW(elu, elu, 2.5, 1.5, 0),  ROW(selu, selu, 3, 0, 0),       ROW(leaky_relu, leaky_relu, 0.51, 0.25, 0),
    ROW(abs, fabs, 0, 0, 0),     ROW(neg, negated, 0, 0, 0),     ROW(square, square, 0.51, 0, 0),
    ROW(relu, relu, 0, 0, 0),    ROW(floor, floor, 0, 0, 0),     ROW(ceil, ceil, 0, 0, 0),
    ROW(round, rint, 0, 0, 0),   ROW(trunc, trunc, 0, 0, 0),
};

// The distance between neighbouring floats at `exact`.
static double ulp_at(double exact) {
    int exponent;
    frexp(exact, &exponent);
    return ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

// In units in the last place. Infinity counts as 2^128, the float it stands for; a NaN that should be none,
// or the other way round, or the wrong zero, as infinitely wrong.
static double error_of(float got, double exact) {
    if (isnan(exact) || isnan(got)) return isnan(exact) && isnan(got) ? 0 : INFINITY;
    if (exact == 0) return got == 0 && !signbit(got) == !signbit(exact) ? 0 : INFINITY;
    if (isinf(exact)) return (double)got == exact ? 0 : INFINITY;
    double value = isinf(got) ? copysign(0x1p128, (double)got) : (double)got;
    if (fabs(exact) > 0x1p128) exact = copysign(0x1p128, exact);
    return fabs(value - exact) / ulp_at(exact);
}

typedef struct worst {
    double error;
    float x, got;
} worst;

static void measure_chunk(const function_row *row, nnl_unary_fn *kernel, size_t n, const float *x, worst *w) {
    float y[CHUNK];
    kernel(n, y, x, row->p);
    for (size_t i = 0; i < n; i++) {
        double error = error_of(y[i], row->reference((double)x[i]));
        if (error > w->error) *w = (worst){error, x[i], y[i]};
    }
}

// The floats with bit patterns 0, step, 2 step, ...
static worst measure_range(const function_row *row, nnl_unary_fn *kernel, uint64_t step) {
    worst w = {0, 0, 0};
    float x[CHUNK];
    size_t n = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += step) {
        uint32_t pattern = (uint32_t)bits;
        memcpy(&x[n++], &pattern, sizeof pattern);
        if (n < CHUNK) continue;
        measure_chunk(row, kernel, n, x, &w);
        n = 0;
    }
    measure_chunk(row, kernel, n, x, &w);
    return w;
}

static const float edges[] = {0.0f,           -0.0f,   INFINITY, -INFINITY,   NAN,       1e-45f,    -1e-45f,
                              1.1754942e-38f, 1.0f,    -1.0f,    88.72283f,   88.72284f, -87.3365f, -103.97f,
                              -103.98f,       -104.0f, 89.0f,    3.4e38f,     -3.4e38f,  0x1p126f,  20.0f,
                              -20.0f,         0.625f,  0.92f,    -14.6f,      -12.0f,    -200.0f,   0x1p26f,
                              0.5f,           -0.5f,   1.5f,     -0.99999994f};

static void test_row(const function_row *row, const kernel_set *set, uint64_t step) {
    char sentence[120];
    snprintf(sentence, sizeof sentence, "%s is right to %g ulp on %s", row->name, row->bound, set->isa);
    check_that(sentence);
    nnl_unary_fn *kernel = set->elementwise->unary[row->op][NNL_IN_FLOAT];
    worst w = measure_range(row, kernel, step);
    measure_chunk(row, kernel, sizeof edges / sizeof *edges, edges, &w);
    printf("%-12s %-9s %.3f ulp at %a\n", row->name, set->isa, w.error, (double)w.x);
    CHECK_MESSAGE(w.error <= row->bound, "%s(%.9g) is %.9g, off by %g ulp", row->name, (double)w.x,
                  (double)w.got, w.error);
    check_close();
}

int main(int argc, char **argv) {
    kernel_set sets[KERNEL_SETS];
    kernel_sets_fill(sets);
    uint64_t step = argc > 1 && strcmp(argv[1], "full") == 0 ? 1 : 2003;
    const char *only = argc > 2 ? argv[2] : NULL;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        if (only && strcmp(only, rows[r].name) != 0) continue;
        for (int s = 0; s < KERNEL_SETS; s++)
            if (sets[s].runs) test_row(&rows[r], &sets[s], step);
    }
    return check_end();
}
