// safetensors.h: files of named tensors and text: eight bytes that tell the length of a JSON header, the
// header, the elements. Every byte of a file is untrusted. A file's tensors are views of its mapping: changes
// to them stay in memory.
#ifndef NNL_IO_SAFETENSORS_H
#define NNL_IO_SAFETENSORS_H

#include "io/bytes.h"
#include "tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct nnl_named_tensor {
    const char *name;
    size_t name_length;
    nnl_tensor *tensor;
} nnl_named_tensor;

typedef struct nnl_metadata {
    const char *key, *value;
    size_t key_length, value_length;
} nnl_metadata;

// What a file holds, or shall. When loaded it owns all of it; tensors are in the order of the file.
typedef struct nnl_safetensors {
    nnl_named_tensor *tensors;
    size_t count;
    nnl_metadata *metadata;
    size_t metadata_count;

    nnl_bytes names, tensor_list, metadata_list; // where the above live, when loaded
} nnl_safetensors;

// From a file, or a copy from memory. On failure there is nothing to free. A file that is mapped must not be
// written to meanwhile by others; one that is not mapped is copied, too.
nnl_status nnl_safetensors_load(nnl_context *ctx, const char *path, bool map, nnl_safetensors *out);
nnl_status nnl_safetensors_parse(nnl_context *ctx, const void *data, size_t size, nnl_safetensors *out);
void nnl_safetensors_free(nnl_safetensors *loaded);

// The order in which files are written unless the caller has one of its own: by name.
void nnl_safetensors_sort(nnl_safetensors *set);

// Tensors of any strides, in the order given. Replaces the file at once, or not at all.
nnl_status nnl_safetensors_save(nnl_context *ctx, const char *path, const nnl_safetensors *set);

// The same bytes behind what `out` holds.
nnl_status nnl_safetensors_write(nnl_context *ctx, const nnl_safetensors *set, nnl_bytes *out);

#endif
