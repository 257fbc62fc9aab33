// packed.c: products chunk by chunk: what both operands have in a chunk is packed by all threads, then
// multiplied by all of them. The inner dimension is one of units of 32 bits: floats, or pairs of bfloat16.
// See packed.h.
#include "kernel/packed.h"

#include <string.h>

// What a chunk has at most: bytes of packed rows of a and columns of b, and inner elements.
#define ROOM_A ((size_t)4 << 20)
#define ROOM_B ((size_t)8 << 20)
#define MOST_INNER ((size_t)16384)
// Units of a panel that are gone over at once: they fill a part of the second-level cache.
#define INNER ((size_t)512)
// A product below this many multiplications stays on one thread; packing below this many elements does too.
#define SINGLE_PIECE 524288
#define SINGLE_PACK 32768
// Multiplications that a piece has at least, and pieces that there are at most.
#define PIECE ((size_t)1 << 20)
#define PIECES 16
// Below this many multiplications, rows or columns packing costs more than it saves.
#define LEAST_WORK 32768
#define LEAST_SIDE 4
// The same of floats, which kernels read as they lie too.
#define LEAST_FLOATS ((size_t)1 << 29)
#define LEAST_FLOAT_SIDE 64
#define FLOAT_STRIP 48
#define DOT_ROWS 4
#define ALIGNED 64 // bytes

typedef struct chunk {
    const nnl_packed *p;
    size_t lanes, panel, strip;                       // columns of a vector and of a panel, rows of a strip
    size_t row, rows, column, columns, inner, length; // rows of a, columns of b, from `inner` on so many
    size_t units, lda;                                // of the inner dimension
    float beta;
    uint32_t *a, *b;
    bool packs_b;
    size_t strips, panels; // of a and b
    size_t down;           // rows of a piece: whole strips
} chunk;

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }
static size_t larger(size_t a, size_t b) { return a > b ? a : b; }
static size_t cut_up(size_t n, size_t by) { return (n + by - 1) / by; }
static size_t rounded(size_t n, size_t to) { return cut_up(n, to) * to; }

static bool is_half(const nnl_packed *p) { return p->type == NNL_PRODUCT_HALF; }
static bool is_float(const nnl_packed *p) { return p->type == NNL_PRODUCT_FLOAT; }

static const void *at(const nnl_packed *p, const nnl_matrix *x, size_t row, size_t column) {
    size_t offset = x->transposed ? column * x->ld + row : row * x->ld + column;
    return (const char *)x->data + offset * (is_half(p) ? sizeof(uint16_t) : sizeof(float));
}

bool nnl_packed_pays(const nnl_kernels *kernels, nnl_product_type type, bool natural, size_t m, size_t n,
                     size_t k) {
    if (type == NNL_PRODUCT_HALF) return k > 0;
    if (type == NNL_PRODUCT_FLOAT) {
        bool wide = m >= LEAST_FLOAT_SIDE && n >= LEAST_FLOAT_SIDE && k >= LEAST_FLOAT_SIDE;
        return kernels->gemm->lanes >= 16 && natural && wide && m * n * k > LEAST_FLOATS;
    }
    return type == NNL_PRODUCT_MIXED && m >= LEAST_SIDE && n >= LEAST_SIDE && k >= LEAST_SIDE &&
           m * n * k >= LEAST_WORK;
}

// ---- packing

// Floats as they lie, row by row: (length, columns) to (length, width).
static void copy_rows(size_t length, size_t columns, uint32_t *out, size_t width, const float *x,
                      size_t ldx) {
    for (size_t l = 0; l < length; l++) memcpy(out + l * width, x + l * ldx, columns * sizeof *x);
}

// A strip of rows of a: the pairs of each, or those of all side by side where its columns lie in order.
// Floats are read as they lie.
static void pack_strip(const chunk *c, size_t strip) {
    const nnl_packed *p = c->p;
    const nnl_pairs_kernels *kernels = p->kernels->pairs;
    size_t row = strip * c->strip, rows = smaller(c->strip, c->rows - row);
    const void *from = at(p, &p->a, c->row + row, c->inner);
    uint32_t *to = c->a + row * c->lda;
    if (is_float(p)) return;
    if (p->a.transposed) {
        kernels->merge(c->length, rows, to, c->strip, from, p->a.ld, is_half(p));
    } else {
        kernels->pack(rows, c->length, to, c->lda, from, p->a.ld, is_half(p));
    }
}

