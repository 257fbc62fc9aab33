// pixels.h: between rows of pixels as the libraries of pictures have them (channels side by side) and tensors
// (C, H, W): change of channels, of type and of orientation. For the files that read and write pictures.
#ifndef NNL_IO_PIXELS_H
#define NNL_IO_PIXELS_H

#include "io/image.h"

// Where the rows of a file become a tensor.
typedef struct nnl_sink {
    nnl_context *ctx;
    const nnl_image_options *options;
    nnl_tensor *out;        // made by nnl_sink_open
    void *line;             // one row, channel after channel
    int64_t width;          // of the file
    int from, to;           // channels of the file, and of the result
    bool wide;              // 16 bits a channel
    ptrdiff_t base;         // where the file's first pixel goes, in elements,
    ptrdiff_t across, down; // the one right of it and the one below
} nnl_sink;

// An error for a picture larger than the options allow.
nnl_status nnl_sink_check(const nnl_sink *sink, int64_t width, int64_t height);
// `orientation` is EXIF's, 1 to 8. Checks the size; the tensor holds zeros where the file may be cut short.
nnl_status nnl_sink_open(nnl_sink *sink, int64_t width, int64_t height, int channels, bool wide,
                         int orientation);
void nnl_sink_row(nnl_sink *sink, int64_t y, const void *row);
// The result, owned by the caller; where the file was refused, NULL.
nnl_tensor *nnl_sink_close(nnl_sink *sink, bool good);

// EXIF's orientation in a TIFF structure; 1 where it tells none.
int nnl_exif_orientation(const unsigned char *data, size_t size);

// A tensor to be written, as rows.
typedef struct nnl_rows {
    const nnl_tensor *x;
    int64_t width, height;
    int channels;
    bool wide;
} nnl_rows;

nnl_status nnl_rows_open(nnl_context *ctx, const nnl_tensor *x, bool wide, nnl_rows *rows);
// `row` has room for width * channels of uint8_t, or uint16_t.
void nnl_rows_get(const nnl_rows *rows, int64_t y, void *row);

// ---- the formats. The sink comes with its context and options set; on failure the context holds the error,
// and the sink is still to be closed.
nnl_status nnl_png_decode(nnl_sink *sink, const void *data, size_t size);
nnl_status nnl_png_encode(nnl_context *ctx, const nnl_rows *rows, int level, nnl_bytes *out);
nnl_status nnl_jpeg_decode(nnl_sink *sink, const void *data, size_t size);
nnl_status nnl_jpeg_encode(nnl_context *ctx, const nnl_rows *rows, int quality, nnl_bytes *out);

#endif
