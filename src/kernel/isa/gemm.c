// gemm.c: the inner loops of float products. A block is some rows of a times a panel of b, as wide as four
// vectors at most; its sums stay in registers for the whole inner dimension, and each is made in the order of
// that dimension, whatever the block it belongs to.
#include "kernel/isa/square.h"

// Sums, a vector for each column of them, and one more fit into the registers: SUMS / vectors rows at a time,
// of which more than HEIGHT would push each other out of the cache where they lie a power of 2 apart.
#if BYTES == 64
#define SUMS 24
#define MOST 4
#else
#define SUMS 12
#define MOST 2
#endif
#define HEIGHT 12
#define GROUP 48 // rows that go through a buffer: a multiple of all heights and of LANES

// ---- sums

// Where the last vector of a panel begins: it reaches back over columns that the one before it has too.
NNL_INLINE size_t last_of(size_t n) { return n > LANES ? n - LANES : 0; }

// To c or, where it `adds`, on top of it. All of a row is read before anything is written, as the last vector
// may reach back.
NNL_INLINE void put_tile(int rows, int vectors, bool adds, float *c, size_t ldc, size_t last, lanes *sum) {
    for (int r = 0; r < rows; r++, c += ldc) {
        for (int v = 0; adds && v < vectors; v++)
            sum[r * vectors + v] += load(c + (v + 1 < vectors ? (size_t)v * LANES : last));
        for (int v = 0; v < vectors; v++)
            store(c + (v + 1 < vectors ? (size_t)v * LANES : last), sum[r * vectors + v]);
    }
}

// rows x vectors of them. `natural`: a row of a lies in order; otherwise a column does.
NNL_INLINE void tile(int rows, int vectors, bool natural, bool adds, const nnl_gemm_block *g, const float *a,
                     float *c, size_t ldc) {
    const float *at[SUMS], *b = g->b;
    const size_t last = last_of(g->n);
    lanes sum[SUMS], x[MOST];
    for (int r = 0; r < rows;
         r++) // nested, so that compilers take the loops apart and keep the sums in registers
        for (int v = 0; v < vectors; v++) sum[r * vectors + v] = (lanes){0};
    for (int r = 0; r < rows; r++) at[r] = a + (natural ? (size_t)r * g->lda : (size_t)r);
    for (size_t l = 0; l < g->k; l++, b += g->ldb) {
        for (int v = 0; v < vectors; v++) x[v] = load(b + (v + 1 < vectors ? (size_t)v * LANES : last));
        for (int r = 0; r < rows; r++) {
            float weight = natural ? at[r][l] : a[l * g->lda + (size_t)r];
            for (int v = 0; v < vectors; v++) sum[r * vectors + v] += weight * x[v];
        }
    }
    if (adds) {
        put_tile(rows, vectors, true, c, ldc, last, sum);
    } else {
        put_tile(rows, vectors, false, c, ldc, last, sum);
    }
}

// c (m, n), n in so many vectors
NNL_INLINE void all_rows(int vectors, bool natural, bool adds, const nnl_gemm_block *g, size_t m,
                         const float *a, float *c, size_t ldc) {
    const int most = SUMS / vectors < HEIGHT ? SUMS / vectors : HEIGHT;
    const size_t step = natural ? g->lda : 1;
    size_t i = 0;
    for (; i + (size_t)most <= m; i += (size_t)most)
        tile(most, vectors, natural, adds, g, a + i * step, c + i * ldc, ldc);
    if (most > 8)
        for (; i + 8 <= m; i += 8) tile(8, vectors, natural, adds, g, a + i * step, c + i * ldc, ldc);
    if (most > 4)
        for (; i + 4 <= m; i += 4) tile(4, vectors, natural, adds, g, a + i * step, c + i * ldc, ldc);
    if (most > 2)
        for (; i + 2 <= m; i += 2) tile(2, vectors, natural, adds, g, a + i * step, c + i * ldc, ldc);
    for (; i < m; i++) tile(1, vectors, natural, adds, g, a + i * step, c + i * ldc, ldc);
}

typedef void rows_fn(bool adds, const nnl_gemm_block *g, size_t m, const float *a, float *c, size_t ldc);

