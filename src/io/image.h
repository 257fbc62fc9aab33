// image.h: pictures in files to tensors (C, H, W) and back: PNG through libpng, JPEG through libjpeg-turbo,
// where the build has them. Every byte is untrusted: memory is bounded by the size of the file and by
// max_pixels.
#ifndef NNL_IO_IMAGE_H
#define NNL_IO_IMAGE_H

#include "io/bytes.h"
#include "tensor/tensor.h"

// What the result has: the channels of the file (1 gray, 2 gray and alpha, 3 RGB, 4 RGB and alpha), or these.
typedef enum nnl_image_mode {
    NNL_IMAGE_UNCHANGED,
    NNL_IMAGE_GRAY,
    NNL_IMAGE_RGB,
    NNL_IMAGE_RGBA
} nnl_image_mode;

typedef struct nnl_image_options {
    nnl_image_mode mode;
    nnl_dtype dtype;    // NNL_FLOAT32: 0 to 1; NNL_UINT8: 0 to 255
    bool orient;        // turn the picture as its EXIF data say
    bool truncated;     // take what there is of a file whose data end early or are damaged
    int64_t max_pixels; // refuse what is larger
} nnl_image_options;

nnl_image_options nnl_image_defaults(void);

// Returns new, (C, H, W); NULL with NNL_ERR_IO where the bytes are no such picture.
nnl_tensor *nnl_image_decode(nnl_context *ctx, const void *data, size_t size,
                             const nnl_image_options *options);
nnl_tensor *nnl_image_load(nnl_context *ctx, const char *path, const nnl_image_options *options);

// Whether memory begins as a file of a known kind does.
bool nnl_image_is_png(const void *data, size_t size);
bool nnl_image_is_jpeg(const void *data, size_t size);

typedef enum nnl_image_format { NNL_IMAGE_PNG, NNL_IMAGE_JPEG } nnl_image_format;

typedef struct nnl_image_quality {
    int jpeg;  // 1 to 100
    int level; // of PNG's compression, 0 to 9
    int bits;  // of a PNG's channel: 8, or 16 for tensors of float
} nnl_image_quality;

nnl_image_quality nnl_image_best(void);

// The file's bytes, behind what `out` holds. x: (H, W) or (C, H, W) with 1 to 4 channels; float from 0 to 1
// (what lies outside is clamped), uint8 from 0 to 255, or bool.
nnl_status nnl_image_encode(nnl_context *ctx, const nnl_tensor *x, nnl_image_format format,
                            const nnl_image_quality *quality, nnl_bytes *out);

#endif
