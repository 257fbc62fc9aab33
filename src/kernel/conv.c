// conv.c: results and gradients of inputs. A part is a stretch of rows of one image: its window is filled,
// then every block of channels goes over it once. 3 x 3 with many channels is in conv_tiles.c, the gradient
// of weights in conv_weight.c.
#include "kernel/conv_parts.h"

#include <stdatomic.h>
#include <string.h>

// A window stays in the second-level cache.
#define WINDOW_BYTES 655360
// Small batches are cut into rows until there are this many parts, each with enough to do.
#define WANTED_PARTS 8
#define PART_WORK 262144

#define ALIGNMENT 64

size_t nnl_conv_aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static ptrdiff_t floor_divided(ptrdiff_t a, ptrdiff_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// ---- facets: the places of the result that see the same taps
//
// Forward there is one. In the gradient of the input, dx at s * q + a (s the stride, a the facet) sees dy at
// q + (a + padding - k * dilation) / s for those k where that is whole.

typedef struct facet {
    size_t index[2], places[2]; // which it is; rows and columns
    size_t taps;                // of all channels
    bool flat;                  // stretches run over the ends of rows and are cut apart afterwards
    int32_t *offset, *from, *to;
    char *weight; // (groups, targets in blocks, taps, channels of the block)
} facet;

static size_t kernel_area(const nnl_conv_shape *s) { return s->kernel[0] * s->kernel[1]; }

nnl_conv_direction nnl_conv_direction_of(const nnl_conv_plan *p) {
    const nnl_conv_shape *s = &p->shape;
    size_t one = kernel_area(s), all = s->in * one;
    if (p->kind == NNL_CONV_FORWARD) return (nnl_conv_direction){s->in, s->out, one, all};
    return (nnl_conv_direction){s->out, s->in, all, one};
}

const size_t *nnl_conv_target_size(const nnl_conv_plan *p) {
    return p->kind == NNL_CONV_FORWARD ? p->shape.result : p->shape.size;
}

// Where a facet's places see tap k, in pixels of the source from the place's own; false where they do not.
static bool sees(const nnl_conv_plan *p, int d, size_t facet_index, size_t k, ptrdiff_t *at) {
    const nnl_conv_shape *s = &p->shape;
    ptrdiff_t tap = (ptrdiff_t)(k * s->dilation[d]), stride = (ptrdiff_t)s->stride[d];
    if (p->kind == NNL_CONV_FORWARD) {
        *at = tap - s->padding[d];
        return true;
    }
    ptrdiff_t pixel = (ptrdiff_t)facet_index + s->padding[d] - tap;
    *at = floor_divided(pixel, stride);
    return *at * stride == pixel;
}

static size_t facet_taps(const nnl_conv_plan *p, int d, size_t facet_index) {
    size_t count = 0;
    ptrdiff_t at;
    for (size_t k = 0; k < p->shape.kernel[d]; k++) count += sees(p, d, facet_index, k, &at);
    return count;
}

static size_t facet_places(const nnl_conv_plan *p, int d, size_t facet_index) {
    size_t size = nnl_conv_target_size(p)[d];
    return size > facet_index ? cut_up(size - facet_index, p->facets[d]) : 0;
}

// ---- the plan

static void find_reach(nnl_conv_plan *p, int d) {
    ptrdiff_t low = PTRDIFF_MAX, high = PTRDIFF_MIN, at;
    for (size_t a = 0; a < p->facets[d]; a++) {
        for (size_t k = 0; k < p->shape.kernel[d]; k++) {
            if (!sees(p, d, a, k, &at)) continue;
            if (at < low) low = at;
            if (at > high) high = at;
        }
    }
    p->window.first[d] = low;
    p->window.reach[d] = (size_t)(high - low);
}

static size_t window_bytes(nnl_conv_plan *p) {
    nnl_window_layout(&p->window, p->kernels->conv->lanes);
    return p->window.elements * p->element;
}

static size_t part_bytes(nnl_conv_plan *p, size_t (*other)(const nnl_conv_plan *)) {
    size_t bytes = window_bytes(p);
    return other ? bytes + other(p) : bytes;
}

void nnl_conv_cut_bands(nnl_conv_plan *p, size_t rows, size_t bytes, size_t (*other)(const nnl_conv_plan *)) {
    const nnl_conv_shape *s = &p->shape;
    size_t work = s->groups * s->in * s->out * kernel_area(s) * s->result[1];
    size_t fewest = work > 0 ? cut_up(PART_WORK, work) : rows;
    p->window.rows = rows;
    while (p->window.rows > 1 && part_bytes(p, other) > bytes) p->window.rows = cut_up(p->window.rows, 2);
    while (p->window.rows > fewest && s->batch * cut_up(rows, p->window.rows) < WANTED_PARTS)
        p->window.rows = cut_up(p->window.rows, 2);
    p->bands = cut_up(rows, p->window.rows);
    p->parts = s->batch * p->bands;
    p->window_bytes = nnl_conv_aligned(window_bytes(p));
}

static void plan_window(nnl_conv_plan *p) {
    bool forward = p->kind != NNL_CONV_INPUT;
    const nnl_conv_shape *s = &p->shape;
    nnl_window *w = &p->window;
    w->channels = forward ? s->in : s->out;
    for (int d = 0; d < 2; d++) {
        w->size[d] = forward ? s->size[d] : s->result[d];
        w->step[d] = forward ? s->stride[d] : 1;
        w->dilation[d] = forward ? s->dilation[d] : 1;
        p->facets[d] = forward ? 1 : s->stride[d];
    }
    w->columns = forward ? s->result[1] : facet_places(p, 1, 0);
}

static size_t stretch_count(const nnl_conv_plan *p, bool flat, size_t rows, size_t columns) {
    size_t lanes = p->kernels->conv->lanes;
    if (rows == 0 || columns == 0) return 0;
    return flat ? cut_up((rows - 1) * p->window.pitch + columns, lanes) : rows * cut_up(columns, lanes);
}

static bool facet_is_flat(const nnl_conv_plan *p, size_t columns) {
    size_t rows = p->window.rows;
    if (p->facets[1] > 1 || columns < p->kernels->conv->lanes) return true;
    return stretch_count(p, true, rows, columns) < stretch_count(p, false, rows, columns);
}

static facet facet_at(const nnl_conv_plan *p, size_t number) {
    facet f = {.index = {number / p->facets[1], number % p->facets[1]}};
    nnl_conv_direction way = nnl_conv_direction_of(p);
    f.taps = way.sources * facet_taps(p, 0, f.index[0]) * facet_taps(p, 1, f.index[1]);
    for (int d = 0; d < 2; d++) f.places[d] = facet_places(p, d, f.index[d]);
    f.flat = facet_is_flat(p, f.places[1]);
    return f;
}

// The memory of a facet's lists behind `at`, which may be NULL to measure it. Returns the bytes.
static size_t place_facet(const nnl_conv_plan *p, facet *f, char *at) {
    nnl_conv_direction way = nnl_conv_direction_of(p);
    size_t stretches = stretch_count(p, f->flat, smaller(p->window.rows, f->places[0]), f->places[1]);
    size_t list = nnl_conv_aligned(stretches * sizeof(int32_t)),
           offsets = nnl_conv_aligned(f->taps * sizeof(int32_t));
    size_t weights = nnl_conv_aligned(p->shape.groups * way.targets * f->taps * p->element);
    if (at) {
        f->offset = (int32_t *)(void *)at;
        f->from = (int32_t *)(void *)(at + offsets);
        f->to = f->flat ? f->from : (int32_t *)(void *)(at + offsets + list);
        f->weight = at + offsets + (f->flat ? 1 : 2) * list;
    }
    return offsets + (f->flat ? 1 : 2) * list + weights;
}

// One block's results where they do not go to their place directly.
static size_t strip_bytes(const nnl_conv_plan *p) {
    size_t lanes = p->kernels->conv->lanes, rows = p->kernels->conv->rows;
    return nnl_conv_aligned((stretch_count(p, true, p->window.rows, p->window.columns) + 1) * lanes * rows *
                            p->element);
}

static void plan_results(nnl_conv_plan *p) {
    size_t count = p->facets[0] * p->facets[1];
    for (int d = 0; d < 2; d++) find_reach(p, d);
    p->tiled = nnl_conv_suits_tiles(p);
    if (p->tiled) {
        nnl_conv_tiles_plan(p);
        return;
    }
    nnl_conv_cut_bands(p, facet_places(p, 0, 0), WINDOW_BYTES, NULL);
    p->shared_bytes = nnl_conv_aligned(count * sizeof(facet));
    for (size_t i = 0; i < count; i++) {
        facet f = facet_at(p, i);
        p->shared_bytes += place_facet(p, &f, NULL);
    }
    p->worker_bytes = p->window_bytes + strip_bytes(p);
}

void nnl_conv_plan_init(nnl_conv_plan *p, const nnl_kernels *kernels, nnl_pool *pool, nnl_compute type,
                        bool mixed, nnl_conv_kind kind, const nnl_conv_shape *shape) {
    *p = (nnl_conv_plan){.kernels = kernels, .pool = pool, .type = type, .kind = kind, .shape = *shape};
    p->mixed = mixed && type == NNL_IN_FLOAT && kernels->pairs_conv->rows == kernels->conv->rows;
    p->element = type == NNL_IN_DOUBLE ? sizeof(double) : sizeof(float);
    plan_window(p);
    if (kind == NNL_CONV_WEIGHT) {
        nnl_conv_weight_plan(p);
    } else {
        plan_results(p);
    }
    p->workers = smaller((size_t)nnl_pool_threads(pool), p->parts > 0 ? p->parts : 1);
    p->room = p->shared_bytes + p->workers * p->worker_bytes;
}

// ---- making a facet's lists

size_t nnl_conv_block_channels(const nnl_conv_plan *p, size_t left) {
    size_t channels = p->kernels->conv->rows;
    while (channels > left) channels /= 2;
    return channels;
}

static void list_offsets(const nnl_conv_plan *p, const facet *f) {
    const nnl_conv_shape *s = &p->shape;
    int32_t *offset = f->offset;
    ptrdiff_t row, column;
    for (size_t channel = 0; channel < nnl_conv_direction_of(p).sources; channel++) {
        for (size_t k = 0; k < kernel_area(s); k++) {
            if (!sees(p, 0, f->index[0], k / s->kernel[1], &row)) continue;
            if (!sees(p, 1, f->index[1], k % s->kernel[1], &column)) continue;
            *offset++ = (int32_t)nnl_window_offset(&p->window, channel, (size_t)(row - p->window.first[0]),
                                                   (size_t)(column - p->window.first[1]));
        }
    }
}

// The last stretch of a row reaches back over results that are there already.
static void list_stretches(const nnl_conv_plan *p, const facet *f) {
    size_t lanes = p->kernels->conv->lanes, rows = smaller(p->window.rows, f->places[0]);
    size_t count = stretch_count(p, f->flat, rows, f->places[1]), each = cut_up(f->places[1], lanes);
    for (size_t j = 0; j < count; j++) {
        if (f->flat) {
            f->from[j] = (int32_t)(j * lanes);
            continue;
        }
        size_t row = j / each, column = smaller(j % each * lanes, f->places[1] - lanes);
        f->from[j] = (int32_t)(row * p->window.pitch + column);
        f->to[j] = (int32_t)(row * nnl_conv_target_size(p)[1] + column);
    }
}

static void pack_seen(const nnl_conv_plan *p, const facet *f, size_t channels, const char *weight,
                      char *out) {
    const nnl_conv_shape *s = &p->shape;
    nnl_conv_direction way = nnl_conv_direction_of(p);
    ptrdiff_t at;
    for (size_t source = 0; source < way.sources; source++) {
        for (size_t k = 0; k < kernel_area(s); k++) {
            if (!sees(p, 0, f->index[0], k / s->kernel[1], &at)) continue;
            if (!sees(p, 1, f->index[1], k % s->kernel[1], &at)) continue;
            for (size_t r = 0; r < channels; r++, out += p->element)
                memcpy(out, weight + (r * way.target_step + source * way.source_step + k) * p->element,
                       p->element);
        }
    }
}

void nnl_conv_pack_block(const nnl_conv_plan *p, size_t channels, const void *weight, void *out) {
    nnl_conv_direction way = nnl_conv_direction_of(p);
    nnl_transpose_fn *transpose = p->kernels->conv->transpose[p->type];
    size_t area = kernel_area(&p->shape);
    if (p->kind == NNL_CONV_FORWARD) {
        transpose(channels, way.sources * area, out, channels, weight, way.target_step);
        return;
    }
    for (size_t source = 0; source < way.sources; source++)
        transpose(channels, area, (char *)out + source * area * channels * p->element, channels,
                  (const char *)weight + source * way.source_step * p->element, way.target_step);
}

static void pack_weights(const nnl_conv_plan *p, const facet *f, const char *weight) {
    nnl_conv_direction way = nnl_conv_direction_of(p);
    size_t group = p->shape.out * p->shape.in * kernel_area(&p->shape);
    for (size_t g = 0; g < p->shape.groups; g++) {
        for (size_t t = 0, channels; t < way.targets; t += channels) {
            channels = nnl_conv_block_channels(p, way.targets - t);
            const char *from = weight + (g * group + t * way.target_step) * p->element;
            char *to = f->weight + (g * way.targets + t) * f->taps * p->element;
            if (f->taps == way.sources * kernel_area(&p->shape)) {
                nnl_conv_pack_block(p, channels, from, to);
            } else {
                pack_seen(p, f, channels, from, to);
            }
        }
    }
}

// ---- running

typedef struct run {
    const nnl_conv_plan *plan;
    const char *image, *bias;
    char *out;
    facet *facets;
} run;

// Results of a block that lie in one long strip, row by row to their places.
static void place_strip(const nnl_conv_plan *p, const facet *f, const nnl_conv_block *b, size_t rows,
                        char *out) {
    const size_t *size = nnl_conv_target_size(p);
    size_t plane = size[0] * size[1];
    for (size_t r = 0; r < b->channels; r++) {
        p->kernels->conv->copy[p->type](rows, f->places[1], out + r * plane * p->element,
                                        p->facets[0] * size[1], p->facets[1],
                                        (const char *)b->out + r * b->ld * p->element, p->window.pitch, 1);
    }
}

// `out`: the first of the facet's places in this part, of the group's first channel
static void run_facet(const run *r, const facet *f, size_t group, size_t rows, char *window, char *out) {
    const nnl_conv_plan *p = r->plan;
    const size_t *size = nnl_conv_target_size(p);
    size_t targets = nnl_conv_direction_of(p).targets, plane = size[0] * size[1];
    nnl_conv_block b = {.taps = f->taps, .offset = f->offset, .from = f->from, .to = f->to, .x = window};
    b.stretches = stretch_count(p, f->flat, rows, f->places[1]);
    b.ld = f->flat ? b.stretches * p->kernels->conv->lanes : plane;
    for (size_t t = 0; t < targets; t += b.channels) {
        char *to = out + t * plane * p->element;
        size_t channel = group * targets + t;
        b.channels = nnl_conv_block_channels(p, targets - t);
        b.weight = f->weight + channel * f->taps * p->element;
        b.bias = r->bias ? r->bias + channel * p->element : NULL;
        b.out = f->flat ? window + p->window_bytes : to;
        p->kernels->conv->block[p->type](&b);
        if (f->flat) place_strip(p, f, &b, rows, to);
    }
}

static void run_part(const void *arg, size_t part, char *window) {
    const run *r = arg;
    const nnl_conv_plan *p = r->plan;
    const size_t *to_size = nnl_conv_target_size(p);
    nnl_conv_direction way = nnl_conv_direction_of(p);
    size_t sample = part / p->bands, from = part % p->bands * p->window.rows;
    size_t source = way.sources * p->window.size[0] * p->window.size[1], plane = to_size[0] * to_size[1];
    for (size_t g = 0; g < p->shape.groups; g++) {
        size_t image = sample * p->shape.groups + g;
        nnl_window_copy copy = {p->kernels->conv->copy[p->type], p->element, p->element};
        nnl_window_fill(&p->window, copy, r->image + image * source * p->element, from, p->window.rows,
                        window);
        for (size_t i = 0; i < p->facets[0] * p->facets[1]; i++) {
            const facet *f = &r->facets[i];
            if (f->places[0] <= from) continue;
            size_t row = from * p->facets[0] + f->index[0];
            size_t first = image * way.targets * plane + row * to_size[1] + f->index[1];
            run_facet(r, f, g, smaller(p->window.rows, f->places[0] - from), window,
                      r->out + first * p->element);
        }
    }
}

static void run_direct(const nnl_conv_plan *p, const void *image, const void *weight, const void *bias,
                       void *out, char *room) {
    run r = {.plan = p, .image = image, .bias = bias, .out = out, .facets = (facet *)(void *)room};
    size_t count = p->facets[0] * p->facets[1];
    char *at = room + nnl_conv_aligned(count * sizeof(facet));
    for (size_t i = 0; i < count; i++) {
        facet *f = &r.facets[i];
        *f = facet_at(p, i);
        at += place_facet(p, f, at);
        list_offsets(p, f);
        list_stretches(p, f);
        pack_weights(p, f, weight);
    }
    nnl_conv_run_parts(p, run_part, &r, room + p->shared_bytes);
}

// ---- all ways

typedef struct queue {
    const nnl_conv_plan *plan;
    void (*part)(const void *arg, size_t part, char *work);
    const void *arg;
    char *work;
    atomic_size_t next;
} queue;

static void run_worker(void *arg, size_t worker) {
    queue *q = arg;
    char *work = q->work + worker * q->plan->worker_bytes;
    for (size_t part; (part = atomic_fetch_add(&q->next, 1)) < q->plan->parts;) {
        if (nnl_pool_stops(q->plan->pool)) return;
        q->part(q->arg, part, work);
    }
}

void nnl_conv_run_parts(const nnl_conv_plan *p, void (*part)(const void *arg, size_t part, char *work),
                        const void *arg, char *work) {
    queue q = {.plan = p, .part = part, .arg = arg, .work = work};
    nnl_pool_run(p->pool, p->workers, run_worker, &q);
}

void nnl_conv_run(const nnl_conv_plan *p, const void *a, const void *b, const void *bias, void *out,
                  void *room) {
    if (p->kind == NNL_CONV_WEIGHT) {
        nnl_conv_weight_run(p, a, b, out, room);
    } else if (p->tiled) {
        nnl_conv_tiles_run(p, a, b, bias, out, room);
    } else {
        run_direct(p, a, b, bias, out, room);
    }
}
