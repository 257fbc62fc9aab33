// resample.c: the operations behind pooling and resizing, over kernel/isa/resample.c, a stretch of planes at
// a time. A sum's gradient is the transposed map and a maximum's a scatter, each with the other as its own.
#include "grad/resample.h"

#include <math.h>

#define PART_ELEMENTS 32768
// Neighbours that a linear rule weighs.
#define NEIGHBOURS 2

// ---- windows by their rule

static int64_t within(int64_t i, int64_t low, int64_t high) { return i < low ? low : i > high ? high : i; }

typedef struct axis_lists {
    int32_t *start, *end;
    double *divisor, *weight;
} axis_lists;

// Windows that see padding alone are empty.
static void window_at(const nnl_axis_rule *r, axis_lists *list, int64_t o) {
    int64_t first = o * r->stride - r->padding, last = first + (r->kernel - 1) * r->dilation + 1;
    int64_t counted = (last < r->size + r->padding ? last : r->size + r->padding) - first;
    int64_t start = first >= 0 ? first : first + (-first + r->dilation - 1) / r->dilation * r->dilation;
    int64_t end = within(last, 0, r->size);
    if (start >= r->size) start = end = r->size - 1;
    list->start[o] = (int32_t)start;
    list->end[o] = (int32_t)end;
    list->divisor[o] = r->divisor != 0 ? r->divisor : (double)(r->counts_padding ? counted : end - start);
}

static void adaptive_at(const nnl_axis_rule *r, axis_lists *list, int64_t o) {
    list->start[o] = (int32_t)(o * r->size / r->result);
    list->end[o] = (int32_t)(((o + 1) * r->size + r->result - 1) / r->result);
    list->divisor[o] = list->end[o] - list->start[o];
}

// In single precision whatever the dtype, which decides ties as PyTorch does.
static void nearest_at(const nnl_axis_rule *r, axis_lists *list, int64_t o) {
    list->start[o] = (int32_t)within((int64_t)floorf((float)o * (float)r->scale), 0, r->size - 1);
    list->end[o] = list->start[o] + 1;
    list->divisor[o] = 1;
}

// A neighbour of weight 0 is left out: it may be infinite.
static void linear_at(const nnl_axis_rule *r, axis_lists *list, int64_t o) {
    double place = r->align_corners ? (double)o * r->scale : ((double)o + 0.5) * r->scale - 0.5;
    if (place < 0) place = 0;
    int64_t low = within((int64_t)place, 0, r->size - 1);
    double share = low + 1 < r->size ? place - (double)low : 0;
    list->start[o] = (int32_t)low;
    list->end[o] = (int32_t)(low + (share > 0 ? 2 : 1));
    list->weight[o * NEIGHBOURS] = 1 - share;
    list->weight[o * NEIGHBOURS + 1] = share;
    list->divisor[o] = 1;
}

// The lists' memory is one block, from axis->divisor on. False when there is none.
static bool make_axis(nnl_context *ctx, const nnl_axis_rule *r, nnl_axis *axis) {
    static void (*const at[])(const nnl_axis_rule *, axis_lists *, int64_t) = {window_at, adaptive_at,
                                                                               nearest_at, linear_at};
    bool linear = r->kind == NNL_AXIS_LINEAR, window = r->kind == NNL_AXIS_WINDOW;
    size_t n = (size_t)r->result, doubles = linear ? 1 + NEIGHBOURS : 1;
    double *block = nnl_alloc(&ctx->allocator, n * (doubles * sizeof(double) + 2 * sizeof(int32_t)));
    if (!block) {
        nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for the windows of %zu results", n);
        return false;
    }
    axis_lists list = {
        .divisor = block, .weight = block + n, .start = (int32_t *)(void *)(block + doubles * n)};
    list.end = list.start + n;
    for (int64_t o = 0; o < r->result; o++) at[r->kind](r, &list, o);
    *axis = (nnl_axis){.size = (int32_t)r->size,
                       .result = (int32_t)r->result,
                       .start = list.start,
                       .end = list.end,
                       .step = window ? (int32_t)r->dilation : 1,
                       .weight = linear ? list.weight : NULL,
                       .divisor = list.divisor,
                       .kernel = window ? (int32_t)r->kernel : NEIGHBOURS,
                       .stride = window ? (int32_t)r->stride : 0,
                       .padding = (int32_t)r->padding};
    return true;
}

static void free_axes(nnl_context *ctx, nnl_axis axis[2]) {
    for (int d = 0; d < 2; d++) nnl_free(&ctx->allocator, (void *)(uintptr_t)axis[d].divisor);
}

