// activation.c: activations by name, as options give them and Dense applies them.
#include "nn/options.h"

#define UNARY(name, kind, ...)                                                                               \
    {                                                                                                        \
        name, NNL_ACTIVATION_UNARY, NNL_UNARY_##kind, { __VA_ARGS__ }                                        \
    }

const nnl_activation nnl_activations[] = {
    {"linear", NNL_ACTIVATION_NONE, NNL_UNARY_COUNT, {0}},
    {"none", NNL_ACTIVATION_NONE, NNL_UNARY_COUNT, {0}},
    [NNL_ACTIVATION_RELU] = UNARY("relu", relu, 0),
    UNARY("sigmoid", sigmoid, 0),
    UNARY("tanh", tanh, 0),
    UNARY("gelu", gelu_erf, 0),
    UNARY("gelu_tanh", gelu_tanh, 0),
    UNARY("silu", silu, 0),
    UNARY("swish", silu, 0),
    UNARY("mish", mish, 0),
    UNARY("softplus", softplus, 1, 20),
    UNARY("elu", elu, 1),
    UNARY("selu", selu, 0),
    UNARY("leaky_relu", leaky_relu, 0.01),
    UNARY("hardtanh", hardtanh, -1, 1),
    UNARY("log_sigmoid", log_sigmoid, 0),
    UNARY("exponential", exp, 0),
    UNARY("exp", exp, 0),
    {"softmax", NNL_ACTIVATION_SOFTMAX, NNL_UNARY_COUNT, {0}},
    {"log_softmax", NNL_ACTIVATION_LOG_SOFTMAX, NNL_UNARY_COUNT, {0}},
    {NULL, NNL_ACTIVATION_NONE, NNL_UNARY_COUNT, {0}},
};

nnl_tensor *nnl_activate(nnl_context *ctx, const nnl_activation *activation, nnl_tensor *x) {
    int last = x->shape.ndim - 1;
    if (activation->kind == NNL_ACTIVATION_UNARY)
        return nnl_unary_op(ctx, activation->unary, x, activation->p);
    if (activation->kind == NNL_ACTIVATION_SOFTMAX) return nnl_softmax(ctx, x, last);
    if (activation->kind == NNL_ACTIVATION_LOG_SOFTMAX) return nnl_log_softmax(ctx, x, last);
    return nnl_tensor_retain(x);
}

bool nnl_activation_is_fused(const nnl_activation *activation) {
    return activation->kind == NNL_ACTIVATION_UNARY && activation->p[0] == 0 && activation->p[1] == 0;
}

nnl_tensor *nnl_linear_activated(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                                 const nnl_activation *activation) {
    bool fused = nnl_activation_is_fused(activation);
    nnl_tensor *y = nnl_linear(ctx, x, weight, bias, fused ? activation->unary : NNL_UNARY_COUNT);
    if (!y || fused || activation->kind == NNL_ACTIVATION_NONE) return y;
    nnl_tensor *out = nnl_activate(ctx, activation, y);
    nnl_tensor_release(y);
    return out;
}
