// conv_tiles.c: convolutions of 3 x 3 with stride 1 and many channels by Winograd's F(2 x 2, 3 x 3): the
// input in tiles of 4 x 4 is transformed to 16 matrices (channels, tiles), each multiplied by a transformed
// weight, and the products are transformed to 2 x 2 results each. An infinite input may make NaN of its
// tile's results.
#include "kernel/conv_parts.h"

#include <string.h>

#define SIDE 4
#define SIZE (SIDE * SIDE)
#define AREA 9
// Transforms cost as much as this many channels of products.
#define LEAST_CHANNELS 16
#define LEAST_TILES 16
// Weights of more channels than 256 by 256, grown to 16 ninths, come from too far away.
#define MOST_WEIGHTS 65536
// All that one part works on stays in the second-level cache.
#define PART_BYTES 524288
// Matrices lie this much apart beyond their size: they would share lines of the first-level cache.
#define APART 16
#define MOST_ROWS 8 // channels of a block

bool nnl_conv_suits_tiles(const nnl_conv_plan *p) {
    const nnl_conv_shape *s = &p->shape;
    const size_t *size = nnl_conv_target_size(p);
    bool plain = p->type == NNL_IN_FLOAT && s->kernel[0] == 3 && s->kernel[1] == 3 && s->stride[0] == 1 &&
                 s->stride[1] == 1 && s->dilation[0] == 1 && s->dilation[1] == 1;
    bool channels = s->in >= LEAST_CHANNELS && s->out >= LEAST_CHANNELS && s->in * s->out <= MOST_WEIGHTS;
    return plain && channels && (size[0] / 2) * (size[1] / 2) >= LEAST_TILES && size[1] >= 2 * SIDE;
}

// ---- the plan

// In bfloat16 a tap is a pair of channels, in 32 bits.
static size_t taps_of(const nnl_conv_plan *p) {
    return p->mixed ? p->window.channels / 2 : p->window.channels;
}

typedef struct sizes {
    size_t tiles;              // of a part, whole vectors
    size_t input_ld, sums_ld;  // from one of the 16 matrices to the next
    size_t input, sums, strip; // bytes
    size_t pair_ld, pair;      // in bfloat16: of two channels' matrices before they are rounded
} sizes;

static sizes sizes_of(const nnl_conv_plan *p) {
    size_t lanes = p->kernels->conv->lanes, rows = p->kernels->conv->rows;
    sizes z = {.tiles = (p->window.rows * p->window.columns + lanes - 1) / lanes * lanes};
    z.input_ld = taps_of(p) * z.tiles + APART;
    z.sums_ld = rows * z.tiles + APART;
    z.input = nnl_conv_aligned(SIZE * z.input_ld * sizeof(float));
    z.sums = nnl_conv_aligned(SIZE * z.sums_ld * sizeof(float));
    z.strip = nnl_conv_aligned(4 * p->window.columns * sizeof(float));
    z.pair_ld = z.tiles + APART;
    z.pair = p->mixed ? nnl_conv_aligned(2 * SIZE * z.pair_ld * sizeof(float)) : 0;
    return z;
}

size_t nnl_conv_tiles_bytes(const nnl_conv_plan *p) {
    sizes z = sizes_of(p);
    return z.input + z.sums + z.strip + z.pair;
}

static size_t weight_elements(const nnl_conv_plan *p) {
    return p->shape.groups * p->shape.in * p->shape.out * SIZE;
}

// Places are tiles, two pixels apart.
void nnl_conv_tiles_plan(nnl_conv_plan *p) {
    const size_t *size = nnl_conv_target_size(p);
    p->mixed = p->mixed && p->window.channels % 2 == 0;
    for (int d = 0; d < 2; d++) {
        p->window.step[d] = 2;
        p->window.reach[d] = SIDE - 1;
    }
    p->window.columns = (size[1] + 1) / 2;
    nnl_conv_cut_bands(p, (size[0] + 1) / 2, PART_BYTES, nnl_conv_tiles_bytes);
    sizes z = sizes_of(p);
    p->shared_bytes = nnl_conv_aligned(weight_elements(p) * sizeof(float)) +
                      nnl_conv_aligned(p->window.channels * sizeof(int32_t)) +
                      nnl_conv_aligned(z.tiles * sizeof(int32_t));
    p->worker_bytes = p->window_bytes + z.input + z.sums + z.strip + z.pair;
}

// ---- running

