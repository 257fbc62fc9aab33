// spatial.c: arguments and inputs of operations on images.
#include "grad/spatial.h"

nnl_status nnl_check_sizes(nnl_context *ctx, const char *who, const char *name, int count, int dims,
                           int64_t low, const int64_t *size) {
    if (count != 1 && count != dims) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: %s must be one integer%s, got a list of %d", who, name,
                        dims == 1 ? "" : " or a list of 2", count);
    }
    for (int d = 0; d < count; d++) {
        if (size[d] >= low && size[d] <= INT32_MAX) continue;
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: %s must be at least %lld%s, got %lld", who, name,
                        (long long)low, size[d] > INT32_MAX ? " and less than 2^31" : "", (long long)size[d]);
    }
    return NNL_OK;
}

nnl_status nnl_call_sizes(nnl_context *ctx, const nnl_call *call, int arg, int dims, int64_t low,
                          int64_t size[NNL_SPATIAL_DIMS]) {
    if (!call->arg[arg].given) return NNL_OK;
    const nnl_shape *list = call->arg[arg].list;
    nnl_status status =
        nnl_check_sizes(ctx, call->op->name, call->op->params[arg].name, list->ndim, dims, low, list->size);
    for (int d = 0; d < dims && status == NNL_OK; d++) size[d] = list->size[list->ndim == 1 ? 0 : d];
    return status;
}

void nnl_widen_sizes(int dims, int64_t height, int64_t size[NNL_SPATIAL_DIMS]) {
    if (dims == NNL_SPATIAL_DIMS) return;
    size[1] = size[0];
    size[0] = height;
}

// Half floats are computed with in float32.
static nnl_tensor *as_native(nnl_context *ctx, nnl_tensor *x) {
    nnl_dtype dtype = x->dtype == NNL_FLOAT64 ? NNL_FLOAT64 : NNL_FLOAT32;
    return x->dtype == dtype ? nnl_tensor_retain(x) : nnl_to(ctx, x, dtype);
}

nnl_tensor *nnl_as_images(nnl_context *ctx, const char *who, nnl_tensor *x, int dims) {
    static const char *const expected[] = {"(N, C, L) or (C, L)", "(N, C, H, W) or (C, H, W)"};
    char text[NNL_SHAPE_TEXT];
    if (x->shape.ndim != dims + 1 && x->shape.ndim != dims + 2) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE, "%s: expected input %s, got %s", who, expected[dims - 1],
                             nnl_shape_text(&x->shape, text));
    }
    if (!nnl_dtype_is_float(x->dtype)) {
        return nnl_fail_null(ctx, NNL_ERR_DTYPE, "%s: expected input of a float dtype, got \"%s\"", who,
                             nnl_dtype_get(x->dtype)->name);
    }
    nnl_tensor *y = as_native(ctx, x);
    nnl_shape shape = {.ndim = 4, .size = {1, 1, 1, 1}};
    int from = x->shape.ndim - dims;
    if (from == 2) shape.size[0] = x->shape.size[0];
    shape.size[1] = x->shape.size[from - 1];
    for (int d = 0; d < dims; d++) shape.size[4 - dims + d] = x->shape.size[from + d];
    if (!y || x->shape.ndim == 4) return y;
    nnl_tensor *images = nnl_reshape(ctx, y, &shape);
    nnl_tensor_release(y);
    return images;
}

nnl_tensor *nnl_as_given(nnl_context *ctx, nnl_tensor *y, const nnl_tensor *x, int dims) {
    if (!y) return NULL;
    nnl_shape shape = {.ndim = 0};
    if (x->shape.ndim == dims + 2) shape.size[shape.ndim++] = y->shape.size[0];
    shape.size[shape.ndim++] = y->shape.size[1];
    for (int d = 4 - dims; d < 4; d++) shape.size[shape.ndim++] = y->shape.size[d];
    nnl_tensor *shaped =
        nnl_shape_equal(&shape, &y->shape) ? nnl_tensor_retain(y) : nnl_reshape(ctx, y, &shape);
    nnl_tensor_release(y);
    if (!shaped || shaped->dtype == x->dtype || !nnl_dtype_is_float(shaped->dtype)) return shaped;
    nnl_tensor *back = nnl_to(ctx, shaped, x->dtype);
    nnl_tensor_release(shaped);
    return back;
}