// Pairs fill whole vectors; of floats the last vector reaches back over the one before.
static size_t panel_width(const chunk *c, size_t columns) {
    return is_float(c->p) ? larger(columns, c->lanes) : rounded(columns, c->lanes);
}

static void pack_panel(const chunk *c, size_t panel) {
    const nnl_packed *p = c->p;
    const nnl_pairs_kernels *kernels = p->kernels->pairs;
    size_t column = panel * c->panel, columns = smaller(c->panel, c->columns - column);
    size_t width = panel_width(c, columns);
    const void *from = at(p, &p->b, c->inner, c->column + column);
    uint32_t *to = c->b + column * c->units;
    if (is_float(p)) {
        if (columns < c->lanes) memset(to, 0, c->length * width * sizeof *to);
        copy_rows(c->length, columns, to, width, from, p->b.ld);
    } else if (p->b.transposed) {
        kernels->turn(c->length, columns, to, width, from, p->b.ld, is_half(p));
    } else {
        kernels->merge(c->length, columns, to, width, from, p->b.ld, is_half(p));
    }
}

static void pack_part(void *arg, size_t part) {
    const chunk *c = arg;
    if (part < c->strips) pack_strip(c, part);
    if (part >= c->strips) pack_panel(c, part - c->strips);
}

static void run_parts(const chunk *c, bool together, size_t parts, nnl_task *task) {
    if (together) {
        nnl_pool_run(c->p->pool, parts, task, (void *)c);
        return;
    }
    for (size_t part = 0; part < parts; part++) task((void *)c, part);
}

// ---- multiplying

// So many rows of a, from `row` on, by a panel of b.
typedef struct piece {
    size_t row, rows, column, columns, width;
} piece;

static void multiply_pairs(const chunk *c, const piece *x, size_t l, float *to) {
    const nnl_packed *p = c->p;
    nnl_pairs_block block = {.m = x->rows,
                             .n = x->columns,
                             .pairs = smaller(INNER, c->units - l),
                             .a = c->a + x->row * c->lda + l * (p->a.transposed ? c->strip : 1),
                             .lda = c->lda,
                             .natural = !p->a.transposed,
                             .b = c->b + x->column * c->units + l * x->width,
                             .c = to,
                             .ldc = p->ldc,
                             .alpha = p->alpha,
                             .beta = l > 0 ? 1 : c->beta};
    p->kernels->pairs->block(&block);
}

static void multiply_floats(const chunk *c, const piece *x, size_t l, float *to) {
    const nnl_packed *p = c->p;
    nnl_gemm_block block = {.m = x->rows,
                            .n = x->columns,
                            .k = smaller(INNER, c->units - l),
                            .a = at(p, &p->a, c->row + x->row, c->inner + l),
                            .lda = p->a.ld,
                            .natural = true,
                            .b = (const float *)c->b + x->column * c->units + l * x->width,
                            .ldb = x->width,
                            .c = to,
                            .ldc = p->ldc,
                            .alpha = p->alpha,
                            .beta = l > 0 ? 1 : c->beta};
    p->kernels->gemm->block(&block);
}

static void multiply_part(void *arg, size_t part) {
    const chunk *c = arg;
    const nnl_packed *p = c->p;
    if (nnl_pool_stops(p->pool)) return;
    piece x = {.row = part / c->panels * c->down, .column = part % c->panels * c->panel};
    x.rows = smaller(c->down, c->rows - x.row);
    x.columns = smaller(c->panel, c->columns - x.column);
    x.width = panel_width(c, x.columns);
    float *to = p->c + (c->row + x.row) * p->ldc + c->column + x.column;
    for (size_t l = 0; l < c->units; l += INNER) {
        if (is_float(p)) multiply_floats(c, &x, l, to);
        if (!is_float(p)) multiply_pairs(c, &x, l, to);
    }
}

