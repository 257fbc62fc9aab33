// gemm.c: matrix products over kernels of our own and OpenBLAS, cut into pieces by shape. Thin products,
// which a library is not made for, are plain loops here. OpenBLAS's threads stay out of it: every call is a
// single-threaded one, from one of our own.
#include "kernel/gemm.h"
#include "kernel/packed.h"
#include "kernel/panels.h"

#include <cblas.h>

#include <stdatomic.h>

// A product below this many multiplications is one piece: waking a thread costs some 5 microseconds.
#define SINGLE_PIECE 262144
// The same of products by kernels of our own, and how many pieces these have at most.
#define OWN_PIECE 524288
#define OWN_PIECES 16
// Their pieces differ by less than this many rows, so that threads end together.
#define OWN_GRAIN 4
// Of operands that are read as they lie, products of more than the one, up to the other.
#define OWN_LEAST ((size_t)1 << 20)
#define OWN_MOST ((size_t)1 << 29)
// From so many products on, none of them is cut.
#define WHOLE_BATCH 8
// Rows or columns of one piece, at least; a multiple of what OpenBLAS's kernels hold in registers.
#define PIECE_GRAIN 48
// Multiplications between two looks at whether to stop: 0.1 to 0.3 s. A part has that many rows at most.
#define STOP_PRODUCT ((size_t)1 << 33)
#define STOP_ROWS ((size_t)2048)
// Below this many multiplications a product with a vector is quicker in a loop of our own.
#define SMALL_VECTOR 32768

typedef struct product {
    const nnl_kernels *kernels;
    nnl_pool *pool;
    nnl_compute type;
    size_t m, n, k;
    double alpha, beta;
    nnl_matrix a, b;
    char *c;
    size_t ldc, element;
    size_t batch, stride_a, stride_b, stride_c;
    size_t pieces_m, pieces_n, step_m, step_n;
    bool own; // by kernels of our own: panels.h
    nnl_panels_way way;
} product;

// Which products of floats go to kernels of our own, as measured (scripts/dev/bench/README.md). These win
// where rows meet rows, as in x W^T, and whatever is thin; of operands that are read as they lie, with
// AVX-512, unless the product is so small that OpenBLAS has kernels for it, or so large that its copies pay.
static bool suits_own(const product *p) {
    const nnl_gemm_kernels *kernels = p->kernels->gemm;
    if (p->type != NNL_IN_FLOAT || p->m < 2 || p->n < 2 || p->k < 2 || kernels->lanes < 8) return false;
    if (p->way == NNL_PANELS_DOTS || nnl_panels_copied(&p->a, &p->b, p->way)) return true;
    size_t work = p->m * p->n * p->k;
    return kernels->lanes >= 16 && work > OWN_LEAST && work <= OWN_MOST;
}

static size_t pieces_of(size_t size, size_t step) { return (size + step - 1) / step; }

// ---- one piece

static const char *at(const nnl_matrix *x, size_t row, size_t column, size_t element) {
    size_t offset = x->transposed ? column * x->ld + row : row * x->ld + column;
    return (const char *)x->data + offset * element;
}