static nnl_status make_axes(nnl_context *ctx, const nnl_axis_rule rules[2], nnl_axis axis[2]) {
    axis[0] = axis[1] = (nnl_axis){.divisor = NULL};
    if (make_axis(ctx, &rules[0], &axis[0]) && make_axis(ctx, &rules[1], &axis[1])) return NNL_OK;
    free_axes(ctx, axis);
    return ctx->status;
}

// ---- planes in parts

typedef struct planes {
    const nnl_context *ctx;
    nnl_compute type;
    size_t count, each;             // planes; those of one part
    size_t source, target, element; // elements of a plane that is read and written
    const nnl_axis *axis;
    const char *x;
    char *y, *room;
    int32_t *at;
    size_t room_bytes; // of one part
    bool back;
} planes;

static planes planes_of(const nnl_context *ctx, const nnl_tensor *x, const nnl_tensor *y) {
    planes p = {.ctx = ctx,
                .type = nnl_tensor_compute(x),
                .count = (size_t)(x->shape.size[0] * x->shape.size[1]),
                .source = (size_t)(x->shape.size[2] * x->shape.size[3]),
                .target = (size_t)(y->shape.size[2] * y->shape.size[3]),
                .element = nnl_dtype_size(x->dtype),
                .x = nnl_tensor_data(x),
                .y = nnl_tensor_data(y)};
    size_t larger = p.source > p.target ? p.source : p.target;
    p.each = larger < PART_ELEMENTS ? PART_ELEMENTS / (larger > 0 ? larger : 1) : 1;
    return p;
}

static size_t part_count(const planes *p) { return (p->count + p->each - 1) / p->each; }

static void run_planes(planes *p, nnl_task *task) { nnl_pool_try(p->ctx->pool, part_count(p), task, p); }

static size_t part_end(const planes *p, size_t part) {
    size_t end = (part + 1) * p->each;
    return end < p->count ? end : p->count;
}

static const char *source_at(const planes *p, size_t plane) { return p->x + plane * p->source * p->element; }
static char *target_at(const planes *p, size_t plane) { return p->y + plane * p->target * p->element; }

static nnl_tensor *images_like(nnl_context *ctx, const nnl_tensor *x, nnl_dtype dtype, int64_t height,
                               int64_t width) {
    nnl_shape shape = {4, {x->shape.size[0], x->shape.size[1], height, width}};
    return nnl_tensor_new(ctx, dtype, &shape);
}

// ---- sums, and the way back

typedef struct sum_state {
    nnl_axis_rule rules[2];
    bool back;
} sum_state;

static void sum_part(void *arg, size_t part) {
    const planes *p = arg;
    const nnl_resample_kernels *kernels = p->ctx->kernels->resample;
    char *room = p->room + part * p->room_bytes;
    for (size_t plane = part * p->each; plane < part_end(p, part); plane++) {
        if (p->back) {
            kernels->spread[p->type](p->axis, target_at(p, plane), source_at(p, plane), room);
        } else {
            kernels->sum[p->type](p->axis, target_at(p, plane), source_at(p, plane), room);
        }
    }
}

static nnl_status sum_planes(nnl_context *ctx, const sum_state *s, const nnl_tensor *x, const nnl_tensor *y) {
    nnl_axis axis[2];
    if (make_axes(ctx, s->rules, axis) != NNL_OK) return ctx->status;
    planes p = planes_of(ctx, x, y);
    p.axis = axis;
    p.back = s->back;
    p.room_bytes = ((size_t)s->rules[1].size * p.element + NNL_ALIGNMENT - 1) / NNL_ALIGNMENT * NNL_ALIGNMENT;
    p.room = nnl_alloc(&ctx->allocator, part_count(&p) * p.room_bytes);
    nnl_status status = p.room ? NNL_OK : nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for rows");
    if (status == NNL_OK) run_planes(&p, sum_part);
    nnl_free(&ctx->allocator, p.room);
    free_axes(ctx, axis);
    return status;
}

static nnl_status sum_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op sum_record = {.name = "resample", .outputs = 1, .backward = sum_backward};

static nnl_tensor *summed(nnl_context *ctx, nnl_tensor *given, const sum_state *s) {
    const nnl_axis_rule *down = &s->rules[0], *across = &s->rules[1];
    nnl_tensor *x = nnl_contiguous(ctx, given);
    nnl_tensor *y = !x ? NULL
                       : images_like(ctx, x, x->dtype, s->back ? down->size : down->result,
                                     s->back ? across->size : across->result);
    nnl_status status = y ? NNL_OK : ctx->status;
    if (y && nnl_tensor_numel(y) > 0) status = sum_planes(ctx, s, x, y);
    if (status == NNL_OK)
        status = nnl_record(ctx, &(nnl_recording){.op = &sum_record,
                                                  .n_inputs = 1,
                                                  .inputs = &x,
                                                  .n_outputs = 1,
                                                  .outputs = &y,
                                                  .state = s,
                                                  .state_size = sizeof *s});
    nnl_tensor_release(x);
    if (status == NNL_OK) return y;
    nnl_tensor_release(y);
    return NULL;
}

