// panels.c: a float product, panel after panel. See panels.h.
#include "kernel/panels.h"

#include <string.h>

// Inner elements of a panel: the copy of one fills a part of the second-level cache.
#define INNER 512

// Costs in quarters of a vector operation: a multiplication; an element that is moved to where its row or
// column is needed; the sum over the lanes of a vector.
#define COST 4
#define COST_MOVE 2
#define COST_SUM 48

// The two operands as the kernel sees them: rows (m, k) and columns (k, n).
typedef struct sides {
    nnl_matrix rows, columns;
    size_t m, n;
} sides;

static nnl_matrix transpose(nnl_matrix x) {
    x.transposed = !x.transposed;
    return x;
}

static sides sides_of(const nnl_panels *p) {
    if (p->way != NNL_PANELS_TURNED) return (sides){p->a, p->b, p->m, p->n};
    return (sides){transpose(p->b), transpose(p->a), p->n, p->m};
}

static const float *at(const nnl_matrix *x, size_t row, size_t column) {
    return (const float *)x->data + (x->transposed ? column * x->ld + row : row * x->ld + column);
}

bool nnl_panels_copied(const nnl_matrix *a, const nnl_matrix *b, nnl_panels_way way) {
    if (way == NNL_PANELS_DOTS) return false;
    return way == NNL_PANELS_TURNED ? !a->transposed : b->transposed;
}

nnl_panels_way nnl_panels_choose(const nnl_kernels *kernels, const nnl_matrix *a, const nnl_matrix *b,
                                 size_t m, size_t n, size_t k) {
    size_t lanes = kernels->gemm->lanes, vectors_m = (m + lanes - 1) / lanes,
           vectors_n = (n + lanes - 1) / lanes, vectors_k = (k + lanes - 1) / lanes;
    size_t plain = COST * m * vectors_n * k, turned = COST * n * vectors_m * k + COST_MOVE * m * n,
           dots = COST * m * n * vectors_k + COST_SUM * m * n;
    if (nnl_panels_copied(a, b, NNL_PANELS_PLAIN)) plain += COST_MOVE * n * k;
    if (nnl_panels_copied(a, b, NNL_PANELS_TURNED)) turned += COST_MOVE * m * k;
    bool may_dot = !a->transposed && b->transposed && k >= lanes;
    if (may_dot && dots < plain && dots < turned) return NNL_PANELS_DOTS;
    return turned < plain ? NNL_PANELS_TURNED : NNL_PANELS_PLAIN;
}

size_t nnl_panels_room(const nnl_kernels *kernels) { return INNER * kernels->gemm->panel; }

// `columns` of them from (l, j) on, in order and filled up with zeros to one vector at least; returns that
// width.
static size_t copy_panel(const nnl_panels *p, const nnl_matrix *x, size_t l, size_t inner, size_t j,
                         size_t columns) {
    size_t lanes = p->kernels->gemm->lanes, width = columns < lanes ? lanes : columns;
    const float *from = at(x, l, j);
    if (x->transposed) {
        p->kernels->gemm->pack(columns, inner, p->room, from, x->ld);
        return width;
    }
    for (size_t i = 0; i < inner; i++) {
        memcpy(p->room + i * width, from + i * x->ld, columns * sizeof *from);
        for (size_t r = columns; r < width; r++) p->room[i * width + r] = 0;
    }
    return width;
}

static void run_panel(const nnl_panels *p, const sides *s, size_t l, size_t inner, size_t j, size_t columns) {
    bool direct = !s->columns.transposed && columns >= p->kernels->gemm->lanes;
    size_t width = direct ? s->columns.ld : copy_panel(p, &s->columns, l, inner, j, columns);
    bool turned = p->way == NNL_PANELS_TURNED;
    nnl_gemm_block block = {.m = s->m,
                            .n = columns,
                            .k = inner,
                            .a = at(&s->rows, 0, l),
                            .lda = s->rows.ld,
                            .natural = !s->rows.transposed,
                            .b = direct ? at(&s->columns, l, j) : p->room,
                            .ldb = width,
                            .c = p->c + (turned ? j * p->ldc : j),
                            .ldc = p->ldc,
                            .turned = turned,
                            .alpha = p->alpha,
                            .beta = l > 0 ? 1 : p->beta};
    p->kernels->gemm->block(&block);
}

static void run_dots(const nnl_panels *p) {
    nnl_gemm_block block = {.m = p->m,
                            .n = p->n,
                            .k = p->k,
                            .a = p->a.data,
                            .lda = p->a.ld,
                            .natural = true,
                            .b = p->b.data,
                            .ldb = p->b.ld,
                            .c = p->c,
                            .ldc = p->ldc,
                            .alpha = p->alpha,
                            .beta = p->beta};
    p->kernels->gemm->dots(&block);
}

void nnl_panels_run(const nnl_panels *p, const nnl_pool *pool) {
    if (p->way == NNL_PANELS_DOTS) {
        run_dots(p);
        return;
    }
    sides s = sides_of(p);
    size_t panel = p->kernels->gemm->panel, stretches = (p->k + INNER - 1) / INNER,
           inner = (p->k + stretches - 1) / stretches;
    for (size_t j = 0; j < s.n; j += panel) {
        size_t columns = s.n - j < panel ? s.n - j : panel;
        for (size_t l = 0; l < p->k && !nnl_pool_stops(pool); l += inner)
            run_panel(p, &s, l, p->k - l < inner ? p->k - l : inner, j, columns);
    }
}
