// optim.c: the arithmetic of the update rules, in PyTorch's order of operations. The equations and their
// sources stand with the optimizers in optim/. Every choice that an option makes is taken outside the loops.
#include "kernel/isa/isa.h"
#include "kernel/vmath.h"

// The gradient with its sign for maximizing, and weight decay added.
NNL_INLINE float effective_f32(float g, float p, float sign, float decay) { return sign * g + decay * p; }
NNL_INLINE double effective_f64(double g, double p, double sign, double decay) {
    return sign * g + decay * p;
}

// ---- SGD ----

NNL_INLINE void sgd_plain_f32(size_t n, float *p, const float *g, const nnl_sgd_step *s) {
    const float lr = (float)s->lr, decay = (float)s->weight_decay, sign = s->maximize ? -1.0f : 1.0f;
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) p[i] -= lr * effective_f32(g[i], p[i], sign, decay);
}

// buffer = momentum * buffer + (1 - dampening) * gradient; Nesterov steps along gradient + momentum * buffer.
NNL_INLINE void sgd_momentum_f32(size_t n, float *p, const float *g, float *buffer, const nnl_sgd_step *s) {
    const float lr = (float)s->lr, decay = (float)s->weight_decay, sign = s->maximize ? -1.0f : 1.0f;
    const float keep = s->first ? 0.0f : (float)s->momentum,
                take = s->first ? 1.0f : (float)(1 - s->dampening);
    const float ahead = s->nesterov ? (float)s->momentum : 1.0f, along = s->nesterov ? 1.0f : 0.0f;
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) {
        float d = effective_f32(g[i], p[i], sign, decay);
        float b = keep * buffer[i] + take * d;
        buffer[i] = b;
        p[i] -= lr * (along * d + ahead * b);
    }
}

static void sgd_f32(size_t n, void *p, const void *g, void *buffer, const nnl_sgd_step *s) {
    if (buffer) {
        sgd_momentum_f32(n, p, g, buffer, s);
    } else {
        sgd_plain_f32(n, p, g, s);
    }
}

static void sgd_f64(size_t n, void *param, const void *grad, void *state, const nnl_sgd_step *s) {
    double *p = param, *buffer = state, sign = s->maximize ? -1 : 1;
    const double *g = grad;
    double keep = s->first ? 0 : s->momentum, take = s->first ? 1 : 1 - s->dampening;
    for (size_t i = 0; i < n; i++) {
        double d = effective_f64(g[i], p[i], sign, s->weight_decay), b = d;
        if (buffer) buffer[i] = b = keep * buffer[i] + take * d;
        p[i] -= s->lr * (buffer && s->nesterov ? d + s->momentum * b : b);
    }
}

// ---- Adam, AdamW ----

typedef struct adam_f32 {
    float step, beta1, beta2, take1, take2, eps, root2, decay, shrink, sign; // take: 1 - beta, exactly
} adam_f32;

static adam_f32 adam_constants(const nnl_adam_step *s) {
    return (adam_f32){.step = (float)(s->lr / s->correction1),
                      .beta1 = (float)s->beta1,
                      .beta2 = (float)s->beta2,
                      .take1 = (float)(1 - s->beta1),
                      .take2 = (float)(1 - s->beta2),
                      .eps = (float)s->eps,
                      .root2 = (float)(1 / v_sqrt(s->correction2)),
                      .decay = s->decoupled ? 0.0f : (float)s->weight_decay,
                      .shrink = s->decoupled ? (float)(1 - s->lr * s->weight_decay) : 1.0f,
                      .sign = s->maximize ? -1.0f : 1.0f};
}

NNL_INLINE float adam_one_f32(float p, float g, float *m, float *v, const adam_f32 *c) {
    float shrunk = p * c->shrink, d = effective_f32(g, shrunk, c->sign, c->decay);
    *m = c->beta1 * *m + c->take1 * d;
    *v = c->beta2 * *v + c->take2 * d * d;
    return shrunk;
}

NNL_INLINE void adam_plain_f32(size_t n, float *p, const float *g, float *m, float *v, adam_f32 c) {
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) {
        float m_new = m[i], v_new = v[i], shrunk = adam_one_f32(p[i], g[i], &m_new, &v_new, &c);
        m[i] = m_new;
        v[i] = v_new;
        p[i] = shrunk - c.step * m_new / (v_sqrt(v_new) * c.root2 + c.eps);
    }
}

NNL_INLINE void adam_max_f32(size_t n, float *p, const float *g, float *m, float *v, float *v_max,
                             adam_f32 c) {
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) {
        float m_new = m[i], v_new = v[i], shrunk = adam_one_f32(p[i], g[i], &m_new, &v_new, &c);
        float top = v_max[i] > v_new ? v_max[i] : v_new;
        m[i] = m_new;
        v[i] = v_new;
        v_max[i] = top;
        p[i] = shrunk - c.step * m_new / (v_sqrt(top) * c.root2 + c.eps);
    }
}

