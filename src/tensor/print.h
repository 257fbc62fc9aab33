// print.h: tensors as text for people: aligned columns, summarised when large, shape and dtype told.
#ifndef NNL_TENSOR_PRINT_H
#define NNL_TENSOR_PRINT_H

#include "tensor/tensor.h"

#define NNL_PRINT_PRECISION 16 // digits behind the point, at most

// How floats are written: scientific only where fixed digits do not show them well, or always, or never.
typedef enum nnl_notation { NNL_NOTATION_AUTO, NNL_NOTATION_SCIENTIFIC, NNL_NOTATION_FIXED } nnl_notation;

typedef struct nnl_print_options {
    int precision;      // digits behind the point, 0 to NNL_PRINT_PRECISION
    int64_t threshold;  // more elements than this are summarised
    int64_t edge_items; // shown at each end of a summarised dimension
    int64_t line_width; // where rows wrap
    nnl_notation notation;
    const char *suffix; // after shape and dtype, such as ", requires_grad"
} nnl_print_options;

nnl_print_options nnl_print_defaults(void);

// The named sets of options: "default", "short" (fewer digits and ends), "full" (nothing left out). False for
// other names.
bool nnl_print_profile(const char *name, nnl_print_options *options);

// Hands the text on in pieces. `write` may jump out: nothing is held meanwhile.
nnl_status nnl_tensor_format(nnl_context *ctx, const nnl_tensor *t, const nnl_print_options *options,
                             void (*write)(void *arg, const char *text, size_t length), void *arg);

#endif
