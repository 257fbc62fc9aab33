// shape.c: sizes of dimensions, broadcasting, and shapes as text.
#include "tensor/shape.h"

#include <stdio.h>
#include <string.h>

nnl_shape nnl_shape_of(int ndim, const int64_t *size) {
    nnl_shape shape = {.ndim = ndim};
    for (int d = 0; d < ndim; d++) shape.size[d] = size[d];
    return shape;
}

const char *nnl_shape_text(const nnl_shape *shape, char text[NNL_SHAPE_TEXT]) {
    size_t used = 0;
    text[used++] = '(';
    for (int d = 0; d < shape->ndim && used < NNL_SHAPE_TEXT - 32; d++) {
        const char *format = d == 0 ? "%lld" : ", %lld";
        used += (size_t)snprintf(text + used, NNL_SHAPE_TEXT - used, format, (long long)shape->size[d]);
    }
    text[used++] = ')';
    text[used] = '\0';
    return text;
}

nnl_status nnl_shape_broadcast(nnl_context *ctx, const char *who, const nnl_shape *a, const nnl_shape *b,
                               nnl_shape *out) {
    nnl_shape result = {.ndim = a->ndim > b->ndim ? a->ndim : b->ndim};
    for (int d = 1; d <= result.ndim; d++) { // from the last dimension
        int64_t sa = d <= a->ndim ? a->size[a->ndim - d] : 1;
        int64_t sb = d <= b->ndim ? b->size[b->ndim - d] : 1;
        if (sa != sb && sa != 1 && sb != 1) {
            char ta[NNL_SHAPE_TEXT], tb[NNL_SHAPE_TEXT];
            return nnl_fail(ctx, NNL_ERR_SHAPE,
                            "%s: shapes %s and %s do not broadcast: %lld and %lld at dimension -%d", who,
                            nnl_shape_text(a, ta), nnl_shape_text(b, tb), (long long)sa, (long long)sb, d);
        }
        result.size[result.ndim - d] = sa == 1 ? sb : sa;
    }
    *out = result;
    return NNL_OK;
}

bool nnl_shape_broadcasts_to(const nnl_shape *from, const nnl_shape *to) {
    if (from->ndim > to->ndim) return false;
    for (int d = 1; d <= from->ndim; d++) {
        int64_t size = from->size[from->ndim - d];
        if (size != 1 && size != to->size[to->ndim - d]) return false;
    }
    return true;
}

nnl_shape nnl_shape_reduced(const nnl_shape *shape, const bool *dropped, bool keepdim) {
    nnl_shape reduced = {.ndim = 0};
    for (int d = 0; d < shape->ndim; d++) {
        if (!dropped[d]) {
            reduced.size[reduced.ndim++] = shape->size[d];
        } else if (keepdim) {
            reduced.size[reduced.ndim++] = 1;
        }
    }
    return reduced;
}

void nnl_shape_strides(const nnl_shape *shape, int64_t *stride) {
    int64_t step = 1;
    for (int d = shape->ndim - 1; d >= 0; d--) {
        stride[d] = step;
        step *= shape->size[d] > 1 ? shape->size[d] : 1;
    }
}

static int64_t no_layout(nnl_context *ctx, const char *who, const nnl_shape *shape, bool negative) {
    char text[NNL_SHAPE_TEXT];
    nnl_shape_text(shape, text);
    if (negative) {
        nnl_fail(ctx, NNL_ERR_SHAPE, "%s: shape %s has a negative size", who, text);
    } else {
        nnl_fail(ctx, NNL_ERR_MEMORY, "%s: shape %s is larger than any memory", who, text);
    }
    return -1;
}

int64_t nnl_shape_layout(nnl_context *ctx, const char *who, const nnl_shape *shape, size_t element_size,
                         int64_t *stride) {
    int64_t step = 1, bytes = 0; // step as if no size were 0
    bool huge = false, empty = false;
    for (int d = shape->ndim - 1; d >= 0; d--) {
        int64_t size = shape->size[d];
        if (size < 0) return no_layout(ctx, who, shape, true);
        stride[d] = step;
        empty = empty || size == 0;
        if (size > 1) huge = huge || __builtin_mul_overflow(step, size, &step);
    }
    huge = huge || __builtin_mul_overflow(step, (int64_t)element_size, &bytes) || bytes > INT64_MAX / 4;
    if (huge) return no_layout(ctx, who, shape, false);
    return empty ? 0 : bytes;
}

nnl_status nnl_shape_check(nnl_context *ctx, const char *who, const nnl_shape *shape, size_t element_size) {
    int64_t stride[NNL_MAX_DIMS];
    return nnl_shape_layout(ctx, who, shape, element_size, stride) < 0 ? ctx->status : NNL_OK;
}
