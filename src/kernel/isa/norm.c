// norm.c: means and variances in one pass over memory, and the loops of the normalisations and their
// derivatives. See nnl_norm_terms in kernel.h for the names.
#include "kernel/isa/lanes.h"

#include <string.h>

// ---- moments. A leaf is read twice while it is in the first cache: for a shift near its mean, then for the
// sums of deviations from the shift and of their squares, which are small. Leaves are merged in double (Chan,
// Golub and LeVeque 1979).

typedef struct merging {
    double count, share, weight; // of what is there already; of the mean's way to take; of its square
} merging;

// The next `n` values come to those that are there.
NNL_INLINE merging merging_of(double count, double n) {
    return (merging){count, n / (count + n), count * n / (count + n)};
}

// n values whose deviations from shift have this sum and sum of squares.
NNL_INLINE void merge(nnl_moment *into, merging m, double n, double shift, double sum, double square) {
    double mean = shift + sum / n, own = square - sum * sum / n, delta = mean - into->mean;
    into->mean += delta * m.share;
    into->square += (own < 0 ? 0 : own) + delta * delta * m.weight;
}

static void row_leaf_f32(size_t n, const float *x, nnl_moment *out, double count) {
    float shift = (float)((double)sum_leaf_f32(n, x) / (double)n), sum[LANES], square[LANES];
    for (size_t j = 0; j < LANES; j++) sum[j] = square[j] = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            float d = x[i + j] - shift;
            sum[j] += d;
            square[j] += d * d;
        }
    for (size_t j = 0; i + j < n; j++) {
        float d = x[i + j] - shift;
        sum[j] += d;
        square[j] += d * d;
    }
    merge(out, merging_of(count, (double)n), (double)n, (double)shift, (double)fold_lanes_f32(sum, add_f32),
          (double)fold_lanes_f32(square, add_f32));
}

static void row_leaf_f64(size_t n, const double *x, nnl_moment *out, double count) {
    double shift = sum_leaf_f64(n, x) / (double)n, sum[LANES], square[LANES];
    for (size_t j = 0; j < LANES; j++) sum[j] = square[j] = 0;
    for (size_t i = 0; i < n; i += LANES)
        for (size_t j = 0; j < (n - i < LANES ? n - i : LANES); j++) {
            double d = x[i + j] - shift;
            sum[j] += d;
            square[j] += d * d;
        }
    merge(out, merging_of(count, (double)n), (double)n, shift, fold_lanes_f64(sum, add_f64),
          fold_lanes_f64(square, add_f64));
}

// Columns are taken in tiles whose sums stay in the first cache, in leaves of ROWS rows.
#define TILE 128
#define ROWS 32

NNL_INLINE void column_leaf_f32(size_t n, size_t width, const float *restrict x, size_t stride,
                                nnl_moment *restrict out, double count) {
    float shift[TILE], sum[TILE], square[TILE];
    for (size_t j = 0; j < width; j++) shift[j] = sum[j] = square[j] = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++) shift[j] += x[i * stride + j];
    for (size_t j = 0; j < width; j++) shift[j] /= (float)n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++) {
            float d = x[i * stride + j] - shift[j];
            sum[j] += d;
            square[j] += d * d;
        }
    const merging m = merging_of(count, (double)n);
    for (size_t j = 0; j < width; j++)
        merge(&out[j], m, (double)n, (double)shift[j], (double)sum[j], (double)square[j]);
}

NNL_INLINE void column_leaf_f64(size_t n, size_t width, const double *restrict x, size_t stride,
                                nnl_moment *restrict out, double count) {
    double shift[TILE], sum[TILE], square[TILE];
    for (size_t j = 0; j < width; j++) shift[j] = sum[j] = square[j] = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++) shift[j] += x[i * stride + j];
    for (size_t j = 0; j < width; j++) shift[j] /= (double)n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < width; j++) {
            double d = x[i * stride + j] - shift[j];
            sum[j] += d;
            square[j] += d * d;
        }
    const merging m = merging_of(count, (double)n);
    for (size_t j = 0; j < width; j++) merge(&out[j], m, (double)n, shift[j], sum[j], square[j]);
}

