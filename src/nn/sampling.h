// sampling.h: the choice of the next token from logits: the largest, or by chance among the likely ones. All
// memory is taken when a sampler is made.
#ifndef NNL_NN_SAMPLING_H
#define NNL_NN_SAMPLING_H

#include "tensor/tensor.h"

// In this order: logits of tokens that were there before are weakened (Keskar et al. 2019), all are divided
// by the temperature, the top_k largest stay, of these the fewest whose probabilities reach top_p (Holtzman
// et al. 2020), and of these the ones whose probability is at least min_p times the largest one.
typedef struct nnl_sampling {
    double temperature; // 0: the largest, the first one of equals
    int64_t top_k;      // 0: all
    double top_p;       // 1: all
    double min_p;       // 0: all
    double repetition;  // positive logits are divided by it, negative ones multiplied; 1: nothing
    bool seeded;        // by `seed`, or by the context's random numbers
    uint64_t seed;
} nnl_sampling;

typedef struct nnl_sampler nnl_sampler;

// For logits of `size` tokens. Returns new.
nnl_sampler *nnl_sampler_new(nnl_context *ctx, int64_t size, const nnl_sampling *sampling);
void nnl_sampler_free(nnl_sampler *sampler); // NULL is allowed

// A token from logits (size) of float32, contiguous, into *id, counted from 0. Logits with NaN, or without
// any that is finite, are an error.
nnl_status nnl_sampler_pick(nnl_sampler *sampler, const nnl_tensor *logits, int64_t *id);

// A token was there: it counts as repeated from now on.
void nnl_sampler_note(nnl_sampler *sampler, int64_t id);

#endif
