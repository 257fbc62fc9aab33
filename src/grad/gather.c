// gather.c: reading and writing at positions that are data themselves: index_select, gather, scatter, masks.
// Positions count from 1.
#include "grad/part.h"

#include <string.h>

typedef struct place_state {
    int dim;
    nnl_shape shape; // of the tensor read from or written to
} place_state;

nnl_tensor *nnl_positions_of(nnl_context *ctx, const char *who, nnl_tensor *index) {
    nnl_dtype_kind kind = nnl_dtype_get(index->dtype)->kind;
    if (kind != NNL_KIND_INT) {
        return nnl_fail_null(ctx, NNL_ERR_DTYPE, "%s: expected positions as an int64 tensor, got %s", who,
                             nnl_dtype_get(index->dtype)->name);
    }
    if (index->dtype == NNL_INT64 && nnl_tensor_is_contiguous(index)) return nnl_tensor_retain(index);
    nnl_tensor *copy = nnl_tensor_new(ctx, NNL_INT64, &index->shape);
    if (copy) nnl_try_copy(copy, index);
    return copy;
}

// Without a stop on the way: that is vector code.
static bool all_within(const int64_t *at, int64_t n, int64_t size) {
    uint64_t beyond = 0;
    for (int64_t i = 0; i < n; i++) beyond |= (uint64_t)at[i] - 1 >= (uint64_t)size;
    return !beyond;
}

nnl_status nnl_check_positions(nnl_context *ctx, const char *who, const nnl_tensor *index, int64_t size) {
    const int64_t *at = nnl_tensor_data(index);
    int64_t n = nnl_tensor_numel(index), i = 0;
    if (all_within(at, n, size)) return NNL_OK;
    while (at[i] >= 1 && at[i] <= size) i++;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                    "%s: position %lld (element %lld of the index) is not within 1 to %lld", who,
                    (long long)at[i], (long long)(i + 1), (long long)size);
}

// ---- index_select: whole slices, and their way back

typedef struct slices {
    const int64_t *at;
    const char *from;
    char *to;
    size_t outer, n, size, bytes; // positions, size of the dimension, bytes of one slice
    size_t step;
} slices;

static void copy_slices(size_t n, const int64_t *at, char *to, const char *from, size_t bytes) {
    if (bytes == 4) {
        for (size_t i = 0; i < n; i++) memcpy(to + i * 4, from + (at[i] - 1) * 4, 4);
    } else if (bytes == 8) {
        for (size_t i = 0; i < n; i++) memcpy(to + i * 8, from + (at[i] - 1) * 8, 8);
    } else {
        for (size_t i = 0; i < n; i++) memcpy(to + i * bytes, from + (size_t)(at[i] - 1) * bytes, bytes);
    }
}

static void copy_part(void *arg, size_t part) {
    const slices *s = arg;
    size_t total = s->outer * s->n, last = (part + 1) * s->step < total ? (part + 1) * s->step : total;
    for (size_t i = part * s->step; i < last;) {
        size_t block = i / s->n, first = i % s->n, n = s->n - first < last - i ? s->n - first : last - i;
        copy_slices(n, s->at + first, s->to + i * s->bytes, s->from + block * s->size * s->bytes, s->bytes);
        i += n;
    }
}

static slices slices_of(const nnl_tensor *x, int dim, const nnl_tensor *index) {
    slices s = {.outer = 1, .bytes = nnl_dtype_size(x->dtype)};
    for (int d = 0; d < x->shape.ndim; d++) {
        if (d < dim) s.outer *= (size_t)x->shape.size[d];
        if (d > dim) s.bytes *= (size_t)x->shape.size[d];
    }
    s.at = nnl_tensor_data(index);
    s.n = (size_t)nnl_tensor_numel(index);
    s.size = x->shape.ndim > 0 ? (size_t)x->shape.size[dim] : 1;
    s.step = 65536 / (s.bytes > 0 ? s.bytes : 1) + 1;
    return s;
}

static nnl_status place_record(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, nnl_tensor *index,
                               nnl_tensor *out, int dim, const nnl_shape *shape) {
    place_state state = {.dim = dim, .shape = *shape};
    return nnl_record(ctx, &(nnl_recording){.op = op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 1,
                                            .outputs = &out,
                                            .n_saved = 1,
                                            .saved = {index},
                                            .state = &state,
                                            .state_size = sizeof state});
}

