// convert.c: elements of every dtype to the compute types and back (kernel.h: load, store). A contiguous row
// is a plain loop that becomes vector code; other strides go element by element.
#include "kernel/isa/isa.h"

#include <math.h>
#include <string.h>

typedef struct bfloat16 {
    uint16_t bits;
} bfloat16;

typedef struct float16 {
    uint16_t bits;
} float16;

typedef struct truth {
    uint8_t value;
} truth;

// ---- one element: from memory to float, double and int64_t, and back

// Towards zero. What lies beyond the range, and NaN, becomes the smallest integer, as x86 processors have it,
// and PyTorch on them.
NNL_INLINE int64_t double_to_int(double x) {
    return x >= -9223372036854775808.0 && x < 9223372036854775808.0 ? (int64_t)x : INT64_MIN;
}

// Integers of 32 bits and fewer: the low bits of one of 32.
NNL_INLINE int32_t double_to_int32(double x) {
    return x > -2147483649.0 && x < 2147483648.0 ? (int32_t)x : INT32_MIN;
}

NNL_INLINE uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

NNL_INLINE float bits_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

NNL_INLINE float bfloat16_to_float(bfloat16 x) { return bits_float((uint32_t)x.bits << 16); }

NNL_INLINE bfloat16 float_to_bfloat16(float x) {
    uint32_t bits = float_bits(x);
    uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (bfloat16){(uint16_t)(x != x ? (bits >> 16) | 0x40u : rounded)};
}

// The exponent is moved by 112; subnormal halves are made exact by a subtraction.
NNL_INLINE float float16_to_float(float16 x) {
    uint32_t magnitude = (uint32_t)(x.bits & 0x7fff) << 13, sign = (uint32_t)(x.bits & 0x8000) << 16;
    uint32_t exponent = magnitude & 0x0f800000u;
    uint32_t normal = magnitude + (exponent == 0x0f800000u ? 0x70000000u : 0x38000000u);
    float subnormal = bits_float(magnitude + 0x38800000u) - bits_float(0x38800000u);
    return bits_float((exponent == 0 ? float_bits(subnormal) : normal) | sign);
}

