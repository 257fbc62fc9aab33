// mixed.h: products of operands that are rounded to bfloat16, or are of it, with sums in float. Both are
// packed first (isa/pairs.c); without instructions for that, they are rounded and multiplied as floats.
#ifndef NNL_KERNEL_MIXED_H
#define NNL_KERNEL_MIXED_H

#include "kernel/gemm.h"

typedef struct nnl_mixed {
    const nnl_kernels *kernels;
    nnl_pool *pool;
    bool half; // a and b are of bfloat16 in memory; otherwise of float
    size_t m, n, k;
    float alpha, beta;
    nnl_matrix a, b;
    float *c;
    size_t ldc;
} nnl_mixed;

// Whether a product of floats is worth packing; the others stay as they are.
bool nnl_mixed_pays(const nnl_kernels *kernels, size_t m, size_t n, size_t k);

// c (m, n) = alpha * a b + beta * c. Pieces follow from the shape alone. False where there is no memory to
// pack floats: they can be multiplied as they are.
bool nnl_mixed_run(const nnl_mixed *p);

#endif
