// source.c: plain bytes, and zlib's inflate with its memory from the context.
#include "io/source.h"

#include "io/file.h"

#include <string.h>

#ifdef NNL_HAVE_ZLIB
#define ZLIB_CONST
#include <zlib.h>
#endif

#define EXPANSION 1032 // no deflated byte makes more (zlib's technical notes)
#define FIRST_ROOM ((size_t)1 << 16)

bool nnl_is_gzip(const char *data, size_t size) {
    return size >= 2 && (unsigned char)data[0] == 0x1f && (unsigned char)data[1] == 0x8b;
}

#ifdef NNL_HAVE_ZLIB

typedef struct nnl_inflater {
    z_stream stream;
    nnl_coding coding;
    bool ended;
} nnl_inflater;

static void *take(void *ctx, unsigned items, unsigned size) {
    void *memory = nnl_alloc(&((nnl_context *)ctx)->allocator, (size_t)items * size);
    return memory ? memory : Z_NULL;
}

static void give_back(void *ctx, void *memory) { nnl_free(&((nnl_context *)ctx)->allocator, memory); }

static nnl_status open_inflater(nnl_source *source, nnl_coding coding) {
    nnl_context *ctx = source->ctx;
    nnl_inflater *inflater = nnl_alloc(&ctx->allocator, sizeof *inflater);
    if (!inflater) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory");
    *inflater =
        (nnl_inflater){.stream = {.zalloc = take, .zfree = give_back, .opaque = ctx}, .coding = coding};
    int window = coding == NNL_GZIP ? 16 + MAX_WBITS : -MAX_WBITS;
    if (inflateInit2(&inflater->stream, window) != Z_OK) {
        nnl_free(&ctx->allocator, inflater);
        return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory");
    }
    source->inflater = inflater;
    return NNL_OK;
}

static void close_inflater(nnl_source *source) {
    inflateEnd(&source->inflater->stream);
    nnl_free(&source->ctx->allocator, source->inflater);
    source->inflater = NULL;
}

// Behind a member of a gzip file there may be another; zeros that fill up a block of a tape are none.
static nnl_status next_member(nnl_source *source) {
    nnl_inflater *inflater = source->inflater;
    const char *at = source->at;
    while (at < source->end && *at == '\0') at++;
    if (at == source->end) source->at = at;
    inflater->ended = inflater->coding != NNL_GZIP || source->at == source->end;
    if (inflater->ended) return NNL_OK;
    if (!nnl_is_gzip(source->at, (size_t)(source->end - source->at)))
        return nnl_fail(source->ctx, NNL_ERR_IO, "damaged gzip file: bytes behind its end");
    inflateReset(&inflater->stream);
    return NNL_OK;
}

static nnl_status refuse(nnl_source *source, int code) {
    const char *message = source->inflater->stream.msg;
    if (code == Z_MEM_ERROR) return nnl_fail(source->ctx, NNL_ERR_MEMORY, "out of memory");
    if (code == Z_BUF_ERROR)
        return nnl_fail(source->ctx, NNL_ERR_IO, "damaged compressed data: it ends too early");
    return nnl_fail(source->ctx, NNL_ERR_IO, "damaged compressed data: %s",
                    message ? message : "not understood");
}

// One call of inflate, for no more than some milliseconds: then the host may want an end.
#define MOST_AT_ONCE ((uInt)1 << 24)

static nnl_status inflate_piece(nnl_source *source, char *to, size_t size, size_t *got) {
    z_stream *stream = &source->inflater->stream;
    size_t left = (size_t)(source->end - source->at);
    uInt input = left < UINT32_MAX / 2 ? (uInt)left : UINT32_MAX / 2;
    uInt output = size < MOST_AT_ONCE ? (uInt)size : MOST_AT_ONCE;
    stream->next_in = (const Bytef *)source->at;
    stream->avail_in = input;
    stream->next_out = (Bytef *)to;
    stream->avail_out = output;
    int code = inflate(stream, Z_NO_FLUSH);
    source->at += input - stream->avail_in;
    *got = output - stream->avail_out;
    if (code == Z_STREAM_END) return next_member(source);
    return code == Z_OK ? NNL_OK : refuse(source, code);
}

uint32_t nnl_crc32(uint32_t sum, const void *data, size_t size) { return (uint32_t)crc32_z(sum, data, size); }

static nnl_status inflate_some(nnl_source *source, char *to, size_t size, size_t *got) {
    for (*got = 0; *got < size && !source->inflater->ended;) {
        size_t piece;
        if (inflate_piece(source, to + *got, size - *got, &piece) != NNL_OK) return source->ctx->status;
        *got += piece;
        if (nnl_check_stop(source->ctx, "reading") != NNL_OK) return source->ctx->status;
    }
    return NNL_OK;
}