#define ROWS(vectors)                                                                                        \
    static void rows_##vectors(bool adds, const nnl_gemm_block *g, size_t m, const float *a, float *c,       \
                               size_t ldc) {                                                                 \
        all_rows(vectors, true, adds, g, m, a, c, ldc);                                                      \
    }                                                                                                        \
    static void columns_##vectors(bool adds, const nnl_gemm_block *g, size_t m, const float *a, float *c,    \
                                  size_t ldc) {                                                              \
        all_rows(vectors, false, adds, g, m, a, c, ldc);                                                     \
    }
ROWS(1)
ROWS(2)
#if MOST == 4
ROWS(3)
ROWS(4)
static rows_fn *const by_rows[] = {rows_1, rows_2, rows_3, rows_4};
static rows_fn *const by_columns[] = {columns_1, columns_2, columns_3, columns_4};
#else
static rows_fn *const by_rows[] = {rows_1, rows_2};
static rows_fn *const by_columns[] = {columns_1, columns_2};
#endif

// ---- rows and columns that change places

// A square of x, of which so many rows are there, to `out`.
NNL_INLINE void pack_square(size_t rows, float *out, size_t width, const float *x, size_t ldx) {
    lanes r[LANES];
    for (size_t i = 0; i < LANES; i++) r[i] = i < rows ? load(x + i * ldx) : (lanes){0};
    turn(r);
    for (size_t i = 0; i < LANES; i++) store(out + i * width, r[i]);
}

// x (rows, k) to out (k, width), where width is rows, or LANES if these are fewer, the rest being 0. The last
// square reaches back.
static void pack(size_t rows, size_t k, float *out, const float *x, size_t ldx) {
    size_t width = rows < LANES ? LANES : rows;
    if (k < LANES) {
        for (size_t l = 0; l < k; l++)
            for (size_t i = 0; i < width; i++) out[l * width + i] = i < rows ? x[i * ldx + l] : 0;
        return;
    }
    for (size_t at = 0; at < k; at += LANES) {
        size_t l = at + LANES <= k ? at : k - LANES;
        if (rows < LANES) pack_square(rows, out + l * width, width, x + l, ldx);
        for (size_t next = 0; rows >= LANES && next < rows; next += LANES) {
            size_t i = next + LANES <= rows ? next : rows - LANES;
            pack_square(LANES, out + l * width + i, width, x + i * ldx + l, ldx);
        }
    }
}

// ---- results that do not go straight to their place: c = alpha * x + beta * c

static void put_rows(const nnl_gemm_block *g, size_t rows, const float *x, size_t width, float *c) {
    for (size_t i = 0; i < rows; i++, x += width, c += g->ldc) {
        if (g->beta == 0) {
            NNL_INDEPENDENT
            for (size_t j = 0; j < g->n; j++) c[j] = g->alpha * x[j];
        } else {
            NNL_INDEPENDENT
            for (size_t j = 0; j < g->n; j++) c[j] = g->alpha * x[j] + g->beta * c[j];
        }
    }
}

NNL_INLINE void put_square(const nnl_gemm_block *g, const float *x, size_t width, float *c) {
    lanes r[LANES];
    for (size_t i = 0; i < LANES; i++) r[i] = load(x + i * width);
    turn(r);
    for (size_t i = 0; i < LANES; i++, c += g->ldc)
        store(c, g->beta == 0 ? g->alpha * r[i] : g->alpha * r[i] + g->beta * load(c));
}

static void put_turned(const nnl_gemm_block *g, size_t rows, const float *x, size_t width, float *c) {
    size_t whole_rows = rows / LANES * LANES, whole_columns = g->n / LANES * LANES;
    for (size_t j = 0; j < whole_columns; j += LANES)
        for (size_t i = 0; i < whole_rows; i += LANES)
            put_square(g, x + i * width + j, width, c + j * g->ldc + i);
    for (size_t j = 0; j < g->n; j++, c += g->ldc) {
        for (size_t i = j < whole_columns ? whole_rows : 0; i < rows; i++)
            c[i] = g->beta == 0 ? g->alpha * x[i * width + j] : g->alpha * x[i * width + j] + g->beta * c[i];
    }
}

