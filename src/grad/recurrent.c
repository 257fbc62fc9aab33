// recurrent.c: recurrent cells over all time steps as one operation. The input's part of the gates is one
// product for all steps; then each part of the batch goes through time by itself, with weights packed once.
// Backward keeps the gradients of all gates, so that those of the weights are one product each.
#include "grad/product.h"
#include "grad/records.h"

#include <string.h>

// Rows of the batch that go through time together, where the weights are small enough for a processor's own
// cache. Larger ones are shared out at every step instead.
#define PART_ROWS 16
#define CACHED_WEIGHTS 524288
// Below this many multiplications everything stays in one piece.
#define SINGLE_PIECE 262144
// Packing pays from so many steps on.
#define PACK_STEPS 4
// A piece of a packed product: all columns of so many rows or, of fewer rows, so many columns.
#define PIECE_ROWS 64
#define PIECE_COLUMNS 128
// Rows of one step that one piece of pointwise work takes.
#define STEP_ROWS 4

enum { X, H0, C0, WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, INPUTS };
enum {
    SAVED_X,
    SAVED_WEIGHT_IH,
    SAVED_WEIGHT_HH,
    SAVED_H,
    SAVED_C,
    SAVED_GATES,
    SAVED_KEPT,
    SAVED_Y,
    SAVED_LENGTHS
};

static const struct {
    const char *name;
    int gates;
} cells[NNL_CELL_COUNT] = {[NNL_CELL_TANH] = {"rnn", 1},
                           [NNL_CELL_RELU] = {"rnn", 1},
                           [NNL_CELL_LSTM] = {"lstm", 4},
                           [NNL_CELL_GRU] = {"gru", 3}};

typedef struct recurrent_state {
    nnl_cell cell;
    bool reverse;
} recurrent_state;

// ---- what forward and backward share: sizes, and the walk over time

// The right side of a product, (k, n): a weight or its transpose.
typedef struct factor {
    const char *weight; // (n, k) if transposed, (k, n) otherwise
    bool transposed;
    size_t k, n;
    char *packed; // in panels; NULL where plain products do
} factor;

// T steps of a batch of N with H hidden units and G = gates * H columns.
typedef struct walk {
    nnl_context *ctx;
    nnl_cell cell;
    nnl_compute type;
    bool reverse;
    size_t T, N, in, H, G, element;
    size_t rows;       // of the batch in one part
    bool shares_steps; // there is one part, whose steps are shared out
    bool packs;
    const int64_t *lengths; // NULL: all T
    char *zeros;            // H of them
    factor weight_hh;
    // forward: y, kept (T, N, H), gates (T, N, G), the GRU's hidden part (N, G), the state (N, H), bias
    char *gates, *y, *kept, *hidden, *h, *c, *bias;
    bool starts_at_zero;
    // backward: of what was saved, h0 and c0 (N, H) or NULL; gradients of all gates, of the state
    const char *h0, *c0, *dy;
    bool wants_first; // the gradient of h0
    char *dgates, *dhidden, *dh, *dc;
} walk;

static size_t size_at(const nnl_tensor *t, int dim) { return (size_t)t->shape.size[dim]; }

static void *data_of(const nnl_tensor *t) { return t ? nnl_tensor_data(t) : NULL; }

static walk walk_of(nnl_context *ctx, nnl_cell cell, bool reverse, const nnl_tensor *x,
                    const nnl_tensor *weight_hh, const nnl_tensor *lengths) {
    walk w = {.ctx = ctx,
              .cell = cell,
              .type = nnl_tensor_compute(x),
              .reverse = reverse,
              .T = size_at(x, 0),
              .N = size_at(x, 1),
              .in = size_at(x, 2),
              .G = size_at(weight_hh, 0),
              .H = size_at(weight_hh, 1),
              .element = nnl_dtype_size(x->dtype),
              .lengths = data_of(lengths)};
    bool large = w.N * w.G * w.H >= SINGLE_PIECE;
    w.packs = w.type == NNL_IN_FLOAT && w.T >= PACK_STEPS;
    w.shares_steps = w.packs && large && w.G * w.H > CACHED_WEIGHTS;
    w.rows = w.packs && !w.shares_steps && w.T * w.N * w.G * w.H >= SINGLE_PIECE ? PART_ROWS : w.N;
    return w;
}