typedef struct tiles_run {
    const nnl_conv_plan *plan;
    sizes size;
    const float *image, *bias;
    float *out, *weight; // (groups, targets in blocks, 16, sources, channels of the block)
    int32_t *offset, *stretch;
} tiles_run;

// Two channels of a block, to pairs: (16, taps, channels). g: as nnl_conv_pack_block has it
static void transform_weight_pair(const tiles_run *r, size_t channels, const float *g, float *u,
                                  size_t taps) {
    const nnl_conv_plan *p = r->plan;
    float apart[2][SIZE * MOST_ROWS];
    uint32_t pairs[SIZE * MOST_ROWS];
    for (int half = 0; half < 2; half++)
        p->kernels->winograd->weight(channels, p->kind == NNL_CONV_INPUT, g + (size_t)half * AREA * channels,
                                     apart[half], channels);
    p->kernels->pairs->merge(2, SIZE * channels, pairs, SIZE * channels, apart[0], SIZE * MOST_ROWS, false);
    for (size_t i = 0; i < SIZE; i++)
        memcpy(u + i * taps * channels, pairs + i * channels, channels * sizeof *pairs);
}

// g: room for one block as nnl_conv_pack_block has it
static void transform_weights(const tiles_run *r, const float *weight, float *g) {
    const nnl_conv_plan *p = r->plan;
    nnl_conv_direction way = nnl_conv_direction_of(p);
    size_t group = p->shape.in * p->shape.out * AREA;
    for (size_t channel = 0, channels; channel < p->shape.groups * way.targets; channel += channels) {
        size_t t = channel % way.targets;
        channels = nnl_conv_block_channels(p, way.targets - t);
        nnl_conv_pack_block(p, channels, weight + channel / way.targets * group + t * way.target_step, g);
        for (size_t tap = 0; p->mixed && tap < way.sources / 2; tap++)
            transform_weight_pair(r, channels, g + 2 * tap * AREA * channels,
                                  r->weight + channel * way.sources / 2 * SIZE + tap * channels,
                                  way.sources / 2);
        for (size_t source = 0; !p->mixed && source < way.sources; source++)
            p->kernels->winograd->weight(channels, p->kind == NNL_CONV_INPUT, g + source * AREA * channels,
                                         r->weight + channel * way.sources * SIZE + source * channels,
                                         way.sources * channels);
    }
}

// Two channels, which are rounded to pairs afterwards.
static void transform_pair(const tiles_run *r, size_t rows, const float *x, uint32_t *to, float *pair) {
    const nnl_kernels *kernels = r->plan->kernels;
    const nnl_window *w = &r->plan->window;
    size_t apart = SIZE * r->size.pair_ld;
    for (size_t k = 0; k < 2; k++)
        kernels->winograd->input(rows, w->columns, x + k * 4 * w->plane, w->plane, w->pitch, pair + k * apart,
                                 r->size.pair_ld);
    for (size_t i = 0; i < SIZE; i++)
        kernels->pairs->merge(2, rows * w->columns, to + i * r->size.input_ld, r->size.tiles,
                              pair + i * r->size.pair_ld, apart, false);
}

static void transform_pairs(const tiles_run *r, size_t rows, const float *window, float *input, float *pair) {
    const nnl_window *w = &r->plan->window;
    for (size_t c = 0; c < w->channels; c += 2) {
        const float *x = window + c * 4 * w->plane;
        uint32_t *to = (uint32_t *)(void *)(input + c / 2 * r->size.tiles);
        if (!r->plan->kernels->pairs_conv->input(rows, w->columns, x, 4 * w->plane, w->plane, w->pitch, to,
                                                 r->size.input_ld))
            transform_pair(r, rows, x, to, pair);
    }
}

static void transform_input(const tiles_run *r, size_t rows, const float *window, float *input, float *pair) {
    const nnl_window *w = &r->plan->window;
    if (r->plan->mixed) {
        transform_pairs(r, rows, window, input, pair);
        return;
    }
    for (size_t c = 0; c < w->channels; c++)
        r->plan->kernels->winograd->input(rows, w->columns, window + c * 4 * w->plane, w->plane, w->pitch,
                                          input + c * r->size.tiles, r->size.input_ld);
}

