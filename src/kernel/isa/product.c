// product.c: products of a vector and a matrix, for sizes at which a library's call costs more than the
// arithmetic.
#include "kernel/isa/isa.h"

#define LANES 8
#define ROWS 4 // worked on together, so that x is loaded once for all

// Partial sums of ROWS dot products in lanes, folded at the end.
NNL_INLINE void dot_block(size_t k, float *out, const float *x, const float *w, size_t ld) {
    float sum[ROWS][LANES] = {{0}};
    size_t i = 0;
    for (; i + LANES <= k; i += LANES) {
        for (size_t r = 0; r < ROWS; r++) {
            for (size_t l = 0; l < LANES; l++) sum[r][l] += x[i + l] * w[r * ld + i + l];
        }
    }
    for (size_t r = 0; r < ROWS; r++) {
        float rest = 0;
        for (size_t j = i; j < k; j++) rest += x[j] * w[r * ld + j];
        for (size_t half = LANES / 2; half > 0; half /= 2) {
            for (size_t l = 0; l < half; l++) sum[r][l] += sum[r][l + half];
        }
        out[r] = sum[r][0] + rest;
    }
}

static float dot_one(size_t k, const float *x, const float *w) {
    float sum[LANES] = {0}, rest = 0;
    size_t i = 0;
    for (; i + LANES <= k; i += LANES) {
        for (size_t l = 0; l < LANES; l++) sum[l] += x[i + l] * w[i + l];
    }
    for (; i < k; i++) rest += x[i] * w[i];
    for (size_t half = LANES / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) sum[l] += sum[l + half];
    }
    return sum[0] + rest;
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