// Row n of step t in a buffer (T, N, width).
static char *row_at(const walk *w, char *buffer, size_t t, size_t n, size_t width) {
    return buffer + ((t * w->N + n) * width) * w->element;
}

static const char *const_row_at(const walk *w, const char *buffer, size_t t, size_t n, size_t width) {
    return buffer + ((t * w->N + n) * width) * w->element;
}

// The k-th step that is taken.
static size_t time_of(const walk *w, size_t k) { return w->reverse ? w->T - 1 - k : k; }

static bool is_active(const walk *w, size_t t, size_t n) { return !w->lengths || t < (size_t)w->lengths[n]; }

// The step at which a row begins with its first state.
static bool is_first(const walk *w, size_t t, size_t n) {
    if (!w->reverse) return t == 0;
    return t + 1 == (w->lengths ? (size_t)w->lengths[n] : w->T);
}

static size_t rows_of_part(const walk *w, size_t first) {
    return w->N - first < w->rows ? w->N - first : w->rows;
}

// The pointwise work of one step.
typedef struct row_job {
    const walk *w;
    size_t t, first, rows;
    void (*row)(const walk *w, size_t t, size_t n);
} row_job;

static void some_rows(void *arg, size_t part) {
    const row_job *job = arg;
    size_t from = part * STEP_ROWS, to = from + STEP_ROWS < job->rows ? from + STEP_ROWS : job->rows;
    for (size_t n = from; n < to; n++) job->row(job->w, job->t, job->first + n);
}

static void run_rows(const walk *w, size_t t, size_t first, size_t rows,
                     void (*row)(const walk *w, size_t t, size_t n)) {
    row_job job = {w, t, first, rows, row};
    size_t parts = (rows + STEP_ROWS - 1) / STEP_ROWS;
    if (w->shares_steps) nnl_pool_run(w->ctx->pool, parts, some_rows, &job);
    for (size_t part = 0; part < parts && !w->shares_steps; part++) some_rows(&job, part);
}

static void run_parts(const walk *w, nnl_task *task) {
    if (w->N > 0) nnl_pool_run(w->ctx->pool, (w->N + w->rows - 1) / w->rows, task, (void *)w);
}

// Memory that is let go of all at once.
typedef struct scratch {
    nnl_context *ctx;
    void *block[4];
    int count;
    bool failed;
} scratch;

static void *take(scratch *s, size_t bytes) {
    void *memory = s->failed ? NULL : nnl_alloc(&s->ctx->allocator, bytes);
    if (memory) {
        s->block[s->count++] = memory;
    } else if (!s->failed) {
        s->failed = true;
        nnl_fail(s->ctx, NNL_ERR_MEMORY, "out of memory: no room for a recurrent layer");
    }
    return memory;
}

static void *take_zeros(scratch *s, size_t bytes) {
    void *memory = take(s, bytes);
    if (memory) memset(memory, 0, bytes);
    return memory;
}

static void give_back(scratch *s) {
    while (s->count > 0) nnl_free(&s->ctx->allocator, s->block[--s->count]);
}

// ---- products with weights

// `together`: for one product of all steps, which mixed precision has in bfloat16; those of single steps are
// in floats, as their sums run through time.
static factor factor_of(const walk *w, scratch *s, const nnl_tensor *weight, bool transposed, bool together) {
    const nnl_recurrent_kernels *kernels = w->ctx->kernels->recurrent;
    size_t rows = size_at(weight, 0), columns = size_at(weight, 1);
    factor f = {.weight = nnl_tensor_data(weight),
                .transposed = transposed,
                .k = transposed ? columns : rows,
                .n = transposed ? rows : columns};
    if (!w->packs || (together && w->ctx->mixed)) return f;
    size_t whole = (f.n + kernels->panel - 1) / kernels->panel * kernels->panel;
    f.packed = take(s, f.k * whole * w->element);
    if (f.packed) {
        kernels->pack(f.k, f.n, f.packed, f.weight, transposed ? 1 : columns, transposed ? columns : 1);
    }
    return f;
}

// c (rows, n) = a (rows, k) f, or c += a f.
typedef struct product {
    const walk *w;
    const factor *f;
    size_t rows, step_rows, step_columns;
    char *c;
    const char *a;
    bool adds;
} product;

static size_t pieces_of(size_t size, size_t step) { return step > 0 ? (size + step - 1) / step : 0; }

