// attention.h: multi-head attention (Vaswani et al. 2017) of layers: MultiHeadAttention itself and those that
// hold one, such as TransformerEncoderLayer. attention.c has the work and MultiHeadAttention's record.
#ifndef NNL_NN_ATTENTION_H
#define NNL_NN_ATTENTION_H

#include "nn/adapter.h"

// One call. Tensors are borrowed and may be NULL but for out_weight; either in_weight is there or the other
// three.
typedef struct nnl_multi_head {
    const char *who; // the layer as scripts write it
    int64_t dim, heads;
    nnl_tensor *in_weight, *q_weight, *k_weight, *v_weight; // (3 dim, dim), or (dim, size of the input)
    nnl_tensor *in_bias;                                    // (3 dim)
    nnl_tensor *out_weight, *out_bias;
    const nnl_adapter *in_adapter, *part_adapter[3], *out_adapter; // of these weights
    bool training;                                                 // for the dropout of adapters
    nnl_tensor *bias_k, *bias_v;                                   // (1, 1, dim): one more key and value
    bool zero_attention;                                           // one more key and value of zeros
    double dropout;                                                // of the weights; 0 in evaluation
    nnl_tensor *mask;    // (L, S), (N * heads, L, S), or what broadcasts to (N, heads, L, S)
    nnl_tensor *padding; // (N, S); true in bool masks blocks, float masks are added
    bool causal, need_weights, average_weights;
    nnl_tensor *cache; // (2, N, most, dim): keys and values of earlier calls, then of this one, or NULL
    int64_t offset;    // how many there are of earlier calls
    bool cached;       // the cache has all keys and values: only the query is projected
} nnl_multi_head;

// query (N, L, dim), key and value (N, S, size), or all without N. out[0] as query, out[1] the weights (N, L,
// S), or (N, heads, L, S), where they are needed: new.
nnl_status nnl_multi_head_attention(nnl_context *ctx, const nnl_multi_head *m, nnl_tensor *query,
                                    nnl_tensor *key, nnl_tensor *value, nnl_tensor **out);

// First values, as PyTorch has them: Glorot's uniform rule for the projections, biases of 0.
nnl_status nnl_multi_head_reset(nnl_context *ctx, const nnl_multi_head *m);

// Those of a linear layer: uniform within 1 / sqrt(inputs). bias may be NULL.
nnl_status nnl_linear_reset(nnl_context *ctx, nnl_tensor *weight, nnl_tensor *bias);

// Whether the heads divide the dimensions.
nnl_status nnl_check_heads(nnl_context *ctx, const char *who, int64_t dim, int64_t heads);

// The options of a call that generation needs; the layer declares them last.
#define NNL_CACHE_OPTIONS                                                                                    \
    {.name = "cache",                                                                                        \
     .type = NNL_OPTION_TENSOR,                                                                              \
     .doc = "(2, N, most, dim): keys and values of earlier calls, to which this one's are added in place"},  \
    {                                                                                                        \
        .name = "offset", .type = NNL_OPTION_INT, .high = INFINITY, .doc = "positions of earlier calls"      \
    }

#endif
