// attend.h: attention over memory: softmax(scale q k^T + mask) v and its gradients, tile by tile over keys
// with a running maximum (Dao et al. 2022), so that no (L, S) matrix is ever whole. attention.c records it.
#ifndef NNL_GRAD_ATTEND_H
#define NNL_GRAD_ATTEND_H

#include "tensor/tensor.h"

// Tensors of one batch shape, of float32 or float64, none of them in the graph. The elements of a row lie
// together.
typedef struct nnl_attend {
    nnl_tensor *q, *k, *v; // (..., L, E), (..., S, E), (..., S, V)
    nnl_tensor *mask;      // (..., L, S), bool (where it is not `allowed` is left out) or added; or NULL
    bool allowed;
    bool causal;
    int64_t offset; // with causal: query i sees the keys up to i + offset
    double scale;
    double dropout;
    uint64_t seed, block; // of the random words of dropout, see nnl_attend_words
} nnl_attend;

// out (..., L, V). statistics: (..., L, 2) of float64, each row's largest score and 1 / the sum of
// exponentials, for backward; or NULL.
nnl_status nnl_attend_forward(nnl_context *ctx, const nnl_attend *a, nnl_tensor *out, nnl_tensor *statistics);

// What the gradients come from and go to: those of q, k and v, and of the mask as (..., L, S), contiguous, or
// NULL.
typedef struct nnl_attend_gradients {
    const nnl_tensor *out, *statistics, *dout;
    nnl_tensor *dq, *dk, *dv, *dmask;
} nnl_attend_gradients;
nnl_status nnl_attend_backward(nnl_context *ctx, const nnl_attend *a, const nnl_attend_gradients *g);

// Whether rows lie together, so that a tensor may take part.
bool nnl_attend_reads(const nnl_tensor *t);

// The random words that dropout of all weights takes: row by row, each padded to a multiple of four.
size_t nnl_attend_words(const nnl_attend *a);

// 0 or 1 for `count` weights of a row (counted over all batches) from key `first`, a multiple of four, on.
void nnl_attend_kept(nnl_context *ctx, const nnl_attend *a, size_t row, size_t first, size_t count,
                     uint8_t *kept);

#endif
