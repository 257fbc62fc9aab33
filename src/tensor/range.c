// range.c: what new tensors are filled with: rows of numbers at equal distances, each computed from its
// index, so that no error adds up; random numbers. Long ones in parts, which are left out once the host wants
// an end.
#include "tensor/apply.h"

#include <string.h>

#define PART_ELEMENTS 65536

// Elements of one part of n.
typedef struct stretch {
    int64_t from, to;
} stretch;

static stretch stretch_of(size_t part, int64_t n) {
    int64_t from = (int64_t)part * PART_ELEMENTS;
    return (stretch){from, n - from < PART_ELEMENTS ? n : from + PART_ELEMENTS};
}

static void in_parts(const nnl_tensor *t, nnl_task *task, void *arg) {
    nnl_pool_try(t->ctx->pool, (size_t)((nnl_tensor_numel(t) + PART_ELEMENTS - 1) / PART_ELEMENTS), task,
                 arg);
}

static void write_to(nnl_tensor *dst, int64_t i, nnl_number value) {
    nnl_element_write(dst->dtype, (char *)nnl_tensor_data(dst) + (size_t)i * nnl_dtype_size(dst->dtype),
                      value);
}

// ---- numbers at equal distances

typedef struct progression {
    nnl_tensor *dst;
    nnl_number from, step;
    double to; // of linspace
} progression;

static void integers_part(void *arg, size_t part) {
    const progression *p = arg;
    stretch s = stretch_of(part, nnl_tensor_numel(p->dst));
    int64_t *data = nnl_tensor_data(p->dst);
    uint64_t start = (uint64_t)p->from.i, distance = (uint64_t)p->step.i; // which may go round at the ends
    for (int64_t i = s.from; i < s.to; i++) data[i] = (int64_t)(start + (uint64_t)i * distance);
}

static void range_part(void *arg, size_t part) {
    const progression *p = arg;
    stretch s = stretch_of(part, nnl_tensor_numel(p->dst));
    bool whole = p->from.is_int && p->step.is_int;
    for (int64_t i = s.from; i < s.to; i++) {
        uint64_t integer = (uint64_t)p->from.i + (uint64_t)i * (uint64_t)p->step.i;
        write_to(p->dst, i,
                 whole ? nnl_number_int((int64_t)integer)
                       : nnl_number_float(p->from.d + (double)i * p->step.d));
    }
}

void nnl_apply_range(nnl_tensor *dst, nnl_number from, nnl_number step) {
    progression p = {dst, from, step, 0};
    in_parts(dst, from.is_int && step.is_int && dst->dtype == NNL_INT64 ? integers_part : range_part, &p);
}

// From both ends to the middle, so that both are exact.
static void linspace_part(void *arg, size_t part) {
    const progression *p = arg;
    int64_t n = nnl_tensor_numel(p->dst);
    stretch s = stretch_of(part, n);
    for (int64_t i = s.from; i < s.to; i++) {
        bool first_half = i < n / 2 || n == 1;
        write_to(p->dst, i,
                 nnl_number_float(first_half ? p->from.d + (double)i * p->step.d
                                             : p->to - (double)(n - 1 - i) * p->step.d));
    }
}

void nnl_apply_linspace(nnl_tensor *dst, double from, double to) {
    int64_t n = nnl_tensor_numel(dst);
    double step = n > 1 ? (to - from) / (double)(n - 1) : 0;
    progression p = {dst, nnl_number_float(from), nnl_number_float(step), to};
    in_parts(dst, linspace_part, &p);
}

// ---- random numbers

typedef struct drawing {
    nnl_tensor *dst;
    nnl_draw_fn *draw;
    uint64_t block;
    double a, b;
} drawing;

// A block of four words makes four floats or two doubles.
static void draw_part(void *arg, size_t part) {
    const drawing *d = arg;
    stretch s = stretch_of(part, nnl_tensor_numel(d->dst));
    uint64_t each = d->dst->dtype == NNL_FLOAT64 ? 2 : 4;
    d->draw((size_t)(s.to - s.from),
            (char *)nnl_tensor_data(d->dst) + (size_t)s.from * nnl_dtype_size(d->dst->dtype),
            d->dst->ctx->random.seed, d->block + (uint64_t)s.from / each, d->a, d->b);
}

void nnl_apply_draw(nnl_tensor *dst, nnl_draw_fn *draw, uint64_t block, double a, double b) {
    drawing d = {dst, draw, block, a, b};
    in_parts(dst, draw_part, &d);
}

// A draw may be drawn again, so that only the one before tells where the next begins.
void nnl_apply_randint(nnl_tensor *dst, int64_t low, uint64_t bound) {
    nnl_context *ctx = dst->ctx;
    for (int64_t i = 0, n = nnl_tensor_numel(dst); i < n; i++) {
        if (i % PART_ELEMENTS == PART_ELEMENTS - 1 && nnl_pool_stops(ctx->pool)) return;
        uint64_t value = (uint64_t)low + nnl_random_below(&ctx->random, bound);
        write_to(dst, i, nnl_number_int((int64_t)value));
    }
}

// Fisher and Yates 1938.
void nnl_apply_randperm(nnl_tensor *dst) {
    nnl_context *ctx = dst->ctx;
    int64_t *at = nnl_tensor_data(dst);
    for (int64_t i = 0, n = nnl_tensor_numel(dst); i < n; i++) {
        if (i % PART_ELEMENTS == PART_ELEMENTS - 1 && nnl_pool_stops(ctx->pool)) return;
        int64_t j = (int64_t)nnl_random_below(&ctx->random, (uint64_t)i + 1);
        at[i] = i + 1;
        at[i] = at[j];
        at[j] = i + 1;
    }
}

typedef struct shortening {
    nnl_tensor *t;
    uint32_t kept; // bits
} shortening;

static void shorten_part(void *arg, size_t part) {
    const shortening *h = arg;
    stretch s = stretch_of(part, nnl_tensor_numel(h->t));
    char *data = (char *)nnl_tensor_data(h->t) + s.from * (int64_t)sizeof h->kept;
    for (int64_t i = s.from; i < s.to; i++, data += sizeof h->kept) {
        uint32_t bits;
        memcpy(&bits, data, sizeof bits);
        bits &= h->kept;
        memcpy(data, &bits, sizeof bits);
    }
}

void nnl_apply_shorten(nnl_tensor *t, nnl_dtype dtype) {
    shortening h = {t, dtype == NNL_BFLOAT16 ? 0xFFFF0000u : 0xFFFFE000u};
    in_parts(t, shorten_part, &h);
}
