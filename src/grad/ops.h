// ops.h: operations as plain functions, for layers, losses and the backward functions themselves. Each
// records itself where a gradient is wanted. Results are new; NULL means an error in the context. Dims count
// from 0.
#ifndef NNL_GRAD_OPS_H
#define NNL_GRAD_OPS_H

#include "grad/graph.h"
#include "kernel/kernel.h"

// elementwise.c
nnl_tensor *nnl_add(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b);
nnl_tensor *nnl_sub(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b);
nnl_tensor *nnl_mul(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b);
nnl_tensor *nnl_div(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b);
nnl_tensor *nnl_mul_number(nnl_context *ctx, nnl_tensor *a, double b);
nnl_tensor *nnl_add_number(nnl_context *ctx, nnl_tensor *a, double b);
nnl_tensor *nnl_unary_op(nnl_context *ctx, nnl_unary kind, nnl_tensor *x, const double *p);
nnl_tensor *nnl_compare_op(nnl_context *ctx, nnl_compare kind, nnl_tensor *a, nnl_tensor *b);
// dout * f'(x, y), itself differentiable once
nnl_tensor *nnl_unary_grad_op(nnl_context *ctx, nnl_unary kind, nnl_tensor *dout, nnl_tensor *x,
                              nnl_tensor *y, const double *p);

// Whether backward needs the operation's input rather than its result.
bool nnl_unary_reads_input(nnl_unary kind);

// copy.c
nnl_tensor *nnl_clone(nnl_context *ctx, nnl_tensor *x);      // contiguous
nnl_tensor *nnl_contiguous(nnl_context *ctx, nnl_tensor *x); // x itself where it is
nnl_tensor *nnl_to(nnl_context *ctx, nnl_tensor *x, nnl_dtype dtype);
nnl_tensor *nnl_where(nnl_context *ctx, nnl_tensor *condition, nnl_tensor *a, nnl_tensor *b);

// reduce.c
nnl_tensor *nnl_sum(nnl_context *ctx, nnl_tensor *x, int ndims, const int64_t *dims,
                    bool keepdim); // ndims 0: all
nnl_tensor *nnl_mean(nnl_context *ctx, nnl_tensor *x, int ndims, const int64_t *dims, bool keepdim);
nnl_tensor *nnl_sum_to(nnl_context *ctx, nnl_tensor *x,
                       const nnl_shape *shape); // the reverse of broadcasting

// view.c
nnl_tensor *nnl_expand(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape);
nnl_tensor *nnl_reshape(nnl_context *ctx, nnl_tensor *x,
                        const nnl_shape *shape); // a view where strides allow
nnl_tensor *nnl_transpose(nnl_context *ctx, nnl_tensor *x, int a, int b);
nnl_tensor *nnl_permute(nnl_context *ctx, nnl_tensor *x, const int *order);
nnl_tensor *nnl_unsqueeze(nnl_context *ctx, nnl_tensor *x, int dim);
nnl_tensor *nnl_squeeze(nnl_context *ctx, nnl_tensor *x, int dim);
nnl_tensor *nnl_slice(nnl_context *ctx, nnl_tensor *x, int dim, int64_t start, int64_t length, int64_t step);
// any look at a contiguous tensor's memory, as indexing makes it
nnl_tensor *nnl_strided_view(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape, const int64_t *stride,
                             int64_t offset);
nnl_tensor *nnl_select(nnl_context *ctx, nnl_tensor *x, int dim, int64_t index);

// gather.c: positions count from 1
nnl_tensor *nnl_index_select(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index);
nnl_tensor *nnl_true_positions(nnl_context *ctx, nnl_tensor *mask); // of a bool tensor, flattened
// zeros of a shape with x added at the positions along dim: the reverse of gather
nnl_tensor *nnl_ungather(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index, const nnl_shape *shape);

// assign.c: writes into a part (a view of t, not recorded) of t, in place and within the graph
nnl_status nnl_assign(nnl_context *ctx, nnl_tensor *t, nnl_tensor *part, nnl_tensor *values);
nnl_status nnl_assign_number(nnl_context *ctx, nnl_tensor *t, nnl_tensor *part, nnl_number value);
// The content and place in the graph of a result, put in place of t's; both have one shape.
nnl_status nnl_replace(nnl_context *ctx, nnl_tensor *t, nnl_tensor *result);

