// flatten.c: layers that change the shape alone, or nothing.
#include "nn/classes.h"

static nnl_status identity_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                   nnl_tensor **out) {
    (void)ctx, (void)layer;
    *out = nnl_tensor_retain(inputs[0]);
    return NNL_OK;
}

static nnl_shape flattened(const nnl_shape *shape, int start, int end) {
    nnl_shape flat = {.ndim = 0};
    for (int d = 0; d < shape->ndim; d++) {
        if (d > start && d <= end) {
            flat.size[flat.ndim - 1] *= shape->size[d];
        } else {
            flat.size[flat.ndim++] = shape->size[d];
        }
    }
    return flat;
}

static nnl_status flatten_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                  nnl_tensor **out) {
    const nnl_shape *shape = &inputs[0]->shape;
    int start = nnl_layer_dim(ctx, layer, layer->option[0].i, shape->ndim);
    int end = start < 0 ? -1 : nnl_layer_dim(ctx, layer, layer->option[1].i, shape->ndim);
    if (end < 0) return ctx->status;
    if (start > end) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "nn.Flatten: start_dim %lld comes after end_dim %lld",
                        (long long)layer->option[0].i, (long long)layer->option[1].i);
    }
    nnl_shape flat = flattened(shape, start, end);
    *out = nnl_reshape(ctx, inputs[0], &flat);
    return *out ? NNL_OK : ctx->status;
}

static nnl_status unflatten_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                    nnl_tensor **out) {
    const nnl_option_value *sizes = &layer->option[1];
    nnl_call call;
    int dim = nnl_layer_dim(ctx, layer, layer->option[0].i, inputs[0]->shape.ndim);
    if (dim < 0) return ctx->status;
    nnl_call_init(&call, nnl_op_named("unflatten"));
    call.arg[0].tensor = inputs[0];
    call.arg[1].i = dim;
    *nnl_call_list(&call, 2) = nnl_shape_of(sizes->count, sizes->ints);
    *out = nnl_call_result(ctx, &call);
    return *out ? NNL_OK : ctx->status;
}

const nnl_layer_class nnl_shape_classes[] = {
    {.name = "Identity", .doc = "x itself", .inputs = 1, .forward = identity_forward},
    {.name = "Flatten",
     .doc = "Dimensions start_dim to end_dim as one: (N, C, H, W) to (N, C * H * W)",
     .inputs = 1,
     .options = {{.name = "start_dim",
                  .type = NNL_OPTION_INT,
                  .positional = true,
                  .fallback = {2},
                  .doc = "the first, from 1"},
                 {.name = "end_dim",
                  .type = NNL_OPTION_INT,
                  .positional = true,
                  .fallback = {-1},
                  .doc = "the last"}},
     .forward = flatten_forward},
    {.name = "Unflatten",
     .doc = "Dimension dim as several: (N, C * H * W) to (N, C, H, W)",
     .inputs = 1,
     .options = {{.name = "dim",
                  .type = NNL_OPTION_INT,
                  .positional = true,
                  .required = true,
                  .doc = "which, from 1 or from the end when negative"},
                 {.name = "unflattened_size",
                  .type = NNL_OPTION_INTS,
                  .positional = true,
                  .required = true,
                  .low = -1,
                  .high = INT32_MAX,
                  .doc = "its sizes, of which one may be -1"}},
     .forward = unflatten_forward},
    {.name = NULL},
};
