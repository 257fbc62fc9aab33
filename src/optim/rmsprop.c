// rmsprop.c: RMSprop (Hinton 2012, centered after Graves 2013):
//   v = alpha * v + (1 - alpha) * g^2;  p = p - lr * g / (sqrt(v) + eps)
// centered: v less the square of the average gradient; with momentum: b = momentum * b + g / (sqrt(v) + eps).
#include "optim/update.h"

#include <math.h>

enum { LR, ALPHA, EPS, MOMENTUM, CENTERED, WEIGHT_DECAY, MAXIMIZE, STATE_DTYPE };
enum { SQUARE_AVG, GRAD_AVG, MOMENTUM_BUFFER };

static bool uses_state(const nnl_option_value *option, int k) {
    if (k == GRAD_AVG) return option[CENTERED].i != 0;
    return k == SQUARE_AVG || option[MOMENTUM].d != 0;
}

static void rule(const nnl_kernels *kernels, const nnl_update *u) {
    kernels->optim->rmsprop[u->type](u->n, u->param, u->grad, u->state[SQUARE_AVG], u->state[GRAD_AVG],
                                     u->state[MOMENTUM_BUFFER], u->step);
}

static void update(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p,
                   const nnl_tensor *grad) {
    nnl_rmsprop_step step = {.lr = option[LR].d,
                             .alpha = option[ALPHA].d,
                             .eps = option[EPS].d,
                             .weight_decay = option[WEIGHT_DECAY].d,
                             .momentum = option[MOMENTUM].d,
                             .maximize = option[MAXIMIZE].i != 0};
    nnl_update_run(ctx, p, grad, rule, &step);
}

const nnl_optimizer_class nnl_rmsprop = {
    .name = "RMSprop",
    .doc = "Steps divided by the root of the average square of the gradient (Hinton 2012)",
    .options = {[LR] = NNL_OPTION_LR(0.01),
                [ALPHA] = NNL_OPTION_RATE("alpha", 0.99, "how much of the average square is kept"),
                [EPS] = NNL_OPTION_RATE("eps", 1e-8, "added to the denominator"),
                [MOMENTUM] = NNL_OPTION_RATE("momentum", 0, "share of the last step that is kept"),
                [CENTERED] =
                    NNL_OPTION_FLAG("centered", "divide by the deviation instead of the root mean square"),
                [WEIGHT_DECAY] =
                    NNL_OPTION_RATE("weight_decay", 0, "added to the gradient, times the parameter"),
                [MAXIMIZE] = NNL_OPTION_FLAG("maximize", "climb instead of descend"),
                [STATE_DTYPE] = NNL_OPTION_STATE_DTYPE},
    .state = {"square_avg", "grad_avg", "momentum_buffer"},
    .squares = 1u << SQUARE_AVG,
    .uses_state = uses_state,
    .update = update,
};
