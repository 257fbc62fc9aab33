// pixels.c: rows of pixels to planes of a tensor and back, and EXIF's orientation.
#include "io/pixels.h"

#include <string.h>

// ---- from a file

static int channels_of(nnl_image_mode mode, int from) {
    switch (mode) {
    case NNL_IMAGE_GRAY:
        return 1;
    case NNL_IMAGE_RGB:
        return 3;
    case NNL_IMAGE_RGBA:
        return 4;
    default:
        return from;
    }
}

// EXIF's orientation says where the file's first row and first column are seen: 1 top left, 2 top right, 3
// bottom right, 4 bottom left; 5 to 8 the same with rows and columns exchanged.
static void orient(nnl_sink *sink, int64_t width, int64_t height, int orientation) {
    static const struct {
        bool turned, right, bottom;
    } seen[9] = {{0, 0, 0}, {0, 0, 0}, {0, 1, 0}, {0, 1, 1}, {0, 0, 1},
                 {1, 0, 0}, {1, 1, 0}, {1, 1, 1}, {1, 0, 1}};
    bool turned = seen[orientation].turned;
    int64_t wide = turned ? height : width, high = turned ? width : height; // of the result
    int64_t right = seen[orientation].right ? -1 : 1, below = seen[orientation].bottom ? -wide : wide;
    sink->base = (right < 0 ? wide - 1 : 0) + (below < 0 ? (high - 1) * wide : 0);
    sink->across = turned ? below : right;
    sink->down = turned ? right : below;
}

nnl_status nnl_sink_check(const nnl_sink *sink, int64_t width, int64_t height) {
    if (width > 0 && height > 0 && width <= sink->options->max_pixels / height) return NNL_OK;
    return nnl_fail(sink->ctx, NNL_ERR_IO,
                    "a picture of %lld x %lld pixels is larger than max_pixels = %lld allows",
                    (long long)width, (long long)height, (long long)sink->options->max_pixels);
}

nnl_status nnl_sink_open(nnl_sink *sink, int64_t width, int64_t height, int channels, bool wide,
                         int orientation) {
    if (nnl_sink_check(sink, width, height) != NNL_OK) return sink->ctx->status;
    if (!sink->options->orient || orientation < 1 || orientation > 8) orientation = 1;
    sink->width = width;
    sink->from = channels;
    sink->to = channels_of(sink->options->mode, channels);
    sink->wide = wide;
    orient(sink, width, height, orientation);
    bool turned = orientation > 4;
    nnl_shape shape = {3, {sink->to, turned ? width : height, turned ? height : width}};
    sink->out = nnl_tensor_new(sink->ctx, sink->options->dtype, &shape);
    if (!sink->out) return sink->ctx->status;
    if (sink->options->truncated) memset(nnl_tensor_data(sink->out), 0, sink->out->storage->bytes);
    sink->line = nnl_alloc(&sink->ctx->allocator, (size_t)(width * sink->to) * (wide ? 2 : 1));
    if (!sink->line) return nnl_fail(sink->ctx, NNL_ERR_MEMORY, "out of memory: no room for a row of pixels");
    return NNL_OK;
}

nnl_tensor *nnl_sink_close(nnl_sink *sink, bool good) {
    nnl_free(&sink->ctx->allocator, sink->line);
    sink->line = NULL;
    if (good) return sink->out;
    nnl_tensor_release(sink->out);
    return NULL;
}

