// update.h: what the files of update rules share: the classes, and running a kernel over one parameter in
// parts.
#ifndef NNL_OPTIM_UPDATE_H
#define NNL_OPTIM_UPDATE_H

#include "kernel/kernel.h"
#include "optim/optimizer.h"

// A stretch of a parameter with its gradient and state, NULL where the options need none.
typedef struct nnl_update {
    size_t n;
    nnl_compute type;
    void *param;
    const void *grad;
    void *state[NNL_MAX_STATE];
    const void *step; // the rule's numbers for this step
} nnl_update;

typedef void nnl_update_fn(const nnl_kernels *kernels, const nnl_update *u);

// Runs the rule over the whole parameter, on the pool's threads where it is large.
void nnl_update_run(nnl_context *ctx, nnl_param_state *p, const nnl_tensor *grad, nnl_update_fn *rule,
                    const void *step);

// All of a state at one value.
void nnl_state_fill(nnl_context *ctx, nnl_param_state *p, int k, double value);

extern const nnl_optimizer_class nnl_sgd, nnl_adam, nnl_adamw, nnl_nadam, nnl_rmsprop, nnl_adagrad,
    nnl_adadelta, nnl_lion;

// Options that most rules have.
#define NNL_OPTION_STATE_DTYPE                                                                               \
    {                                                                                                        \
        .name = "state_dtype", .type = NNL_OPTION_CHOICE, .choices = "float32 bfloat16 uint8",               \
        .doc =                                                                                               \
            "how averages are kept of parameters that are not float64: in 4, 2 or, block by block and of "   \
            "parameters of 4096 numbers or more, 1 byte each, rounded by chance"                             \
    }
#define NNL_OPTION_LR(value)                                                                                 \
    { .name = "lr", .type = NNL_OPTION_NUMBER, .fallback = {value}, .high = INFINITY, .doc = "learning rate" }
#define NNL_OPTION_RATE(n, value, text)                                                                      \
    { .name = n, .type = NNL_OPTION_NUMBER, .fallback = {value}, .high = INFINITY, .doc = text }
#define NNL_OPTION_BETAS(first, second)                                                                      \
    {                                                                                                        \
        .name = "betas", .type = NNL_OPTION_NUMBERS, .fallback = {first, second}, .high = 0.9999999999,      \
        .doc = "how much of the averages of the gradient and its square is kept"                             \
    }
#define NNL_OPTION_FLAG(n, text)                                                                             \
    { .name = n, .type = NNL_OPTION_BOOL, .doc = text }

#endif
