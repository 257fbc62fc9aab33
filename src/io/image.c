// image.c: pictures of any kind: which it is, and files around memory. See png.c and jpeg.c for the kinds.
#include "io/image.h"
#include "io/file.h"
#include "io/pixels.h"

#include <string.h>

// As large as those of any camera, and a GB as floats.
#define MAX_PIXELS ((int64_t)1 << 27)

nnl_image_options nnl_image_defaults(void) {
    return (nnl_image_options){.dtype = NNL_FLOAT32, .orient = true, .max_pixels = MAX_PIXELS};
}

nnl_image_quality nnl_image_best(void) { return (nnl_image_quality){.jpeg = 90, .level = 6, .bits = 8}; }

static bool begins(const void *data, size_t size, const char *with, size_t length) {
    return size >= length && memcmp(data, with, length) == 0;
}

bool nnl_image_is_png(const void *data, size_t size) { return begins(data, size, "\x89PNG\r\n\x1a\n", 8); }
bool nnl_image_is_jpeg(const void *data, size_t size) { return begins(data, size, "\xff\xd8\xff", 3); }

static const char *other_kind(const void *data, size_t size) {
    if (size == 0) return "nothing at all";
    if (begins(data, size, "GIF8", 4)) return "GIF";
    if (begins(data, size, "BM", 2)) return "BMP";
    if (begins(data, size, "II*\0", 4) || begins(data, size, "MM\0*", 4)) return "TIFF";
    if (size >= 12 && begins(data, size, "RIFF", 4) && memcmp((const char *)data + 8, "WEBP", 4) == 0)
        return "WebP";
    return NULL;
}

static nnl_status decode(nnl_sink *sink, const void *data, size_t size) {
    if (nnl_image_is_png(data, size)) return nnl_png_decode(sink, data, size);
    if (nnl_image_is_jpeg(data, size)) return nnl_jpeg_decode(sink, data, size);
    const char *kind = other_kind(data, size);
    return nnl_fail(sink->ctx, NNL_ERR_IO, "neither a PNG nor a JPEG picture%s%s", kind ? ", but " : "",
                    kind ? kind : "");
}

nnl_tensor *nnl_image_decode(nnl_context *ctx, const void *data, size_t size,
                             const nnl_image_options *options) {
    nnl_sink sink = {.ctx = ctx, .options = options};
    return nnl_sink_close(&sink, decode(&sink, data, size) == NNL_OK);
}

nnl_tensor *nnl_image_load(nnl_context *ctx, const char *path, const nnl_image_options *options) {
    nnl_bytes bytes = {.ctx = ctx};
    nnl_tensor *out = NULL;
    if (nnl_file_read(ctx, path, &bytes) == NNL_OK) {
        out = nnl_image_decode(ctx, bytes.data, bytes.length, options);
        if (!out) nnl_file_blame(ctx, path);
    }
    nnl_bytes_free(&bytes);
    return out;
}

nnl_status nnl_image_encode(nnl_context *ctx, const nnl_tensor *x, nnl_image_format format,
                            const nnl_image_quality *quality, nnl_bytes *out) {
    nnl_rows rows;
    if (nnl_rows_open(ctx, x, format == NNL_IMAGE_PNG && quality->bits == 16, &rows) != NNL_OK)
        return ctx->status;
    if (format == NNL_IMAGE_PNG) return nnl_png_encode(ctx, &rows, quality->level, out);
    return nnl_jpeg_encode(ctx, &rows, quality->jpeg, out);
}