// ITU-R 601's weights, in the rounding that is usual for 8 bits.
static uint32_t luma(uint64_t r, uint64_t g, uint64_t b) {
    return (uint32_t)((r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16);
}

// Which channel of the file a channel of the result is: LUMA is made of three, OPAQUE is not there.
enum { LUMA = -1, OPAQUE = -2 };

static int source_of(const nnl_sink *sink, int channel) {
    bool gray = sink->from < 3;
    if (sink->to == sink->from) return channel;
    if (sink->to == 1) return gray ? 0 : LUMA;
    if (channel == 3) return sink->from == 2 ? 1 : OPAQUE; // to RGBA, from less than that
    return gray ? 0 : channel;
}

static void split_bytes(const nnl_sink *sink, int channel, const uint8_t *row, uint8_t *line) {
    int64_t n = sink->width, step = sink->from;
    int source = source_of(sink, channel);
    if (source == OPAQUE) {
        memset(line, 0xff, (size_t)n);
    } else if (source == LUMA) {
        for (int64_t x = 0; x < n; x++, row += step) line[x] = (uint8_t)luma(row[0], row[1], row[2]);
    } else {
        for (int64_t x = 0; x < n; x++) line[x] = row[x * step + source];
    }
}

static void split_words(const nnl_sink *sink, int channel, const uint16_t *row, uint16_t *line) {
    int64_t n = sink->width, step = sink->from;
    int source = source_of(sink, channel);
    if (source == OPAQUE) {
        memset(line, 0xff, (size_t)n * sizeof *line);
    } else if (source == LUMA) {
        for (int64_t x = 0; x < n; x++, row += step) line[x] = (uint16_t)luma(row[0], row[1], row[2]);
    } else {
        for (int64_t x = 0; x < n; x++) line[x] = row[x * step + source];
    }
}

static void store(const nnl_sink *sink, const void *line, void *data, ptrdiff_t at) {
    int64_t n = sink->width;
    ptrdiff_t step = sink->across;
    if (sink->options->dtype == NNL_UINT8) {
        uint8_t *out = (uint8_t *)data + at;
        if (step == 1) {
            memcpy(out, line, (size_t)n);
            return;
        }
        for (int64_t x = 0; x < n; x++) out[x * step] = ((const uint8_t *)line)[x];
    } else if (sink->wide) {
        float *out = (float *)data + at;
        for (int64_t x = 0; x < n; x++) out[x * step] = (float)((const uint16_t *)line)[x] / 65535.0f;
    } else {
        float *out = (float *)data + at;
        for (int64_t x = 0; x < n; x++) out[x * step] = (float)((const uint8_t *)line)[x] / 255.0f;
    }
}

void nnl_sink_row(nnl_sink *sink, int64_t y, const void *row) {
    ptrdiff_t plane = (ptrdiff_t)(sink->out->shape.size[1] * sink->out->shape.size[2]);
    for (int c = 0; c < sink->to; c++) {
        if (sink->wide)
            split_words(sink, c, row, sink->line);
        else
            split_bytes(sink, c, row, sink->line);
        store(sink, sink->line, nnl_tensor_data(sink->out), c * plane + sink->base + y * sink->down);
    }
}

// ---- EXIF: a TIFF file in small. The first directory's entry 0x0112 is the orientation.

typedef struct tiff {
    const unsigned char *data;
    size_t size;
    bool little;
} tiff;

static bool tiff_get(const tiff *t, size_t at, int bytes, uint32_t *value) {
    if (t->size < (size_t)bytes || at > t->size - (size_t)bytes) return false;
    *value = 0;
    for (int i = 0; i < bytes; i++)
        *value = *value << 8 | t->data[at + (size_t)(t->little ? bytes - 1 - i : i)];
    return true;
}

int nnl_exif_orientation(const unsigned char *data, size_t size) {
    tiff t = {data, size, size > 0 && data[0] == 'I'};
    uint32_t order, magic, directory, entries, tag, value;
    if (!tiff_get(&t, 0, 2, &order) || (order != 0x4949 && order != 0x4d4d)) return 1;
    if (!tiff_get(&t, 2, 2, &magic) || magic != 42) return 1;
    if (!tiff_get(&t, 4, 4, &directory) || !tiff_get(&t, directory, 2, &entries)) return 1;
    for (size_t i = 0, at = (size_t)directory + 2; i < entries; i++, at += 12) {
        if (!tiff_get(&t, at, 2, &tag)) return 1;
        if (tag != 0x0112) continue;
        return tiff_get(&t, at + 8, 2, &value) && value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}

// ---- to a file

nnl_status nnl_rows_open(nnl_context *ctx, const nnl_tensor *x, bool wide, nnl_rows *rows) {
    char text[NNL_SHAPE_TEXT];
    int ndim = x->shape.ndim;
    int64_t channels = ndim == 3 ? x->shape.size[0] : 1;
    if (ndim < 2 || ndim > 3 || channels < 1 || channels > 4 || nnl_tensor_numel(x) == 0) {
        return nnl_fail(ctx, NNL_ERR_SHAPE,
                        "expected a picture, (C, H, W) with 1 to 4 channels or (H, W), got %s",
                        nnl_shape_text(&x->shape, text));
    }
    if (x->dtype != NNL_FLOAT32 && x->dtype != NNL_FLOAT64 && x->dtype != NNL_UINT8 && x->dtype != NNL_BOOL) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "expected a picture of float32, float64, uint8 or bool, got %s",
                        nnl_dtype_get(x->dtype)->name);
    }
    *rows = (nnl_rows){x, x->shape.size[ndim - 1], x->shape.size[ndim - 2], (int)channels,
                       wide && nnl_dtype_is_float(x->dtype)};
    return NNL_OK;
}

// From 0 to 1 to 0 to `most`, rounded; NaN is 0.
static unsigned quantize(double value, double most) {
    if (!(value > 0)) return 0;
    return (unsigned)((value < 1 ? value : 1) * most + 0.5);
}

static unsigned pixel(const nnl_tensor *x, ptrdiff_t at, double most) {
    const char *data = nnl_tensor_data(x);
    switch (x->dtype) {
    case NNL_FLOAT32:
        return quantize((double)((const float *)(const void *)data)[at], most);
    case NNL_FLOAT64:
        return quantize(((const double *)(const void *)data)[at], most);
    case NNL_BOOL:
        return ((const uint8_t *)data)[at] ? 255 : 0;
    default:
        return ((const uint8_t *)data)[at];
    }
}

void nnl_rows_get(const nnl_rows *rows, int64_t y, void *row) {
    const nnl_tensor *x = rows->x;
    int last = x->shape.ndim - 1;
    ptrdiff_t across = (ptrdiff_t)x->stride[last], line = (ptrdiff_t)(y * x->stride[last - 1]);
    ptrdiff_t plane = last == 2 ? (ptrdiff_t)x->stride[0] : 0;
    for (int c = 0; c < rows->channels; c++) {
        for (int64_t i = 0; i < rows->width; i++) {
            int64_t to = i * rows->channels + c;
            unsigned value = pixel(x, c * plane + line + i * across, rows->wide ? 65535 : 255);
            if (rows->wide)
                ((uint16_t *)row)[to] = (uint16_t)value;
            else
                ((uint8_t *)row)[to] = (uint8_t)value;
        }
    }
}