static void blas_call(const product *p, size_t m, size_t n, size_t k, const char *a, const char *b,
                      double beta, char *c) {
    CBLAS_TRANSPOSE ta = p->a.transposed ? CblasTrans : CblasNoTrans,
                    tb = p->b.transposed ? CblasTrans : CblasNoTrans;
    blasint rows = (blasint)m, columns = (blasint)n, inner = (blasint)k;
    blasint lda = (blasint)p->a.ld, ldb = (blasint)p->b.ld, ldc = (blasint)p->ldc;
    if (p->type == NNL_IN_FLOAT) {
        cblas_sgemm(CblasRowMajor, ta, tb, rows, columns, inner, (float)p->alpha,
                    (const float *)(const void *)a, lda, (const float *)(const void *)b, ldb, (float)beta,
                    (float *)(void *)c, ldc);
    } else {
        cblas_dgemm(CblasRowMajor, ta, tb, rows, columns, inner, p->alpha, (const double *)(const void *)a,
                    lda, (const double *)(const void *)b, ldb, beta, (double *)(void *)c, ldc);
    }
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// The columns and the inner stretch of a part that has `rows` rows.
static size_t part_columns(size_t rows, size_t n, size_t k) {
    size_t columns = STOP_PRODUCT / (rows * k + 1) / PIECE_GRAIN * PIECE_GRAIN;
    return smaller(n, columns < 4 * PIECE_GRAIN ? 4 * PIECE_GRAIN : columns);
}

static size_t part_inner(size_t rows, size_t columns, size_t k) {
    size_t inner = STOP_PRODUCT / (rows * columns) / PIECE_GRAIN * PIECE_GRAIN;
    return smaller(k, inner < PIECE_GRAIN ? PIECE_GRAIN : inner);
}

// In parts, between which it may stop: one only, where it is not long. The parts follow from the shape alone.
static void blas_piece(const product *p, size_t m, size_t n, const char *a, const char *b, char *c) {
    bool is_long = p->k > STOP_PRODUCT / m / n;
    size_t rows = is_long ? smaller(m, STOP_ROWS) : m, columns = is_long ? part_columns(rows, n, p->k) : n,
           inner = is_long ? part_inner(rows, columns, p->k) : p->k;
    for (size_t i = 0; i < m; i += rows) {
        for (size_t j = 0; j < n; j += columns) {
            for (size_t l = 0; l < p->k && !nnl_pool_stops(p->pool); l += inner) {
                blas_call(p, smaller(rows, m - i), smaller(columns, n - j), smaller(inner, p->k - l),
                          at(&p->a, i, l, p->element) + (a - (const char *)p->a.data),
                          at(&p->b, l, j, p->element) + (b - (const char *)p->b.data), l > 0 ? 1 : p->beta,
                          c + (i * p->ldc + j) * p->element);
            }
        }
    }
}

// A matrix times a vector: `matrix` is seen as rows x inner, `x` and `y` are steps of x_step and y_step.
static void blas_vector(const product *p, const nnl_matrix *matrix, bool turned, size_t rows,
                        const char *data, const char *x, size_t x_step, char *y, size_t y_step) {
    bool transposed = matrix->transposed != turned;
    blasint m = (blasint)(transposed ? p->k : rows), n = (blasint)(transposed ? rows : p->k);
    CBLAS_TRANSPOSE t = transposed ? CblasTrans : CblasNoTrans;
    blasint ld = (blasint)matrix->ld, incx = (blasint)x_step, incy = (blasint)y_step;
    if (p->type == NNL_IN_FLOAT) {
        cblas_sgemv(CblasRowMajor, t, m, n, (float)p->alpha, (const float *)(const void *)data, ld,
                    (const float *)(const void *)x, incx, (float)p->beta, (float *)(void *)y, incy);
    } else {
        cblas_dgemv(CblasRowMajor, t, m, n, p->alpha, (const double *)(const void *)data, ld,
                    (const double *)(const void *)x, incx, p->beta, (double *)(void *)y, incy);
    }
}

static void clear(const product *p, size_t m, size_t n, char *c) {
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            char *to = c + (i * p->ldc + j) * p->element;
            if (p->type == NNL_IN_FLOAT) {
                *(float *)(void *)to = p->beta == 0 ? 0 : (float)p->beta * *(float *)(void *)to;
            } else {
                *(double *)(void *)to = p->beta == 0 ? 0 : p->beta * *(double *)(void *)to;
            }
        }
    }
}

