// engine.h: what tests of the engine above the kernels share: a context, and tensors made of a few numbers.
#ifndef NNL_TESTS_ENGINE_H
#define NNL_TESTS_ENGINE_H

#include "base/context.h"
#include "check.h"
#include "grad/backward.h"
#include "grad/ops.h"
#include "kernel/kernel.h"
#include "tensor/apply.h"

static inline nnl_context *engine_new(void) {
    nnl_context *ctx = nnl_context_new();
    if (!ctx) return NULL;
    ctx->kernels = nnl_kernels_best();
    nnl_grad_init(ctx);
    return ctx;
}

// first, first + step, first + 2 step ... in row-major order
static inline nnl_tensor *engine_steps(nnl_context *ctx, nnl_dtype dtype, nnl_shape shape, double first,
                                       double step) {
    nnl_tensor *t = nnl_tensor_new(ctx, dtype, &shape);
    for (int64_t i = 0, n = t ? nnl_tensor_numel(t) : 0; i < n; i++) {
        nnl_element_write(dtype, (char *)nnl_tensor_data(t) + (size_t)i * nnl_dtype_size(dtype),
                          nnl_number_float(first + step * (double)i));
    }
    return t;
}

static inline nnl_shape engine_matrix(int64_t rows, int64_t columns) {
    return (nnl_shape){.ndim = 2, .size = {rows, columns}};
}

// Element i of a contiguous tensor.
static inline double engine_item(const nnl_tensor *t, int64_t i) {
    return nnl_element_read(t->dtype, (const char *)nnl_tensor_data(t) + (size_t)i * nnl_dtype_size(t->dtype))
        .d;
}

#endif
