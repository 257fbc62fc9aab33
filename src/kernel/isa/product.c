// product.c: products of a vector and a matrix, for sizes at which a library's call costs more than the
// arithmetic.
#include "kernel/isa/isa.h"

#include <string.h>

#define LANES 8
#define ROWS 4 // worked on together, so that x is loaded once for all

// Eight floats in one value: GCC and Clang make of it whatever registers the instruction set has.
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));

NNL_INLINE lanes load(const float *x) {
    lanes v;
    memcpy(&v, x, sizeof v);
    return v;
}

NNL_INLINE float fold(lanes v) { return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7])); }

NNL_INLINE float dot_tail(size_t from, size_t k, const float *x, const float *w) {
    float rest = 0;
    for (size_t i = from; i < k; i++) rest += x[i] * w[i];
    return rest;
}

// ROWS dot products, each in lanes that are folded at the end.
NNL_INLINE void dot_block(size_t k, float *out, const float *x, const float *w, size_t ld) {
    lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    size_t i = 0;
    for (; i + LANES <= k; i += LANES) {
        lanes v = load(x + i);
        s0 += v * load(w + i);
        s1 += v * load(w + ld + i);
        s2 += v * load(w + 2 * ld + i);
        s3 += v * load(w + 3 * ld + i);
    }
    out[0] = fold(s0) + dot_tail(i, k, x, w);
    out[1] = fold(s1) + dot_tail(i, k, x, w + ld);
    out[2] = fold(s2) + dot_tail(i, k, x, w + 2 * ld);
    out[3] = fold(s3) + dot_tail(i, k, x, w + 3 * ld);
}

static float dot_one(size_t k, const float *x, const float *w) {
    lanes sum = {0};
    size_t i = 0;
    for (; i + LANES <= k; i += LANES) sum += load(x + i) * load(w + i);
    return fold(sum) + dot_tail(i, k, x, w);
}

static void dot_rows(size_t n, size_t k, float *out, const float *x, const float *w, size_t ld) {
    size_t j = 0;
    for (; j + ROWS <= n; j += ROWS) dot_block(k, out + j, x, w + j * ld, ld);
    for (; j < n; j++) out[j] = dot_one(k, x, w + j * ld);
}

// Four rows a pass, so that y is read and written less often.
static void add_rows(size_t k, size_t n, float *restrict y, const float *x, size_t step, const float *b,
                     size_t ld) {
    size_t i = 0;
    for (; i + 4 <= k; i += 4) {
        const float *b0 = b + i * ld, *b1 = b0 + ld, *b2 = b1 + ld, *b3 = b2 + ld;
        float x0 = x[i * step], x1 = x[(i + 1) * step], x2 = x[(i + 2) * step], x3 = x[(i + 3) * step];
        for (size_t j = 0; j < n; j++) y[j] += x0 * b0[j] + x1 * b1[j] + x2 * b2[j] + x3 * b3[j];
    }
    for (; i < k; i++) {
        for (size_t j = 0; j < n; j++) y[j] += x[i * step] * b[i * ld + j];
    }
}

static void outer(size_t m, size_t n, float *restrict c, size_t ldc, const float *x, size_t step,
                  const float *y) {
    for (size_t i = 0; i < m; i++) {
        const float scale = x[i * step];
        for (size_t j = 0; j < n; j++) c[i * ldc + j] = scale * y[j];
    }
}

const nnl_product_kernels NNL_ISA_NAME(nnl_product) = {
    .dot_rows = dot_rows, .add_rows = add_rows, .outer = outer};
