// size.c: steps that resample: every row and column of the result is a weighted sum of some of the picture's.
// The weights are PyTorch's (interpolate with align_corners = false, with antialias or without).
#include "data/transform.h"

#include <math.h>
#include <string.h>

enum { NEAREST, BILINEAR, BICUBIC };
enum { HEIGHT, WIDTH, MODE, ANTIALIAS, TOP, LEFT, FROM_HEIGHT, FROM_WIDTH }; // of a plan

// ---- weights: for each place of the result, where it begins to look and what it takes of `taps` places from
// there

typedef struct taps {
    int64_t count; // of the result
    int taps;
    int32_t *start;
    float *weight; // count * taps
} taps;

static double linear(double x) { return fabs(x) < 1 ? 1 - fabs(x) : 0; }

// Keys' cubic convolution.
static double cubic(double x, double a) {
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static int taps_needed(int64_t in, int64_t out, int mode, bool antialias) {
    double scale = (double)in / (double)out, support = mode == BICUBIC ? 2 : 1;
    if (mode == NEAREST) return 1;
    if (!antialias) return mode == BICUBIC ? 4 : 2;
    return (int)ceil(support * (scale > 1 ? scale : 1)) * 2 + 1;
}

static size_t taps_bytes(int64_t in, int64_t out, int mode, bool antialias) {
    return (size_t)out * (sizeof(int32_t) + (size_t)taps_needed(in, out, mode, antialias) * sizeof(float));
}

// A weight for a place that may be outside goes to the border's.
static void add_weight(const taps *t, int64_t i, int64_t in, int64_t at, double weight) {
    int64_t place = at < 0 ? 0 : at >= in ? in - 1 : at;
    t->weight[i * t->taps + (place - t->start[i])] += (float)weight;
}

static void plain_taps(const taps *t, int64_t i, int64_t in, int mode, double from) {
    int64_t first = (int64_t)floor(from);
    double part = from - (double)first;
    int reach = mode == BICUBIC ? 1 : 0;
    int64_t start = first - reach;
    if (start + t->taps > in) start = in - t->taps;
    t->start[i] = (int32_t)(start < 0 ? 0 : start);
    for (int k = -reach; k <= 1 + reach; k++) {
        double weight = mode == BICUBIC ? cubic(k - part, -0.75) : linear(k - part);
        if (weight != 0) add_weight(t, i, in, first + k, weight);
    }
}

static void smooth_taps(const taps *t, int64_t i, int64_t in, int mode, double scale, double center) {
    double wide = scale > 1 ? scale : 1, support = (mode == BICUBIC ? 2 : 1) * wide, sum = 0;
    int64_t first = (int64_t)(center - support + 0.5), end = (int64_t)(center + support + 0.5);
    if (first < 0) first = 0;
    if (end > in) end = in;
    t->start[i] = (int32_t)first;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t j = first; j < end; j++) {
            double x = ((double)j - center + 0.5) / wide;
            double weight = mode == BICUBIC ? cubic(x, -0.5) : linear(x);
            if (pass == 0)
                sum += weight;
            else
                t->weight[i * t->taps + (j - first)] = (float)(weight / sum);
        }
    }
}

static void make_taps(taps *t, void *memory, int64_t in, int64_t out, int mode, bool antialias) {
    double scale = (double)in / (double)out;
    *t = (taps){.count = out, .taps = taps_needed(in, out, mode, antialias), .start = memory};
    t->weight = (float *)(void *)(t->start + out);
    memset(t->weight, 0, (size_t)out * (size_t)t->taps * sizeof(float));
    for (int64_t i = 0; i < out; i++) {
        double center = scale * ((double)i + 0.5), from = center - 0.5;
        if (mode == BILINEAR && from < 0) from = 0;
        if (mode == NEAREST) {
            int64_t place = (int64_t)floor((double)i * scale);
            t->start[i] = (int32_t)(place < in ? place : in - 1);
            t->weight[i] = 1;
        } else if (antialias) {
            smooth_taps(t, i, in, mode, scale, center);
        } else {
            plain_taps(t, i, in, mode, from);
        }
    }
    // No place looks beyond the end, where there is nothing to multiply its zeros with.
    for (int64_t i = 0; i < out; i++) {
        int64_t over = t->start[i] + t->taps - in;
        if (over <= 0 || t->taps > in) continue;
        float *weight = t->weight + i * t->taps;
        memmove(weight + over, weight, (size_t)(t->taps - over) * sizeof *weight);
        memset(weight, 0, (size_t)over * sizeof *weight);
        t->start[i] -= (int32_t)over;
    }
}

