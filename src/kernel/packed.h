// mixed.h: products of operands that are rounded to bfloat16, or are of it, with sums in float. Both are
// packed first (isa/pairs.c); without instructions for that, they are rounded and multiplied as floats.
#ifndef NNL_KERNEL_PACKED_H
#define NNL_KERNEL_PACKED_H

#include "kernel/gemm.h"

typedef struct nnl_packed {
    const nnl_kernels *kernels;
    nnl_pool *pool;
    nnl_product_type type; // FLOAT, MIXED or HALF
    size_t m, n, k;
    float alpha, beta;
    nnl_matrix a, b;
    float *c;
    size_t ldc;
} nnl_packed;

// Whether a product of that type is worth packing; the others stay as they are. `natural`: neither
// operand is transposed.
bool nnl_packed_pays(const nnl_kernels *kernels, nnl_product_type type, bool natural, size_t m, size_t n,
                     size_t k);

// c (m, n) = alpha * a b + beta * c. Pieces follow from the shape alone. False where there is no memory to
// pack floats: they can be multiplied as they are.
bool nnl_packed_run(const nnl_packed *p);

#endif
