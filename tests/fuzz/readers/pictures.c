// pictures.c: PNG and JPEG. The whole files are made by the encoders; where the build has a format not, it
// has no files, and is left out.
#include "io/image.h"
#include "readers.h"

#include <string.h>

// A picture with edges, a gradient and noise, so that the file uses what the format has.
static void paint(nnl_tensor *x) {
    uint32_t noise = 1;
    uint8_t *data = nnl_tensor_data(x);
    int64_t plane = x->shape.size[1] * x->shape.size[2];
    for (int64_t i = 0; i < nnl_tensor_numel(x); i++) {
        noise = noise * 1664525u + 1013904223u;
        data[i] = (uint8_t)(i % plane < plane / 3 ? noise >> 24 : i % 7 == 0 ? 255 : i * 3);
    }
}

static bool make(nnl_context *ctx, nnl_image_format format, int channels, int64_t height, int64_t width,
                 nnl_bytes *out) {
    nnl_shape shape = {3, {channels, height, width}};
    nnl_image_quality quality = nnl_image_best();
    nnl_tensor *x = nnl_tensor_new(ctx, NNL_UINT8, &shape);
    if (!x) return false;
    paint(x);
    nnl_status status = nnl_image_encode(ctx, x, format, &quality, out);
    nnl_tensor_release(x);
    return status == NNL_OK;
}

static nnl_status read_picture(nnl_context *ctx, const char *data, size_t size) {
    nnl_image_options options = nnl_image_defaults();
    options.mode = (nnl_image_mode)(size % 4);
    options.dtype = size % 3 ? NNL_UINT8 : NNL_FLOAT32;
    options.max_pixels = 1 << 22;
    nnl_tensor *x = nnl_image_decode(ctx, data, size, &options);
    if (!x) return ctx->status;
    nnl_tensor_release(x);
    return NNL_OK;
}

// ---- PNG

static uint32_t get32(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t checksum(const unsigned char *data, size_t size) {
    uint32_t sum = ~(uint32_t)0;
    for (size_t i = 0; i < size; i++) {
        sum ^= data[i];
        for (int bit = 0; bit < 8; bit++) sum = sum >> 1 ^ (0xedb88320u & (0 - (sum & 1)));
    }
    return ~sum;
}

// Of every chunk: length, kind and data, checksum.
static void mend_png(char *bytes, size_t size) {
    unsigned char *data = (unsigned char *)bytes;
    for (size_t at = 8; size >= 12 && at <= size - 12;) {
        size_t length = get32(data + at);
        if (length > size - at - 12) return;
        uint32_t sum = checksum(data + at + 4, length + 4);
        for (size_t i = 0; i < 4; i++) data[at + 8 + length + i] = (unsigned char)(sum >> (24 - 8 * i));
        at += length + 12;
    }
}

static void put32(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(value >> (24 - 8 * i));
}

// A chunk between the first one and the others.
static bool add_chunk(nnl_bytes *out, const char *kind, const char *data, uint32_t size) {
    enum { HEADER = 33 };
    unsigned char head[8], zeros[4] = {0};
    nnl_bytes copy = {.ctx = out->ctx};
    bool good = nnl_bytes_add(&copy, out->data + HEADER, out->length - HEADER) == NNL_OK;
    out->length = HEADER;
    put32(head, size);
    memcpy(head + 4, kind, 4);
    good = good && nnl_bytes_add(out, head, 8) == NNL_OK && nnl_bytes_add(out, data, size) == NNL_OK &&
           nnl_bytes_add(out, zeros, 4) == NNL_OK && nnl_bytes_add(out, copy.data, copy.length) == NNL_OK;
    nnl_bytes_free(&copy);
    mend_png(out->data, out->length);
    return good;
}

// Gray, gray with alpha, RGB, RGBA; with one transparent colour, an orientation, a text; a palette.
static bool make_png(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const char exif[] = "II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0";
    static const char palette[] = "\xff\0\0\0\xff\0\0\0\xff";
    if (variant > 7 || !make(ctx, NNL_IMAGE_PNG, variant < 4 ? variant + 1 : 1, 9, 11, out)) return false;
    switch (variant) {
    case 4:
        return add_chunk(out, "tRNS", "\0\xff", 2);
    case 5:
        return add_chunk(out, "eXIf", exif, sizeof exif);
    case 6:
        return add_chunk(out, "tEXt", "Title\0words", 11);
    case 7: // the gray values are numbers of colours now, most of them too high
        out->data[25] = 3;
        return add_chunk(out, "PLTE", palette, 9);
    default:
        return true;
    }
}

// ---- JPEG

// Gray and RGB; two with the shape that EXIF has turned.
static bool make_jpeg(nnl_context *ctx, int variant, nnl_bytes *out) {
    static const unsigned char app1[] = "\xff\xe1\0\x22"
                                        "Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06"
                                        "\0\0\0\0\0\0";
    if (variant > 2 || !make(ctx, NNL_IMAGE_JPEG, variant == 0 ? 1 : 3, 17, 19, out)) return false;
    if (variant < 2) return true;
    nnl_bytes copy = {.ctx = ctx};
    bool good = nnl_bytes_add(&copy, out->data + 2, out->length - 2) == NNL_OK;
    out->length = 2;
    good = good && nnl_bytes_add(out, app1, 36) == NNL_OK &&
           nnl_bytes_add(out, copy.data, copy.length) == NNL_OK;
    nnl_bytes_free(&copy);
    return good;
}

const fuzz_reader fuzz_pictures[] = {
    {.name = "PNG",
     .words = "IDATEHRPLNSfXce\1\2\3\4\6\x10",
     .suffix = ".png",
     .make = make_png,
     .read = read_picture,
     .mend = mend_png,
     .ends = true,
     .rounds = 20000},
    {.name = "JPEG",
     .words = "\xff\xd8\xd9\xda\xc0\xc2\xc4\xdb\xe1\1\2\3\x11\x22",
     .suffix = ".jpg .jpeg",
     .make = make_jpeg,
     .read = read_picture,
     .ends = true,
     .rounds = 20000},
    {.name = NULL},
};
