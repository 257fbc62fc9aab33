// columns.c: softmax and log_softmax down columns, n rows of them `stride` apart. A tile of columns goes
// through three passes: largest values, sums of exponentials, results; its numbers for each column stay in
// registers and the cache.
#include "kernel/isa/lanes.h"

#include <math.h>
#include <string.h>

#define TILE 64

typedef struct tile_f32 {
    size_t n, stride;
    float shift[TILE], scale[TILE]; // the largest; 1 / sum of exponentials, or its logarithm
} tile_f32;

// Tiles are whole but for the last: a constant width makes straight vector code.
NNL_INLINE void tile_largest_f32(tile_f32 *t, const float *x, size_t width) {
    for (size_t j = 0; j < width; j++) t->shift[j] = -INFINITY;
    for (size_t i = 0; i < t->n; i++) {
        const float *row = x + i * t->stride;
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) t->shift[j] =
            row[j] > t->shift[j] ? row[j] : t->shift[j];
    }
}

// Exponentials, into y where it is given, and their sums, in double.
NNL_INLINE void tile_sums_f32(tile_f32 *t, const float *x, float *y, double *sum, size_t width) {
    float value[TILE];
    for (size_t j = 0; j < width; j++) sum[j] = 0;
    for (size_t i = 0; i < t->n; i++) {
        const float *row = x + i * t->stride;
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) value[j] = v_exp(row[j] - t->shift[j]);
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) sum[j] += (double)value[j];
        if (y) memcpy(y + i * t->stride, value, width * sizeof *value);
    }
}

NNL_INLINE void tile_softmax_f32(tile_f32 *t, float *y, const float *x, size_t width) {
    double sum[TILE];
    tile_largest_f32(t, x, width);
    tile_sums_f32(t, x, y, sum, width);
    for (size_t j = 0; j < width; j++) t->scale[j] = (float)(1 / sum[j]);
    for (size_t i = 0; i < t->n; i++) {
        float *row = y + i * t->stride;
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) row[j] *= t->scale[j];
    }
}

NNL_INLINE void tile_log_softmax_f32(tile_f32 *t, float *y, const float *x, size_t width) {
    double sum[TILE];
    tile_largest_f32(t, x, width);
    tile_sums_f32(t, x, NULL, sum, width);
    for (size_t j = 0; j < width; j++) t->scale[j] = (float)log(sum[j]);
    for (size_t i = 0; i < t->n; i++) {
        const float *from = x + i * t->stride;
        float *row = y + i * t->stride;
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) row[j] = from[j] - t->shift[j] - t->scale[j];
    }
}

// dx = y * (dout - sum(dout * y))
NNL_INLINE void tile_softmax_grad_f32(const tile_f32 *t, float *dx, const float *dout, const float *y,
                                      size_t width) {
    double sum[TILE] = {0};
    for (size_t i = 0, at = 0; i < t->n; i++, at += t->stride) {
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) sum[j] += (double)dout[at + j] * (double)y[at + j];
    }
    for (size_t i = 0, at = 0; i < t->n; i++, at += t->stride) {
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) dx[at + j] =
            y[at + j] * (dout[at + j] - (float)sum[j]);
    }
}

// dx = dout - exp(y) * sum(dout)
NNL_INLINE void tile_log_softmax_grad_f32(const tile_f32 *t, float *dx, const float *dout, const float *y,
                                          size_t width) {
    double sum[TILE] = {0};
    for (size_t i = 0, at = 0; i < t->n; i++, at += t->stride) {
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) sum[j] += (double)dout[at + j];
    }
    for (size_t i = 0, at = 0; i < t->n; i++, at += t->stride) {
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) dx[at + j] =
            dout[at + j] - v_exp(y[at + j]) * (float)sum[j];
    }
}

typedef void forward_f32(tile_f32 *t, float *y, const float *x, size_t width);
typedef void backward_f32(const tile_f32 *t, float *dx, const float *dout, const float *y, size_t width);

