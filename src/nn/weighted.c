// weighted.c: first values, activation and penalties of layers with a weight and a bias.
#include "nn/weighted.h"
#include "nn/init.h"

// Behind `at`, as NNL_WEIGHTED_OPTIONS has them.
enum { ACTIVATION, BIAS, INIT, KERNEL_PENALTY, BIAS_PENALTY, ACTIVITY_PENALTY, DTYPE };

// Any rule that is named is the weight's, and the bias starts at 0.
nnl_status nnl_weighted_reset(nnl_context *ctx, nnl_layer *layer, int at, double fan_in) {
    double bound = 1 / sqrt(fan_in);
    size_t length;
    const char *rule = nnl_choice_word(NNL_INITIALIZER_WORDS, (int)layer->option[at + INIT].i, &length);
    const nnl_initializer *initializer = nnl_initializer_named(rule, length);
    if (initializer) return nnl_initialize_default(ctx, initializer, layer->tensor[NNL_WEIGHT]);
    nnl_status status = nnl_init_uniform(ctx, layer->tensor[NNL_WEIGHT], -bound, bound);
    if (status != NNL_OK || !layer->tensor[NNL_BIAS]) return status;
    return nnl_init_uniform(ctx, layer->tensor[NNL_BIAS], -bound, bound);
}

void nnl_weighted_infer_dtype(nnl_layer *layer, int at, const nnl_tensor *x) {
    if (nnl_dtype_is_float(x->dtype) && !layer->option[at + DTYPE].given) layer->dtype = x->dtype;
}

const nnl_activation *nnl_weighted_activation(const nnl_layer *layer, int at) {
    return &nnl_activations[layer->option[at + ACTIVATION].i];
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
static nnl_status note_activity(nnl_context *ctx, nnl_layer *layer, int at, nnl_tensor *y) {
    const nnl_option_value *option = &layer->option[at + ACTIVITY_PENALTY];
    nnl_option_value scaled = *option;
    int64_t samples = y->shape.ndim > 1 && y->shape.size[0] > 0 ? y->shape.size[0] : 1;
    for (int k = 0; k < 2; k++) scaled.numbers[k] = option->numbers[k] / (double)samples;
    nnl_tensor_release(layer->pending);
    layer->pending = NULL;
    nnl_status status = add_penalty(ctx, &scaled, y, &layer->pending);
    if (!ctx->repeating) return status;
    nnl_tensor_release(layer->pending); // the loss has it already
    layer->pending = NULL;
    return status;
}

nnl_status nnl_weighted_finish(nnl_context *ctx, nnl_layer *layer, int at, nnl_tensor *y, bool activated,
                               nnl_tensor **out) {
    const nnl_activation *activation = nnl_weighted_activation(layer, at);
    if (y && !activated && activation->kind != NNL_ACTIVATION_NONE) {
        nnl_tensor *linear = y;
        y = nnl_activate(ctx, activation, linear);
        nnl_tensor_release(linear);
    }
    if (!y) return ctx->status;
    nnl_status status =
        layer->option[at + ACTIVITY_PENALTY].given ? note_activity(ctx, layer, at, y) : NNL_OK;
    if (status == NNL_OK) *out = y;
    if (status != NNL_OK) nnl_tensor_release(y);
    return status;
}

nnl_status nnl_weighted_penalty(nnl_context *ctx, nnl_layer *layer, int at, nnl_tensor **out) {
    nnl_tensor *sum = layer->pending, *bias = layer->tensor[NNL_BIAS];
    layer->pending = NULL;
    nnl_status status =
        add_penalty(ctx, &layer->option[at + KERNEL_PENALTY], layer->tensor[NNL_WEIGHT], &sum);
    if (status == NNL_OK && bias) status = add_penalty(ctx, &layer->option[at + BIAS_PENALTY], bias, &sum);
    if (status == NNL_OK) *out = sum;
    if (status != NNL_OK) nnl_tensor_release(sum);
    return status;
}
