// bytes.h: a growing piece of memory for what is read, written and collected: text, arenas, lists of records.
#ifndef NNL_IO_BYTES_H
#define NNL_IO_BYTES_H

#include "base/context.h"

#include <stddef.h>

// Begins as {.ctx = ctx}. Aligned for any element; it moves as it grows, so keep offsets, not pointers.
typedef struct nnl_bytes {
    nnl_context *ctx;
    char *data;
    size_t length, capacity;
} nnl_bytes;

// Room for `more` bytes behind the length.
nnl_status nnl_bytes_reserve(nnl_bytes *bytes, size_t more);
nnl_status nnl_bytes_add(nnl_bytes *bytes, const void *data, size_t size);
void nnl_bytes_free(nnl_bytes *bytes);

#endif