static void packed_piece(void *arg, size_t piece) {
    const product *p = arg;
    const factor *f = p->f;
    if (nnl_pool_stops(p->w->ctx->pool)) return;
    size_t element = p->w->element, across = pieces_of(f->n, p->step_columns);
    size_t row = piece / across * p->step_rows, column = piece % across * p->step_columns;
    size_t rows = p->rows - row < p->step_rows ? p->rows - row : p->step_rows;
    size_t columns = f->n - column < p->step_columns ? f->n - column : p->step_columns;
    char *c = p->c + (row * f->n + column) * element;
    for (size_t r = 0; r < rows && !p->adds; r++) memset(c + r * f->n * element, 0, columns * element);
    p->w->ctx->kernels->recurrent->add_packed(rows, columns, f->k, c, f->n, p->a + row * f->k * element, f->k,
                                              f->packed + column * f->k * element);
}

// Called by a part of the batch this stays on its thread; called outside of parts it is shared out.
static void multiply(const walk *w, const factor *f, size_t rows, char *c, const char *a, bool adds) {
    if (!f->packed) {
        size_t ld = f->transposed ? f->k : f->n;
        nnl_gemm(w->ctx->kernels, w->ctx->pool, nnl_product_of(w->ctx, w->type), rows, f->n, f->k, 1,
                 (nnl_matrix){a, f->k, false}, (nnl_matrix){f->weight, ld, f->transposed}, adds, c, f->n);
        return;
    }
    bool whole = rows * f->n * f->k < SINGLE_PIECE, few = rows <= PIECE_ROWS;
    product p = {.w = w,
                 .f = f,
                 .rows = rows,
                 .step_rows = whole ? rows : PIECE_ROWS,
                 .step_columns = whole || !few ? f->n : PIECE_COLUMNS,
                 .c = c,
                 .a = a,
                 .adds = adds};
    size_t pieces = pieces_of(rows, p.step_rows) * pieces_of(f->n, p.step_columns);
    nnl_pool_run(w->ctx->pool, pieces, packed_piece, &p);
}

// ---- forward

static void forward_row(const walk *w, size_t t, size_t n) {
    char *y = row_at(w, w->y, t, n, w->H), *gates = row_at(w, w->gates, t, n, w->G);
    char *c = w->c ? row_at(w, w->c, 0, n, w->H) : NULL;
    char *kept = w->kept ? row_at(w, w->kept, t, n, w->H) : NULL;
    if (!is_active(w, t, n)) {
        memset(y, 0, w->H * w->element);
        return;
    }
    nnl_cell_step step = {.gates = gates,
                          .hidden = w->hidden ? row_at(w, w->hidden, 0, n, w->G) : NULL,
                          .bias = w->bias,
                          .h = row_at(w, w->h, 0, n, w->H),
                          .c = c,
                          .y = y,
                          .kept = kept};
    w->ctx->kernels->recurrent->step[w->cell][w->type](w->H, &step);
}

static void forward_part(void *arg, size_t part) {
    const walk *w = arg;
    size_t first = part * w->rows, rows = rows_of_part(w, first);
    char *hidden = w->hidden ? row_at(w, w->hidden, 0, first, w->G) : NULL;
    const char *h = row_at(w, w->h, 0, first, w->H);
    for (size_t k = 0; k < w->T && !nnl_pool_stops(w->ctx->pool); k++) {
        size_t t = time_of(w, k);
        if (hidden) memset(hidden, 0, rows * w->G * w->element);
        if (k > 0 || !w->starts_at_zero) {
            char *to = hidden ? hidden : row_at(w, w->gates, t, first, w->G);
            multiply(w, &w->weight_hh, rows, to, h, true);
        }
        run_rows(w, t, first, rows, forward_row);
    }
}

static void add_vector(const walk *w, size_t n, char *to, const void *x) {
    if (x) w->ctx->kernels->elementwise->binary[NNL_BINARY_add][w->type](n, to, to, x);
}

// The sum of both biases; of the GRU's n they stay apart.
static char *make_bias(walk *w, scratch *s, const nnl_recurrence *r) {
    bool gru = w->cell == NNL_CELL_GRU;
    size_t shared = gru ? 2 * w->H : w->G;
    char *bias = take_zeros(s, (w->G + w->H) * w->element);
    if (!bias) return NULL;
    add_vector(w, w->G, bias, data_of(r->bias_ih));
    const char *hh = data_of(r->bias_hh);
    add_vector(w, shared, bias, hh);
    if (gru && hh) memcpy(bias + w->G * w->element, hh + shared * w->element, w->H * w->element);
    return bias;
}

