// adaptive.c: update rules with a rate for each element, each one pass over a parameter and its state. What
// comes before a loop is in double, the loop in the parameter's type. The rules are told in src/optim/.
#include "kernel/isa/isa.h"
#include "kernel/vmath.h"

typedef struct adaptive_f32 {
    float rate, decay, beta1, fresh1, beta2, fresh2, eps, more, sign;
} adaptive_f32;

NNL_INLINE adaptive_f32 adaptive_numbers_f32(const nnl_adaptive_step *s) {
    return (adaptive_f32){
        .rate = (float)s->rate,
        .decay = (float)s->weight_decay,
        .beta1 = (float)s->beta1,
        .fresh1 = (float)(1 - s->beta1),
        .beta2 = (float)s->beta2,
        .fresh2 = (float)(1 - s->beta2),
        .eps = (float)s->eps,
        .more = (float)s->more,
        .sign = s->maximize ? -1 : 1,
    };
}

// rate: of the gradient; more: of its average; the root's correction is in eps and both rates already
static void nadam_step_f32(size_t n, void *param, const void *grad, void *average, void *square,
                           const nnl_adaptive_step *step) {
    const adaptive_f32 s = adaptive_numbers_f32(step);
    float *p = param, *m = average, *v = square;
    const float *g = grad;
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float d = s.sign * g[i] + s.decay * p[i];
        m[i] = s.beta1 * m[i] + s.fresh1 * d;
        v[i] = s.beta2 * v[i] + s.fresh2 * d * d;
        p[i] -= (s.rate * d + s.more * m[i]) / (v_sqrt(v[i]) + s.eps);
    }
}

static void adagrad_step_f32(size_t n, void *param, const void *grad, void *sum, void *unused,
                             const nnl_adaptive_step *step) {
    const adaptive_f32 s = adaptive_numbers_f32(step);
    float *p = param, *v = sum;
    const float *g = grad;
    (void)unused;
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float d = s.sign * g[i] + s.decay * p[i];
        v[i] += d * d;
        p[i] -= s.rate * d / (v_sqrt(v[i]) + s.eps);
    }
}

// beta2: rho
static void adadelta_step_f32(size_t n, void *param, const void *grad, void *square, void *moved,
                              const nnl_adaptive_step *step) {
    const adaptive_f32 s = adaptive_numbers_f32(step);
    float *p = param, *v = square, *a = moved;
    const float *g = grad;
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float d = s.sign * g[i] + s.decay * p[i];
        v[i] = s.beta2 * v[i] + s.fresh2 * d * d;
        float move = v_sqrt(a[i] + s.eps) / v_sqrt(v[i] + s.eps) * d;
        a[i] = s.beta2 * a[i] + s.fresh2 * move * move;
        p[i] -= s.rate * move;
    }
}

NNL_INLINE float direction_f32(float x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

// more: what the parameter keeps
static void lion_step_f32(size_t n, void *param, const void *grad, void *average, void *unused,
                          const nnl_adaptive_step *step) {
    const adaptive_f32 s = adaptive_numbers_f32(step);
    float *p = param, *m = average;
    const float *g = grad;
    (void)unused;
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float d = s.sign * g[i];
        p[i] = s.more * p[i] - s.rate * direction_f32(s.beta1 * m[i] + s.fresh1 * d);
        m[i] = s.beta2 * m[i] + s.fresh2 * d;
    }
}

typedef struct adaptive_f64 {
    double rate, decay, beta1, fresh1, beta2, fresh2, eps, more, sign;
} adaptive_f64;

NNL_INLINE adaptive_f64 adaptive_numbers_f64(const nnl_adaptive_step *s) {
    return (adaptive_f64){
        .rate = s->rate,
        .decay = s->weight_decay,
        .beta1 = s->beta1,
        .fresh1 = 1 - s->beta1,
        .beta2 = s->beta2,
        .fresh2 = 1 - s->beta2,
        .eps = s->eps,
        .more = s->more,
        .sign = s->maximize ? -1 : 1,
    };
}

// rate: of the gradient; more: of its average; the root's correction is in eps and both rates already
static void nadam_step_f64(size_t n, void *param, const void *grad, void *average, void *square,
                           const nnl_adaptive_step *step) {
    const adaptive_f64 s = adaptive_numbers_f64(step);
    double *p = param, *m = average, *v = square;
    const double *g = grad;
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double d = s.sign * g[i] + s.decay * p[i];
        m[i] = s.beta1 * m[i] + s.fresh1 * d;
        v[i] = s.beta2 * v[i] + s.fresh2 * d * d;
        p[i] -= (s.rate * d + s.more * m[i]) / (v_sqrt(v[i]) + s.eps);
    }
}

static void adagrad_step_f64(size_t n, void *param, const void *grad, void *sum, void *unused,
                             const nnl_adaptive_step *step) {
    const adaptive_f64 s = adaptive_numbers_f64(step);
    double *p = param, *v = sum;
    const double *g = grad;
    (void)unused;
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double d = s.sign * g[i] + s.decay * p[i];
        v[i] += d * d;
        p[i] -= s.rate * d / (v_sqrt(v[i]) + s.eps);
    }
}

// beta2: rho
static void adadelta_step_f64(size_t n, void *param, const void *grad, void *square, void *moved,
                              const nnl_adaptive_step *step) {
    const adaptive_f64 s = adaptive_numbers_f64(step);
    double *p = param, *v = square, *a = moved;
    const double *g = grad;
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double d = s.sign * g[i] + s.decay * p[i];
        v[i] = s.beta2 * v[i] + s.fresh2 * d * d;
        double move = v_sqrt(a[i] + s.eps) / v_sqrt(v[i] + s.eps) * d;
        a[i] = s.beta2 * a[i] + s.fresh2 * move * move;
        p[i] -= s.rate * move;
    }
}

NNL_INLINE double direction_f64(double x) { return x > 0 ? 1 : x < 0 ? -1 : x; }

// more: what the parameter keeps
static void lion_step_f64(size_t n, void *param, const void *grad, void *average, void *unused,
                          const nnl_adaptive_step *step) {
    const adaptive_f64 s = adaptive_numbers_f64(step);
    double *p = param, *m = average;
    const double *g = grad;
    (void)unused;
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double d = s.sign * g[i];
        p[i] = s.more * p[i] - s.rate * direction_f64(s.beta1 * m[i] + s.fresh1 * d);
        m[i] = s.beta2 * m[i] + s.fresh2 * d;
    }
}

const nnl_adaptive_kernels NNL_ISA_NAME(nnl_adaptive) = {
    .nadam = {nadam_step_f32, nadam_step_f64, NULL},
    .adagrad = {adagrad_step_f32, adagrad_step_f64, NULL},
    .adadelta = {adadelta_step_f32, adadelta_step_f64, NULL},
    .lion = {lion_step_f32, lion_step_f64, NULL},
};
