// gather.c: reading and writing at positions that are data themselves: index_select, gather, scatter, masks.
// Positions count from 1.
#include "grad/part.h"

#include <string.h>

typedef struct place_state {
    int dim;
    nnl_shape shape; // of the tensor read from or written to
} place_state;

nnl_tensor *nnl_positions(nnl_context *ctx, const char *who, nnl_tensor *index) {
    nnl_dtype_kind kind = nnl_dtype_get(index->dtype)->kind;
    if (kind != NNL_KIND_INT) {
        return nnl_fail_null(ctx, NNL_ERR_DTYPE, "%s: expected positions as an int64 tensor, got %s", who,
                             nnl_dtype_get(index->dtype)->name);
    }
    if (index->dtype == NNL_INT64 && nnl_tensor_is_contiguous(index)) return nnl_tensor_retain(index);
    nnl_tensor *copy = nnl_tensor_new(ctx, NNL_INT64, &index->shape);
    if (copy) nnl_apply_copy(copy, index);
    return copy;
}

nnl_status nnl_check_positions(nnl_context *ctx, const char *who, const nnl_tensor *index, int64_t size) {
    const int64_t *at = nnl_tensor_data(index);
    int64_t n = nnl_tensor_numel(index);
    for (int64_t i = 0; i < n; i++) {
        if (at[i] >= 1 && at[i] <= size) continue;
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "%s: position %lld (element %lld of the index) is not within 1 to %lld", who,
                        (long long)at[i], (long long)(i + 1), (long long)size);
    }
    return NNL_OK;
}

// ---- index_select: whole slices, and their way back

typedef struct slices {
    const int64_t *at;
    const char *from;
    char *to;
    size_t outer, n, size, bytes; // positions, size of the dimension, bytes of one slice
    size_t step;
} slices;

static void copy_part(void *arg, size_t part) {
    const slices *s = arg;
    size_t total = s->outer * s->n, last = (part + 1) * s->step < total ? (part + 1) * s->step : total;
    for (size_t i = part * s->step; i < last; i++) {
        size_t block = i / s->n, source = (size_t)(s->at[i % s->n] - 1);
        memcpy(s->to + i * s->bytes, s->from + (block * s->size + source) * s->bytes, s->bytes);
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
        if (s.bytes > 0) nnl_pool_run(ctx->pool, (s.outer * s.n + s.step - 1) / s.step, copy_part, &s);
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
    nnl_tensor *index = nnl_positions(ctx, "index_select", call->arg[2].tensor);
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

static nnl_tensor *add_slices(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index,
                              const nnl_shape *shape);

static nnl_status index_select_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                        nnl_tensor **dx) {
    const place_state *s = node->state;
    dx[0] = add_slices(ctx, dout[0], s->dim, nnl_node_saved(node, 0), &s->shape);
    return dx[0] ? NNL_OK : ctx->status;
}

static nnl_status add_slices_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                      nnl_tensor **dx) {
    const place_state *s = node->state;
    dx[0] = nnl_index_select(ctx, dout[0], s->dim, nnl_node_saved(node, 0));
    return dx[0] ? NNL_OK : ctx->status;
}

static const nnl_op add_slices_record = {.name = "index_add", .outputs = 1, .backward = add_slices_backward};

// Zeros of a shape, with the slices of x added at their positions, in order.
static nnl_tensor *add_slices(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index,
                              const nnl_shape *shape) {
    nnl_tensor *source = nnl_tensor_is_contiguous(x) ? nnl_tensor_retain(x) : nnl_clone(ctx, x);
    nnl_tensor *out = source ? nnl_tensor_new(ctx, x->dtype, shape) : NULL;
    nnl_compute type = nnl_tensor_compute(x);
    nnl_binary_fn *add = ctx->kernels->elementwise->binary[NNL_BINARY_add][type];
    if (out) {
        nnl_apply_fill(out, nnl_number_int(0));
        slices s = slices_of(out, dim, index);
        const char *from = nnl_tensor_data(source);
        char *to = nnl_tensor_data(out);
        size_t count = s.bytes / nnl_dtype_size(x->dtype);
        for (size_t i = 0; i < s.outer * s.n; i++) {
            char *row = to + (i / s.n * s.size + (size_t)(s.at[i % s.n] - 1)) * s.bytes;
            add(count, row, row, from + i * s.bytes);
        }
        if (place_record(ctx, &add_slices_record, x, index, out, dim, &x->shape) != NNL_OK) {
            nnl_tensor_release(out);
            out = NULL;
        }
    }
    nnl_tensor_release(source);
    return out;
}

// ---- gather and scatter: element by element

// Walks the elements of the index tensor in order: calls with the element's own place (`local`, contiguous)
// and the offset that it points to in a contiguous tensor of `shape`.
typedef struct pointing {
    const int64_t *at;
    int ndim, dim;
    nnl_shape index_shape;
    int64_t stride[NNL_MAX_DIMS]; // of the tensor pointed into
    int64_t position[NNL_MAX_DIMS];
    int64_t base; // offset without the pointed dimension
} pointing;

