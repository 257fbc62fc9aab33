// normalize.c: the passes over memory of all normalisations, and their backward. Memory is seen as contiguous
// stretches that have one mean each, or one for each element; see nnl_norm_terms in kernel.h.
#include "grad/normalize.h"
#include "grad/records.h"
#include "tensor/reduce.h"

#include <math.h>
#include <string.h>

// Elements in one part of a pass. Parts that keep sums of their own for weights are few, but none adds more
// rows one after the other than it may.
#define PART_ELEMENTS 16384
#define WEIGHT_PARTS 64
#define WEIGHT_ROWS 64

static bool of_rows(const nnl_norm *norm) {
    return norm->kind == NNL_NORM_ROWS || norm->kind == NNL_NORM_MEANLESS;
}

// Channels of one element each lie side by side.
static bool of_columns(const nnl_norm *norm) { return norm->kind == NNL_NORM_CHANNELS && norm->size == 1; }

int64_t nnl_norm_statistics(const nnl_norm *norm) {
    return norm->kind == NNL_NORM_CHANNELS ? norm->groups : norm->samples * norm->groups;
}

int64_t nnl_norm_count(const nnl_norm *norm) {
    return norm->size * (norm->kind == NNL_NORM_CHANNELS ? norm->samples : norm->members);
}

// Elements of weight and of bias.
static int64_t weights_of(const nnl_norm *norm) {
    return of_rows(norm) ? norm->size : norm->groups * norm->members;
}

// ---- a pass: the arrays, and which terms belong to which stretch

typedef struct pass {
    const nnl_norm *norm;
    const nnl_norm_kernels *kernels;
    const nnl_reduce_kernels *reduce;
    nnl_compute type;
    size_t element, n, stretches; // bytes; elements of a stretch
    char *out;                    // y or dx
    const char *x, *dout;
    char *mean, *rstd;
    const char *weight, *bias;
    const char *fold1, *fold2;
    double *sums;   // two of each stretch
    char *gathered; // of each part: sums for the bias, then for the weight
    size_t step;    // stretches in one part
} pass;

static pass pass_over(nnl_context *ctx, const nnl_norm *norm, const nnl_tensor *x, nnl_tensor *mean,
                      nnl_tensor *rstd) {
    size_t n = (size_t)(of_columns(norm) ? norm->groups : norm->size);
    return (pass){.norm = norm,
                  .kernels = ctx->kernels->norm,
                  .reduce = ctx->kernels->reduce,
                  .type = nnl_tensor_compute(x),
                  .element = nnl_dtype_size(x->dtype),
                  .n = n,
                  .stretches = n > 0 ? (size_t)nnl_tensor_numel(x) / n : 0,
                  .x = nnl_tensor_data(x),
                  .mean = nnl_tensor_data(mean),
                  .rstd = nnl_tensor_data(rstd)};
}

static size_t statistic_of(const nnl_norm *norm, size_t stretch) {
    if (norm->kind == NNL_NORM_CHANNELS) return stretch % (size_t)norm->groups;
    return stretch / (size_t)norm->members;
}

// The terms of a stretch from its element `at` on.
static nnl_norm_terms terms_of(const pass *p, size_t stretch, size_t at) {
    bool columns = of_columns(p->norm), rows = of_rows(p->norm);
    size_t weights = (size_t)(p->norm->groups * p->norm->members);
    size_t statistic = (columns ? at : statistic_of(p->norm, stretch)) * p->element;
    size_t weight = (columns || rows ? at : stretch % weights) * p->element;
    return (nnl_norm_terms){.mean = p->mean + statistic,
                            .rstd = p->rstd + statistic,
                            .fold1 = p->fold1 ? p->fold1 + statistic : NULL,
                            .fold2 = p->fold2 ? p->fold2 + statistic : NULL,
                            .weight = p->weight + weight,
                            .bias = p->bias ? p->bias + weight : NULL,
                            .each_statistic = columns,
                            .each_weight = columns || rows};
}