static nnl_status run_forward(walk *w, const nnl_recurrence *r) {
    scratch s = {.ctx = w->ctx};
    bool gru = w->cell == NNL_CELL_GRU;
    w->bias = make_bias(w, &s, r);
    if (gru) w->hidden = take(&s, w->N * w->G * w->element);
    factor weight_ih = factor_of(w, &s, r->weight_ih, true, true);
    w->weight_hh = factor_of(w, &s, r->weight_hh, true, false);
    if (!s.failed) {
        multiply(w, &weight_ih, w->T * w->N, w->gates, nnl_tensor_data(r->x), false);
        run_parts(w, forward_part);
    }
    give_back(&s);
    return s.failed ? w->ctx->status : NNL_OK;
}

// ---- what forward makes

// A copy of a first state, or zeros.
static nnl_tensor *state_of(nnl_context *ctx, const nnl_recurrence *r, const nnl_tensor *given) {
    nnl_shape shape = {.ndim = 2, .size = {r->x->shape.size[1], r->weight_hh->shape.size[1]}};
    nnl_tensor *state = nnl_tensor_new(ctx, r->x->dtype, &shape);
    if (state && given) nnl_try_copy(state, given);
    if (state && !given) nnl_try_fill(state, nnl_number_float(0));
    return state;
}

static nnl_tensor *steps_of(nnl_context *ctx, const nnl_recurrence *r, int64_t width) {
    nnl_shape shape = {.ndim = 3, .size = {r->x->shape.size[0], r->x->shape.size[1], width}};
    return nnl_tensor_new(ctx, r->x->dtype, &shape);
}

typedef struct made {
    nnl_tensor *out[3];
    nnl_tensor *gates, *kept; // kept: a state of its own where backward does not need all steps
} made;

static void release_made(made *m, bool results) {
    nnl_tensor_release(m->gates);
    nnl_tensor_release(m->kept);
    for (int k = 0; k < 3 && results; k++) nnl_tensor_release(m->out[k]);
}

static bool make_results(nnl_context *ctx, const nnl_recurrence *r, made *m) {
    int64_t hidden = r->weight_hh->shape.size[1];
    bool lstm = r->cell == NNL_CELL_LSTM;
    *m = (made){.out = {steps_of(ctx, r, hidden)}};
    if (m->out[0]) m->out[1] = state_of(ctx, r, r->h);
    if (m->out[1] && lstm) m->out[2] = state_of(ctx, r, r->c);
    if (m->out[1] && (m->out[2] || !lstm)) m->gates = steps_of(ctx, r, r->weight_hh->shape.size[0]);
    if (m->gates && (lstm || r->cell == NNL_CELL_GRU)) m->kept = steps_of(ctx, r, hidden);
    if (m->gates && (m->kept || !(lstm || r->cell == NNL_CELL_GRU))) return true;
    release_made(m, true);
    return false;
}

static nnl_status recurrent_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                     nnl_tensor **dx);

static const nnl_op records[NNL_CELL_COUNT] = {
    [NNL_CELL_TANH] = {.name = "rnn", .outputs = 2, .backward = recurrent_backward},
    [NNL_CELL_RELU] = {.name = "rnn", .outputs = 2, .backward = recurrent_backward},
    [NNL_CELL_LSTM] = {.name = "lstm", .outputs = 3, .backward = recurrent_backward},
    [NNL_CELL_GRU] = {.name = "gru", .outputs = 2, .backward = recurrent_backward}};

static nnl_status record(nnl_context *ctx, const nnl_recurrence *r, const made *m) {
    recurrent_state state = {r->cell, r->reverse};
    return nnl_record(ctx,
                      &(nnl_recording){.op = &records[r->cell],
                                       .n_inputs = INPUTS,
                                       .inputs = (nnl_tensor *const[]){r->x, r->h, r->c, r->weight_ih,
                                                                       r->weight_hh, r->bias_ih, r->bias_hh},
                                       .n_outputs = records[r->cell].outputs,
                                       .outputs = m->out,
                                       .n_saved = SAVED_LENGTHS + 1,
                                       .saved = {[SAVED_X] = r->x,
                                                 [SAVED_WEIGHT_IH] = r->weight_ih,
                                                 [SAVED_WEIGHT_HH] = r->weight_hh,
                                                 [SAVED_H] = r->h,
                                                 [SAVED_C] = r->c,
                                                 [SAVED_GATES] = m->gates,
                                                 [SAVED_KEPT] = m->kept,
                                                 [SAVED_Y] = m->out[0],
                                                 [SAVED_LENGTHS] = r->lengths},
                                       .state = &state,
                                       .state_size = sizeof state});
}

