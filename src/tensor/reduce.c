// reduce.c: finds the (outer, n, inner) layout of a reduction, cuts it into parts and runs the kernels.
#include "tensor/reduce.h"
#include "tensor/apply.h"

#include <string.h>

// Elements in one part of a large reduction, and the parts of a very large one.
#define PART_ELEMENTS NNL_REDUCE_SMALL
#define PARTS 64

// Whether the dropped dimensions are next to each other (dimensions of size 1 do not matter).
static bool dropped_together(const nnl_tensor *x, const bool *dropped) {
    int changes = 0;
    bool last = false;
    for (int d = 0; d < x->shape.ndim; d++) {
        if (x->shape.size[d] == 1) continue;
        changes += dropped[d] != last;
        last = dropped[d];
    }
    return changes <= 2;
}

static void measure(nnl_rows *rows, const nnl_tensor *x, const bool *dropped) {
    bool seen = false;
    rows->outer = rows->n = rows->inner = 1;
    for (int d = 0; d < x->shape.ndim; d++) {
        int64_t size = x->shape.size[d];
        if (dropped[d]) {
            rows->n *= size;
            seen = seen || size != 1;
        } else if (seen) {
            rows->inner *= size;
        } else {
            rows->outer *= size;
        }
    }
}

// x with the dropped dimensions last, in their order.
static nnl_tensor *dropped_last(const nnl_tensor *x, const bool *dropped) {
    nnl_shape shape = {.ndim = 0};
    int64_t stride[NNL_MAX_DIMS];
    for (int pass = 0; pass < 2; pass++) {
        for (int d = 0; d < x->shape.ndim; d++) {
            if (dropped[d] != (pass == 1)) continue;
            stride[shape.ndim] = x->stride[d];
            shape.size[shape.ndim++] = x->shape.size[d];
        }
    }
    return nnl_tensor_alias(x, &shape, stride, x->offset);
}

static nnl_tensor *converted(nnl_context *ctx, const nnl_tensor *x, nnl_dtype dtype) {
    nnl_tensor *copy = nnl_tensor_new(ctx, dtype, &x->shape);
    if (copy) nnl_try_copy(copy, x);
    return copy;
}

nnl_status nnl_rows_init(nnl_context *ctx, nnl_rows *rows, const nnl_tensor *x, const bool *dropped,
                         nnl_dtype dtype) {
    measure(rows, x, dropped);
    rows->type = nnl_dtype_get(dtype)->compute;
    if (dropped_together(x, dropped)) {
        bool ready = x->dtype == dtype && nnl_tensor_is_contiguous(x);
        rows->source = ready ? nnl_tensor_retain((nnl_tensor *)x) : converted(ctx, x, dtype);
    } else {
        nnl_tensor *ordered = dropped_last(x, dropped);
        rows->source = ordered ? converted(ctx, ordered, dtype) : NULL;
        rows->outer *= rows->inner;
        rows->inner = 1;
        nnl_tensor_release(ordered);
    }
    return rows->source ? NNL_OK : ctx->status;
}

void nnl_rows_done(nnl_rows *rows) { nnl_tensor_release(rows->source); }

// ---- parts

typedef struct job {
    const nnl_rows *rows;
    nnl_reduce_fn *reduce;
    nnl_arg_reduce_fn *arg;
    nnl_moments_fn *moments;
    const char *x;
    char *out;
    size_t element, out_element;
    int64_t step; // blocks of `outer`, or of n, in one part
} job;

// Elements of a part: large reductions have fewer and larger parts, as each costs a little.
static int64_t part_elements(const nnl_rows *r) {
    int64_t part = r->outer * r->n * r->inner / PARTS;
    return part < PART_ELEMENTS ? PART_ELEMENTS : part / PART_ELEMENTS * PART_ELEMENTS;
}

static void reduce_block(const job *j, int64_t block, int64_t from, int64_t count, char *out) {
    const nnl_rows *r = j->rows;
    const char *x = j->x + (size_t)((block * r->n + from) * r->inner) * j->element;
    size_t n = (size_t)count, inner = (size_t)r->inner;
    if (j->reduce) {
        j->reduce(n, inner, out, x, inner);
    } else if (j->arg) {
        j->arg(n, inner, (int64_t *)(void *)out, x, inner);
    } else {
        j->moments(n, inner, (nnl_moment *)(void *)out, x, inner);
    }
}

static void outer_part(void *arg, size_t part) {
    const job *j = arg;
    int64_t from = (int64_t)part * j->step, to = from + j->step;
    if (to > j->rows->outer) to = j->rows->outer;
    for (int64_t block = from; block < to; block++) {
        reduce_block(j, block, 0, j->rows->n, j->out + (size_t)(block * j->rows->inner) * j->out_element);
    }
}

static void run_outer(nnl_context *ctx, job *j) {
    int64_t each = j->rows->n * j->rows->inner, part = part_elements(j->rows);
    j->step = each >= part ? 1 : part / (each > 0 ? each : 1);
    nnl_pool_try(ctx->pool, (size_t)((j->rows->outer + j->step - 1) / j->step), outer_part, j);
}

// One block cut along n: part p reduces its stretch into row p of the partial results.
static void stretch_part(void *arg, size_t part) {
    const job *j = arg;
    int64_t from = (int64_t)part * j->step, rest = j->rows->n - from;
    reduce_block(j, 0, from, rest < j->step ? rest : j->step,
                 j->out + part * (size_t)j->rows->inner * j->out_element);
}

