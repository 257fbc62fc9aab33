// sort.c: elements in order along a dimension, with the positions (from 1) that they had: sort, argsort,
// topk. Equal elements keep their order; NaN counts as the largest. Elements become keys (kernel/sort.h): of
// 32 bits where the dtype allows; a 64-bit element is sorted by its lower half, then by its upper half.
#include "kernel/sort.h"
#include "grad/records.h"

#include <string.h>

#define BLOCK 512
// Lines that are shorter than NNL_SORT_LONG are cut into at most so many parts, each with memory of its own.
#define MOST_PARTS 16
#define PART_ELEMENTS 16384
// k is picked out of n without sorting them all where it is this many times smaller.
#define FEW 8

typedef struct sorting {
    const nnl_tensor *x;
    nnl_tensor *values, *positions; // values: NULL where they are not wanted
    nnl_pool *pool;
    nnl_load_fn *load;
    nnl_compute type; // that `load` loads
    bool falling;
    size_t n, kept, size; // elements along the dimension, how many of them stay, bytes of one
    int dim;
    int64_t stride, step; // of the dimension, in x and in the results
    int64_t lines, part_lines;
    uint64_t *memory; // for each part
    size_t part_memory;
} sorting;

typedef struct line {
    const sorting *s;
    const char *from;
    char *values;
    int64_t *positions;
    bool wide;              // keys of 64 bits
    int64_t least;          // what integers are counted from
    uint64_t *items, *keys; // keys: of 64 bits alone
    const uint64_t *order, *ranks;
} line;

// ---- keys: unsigned numbers in the order of the elements

// Negative floats are reversed; -0 is 0, and NaN the largest.
static uint32_t float_key(float x) {
    uint32_t bits;
    x += 0.0f;
    memcpy(&bits, &x, sizeof bits);
    uint32_t key = bits >> 31 ? ~bits : bits | 0x80000000u;
    return x != x ? UINT32_MAX : key;
}

static uint64_t double_key(double x) {
    uint64_t bits;
    x += 0.0;
    memcpy(&bits, &x, sizeof bits);
    uint64_t key = bits >> 63 ? ~bits : bits | 0x8000000000000000u;
    return x != x ? UINT64_MAX : key;
}

typedef union block {
    float as_float[BLOCK];
    double as_double[BLOCK];
    int64_t as_int[BLOCK];
} block;

// Keys of 64 bits, or of 32 in the lower half, for n elements from `at` on.
static void block_keys(const line *l, size_t at, size_t n, uint64_t *key) {
    const sorting *s = l->s;
    uint64_t flip = !s->falling ? 0 : l->wide ? UINT64_MAX : UINT32_MAX;
    block b;
    s->load(n, &b, l->from + (int64_t)at * s->stride * (int64_t)s->size, s->stride);
    if (s->type == NNL_IN_FLOAT) {
        for (size_t i = 0; i < n; i++) key[i] = float_key(b.as_float[i]) ^ flip;
    } else if (s->type == NNL_IN_DOUBLE) {
        for (size_t i = 0; i < n; i++) key[i] = double_key(b.as_double[i]) ^ flip;
    } else {
        for (size_t i = 0; i < n; i++) key[i] = ((uint64_t)b.as_int[i] - (uint64_t)l->least) ^ flip;
    }
}

// ---- one line

// Work of n elements that does not depend on its order, on the threads where it is much. False where the host
// wants an end: some of it is undone then, and nothing that holds places may be used.
static bool in_parts(const sorting *s, size_t n, nnl_task *task, void *arg) {
    nnl_pool_try(s->pool, (n + PART_ELEMENTS - 1) / PART_ELEMENTS, task, arg);
    return !nnl_pool_stops(s->pool);
}

static size_t part_end(size_t part, size_t n) {
    size_t end = (part + 1) * PART_ELEMENTS;
    return end < n ? end : n;
}

