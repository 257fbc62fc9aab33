// reduce.h: reductions of whole tensors over some of their dimensions, by the kernels for contiguous memory.
#ifndef NNL_TENSOR_REDUCE_H
#define NNL_TENSOR_REDUCE_H

#include "kernel/kernel.h"
#include "tensor/tensor.h"

// A tensor as `outer` blocks of (n, inner), of which the n are reduced. The memory is an array of the compute
// type.
typedef struct nnl_rows {
    nnl_tensor *source; // new: x itself or an ordered, converted copy
    int64_t outer, n, inner;
    nnl_compute type;
} nnl_rows;

// Lays x out for a reduction over the dropped dimensions. The source's dtype becomes `dtype`, which must be
// native.
nnl_status nnl_rows_init(nnl_context *ctx, nnl_rows *rows, const nnl_tensor *x, const bool *dropped,
                         nnl_dtype dtype);
// All of a contiguous tensor of at most NNL_REDUCE_SMALL elements, of a native dtype, to the one of `out`.
#define NNL_REDUCE_SMALL 65536
void nnl_reduce_small(nnl_context *ctx, nnl_reduction kind, const nnl_tensor *x, nnl_tensor *out);

void nnl_rows_done(nnl_rows *rows);

// out: contiguous, outer * inner elements of the rows' dtype. Large work is cut by shape and threaded; the
// same bits for any number of threads.
nnl_status nnl_reduce_rows(nnl_context *ctx, const nnl_rows *rows, nnl_reduction kind, nnl_tensor *out);

// Positions, from 1, into an int64 tensor; and what stands there into one of the rows' dtype, or NULL.
void nnl_arg_reduce_rows(nnl_context *ctx, const nnl_rows *rows, bool largest, nnl_tensor *positions,
                         nnl_tensor *values);

// The mean and the sum of squared deviations of each of the outer * inner results, for float and double.
nnl_status nnl_moments_rows(nnl_context *ctx, const nnl_rows *rows, nnl_moment *out);

// The moments of two groups of values together, into the first.
void nnl_moment_merge(nnl_moment *a, double count_a, const nnl_moment *b, double count_b);

#endif