// Round to nearest even: normal halves by an integer addition at the last kept bit, subnormal ones by a float
// addition whose unit is the smallest half.
NNL_INLINE float16 float_to_float16(float x) {
    uint32_t bits = float_bits(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    uint32_t odd = (magnitude >> 13) & 1u;
    uint32_t normal = (magnitude - 0x38000000u + 0xfffu + odd) >> 13;
    uint32_t subnormal = float_bits(bits_float(magnitude) + 0.5f) - float_bits(0.5f);
    uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
    uint32_t value = magnitude > 0x7f800000u ? 0x7e00u : magnitude >= 0x477ff000u ? 0x7c00u : finite;
    return (float16){(uint16_t)(sign | value)};
}

// To float by rounding to odd: truncated, the last bit set if anything was lost. A rounding to fewer digits
// after it gives what one rounding would have given (Boldo and Melquiond 2008).
NNL_INLINE float double_to_odd_float(double x) {
    float nearest = (float)x;
    uint32_t bits = float_bits(nearest);
    uint32_t truncated = bits - (fabs((double)nearest) > fabs(x));
    return bits_float((double)nearest == x || x != x ? bits : truncated | 1u);
}

NNL_INLINE float load_float_float32(float x) { return x; }
NNL_INLINE float load_float_float64(double x) { return (float)x; }
NNL_INLINE float load_float_int64(int64_t x) { return (float)x; }
NNL_INLINE float load_float_int32(int32_t x) { return (float)x; }
NNL_INLINE float load_float_uint8(uint8_t x) { return (float)x; }
NNL_INLINE float load_float_bool(truth x) { return (float)x.value; }
NNL_INLINE float load_float_bfloat16(bfloat16 x) { return bfloat16_to_float(x); }
NNL_INLINE float load_float_float16(float16 x) { return float16_to_float(x); }

NNL_INLINE double load_double_float32(float x) { return (double)x; }
NNL_INLINE double load_double_float64(double x) { return x; }
NNL_INLINE double load_double_int64(int64_t x) { return (double)x; }
NNL_INLINE double load_double_int32(int32_t x) { return (double)x; }
NNL_INLINE double load_double_uint8(uint8_t x) { return (double)x; }
NNL_INLINE double load_double_bool(truth x) { return (double)x.value; }
NNL_INLINE double load_double_bfloat16(bfloat16 x) { return (double)bfloat16_to_float(x); }
NNL_INLINE double load_double_float16(float16 x) { return (double)float16_to_float(x); }

NNL_INLINE int64_t load_int_float32(float x) { return double_to_int((double)x); }
NNL_INLINE int64_t load_int_float64(double x) { return double_to_int(x); }
NNL_INLINE int64_t load_int_int64(int64_t x) { return x; }
NNL_INLINE int64_t load_int_int32(int32_t x) { return x; }
NNL_INLINE int64_t load_int_uint8(uint8_t x) { return x; }
NNL_INLINE int64_t load_int_bool(truth x) { return x.value; }
NNL_INLINE int64_t load_int_bfloat16(bfloat16 x) { return double_to_int((double)bfloat16_to_float(x)); }
NNL_INLINE int64_t load_int_float16(float16 x) { return double_to_int((double)float16_to_float(x)); }

NNL_INLINE float store_float_float32(float x) { return x; }
NNL_INLINE double store_float_float64(float x) { return (double)x; }
NNL_INLINE int64_t store_float_int64(float x) { return double_to_int((double)x); }
NNL_INLINE int32_t store_float_int32(float x) { return double_to_int32((double)x); }
NNL_INLINE uint8_t store_float_uint8(float x) { return (uint8_t)double_to_int32((double)x); }
NNL_INLINE truth store_float_bool(float x) { return (truth){x != 0}; }
NNL_INLINE bfloat16 store_float_bfloat16(float x) { return float_to_bfloat16(x); }
NNL_INLINE float16 store_float_float16(float x) { return float_to_float16(x); }

NNL_INLINE float store_double_float32(double x) { return (float)x; }
NNL_INLINE double store_double_float64(double x) { return x; }
NNL_INLINE int64_t store_double_int64(double x) { return double_to_int(x); }
NNL_INLINE int32_t store_double_int32(double x) { return double_to_int32(x); }
NNL_INLINE uint8_t store_double_uint8(double x) { return (uint8_t)double_to_int32(x); }
NNL_INLINE truth store_double_bool(double x) { return (truth){x != 0}; }
NNL_INLINE bfloat16 store_double_bfloat16(double x) { return float_to_bfloat16(double_to_odd_float(x)); }
NNL_INLINE float16 store_double_float16(double x) { return float_to_float16(double_to_odd_float(x)); }

NNL_INLINE float store_int_float32(int64_t x) { return (float)x; }
NNL_INLINE double store_int_float64(int64_t x) { return (double)x; }
NNL_INLINE int64_t store_int_int64(int64_t x) { return x; }
NNL_INLINE int32_t store_int_int32(int64_t x) { return (int32_t)x; }
NNL_INLINE uint8_t store_int_uint8(int64_t x) { return (uint8_t)x; }
NNL_INLINE truth store_int_bool(int64_t x) { return (truth){x != 0}; }
NNL_INLINE bfloat16 store_int_bfloat16(int64_t x) { return store_double_bfloat16((double)x); }
NNL_INLINE float16 store_int_float16(int64_t x) { return float_to_float16((float)x); }

// ---- the loops, given an element function; inlined, a row of stride 1 is plain vector code

typedef void element_fn(void *out, const void *x);

NNL_INLINE void each(size_t n, void *out, ptrdiff_t out_step, const void *x, ptrdiff_t x_step,
                     element_fn *f) {
    char *to = out;
    const char *from = x;
    NNL_INDEPENDENT
    for (ptrdiff_t i = 0; i < (ptrdiff_t)n; i++) f(to + i * out_step, from + i * x_step);
}

typedef union any_compute {
    float as_float;
    double as_double;
    int64_t as_int;
} any_compute;

NNL_INLINE void copy_float(void *out, const void *x) { *(float *)out = *(const float *)x; }
NNL_INLINE void copy_double(void *out, const void *x) { *(double *)out = *(const double *)x; }
NNL_INLINE void copy_int(void *out, const void *x) { *(int64_t *)out = *(const int64_t *)x; }

// Stride 0, a broadcast value, is converted once. Sizes are in bytes.
NNL_INLINE void load_each(size_t n, void *out, ptrdiff_t out_size, const void *x, ptrdiff_t x_size,
                          ptrdiff_t stride, element_fn *f, element_fn *copy) {
    if (n == 0) return;
    any_compute value;
    switch (stride) {
    case 1:
        each(n, out, out_size, x, x_size, f);
        return;
    case 0:
        f(&value, x);
        each(n, out, out_size, &value, 0, copy);
        return;
    default:
        each(n, out, out_size, x, x_size * stride, f);
    }
}

NNL_INLINE void store_each(size_t n, void *out, ptrdiff_t out_size, ptrdiff_t stride, const void *x,
                           ptrdiff_t x_size, element_fn *f) {
    if (stride == 1)
        each(n, out, out_size, x, x_size, f);
    else
        each(n, out, out_size * stride, x, x_size, f);
}

#define DTYPES(row, compute, type)                                                                           \
    row(compute, type, float32, float) row(compute, type, float64, double)                                   \
        row(compute, type, int64, int64_t) row(compute, type, int32, int32_t)                                \
            row(compute, type, uint8, uint8_t) row(compute, type, bool, truth)                               \
                row(compute, type, bfloat16, bfloat16) row(compute, type, float16, float16)

#define LOAD(compute, type, name, element)                                                                   \
    NNL_INLINE void one_##name##_to_##compute(void *out, const void *x) {                                    \
        *(type *)out = load_##compute##_##name(*(const element *)x);                                         \
    }                                                                                                        \
    static void load_##name##_to_##compute(size_t n, void *out, const void *x, ptrdiff_t stride) {           \
        load_each(n, out, sizeof(type), x, sizeof(element), stride, one_##name##_to_##compute,               \
                  copy_##compute);                                                                           \
    }

