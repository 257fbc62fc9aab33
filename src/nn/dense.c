// dense.c: the fully connected layer, also called Linear: y = activation(x weight^T + bias).
#include "nn/adapter.h"
#include "nn/weighted.h"

// Positions in the declaration below.
enum { IN, OUT, SHARED };

static nnl_status dense_reset(nnl_context *ctx, nnl_layer *layer) {
    return nnl_weighted_reset(ctx, layer, SHARED, (double)layer->option[IN].i);
}

static nnl_status dense_infer(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x) {
    int last = x->shape.ndim - 1;
    if (last < 0 || x->shape.size[last] < 1) {
        char text[NNL_SHAPE_TEXT];
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.Dense: expected input (*, features), got %s",
                        nnl_shape_text(&x->shape, text));
    }
    nnl_weighted_infer_dtype(layer, SHARED, x);
    layer->option[IN].i = x->shape.size[last];
    layer->option[IN].given = true;
    return NNL_OK;
}

static nnl_status check_input(nnl_context *ctx, const nnl_layer *layer, const nnl_tensor *x) {
    char text[NNL_SHAPE_TEXT];
    int last = x->shape.ndim - 1;
    int64_t in = layer->tensor[NNL_WEIGHT]->shape.size[1];
    if (last < 0 || x->shape.size[last] != in) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.Dense: expected input (*, %lld), got %s", (long long)in,
                        nnl_shape_text(&x->shape, text));
    }
    if (!nnl_dtype_is_float(x->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "nn.Dense: expected input of a float dtype, got \"%s\"",
                        nnl_dtype_get(x->dtype)->name);
    }
    return NNL_OK;
}

static nnl_status dense_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                nnl_tensor **out) {
    nnl_status status = check_input(ctx, layer, inputs[0]);
    if (status != NNL_OK) return status;
    const nnl_activation *activation = nnl_weighted_activation(layer, SHARED);
    const nnl_adapter *adapter = nnl_adapter_of(layer, NNL_WEIGHT);
    nnl_tensor *weight = layer->tensor[NNL_WEIGHT];
    bool fused = !adapter && nnl_activation_is_fused(activation);
    nnl_tensor *y = nnl_linear(ctx, inputs[0], weight, layer->tensor[NNL_BIAS],
                               fused ? activation->unary : NNL_UNARY_COUNT);
    y = nnl_adapter_apply(ctx, adapter, layer->training, inputs[0], 0, weight->shape.size[0], y);
    return nnl_weighted_finish(ctx, layer, SHARED, y, fused, out);
}

static nnl_status dense_penalty(nnl_context *ctx, nnl_layer *layer, nnl_tensor **out) {
    return nnl_weighted_penalty(ctx, layer, SHARED, out);
}

const nnl_layer_class nnl_dense_classes[] = {
    {.name = "Dense",
     .alias = "Linear",
     .doc = "Fully connected: (*, in_features) to (*, out_features), activation(x weight^T + bias). Without "
            "in_features its size comes from the first input.",
     .inputs = 1,
     .options = {[IN] = {.name = "in_features",
                         .type = NNL_OPTION_INT,
                         .positional = true,
                         .low = 1,
                         .high = INFINITY,
                         .doc = "size of each input; from the first one where left out"},
                 [OUT] = {.name = "out_features",
                          .type = NNL_OPTION_INT,
                          .positional = true,
                          .required = true,
                          .low = 1,
                          .high = INFINITY,
                          .doc = "size of each result"},
                 NNL_WEIGHTED_OPTIONS},
     .slots = {{.name = "weight", .shape = "out_features in_features"},
               {.name = "bias", .shape = "out_features", .when = "bias"}},
     .reset = dense_reset,
     .infer = dense_infer,
     .forward = dense_forward,
     .penalty = dense_penalty,
     .adapts = NNL_ADAPTS_INPUT},
    {.name = NULL},
};
