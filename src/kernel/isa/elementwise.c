// elementwise.c: the loops of ops.def. Each operation becomes a small function for each type, each loop is
// written once for each type, and a kernel is a loop given an operation: both are inlined, so the kernel is
// straight vector code.
#include "kernel/kernel.h"
#include "kernel/vmath.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

// Operations in C. Not every operation uses all that it may.
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define UNARY(name, f, df, ddf, ...)                                                                         \
    NNL_INLINE float name##_f32(float x, const float *p) { return (float)(f); }                              \
    NNL_INLINE float name##_d_f32(float x, float y, const float *p) { return (float)(df); }                  \
    NNL_INLINE float name##_d2_f32(float x, float y, const float *p) { return (float)(ddf); }                \
    NNL_INLINE double name##_f64(double x, const double *p) { return (double)(f); }                          \
    NNL_INLINE double name##_d_f64(double x, double y, const double *p) { return (double)(df); }             \
    NNL_INLINE double name##_d2_f64(double x, double y, const double *p) { return (double)(ddf); }
#define UNARY_WITH UNARY
#define UNARY_ANY(name, f, df, ddf, of_int, ...)                                                             \
    UNARY(name, f, df, ddf)                                                                                  \
    NNL_INLINE int64_t name##_i64(int64_t x) { return of_int; }
#define BINARY(name, f, of_int, ...)                                                                         \
    NNL_INLINE float name##_f32(float a, float b) { return f; }                                              \
    NNL_INLINE double name##_f64(double a, double b) { return f; }                                           \
    NNL_INLINE int64_t name##_i64(int64_t a, int64_t b) { return of_int; }
#define COMPARE(name, test, ...)                                                                             \
    NNL_INLINE uint8_t name##_f32(float a, float b) { return test; }                                         \
    NNL_INLINE uint8_t name##_f64(double a, double b) { return test; }                                       \
    NNL_INLINE uint8_t name##_i64(int64_t a, int64_t b) { return test; }
#define TEST(name, test, of_int, ...)                                                                        \
    NNL_INLINE uint8_t name##_f32(float x) { return test; }                                                  \
    NNL_INLINE uint8_t name##_f64(double x) { return test; }                                                 \
    NNL_INLINE uint8_t name##_i64(int64_t x) { return of_int; }
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_WITH
#undef UNARY_ANY
#undef BINARY
#undef COMPARE
#undef TEST

// Loops over float.
typedef float unary_f32(float x, const float *p);
typedef float derivative_f32(float x, float y, const float *p);
typedef float binary_f32(float a, float b);
typedef uint8_t compare_f32(float a, float b);
typedef uint8_t test_f32(float x);

typedef struct parameters_f32 {
    float p[2];
} parameters_f32;

NNL_INLINE parameters_f32 parameters_of(const double *p) {
    return p ? (parameters_f32){{(float)p[0], (float)p[1]}} : (parameters_f32){{0, 0}};
}

NNL_INLINE void each_unary_f32(size_t n, float *out, const float *x, const double *p, unary_f32 *f) {
    const parameters_f32 own = parameters_of(p);
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(x[i], own.p);
}

NNL_INLINE void each_grad_f32(size_t n, float *dx, const float *dout, const float *x, const float *y,
                              const double *p, derivative_f32 *df) {
    const parameters_f32 own = parameters_of(p);
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) dx[i] = dout[i] * df(x[i], y[i], own.p);
}

NNL_INLINE void each_grad2_f32(size_t n, float *out, const float *u, const float *dout, const float *x,
                               const float *y, const double *p, derivative_f32 *ddf) {
    const parameters_f32 own = parameters_of(p);
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = u[i] * dout[i] * ddf(x[i], y[i], own.p);
}

NNL_INLINE void each_binary_f32(size_t n, float *out, const float *a, const float *b, binary_f32 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a[i], b[i]);
}

NNL_INLINE void each_first_f32(size_t n, float *out, float a, const float *b, binary_f32 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a, b[i]);
}

NNL_INLINE void each_second_f32(size_t n, float *out, const float *a, float b, binary_f32 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a[i], b);
}

NNL_INLINE void each_compare_f32(size_t n, uint8_t *out, const float *a, const float *b, compare_f32 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a[i], b[i]);
}

NNL_INLINE void each_test_f32(size_t n, uint8_t *out, const float *x, test_f32 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(x[i]);
}

// Loops over double.
typedef double unary_f64(double x, const double *p);
typedef double derivative_f64(double x, double y, const double *p);
typedef double binary_f64(double a, double b);
typedef uint8_t compare_f64(double a, double b);
typedef uint8_t test_f64(double x);

