// activations.c: the activations as layers. Those of one number are all one function; the class's position in
// the table says which operation it is.
#include "nn/classes.h"
#include "tensor/apply.h"

#include <math.h>

static nnl_status result(nnl_context *ctx, nnl_tensor *made, nnl_tensor **out) {
    *out = made;
    return made ? NNL_OK : ctx->status;
}

// The options of these, where there are any, are the operation's parameters.
static nnl_status unary_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                nnl_tensor **out) {
    double p[2] = {layer->option[0].d, layer->option[1].d};
    return result(ctx, nnl_unary_op(ctx, (nnl_unary)layer->class->variant, inputs[0], p), out);
}

static nnl_status gelu_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                               nnl_tensor **out) {
    nnl_unary kind = layer->option[0].i == 1 ? NNL_UNARY_gelu_tanh : NNL_UNARY_gelu_erf;
    return result(ctx, nnl_unary_op(ctx, kind, inputs[0], NULL), out);
}

static nnl_status softmax_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                  nnl_tensor **out) {
    int dim = nnl_layer_dim(ctx, layer, layer->option[0].i, inputs[0]->shape.ndim);
    return dim < 0 ? ctx->status : result(ctx, nnl_softmax(ctx, inputs[0], dim), out);
}

static nnl_status log_softmax_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                      nnl_tensor **out) {
    int dim = nnl_layer_dim(ctx, layer, layer->option[0].i, inputs[0]->shape.ndim);
    return dim < 0 ? ctx->status : result(ctx, nnl_log_softmax(ctx, inputs[0], dim), out);
}

static nnl_status glu_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                              nnl_tensor **out) {
    int dim = nnl_layer_dim(ctx, layer, layer->option[0].i, inputs[0]->shape.ndim);
    return dim < 0 ? ctx->status : result(ctx, nnl_glu(ctx, inputs[0], dim), out);
}

enum { SLOPES, FIRST_SLOPE };

static nnl_status prelu_reset(nnl_context *ctx, nnl_layer *layer) {
    (void)ctx;
    nnl_apply_fill(layer->tensor[0], nnl_number_float(layer->option[FIRST_SLOPE].d));
    return NNL_OK;
}

static nnl_status prelu_forward(nnl_context *ctx, nnl_layer *layer, nnl_tensor *const *inputs,
                                nnl_tensor **out) {
    return result(ctx, nnl_prelu(ctx, inputs[0], layer->tensor[0]), out);
}

#define NUMBER(n, value, text)                                                                               \
    { .name = n, .type = NNL_OPTION_NUMBER, .positional = true, .fallback = {value}, .doc = text }
#define ABOVE_ZERO(n, value, text)                                                                           \
    {                                                                                                        \
        .name = n, .type = NNL_OPTION_NUMBER, .positional = true, .fallback = {value}, .high = INFINITY,     \
        .exclusive_low = true, .doc = text                                                                   \
    }
#define DIM                                                                                                  \
    { .name = "dim", .type = NNL_OPTION_INT, .positional = true, .fallback = {-1}, .doc = "that sums to 1" }
#define UNARY(n, kind, text, ...)                                                                            \
    {                                                                                                        \
        .name = n, .doc = text, .inputs = 1, .options = {__VA_ARGS__}, .forward = unary_forward,             \
        .variant = NNL_UNARY_##kind                                                                          \
    }
#define NO_OPTIONS                                                                                           \
    { .name = NULL }

const nnl_layer_class nnl_activation_classes[] = {
    UNARY("ReLU", relu, "max(x, 0)", NO_OPTIONS),
    UNARY("LeakyReLU", leaky_relu, "x above 0, negative_slope * x below",
          NUMBER("negative_slope", 0.01, "slope below 0")),
    UNARY("ELU", elu, "x above 0, alpha * (exp(x) - 1) below (Clevert et al. 2015)",
          NUMBER("alpha", 1, "scale below 0")),
    UNARY("SELU", selu, "scaled ELU with fixed constants (Klambauer et al. 2017)", NO_OPTIONS),
    UNARY("SiLU", silu, "x * sigmoid(x), also called swish", NO_OPTIONS),
    UNARY("Mish", mish, "x * tanh(softplus(x)) (Misra 2019)", NO_OPTIONS),
    UNARY("Sigmoid", sigmoid, "1 / (1 + exp(-x))", NO_OPTIONS),
    UNARY("LogSigmoid", log_sigmoid, "log(sigmoid(x)), stable", NO_OPTIONS),
    UNARY("Tanh", tanh, "hyperbolic tangent", NO_OPTIONS),
    UNARY("Softplus", softplus, "log(1 + exp(beta * x)) / beta", ABOVE_ZERO("beta", 1, "sharpness"),
          NUMBER("threshold", 20, "x itself where beta * x is above")),
    UNARY("Hardtanh", hardtanh, "x, but not below min_val nor above max_val",
          NUMBER("min_val", -1, "least result"), NUMBER("max_val", 1, "largest result")),
    {.name = "GELU",
     .doc = "x * Phi(x), Phi the normal distribution (Hendrycks and Gimpel 2016)",
     .inputs = 1,
     .options = {{.name = "approximate",
                  .type = NNL_OPTION_CHOICE,
                  .positional = true,
                  .choices = "none tanh",
                  .doc = "exact, or by a tanh"}},
     .forward = gelu_forward},
    {.name = "Softmax",
     .doc = "exp(x) / sum(exp(x)) along a dimension",
     .inputs = 1,
     .options = {DIM},
     .forward = softmax_forward},
    {.name = "LogSoftmax",
     .doc = "log(softmax(x)), stable",
     .inputs = 1,
     .options = {DIM},
     .forward = log_softmax_forward},
    {.name = "GLU",
     .doc = "a * sigmoid(b), a and b the halves along a dimension (Dauphin et al. 2017)",
     .inputs = 1,
     .options = {{.name = "dim",
                  .type = NNL_OPTION_INT,
                  .positional = true,
                  .fallback = {-1},
                  .doc = "that is halved"}},
     .forward = glu_forward},
    {.name = "PReLU",
     .doc = "x above 0, weight * x elsewhere; a slope for all, or for each channel of (N, C, ...) (He et al. "
            "2015)",
     .inputs = 1,
     .options = {[SLOPES] = {.name = "num_parameters",
                             .type = NNL_OPTION_INT,
                             .positional = true,
                             .fallback = {1},
                             .low = 1,
                             .high = INFINITY,
                             .doc = "slopes: 1, or the number of channels"},
                 [FIRST_SLOPE] = NUMBER("init", 0.25, "the slopes at first")},
     .slots = {{.name = "weight", .shape = "num_parameters"}},
     .reset = prelu_reset,
     .forward = prelu_forward},
    {.name = NULL},
};
