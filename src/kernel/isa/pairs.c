// pairs.c: products of bfloat16 numbers with sums in float, by the instruction that multiplies two neighbours
// along the inner dimension, a pair in 32 bits, with two others and adds both products to a float. C has no
// word for it, hence the intrinsics. See kernel/packed.c for who packs what.
#include "kernel/isa/square.h"

#ifdef __AVX512BF16__
#include <immintrin.h>

// As in gemm.c: sums, a vector of pairs for each column of them, and one more fill the registers.
#define SUMS 24
#define MOST 4
#define HEIGHT 12
#define STRIP 48

// ---- products

// c = sum, or alpha * sum + beta * c
NNL_INLINE void put(bool plain, float alpha, float beta, float *c, __mmask16 kept, __m512 sum) {
    if (!plain) sum = _mm512_mul_ps(sum, _mm512_set1_ps(alpha));
    if (!plain && beta != 0) sum = _mm512_fmadd_ps(_mm512_set1_ps(beta), _mm512_maskz_loadu_ps(kept, c), sum);
    _mm512_mask_storeu_ps(c, kept, sum);
}

// Loops over rows and vectors are nested so that compilers take them apart: sums never go to memory before.
NNL_INLINE void put_tile(int rows, int vectors, bool plain, const nnl_pairs_block *g, float *c,
                         __mmask16 last, const __m512 *sum) {
    const float alpha = g->alpha, beta = g->beta;
    const size_t ldc = g->ldc;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            put(plain, alpha, beta, c + (size_t)r * ldc + v * LANES, v + 1 < vectors ? 0xffff : last,
                sum[r * vectors + v]);
}

// rows x vectors of sums. `natural`: the pairs of a row of a lie in order; otherwise those of a strip of rows
// do.
NNL_INLINE void tile(int rows, int vectors, bool natural, const nnl_pairs_block *g, const uint32_t *a,
                     float *c, __mmask16 last) {
    const uint32_t *at[HEIGHT], *b = g->b;
    __m512 sum[SUMS];
    __m512bh x[MOST];
    const size_t pairs = g->pairs;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r * vectors + v] = _mm512_setzero_ps();
    for (int r = 0; r < rows; r++) at[r] = natural ? a + (size_t)r * g->lda : a + r;
    for (size_t l = 0; l < pairs; l++, b += vectors * LANES) {
        for (int v = 0; v < vectors; v++) x[v] = (__m512bh)_mm512_loadu_si512(b + v * LANES);
        for (int r = 0; r < rows; r++) {
            uint32_t pair = natural ? at[r][l] : a[l * STRIP + (size_t)r];
            __m512bh weight = (__m512bh)_mm512_set1_epi32((int)pair);
            for (int v = 0; v < vectors; v++)
                sum[r * vectors + v] = _mm512_dpbf16_ps(sum[r * vectors + v], weight, x[v]);
        }
    }
    if (g->alpha == 1 && g->beta == 0) {
        put_tile(rows, vectors, true, g, c, last, sum);
    } else {
        put_tile(rows, vectors, false, g, c, last, sum);
    }
}

// Rows from `from` on of a strip, or of all of a.
NNL_INLINE void all_rows(int vectors, bool natural, const nnl_pairs_block *g, size_t m, const uint32_t *a,
                         float *c) {
    const int most = SUMS / vectors < HEIGHT ? SUMS / vectors : HEIGHT;
    const size_t step = natural ? g->lda : 1;
    const __mmask16 last = (__mmask16)(0xffff >> ((size_t)vectors * LANES - g->n));
    size_t i = 0;
    for (; i + (size_t)most <= m; i += (size_t)most)
        tile(most, vectors, natural, g, a + i * step, c + i * g->ldc, last);
    for (; i + 4 <= m; i += 4) tile(4, vectors, natural, g, a + i * step, c + i * g->ldc, last);
    for (; i < m; i++) tile(1, vectors, natural, g, a + i * step, c + i * g->ldc, last);
}

typedef void rows_fn(const nnl_pairs_block *g, size_t m, const uint32_t *a, float *c);

#define ROWS(vectors)                                                                                        \
    static void rows_##vectors(const nnl_pairs_block *g, size_t m, const uint32_t *a, float *c) {            \
        all_rows(vectors, true, g, m, a, c);                                                                 \
    }                                                                                                        \
    static void strip_##vectors(const nnl_pairs_block *g, size_t m, const uint32_t *a, float *c) {           \
        all_rows(vectors, false, g, m, a, c);                                                                \
    }
ROWS(1)
ROWS(2)
ROWS(3)
ROWS(4)
static rows_fn *const by_rows[] = {rows_1, rows_2, rows_3, rows_4};
static rows_fn *const by_strips[] = {strip_1, strip_2, strip_3, strip_4};

static void block(const nnl_pairs_block *g) {
    size_t vectors = (g->n + LANES - 1) / LANES;
    if (g->natural) {
        by_rows[vectors - 1](g, g->m, g->a, g->c);
        return;
    }
    for (size_t i = 0; i < g->m; i += STRIP)
        by_strips[vectors - 1](g, g->m - i < STRIP ? g->m - i : STRIP, g->a + i * g->lda, g->c + i * g->ldc);
}

// ---- packing. `half`: x is of bfloat16 already; `count` elements from `at` on, zeros after them

NNL_INLINE __mmask16 first_of(size_t count) { return (__mmask16)(count < 16 ? (1u << count) - 1 : 0xffff); }

NNL_INLINE __m512 floats_at(const float *x, size_t count) {
    return _mm512_maskz_loadu_ps(first_of(count), x);
}

NNL_INLINE __m256i halves_at(const uint16_t *x, size_t count) {
    return _mm256_maskz_loadu_epi16(first_of(count), x);
}

