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

nnl_status nnl_shape_check(nnl_context *ctx, const char *who, const nnl_shape *shape, size_t element_size) {
    char text[NNL_SHAPE_TEXT];
    int64_t bytes = (int64_t)element_size;
    bool huge = false;
    for (int d = 0; d < shape->ndim; d++) {
        int64_t size = shape->size[d];
        if (size < 0) {
            return nnl_fail(ctx, NNL_ERR_SHAPE, "%s: shape %s has a negative size", who,
                            nnl_shape_text(shape, text));
        }
        huge = huge || __builtin_mul_overflow(bytes, size > 1 ? size : 1, &bytes);
    }
    if (huge || bytes > INT64_MAX / 4) {
        return nnl_fail(ctx, NNL_ERR_MEMORY, "%s: shape %s is larger than any memory", who,
                        nnl_shape_text(shape, text));
    }
    return NNL_OK;
}
