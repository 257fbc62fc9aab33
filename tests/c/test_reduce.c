// test_reduce.c: reductions of rows and columns, for every type and every instruction set that runs here,
// against plain loops in double.
#include "check.h"
#include "kernel/kernel.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define MOST 200000

typedef struct layout {
    size_t inner, stride;
} layout;

static const layout layouts[] = {{1, 1}, {1, 3}, {2, 2}, {7, 9}, {30, 30}, {256, 256}, {300, 301}};
static const size_t lengths[] = {0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 100, 129, 500};

static float in_f32[MOST];
static double in_f64[MOST];
static int64_t in_i64[MOST];

// The same small whole numbers and quarters in all types: sums of them are exact in any order.
static void fill(void) {
    uint32_t state = 1;
    for (size_t i = 0; i < MOST; i++) {
        state = state * 1664525u + 1013904223u;
        int64_t value = (int64_t)(state >> 24) - 128;
        in_i64[i] = value;
        in_f64[i] = (double)value / 4;
        in_f32[i] = (float)value / 4;
    }
}

static const void *input(nnl_compute type) {
    if (type == NNL_IN_FLOAT) return in_f32;
    return type == NNL_IN_DOUBLE ? (const void *)in_f64 : (const void *)in_i64;
}

typedef union values {
    float f32[512];
    double f64[512];
    int64_t i64[512];
} values;

static double value_of(const values *v, nnl_compute type, size_t i) {
    if (type == NNL_IN_FLOAT) return (double)v->f32[i];
    return type == NNL_IN_DOUBLE ? v->f64[i] : (double)v->i64[i];
}

static double element(nnl_compute type, size_t i) {
    return type == NNL_IN_INT ? (double)in_i64[i] : in_f64[i];
}

// What nothing reduces to.
static double neutral(nnl_reduction kind, nnl_compute type) {
    bool whole = type == NNL_IN_INT;
    if (kind == NNL_REDUCE_PROD) return 1;
    if (kind == NNL_REDUCE_MAX) return whole ? (double)INT64_MIN : -INFINITY;
    if (kind == NNL_REDUCE_MIN) return whole ? (double)INT64_MAX : INFINITY;
    return 0;
}

static double fold(nnl_reduction kind, double a, double x) {
    switch (kind) {
    case NNL_REDUCE_SUM:
        return a + x;
    case NNL_REDUCE_SUM_ABS:
        return a + fabs(x);
    case NNL_REDUCE_SUM_SQUARE:
        return a + x * x;
    case NNL_REDUCE_PROD:
        return a * x;
    case NNL_REDUCE_MAX:
        return x > a ? x : a;
    case NNL_REDUCE_MIN:
        return x < a ? x : a;
    case NNL_REDUCE_MAX_ABS:
        return fabs(x) > a ? fabs(x) : a;
    case NNL_REDUCE_COUNT_NONZERO:
        return a + (x != 0);
    case NNL_REDUCTION_COUNT:
        break;
    }
    return NAN;
}

static double expected(nnl_reduction kind, nnl_compute type, size_t n, layout l, size_t j) {
    double result = neutral(kind, type);
    for (size_t i = 0; i < n; i++) result = fold(kind, result, element(type, i * l.stride + j));
    return result;
}

static void check_layout(const nnl_kernels *k, nnl_reduction kind, nnl_compute type, size_t n, layout l) {
    values out;
    k->reduce->reduce[kind][type](n, l.inner, &out, input(type), l.stride);
    for (size_t j = 0; j < l.inner; j++) {
        double got = value_of(&out, type, j), want = expected(kind, type, n, l, j);
        CHECK_MESSAGE(check_is_near(got, want, type == NNL_IN_FLOAT ? 1e-6 : 1e-14),
                      "%s: reduction %d of type %d, n %zu, inner %zu, column %zu: %.9g, not %.9g", k->isa,
                      kind, type, n, l.inner, j, got, want);
    }
}

