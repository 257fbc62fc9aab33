// weighted.h: what layers with a weight and a bias share (Dense, the convolutions): their options, first
// values, activation and penalties. The options stand together in a class's declaration, in this order, from
// some position `at` on; the weight is the first slot and the bias the second.
#ifndef NNL_NN_WEIGHTED_H
#define NNL_NN_WEIGHTED_H

#include "nn/classes.h"

#include <math.h>

enum { NNL_WEIGHT, NNL_BIAS };

#define NNL_INITIALIZER_WORDS                                                                                \
    "default uniform normal trunc_normal zeros ones xavier_uniform xavier_normal kaiming_uniform "           \
    "kaiming_normal orthogonal"

#define NNL_PENALTY_OPTION(n, text)                                                                          \
    { .name = n, .type = NNL_OPTION_FIELDS, .low = 0, .high = INFINITY, .choices = "l1 l2", .doc = text }

#define NNL_WEIGHTED_OPTIONS                                                                                 \
    {.name = "activation", .type = NNL_OPTION_ACTIVATION, .doc = "applied to the result"},                   \
        {.name = "bias", .type = NNL_OPTION_BOOL, .fallback = {1}, .doc = "whether one is added"},           \
        {.name = "init",                                                                                     \
         .type = NNL_OPTION_CHOICE,                                                                          \
         .choices = NNL_INITIALIZER_WORDS,                                                                   \
         .doc = "how the weight starts; default: both uniform within 1 / sqrt(inputs of one result)"},       \
        NNL_PENALTY_OPTION("kernel_regularizer", "penalty on the weight, added to the loss"),                \
        NNL_PENALTY_OPTION("bias_regularizer", "penalty on the bias"),                                       \
        NNL_PENALTY_OPTION("activity_regularizer", "penalty on the result, per sample"), NNL_DTYPE_OPTION

// First values: PyTorch's for its Linear and Conv, or the rule that the options name, and a bias of 0.
// fan_in: inputs of one result.
nnl_status nnl_weighted_reset(nnl_context *ctx, nnl_layer *layer, int at, double fan_in);

// The dtype of a lazy layer's parameters follows its first input.
void nnl_weighted_infer_dtype(nnl_layer *layer, int at, const nnl_tensor *x);

const nnl_activation *nnl_weighted_activation(const nnl_layer *layer, int at);

// y (taken; NULL passes through as a failure) activated where it is not yet, its penalty noted. Into *out,
// new.
nnl_status nnl_weighted_finish(nnl_context *ctx, nnl_layer *layer, int at, nnl_tensor *y, bool activated,
                               nnl_tensor **out);

// As nnl_layer_class.penalty has it.
nnl_status nnl_weighted_penalty(nnl_context *ctx, nnl_layer *layer, int at, nnl_tensor **out);

#endif