// y, or dx where there is a dout, of the elements of one part.
static void apply_part(void *arg, size_t part) {
    const pass *p = arg;
    size_t from = part * PART_ELEMENTS, all = p->stretches * p->n;
    size_t to = from + PART_ELEMENTS < all ? from + PART_ELEMENTS : all;
    while (from < to) {
        size_t at = from % p->n, count = p->n - at < to - from ? p->n - at : to - from;
        nnl_norm_terms t = terms_of(p, from / p->n, at);
        char *out = p->out + from * p->element;
        const char *x = p->x + from * p->element;
        if (p->dout) p->kernels->grad[p->type](count, out, p->dout + from * p->element, x, &t);
        if (!p->dout) p->kernels->normalize[p->type](count, out, x, &t);
        from += count;
    }
}

static void apply(nnl_context *ctx, pass *p) {
    size_t all = p->stretches * p->n;
    nnl_pool_try(ctx->pool, (all + PART_ELEMENTS - 1) / PART_ELEMENTS, apply_part, p);
}

static size_t part_count(pass *p, bool gathers) {
    p->step = p->n < PART_ELEMENTS ? PART_ELEMENTS / p->n : 1;
    if (gathers && p->stretches > WEIGHT_PARTS * p->step) p->step = p->stretches / WEIGHT_PARTS;
    if (gathers && p->step > WEIGHT_ROWS) p->step = WEIGHT_ROWS;
    return (p->stretches + p->step - 1) / p->step;
}

static size_t part_end(const pass *p, size_t part) {
    size_t end = (part + 1) * p->step;
    return end < p->stretches ? end : p->stretches;
}

static void put(const pass *p, char *array, size_t at, double value) {
    if (p->type == NNL_IN_DOUBLE) ((double *)(void *)array)[at] = value;
    if (p->type == NNL_IN_FLOAT) ((float *)(void *)array)[at] = (float)value;
}

static double get(const pass *p, const char *array, size_t at) {
    return p->type == NNL_IN_DOUBLE ? ((const double *)(const void *)array)[at]
                                    : (double)((const float *)(const void *)array)[at];
}

// A number of either type.
typedef union scalar {
    float f32;
    double f64;
    char memory[sizeof(double)];
} scalar;

static void put_statistic(const pass *p, size_t at, double mean, double variance) {
    put(p, p->mean, at, mean);
    put(p, p->rstd, at, 1 / sqrt(variance + p->norm->eps));
}

// An array of `count` elements of one value, in place of a weight or bias that is left out; NULL when there
// is no memory.
static char *filled(nnl_context *ctx, const pass *p, size_t count, double value) {
    char *array = nnl_alloc(&ctx->allocator, count * p->element);
    for (size_t i = 0; array && i < count; i++) put(p, array, i, value);
    return array ? array : nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a normalisation");
}

// ---- statistics

// Channels of several elements: those of each sample, then all samples' together.
static nnl_status channel_moments(nnl_context *ctx, const nnl_norm *norm, const nnl_rows *rows,
                                  nnl_moment *out) {
    size_t channels = (size_t)norm->groups, samples = (size_t)norm->samples;
    nnl_moment *each = nnl_alloc(&ctx->allocator, channels * samples * sizeof *each);
    if (!each) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a normalisation");
    nnl_status status = nnl_moments_rows(ctx, rows, each);
    for (size_t c = 0; c < channels; c++) out[c] = (nnl_moment){0, 0};
    for (size_t s = 0; s < samples && status == NNL_OK; s++)
        for (size_t c = 0; c < channels; c++)
            nnl_moment_merge(&out[c], (double)norm->size * (double)s, &each[s * channels + c],
                             (double)norm->size);
    nnl_free(&ctx->allocator, each);
    return status;
}

nnl_status nnl_norm_moments(nnl_context *ctx, const nnl_norm *norm, const nnl_tensor *x, nnl_moment *out) {
    nnl_rows rows = {.source = (nnl_tensor *)x, .type = nnl_tensor_compute(x)};
    rows.outer = of_columns(norm) ? 1 : norm->samples * norm->groups;
    rows.n = of_columns(norm) ? norm->samples : norm->members * norm->size;
    rows.inner = of_columns(norm) ? norm->groups : 1;
    bool split = norm->kind == NNL_NORM_CHANNELS && !of_columns(norm) && norm->samples != 1;
    return split ? channel_moments(ctx, norm, &rows, out) : nnl_moments_rows(ctx, &rows, out);
}

