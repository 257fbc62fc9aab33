// test_elementwise.c: the kernels of kernel/isa/elementwise.c and convert.c for every instruction set,
// against plain C. The accuracy of the float functions is test_vmath.c's subject.
#include "check.h"
#include "kernel_sets.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct named {
    const char *name;
    int index;
} named;

static const named unary_names[] = {
#define UNARY(name, ...) {#name, NNL_UNARY_##name},
#define UNARY_ANY UNARY
#define UNARY_WITH UNARY
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_ANY
#undef UNARY_WITH
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const double parameters[2] = {0.7, 2.2};

// Apart from the kinks of every operation under these parameters.
static const double points[] = {-3.3, -2.7, -1.3, -0.45, 0.15, 0.35, 0.8, 1.7, 2.9, 4.6};

typedef struct derivatives {
    double y, d, d2;
} derivatives;

static derivatives at_point(const nnl_elementwise_kernels *k, int op, double x) {
    derivatives r;
    const double one = 1;
    k->unary[op][NNL_IN_DOUBLE](1, &r.y, &x, parameters);
    k->unary_grad[op][NNL_IN_DOUBLE](1, &r.d, &one, &x, &r.y, parameters);
    k->unary_grad2[op][NNL_IN_DOUBLE](1, &r.d2, &one, &one, &x, &r.y, parameters);
    return r;
}

static void test_derivatives(const nnl_elementwise_kernels *k) {
    check_that("the derivatives in double agree with finite differences");
    const double h = 1e-6;
    for (size_t i = 0; i < COUNT(unary_names); i++) {
        const named *op = &unary_names[i];
        for (size_t j = 0; j < COUNT(points); j++) {
            derivatives low = at_point(k, op->index, points[j] - h),
                        high = at_point(k, op->index, points[j] + h);
            derivatives middle = at_point(k, op->index, points[j]);
            if (isnan(low.y)) continue;
            double d = (high.y - low.y) / (2 * h), d2 = (high.d - low.d) / (2 * h);
            CHECK_MESSAGE(check_is_near(middle.d, d, 1e-7), "%s' at %g is %.9g, not %.9g", op->name,
                          points[j], middle.d, d);
            CHECK_MESSAGE(check_is_near(middle.d2, d2, 1e-6), "%s'' at %g is %.9g, not %.9g", op->name,
                          points[j], middle.d2, d2);
        }
    }
}

#define MANY 203

static void fill_line(float *x, double from, double to) {
    for (int i = 0; i < MANY; i++) x[i] = (float)(from + (to - from) * i / (MANY - 1));
}

static void compare_with_double(const nnl_elementwise_kernels *k, const named *op, double from, double to) {
    float x[MANY], y[MANY], d[MANY], d2[MANY], u[MANY], dout[MANY];
    fill_line(x, from, to);
    fill_line(u, 2, 3);
    fill_line(dout, -1, 1);
    k->unary[op->index][NNL_IN_FLOAT](MANY, y, x, parameters);
    k->unary_grad[op->index][NNL_IN_FLOAT](MANY, d, dout, x, y, parameters);
    k->unary_grad2[op->index][NNL_IN_FLOAT](MANY, d2, u, dout, x, y, parameters);
    for (int i = 0; i < MANY; i++) {
        derivatives r = at_point(k, op->index, (double)x[i]);
        double exact_d = (double)dout[i] * r.d, exact_d2 = (double)u[i] * (double)dout[i] * r.d2;
        CHECK_MESSAGE(check_is_near((double)y[i], r.y, 1e-6), "%s(%g) is %.9g, not %.9g", op->name,
                      (double)x[i], (double)y[i], r.y);
        CHECK_MESSAGE(check_is_near((double)d[i], exact_d, 3e-6), "%s'(%g) is %.9g, not %.9g", op->name,
                      (double)x[i], (double)d[i], exact_d);
        CHECK_MESSAGE(check_is_near((double)d2[i], exact_d2, 2e-5), "%s''(%g) is %.9g, not %.9g", op->name,
                      (double)x[i], (double)d2[i], exact_d2);
    }
}

static void test_floats_like_doubles(const nnl_elementwise_kernels *k) {
    check_that("every function of one number and its derivatives are in float what they are in double");
    for (size_t i = 0; i < COUNT(unary_names); i++) {
        compare_with_double(k, &unary_names[i], 0.21, 1.49);
        compare_with_double(k, &unary_names[i], 2.27, 9.71);
        if (unary_names[i].index == NNL_UNARY_tan) continue; // its poles make small differences large
        compare_with_double(k, &unary_names[i], -12.3, -0.011);
    }
}

static void test_far_out(const nnl_elementwise_kernels *k) {
    check_that("at infinity the activations and their derivatives have their limits, not NaN");
    static const int ops[] = {NNL_UNARY_gelu_erf, NNL_UNARY_gelu_tanh, NNL_UNARY_silu, NNL_UNARY_mish};
    for (size_t i = 0; i < COUNT(ops); i++) {
        derivatives low = at_point(k, ops[i], -INFINITY), high = at_point(k, ops[i], INFINITY);
        CHECK(low.y == 0 && low.d == 0 && low.d2 == 0);
        CHECK(high.y == INFINITY && high.d == 1 && high.d2 == 0);
        const float x[2] = {-INFINITY, INFINITY}, ones[2] = {1, 1};
        float y[2], d[2], d2[2];
        k->unary[ops[i]][NNL_IN_FLOAT](2, y, x, NULL);
        k->unary_grad[ops[i]][NNL_IN_FLOAT](2, d, ones, x, y, NULL);
        k->unary_grad2[ops[i]][NNL_IN_FLOAT](2, d2, ones, ones, x, y, NULL);
        CHECK(y[0] == 0 && d[0] == 0 && d2[0] == 0);
        CHECK(y[1] == INFINITY && d[1] == 1 && d2[1] == 0);
    }
    check_that("NaN goes through every function of one number; its sign is 0");
    for (size_t i = 0; i < COUNT(unary_names); i++) {
        const float x = NAN;
        float y;
        k->unary[unary_names[i].index][NNL_IN_FLOAT](1, &y, &x, parameters);
        bool sign = unary_names[i].index == NNL_UNARY_sign;
        CHECK_MESSAGE(sign ? y == 0 : isnan(y), "%s(NaN) is %g", unary_names[i].name, (double)y);
    }
}

static void test_lengths(const nnl_elementwise_kernels *k) {
    check_that("a kernel writes n elements and no more, in place too");
    float x[64], y[65];
    for (size_t n = 0; n <= 64; n++) {
        for (size_t i = 0; i < 64; i++) x[i] = (float)i / 16 - 2;
        memcpy(y, x, sizeof x);
        y[n] = 99;
        k->unary[NNL_UNARY_exp][NNL_IN_FLOAT](n, y, y, NULL);
        for (size_t i = 0; i < n; i++) CHECK_NEAR((double)y[i], exp((double)x[i]), 1e-6);
        CHECK(y[n] == 99);
    }
}

// ---- operations on two numbers

typedef double binary_reference(double a, double b);

static double add(double a, double b) { return a + b; }
static double sub(double a, double b) { return a - b; }
static double mul(double a, double b) { return a * b; }
static double divide(double a, double b) { return a / b; }
static double maximum(double a, double b) { return isnan(a) || isnan(b) ? NAN : fmax(a, b); }
static double minimum(double a, double b) { return isnan(a) || isnan(b) ? NAN : fmin(a, b); }
static double remainder_of(double a, double b) {
    double r = fmod(a, b);
    return r != 0 && signbit(r) != signbit(b) ? r + b : r;
}

// What the remainder leaves is a multiple of b.
static double floor_divide(double a, double b) {
    double left = remainder_of(a, b);
    return b == 0 ? a / b : isinf(left) ? -1 : rint((a - left) / b);
}

static binary_reference *const binary_references[NNL_BINARY_COUNT] = {
    [NNL_BINARY_add] = add,
    [NNL_BINARY_sub] = sub,
    [NNL_BINARY_mul] = mul,
    [NNL_BINARY_div] = divide,
    [NNL_BINARY_pow] = pow,
    [NNL_BINARY_maximum] = maximum,
    [NNL_BINARY_minimum] = minimum,
    [NNL_BINARY_floor_divide] = floor_divide,
    [NNL_BINARY_remainder] = remainder_of,
    [NNL_BINARY_atan2] = atan2,
};

static const double odd_numbers[] = {0,    -0.0,     1,         -1,   2.5,       -2.5, 7,
                                     -7.5, INFINITY, -INFINITY, NAN,  0x1p-140,  64,   -0.125,
                                     3e38, 100,      0.75,      1e-3, 1.0000001, 20,   -3e38};

#define ODD COUNT(odd_numbers)
#define PAIRS (ODD * ODD)

typedef struct pairs {
    double a[PAIRS], b[PAIRS];
    float af[PAIRS], bf[PAIRS];
} pairs;

static void pairs_fill(pairs *p) {
    for (size_t i = 0; i < PAIRS; i++) {
        p->af[i] = (float)odd_numbers[i / ODD];
        p->bf[i] = (float)odd_numbers[i % ODD];
        p->a[i] = (double)p->af[i];
        p->b[i] = (double)p->bf[i];
    }
}

// Two roundings, to double and to float, may differ from one by the last digit.
static bool is_float_near(float got, double expected) {
    float rounded = (float)expected;
    return check_is_near((double)got, (double)rounded,
                         2e-7 * fmax(1, fabs((double)got)) / fmax(1, fabs(expected)));
}

static void test_binary(const nnl_elementwise_kernels *k) {
    check_that("operations on two numbers are what C says, NaN and infinity included");
    static pairs p;
    pairs_fill(&p);
    float f[PAIRS];
    double d[PAIRS];
    for (int op = 0; op < NNL_BINARY_COUNT; op++) {
        k->binary[op][NNL_IN_FLOAT](PAIRS, f, p.af, p.bf);
        k->binary[op][NNL_IN_DOUBLE](PAIRS, d, p.a, p.b);
        for (size_t i = 0; i < PAIRS; i++) {
            double expected = binary_references[op](p.a[i], p.b[i]);
            CHECK_MESSAGE(is_float_near(f[i], expected), "float operation %d of %g, %g is %.9g, not %.9g", op,
                          p.a[i], p.b[i], (double)f[i], expected);
            CHECK_MESSAGE(check_is_near(d[i], expected, 1e-15),
                          "double operation %d of %g, %g is %.17g, not %.17g", op, p.a[i], p.b[i], d[i],
                          expected);
        }
    }
}

static bool same_floats(const float *a, const float *b) {
    for (size_t i = 0; i < ODD; i++) {
        if (a[i] != b[i] && !(isnan(a[i]) && isnan(b[i]))) return false;
    }
    return true;
}

static void test_binary_numbers(const nnl_elementwise_kernels *k) {
    check_that("a number beside an array does what an array of that number does");
    static pairs p;
    pairs_fill(&p); // in each ODD of them, a is one number and b all
    for (int op = 0; op < NNL_BINARY_COUNT; op++) {
        for (size_t at = 0; at < PAIRS; at += ODD) {
            float arrays[ODD], number[ODD];
            k->binary[op][NNL_IN_FLOAT](ODD, arrays, p.af + at, p.bf + at);
            k->binary_first[op][NNL_IN_FLOAT](ODD, number, p.af + at, p.bf + at);
            CHECK_MESSAGE(same_floats(arrays, number), "operation %d, number first: %g", op, p.a[at]);
            k->binary[op][NNL_IN_FLOAT](ODD, arrays, p.bf + at, p.af + at);
            k->binary_second[op][NNL_IN_FLOAT](ODD, number, p.bf + at, p.af + at);
            CHECK_MESSAGE(same_floats(arrays, number), "operation %d, number second: %g", op, p.a[at]);
        }
    }
}

static const int64_t odd_integers[] = {
    0, 1, -1, 2, -2, 3, 7, -7, 10, 63, INT64_MAX, INT64_MIN, INT64_MIN + 1, 1LL << 40};

#define ODD_INTS COUNT(odd_integers)
#define INT_PAIRS (ODD_INTS * ODD_INTS)

static int64_t wrap(__int128 x) { return (int64_t)(uint64_t)(unsigned __int128)x; }

static int64_t int_power(int64_t a, int64_t b) {
    if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
    if (b > 64) return a == 0 || a == 1 ? a : a == -1 ? (b % 2 ? -1 : 1) : a % 2 ? wrap(0) : 0;
    int64_t power = 1;
    for (int64_t i = 0; i < b; i++) power = wrap((__int128)power * a);
    return power;
}

static int64_t int_reference(int op, int64_t a, int64_t b) {
    __int128 quotient = b == 0 ? 0 : (__int128)a / b, rest = b == 0 ? 0 : (__int128)a % b;
    bool down = rest != 0 && (a < 0) != (b < 0);
    switch (op) {
    case NNL_BINARY_add:
        return wrap((__int128)a + b);
    case NNL_BINARY_sub:
        return wrap((__int128)a - b);
    case NNL_BINARY_mul:
        return wrap((__int128)a * b);
    case NNL_BINARY_pow:
        return int_power(a, b);
    case NNL_BINARY_maximum:
        return a > b ? a : b;
    case NNL_BINARY_minimum:
        return a < b ? a : b;
    case NNL_BINARY_floor_divide:
        return wrap(quotient - down);
    case NNL_BINARY_remainder:
        return wrap(down ? rest + b : rest);
    default:
        return 0;
    }
}

static void test_integers(const nnl_elementwise_kernels *k) {
    check_that("integers wrap around, and division by 0 or -1 does not trap");
    int64_t a[INT_PAIRS], b[INT_PAIRS], out[INT_PAIRS];
    for (size_t i = 0; i < INT_PAIRS; i++)
        a[i] = odd_integers[i / ODD_INTS], b[i] = odd_integers[i % ODD_INTS];
    for (int op = 0; op < NNL_BINARY_COUNT; op++) {
        k->binary[op][NNL_IN_INT](INT_PAIRS, out, a, b);
        for (size_t i = 0; i < INT_PAIRS; i++) {
            bool large_odd_power =
                op == NNL_BINARY_pow && b[i] > 64 && a[i] % 2 != 0 && a[i] != 1 && a[i] != -1;
            if (large_odd_power) continue; // no plain reference: 3^INT64_MAX and the like
            int64_t expected = int_reference(op, a[i], b[i]);
            CHECK_MESSAGE(out[i] == expected, "integer operation %d of %lld, %lld is %lld, not %lld", op,
                          (long long)a[i], (long long)b[i], (long long)out[i], (long long)expected);
        }
    }
    check_that("functions of one integer keep it an integer");
    const int64_t x[4] = {-3, 0, 5, INT64_MIN};
    int64_t y[4];
    k->unary[NNL_UNARY_abs][NNL_IN_INT](4, y, x, NULL);
    CHECK(y[0] == 3 && y[1] == 0 && y[2] == 5 && y[3] == INT64_MIN);
    k->unary[NNL_UNARY_neg][NNL_IN_INT](4, y, x, NULL);
    CHECK(y[0] == 3 && y[1] == 0 && y[2] == -5 && y[3] == INT64_MIN);
    k->unary[NNL_UNARY_square][NNL_IN_INT](4, y, x, NULL);
    CHECK(y[0] == 9 && y[1] == 0 && y[2] == 25 && y[3] == 0);
    k->unary[NNL_UNARY_sign][NNL_IN_INT](4, y, x, NULL);
    CHECK(y[0] == -1 && y[1] == 0 && y[2] == 1 && y[3] == -1);
    CHECK(k->unary[NNL_UNARY_exp][NNL_IN_INT] == NULL);
}

static bool compare_reference(int op, double a, double b) {
    switch (op) {
    case NNL_COMPARE_eq:
        return a == b;
    case NNL_COMPARE_ne:
        return a != b;
    case NNL_COMPARE_lt:
        return a < b;
    case NNL_COMPARE_le:
        return a <= b;
    case NNL_COMPARE_gt:
        return a > b;
    case NNL_COMPARE_ge:
        return a >= b;
    case NNL_COMPARE_logical_and:
        return a != 0 && b != 0;
    case NNL_COMPARE_logical_or:
        return a != 0 || b != 0;
    default:
        return (a != 0) != (b != 0);
    }
}

static bool test_reference(int op, double x) {
    switch (op) {
    case NNL_TEST_isnan:
        return isnan(x);
    case NNL_TEST_isinf:
        return isinf(x);
    case NNL_TEST_isfinite:
        return isfinite(x);
    default:
        return x == 0;
    }
}

static void test_truths(const nnl_elementwise_kernels *k) {
    check_that("comparisons and tests give 0 or 1 as in C, for floats, doubles and integers");
    static pairs p;
    pairs_fill(&p);
    int64_t ai[PAIRS], bi[PAIRS];
    uint8_t f[PAIRS], d[PAIRS], i64[PAIRS];
    for (size_t i = 0; i < PAIRS; i++) ai[i] = (int64_t)(i % 5) - 2, bi[i] = (int64_t)(i % 3) - 1;
    for (int op = 0; op < NNL_COMPARE_COUNT; op++) {
        k->compare[op][NNL_IN_FLOAT](PAIRS, f, p.af, p.bf);
        k->compare[op][NNL_IN_DOUBLE](PAIRS, d, p.a, p.b);
        k->compare[op][NNL_IN_INT](PAIRS, i64, ai, bi);
        for (size_t i = 0; i < PAIRS; i++) {
            CHECK(f[i] == compare_reference(op, p.a[i], p.b[i]) && d[i] == f[i]);
            CHECK(i64[i] == compare_reference(op, (double)ai[i], (double)bi[i]));
        }
    }
    for (int op = 0; op < NNL_TEST_COUNT; op++) {
        k->test[op][NNL_IN_FLOAT](PAIRS, f, p.bf);
        k->test[op][NNL_IN_DOUBLE](PAIRS, d, p.b);
        k->test[op][NNL_IN_INT](PAIRS, i64, bi);
        for (size_t i = 0; i < PAIRS; i++) {
            CHECK(f[i] == test_reference(op, p.b[i]) && d[i] == f[i]);
            CHECK(i64[i] == test_reference(op, (double)bi[i]));
        }
    }
}

static void test_where(const nnl_elementwise_kernels *k) {
    check_that("where takes whole elements of 1, 2, 4 and 8 bytes");
    uint8_t c[40], a[320], b[320], out[320];
    for (size_t i = 0; i < 320; i++) a[i] = (uint8_t)i, b[i] = (uint8_t)(255 - i);
    for (size_t i = 0; i < 40; i++) c[i] = (uint8_t)(i % 3 == 0);
    for (size_t log = 0; log < 4; log++) {
        size_t bytes = (size_t)1 << log;
        k->where[log](40, out, c, a, b);
        for (size_t i = 0; i < 40 * bytes; i++) CHECK(out[i] == (c[i / bytes] ? a[i] : b[i]));
    }
}

int main(void) {
    kernel_set sets[KERNEL_SETS];
    kernel_sets_fill(sets);
    for (int s = 0; s < KERNEL_SETS; s++) {
        if (!sets[s].runs) continue;
        const nnl_elementwise_kernels *k = sets[s].elementwise;
        printf("%s\n", sets[s].isa);
        test_derivatives(k);
        test_floats_like_doubles(k);
        test_far_out(k);
        test_lengths(k);
        test_binary(k);
        test_binary_numbers(k);
        test_integers(k);
        test_truths(k);
        test_where(k);
    }
    return check_end();
}