// One row times a small matrix, or an outer product (one inner element), by loops of our own; false where the
// product is of another kind.
static bool small_product(const product *p, size_t m, size_t n, const char *a, const char *b, char *c) {
    const float *x = (const float *)(const void *)a, *y = (const float *)(const void *)b;
    float *out = (float *)(void *)c;
    size_t step_x = p->a.transposed ? p->a.ld : 1;
    bool plain = p->type == NNL_IN_FLOAT && p->alpha == 1 && p->beta == 0;
    if (!plain || (m > 1 && p->k > 1) || m * n * p->k > SMALL_VECTOR) return false;
    if (p->k == 1 && (!p->b.transposed || p->b.ld == 1)) {
        p->kernels->product->outer(m, n, out, p->ldc, x, p->a.transposed ? 1 : p->a.ld, y);
    } else if (m == 1 && p->b.transposed && step_x == 1) {
        p->kernels->product->dot_rows(n, p->k, out, x, y, p->b.ld);
    } else if (m == 1 && !p->b.transposed) {
        clear(p, 1, n, c);
        p->kernels->product->add_rows(p->k, n, out, x, step_x, y, p->b.ld);
    } else {
        return false;
    }
    return true;
}

static void whole_piece(const product *p, size_t m, size_t n, const char *a, const char *b, char *c) {
    size_t step_a = p->a.transposed ? 1 : p->a.ld, rows = STOP_PRODUCT / 64 / (n * p->k + 1) + 1;
    for (size_t i = 0; i < m && !nnl_pool_stops(p->pool); i += rows) {
        p->kernels->product->whole(smaller(rows, m - i), n, p->k, (int64_t *)(void *)c + i * p->ldc, p->ldc,
                                   (const int64_t *)(const void *)a + i * step_a, step_a,
                                   p->a.transposed ? p->a.ld : 1, (const int64_t *)(const void *)b,
                                   p->b.transposed ? 1 : p->b.ld, p->b.transposed ? p->b.ld : 1);
    }
}

static bool own_piece(const product *p, size_t m, size_t n, const char *a, const char *b, char *c) {
    nnl_panels panels = {.kernels = p->kernels,
                         .m = m,
                         .n = n,
                         .k = p->k,
                         .alpha = (float)p->alpha,
                         .beta = (float)p->beta,
                         .a = {a, p->a.ld, p->a.transposed},
                         .b = {b, p->b.ld, p->b.transposed},
                         .c = (float *)(void *)c,
                         .ldc = p->ldc,
                         .way = p->way,
                         .room = nnl_pool_room(p->pool, nnl_panels_room(p->kernels) * sizeof(float))};
    if (panels.room) nnl_panels_run(&panels, p->pool);
    return panels.room != NULL;
}

static void run_piece(const product *p, size_t m, size_t n, const char *a, const char *b, char *c) {
    if (p->own && own_piece(p, m, n, a, b, c)) return;
    if (p->type == NNL_IN_INT) {
        whole_piece(p, m, n, a, b, c);
    } else if (p->k == 0) {
        clear(p, m, n, c);
    } else if (small_product(p, m, n, a, b, c)) {
        return;
    } else if (n == 1) {
        blas_vector(p, &p->a, false, m, a, b, p->b.transposed ? 1 : p->b.ld, c, p->ldc);
    } else if (m == 1) {
        blas_vector(p, &p->b, true, n, b, a, p->a.transposed ? p->a.ld : 1, c, 1);
    } else {
        blas_piece(p, m, n, a, b, c);
    }
}

// Where OpenBLAS is built on OpenMP, the number of threads is each calling thread's own: our workers set
// theirs once, and hosts' threads are nnl_gemm_hold's business.
static void stay_single(void) {
    static _Thread_local bool single;
    if (single || !nnl_in_worker()) return;
    if (openblas_get_parallel() == OPENBLAS_OPENMP) openblas_set_num_threads(1);
    single = true;
}

