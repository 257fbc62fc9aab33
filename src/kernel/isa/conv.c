// conv.c: the inner loops of convolution on images packed by kernel/conv.c, where every tap (a channel and a
// place in the kernel window) is one fixed distance away from each result. Sums stay in registers throughout.
#include "kernel/isa/isa.h"

#include <string.h>

// ROWS x VECTORS sums, VECTORS values and one more fit into the registers.
#if defined(__AVX512F__)
#define BYTES 64
#define ROWS 8
#elif defined(__AVX__)
#define BYTES 32
#define ROWS 4
#else
#define BYTES 16
#define ROWS 4
#endif
#define LANES (BYTES / 4)
#define VECTORS 3
#define MOST 6 // of one or two rows: more sums under way than a vector unit needs to be kept busy

typedef float lanes __attribute__((vector_size(BYTES)));

NNL_INLINE lanes load(const float *x) {
    lanes v;
    memcpy(&v, x, sizeof v);
    return v;
}

NNL_INLINE void store(float *x, lanes v) { memcpy(x, &v, sizeof v); }

#define QUAD 4
typedef float quad __attribute__((vector_size(QUAD * sizeof(float))));

NNL_INLINE quad load4(const float *x) {
    quad v;
    memcpy(&v, x, sizeof v);
    return v;
}

// ---- results: blocks of channels by stretches of places

// `rows` channels of `vectors` stretches: out = bias + the sum over taps of weight * x[from + offset].
NNL_INLINE void tile_f32(const nnl_conv_block *b, int rows, int vectors, size_t j) {
    const float *weight = b->weight, *bias = b->bias, *at[MOST];
    lanes sum[ROWS][MOST], x[MOST];
    for (int v = 0; v < vectors; v++) at[v] = (const float *)b->x + b->from[j + (size_t)v];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = (lanes){0} + (bias ? bias[r] : 0);
    for (size_t k = 0; k < b->taps; k++, weight += rows) {
        for (int v = 0; v < vectors; v++) x[v] = load(at[v] + b->offset[k]);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++) sum[r][v] += weight[r] * x[v];
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            store((float *)b->out + (size_t)r * b->ld + b->to[j + (size_t)v], sum[r][v]);
}

NNL_INLINE void stretches_f32(const nnl_conv_block *b, int rows) {
    size_t j = 0;
    for (; rows <= 2 && j + MOST <= b->stretches; j += MOST) tile_f32(b, rows, MOST, j);
    for (; j + VECTORS <= b->stretches; j += VECTORS) tile_f32(b, rows, VECTORS, j);
    if (j + 2 == b->stretches) tile_f32(b, rows, 2, j);
    if (j + 1 == b->stretches) tile_f32(b, rows, 1, j);
}

static void block_f32(const nnl_conv_block *b) {
    switch (b->channels) {
#if ROWS == 8
    case 8:
        stretches_f32(b, 8);
        break;
#endif
    case 4:
        stretches_f32(b, 4);
        break;
    case 2:
        stretches_f32(b, 2);
        break;
    default:
        stretches_f32(b, 1);
    }
}

static void block_f64(const nnl_conv_block *b) {
    const double *bias = b->bias;
    for (size_t j = 0; j < b->stretches; j++) {
        for (size_t r = 0; r < b->channels; r++) {
            const double *x = (const double *)b->x + b->from[j], *weight = (const double *)b->weight + r;
            double sum[LANES];
            for (int l = 0; l < LANES; l++) sum[l] = bias ? bias[r] : 0;
            for (size_t k = 0; k < b->taps; k++)
                for (int l = 0; l < LANES; l++) sum[l] += weight[k * b->channels] * x[b->offset[k] + l];
            memcpy((double *)b->out + r * b->ld + b->to[j], sum, sizeof sum);
        }
    }
}

// ---- the gradient of weights: blocks of taps by vectors of channels

// out[tap][channel] += the sum over places of x[offset + place] * dy[place][channel]
NNL_INLINE void weight_tile(const nnl_conv_sums *s, int rows, int vectors, size_t k, size_t channel) {
    const float *at[ROWS], *dy = (const float *)s->dy + channel;
    float *out = (float *)s->out + k * s->ld + channel;
    lanes sum[ROWS][VECTORS], d[VECTORS];
    for (int r = 0; r < rows; r++) at[r] = (const float *)s->x + s->offset[k + (size_t)r];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = load(out + (size_t)r * s->ld + v * LANES);
    for (size_t i = 0; i < s->rows; i++) {
        for (size_t j = 0; j < s->columns; j++, dy += s->ld) {
            for (int v = 0; v < vectors; v++) d[v] = load(dy + v * LANES);
            for (int r = 0; r < rows; r++)
                for (int v = 0; v < vectors; v++) sum[r][v] += at[r][j] * d[v];
        }
        for (int r = 0; r < rows; r++) at[r] += s->pitch;
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) store(out + (size_t)r * s->ld + v * LANES, sum[r][v]);
}