static nnl_tensor *select_slices(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, int dim,
                                 nnl_tensor *index) {
    nnl_shape shape = x->shape;
    if (shape.ndim > 0) shape.size[dim] = nnl_tensor_numel(index);
    nnl_tensor *source = nnl_tensor_is_contiguous(x) ? nnl_tensor_retain(x) : nnl_clone(ctx, x);
    nnl_tensor *out = source ? nnl_tensor_new(ctx, x->dtype, &shape) : NULL;
    if (out) {
        slices s = slices_of(x, dim, index);
        s.from = nnl_tensor_data(source);
        s.to = nnl_tensor_data(out);
        if (s.bytes > 0) nnl_pool_try(ctx->pool, (s.outer * s.n + s.step - 1) / s.step, copy_part, &s);
        if (place_record(ctx, op, x, index, out, dim, &x->shape) != NNL_OK) {
            nnl_tensor_release(out);
            out = NULL;
        }
    }
    nnl_tensor_release(source);
    return out;
}

static nnl_status index_select_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    int dim = (int)call->arg[1].i;
    if (call->arg[2].tensor->shape.ndim > 1) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "index_select: expected positions of one dimension");
    }
    nnl_tensor *index = nnl_positions_of(ctx, "index_select", call->arg[2].tensor);
    if (!index) return ctx->status;
    nnl_status status =
        nnl_check_positions(ctx, "index_select", index, x->shape.ndim > 0 ? x->shape.size[dim] : 1);
    if (status == NNL_OK) {
        call->out[0] = select_slices(ctx, call->op, x, dim, index);
        if (!call->out[0]) status = ctx->status;
    }
    nnl_tensor_release(index);
    return status;
}

static nnl_status index_select_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                        nnl_tensor **dx) {
    const place_state *s = node->state;
    dx[0] = nnl_unselect(ctx, dout[0], s->dim, nnl_node_saved(node, 0), &s->shape);
    return dx[0] ? NNL_OK : ctx->status;
}

static nnl_status unselect_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                    nnl_tensor **dx) {
    const place_state *s = node->state;
    dx[0] = nnl_index_select(ctx, dout[0], s->dim, nnl_node_saved(node, 0));
    return dx[0] ? NNL_OK : ctx->status;
}

static const nnl_op unselect_record = {.name = "index_add", .outputs = 1, .backward = unselect_backward};

// Through the dtype that the arithmetic runs in.
static nnl_tensor *unselect_converted(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index,
                                      const nnl_shape *shape) {
    static const nnl_dtype native[NNL_COMPUTE_COUNT] = {NNL_FLOAT32, NNL_FLOAT64, NNL_INT64};
    nnl_tensor *wide = nnl_to(ctx, x, native[nnl_tensor_compute(x)]);
    nnl_tensor *sum = wide ? nnl_unselect(ctx, wide, dim, index, shape) : NULL;
    nnl_tensor *out = sum ? nnl_to(ctx, sum, x->dtype) : NULL;
    nnl_tensor_release(wide);
    nnl_tensor_release(sum);
    return out;
}

// The slices are added in order.
nnl_tensor *nnl_unselect(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index,
                         const nnl_shape *shape) {
    if (!nnl_dtype_get(x->dtype)->native) return unselect_converted(ctx, x, dim, index, shape);
    nnl_tensor *source = nnl_tensor_is_contiguous(x) ? nnl_tensor_retain(x) : nnl_clone(ctx, x);
    nnl_tensor *out = source ? nnl_tensor_new(ctx, x->dtype, shape) : NULL;
    nnl_compute type = nnl_tensor_compute(x);
    nnl_binary_fn *add = ctx->kernels->elementwise->binary[NNL_BINARY_add][type];
    if (out) {
        nnl_try_fill(out, nnl_number_int(0));
        slices s = slices_of(out, dim, index);
        const char *from = nnl_tensor_data(source);
        char *to = nnl_tensor_data(out);
        size_t count = s.bytes / nnl_dtype_size(x->dtype);
        for (size_t i = 0; i < s.outer * s.n; i++) {
            char *row = to + (i / s.n * s.size + (size_t)(s.at[i % s.n] - 1)) * s.bytes;
            add(count, row, row, from + i * s.bytes);
        }
        if (place_record(ctx, &unselect_record, x, index, out, dim, &x->shape) != NNL_OK) {
            nnl_tensor_release(out);
            out = NULL;
        }
    }
    nnl_tensor_release(source);
    return out;
}

