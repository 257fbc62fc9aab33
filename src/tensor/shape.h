// shape.h: sizes of dimensions, broadcasting, and shapes as text for messages. Dimensions count from 0 in the
// engine; the binding turns a script's 1 and -1 into these.
#ifndef NNL_TENSOR_SHAPE_H
#define NNL_TENSOR_SHAPE_H

#include "base/context.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NNL_MAX_DIMS 8
#define NNL_SHAPE_TEXT 160

typedef struct nnl_shape {
    int ndim;
    int64_t size[NNL_MAX_DIMS];
} nnl_shape;

nnl_shape nnl_shape_of(int ndim, const int64_t *size);
static inline int64_t nnl_shape_numel(const nnl_shape *shape) {
    int64_t numel = 1;
    for (int d = 0; d < shape->ndim; d++) numel *= shape->size[d];
    return numel;
}

static inline bool nnl_shape_equal(const nnl_shape *a, const nnl_shape *b) {
    if (a->ndim != b->ndim) return false;
    for (int d = 0; d < a->ndim; d++) {
        if (a->size[d] != b->size[d]) return false;
    }
    return true;
}

// "(2, 3)", as in messages; returns text.
const char *nnl_shape_text(const nnl_shape *shape, char text[NNL_SHAPE_TEXT]);

// The shape that both broadcast to; `who` names the operation in the message where they do not fit.
nnl_status nnl_shape_broadcast(nnl_context *ctx, const char *who, const nnl_shape *a, const nnl_shape *b,
                               nnl_shape *out);

// Whether a tensor of the first shape can be read as one of the second.
bool nnl_shape_broadcasts_to(const nnl_shape *from, const nnl_shape *to);

// The shape without dimensions where dropped[d], or with size 1 there when keepdim.
nnl_shape nnl_shape_reduced(const nnl_shape *shape, const bool *dropped, bool keepdim);

// Row-major strides, in elements.
void nnl_shape_strides(const nnl_shape *shape, int64_t *stride);

// Checks that no size is negative and the number of bytes is one that memory can have.
nnl_status nnl_shape_check(nnl_context *ctx, const char *who, const nnl_shape *shape, size_t element_size);

// The same, with row-major strides on the way. Returns the number of bytes, -1 for an error.
int64_t nnl_shape_layout(nnl_context *ctx, const char *who, const nnl_shape *shape, size_t element_size,
                         int64_t *stride);

#endif
