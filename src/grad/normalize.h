// normalize.h: what the normalisations of norm.c have in common: y = (x - mean) rstd weight + bias, with rstd
// = 1 / sqrt(variance + eps), forward and backward in one or two passes over memory.
#ifndef NNL_GRAD_NORMALIZE_H
#define NNL_GRAD_NORMALIZE_H

#include "grad/ops.h"

// What is normalised together, and what has a weight, in x as an array (samples, groups, members, size).
typedef enum nnl_norm_kind {
    NNL_NORM_ROWS,     // (members, size) of a sample; groups = members = 1; a weight for each of size
    NNL_NORM_MEANLESS, // the same, divided by the root of the mean square
    NNL_NORM_GROUPS,   // (members, size) of a group of a sample; a weight for each (group, member)
    NNL_NORM_CHANNELS  // (samples, size) of a group; members = 1; a weight for each group
} nnl_norm_kind;

typedef struct nnl_norm {
    nnl_norm_kind kind;
    int64_t samples, groups, members, size;
    double eps;
    bool fixed; // mean and variance are given, and no functions of x
} nnl_norm;

// How many means there are, and of how many values each.
int64_t nnl_norm_statistics(const nnl_norm *norm);
int64_t nnl_norm_count(const nnl_norm *norm);

// Means and sums of squared deviations, of groups or channels: as many as nnl_norm_statistics. x is
// contiguous, of a native dtype.
nnl_status nnl_norm_moments(nnl_context *ctx, const nnl_norm *norm, const nnl_tensor *x, nnl_moment *out);

// The normalised x, recorded; returns new. x, weight and bias (both may be NULL) are contiguous and of one
// native dtype. moments: means and variances; NULL for rows, which find their own on the way.
nnl_tensor *nnl_normalize(nnl_context *ctx, const nnl_norm *norm, nnl_tensor *x, nnl_tensor *weight,
                          nnl_tensor *bias, const nnl_moment *moments);

#endif
