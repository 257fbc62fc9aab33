// init.h: filling tensors with first values, each rule after its paper, as records that declare their
// options. In place and outside the graph. Adding a rule is a function and a row in init.c.
#ifndef NNL_NN_INIT_H
#define NNL_NN_INIT_H

#include "nn/options.h"

#define NNL_INIT_OPTIONS 4

typedef struct nnl_initializer {
    const char *name; // without the underscore that it has in scripts
    const char *doc;
    nnl_option options[NNL_INIT_OPTIONS + 1];
    nnl_status (*run)(nnl_context *ctx, nnl_tensor *t, const nnl_option_value *option);
} nnl_initializer;

// All of them, ended by a NULL name.
extern const nnl_initializer nnl_initializers[];

// The record of this name, of which the first `length` bytes count; NULL where there is none.
const nnl_initializer *nnl_initializer_named(const char *name, size_t length);

// Checks the options, then fills t.
nnl_status nnl_initialize(nnl_context *ctx, const nnl_initializer *initializer, nnl_tensor *t,
                          const nnl_option_value *option);

// The same with every option at its default.
nnl_status nnl_initialize_default(nnl_context *ctx, const nnl_initializer *initializer, nnl_tensor *t);

// Uniform in [low, high); normal. The tensor may be of any float dtype and any strides.
nnl_status nnl_init_uniform(nnl_context *ctx, nnl_tensor *t, double low, double high);
nnl_status nnl_init_normal(nnl_context *ctx, nnl_tensor *t, double mean, double std);

// Saxe et al. 2014: rows (or columns, where they are fewer) orthonormal, times gain.
nnl_status nnl_init_orthogonal(nnl_context *ctx, nnl_tensor *t, double gain);

// What one output sees (fan_in) and what one input reaches (fan_out), of a weight (out, in, kernel ...).
nnl_status nnl_init_fans(nnl_context *ctx, const char *who, const nnl_tensor *t, double *fan_in,
                         double *fan_out);

// The gain that keeps variance for a nonlinearity: "linear" 1, "relu" sqrt(2), "leaky_relu" sqrt(2 / (1 +
// a^2)), "tanh" 5/3, "selu" 3/4, "sigmoid" 1. Negative for a name it does not know.
double nnl_init_gain(const char *nonlinearity, double a);

#endif
