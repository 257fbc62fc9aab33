// slot.h: the shapes of parameters and buffers, written in terms of the options: "out_features in_features",
// "4*hidden_size in_channels/groups kernel_size[0]". A size is open while an option that it needs is 0.
#ifndef NNL_NN_SLOT_H
#define NNL_NN_SLOT_H

#include "nn/layer.h"

// How many a layer with these options has, in all copies.
int nnl_slot_count(const nnl_layer *layer);

// Open sizes are 0; false where there is one. Positions are those of layer->tensor.
bool nnl_slot_shape(const nnl_layer *layer, int position, nnl_shape *shape);

// Gives the options that stand alone in a size, and are open, the sizes of `shape`.
void nnl_slot_close(nnl_layer *layer, int position, const nnl_shape *shape);

#endif
