// init.h: filling tensors with first values, each rule after its paper. In place; outside the graph.
#ifndef NNL_NN_INIT_H
#define NNL_NN_INIT_H

#include "grad/ops.h"

nnl_status nnl_init_uniform(nnl_context *ctx, nnl_tensor *t, double low, double high);
nnl_status nnl_init_normal(nnl_context *ctx, nnl_tensor *t, double mean, double std);
nnl_status nnl_init_trunc_normal(nnl_context *ctx, nnl_tensor *t, double mean, double std, double low,
                                 double high);
nnl_status nnl_init_constant(nnl_context *ctx, nnl_tensor *t, double value);

// Glorot and Bengio 2010: bound or standard deviation from fan_in + fan_out.
nnl_status nnl_init_xavier_uniform(nnl_context *ctx, nnl_tensor *t, double gain);
nnl_status nnl_init_xavier_normal(nnl_context *ctx, nnl_tensor *t, double gain);

// He et al. 2015: from fan_in, or fan_out, and a gain that depends on what follows.
nnl_status nnl_init_kaiming_uniform(nnl_context *ctx, nnl_tensor *t, double gain, bool fan_out);
nnl_status nnl_init_kaiming_normal(nnl_context *ctx, nnl_tensor *t, double gain, bool fan_out);

// Saxe et al. 2014: rows (or columns) orthonormal, times gain.
nnl_status nnl_init_orthogonal(nnl_context *ctx, nnl_tensor *t, double gain);

// The gain that keeps variance for a nonlinearity: "linear" 1, "relu" sqrt(2), "leaky_relu" sqrt(2 / (1 +
// a^2)), "tanh" 5/3, "selu" 3/4, "sigmoid" 1. Negative for a name it does not know.
double nnl_init_gain(const char *nonlinearity, double a);

#endif