// ---- gather and scatter: element by element

// A row of the index: n positions that stand next to each other. Its elements lie in a row of one tensor
// (`own`) and in places of another: element i at i * step + (at[i] - 1) * jump.
typedef struct pointed_row {
    size_t n;
    const int64_t *at;
    int64_t step, jump;
    void *own, *places;
} pointed_row;

typedef void row_fn(const pointed_row *r);

#define PLACE(r, i) ((int64_t)(i) * (r)->step + ((r)->at[i] - 1) * (r)->jump)
#define MOVES(bits)                                                                                          \
    static void read_##bits(const pointed_row *r) {                                                          \
        uint##bits##_t *own = r->own;                                                                        \
        const uint##bits##_t *places = r->places;                                                            \
        for (size_t i = 0; i < r->n; i++) own[i] = places[PLACE(r, i)];                                      \
    }                                                                                                        \
    static void write_##bits(const pointed_row *r) {                                                         \
        const uint##bits##_t *own = r->own;                                                                  \
        uint##bits##_t *places = r->places;                                                                  \
        for (size_t i = 0; i < r->n; i++) places[PLACE(r, i)] = own[i];                                      \
    }
MOVES(8)
MOVES(16)
MOVES(32)
MOVES(64)

// Integers are added as unsigned ones, which wrap around.
#define ADDS(name, type)                                                                                     \
    static void add_##name(const pointed_row *r) {                                                           \
        const type *own = r->own;                                                                            \
        type *places = r->places;                                                                            \
        for (size_t i = 0; i < r->n; i++) places[PLACE(r, i)] = (type)(places[PLACE(r, i)] + own[i]);        \
    }
ADDS(float32, float)
ADDS(float64, double)
ADDS(int64, uint64_t)
ADDS(int32, uint32_t)
ADDS(uint8, uint8_t)

static void add_any(const pointed_row *r, nnl_dtype dtype) {
    size_t size = nnl_dtype_size(dtype);
    for (size_t i = 0; i < r->n; i++) {
        char *place = (char *)r->places + PLACE(r, i) * (int64_t)size;
        nnl_number a = nnl_element_read(dtype, place),
                   b = nnl_element_read(dtype, (const char *)r->own + i * size);
        nnl_element_write(dtype, place, nnl_number_float(a.d + b.d));
    }
}

static void add_bool(const pointed_row *r) { add_any(r, NNL_BOOL); }
static void add_bfloat16(const pointed_row *r) { add_any(r, NNL_BFLOAT16); }
static void add_float16(const pointed_row *r) { add_any(r, NNL_FLOAT16); }

static row_fn *const adding[NNL_DTYPE_COUNT] = {
    [NNL_FLOAT32] = add_float32,   [NNL_FLOAT64] = add_float64, [NNL_INT64] = add_int64,
    [NNL_INT32] = add_int32,       [NNL_UINT8] = add_uint8,     [NNL_BOOL] = add_bool,
    [NNL_BFLOAT16] = add_bfloat16, [NNL_FLOAT16] = add_float16};

static row_fn *reading(nnl_dtype dtype) {
    size_t size = nnl_dtype_size(dtype);
    return size == 4 ? read_32 : size == 8 ? read_64 : size == 2 ? read_16 : read_8;
}

static row_fn *writing(nnl_dtype dtype) {
    size_t size = nnl_dtype_size(dtype);
    return size == 4 ? write_32 : size == 8 ? write_64 : size == 2 ? write_16 : write_8;
}

// The rows of an index, with a contiguous tensor that has the elements (the index's shape, or larger) and one
// that has the places.
typedef struct pointing {
    row_fn *run;
    const int64_t *at;
    nnl_shape shape; // of the index
    int dim;
    int64_t own_stride[NNL_MAX_DIMS], place_stride[NNL_MAX_DIMS];
    char *own, *places;
    int64_t size, rows, part_rows;
    const nnl_pool *pool;
} pointing;

#define PART_ELEMENTS 16384

