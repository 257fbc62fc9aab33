// conv_weight.c: the gradient of a convolution's weights. A part is some samples and some of the input's
// channels; each part of the batch sums into memory of its own, (groups, taps, channels), and these are added
// up in order at the end.
#include "kernel/conv_parts.h"

#include <string.h>

// Samples summed apart, at most; their sums together take no more elements than this.
#define CHUNKS 8
#define CHUNK_ELEMENTS 4194304
#define CACHE_BYTES 655360
// Channels of dy fewer than this share of a vector are taken one by one.
#define SHARE_OF_LANES 4

static size_t area(const nnl_conv_plan *p) { return p->shape.kernel[0] * p->shape.kernel[1]; }
static size_t taps_of_group(const nnl_conv_plan *p) { return p->shape.in * area(p); }
static size_t chunk_elements(const nnl_conv_plan *p) { return p->shape.groups * taps_of_group(p) * p->ld; }
static bool one_by_one(const nnl_conv_plan *p) {
    return p->shape.out * SHARE_OF_LANES <= p->kernels->conv->lanes;
}

static size_t channels_of_range(const nnl_conv_plan *p) { return cut_up(p->shape.in, p->ranges); }

// ---- the plan

static void cut_batch(nnl_conv_plan *p) {
    p->chunks = smaller(p->shape.batch, CHUNKS);
    if (p->chunks == 0) p->chunks = 1;
    while (p->chunks > 1 && p->chunks * chunk_elements(p) > CHUNK_ELEMENTS) p->chunks /= 2;
    p->ranges = smaller(cut_up(CHUNKS, p->chunks), p->shape.in);
    p->ranges = cut_up(p->shape.in, channels_of_range(p));
}

// Of bfloat16 the window has single elements, and two places of dy lie in 32 bits.
static size_t window_element(const nnl_conv_plan *p) { return p->mixed ? sizeof(uint16_t) : p->element; }

static size_t turned_bytes(const nnl_conv_plan *p) {
    size_t places = p->window.rows * p->shape.result[1];
    return one_by_one(p) ? 0 : nnl_conv_aligned(places * p->ld * window_element(p));
}

static size_t work_bytes(nnl_conv_plan *p) {
    nnl_window_layout(&p->window, p->kernels->conv->lanes);
    p->window_bytes = nnl_conv_aligned(p->window.elements * window_element(p));
    return p->window_bytes + turned_bytes(p);
}

void nnl_conv_weight_plan(nnl_conv_plan *p) {
    const nnl_conv_shape *s = &p->shape;
    size_t lanes = p->kernels->conv->lanes;
    p->mixed = p->mixed && !one_by_one(p) && s->result[1] % 2 == 0;
    p->ld = one_by_one(p) ? s->out : cut_up(s->out, lanes) * lanes;
    cut_batch(p);
    p->window.channels = channels_of_range(p);
    for (int d = 0; d < 2; d++) {
        p->window.first[d] = -s->padding[d];
        p->window.reach[d] = (s->kernel[d] - 1) * s->dilation[d];
    }
    p->window.rows = s->result[0];
    while (p->window.rows > 1 && work_bytes(p) > CACHE_BYTES) p->window.rows = cut_up(p->window.rows, 2);
    p->worker_bytes = work_bytes(p);
    p->bands = cut_up(s->result[0], p->window.rows);
    p->parts = p->chunks * p->ranges;
    p->shared_bytes = nnl_conv_aligned(p->window.channels * area(p) * sizeof(int32_t)) +
                      nnl_conv_aligned(p->chunks * chunk_elements(p) * p->element);
}

// ---- summing

typedef struct run {
    const nnl_conv_plan *plan;
    const char *x, *dy;
    char *dweight, *sums;
    int32_t *offset;
} run;

static void list_offsets(const nnl_conv_plan *p, int32_t *offset) {
    const nnl_conv_shape *s = &p->shape;
    for (size_t channel = 0; channel < p->window.channels; channel++) {
        for (size_t k = 0; k < area(p); k++) {
            *offset++ = (int32_t)nnl_window_offset(&p->window, channel, k / s->kernel[1] * s->dilation[0],
                                                   k % s->kernel[1] * s->dilation[1]);
        }
    }
}

