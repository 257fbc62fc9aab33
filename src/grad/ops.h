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
nnl_tensor *nnl_select(nnl_context *ctx, nnl_tensor *x, int dim, int64_t index);

// gather.c: positions count from 1
nnl_tensor *nnl_index_select(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index);
nnl_tensor *nnl_true_positions(nnl_context *ctx, nnl_tensor *mask); // of a bool tensor, flattened
// zeros of a shape with the slices of x added at the positions (contiguous) of dim: the reverse of
// index_select
nnl_tensor *nnl_unselect(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index, const nnl_shape *shape);
// zeros of a shape with x added at the positions along dim: the reverse of gather
nnl_tensor *nnl_ungather(nnl_context *ctx, nnl_tensor *x, int dim, nnl_tensor *index, const nnl_shape *shape);

// pick.c: keys[d], for each dimension of t, holds positions (from 1, or negative from the end) or is NULL for
// all. They broadcast together; their shape stands where the first was, or in front where others lie between
// them.
nnl_tensor *nnl_pick(nnl_context *ctx, nnl_tensor *t, nnl_tensor *const *keys);
// 1, 2, 3, ... in a shape: the position of each element in a row of all. Returns new.
nnl_tensor *nnl_positions_in(nnl_context *ctx, const nnl_shape *shape);

// part.c: what positions and ranges choose of a tensor
typedef struct nnl_region {
    nnl_shape shape;             // of what is chosen
    int dim[NNL_MAX_DIMS];       // for each of its dimensions the tensor's,
    int64_t step[NNL_MAX_DIMS];  // and the distance between positions
    int64_t start[NNL_MAX_DIMS]; // for each dimension of the tensor the first position, from 0
} nnl_region;
nnl_tensor *nnl_region_view(nnl_context *ctx, nnl_tensor *x, const nnl_region *region);
// any look at a tensor's memory: strides and offset in elements
nnl_tensor *nnl_strided_view(nnl_context *ctx, nnl_tensor *x, const nnl_shape *shape, const int64_t *stride,
                             int64_t offset);

// assign.c: changes in place, within the graph
// Whether t may be changed in place: an error where it is (a view of) a leaf that requires a gradient, or
// where elements share memory. `recorded`: something that the change depends on requires a gradient.
nnl_status nnl_check_in_place(nnl_context *ctx, const char *who, nnl_tensor *t, bool recorded);
// t, already checked, gets the elements and the history of values, which have its shape.
nnl_status nnl_write(nnl_context *ctx, nnl_tensor *t, nnl_tensor *values);
// The same with the check, for a part of t, or for all of it where region is NULL; values broadcast.
nnl_status nnl_assign(nnl_context *ctx, nnl_tensor *t, const nnl_region *region, nnl_tensor *values);
nnl_status nnl_assign_number(nnl_context *ctx, nnl_tensor *t, const nnl_region *region, nnl_number value);
// The values, copied where they share t's memory. Returns new.
nnl_tensor *nnl_apart(nnl_context *ctx, const nnl_tensor *t, nnl_tensor *values);

// index.c: t[key], key a tensor of positions along the first dimension (integers from 1) or a mask (bool) of
// the first dimensions; written in place, values broadcast to what reading gives
nnl_tensor *nnl_index_get(nnl_context *ctx, nnl_tensor *t, nnl_tensor *key);
nnl_status nnl_index_put(nnl_context *ctx, nnl_tensor *t, nnl_tensor *key, nnl_tensor *values);

// join.c
nnl_tensor *nnl_cat(nnl_context *ctx, size_t count, nnl_tensor *const *items, int dim);

// matmul.c: 1-D, 2-D and batched, as PyTorch's matmul
nnl_tensor *nnl_matmul(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b);
// Matrices, or batches of equal batch shape, either transposed on the way.
nnl_tensor *nnl_mm(nnl_context *ctx, nnl_tensor *a, bool transpose_a, nnl_tensor *b, bool transpose_b);

// einsum.c: "ij,jk->ik" and the like
nnl_tensor *nnl_einsum(nnl_context *ctx, const char *equation, size_t count, nnl_tensor *const *operands);

// softmax.c
nnl_tensor *nnl_softmax(nnl_context *ctx, nnl_tensor *x, int dim);
nnl_tensor *nnl_log_softmax(nnl_context *ctx, nnl_tensor *x, int dim);
nnl_tensor *nnl_logsumexp(nnl_context *ctx, nnl_tensor *x, int ndims, const int64_t *dims, bool keepdim);

// linear.c: act(x weight^T + bias), x (*, in), weight (out, in), bias (out) or NULL, `activation` a unary
// operation or NNL_UNARY_COUNT for none
nnl_tensor *nnl_linear(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                       nnl_unary activation);

// gate.c: a * sigmoid(b) of the halves along a dimension; x above 0, weight (1) or (C) * x elsewhere
nnl_tensor *nnl_glu(nnl_context *ctx, nnl_tensor *x, int dim);
nnl_tensor *nnl_prelu(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight);