#else

static nnl_status open_inflater(nnl_source *source, nnl_coding coding) {
    (void)coding;
    return nnl_fail(source->ctx, NNL_ERR_IO,
                    "the data is compressed, and this nnlua was built without zlib (on Debian and Ubuntu: "
                    "apt-get install zlib1g-dev, then build again)");
}

static void close_inflater(nnl_source *source) { source->inflater = NULL; }

static nnl_status inflate_some(nnl_source *source, char *to, size_t size, size_t *got) {
    (void)to, (void)size;
    *got = 0;
    return nnl_fail(source->ctx, NNL_ERR_STATE, "no zlib");
}

// Four bits at a time.
uint32_t nnl_crc32(uint32_t sum, const void *data, size_t size) {
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    const unsigned char *at = data;
    sum = ~sum;
    for (size_t i = 0; i < size; i++) {
        sum = (sum >> 4) ^ table[(sum ^ at[i]) & 15];
        sum = (sum >> 4) ^ table[(sum ^ (unsigned)(at[i] >> 4)) & 15];
    }
    return ~sum;
}

#endif

nnl_status nnl_source_open(nnl_source *source, nnl_context *ctx, const char *data, size_t size,
                           nnl_coding coding) {
    *source = (nnl_source){.ctx = ctx, .at = data, .end = data ? data + size : data};
    return coding == NNL_PLAIN ? NNL_OK : open_inflater(source, coding);
}

void nnl_source_close(nnl_source *source) {
    if (source->inflater) close_inflater(source);
}

static void copy_some(nnl_source *source, void *to, size_t size, size_t *got) {
    size_t left = (size_t)(source->end - source->at);
    *got = size < left ? size : left;
    if (*got > 0) memcpy(to, source->at, *got);
    source->at += *got;
}

nnl_status nnl_source_some(nnl_source *source, void *to, size_t size, size_t *got) {
    if (!source->inflater)
        copy_some(source, to, size, got);
    else if (inflate_some(source, to, size, got) != NNL_OK)
        return source->ctx->status;
    if (source->summed) source->sum = nnl_crc32(source->sum, to, *got);
    return NNL_OK;
}

nnl_status nnl_source_end(nnl_source *source) {
    char byte = 0;
    size_t got;
    if (nnl_source_some(source, &byte, 1, &got) != NNL_OK) return source->ctx->status;
    return got == 0 ? NNL_OK : nnl_fail(source->ctx, NNL_ERR_IO, "bytes behind the last element");
}

nnl_status nnl_source_read(nnl_source *source, void *to, size_t size) {
    size_t got;
    if (nnl_source_some(source, to, size, &got) != NNL_OK) return source->ctx->status;
    if (got == size) return NNL_OK;
    return nnl_fail(source->ctx, NNL_ERR_IO, "%zu more bytes expected, found %zu", size, got);
}

// With what inflate holds back beside what it has not read yet.
uint64_t nnl_source_most(const nnl_source *source) {
    uint64_t left = (uint64_t)(source->end - source->at);
    return source->inflater ? (left + 64) * EXPANSION : left;
}

nnl_status nnl_source_rest(nnl_source *source, nnl_bytes *out) {
    for (;;) {
        size_t room = out->length < FIRST_ROOM ? FIRST_ROOM : out->length / 2, got;
        if (!source->inflater) room = (size_t)(source->end - source->at) + 1;
        if (nnl_bytes_reserve(out, room) != NNL_OK) return source->ctx->status;
        room = out->capacity - out->length;
        if (nnl_source_some(source, out->data + out->length, room, &got) != NNL_OK)
            return source->ctx->status;
        out->length += got;
        if (got < room) return NNL_OK;
    }
}

nnl_status nnl_source_file(nnl_context *ctx, const char *path, nnl_bytes *out) {
    nnl_mapping *mapping = nnl_mapping_new(ctx, path);
    if (!mapping) return ctx->status;
    nnl_source source;
    nnl_coding coding = nnl_is_gzip(mapping->data, mapping->size) ? NNL_GZIP : NNL_PLAIN;
    nnl_status status = nnl_source_open(&source, ctx, mapping->data, mapping->size, coding);
    if (status == NNL_OK) {
        status = nnl_source_rest(&source, out);
        nnl_source_close(&source);
    }
    nnl_mapping_release(mapping);
    return status == NNL_OK ? status : nnl_file_blame(ctx, path);
}
