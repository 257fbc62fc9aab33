// file.h: files as the readers and writers here want them: mapped, read whole, or written so that the old
// file stays until the new one is complete. Messages begin with the path.
#ifndef NNL_IO_FILE_H
#define NNL_IO_FILE_H

#include "io/bytes.h"

#include <stddef.h>
#include <stdint.h>

// A file's bytes, private to this process: a change to them does not reach the file. Counted; the last to
// release it unmaps it. An empty file has data NULL.
typedef struct nnl_mapping {
    uint32_t refs;
    nnl_context *ctx;
    char *data;
    size_t size;
} nnl_mapping;

// Returns new; NULL with the context's error.
nnl_mapping *nnl_mapping_new(nnl_context *ctx, const char *path);
void nnl_mapping_release(void *mapping);

// All of a file, which may be a pipe, behind what `out` holds.
nnl_status nnl_file_read(nnl_context *ctx, const char *path, nnl_bytes *out);

// A file in the making, under another name beside its own until nnl_file_commit.
typedef struct nnl_file {
    nnl_context *ctx;
    const char *path; // borrowed
    char *temporary;
    int descriptor;
} nnl_file;

nnl_status nnl_file_create(nnl_file *file, nnl_context *ctx, const char *path);
nnl_status nnl_file_write(nnl_file *file, const void *data, size_t size);
// All of it on the disk and in place of what was there; on failure that stays. The file is closed either way.
nnl_status nnl_file_commit(nnl_file *file);
void nnl_file_discard(nnl_file *file);

// Put the path before the text of the context's error; returns its status.
nnl_status nnl_file_blame(nnl_context *ctx, const char *path);

#endif
