// adagrad.c: Adagrad (Duchi, Hazan and Singer 2011):
//   s = s + g^2;  p = p - lr / (1 + (t - 1) * lr_decay) * g / (sqrt(s) + eps)
#include "optim/update.h"

#include <math.h>

enum { LR, LR_DECAY, WEIGHT_DECAY, INITIAL, EPS, MAXIMIZE, STATE_DTYPE };

static bool uses_state(const nnl_option_value *option, int k) {
    (void)option;
    return k == 0;
}

static void rule(const nnl_kernels *kernels, const nnl_update *u) {
    kernels->adaptive->adagrad[u->type](u->n, u->param, u->grad, u->state[0], NULL, u->step);
}

static void update(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p,
                   const nnl_tensor *grad) {
    if (p->fresh) nnl_state_fill(ctx, p, 0, option[INITIAL].d);
    nnl_adaptive_step step = {.rate = option[LR].d / (1 + (double)(p->steps - 1) * option[LR_DECAY].d),
                              .weight_decay = option[WEIGHT_DECAY].d,
                              .eps = option[EPS].d,
                              .maximize = option[MAXIMIZE].i != 0};
    nnl_update_run(ctx, p, grad, rule, &step);
}

const nnl_optimizer_class nnl_adagrad = {
    .name = "Adagrad",
    .doc = "Steps divided by the root of the sum of all squares of the gradient (Duchi et al. 2011)",
    .options = {[LR] = NNL_OPTION_LR(0.01),
                [LR_DECAY] = NNL_OPTION_RATE("lr_decay", 0, "lr is divided by 1 + (t - 1) times this"),
                [WEIGHT_DECAY] =
                    NNL_OPTION_RATE("weight_decay", 0, "added to the gradient, times the parameter"),
                [INITIAL] = NNL_OPTION_RATE("initial_accumulator_value", 0, "where the sums start"),
                [EPS] = NNL_OPTION_RATE("eps", 1e-10, "added to the denominator"),
                [MAXIMIZE] = NNL_OPTION_FLAG("maximize", "climb instead of descend"),
                [STATE_DTYPE] = NNL_OPTION_STATE_DTYPE},
    .state = {"sum"},
    .squares = 1u,
    .uses_state = uses_state,
    .update = update,
};
