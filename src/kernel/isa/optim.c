// optim.c: the update rules, each one pass over a parameter and its state. Options that change the arithmetic
// are constants of an inlined loop, so that no loop has a branch. The order of operations is PyTorch 1.13's.
#include "kernel/isa/isa.h"
#include "kernel/vmath.h"

// SGD with momentum (Sutskever et al. 2013, as PyTorch has it): buffer = momentum * buffer + (1 - dampening)
// * g.
typedef struct sgd_f32 {
    float lr, momentum, fresh, decay, sign;
} sgd_f32;

NNL_INLINE sgd_f32 sgd_numbers_f32(const nnl_sgd_step *s) {
    return (sgd_f32){(float)s->lr, (float)s->momentum, (float)(1 - s->dampening), (float)s->weight_decay,
                     s->maximize ? -1 : 1};
}

NNL_INLINE void sgd_plain_f32(size_t n, float *p, const float *g, sgd_f32 s) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) p[i] -= s.lr * (s.sign * g[i] + s.decay * p[i]);
}

NNL_INLINE void sgd_momentum_f32(size_t n, float *p, const float *g, float *buffer, sgd_f32 s, bool first,
                                 bool nesterov) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float d = s.sign * g[i] + s.decay * p[i];
        float b = first ? d : s.momentum * buffer[i] + s.fresh * d;
        buffer[i] = b;
        p[i] -= s.lr * (nesterov ? d + s.momentum * b : b);
    }
}

static void sgd_step_f32(size_t n, void *p, const void *g, void *buffer, const nnl_sgd_step *step) {
    const sgd_f32 s = sgd_numbers_f32(step);
    if (!buffer || step->momentum == 0)
        sgd_plain_f32(n, p, g, s);
    else if (step->first && step->nesterov)
        sgd_momentum_f32(n, p, g, buffer, s, true, true);
    else if (step->first)
        sgd_momentum_f32(n, p, g, buffer, s, true, false);
    else if (step->nesterov)
        sgd_momentum_f32(n, p, g, buffer, s, false, true);
    else
        sgd_momentum_f32(n, p, g, buffer, s, false, false);
}

// Adam (Kingma and Ba 2014), AdamW (Loshchilov and Hutter 2017: decay applied to p itself), and AMSGrad
// (Reddi et al. 2018). Of the two decays one is always 0, which changes nothing.
typedef struct adam_f32 {
    float rate, keep, decay, beta1, fresh1, beta2, fresh2, root2, eps, sign;
} adam_f32;

NNL_INLINE adam_f32 adam_numbers_f32(const nnl_adam_step *s) {
    return (adam_f32){
        .rate = (float)(s->lr / s->correction1),
        .keep = (float)(s->decoupled ? 1 - s->lr * s->weight_decay : 1),
        .decay = (float)(s->decoupled ? 0 : s->weight_decay),
        .beta1 = (float)s->beta1,
        .fresh1 = (float)(1 - s->beta1),
        .beta2 = (float)s->beta2,
        .fresh2 = (float)(1 - s->beta2),
        .root2 = (float)sqrt(s->correction2),
        .eps = (float)s->eps,
        .sign = s->maximize ? -1 : 1,
    };
}

NNL_INLINE void adam_loop_f32(size_t n, float *p, const float *g, float *m, float *v, float *top, adam_f32 s,
                              bool amsgrad) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float q = s.keep * p[i];
        float d = s.sign * g[i] + s.decay * q;
        m[i] = s.beta1 * m[i] + s.fresh1 * d;
        v[i] = s.beta2 * v[i] + s.fresh2 * d * d;
        float largest = amsgrad ? v_max(top[i], v[i]) : v[i];
        if (amsgrad) top[i] = largest;
        p[i] = q - s.rate * m[i] / (v_sqrt(largest) / s.root2 + s.eps);
    }
}