static void piece_task(void *arg, size_t part) {
    const product *p = arg;
    if (nnl_pool_stops(p->pool)) return;
    stay_single();
    size_t each = p->pieces_m * p->pieces_n, batch = part / each, piece = part % each;
    size_t row = piece / p->pieces_n * p->step_m, column = piece % p->pieces_n * p->step_n;
    size_t m = p->m - row < p->step_m ? p->m - row : p->step_m,
           n = p->n - column < p->step_n ? p->n - column : p->step_n;
    const char *a = at(&p->a, row, 0, p->element) + batch * p->stride_a * p->element;
    const char *b = at(&p->b, 0, column, p->element) + batch * p->stride_b * p->element;
    run_piece(p, m, n, a, b, p->c + (batch * p->stride_c + row * p->ldc + column) * p->element);
}

// ---- the cut

// Of products by kernels of our own: more, where each has enough to do. Panels that are copied are so for
// each piece that has them, which must have rows enough.
static void cut_own(product *p) {
    bool turned = p->way == NNL_PANELS_TURNED;
    size_t wanted = p->batch >= WHOLE_BATCH ? 1 : p->m * p->n * p->k / OWN_PIECE + 1,
           panel = p->kernels->gemm->panel;
    size_t rows = turned ? p->n : p->m, columns = turned ? p->m : p->n;
    size_t *step_rows = turned ? &p->step_n : &p->step_m, *step_columns = turned ? &p->step_m : &p->step_n;
    size_t grain = nnl_panels_copied(&p->a, &p->b, p->way) ? 8 * PIECE_GRAIN : PIECE_GRAIN;
    if (wanted > OWN_PIECES) wanted = OWN_PIECES;
    size_t panels = pieces_of(columns, panel), across = smaller(panels, wanted);
    *step_columns = pieces_of(panels, across) * panel;
    size_t down = smaller(pieces_of(wanted, across), pieces_of(rows, grain));
    *step_rows = pieces_of(pieces_of(rows, down), OWN_GRAIN) * OWN_GRAIN;
    p->pieces_m = pieces_of(p->m, p->step_m);
    p->pieces_n = pieces_of(p->n, p->step_n);
}

// Pieces follow from the shape alone. The longer side is cut, into a few pieces: each packs its operands
// anew.
static void cut(product *p) {
    if (p->own) {
        cut_own(p);
        return;
    }
    p->step_m = p->m;
    p->step_n = p->n;
    bool whole = p->m * p->n * p->k < SINGLE_PIECE || p->batch >= WHOLE_BATCH;
    if (!whole && p->m >= p->n && p->m >= 2 * PIECE_GRAIN) {
        size_t pieces = p->m * p->n * p->k < 16 * SINGLE_PIECE ? 2 : 4;
        p->step_m = (pieces_of(p->m, pieces) + PIECE_GRAIN - 1) / PIECE_GRAIN * PIECE_GRAIN;
    } else if (!whole && p->n >= 2 * PIECE_GRAIN) {
        size_t pieces = p->m * p->n * p->k < 16 * SINGLE_PIECE ? 2 : 4;
        p->step_n = (pieces_of(p->n, pieces) + PIECE_GRAIN - 1) / PIECE_GRAIN * PIECE_GRAIN;
    }
    p->pieces_m = pieces_of(p->m, p->step_m);
    p->pieces_n = pieces_of(p->n, p->step_n);
}

// ---- OpenBLAS's threads

// About a process-wide library, so of the process: whether its number of threads is ours to set once.
static atomic_bool own_process;

void nnl_gemm_own_process(void) {
    atomic_store(&own_process, true);
    openblas_set_num_threads(1);
}

int nnl_gemm_hold(void) {
    if (atomic_load_explicit(&own_process, memory_order_relaxed)) return 1;
    int threads = openblas_get_num_threads();
    if (threads != 1) openblas_set_num_threads(1);
    return threads;
}

void nnl_gemm_release(int held) {
    if (held != 1) openblas_set_num_threads(held);
}

const char *nnl_gemm_library(void) { return openblas_get_config(); }

// ---- packed products

static nnl_compute compute_of(nnl_product_type type) {
    if (type == NNL_PRODUCT_DOUBLE) return NNL_IN_DOUBLE;
    return type == NNL_PRODUCT_INT ? NNL_IN_INT : NNL_IN_FLOAT;
}

