// attention.c: kernels over one row of attention's scores: masks, weights and their gradients, and the
// rotation of rotary embeddings. Rows are padded to a multiple of NNL_SCORE_STEP, so that no loop has a rest.
#include "kernel/isa/lanes.h"

#include <math.h>

#define STEP NNL_SCORE_STEP

_Static_assert(STEP == VECTOR, "a row is made of whole vectors");

// Halves onto halves.
NNL_INLINE double sum_lanes_f64(double lanes[STEP]) {
    for (size_t half = STEP / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++) lanes[l] += lanes[l + half];
    return lanes[0];
}

// ---- masks

static void allow_f32(size_t n, void *scores, const uint8_t *mask, bool allowed) {
    float *s = scores;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) s[j] = (mask[j] != 0) == allowed ? s[j] : -INFINITY;
}

static void allow_f64(size_t n, void *scores, const uint8_t *mask, bool allowed) {
    double *s = scores;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) s[j] =
        (mask[j] != 0) == allowed ? s[j] : (double)-INFINITY;
}

static void drop_f32(size_t n, void *weights, const uint8_t *kept, double scale) {
    float *w = weights, by = (float)scale;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) w[j] *= kept[j] ? by : 0;
}

static void drop_f64(size_t n, void *weights, const uint8_t *kept, double scale) {
    double *w = weights;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) w[j] *= kept[j] ? scale : 0;
}

// ---- weights

static double top_f32(size_t n, const void *scores) { return (double)vectors_max(n, scores); }

static double top_f64(size_t n, const void *scores) {
    const double *s = scores;
    double top = s[0];
    for (size_t j = 1; j < n; j++) top = top_of_f64(s[j], top);
    return top;
}

static double weigh_f32(size_t n, void *scores, double shift) {
    float *s = scores, from = (float)shift, lanes[STEP] = {0};
    for (size_t j = 0; j < n; j += STEP) {
        for (size_t l = 0; l < STEP; l++) {
            float w = v_exp(s[j + l] - from);
            s[j + l] = w;
            lanes[l] += w;
        }
    }
    return (double)vector_sum(vector_load(lanes));
}

static double weigh_f64(size_t n, void *scores, double shift) {
    double *s = scores, lanes[STEP] = {0};
    for (size_t j = 0; j < n; j += STEP) {
        for (size_t l = 0; l < STEP; l++) {
            s[j + l] = v_exp(s[j + l] - shift);
            lanes[l] += s[j + l];
        }
    }
    return sum_lanes_f64(lanes);
}

static void weigh_again_f32(size_t n, void *scores, double shift, double share) {
    float *s = scores, from = (float)shift, by = (float)share;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) s[j] = v_exp(s[j] - from) * by;
}

static void weigh_again_f64(size_t n, void *scores, double shift, double share) {
    double *s = scores;
    for (size_t j = 0; j < n; j++) s[j] = v_exp(s[j] - shift) * share;
}

static void back_f32(size_t n, void *gradient, const void *weights, double mean) {
    float *g = gradient, by = (float)mean;
    const float *w = weights;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) g[j] = w[j] * (g[j] - by);
}

static void back_f64(size_t n, void *gradient, const void *weights, double mean) {
    double *g = gradient;
    const double *w = weights;
    NNL_INDEPENDENT for (size_t j = 0; j < n; j++) g[j] = w[j] * (g[j] - mean);
}

// ---- rows of any length

static void scale_f32(size_t n, void *row, double scale) {
    float *x = row, by = (float)scale;
    for (size_t j = 0; j < n; j++) x[j] *= by;
}

static void scale_f64(size_t n, void *row, double scale) {
    double *x = row;
    for (size_t j = 0; j < n; j++) x[j] *= scale;
}

static double dot_f32(size_t n, const void *left, const void *right) {
    const float *a = left, *b = right;
    float lanes[STEP] = {0};
    size_t j = 0;
    for (; j + STEP <= n; j += STEP)
        for (size_t l = 0; l < STEP; l++) lanes[l] += a[j + l] * b[j + l];
    for (size_t l = 0; j + l < n; l++) lanes[l] += a[j + l] * b[j + l];
    return (double)vector_sum(vector_load(lanes));
}

static double dot_f64(size_t n, const void *left, const void *right) {
    const double *a = left, *b = right;
    double sum = 0;
    for (size_t j = 0; j < n; j++) sum += a[j] * b[j];
    return sum;
}

// ---- rotary embeddings: turn holds a cosine and a sine for each of n pairs

NNL_INLINE void rotate_pairs_f32(size_t n, float *y, const float *x, const float *turn, float sign,
                                 size_t first, size_t second) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float a = x[i * first], b = x[i * first + second], c = turn[2 * i], s = sign * turn[2 * i + 1];
        y[i * first] = a * c - b * s;
        y[i * first + second] = a * s + b * c;
    }
}

NNL_INLINE void rotate_pairs_f64(size_t n, double *y, const double *x, const double *turn, double sign,
                                 size_t first, size_t second) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double a = x[i * first], b = x[i * first + second], c = turn[2 * i], s = sign * turn[2 * i + 1];
        y[i * first] = a * c - b * s;
        y[i * first + second] = a * s + b * c;
    }
}

static void rotate_f32(size_t n, void *y, const void *x, const void *turn, bool neighbours, bool back) {
    if (neighbours) rotate_pairs_f32(n, y, x, turn, back ? -1 : 1, 2, 1);
    if (!neighbours) rotate_pairs_f32(n, y, x, turn, back ? -1 : 1, 1, n);
}

static void rotate_f64(size_t n, void *y, const void *x, const void *turn, bool neighbours, bool back) {
    if (neighbours) rotate_pairs_f64(n, y, x, turn, back ? -1 : 1, 2, 1);
    if (!neighbours) rotate_pairs_f64(n, y, x, turn, back ? -1 : 1, 1, n);
}

const nnl_attention_kernels NNL_ISA_NAME(nnl_attention) = {
    .allow = {allow_f32, allow_f64},
    .drop = {drop_f32, drop_f64},
    .top = {top_f32, top_f64},
    .weigh = {weigh_f32, weigh_f64},
    .weigh_again = {weigh_again_f32, weigh_again_f64},
    .back = {back_f32, back_f64},
    .scale = {scale_f32, scale_f64},
    .dot = {dot_f32, dot_f64},
    .rotate = {rotate_f32, rotate_f64},
};
