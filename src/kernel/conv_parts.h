// conv_parts.h: what the ways to convolve share: conv.c (directly), conv_tiles.c (by transformed tiles) and
// conv_weight.c (the gradient of weights). For these files alone.
#ifndef NNL_KERNEL_CONV_PARTS_H
#define NNL_KERNEL_CONV_PARTS_H

#include "kernel/conv.h"

// The channels that are read and written, and how far apart their weights are.
typedef struct nnl_conv_direction {
    size_t sources, targets, source_step, target_step;
} nnl_conv_direction;

nnl_conv_direction nnl_conv_direction_of(const nnl_conv_plan *plan);
const size_t *nnl_conv_target_size(const nnl_conv_plan *plan);

size_t nnl_conv_aligned(size_t bytes);
static inline size_t cut_up(size_t n, size_t by) { return (n + by - 1) / by; }
static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

// Rows of places in one part, into window.rows: as many as keep the window and `other` (may be NULL) within
// `bytes`, fewer where there would be too few parts. Lays out the window.
void nnl_conv_cut_bands(nnl_conv_plan *plan, size_t rows, size_t bytes,
                        size_t (*other)(const nnl_conv_plan *plan));

// The channels of the next block where `left` are left.
size_t nnl_conv_block_channels(const nnl_conv_plan *plan, size_t left);

// Weights of one block as (sources, kernel height, kernel width, channels).
void nnl_conv_pack_block(const nnl_conv_plan *plan, size_t channels, const void *weight, void *out);

// Every part once, each worker with memory of its own at `work`.
void nnl_conv_run_parts(const nnl_conv_plan *plan, void (*part)(const void *arg, size_t part, char *work),
                        const void *arg, char *work);

bool nnl_conv_suits_tiles(const nnl_conv_plan *plan);
size_t nnl_conv_tiles_bytes(const nnl_conv_plan *plan);
void nnl_conv_tiles_plan(nnl_conv_plan *plan);
void nnl_conv_tiles_run(const nnl_conv_plan *plan, const void *image, const void *weight, const void *bias,
                        void *out, char *room);

void nnl_conv_weight_plan(nnl_conv_plan *plan);
void nnl_conv_weight_run(const nnl_conv_plan *plan, const void *x, const void *dy, void *dweight, char *room);

#endif
