// rows.c: kernels over one contiguous row: softmax and its kin, running sums. Each reads the row once for its
// largest value and once for the sum of exponentials, which keeps every exponent at or below 0.
#include "kernel/isa/lanes.h"

#include <math.h>

// Rows of at most SHORT elements are taken BATCH at a time.
#define SHORT 128
#define BATCH 8

static float row_max_f32(size_t n, const float *x) {
    return fold_leaf_f32(n, x, 0, same_f32, top_of_f32, -INFINITY);
}

static double row_max_f64(size_t n, const double *x) {
    return fold_leaf_f64(n, x, 0, same_f64, top_of_f64, -INFINITY);
}

NNL_INLINE float exp_shifted_f32(float x, float shift) { return v_exp(x - shift); }
NNL_INLINE double exp_shifted_f64(double x, double shift) { return v_exp(x - shift); }

// Sums of stretches of LEAF elements, added one after the other: of floats in double, of doubles with what is
// rounded away.
static double exp_sum_f32(size_t n, const float *x, float shift) {
    double sum = 0;
    for (size_t at = 0; at < n; at += LEAF) {
        size_t count = n - at < LEAF ? n - at : LEAF;
        sum += (double)fold_leaf_f32(count, x + at, shift, exp_shifted_f32, add_f32, 0);
    }
    return sum;
}

static double exp_sum_f64(size_t n, const double *x, double shift) {
    total_f64 t = {0, 0};
    for (size_t at = 0; at < n; at += LEAF) {
        size_t count = n - at < LEAF ? n - at : LEAF;
        total_add(&t.sum, &t.lost, fold_leaf_f64(count, x + at, shift, exp_shifted_f64, add_f64, 0));
    }
    return total_of(t.sum, t.lost);
}

static float sum_f32(size_t n, const float *x) {
    double sum = 0;
    for (size_t at = 0; at < n; at += LEAF)
        sum += (double)sum_leaf_f32(n - at < LEAF ? n - at : LEAF, x + at);
    return (float)sum;
}

static double sum_f64(size_t n, const double *x) {
    total_f64 t = {0, 0};
    for (size_t at = 0; at < n; at += LEAF)
        total_add(&t.sum, &t.lost, sum_leaf_f64(n - at < LEAF ? n - at : LEAF, x + at));
    return total_of(t.sum, t.lost);
}

// Short rows go several at a time, each step for all of them before the next, because a step waits for the
// one before. They are whole vectors, if need be filled up: no lanes to set up and no elements left over.
typedef struct batch {
    size_t rows, padded;
    const float *x; // the rows, `padded` apart
    float value[BATCH * SHORT];
    float shift[BATCH], sum[BATCH]; // the largest; of the exponentials
} batch;

static void batch_pad(batch *b, size_t n, const float *x) {
    b->padded = n > 0 ? (n + VECTOR - 1) / VECTOR * VECTOR : VECTOR;
    b->x = b->value;
    for (size_t r = 0; r < b->rows; r++) {
        float *value = b->value + r * b->padded;
        for (size_t i = b->padded - VECTOR; i < b->padded; i++) value[i] = -INFINITY;
        for (size_t i = 0; i < n; i++) value[i] = x[r * n + i];
    }
}

static void batch_load(batch *b, size_t rows, size_t n, const float *x) {
    b->rows = rows;
    b->padded = n;
    b->x = x;
    if (n == 0 || n % VECTOR != 0) batch_pad(b, n, x);
    for (size_t r = 0; r < rows; r++) b->shift[r] = vectors_max(b->padded, b->x + r * b->padded);
}

// The values, of x the exponentials, and their sums.
static void batch_exp(batch *b) {
    for (size_t r = 0; r < b->rows; r++) {
        const float *x = b->x + r * b->padded;
        float *value = b->value + r * b->padded, shift = b->shift[r];
        NNL_INDEPENDENT for (size_t i = 0; i < b->padded; i++) value[i] = v_exp(x[i] - shift);
    }
    for (size_t r = 0; r < b->rows; r++) {
        vector_f32 sum = {0};
        for (size_t i = 0; i < b->padded; i += VECTOR) sum += vector_load(b->value + r * b->padded + i);
        b->sum[r] = vector_sum(sum);
    }
}

