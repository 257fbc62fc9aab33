// rows.c: kernels over one contiguous row: softmax and its kin, running sums. Each reads the row once for its
// largest value and once for the sum of exponentials, which keeps every exponent at or below 0.
#include "kernel/isa/lanes.h"

#include <math.h>

NNL_INLINE float larger_f32(float a, float b) { return v_max(a, b); }
NNL_INLINE double larger_f64(double a, double b) { return v_max(a, b); }

static float row_max_f32(size_t n, const float *x) {
    return fold_leaf_f32(n, x, 0, same_f32, larger_f32, -INFINITY);
}

static double row_max_f64(size_t n, const double *x) {
    return fold_leaf_f64(n, x, 0, same_f64, larger_f64, -INFINITY);
}

NNL_INLINE float exp_shifted_f32(float x, float shift) { return v_exp(x - shift); }
NNL_INLINE double exp_shifted_f64(double x, double shift) { return v_exp(x - shift); }

// Sums of stretches of LEAF elements, added one after the other in double: a row has few of them.
static float exp_sum_f32(size_t n, const float *x, float shift) {
    double sum = 0;
    for (size_t at = 0; at < n; at += LEAF) {
        size_t count = n - at < LEAF ? n - at : LEAF;
        sum += (double)fold_leaf_f32(count, x + at, shift, exp_shifted_f32, add_f32, 0);
    }
    return (float)sum;
}

static double exp_sum_f64(size_t n, const double *x, double shift) {
    double sum = 0;
    for (size_t at = 0; at < n; at += LEAF) {
        size_t count = n - at < LEAF ? n - at : LEAF;
        sum += fold_leaf_f64(count, x + at, shift, exp_shifted_f64, add_f64, 0);
    }
    return sum;
}

static float sum_f32(size_t n, const float *x) {
    double sum = 0;
    for (size_t at = 0; at < n; at += LEAF)
        sum += (double)sum_leaf_f32(n - at < LEAF ? n - at : LEAF, x + at);
    return (float)sum;
}

static double sum_f64(size_t n, const double *x) {
    double sum = 0;
    for (size_t at = 0; at < n; at += LEAF) sum += sum_leaf_f64(n - at < LEAF ? n - at : LEAF, x + at);
    return sum;
}

static void softmax_f32(size_t n, void *out, const void *in) {
    float *y = out;
    const float *x = in;
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

static void softmax_f64(size_t n, void *out, const void *in) {
    double *y = out;
    const double *x = in;
    double shift = row_max_f64(n, x);
    for (size_t i = 0; i < n; i++) y[i] = v_exp(x[i] - shift);
    double scale = 1 / sum_f64(n, y);
    for (size_t i = 0; i < n; i++) y[i] *= scale;
}

// max + log(sum(exp(x - max))); an infinite max is the result itself.
static float lse_f32(size_t n, const float *x) {
    float shift = row_max_f32(n, x);
    return isinf(shift) ? shift : shift + logf(exp_sum_f32(n, x, shift));
}

static double lse_f64(size_t n, const double *x) {
    double shift = row_max_f64(n, x);
    return isinf(shift) ? shift : shift + log(exp_sum_f64(n, x, shift));
}

static void logsumexp_f32(size_t n, void *out, const void *x) { *(float *)out = lse_f32(n, x); }
static void logsumexp_f64(size_t n, void *out, const void *x) { *(double *)out = lse_f64(n, x); }

// The shift and the logarithm are taken away one after the other: their sum would lose digits for large x.
static void log_softmax_f32(size_t n, void *out, const void *in) {
    float *y = out;
    const float *x = in;
    float shift = row_max_f32(n, x), log_sum = logf(exp_sum_f32(n, x, shift));
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) y[i] = x[i] - shift - log_sum;
}

static void log_softmax_f64(size_t n, void *out, const void *in) {
    double *y = out;
    const double *x = in;
    double shift = row_max_f64(n, x), log_sum = log(exp_sum_f64(n, x, shift));
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) y[i] = x[i] - shift - log_sum;
}

// The sum of products, in lanes.
static float dot_f32(size_t n, const float *a, const float *b) {
    double sum = 0;
    for (size_t at = 0; at < n; at += LEAF) {
        float products[LEAF];
        size_t count = n - at < LEAF ? n - at : LEAF;
        for (size_t i = 0; i < count; i++) products[i] = a[at + i] * b[at + i];
        sum += (double)sum_leaf_f32(count, products);
    }
    return (float)sum;
}

static double dot_f64(size_t n, const double *a, const double *b) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void softmax_grad_f32(size_t n, void *out, const void *given, const void *result) {
    float *dx = out;
    const float *dout = given, *y = result;
    float sum = dot_f32(n, dout, y);
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = y[i] * (dout[i] - sum);
}

static void softmax_grad_f64(size_t n, void *out, const void *given, const void *result) {
    double *dx = out;
    const double *dout = given, *y = result;
    double sum = dot_f64(n, dout, y);
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = y[i] * (dout[i] - sum);
}

static void log_softmax_grad_f32(size_t n, void *out, const void *given, const void *result) {
    float *dx = out;
    const float *dout = given, *y = result;
    float sum = sum_f32(n, dout);
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = dout[i] - v_exp(y[i]) * sum;
}

static void log_softmax_grad_f64(size_t n, void *out, const void *given, const void *result) {
    double *dx = out;
    const double *dout = given, *y = result;
    double sum = sum_f64(n, dout);
    for (size_t i = 0; i < n; i++) dx[i] = dout[i] - v_exp(y[i]) * sum;
}

// ---- running sums and products: each element needs the one before, so these stay scalar

static void cumsum_f32(size_t n, void *out, const void *in) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) ((float *)out)[i] = (float)(sum += (double)((const float *)in)[i]);
}

static void cumsum_f64(size_t n, void *out, const void *in) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) ((double *)out)[i] = sum += ((const double *)in)[i];
}

static void cumsum_i64(size_t n, void *out, const void *in) {
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++) ((int64_t *)out)[i] = sum = NNL_INT_ADD(sum, ((const int64_t *)in)[i]);
}

static void cumprod_f32(size_t n, void *out, const void *in) {
    double product = 1;
    for (size_t i = 0; i < n; i++) ((float *)out)[i] = (float)(product *= (double)((const float *)in)[i]);
}

static void cumprod_f64(size_t n, void *out, const void *in) {
    double product = 1;
    for (size_t i = 0; i < n; i++) ((double *)out)[i] = product *= ((const double *)in)[i];
}

static void cumprod_i64(size_t n, void *out, const void *in) {
    int64_t product = 1;
    for (size_t i = 0; i < n; i++)
        ((int64_t *)out)[i] = product = NNL_INT_MUL(product, ((const int64_t *)in)[i]);
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

const nnl_row_kernels NNL_ISA_NAME(nnl_rows) = {
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