// dy of a group's channels from some row on: one by one, or turned to (places, channels).
static void sum_rows(const run *r, nnl_conv_sums *sums, const char *dy, char *turned) {
    const nnl_conv_plan *p = r->plan;
    const nnl_conv_kernels *kernels = p->kernels->conv;
    size_t plane = p->shape.result[0] * p->shape.result[1];
    if (one_by_one(p)) {
        for (size_t o = 0; o < p->shape.out; o++) {
            nnl_conv_sums one = *sums;
            one.dy = dy + o * plane * p->element;
            one.out = (char *)sums->out + o * p->element;
            kernels->dots[p->type](&one);
        }
        return;
    }
    sums->dy = turned;
    if (p->mixed) {
        p->kernels->pairs->turn(sums->rows * sums->columns, p->shape.out, (uint32_t *)(void *)turned, p->ld,
                                dy, plane, false);
        p->kernels->pairs_conv->sums(sums);
    } else {
        kernels->transpose[p->type](p->shape.out, sums->rows * sums->columns, turned, p->ld, dy, plane);
        kernels->sums[p->type](sums);
    }
}

// One group of one sample; `from`: the first channel of the range
static void sum_sample(const run *r, size_t image, size_t from, char *out, char *window) {
    const nnl_conv_plan *p = r->plan;
    const nnl_conv_shape *s = &p->shape;
    nnl_window w = p->window;
    w.channels = smaller(w.channels, s->in - from);
    nnl_conv_sums sums = {.taps = w.channels * area(p),
                          .offset = r->offset,
                          .columns = s->result[1],
                          .pitch = w.pitch,
                          .x = window,
                          .out = out + from * area(p) * p->ld * p->element,
                          .ld = p->ld};
    for (size_t row = 0; row < s->result[0]; row += w.rows) {
        sums.rows = smaller(w.rows, s->result[0] - row);
        nnl_copy_rows_fn *rows = p->mixed ? p->kernels->pairs_conv->copy : p->kernels->conv->copy[p->type];
        nnl_window_fill(&w, (nnl_window_copy){rows, p->element, window_element(p)},
                        r->x + (image * s->in + from) * s->size[0] * s->size[1] * p->element, row, sums.rows,
                        window);
        size_t dy = image * s->out * s->result[0] * s->result[1] + row * s->result[1];
        sum_rows(r, &sums, r->dy + dy * p->element, window + p->window_bytes);
    }
}

// Columns of `turned` behind the last channel stay 0.
static void run_part(const void *arg, size_t part, char *window) {
    const run *r = arg;
    const nnl_conv_plan *p = r->plan;
    memset(window + p->window_bytes, 0, turned_bytes(p));
    size_t chunk = part / p->ranges, from = part % p->ranges * p->window.channels;
    size_t first = chunk * p->shape.batch / p->chunks, last = (chunk + 1) * p->shape.batch / p->chunks;
    size_t group = taps_of_group(p) * p->ld * p->element;
    size_t range = smaller(p->window.channels, p->shape.in - from) * area(p) * p->ld * p->element;
    for (size_t g = 0; g < p->shape.groups; g++) {
        char *out = r->sums + chunk * chunk_elements(p) * p->element + g * group;
        memset(out + from * area(p) * p->ld * p->element, 0, range);
        for (size_t n = first; n < last; n++) sum_sample(r, n * p->shape.groups + g, from, out, window);
    }
}

// ---- the end: chunks added up in order, and turned to (out, taps)

static void add_up(const run *r, size_t from, size_t n) {
    const nnl_conv_plan *p = r->plan;
    for (size_t chunk = 1; chunk < p->chunks; chunk++) {
        char *sum = r->sums + from * p->element;
        p->kernels->elementwise->binary[NNL_BINARY_add][p->type](
            n, sum, sum, r->sums + (chunk * chunk_elements(p) + from) * p->element);
    }
}

// One group.
static void finish_part(void *arg, size_t g) {
    const run *r = arg;
    const nnl_conv_plan *p = r->plan;
    size_t taps = taps_of_group(p), group = taps * p->ld;
    add_up(r, g * group, group);
    p->kernels->conv->transpose[p->type](taps, p->shape.out,
                                         r->dweight + g * p->shape.out * taps * p->element, taps,
                                         r->sums + g * group * p->element, p->ld);
}

void nnl_conv_weight_run(const nnl_conv_plan *p, const void *x, const void *dy, void *dweight, char *room) {
    size_t offsets = nnl_conv_aligned(p->window.channels * area(p) * sizeof(int32_t));
    run r = {.plan = p,
             .x = x,
             .dy = dy,
             .dweight = dweight,
             .offset = (int32_t *)(void *)room,
             .sums = room + offsets};
    list_offsets(p, r.offset);
    nnl_conv_run_parts(p, run_part, &r, room + p->shared_bytes);
    nnl_pool_try(p->pool, p->shape.groups, finish_part, &r);
}
