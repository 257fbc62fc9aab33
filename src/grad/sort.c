// sort.c: elements in order along a dimension, with the positions (from 1) that they had: sort, topk. Equal
// elements keep their order; NaN counts as the largest.
#include "grad/records.h"

#include <stdlib.h>
#include <string.h>

typedef struct item {
    nnl_number value;
    int64_t position; // from 1
} item;

static bool is_nan(const item *x) { return !x->value.is_int && x->value.d != x->value.d; }

static int compare_values(const item *a, const item *b) {
    if (is_nan(a) || is_nan(b)) return is_nan(a) - is_nan(b);
    if (a->value.is_int) return (a->value.i > b->value.i) - (a->value.i < b->value.i);
    return (a->value.d > b->value.d) - (a->value.d < b->value.d);
}

static int ascending(const void *x, const void *y) {
    const item *a = x, *b = y;
    int order = compare_values(a, b);
    return order != 0 ? order : (a->position > b->position) - (a->position < b->position);
}

static int descending(const void *x, const void *y) {
    const item *a = x, *b = y;
    int order = compare_values(b, a);
    return order != 0 ? order : (a->position > b->position) - (a->position < b->position);
}

typedef struct sorting {
    const nnl_tensor *x;
    nnl_tensor *values, *positions;
    int64_t n, kept; // elements along the dimension, and how many of them stay
    int64_t stride;  // of the dimension, in x
    bool falling;
    item *items;
} sorting;

static void sort_line(const sorting *s, int64_t from, int64_t to, int64_t step) {
    size_t size = nnl_dtype_size(s->x->dtype);
    const char *source = s->x->storage->data;
    for (int64_t i = 0; i < s->n; i++) {
        const char *at = source + (size_t)(from + i * s->stride) * size;
        s->items[i] = (item){nnl_element_read(s->x->dtype, at), i + 1};
    }
    qsort(s->items, (size_t)s->n, sizeof *s->items, s->falling ? descending : ascending);
    for (int64_t i = 0; i < s->kept; i++) {
        char *value = (char *)nnl_tensor_data(s->values) + (size_t)(to + i * step) * size;
        nnl_element_write(s->x->dtype, value, s->items[i].value);
        ((int64_t *)nnl_tensor_data(s->positions))[to + i * step] = s->items[i].position;
    }
}

// Every line along the dimension: walks the other dimensions of x and of the contiguous results together.
static void sort_lines(const sorting *s, int dim) {
    const nnl_shape *shape = &s->values->shape;
    int64_t lines = s->kept > 0 ? nnl_shape_numel(shape) / s->kept : 0;
    for (int64_t line = 0; line < lines; line++) {
        int64_t rest = line, from = s->x->offset, to = 0;
        for (int d = shape->ndim - 1; d >= 0; d--) {
            if (d == dim) continue;
            int64_t at = rest % shape->size[d];
            rest /= shape->size[d];
            from += at * s->x->stride[d];
            to += at * s->values->stride[d];
        }
        sort_line(s, from, to, shape->ndim > 0 ? s->values->stride[dim] : 1);
    }
}

typedef struct sort_state {
    int dim;
    nnl_shape shape;
} sort_state;

// kept < 0: all
static nnl_status sorted(nnl_context *ctx, nnl_call *call, int dim, int64_t kept, bool falling) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_shape shape = x->shape;
    bool scalar = shape.ndim == 0;
    sorting s = {
        .x = x, .n = scalar ? 1 : shape.size[dim], .stride = scalar ? 1 : x->stride[dim], .falling = falling};
    s.kept = kept < 0 || scalar ? s.n : kept;
    if (!scalar) shape.size[dim] = s.kept;
    call->out[0] = s.values = nnl_tensor_new(ctx, x->dtype, &shape);
    call->out[1] = s.positions = s.values ? nnl_tensor_new(ctx, NNL_INT64, &shape) : NULL;
    if (!s.positions) return ctx->status;
    s.items = nnl_alloc(&ctx->allocator, (size_t)s.n * sizeof *s.items);
    if (!s.items) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for sorting");
    sort_lines(&s, dim);
    nnl_free(&ctx->allocator, s.items);
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
    return sorted(ctx, call, last_dim(&call->arg[1], call->arg[0].tensor), -1, call->arg[2].flag);
}

static nnl_status argsort_forward(nnl_context *ctx, nnl_call *call) {
    nnl_status status = sort_forward(ctx, call);
    if (status != NNL_OK) return status;
    nnl_tensor_release(call->out[0]);
    call->out[0] = call->out[1];
    call->out[1] = NULL;
    return NNL_OK;
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
    return sorted(ctx, call, dim, k, call->arg[3].flag);
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
