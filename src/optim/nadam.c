// nadam.c: NAdam (Dozat 2016), Adam that looks ahead as Nesterov's momentum does: with m, v as in Adam,
// mu_t = beta1 * (1 - 0.96^(t * momentum_decay) / 2), M the product of mu up to t, d = sqrt(v / (1 -
// beta2^t)) + eps:
//   p = p - lr * ((1 - mu_t) / (1 - M) * g + mu_(t+1) / (1 - M * mu_t * mu_(t+1)) * m) / d
#include "optim/update.h"

#include <math.h>

enum { LR, BETAS, EPS, WEIGHT_DECAY, MOMENTUM_DECAY, STATE_DTYPE };

static bool uses_state(const nnl_option_value *option, int k) {
    (void)option;
    return k < 2;
}

static void rule(const nnl_kernels *kernels, const nnl_update *u) {
    kernels->adaptive->nadam[u->type](u->n, u->param, u->grad, u->state[0], u->state[1], u->step);
}

static double momentum(const nnl_option_value *option, int64_t step) {
    return option[BETAS].numbers[0] * (1 - 0.5 * pow(0.96, (double)step * option[MOMENTUM_DECAY].d));
}

// The product of all momenta up to this step; after a state was loaded it is not known and found anew.
static double product(const nnl_option_value *option, nnl_param_state *p) {
    int64_t first = p->product > 0 ? p->steps : 1;
    if (first == 1) p->product = 1;
    for (int64_t step = first; step <= p->steps; step++) p->product *= momentum(option, step);
    return p->product;
}

static void update(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p,
                   const nnl_tensor *grad) {
    double now = momentum(option, p->steps), next = momentum(option, p->steps + 1);
    double so_far = product(option, p), beta2 = option[BETAS].numbers[1];
    double root = sqrt(1 - pow(beta2, (double)p->steps)), lr = option[LR].d * root;
    nnl_adaptive_step step = {.rate = lr * (1 - now) / (1 - so_far),
                              .more = lr * next / (1 - so_far * now * next), // mu_t twice, as PyTorch 1.13
                              .weight_decay = option[WEIGHT_DECAY].d,
                              .beta1 = option[BETAS].numbers[0],
                              .beta2 = beta2,
                              .eps = option[EPS].d * root};
    nnl_update_run(ctx, p, grad, rule, &step);
}

const nnl_optimizer_class nnl_nadam = {
    .name = "NAdam",
    .doc = "Adam with Nesterov's momentum (Dozat 2016)",
    .options = {[LR] = NNL_OPTION_LR(0.002),
                [BETAS] = NNL_OPTION_BETAS(0.9, 0.999),
                [EPS] = NNL_OPTION_RATE("eps", 1e-8, "added to the denominator"),
                [WEIGHT_DECAY] =
                    NNL_OPTION_RATE("weight_decay", 0, "added to the gradient, times the parameter"),
                [MOMENTUM_DECAY] = NNL_OPTION_RATE("momentum_decay", 0.004, "how fast the momentum warms up"),
                [STATE_DTYPE] = NNL_OPTION_STATE_DTYPE},
    .state = {"exp_avg", "exp_avg_sq"},
    .squares = 2u,
    .uses_state = uses_state,
    .update = update,
};
