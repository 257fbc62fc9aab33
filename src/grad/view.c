// view.c: operations that look at the same memory with other sizes and strides. Each is a function that
// computes the view (`viewed`) and a backward that undoes it.
#include "grad/records.h"

#include <string.h>

// What backward needs to know of a view.
typedef struct view_state {
    nnl_shape shape; // of the input
    int a, b;
    int64_t start, length, step;
    int order[NNL_MAX_DIMS];
} view_state;

static nnl_status view_done(nnl_context *ctx, nnl_call *call, nnl_tensor *x, nnl_tensor *out,
                            view_state *state) {
    if (!out) return ctx->status;
    call->out[0] = out;
    state->shape = x->shape;
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .state = state,
                                            .state_size = sizeof *state});
}

static nnl_status gave(nnl_context *ctx, nnl_tensor **dx, nnl_tensor *x) {
    *dx = x;
    return x ? NNL_OK : ctx->status;
}

// ---- reshape and its kin

// Strides for another shape over the same elements: each new dimension must lie within a run of old
// dimensions that are contiguous with one another. False where it does not.
static bool strides_for(const nnl_tensor *x, const nnl_shape *shape, int64_t *stride) {
    int old = x->shape.ndim - 1, new = shape->ndim - 1;
    while (old >= 0) {
        int64_t step = x->stride[old], run = x->shape.size[old];
        while (old > 0 && (x->shape.size[old - 1] == 1 || x->stride[old - 1] == run * step))
            run *= x->shape.size[--old];
        int64_t filled = 1;
        while (new >= 0 && (filled < run || shape->size[new] == 1)) {
            stride[new] = step * filled;
            filled *= shape->size[new --];
        }
        if (filled != run) return false;
        old--;
    }
    while (new >= 0) stride[new --] = 1;
    return true;
}

// A view of another shape; NULL without an error where strides do not allow one.
static nnl_tensor *reshaped_view(const nnl_tensor *x, const nnl_shape *shape) {
    int64_t stride[NNL_MAX_DIMS];
    if (nnl_tensor_numel(x) == 0 || nnl_tensor_is_contiguous(x)) {
        nnl_shape_strides(shape, stride);
    } else if (!strides_for(x, shape, stride)) {
        nnl_error_clear(x->ctx);
        return NULL;
    }
    return nnl_tensor_alias(x, shape, stride, x->offset);
}

// Fills in the one size given as -1.
static nnl_status complete_shape(nnl_context *ctx, const char *who, const nnl_tensor *x, nnl_shape *shape) {
    char from[NNL_SHAPE_TEXT], to[NNL_SHAPE_TEXT];
    int64_t known = 1, numel = nnl_tensor_numel(x);
    int open = -1;
    bool huge = false;
    nnl_shape asked = *shape;
    for (int d = 0; d < shape->ndim; d++) {
        if (shape->size[d] >= 0) {
            huge = huge || __builtin_mul_overflow(known, shape->size[d], &known);
        } else if (shape->size[d] == -1 && open < 0) {
            open = d;
        } else {
            return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: shape %s may have one -1 and no other negative size",
                            who, nnl_shape_text(&asked, to));
        }
    }
    if (open >= 0 && !huge && known > 0 && numel % known == 0) {
        shape->size[open] = numel / known;
        return NNL_OK;
    }
    if (open < 0 && !huge && known == numel) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: %lld elements of shape %s do not make shape %s", who,
                    (long long)numel, nnl_shape_text(&x->shape, from), nnl_shape_text(&asked, to));
}

static nnl_status reshape_to(nnl_context *ctx, nnl_call *call, nnl_tensor *x, const nnl_shape *shape,
                             bool may_copy) {
    char from[NNL_SHAPE_TEXT], to[NNL_SHAPE_TEXT];
    view_state state = {.a = 0};
    nnl_tensor *out = reshaped_view(x, shape);
    if (!out && ctx->status == NNL_OK && may_copy) {
        nnl_tensor *copy = nnl_tensor_new(ctx, x->dtype, &x->shape);
        if (copy) nnl_try_copy(copy, x);
        out = copy ? reshaped_view(copy, shape) : NULL;
        nnl_tensor_release(copy);
        if (out) nnl_tensor_stand_alone(out); // no view: what is before it in the graph is x
    } else if (!out && ctx->status == NNL_OK) {
        return nnl_fail(ctx, NNL_ERR_SHAPE,
                        "%s: the strides of shape %s do not allow a view of shape %s; use reshape",
                        call->op->name, nnl_shape_text(&x->shape, from), nnl_shape_text(shape, to));
    }
    return view_done(ctx, call, x, out, &state);
}

