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

// conv.c: x (N, C, H, W), (N, C, L) with dims = 1, or either without N; weight (out, C / groups, kernel ...),
// or (C, out / groups, kernel ...) transposed; bias (out) or NULL. Sizes are one for each dimension.
#define NNL_PADDING_WORDS "same valid"
typedef enum nnl_padding_rule { NNL_PADDING_SIZES, NNL_PADDING_SAME, NNL_PADDING_VALID } nnl_padding_rule;
typedef struct nnl_conv_options {
    const char *who; // in messages
    int dims;
    bool transposed;
    nnl_padding_rule padding_rule;
    int64_t stride[2], padding[2], dilation[2], output_padding[2], groups;
} nnl_conv_options;
nnl_tensor *nnl_conv(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                     const nnl_conv_options *options);

// pool.c: x as above. `kernel` is the output's size for adaptive pooling; a stride of 0 is the kernel's size.
// *indices (new, int64, positions in each plane from 1) where `indices` is not NULL and the largest is asked
// for.
typedef struct nnl_pool_options {
    const char *who;
    int dims;
    bool largest, ceil_mode, count_include_pad;
    int64_t kernel[2], stride[2], padding[2], dilation[2], divisor_override;
} nnl_pool_options;
nnl_tensor *nnl_pooling(nnl_context *ctx, nnl_tensor *x, const nnl_pool_options *options,
                        nnl_tensor **indices);
nnl_tensor *nnl_adaptive_pool(nnl_context *ctx, nnl_tensor *x, const nnl_pool_options *options,
                              nnl_tensor **indices);
nnl_tensor *nnl_global_avg_pool(nnl_context *ctx, const char *who, nnl_tensor *x);

// resize.c: nearest or (bi)linear, to `size` or by `scale`, of which one is given: a count of 0 is none.
#define NNL_RESIZE_MODES "nearest linear bilinear area"
typedef enum nnl_resize_mode {
    NNL_RESIZE_NEAREST,
    NNL_RESIZE_LINEAR,
    NNL_RESIZE_BILINEAR,
    NNL_RESIZE_AREA
} nnl_resize_mode;
typedef struct nnl_resize_options {
    const char *who;
    nnl_resize_mode mode;
    bool align_corners;
    int size_count, scale_count;
    int64_t size[2];
    double scale[2];
} nnl_resize_options;
nnl_tensor *nnl_resize(nnl_context *ctx, nnl_tensor *x, const nnl_resize_options *options);

// pad.c: before and after the last dimension, then the one before it ...; negative cuts off
#define NNL_PAD_MODES "constant reflect replicate circular"
typedef enum nnl_pad_mode {
    NNL_PAD_CONSTANT,
    NNL_PAD_REFLECT,
    NNL_PAD_REPLICATE,
    NNL_PAD_CIRCULAR
} nnl_pad_mode;
nnl_tensor *nnl_pad(nnl_context *ctx, const char *who, nnl_tensor *x, int count, const int64_t *widths,
                    nnl_pad_mode mode, double value);

// dropout.c: each element 0 with probability p, else divided by 1 - p
nnl_tensor *nnl_dropout(nnl_context *ctx, nnl_tensor *x, double p);
// The same for whole channels, of x (N, C, ...)
nnl_tensor *nnl_dropout_channels(nnl_context *ctx, const char *who, nnl_tensor *x, double p);

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
