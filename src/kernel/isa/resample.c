// resample.c: pooling and resizing of one plane (height, width) of an image: the largest or a weighted sum of
// a window for each result, and the way back.
#include "kernel/isa/isa.h"

#include <math.h>
#include <string.h>

// ---- the largest

// Eight results side by side: GCC and Clang make of it whatever registers the instruction set has.
#define EIGHT 8
typedef float floats __attribute__((vector_size(EIGHT * sizeof(float))));
typedef int32_t ints __attribute__((vector_size(EIGHT * sizeof(int32_t))));

// x[0], x[step], x[2 * step] ... of which nothing behind the last is read; step is 1 or 2.
NNL_INLINE floats load_apart(const float *x, size_t step) {
    floats low, high;
    memcpy(&low, x, sizeof low);
    if (step == 1) return low;
    memcpy(&high, x + EIGHT - 1, sizeof high);
    return __builtin_shufflevector(low, high, 0, 2, 4, 6, 9, 11, 13, 15);
}

// What is larger than the best so far, or NaN, takes its place.
NNL_INLINE void take_larger_8(float *best, int32_t *at, const float *x, int32_t first, size_t step) {
    const ints count = {0, 1, 2, 3, 4, 5, 6, 7};
    floats old, v = load_apart(x, step);
    ints place;
    memcpy(&old, best, sizeof old);
    memcpy(&place, at, sizeof place);
    ints better = (v > old) | (v != v);
    old = (floats)(((ints)v & better) | ((ints)old & ~better));
    place = ((first + count * (int32_t)step) & better) | (place & ~better);
    memcpy(best, &old, sizeof old);
    memcpy(at, &place, sizeof place);
}

NNL_INLINE void take_larger_1(float *best, int32_t *at, float v, int32_t place) {
    if (!(v > *best || v != v)) return;
    *best = v;
    *at = place;
}

// One column tap of all windows of a row. The last eight reach back over some that are done, which changes
// nothing.
NNL_INLINE void take_larger(size_t n, float *best, int32_t *at, const float *x, int32_t first, size_t step) {
    if (n < EIGHT || step > 2) {
        for (size_t j = 0; j < n; j++)
            take_larger_1(best + j, at + j, x[j * step], first + (int32_t)(j * step));
        return;
    }
    for (size_t j = 0; j < n; j += EIGHT) {
        if (j + EIGHT > n) j = n - EIGHT;
        take_larger_8(best + j, at + j, x + j * step, first + (int32_t)(j * step), step);
    }
}

// The results, from *from to *to, whose tap `shift` columns from where their windows would start without
// padding lies within the input.
static void results_of_tap(const nnl_axis *axis, ptrdiff_t shift, size_t *from, size_t *to) {
    ptrdiff_t step = axis->stride, low = shift >= 0 ? 0 : (-shift + step - 1) / step;
    ptrdiff_t high = axis->size > shift ? (axis->size - shift + step - 1) / step : 0;
    if (high > axis->result) high = axis->result;
    *from = (size_t)(low < high ? low : high);
    *to = (size_t)high;
}

NNL_INLINE void max_row(const nnl_axis *across, size_t step, float *best, int32_t *at, const float *x,
                        ptrdiff_t row) {
    for (ptrdiff_t k = 0; k < across->kernel; k++) {
        ptrdiff_t shift = k * across->step - across->padding;
        size_t from, to;
        results_of_tap(across, shift, &from, &to);
        ptrdiff_t first = row * across->size + (ptrdiff_t)(from * step) + shift;
        take_larger(to - from, best + from, at + from, x + first, (int32_t)first, step);
    }
}

static void max_even_row(const nnl_axis *across, float *best, int32_t *at, const float *x, ptrdiff_t row) {
    if (across->stride == 1) {
        max_row(across, 1, best, at, x, row);
    } else if (across->stride == 2) {
        max_row(across, 2, best, at, x, row);
    } else {
        max_row(across, (size_t)across->stride, best, at, x, row);
    }
}