// The logarithms of the sums, in the sums' place.
static void batch_log(batch *b) {
    for (size_t r = b->rows; r < BATCH; r++) b->sum[r] = 1;
    NNL_INDEPENDENT for (size_t r = 0; r < BATCH; r++) b->sum[r] = v_log(b->sum[r]);
}

static void softmax_batch(size_t rows, size_t n, float *y, const float *x) {
    batch b;
    batch_load(&b, rows, n, x);
    batch_exp(&b);
    for (size_t r = 0; r < rows; r++) {
        const float *value = b.value + r * b.padded;
        float scale = 1 / b.sum[r];
        NNL_INDEPENDENT for (size_t i = 0; i < n; i++) y[r * n + i] = value[i] * scale;
    }
}

static void log_softmax_batch(size_t rows, size_t n, float *y, const float *x) {
    batch b;
    batch_load(&b, rows, n, x);
    batch_exp(&b);
    batch_log(&b);
    for (size_t r = 0; r < rows; r++) {
        float shift = b.shift[r], log_sum = b.sum[r];
        NNL_INDEPENDENT for (size_t i = r * n; i < (r + 1) * n; i++) y[i] = x[i] - shift - log_sum;
    }
}

static void softmax_row_f32(size_t n, float *y, const float *x) {
    float shift = row_max_f32(n, x);
    double sum = 0;
    for (size_t at = 0; at < n; at += LEAF) { // exponentials are summed while they are in the cache
        size_t count = n - at < LEAF ? n - at : LEAF;
        NNL_INDEPENDENT for (size_t i = at; i < at + count; i++) y[i] = v_exp(x[i] - shift);
        sum += (double)sum_leaf_f32(count, y + at);
    }
    float scale = (float)(1 / sum);
    for (size_t i = 0; i < n; i++) y[i] *= scale;
}

static void softmax_row_f64(size_t n, double *y, const double *x) {
    double shift = row_max_f64(n, x);
    for (size_t i = 0; i < n; i++) y[i] = v_exp(x[i] - shift);
    double scale = 1 / sum_f64(n, y);
    for (size_t i = 0; i < n; i++) y[i] *= scale;
}

// The largest and the logarithm are taken away one after the other: their sum would lose digits for large x.
static void log_softmax_row_f32(size_t n, float *y, const float *x) {
    float shift = row_max_f32(n, x), log_sum = (float)log(exp_sum_f32(n, x, shift));
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) y[i] = x[i] - shift - log_sum;
}

static void log_softmax_row_f64(size_t n, double *y, const double *x) {
    double shift = row_max_f64(n, x), log_sum = log(exp_sum_f64(n, x, shift));
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) y[i] = x[i] - shift - log_sum;
}

// NaN where there is one, else 0.
static float nan_sum_f32(size_t n, const float *x) {
    float sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] != x[i] ? x[i] : 0;
    return sum;
}

static double nan_sum_f64(size_t n, const double *x) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] != x[i] ? x[i] : 0;
    return sum;
}

// An infinite largest is the result itself, unless there is NaN.
NNL_INLINE float lse_f32(size_t n, const float *x, float shift, float log_sum) {
    return isinf(shift) ? shift + nan_sum_f32(n, x) : shift + log_sum;
}

static void logsumexp_batch(size_t rows, size_t n, float *y, const float *x) {
    batch b;
    batch_load(&b, rows, n, x);
    batch_exp(&b);
    batch_log(&b);
    for (size_t r = 0; r < rows; r++) y[r] = lse_f32(n, x + r * n, b.shift[r], b.sum[r]);
}

// ---- kernels over rows

static size_t batch_rows(size_t rows, size_t done) { return rows - done < BATCH ? rows - done : BATCH; }

static void softmax_f32(size_t rows, size_t n, void *y, const void *x) {
    for (size_t r = 0; n <= SHORT && r < rows; r += BATCH)
        softmax_batch(batch_rows(rows, r), n, (float *)y + r * n, (const float *)x + r * n);
    for (size_t r = 0; n > SHORT && r < rows; r++)
        softmax_row_f32(n, (float *)y + r * n, (const float *)x + r * n);
}

static void softmax_f64(size_t rows, size_t n, void *y, const void *x) {
    for (size_t r = 0; r < rows; r++) softmax_row_f64(n, (double *)y + r * n, (const double *)x + r * n);
}

