// indexed.c: copies of a tensor with some of its slices or elements changed: index_add, index_fill,
// index_copy, masked_scatter. All are made of other operations, which bring the gradients. Positions count
// from 1.
#include "grad/records.h"

// The positions of a dimension, checked; of one dimension, or none. Returns new.
static nnl_tensor *slice_positions(nnl_context *ctx, const nnl_call *call) {
    const nnl_tensor *x = call->arg[0].tensor;
    nnl_tensor *given = call->arg[2].tensor;
    if (given->shape.ndim > 1) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE, "%s: expected positions of one dimension", call->op->name);
    }
    nnl_tensor *index = nnl_positions_of(ctx, call->op->name, given);
    int64_t size = x->shape.ndim > 0 ? x->shape.size[call->arg[1].i] : 1;
    if (index && nnl_check_positions(ctx, call->op->name, index, size) == NNL_OK) return index;
    nnl_tensor_release(index);
    return NULL;
}

// Whether the source has x's dtype, and x's shape but for as many slices as there are positions.
static nnl_status check_source(nnl_context *ctx, const nnl_call *call) {
    const nnl_tensor *x = call->arg[0].tensor, *source = call->arg[3].tensor;
    nnl_shape expected = x->shape;
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    if (expected.ndim > 0) expected.size[call->arg[1].i] = nnl_tensor_numel(call->arg[2].tensor);
    if (source->dtype != x->dtype) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected a source of %s, got %s", call->op->name,
                        nnl_dtype_get(x->dtype)->name, nnl_dtype_get(source->dtype)->name);
    }
    if (nnl_shape_equal(&source->shape, &expected)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: expected a source of shape %s, got %s", call->op->name,
                    nnl_shape_text(&expected, a), nnl_shape_text(&source->shape, b));
}

// alpha * source: the source itself without alpha.
static nnl_tensor *share_of_source(nnl_context *ctx, const nnl_call *call) {
    const nnl_arg *alpha = &call->arg[4];
    nnl_tensor *source = call->arg[3].tensor;
    if (!alpha->given) return nnl_tensor_retain(source);
    if (!alpha->number.is_int && !nnl_dtype_is_float(source->dtype)) {
        return nnl_fail_null(ctx, NNL_ERR_ARGUMENT, "index_add: alpha must be an integer for tensors of %s",
                             nnl_dtype_get(source->dtype)->name);
    }
    nnl_call product;
    nnl_call_init(&product, nnl_op_named("mul"));
    product.arg[0].tensor = source;
    product.arg[1] = (nnl_arg){.given = true, .is_number = true, .number = alpha->number};
    return nnl_call_result(ctx, &product);
}

// x:index_add(dim, index, source, [alpha]): slices that are named twice are added twice
static nnl_status index_add_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_tensor *index = slice_positions(ctx, call);
    bool fits = index && check_source(ctx, call) == NNL_OK;
    nnl_tensor *share = fits ? share_of_source(ctx, call) : NULL;
    nnl_tensor *added = share ? nnl_unselect(ctx, share, (int)call->arg[1].i, index, &x->shape) : NULL;
    nnl_tensor *sum = added ? nnl_add(ctx, x, added) : NULL;
    call->out[0] = sum ? nnl_to(ctx, sum, x->dtype) : NULL;
    nnl_tensor *all[] = {index, share, added, sum};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) nnl_tensor_release(all[i]);
    return call->out[0] ? NNL_OK : ctx->status;
}

// Ones at the positions of the dimension, in a shape that broadcasts with x.
static nnl_tensor *slice_mask(nnl_context *ctx, const nnl_tensor *x, int dim, const nnl_tensor *index) {
    nnl_shape shape = x->shape;
    for (int d = 0; d < shape.ndim; d++) shape.size[d] = d == dim ? shape.size[d] : 1;
    nnl_tensor *mask = nnl_tensor_new(ctx, NNL_BOOL, &shape);
    if (!mask) return NULL;
    nnl_try_fill(mask, nnl_number_int(0));
    const int64_t *at = nnl_tensor_data(index);
    for (int64_t i = 0, n = nnl_tensor_numel(index); i < n; i++)
        ((uint8_t *)nnl_tensor_data(mask))[at[i] - 1] = 1;
    return mask;
}

// x:index_fill(dim, index, value)
static nnl_status index_fill_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    nnl_tensor *index = slice_positions(ctx, call);
    nnl_tensor *mask = index ? slice_mask(ctx, x, (int)call->arg[1].i, index) : NULL;
    if (mask && !call->arg[3].is_number && call->arg[3].tensor->shape.ndim > 0) {
        nnl_fail(ctx, NNL_ERR_SHAPE,
                 "index_fill: expected a number or a tensor of no dimensions as the value");
    } else if (mask) {
        nnl_call fill;
        nnl_call_init(&fill, nnl_op_named("masked_fill"));
        fill.arg[0] = call->arg[0];
        fill.arg[1].tensor = mask;
        fill.arg[2] = call->arg[3];
        call->out[0] = nnl_call_result(ctx, &fill);
    }
    nnl_tensor_release(index);
    nnl_tensor_release(mask);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_tensor *scattered(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index,
                             nnl_tensor *source) {
    nnl_call call;
    nnl_call_init(&call, nnl_op_named("scatter"));
    call.arg[0].tensor = x;
    call.arg[1].i = dim;
    call.arg[2].tensor = index;
    call.arg[3].tensor = source;
    return nnl_call_result(ctx, &call);
}