// Windows that start at even distances, row by row: neighbours are compared side by side.
static void max_even_f32(const nnl_axis axis[2], float *y, int32_t *at, const float *x) {
    const nnl_axis *down = &axis[0], *across = &axis[1];
    for (int32_t i = 0; i < down->result; i++, y += across->result, at += across->result) {
        for (int32_t j = 0; j < across->result; j++) {
            y[j] = -INFINITY;
            at[j] = down->start[i] * across->size + across->start[j];
        }
        for (int32_t row = down->start[i]; row < down->end[i]; row += down->step)
            max_even_row(across, y, at, x, row);
    }
}

static int32_t max_of_window_f32(const nnl_axis axis[2], int32_t i, int32_t j, const float *x) {
    int32_t width = axis[1].size, best = axis[0].start[i] * width + axis[1].start[j];
    float largest = -INFINITY;
    for (int32_t row = axis[0].start[i]; row < axis[0].end[i]; row += axis[0].step) {
        for (int32_t column = axis[1].start[j]; column < axis[1].end[j]; column += axis[1].step) {
            float v = x[row * width + column];
            int better = (v > largest) | (v != v);
            largest = better ? v : largest;
            best = better ? row * width + column : best;
        }
    }
    return best;
}

static int32_t max_of_window_f64(const nnl_axis axis[2], int32_t i, int32_t j, const double *x) {
    int32_t width = axis[1].size, best = axis[0].start[i] * width + axis[1].start[j];
    double largest = -INFINITY;
    for (int32_t row = axis[0].start[i]; row < axis[0].end[i]; row += axis[0].step) {
        for (int32_t column = axis[1].start[j]; column < axis[1].end[j]; column += axis[1].step) {
            double v = x[row * width + column];
            int better = (v > largest) | (v != v);
            largest = better ? v : largest;
            best = better ? row * width + column : best;
        }
    }
    return best;
}

static void max_f32(const nnl_axis axis[2], void *y, int32_t *at, const void *x) {
    float *out = y;
    if (axis[1].stride > 0) {
        max_even_f32(axis, y, at, x);
        return;
    }
    for (int32_t i = 0; i < axis[0].result; i++)
        for (int32_t j = 0; j < axis[1].result; j++) {
            *at = max_of_window_f32(axis, i, j, x);
            *out++ = ((const float *)x)[*at++];
        }
}

static void max_f64(const nnl_axis axis[2], void *y, int32_t *at, const void *x) {
    double *out = y;
    for (int32_t i = 0; i < axis[0].result; i++)
        for (int32_t j = 0; j < axis[1].result; j++) {
            *at = max_of_window_f64(axis, i, j, x);
            *out++ = ((const double *)x)[*at++];
        }
}

static void pick_f32(size_t n, void *y, const void *x, const int32_t *at) {
    for (size_t i = 0; i < n; i++) ((float *)y)[i] = ((const float *)x)[at[i]];
}

static void pick_f64(size_t n, void *y, const void *x, const int32_t *at) {
    for (size_t i = 0; i < n; i++) ((double *)y)[i] = ((const double *)x)[at[i]];
}

static void put_f32(size_t n, size_t size, void *dx, const void *dy, const int32_t *at) {
    float *out = dx;
    memset(out, 0, size * sizeof *out);
    for (size_t i = 0; i < n; i++) out[at[i]] += ((const float *)dy)[i];
}

static void put_f64(size_t n, size_t size, void *dx, const void *dy, const int32_t *at) {
    double *out = dx;
    memset(out, 0, size * sizeof *out);
    for (size_t i = 0; i < n; i++) out[at[i]] += ((const double *)dy)[i];
}

// ---- weighted sums: down the columns into one row first, then along it

static double weight_of(const nnl_axis *axis, int32_t result, int32_t k) {
    return axis->weight ? axis->weight[result * axis->kernel + k] : 1;
}