static void log_softmax_f32(size_t rows, size_t n, void *y, const void *x) {
    for (size_t r = 0; n <= SHORT && r < rows; r += BATCH)
        log_softmax_batch(batch_rows(rows, r), n, (float *)y + r * n, (const float *)x + r * n);
    for (size_t r = 0; n > SHORT && r < rows; r++)
        log_softmax_row_f32(n, (float *)y + r * n, (const float *)x + r * n);
}

static void log_softmax_f64(size_t rows, size_t n, void *y, const void *x) {
    for (size_t r = 0; r < rows; r++) log_softmax_row_f64(n, (double *)y + r * n, (const double *)x + r * n);
}

static void logsumexp_f32(size_t rows, size_t n, void *y, const void *x) {
    for (size_t r = 0; n <= SHORT && r < rows; r += BATCH)
        logsumexp_batch(batch_rows(rows, r), n, (float *)y + r, (const float *)x + r * n);
    for (size_t r = 0; n > SHORT && r < rows; r++) {
        const float *row = (const float *)x + r * n;
        float shift = row_max_f32(n, row);
        ((float *)y)[r] = lse_f32(n, row, shift, (float)log(exp_sum_f32(n, row, shift)));
    }
}

static void logsumexp_f64(size_t rows, size_t n, void *y, const void *x) {
    for (size_t r = 0; r < rows; r++) {
        const double *row = (const double *)x + r * n;
        double shift = row_max_f64(n, row);
        ((double *)y)[r] =
            isinf(shift) ? shift + nan_sum_f64(n, row) : shift + log(exp_sum_f64(n, row, shift));
    }
}

// ---- backward

// The sum of products of a stretch, in lanes.
static float dot_leaf_f32(size_t n, const float *a, const float *b) {
    vector_f32 first = {0}, second = {0};
    float rest = 0;
    size_t i = 0;
    for (; i + 2 * VECTOR <= n; i += 2 * VECTOR) {
        first += vector_load(a + i) * vector_load(b + i);
        second += vector_load(a + i + VECTOR) * vector_load(b + i + VECTOR);
    }
    for (; i < n; i++) rest += a[i] * b[i];
    return vector_sum(first + second) + rest;
}

static double dot_leaf_f64(size_t n, const double *a, const double *b) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) lanes[j] += a[i + j] * b[i + j];
    for (size_t j = 0; i + j < n; j++) lanes[j] += a[i + j] * b[i + j];
    return fold_lanes_f64(lanes, add_f64);
}

#define DOT_LEAF (RUN * LANES)

static float dot_f32(size_t n, const float *a, const float *b) {
    if (n <= DOT_LEAF) return dot_leaf_f32(n, a, b);
    double sum = 0;
    for (size_t i = 0; i < n; i += DOT_LEAF)
        sum += (double)dot_leaf_f32(n - i < DOT_LEAF ? n - i : DOT_LEAF, a + i, b + i);
    return (float)sum;
}

static double dot_f64(size_t n, const double *a, const double *b) {
    total_f64 t = {0, 0};
    for (size_t i = 0; i < n; i += DOT_LEAF)
        total_add(&t.sum, &t.lost, dot_leaf_f64(n - i < DOT_LEAF ? n - i : DOT_LEAF, a + i, b + i));
    return total_of(t.sum, t.lost);
}

static void softmax_grad_row_f32(size_t n, float *dx, const float *dout, const float *y) {
    float sum = dot_f32(n, dout, y);
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = y[i] * (dout[i] - sum);
}

static void softmax_grad_row_f64(size_t n, double *dx, const double *dout, const double *y) {
    double sum = dot_f64(n, dout, y);
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = y[i] * (dout[i] - sum);
}

static void log_softmax_grad_row_f32(size_t n, float *dx, const float *dout, const float *y) {
    float sum = sum_f32(n, dout);
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = dout[i] - v_exp(y[i]) * sum;
}

static void log_softmax_grad_row_f64(size_t n, double *dx, const double *dout, const double *y) {
    double sum = sum_f64(n, dout);
    for (size_t i = 0; i < n; i++) dx[i] = dout[i] - v_exp(y[i]) * sum;
}

static void softmax_grad_f32(size_t rows, size_t n, void *dx, const void *dout, const void *y) {
    for (size_t i = 0; i < rows * n; i += n)
        softmax_grad_row_f32(n, (float *)dx + i, (const float *)dout + i, (const float *)y + i);
}