// norm.c. weight and bias may be NULL, and are of the normalised shape, or one for each channel. Running
// statistics may be NULL in training, where they change in place.
nnl_tensor *nnl_layer_norm(nnl_context *ctx, nnl_tensor *x, const nnl_shape *normalized, nnl_tensor *weight,
                           nnl_tensor *bias, double eps);
nnl_tensor *nnl_rms_norm(nnl_context *ctx, nnl_tensor *x, const nnl_shape *normalized, nnl_tensor *weight,
                         double eps);
nnl_tensor *nnl_group_norm(nnl_context *ctx, nnl_tensor *x, int64_t groups, nnl_tensor *weight,
                           nnl_tensor *bias, double eps);
typedef struct nnl_batch_norm_options {
    bool training;
    double momentum, eps;
} nnl_batch_norm_options;
nnl_tensor *nnl_batch_norm(nnl_context *ctx, nnl_tensor *x, nnl_tensor *running_mean, nnl_tensor *running_var,
                           nnl_tensor *weight, nnl_tensor *bias, const nnl_batch_norm_options *options);

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

// attention.c: softmax(scale q k^T + mask) v, q (..., L, E), k (..., S, E), v (..., S, V)
typedef struct nnl_attention_options {
    nnl_tensor *mask; // broadcasts to (..., L, S): bool, true where a query may see a key, or added; or NULL
    bool blocked;     // true in a bool mask means the opposite
    bool causal;      // query i sees the keys up to i + offset alone
    int64_t offset;
    double dropout; // of the weights
    double scale;   // NAN: 1 / sqrt(E)
} nnl_attention_options;
nnl_tensor *nnl_attention(nnl_context *ctx, nnl_tensor *q, nnl_tensor *k, nnl_tensor *v,
                          const nnl_attention_options *options);
// The same composed of other operations, with the weights (..., L, S) as out[1]; one batch shape.
nnl_status nnl_attention_with_weights(nnl_context *ctx, nnl_tensor *q, nnl_tensor *k, nnl_tensor *v,
                                      const nnl_attention_options *options, nnl_tensor *out[2]);
// x (..., T, parts * heads * d) as `parts` tensors (..., heads, T, d) that look at it; and one of them joined
// again as (..., T, heads * d)
nnl_status nnl_split_heads(nnl_context *ctx, nnl_tensor *x, int parts, int64_t heads, nnl_tensor **out);
nnl_tensor *nnl_join_heads(nnl_context *ctx, nnl_tensor *x);

// rotary.c: pairs of the rows of x (..., T, d), halves or neighbours, turned by angles whose cosines and
// sines lie in turns (T, d) side by side
nnl_tensor *nnl_rotate(nnl_context *ctx, nnl_tensor *x, nnl_tensor *turns, bool neighbours);

// loss.c: prediction and target of one shape.
typedef enum nnl_loss_reduction {
    NNL_LOSS_MEAN,
    NNL_LOSS_SUM,
    NNL_LOSS_NONE,
    NNL_LOSS_BATCH_MEAN // the sum divided by the size of the first dimension
} nnl_loss_reduction;

typedef struct nnl_pointwise_options {
    nnl_tensor *weight;     // broadcast to the prediction, or NULL
    nnl_tensor *pos_weight; // the same; of binary cross entropy with logits alone
    nnl_loss_reduction reduction;
    double p; // the beta of smooth_l1, the delta of huber
} nnl_pointwise_options;

nnl_tensor *nnl_pointwise_loss_op(nnl_context *ctx, nnl_pointwise_loss kind, nnl_tensor *x,
                                  nnl_tensor *target, const nnl_pointwise_options *options);

// distance.c: of vectors, the rows (*, D) of two tensors that broadcast
nnl_tensor *nnl_cosine_similarity(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b, int dim, double eps);
nnl_tensor *nnl_pairwise_distance(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b, double p, double eps);
// target 1: 1 - cosine, target -1: max(0, cosine - margin)
nnl_tensor *nnl_cosine_embedding_loss(nnl_context *ctx, nnl_tensor *a, nnl_tensor *b, nnl_tensor *target,
                                      double margin, nnl_loss_reduction reduction);

// max(0, margin + |anchor - positive| - |anchor - negative|)
typedef struct nnl_triplet_options {
    double margin, p, eps;
    bool swap; // the negative's distance is the smaller one of those to anchor and positive
    nnl_loss_reduction reduction;
} nnl_triplet_options;
nnl_tensor *nnl_triplet_margin_loss(nnl_context *ctx, nnl_tensor *anchor, nnl_tensor *positive,
                                    nnl_tensor *negative, const nnl_triplet_options *options);

// ctc.c: log_probs (N, T, C) or (T, C); labels from 1 in targets (N, S), (S) or one after the other; lengths
// int64 (N), NULL for all of them whole
typedef struct nnl_ctc_options {
    int64_t blank; // from 1
    bool zero_infinity;
    nnl_loss_reduction reduction;
} nnl_ctc_options;
nnl_tensor *nnl_ctc_loss(nnl_context *ctx, nnl_tensor *log_probs, nnl_tensor *targets,
                         nnl_tensor *input_lengths, nnl_tensor *target_lengths,
                         const nnl_ctc_options *options);

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
