// attend.c: the tiles of attention, forward and backward. A tile is some queries by some keys of one batch;
// its products are kernel/gemm.h's, the rest is done row by row by kernel/isa/attention.c.
#include "grad/attend.h"
#include "grad/product.h"

#include <math.h>
#include <string.h>

#define ROWS 64     // queries of a tile, at most
#define COLUMNS 256 // keys of a tile, at most
#define SHORT 64    // keys that causal queries see half of: smaller tiles leave out more

typedef struct job {
    nnl_context *ctx;
    const nnl_attend *a;
    const nnl_attention_kernels *kernels;
    nnl_compute type;
    size_t element, L, S, E, V, batches;
    size_t rows, width; // queries of a tile, and elements from one row of it to the next
    nnl_tensor *out, *statistics;
    const nnl_attend_gradients *g;
    size_t units, parts; // part p does the units p, p + parts, p + 2 parts ...
    char *room;          // two tiles for each part
} job;

// A matrix of a batch.
typedef struct matrix {
    char *data;
    size_t ld, element;
} matrix;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t padded(size_t n) { return (n + NNL_SCORE_STEP - 1) / NNL_SCORE_STEP * NNL_SCORE_STEP; }

static int64_t last_size(const nnl_tensor *t, int from_last) {
    return t->shape.size[t->shape.ndim - from_last];
}

static matrix matrix_of(const nnl_tensor *t, size_t batch) {
    int64_t offset = 0, left = (int64_t)batch;
    for (int d = t->shape.ndim - 3; d >= 0; d--) {
        offset += left % t->shape.size[d] * t->stride[d];
        left /= t->shape.size[d];
    }
    int64_t width = last_size(t, 1) > 0 ? last_size(t, 1) : 1, down = t->stride[t->shape.ndim - 2];
    size_t element = nnl_dtype_size(t->dtype);
    return (matrix){(char *)nnl_tensor_data(t) + offset * (int64_t)element,
                    (size_t)(last_size(t, 2) > 1 ? down : width), element};
}

static char *row_of(const matrix *m, size_t row) { return m->data + row * m->ld * m->element; }

static nnl_matrix from_row(const matrix *m, size_t row, bool transposed) {
    return (nnl_matrix){row_of(m, row), m->ld, transposed};
}

static void clear_rows(const matrix *m, size_t from, size_t to, size_t columns) {
    for (size_t i = from; i < to; i++) memset(row_of(m, i), 0, columns * m->element);
}

bool nnl_attend_reads(const nnl_tensor *t) {
    int64_t width = last_size(t, 1), down = t->stride[t->shape.ndim - 2];
    return (width <= 1 || t->stride[t->shape.ndim - 1] == 1) && (last_size(t, 2) <= 1 || down >= width);
}

static size_t words_of_row(size_t S) { return (S + 3) / 4 * 4; }

size_t nnl_attend_words(const nnl_attend *a) {
    size_t rows = (size_t)last_size(a->q, 2), S = (size_t)last_size(a->k, 2);
    for (int d = 0; d < a->q->shape.ndim - 2; d++) rows *= (size_t)a->q->shape.size[d];
    return rows * words_of_row(S);
}

void nnl_attend_kept(nnl_context *ctx, const nnl_attend *a, size_t row, size_t first, size_t count,
                     uint8_t *kept) {
    uint64_t word = (uint64_t)row * words_of_row((size_t)last_size(a->k, 2)) + first;
    ctx->kernels->random->bernoulli(count, kept, a->seed, a->block + word / 4, 1 - a->dropout);
}

// ---- tiles

// What the work on a tile needs of its batch.
typedef struct tile {
    const job *j;
    size_t batch, row, rows, column, columns;
    matrix q, k, v, mask;
    char *scores, *gradient; // rows of COLUMNS elements
} tile;

static tile tile_of(const job *j, size_t part, size_t batch, size_t row) {
    const nnl_attend *a = j->a;
    size_t bytes = j->rows * j->width * j->element;
    return (tile){.j = j,
                  .batch = batch,
                  .row = row,
                  .rows = smaller(j->rows, j->L - row),
                  .q = matrix_of(a->q, batch),
                  .k = matrix_of(a->k, batch),
                  .v = matrix_of(a->v, batch),
                  .mask = a->mask ? matrix_of(a->mask, batch) : (matrix){NULL, 0, 0},
                  .scores = j->room + 2 * part * bytes,
                  .gradient = j->room + (2 * part + 1) * bytes};
}

// How many keys a query sees, but for the mask.
static size_t reach(const job *j, size_t row) {
    if (!j->a->causal) return j->S;
    int64_t keys = (int64_t)row + 1 + j->a->offset;
    return keys < 0 ? 0 : smaller((size_t)keys, j->S);
}

