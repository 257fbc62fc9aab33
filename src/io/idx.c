// idx.c: 0 0 type dimensions, then the sizes, then the elements, all big-endian.
#include "io/idx.h"

#include "io/elements.h"
#include "io/file.h"
#include "io/source.h"

#include <string.h>

// A new tensor into *out, which is NULL before.
typedef nnl_status parse_fn(nnl_source *source, size_t size, nnl_tensor **out);

static bool elements_of(unsigned char code, nnl_elements *elements) {
    switch (code) {
    case 0x08:
        return nnl_elements_find(elements, NNL_ELEMENT_UNSIGNED, 1, true);
    case 0x09:
        return nnl_elements_find(elements, NNL_ELEMENT_SIGNED, 1, true);
    case 0x0b:
        return nnl_elements_find(elements, NNL_ELEMENT_SIGNED, 2, true);
    case 0x0c:
        return nnl_elements_find(elements, NNL_ELEMENT_SIGNED, 4, true);
    case 0x0d:
        return nnl_elements_find(elements, NNL_ELEMENT_FLOAT, 4, true);
    case 0x0e:
        return nnl_elements_find(elements, NNL_ELEMENT_FLOAT, 8, true);
    default:
        return false;
    }
}

static nnl_status read_shape(nnl_source *source, int ndim, nnl_shape *shape) {
    *shape = (nnl_shape){.ndim = ndim};
    for (int d = 0; d < ndim; d++) {
        uint32_t size;
        if (nnl_source_read(source, &size, sizeof size) != NNL_OK) return source->ctx->status;
        shape->size[d] = __builtin_bswap32(size);
    }
    return NNL_OK;
}

static nnl_status read_header(nnl_source *source, nnl_elements *elements, nnl_shape *shape) {
    unsigned char magic[4];
    nnl_context *ctx = source->ctx;
    if (nnl_source_read(source, magic, sizeof magic) != NNL_OK) return ctx->status;
    if (magic[0] != 0 || magic[1] != 0)
        return nnl_fail(ctx, NNL_ERR_IO, "no IDX file: it begins with %02x %02x, not with 00 00", magic[0],
                        magic[1]);
    if (!elements_of(magic[2], elements))
        return nnl_fail(ctx, NNL_ERR_IO, "no IDX file: unknown element type 0x%02x", magic[2]);
    if (magic[3] > NNL_MAX_DIMS)
        return nnl_fail(ctx, NNL_ERR_IO, "%d dimensions, at most %d are possible", magic[3], NNL_MAX_DIMS);
    return read_shape(source, magic[3], shape);
}

static nnl_status parse_idx(nnl_source *source, size_t size, nnl_tensor **out) {
    nnl_elements elements;
    nnl_shape shape;
    (void)size;
    if (read_header(source, &elements, &shape) != NNL_OK) return source->ctx->status;
    return nnl_elements_load(source, &elements, &shape, out);
}

// How many there are is known only when all were read, where they are compressed.
static nnl_status parse_records(nnl_source *source, size_t size, nnl_tensor **out) {
    nnl_context *ctx = source->ctx;
    nnl_bytes bytes = {.ctx = ctx};
    nnl_status status = nnl_source_rest(source, &bytes);
    if (status == NNL_OK) {
        nnl_shape shape = {.ndim = 2, .size = {(int64_t)(bytes.length / size), (int64_t)size}};
        if (bytes.length > 0 && bytes.length % size == 0)
            *out = nnl_tensor_new(ctx, NNL_UINT8, &shape);
        else
            nnl_fail(ctx, NNL_ERR_IO, "%zu bytes are no whole number of records of %zu", bytes.length, size);
        status = *out ? NNL_OK : ctx->status;
    }
    if (*out) memcpy(nnl_tensor_data(*out), bytes.data, bytes.length);
    nnl_bytes_free(&bytes);
    return status;
}

static nnl_tensor *parse(nnl_context *ctx, const char *data, size_t bytes, parse_fn *parser, size_t size) {
    nnl_source source;
    nnl_tensor *t = NULL;
    nnl_coding coding = nnl_is_gzip(data, bytes) ? NNL_GZIP : NNL_PLAIN;
    if (nnl_source_open(&source, ctx, data, bytes, coding) != NNL_OK) return NULL;
    nnl_status status = parser(&source, size, &t);
    nnl_source_close(&source);
    return status == NNL_OK ? t : NULL;
}

static nnl_tensor *read(nnl_context *ctx, const char *path, parse_fn *parser, size_t size) {
    nnl_mapping *mapping = nnl_mapping_new(ctx, path);
    if (!mapping) return NULL;
    nnl_tensor *t = parse(ctx, mapping->data, mapping->size, parser, size);
    if (!t) nnl_file_blame(ctx, path);
    nnl_mapping_release(mapping);
    return t;
}

nnl_tensor *nnl_idx_read(nnl_context *ctx, const char *path) { return read(ctx, path, parse_idx, 0); }

nnl_tensor *nnl_idx_parse(nnl_context *ctx, const char *data, size_t size) {
    return parse(ctx, data, size, parse_idx, 0);
}

nnl_tensor *nnl_records_read(nnl_context *ctx, const char *path, size_t size) {
    return read(ctx, path, parse_records, size);
}