static void row_statistic(const pass *p, size_t row) {
    const char *x = p->x + row * p->n * p->element;
    nnl_moment m = {0, 0};
    if (p->norm->kind == NNL_NORM_ROWS) {
        p->kernels->moments[p->type](p->n, 1, &m, x, 1);
    } else {
        scalar sum;
        p->reduce->reduce[NNL_REDUCE_SUM_SQUARE][p->type](p->n, 1, &sum, x, 1);
        m.square = get(p, sum.memory, 0);
    }
    put_statistic(p, row, m.mean, m.square / (double)p->n);
}

static void rows_part(void *arg, size_t part) {
    const pass *p = arg;
    for (size_t row = part * p->step; row < part_end(p, part); row++) {
        row_statistic(p, row);
        nnl_norm_terms t = terms_of(p, row, 0);
        size_t at = row * p->n * p->element;
        p->kernels->normalize[p->type](p->n, p->out + at, p->x + at, &t);
    }
}

static void forward_pass(nnl_context *ctx, pass *p, const nnl_moment *moments) {
    if (p->n == 0) return;
    if (!moments) {
        nnl_pool_try(ctx->pool, part_count(p, false), rows_part, p);
        return;
    }
    for (size_t i = 0; i < (size_t)nnl_norm_statistics(p->norm); i++)
        put_statistic(p, i, moments[i].mean, moments[i].square);
    apply(ctx, p);
}

static nnl_status run_forward(nnl_context *ctx, pass *p, const nnl_tensor *weight, const nnl_tensor *bias,
                              const nnl_moment *moments) {
    size_t count = (size_t)weights_of(p->norm);
    char *ones = weight ? NULL : filled(ctx, p, count, 1), *zeros = bias ? NULL : filled(ctx, p, count, 0);
    p->weight = weight ? nnl_tensor_data(weight) : ones;
    p->bias = bias ? nnl_tensor_data(bias) : zeros;
    bool ready = p->weight && p->bias;
    if (ready) forward_pass(ctx, p, moments);
    nnl_free(&ctx->allocator, ones);
    nnl_free(&ctx->allocator, zeros);
    return ready ? NNL_OK : ctx->status;
}

// ---- recording

enum { X, WEIGHT, BIAS, INPUTS }; // inputs, and x and weight among what is saved
enum { MEAN = BIAS, RSTD };

static nnl_status normalize_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                     nnl_tensor **dx);

static const nnl_op normalize_record = {
    .name = "normalisation", .outputs = 1, .backward = normalize_backward};

nnl_tensor *nnl_normalize(nnl_context *ctx, const nnl_norm *norm, nnl_tensor *x, nnl_tensor *weight,
                          nnl_tensor *bias, const nnl_moment *moments) {
    nnl_shape statistics = {.ndim = 1, .size = {nnl_norm_statistics(norm)}};
    nnl_tensor *mean = nnl_tensor_new(ctx, x->dtype, &statistics);
    nnl_tensor *rstd = mean ? nnl_tensor_new(ctx, x->dtype, &statistics) : NULL;
    nnl_tensor *y = rstd ? nnl_tensor_new(ctx, x->dtype, &x->shape) : NULL;
    nnl_status status = y ? NNL_OK : ctx->status;
    if (y) {
        pass p = pass_over(ctx, norm, x, mean, rstd);
        p.out = nnl_tensor_data(y);
        status = run_forward(ctx, &p, weight, bias, moments);
    }
    if (status == NNL_OK) {
        status = nnl_record(ctx, &(nnl_recording){.op = &normalize_record,
                                                  .n_inputs = INPUTS,
                                                  .inputs = (nnl_tensor *const[]){x, weight, bias},
                                                  .n_outputs = 1,
                                                  .outputs = &y,
                                                  .n_saved = 4,
                                                  .saved = {x, weight, mean, rstd},
                                                  .state = norm,
                                                  .state_size = sizeof *norm});
    }
    nnl_tensor_release(mean);
    nnl_tensor_release(rstd);
    if (status == NNL_OK) return y;
    nnl_tensor_release(y);
    return NULL;
}

// ---- backward. For rows all in one pass: the two sums of a row, its dx, and what it adds to the gradients
// of weight and bias, kept apart for each part. Otherwise a pass for the sums of each stretch (of each
// column), which are also what the gradients of weight and bias are made of, and one for dx.