// Elements after which to look whether the host wants an end.
#define BETWEEN_QUESTIONS 65536

// Where row `number` starts in a tensor; places leave out the pointed dimension.
static void row_start(const pointing *p, int64_t number, int64_t *position, pointed_row *r) {
    int64_t own = 0, place = 0;
    for (int d = p->shape.ndim - 2; d >= 0; d--) {
        position[d] = number % p->shape.size[d];
        number /= p->shape.size[d];
        own += position[d] * p->own_stride[d];
        if (d != p->dim) place += position[d] * p->place_stride[d];
    }
    r->own = p->own + own * p->size;
    r->places = p->places + place * p->size;
}

static void next_row(const pointing *p, int64_t *position, pointed_row *r) {
    for (int d = p->shape.ndim - 2; d >= 0; d--) {
        bool wraps = ++position[d] == p->shape.size[d];
        int64_t steps = wraps ? 1 - p->shape.size[d] : 1;
        r->own = (char *)r->own + steps * p->own_stride[d] * p->size;
        if (d != p->dim) r->places = (char *)r->places + steps * p->place_stride[d] * p->size;
        if (!wraps) return;
        position[d] = 0;
    }
}

static void run_rows(void *arg, size_t part) {
    const pointing *p = arg;
    int last = p->shape.ndim - 1;
    int64_t position[NNL_MAX_DIMS], first = (int64_t)part * p->part_rows, end = first + p->part_rows;
    pointed_row r = {.n = (size_t)p->shape.size[last],
                     .at = p->at + first * p->shape.size[last],
                     .step = p->dim == last ? 0 : 1,
                     .jump = p->place_stride[p->dim]};
    row_start(p, first, position, &r);
    for (int64_t row = first; row < end && row < p->rows && !nnl_pool_stops(p->pool); row++, r.at += r.n) {
        p->run(&r);
        next_row(p, position, &r);
    }
}

// Rows are read in any order; they are written in their own where they may meet: within one position of the
// first dimension, or all of them where that is the pointed one.
static void point(nnl_context *ctx, row_fn *run, bool writes, const nnl_tensor *index, int dim,
                  const nnl_tensor *own, const nnl_tensor *places) {
    pointing p = {
        .run = run, .at = nnl_tensor_data(index), .shape = index->shape, .dim = dim, .pool = ctx->pool};
    p.own = nnl_tensor_data(own);
    p.places = nnl_tensor_data(places);
    p.size = (int64_t)nnl_dtype_size(own->dtype);
    nnl_shape_strides(&own->shape, p.own_stride);
    nnl_shape_strides(&places->shape, p.place_stride);
    if (p.shape.ndim == 0) {
        p.shape = (nnl_shape){1, {1}};
        p.own_stride[0] = p.place_stride[0] = 1;
    }
    int64_t numel = nnl_shape_numel(&p.shape), row = p.shape.size[p.shape.ndim - 1];
    if (numel == 0) return;
    p.rows = numel / row;
    int64_t grain = !writes ? 1 : dim == 0 ? p.rows : p.rows / p.shape.size[0];
    int64_t grains = PART_ELEMENTS / (row * grain);
    p.part_rows = grain * (grains > 0 ? grains : 1);
    nnl_pool_try(ctx->pool, (size_t)((p.rows + p.part_rows - 1) / p.part_rows), run_rows, &p);
}

static nnl_status check_pointing(nnl_context *ctx, const char *who, const nnl_tensor *x,
                                 const nnl_tensor *index, int dim) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    bool fits = x->shape.ndim == index->shape.ndim;
    for (int d = 0; fits && d < x->shape.ndim; d++)
        fits = d == dim || index->shape.size[d] <= x->shape.size[d];
    if (!fits) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: an index of shape %s does not fit a tensor of shape %s", who,
                        nnl_shape_text(&index->shape, a), nnl_shape_text(&x->shape, b));
    }
    return nnl_check_positions(ctx, who, index, x->shape.ndim > 0 ? x->shape.size[dim] : 1);
}