static void make_items(void *arg, size_t part) {
    const line *l = arg;
    uint64_t key[BLOCK];
    for (size_t at = part * PART_ELEMENTS, end = part_end(part, l->s->n); at < end; at += BLOCK) {
        size_t n = end - at < BLOCK ? end - at : BLOCK;
        // cppcheck-suppress legacyUninitvar ; block_keys writes them
        uint64_t *keys = l->wide ? l->keys + at : key;
        block_keys(l, at, n, keys);
        for (size_t i = 0; i < n; i++) l->items[at + i] = keys[i] << 32 | (at + i);
    }
}

// The upper halves of the keys, in the order of the lower ones; the position is now the rank in that order.
static void make_upper_items(void *arg, size_t part) {
    const line *l = arg;
    for (size_t i = part * PART_ELEMENTS, end = part_end(part, l->s->n); i < end; i++)
        l->items[i] = (l->keys[(uint32_t)l->order[i]] & 0xffffffff00000000u) | i;
}

static void move_value(char *to, const char *from, size_t size) {
    if (size == 4) {
        memcpy(to, from, 4);
    } else if (size == 8) {
        memcpy(to, from, 8);
    } else {
        memcpy(to, from, size);
    }
}

static void write_results(void *arg, size_t part) {
    const line *l = arg;
    const sorting *s = l->s;
    int64_t stride = s->stride * (int64_t)s->size, step = s->step * (int64_t)s->size;
    for (size_t i = part * PART_ELEMENTS, end = part_end(part, s->kept); i < end; i++) {
        uint32_t rank = (uint32_t)l->order[i];
        int64_t at = l->ranks ? (uint32_t)l->ranks[rank] : rank;
        l->positions[(int64_t)i * s->step] = at + 1;
        if (l->values) move_value(l->values + (int64_t)i * step, l->from + at * stride, s->size);
    }
}

static bool is_few(const sorting *s) { return s->kept * FEW < s->n; }

// Words of memory that a line needs: arrays to sort between, and the keys of 64 bits where there may be such.
static size_t line_memory(const sorting *s) {
    size_t room = NNL_SORT_SPARE(s->n), selecting = 2 * NNL_SELECT_ROOM(s->kept);
    bool wide = s->type != NNL_IN_FLOAT && s->size == 8;
    size_t sorting_all = wide ? s->n + 3 * room : 2 * room;
    if (!is_few(s)) return sorting_all;
    return wide && sorting_all > selecting ? sorting_all : selecting;
}

// These three find the order, which is NULL where the host wants an end.
static void select_few(line *l, uint64_t *memory) {
    const sorting *s = l->s;
    nnl_selection few = nnl_select_start(s->kept, memory, memory + NNL_SELECT_ROOM(s->kept));
    uint64_t item[BLOCK];
    for (size_t at = 0; at < s->n; at += BLOCK) {
        size_t n = s->n - at < BLOCK ? s->n - at : BLOCK;
        if (nnl_pool_stops(s->pool)) return;
        block_keys(l, at, n, item);
        for (size_t i = 0; i < n; i++) item[i] = item[i] << 32 | (at + i);
        nnl_select_more(&few, n, item);
    }
    l->order = nnl_select_done(&few);
}

static void sort_narrow(line *l, uint64_t *memory) {
    l->items = memory;
    if (!in_parts(l->s, l->s->n, make_items, l)) return;
    l->order = nnl_sort_items(l->s->pool, l->s->n, memory, memory + NNL_SORT_SPARE(l->s->n));
}

static void sort_wide(line *l, uint64_t *memory) {
    size_t n = l->s->n, room = NNL_SORT_SPARE(n);
    uint64_t *third = memory + 2 * room;
    l->keys = third + room;
    sort_narrow(l, memory);
    if (!l->order) return;
    l->items = l->order == memory ? memory + room : memory;
    l->ranks = l->order;
    bool done = in_parts(l->s, n, make_upper_items, l);
    l->order = NULL;
    if (done) l->order = nnl_sort_items(l->s->pool, n, l->items, third);
}

