// dropout.c: Dropout (Srivastava et al. 2014), of elements and of channels. The operation is in
// grad/dropout.c.
#include "nn/classes.h"

static nnl_status dropout_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                  nnl_tensor **out) {
    bool active = layer->training && layer->option[0].d > 0;
    *out = active ? nnl_dropout(ctx, inputs[0], layer->option[0].d) : nnl_tensor_retain(inputs[0]);
    return *out ? NNL_OK : ctx->status;
}

static nnl_status dropout2d_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                    nnl_tensor **out) {
    bool active = layer->training && layer->option[0].d > 0;
    *out = active ? nnl_dropout_channels(ctx, "nn.Dropout2d", inputs[0], layer->option[0].d)
                  : nnl_tensor_retain(inputs[0]);
    return *out ? NNL_OK : ctx->status;
}

#define PROBABILITY                                                                                          \
    {                                                                                                        \
        .name = "p", .type = NNL_OPTION_NUMBER, .positional = true, .fallback = {0.5}, .low = 0, .high = 1,  \
        .doc = "probability of a 0"                                                                          \
    }

const nnl_layer_class nnl_dropout_classes[] = {
    {.name = "Dropout",
     .doc = "While training, each element is 0 with probability p and else divided by 1 - p; x itself in "
            "evaluation (Srivastava et al. 2014)",
     .inputs = 1,
     .options = {PROBABILITY},
     .forward = dropout_forward},
    {.name = "Dropout2d",
     .doc = "The same for whole channels of (N, C, H, W) (Tompson et al. 2015)",
     .inputs = 1,
     .options = {PROBABILITY},
     .forward = dropout2d_forward},
    {.name = NULL},
};