static void adam_step_f32(size_t n, void *p, const void *g, void *m, void *v, void *top,
                          const nnl_adam_step *step) {
    const adam_f32 s = adam_numbers_f32(step);
    if (top)
        adam_loop_f32(n, p, g, m, v, top, s, true);
    else
        adam_loop_f32(n, p, g, m, v, NULL, s, false);
}

// RMSprop (Tieleman and Hinton 2012); centered (Graves 2013): the variance instead of the mean square.
typedef struct rmsprop_f32 {
    float lr, alpha, fresh, eps, decay, momentum, sign;
} rmsprop_f32;

NNL_INLINE rmsprop_f32 rmsprop_numbers_f32(const nnl_rmsprop_step *s) {
    return (rmsprop_f32){(float)s->lr,           (float)s->alpha,    (float)(1 - s->alpha), (float)s->eps,
                         (float)s->weight_decay, (float)s->momentum, s->maximize ? -1 : 1};
}

NNL_INLINE void rmsprop_loop_f32(size_t n, float *p, const float *g, float *v, float *mean, float *buffer,
                                 rmsprop_f32 s, bool centered, bool momentum) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float d = s.sign * g[i] + s.decay * p[i];
        v[i] = s.alpha * v[i] + s.fresh * d * d;
        if (centered) mean[i] = s.alpha * mean[i] + s.fresh * d;
        float spread = v_sqrt(centered ? v[i] - mean[i] * mean[i] : v[i]) + s.eps;
        if (momentum) buffer[i] = s.momentum * buffer[i] + d / spread;
        p[i] -= momentum ? s.lr * buffer[i] : s.lr * d / spread;
    }
}

static void rmsprop_step_f32(size_t n, void *p, const void *g, void *v, void *mean, void *buffer,
                             const nnl_rmsprop_step *step) {
    const rmsprop_f32 s = rmsprop_numbers_f32(step);
    if (mean && buffer)
        rmsprop_loop_f32(n, p, g, v, mean, buffer, s, true, true);
    else if (mean)
        rmsprop_loop_f32(n, p, g, v, mean, NULL, s, true, false);
    else if (buffer)
        rmsprop_loop_f32(n, p, g, v, NULL, buffer, s, false, true);
    else
        rmsprop_loop_f32(n, p, g, v, NULL, NULL, s, false, false);
}

// The same in double.
typedef struct sgd_f64 {
    double lr, momentum, fresh, decay, sign;
} sgd_f64;

NNL_INLINE sgd_f64 sgd_numbers_f64(const nnl_sgd_step *s) {
    return (sgd_f64){s->lr, s->momentum, (1 - s->dampening), s->weight_decay, s->maximize ? -1 : 1};
}

NNL_INLINE void sgd_plain_f64(size_t n, double *p, const double *g, sgd_f64 s) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) p[i] -= s.lr * (s.sign * g[i] + s.decay * p[i]);
}

NNL_INLINE void sgd_momentum_f64(size_t n, double *p, const double *g, double *buffer, sgd_f64 s, bool first,
                                 bool nesterov) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double d = s.sign * g[i] + s.decay * p[i];
        double b = first ? d : s.momentum * buffer[i] + s.fresh * d;
        buffer[i] = b;
        p[i] -= s.lr * (nesterov ? d + s.momentum * b : b);
    }
}

static void sgd_step_f64(size_t n, void *p, const void *g, void *buffer, const nnl_sgd_step *step) {
    const sgd_f64 s = sgd_numbers_f64(step);
    if (!buffer || step->momentum == 0)
        sgd_plain_f64(n, p, g, s);
    else if (step->first && step->nesterov)
        sgd_momentum_f64(n, p, g, buffer, s, true, true);
    else if (step->first)
        sgd_momentum_f64(n, p, g, buffer, s, true, false);
    else if (step->nesterov)
        sgd_momentum_f64(n, p, g, buffer, s, false, true);
    else
        sgd_momentum_f64(n, p, g, buffer, s, false, false);
}