static nnl_tensor *gathered(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, int dim, nnl_tensor *index) {
    nnl_tensor *source = nnl_tensor_is_contiguous(x) ? nnl_tensor_retain(x) : nnl_clone(ctx, x);
    nnl_tensor *out = source ? nnl_tensor_new(ctx, x->dtype, &index->shape) : NULL;
    if (out) {
        point(ctx, reading(x->dtype), false, index, dim, out, source);
        if (place_record(ctx, op, x, index, out, dim, &x->shape) != NNL_OK) {
            nnl_tensor_release(out);
            out = NULL;
        }
    }
    nnl_tensor_release(source);
    return out;
}

static nnl_tensor *gather_at(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, int dim,
                             nnl_tensor *positions) {
    nnl_tensor *index = nnl_positions_of(ctx, op->name, positions), *out = NULL;
    if (index && check_pointing(ctx, op->name, x, index, dim) == NNL_OK)
        out = gathered(ctx, op, x, dim, index);
    nnl_tensor_release(index);
    return out;
}

static nnl_status gather_forward(nnl_context *ctx, nnl_call *call) {
    call->out[0] = gather_at(ctx, call->op, call->arg[0].tensor, (int)call->arg[1].i, call->arg[2].tensor);
    return call->out[0] ? NNL_OK : ctx->status;
}

// What x and the index broadcast to, each with its own size along dim.
static nnl_status along_shapes(nnl_context *ctx, const nnl_tensor *x, const nnl_tensor *index, int dim,
                               nnl_shape *of_x, nnl_shape *of_index) {
    if (x->shape.ndim != index->shape.ndim) {
        char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
        return nnl_fail(
            ctx, NNL_ERR_SHAPE,
            "take_along: expected as many dimensions as the tensor of shape %s has, got positions of "
            "shape %s",
            nnl_shape_text(&x->shape, a), nnl_shape_text(&index->shape, b));
    }
    nnl_shape rest = *of_index = index->shape;
    if (rest.ndim > 0) rest.size[dim] = x->shape.size[dim];
    nnl_status status = nnl_shape_broadcast(ctx, "take_along", &x->shape, &rest, of_x);
    for (int d = 0; d < rest.ndim && status == NNL_OK; d++) {
        if (d != dim) of_index->size[d] = of_x->size[d];
    }
    return status;
}

// x:take_along(index, [dim]): without a dim, both flattened
static nnl_status take_along_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor, *index = call->arg[1].tensor;
    int dim = call->arg[2].given ? (int)call->arg[2].i : 0;
    nnl_shape of_x = {.ndim = 1, .size = {nnl_tensor_numel(x)}};
    nnl_shape of_index = {.ndim = 1, .size = {nnl_tensor_numel(index)}};
    if (call->arg[2].given && along_shapes(ctx, x, index, dim, &of_x, &of_index) != NNL_OK)
        return ctx->status;
    bool flat = !call->arg[2].given;
    nnl_tensor *wide = flat ? nnl_reshape(ctx, x, &of_x) : nnl_expand(ctx, x, &of_x), *at = NULL;
    if (wide) at = flat ? nnl_reshape(ctx, index, &of_index) : nnl_expand(ctx, index, &of_index);
    if (at) call->out[0] = gather_at(ctx, call->op, wide, dim, at);
    nnl_tensor_release(wide);
    nnl_tensor_release(at);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_status gather_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    const place_state *s = node->state;
    dx[0] = nnl_ungather(ctx, dout[0], s->dim, nnl_node_saved(node, 0), &s->shape);
    return dx[0] ? NNL_OK : ctx->status;
}

static nnl_tensor *gather_again(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index);

static nnl_status ungather_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                    nnl_tensor **dx) {
    const place_state *s = node->state;
    dx[0] = gather_again(ctx, dout[0], s->dim, nnl_node_saved(node, 0));
    return dx[0] ? NNL_OK : ctx->status;
}

static const nnl_op ungather_record = {.name = "scatter_add", .outputs = 1, .backward = ungather_backward};

nnl_tensor *nnl_ungather(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index,
                         const nnl_shape *shape) {
    nnl_tensor *source = nnl_tensor_is_contiguous(x) ? nnl_tensor_retain(x) : nnl_clone(ctx, x);
    nnl_tensor *out = source ? nnl_tensor_new(ctx, x->dtype, shape) : NULL;
    if (out) {
        nnl_try_fill(out, nnl_number_int(0));
        point(ctx, adding[x->dtype], true, index, dim, source, out);
        if (place_record(ctx, &ungather_record, x, index, out, dim, shape) != NNL_OK) {
            nnl_tensor_release(out);
            out = NULL;
        }
    }
    nnl_tensor_release(source);
    return out;
}