// How partial results of a kind combine.
static nnl_reduction combining(nnl_reduction kind) {
    switch (kind) {
    case NNL_REDUCE_PROD:
    case NNL_REDUCE_MAX:
    case NNL_REDUCE_MIN:
        return kind;
    case NNL_REDUCE_MAX_ABS:
        return NNL_REDUCE_MAX;
    default:
        return NNL_REDUCE_SUM;
    }
}

// Whether one block is all there is, and enough to be cut along n.
static bool is_cut(const nnl_rows *r) {
    return r->outer == 1 && r->n * r->inner >= 2 * PART_ELEMENTS && r->n >= 128;
}

// Into an array of j->out_element for each part and inner element, new, and NULL when there is no memory.
static void *run_stretches(nnl_context *ctx, job *j, size_t *parts) {
    const nnl_rows *r = j->rows;
    int64_t part = part_elements(r) / r->inner;
    j->step = part > 64 ? part : 64;
    *parts = (size_t)((r->n + j->step - 1) / j->step);
    j->out = nnl_alloc(&ctx->allocator, *parts * (size_t)r->inner * j->out_element);
    if (!j->out) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a reduction");
    nnl_pool_try(ctx->pool, *parts, stretch_part, j);
    return j->out;
}

static job job_for(const nnl_rows *rows, void *out, size_t out_element) {
    return (job){.rows = rows,
                 .x = nnl_tensor_data(rows->source),
                 .out = out,
                 .element = nnl_dtype_size(rows->source->dtype),
                 .out_element = out_element};
}

void nnl_reduce_small(nnl_context *ctx, nnl_reduction kind, const nnl_tensor *x, nnl_tensor *out) {
    nnl_reduce_fn *reduce = ctx->kernels->reduce->reduce[kind][nnl_tensor_compute(x)];
    reduce((size_t)nnl_tensor_numel(x), 1, nnl_tensor_data(out), nnl_tensor_data(x), 1);
}

nnl_status nnl_reduce_rows(nnl_context *ctx, const nnl_rows *rows, nnl_reduction kind, nnl_tensor *out) {
    job j = job_for(rows, nnl_tensor_data(out), nnl_dtype_size(out->dtype));
    j.reduce = ctx->kernels->reduce->reduce[kind][rows->type];
    if (!is_cut(rows)) {
        run_outer(ctx, &j);
        return NNL_OK;
    }
    size_t parts;
    void *partial = run_stretches(ctx, &j, &parts);
    if (!partial) return ctx->status;
    nnl_reduce_fn *combine = ctx->kernels->reduce->reduce[combining(kind)][rows->type];
    combine(parts, (size_t)rows->inner, nnl_tensor_data(out), partial, (size_t)rows->inner);
    nnl_free(&ctx->allocator, partial);
    return NNL_OK;
}

static void take_values(const nnl_rows *rows, const int64_t *position, nnl_tensor *values) {
    size_t element = nnl_dtype_size(values->dtype);
    const char *x = nnl_tensor_data(rows->source);
    char *out = nnl_tensor_data(values);
    for (int64_t block = 0; block < rows->outer; block++)
        for (int64_t j = 0; j < rows->inner; j++, out += element, position++)
            memcpy(out, x + (size_t)((block * rows->n + *position) * rows->inner + j) * element, element);
}

void nnl_arg_reduce_rows(nnl_context *ctx, const nnl_rows *rows, bool largest, nnl_tensor *positions,
                         nnl_tensor *values) {
    const nnl_reduce_kernels *kernels = ctx->kernels->reduce;
    job j = job_for(rows, nnl_tensor_data(positions), sizeof(int64_t));
    j.arg = largest ? kernels->arg_max[rows->type] : kernels->arg_min[rows->type];
    run_outer(ctx, &j);
    int64_t *position = nnl_tensor_data(positions), count = rows->outer * rows->inner;
    if (nnl_pool_stops(ctx->pool)) return; // with positions that none were written to
    if (values) take_values(rows, position, values);
    for (int64_t i = 0; i < count; i++) position[i]++;
}

// ---- moments

void nnl_moment_merge(nnl_moment *a, double count_a, const nnl_moment *b, double count_b) {
    double count = count_a + count_b, delta = b->mean - a->mean;
    if (count == 0) return;
    a->mean += delta * (count_b / count);
    a->square += b->square + delta * delta * (count_a * count_b / count);
}

nnl_status nnl_moments_rows(nnl_context *ctx, const nnl_rows *rows, nnl_moment *out) {
    job j = job_for(rows, out, sizeof *out);
    j.moments = ctx->kernels->norm->moments[rows->type];
    if (!is_cut(rows)) {
        run_outer(ctx, &j);
        return NNL_OK;
    }
    size_t parts, inner = (size_t)rows->inner;
    nnl_moment *partial = run_stretches(ctx, &j, &parts);
    if (!partial) return ctx->status;
    memcpy(out, partial, inner * sizeof *out);
    for (size_t part = 1; part < parts; part++) {
        int64_t from = (int64_t)part * j.step, rest = rows->n - from;
        for (size_t i = 0; i < inner; i++)
            nnl_moment_merge(&out[i], (double)from, &partial[part * inner + i],
                             (double)(rest < j.step ? rest : j.step));
    }
    nnl_free(&ctx->allocator, partial);
    return NNL_OK;
}