// The same on contiguous tensors that fit together.
static nnl_status recurrent(nnl_context *ctx, const nnl_recurrence *r, nnl_tensor *out[3]) {
    made m;
    if (!make_results(ctx, r, &m)) return ctx->status;
    walk w = walk_of(ctx, r->cell, r->reverse, r->x, r->weight_hh, r->lengths);
    w.starts_at_zero = !r->h;
    w.gates = nnl_tensor_data(m.gates);
    w.y = nnl_tensor_data(m.out[0]);
    w.h = nnl_tensor_data(m.out[1]);
    w.c = data_of(m.out[2]);
    w.kept = data_of(m.kept);
    nnl_status status = run_forward(&w, r);
    if (status == NNL_OK) status = record(ctx, r, &m);
    if (status == NNL_OK) memcpy(out, m.out, sizeof m.out);
    release_made(&m, status != NNL_OK);
    return status;
}

// ---- checks

static nnl_status check_shape(nnl_context *ctx, const char *who, const char *what, const nnl_tensor *t,
                              int ndim, const int64_t *size, nnl_dtype dtype) {
    char got[NNL_SHAPE_TEXT], expected[NNL_SHAPE_TEXT];
    nnl_shape shape = nnl_shape_of(ndim, size);
    if (!t) return NNL_OK;
    if (!nnl_shape_equal(&t->shape, &shape)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected %s of shape %s, got %s", who, what,
                        nnl_shape_text(&shape, expected), nnl_shape_text(&t->shape, got));
    }
    if (t->dtype == dtype) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected %s of dtype %s, got %s", who, what,
                    nnl_dtype_get(dtype)->name, nnl_dtype_get(t->dtype)->name);
}

static nnl_status check_lengths(nnl_context *ctx, const char *who, const nnl_recurrence *r) {
    const int64_t steps = r->x->shape.size[0], batch = r->x->shape.size[1];
    if (!r->lengths) return NNL_OK;
    nnl_status status = check_shape(ctx, who, "lengths", r->lengths, 1, &batch, NNL_INT64);
    const int64_t *length = nnl_tensor_data(r->lengths);
    int64_t stride = r->lengths->stride[0];
    for (int64_t n = 0; n < batch && status == NNL_OK; n++) {
        if (length[n * stride] >= 1 && length[n * stride] <= steps) continue;
        status = nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: length %lld of sequence %lld is not within 1 to %lld",
                          who, (long long)length[n * stride], (long long)n + 1, (long long)steps);
    }
    return status;
}

static nnl_status check_input(nnl_context *ctx, const char *who, const nnl_recurrence *r) {
    char got[NNL_SHAPE_TEXT];
    const nnl_tensor *x = r->x, *weight = r->weight_hh;
    if (x->shape.ndim != 3 || x->shape.size[0] < 1 || weight->shape.ndim != 2) {
        return nnl_fail(ctx, NNL_ERR_SHAPE,
                        "%s: expected input (T, N, features) of at least one step and a weight_hh of two "
                        "dimensions, got %s",
                        who, nnl_shape_text(x->shape.ndim != 3 ? &x->shape : &weight->shape, got));
    }
    if (x->dtype == NNL_FLOAT32 || x->dtype == NNL_FLOAT64) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected input of float32 or float64, got %s", who,
                    nnl_dtype_get(x->dtype)->name);
}

static nnl_status check(nnl_context *ctx, const nnl_recurrence *r) {
    const char *who = cells[r->cell].name;
    nnl_status status = check_input(ctx, who, r);
    if (status != NNL_OK) return status;
    int64_t batch = r->x->shape.size[1], in = r->x->shape.size[2], hidden = r->weight_hh->shape.size[1];
    int64_t gates = cells[r->cell].gates * hidden;
    const struct {
        const char *name;
        const nnl_tensor *t;
        int ndim;
        int64_t size[2];
    } expected[] = {{"weight_hh", r->weight_hh, 2, {gates, hidden}},
                    {"weight_ih", r->weight_ih, 2, {gates, in}},
                    {"bias_ih", r->bias_ih, 1, {gates}},
                    {"bias_hh", r->bias_hh, 1, {gates}},
                    {"state h", r->h, 2, {batch, hidden}},
                    {"state c", r->c, 2, {batch, hidden}}};
    for (size_t k = 0; k < sizeof expected / sizeof *expected && status == NNL_OK; k++) {
        status = check_shape(ctx, who, expected[k].name, expected[k].t, expected[k].ndim, expected[k].size,
                             r->x->dtype);
    }
    return status == NNL_OK ? check_lengths(ctx, who, r) : status;
}

