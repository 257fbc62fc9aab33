// dropout.c: Dropout (Srivastava et al. 2014). The operation is in grad/dropout.c.
#include "nn/classes.h"

static nnl_status dropout_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                  nnl_tensor **out) {
    bool active = layer->training && layer->option[0].d > 0;
    *out = active ? nnl_dropout(ctx, inputs[0], layer->option[0].d) : nnl_tensor_retain(inputs[0]);
    return *out ? NNL_OK : ctx->status;
}

const nnl_layer_class nnl_dropout_classes[] = {
    {.name = "Dropout",
     .doc = "While training, each element is 0 with probability p and else divided by 1 - p; x itself in "
            "evaluation (Srivastava et al. 2014)",
     .inputs = 1,
     .options = {{.name = "p",
                  .type = NNL_OPTION_NUMBER,
                  .positional = true,
                  .fallback = {0.5},
                  .low = 0,
                  .high = 1,
                  .doc = "probability of a 0"}},
     .forward = dropout_forward},
    {.name = NULL},
};