#define STORE(compute, type, name, element)                                                                  \
    NNL_INLINE void one_##name##_from_##compute(void *out, const void *x) {                                  \
        *(element *)out = store_##compute##_##name(*(const type *)x);                                        \
    }                                                                                                        \
    static void store_##name##_from_##compute(size_t n, void *out, ptrdiff_t stride, const void *x) {        \
        store_each(n, out, sizeof(element), stride, x, sizeof(type), one_##name##_from_##compute);           \
    }

DTYPES(LOAD, float, float)
DTYPES(LOAD, double, double)
DTYPES(LOAD, int, int64_t)
DTYPES(STORE, float, float)
DTYPES(STORE, double, double)
DTYPES(STORE, int, int64_t)

#define LOADS(name)                                                                                          \
    { load_##name##_to_float, load_##name##_to_double, load_##name##_to_int }
#define STORES(name)                                                                                         \
    { store_##name##_from_float, store_##name##_from_double, store_##name##_from_int }

const nnl_convert_kernels NNL_ISA_NAME(nnl_convert) = {
    .load = {[NNL_FLOAT32] = LOADS(float32),
             [NNL_FLOAT64] = LOADS(float64),
             [NNL_INT64] = LOADS(int64),
             [NNL_INT32] = LOADS(int32),
             [NNL_UINT8] = LOADS(uint8),
             [NNL_BOOL] = LOADS(bool),
             [NNL_BFLOAT16] = LOADS(bfloat16),
             [NNL_FLOAT16] = LOADS(float16)},
    .store = {[NNL_FLOAT32] = STORES(float32),
              [NNL_FLOAT64] = STORES(float64),
              [NNL_INT64] = STORES(int64),
              [NNL_INT32] = STORES(int32),
              [NNL_UINT8] = STORES(uint8),
              [NNL_BOOL] = STORES(bool),
              [NNL_BFLOAT16] = STORES(bfloat16),
              [NNL_FLOAT16] = STORES(float16)},
};
