// backward.h: the walk from results back to leaves, newest operation first.
#ifndef NNL_GRAD_BACKWARD_H
#define NNL_GRAD_BACKWARD_H

#include "grad/graph.h"

typedef struct nnl_backward_options {
    bool retain_graph; // keep the saved values, for another walk
    bool create_graph; // record the walk itself, for derivatives of derivatives; keeps the graph too
} nnl_backward_options;

// Adds the gradient of `root` to .grad of every leaf. `seed` is the gradient of root itself; NULL stands for
// 1, which root must then be a single element for.
nnl_status nnl_backward(nnl_context *ctx, nnl_tensor *root, nnl_tensor *seed,
                        const nnl_backward_options *options);

// The gradients of sum_i outputs[i] . seeds[i] with regard to `inputs`, into grads (new; NULL where there is
// none). No .grad is touched. seeds or its entries may be NULL as above.
nnl_status nnl_grad(nnl_context *ctx, size_t n_outputs, nnl_tensor *const *outputs, nnl_tensor *const *seeds,
                    size_t n_inputs, nnl_tensor *const *inputs, nnl_tensor **grads,
                    const nnl_backward_options *options);

#endif
