// loss.c: losses as layers of two inputs, prediction and target. The operations are in grad/loss.c and
// grad/cross_entropy.c.
#include "nn/classes.h"

#include <math.h>

// The reduction is every loss's first option; tensors that options give are in the slots of their names.
enum { REDUCTION, IGNORE_INDEX, LABEL_SMOOTHING };
enum { WEIGHT, POS_WEIGHT };

static nnl_status pointwise_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                    nnl_tensor **out) {
    *out = nnl_pointwise_loss_op(ctx, (nnl_pointwise_loss)layer->class->variant, inputs[0], inputs[1],
                                 layer->tensor[WEIGHT], layer->tensor[POS_WEIGHT],
                                 (nnl_loss_reduction)layer->option[REDUCTION].i);
    return *out ? NNL_OK : ctx->status;
}

static nnl_status entropy_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                  nnl_tensor **out) {
    bool log_probabilities = layer->class->variant == 1;
    nnl_cross_entropy_options options = {
        .reduction = (nnl_loss_reduction)layer->option[REDUCTION].i,
        .ignore_index = layer->option[IGNORE_INDEX].i,
        .label_smoothing = log_probabilities ? 0 : layer->option[LABEL_SMOOTHING].d,
        .log_probabilities = log_probabilities,
    };
    *out = nnl_cross_entropy(ctx, inputs[0], inputs[1], layer->tensor[WEIGHT], &options);
    return *out ? NNL_OK : ctx->status;
}

#define REDUCTION_OPTION                                                                                     \
    {                                                                                                        \
        .name = "reduction", .type = NNL_OPTION_CHOICE, .choices = "mean sum none",                          \
        .doc = "of the values to one"                                                                        \
    }
#define TENSOR_OPTION(n, text)                                                                               \
    { .name = n, .type = NNL_OPTION_TENSOR, .doc = text }
#define IGNORE_OPTION                                                                                        \
    {                                                                                                        \
        .name = "ignore_index", .type = NNL_OPTION_INT, .fallback = {-100},                                  \
        .doc = "a label that does not count"                                                                 \
    }
#define SLOT(n)                                                                                              \
    { n, NULL, true, NULL }
#define POINTWISE(n, kind, text)                                                                             \
    .name = n, .doc = text, .is_loss = true, .inputs = 2, .forward = pointwise_forward,                      \
    .variant = NNL_LOSS_##kind
#define ENTROPY(n, which, text)                                                                              \
    .name = n, .doc = text, .is_loss = true, .inputs = 2, .forward = entropy_forward, .variant = which

const nnl_layer_class nnl_loss_classes[] = {
    {POINTWISE("MSELoss", mse, "squared error"), .options = {REDUCTION_OPTION}},
    {POINTWISE("L1Loss", l1, "absolute error"), .options = {REDUCTION_OPTION}},
    {POINTWISE("BCELoss", bce, "binary cross entropy of probabilities, logarithms not below -100"),
     .options = {REDUCTION_OPTION, TENSOR_OPTION("weight", "of each element, broadcast to the prediction")},
     .slots = {SLOT("weight")}},
    {POINTWISE("BCEWithLogitsLoss", bce_with_logits,
               "binary cross entropy of logits, stable for any of them"),
     .options = {REDUCTION_OPTION, TENSOR_OPTION("weight", "of each element, broadcast to the prediction"),
                 TENSOR_OPTION("pos_weight", "of targets that are 1, broadcast to the prediction")},
     .slots = {SLOT("weight"), SLOT("pos_weight")}},
    {ENTROPY("CrossEntropyLoss", 0,
             "of logits (N, C), (C) or (N, C, ...) and labels from 1, or probabilities of the prediction's "
             "shape"),
     .options = {REDUCTION_OPTION,
                 IGNORE_OPTION,
                 {.name = "label_smoothing",
                  .type = NNL_OPTION_NUMBER,
                  .low = 0,
                  .high = 1,
                  .doc = "share of the target that is spread over all classes (Szegedy et al. 2016)"},
                 TENSOR_OPTION("weight", "of each class")},
     .slots = {SLOT("weight")}},
    {ENTROPY("NLLLoss", 1, "of logarithms of probabilities (N, C), (C) or (N, C, ...) and labels from 1"),
     .options = {REDUCTION_OPTION, IGNORE_OPTION, TENSOR_OPTION("weight", "of each class")},
     .slots = {SLOT("weight")}},
    {.name = NULL},
};