static void run_chunk(chunk *c) {
    size_t work = c->rows * c->columns * c->length;
    size_t elements = (c->rows + (c->packs_b ? c->columns : 0)) * c->length;
    size_t pieces = smaller(PIECES, work / PIECE + 1), down = cut_up(pieces, c->panels);
    c->down = cut_up(c->strips, smaller(down, c->strips)) * c->strip;
    run_parts(c, elements >= SINGLE_PACK && work >= SINGLE_PIECE, c->strips + (c->packs_b ? c->panels : 0),
              pack_part);
    run_parts(c, work >= SINGLE_PIECE, cut_up(c->rows, c->down) * c->panels, multiply_part);
}

// ---- chunks

// Sizes of a chunk's sides: whole strips and panels, as many as their room has.
typedef struct sides {
    size_t rows, columns, inner;
} sides;

static sides sides_of(const nnl_packed *p, size_t strip, size_t panel, size_t bytes) {
    size_t inner = smaller(p->k, MOST_INNER);
    size_t rows = larger(ROOM_A / (inner * bytes) / strip, 1) * strip;
    size_t columns = larger(ROOM_B / (inner * bytes) / panel, 1) * panel;
    return (sides){smaller(rows, p->m), smaller(columns, p->n), inner};
}

static chunk chunk_of(const nnl_packed *p) {
    const nnl_kernels *k = p->kernels;
    if (is_float(p))
        return (chunk){.p = p, .lanes = k->gemm->lanes, .panel = k->gemm->panel, .strip = FLOAT_STRIP};
    return (chunk){.p = p, .lanes = k->pairs->lanes, .panel = k->pairs->panel, .strip = k->pairs->strip};
}

static void run_columns(chunk *c, const sides *s) {
    const nnl_packed *p = c->p;
    c->columns = smaller(s->columns, p->n - c->column);
    c->panels = cut_up(c->columns, c->panel);
    for (c->row = 0; c->row < p->m && !nnl_pool_stops(p->pool); c->row += s->rows) {
        c->rows = smaller(s->rows, p->m - c->row);
        c->strips = cut_up(c->rows, c->strip);
        c->packs_b = c->row == 0;
        run_chunk(c);
    }
}

static bool run_packed(const nnl_packed *p) {
    chunk c = chunk_of(p);
    size_t per_unit = is_float(p) ? 1 : 2;
    sides s = sides_of(p, c.strip, c.panel, sizeof(uint32_t) / per_unit);
    size_t most_units = rounded(cut_up(s.inner, per_unit), c.lanes) + c.lanes;
    size_t room_a = rounded(s.rows, c.strip) * most_units, room_b = rounded(s.columns, c.lanes) * most_units;
    if (is_float(p)) room_a = 0;
    uint32_t *room = nnl_pool_common_room(p->pool, (room_a + room_b) * sizeof *room);
    if (!room) return false;
    c.a = room;
    c.b = room + room_a;
    for (c.inner = 0; c.inner < p->k; c.inner += s.inner) {
        c.length = smaller(s.inner, p->k - c.inner);
        c.units = cut_up(c.length, per_unit);
        // rows that lie a power of 2 apart would push each other out of the cache
        c.lda = p->a.transposed ? c.units : rounded(c.units, c.lanes) + c.lanes;
        c.beta = c.inner > 0 ? 1 : p->beta;
        for (c.column = 0; c.column < p->n; c.column += s.columns) run_columns(&c, &s);
    }
    return true;
}

// ---- few rows times rows of bfloat16, which are read as they lie

typedef struct rows_run {
    const nnl_packed *p;
    const uint32_t *a;
    size_t lda, step;
} rows_run;

static void dots_part(void *arg, size_t part) {
    const rows_run *r = arg;
    const nnl_packed *p = r->p;
    size_t from = part * r->step;
    p->kernels->pairs->dots(p->m, smaller(r->step, p->n - from), p->k, p->c + from, p->ldc, r->a, r->lda,
                            at(p, &p->b, 0, from), p->b.ld);
}

static bool suits_dots(const nnl_packed *p) {
    return is_half(p) && p->m <= DOT_ROWS && !p->a.transposed && p->b.transposed && p->alpha == 1 &&
           p->beta == 0;
}