NNL_INLINE void weight_column(const nnl_conv_sums *s, int vectors, size_t channel) {
    size_t k = 0;
    for (; k + ROWS <= s->taps; k += ROWS) weight_tile(s, ROWS, vectors, k, channel);
    for (; k + 2 <= s->taps; k += 2) weight_tile(s, 2, vectors, k, channel);
    if (k < s->taps) weight_tile(s, 1, vectors, k, channel);
}

// ld is a multiple of LANES.
static void sums_f32(const nnl_conv_sums *s) {
    for (size_t channel = 0, left = s->ld / LANES; left > 0;) {
        size_t vectors = left == 3 || left > 4 ? 3 : left == 1 ? 1 : 2;
        if (vectors == 3) weight_column(s, 3, channel);
        if (vectors == 2) weight_column(s, 2, channel);
        if (vectors == 1) weight_column(s, 1, channel);
        channel += vectors * LANES;
        left -= vectors;
    }
}

static void sums_f64(const nnl_conv_sums *s) {
    for (size_t channel = 0; channel < s->ld; channel += LANES) {
        for (size_t k = 0; k < s->taps; k++) {
            const double *x = (const double *)s->x + s->offset[k], *dy = (const double *)s->dy + channel;
            double *out = (double *)s->out + k * s->ld + channel, sum[LANES];
            memcpy(sum, out, sizeof sum);
            for (size_t i = 0; i < s->rows; i++, x += s->pitch)
                for (size_t j = 0; j < s->columns; j++, dy += s->ld)
                    for (int l = 0; l < LANES; l++) sum[l] += x[j] * dy[l];
            memcpy(out, sum, sizeof sum);
        }
    }
}

// The same for one channel of dy by itself, (rows, columns), some taps at a time: out[tap * ld] += ...
#define TAPS 4

NNL_INLINE float sum_of(lanes all, quad some) {
    float sum = (some[0] + some[1]) + (some[2] + some[3]);
    for (int l = 0; l < LANES; l++) sum += all[l];
    return sum;
}

NNL_INLINE void dots_of(const nnl_conv_sums *s, int taps, size_t k) {
    const float *at[TAPS], *dy = s->dy;
    lanes all[TAPS];
    quad some[TAPS];
    for (int t = 0; t < taps; t++) {
        at[t] = (const float *)s->x + s->offset[k + (size_t)t];
        all[t] = (lanes){0};
        some[t] = (quad){0};
    }
    for (size_t i = 0; i < s->rows; i++, dy += s->columns) {
        size_t j = 0;
        for (; j + LANES <= s->columns; j += LANES)
            for (int t = 0; t < taps; t++) all[t] += load(at[t] + j) * load(dy + j);
        for (; j + QUAD <= s->columns; j += QUAD)
            for (int t = 0; t < taps; t++) some[t] += load4(at[t] + j) * load4(dy + j);
        for (; j < s->columns; j++)
            for (int t = 0; t < taps; t++) some[t][0] += at[t][j] * dy[j];
        for (int t = 0; t < taps; t++) at[t] += s->pitch;
    }
    for (int t = 0; t < taps; t++) ((float *)s->out)[(k + (size_t)t) * s->ld] += sum_of(all[t], some[t]);
}

static void dots_f32(const nnl_conv_sums *s) {
    size_t k = 0;
    for (; k + TAPS <= s->taps; k += TAPS) dots_of(s, TAPS, k);
    for (; k < s->taps; k++) dots_of(s, 1, k);
}

static void dots_f64(const nnl_conv_sums *s) {
    for (size_t k = 0; k < s->taps; k++) {
        const double *x = (const double *)s->x + s->offset[k], *dy = s->dy;
        double sum = 0;
        for (size_t i = 0; i < s->rows; i++, x += s->pitch, dy += s->columns)
            for (size_t j = 0; j < s->columns; j++) sum += x[j] * dy[j];
        ((double *)s->out)[k * s->ld] += sum;
    }
}

// ---- moving

NNL_INLINE void copy4(float *out, const float *x) { memcpy(out, x, sizeof(quad)); }