// Of the tile's keys those that its row i sees.
static size_t seen(const tile *t, size_t i) {
    size_t keys = reach(t->j, t->row + i);
    return keys <= t->column ? 0 : smaller(keys - t->column, t->columns);
}

static char *score_row(const tile *t, size_t i) { return t->scores + i * t->j->width * t->j->element; }
static char *gradient_row(const tile *t, size_t i) { return t->gradient + i * t->j->width * t->j->element; }

// The keys from `column` on, as far as the last row sees and a tile is wide.
static bool next_columns(tile *t, size_t column) {
    size_t last = reach(t->j, t->row + t->rows - 1);
    t->column = column;
    t->columns = column < last ? smaller(COLUMNS, last - column) : 0;
    return t->columns > 0;
}

static void multiply(const job *j, size_t m, size_t n, size_t k, double alpha, nnl_matrix a, nnl_matrix b,
                     double beta, char *c, size_t ldc) {
    nnl_gemm(j->ctx->kernels, j->ctx->pool, nnl_product_of(j->ctx, j->type), m, n, k, alpha, a, b, beta, c,
             ldc);
}

static void fill_infinite(nnl_compute type, size_t n, char *scores) {
    for (size_t k = 0; k < n; k++) {
        if (type == NNL_IN_FLOAT) ((float *)(void *)scores)[k] = -INFINITY;
        if (type == NNL_IN_DOUBLE) ((double *)(void *)scores)[k] = (double)-INFINITY;
    }
}

// One row's mask, on the n keys that it sees.
static void mask_row(const tile *t, size_t i, size_t n) {
    const job *j = t->j;
    const char *mask = row_of(&t->mask, t->row + i) + t->column * t->mask.element;
    if (j->a->mask->dtype == NNL_BOOL) {
        j->kernels->allow[j->type](n, score_row(t, i), (const uint8_t *)mask, j->a->allowed);
    } else {
        j->ctx->kernels->elementwise->binary[NNL_BINARY_add][j->type](n, score_row(t, i), score_row(t, i),
                                                                      mask);
    }
}

// scale q k^T with the masks; each row is -inf from its last key to a multiple of the step.
static void find_scores(const tile *t) {
    const job *j = t->j;
    multiply(j, t->rows, t->columns, j->E, j->a->scale, from_row(&t->q, t->row, false),
             from_row(&t->k, t->column, true), 0, t->scores, j->width);
    for (size_t i = 0; i < t->rows; i++) {
        size_t n = seen(t, i);
        if (t->mask.data && n > 0) mask_row(t, i, n);
        fill_infinite(j->type, padded(n) - n, score_row(t, i) + n * j->element);
    }
}

// Beyond the keys that a row sees there is 0.
static void blank_rest(const tile *t, char *row, size_t n) {
    memset(row + n * t->j->element, 0, (t->columns - n) * t->j->element);
}

static void drop_row(const tile *t, size_t n, char *row, const uint8_t *kept) {
    double keep = 1 - t->j->a->dropout;
    t->j->kernels->drop[t->j->type](n, row, kept, keep > 0 ? 1 / keep : 0);
}

static void find_kept(const tile *t, size_t i, size_t n, uint8_t *kept) {
    const job *j = t->j;
    nnl_attend_kept(j->ctx, j->a, t->batch * j->L + t->row + i, t->column, n, kept);
}

// ---- forward

typedef struct running {
    double top[ROWS], sum[ROWS];
} running;

// A row's scores become weights; what came of earlier keys shrinks where the largest score has grown.
static void weigh_row(const tile *t, size_t i, running *r, char *out) {
    const job *j = t->j;
    size_t n = seen(t, i), wide = padded(n);
    char *scores = score_row(t, i);
    if (n > 0) {
        double top = j->kernels->top[j->type](wide, scores);
        if (r->top[i] > top || isnan(r->top[i])) top = r->top[i];
        double shift = top == (double)-INFINITY ? 0 : top;
        if (t->column > 0 && top != r->top[i]) {
            double shrink = exp(r->top[i] - shift);
            j->kernels->scale[j->type](j->V, out, shrink);
            r->sum[i] *= shrink;
        }
        r->top[i] = top;
        r->sum[i] += j->kernels->weigh[j->type](wide, scores, shift);
    }
    if (n > 0 && j->a->dropout > 0) {
        uint8_t kept[COLUMNS];
        find_kept(t, i, wide, kept);
        drop_row(t, wide, scores, kept);
    }
    blank_rest(t, scores, n);
}