static nnl_status reshape_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_shape shape = *call->arg[1].list;
    nnl_status status = complete_shape(ctx, call->op->name, x, &shape);
    return status == NNL_OK ? reshape_to(ctx, call, x, &shape, call->op->variant) : status;
}

static nnl_status reshape_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    const view_state *state = node->state;
    return gave(ctx, &dx[0], nnl_reshape(ctx, dout[0], &state->shape));
}

// x:flatten(start_dim, end_dim)
static nnl_status flatten_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    int first = (int)call->arg[1].i, last = (int)call->arg[2].i;
    if (last < 0) last += x->shape.ndim;
    nnl_shape shape = {.ndim = 0};
    if (x->shape.ndim == 0) return reshape_to(ctx, call, x, &(nnl_shape){.ndim = 1, .size = {1}}, true);
    if (first > last) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "flatten: start_dim %d comes after end_dim %d", first + 1,
                        last + 1);
    }
    for (int d = 0; d < x->shape.ndim; d++) {
        if (d > first && d <= last) {
            shape.size[shape.ndim - 1] *= x->shape.size[d];
        } else {
            shape.size[shape.ndim++] = x->shape.size[d];
        }
    }
    return reshape_to(ctx, call, x, &shape, true);
}

// x:unflatten(dim, sizes)
static nnl_status unflatten_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    int dim = (int)call->arg[1].i;
    const nnl_shape *sizes = call->arg[2].list;
    if (x->shape.ndim + sizes->ndim - 1 > NNL_MAX_DIMS || sizes->ndim == 0 || x->shape.ndim == 0) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "unflatten: expected 1 to %d dimensions", NNL_MAX_DIMS);
    }
    nnl_shape shape = {.ndim = 0};
    for (int d = 0; d < dim; d++) shape.size[shape.ndim++] = x->shape.size[d];
    for (int k = 0; k < sizes->ndim; k++) shape.size[shape.ndim++] = sizes->size[k];
    for (int d = dim + 1; d < x->shape.ndim; d++) shape.size[shape.ndim++] = x->shape.size[d];
    nnl_status status = complete_shape(ctx, "unflatten", x, &shape);
    return status == NNL_OK ? reshape_to(ctx, call, x, &shape, true) : status;
}

static nnl_status unsqueeze_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    int dim = (int)call->arg[1].i, ndim = x->shape.ndim;
    if (ndim == NNL_MAX_DIMS)
        return nnl_fail(ctx, NNL_ERR_SHAPE, "unsqueeze: no more than %d dimensions", NNL_MAX_DIMS);
    nnl_shape shape = {.ndim = ndim + 1};
    int64_t stride[NNL_MAX_DIMS];
    for (int d = 0; d <= ndim; d++) {
        int from = d < dim ? d : d - 1;
        shape.size[d] = d == dim ? 1 : x->shape.size[from];
        stride[d] = d == dim ? 1 : x->stride[from];
    }
    view_state state = {.a = dim};
    return view_done(ctx, call, x, nnl_tensor_alias(x, &shape, stride, x->offset), &state);
}

// x:squeeze([dims]): without dimensions of size 1
static nnl_status squeeze_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    bool dropped[NNL_MAX_DIMS];
    nnl_status status = nnl_call_dims(ctx, call, 1, x, dropped);
    if (status != NNL_OK) return status;
    nnl_shape shape = {.ndim = 0};
    int64_t stride[NNL_MAX_DIMS];
    for (int d = 0; d < x->shape.ndim; d++) {
        if (dropped[d] && x->shape.size[d] == 1) continue;
        stride[shape.ndim] = x->stride[d];
        shape.size[shape.ndim++] = x->shape.size[d];
    }
    view_state state = {.a = 0};
    return view_done(ctx, call, x, nnl_tensor_alias(x, &shape, stride, x->offset), &state);
}

