// panels.h: float products by kernels of our own (isa/gemm.c). One operand is read as it lies, whichever way
// it is turned; of the other, panels of some columns are read as they lie too, or copied first where they are
// turned.
#ifndef NNL_KERNEL_PANELS_H
#define NNL_KERNEL_PANELS_H

#include "kernel/gemm.h"

// How a product is computed: as it stands, as the transpose b^T a^T, or by products of rows with rows.
typedef enum nnl_panels_way { NNL_PANELS_PLAIN, NNL_PANELS_TURNED, NNL_PANELS_DOTS } nnl_panels_way;

typedef struct nnl_panels {
    const nnl_kernels *kernels;
    nnl_panels_way way;
    size_t m, n, k;
    float alpha, beta;
    nnl_matrix a, b;
    float *c;
    size_t ldc;
    float *room; // nnl_panels_room elements, aligned
} nnl_panels;

// The way that is cheapest, by a rough count of vector operations.
nnl_panels_way nnl_panels_choose(const nnl_kernels *kernels, const nnl_matrix *a, const nnl_matrix *b,
                                 size_t m, size_t n, size_t k);

// Whether panels are copied.
bool nnl_panels_copied(const nnl_matrix *a, const nnl_matrix *b, nnl_panels_way way);

size_t nnl_panels_room(const nnl_kernels *kernels);

// c (m, n) = alpha * a b + beta * c. Stops between panels where the pool says so.
void nnl_panels_run(const nnl_panels *p, const nnl_pool *pool);

#endif
