// records.h: what the files of operations share among themselves: reading arguments, and the result to write
// to.
#ifndef NNL_GRAD_RECORDS_H
#define NNL_GRAD_RECORDS_H

#include "grad/graph.h"
#include "grad/ops.h"
#include "tensor/apply.h"

// The tensor that an elementwise result goes to: call->into, checked, or a new one. Into call->out[0].
nnl_status nnl_call_output(nnl_context *ctx, nnl_call *call, nnl_dtype dtype, const nnl_shape *shape);

// Marks the dims of a list argument (all of them where it was left out or is empty) in dropped[0 .. ndim -
// 1].
nnl_status nnl_call_dims(nnl_context *ctx, const nnl_call *call, int arg, const nnl_tensor *x, bool *dropped);

// The dtype that arithmetic on an integer tensor has when the result is a fraction; a float stays what it is.
nnl_dtype nnl_float_dtype(nnl_dtype dtype);

// The plain reduction over the dropped dimensions, not recorded; the result has this dtype. Returns new.
nnl_tensor *nnl_reduced(nnl_context *ctx, nnl_reduction kind, const nnl_tensor *x, const bool *dropped,
                        bool keepdim, nnl_dtype dtype);

// Whether all of a contiguous int64 tensor's elements are positions, 1 to size.
nnl_status nnl_check_positions(nnl_context *ctx, const char *who, const nnl_tensor *index, int64_t size);

// The groups of records, one for each file; each ends with a NULL name.
extern const nnl_op nnl_unary_records[], nnl_binary_records[], nnl_compare_records[], nnl_copy_records[],
    nnl_reduce_records[], nnl_view_records[], nnl_matmul_records[], nnl_softmax_records[],
    nnl_linear_records[], nnl_extreme_records[], nnl_gather_records[], nnl_join_records[],
    nnl_moment_records[], nnl_sort_records[];
extern const nnl_op nnl_dropout_records[], nnl_loss_records[], nnl_cross_entropy_records[],
    nnl_embedding_records[];

#endif