// 64-bit integers within a range of 32 bits have narrow keys.
static void measure_integers(line *l) {
    const sorting *s = l->s;
    int64_t least = INT64_MAX, most = INT64_MIN, x[BLOCK];
    for (size_t at = 0; at < s->n; at += BLOCK) {
        size_t n = s->n - at < BLOCK ? s->n - at : BLOCK;
        if (nnl_pool_stops(s->pool)) return;
        s->load(n, x, l->from + (int64_t)at * s->stride * (int64_t)s->size, s->stride);
        for (size_t i = 0; i < n; i++) {
            least = x[i] < least ? x[i] : least;
            most = x[i] > most ? x[i] : most;
        }
    }
    l->wide = (uint64_t)most - (uint64_t)least > UINT32_MAX;
    l->least = least;
}

static void sort_line(const sorting *s, int64_t from, int64_t to, uint64_t *memory) {
    line l = {.s = s,
              .from = s->x->storage->data + from * (int64_t)s->size,
              .positions = (int64_t *)nnl_tensor_data(s->positions) + to,
              .wide = s->type == NNL_IN_DOUBLE,
              .least = INT32_MIN};
    if (s->values) l.values = (char *)nnl_tensor_data(s->values) + to * (int64_t)s->size;
    if (s->x->dtype == NNL_INT64) measure_integers(&l);
    if (l.wide) {
        sort_wide(&l, memory);
    } else if (is_few(s)) {
        select_few(&l, memory);
    } else {
        sort_narrow(&l, memory);
    }
    if (l.order) in_parts(s, s->kept, write_results, &l);
}

// ---- all lines

// Where a line starts in x and in the contiguous results: a walk over the other dimensions.
static void place_line(const sorting *s, int64_t number, int64_t *from, int64_t *to) {
    const nnl_shape *shape = &s->positions->shape;
    *from = s->x->offset;
    *to = 0;
    for (int d = shape->ndim - 1; d >= 0; d--) {
        if (d == s->dim) continue;
        int64_t at = number % shape->size[d];
        number /= shape->size[d];
        *from += at * s->x->stride[d];
        *to += at * s->positions->stride[d];
    }
}

static void sort_part(void *arg, size_t part) {
    const sorting *s = arg;
    int64_t first = (int64_t)part * s->part_lines, last = first + s->part_lines;
    for (int64_t number = first; number < last && number < s->lines; number++) {
        if (nnl_pool_stops(s->pool)) return;
        int64_t from, to;
        place_line(s, number, &from, &to);
        sort_line(s, from, to, s->memory + part * s->part_memory);
    }
}

// Long lines one after the other, each on all threads; short ones in parts.
static nnl_status sort_lines(nnl_context *ctx, sorting *s) {
    int64_t numel = s->lines * (int64_t)s->n, parts = numel / PART_ELEMENTS;
    parts = parts > MOST_PARTS ? MOST_PARTS : parts > 0 ? parts : 1;
    if (s->n >= NNL_SORT_LONG) parts = 1;
    s->part_lines = (s->lines + parts - 1) / parts;
    parts = (s->lines + s->part_lines - 1) / s->part_lines;
    s->part_memory = line_memory(s);
    s->memory = nnl_alloc(&ctx->allocator, (size_t)parts * s->part_memory * sizeof *s->memory);
    if (!s->memory) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for sorting");
    if (parts == 1) {
        sort_part(s, 0);
    } else {
        nnl_pool_try(ctx->pool, (size_t)parts, sort_part, s);
    }
    nnl_free(&ctx->allocator, s->memory);
    return NNL_OK;
}

