// part.h: a part of a tensor by its place in memory, for the operations that read and write such parts.
#ifndef NNL_GRAD_PART_H
#define NNL_GRAD_PART_H

#include "grad/records.h"

// All in elements; the offset is counted from the whole's first one.
typedef struct nnl_part {
    nnl_shape whole, shape;
    int64_t whole_stride[NNL_MAX_DIMS], stride[NNL_MAX_DIMS];
    int64_t offset;
} nnl_part;

// Where a look at the tensor's memory lies in it.
nnl_part nnl_part_of(const nnl_tensor *whole, const nnl_tensor *look);

// A look at what a region chooses, for the time of one call.
nnl_tensor nnl_region_look(const nnl_tensor *x, const nnl_region *region);

// Whether two elements may share memory.
bool nnl_overlaps(const nnl_shape *shape, const int64_t *stride);

// For backward functions: zeros with x in the part; dout's elements in it; and dout with 0 there.
nnl_tensor *nnl_part_spread(nnl_context *ctx, nnl_tensor *x, const nnl_part *part);
nnl_tensor *nnl_part_take(nnl_context *ctx, nnl_tensor *dout, const nnl_part *part);
nnl_tensor *nnl_part_clear(nnl_context *ctx, nnl_tensor *dout, const nnl_part *part);

#endif