typedef struct adam_f64 {
    double rate, keep, decay, beta1, fresh1, beta2, fresh2, root2, eps, sign;
} adam_f64;

NNL_INLINE adam_f64 adam_numbers_f64(const nnl_adam_step *s) {
    return (adam_f64){
        .rate = (s->lr / s->correction1),
        .keep = (s->decoupled ? 1 - s->lr * s->weight_decay : 1),
        .decay = (s->decoupled ? 0 : s->weight_decay),
        .beta1 = s->beta1,
        .fresh1 = (1 - s->beta1),
        .beta2 = s->beta2,
        .fresh2 = (1 - s->beta2),
        .root2 = sqrt(s->correction2),
        .eps = s->eps,
        .sign = s->maximize ? -1 : 1,
    };
}

NNL_INLINE void adam_loop_f64(size_t n, double *p, const double *g, double *m, double *v, double *top,
                              adam_f64 s, bool amsgrad) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double q = s.keep * p[i];
        double d = s.sign * g[i] + s.decay * q;
        m[i] = s.beta1 * m[i] + s.fresh1 * d;
        v[i] = s.beta2 * v[i] + s.fresh2 * d * d;
        double largest = amsgrad ? v_max(top[i], v[i]) : v[i];
        if (amsgrad) top[i] = largest;
        p[i] = q - s.rate * m[i] / (v_sqrt(largest) / s.root2 + s.eps);
    }
}

static void adam_step_f64(size_t n, void *p, const void *g, void *m, void *v, void *top,
                          const nnl_adam_step *step) {
    const adam_f64 s = adam_numbers_f64(step);
    if (top)
        adam_loop_f64(n, p, g, m, v, top, s, true);
    else
        adam_loop_f64(n, p, g, m, v, NULL, s, false);
}

typedef struct rmsprop_f64 {
    double lr, alpha, fresh, eps, decay, momentum, sign;
} rmsprop_f64;

NNL_INLINE rmsprop_f64 rmsprop_numbers_f64(const nnl_rmsprop_step *s) {
    return (rmsprop_f64){s->lr,           s->alpha,    (1 - s->alpha),      s->eps,
                         s->weight_decay, s->momentum, s->maximize ? -1 : 1};
}

NNL_INLINE void rmsprop_loop_f64(size_t n, double *p, const double *g, double *v, double *mean,
                                 double *buffer, rmsprop_f64 s, bool centered, bool momentum) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        double d = s.sign * g[i] + s.decay * p[i];
        v[i] = s.alpha * v[i] + s.fresh * d * d;
        if (centered) mean[i] = s.alpha * mean[i] + s.fresh * d;
        double spread = v_sqrt(centered ? v[i] - mean[i] * mean[i] : v[i]) + s.eps;
        if (momentum) buffer[i] = s.momentum * buffer[i] + d / spread;
        p[i] -= momentum ? s.lr * buffer[i] : s.lr * d / spread;
    }
}

static void rmsprop_step_f64(size_t n, void *p, const void *g, void *v, void *mean, void *buffer,
                             const nnl_rmsprop_step *step) {
    const rmsprop_f64 s = rmsprop_numbers_f64(step);
    if (mean && buffer)
        rmsprop_loop_f64(n, p, g, v, mean, buffer, s, true, true);
    else if (mean)
        rmsprop_loop_f64(n, p, g, v, mean, NULL, s, true, false);
    else if (buffer)
        rmsprop_loop_f64(n, p, g, v, NULL, buffer, s, false, true);
    else
        rmsprop_loop_f64(n, p, g, v, NULL, NULL, s, false, false);
}

const nnl_optim_kernels NNL_ISA_NAME(nnl_optim) = {
    .sgd = {sgd_step_f32, sgd_step_f64, NULL},
    .adam = {adam_step_f32, adam_step_f64, NULL},
    .rmsprop = {rmsprop_step_f32, rmsprop_step_f64, NULL},
};
