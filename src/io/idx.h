// idx.h: IDX, the format of MNIST's files: a tensor of bytes, integers or floats, big-endian, plain or in
// gzip; and files of records of one size, such as CIFAR's. Every byte is untrusted.
#ifndef NNL_IO_IDX_H
#define NNL_IO_IDX_H

#include "tensor/tensor.h"

// uint8, int32, float32 and float64 stay what they are; int8 and int16 become int64. Return new, or NULL with
// the context's error.
nnl_tensor *nnl_idx_read(nnl_context *ctx, const char *path);
nnl_tensor *nnl_idx_parse(nnl_context *ctx, const char *data, size_t size);

// (N, size) of uint8. Returns new.
nnl_tensor *nnl_records_read(nnl_context *ctx, const char *path, size_t size);

#endif