// ---- the two passes

static void across(const taps *t, int64_t in, const float *row, float *to) {
    int most = t->taps < in ? t->taps : (int)in;
    for (int64_t x = 0; x < t->count; x++) {
        const float *weight = t->weight + x * t->taps, *from = row + t->start[x];
        int64_t n = in - t->start[x] < most ? in - t->start[x] : most;
        float sum = 0;
        for (int64_t k = 0; k < n; k++) sum += weight[k] * from[k];
        to[x] = sum;
    }
}

static void down(const taps *t, int64_t y, int64_t in, int64_t width, const float *rows, float *to) {
    const float *weight = t->weight + y * t->taps;
    int64_t start = t->start[y], n = in - start < t->taps ? in - start : t->taps;
    for (int64_t x = 0; x < width; x++) to[x] = 0;
    for (int64_t k = 0; k < n; k++) {
        float w = weight[k];
        const float *from = rows + (start + k) * width;
        if (w == 0) continue;
        for (int64_t x = 0; x < width; x++) to[x] += w * from[x];
    }
}

static void load_row(const nnl_frame *in, int64_t c, int64_t y, float *to) {
    const void *row = nnl_frame_row(in, c, y);
    if (in->dtype == NNL_FLOAT32) {
        memcpy(to, row, (size_t)in->width * sizeof *to);
        return;
    }
    for (int64_t x = 0; x < in->width; x++) to[x] = (float)((const uint8_t *)row)[x];
}

static void store_row(const nnl_frame *out, int64_t c, int64_t y, const float *from) {
    void *row = nnl_frame_row(out, c, y);
    if (out->dtype == NNL_FLOAT32) {
        memcpy(row, from, (size_t)out->width * sizeof *from);
        return;
    }
    for (int64_t x = 0; x < out->width; x++) {
        float value = from[x] < 0 ? 0 : from[x] > 255 ? 255 : from[x];
        ((uint8_t *)row)[x] = (uint8_t)(value + 0.5f);
    }
}

static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

// Scratch: weights across and down, one row as floats, the rows that are already as wide as the result.
static size_t scratch_bytes(const nnl_frame *in, const nnl_plan *plan) {
    int mode = (int)plan->number[MODE];
    bool smooth = plan->number[ANTIALIAS] != 0;
    int64_t high = (int64_t)plan->number[FROM_HEIGHT], wide = (int64_t)plan->number[FROM_WIDTH];
    size_t width = (size_t)plan->out.width * sizeof(float);
    return aligned(taps_bytes(wide, plan->out.width, mode, smooth)) +
           aligned(taps_bytes(high, plan->out.height, mode, smooth)) +
           aligned((size_t)in->width * sizeof(float)) + aligned(width) + width * (size_t)high;
}

static void apply_resize(const nnl_plan *plan, const nnl_frame *whole, const nnl_frame *out, void *scratch) {
    const double *n = plan->number;
    nnl_frame in = *whole;
    in.data = nnl_frame_row(whole, 0, (int64_t)n[TOP]);
    in.data = (char *)in.data + (size_t)n[LEFT] * nnl_frame_element(whole);
    in.height = (int64_t)n[FROM_HEIGHT];
    in.width = (int64_t)n[FROM_WIDTH];
    int mode = (int)n[MODE];
    bool smooth = n[ANTIALIAS] != 0;
    taps wide, high;
    char *at = scratch;
    make_taps(&wide, at, in.width, out->width, mode, smooth);
    at += aligned(taps_bytes(in.width, out->width, mode, smooth));
    make_taps(&high, at, in.height, out->height, mode, smooth);
    at += aligned(taps_bytes(in.height, out->height, mode, smooth));
    float *line = (float *)(void *)at;
    at += aligned((size_t)whole->width * sizeof(float));
    float *result = (float *)(void *)at;
    float *rows = (float *)(void *)(at + aligned((size_t)out->width * sizeof(float)));
    for (int64_t c = 0; c < in.channels; c++) {
        for (int64_t y = 0; y < in.height; y++) {
            load_row(&in, c, y, line);
            across(&wide, in.width, line, rows + y * out->width);
        }
        for (int64_t y = 0; y < out->height; y++) {
            down(&high, y, in.height, out->width, rows, result);
            store_row(out, c, y, result);
        }
    }
}

