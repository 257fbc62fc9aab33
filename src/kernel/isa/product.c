// product.c: products of a vector and a matrix, for sizes at which a library's call costs more than the
// arithmetic.
#include "kernel/isa/isa.h"

#include <string.h>

#define LANES 8
#define ROWS 4 // worked on together, so that x is loaded once for all

// Eight floats in one value: GCC and Clang make of it whatever registers the instruction set has.
typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t masks __attribute__((vector_size(LANES * sizeof(int32_t))));

NNL_INLINE lanes load(const float *x) {
    lanes v;
    memcpy(&v, x, sizeof v);
    return v;
}

// The sums of four, side by side: neighbours are added, then pairs, then halves.
NNL_INLINE void fold4(float *out, lanes s0, lanes s1, lanes s2, lanes s3) {
    lanes a = __builtin_shufflevector(s0, s1, 0, 8, 2, 10, 4, 12, 6, 14) +
              __builtin_shufflevector(s0, s1, 1, 9, 3, 11, 5, 13, 7, 15);
    lanes b = __builtin_shufflevector(s2, s3, 0, 8, 2, 10, 4, 12, 6, 14) +
              __builtin_shufflevector(s2, s3, 1, 9, 3, 11, 5, 13, 7, 15);
    lanes c = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13) +
              __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    for (int r = 0; r < ROWS; r++) out[r] = c[r] + c[r + ROWS];
}

static float dot_one(size_t k, const float *x, const float *w) {
    float sum = 0;
    for (size_t i = 0; i < k; i++) sum += x[i] * w[i];
    return sum;
}

// The last k % LANES elements of a row come by a load that reaches back over elements already done, which
// `rest` blanks.
NNL_INLINE lanes load_rest(const float *end, masks rest) { return (lanes)((masks)load(end - LANES) & rest); }

// ROWS dot products.
NNL_INLINE void dot_block(size_t k, float *out, const float *x, masks rest, const float *w, size_t ld) {
    lanes v = load_rest(x + k, rest);
    lanes s0 = v * load_rest(w + k, rest), s1 = v * load_rest(w + ld + k, rest);
    lanes s2 = v * load_rest(w + 2 * ld + k, rest), s3 = v * load_rest(w + 3 * ld + k, rest);
    for (size_t i = 0; i + LANES <= k; i += LANES) {
        v = load(x + i);
        s0 += v * load(w + i);
        s1 += v * load(w + ld + i);
        s2 += v * load(w + 2 * ld + i);
        s3 += v * load(w + 3 * ld + i);
    }
    fold4(out, s0, s1, s2, s3);
}

static masks rest_lanes(size_t k) {
    masks rest = {0};
    for (size_t l = LANES - k % LANES; l < LANES; l++) rest[l] = -1;
    return rest;
}

static void dot_rows(size_t n, size_t k, float *out, const float *x, const float *w, size_t ld) {
    size_t j = 0;
    if (k >= LANES) {
        masks rest = rest_lanes(k);
        for (; j + ROWS <= n; j += ROWS) dot_block(k, out + j, x, rest, w + j * ld, ld);
    }
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

// ---- integers, as unsigned ones, which wrap around

// Four rows of c at once, so that each row of b is loaded once for all.
static void whole_rows(size_t n, size_t k, uint64_t *restrict c, size_t ldc, const uint64_t *a, size_t row_a,
                       size_t step_a, const uint64_t *b, size_t row_b) {
    uint64_t *c0 = c, *c1 = c + ldc, *c2 = c1 + ldc, *c3 = c2 + ldc;
    for (size_t i = 0; i < k; i++, a += step_a, b += row_b) {
        const uint64_t x0 = a[0], x1 = a[row_a], x2 = a[2 * row_a], x3 = a[3 * row_a];
        NNL_INDEPENDENT
        for (size_t j = 0; j < n; j++) {
            c0[j] += x0 * b[j];
            c1[j] += x1 * b[j];
            c2[j] += x2 * b[j];
            c3[j] += x3 * b[j];
        }
    }
}

static void whole_row(size_t n, size_t k, uint64_t *restrict c, const uint64_t *a, size_t step_a,
                      const uint64_t *b, size_t row_b) {
    for (size_t i = 0; i < k; i++, a += step_a, b += row_b) {
        for (size_t j = 0; j < n; j++) c[j] += *a * b[j];
    }
}

static uint64_t whole_dot(size_t k, const uint64_t *a, size_t step_a, const uint64_t *b, size_t row_b) {
    uint64_t sum = 0;
    for (size_t i = 0; i < k; i++) sum += a[i * step_a] * b[i * row_b];
    return sum;
}

static void whole(size_t m, size_t n, size_t k, int64_t *out, size_t ldc, const int64_t *left, size_t row_a,
                  size_t step_a, const int64_t *right, size_t row_b, size_t step_b) {
    uint64_t *c = (uint64_t *)out;
    const uint64_t *a = (const uint64_t *)left, *b = (const uint64_t *)right;
    size_t i = 0;
    if (step_b != 1) { // b lies by columns: dot products
        for (; i < m; i++)
            for (size_t j = 0; j < n; j++)
                c[i * ldc + j] = whole_dot(k, a + i * row_a, step_a, b + j * step_b, row_b);
        return;
    }
    for (; i < m; i++) memset(c + i * ldc, 0, n * sizeof *c);
    for (i = 0; i + 4 <= m; i += 4)
        whole_rows(n, k, c + i * ldc, ldc, a + i * row_a, row_a, step_a, b, row_b);
    for (; i < m; i++) whole_row(n, k, c + i * ldc, a + i * row_a, step_a, b, row_b);
}

const nnl_product_kernels NNL_ISA_NAME(nnl_product) = {
    .dot_rows = dot_rows, .add_rows = add_rows, .outer = outer, .whole = whole};
