// lion.c: Lion (Chen et al. 2023), whose steps have one size:
//   p = (1 - lr * weight_decay) * p - lr * sign(beta1 * m + (1 - beta1) * g);  m = beta2 * m + (1 - beta2) *
//   g
#include "optim/update.h"

#include <math.h>

enum { LR, BETAS, WEIGHT_DECAY, MAXIMIZE, STATE_DTYPE };

static bool uses_state(const nnl_option_value *option, int k) {
    (void)option;
    return k == 0;
}

static void rule(const nnl_kernels *kernels, const nnl_update *u) {
    kernels->adaptive->lion[u->type](u->n, u->param, u->grad, u->state[0], NULL, u->step);
}

static void update(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p,
                   const nnl_tensor *grad) {
    nnl_adaptive_step step = {.rate = option[LR].d,
                              .more = 1 - option[LR].d * option[WEIGHT_DECAY].d,
                              .beta1 = option[BETAS].numbers[0],
                              .beta2 = option[BETAS].numbers[1],
                              .maximize = option[MAXIMIZE].i != 0};
    nnl_update_run(ctx, p, grad, rule, &step);
}

const nnl_optimizer_class nnl_lion = {
    .name = "Lion",
    .doc = "The sign of an average of gradients, with weight decay apart from it (Chen et al. 2023)",
    .options = {[LR] = NNL_OPTION_LR(1e-4),
                [BETAS] = NNL_OPTION_BETAS(0.9, 0.99),
                [WEIGHT_DECAY] =
                    NNL_OPTION_RATE("weight_decay", 0, "share of the parameter that goes, times lr"),
                [MAXIMIZE] = NNL_OPTION_FLAG("maximize", "climb instead of descend"),
                [STATE_DTYPE] = NNL_OPTION_STATE_DTYPE},
    .state = {"exp_avg"},
    .uses_state = uses_state,
    .update = update,
};