// ---- scatter (variant 0: replaces) and scatter_add (variant 1)

// The source as a contiguous tensor of x's dtype: the argument, or its number repeated.
static nnl_tensor *scatter_source(nnl_context *ctx, const nnl_call *call, const nnl_tensor *index) {
    const nnl_arg *arg = &call->arg[3];
    nnl_dtype dtype = call->arg[0].tensor->dtype;
    if (arg->is_number) {
        nnl_tensor *filled = nnl_tensor_new(ctx, dtype, &index->shape);
        if (filled) nnl_try_fill(filled, arg->number);
        return filled;
    }
    if (arg->tensor->dtype != dtype) {
        return nnl_fail_null(ctx, NNL_ERR_DTYPE, "%s: expected a source of %s, got %s", call->op->name,
                             nnl_dtype_get(dtype)->name, nnl_dtype_get(arg->tensor->dtype)->name);
    }
    bool fits = arg->tensor->shape.ndim == index->shape.ndim;
    for (int d = 0; fits && d < index->shape.ndim; d++)
        fits = index->shape.size[d] <= arg->tensor->shape.size[d];
    if (!fits) {
        char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
        return nnl_fail_null(ctx, NNL_ERR_SHAPE, "%s: an index of shape %s does not fit a source of shape %s",
                             call->op->name, nnl_shape_text(&index->shape, a),
                             nnl_shape_text(&arg->tensor->shape, b));
    }
    return nnl_contiguous(ctx, arg->tensor);
}

static nnl_status scatter_into(nnl_context *ctx, nnl_call *call, nnl_tensor *index, nnl_tensor *src) {
    nnl_tensor *x = call->arg[0].tensor;
    int dim = (int)call->arg[1].i;
    nnl_tensor *out = nnl_tensor_new(ctx, x->dtype, &x->shape);
    if (!out) return ctx->status;
    nnl_try_copy(out, x);
    row_fn *run = call->op->variant == 0 ? writing(x->dtype) : adding[x->dtype];
    point(ctx, run, true, index, dim, src, out);
    call->out[0] = out;
    place_state state = {.dim = dim, .shape = src->shape};
    nnl_tensor *given = call->arg[3].is_number ? NULL : call->arg[3].tensor;
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 2,
                                            .inputs = (nnl_tensor *const[]){x, given},
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .n_saved = 1,
                                            .saved = {index},
                                            .state = &state,
                                            .state_size = sizeof state});
}

static nnl_status scatter_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *index = nnl_positions_of(ctx, call->op->name, call->arg[2].tensor);
    if (!index) return ctx->status;
    nnl_status status = check_pointing(ctx, call->op->name, call->arg[0].tensor, index, (int)call->arg[1].i);
    nnl_tensor *src = status == NNL_OK ? scatter_source(ctx, call, index) : NULL;
    if (status == NNL_OK) status = src ? scatter_into(ctx, call, index, src) : ctx->status;
    nnl_tensor_release(src);
    nnl_tensor_release(index);
    return status;
}

// The gradient of a source larger than the index is 0 beyond it.
static nnl_tensor *padded(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape) {
    if (nnl_shape_equal(&x->shape, shape)) return nnl_tensor_retain(x);
    nnl_part corner = {.whole = *shape, .shape = x->shape};
    nnl_shape_strides(shape, corner.whole_stride);
    memcpy(corner.stride, corner.whole_stride, sizeof corner.stride);
    return nnl_part_spread(ctx, x, &corner);
}

// x with zeros where scatter wrote.
static nnl_tensor *scatter_zeros(nnl_context *ctx, const nnl_op *scatter, nnl_tensor *x, int dim,
                                 nnl_tensor *index) {
    nnl_call call;
    nnl_call_init(&call, scatter);
    call.arg[0].tensor = x;
    call.arg[1].i = dim;
    call.arg[2].tensor = index;
    call.arg[3].is_number = true;
    call.arg[3].number = nnl_number_int(0);
    return nnl_call_result(ctx, &call);
}

