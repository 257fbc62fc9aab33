// elements.h: elements as the files of others hold them: integers and floats of any size, in either order of
// bytes, which become elements of the dtypes here.
#ifndef NNL_IO_ELEMENTS_H
#define NNL_IO_ELEMENTS_H

#include "io/source.h"
#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum nnl_element_kind {
    NNL_ELEMENT_SIGNED,
    NNL_ELEMENT_UNSIGNED,
    NNL_ELEMENT_FLOAT,
    NNL_ELEMENT_BFLOAT,
    NNL_ELEMENT_E4M3, // 8-bit floats (Micikevicius et al., "FP8 formats for deep learning", 2022)
    NNL_ELEMENT_E5M2,
    NNL_ELEMENT_BOOL,
} nnl_element_kind;

// What a file says of its elements, and the dtype that they become: their own, or int64 for the integers that
// have none here, float32 for 8-bit floats.
typedef struct nnl_elements {
    nnl_element_kind kind;
    size_t size; // bytes of one
    bool big_endian;
    nnl_dtype dtype;
} nnl_elements;

// False where there is no dtype that holds them.
bool nnl_elements_find(nnl_elements *elements, nnl_element_kind kind, size_t size, bool big_endian);

// Whether the bytes are those of the dtype as they stand.
bool nnl_elements_native(const nnl_elements *elements);

// `count` elements into memory of the dtype, which may be where they lie now if nnl_elements_native or of one
// size. The number of those that were read: less than count where one has no place in the dtype, such as a
// bool of neither 0 nor 1, or an integer beyond int64.
int64_t nnl_elements_read(const nnl_elements *elements, const char *from, char *to, int64_t count);

// A new tensor of all that the source still holds, which must be just its elements, into *out. No memory is
// taken for elements that cannot be there.
nnl_status nnl_elements_load(nnl_source *source, const nnl_elements *elements, const nnl_shape *shape,
                             nnl_tensor **out);

#endif