// One channel's results from tile row `from` on; those that are more than the plane has go over the strip.
static void transform_sums(const tiles_run *r, size_t from, size_t rows, const float *sums, float bias,
                           float *strip, float *plane) {
    const nnl_conv_plan *p = r->plan;
    const size_t *size = nnl_conv_target_size(p);
    size_t columns = p->window.columns, width = 2 * columns;
    for (size_t row = 0; row < rows; row++, sums += columns) {
        size_t top = 2 * (from + row);
        float *to = plane + top * size[1];
        bool whole = top + 2 <= size[0] && width == size[1];
        float *upper = whole ? to : strip;
        p->kernels->winograd->output(columns, sums, r->size.sums_ld, bias, upper, upper + width);
        if (whole) continue;
        p->kernels->conv->copy[p->type](size[0] - top < 2 ? 1 : 2, size[1], to, size[1], 1, strip, width, 1);
    }
}

static void run_block(const tiles_run *r, size_t channel, nnl_conv_block *b, const float *input,
                      float *sums) {
    const nnl_kernels *kernels = r->plan->kernels;
    size_t taps = taps_of(r->plan);
    nnl_conv_block_fn *run = r->plan->mixed ? kernels->pairs_conv->block : kernels->conv->block[NNL_IN_FLOAT];
    for (size_t i = 0; i < SIZE; i++) {
        b->weight = r->weight + (channel * SIZE + i * b->channels) * taps;
        b->x = input + i * r->size.input_ld;
        b->out = sums + i * r->size.sums_ld;
        run(b);
    }
}

static void run_group(const tiles_run *r, size_t image, size_t from, size_t rows, float *work) {
    const nnl_conv_plan *p = r->plan;
    const size_t *size = nnl_conv_target_size(p);
    nnl_conv_direction way = nnl_conv_direction_of(p);
    float *input = work + p->window_bytes / sizeof(float), *sums = input + r->size.input / sizeof(float);
    float *strip = sums + r->size.sums / sizeof(float);
    size_t lanes = p->kernels->conv->lanes, group = image % p->shape.groups;
    nnl_conv_block b = {.taps = taps_of(p),
                        .offset = r->offset,
                        .stretches = (rows * p->window.columns + lanes - 1) / lanes,
                        .from = r->stretch,
                        .to = r->stretch,
                        .ld = r->size.tiles};
    transform_input(r, rows, work, input, strip + r->size.strip / sizeof(float));
    for (size_t t = 0; t < way.targets; t += b.channels) {
        size_t channel = group * way.targets + t;
        b.channels = nnl_conv_block_channels(p, way.targets - t);
        run_block(r, channel, &b, input, sums);
        for (size_t c = 0; c < b.channels; c++)
            transform_sums(r, from, rows, sums + c * r->size.tiles, r->bias ? r->bias[channel + c] : 0, strip,
                           r->out + (image * way.targets + t + c) * size[0] * size[1]);
    }
}

static void run_part(const void *run, size_t part, char *work) {
    const tiles_run *r = run;
    const nnl_conv_plan *p = r->plan;
    size_t all = (nnl_conv_target_size(p)[0] + 1) / 2, from = part % p->bands * p->window.rows;
    size_t rows = all - from < p->window.rows ? all - from : p->window.rows;
    size_t source = p->window.channels * p->window.size[0] * p->window.size[1];
    for (size_t g = 0; g < p->shape.groups; g++) {
        size_t image = part / p->bands * p->shape.groups + g;
        nnl_window_copy copy = {p->kernels->conv->copy[p->type], sizeof(float), sizeof(float)};
        nnl_window_fill(&p->window, copy, r->image + image * source, from, rows, work);
        run_group(r, image, from, rows, (float *)(void *)work);
    }
}

void nnl_conv_tiles_run(const nnl_conv_plan *p, const void *image, const void *weight, const void *bias,
                        void *out, char *room) {
    tiles_run r = {.plan = p, .size = sizes_of(p), .image = image, .bias = bias, .out = out};
    r.weight = (float *)(void *)room;
    r.offset = (int32_t *)(void *)(room + nnl_conv_aligned(weight_elements(p) * sizeof(float)));
    r.stretch = r.offset + nnl_conv_aligned(p->window.channels * sizeof(int32_t)) / sizeof(int32_t);
    for (size_t c = 0; c < taps_of(p); c++) r.offset[c] = (int32_t)(c * r.size.tiles);
    for (size_t j = 0; j * p->kernels->conv->lanes < r.size.tiles; j++)
        r.stretch[j] = (int32_t)(j * p->kernels->conv->lanes);
    transform_weights(&r, weight, (float *)(void *)(room + p->shared_bytes));
    nnl_conv_run_parts(p, run_part, &r, room + p->shared_bytes);
}