static void finish_rows(const tile *t, const running *r, const matrix *out) {
    const job *j = t->j;
    double *kept = j->statistics ? nnl_tensor_data(j->statistics) : NULL;
    for (size_t i = 0; i < t->rows; i++) {
        double share = 1 / r->sum[i];
        j->kernels->scale[j->type](j->V, row_of(out, t->row + i), share);
        if (!kept) continue;
        double *pair = kept + 2 * (t->batch * j->L + t->row + i);
        pair[0] = r->top[i];
        pair[1] = share;
    }
}

static void forward_unit(const job *j, size_t part, size_t unit) {
    size_t tiles = (j->L + j->rows - 1) / j->rows, batch = unit / tiles;
    tile t = tile_of(j, part, batch, unit % tiles * j->rows);
    matrix out = matrix_of(j->out, batch);
    running r;
    for (size_t i = 0; i < t.rows; i++) {
        r.top[i] = (double)-INFINITY;
        r.sum[i] = 0;
    }
    for (size_t column = 0; next_columns(&t, column); column += COLUMNS) {
        find_scores(&t);
        for (size_t i = 0; i < t.rows; i++) weigh_row(&t, i, &r, row_of(&out, t.row + i));
        multiply(j, t.rows, j->V, t.columns, 1, (nnl_matrix){t.scores, j->width, false},
                 from_row(&t.v, column, false), column > 0, row_of(&out, t.row), out.ld);
    }
    if (reach(j, t.row + t.rows - 1) == 0) clear_rows(&out, t.row, t.row + t.rows, j->V);
    finish_rows(&t, &r, &out);
}

// ---- backward. With P the weights, dP = dout v^T and D the sum of dout * out over a row: dv = P^T dout,
// dS = P * (dP - D), dq = scale dS k, dk = scale dS^T q (Dao et al. 2022, appendix B).

typedef struct destination {
    matrix dq, dk, dv, dmask, out, dout;
    const double *statistics;
    size_t written; // keys whose dk and dv hold something
    double mean[ROWS];
} destination;

static matrix matrix_or_none(const nnl_tensor *t, size_t batch) {
    return t ? matrix_of(t, batch) : (matrix){NULL, 0, 0};
}

static destination destination_of(const job *j, size_t batch) {
    const nnl_attend_gradients *g = j->g;
    return (destination){.dq = matrix_or_none(g->dq, batch),
                         .dk = matrix_or_none(g->dk, batch),
                         .dv = matrix_or_none(g->dv, batch),
                         .dmask = matrix_or_none(g->dmask, batch),
                         .out = matrix_of(g->out, batch),
                         .dout = matrix_of(g->dout, batch),
                         .statistics = (const double *)nnl_tensor_data(g->statistics) + 2 * batch * j->L};
}

// A row's scores become weights again, its gradient of the weights that of the scores.
static void back_row(const tile *t, size_t i, const destination *d) {
    const job *j = t->j;
    size_t n = seen(t, i), wide = padded(n);
    char *weights = score_row(t, i), *gradient = gradient_row(t, i);
    if (n > 0) {
        uint8_t kept[COLUMNS];
        const double *pair = d->statistics + 2 * (t->row + i);
        double shift = pair[0] == (double)-INFINITY ? 0 : pair[0];
        bool drops = j->a->dropout > 0;
        j->kernels->weigh_again[j->type](wide, weights, shift, pair[1]);
        if (drops) find_kept(t, i, wide, kept);
        if (drops) drop_row(t, wide, gradient, kept);
        j->kernels->back[j->type](wide, gradient, weights, d->mean[i]);
        if (drops) drop_row(t, wide, weights, kept);
    }
    blank_rest(t, weights, n);
    blank_rest(t, gradient, n);
    if (d->dmask.data) {
        memcpy(row_of(&d->dmask, t->row + i) + t->column * j->element, gradient, t->columns * j->element);
    }
}

// dk and dv begin at 0 where the keys come into sight.
static void write_keys(const job *j, destination *d, size_t keys) {
    if (keys <= d->written) return;
    if (d->dk.data) clear_rows(&d->dk, d->written, keys, j->E);
    if (d->dv.data) clear_rows(&d->dv, d->written, keys, j->V);
    d->written = keys;
}

