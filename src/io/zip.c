// zip.c: reading: the end of the directory, the directory, the entries. See zip_write.c for writing.
#include "io/zip.h"

#include <string.h>

#define END_BYTES 22
#define LOCATOR_BYTES 20
#define END64_BYTES 56
#define ENTRY_BYTES 46
#define LOCAL_BYTES 30
#define COMMENT_LIMIT 65535
#define NONE32 0xffffffffu
#define NONE16 0xffffu
#define STORED 0
#define DEFLATED 8
#define ENCRYPTED 1

static uint64_t number(const char *at, int bytes) {
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | (unsigned char)at[i];
    return value;
}

static nnl_status damaged(nnl_context *ctx, const char *what) {
    return nnl_fail(ctx, NNL_ERR_IO, "damaged zip file: %s", what);
}

// ---- the end, which is where reading begins

static const char *find_end(const char *data, size_t size) {
    if (size < END_BYTES) return NULL;
    size_t lowest = size > END_BYTES + COMMENT_LIMIT ? size - END_BYTES - COMMENT_LIMIT : 0;
    for (size_t at = size - END_BYTES + 1; at-- > lowest;) {
        if (memcmp(data + at, "PK\5\6", 4) == 0 && at + END_BYTES + number(data + at + 20, 2) == size)
            return data + at;
    }
    return NULL;
}

// The record of large files, if there is one before the end.
static nnl_status read_end64(nnl_zip *zip, const char *end, uint64_t *start, uint64_t *length) {
    if (end - zip->data < LOCATOR_BYTES || memcmp(end - LOCATOR_BYTES, "PK\6\7", 4) != 0) return NNL_OK;
    uint64_t at = number(end - LOCATOR_BYTES + 8, 8);
    if (zip->size < END64_BYTES || at > zip->size - END64_BYTES || memcmp(zip->data + at, "PK\6\6", 4) != 0)
        return damaged(zip->ctx, "no end of its directory");
    zip->count = number(zip->data + at + 32, 8);
    *length = number(zip->data + at + 40, 8);
    *start = number(zip->data + at + 48, 8);
    return NNL_OK;
}

nnl_status nnl_zip_open(nnl_zip *zip, nnl_context *ctx, const char *data, size_t size) {
    *zip = (nnl_zip){.ctx = ctx, .data = data, .size = size};
    const char *end = data ? find_end(data, size) : NULL;
    if (!end) return nnl_fail(ctx, NNL_ERR_IO, "no zip file, or one that is cut off");
    zip->count = number(end + 10, 2);
    uint64_t length = number(end + 12, 4), start = number(end + 16, 4);
    if (read_end64(zip, end, &start, &length) != NNL_OK) return ctx->status;
    uint64_t limit = (uint64_t)(end - data);
    if (start > limit || length > limit - start || zip->count > length / ENTRY_BYTES)
        return damaged(ctx, "its directory is not within the file");
    zip->at = start;
    zip->end = start + length;
    return NNL_OK;
}

// ---- entries

// What did not fit into 32 bits stands in a field of its own, in this order, each only where it is needed.
static nnl_status read_large(const nnl_zip *zip, const char *extra, size_t length, nnl_zip_entry *entry) {
    uint64_t *values[] = {&entry->plain, &entry->packed, &entry->offset};
    const char *end = extra + length;
    while (end - extra >= 4) {
        size_t size = (size_t)number(extra + 2, 2);
        bool large = number(extra, 2) == 1;
        extra += 4;
        if (size > (size_t)(end - extra)) return damaged(zip->ctx, "a field beyond its entry");
        for (size_t i = 0, used = 0; large && i < 3; i++) {
            if (*values[i] != NONE32) continue;
            if (used + 8 > size) return damaged(zip->ctx, "a size is missing");
            *values[i] = number(extra + used, 8);
            used += 8;
        }
        if (large) return NNL_OK;
        extra += size;
    }
    return NNL_OK;
}

nnl_status nnl_zip_next(nnl_zip *zip, nnl_zip_entry *entry, bool *more) {
    *more = zip->count > 0;
    if (!*more) return NNL_OK;
    zip->count--;
    const char *at = zip->data + zip->at;
    uint64_t left = zip->end - zip->at;
    if (left < ENTRY_BYTES || memcmp(at, "PK\1\2", 4) != 0) return damaged(zip->ctx, "no entry");
    size_t name = (size_t)number(at + 28, 2), extra = (size_t)number(at + 30, 2);
    uint64_t all = ENTRY_BYTES + name + extra + number(at + 32, 2);
    if (all > left) return damaged(zip->ctx, "an entry beyond its directory");
    *entry = (nnl_zip_entry){.name = at + ENTRY_BYTES,
                             .name_length = name,
                             .flags = (unsigned)number(at + 8, 2),
                             .method = (unsigned)number(at + 10, 2),
                             .sum = (uint32_t)number(at + 16, 4),
                             .packed = number(at + 20, 4),
                             .plain = number(at + 24, 4),
                             .offset = number(at + 42, 4)};
    if (read_large(zip, at + ENTRY_BYTES + name, extra, entry) != NNL_OK) return zip->ctx->status;
    zip->at += all;
    if (entry->packed > zip->size - zip->packed) return damaged(zip->ctx, "its entries lie over each other");
    zip->packed += entry->packed;
    return NNL_OK;
}

// Where the packed bytes begin: behind a header whose name and fields may be longer than the directory's.
static nnl_status find_data(const nnl_zip *zip, const nnl_zip_entry *entry, const char **data) {
    if (zip->size < LOCAL_BYTES || entry->offset > zip->size - LOCAL_BYTES ||
        memcmp(zip->data + entry->offset, "PK\3\4", 4) != 0)
        return damaged(zip->ctx, "no entry where the directory says");
    const char *local = zip->data + entry->offset;
    uint64_t start = entry->offset + LOCAL_BYTES + number(local + 26, 2) + number(local + 28, 2);
    if (start > zip->size || entry->packed > zip->size - start)
        return damaged(zip->ctx, "an entry beyond the end of the file");
    *data = zip->data + start;
    return NNL_OK;
}

nnl_status nnl_zip_source(const nnl_zip *zip, const nnl_zip_entry *entry, nnl_source *source) {
    const char *data = NULL;
    if (entry->flags & ENCRYPTED) return nnl_fail(zip->ctx, NNL_ERR_IO, "the entry is encrypted");
    if (entry->method != STORED && entry->method != DEFLATED)
        return nnl_fail(zip->ctx, NNL_ERR_IO,
                        "the entry is compressed by method %u; known are 0 (stored) and 8 "
                        "(deflated)",
                        entry->method);
    if (find_data(zip, entry, &data) != NNL_OK) return zip->ctx->status;
    if (entry->method == STORED && entry->packed != entry->plain)
        return damaged(zip->ctx, "two sizes for one");
    nnl_coding coding = entry->method == STORED ? NNL_PLAIN : NNL_DEFLATE;
    if (nnl_source_open(source, zip->ctx, data, (size_t)entry->packed, coding) != NNL_OK)
        return zip->ctx->status;
    source->summed = true;
    return NNL_OK;
}

nnl_status nnl_zip_close(const nnl_zip_entry *entry, nnl_source *source) {
    nnl_context *ctx = source->ctx;
    bool right = source->sum == entry->sum;
    nnl_source_close(source);
    return right ? NNL_OK : nnl_fail(ctx, NNL_ERR_IO, "damaged: the checksum is another");
}
