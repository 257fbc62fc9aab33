// test_convert.c: loads and stores of every dtype (kernel/isa/convert.c), for every instruction set, against
// plain C.
#include "check.h"
#include "kernel_sets.h"

#include <stdint.h>
#include <string.h>

// ---- 16-bit floats by the book: what the digits mean, and the nearest of them, ties to even

typedef struct half_format {
    nnl_dtype dtype;
    int digits, least; // digits after the point, exponent of the smallest normal number
} half_format;

static const half_format formats[] = {{NNL_FLOAT16, 10, -14}, {NNL_BFLOAT16, 7, -126}};

static double half_value(const half_format *f, uint16_t bits) {
    int exponent = (bits & 0x7fff) >> f->digits, fraction = bits & ((1 << f->digits) - 1);
    bool special = exponent == (0x7fff >> f->digits);
    double magnitude = special && fraction ? NAN : special ? INFINITY : 0;
    if (!special && exponent > 0)
        magnitude = ldexp((1 << f->digits) + fraction, exponent - 1 + f->least - f->digits);
    if (!special && exponent == 0) magnitude = ldexp(fraction, f->least - f->digits);
    return copysign(magnitude, bits & 0x8000 ? -1 : 1);
}

static double half_nearest(const half_format *f, double x) {
    if (x == 0 || !isfinite(x)) return x;
    int exponent;
    frexp(x, &exponent);
    int step = (exponent - 1 < f->least ? f->least : exponent - 1) - f->digits;
    double rounded = ldexp(rint(ldexp(x, -step)), step), end = ldexp(1, 1 - f->least + 1);
    return fabs(rounded) >= end ? copysign(INFINITY, x) : rounded;
}

#define ALL_HALVES 65536

static void test_halves(const nnl_convert_kernels *k, const half_format *f) {
    check_that("every 16-bit float loads exactly, and stores as itself");
    static uint16_t bits[ALL_HALVES], back[ALL_HALVES], back_double[ALL_HALVES];
    static float x[ALL_HALVES];
    static double xd[ALL_HALVES];
    for (size_t i = 0; i < ALL_HALVES; i++) bits[i] = (uint16_t)i;
    k->load[f->dtype][NNL_IN_FLOAT](ALL_HALVES, x, bits, 1);
    k->load[f->dtype][NNL_IN_DOUBLE](ALL_HALVES, xd, bits, 1);
    k->store[f->dtype][NNL_IN_FLOAT](ALL_HALVES, back, 1, x);
    k->store[f->dtype][NNL_IN_DOUBLE](ALL_HALVES, back_double, 1, xd);
    for (size_t i = 0; i < ALL_HALVES; i++) {
        double value = half_value(f, bits[i]);
        CHECK_NEAR((double)x[i], value, 0);
        CHECK_NEAR(xd[i], value, 0);
        bool same = isnan(value) ? isnan(half_value(f, back[i])) && isnan(half_value(f, back_double[i]))
                                 : back[i] == bits[i] && back_double[i] == bits[i];
        CHECK_MESSAGE(same, "%04x comes back as %04x and %04x", bits[i], back[i], back_double[i]);
    }
}

// Around each 16-bit float and the point half way to the next, where rounding turns.
static void test_rounding(const nnl_convert_kernels *k, const half_format *f) {
    check_that("storing to 16 bits rounds once, to nearest, ties to even");
    for (uint32_t i = 0; i < 0x7f00; i += 7) {
        double low = half_value(f, (uint16_t)i), high = half_value(f, (uint16_t)(i + 1));
        if (!isfinite(low)) break;
        double middle = isfinite(high) ? (low + high) / 2 : low * (1 + ldexp(0.5, -f->digits));
        double near[] = {middle, middle * (1 + 0x1p-40), middle * (1 - 0x1p-40), middle * (1 + 0x1p-20),
                         -middle};
        float near_float[5];
        uint16_t from_double[5], from_float[5];
        for (int j = 0; j < 5; j++) near_float[j] = (float)near[j];
        k->store[f->dtype][NNL_IN_DOUBLE](5, from_double, 1, near);
        k->store[f->dtype][NNL_IN_FLOAT](5, from_float, 1, near_float);
        for (int j = 0; j < 5; j++) {
            CHECK_NEAR(half_value(f, from_double[j]), half_nearest(f, near[j]), 0);
            CHECK_NEAR(half_value(f, from_float[j]), half_nearest(f, (double)near_float[j]), 0);
        }
    }
}

// ---- all pairs

static const size_t dtype_bytes[NNL_DTYPE_COUNT] = {
    [NNL_FLOAT32] = 4, [NNL_FLOAT64] = 8, [NNL_INT64] = 8,    [NNL_INT32] = 4,
    [NNL_UINT8] = 1,   [NNL_BOOL] = 1,    [NNL_BFLOAT16] = 2, [NNL_FLOAT16] = 2};
static const size_t compute_bytes[NNL_COMPUTE_COUNT] = {4, 8, 8};

// One element of memory as a number, and of a compute type as a number.
static double memory_value(nnl_dtype dtype, const void *x) {
    union {
        float f;
        double d;
        int64_t l;
        int32_t i;
        uint16_t h;
        uint8_t b;
    } u;
    memcpy(&u, x, dtype_bytes[dtype]);
    switch (dtype) {
    case NNL_FLOAT32:
        return (double)u.f;
    case NNL_FLOAT64:
        return u.d;
    case NNL_INT64:
        return (double)u.l;
    case NNL_INT32:
        return u.i;
    case NNL_FLOAT16:
        return half_value(&formats[0], u.h);
    case NNL_BFLOAT16:
        return half_value(&formats[1], u.h);
    default:
        return u.b;
    }
}

