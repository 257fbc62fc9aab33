// zip_write.c: entries one after another, then the directory. Numbers that need more than 32 bits are written
// as zip64, only where they do: every program reads what is smaller.
#include "io/zip.h"

#include <string.h>

#ifdef NNL_HAVE_ZLIB
#define ZLIB_CONST
#include <zlib.h>
#endif

#define PLAIN_VERSION 20
#define LARGE_VERSION 45
#define UTF8_NAMES 0x800
#define MIDNIGHT 0x00210000u // 1 January 1980: the same arrays give the same bytes
#define NONE32 0xffffffffu
#define NONE16 0xffffu

typedef struct entry {
    const char *name;
    size_t name_length;
    bool deflated;
    uint32_t sum;
    uint64_t packed, plain, offset;
} entry;

// Room for any record with its name behind it.
typedef struct record {
    char bytes[128];
    size_t length;
} record;

static void put(record *r, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) r->bytes[r->length++] = (char)(value >> (8 * i) & 0xff);
}

static uint64_t in32(uint64_t value) { return value < NONE32 ? value : NONE32; }

static bool is_large(const entry *e) {
    return e->plain >= NONE32 || e->packed >= NONE32 || e->offset >= NONE32;
}

// What the header of an entry and its place in the directory share.
static void put_common(record *r, const entry *e, size_t extra) {
    put(r, is_large(e) ? LARGE_VERSION : PLAIN_VERSION, 2);
    put(r, UTF8_NAMES, 2);
    put(r, e->deflated ? 8 : 0, 2);
    put(r, MIDNIGHT, 4);
    put(r, e->sum, 4);
    put(r, in32(e->packed), 4);
    put(r, in32(e->plain), 4);
    put(r, e->name_length, 2);
    put(r, extra, 2);
}

static void put_local_sizes(record *r, const entry *e) {
    put(r, 1, 2);
    put(r, 16, 2);
    put(r, e->plain, 8);
    put(r, e->packed, 8);
}

static nnl_status write_local(nnl_zip_writer *zip, const entry *e) {
    record head = {.length = 0}, extra = {.length = 0};
    if (e->plain >= NONE32 || e->packed >= NONE32) put_local_sizes(&extra, e);
    put(&head, 0x04034b50, 4);
    put_common(&head, e, extra.length);
    // Both sizes stand in the field where one needs it.
    if (extra.length > 0) memset(head.bytes + 18, 0xff, 8);
    if (nnl_file_write(zip->file, head.bytes, head.length) != NNL_OK ||
        nnl_file_write(zip->file, e->name, e->name_length) != NNL_OK ||
        nnl_file_write(zip->file, extra.bytes, extra.length) != NNL_OK)
        return zip->file->ctx->status;
    zip->offset += head.length + e->name_length + extra.length;
    return NNL_OK;
}

static nnl_status note(nnl_zip_writer *zip, const entry *e) {
    record head = {.length = 0}, extra = {.length = 0};
    if (is_large(e)) {
        const uint64_t values[] = {e->plain, e->packed, e->offset};
        size_t count = 0;
        for (size_t i = 0; i < 3; i++) count += values[i] >= NONE32;
        put(&extra, 1, 2);
        put(&extra, 8 * count, 2);
        for (size_t i = 0; i < 3; i++) {
            if (values[i] >= NONE32) put(&extra, values[i], 8);
        }
    }
    put(&head, 0x02014b50, 4);
    put(&head, LARGE_VERSION, 2);
    put_common(&head, e, extra.length);
    put(&head, 0, 2 + 2); // no comment, the first disk
    put(&head, 0, 2 + 4); // nothing special
    put(&head, in32(e->offset), 4);
    zip->count++;
    if (nnl_bytes_add(&zip->directory, head.bytes, head.length) != NNL_OK ||
        nnl_bytes_add(&zip->directory, e->name, e->name_length) != NNL_OK)
        return zip->directory.ctx->status;
    return nnl_bytes_add(&zip->directory, extra.bytes, extra.length);
}

// ---- compression

#ifdef NNL_HAVE_ZLIB

static void *take(void *ctx, unsigned items, unsigned size) {
    void *memory = nnl_alloc(&((nnl_context *)ctx)->allocator, (size_t)items * size);
    return memory ? memory : Z_NULL;
}

static void give_back(void *ctx, void *memory) { nnl_free(&((nnl_context *)ctx)->allocator, memory); }

