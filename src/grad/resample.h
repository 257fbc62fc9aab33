// resample.h: what pooling and resizing come down to: each result is the largest or a weighted sum of a
// window of the input, and windows follow a rule for each dimension.
#ifndef NNL_GRAD_RESAMPLE_H
#define NNL_GRAD_RESAMPLE_H

#include "grad/spatial.h"

typedef enum nnl_axis_kind {
    NNL_AXIS_WINDOW,   // start at even distances: o * stride - padding
    NNL_AXIS_ADAPTIVE, // cover the input whatever its size: o * size / result to (o + 1) * size / result
    NNL_AXIS_NEAREST,  // one element
    NNL_AXIS_LINEAR    // two neighbours, weighted by how near they are
} nnl_axis_kind;

typedef struct nnl_axis_rule {
    nnl_axis_kind kind;
    int64_t size, result;
    int64_t kernel, stride, padding, dilation; // WINDOW
    bool counts_padding;                       // WINDOW: the sum is divided by the window's size with it
    double divisor;                            // WINDOW: instead of the window's size; 0 for none
    double scale;                              // NEAREST, LINEAR: elements of the input for one of the result
    bool align_corners;                        // LINEAR: the first and last elements are those of the input
} nnl_axis_rule;

// x (N, C, H, W) of a native dtype to (N, C, rules[0].result, rules[1].result); recorded. Returns new.
nnl_tensor *nnl_resample_sum(nnl_context *ctx, nnl_tensor *x, const nnl_axis_rule rules[2]);

// The largest of each window and, into *at (new, int32, of the result's shape), their positions in the plane
// from 0.
nnl_tensor *nnl_resample_max(nnl_context *ctx, nnl_tensor *x, const nnl_axis_rule rules[2], nnl_tensor **at);

#endif