// A part of the picture to a size.
static void plan_part(const nnl_frame *in, nnl_plan *plan, const double part[4], int64_t height,
                      int64_t width, const double mode[2]) {
    nnl_plan_work(plan, in->dtype, in->channels, height, width);
    plan->number[MODE] = mode[0];
    plan->number[ANTIALIAS] = mode[1];
    memcpy(plan->number + TOP, part, 4 * sizeof *part);
    plan->scratch = scratch_bytes(in, plan);
}

// height, width (0: the shorter side gets `height`), mode, antialias
static nnl_status plan_resize(nnl_context *ctx, const nnl_step *step, const nnl_frame *in, nnl_draw *draw,
                              nnl_plan *plan) {
    int64_t height = (int64_t)step->number[0], width = (int64_t)step->number[1];
    const double part[4] = {0, 0, (double)in->height, (double)in->width};
    (void)draw;
    if (width == 0) {
        bool tall = in->height > in->width;
        width = tall ? height : (int64_t)((double)height * (double)in->width / (double)in->height);
        height = tall ? (int64_t)((double)height * (double)in->height / (double)in->width) : height;
    }
    if (width > INT32_MAX / 4 || height > INT32_MAX / 4)
        return nnl_fail(ctx, NNL_ERR_SHAPE, "nn.image.resize: %lld x %lld pixels are too many",
                        (long long)height, (long long)width);
    if (height == in->height && width == in->width) return NNL_OK;
    plan_part(in, plan, part, height, width, step->number + 2);
    return NNL_OK;
}

// The middle, as far as its sides are allowed to differ.
static void middle(const nnl_frame *in, double low, double high, double part[4]) {
    double h = (double)in->height, w = (double)in->width, ratio = w / h;
    part[2] = ratio < low ? nearbyint(w / low) : h;
    part[3] = ratio > high ? nearbyint(h * high) : w;
    part[0] = floor((h - part[2]) / 2);
    part[1] = floor((w - part[3]) / 2);
}

// As in Szegedy et al., "Going deeper with convolutions", 2014: height, width, share of the picture (2),
// width over height (2), mode, antialias
static nnl_status plan_random_resized(nnl_context *ctx, const nnl_step *step, const nnl_frame *in,
                                      nnl_draw *draw, nnl_plan *plan) {
    const double *n = step->number;
    double part[4];
    bool found = false;
    (void)ctx;
    for (int i = 0; i < 10 && !found; i++) {
        double area = nnl_draw_double(draw, n[2], n[3]) * (double)(in->height * in->width);
        double ratio = exp(nnl_draw_double(draw, log(n[4]), log(n[5])));
        part[3] = nearbyint(sqrt(area * ratio));
        part[2] = nearbyint(sqrt(area / ratio));
        found = part[2] >= 1 && part[3] >= 1 && part[2] <= (double)in->height && part[3] <= (double)in->width;
    }
    if (found) {
        part[0] = (double)nnl_draw_below(draw, in->height - (int64_t)part[2] + 1);
        part[1] = (double)nnl_draw_below(draw, in->width - (int64_t)part[3] + 1);
    } else {
        middle(in, n[4], n[5], part);
    }
    plan_part(in, plan, part, (int64_t)n[0], (int64_t)n[1], n + 6);
    return NNL_OK;
}

const nnl_step_class nnl_steps_of_size[] = {
    {"resize", 4, plan_resize, apply_resize},
    {"random_resized_crop", 8, plan_random_resized, apply_resize},
    {NULL, 0, NULL, NULL},
};
