// adam.c: Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019), with AMSGrad (Reddi et al. 2018):
//   m = beta1 * m + (1 - beta1) * g;  v = beta2 * v + (1 - beta2) * g^2
//   p = p - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps), with AMSGrad the largest v so far
// weight_decay * p is added to g; AdamW instead makes p smaller by lr * weight_decay * p.
#include "optim/update.h"

#include <math.h>

enum { LR, BETAS, EPS, WEIGHT_DECAY, AMSGRAD, MAXIMIZE, STATE_DTYPE };

static bool uses_state(const nnl_option_value *option, int k) { return k < 2 || option[AMSGRAD].i != 0; }

static void rule(const nnl_kernels *kernels, const nnl_update *u) {
    kernels->optim->adam[u->type](u->n, u->param, u->grad, u->state[0], u->state[1], u->state[2], u->step);
}

static void run(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p, const nnl_tensor *grad,
                bool decoupled) {
    double beta1 = option[BETAS].numbers[0], beta2 = option[BETAS].numbers[1];
    nnl_adam_step step = {.lr = option[LR].d,
                          .beta1 = beta1,
                          .beta2 = beta2,
                          .eps = option[EPS].d,
                          .weight_decay = option[WEIGHT_DECAY].d,
                          .correction1 = 1 - pow(beta1, (double)p->steps),
                          .correction2 = 1 - pow(beta2, (double)p->steps),
                          .decoupled = decoupled,
                          .maximize = option[MAXIMIZE].i != 0};
    nnl_update_run(ctx, p, grad, rule, &step);
}

static void adam_update(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p,
                        const nnl_tensor *grad) {
    run(ctx, option, p, grad, false);
}

static void adamw_update(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p,
                         const nnl_tensor *grad) {
    run(ctx, option, p, grad, true);
}

#define OPTIONS(decay, decay_doc)                                                                            \
    [LR] = NNL_OPTION_LR(0.001), [BETAS] = NNL_OPTION_BETAS(0.9, 0.999),                                     \
    [EPS] = NNL_OPTION_RATE("eps", 1e-8, "added to the denominator"),                                        \
    [WEIGHT_DECAY] = NNL_OPTION_RATE("weight_decay", decay, decay_doc),                                      \
    [AMSGRAD] = NNL_OPTION_FLAG("amsgrad", "divide by the largest average square so far"),                   \
    [MAXIMIZE] = NNL_OPTION_FLAG("maximize", "climb instead of descend"),                                    \
    [STATE_DTYPE] = NNL_OPTION_STATE_DTYPE

const nnl_optimizer_class nnl_adam = {
    .name = "Adam",
    .doc = "Adaptive moments (Kingma and Ba 2015)",
    .options = {OPTIONS(0, "added to the gradient, times the parameter")},
    .state = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    .squares = 6u,
    .uses_state = uses_state,
    .update = adam_update,
};

const nnl_optimizer_class nnl_adamw = {
    .name = "AdamW",
    .doc = "Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019)",
    .options = {OPTIONS(0.01, "share of the parameter that goes, times lr")},
    .state = {"exp_avg", "exp_avg_sq", "max_exp_avg_sq"},
    .squares = 6u,
    .uses_state = uses_state,
    .update = adamw_update,
};