// ---- transpose, permute

static nnl_status permuted(nnl_context *ctx, nnl_call *call, nnl_tensor *x, const int *order) {
    nnl_shape shape = {.ndim = x->shape.ndim};
    int64_t stride[NNL_MAX_DIMS];
    view_state state = {.a = 0};
    for (int d = 0; d < shape.ndim; d++) {
        shape.size[d] = x->shape.size[order[d]];
        stride[d] = x->stride[order[d]];
        state.order[order[d]] = d;
    }
    return view_done(ctx, call, x, nnl_tensor_alias(x, &shape, stride, x->offset), &state);
}

static nnl_status permute_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    const view_state *state = node->state;
    return gave(ctx, &dx[0], nnl_permute(ctx, dout[0], state->order));
}

static nnl_status swapped(nnl_context *ctx, nnl_call *call, nnl_tensor *x, int a, int b) {
    int order[NNL_MAX_DIMS];
    for (int d = 0; d < x->shape.ndim; d++) order[d] = d == a ? b : d == b ? a : d;
    return permuted(ctx, call, x, order);
}

static nnl_status transpose_forward(nnl_context *ctx, nnl_call *call) {
    return swapped(ctx, call, call->arg[0].tensor, (int)call->arg[1].i, (int)call->arg[2].i);
}

// x:t(): a matrix turned; vectors stay
static nnl_status t_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    char text[NNL_SHAPE_TEXT];
    if (x->shape.ndim > 2) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "t: expected at most 2 dimensions, got shape %s; use transpose",
                        nnl_shape_text(&x->shape, text));
    }
    return swapped(ctx, call, x, 0, x->shape.ndim - 1);
}

static nnl_status permute_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    const nnl_shape *dims = call->arg[1].list;
    int order[NNL_MAX_DIMS];
    bool seen[NNL_MAX_DIMS] = {false};
    bool valid = dims->ndim == x->shape.ndim;
    for (int d = 0; d < dims->ndim && valid; d++) {
        order[d] = (int)dims->size[d];
        valid = !seen[order[d]];
        seen[order[d]] = true;
    }
    if (!valid) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "permute: expected each of the %d dimensions once",
                        x->shape.ndim);
    }
    return permuted(ctx, call, x, order);
}

// ---- expand

static nnl_status expand_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_shape shape = *call->arg[1].list;
    int64_t stride[NNL_MAX_DIMS];
    char from[NNL_SHAPE_TEXT], to[NNL_SHAPE_TEXT];
    int missing = shape.ndim - x->shape.ndim;
    for (int d = 0; d < shape.ndim; d++) {
        int64_t size = d < missing ? 1 : x->shape.size[d - missing];
        if (shape.size[d] == -1 && d >= missing) shape.size[d] = size;
        stride[d] = size == 1 && shape.size[d] != 1 ? 0 : d < missing ? 1 : x->stride[d - missing];
    }
    if (missing < 0 || !nnl_shape_broadcasts_to(&x->shape, &shape)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "expand: shape %s cannot become %s",
                        nnl_shape_text(&x->shape, from), nnl_shape_text(&shape, to));
    }
    nnl_status status = nnl_shape_check(ctx, "expand", &shape, nnl_dtype_size(x->dtype));
    if (status != NNL_OK) return status;
    view_state state = {.a = 0};
    return view_done(ctx, call, x, nnl_tensor_alias(x, &shape, stride, x->offset), &state);
}

// The walk sums the gradient to the input's shape.
static nnl_status expand_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    (void)ctx, (void)node;
    dx[0] = nnl_tensor_retain(dout[0]);
    return NNL_OK;
}

// ---- slices

// The gradient of a slice: zeros with it put where it came from. `unslice` is an operation of its own.
static nnl_tensor *unslice(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape, int dim, int64_t start,
                           int64_t step);