// Products grow beyond what is exact, so they are left to short rows.
static void test_all(const nnl_kernels *k) {
    check_that("every reduction agrees with a plain loop in every layout, type and length");
    for (int kind = 0; kind < NNL_REDUCTION_COUNT; kind++)
        for (int type = 0; type < NNL_COMPUTE_COUNT; type++)
            for (size_t i = 0; i < COUNT(lengths); i++)
                for (size_t l = 0; l < COUNT(layouts); l++) {
                    if (kind == NNL_REDUCE_PROD && lengths[i] > 8) continue;
                    check_layout(k, (nnl_reduction)kind, (nnl_compute)type, lengths[i], layouts[l]);
                }
}

static void test_product(const nnl_kernels *k) {
    check_that("a long product is the product, and wraps around in integers");
    double *halves = malloc(3000 * sizeof *halves);
    for (size_t i = 0; i < 3000; i++) halves[i] = i % 2 ? 0.5 : 2;
    double product = 0;
    k->reduce->reduce[NNL_REDUCE_PROD][NNL_IN_DOUBLE](3000, 1, &product, halves, 1);
    CHECK(product == 1);
    float *singles = (float *)halves, single = 0;
    for (size_t i = 0; i < 3000; i++) singles[i] = i % 2 ? 0.5f : 2;
    k->reduce->reduce[NNL_REDUCE_PROD][NNL_IN_FLOAT](3000, 1, &single, singles, 1);
    CHECK(single == 1);
    free(halves);
    int64_t threes[41], wrapped = 0;
    uint64_t power = 1;
    for (size_t i = 0; i < 41; i++) threes[i] = 3, power *= 3;
    k->reduce->reduce[NNL_REDUCE_PROD][NNL_IN_INT](41, 1, &wrapped, threes, 1);
    CHECK(wrapped == (int64_t)power);
}

#define LONG 10000000

static void test_long_sums(const nnl_kernels *k) {
    check_that(
        "the sum of ten million floats is right to a few units in the last place, in rows and columns");
    float *x = malloc(LONG * sizeof *x);
    if (!CHECK(x != NULL)) return;
    double exact = 0, columns[2] = {0, 0};
    for (size_t i = 0; i < LONG; i++) {
        x[i] = 0.1f + (float)(i % 1000) * 1e-4f;
        exact += (double)x[i];
        columns[i % 2] += (double)x[i];
    }
    float sum = 0, pair[2];
    k->reduce->reduce[NNL_REDUCE_SUM][NNL_IN_FLOAT](LONG, 1, &sum, x, 1);
    k->reduce->reduce[NNL_REDUCE_SUM][NNL_IN_FLOAT](LONG / 2, 2, pair, x, 2);
    CHECK_NEAR((double)sum, exact, 5e-7);
    for (size_t j = 0; j < 2; j++) CHECK_NEAR((double)pair[j], columns[j], 5e-7);
    free(x);
}

static void test_nan(const nnl_kernels *k) {
    check_that("one NaN anywhere makes the maximum and the minimum NaN");
    for (size_t n = 1; n < 150; n += 7)
        for (size_t at = 0; at < n; at++) {
            float x[150] = {0}, out[4];
            x[at] = NAN;
            k->reduce->reduce[NNL_REDUCE_MAX][NNL_IN_FLOAT](n, 1, out, x, 1);
            k->reduce->reduce[NNL_REDUCE_MIN][NNL_IN_FLOAT](n, 1, out + 1, x, 1);
            k->reduce->reduce[NNL_REDUCE_MAX_ABS][NNL_IN_FLOAT](n, 1, out + 2, x, 1);
            CHECK(isnan(out[0]) && isnan(out[1]) && isnan(out[2]));
            double y[150] = {0}, result;
            y[at] = NAN;
            k->reduce->reduce[NNL_REDUCE_MAX][NNL_IN_DOUBLE](n, 1, &result, y, 1);
            CHECK(isnan(result));
        }
}

static void test_nan_columns(const nnl_kernels *k) {
    check_that("a NaN stays in its own column");
    float x[20][5] = {{0}}, out[5];
    x[13][2] = NAN;
    k->reduce->reduce[NNL_REDUCE_MAX][NNL_IN_FLOAT](20, 5, out, x, 5);
    for (size_t j = 0; j < 5; j++) CHECK(isnan(out[j]) == (j == 2));
}