// In the order of `gathered`.
enum { FOR_BIAS, FOR_WEIGHT };

static char *gathered_of(const pass *p, size_t part, int which) {
    return p->gathered + (2 * part + (size_t)which) * p->n * p->element;
}

static void gather_clear(const pass *p, size_t part) {
    for (size_t i = 0; i < p->n; i++) {
        put(p, gathered_of(p, part, FOR_BIAS), i, 0);
        put(p, gathered_of(p, part, FOR_WEIGHT), i, 0);
    }
}

static void gather(const pass *p, size_t part, size_t stretch, const nnl_norm_terms *t) {
    size_t at = stretch * p->n * p->element;
    p->kernels->weights[p->type](p->n, gathered_of(p, part, FOR_WEIGHT), gathered_of(p, part, FOR_BIAS),
                                 p->dout + at, p->x + at, t);
}

static void row_gradient(const pass *p, size_t row, nnl_norm_terms *t) {
    double sums[2];
    scalar fold1, fold2;
    size_t at = row * p->n * p->element;
    p->kernels->sums[p->type](p->n, sums, p->dout + at, p->x + at, t);
    bool has_mean = p->norm->kind == NNL_NORM_ROWS;
    put(p, fold1.memory, 0, has_mean ? sums[0] / (double)p->n : 0);
    put(p, fold2.memory, 0, sums[1] / (double)p->n);
    t->fold1 = &fold1;
    t->fold2 = &fold2;
    p->kernels->grad[p->type](p->n, p->out + at, p->dout + at, p->x + at, t);
    t->fold1 = t->fold2 = NULL;
}

static void rows_gradient_part(void *arg, size_t part) {
    const pass *p = arg;
    if (p->gathered) gather_clear(p, part);
    for (size_t row = part * p->step; row < part_end(p, part); row++) {
        nnl_norm_terms t = terms_of(p, row, 0);
        if (p->out) row_gradient(p, row, &t);
        if (p->gathered) gather(p, part, row, &t);
    }
}

static void gather_part(void *arg, size_t part) {
    const pass *p = arg;
    gather_clear(p, part);
    for (size_t row = part * p->step; row < part_end(p, part); row++) {
        nnl_norm_terms t = terms_of(p, row, 0);
        gather(p, part, row, &t);
    }
}

static void sums_part(void *arg, size_t part) {
    static const double one_double = 1;
    static const float one_float = 1;
    const pass *p = arg;
    for (size_t stretch = part * p->step; stretch < part_end(p, part); stretch++) {
        nnl_norm_terms t = terms_of(p, stretch, 0);
        t.weight = p->type == NNL_IN_DOUBLE ? (const void *)&one_double : &one_float;
        size_t at = stretch * p->n * p->element;
        p->kernels->sums[p->type](p->n, p->sums + 2 * stretch, p->dout + at, p->x + at, &t);
    }
}

// What was gathered, of all parts, to the gradients of bias and weight; NULL where one is not wanted.
static void gather_finish(const pass *p, size_t parts, nnl_tensor *dweight, nnl_tensor *dbias) {
    nnl_reduce_fn *sum = p->reduce->reduce[NNL_REDUCE_SUM][p->type];
    if (dbias) sum(parts, p->n, nnl_tensor_data(dbias), gathered_of(p, 0, FOR_BIAS), 2 * p->n);
    if (dweight) sum(parts, p->n, nnl_tensor_data(dweight), gathered_of(p, 0, FOR_WEIGHT), 2 * p->n);
}

typedef struct gradients {
    nnl_tensor *x, *weight, *bias; // NULL where one is not wanted
} gradients;

static nnl_status no_room(nnl_context *ctx) {
    return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for the gradient of a normalisation");
}

static nnl_status rows_backward(nnl_context *ctx, pass *p, const gradients *g) {
    bool gathers = g->weight || g->bias;
    size_t parts = part_count(p, gathers);
    p->out = g->x ? nnl_tensor_data(g->x) : NULL;
    p->gathered = gathers ? nnl_alloc(&ctx->allocator, 2 * parts * p->n * p->element) : NULL;
    if (gathers && !p->gathered) return no_room(ctx);
    nnl_pool_try(ctx->pool, parts, rows_gradient_part, p);
    if (gathers) gather_finish(p, parts, g->weight, g->bias);
    nnl_free(&ctx->allocator, p->gathered);
    return NNL_OK;
}

