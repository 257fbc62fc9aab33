// source.h: bytes one after another from memory that holds them plainly or compressed by gzip, or from a part
// of a zip file. What comes out of compressed bytes is bounded by what they can hold.
#ifndef NNL_IO_SOURCE_H
#define NNL_IO_SOURCE_H

#include "io/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum nnl_coding { NNL_PLAIN, NNL_GZIP, NNL_DEFLATE } nnl_coding;

struct nnl_inflater;

typedef struct nnl_source {
    nnl_context *ctx;
    const char *at, *end;          // of what is there, borrowed
    struct nnl_inflater *inflater; // NULL where the bytes are plain
    bool summed;
    uint32_t sum; // where `summed`: the CRC-32 of what has come so far
} nnl_source;

// Whether the bytes begin as those of a gzip file do.
bool nnl_is_gzip(const char *data, size_t size);

// Fails where the bytes are compressed and nnlua was built without zlib. On failure there is nothing to
// close.
nnl_status nnl_source_open(nnl_source *source, nnl_context *ctx, const char *data, size_t size,
                           nnl_coding coding);
void nnl_source_close(nnl_source *source);

// Just as many bytes as asked for, or an error.
nnl_status nnl_source_read(nnl_source *source, void *to, size_t size);

// Up to as many: `got` is less only at the end.
nnl_status nnl_source_some(nnl_source *source, void *to, size_t size, size_t *got);

// No more bytes than these can come.
uint64_t nnl_source_most(const nnl_source *source);

// An error where bytes are left.
nnl_status nnl_source_end(nnl_source *source);

// All of the rest, behind what `out` holds.
nnl_status nnl_source_rest(nnl_source *source, nnl_bytes *out);

// All of a file, plain or unpacked by gzip, behind what `out` holds. Messages begin with the path.
nnl_status nnl_source_file(nnl_context *ctx, const char *path, nnl_bytes *out);

// The CRC-32 of zip files, going on from `sum`, which is 0 at first.
uint32_t nnl_crc32(uint32_t sum, const void *data, size_t size);

#endif