// All of the input, in pieces that zlib can count, behind what `out` holds.
static nnl_status deflate_piece(z_stream *stream, const char *data, size_t size, bool last, nnl_bytes *out) {
    const size_t most = (size_t)1 << 30;
    for (int code = Z_OK; size > 0 || (last && code != Z_STREAM_END);) {
        size_t piece = size < most ? size : most;
        if (nnl_bytes_reserve(out, (size_t)1 << 16) != NNL_OK) return out->ctx->status;
        size_t room = out->capacity - out->length < most ? out->capacity - out->length : most;
        stream->next_in = (const Bytef *)data;
        stream->avail_in = (uInt)piece;
        stream->next_out = (Bytef *)out->data + out->length;
        stream->avail_out = (uInt)room;
        code = deflate(stream, last && piece == size ? Z_FINISH : Z_NO_FLUSH);
        out->length += room - stream->avail_out;
        data += piece - stream->avail_in;
        size -= piece - stream->avail_in;
    }
    return NNL_OK;
}

static nnl_status pack(const nnl_bytes *head, const void *data, size_t size, nnl_bytes *out) {
    nnl_context *ctx = out->ctx;
    z_stream stream = {.zalloc = take, .zfree = give_back, .opaque = ctx};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory");
    nnl_status status = deflate_piece(&stream, head->data, head->length, false, out);
    if (status == NNL_OK) status = deflate_piece(&stream, data, size, true, out);
    deflateEnd(&stream);
    return status;
}

#else

static nnl_status pack(const nnl_bytes *head, const void *data, size_t size, nnl_bytes *out) {
    (void)head, (void)data, (void)size;
    return nnl_fail(out->ctx, NNL_ERR_IO,
                    "this nnlua was built without zlib and cannot compress (on Debian and Ubuntu: apt-get "
                    "install zlib1g-dev, then build again)");
}

#endif

// ---- entries

static nnl_status write_packed(nnl_zip_writer *zip, entry *e, const nnl_bytes *head, const void *data,
                               size_t size) {
    nnl_bytes packed = {.ctx = zip->file->ctx};
    nnl_status status = pack(head, data, size, &packed);
    e->packed = packed.length;
    if (status == NNL_OK) status = write_local(zip, e);
    if (status == NNL_OK) status = nnl_file_write(zip->file, packed.data, packed.length);
    nnl_bytes_free(&packed);
    return status;
}

static nnl_status write_plain(nnl_zip_writer *zip, entry *e, const nnl_bytes *head, const void *data,
                              size_t size) {
    e->packed = e->plain;
    if (write_local(zip, e) != NNL_OK || nnl_file_write(zip->file, head->data, head->length) != NNL_OK)
        return zip->file->ctx->status;
    return nnl_file_write(zip->file, data, size);
}

nnl_status nnl_zip_add(nnl_zip_writer *zip, const char *name, const nnl_bytes *head, const void *data,
                       size_t size, bool compress) {
    uint32_t sum = nnl_crc32(nnl_crc32(0, head->data, head->length), data, size);
    entry e = {.name = name,
               .name_length = strlen(name),
               .deflated = compress,
               .sum = sum,
               .plain = head->length + size,
               .offset = zip->offset};
    if (e.name_length > NONE16)
        return nnl_fail(zip->file->ctx, NNL_ERR_ARGUMENT, "a name of %zu bytes is too long", e.name_length);
    nnl_status status =
        compress ? write_packed(zip, &e, head, data, size) : write_plain(zip, &e, head, data, size);
    if (status != NNL_OK) return status;
    zip->offset += e.packed;
    return note(zip, &e);
}

// ---- the end

static void put_end64(record *r, const nnl_zip_writer *zip) {
    put(r, 0x06064b50, 4);
    put(r, 44, 8); // bytes of this record behind this number
    put(r, LARGE_VERSION, 2);
    put(r, LARGE_VERSION, 2);
    put(r, 0, 8); // disks
    put(r, zip->count, 8);
    put(r, zip->count, 8);
    put(r, zip->directory.length, 8);
    put(r, zip->offset, 8);
    put(r, 0x07064b50, 4);
    put(r, 0, 4);
    put(r, zip->offset + zip->directory.length, 8);
    put(r, 1, 4);
}

nnl_status nnl_zip_finish(nnl_zip_writer *zip) {
    record end = {.length = 0};
    uint64_t count = zip->count < NONE16 ? zip->count : NONE16;
    if (count == NONE16 || zip->offset >= NONE32 || zip->directory.length >= NONE32) put_end64(&end, zip);
    put(&end, 0x06054b50, 4);
    put(&end, 0, 4);
    put(&end, count, 2);
    put(&end, count, 2);
    put(&end, in32(zip->directory.length), 4);
    put(&end, in32(zip->offset), 4);
    put(&end, 0, 2);
    if (nnl_file_write(zip->file, zip->directory.data, zip->directory.length) != NNL_OK)
        return zip->file->ctx->status;
    return nnl_file_write(zip->file, end.bytes, end.length);
}

void nnl_zip_free(nnl_zip_writer *zip) { nnl_bytes_free(&zip->directory); }