static double compute_value(nnl_compute compute, const void *x) {
    static const nnl_dtype same[] = {NNL_FLOAT32, NNL_FLOAT64, NNL_INT64};
    return memory_value(same[compute], x);
}

#define LONGEST 37

// Small whole numbers, which every type holds.
static double small(size_t i) { return (double)(i * 5 % 11); }

// Loads and stores with one stride: small numbers go from double to memory and from there to each compute
// type.
static void test_stride(const nnl_convert_kernels *k, nnl_dtype dtype, nnl_compute compute,
                        ptrdiff_t stride) {
    size_t size = dtype_bytes[dtype], at_least = (size_t)(stride < 0 ? -stride : stride);
    double memory_of_doubles[LONGEST * 4], x[LONGEST];
    double out[LONGEST];
    char *memory = (char *)memory_of_doubles,
         *first = memory + (stride < 0 ? (LONGEST - 1) * at_least * size : 0);
    memset(memory, 0, sizeof memory_of_doubles);
    for (size_t i = 0; i < LONGEST; i++) x[i] = dtype == NNL_BOOL ? small(i) > 5 : small(i);
    size_t n = stride == 0 ? 1 : LONGEST;
    k->store[dtype][NNL_IN_DOUBLE](n, first, stride, x);
    k->load[dtype][compute](LONGEST, out, first, stride);
    for (size_t i = 0; i < LONGEST; i++) {
        double expected = stride == 0 ? x[0] : x[i];
        CHECK_NEAR(memory_value(dtype, first + (ptrdiff_t)i * stride * (ptrdiff_t)size), expected, 0);
        CHECK_NEAR(compute_value(compute, (char *)out + i * compute_bytes[compute]), expected, 0);
    }
    k->store[dtype][compute](LONGEST, memory, 1, out);
    for (size_t i = 0; i < LONGEST; i++)
        CHECK_NEAR(memory_value(dtype, memory + i * size), stride == 0 ? x[0] : x[i], 0);
}

static void test_pairs(const nnl_convert_kernels *k) {
    check_that("every dtype goes to every compute type and back, at strides 1, 0, 3 and -2");
    static const ptrdiff_t strides[] = {1, 0, 3, -2};
    for (int dtype = 0; dtype < NNL_DTYPE_COUNT; dtype++)
        for (int compute = 0; compute < NNL_COMPUTE_COUNT; compute++)
            for (int s = 0; s < 4; s++) test_stride(k, (nnl_dtype)dtype, (nnl_compute)compute, strides[s]);
}

static void test_floats_to_integers(const nnl_convert_kernels *k) {
    check_that("a float becomes an integer towards zero; NaN and what lies beyond are the smallest integer");
    const float x[] = {-2.9f, 2.9f, NAN, INFINITY, -INFINITY, 1e30f, -1.0f, 300.5f};
    double xd[8];
    int64_t l[8], ld[8], loaded[8];
    int32_t i[8];
    uint8_t b[8], t[8];
    for (int j = 0; j < 8; j++) xd[j] = (double)x[j];
    k->store[NNL_INT64][NNL_IN_FLOAT](8, l, 1, x);
    k->store[NNL_INT64][NNL_IN_DOUBLE](8, ld, 1, xd);
    k->load[NNL_FLOAT32][NNL_IN_INT](8, loaded, x, 1);
    const int64_t expected[] = {-2, 2, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, -1, 300};
    for (int j = 0; j < 8; j++)
        CHECK(l[j] == expected[j] && ld[j] == expected[j] && loaded[j] == expected[j]);
    k->store[NNL_INT32][NNL_IN_FLOAT](8, i, 1, x);
    k->store[NNL_UINT8][NNL_IN_FLOAT](8, b, 1, x);
    k->store[NNL_BOOL][NNL_IN_FLOAT](8, t, 1, x);
    for (int j = 0; j < 8; j++) {
        int32_t narrow = expected[j] == INT64_MIN ? INT32_MIN : (int32_t)expected[j];
        CHECK(i[j] == narrow && b[j] == (uint8_t)narrow && t[j] == 1);
    }
    check_that("integers wrap around on the way to fewer bits, and are true unless 0");
    const int64_t y[] = {1LL << 40, 256, -1, 0x180000001};
    k->store[NNL_INT32][NNL_IN_INT](4, i, 1, y);
    k->store[NNL_UINT8][NNL_IN_INT](4, b, 1, y);
    k->store[NNL_BOOL][NNL_IN_INT](4, t, 1, y);
    CHECK(i[0] == 0 && i[1] == 256 && i[2] == -1 && i[3] == INT32_MIN + 1);
    CHECK(b[0] == 0 && b[1] == 0 && b[2] == 255 && b[3] == 1);
    CHECK(t[0] == 1 && t[1] == 1 && t[2] == 1 && t[3] == 1);
}

int main(void) {
    kernel_set sets[KERNEL_SETS];
    kernel_sets_fill(sets);
    for (int s = 0; s < KERNEL_SETS; s++) {
        if (!sets[s].runs) continue;
        printf("%s\n", sets[s].isa);
        test_pairs(sets[s].convert);
        test_floats_to_integers(sets[s].convert);
        for (int f = 0; f < 2; f++) {
            test_halves(sets[s].convert, &formats[f]);
            test_rounding(sets[s].convert, &formats[f]);
        }
    }
    return check_end();
}
