// optimizer.h: an optimizer is a record (nnl_optimizer_class) that declares its options and state and has the
// rule for one parameter, in a file of its own; an nnl_optimizer holds groups of parameters, each with
// options and state.
#ifndef NNL_OPTIM_OPTIMIZER_H
#define NNL_OPTIM_OPTIMIZER_H

#include "nn/options.h"

#define NNL_MAX_STATE 4

typedef struct nnl_param_state {
    nnl_tensor *param; // retained
    nnl_tensor
        *state[NNL_MAX_STATE]; // like the parameter; NULL until first needed, or where the options need none
    nnl_tensor
        *scale[NNL_MAX_STATE]; // of state in bytes: the measure of each block (state.h); NULL otherwise
    int64_t steps;             // taken so far
    bool fresh;                // state was made in this step
    unsigned squares;          // as the class has it
    uint32_t index;            // among the optimizer's parameters
    double product;            // of a rule's factors over all steps (NAdam); 0 where it is to be found anew
} nnl_param_state;

typedef struct nnl_param_group {
    nnl_option_value option[NNL_MAX_OPTIONS];
    nnl_param_state *params;
    size_t count, room;
} nnl_param_group;

typedef struct nnl_optimizer_class {
    const char *name;                    // without "nn.optim."
    const char *doc;                     // with the equations' source
    nnl_option options[NNL_MAX_OPTIONS]; // the first is "lr"
    const char *state[NNL_MAX_STATE];    // PyTorch's names: "exp_avg" ...; NULL ends
    unsigned squares;                    // bit k: state k is never negative
    // What options must have in common, or NULL; ranges are checked before.
    nnl_status (*check)(nnl_context *ctx, const nnl_option_value *option);
    // Whether state k is needed under these options.
    bool (*uses_state)(const nnl_option_value *option, int k);
    // Updates one parameter (contiguous; the gradient too) in place. p->steps already counts this step.
    void (*update)(nnl_context *ctx, const nnl_option_value *option, nnl_param_state *p,
                   const nnl_tensor *grad);
} nnl_optimizer_class;

typedef struct nnl_optimizer {
    uint32_t refs;
    const nnl_optimizer_class *class;
    nnl_context *ctx;
    nnl_option_value defaults[NNL_MAX_OPTIONS]; // of groups that say nothing else
    nnl_param_group *groups;
    size_t count;
} nnl_optimizer;

// Every class, ended by NULL.
extern const nnl_optimizer_class *const nnl_optimizer_classes[];

nnl_optimizer *nnl_optimizer_new(nnl_context *ctx, const nnl_optimizer_class *class);
void nnl_optimizer_release(nnl_optimizer *optimizer);

// An empty group with the optimizer's defaults as options; borrowed, valid until the next is added. Set the
// options, then add parameters.
nnl_param_group *nnl_optimizer_group(nnl_context *ctx, nnl_optimizer *optimizer);

// Takes the last group away again.
void nnl_optimizer_drop_group(nnl_optimizer *optimizer);

// Checks the options of a group; message in the terms of scripts.
nnl_status nnl_optimizer_check(nnl_context *ctx, const nnl_optimizer *optimizer,
                               const nnl_param_group *group);

// A leaf of a float dtype, in no other group of the optimizer.
nnl_status nnl_optimizer_add(nnl_context *ctx, nnl_optimizer *optimizer, nnl_param_group *group,
                             nnl_tensor *param);

// Puts values of the parameter's shape into its state, which is of the kind that the options ask for. scale:
// of values in bytes the measures of their blocks, NULL of others.
nnl_status nnl_optimizer_load(nnl_context *ctx, const nnl_optimizer_class *class,
                              const nnl_option_value *option, nnl_param_state *p, int slot,
                              const nnl_tensor *values, const nnl_tensor *scale);

// Back to the state before the first step.
void nnl_optimizer_forget(nnl_param_state *p);

// Bytes that the state of all parameters that are trained will take, or takes.
size_t nnl_optimizer_state_bytes(const nnl_optimizer *optimizer);

// One update of every parameter that has a gradient.
nnl_status nnl_optimizer_step(nnl_context *ctx, nnl_optimizer *optimizer);

// Lets go of the gradients.
void nnl_optimizer_zero_grad(nnl_optimizer *optimizer);

#endif
