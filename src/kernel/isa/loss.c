// loss.c: the POINTWISE_LOSS rows of ops.def: sums, single values and derivatives, in float and double.
#include "kernel/isa/lanes.h"

#include <math.h>

typedef float value_f32(float x, float t, const double *p);
typedef double value_f64(double x, double t, const double *p);

#define POINTWISE_LOSS(name, f, dx, dt, doc)                                                                 \
    NNL_INLINE float name##_f32(float x, float t, const double *p) { return (void)p, (f); }                  \
    NNL_INLINE double name##_f64(double x, double t, const double *p) { return (void)p, (f); }               \
    NNL_INLINE float name##_dx_f32(float x, float t, const double *p) {                                      \
        return (void)p, (void)x, (void)t, (dx);                                                              \
    }                                                                                                        \
    NNL_INLINE double name##_dx_f64(double x, double t, const double *p) {                                   \
        return (void)p, (void)x, (void)t, (dx);                                                              \
    }                                                                                                        \
    NNL_INLINE float name##_dt_f32(float x, float t, const double *p) {                                      \
        return (void)p, (void)x, (void)t, (dt);                                                              \
    }                                                                                                        \
    NNL_INLINE double name##_dt_f64(double x, double t, const double *p) {                                   \
        return (void)p, (void)x, (void)t, (dt);                                                              \
    }
#include "kernel/ops.def"
#undef POINTWISE_LOSS

NNL_INLINE void each_f32(size_t n, float *out, const float *x, const float *t, const double *p,
                         value_f32 *f) {
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) out[i] = f(x[i], t[i], p);
}

NNL_INLINE void each_f64(size_t n, double *out, const double *x, const double *t, const double *p,
                         value_f64 *f) {
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) out[i] = f(x[i], t[i], p);
}

// Values of a stretch are weighted and summed in lanes, the stretches in double.
NNL_INLINE void sum_f32(size_t n, float *out, const float *x, const float *t, const float *w, const double *p,
                        value_f32 *f) {
    float values[LEAF];
    double sum = 0;
    for (size_t at = 0; at < n; at += LEAF) {
        size_t count = n - at < LEAF ? n - at : LEAF;
        each_f32(count, values, x + at, t + at, p, f);
        for (size_t i = 0; w && i < count; i++) values[i] *= w[at + i];
        sum += (double)sum_leaf_f32(count, values);
    }
    *out = (float)sum;
}

NNL_INLINE void sum_f64(size_t n, double *out, const double *x, const double *t, const double *w,
                        const double *p, value_f64 *f) {
    double values[LEAF];
    total_f64 sum = {0, 0};
    for (size_t at = 0; at < n; at += LEAF) {
        size_t count = n - at < LEAF ? n - at : LEAF;
        each_f64(count, values, x + at, t + at, p, f);
        for (size_t i = 0; w && i < count; i++) values[i] *= w[at + i];
        total_add(&sum.sum, &sum.lost, sum_leaf_f64(count, values));
    }
    *out = total_of(sum.sum, sum.lost);
}

NNL_INLINE void grad_f32(size_t n, float *dx, const float *dout, size_t step, const float *x, const float *t,
                         const double *p, value_f32 *f) {
    if (step == 0) {
        const float one = dout[0];
        NNL_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = one * f(x[i], t[i], p);
    } else {
        NNL_INDEPENDENT for (size_t i = 0; i < n; i++) dx[i] = dout[i] * f(x[i], t[i], p);
    }
}

NNL_INLINE void grad_f64(size_t n, double *dx, const double *dout, size_t step, const double *x,
                         const double *t, const double *p, value_f64 *f) {
    for (size_t i = 0; i < n; i++) dx[i] = dout[i * step] * f(x[i], t[i], p);
}

#define POINTWISE_LOSS(name, f, dx, dt, doc)                                                                 \
    static void name##_sum_f32(size_t n, void *o, const void *x, const void *t, const void *w,               \
                               const double *p) {                                                            \
        sum_f32(n, o, x, t, w, p, name##_f32);                                                               \
    }                                                                                                        \
    static void name##_sum_f64(size_t n, void *o, const void *x, const void *t, const void *w,               \
                               const double *p) {                                                            \
        sum_f64(n, o, x, t, w, p, name##_f64);                                                               \
    }                                                                                                        \
    static void name##_each_f32(size_t n, void *o, const void *x, const void *t, const double *p) {          \
        each_f32(n, o, x, t, p, name##_f32);                                                                 \
    }                                                                                                        \
    static void name##_each_f64(size_t n, void *o, const void *x, const void *t, const double *p) {          \
        each_f64(n, o, x, t, p, name##_f64);                                                                 \
    }                                                                                                        \
    static void name##_grad_f32(size_t n, void *o, const void *d, size_t s, const void *x, const void *t,    \
                                const double *p) {                                                           \
        grad_f32(n, o, d, s, x, t, p, name##_dx_f32);                                                        \
    }                                                                                                        \
    static void name##_grad_f64(size_t n, void *o, const void *d, size_t s, const void *x, const void *t,    \
                                const double *p) {                                                           \
        grad_f64(n, o, d, s, x, t, p, name##_dx_f64);                                                        \
    }                                                                                                        \
    static void name##_target_f32(size_t n, void *o, const void *d, size_t s, const void *x, const void *t,  \
                                  const double *p) {                                                         \
        grad_f32(n, o, d, s, x, t, p, name##_dt_f32);                                                        \
    }                                                                                                        \
    static void name##_target_f64(size_t n, void *o, const void *d, size_t s, const void *x, const void *t,  \
                                  const double *p) {                                                         \
        grad_f64(n, o, d, s, x, t, p, name##_dt_f64);                                                        \
    }
#include "kernel/ops.def"
#undef POINTWISE_LOSS

const nnl_loss_kernels NNL_ISA_NAME(nnl_loss) = {
#define POINTWISE_LOSS(name, f, dx, dt, doc)                                                                 \
    .sum[NNL_LOSS_##name] = {name##_sum_f32, name##_sum_f64},                                                \
    .each[NNL_LOSS_##name] = {name##_each_f32, name##_each_f64},                                             \
    .grad[NNL_LOSS_##name] = {name##_grad_f32, name##_grad_f64},                                             \
    .target_grad[NNL_LOSS_##name] = {name##_target_f32, name##_target_f64},
#include "kernel/ops.def"
#undef POINTWISE_LOSS
};