static void moments_f32(size_t n, size_t inner, nnl_moment *out, const void *x, size_t stride) {
    bool row = inner == 1 && stride == 1;
    size_t tile = row ? 1 : TILE, leaf = row ? LEAF : ROWS;
    memset(out, 0, inner * sizeof *out);
    for (size_t j = 0; j < inner; j += tile)
        for (size_t i = 0; i < n; i += leaf) {
            const float *at = (const float *)x + i * stride + j;
            size_t count = n - i < leaf ? n - i : leaf, width = inner - j < tile ? inner - j : tile;
            if (row) row_leaf_f32(count, at, out, (double)i);
            if (!row) column_leaf_f32(count, width, at, stride, out + j, (double)i);
        }
}

static void moments_f64(size_t n, size_t inner, nnl_moment *out, const void *x, size_t stride) {
    bool row = inner == 1 && stride == 1;
    size_t tile = row ? 1 : TILE, leaf = row ? LEAF : ROWS;
    memset(out, 0, inner * sizeof *out);
    for (size_t j = 0; j < inner; j += tile)
        for (size_t i = 0; i < n; i += leaf) {
            const double *at = (const double *)x + i * stride + j;
            size_t count = n - i < leaf ? n - i : leaf, width = inner - j < tile ? inner - j : tile;
            if (row) row_leaf_f64(count, at, out, (double)i);
            if (!row) column_leaf_f64(count, width, at, stride, out + j, (double)i);
        }
}

// ---- normalising. Terms of one element are taken out of the loops.

NNL_INLINE void normalized_f32(size_t n, float *y, const float *x, const nnl_norm_terms *t,
                               bool each_statistic, bool each_weight) {
    const float *mean = t->mean, *rstd = t->rstd, *weight = t->weight, *bias = t->bias;
    const float mean0 = *mean, rstd0 = *rstd, weight0 = *weight, bias0 = *bias;
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) {
        float scale = (each_statistic ? rstd[i] : rstd0) * (each_weight ? weight[i] : weight0);
        y[i] = (x[i] - (each_statistic ? mean[i] : mean0)) * scale + (each_weight ? bias[i] : bias0);
    }
}

NNL_INLINE void normalized_f64(size_t n, double *y, const double *x, const nnl_norm_terms *t,
                               bool each_statistic, bool each_weight) {
    const double *mean = t->mean, *rstd = t->rstd, *weight = t->weight, *bias = t->bias;
    const double mean0 = *mean, rstd0 = *rstd, weight0 = *weight, bias0 = *bias;
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) {
        double scale = (each_statistic ? rstd[i] : rstd0) * (each_weight ? weight[i] : weight0);
        y[i] = (x[i] - (each_statistic ? mean[i] : mean0)) * scale + (each_weight ? bias[i] : bias0);
    }
}

// dx = rstd (dout weight - fold1 - (x - mean) rstd fold2)
NNL_INLINE void differentiated_f32(size_t n, float *dx, const float *dout, const float *x,
                                   const nnl_norm_terms *t, bool each_statistic, bool each_weight) {
    const float *mean = t->mean, *rstd = t->rstd, *fold1 = t->fold1, *fold2 = t->fold2, *weight = t->weight;
    const float mean0 = *mean, rstd0 = *rstd, fold10 = *fold1, fold20 = rstd0 * *fold2, weight0 = *weight;
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) {
        float r = each_statistic ? rstd[i] : rstd0, slope = each_statistic ? r * fold2[i] : fold20;
        float g = dout[i] * (each_weight ? weight[i] : weight0) - (each_statistic ? fold1[i] : fold10);
        dx[i] = r * (g - (x[i] - (each_statistic ? mean[i] : mean0)) * slope);
    }
}

