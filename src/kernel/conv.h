// conv.h: convolution over raw memory, images (batch, channels, height, width) in float or double; one
// dimension is a height of 1. No image is unrolled: a part of one at a time is copied with its padding into a
// window (window.h), where every tap of the kernel is a fixed distance away. The same bits for any number of
// threads.
#ifndef NNL_KERNEL_CONV_H
#define NNL_KERNEL_CONV_H

#include "base/thread.h"
#include "kernel/window.h"

typedef struct nnl_conv_shape {
    size_t batch, groups;
    size_t in, out;   // channels of one group
    size_t size[2];   // height and width of the input
    size_t result[2]; // of the result
    size_t kernel[2], stride[2], dilation[2];
    ptrdiff_t padding[2]; // before the first row and column; what is behind the last follows from `result`
} nnl_conv_shape;

typedef enum nnl_conv_kind {
    NNL_CONV_FORWARD, // y of x and weight
    NNL_CONV_INPUT,   // dx of dy and weight, which is also the transposed convolution
    NNL_CONV_WEIGHT   // dweight of x and dy
} nnl_conv_kind;

// What is to be done, and how it is cut. Weights are (groups * out, in, kernel height, kernel width).
typedef struct nnl_conv_plan {
    const nnl_kernels *kernels;
    nnl_pool *pool;
    nnl_compute type;
    bool mixed; // sums of products in bfloat16, where there are instructions and tiles or even rows
    nnl_conv_kind kind;
    nnl_conv_shape shape;
    size_t element, room; // bytes of one element; of the memory to work in
    nnl_window window;
    size_t bands, workers, parts; // stretches of rows of one image; threads used at most; pieces of work
    size_t window_bytes, worker_bytes, shared_bytes;
    bool tiled;       // by conv_tiles.c
    size_t facets[2]; // NNL_CONV_INPUT: places of dx that see the same taps, by their remainder of the stride
    size_t chunks, ranges,
        ld; // NNL_CONV_WEIGHT: parts of the batch and of the input's channels; see conv_weight.c
} nnl_conv_plan;

void nnl_conv_plan_init(nnl_conv_plan *plan, const nnl_kernels *kernels, nnl_pool *pool, nnl_compute type,
                        bool mixed, nnl_conv_kind kind, const nnl_conv_shape *shape);

// NNL_CONV_FORWARD: a = x, b = weight, out = y. NNL_CONV_INPUT: a = dy, b = weight, out = dx. Either adds a
// bias for each channel of out, where it is not NULL. NNL_CONV_WEIGHT: a = x, b = dy, out = dweight.
// `room`: plan->room bytes, 64-byte aligned.
void nnl_conv_run(const nnl_conv_plan *plan, const void *a, const void *b, const void *bias, void *out,
                  void *room);

#endif