// The sums of dout and dout x' for each weight, from those of columns or stretches; into sum[0 .. weights -
// 1] and what follows.
static void sum_columns(nnl_context *ctx, pass *p, size_t parts, double *sum) {
    size_t columns = p->n;
    nnl_pool_try(ctx->pool, parts, gather_part, p);
    if (p->type == NNL_IN_DOUBLE) {
        p->reduce->reduce[NNL_REDUCE_SUM][NNL_IN_DOUBLE](parts, 2 * columns, sum, p->gathered, 2 * columns);
        return;
    }
    memset(sum, 0, 2 * columns * sizeof *sum);
    for (size_t part = 0; part < parts; part++)
        for (size_t c = 0; c < 2 * columns; c++) sum[c] += get(p, gathered_of(p, part, FOR_BIAS), c);
}

static void sum_stretches(nnl_context *ctx, pass *p, size_t parts, double *sum) {
    size_t weights = (size_t)weights_of(p->norm);
    nnl_pool_try(ctx->pool, parts, sums_part, p);
    for (size_t w = 0; w < 2 * weights; w++) sum[w] = 0;
    for (size_t stretch = 0; stretch < p->stretches; stretch++) {
        sum[stretch % weights] += p->sums[2 * stretch];
        sum[weights + stretch % weights] += p->sums[2 * stretch + 1];
    }
}

// fold1 and fold2: of a channel from its sums over all samples, of a group from those of its members.
static void channel_folds(const pass *p, const double *sum, char *fold1, char *fold2) {
    size_t channels = (size_t)p->norm->groups;
    for (size_t c = 0; c < channels; c++) {
        double scale = get(p, p->weight, c) / (double)nnl_norm_count(p->norm);
        put(p, fold1, c, sum[c] * scale);
        put(p, fold2, c, sum[channels + c] * scale);
    }
}

static void group_folds(const pass *p, char *fold1, char *fold2) {
    size_t members = (size_t)p->norm->members, weights = (size_t)weights_of(p->norm);
    for (size_t group = 0; group < (size_t)nnl_norm_statistics(p->norm); group++) {
        double first = 0, second = 0;
        for (size_t stretch = group * members; stretch < (group + 1) * members; stretch++) {
            first += get(p, p->weight, stretch % weights) * p->sums[2 * stretch];
            second += get(p, p->weight, stretch % weights) * p->sums[2 * stretch + 1];
        }
        put(p, fold1, group, first / (double)nnl_norm_count(p->norm));
        put(p, fold2, group, second / (double)nnl_norm_count(p->norm));
    }
}

static void put_all(const pass *p, nnl_tensor *t, const double *values) {
    for (size_t i = 0; t && i < (size_t)nnl_tensor_numel(t); i++) put(p, nnl_tensor_data(t), i, values[i]);
}

static nnl_status folded_gradient(nnl_context *ctx, pass *p, const double *sum, nnl_tensor *dx) {
    size_t statistics = (size_t)nnl_norm_statistics(p->norm);
    char *folds = filled(ctx, p, 2 * statistics, 0), *second = folds ? folds + statistics * p->element : NULL;
    if (!folds) return ctx->status;
    if (!p->norm->fixed && p->norm->kind == NNL_NORM_CHANNELS) channel_folds(p, sum, folds, second);
    if (!p->norm->fixed && p->norm->kind == NNL_NORM_GROUPS) group_folds(p, folds, second);
    p->fold1 = folds;
    p->fold2 = second;
    p->out = nnl_tensor_data(dx);
    apply(ctx, p);
    nnl_free(&ctx->allocator, folds);
    return NNL_OK;
}

