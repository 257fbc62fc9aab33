// npy.h: NumPy's files: one array (.npy), or several by name in a zip file (.npz). Every byte is untrusted,
// and nothing is unpickled. Elements as in elements.h; bfloat16, which NumPy has not, is written as float32.
#ifndef NNL_IO_NPY_H
#define NNL_IO_NPY_H

#include "io/safetensors.h"
#include "io/source.h"

typedef enum nnl_map_choice { NNL_MAP_LARGE, NNL_MAP_ALWAYS, NNL_MAP_NEVER } nnl_map_choice;

// A tensor over the mapped file where that is large (or always, or never), and its elements lie there as they
// are needed; otherwise a copy. Returns new, or NULL with the context's error.
nnl_tensor *nnl_npy_load(nnl_context *ctx, const char *path, nnl_map_choice map);
nnl_tensor *nnl_npy_parse(nnl_context *ctx, const char *data, size_t size);

// The array that a source holds, into *out, which is NULL before.
nnl_status nnl_npy_read(nnl_source *source, nnl_tensor **out);

// Replaces the file at once, or not at all.
nnl_status nnl_npy_save(nnl_context *ctx, const char *path, const nnl_tensor *t);

// What comes before the elements of a contiguous tensor.
nnl_status nnl_npy_header(const nnl_tensor *t, nnl_bytes *out);
// The tensor as it is written: contiguous, of a dtype that NumPy has. Returns new.
nnl_tensor *nnl_npy_form(const nnl_tensor *t);

// The arrays of a zip file by name, without ".npy"; what else lies in it is left out. The set has no
// metadata.
nnl_status nnl_npz_load(nnl_context *ctx, const char *path, nnl_safetensors *out);
nnl_status nnl_npz_parse(nnl_context *ctx, const char *data, size_t size, nnl_safetensors *out);

// In the order given. Compressed where asked for, which needs zlib.
nnl_status nnl_npz_save(nnl_context *ctx, const char *path, const nnl_safetensors *set, bool compress);

#endif