nnl_status nnl_recurrent(nnl_context *ctx, const nnl_recurrence *given, nnl_tensor *out[3]) {
    nnl_recurrence r = *given;
    nnl_tensor **part[] = {&r.x, &r.h, &r.c, &r.weight_ih, &r.weight_hh, &r.bias_ih, &r.bias_hh, &r.lengths};
    int parts = (int)(sizeof part / sizeof *part), whole = 0;
    nnl_status status = check(ctx, given);
    for (; whole < parts && status == NNL_OK; whole++) {
        if (!*part[whole]) continue;
        *part[whole] = nnl_contiguous(ctx, *part[whole]);
        if (!*part[whole]) status = ctx->status;
    }
    if (status == NNL_OK) status = recurrent(ctx, &r, out);
    for (int k = 0; k < whole; k++) nnl_tensor_release(*part[k]);
    return status;
}

// ---- backward

// What a row had for its state before a step.
static const char *before(const walk *w, const char *steps, const char *first, size_t t, size_t n) {
    if (is_first(w, t, n)) return first ? const_row_at(w, first, 0, n, w->H) : w->zeros;
    return const_row_at(w, steps, w->reverse ? t + 1 : t - 1, n, w->H);
}

static void backward_row(const walk *w, size_t t, size_t n) {
    bool lstm = w->cell == NNL_CELL_LSTM, gru = w->cell == NNL_CELL_GRU;
    char *dgates = row_at(w, w->dgates, t, n, w->G), *dhidden = row_at(w, w->dhidden, t, n, w->G);
    if (!is_active(w, t, n)) {
        memset(dgates, 0, w->G * w->element);
        if (gru) memset(dhidden, 0, w->G * w->element);
        return;
    }
    nnl_cell_back back = {.gates = row_at(w, w->gates, t, n, w->G),
                          .kept = w->kept ? row_at(w, w->kept, t, n, w->H) : NULL,
                          .y = row_at(w, w->y, t, n, w->H),
                          .before = lstm  ? before(w, w->kept, w->c0, t, n)
                                    : gru ? before(w, w->y, w->h0, t, n)
                                          : NULL,
                          .dy = w->dy ? const_row_at(w, w->dy, t, n, w->H) : w->zeros,
                          .dh = row_at(w, w->dh, 0, n, w->H),
                          .dc = w->dc ? row_at(w, w->dc, 0, n, w->H) : NULL,
                          .dgates = dgates,
                          .dhidden = dhidden};
    w->ctx->kernels->recurrent->back[w->cell][w->type](w->H, &back);
}

static void backward_part(void *arg, size_t part) {
    const walk *w = arg;
    size_t first = part * w->rows, rows = rows_of_part(w, first);
    for (size_t k = w->T; k-- > 0 && !nnl_pool_stops(w->ctx->pool);) {
        size_t t = time_of(w, k);
        run_rows(w, t, first, rows, backward_row);
        if (k == 0 && !w->wants_first) break;
        multiply(w, &w->weight_hh, rows, row_at(w, w->dh, 0, first, w->H),
                 row_at(w, w->dhidden, t, first, w->G), true);
    }
}

// The gradient of all gates at each row's first step, side by side: (N, G).
static void gather_first(const walk *w, char *to) {
    for (size_t n = 0; n < w->N; n++) {
        size_t t = w->reverse ? (w->lengths ? (size_t)w->lengths[n] : w->T) - 1 : 0;
        memcpy(to + n * w->G * w->element, row_at(w, w->dhidden, t, n, w->G), w->G * w->element);
    }
}

