// gemm.h: matrix products. gemm.c is the only caller of OpenBLAS. Matrices are row-major; work is cut into
// pieces by shape, each a single-threaded call, so results have the same bits for any number of threads.
#ifndef NNL_KERNEL_GEMM_H
#define NNL_KERNEL_GEMM_H

#include "base/thread.h"
#include "kernel/kernel.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct nnl_matrix {
    const void *data;
    size_t ld;       // elements from one row in memory to the next
    bool transposed; // the product uses the transpose of what is in memory
} nnl_matrix;

// What a product is of. MIXED: floats that are rounded to bfloat16 where that pays, with sums in float; HALF:
// bfloat16 in memory, with sums and results in float.
typedef enum nnl_product_type {
    NNL_PRODUCT_FLOAT,
    NNL_PRODUCT_DOUBLE,
    NNL_PRODUCT_INT,
    NNL_PRODUCT_MIXED,
    NNL_PRODUCT_HALF
} nnl_product_type;

// c (m, n) = alpha * a (m, k) b (k, n) + beta * c; of int64_t with alpha 1 and beta 0 alone. beta = 0 never
// reads c. Sizes may be 0.
void nnl_gemm(const nnl_kernels *kernels, nnl_pool *pool, nnl_product_type type, size_t m, size_t n, size_t k,
              double alpha, nnl_matrix a, nnl_matrix b, double beta, void *c, size_t ldc);

// The same for `batch` products, each pointer advancing by its stride in elements (0 repeats a matrix).
void nnl_gemm_batched(const nnl_kernels *kernels, nnl_pool *pool, nnl_product_type type, size_t batch,
                      size_t m, size_t n, size_t k, double alpha, nnl_matrix a, size_t stride_a, nnl_matrix b,
                      size_t stride_b, double beta, void *c, size_t ldc, size_t stride_c);

// Around tasks of a pool that call the above: OpenBLAS stays on one thread between the two, so that no task
// changes it under another. nnl_gemm_hold returns what nnl_gemm_release is given.
int nnl_gemm_hold(void);
void nnl_gemm_release(int held);

// Whether MIXED and HALF are faster than floats here: by an instruction of the processor.
bool nnl_gemm_has_bfloat16(const nnl_kernels *kernels);

// OpenBLAS's own description of itself, for nn.build_info().
const char *nnl_gemm_library(void);

// Leave OpenBLAS on one thread for the whole process: for the nnlua program, which owns its process. Inside a
// host, calls save and restore the number instead.
void nnl_gemm_own_process(void);

#endif
