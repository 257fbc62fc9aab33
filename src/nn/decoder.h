// decoder.h: a language model of transformer blocks as generation runs it: tokens in, logits out, keys and
// values kept. All memory is taken when it is made, so that a token takes none. It reads the weights of a
// model's layers as they lie, mapped files and half floats included; training and everything unusual goes
// through the layers themselves.
#ifndef NNL_NN_DECODER_H
#define NNL_NN_DECODER_H

#include "nn/position.h"

// The weight and the bias of what a block consists of. Projections are packed (QKV) or three.
typedef enum nnl_decoder_part {
    NNL_DECODER_NORM1,
    NNL_DECODER_QKV,
    NNL_DECODER_QUERY,
    NNL_DECODER_KEY,
    NNL_DECODER_VALUE,
    NNL_DECODER_OUT,
    NNL_DECODER_NORM2,
    NNL_DECODER_GATE, // of gated models: down(activation(gate x) * up x), else down(activation(up x))
    NNL_DECODER_UP,
    NNL_DECODER_DOWN,
    NNL_DECODER_PARTS
} nnl_decoder_part;

// Their names in scripts.
extern const char *const nnl_decoder_part_names[NNL_DECODER_PARTS];

// Tensors are borrowed, and NULL where a model has none. Weights (out, in) are row-major, or transposed views
// of such.
typedef struct nnl_decoder_layer {
    nnl_tensor *weight[NNL_DECODER_PARTS], *bias[NNL_DECODER_PARTS];
} nnl_decoder_layer;

typedef struct nnl_decoder_spec {
    int64_t layers, width, heads, kv_heads, size; // size: of a head
    int64_t length;                               // tokens that there is room for
    double eps;
    bool centred;                     // layer normalisation; else RMS normalisation
    const nnl_activation *activation; // an elementwise one
    const nnl_rotary *rotary;         // NULL: none
    bool interleaved;                 // of rotary: neighbours are pairs
    nnl_tensor *tokens, *places;      // (vocabulary, width); (positions, width) or NULL
    nnl_tensor *norm, *norm_bias;     // before the head
    nnl_tensor *head, *head_bias;     // (vocabulary, width)
    const nnl_decoder_layer *layer;   // as many as there are layers
} nnl_decoder_spec;

typedef struct nnl_decoder nnl_decoder;

// Retains the tensors. NULL, and the error set, where they do not fit together. Returns new.
nnl_decoder *nnl_decoder_new(nnl_context *ctx, const nnl_decoder_spec *spec);
void nnl_decoder_free(nnl_decoder *decoder); // NULL is allowed

// Reads tokens (ids from 0) behind those before; the logits are then those of what follows the last one.
nnl_status nnl_decoder_feed(nnl_decoder *decoder, size_t count, const int64_t *ids);

// The logits (vocabulary) of the last feed: borrowed, written over by the next one.
nnl_tensor *nnl_decoder_logits(const nnl_decoder *decoder);

// How many tokens have been read, and how many there is room for.
int64_t nnl_decoder_position(const nnl_decoder *decoder);
int64_t nnl_decoder_room(const nnl_decoder *decoder);
// Forgets the tokens from `position` on.
void nnl_decoder_rewind(nnl_decoder *decoder, int64_t position);

#endif