static nnl_status scatter_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    const place_state *s = node->state;
    nnl_tensor *index = nnl_node_saved(node, 0);
    if (nnl_node_needs(node, 0)) {
        bool adds = node->op->variant == 1;
        dx[0] = adds ? nnl_tensor_retain(dout[0]) : scatter_zeros(ctx, node->op, dout[0], s->dim, index);
        if (!dx[0]) return ctx->status;
    }
    if (!nnl_node_needs(node, 1)) return NNL_OK;
    nnl_tensor *part = gather_again(ctx, dout[0], s->dim, index);
    dx[1] = part ? padded(ctx, part, &s->shape) : NULL;
    nnl_tensor_release(part);
    return dx[1] ? NNL_OK : ctx->status;
}

// ---- masks

// The positions (from 1) where a mask holds, in the order of the flattened tensor. Returns new.
nnl_tensor *nnl_true_positions(nnl_context *ctx, nnl_tensor *mask) {
    nnl_tensor *flat = nnl_contiguous(ctx, mask);
    if (!flat) return NULL;
    const uint8_t *truth = nnl_tensor_data(flat);
    int64_t numel = nnl_tensor_numel(flat), count = 0;
    for (int64_t i = 0; i < numel; i++) count += truth[i] != 0;
    nnl_tensor *out = nnl_tensor_new(ctx, NNL_INT64, &(nnl_shape){.ndim = 1, .size = {count}});
    int64_t *at = out ? nnl_tensor_data(out) : NULL;
    bool stopped = false;
    for (int64_t i = 0; at && i < numel && !stopped; i++) {
        if (truth[i]) *at++ = i + 1;
        stopped = i % BETWEEN_QUESTIONS == BETWEEN_QUESTIONS - 1 && nnl_pool_stops(ctx->pool);
    }
    nnl_tensor_release(flat);
    if (!stopped) return out;
    nnl_tensor_release(out);
    (void)nnl_check_stop(ctx, "mask");
    return NULL;
}

static nnl_tensor *select_true(nnl_context *ctx, nnl_tensor *x, nnl_tensor *mask, const nnl_shape *shape) {
    nnl_tensor *wide_mask = nnl_expand(ctx, mask, shape);
    nnl_tensor *wide = wide_mask ? nnl_expand(ctx, x, shape) : NULL;
    nnl_tensor *at = wide ? nnl_true_positions(ctx, wide_mask) : NULL;
    nnl_tensor *flat =
        at ? nnl_reshape(ctx, wide, &(nnl_shape){.ndim = 1, .size = {nnl_shape_numel(shape)}}) : NULL;
    nnl_tensor *out = flat ? nnl_index_select(ctx, flat, 0, at) : NULL;
    nnl_tensor_release(wide_mask);
    nnl_tensor_release(wide);
    nnl_tensor_release(at);
    nnl_tensor_release(flat);
    return out;
}

static nnl_status masked_select_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor, *mask = call->arg[1].tensor;
    nnl_shape shape;
    if (mask->dtype != NNL_BOOL) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "masked_select: expected a bool tensor as the mask, got %s",
                        nnl_dtype_get(mask->dtype)->name);
    }
    nnl_status status = nnl_shape_broadcast(ctx, "masked_select", &x->shape, &mask->shape, &shape);
    if (status != NNL_OK) return status;
    call->out[0] = select_true(ctx, x, mask, &shape);
    return call->out[0] ? NNL_OK : ctx->status;
}

// ---- one_hot

// As many classes as the largest label asks for; labels that are none are an error.
static nnl_status count_classes(nnl_context *ctx, const nnl_tensor *labels, int64_t *classes) {
    const int64_t *label = nnl_tensor_data(labels);
    int64_t n = nnl_tensor_numel(labels), largest = 0;
    if (*classes >= 0) return nnl_check_positions(ctx, "one_hot", labels, *classes);
    if (*classes != -1 || n == 0) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "one_hot: the number of classes must be given, and not be negative");
    }
    for (int64_t i = 0; i < n; i++) largest = label[i] > largest ? label[i] : largest;
    *classes = largest;
    return nnl_check_positions(ctx, "one_hot", labels, largest);
}