NNL_INLINE void differentiated_f64(size_t n, double *dx, const double *dout, const double *x,
                                   const nnl_norm_terms *t, bool each_statistic, bool each_weight) {
    const double *mean = t->mean, *rstd = t->rstd, *fold1 = t->fold1, *fold2 = t->fold2, *weight = t->weight;
    const double mean0 = *mean, rstd0 = *rstd, fold10 = *fold1, fold20 = rstd0 * *fold2, weight0 = *weight;
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) {
        double r = each_statistic ? rstd[i] : rstd0, slope = each_statistic ? r * fold2[i] : fold20;
        double g = dout[i] * (each_weight ? weight[i] : weight0) - (each_statistic ? fold1[i] : fold10);
        dx[i] = r * (g - (x[i] - (each_statistic ? mean[i] : mean0)) * slope);
    }
}

// dbias += dout, dweight += dout x'
NNL_INLINE void gathered_f32(size_t n, float *restrict dweight, float *restrict dbias, const float *dout,
                             const float *x, const nnl_norm_terms *t, bool each_statistic) {
    const float *mean = t->mean, *rstd = t->rstd, mean0 = *mean, rstd0 = *rstd;
    for (size_t i = 0; i < n; i++) {
        float r = each_statistic ? rstd[i] : rstd0, d = x[i] - (each_statistic ? mean[i] : mean0);
        dbias[i] += dout[i];
        dweight[i] += dout[i] * (d * r);
    }
}

NNL_INLINE void gathered_f64(size_t n, double *restrict dweight, double *restrict dbias, const double *dout,
                             const double *x, const nnl_norm_terms *t, bool each_statistic) {
    const double *mean = t->mean, *rstd = t->rstd, mean0 = *mean, rstd0 = *rstd;
    for (size_t i = 0; i < n; i++) {
        double r = each_statistic ? rstd[i] : rstd0, d = x[i] - (each_statistic ? mean[i] : mean0);
        dbias[i] += dout[i];
        dweight[i] += dout[i] * (d * r);
    }
}

// The sums of g and g (x - mean) over a leaf.
NNL_INLINE void summed_leaf_f32(size_t n, double *out, const float *dout, const float *x, const float *weight,
                                float mean, bool each_weight) {
    float sum[LANES], product[LANES];
    for (size_t j = 0; j < LANES; j++) sum[j] = product[j] = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) {
            float g = each_weight ? dout[i + j] * weight[i + j] : dout[i + j];
            sum[j] += g;
            product[j] += g * (x[i + j] - mean);
        }
    for (size_t j = 0; i + j < n; j++) {
        float g = each_weight ? dout[i + j] * weight[i + j] : dout[i + j];
        sum[j] += g;
        product[j] += g * (x[i + j] - mean);
    }
    out[0] += (double)fold_lanes_f32(sum, add_f32);
    out[1] += (double)fold_lanes_f32(product, add_f32);
}

NNL_INLINE void summed_f32(size_t n, double *out, const float *dout, const float *x, const nnl_norm_terms *t,
                           bool each_weight) {
    const float *weight = t->weight, mean = *(const float *)t->mean;
    out[0] = out[1] = 0;
    for (size_t at = 0; at < n; at += LEAF)
        summed_leaf_f32(n - at < LEAF ? n - at : LEAF, out, dout + at, x + at,
                        each_weight ? weight + at : NULL, mean, each_weight);
    double scale = each_weight ? 1 : (double)*weight;
    out[0] *= scale;
    out[1] *= scale * (double)*(const float *)t->rstd;
}

static void summed_leaf_f64(size_t n, double *out, const double *dout, const double *x, const double *weight,
                            size_t step, double mean) {
    double sum[LANES], product[LANES];
    for (size_t j = 0; j < LANES; j++) sum[j] = product[j] = 0;
    for (size_t i = 0; i < n; i += LANES)
        for (size_t j = 0; j < (n - i < LANES ? n - i : LANES); j++) {
            double g = dout[i + j] * weight[(i + j) * step];
            sum[j] += g;
            product[j] += g * (x[i + j] - mean);
        }
    out[0] = fold_lanes_f64(sum, add_f64);
    out[1] = fold_lanes_f64(product, add_f64);
}

