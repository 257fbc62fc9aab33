// product.h: how operations of a context multiply, for kernel/gemm.h.
#ifndef NNL_GRAD_PRODUCT_H
#define NNL_GRAD_PRODUCT_H

#include "base/context.h"
#include "kernel/gemm.h"

static inline nnl_product_type nnl_product_of(const nnl_context *ctx, nnl_compute type) {
    if (type == NNL_IN_FLOAT) return ctx->mixed ? NNL_PRODUCT_MIXED : NNL_PRODUCT_FLOAT;
    return type == NNL_IN_DOUBLE ? NNL_PRODUCT_DOUBLE : NNL_PRODUCT_INT;
}

#endif
