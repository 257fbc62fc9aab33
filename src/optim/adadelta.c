// adadelta.c: Adadelta (Zeiler 2012):
//   v = rho * v + (1 - rho) * g^2;  u = sqrt(a + eps) / sqrt(v + eps) * g;  a = rho * a + (1 - rho) * u^2
//   p = p - lr * u
#include "optim/update.h"

#include <math.h>

enum { LR, RHO, EPS, WEIGHT_DECAY, MAXIMIZE, STATE_DTYPE };

static bool uses_state(const nnl_option_value *option, int k) {
    (void)option;
    return k < 2;
}

static void rule(const nnl_kernels *kernels, const nnl_update *u) {
    kernels->adaptive->adadelta[u->type](u->n, u->param, u->grad, u->state[0], u->state[1], u->step);
}

static void update(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p,
                   const nnl_tensor *grad) {
    nnl_adaptive_step step = {.rate = option[LR].d,
                              .weight_decay = option[WEIGHT_DECAY].d,
                              .beta2 = option[RHO].d,
                              .eps = option[EPS].d,
                              .maximize = option[MAXIMIZE].i != 0};
    nnl_update_run(ctx, p, grad, rule, &step);
}

const nnl_optimizer_class nnl_adadelta = {
    .name = "Adadelta",
    .doc = "Steps in the measure of the average step before (Zeiler 2012)",
    .options = {[LR] = NNL_OPTION_LR(1),
                [RHO] = {.name = "rho",
                         .type = NNL_OPTION_NUMBER,
                         .fallback = {0.9},
                         .high = 1,
                         .doc = "how much of the averages is kept"},
                [EPS] = NNL_OPTION_RATE("eps", 1e-6, "added under both roots"),
                [WEIGHT_DECAY] =
                    NNL_OPTION_RATE("weight_decay", 0, "added to the gradient, times the parameter"),
                [MAXIMIZE] = NNL_OPTION_FLAG("maximize", "climb instead of descend"),
                [STATE_DTYPE] = NNL_OPTION_STATE_DTYPE},
    .state = {"square_avg", "acc_delta"},
    .squares = 3u,
    .uses_state = uses_state,
    .update = update,
};