NNL_INLINE void run_forward_f32(size_t n, size_t width, size_t stride, float *y, const float *x,
                                forward_f32 *f) {
    tile_f32 t = {.n = n, .stride = stride};
    size_t j = 0;
    for (; j + TILE <= width; j += TILE) f(&t, y + j, x + j, TILE);
    if (j < width) f(&t, y + j, x + j, width - j);
}

NNL_INLINE void run_backward_f32(size_t n, size_t width, size_t stride, float *dx, const float *dout,
                                 const float *y, backward_f32 *f) {
    tile_f32 t = {.n = n, .stride = stride};
    size_t j = 0;
    for (; j + TILE <= width; j += TILE) f(&t, dx + j, dout + j, y + j, TILE);
    if (j < width) f(&t, dx + j, dout + j, y + j, width - j);
}

static void softmax_columns_f32(size_t n, size_t width, size_t stride, void *y, const void *x) {
    run_forward_f32(n, width, stride, y, x, tile_softmax_f32);
}

static void log_softmax_columns_f32(size_t n, size_t width, size_t stride, void *y, const void *x) {
    run_forward_f32(n, width, stride, y, x, tile_log_softmax_f32);
}

static void softmax_columns_grad_f32(size_t n, size_t width, size_t stride, void *dx, const void *dout,
                                     const void *y) {
    run_backward_f32(n, width, stride, dx, dout, y, tile_softmax_grad_f32);
}

static void log_softmax_columns_grad_f32(size_t n, size_t width, size_t stride, void *dx, const void *dout,
                                         const void *y) {
    run_backward_f32(n, width, stride, dx, dout, y, tile_log_softmax_grad_f32);
}

typedef struct tile_f64 {
    size_t n, stride;
    double shift[TILE], scale[TILE]; // the largest; 1 / sum of exponentials, or its logarithm
} tile_f64;

// Tiles are whole but for the last: a constant width makes straight vector code.
NNL_INLINE void tile_largest_f64(tile_f64 *t, const double *x, size_t width) {
    for (size_t j = 0; j < width; j++) t->shift[j] = -INFINITY;
    for (size_t i = 0; i < t->n; i++) {
        const double *row = x + i * t->stride;
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) t->shift[j] =
            row[j] > t->shift[j] ? row[j] : t->shift[j];
    }
}

// Exponentials, into y where it is given, and their sums, with what is rounded away.
NNL_INLINE void tile_sums_f64(tile_f64 *t, const double *x, double *y, double *sum, size_t width) {
    double value[TILE], lost[TILE];
    for (size_t j = 0; j < width; j++) sum[j] = lost[j] = 0;
    for (size_t i = 0; i < t->n; i++) {
        const double *row = x + i * t->stride;
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) value[j] = v_exp(row[j] - t->shift[j]);
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) total_add(&sum[j], &lost[j], value[j]);
        if (y) memcpy(y + i * t->stride, value, width * sizeof *value);
    }
    for (size_t j = 0; j < width; j++) sum[j] = total_of(sum[j], lost[j]);
}

NNL_INLINE void tile_softmax_f64(tile_f64 *t, double *y, const double *x, size_t width) {
    double sum[TILE];
    tile_largest_f64(t, x, width);
    tile_sums_f64(t, x, y, sum, width);
    for (size_t j = 0; j < width; j++) t->scale[j] = 1 / sum[j];
    for (size_t i = 0; i < t->n; i++) {
        double *row = y + i * t->stride;
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) row[j] *= t->scale[j];
    }
}

NNL_INLINE void tile_log_softmax_f64(tile_f64 *t, double *y, const double *x, size_t width) {
    double sum[TILE];
    tile_largest_f64(t, x, width);
    tile_sums_f64(t, x, NULL, sum, width);
    for (size_t j = 0; j < width; j++) t->scale[j] = log(sum[j]);
    for (size_t i = 0; i < t->n; i++) {
        const double *from = x + i * t->stride;
        double *row = y + i * t->stride;
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) row[j] = from[j] - t->shift[j] - t->scale[j];
    }
}

