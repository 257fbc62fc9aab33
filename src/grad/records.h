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

// The dtype in which two operands, tensors or numbers, meet: PyTorch's promotion.
nnl_dtype nnl_operands_dtype(const nnl_arg *a, const nnl_arg *b);

// The dtype that arithmetic on an integer tensor has when the result is a fraction; a float stays what it is.
nnl_dtype nnl_float_dtype(nnl_dtype dtype);

// A floating-point tensor as contiguous float32 or float64, halves converted, recorded; returns new.
nnl_tensor *nnl_array(nnl_context *ctx, nnl_tensor *x);

// The plain reduction over the dropped dimensions, not recorded; the result has this dtype. Returns new.
nnl_tensor *nnl_reduced(nnl_context *ctx, nnl_reduction kind, const nnl_tensor *x, const bool *dropped,
                        bool keepdim, nnl_dtype dtype);

// Whether an element is 0.
nnl_status nnl_has_zero(nnl_context *ctx, const nnl_tensor *x, bool *found);

// Positions as contiguous int64; an error where they are no integers. Returns new.
nnl_tensor *nnl_positions_of(nnl_context *ctx, const char *who, nnl_tensor *index);

// Whether all of a contiguous int64 tensor's elements are positions, 1 to size.
nnl_status nnl_check_positions(nnl_context *ctx, const char *who, const nnl_tensor *index, int64_t size);

// The groups of records, one for each file; each ends with a NULL name.
#define NNL_OP_GROUPS(GROUP)                                                                                 \
    GROUP(unary)                                                                                             \
    GROUP(binary)                                                                                            \
    GROUP(compare)                                                                                           \
    GROUP(copy)                                                                                              \
    GROUP(view)                                                                                              \
    GROUP(reduce)                                                                                            \
    GROUP(matmul)                                                                                            \
    GROUP(softmax)                                                                                           \
    GROUP(gate)                                                                                              \
    GROUP(norm)                                                                                              \
    GROUP(linear)                                                                                            \
    GROUP(conv)                                                                                              \
    GROUP(pool)                                                                                              \
    GROUP(resize)                                                                                            \
    GROUP(pad)                                                                                               \
    GROUP(extreme)                                                                                           \
    GROUP(gather)                                                                                            \
    GROUP(indexed)                                                                                           \
    GROUP(join)                                                                                              \
    GROUP(moment)                                                                                            \
    GROUP(sort)                                                                                              \
    GROUP(split)                                                                                             \
    GROUP(unfold)                                                                                            \
    GROUP(diagonal)                                                                                          \
    GROUP(rearrange)                                                                                         \
    GROUP(repeat)                                                                                            \
    GROUP(cumulative)                                                                                        \
    GROUP(dropout)                                                                                           \
    GROUP(embedding)                                                                                         \
    GROUP(attention)                                                                                         \
    GROUP(loss)                                                                                              \
    GROUP(cross_entropy)                                                                                     \
    GROUP(distance)                                                                                          \
    GROUP(ctc)                                                                                               \
    GROUP(einsum)

#define NNL_DECLARE_GROUP(name) extern const nnl_op nnl_##name##_records[];
NNL_OP_GROUPS(NNL_DECLARE_GROUP)
#undef NNL_DECLARE_GROUP

#endif