static nnl_status sliced(nnl_context *ctx, nnl_call *call, nnl_tensor *x, int dim, int64_t start,
                         int64_t length, int64_t step) {
    nnl_shape shape = x->shape;
    int64_t stride[NNL_MAX_DIMS];
    memcpy(stride, x->stride, sizeof stride);
    shape.size[dim] = length;
    stride[dim] *= step;
    int64_t offset = length > 0 ? x->offset + start * x->stride[dim] : x->offset;
    view_state state = {.a = dim, .start = start, .length = length, .step = step};
    return view_done(ctx, call, x, nnl_tensor_alias(x, &shape, stride, offset), &state);
}

static nnl_status slice_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const view_state *s = node->state;
    return gave(ctx, &dx[0], unslice(ctx, dout[0], &s->shape, s->a, s->start, s->step));
}

// Positions count from 1 here, as these arguments come from scripts.
static nnl_status check_range(nnl_context *ctx, const char *who, const nnl_tensor *x, int dim, int64_t start,
                              int64_t length) {
    char text[NNL_SHAPE_TEXT];
    if (x->shape.ndim == 0)
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: a tensor of no dimensions has no parts", who);
    int64_t size = x->shape.size[dim];
    if (length < 0 || start < 0 || start > size - length) {
        return nnl_fail(
            ctx, NNL_ERR_ARGUMENT, "%s: positions %lld to %lld are not within dimension %d of shape %s", who,
            (long long)(start + 1), (long long)(start + length), dim + 1, nnl_shape_text(&x->shape, text));
    }
    return NNL_OK;
}

// x:narrow(dim, start, length)
static nnl_status narrow_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    int dim = (int)call->arg[1].i;
    int64_t start = call->arg[2].i, length = call->arg[3].i;
    if (start < 0 && x->shape.ndim > 0) start += x->shape.size[dim] + 1;
    nnl_status status = check_range(ctx, "narrow", x, dim, start - 1, length);
    return status == NNL_OK ? sliced(ctx, call, x, dim, start - 1, length, 1) : status;
}

static nnl_status slice_forward(nnl_context *ctx, nnl_call *call) {
    return sliced(ctx, call, call->arg[0].tensor, (int)call->arg[1].i, call->arg[2].i, call->arg[3].i,
                  call->arg[4].i);
}

// x:select(dim, position): without the dimension
static nnl_status select_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    int dim = (int)call->arg[1].i;
    char text[NNL_SHAPE_TEXT];
    if (x->shape.ndim == 0)
        return nnl_fail(ctx, NNL_ERR_SHAPE, "select: a tensor of no dimensions has no parts");
    int64_t asked = call->arg[2].i, size = x->shape.size[dim];
    int64_t index = asked < 0 ? asked + size : asked - 1;
    if (asked == 0 || index < 0 || index >= size) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                        "select: position %lld is not within 1 to %lld (dimension %d of shape %s)",
                        (long long)asked, (long long)size, dim + 1, nnl_shape_text(&x->shape, text));
    }
    nnl_shape shape = {.ndim = x->shape.ndim - 1};
    int64_t stride[NNL_MAX_DIMS];
    for (int d = 0; d < shape.ndim; d++) {
        shape.size[d] = x->shape.size[d < dim ? d : d + 1];
        stride[d] = x->stride[d < dim ? d : d + 1];
    }
    view_state state = {.a = dim, .start = index, .length = 1, .step = 1};
    return view_done(ctx, call, x, nnl_tensor_alias(x, &shape, stride, x->offset + index * x->stride[dim]),
                     &state);
}

static nnl_status select_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    const view_state *s = node->state;
    nnl_tensor *row = nnl_unsqueeze(ctx, dout[0], s->a);
    nnl_status status =
        row ? gave(ctx, &dx[0], unslice(ctx, row, &s->shape, s->a, s->start, 1)) : ctx->status;
    nnl_tensor_release(row);
    return status;
}

static nnl_status unslice_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                   nnl_tensor **dx) {
    const view_state *s = node->state;
    return gave(ctx, &dx[0], nnl_slice(ctx, dout[0], s->a, s->start, s->length, s->step));
}

static const nnl_op unslice_record = {.name = "unslice", .outputs = 1, .backward = unslice_backward};