NNL_INLINE void each_unary_f64(size_t n, double *out, const double *x, const double *p, unary_f64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(x[i], p);
}

NNL_INLINE void each_grad_f64(size_t n, double *dx, const double *dout, const double *x, const double *y,
                              const double *p, derivative_f64 *df) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) dx[i] = dout[i] * df(x[i], y[i], p);
}

NNL_INLINE void each_grad2_f64(size_t n, double *out, const double *u, const double *dout, const double *x,
                               const double *y, const double *p, derivative_f64 *ddf) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = u[i] * dout[i] * ddf(x[i], y[i], p);
}

NNL_INLINE void each_binary_f64(size_t n, double *out, const double *a, const double *b, binary_f64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a[i], b[i]);
}

NNL_INLINE void each_first_f64(size_t n, double *out, double a, const double *b, binary_f64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a, b[i]);
}

NNL_INLINE void each_second_f64(size_t n, double *out, const double *a, double b, binary_f64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a[i], b);
}

NNL_INLINE void each_compare_f64(size_t n, uint8_t *out, const double *a, const double *b, compare_f64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a[i], b[i]);
}

NNL_INLINE void each_test_f64(size_t n, uint8_t *out, const double *x, test_f64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(x[i]);
}

// Loops over int64_t.
typedef int64_t unary_i64(int64_t x);
typedef int64_t binary_i64(int64_t a, int64_t b);
typedef uint8_t compare_i64(int64_t a, int64_t b);
typedef uint8_t test_i64(int64_t x);

NNL_INLINE void each_unary_i64(size_t n, int64_t *out, const int64_t *x, unary_i64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(x[i]);
}

NNL_INLINE void each_binary_i64(size_t n, int64_t *out, const int64_t *a, const int64_t *b, binary_i64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a[i], b[i]);
}

NNL_INLINE void each_first_i64(size_t n, int64_t *out, int64_t a, const int64_t *b, binary_i64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a, b[i]);
}

NNL_INLINE void each_second_i64(size_t n, int64_t *out, const int64_t *a, int64_t b, binary_i64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a[i], b);
}

NNL_INLINE void each_compare_i64(size_t n, uint8_t *out, const int64_t *a, const int64_t *b, compare_i64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(a[i], b[i]);
}

NNL_INLINE void each_test_i64(size_t n, uint8_t *out, const int64_t *x, test_i64 *f) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = f(x[i]);
}

// The kernels.
#define UNARY_OF(name, type)                                                                                 \
    static void name##_unary_##type(size_t n, void *out, const void *x, const double *p) {                   \
        each_unary_##type(n, out, x, p, name##_##type);                                                      \
    }                                                                                                        \
    static void name##_grad_##type(size_t n, void *dx, const void *dout, const void *x, const void *y,       \
                                   const double *p) {                                                        \
        each_grad_##type(n, dx, dout, x, y, p, name##_d_##type);                                             \
    }                                                                                                        \
    static void name##_grad2_##type(size_t n, void *out, const void *u, const void *dout, const void *x,     \
                                    const void *y, const double *p) {                                        \
        each_grad2_##type(n, out, u, dout, x, y, p, name##_d2_##type);                                       \
    }
#define UNARY(name, ...) UNARY_OF(name, f32) UNARY_OF(name, f64)
#define UNARY_WITH UNARY
#define UNARY_ANY(name, ...)                                                                                 \
    UNARY(name)                                                                                              \
    static void name##_unary_i64(size_t n, void *out, const void *x, const double *p) {                      \
        each_unary_i64(n, out, x, name##_i64);                                                               \
    }
#define BINARY_OF(name, type, ctype)                                                                         \
    static void name##_binary_##type(size_t n, void *out, const void *a, const void *b) {                    \
        each_binary_##type(n, out, a, b, name##_##type);                                                     \
    }                                                                                                        \
    static void name##_first_##type(size_t n, void *out, const void *a, const void *b) {                     \
        each_first_##type(n, out, *(const ctype *)a, b, name##_##type);                                      \
    }                                                                                                        \
    static void name##_second_##type(size_t n, void *out, const void *a, const void *b) {                    \
        each_second_##type(n, out, a, *(const ctype *)b, name##_##type);                                     \
    }
#define BINARY(name, ...)                                                                                    \
    BINARY_OF(name, f32, float) BINARY_OF(name, f64, double) BINARY_OF(name, i64, int64_t)
#define COMPARE_OF(name, type)                                                                               \
    static void name##_compare_##type(size_t n, uint8_t *out, const void *a, const void *b) {                \
        each_compare_##type(n, out, a, b, name##_##type);                                                    \
    }