// Rows `at` (int64, from 1) of t, seen as `shape`, become the values, which broadcast. Outside the graph
// only.
nnl_status nnl_index_put(nnl_context *ctx, nnl_tensor *t, const nnl_shape *shape, nnl_tensor *at,
                         nnl_tensor *values);

// join.c
nnl_tensor *nnl_cat(nnl_context *ctx, size_t count, nnl_tensor *const *items, int dim);

// matmul.c: 1-D, 2-D and batched, as PyTorch's matmul
nnl_tensor *nnl_matmul(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b);
// Matrices, or batches of equal batch shape, either transposed on the way.
nnl_tensor *nnl_mm(nnl_context *ctx, nnl_tensor *a, bool transpose_a, nnl_tensor *b, bool transpose_b);

// softmax.c
nnl_tensor *nnl_softmax(nnl_context *ctx, nnl_tensor *x, int dim);
nnl_tensor *nnl_log_softmax(nnl_context *ctx, nnl_tensor *x, int dim);
nnl_tensor *nnl_logsumexp(nnl_context *ctx, nnl_tensor *x, int ndims, const int64_t *dims, bool keepdim);

// linear.c: act(x weight^T + bias), x (*, in), weight (out, in), bias (out) or NULL, `activation` a unary
// operation or NNL_UNARY_COUNT for none
nnl_tensor *nnl_linear(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                       nnl_unary activation);

// dropout.c: each element 0 with probability p, else divided by 1 - p
nnl_tensor *nnl_dropout(nnl_context *ctx, nnl_tensor *x, double p);

// embedding.c: rows of weight (rows, features) at positions of any shape, from 1: (*, features). The row
// `padding` gets no gradient; rows with a norm above max_norm shrink to it in place, 0 for no
// limit.
#define NNL_NO_PADDING (-1)
typedef struct nnl_embedding_options {
    const char *who; // for messages
    int64_t padding;
    double max_norm, norm_type;
} nnl_embedding_options;
nnl_tensor *nnl_embedding(nnl_context *ctx, nnl_tensor *index, nnl_tensor *weight,
                          const nnl_embedding_options *options);

// recurrent.c: one layer of cells in one direction over all time steps, with PyTorch's weights: x (T, N, in),
// h and c (N, H) or NULL for zeros, weight_ih (gates * H, in), weight_hh (gates * H, H), biases (gates * H)
// or NULL. lengths (N): int64 in 1 to T, NULL for all T. Results: out[0] (T, N, H), 0 beyond a length; out[1]
// the last h, and out[2] the LSTM's last c (N, H). There is no derivative of a derivative.
typedef struct nnl_recurrence {
    nnl_cell cell;
    bool reverse; // from the last step to the first
    nnl_tensor *x, *h, *c, *weight_ih, *weight_hh, *bias_ih, *bias_hh, *lengths;
} nnl_recurrence;
nnl_status nnl_recurrent(nnl_context *ctx, const nnl_recurrence *r, nnl_tensor *out[3]);

// loss.c: prediction and target of one shape. weight (broadcast to it) and pos_weight (of binary cross
// entropy with logits alone) may be NULL.
typedef enum nnl_loss_reduction { NNL_LOSS_MEAN, NNL_LOSS_SUM, NNL_LOSS_NONE } nnl_loss_reduction;
nnl_tensor *nnl_pointwise_loss_op(nnl_context *ctx, nnl_pointwise_loss kind, nnl_tensor *x,
                                  nnl_tensor *target, nnl_tensor *weight, nnl_tensor *pos_weight,
                                  nnl_loss_reduction reduction);

// cross_entropy.c: x (N, C), (C) or (N, C, ...); labels from 1, or probabilities of x's shape. With
// log_probabilities x is the logarithm of probabilities already (NLLLoss).
typedef struct nnl_cross_entropy_options {
    nnl_loss_reduction reduction;
    int64_t ignore_index;
    double label_smoothing;
    bool log_probabilities;
} nnl_cross_entropy_options;
nnl_tensor *nnl_cross_entropy(nnl_context *ctx, nnl_tensor *x, nnl_tensor *target, nnl_tensor *weight,
                              const nnl_cross_entropy_options *options);

#endif
