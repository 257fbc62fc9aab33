// dense.c: the fully connected layer, also called Linear: y = activation(x weight^T + bias).
#include "nn/classes.h"
#include "nn/init.h"

#include <math.h>
#include <string.h>

// Positions in the declaration below.
enum { IN, OUT, ACTIVATION, BIAS, INIT, KERNEL_PENALTY, BIAS_PENALTY, ACTIVITY_PENALTY, DTYPE };
enum { WEIGHT, BIAS_TENSOR };

// PyTorch's Linear: both uniform within 1 / sqrt(in). Any other rule is the weight's, and the bias starts at
// 0.
static nnl_status dense_reset(nnl_context *ctx, nnl_layer *layer) {
    double bound = 1 / sqrt((double)layer->option[IN].i);
    size_t length;
    const char *rule = nnl_choice_word(NNL_INITIALIZERS, (int)layer->option[INIT].i, &length);
    const nnl_initializer *initializer = nnl_initializer_named(rule, length);
    if (initializer) return nnl_initialize_default(ctx, initializer, layer->tensor[WEIGHT]);
    nnl_status status = nnl_init_uniform(ctx, layer->tensor[WEIGHT], -bound, bound);
    if (status != NNL_OK || !layer->tensor[BIAS_TENSOR]) return status;
    return nnl_init_uniform(ctx, layer->tensor[BIAS_TENSOR], -bound, bound);
}

static nnl_status dense_infer(nnl_context *ctx, nnl_layer *layer, const nnl_tensor *x) {
    int last = x->shape.ndim - 1;
    if (last < 0 || x->shape.size[last] < 1) {
        char text[NNL_SHAPE_TEXT];
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.Dense: expected input (*, features), got %s",
                        nnl_shape_text(&x->shape, text));
    }
    if (nnl_dtype_is_float(x->dtype) && !layer->option[DTYPE].given) layer->dtype = x->dtype;
    layer->option[IN].i = x->shape.size[last];
    layer->option[IN].given = true;
    return NNL_OK;
}

static nnl_status check_input(nnl_context *ctx, const nnl_layer *layer, const nnl_tensor *x) {
    char text[NNL_SHAPE_TEXT];
    int last = x->shape.ndim - 1;
    int64_t in = layer->tensor[WEIGHT]->shape.size[1];
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

// l1 * sum |t| + l2 * sum t^2, added to *sum, which may be NULL.
static nnl_status add_penalty(nnl_context *ctx, const nnl_option_value *option, nnl_tensor *t,
                              nnl_tensor **sum) {
    static const nnl_unary measure[2] = {NNL_UNARY_abs, NNL_UNARY_square};
    for (int k = 0; k < 2; k++) {
        if (option->numbers[k] == 0) continue;
        nnl_tensor *each = nnl_unary_op(ctx, measure[k], t, NULL);
        nnl_tensor *all = each ? nnl_sum(ctx, each, 0, NULL, false) : NULL;
        nnl_tensor *part = all ? nnl_mul_number(ctx, all, option->numbers[k]) : NULL;
        nnl_tensor *next = part ? (*sum ? nnl_add(ctx, *sum, part) : nnl_tensor_retain(part)) : NULL;
        nnl_tensor_release(each);
        nnl_tensor_release(all);
        nnl_tensor_release(part);
        if (!next) return ctx->status;
        nnl_tensor_release(*sum);
        *sum = next;
    }
    return NNL_OK;
}

// The penalty on results is per sample, as Keras has it: it waits in the layer until it is asked for.
static nnl_status note_activity(nnl_context *ctx, nnl_layer *layer, nnl_tensor *y) {
    const nnl_option_value *option = &layer->option[ACTIVITY_PENALTY];
    nnl_option_value scaled = *option;
    int64_t samples = y->shape.ndim > 1 && y->shape.size[0] > 0 ? y->shape.size[0] : 1;
    for (int k = 0; k < 2; k++) scaled.numbers[k] = option->numbers[k] / (double)samples;
    nnl_tensor_release(layer->pending);
    layer->pending = NULL;
    return add_penalty(ctx, &scaled, y, &layer->pending);
}

// Activations of one number with no parameters are part of the product's own pass.
static bool is_fused(const nnl_activation *activation) {
    return activation->kind == NNL_ACTIVATION_UNARY && activation->p[0] == 0 && activation->p[1] == 0;
}

static nnl_status dense_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                nnl_tensor **out) {
    nnl_status status = check_input(ctx, layer, inputs[0]);
    if (status != NNL_OK) return status;
    const nnl_activation *activation = &nnl_activations[layer->option[ACTIVATION].i];
    bool fused = is_fused(activation);
    nnl_tensor *y = nnl_linear(ctx, inputs[0], layer->tensor[WEIGHT], layer->tensor[BIAS_TENSOR],
                               fused ? activation->unary : NNL_UNARY_COUNT);
    if (y && !fused && activation->kind != NNL_ACTIVATION_NONE) {
        nnl_tensor *linear = y;
        y = nnl_activate(ctx, activation, linear);
        nnl_tensor_release(linear);
    }
    if (!y) return ctx->status;
    if (layer->option[ACTIVITY_PENALTY].given) status = note_activity(ctx, layer, y);
    if (status == NNL_OK) *out = y;
    if (status != NNL_OK) nnl_tensor_release(y);
    return status;
}

