// events.h: records of TensorBoard's event files: protocol buffers (TensorFlow's event.proto, summary.proto,
// tensor.proto) in the frame of a TFRecord. Each function puts one whole record behind what `out` holds.
#ifndef NNL_IO_EVENTS_H
#define NNL_IO_EVENTS_H

#include "io/bytes.h"

#include <stdint.h>

// When and under what name something was seen. The name is borrowed.
typedef struct nnl_event {
    double time; // seconds since 1970
    int64_t step;
    const char *tag;
    size_t tag_length;
} nnl_event;

// The record that a file begins with.
nnl_status nnl_event_version(nnl_bytes *out, double time);
nnl_status nnl_event_scalar(nnl_bytes *out, const nnl_event *event, double value);
// How often numbers fall between limits that grow by a tenth, as TensorFlow's own histograms; infinities and
// NaN are left out. An error where no number is left.
nnl_status nnl_event_histogram(nnl_bytes *out, const nnl_event *event, const double *values, size_t count);

typedef struct nnl_event_picture {
    int64_t height, width, channels;
    const void *png; // a whole PNG file, borrowed
    size_t size;
} nnl_event_picture;

nnl_status nnl_event_image(nnl_bytes *out, const nnl_event *event, const nnl_event_picture *picture);
// Text, shown as Markdown.
nnl_status nnl_event_text(nnl_bytes *out, const nnl_event *event, const char *text, size_t length);

// The checksum of RFC 3720, appendix B.4.
uint32_t nnl_crc32c(const void *data, size_t size);

#endif