static void sums_f64(size_t n, double *out, const void *dout, const void *x, const nnl_norm_terms *t) {
    const double *weight = t->weight, mean = *(const double *)t->mean, *given = dout, *value = x;
    size_t step = t->each_weight ? 1 : 0;
    double leaf[2];
    total_f64 sum = {0, 0}, product = {0, 0};
    for (size_t at = 0; at < n; at += RUN * LANES) {
        size_t count = n - at < RUN * LANES ? n - at : RUN * LANES;
        summed_leaf_f64(count, leaf, given + at, value + at, weight + at * step, step, mean);
        total_add(&sum.sum, &sum.lost, leaf[0]);
        total_add(&product.sum, &product.lost, leaf[1]);
    }
    out[0] = total_of(sum.sum, sum.lost);
    out[1] = total_of(product.sum, product.lost) * *(const double *)t->rstd;
}

static void sums_f32(size_t n, double *out, const void *dout, const void *x, const nnl_norm_terms *t) {
    if (t->each_weight)
        summed_f32(n, out, dout, x, t, true);
    else
        summed_f32(n, out, dout, x, t, false);
}

// ---- kernels: a loop for each combination that there is. Statistics of the elements come with weights of
// the elements.

static void normalize_f32(size_t n, void *y, const void *x, const nnl_norm_terms *t) {
    if (t->each_statistic)
        normalized_f32(n, y, x, t, true, true);
    else if (t->each_weight)
        normalized_f32(n, y, x, t, false, true);
    else
        normalized_f32(n, y, x, t, false, false);
}

static void grad_f32(size_t n, void *dx, const void *dout, const void *x, const nnl_norm_terms *t) {
    if (t->each_statistic)
        differentiated_f32(n, dx, dout, x, t, true, true);
    else if (t->each_weight)
        differentiated_f32(n, dx, dout, x, t, false, true);
    else
        differentiated_f32(n, dx, dout, x, t, false, false);
}

static void weights_f32(size_t n, void *dweight, void *dbias, const void *dout, const void *x,
                        const nnl_norm_terms *t) {
    if (t->each_statistic)
        gathered_f32(n, dweight, dbias, dout, x, t, true);
    else
        gathered_f32(n, dweight, dbias, dout, x, t, false);
}

static void normalize_f64(size_t n, void *y, const void *x, const nnl_norm_terms *t) {
    if (t->each_statistic)
        normalized_f64(n, y, x, t, true, true);
    else if (t->each_weight)
        normalized_f64(n, y, x, t, false, true);
    else
        normalized_f64(n, y, x, t, false, false);
}

static void grad_f64(size_t n, void *dx, const void *dout, const void *x, const nnl_norm_terms *t) {
    if (t->each_statistic)
        differentiated_f64(n, dx, dout, x, t, true, true);
    else if (t->each_weight)
        differentiated_f64(n, dx, dout, x, t, false, true);
    else
        differentiated_f64(n, dx, dout, x, t, false, false);
}

static void weights_f64(size_t n, void *dweight, void *dbias, const void *dout, const void *x,
                        const nnl_norm_terms *t) {
    if (t->each_statistic)
        gathered_f64(n, dweight, dbias, dout, x, t, true);
    else
        gathered_f64(n, dweight, dbias, dout, x, t, false);
}

const nnl_norm_kernels NNL_ISA_NAME(nnl_norm) = {
    .moments = {moments_f32, moments_f64},
    .normalize = {normalize_f32, normalize_f64},
    .grad = {grad_f32, grad_f64},
    .sums = {sums_f32, sums_f64},
    .weights = {weights_f32, weights_f64},
};