static pointing pointing_start(const nnl_tensor *index, int dim, const nnl_shape *shape) {
    pointing p = {.at = nnl_tensor_data(index), .ndim = shape->ndim, .dim = dim, .index_shape = index->shape};
    nnl_shape_strides(shape, p.stride);
    return p;
}

static int64_t pointing_target(const pointing *p, int64_t local) {
    return p->ndim == 0 ? 0 : p->base + (p->at[local] - 1) * p->stride[p->dim];
}

static void pointing_next(pointing *p) {
    for (int d = p->ndim - 1; d >= 0; d--) {
        int64_t step = d == p->dim ? 0 : p->stride[d];
        if (++p->position[d] < p->index_shape.size[d]) {
            p->base += step;
            return;
        }
        p->base -= step * (p->index_shape.size[d] - 1);
        p->position[d] = 0;
    }
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
        size_t size = nnl_dtype_size(x->dtype);
        const char *from = nnl_tensor_data(source);
        char *to = nnl_tensor_data(out);
        pointing p = pointing_start(index, dim, &x->shape);
        for (int64_t i = 0, n = nnl_tensor_numel(index); i < n; i++, pointing_next(&p)) {
            memcpy(to + (size_t)i * size, from + (size_t)pointing_target(&p, i) * size, size);
        }
        if (place_record(ctx, op, x, index, out, dim, &x->shape) != NNL_OK) {
            nnl_tensor_release(out);
            out = NULL;
        }
    }
    nnl_tensor_release(source);
    return out;
}

static nnl_status gather_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    int dim = (int)call->arg[1].i;
    nnl_tensor *index = nnl_positions(ctx, call->op->name, call->arg[2].tensor);
    if (!index) return ctx->status;
    nnl_status status = check_pointing(ctx, call->op->name, x, index, dim);
    if (status == NNL_OK) {
        call->out[0] = gathered(ctx, call->op, x, dim, index);
        if (!call->out[0]) status = ctx->status;
    }
    nnl_tensor_release(index);
    return status;
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

// Adds the elements of src (contiguous, the index's shape at least) to `out` at the places pointed to.
static void add_elements(nnl_tensor *out, const nnl_tensor *src, const nnl_tensor *index, int dim,
                         bool replace) {
    size_t size = nnl_dtype_size(out->dtype);
    char *to = nnl_tensor_data(out);
    pointing p = pointing_start(index, dim, &out->shape), q = pointing_start(index, -1, &src->shape);
    for (int64_t i = 0, n = nnl_tensor_numel(index); i < n; i++, pointing_next(&p), pointing_next(&q)) {
        void *target = to + (size_t)pointing_target(&p, i) * size;
        const void *value = (const char *)nnl_tensor_data(src) + (size_t)q.base * size;
        if (replace) {
            memcpy(target, value, size);
        } else if (out->dtype == NNL_FLOAT32) {
            *(float *)target += *(const float *)value;
        } else {
            nnl_number a = nnl_element_read(out->dtype, target), b = nnl_element_read(out->dtype, value);
            bool whole = a.is_int && b.is_int;
            int64_t sum = (int64_t)((uint64_t)a.i + (uint64_t)b.i);
            nnl_element_write(out->dtype, target, whole ? nnl_number_int(sum) : nnl_number_float(a.d + b.d));
        }
    }
}

nnl_tensor *nnl_ungather(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index,
                         const nnl_shape *shape) {
    nnl_tensor *source = nnl_tensor_is_contiguous(x) ? nnl_tensor_retain(x) : nnl_clone(ctx, x);
    nnl_tensor *out = source ? nnl_tensor_new(ctx, x->dtype, shape) : NULL;
    if (out) {
        nnl_apply_fill(out, nnl_number_int(0));
        add_elements(out, source, index, dim, false);
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
        if (filled) nnl_apply_fill(filled, arg->number);
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
    nnl_apply_copy(out, x);
    add_elements(out, src, index, dim, call->op->variant == 0);
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
    nnl_tensor *index = nnl_positions(ctx, call->op->name, call->arg[2].tensor);
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
    for (int64_t i = 0; at && i < numel; i++) {
        if (truth[i]) *at++ = i + 1;
    }
    nnl_tensor_release(flat);
    return out;
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
    {.name = "scatter",
     .doc = "a copy with out[index[i][j]][j] = src[i][j] along dimension 1, and likewise along others",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY,
     .outputs = 1,
     .params = {TENSOR("input"), DIM, TENSOR("index"), {"src", NNL_ARG_OPERAND, false, 0, NULL}},
     .forward = scatter_forward,
     .backward = scatter_backward},
    {.name = "scatter_add",
     .doc = "as scatter, but what is there is added to",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY,
     .outputs = 1,
     .params = {TENSOR("input"), DIM, TENSOR("index"), {"src", NNL_ARG_OPERAND, false, 0, NULL}},
     .forward = scatter_forward,
     .backward = scatter_backward,
     .variant = 1},
    {.name = "masked_select",
     .doc = "the elements where the mask (bool) holds, as one dimension",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {TENSOR("input"), TENSOR("mask")},
     .forward = masked_select_forward},
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