static void block(const nnl_gemm_block *g) {
    size_t vectors = (g->n + LANES - 1) / LANES, width = vectors * LANES;
    rows_fn *run = g->natural ? by_rows[vectors - 1] : by_columns[vectors - 1];
    if (!g->turned && g->n >= LANES && g->alpha == 1 && (g->beta == 0 || g->beta == 1)) {
        run(g->beta == 1, g, g->m, g->a, g->c, g->ldc);
        return;
    }
    float buffer[GROUP * MOST * LANES];
    for (size_t i = 0; i < g->m; i += GROUP) {
        size_t rows = g->m - i < GROUP ? g->m - i : GROUP;
        run(false, g, rows, g->a + i * (g->natural ? g->lda : 1), buffer, width);
        if (g->turned) put_turned(g, rows, buffer, width, g->c + i);
        if (!g->turned) put_rows(g, rows, buffer, width, g->c + i * g->ldc);
    }
}

// ---- products of rows with rows: vectors along the inner dimension

#if SUMS == 24
#define ACROSS 4
#else
#define ACROSS 2
#endif
#define DOWN 4

typedef int32_t masks __attribute__((vector_size(BYTES)));

// The last LANES of a row, without those that were there before.
NNL_INLINE lanes rest_of(const float *x, size_t k, masks kept) {
    lanes v = load(x + k - LANES);
    return (lanes)((masks)v & kept);
}

NNL_INLINE float sum_of(lanes v) {
    float x[LANES];
    store(x, v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) x[i] += x[i + half];
    return x[0];
}

NNL_INLINE void dot_tile(int rows, int columns, const nnl_gemm_block *g, const float *a, const float *b,
                         float *c, masks kept) {
    lanes sum[DOWN * ACROSS], x[ACROSS];
    size_t l = 0;
    for (int i = 0; i < rows * columns; i++) sum[i] = (lanes){0};
    for (; l + LANES <= g->k; l += LANES) {
        for (int j = 0; j < columns; j++) x[j] = load(b + (size_t)j * g->ldb + l);
        for (int r = 0; r < rows; r++) {
            lanes y = load(a + (size_t)r * g->lda + l);
            for (int j = 0; j < columns; j++) sum[r * columns + j] += y * x[j];
        }
    }
    if (l < g->k) {
        for (int j = 0; j < columns; j++) x[j] = rest_of(b + (size_t)j * g->ldb, g->k, kept);
        for (int r = 0; r < rows; r++) {
            lanes y = rest_of(a + (size_t)r * g->lda, g->k, kept);
            for (int j = 0; j < columns; j++) sum[r * columns + j] += y * x[j];
        }
    }
    for (int r = 0; r < rows; r++) {
        for (int j = 0; j < columns; j++) {
            float *to = c + (size_t)r * g->ldc + j, total = g->alpha * sum_of(sum[r * columns + j]);
            *to = g->beta == 0 ? total : total + g->beta * *to;
        }
    }
}

NNL_INLINE void dot_rows(int rows, const nnl_gemm_block *g, const float *a, float *c, masks kept) {
    size_t j = 0;
    for (; j + ACROSS <= g->n; j += ACROSS) dot_tile(rows, ACROSS, g, a, g->b + j * g->ldb, c + j, kept);
    for (; j < g->n; j++) dot_tile(rows, 1, g, a, g->b + j * g->ldb, c + j, kept);
}

static void dots(const nnl_gemm_block *g) {
    masks kept = {0};
    size_t i = 0;
    for (size_t l = 0; l < LANES; l++) kept[l] = l + g->k % LANES >= LANES ? -1 : 0;
    for (; i + DOWN <= g->m; i += DOWN) dot_rows(DOWN, g, g->a + i * g->lda, g->c + i * g->ldc, kept);
    for (; i < g->m; i++) dot_rows(1, g, g->a + i * g->lda, g->c + i * g->ldc, kept);
}

const nnl_gemm_kernels NNL_ISA_NAME(nnl_gemm) = {
    .lanes = LANES,
    .panel = MOST * LANES,
    .block = block,
    .dots = dots,
    .pack = pack,
};