static nnl_status stretches_backward(nnl_context *ctx, pass *p, const gradients *g) {
    bool columns = of_columns(p->norm);
    size_t parts = part_count(p, columns), weights = (size_t)weights_of(p->norm);
    size_t kept = columns ? 2 * parts * p->n * p->element : 2 * p->stretches * sizeof(double);
    void *memory = nnl_alloc(&ctx->allocator, kept);
    double *sum = memory ? nnl_alloc(&ctx->allocator, 2 * weights * sizeof *sum) : NULL;
    nnl_status status = sum ? NNL_OK : no_room(ctx);
    if (sum) {
        p->gathered = columns ? memory : NULL;
        p->sums = columns ? NULL : memory;
        columns ? sum_columns(ctx, p, parts, sum) : sum_stretches(ctx, p, parts, sum);
        put_all(p, g->bias, sum);
        put_all(p, g->weight, sum + weights);
        if (g->x) status = folded_gradient(ctx, p, sum, g->x);
    }
    nnl_free(&ctx->allocator, sum);
    nnl_free(&ctx->allocator, memory);
    return status;
}

static void clear(nnl_tensor *t) {
    if (t) nnl_try_fill(t, nnl_number_int(0));
}

static nnl_status fused_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *dout, const gradients *g) {
    const nnl_norm *norm = node->state;
    nnl_tensor *x = nnl_node_saved(node, X), *weight = nnl_node_saved(node, WEIGHT);
    pass p = pass_over(ctx, norm, x, nnl_node_saved(node, MEAN), nnl_node_saved(node, RSTD));
    if (p.stretches == 0) {
        clear(g->weight);
        clear(g->bias);
        return NNL_OK;
    }
    char *ones = weight ? NULL : filled(ctx, &p, (size_t)weights_of(norm), 1);
    p.weight = weight ? nnl_tensor_data(weight) : ones;
    p.dout = nnl_tensor_data(dout);
    nnl_status status = !p.weight       ? ctx->status
                        : of_rows(norm) ? rows_backward(ctx, &p, g)
                                        : stretches_backward(ctx, &p, g);
    nnl_free(&ctx->allocator, ones);
    return status;
}

// ---- the same in operations, for a walk that is itself recorded: x as (samples, groups, members, size)

typedef struct composed {
    nnl_context *ctx;
    const nnl_norm *norm;
    nnl_shape shape, weights, statistics;
    int64_t dims[2], other[3]; // that statistics, and weights, are sums over
    int others;
    nnl_tensor *kept[24]; // released at the end
    int count;
} composed;

// Every step goes on only where the ones before succeeded.
static nnl_tensor *keep(composed *c, nnl_tensor *t) {
    if (t) c->kept[c->count++] = t;
    return t;
}

static nnl_tensor *times(composed *c, nnl_tensor *a, nnl_tensor *b) {
    return a && b ? keep(c, nnl_mul(c->ctx, a, b)) : NULL;
}

static nnl_tensor *minus(composed *c, nnl_tensor *a, nnl_tensor *b) {
    return a && b ? keep(c, nnl_sub(c->ctx, a, b)) : NULL;
}

static nnl_tensor *shaped(composed *c, nnl_tensor *t, const nnl_shape *shape) {
    return t ? keep(c, nnl_reshape(c->ctx, t, shape)) : NULL;
}

static nnl_tensor *mean_of(composed *c, nnl_tensor *t) {
    return t ? keep(c, nnl_mean(c->ctx, t, 2, c->dims, true)) : NULL;
}

static composed composed_of(nnl_context *ctx, const nnl_norm *n) {
    composed c = {.ctx = ctx, .norm = n, .dims = {2, 3}, .other = {0, 3, 0}, .others = 2};
    c.shape = (nnl_shape){4, {n->samples, n->groups, n->members, n->size}};
    c.weights = (nnl_shape){4, {1, n->groups, n->members, 1}};
    c.statistics = (nnl_shape){4, {n->samples, n->groups, 1, 1}};
    if (of_rows(n)) {
        c.weights = (nnl_shape){4, {1, 1, 1, n->size}};
        c.others = 1;
    } else if (n->kind == NNL_NORM_CHANNELS) {
        c.statistics = (nnl_shape){4, {1, n->groups, 1, 1}};
        c.dims[0] = 0;
    }
    return c;
}

// 1 / sqrt(variance + eps) of deviations from the mean
static nnl_tensor *composed_rstd(composed *c, nnl_tensor *deviation) {
    nnl_tensor *variance = mean_of(c, times(c, deviation, deviation));
    nnl_tensor *safe = variance ? keep(c, nnl_add_number(c->ctx, variance, c->norm->eps)) : NULL;
    return safe ? keep(c, nnl_unary_op(c->ctx, NNL_UNARY_rsqrt, safe, NULL)) : NULL;
}