// The last stretch reaches back over elements that are copied already.
NNL_INLINE void copy_row_f32(size_t n, float *out, const float *x) {
    size_t i = 0;
    if (n >= LANES) {
        for (; i + LANES <= n; i += LANES) store(out + i, load(x + i));
        if (i < n) store(out + n - LANES, load(x + n - LANES));
    } else if (n >= QUAD) {
        for (; i + QUAD <= n; i += QUAD) copy4(out + i, x + i);
        if (i < n) copy4(out + n - QUAD, x + n - QUAD);
    } else {
        for (; i < n; i++) out[i] = x[i];
    }
}

// Every second element; nothing behind the last is read.
NNL_INLINE void copy4_apart(float *out, const float *x) {
    quad v = __builtin_shufflevector(load4(x), load4(x + QUAD - 1), 0, 2, 5, 7);
    memcpy(out, &v, sizeof v);
}

NNL_INLINE void copy_row_apart(size_t n, float *out, const float *x) {
    size_t i = 0;
    if (n >= QUAD) {
        for (; i + QUAD <= n; i += QUAD) copy4_apart(out + i, x + 2 * i);
        if (i < n) copy4_apart(out + n - QUAD, x + 2 * (n - QUAD));
    } else {
        for (; i < n; i++) out[i] = x[2 * i];
    }
}

static void copy_f32(size_t rows, size_t n, void *out, size_t out_row, size_t out_step, const void *x,
                     size_t x_row, size_t x_step) {
    float *to = out;
    const float *from = x;
    for (size_t i = 0; i < rows; i++, to += out_row, from += x_row) {
        if (out_step == 1 && x_step == 1) {
            copy_row_f32(n, to, from);
        } else if (out_step == 1 && x_step == 2) {
            copy_row_apart(n, to, from);
        } else {
            for (size_t j = 0; j < n; j++) to[j * out_step] = from[j * x_step];
        }
    }
}

static void copy_f64(size_t rows, size_t n, void *out, size_t out_row, size_t out_step, const void *x,
                     size_t x_row, size_t x_step) {
    double *to = out;
    const double *from = x;
    for (size_t i = 0; i < rows; i++, to += out_row, from += x_row)
        for (size_t j = 0; j < n; j++) to[j * out_step] = from[j * x_step];
}

// Four rows and columns change places.
NNL_INLINE void transpose4(float *out, size_t out_row, const float *x, size_t x_row) {
    quad a = load4(x), b = load4(x + x_row), c = load4(x + 2 * x_row), d = load4(x + 3 * x_row);
    quad low = __builtin_shufflevector(a, b, 0, 4, 1, 5), high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    quad low2 = __builtin_shufflevector(c, d, 0, 4, 1, 5), high2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    quad result[QUAD] = {
        __builtin_shufflevector(low, low2, 0, 1, 4, 5), __builtin_shufflevector(low, low2, 2, 3, 6, 7),
        __builtin_shufflevector(high, high2, 0, 1, 4, 5), __builtin_shufflevector(high, high2, 2, 3, 6, 7)};
    for (size_t i = 0; i < QUAD; i++) memcpy(out + i * out_row, &result[i], sizeof result[i]);
}

static void transpose_f32(size_t rows, size_t columns, void *out, size_t out_row, const void *x,
                          size_t x_row) {
    float *to = out;
    const float *from = x;
    size_t whole_rows = rows / QUAD * QUAD, whole_columns = columns / QUAD * QUAD;
    for (size_t j = 0; j < whole_columns; j += QUAD)
        for (size_t i = 0; i < whole_rows; i += QUAD)
            transpose4(to + j * out_row + i, out_row, from + i * x_row + j, x_row);
    for (size_t j = 0; j < columns; j++) {
        for (size_t i = j < whole_columns ? whole_rows : 0; i < rows; i++)
            to[j * out_row + i] = from[i * x_row + j];
    }
}

static void transpose_f64(size_t rows, size_t columns, void *out, size_t out_row, const void *x,
                          size_t x_row) {
    for (size_t j = 0; j < columns; j++)
        for (size_t i = 0; i < rows; i++)
            ((double *)out)[j * out_row + i] = ((const double *)x)[i * x_row + j];
}

const nnl_conv_kernels NNL_ISA_NAME(nnl_conv) = {
    .lanes = LANES,
    .rows = ROWS,
    .block = {block_f32, block_f64, NULL},
    .sums = {sums_f32, sums_f64, NULL},
    .dots = {dots_f32, dots_f64, NULL},
    .copy = {copy_f32, copy_f64, NULL},
    .transpose = {transpose_f32, transpose_f64, NULL},
};