// Gates' gradients times what the hidden state was: all steps but the first with the results one step
// earlier, the first one with the state that was given.
static nnl_tensor *weight_hh_gradient(const walk *w, const nnl_tensor *weight) {
    nnl_context *ctx = w->ctx;
    nnl_tensor *dweight = nnl_tensor_new(ctx, weight->dtype, &weight->shape);
    scratch s = {.ctx = ctx};
    char *first = dweight && w->h0 ? take(&s, w->N * w->G * w->element) : NULL;
    if (!dweight || s.failed) {
        nnl_tensor_release(dweight);
        return NULL;
    }
    nnl_matrix dgates = {w->dhidden + (w->reverse ? 0 : w->N * w->G * w->element), w->G, true};
    nnl_matrix h = {w->y + (w->reverse ? w->N * w->H * w->element : 0), w->H, false};
    void *out = nnl_tensor_data(dweight);
    nnl_gemm(ctx->kernels, ctx->pool, nnl_product_of(ctx, w->type), w->G, w->H, (w->T - 1) * w->N, 1, dgates,
             h, 0, out, w->H);
    if (first) {
        gather_first(w, first);
        nnl_gemm(ctx->kernels, ctx->pool, nnl_product_of(ctx, w->type), w->G, w->H, w->N, 1,
                 (nnl_matrix){first, w->G, true}, (nnl_matrix){w->h0, w->H, false}, 1, out, w->H);
    }
    give_back(&s);
    return dweight;
}

static nnl_tensor *weight_ih_gradient(const walk *w, const nnl_tensor *x, const nnl_tensor *weight) {
    nnl_tensor *dweight = nnl_tensor_new(w->ctx, weight->dtype, &weight->shape);
    if (!dweight) return NULL;
    nnl_gemm(w->ctx->kernels, w->ctx->pool, nnl_product_of(w->ctx, w->type), w->G, w->in, w->T * w->N, 1,
             (nnl_matrix){w->dgates, w->G, true}, (nnl_matrix){nnl_tensor_data(x), w->in, false}, 0,
             nnl_tensor_data(dweight), w->in);
    return dweight;
}

static nnl_tensor *input_gradient(const walk *w, const nnl_tensor *x, const nnl_tensor *weight) {
    nnl_tensor *dx = nnl_tensor_new(w->ctx, x->dtype, &x->shape);
    scratch s = {.ctx = w->ctx};
    factor f = dx ? factor_of(w, &s, weight, false, true) : (factor){.weight = NULL};
    if (!dx || s.failed) {
        nnl_tensor_release(dx);
        return NULL;
    }
    multiply(w, &f, w->T * w->N, nnl_tensor_data(dx), w->dgates, false);
    give_back(&s);
    return dx;
}

static nnl_status store(nnl_context *ctx, nnl_tensor **to, nnl_tensor *gradient) {
    *to = gradient;
    return gradient ? NNL_OK : ctx->status;
}

// After the walk: everything that all steps give together. `d`: gradients of the gates (T, N, G), and of
// their hidden part, which only the GRU has apart.
static nnl_status weight_gradients(const walk *w, nnl_node *node, nnl_tensor *const *d, nnl_tensor **dx) {
    static const int64_t steps_and_batch[2] = {0, 1};
    nnl_context *ctx = w->ctx;
    nnl_status status = NNL_OK;
    nnl_tensor *x = nnl_node_saved(node, SAVED_X), *weight = nnl_node_saved(node, SAVED_WEIGHT_IH);
    if (nnl_node_needs(node, X)) status = store(ctx, &dx[X], input_gradient(w, x, weight));
    if (status == NNL_OK && nnl_node_needs(node, WEIGHT_IH)) {
        status = store(ctx, &dx[WEIGHT_IH], weight_ih_gradient(w, x, weight));
    }
    if (status == NNL_OK && nnl_node_needs(node, WEIGHT_HH)) {
        status = store(ctx, &dx[WEIGHT_HH], weight_hh_gradient(w, nnl_node_saved(node, SAVED_WEIGHT_HH)));
    }
    if (status == NNL_OK && nnl_node_needs(node, BIAS_IH)) {
        status = store(ctx, &dx[BIAS_IH], nnl_sum(ctx, d[0], 2, steps_and_batch, false));
    }
    if (status == NNL_OK && nnl_node_needs(node, BIAS_HH)) {
        bool same = dx[BIAS_IH] && d[0] == d[1];
        status = store(ctx, &dx[BIAS_HH],
                       same ? nnl_tensor_retain(dx[BIAS_IH]) : nnl_sum(ctx, d[1], 2, steps_and_batch, false));
    }
    return status;
}

