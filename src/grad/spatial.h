// spatial.h: what convolution, pooling and resizing share: arguments that are one number or one for each
// dimension, and inputs of one dimension or without a batch seen as images (N, C, H, W).
#ifndef NNL_GRAD_SPATIAL_H
#define NNL_GRAD_SPATIAL_H

#include "grad/records.h"

#define NNL_SPATIAL_DIMS 2

// Reads one number for all dimensions or one for each; stays as it is where the argument is left out. Each
// must be at least `low`.
nnl_status nnl_call_sizes(nnl_context *ctx, const nnl_call *call, int arg, int dims, int64_t low,
                          int64_t size[NNL_SPATIAL_DIMS]);

// The check alone, for layers too: `name` is the option's.
nnl_status nnl_check_sizes(nnl_context *ctx, const char *who, const char *name, int count, int dims,
                           int64_t low, const int64_t *size);

// With dims = 1 x is (N, C, L) or (C, L), with 2 (N, C, H, W) or (C, H, W). Returns new (N, C, H, W), H = 1
// where there is none, in the graph and of a dtype that kernels compute in; `who` is named in messages.
nnl_tensor *nnl_as_images(nnl_context *ctx, const char *who, nnl_tensor *x, int dims);

// The reverse of it for a result y, taken (NULL passes through), so that it looks as x did. Returns new.
nnl_tensor *nnl_as_given(nnl_context *ctx, nnl_tensor *y, const nnl_tensor *x, int dims);

// Numbers for one dimension become those of images of height 1: {height, size[0]}.
void nnl_widen_sizes(int dims, int64_t height, int64_t size[NNL_SPATIAL_DIMS]);

#endif