static bool run_dots(const nnl_packed *p) {
    const nnl_pairs_kernels *kernels = p->kernels->pairs;
    rows_run r = {.p = p, .lda = rounded(cut_up(p->k, 2), kernels->lanes)};
    uint32_t *a = nnl_pool_common_room(p->pool, p->m * r.lda * sizeof *a);
    if (!a) return false;
    kernels->pack(p->m, p->k, a, r.lda, p->a.data, p->a.ld, true);
    r.a = a;
    r.step = larger(SINGLE_PACK / p->k, 1);
    nnl_pool_run(p->pool, cut_up(p->n, r.step), dots_part, &r);
    return true;
}

// ---- without instructions: floats that are rounded

// `rows` of `columns` as they lie in memory.
static void round_rows(const nnl_packed *p, size_t rows, size_t columns, float *out, const void *x,
                       size_t ldx) {
    const nnl_convert_kernels *convert = p->kernels->convert;
    uint16_t halves[INNER];
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j += INNER) {
            size_t count = smaller(INNER, columns - j);
            const void *from = (const uint16_t *)x + i * ldx + j;
            if (!is_half(p)) {
                convert->store[NNL_BFLOAT16][NNL_IN_FLOAT](count, halves, 1, (const float *)x + i * ldx + j);
                from = halves;
            }
            convert->load[NNL_BFLOAT16][NNL_IN_FLOAT](count, out + i * columns + j, from, 1);
        }
    }
}

// The part of x from (row, column) on.
static nnl_matrix round_part(const nnl_packed *p, const nnl_matrix *x, size_t row, size_t rows, size_t column,
                             size_t columns, float *out) {
    size_t down = x->transposed ? columns : rows, across = x->transposed ? rows : columns;
    round_rows(p, down, across, out, at(p, x, row, column), x->ld);
    return (nnl_matrix){out, across, x->transposed};
}

static bool run_rounded(const nnl_packed *p) {
    sides s = sides_of(p, 1, 1, sizeof(float));
    size_t room_a = rounded(s.rows * s.inner, ALIGNED);
    float *a = nnl_pool_common_room(p->pool, (room_a + s.columns * s.inner) * sizeof *a);
    if (!a) return false;
    float *b = a + room_a;
    for (size_t l = 0; l < p->k; l += s.inner) {
        size_t length = smaller(s.inner, p->k - l);
        for (size_t j = 0; j < p->n; j += s.columns) {
            size_t columns = smaller(s.columns, p->n - j);
            nnl_matrix right = round_part(p, &p->b, l, length, j, columns, b);
            for (size_t i = 0; i < p->m && !nnl_pool_stops(p->pool); i += s.rows) {
                size_t rows = smaller(s.rows, p->m - i);
                nnl_gemm(p->kernels, p->pool, NNL_PRODUCT_FLOAT, rows, columns, length, (double)p->alpha,
                         round_part(p, &p->a, i, rows, l, length, a), right, l > 0 ? 1 : (double)p->beta,
                         p->c + i * p->ldc + j, p->ldc);
            }
        }
    }
    return true;
}

// ---- without memory

static float value_at(const nnl_packed *p, const nnl_matrix *x, size_t row, size_t column) {
    float value;
    p->kernels->convert->load[NNL_BFLOAT16][NNL_IN_FLOAT](1, &value, at(p, x, row, column), 1);
    return value;
}

// Operands of bfloat16, one element at a time.
static void run_slowly(const nnl_packed *p) {
    for (size_t i = 0; i < p->m && !nnl_pool_stops(p->pool); i++) {
        for (size_t j = 0; j < p->n; j++) {
            float sum = 0, *to = p->c + i * p->ldc + j;
            for (size_t l = 0; l < p->k; l++) sum += value_at(p, &p->a, i, l) * value_at(p, &p->b, l, j);
            *to = p->beta == 0 ? p->alpha * sum : p->alpha * sum + p->beta * *to;
        }
    }
}

bool nnl_packed_run(const nnl_packed *p) {
    bool native = is_float(p) || p->kernels->pairs->lanes > 0;
    bool done = !native ? run_rounded(p) : suits_dots(p) ? run_dots(p) : run_packed(p);
    if (done || !is_half(p)) return done;
    run_slowly(p);
    return true;
}