static nnl_status run_backward(walk *w, nnl_node *node, nnl_tensor *const *d, nnl_tensor **dx) {
    scratch s = {.ctx = w->ctx};
    w->zeros = take_zeros(&s, w->H * w->element);
    w->weight_hh = factor_of(w, &s, nnl_node_saved(node, SAVED_WEIGHT_HH), false, false);
    if (!s.failed) run_parts(w, backward_part);
    give_back(&s);
    return s.failed ? w->ctx->status : weight_gradients(w, node, d, dx);
}

// The gradient of a last state, to be carried back to the first; zeros where there is none.
static nnl_tensor *carried(nnl_context *ctx, const nnl_tensor *given, const nnl_tensor *y) {
    nnl_shape shape = {.ndim = 2, .size = {y->shape.size[1], y->shape.size[2]}};
    nnl_tensor *t = nnl_tensor_new(ctx, y->dtype, &shape);
    if (t && given) nnl_try_copy(t, given);
    if (t && !given) nnl_try_fill(t, nnl_number_float(0));
    return t;
}

// What backward makes: dy contiguous or NULL, gradients of the states and of the gates.
typedef struct backward_parts {
    nnl_tensor *dy, *dh, *dc, *d[2];
} backward_parts;

static bool make_parts(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, backward_parts *p) {
    const recurrent_state *s = node->state;
    nnl_tensor *y = nnl_node_saved(node, SAVED_Y), *gates = nnl_node_saved(node, SAVED_GATES);
    bool lstm = s->cell == NNL_CELL_LSTM, gru = s->cell == NNL_CELL_GRU;
    *p = (backward_parts){.dy = NULL};
    if (dout[0] && !(p->dy = nnl_contiguous(ctx, dout[0]))) return false;
    if (!(p->dh = carried(ctx, dout[1], y))) return false;
    if (lstm && !(p->dc = carried(ctx, dout[2], y))) return false;
    if (!(p->d[0] = nnl_tensor_new(ctx, y->dtype, &gates->shape))) return false;
    p->d[1] = gru ? nnl_tensor_new(ctx, y->dtype, &gates->shape) : nnl_tensor_retain(p->d[0]);
    return p->d[1] != NULL;
}

static void release_parts(backward_parts *p) {
    nnl_tensor_release(p->dy);
    nnl_tensor_release(p->dh);
    nnl_tensor_release(p->dc);
    nnl_tensor_release(p->d[0]);
    nnl_tensor_release(p->d[1]);
}

static walk backward_walk(nnl_context *ctx, const nnl_node *node, const backward_parts *p) {
    const recurrent_state *s = node->state;
    walk w = walk_of(ctx, s->cell, s->reverse, nnl_node_saved(node, SAVED_X),
                     nnl_node_saved(node, SAVED_WEIGHT_HH), nnl_node_saved(node, SAVED_LENGTHS));
    w.gates = nnl_tensor_data(nnl_node_saved(node, SAVED_GATES));
    w.kept = data_of(nnl_node_saved(node, SAVED_KEPT));
    w.y = nnl_tensor_data(nnl_node_saved(node, SAVED_Y));
    w.h0 = data_of(nnl_node_saved(node, SAVED_H));
    w.c0 = data_of(nnl_node_saved(node, SAVED_C));
    w.wants_first = nnl_node_needs(node, H0);
    w.dy = data_of(p->dy);
    w.dh = nnl_tensor_data(p->dh);
    w.dc = data_of(p->dc);
    w.dgates = nnl_tensor_data(p->d[0]);
    w.dhidden = nnl_tensor_data(p->d[1]);
    return w;
}

static nnl_status recurrent_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                     nnl_tensor **dx) {
    backward_parts p;
    if (ctx->grad_enabled) {
        return nnl_fail(ctx, NNL_ERR_STATE,
                        "backward: %s has no second derivative: its steps are one operation; call backward "
                        "without create_graph",
                        node->op->name);
    }
    bool complete = make_parts(ctx, node, dout, &p);
    walk w = complete ? backward_walk(ctx, node, &p) : (walk){.ctx = ctx};
    nnl_status status = complete ? run_backward(&w, node, p.d, dx) : ctx->status;
    if (status == NNL_OK && nnl_node_needs(node, H0)) dx[H0] = nnl_tensor_retain(p.dh);
    if (status == NNL_OK && nnl_node_needs(node, C0)) dx[C0] = nnl_tensor_retain(p.dc);
    release_parts(&p);
    return status;
}
