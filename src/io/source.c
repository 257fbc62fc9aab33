// source.c: plain bytes, and zlib's inflate with its memory from the context.
#include "io/source.h"

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

// One call of inflate over as much as its counters can say.
static nnl_status inflate_piece(nnl_source *source, char *to, size_t size, size_t *got) {
    z_stream *stream = &source->inflater->stream;
    size_t left = (size_t)(source->end - source->at);
    uInt input = left < UINT32_MAX / 2 ? (uInt)left : UINT32_MAX / 2;
    uInt output = size < UINT32_MAX / 2 ? (uInt)size : UINT32_MAX / 2;
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

static nnl_status inflate_some(nnl_source *source, char *to, size_t size, size_t *got) {
    for (*got = 0; *got < size && !source->inflater->ended;) {
        size_t piece;
        if (inflate_piece(source, to + *got, size - *got, &piece) != NNL_OK) return source->ctx->status;
        *got += piece;
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

#endif

nnl_status nnl_source_open(nnl_source *source, nnl_context *ctx, const char *data, size_t size,
                           nnl_coding coding) {
    *source = (nnl_source){.ctx = ctx, .at = data, .end = data ? data + size : data};
    return coding == NNL_PLAIN ? NNL_OK : open_inflater(source, coding);
}

void nnl_source_close(nnl_source *source) {
    if (source->inflater) close_inflater(source);
}

nnl_status nnl_source_some(nnl_source *source, void *to, size_t size, size_t *got) {
    if (source->inflater) return inflate_some(source, to, size, got);
    size_t left = (size_t)(source->end - source->at);
    *got = size < left ? size : left;
    if (*got > 0) memcpy(to, source->at, *got);
    source->at += *got;
    return NNL_OK;
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