bool nnl_gemm_has_bfloat16(const nnl_kernels *kernels) { return kernels->pairs->lanes > 0; }

typedef struct packed_batch {
    nnl_packed first;
    size_t stride_a, stride_b, stride_c; // in bytes
    atomic_bool failed;
} packed_batch;

static void packed_task(void *arg, size_t item) {
    packed_batch *batch = arg;
    nnl_packed one = batch->first;
    one.a.data = (const char *)one.a.data + item * batch->stride_a;
    one.b.data = (const char *)one.b.data + item * batch->stride_b;
    one.c = (float *)(void *)((char *)one.c + item * batch->stride_c);
    if (!nnl_pool_stops(one.pool) && !nnl_packed_run(&one)) atomic_store(&batch->failed, true);
}

// False where floats will do, as they do where there is no memory to pack.
static bool run_packed(const product *p, nnl_product_type type) {
    bool natural = !p->a.transposed && !p->b.transposed;
    if (!nnl_packed_pays(p->kernels, type, natural, p->m, p->n, p->k)) return false;
    size_t element = type == NNL_PRODUCT_HALF ? sizeof(uint16_t) : sizeof(float);
    packed_batch batch = {.first = {p->kernels, p->pool, type, p->m, p->n, p->k, (float)p->alpha,
                                    (float)p->beta, p->a, p->b, (float *)(void *)p->c, p->ldc},
                          .stride_a = p->stride_a * element,
                          .stride_b = p->stride_b * element,
                          .stride_c = p->stride_c * sizeof(float)};
    int held = nnl_gemm_hold();
    if (p->batch >= WHOLE_BATCH) {
        nnl_pool_run(p->pool, p->batch, packed_task, &batch);
    } else {
        for (size_t item = 0; item < p->batch; item++) packed_task(&batch, item);
    }
    nnl_gemm_release(held);
    return !atomic_load(&batch.failed);
}

void nnl_gemm_batched(const nnl_kernels *kernels, nnl_pool *pool, nnl_product_type type, size_t batch,
                      size_t m, size_t n, size_t k, double alpha, nnl_matrix a, size_t stride_a, nnl_matrix b,
                      size_t stride_b, double beta, void *c, size_t ldc, size_t stride_c) {
    if (batch == 0 || m == 0 || n == 0) return;
    product p = {.kernels = kernels,
                 .pool = pool,
                 .type = compute_of(type),
                 .m = m,
                 .n = n,
                 .k = k,
                 .alpha = alpha,
                 .beta = beta,
                 .a = a,
                 .b = b,
                 .c = c,
                 .ldc = ldc,
                 .element = type == NNL_PRODUCT_DOUBLE || type == NNL_PRODUCT_INT ? 8 : 4,
                 .batch = batch,
                 .stride_a = stride_a,
                 .stride_b = stride_b,
                 .stride_c = stride_c};
    bool small = type == NNL_PRODUCT_FLOAT && batch == 1 && k > 0; // needs no plan
    if (small && small_product(&p, m, n, a.data, b.data, c)) return;
    if (run_packed(&p, type)) return;
    p.way = nnl_panels_choose(kernels, &a, &b, m, n, k);
    p.own = suits_own(&p);
    cut(&p);
    int held = nnl_gemm_hold();
    nnl_pool_run(pool, batch * p.pieces_m * p.pieces_n, piece_task, &p);
    nnl_gemm_release(held);
}

void nnl_gemm(const nnl_kernels *kernels, nnl_pool *pool, nnl_product_type type, size_t m, size_t n, size_t k,
              double alpha, nnl_matrix a, nnl_matrix b, double beta, void *c, size_t ldc) {
    nnl_gemm_batched(kernels, pool, type, 1, m, n, k, alpha, a, 0, b, 0, beta, c, ldc, 0);
}
