// dtype.h: what is known of each element type: name, size, kind, and how two of them promote.
#ifndef NNL_TENSOR_DTYPE_H
#define NNL_TENSOR_DTYPE_H

#include "kernel/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// In the order of promotion: a bool with an integer is an integer, an integer with a float that float.
typedef enum nnl_dtype_kind { NNL_KIND_BOOL, NNL_KIND_INT, NNL_KIND_FLOAT } nnl_dtype_kind;

typedef struct nnl_dtype_info {
    const char *name;        // as Lua sees it
    const char *safetensors; // as files spell it
    size_t size;
    nnl_dtype_kind kind;
    nnl_compute compute;
    bool native; // the memory is an array of the compute type itself
} nnl_dtype_info;

extern const nnl_dtype_info nnl_dtypes[NNL_DTYPE_COUNT];

static inline const nnl_dtype_info *nnl_dtype_get(nnl_dtype dtype) { return &nnl_dtypes[dtype]; }
static inline bool nnl_dtype_is_float(nnl_dtype dtype) { return nnl_dtypes[dtype].kind == NNL_KIND_FLOAT; }
static inline size_t nnl_dtype_size(nnl_dtype dtype) { return nnl_dtypes[dtype].size; }

// The dtype of this name; false where there is none.
bool nnl_dtype_named(const char *name, nnl_dtype *dtype);

// The type of the result of an operation on two tensors of these types, as in PyTorch.
nnl_dtype nnl_dtype_promote(nnl_dtype a, nnl_dtype b);

// A number from outside: a Lua integer, float or boolean.
typedef struct nnl_number {
    bool is_int;
    bool is_bool; // then is_int too
    int64_t i;
    double d; // always set, also for integers
} nnl_number;

nnl_number nnl_number_int(int64_t i);
nnl_number nnl_number_bool(bool truth);
nnl_number nnl_number_float(double d);

// Whether a number can be an element as it is, but for rounding: integer types have no NaN and an end. uint8
// also takes -255 to -1, which count from 256 down, as in PyTorch.
bool nnl_dtype_holds(nnl_dtype dtype, nnl_number value);
// The dtype that a number counts as among tensors.
nnl_dtype nnl_number_dtype(nnl_number number);

// One element in memory, written and read.
void nnl_element_write(nnl_dtype dtype, void *memory, nnl_number value);
nnl_number nnl_element_read(nnl_dtype dtype, const void *memory);

#endif
