// position.h: the angles of rotary embeddings (Su et al. 2021), of layers and of generation alike.
#ifndef NNL_NN_POSITION_H
#define NNL_NN_POSITION_H

#include "nn/layer.h"

// Pair k of dim / 2 turns by position / base^(2 k / dim). For contexts longer than those of the training the
// angles shrink: all by `factor`, or, where `original` tells the positions of the training, slow ones by the
// factor, fast ones not, with a transition between original / high and original / low positions for a whole
// turn (Llama 3.1).
typedef struct nnl_rotary {
    int64_t dim;
    double base;
    double factor, low, high, original; // factor 1: as they are; original 0: all alike
} nnl_rotary;

// The positions in which pair k turns by an angle of 1.
double nnl_rotary_period(const nnl_rotary *rotary, int64_t pair);

// Cosines and sines, side by side, of positions first to first + rows - 1: (rows, dim), from a table that
// grows with the layer. Returns new.
nnl_tensor *nnl_rotary_rows(nnl_context *ctx, nnl_layer *layer, const nnl_rotary *rotary, int64_t first,
                            int64_t rows, nnl_dtype dtype);

#endif
