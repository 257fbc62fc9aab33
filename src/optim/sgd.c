// sgd.c: stochastic gradient descent with momentum (Sutskever et al. 2013, in PyTorch's form):
//   g = grad + weight_decay * p;  b = momentum * b + (1 - dampening) * g;  p = p - lr * b
// or, after Nesterov, p = p - lr * (g + momentum * b). The first b is g.
#include "optim/update.h"

#include <math.h>

enum { LR, MOMENTUM, DAMPENING, NESTEROV, WEIGHT_DECAY, MAXIMIZE, STATE_DTYPE };

static bool uses_state(const nnl_option_value *option, int k) {
    (void)k;
    return option[MOMENTUM].d != 0;
}

static nnl_status check(nnl_context *ctx, const nnl_option_value *option) {
    if (!option[NESTEROV].i || (option[MOMENTUM].d > 0 && option[DAMPENING].d == 0)) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_ARGUMENT,
                    "nn.optim.SGD: option 'nesterov' needs a momentum greater than 0 and a dampening of 0");
}

static void rule(const nnl_kernels *kernels, const nnl_update *u) {
    kernels->optim->sgd[u->type](u->n, u->param, u->grad, u->state[0], u->step);
}

static void update(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p,
                   const nnl_tensor *grad) {
    nnl_sgd_step step = {.lr = option[LR].d,
                         .momentum = option[MOMENTUM].d,
                         .dampening = option[DAMPENING].d,
                         .weight_decay = option[WEIGHT_DECAY].d,
                         .nesterov = option[NESTEROV].i != 0,
                         .first = p->fresh,
                         .maximize = option[MAXIMIZE].i != 0};
    nnl_update_run(ctx, p, grad, rule, &step);
}

const nnl_optimizer_class nnl_sgd = {
    .name = "SGD",
    .doc = "Stochastic gradient descent, with momentum (Sutskever et al. 2013)",
    .options = {[LR] = NNL_OPTION_LR(0.01),
                [MOMENTUM] = NNL_OPTION_RATE("momentum", 0, "share of the last step that is kept"),
                [DAMPENING] = {.name = "dampening", .type = NNL_OPTION_NUMBER, .doc = "less of the gradient"},
                [NESTEROV] = NNL_OPTION_FLAG("nesterov", "look ahead along the momentum"),
                [WEIGHT_DECAY] =
                    NNL_OPTION_RATE("weight_decay", 0, "added to the gradient, times the parameter"),
                [MAXIMIZE] = NNL_OPTION_FLAG("maximize", "climb instead of descend"),
                [STATE_DTYPE] = NNL_OPTION_STATE_DTYPE},
    .state = {"momentum_buffer"},
    .check = check,
    .uses_state = uses_state,
    .update = update,
};