static nnl_status one_hot_rows(nnl_context *ctx, nnl_call *call, const nnl_tensor *labels) {
    nnl_shape shape = labels->shape;
    int64_t classes = call->arg[1].i, n = nnl_tensor_numel(labels);
    const int64_t *label = nnl_tensor_data(labels);
    if (shape.ndim == NNL_MAX_DIMS) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "one_hot: no more than %d dimensions", NNL_MAX_DIMS);
    }
    nnl_status status = count_classes(ctx, labels, &classes);
    if (status != NNL_OK) return status;
    shape.size[shape.ndim++] = classes;
    call->out[0] = nnl_tensor_new(ctx, NNL_INT64, &shape);
    if (!call->out[0]) return ctx->status;
    nnl_try_fill(call->out[0], nnl_number_int(0));
    int64_t *row = nnl_tensor_data(call->out[0]);
    for (int64_t i = 0; i < n && !nnl_pool_stops(ctx->pool); i++) row[i * classes + label[i] - 1] = 1;
    return NNL_OK;
}

// nn.one_hot(labels, [num_classes])
static nnl_status one_hot_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *labels = nnl_positions_of(ctx, "one_hot", call->arg[0].tensor);
    nnl_status status = labels ? one_hot_rows(ctx, call, labels) : ctx->status;
    nnl_tensor_release(labels);
    return status;
}

// ---- the table

#define TENSOR(name)                                                                                         \
    { name, NNL_ARG_TENSOR, false, 0, NULL }
#define DIM                                                                                                  \
    { "dim", NNL_ARG_DIM, false, 0, NULL }

enum { INDEX_SELECT, GATHER };

const nnl_op nnl_gather_records[] = {
    [INDEX_SELECT] = {.name = "index_select",
                      .doc = "the slices of a dimension at the given positions (int64, from 1)",
                      .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
                      .outputs = 1,
                      .params = {TENSOR("input"), DIM, TENSOR("index")},
                      .forward = index_select_forward,
                      .backward = index_select_backward},
    [GATHER] =
        {.name = "gather",
         .doc =
             "out[i][j] = x[index[i][j]][j] along dimension 1, and likewise along others; the index's shape",
         .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
         .outputs = 1,
         .params = {TENSOR("input"), DIM, TENSOR("index")},
         .forward = gather_forward,
         .backward = gather_backward},
    {.name = "take_along",
     .doc = "as gather with the index first, which broadcasts with the tensor outside of dim; without dim, "
            "both are "
            "flattened",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {TENSOR("input"), TENSOR("index"), {"dim", NNL_ARG_DIM, true, 0, NULL}},
     .forward = take_along_forward,
     .backward = gather_backward},
    {.name = "scatter",
     .doc = "a copy with out[index[i][j]][j] = src[i][j] along dimension 1, and likewise along others",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY,
     .outputs = 1,
     .params = {TENSOR("input"), DIM, TENSOR("index"), {"src", NNL_ARG_VALUE, false, 0, NULL}},
     .forward = scatter_forward,
     .backward = scatter_backward},
    {.name = "scatter_add",
     .doc = "as scatter, but what is there is added to",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY,
     .outputs = 1,
     .params = {TENSOR("input"), DIM, TENSOR("index"), {"src", NNL_ARG_VALUE, false, 0, NULL}},
     .forward = scatter_forward,
     .backward = scatter_backward,
     .variant = 1},
    {.name = "masked_select",
     .doc = "the elements where the mask (bool) holds, as one dimension",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {TENSOR("input"), TENSOR("mask")},
     .forward = masked_select_forward},
    {.name = "one_hot",
     .doc = "labels (*) from 1 as rows (*, num_classes) of int64, 0 but for a 1 at the label; as many as the "
            "largest "
            "label where num_classes is left out",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {TENSOR("input"), {"num_classes", NNL_ARG_INT, true, -1, NULL}},
     .forward = one_hot_forward},
    {.name = NULL},
};

static nnl_tensor *by_index(nnl_context *ctx, int record, nnl_tensor *x, int dim, nnl_tensor *index) {
    nnl_call call;
    nnl_call_init(&call, &nnl_gather_records[record]);
    call.arg[0].tensor = x;
    call.arg[1].i = dim;
    call.arg[2].tensor = index;
    return nnl_call_result(ctx, &call);
}

nnl_tensor *nnl_index_select(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index) {
    return by_index(ctx, INDEX_SELECT, x, dim, index);
}

static nnl_tensor *gather_again(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index) {
    return by_index(ctx, GATHER, x, dim, index);
}