static nnl_tensor *unslice(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape, int dim, int64_t start,
                           int64_t step) {
    nnl_tensor *out = nnl_tensor_new(ctx, x->dtype, shape);
    if (!out) return NULL;
    nnl_try_fill(out, nnl_number_int(0));
    nnl_tensor part = *out; // a look at the slice, which lives no longer than this call
    part.shape.size[dim] = x->shape.size[dim];
    part.stride[dim] *= step;
    part.offset += start * out->stride[dim];
    if (nnl_tensor_numel(x) > 0) nnl_try_copy(&part, x);
    view_state state = {.a = dim, .start = start, .length = x->shape.size[dim], .step = step};
    nnl_call call;
    nnl_call_init(&call, &unslice_record);
    if (view_done(ctx, &call, x, out, &state) == NNL_OK) return out;
    nnl_tensor_release(out);
    return NULL;
}

// ---- the table

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define DIM(name)                                                                                            \
    { name, NNL_ARG_DIM, false, 0, NULL }
#define INT(name)                                                                                            \
    { name, NNL_ARG_INT, false, 0, NULL }

enum {
    VIEW,
    RESHAPE,
    FLATTEN,
    UNFLATTEN,
    TRANSPOSE,
    T,
    PERMUTE,
    SQUEEZE,
    UNSQUEEZE,
    EXPAND,
    NARROW,
    SELECT,
    SLICE
};

const nnl_op nnl_view_records[] = {
    [VIEW] =
        {.name = "view",
         .doc =
             "the same memory with another shape, one size of which may be -1; an error where strides forbid",
         .flags = NNL_OP_METHOD,
         .outputs = 1,
         .params = {X, {"shape", NNL_ARG_SHAPE, false, 0, NULL}},
         .forward = reshape_forward,
         .backward = reshape_backward},
    [RESHAPE] = {.name = "reshape",
                 .doc = "another shape, one size of which may be -1: a view where strides allow, else a copy",
                 .flags = NNL_OP_METHOD,
                 .outputs = 1,
                 .params = {X, {"shape", NNL_ARG_SHAPE, false, 0, NULL}},
                 .forward = reshape_forward,
                 .backward = reshape_backward,
                 .variant = 1},
    [FLATTEN] = {.name = "flatten",
                 .doc = "dimensions start_dim to end_dim as one",
                 .flags = NNL_OP_METHOD,
                 .outputs = 1,
                 .params = {X,
                            {"start_dim", NNL_ARG_DIM, true, 0, NULL},
                            {"end_dim", NNL_ARG_DIM, true, -1, NULL}},
                 .forward = flatten_forward,
                 .backward = reshape_backward},
    [UNFLATTEN] = {.name = "unflatten",
                   .doc = "one dimension as several, one size of which may be -1",
                   .flags = NNL_OP_METHOD,
                   .outputs = 1,
                   .params = {X, DIM("dim"), {"sizes", NNL_ARG_SHAPE, false, 0, NULL}},
                   .forward = unflatten_forward,
                   .backward = reshape_backward},
    [TRANSPOSE] = {.name = "transpose",
                   .doc = "two dimensions exchanged",
                   .flags = NNL_OP_METHOD,
                   .outputs = 1,
                   .params = {X, DIM("dim0"), DIM("dim1")},
                   .forward = transpose_forward,
                   .backward = permute_backward},
    [T] = {.name = "t",
           .doc = "a matrix with rows and columns exchanged",
           .flags = NNL_OP_METHOD,
           .outputs = 1,
           .params = {X},
           .forward = t_forward,
           .backward = permute_backward},
    [PERMUTE] = {.name = "permute",
                 .doc = "the dimensions in another order",
                 .flags = NNL_OP_METHOD,
                 .outputs = 1,
                 .params = {X, {"dims", NNL_ARG_DIMS, false, 0, NULL}},
                 .forward = permute_forward,
                 .backward = permute_backward},
    [SQUEEZE] = {.name = "squeeze",
                 .doc = "without dimensions of size 1: all of them, or those named",
                 .flags = NNL_OP_METHOD,
                 .outputs = 1,
                 .params = {X, {"dim", NNL_ARG_DIMS, true, 0, NULL}},
                 .forward = squeeze_forward,
                 .backward = reshape_backward},
    [UNSQUEEZE] = {.name = "unsqueeze",
                   .doc = "with a new dimension of size 1",
                   .flags = NNL_OP_METHOD,
                   .outputs = 1,
                   .params = {X, {"dim", NNL_ARG_NEW_DIM, false, 0, NULL}},
                   .forward = unsqueeze_forward,
                   .backward = reshape_backward},
    [EXPAND] = {.name = "expand",
                .doc = "dimensions of size 1 repeated without copying; -1 keeps a size",
                .flags = NNL_OP_METHOD,
                .outputs = 1,
                .params = {X, {"shape", NNL_ARG_SHAPE, false, 0, NULL}},
                .forward = expand_forward,
                .backward = expand_backward},
    [NARROW] = {.name = "narrow",
                .doc = "`length` positions of a dimension, from `start` on",
                .flags = NNL_OP_METHOD,
                .outputs = 1,
                .params = {X, DIM("dim"), INT("start"), INT("length")},
                .forward = narrow_forward,
                .backward = slice_backward},
    [SELECT] = {.name = "select",
                .doc = "one position of a dimension, which goes",
                .flags = NNL_OP_METHOD,
                .outputs = 1,
                .params = {X, DIM("dim"), INT("index")},
                .forward = select_forward,
                .backward = select_backward},
    [SLICE] = {.name = "slice",
               .outputs = 1,
               .params = {X, DIM("dim"), INT("start"), INT("length"), INT("step")},
               .forward = slice_forward,
               .backward = slice_backward},
    {.name = NULL},
};

