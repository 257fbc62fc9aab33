// loop.h: walking several tensors of one broadcast shape together, row by row. Dimensions are merged and
// ordered so that rows are as long and as contiguous as the tensors allow; large walks are cut into parts for
// the threads.
#ifndef NNL_TENSOR_LOOP_H
#define NNL_TENSOR_LOOP_H

#include "tensor/tensor.h"

#define NNL_LOOP_OPERANDS 5
#define NNL_LOOP_LEAST 65536 // elements of the shortest walk that is worth waking a thread for

// One row: n elements of each operand, from data[k] on, stride[k] elements apart.
typedef void nnl_row_task(void *arg, size_t n, char *const *data, const int64_t *stride);

typedef struct nnl_loop {
    int operands, ndim;
    bool stops; // where the host asks for it (nnl_pool_stops): parts may be left out. False to begin with
    int64_t numel;
    int64_t size[NNL_MAX_DIMS]; // [0] is the row
    int64_t stride[NNL_LOOP_OPERANDS][NNL_MAX_DIMS];
    size_t element[NNL_LOOP_OPERANDS];
    char *data[NNL_LOOP_OPERANDS];
} nnl_loop;

// Operand 0 gives the shape and must be no expanded view; the others broadcast to it.
void nnl_loop_init(nnl_loop *loop, int operands, const nnl_tensor *const *tensors);

// Every element once, on the pool's threads where there are many. Parts are cut by size alone.
void nnl_loop_run(const nnl_loop *loop, nnl_pool *pool, nnl_row_task *task, void *arg);

#endif