static void back_tile(const tile *t, destination *d) {
    const job *j = t->j;
    nnl_matrix dout = from_row(&d->dout, t->row, false), gradient = {t->gradient, j->width, false};
    nnl_matrix turned = {t->gradient, j->width, true}, weights = {t->scores, j->width, true};
    find_scores(t);
    multiply(j, t->rows, t->columns, j->V, 1, dout, from_row(&t->v, t->column, true), 0, t->gradient,
             j->width);
    for (size_t i = 0; i < t->rows; i++) back_row(t, i, d);
    write_keys(j, d, t->column + t->columns);
    if (d->dv.data) {
        multiply(j, t->columns, j->V, t->rows, 1, weights, dout, 1, row_of(&d->dv, t->column), d->dv.ld);
    }
    if (d->dq.data) {
        multiply(j, t->rows, j->E, t->columns, j->a->scale, gradient, from_row(&t->k, t->column, false),
                 t->column > 0, row_of(&d->dq, t->row), d->dq.ld);
    }
    if (d->dk.data) {
        multiply(j, t->columns, j->E, t->rows, j->a->scale, turned, from_row(&t->q, t->row, false), 1,
                 row_of(&d->dk, t->column), d->dk.ld);
    }
}

static void back_rows(tile *t, destination *d) {
    const job *j = t->j;
    for (size_t i = 0; i < t->rows; i++) {
        d->mean[i] =
            j->kernels->dot[j->type](j->V, row_of(&d->out, t->row + i), row_of(&d->dout, t->row + i));
    }
    if (d->dmask.data) clear_rows(&d->dmask, t->row, t->row + t->rows, j->S);
    if (d->dq.data && reach(j, t->row + t->rows - 1) == 0) clear_rows(&d->dq, t->row, t->row + t->rows, j->E);
    for (size_t column = 0; next_columns(t, column); column += COLUMNS) back_tile(t, d);
}

static void backward_unit(const job *j, size_t part, size_t batch) {
    destination d = destination_of(j, batch);
    for (size_t row = 0; row < j->L && !nnl_pool_stops(j->ctx->pool); row += j->rows) {
        tile t = tile_of(j, part, batch, row);
        back_rows(&t, &d);
    }
    write_keys(j, &d, j->S);
}

// ---- whole

static void run_part(void *arg, size_t part) {
    const job *j = arg;
    for (size_t unit = part; unit < j->units && !nnl_pool_stops(j->ctx->pool); unit += j->parts) {
        if (j->g) backward_unit(j, part, unit);
        if (!j->g) forward_unit(j, part, unit);
    }
}

// Which part does a unit changes nothing about its result, so parts may be as many as threads can use.
static nnl_status run(job *j) {
    if (j->units == 0) return NNL_OK;
    j->parts = smaller(j->units, 4 * (size_t)nnl_pool_threads(j->ctx->pool));
    j->room = nnl_alloc(&j->ctx->allocator, 2 * j->parts * j->rows * j->width * j->element);
    if (!j->room) return nnl_fail(j->ctx, NNL_ERR_MEMORY, "out of memory: no room for tiles of attention");
    int held = nnl_gemm_hold();
    nnl_pool_run(j->ctx->pool, j->parts, run_part, j);
    nnl_gemm_release(held);
    nnl_free(&j->ctx->allocator, j->room);
    return NNL_OK;
}

static job job_of(nnl_context *ctx, const nnl_attend *a) {
    job j = {.ctx = ctx,
             .a = a,
             .kernels = ctx->kernels->attention,
             .type = nnl_tensor_compute(a->q),
             .element = nnl_dtype_size(a->q->dtype),
             .L = (size_t)last_size(a->q, 2),
             .S = (size_t)last_size(a->k, 2),
             .E = (size_t)last_size(a->q, 1),
             .V = (size_t)last_size(a->v, 1),
             .batches = 1};
    for (int d = 0; d < a->q->shape.ndim - 2; d++) j.batches *= (size_t)a->q->shape.size[d];
    j.rows = a->causal && j.S <= SHORT ? ROWS / 2 : ROWS;
    j.width = smaller(COLUMNS, padded(j.S)) + NNL_SCORE_STEP;
    return j;
}

// Of no keys at all the result is 0, as it is of an empty product.
static void clear_out(const job *j) {
    for (size_t batch = 0; batch < j->batches; batch++) {
        matrix out = matrix_of(j->out, batch);
        clear_rows(&out, 0, j->L, j->V);
    }
}

nnl_status nnl_attend_forward(nnl_context *ctx, const nnl_attend *a, nnl_tensor *out,
                              nnl_tensor *statistics) {
    job j = job_of(ctx, a);
    j.out = out;
    j.statistics = statistics;
    j.units = j.batches * ((j.L + j.rows - 1) / j.rows);
    if (j.S > 0) return run(&j);
    clear_out(&j);
    return NNL_OK;
}

nnl_status nnl_attend_backward(nnl_context *ctx, const nnl_attend *a, const nnl_attend_gradients *g) {
    job j = job_of(ctx, a);
    j.g = g;
    j.units = j.batches;
    return run(&j);
}
