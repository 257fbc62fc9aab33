// dtype.h: the element types of memory, and the three types that arithmetic runs in. Names, sizes and
// promotion are in tensor/dtype.h.
#ifndef NNL_KERNEL_DTYPE_H
#define NNL_KERNEL_DTYPE_H

typedef enum nnl_dtype {
    NNL_FLOAT32,
    NNL_FLOAT64,
    NNL_INT64,
    NNL_INT32,
    NNL_UINT8,
    NNL_BOOL, // one byte, 0 or 1
    NNL_BFLOAT16,
    NNL_FLOAT16,
    NNL_DTYPE_COUNT
} nnl_dtype;

// float32, bfloat16 and float16 compute in float; float64 in double; all integers and bool in int64_t.
typedef enum nnl_compute { NNL_IN_FLOAT, NNL_IN_DOUBLE, NNL_IN_INT, NNL_COMPUTE_COUNT } nnl_compute;

#endif