// dx = y * (dout - sum(dout * y))
NNL_INLINE void tile_softmax_grad_f64(const tile_f64 *t, double *dx, const double *dout, const double *y,
                                      size_t width) {
    double sum[TILE] = {0}, lost[TILE] = {0};
    for (size_t i = 0, at = 0; i < t->n; i++, at += t->stride) {
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++)
            total_add(&sum[j], &lost[j], dout[at + j] * y[at + j]);
    }
    for (size_t j = 0; j < width; j++) sum[j] = total_of(sum[j], lost[j]);
    for (size_t i = 0, at = 0; i < t->n; i++, at += t->stride) {
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) dx[at + j] = y[at + j] * (dout[at + j] - sum[j]);
    }
}

// dx = dout - exp(y) * sum(dout)
NNL_INLINE void tile_log_softmax_grad_f64(const tile_f64 *t, double *dx, const double *dout, const double *y,
                                          size_t width) {
    double sum[TILE] = {0}, lost[TILE] = {0};
    for (size_t i = 0, at = 0; i < t->n; i++, at += t->stride) {
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) total_add(&sum[j], &lost[j], dout[at + j]);
    }
    for (size_t j = 0; j < width; j++) sum[j] = total_of(sum[j], lost[j]);
    for (size_t i = 0, at = 0; i < t->n; i++, at += t->stride) {
        NNL_INDEPENDENT for (size_t j = 0; j < width; j++) dx[at + j] =
            dout[at + j] - v_exp(y[at + j]) * sum[j];
    }
}

typedef void forward_f64(tile_f64 *t, double *y, const double *x, size_t width);
typedef void backward_f64(const tile_f64 *t, double *dx, const double *dout, const double *y, size_t width);

NNL_INLINE void run_forward_f64(size_t n, size_t width, size_t stride, double *y, const double *x,
                                forward_f64 *f) {
    tile_f64 t = {.n = n, .stride = stride};
    size_t j = 0;
    for (; j + TILE <= width; j += TILE) f(&t, y + j, x + j, TILE);
    if (j < width) f(&t, y + j, x + j, width - j);
}

NNL_INLINE void run_backward_f64(size_t n, size_t width, size_t stride, double *dx, const double *dout,
                                 const double *y, backward_f64 *f) {
    tile_f64 t = {.n = n, .stride = stride};
    size_t j = 0;
    for (; j + TILE <= width; j += TILE) f(&t, dx + j, dout + j, y + j, TILE);
    if (j < width) f(&t, dx + j, dout + j, y + j, width - j);
}

static void softmax_columns_f64(size_t n, size_t width, size_t stride, void *y, const void *x) {
    run_forward_f64(n, width, stride, y, x, tile_softmax_f64);
}

static void log_softmax_columns_f64(size_t n, size_t width, size_t stride, void *y, const void *x) {
    run_forward_f64(n, width, stride, y, x, tile_log_softmax_f64);
}

static void softmax_columns_grad_f64(size_t n, size_t width, size_t stride, void *dx, const void *dout,
                                     const void *y) {
    run_backward_f64(n, width, stride, dx, dout, y, tile_softmax_grad_f64);
}

static void log_softmax_columns_grad_f64(size_t n, size_t width, size_t stride, void *dx, const void *dout,
                                         const void *y) {
    run_backward_f64(n, width, stride, dx, dout, y, tile_log_softmax_grad_f64);
}

const nnl_columns_kernels NNL_ISA_NAME(nnl_columns) = {
    .softmax = {softmax_columns_f32, softmax_columns_f64, NULL},
    .log_softmax = {log_softmax_columns_f32, log_softmax_columns_f64, NULL},
    .softmax_grad = {softmax_columns_grad_f32, softmax_columns_grad_f64, NULL},
    .log_softmax_grad = {log_softmax_columns_grad_f32, log_softmax_columns_grad_f64, NULL},
};