#define COMPARE(name, ...) COMPARE_OF(name, f32) COMPARE_OF(name, f64) COMPARE_OF(name, i64)
#define TEST_OF(name, type)                                                                                  \
    static void name##_test_##type(size_t n, uint8_t *out, const void *x) {                                  \
        each_test_##type(n, out, x, name##_##type);                                                          \
    }
#define TEST(name, ...) TEST_OF(name, f32) TEST_OF(name, f64) TEST_OF(name, i64)
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_WITH
#undef UNARY_ANY
#undef BINARY
#undef COMPARE
#undef TEST

#define WHERE(bits)                                                                                          \
    NNL_INLINE void each_where_##bits(size_t n, uint##bits##_t *out, const uint8_t *c,                       \
                                      const uint##bits##_t *a, const uint##bits##_t *b)
WHERE(8) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = c[i] ? a[i] : b[i];
}

WHERE(16) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = c[i] ? a[i] : b[i];
}

WHERE(32) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = c[i] ? a[i] : b[i];
}

WHERE(64) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) out[i] = c[i] ? a[i] : b[i];
}

static void where_8(size_t n, void *out, const uint8_t *c, const void *a, const void *b) {
    each_where_8(n, out, c, a, b);
}

static void where_16(size_t n, void *out, const uint8_t *c, const void *a, const void *b) {
    each_where_16(n, out, c, a, b);
}

static void where_32(size_t n, void *out, const uint8_t *c, const void *a, const void *b) {
    each_where_32(n, out, c, a, b);
}

static void where_64(size_t n, void *out, const uint8_t *c, const void *a, const void *b) {
    each_where_64(n, out, c, a, b);
}

#if defined(__AVX512F__)
#define STREAM_VECTOR(at, from) _mm512_stream_ps(at, _mm512_loadu_ps(from))
#define STREAM_FLOATS 16
#elif defined(__AVX__)
#define STREAM_VECTOR(at, from) _mm256_stream_ps(at, _mm256_loadu_ps(from))
#define STREAM_FLOATS 8
#elif defined(__SSE2__)
#define STREAM_VECTOR(at, from) _mm_stream_ps(at, _mm_loadu_ps(from))
#define STREAM_FLOATS 4
#endif

#ifdef STREAM_VECTOR
static void stream(size_t bytes, void *out, const void *in) {
    for (size_t i = 0; i < bytes / sizeof(float); i += STREAM_FLOATS)
        STREAM_VECTOR((float *)out + i, (const float *)in + i);
}

static void streamed(void) { _mm_sfence(); }
#else
#define stream NULL
#define streamed NULL
#endif

const nnl_elementwise_kernels NNL_ISA_NAME(nnl_elementwise) = {
    .unary =
        {
#define UNARY(name, ...) [NNL_UNARY_##name] = {name##_unary_f32, name##_unary_f64, NULL},
#define UNARY_WITH UNARY
#define UNARY_ANY(name, ...) [NNL_UNARY_##name] = {name##_unary_f32, name##_unary_f64, name##_unary_i64},
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_ANY
        },
    .unary_grad =
        {
#define UNARY(name, ...) [NNL_UNARY_##name] = {name##_grad_f32, name##_grad_f64, NULL},
#define UNARY_ANY UNARY
#include "kernel/ops.def"
#undef UNARY
        },
    .unary_grad2 =
        {
#define UNARY(name, ...) [NNL_UNARY_##name] = {name##_grad2_f32, name##_grad2_f64, NULL},
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_ANY
#undef UNARY_WITH
        },
    .binary =
        {
#define BINARY(name, ...) [NNL_BINARY_##name] = {name##_binary_f32, name##_binary_f64, name##_binary_i64},
#include "kernel/ops.def"
#undef BINARY
        },
    .binary_first =
        {
#define BINARY(name, ...) [NNL_BINARY_##name] = {name##_first_f32, name##_first_f64, name##_first_i64},
#include "kernel/ops.def"
#undef BINARY
        },
    .binary_second =
        {
#define BINARY(name, ...) [NNL_BINARY_##name] = {name##_second_f32, name##_second_f64, name##_second_i64},
#include "kernel/ops.def"
#undef BINARY
        },
    .compare =
        {
#define COMPARE(name, ...)                                                                                   \
    [NNL_COMPARE_##name] = {name##_compare_f32, name##_compare_f64, name##_compare_i64},
#include "kernel/ops.def"
#undef COMPARE
        },
    .test =
        {
#define TEST(name, ...) [NNL_TEST_##name] = {name##_test_f32, name##_test_f64, name##_test_i64},
#include "kernel/ops.def"
#undef TEST
        },
    .where = {where_8, where_16, where_32, where_64},
    .stream = stream,
    .streamed = streamed,
};