static void adam_any_f32(size_t n, void *p, const void *g, void *m, void *v, void *v_max,
                         const nnl_adam_step *s) {
    if (v_max) {
        adam_max_f32(n, p, g, m, v, v_max, adam_constants(s));
    } else {
        adam_plain_f32(n, p, g, m, v, adam_constants(s));
    }
}

static void adam_any_f64(size_t n, void *param, const void *grad, void *first, void *second, void *largest,
                         const nnl_adam_step *s) {
    double *p = param, *m = first, *v = second, *v_max = largest;
    const double *g = grad;
    double root2 = v_sqrt(s->correction2), step = s->lr / s->correction1, sign = s->maximize ? -1 : 1;
    double decay = s->decoupled ? 0 : s->weight_decay,
           shrink = s->decoupled ? 1 - s->lr * s->weight_decay : 1;
    for (size_t i = 0; i < n; i++) {
        double shrunk = p[i] * shrink, d = effective_f64(g[i], shrunk, sign, decay);
        m[i] = s->beta1 * m[i] + (1 - s->beta1) * d;
        v[i] = s->beta2 * v[i] + (1 - s->beta2) * d * d;
        if (v_max && v[i] > v_max[i]) v_max[i] = v[i];
        p[i] = shrunk - step * m[i] / (v_sqrt(v_max ? v_max[i] : v[i]) / root2 + s->eps);
    }
}

// ---- RMSprop ----

NNL_INLINE void rmsprop_plain_f32(size_t n, float *p, const float *g, float *v, const nnl_rmsprop_step *s) {
    const float lr = (float)s->lr, alpha = (float)s->alpha, eps = (float)s->eps,
                decay = (float)s->weight_decay;
    const float sign = s->maximize ? -1.0f : 1.0f, take = (float)(1 - s->alpha);
    NNL_INDEPENDENT for (size_t i = 0; i < n; i++) {
        float d = effective_f32(g[i], p[i], sign, decay), v_new = alpha * v[i] + take * d * d;
        v[i] = v_new;
        p[i] -= lr * d / (v_sqrt(v_new) + eps);
    }
}

static void rmsprop_full_f32(size_t n, float *p, const float *g, float *v, float *mean, float *buffer,
                             const nnl_rmsprop_step *s) {
    const float lr = (float)s->lr, alpha = (float)s->alpha, eps = (float)s->eps,
                decay = (float)s->weight_decay;
    const float sign = s->maximize ? -1.0f : 1.0f, momentum = (float)s->momentum;
    const float take = (float)(1 - s->alpha);
    for (size_t i = 0; i < n; i++) {
        float d = effective_f32(g[i], p[i], sign, decay), spread = v[i] = alpha * v[i] + take * d * d;
        if (mean) {
            mean[i] = alpha * mean[i] + take * d;
            spread -= mean[i] * mean[i];
        }
        float change = d / (v_sqrt(spread) + eps);
        if (buffer) buffer[i] = change = momentum * buffer[i] + change;
        p[i] -= lr * change;
    }
}

static void rmsprop_f32(size_t n, void *p, const void *g, void *v, void *mean, void *buffer,
                        const nnl_rmsprop_step *s) {
    if (mean || buffer) {
        rmsprop_full_f32(n, p, g, v, mean, buffer, s);
    } else {
        rmsprop_plain_f32(n, p, g, v, s);
    }
}

static void rmsprop_f64(size_t n, void *param, const void *grad, void *second, void *first, void *state,
                        const nnl_rmsprop_step *s) {
    double *p = param, *v = second, *mean = first, *buffer = state, sign = s->maximize ? -1 : 1;
    const double *g = grad;
    for (size_t i = 0; i < n; i++) {
        double d = effective_f64(g[i], p[i], sign, s->weight_decay);
        double spread = v[i] = s->alpha * v[i] + (1 - s->alpha) * d * d;
        if (mean) {
            mean[i] = s->alpha * mean[i] + (1 - s->alpha) * d;
            spread -= mean[i] * mean[i];
        }
        double change = d / (v_sqrt(spread) + s->eps);
        if (buffer) buffer[i] = change = s->momentum * buffer[i] + change;
        p[i] -= s->lr * change;
    }
}

const nnl_optim_kernels NNL_ISA_NAME(nnl_optim) = {
    .sgd = {sgd_f32, sgd_f64},
    .adam = {adam_any_f32, adam_any_f64},
    .rmsprop = {rmsprop_f32, rmsprop_f64},
};