static nnl_tensor *composed_x(composed *c, nnl_tensor *g, nnl_tensor *normal, nnl_tensor *rstd) {
    nnl_tensor *rest = g;
    if (!c->norm->fixed) rest = minus(c, rest, times(c, normal, mean_of(c, times(c, g, normal))));
    if (!c->norm->fixed && c->norm->kind != NNL_NORM_MEANLESS) rest = minus(c, rest, mean_of(c, g));
    return times(c, rstd, rest);
}

static nnl_tensor *composed_sum(composed *c, nnl_tensor *t) {
    return t ? keep(c, nnl_sum(c->ctx, t, c->others, c->other, true)) : NULL;
}

static nnl_status composed_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *dout, nnl_tensor **dx,
                                    const nnl_shape *weight_shape) {
    composed c = composed_of(ctx, node->state);
    nnl_tensor *given = nnl_node_saved(node, X), *weight = nnl_node_saved(node, WEIGHT);
    nnl_tensor *x = shaped(&c, given, &c.shape), *d = shaped(&c, dout, &c.shape);
    nnl_tensor *fixed_mean = c.norm->fixed ? shaped(&c, nnl_node_saved(node, MEAN), &c.statistics) : NULL;
    nnl_tensor *deviation =
        c.norm->kind == NNL_NORM_MEANLESS ? x : minus(&c, x, c.norm->fixed ? fixed_mean : mean_of(&c, x));
    nnl_tensor *rstd = c.norm->fixed ? shaped(&c, nnl_node_saved(node, RSTD), &c.statistics)
                       : deviation   ? composed_rstd(&c, deviation)
                                     : NULL;
    nnl_tensor *normal = times(&c, deviation, rstd);
    nnl_tensor *g = weight ? times(&c, d, shaped(&c, weight, &c.weights)) : d;
    nnl_tensor *result[INPUTS] = {NULL};
    if (nnl_node_needs(node, X)) result[X] = shaped(&c, composed_x(&c, g, normal, rstd), &given->shape);
    if (nnl_node_needs(node, WEIGHT))
        result[WEIGHT] = shaped(&c, composed_sum(&c, times(&c, d, normal)), weight_shape);
    if (nnl_node_needs(node, BIAS)) result[BIAS] = shaped(&c, composed_sum(&c, d), weight_shape);
    nnl_status status = NNL_OK;
    for (int k = 0; k < INPUTS; k++) {
        if (nnl_node_needs(node, k) && !result[k]) status = ctx->status;
        dx[k] = result[k] ? nnl_tensor_retain(result[k]) : NULL;
    }
    for (int k = 0; k < c.count; k++) nnl_tensor_release(c.kept[k]);
    return status;
}

// ---- both

static nnl_tensor *wanted(nnl_context *ctx, const nnl_node *node, int input, nnl_dtype dtype,
                          nnl_status *status) {
    if (!nnl_node_needs(node, input) || *status != NNL_OK) return NULL;
    nnl_tensor *t = nnl_tensor_new(ctx, dtype, &node->input[input]->shape);
    if (!t) *status = ctx->status;
    return t;
}

static nnl_status normalize_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                     nnl_tensor **dx) {
    if (ctx->grad_enabled) {
        int of = nnl_node_needs(node, WEIGHT) ? WEIGHT : BIAS;
        return composed_backward(ctx, node, dout[0], dx,
                                 nnl_node_needs(node, of) ? &node->input[of]->shape : NULL);
    }
    nnl_dtype dtype = nnl_node_saved(node, X)->dtype;
    nnl_tensor *whole = nnl_contiguous(ctx, dout[0]);
    nnl_status status = whole ? NNL_OK : ctx->status;
    for (int k = 0; k < INPUTS; k++) dx[k] = wanted(ctx, node, k, dtype, &status);
    if (status == NNL_OK)
        status = fused_backward(ctx, node, whole, &(gradients){dx[X], dx[WEIGHT], dx[BIAS]});
    nnl_tensor_release(whole);
    return status;
}