static void start_call(nnl_call *call, int record, nnl_tensor *x) {
    nnl_call_init(call, &nnl_view_records[record]);
    call->arg[0].tensor = x;
}

static nnl_tensor *with_shape(nnl_context *ctx, int record, nnl_tensor *x, const nnl_shape *shape) {
    nnl_call call;
    start_call(&call, record, x);
    *nnl_call_list(&call, 1) = *shape;
    return nnl_call_result(ctx, &call);
}

nnl_tensor *nnl_expand(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape) {
    return with_shape(ctx, EXPAND, x, shape);
}

nnl_tensor *nnl_reshape(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape) {
    return with_shape(ctx, RESHAPE, x, shape);
}

nnl_tensor *nnl_transpose(nnl_context *ctx, nnl_tensor *x, int a, int b) {
    nnl_call call;
    start_call(&call, TRANSPOSE, x);
    call.arg[1].i = a;
    call.arg[2].i = b;
    return nnl_call_result(ctx, &call);
}

nnl_tensor *nnl_permute(nnl_context *ctx, nnl_tensor *x, const int *order) {
    nnl_shape dims = {.ndim = x->shape.ndim};
    for (int d = 0; d < dims.ndim; d++) dims.size[d] = order[d];
    return with_shape(ctx, PERMUTE, x, &dims);
}

nnl_tensor *nnl_unsqueeze(nnl_context *ctx, nnl_tensor *x, int dim) {
    nnl_call call;
    start_call(&call, UNSQUEEZE, x);
    call.arg[1].i = dim;
    return nnl_call_result(ctx, &call);
}

nnl_tensor *nnl_squeeze(nnl_context *ctx, nnl_tensor *x, int dim) {
    return with_shape(ctx, SQUEEZE, x, &(nnl_shape){.ndim = 1, .size = {dim}});
}

nnl_tensor *nnl_slice(nnl_context *ctx, nnl_tensor *x, int dim, int64_t start, int64_t length, int64_t step) {
    nnl_call call;
    start_call(&call, SLICE, x);
    call.arg[1].i = dim;
    call.arg[2].i = start;
    call.arg[3].i = length;
    call.arg[4].i = step;
    return nnl_call_result(ctx, &call);
}

nnl_tensor *nnl_select(nnl_context *ctx, nnl_tensor *x, int dim, int64_t index) {
    nnl_call call;
    start_call(&call, SELECT, x);
    call.arg[1].i = dim;
    call.arg[2].i = index + 1;
    return nnl_call_result(ctx, &call);
}
