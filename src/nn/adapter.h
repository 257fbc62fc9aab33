// adapter.h: low-rank adapters of layers' weights (LoRA: Hu et al., "LoRA: Low-Rank Adaptation of Large
// Language Models", 2021). Beside a weight W (out, in), which stays as it is, two small matrices are trained,
// A (rank, in) and B (out, rank): the layer works with W + alpha / rank * B A. Of a weight with more
// dimensions, `in` is the product of all but the first.
#ifndef NNL_NN_ADAPTER_H
#define NNL_NN_ADAPTER_H

#include "nn/layer.h"

typedef struct nnl_adapter {
    int slot; // of the weight
    int64_t rank;
    double alpha, dropout;
    nnl_tensor *a, *b; // both retained
    nnl_tensor *base;  // while merged: the weight alone, as its slot has the sum; otherwise NULL
    nnl_tensor *kept;  // during a call: the same
} nnl_adapter;

// Whether a slot can have one: a weight of at least two dimensions.
bool nnl_adapter_fits(const nnl_layer *layer, int slot);

// Whether the layer's input goes through A, so that there may be a dropout before it.
bool nnl_adapter_sees_input(const nnl_layer *layer);

// A begins as Kaiming He's uniform rule has it (a = sqrt(5), as in the authors' code) or, where `gaussian`,
// normal with deviation 1 / rank; B as zeros, so that nothing changes at first. There must be none yet.
nnl_status nnl_adapter_add(nnl_context *ctx, nnl_layer *layer, int slot, int64_t rank, double alpha,
                           double dropout, bool gaussian);

// The adapter that a forward function has to add; NULL where there is none, or where it is merged.
const nnl_adapter *nnl_adapter_of(const nnl_layer *layer, int slot);

// "lora_A" or "lora_B" in the place of "weight" in the slot's name.
void nnl_adapter_name(const nnl_layer *layer, const nnl_adapter *adapter, char which,
                      char name[NNL_SLOT_NAME]);

// The matrix of this name, borrowed; NULL where there is none.
nnl_tensor *nnl_adapter_tensor(const nnl_layer *layer, const char *name);

// y + alpha / rank * B A dropout(x), of the rows first to first + rows of B. Takes y, NULL after a failure,
// and returns it itself where there is no adapter.
nnl_tensor *nnl_adapter_apply(nnl_context *ctx, const nnl_adapter *adapter, bool training, nnl_tensor *x,
                              int64_t first, int64_t rows, nnl_tensor *y);

// activation(x W^T + bias) by the weight and bias of two slots, the adapter included. Returns new.
nnl_tensor *nnl_linear_adapted(nnl_context *ctx, const nnl_layer *layer, nnl_tensor *x, int weight, int bias,
                               const nnl_activation *activation);

// For classes that know nothing of adapters: during a call the sums stand in the slots of the weights.
nnl_status nnl_adapters_begin(nnl_context *ctx, nnl_layer *layer);
void nnl_adapters_end(nnl_layer *layer);

// The sums become the layer's weights, or the weights from before again, to the bit.
nnl_status nnl_adapters_merge(nnl_context *ctx, nnl_layer *layer, bool merged);

// A layer without adapters; weights that are merged stay so.
void nnl_adapters_drop(nnl_layer *layer);

nnl_status nnl_adapters_to(nnl_context *ctx, nnl_layer *layer, nnl_dtype dtype);

#endif