static nnl_status sum_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    sum_state turned = *(const sum_state *)node->state;
    turned.back = !turned.back;
    dx[0] = summed(ctx, dout[0], &turned);
    return dx[0] ? NNL_OK : ctx->status;
}

nnl_tensor *nnl_resample_sum(nnl_context *ctx, nnl_tensor *x, const nnl_axis_rule rules[2]) {
    return summed(ctx, x, &(sum_state){.rules = {rules[0], rules[1]}});
}

// ---- elements at positions: picked from planes, or put back into planes of zeros

typedef struct pick_state {
    int64_t size[2]; // of the planes that are picked from
    bool back;
} pick_state;

static void pick_part(void *arg, size_t part) {
    const planes *p = arg;
    const nnl_resample_kernels *kernels = p->ctx->kernels->resample;
    for (size_t plane = part * p->each; plane < part_end(p, part); plane++) {
        if (p->back) {
            kernels->put[p->type](p->source, p->target, target_at(p, plane), source_at(p, plane),
                                  p->at + plane * p->source);
        } else {
            kernels->pick[p->type](p->target, target_at(p, plane), source_at(p, plane),
                                   p->at + plane * p->target);
        }
    }
}

static nnl_status pick_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op pick_record = {.name = "max_pool", .outputs = 1, .backward = pick_backward};

static nnl_status record_pick(nnl_context *ctx, nnl_tensor *x, nnl_tensor *at, nnl_tensor *y,
                              const pick_state *s) {
    return nnl_record(ctx, &(nnl_recording){.op = &pick_record,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 1,
                                            .outputs = &y,
                                            .n_saved = 1,
                                            .saved = {at},
                                            .state = s,
                                            .state_size = sizeof *s});
}

static nnl_tensor *picked(nnl_context *ctx, nnl_tensor *given, nnl_tensor *at, const pick_state *s) {
    nnl_tensor *x = nnl_contiguous(ctx, given);
    const int64_t *size = s->back ? s->size : &at->shape.size[2];
    nnl_tensor *y = x ? images_like(ctx, x, x->dtype, size[0], size[1]) : NULL;
    nnl_status status = y ? NNL_OK : ctx->status;
    if (y) {
        planes p = planes_of(ctx, x, y);
        p.at = nnl_tensor_data(at);
        p.back = s->back;
        run_planes(&p, pick_part);
        status = record_pick(ctx, x, at, y, s);
    }
    nnl_tensor_release(x);
    if (status == NNL_OK) return y;
    nnl_tensor_release(y);
    return NULL;
}

static nnl_status pick_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    pick_state turned = *(const pick_state *)node->state;
    turned.back = !turned.back;
    dx[0] = picked(ctx, dout[0], nnl_node_saved(node, 0), &turned);
    return dx[0] ? NNL_OK : ctx->status;
}

// ---- the largest

static void max_part(void *arg, size_t part) {
    const planes *p = arg;
    for (size_t plane = part * p->each; plane < part_end(p, part); plane++)
        p->ctx->kernels->resample->max[p->type](p->axis, target_at(p, plane), p->at + plane * p->target,
                                                source_at(p, plane));
}

static nnl_status max_planes(nnl_context *ctx, const nnl_axis_rule rules[2], const nnl_tensor *x,
                             const nnl_tensor *y, const nnl_tensor *at) {
    nnl_axis axis[2];
    if (make_axes(ctx, rules, axis) != NNL_OK) return ctx->status;
    planes p = planes_of(ctx, x, y);
    p.axis = axis;
    p.at = nnl_tensor_data(at);
    run_planes(&p, max_part);
    free_axes(ctx, axis);
    return NNL_OK;
}

nnl_tensor *nnl_resample_max(nnl_context *ctx, nnl_tensor *given, const nnl_axis_rule rules[2],
                             nnl_tensor **at) {
    pick_state state = {.size = {rules[0].size, rules[1].size}};
    nnl_tensor *x = nnl_contiguous(ctx, given);
    nnl_tensor *y = x ? images_like(ctx, x, x->dtype, rules[0].result, rules[1].result) : NULL;
    *at = y ? nnl_tensor_new(ctx, NNL_INT32, &y->shape) : NULL;
    nnl_status status = *at ? NNL_OK : ctx->status;
    if (status == NNL_OK && nnl_tensor_numel(y) > 0) status = max_planes(ctx, rules, x, y, *at);
    if (status == NNL_OK) status = record_pick(ctx, x, *at, y, &state);
    nnl_tensor_release(x);
    if (status == NNL_OK) return y;
    nnl_tensor_release(y);
    nnl_tensor_release(*at);
    *at = NULL;
    return NULL;
}
