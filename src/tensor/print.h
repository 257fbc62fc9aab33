// print.h: tensors as text for people: aligned columns, summarised when large, shape and dtype told.
#ifndef NNL_TENSOR_PRINT_H
#define NNL_TENSOR_PRINT_H

#include "tensor/tensor.h"

typedef struct nnl_print_options {
    int precision;      // digits after the point
    int64_t threshold;  // more elements than this are summarised
    int edge_items;     // shown at each end of a summarised dimension
    const char *suffix; // after shape and dtype, such as ", requires_grad"
} nnl_print_options;

nnl_print_options nnl_print_defaults(void);

// Hands the text on in pieces.
nnl_status nnl_tensor_format(nnl_context *ctx, const nnl_tensor *t, const nnl_print_options *options,
                             void (*write)(void *arg, const char *text, size_t length), void *arg);

#endif