// kept < 0: all. The values go to *values where that is not NULL. Both results are new.
static nnl_status sorted(nnl_context *ctx, const nnl_call *call, int dim, int64_t kept, bool falling,
                         nnl_tensor **values, nnl_tensor **positions) {
    const nnl_tensor *x = call->arg[0].tensor;
    nnl_shape shape = x->shape;
    bool scalar = shape.ndim == 0;
    int64_t n = scalar ? 1 : shape.size[dim];
    if (n > UINT32_MAX) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: dimension %d has %lld elements, more than %lld",
                        call->op->name, dim + 1, (long long)n, (long long)UINT32_MAX);
    }
    if (kept < 0 || scalar) kept = n;
    if (!scalar) shape.size[dim] = kept;
    if (values && !(*values = nnl_tensor_new(ctx, x->dtype, &shape))) return ctx->status;
    if (!(*positions = nnl_tensor_new(ctx, NNL_INT64, &shape))) return ctx->status;
    int64_t numel = nnl_shape_numel(&shape);
    if (numel == 0) return NNL_OK;
    sorting s = {.x = x,
                 .values = values ? *values : NULL,
                 .positions = *positions,
                 .pool = ctx->pool,
                 .load = ctx->kernels->convert->load[x->dtype][nnl_dtype_get(x->dtype)->compute],
                 .type = nnl_dtype_get(x->dtype)->compute,
                 .falling = falling,
                 .n = (size_t)n,
                 .kept = (size_t)kept,
                 .size = nnl_dtype_size(x->dtype),
                 .dim = dim,
                 .stride = scalar ? 1 : x->stride[dim],
                 .step = scalar ? 1 : (*positions)->stride[dim],
                 .lines = numel / kept};
    return sort_lines(ctx, &s);
}

// ---- the operations

typedef struct sort_state {
    int dim;
    nnl_shape shape;
} sort_state;

static nnl_status sorted_recorded(nnl_context *ctx, nnl_call *call, int dim, int64_t kept, bool falling) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_status status = sorted(ctx, call, dim, kept, falling, &call->out[0], &call->out[1]);
    if (status != NNL_OK) return status;
    sort_state state = {.dim = dim, .shape = x->shape};
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 2,
                                            .outputs = call->out,
                                            .n_saved = 1,
                                            .saved = {call->out[1]},
                                            .state = &state,
                                            .state_size = sizeof state});
}

// Each value's gradient goes back to the position that it came from.
static nnl_status sort_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const sort_state *s = node->state;
    dx[0] = nnl_ungather(ctx, dout[0], s->dim, nnl_node_saved(node, 0), &s->shape);
    return dx[0] ? NNL_OK : ctx->status;
}

static int last_dim(const nnl_arg *arg, const nnl_tensor *x) {
    if (arg->given) return (int)arg->i;
    return x->shape.ndim > 0 ? x->shape.ndim - 1 : 0;
}

// x:sort([dim], [descending])
static nnl_status sort_forward(nnl_context *ctx, nnl_call *call) {
    return sorted_recorded(ctx, call, last_dim(&call->arg[1], call->arg[0].tensor), -1, call->arg[2].flag);
}

static nnl_status argsort_forward(nnl_context *ctx, nnl_call *call) {
    int dim = last_dim(&call->arg[1], call->arg[0].tensor);
    return sorted(ctx, call, dim, -1, call->arg[2].flag, NULL, &call->out[0]);
}

// x:topk(k, [dim], [largest])
static nnl_status topk_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_tensor *x = call->arg[0].tensor;
    int dim = last_dim(&call->arg[2], x);
    int64_t k = call->arg[1].i, size = x->shape.ndim > 0 ? x->shape.size[dim] : 1;
    if (k < 0 || k > size) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "topk: k = %lld is not within 0 to %lld", (long long)k,
                        (long long)size);
    }
    return sorted_recorded(ctx, call, dim, k, call->arg[3].flag);
}

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define DIM                                                                                                  \
    { "dim", NNL_ARG_DIM, true, -1, NULL }
#define FALLING                                                                                              \
    { "descending", NNL_ARG_BOOL, true, 0, NULL }

const nnl_op nnl_sort_records[] = {
    {.name = "sort",
     .doc = "the elements in order along dim (the last), and the positions they had",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 2,
     .params = {X, DIM, FALLING},
     .forward = sort_forward,
     .backward = sort_backward},
    {.name = "argsort",
     .doc = "the positions of the elements in order along dim (the last)",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {X, DIM, FALLING},
     .forward = argsort_forward},
    {.name = "topk",
     .doc = "the k largest (or smallest) along dim (the last), in order, and their positions",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 2,
     .params = {X, {"k", NNL_ARG_INT, false, 0, NULL}, DIM, {"largest", NNL_ARG_BOOL, true, 1, NULL}},
     .forward = topk_forward,
     .backward = sort_backward},
    {.name = NULL},
};