static void log_softmax_grad_f32(size_t rows, size_t n, void *dx, const void *dout, const void *y) {
    for (size_t i = 0; i < rows * n; i += n)
        log_softmax_grad_row_f32(n, (float *)dx + i, (const float *)dout + i, (const float *)y + i);
}

static void softmax_grad_f64(size_t rows, size_t n, void *dx, const void *dout, const void *y) {
    for (size_t i = 0; i < rows * n; i += n)
        softmax_grad_row_f64(n, (double *)dx + i, (const double *)dout + i, (const double *)y + i);
}

static void log_softmax_grad_f64(size_t rows, size_t n, void *dx, const void *dout, const void *y) {
    for (size_t i = 0; i < rows * n; i += n)
        log_softmax_grad_row_f64(n, (double *)dx + i, (const double *)dout + i, (const double *)y + i);
}

// ---- running sums and products: each element needs the one before, so these stay scalar

static void cumsum_f32(size_t n, void *out, const void *in, nnl_carry *carry) {
    double sum = carry->real;
    for (size_t i = 0; i < n; i++) ((float *)out)[i] = (float)(sum += (double)((const float *)in)[i]);
    carry->real = sum;
}

static void cumsum_f64(size_t n, void *out, const void *in, nnl_carry *carry) {
    double sum = carry->real;
    for (size_t i = 0; i < n; i++) ((double *)out)[i] = sum += ((const double *)in)[i];
    carry->real = sum;
}

static void cumsum_i64(size_t n, void *out, const void *in, nnl_carry *carry) {
    int64_t sum = carry->whole;
    for (size_t i = 0; i < n; i++) ((int64_t *)out)[i] = sum = NNL_INT_ADD(sum, ((const int64_t *)in)[i]);
    carry->whole = sum;
}

static void cumprod_f32(size_t n, void *out, const void *in, nnl_carry *carry) {
    double product = carry->real;
    for (size_t i = 0; i < n; i++) ((float *)out)[i] = (float)(product *= (double)((const float *)in)[i]);
    carry->real = product;
}

static void cumprod_f64(size_t n, void *out, const void *in, nnl_carry *carry) {
    double product = carry->real;
    for (size_t i = 0; i < n; i++) ((double *)out)[i] = product *= ((const double *)in)[i];
    carry->real = product;
}

static void cumprod_i64(size_t n, void *out, const void *in, nnl_carry *carry) {
    int64_t product = carry->whole;
    for (size_t i = 0; i < n; i++)
        ((int64_t *)out)[i] = product = NNL_INT_MUL(product, ((const int64_t *)in)[i]);
    carry->whole = product;
}

static void recur_f32(size_t n, void *h, const void *a, const void *b) {
    double last = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0) last *= (double)((const float *)a)[i];
        ((float *)h)[i] = (float)(last += (double)((const float *)b)[i]);
    }
}

static void recur_f64(size_t n, void *h, const void *a, const void *b) {
    double last = 0;
    for (size_t i = 0; i < n; i++) {
        if (i > 0) last *= ((const double *)a)[i];
        ((double *)h)[i] = last += ((const double *)b)[i];
    }
}

static void recur_back_f32(size_t n, void *h, const void *a, const void *b) {
    double last = 0;
    for (size_t i = n; i-- > 0;) {
        if (i + 1 < n) last *= (double)((const float *)a)[i + 1];
        ((float *)h)[i] = (float)(last += (double)((const float *)b)[i]);
    }
}

static void recur_back_f64(size_t n, void *h, const void *a, const void *b) {
    double last = 0;
    for (size_t i = n; i-- > 0;) {
        if (i + 1 < n) last *= ((const double *)a)[i + 1];
        ((double *)h)[i] = last += ((const double *)b)[i];
    }
}

const nnl_rows_kernels NNL_ISA_NAME(nnl_rows) = {
    .softmax = {softmax_f32, softmax_f64},
    .log_softmax = {log_softmax_f32, log_softmax_f64},
    .logsumexp = {logsumexp_f32, logsumexp_f64},
    .softmax_grad = {softmax_grad_f32, softmax_grad_f64},
    .log_softmax_grad = {log_softmax_grad_f32, log_softmax_grad_f64},
    .cumsum = {cumsum_f32, cumsum_f64, cumsum_i64},
    .cumprod = {cumprod_f32, cumprod_f64, cumprod_i64},
    .recur = {recur_f32, recur_f64},
    .recur_back = {recur_back_f32, recur_back_f64},
};