static nnl_status dense_penalty(nnl_context *ctx, nnl_layer *layer, nnl_tensor **out) {
    nnl_tensor *sum = layer->pending, *bias = layer->tensor[BIAS_TENSOR];
    layer->pending = NULL;
    nnl_status status = add_penalty(ctx, &layer->option[KERNEL_PENALTY], layer->tensor[WEIGHT], &sum);
    if (status == NNL_OK && bias) status = add_penalty(ctx, &layer->option[BIAS_PENALTY], bias, &sum);
    if (status == NNL_OK) *out = sum;
    if (status != NNL_OK) nnl_tensor_release(sum);
    return status;
}

#define PENALTY(n, text)                                                                                     \
    { .name = n, .type = NNL_OPTION_FIELDS, .low = 0, .high = INFINITY, .choices = "l1 l2", .doc = text }

const nnl_layer_class nnl_dense_classes[] = {
    {.name = "Dense",
     .alias = "Linear",
     .doc = "Fully connected: (*, in_features) to (*, out_features), activation(x weight^T + bias). Without "
            "in_features its size comes from the first input.",
     .inputs = 1,
     .options =
         {[IN] = {.name = "in_features",
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
          [ACTIVATION] = {.name = "activation",
                          .type = NNL_OPTION_ACTIVATION,
                          .doc = "applied to the result"},
          [BIAS] = {.name = "bias", .type = NNL_OPTION_BOOL, .fallback = {1}, .doc = "whether one is added"},
          [INIT] = {.name = "init",
                    .type = NNL_OPTION_CHOICE,
                    .choices = NNL_INITIALIZERS,
                    .doc = "how the weight starts; default: both uniform within 1 / sqrt(in_features)"},
          [KERNEL_PENALTY] = PENALTY("kernel_regularizer", "penalty on the weight, added to the loss"),
          [BIAS_PENALTY] = PENALTY("bias_regularizer", "penalty on the bias"),
          [ACTIVITY_PENALTY] = PENALTY("activity_regularizer", "penalty on the result, per sample"),
          [DTYPE] = NNL_DTYPE_OPTION},
     .slots = {{"weight", "out_features in_features", false, NULL}, {"bias", "out_features", false, "bias"}},
     .reset = dense_reset,
     .infer = dense_infer,
     .forward = dense_forward,
     .penalty = dense_penalty},
    {.name = NULL},
};
