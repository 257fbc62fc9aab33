// zip.h: zip files (PKWARE's APPNOTE 6.3): stored or deflated entries, also beyond 4 GB (zip64). Reading
// looks at memory, of which every byte is untrusted; writing appends to a file in the making.
#ifndef NNL_IO_ZIP_H
#define NNL_IO_ZIP_H

#include "io/file.h"
#include "io/source.h"

typedef struct nnl_zip_entry {
    const char *name; // in the file's memory, no zero behind it
    size_t name_length;
    unsigned method, flags;
    uint32_t sum; // CRC-32 of the plain bytes
    uint64_t packed, plain, offset;
} nnl_zip_entry;

typedef struct nnl_zip {
    nnl_context *ctx;
    const char *data;
    size_t size;
    uint64_t count;   // entries, as the file says
    uint64_t at, end; // of the directory: its next entry, and its end
    uint64_t packed;  // bytes of the entries so far: two cannot be the same ones
} nnl_zip;

nnl_status nnl_zip_open(nnl_zip *zip, nnl_context *ctx, const char *data, size_t size);

// The next entry of the directory; false in `more` behind the last.
nnl_status nnl_zip_next(nnl_zip *zip, nnl_zip_entry *entry, bool *more);

// Its plain bytes, to be closed with nnl_zip_close, which checks that they were the right ones.
nnl_status nnl_zip_source(const nnl_zip *zip, const nnl_zip_entry *entry, nnl_source *source);
nnl_status nnl_zip_close(const nnl_zip_entry *entry, nnl_source *source);

// ---- writing

typedef struct nnl_zip_writer {
    nnl_file *file;
    nnl_bytes directory;
    uint64_t offset, count;
} nnl_zip_writer;

// An entry of two pieces of memory, one behind the other.
nnl_status nnl_zip_add(nnl_zip_writer *zip, const char *name, const nnl_bytes *head, const void *data,
                       size_t size, bool compress);
nnl_status nnl_zip_finish(nnl_zip_writer *zip);
void nnl_zip_free(nnl_zip_writer *zip);

#endif