static int64_t first_extreme(nnl_compute type, size_t n, layout l, size_t j, double sign) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (sign * element(type, i * l.stride + j) > sign * element(type, best * l.stride + j)) best = i;
    return (int64_t)best;
}

static void check_places(const nnl_kernels *k, nnl_compute type, size_t n, layout l) {
    int64_t largest[512], smallest[512];
    k->reduce->arg_max[type](n, l.inner, largest, input(type), l.stride);
    k->reduce->arg_min[type](n, l.inner, smallest, input(type), l.stride);
    for (size_t j = 0; j < l.inner; j++) {
        CHECK(largest[j] == first_extreme(type, n, l, j, 1));
        CHECK(smallest[j] == first_extreme(type, n, l, j, -1));
    }
}

static void test_places(const nnl_kernels *k) {
    check_that("the place of an extreme is that of its first occurrence");
    for (int type = 0; type < NNL_COMPUTE_COUNT; type++)
        for (size_t i = 0; i < COUNT(lengths); i++)
            for (size_t l = 0; l < COUNT(layouts); l++)
                check_places(k, (nnl_compute)type, lengths[i], layouts[l]);
}

static void test_nan_places(const nnl_kernels *k) {
    check_that("the first NaN is both the largest and the smallest, in rows and in columns");
    for (size_t at = 0; at < 100; at++) {
        float x[100];
        double y[100];
        for (size_t i = 0; i < 100; i++) y[i] = (double)(x[i] = i >= at && i % 3 == at % 3 ? NAN : (float)i);
        int64_t place[6];
        k->reduce->arg_max[NNL_IN_FLOAT](100, 1, place, x, 1);
        k->reduce->arg_min[NNL_IN_FLOAT](100, 1, place + 1, x, 1);
        k->reduce->arg_max[NNL_IN_DOUBLE](100, 1, place + 2, y, 1);
        k->reduce->arg_min[NNL_IN_DOUBLE](100, 1, place + 3, y, 1);
        k->reduce->arg_max[NNL_IN_FLOAT](50, 2, place + 4, x, 2);
        for (size_t i = 0; i < 4; i++) CHECK_INT(place[i], at);
        CHECK_INT(place[4 + at % 2], at / 2);
    }
}

static void test_moments(const nnl_kernels *k) {
    check_that("moments keep their digits beside a large mean");
    float x[2700];
    nnl_moment out[5];
    for (size_t i = 0; i < COUNT(x); i++) x[i] = 10000 + (i % 2 ? 0.5f : -0.5f);
    k->norm->moments[NNL_IN_FLOAT](2700, 1, out, x, 1);
    CHECK_NEAR(out[0].mean, 10000, 1e-9);
    CHECK_NEAR(out[0].square, 675, 1e-6);
    for (size_t i = 2; i < COUNT(x); i += 3) x[i] += (float)i;
    k->norm->moments[NNL_IN_FLOAT](900, 3, out, x, 3);
    CHECK_NEAR(out[1].mean, 10000, 1e-9);
    CHECK_NEAR(out[1].square, 225, 1e-6);
    CHECK_NEAR(out[2].mean, 10000 + 1350.5, 1e-3);
    double y[5] = {1, 2, 3, 4, 5};
    k->norm->moments[NNL_IN_DOUBLE](5, 1, out, y, 1);
    CHECK(out[0].mean == 3 && out[0].square == 10);
    k->norm->moments[NNL_IN_DOUBLE](1, 5, out, y, 5);
    CHECK(out[2].mean == 3 && out[2].square == 0);
}

int main(void) {
    static const char *const names[] = {"baseline", "neon", "avx2", "avx512"};
    fill();
    for (size_t i = 0; i < COUNT(names); i++) {
        const nnl_kernels *k = nnl_kernels_named(names[i]);
        if (!k) continue;
        test_all(k);
        test_product(k);
        test_long_sums(k);
        test_nan(k);
        test_nan_columns(k);
        test_places(k);
        test_nan_places(k);
        test_moments(k);
    }
    return check_end();
}