// x:index_copy(dim, index, source): of slices that are named twice, the last one stays
static nnl_status index_copy_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor, *source = call->arg[3].tensor;
    int dim = (int)call->arg[1].i;
    nnl_shape line = source->shape;
    nnl_tensor *index = slice_positions(ctx, call);
    bool fits = index && check_source(ctx, call) == NNL_OK;
    for (int d = 0; d < line.ndim; d++) line.size[d] = d == dim ? line.size[d] : 1;
    nnl_tensor *seen = fits ? nnl_reshape(ctx, index, &line) : NULL;
    nnl_tensor *wide = seen ? nnl_expand(ctx, seen, &source->shape) : NULL;
    call->out[0] = wide ? scattered(ctx, x, dim, wide, source) : NULL;
    nnl_tensor *all[] = {index, seen, wide};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) nnl_tensor_release(all[i]);
    return call->out[0] ? NNL_OK : ctx->status;
}

// ---- masked_scatter

static nnl_status check_masked(nnl_context *ctx, const nnl_call *call, const nnl_tensor *at) {
    const nnl_tensor *x = call->arg[0].tensor, *source = call->arg[2].tensor;
    if (source->dtype != x->dtype) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "masked_scatter: expected a source of %s, got %s",
                        nnl_dtype_get(x->dtype)->name, nnl_dtype_get(source->dtype)->name);
    }
    if (nnl_tensor_numel(source) >= nnl_tensor_numel(at)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_SHAPE,
                    "masked_scatter: the mask holds at %lld elements, the source has %lld",
                    (long long)nnl_tensor_numel(at), (long long)nnl_tensor_numel(source));
}

// The positions where a mask that broadcasts to the shape holds.
static nnl_tensor *masked_positions(nnl_context *ctx, nnl_tensor *mask, const nnl_shape *shape) {
    if (mask->dtype != NNL_BOOL) {
        return nnl_fail_null(ctx, NNL_ERR_DTYPE, "masked_scatter: expected a bool tensor as the mask, got %s",
                             nnl_dtype_get(mask->dtype)->name);
    }
    nnl_tensor *wide = nnl_expand(ctx, mask, shape);
    nnl_tensor *at = wide ? nnl_true_positions(ctx, wide) : NULL;
    nnl_tensor_release(wide);
    return at;
}

static nnl_tensor *flattened(nnl_context *ctx, nnl_tensor *x) {
    return nnl_reshape(ctx, x, &(nnl_shape){.ndim = 1, .size = {nnl_tensor_numel(x)}});
}

// x:masked_scatter(mask, source): the elements of the source in order, where the mask holds
static nnl_status masked_scatter_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor, *mask = call->arg[1].tensor, *whole = x;
    nnl_shape shape;
    nnl_status status = nnl_shape_broadcast(ctx, "masked_scatter", &x->shape, &mask->shape, &shape);
    nnl_tensor *at = status == NNL_OK ? masked_positions(ctx, mask, &shape) : NULL;
    if (at) status = check_masked(ctx, call, at);
    whole = at && status == NNL_OK ? nnl_expand(ctx, x, &shape) : NULL;
    nnl_tensor *flat = whole ? flattened(ctx, whole) : NULL;
    nnl_tensor *source = flat ? flattened(ctx, call->arg[2].tensor) : NULL;
    nnl_tensor *out = source ? scattered(ctx, flat, 0, at, source) : NULL;
    call->out[0] = out ? nnl_reshape(ctx, out, &shape) : NULL;
    nnl_tensor *all[] = {at, whole, flat, source, out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) nnl_tensor_release(all[i]);
    return call->out[0] ? NNL_OK : ctx->status;
}

#define TENSOR(name)                                                                                         \
    { name, NNL_ARG_TENSOR, false, 0, NULL }
#define DIM                                                                                                  \
    { "dim", NNL_ARG_DIM, false, 0, NULL }
#define CHANGING NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY

const nnl_op nnl_indexed_records[] = {
    {.name = "index_add",
     .doc = "a copy with alpha times the slices of the source added to those of a dimension at the given "
            "positions "
            "(int64, from 1)",
     .flags = CHANGING,
     .outputs = 1,
     .params =
         {TENSOR("input"), DIM, TENSOR("index"), TENSOR("source"), {"alpha", NNL_ARG_NUMBER, true, 1, NULL}},
     .forward = index_add_forward},
    {.name = "index_fill",
     .doc = "a copy with `value` in the slices of a dimension at the given positions (int64, from 1)",
     .flags = CHANGING,
     .outputs = 1,
     .params = {TENSOR("input"), DIM, TENSOR("index"), {"value", NNL_ARG_OPERAND, false, 0, NULL}},
     .forward = index_fill_forward},
    {.name = "index_copy",
     .doc = "a copy with the slices of the source as those of a dimension at the given positions (int64, "
            "from 1)",
     .flags = CHANGING,
     .outputs = 1,
     .params = {TENSOR("input"), DIM, TENSOR("index"), TENSOR("source")},
     .forward = index_copy_forward},
    {.name = "masked_scatter",
     .doc = "a copy with the elements of the source, in order, where the mask (bool) holds",
     .flags = CHANGING,
     .outputs = 1,
     .params = {TENSOR("input"), TENSOR("mask"), TENSOR("source")},
     .forward = masked_scatter_forward},
    {.name = NULL},
};
