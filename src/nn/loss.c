// loss.c: losses as layers of two inputs, prediction and target. The operations are in grad/loss.c and
// grad/cross_entropy.c.
#include "nn/classes.h"

#include <math.h>

// The reduction is every loss's first option; tensors that options give are in the slots of their names.
enum { REDUCTION, IGNORE_INDEX, LABEL_SMOOTHING };
enum { BETA = 1, DELTA = 1, LOG_TARGET = 1, COSINE_MARGIN = 1 };
enum { MARGIN = 1, P, EPS, SWAP };
enum { BLANK = 1, ZERO_INFINITY };
enum { WEIGHT, POS_WEIGHT };

static nnl_loss_reduction reduction_of(const nnl_layer *layer) {
    return (nnl_loss_reduction)layer->option[REDUCTION].i;
}

static nnl_status give(nnl_context *ctx, nnl_tensor **out, nnl_tensor *loss) {
    *out = loss;
    return loss ? NNL_OK : ctx->status;
}

static nnl_status pointwise_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                    nnl_tensor **out) {
    nnl_pointwise_loss kind = (nnl_pointwise_loss)layer->class->variant;
    nnl_pointwise_options options = {.reduction = reduction_of(layer),
                                     .weight = layer->tensor[WEIGHT],
                                     .pos_weight = layer->tensor[POS_WEIGHT]};
    if (kind == NNL_LOSS_smooth_l1 || kind == NNL_LOSS_huber) options.p = layer->option[BETA].d;
    if (kind == NNL_LOSS_kl_div && layer->option[LOG_TARGET].i) kind = NNL_LOSS_kl_div_log;
    return give(ctx, out, nnl_pointwise_loss_op(ctx, kind, inputs[0], inputs[1], &options));
}

static nnl_status cosine_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                 nnl_tensor **out) {
    return give(ctx, out,
                nnl_cosine_embedding_loss(ctx, inputs[0], inputs[1], inputs[2],
                                          layer->option[COSINE_MARGIN].d, reduction_of(layer)));
}

static nnl_status triplet_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                  nnl_tensor **out) {
    nnl_triplet_options options = {.margin = layer->option[MARGIN].d,
                                   .p = layer->option[P].d,
                                   .eps = layer->option[EPS].d,
                                   .swap = layer->option[SWAP].i != 0,
                                   .reduction = reduction_of(layer)};
    return give(ctx, out, nnl_triplet_margin_loss(ctx, inputs[0], inputs[1], inputs[2], &options));
}

static nnl_status ctc_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                              nnl_tensor **out) {
    nnl_ctc_options options = {.blank = layer->option[BLANK].i,
                               .zero_infinity = layer->option[ZERO_INFINITY].i != 0,
                               .reduction = reduction_of(layer)};
    return give(ctx, out, nnl_ctc_loss(ctx, inputs[0], inputs[1], inputs[2], inputs[3], &options));
}

static nnl_status entropy_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                  nnl_tensor **out) {
    bool log_probabilities = layer->class->variant == 1;
    nnl_cross_entropy_options options = {
        .reduction = reduction_of(layer),
        .ignore_index = layer->option[IGNORE_INDEX].i,
        .label_smoothing = log_probabilities ? 0 : layer->option[LABEL_SMOOTHING].d,
        .log_probabilities = log_probabilities,
    };
    return give(ctx, out, nnl_cross_entropy(ctx, inputs[0], inputs[1], layer->tensor[WEIGHT], &options));
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
#define NUMBER_OPTION(n, value, least, text)                                                                 \
    { .name = n, .type = NNL_OPTION_NUMBER, .fallback = {value}, .low = least, .high = INFINITY, .doc = text }
#define FLAG_OPTION(n, text)                                                                                 \
    { .name = n, .type = NNL_OPTION_BOOL, .doc = text }
#define SLOT(n)                                                                                              \
    { .name = n, .buffer = true }
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
    {POINTWISE("SmoothL1Loss", smooth_l1,
               "half the square, divided by beta, of errors below it; linear above"),
     .options = {REDUCTION_OPTION, NUMBER_OPTION("beta", 1, 0, "error from which the loss is linear")}},
    {POINTWISE("HuberLoss", huber, "half the square of errors up to delta; linear above (Huber 1964)"),
     .options = {REDUCTION_OPTION,
                 {.name = "delta",
                  .type = NNL_OPTION_NUMBER,
                  .fallback = {1},
                  .low = 0,
                  .high = INFINITY,
                  .exclusive_low = true,
                  .doc = "error from which the loss is linear"}}},
    {POINTWISE("KLDivLoss", kl_div, "divergence of the target from exp(prediction)"),
     .options = {{.name = "reduction",
                  .type = NNL_OPTION_CHOICE,
                  .choices = "mean sum none batchmean",
                  .doc = "of the values to one; batchmean, the divergence proper: sum / N"},
                 FLAG_OPTION("log_target", "whether the target too is logarithms")}},
    {POINTWISE("HingeLoss", hinge, "max(0, 1 - target * prediction), target 1 or -1"),
     .options = {REDUCTION_OPTION}},
    {.name = "CosineEmbeddingLoss",
     .doc = "1 - cosine of pairs (N, D), (N, D) with target (N) 1, max(0, cosine - margin) with -1",
     .is_loss = true,
     .inputs = 3,
     .forward = cosine_forward,
     .options = {REDUCTION_OPTION,
                 {.name = "margin",
                  .type = NNL_OPTION_NUMBER,
                  .low = -1,
                  .high = 1,
                  .doc = "cosine from which unlike pairs cost something"}}},
    {.name = "TripletMarginLoss",
     .doc = "max(0, margin + |anchor - positive| - |anchor - negative|) of (N, D) (Balntas et al. 2016)",
     .is_loss = true,
     .inputs = 3,
     .forward = triplet_forward,
     .options =
         {REDUCTION_OPTION, [MARGIN] = NUMBER_OPTION("margin", 1, 0, "by which the negative must be farther"),
          [P] = NUMBER_OPTION("p", 2, 0, "of the norm"),
          [EPS] = NUMBER_OPTION("eps", 1e-6, 0, "added to differences"),
          [SWAP] = FLAG_OPTION("swap", "whether the negative's distance from the positive counts too")}},
    {.name = "CTCLoss",
     .doc =
         "minus the log probability of label sequences under log_probs (N, T, C), over all alignments "
         "(Graves "
         "et al. 2006): ctc(log_probs, targets, input_lengths, target_lengths); mean divides by the lengths",
     .is_loss = true,
     .inputs = 2,
     .takes = "log_probs targets input_lengths target_lengths",
     .forward = ctc_forward,
     .options = {REDUCTION_OPTION,
                 [BLANK] = {.name = "blank",
                            .type = NNL_OPTION_INT,
                            .fallback = {1},
                            .low = 1,
                            .high = INFINITY,
                            .doc = "class that stands for no label"},
                 [ZERO_INFINITY] =
                     FLAG_OPTION("zero_infinity", "whether targets that do not fit count nothing")}},
    {.name = NULL},
};