static void sum_f32(const nnl_axis axis[2], void *y, const void *x, void *room) {
    const nnl_axis *down = &axis[0], *across = &axis[1];
    float *out = y, *restrict row = room;
    for (int32_t i = 0; i < down->result; i++) {
        memset(row, 0, (size_t)across->size * sizeof *row);
        for (int32_t h = down->start[i]; h < down->end[i]; h++) {
            const float *from = (const float *)x + h * across->size;
            const float weight = (float)weight_of(down, i, h - down->start[i]);
            for (int32_t w = 0; w < across->size; w++) row[w] += weight * from[w];
        }
        for (int32_t j = 0; j < across->result; j++) {
            float sum = 0;
            for (int32_t w = across->start[j]; w < across->end[j]; w++)
                sum += (float)weight_of(across, j, w - across->start[j]) * row[w];
            *out++ = sum / (float)(down->divisor[i] * across->divisor[j]);
        }
    }
}

static void sum_f64(const nnl_axis axis[2], void *y, const void *x, void *room) {
    const nnl_axis *down = &axis[0], *across = &axis[1];
    double *out = y, *restrict row = room;
    for (int32_t i = 0; i < down->result; i++) {
        memset(row, 0, (size_t)across->size * sizeof *row);
        for (int32_t h = down->start[i]; h < down->end[i]; h++) {
            const double *from = (const double *)x + h * across->size;
            const double weight = weight_of(down, i, h - down->start[i]);
            for (int32_t w = 0; w < across->size; w++) row[w] += weight * from[w];
        }
        for (int32_t j = 0; j < across->result; j++) {
            double sum = 0;
            for (int32_t w = across->start[j]; w < across->end[j]; w++)
                sum += weight_of(across, j, w - across->start[j]) * row[w];
            *out++ = sum / (down->divisor[i] * across->divisor[j]);
        }
    }
}

static void spread_f32(const nnl_axis axis[2], void *dx, const void *dy, void *room) {
    const nnl_axis *down = &axis[0], *across = &axis[1];
    const float *in = dy;
    float *restrict row = room;
    memset(dx, 0, (size_t)down->size * (size_t)across->size * sizeof *row);
    for (int32_t i = 0; i < down->result; i++) {
        memset(row, 0, (size_t)across->size * sizeof *row);
        for (int32_t j = 0; j < across->result; j++) {
            const float d = *in++ / (float)(down->divisor[i] * across->divisor[j]);
            for (int32_t w = across->start[j]; w < across->end[j]; w++)
                row[w] += (float)weight_of(across, j, w - across->start[j]) * d;
        }
        for (int32_t h = down->start[i]; h < down->end[i]; h++) {
            float *to = (float *)dx + h * across->size;
            const float weight = (float)weight_of(down, i, h - down->start[i]);
            for (int32_t w = 0; w < across->size; w++) to[w] += weight * row[w];
        }
    }
}

static void spread_f64(const nnl_axis axis[2], void *dx, const void *dy, void *room) {
    const nnl_axis *down = &axis[0], *across = &axis[1];
    const double *in = dy;
    double *restrict row = room;
    memset(dx, 0, (size_t)down->size * (size_t)across->size * sizeof *row);
    for (int32_t i = 0; i < down->result; i++) {
        memset(row, 0, (size_t)across->size * sizeof *row);
        for (int32_t j = 0; j < across->result; j++) {
            const double d = *in++ / (down->divisor[i] * across->divisor[j]);
            for (int32_t w = across->start[j]; w < across->end[j]; w++)
                row[w] += weight_of(across, j, w - across->start[j]) * d;
        }
        for (int32_t h = down->start[i]; h < down->end[i]; h++) {
            double *to = (double *)dx + h * across->size;
            const double weight = weight_of(down, i, h - down->start[i]);
            for (int32_t w = 0; w < across->size; w++) to[w] += weight * row[w];
        }
    }
}

const nnl_resample_kernels NNL_ISA_NAME(nnl_resample) = {
    .max = {max_f32, max_f64, NULL},
    .pick = {pick_f32, pick_f64, NULL},
    .put = {put_f32, put_f64, NULL},
    .sum = {sum_f32, sum_f64, NULL},
    .spread = {spread_f32, spread_f64, NULL},
};