// 16 pairs of neighbours
NNL_INLINE __m512i neighbours(bool half, const void *x, size_t at, size_t count) {
    if (half) {
        __mmask32 kept = count < 32 ? ((__mmask32)1 << count) - 1 : 0xffffffff;
        return _mm512_maskz_loadu_epi16(kept, (const uint16_t *)x + at);
    }
    const float *from = (const float *)x + at;
    __m512 high = count > 16 ? floats_at(from + 16, count - 16) : _mm512_setzero_ps();
    return (__m512i)_mm512_cvtne2ps_pbh(high, floats_at(from, count));
}

// 16 pairs of one row's elements with the other's, which may not be there
NNL_INLINE __m512i partners(bool half, const void *x, size_t first, size_t second, bool both, size_t count) {
    static const short order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                    8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512i joined;
    if (half) {
        const uint16_t *from = x;
        __m256i next = both ? halves_at(from + second, count) : _mm256_setzero_si256();
        joined = _mm512_inserti64x4(_mm512_castsi256_si512(halves_at(from + first, count)), next, 1);
    } else {
        const float *from = x;
        __m512 next = both ? floats_at(from + second, count) : _mm512_setzero_ps();
        joined = (__m512i)_mm512_cvtne2ps_pbh(next, floats_at(from + first, count));
    }
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), joined);
}

NNL_INLINE void pack_rows(bool half, size_t rows, size_t k, uint32_t *out, size_t ld, const void *x,
                          size_t ldx) {
    for (size_t i = 0; i < rows; i++)
        for (size_t l = 0; l < k; l += 32)
            _mm512_storeu_si512(out + i * ld + l / 2, neighbours(half, x, i * ldx + l, k - l));
}

NNL_INLINE void merge_rows(bool half, size_t k, size_t columns, uint32_t *out, size_t width, const void *x,
                           size_t ldx) {
    for (size_t l = 0; l < k; l += 2, out += width)
        for (size_t j = 0; j < columns; j += LANES)
            _mm512_storeu_si512(out + j,
                                partners(half, x, l * ldx + j, (l + 1) * ldx + j, l + 1 < k, columns - j));
}

NNL_INLINE void turn_rows(bool half, size_t k, size_t columns, uint32_t *out, size_t width, const void *x,
                          size_t ldx) {
    for (size_t j = 0; j < columns; j += LANES) {
        for (size_t l = 0; l < k; l += 2 * LANES) {
            lanes r[LANES];
            size_t pairs = (k - l + 1) / 2;
            for (size_t i = 0; i < LANES; i++) {
                bool there = j + i < columns;
                r[i] = there ? (lanes)neighbours(half, x, (j + i) * ldx + l, k - l) : (lanes){0};
            }
            turn(r);
            for (size_t i = 0; i < LANES && i < pairs; i++)
                memcpy(out + (l / 2 + i) * width + j, &r[i], sizeof r[i]);
        }
    }
}

static void pack(size_t rows, size_t k, uint32_t *out, size_t ld, const void *x, size_t ldx, bool half) {
    if (half) pack_rows(true, rows, k, out, ld, x, ldx);
    if (!half) pack_rows(false, rows, k, out, ld, x, ldx);
}

static void merge(size_t k, size_t columns, uint32_t *out, size_t width, const void *x, size_t ldx,
                  bool half) {
    if (half) merge_rows(true, k, columns, out, width, x, ldx);
    if (!half) merge_rows(false, k, columns, out, width, x, ldx);
}

static void turn_pairs(size_t k, size_t columns, uint32_t *out, size_t width, const void *x, size_t ldx,
                       bool half) {
    if (half) turn_rows(true, k, columns, out, width, x, ldx);
    if (!half) turn_rows(false, k, columns, out, width, x, ldx);
}

// ---- few rows times rows that are read once

NNL_INLINE void dots_of(int rows, size_t n, size_t k, float *c, size_t ldc, const uint32_t *a, size_t lda,
                        const uint16_t *b, size_t ldb) {
    for (size_t j = 0; j < n; j++) {
        __m512 sum[4];
        for (int r = 0; r < rows; r++) sum[r] = _mm512_setzero_ps();
        for (size_t l = 0; l < k; l += 32) {
            __m512bh x = (__m512bh)neighbours(true, b, j * ldb + l, k - l);
            for (int r = 0; r < rows; r++)
                sum[r] =
                    _mm512_dpbf16_ps(sum[r], (__m512bh)_mm512_loadu_si512(a + (size_t)r * lda + l / 2), x);
        }
        for (int r = 0; r < rows; r++) c[(size_t)r * ldc + j] = _mm512_reduce_add_ps(sum[r]);
    }
}

static void dots(size_t m, size_t n, size_t k, float *c, size_t ldc, const uint32_t *a, size_t lda,
                 const uint16_t *b, size_t ldb) {
    if (m == 1) dots_of(1, n, k, c, ldc, a, lda, b, ldb);
    if (m == 2) dots_of(2, n, k, c, ldc, a, lda, b, ldb);
    if (m == 3) dots_of(3, n, k, c, ldc, a, lda, b, ldb);
    if (m == 4) dots_of(4, n, k, c, ldc, a, lda, b, ldb);
}

const nnl_pairs_kernels NNL_ISA_NAME(nnl_pairs) = {
    .lanes = LANES,
    .panel = MOST * LANES,
    .strip = STRIP,
    .block = block,
    .pack = pack,
    .merge = merge,
    .turn = turn_pairs,
    .dots = dots,
};
#else
const nnl_pairs_kernels NNL_ISA_NAME(nnl_pairs) = {.lanes = 0};
#endif
