// test_training_kernels.c: what training is made of beside products: softmax and scans of rows, losses,
// random tensors, update rules. For every instruction set that runs here, in float and double.
#include "base/random.h"
#include "check.h"
#include "kernel/kernel.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define N 2500 // more than two leaves, and no multiple of anything

typedef struct numbers {
    float f32[N];
    double f64[N];
} numbers;

static double at(const numbers *x, nnl_compute type, size_t i) {
    return type == NNL_IN_FLOAT ? (double)x->f32[i] : x->f64[i];
}

static void *data(numbers *x, nnl_compute type) { return type == NNL_IN_FLOAT ? (void *)x->f32 : x->f64; }

static double tolerance(nnl_compute type) { return type == NNL_IN_FLOAT ? 2e-6 : 1e-13; }

// Floats between low and high, the same in both types.
static void fill(numbers *x, double low, double high, uint64_t seed) {
    nnl_random random;
    nnl_random_seed(&random, seed);
    for (size_t i = 0; i < N; i++) {
        x->f32[i] = (float)(low + (high - low) * nnl_random_double(&random));
        x->f64[i] = (double)x->f32[i];
    }
}

static numbers x, y, z, w, out;

// Rows.

static double log_of_sum(nnl_compute type, size_t n) {
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++) max = fmax(max, at(&x, type, i));
    for (size_t i = 0; i < n; i++) sum += exp(at(&x, type, i) - max);
    return max + log(sum);
}

static void check_softmax(const nnl_rows_kernels *rows, nnl_compute type, size_t n) {
    double log_sum = log_of_sum(type, n), dot = 0, sum = 0;
    rows->logsumexp[type](1, n, data(&out, type), data(&x, type));
    CHECK_NEAR(at(&out, type, 0), log_sum, tolerance(type));
    rows->softmax[type](1, n, data(&y, type), data(&x, type));
    rows->log_softmax[type](1, n, data(&z, type), data(&x, type));
    for (size_t i = 0; i < n; i++) {
        CHECK_NEAR(at(&y, type, i), exp(at(&x, type, i) - log_sum), tolerance(type));
        CHECK_NEAR(at(&z, type, i), at(&x, type, i) - log_sum, tolerance(type));
        dot += at(&w, type, i) * at(&y, type, i);
        sum += at(&w, type, i);
    }
    rows->softmax_grad[type](1, n, data(&out, type), data(&w, type), data(&y, type));
    for (size_t i = 0; i < n; i++)
        CHECK_NEAR(at(&out, type, i), at(&y, type, i) * (at(&w, type, i) - dot), tolerance(type));
    rows->log_softmax_grad[type](1, n, data(&out, type), data(&w, type), data(&z, type));
    for (size_t i = 0; i < n; i++)
        CHECK_NEAR(at(&out, type, i), at(&w, type, i) - at(&y, type, i) * sum, 20 * tolerance(type));
}

static void test_softmax(const nnl_kernels *k) {
    check_that("softmax, its logarithm and their gradients follow their equations in rows of any length");
    const size_t lengths[] = {1, 2, 7, 10, 33, 1000, 1024, 1025, N};
    for (size_t i = 0; i < COUNT(lengths); i++)
        for (int type = NNL_IN_FLOAT; type <= NNL_IN_DOUBLE; type++) {
            fill(&x, -20, 20, i);
            fill(&w, -1, 1, i + 100);
            check_softmax(k->rows, (nnl_compute)type, lengths[i]);
        }
}

static void test_softmax_extremes(const nnl_kernels *k) {
    check_that("rows of large values neither overflow nor vanish, and infinite ones behave as in PyTorch");
    const float large[3] = {1e4f, 1e4f, -1e4f}, none[3] = {-INFINITY, -INFINITY, -INFINITY};
    const float some[3] = {-INFINITY, 0, 0}, top[3] = {INFINITY, 0, 1}, nan[3] = {0, NAN, 1};
    float result[3];
    k->rows->softmax[NNL_IN_FLOAT](1, 3, result, large);
    CHECK(result[0] == 0.5f && result[1] == 0.5f && result[2] == 0);
    k->rows->logsumexp[NNL_IN_FLOAT](1, 3, result, large);
    CHECK_NEAR(result[0], 10000.693147, 1e-6);
    k->rows->softmax[NNL_IN_FLOAT](1, 3, result, none);
    CHECK(isnan(result[0]) && isnan(result[2]));
    k->rows->logsumexp[NNL_IN_FLOAT](1, 3, result, none);
    CHECK(result[0] == -INFINITY);
    k->rows->softmax[NNL_IN_FLOAT](1, 3, result, some);
    CHECK(result[0] == 0 && result[1] == 0.5f);
    k->rows->log_softmax[NNL_IN_FLOAT](1, 3, result, some);
    CHECK(result[0] == -INFINITY && result[1] < -0.69f);
    k->rows->softmax[NNL_IN_FLOAT](1, 3, result, top);
    CHECK(isnan(result[0]));
    k->rows->logsumexp[NNL_IN_FLOAT](1, 3, result, top);
    CHECK(result[0] == INFINITY);
    k->rows->softmax[NNL_IN_FLOAT](1, 3, result, nan);
    CHECK(isnan(result[0]) && isnan(result[1]) && isnan(result[2]));
    k->rows->logsumexp[NNL_IN_FLOAT](1, 3, result, nan);
    CHECK(isnan(result[0]));
}

static void test_in_place(const nnl_kernels *k) {
    check_that("softmax may be written over its input");
    fill(&x, -3, 3, 1);
    k->rows->softmax[NNL_IN_FLOAT](1, N, y.f32, x.f32);
    k->rows->softmax[NNL_IN_FLOAT](1, N, x.f32, x.f32);
    CHECK(memcmp(x.f32, y.f32, sizeof x.f32) == 0);
}

static void test_scans(const nnl_kernels *k) {
    check_that("running sums and products follow the row, and wrap around in integers");
    double sum = 0, product = 1;
    fill(&x, 0.5, 1.4, 3);
    for (int type = NNL_IN_FLOAT; type <= NNL_IN_DOUBLE; type++, sum = 0, product = 1) {
        k->rows->cumsum[type](100, data(&y, (nnl_compute)type), data(&x, (nnl_compute)type),
                              &(nnl_carry){0, 0});
        k->rows->cumprod[type](100, data(&z, (nnl_compute)type), data(&x, (nnl_compute)type),
                               &(nnl_carry){1, 1});
        for (size_t i = 0; i < 100; i++) {
            sum += x.f64[i];
            product *= x.f64[i];
            CHECK_NEAR(at(&y, (nnl_compute)type, i), sum, 1e-5);
            CHECK_NEAR(at(&z, (nnl_compute)type, i), product, 1e-5);
        }
    }
    const int64_t whole[4] = {3, -2, INT64_MAX, 5};
    int64_t sums[4], products[4];
    k->rows->cumsum[NNL_IN_INT](4, sums, whole, &(nnl_carry){0, 0});
    k->rows->cumprod[NNL_IN_INT](4, products, whole, &(nnl_carry){1, 1});
    CHECK(sums[0] == 3 && sums[1] == 1 && sums[2] == INT64_MIN && sums[3] == INT64_MIN + 5);
    CHECK(products[0] == 3 && products[1] == -6 && products[2] == 6);
}

// Losses.

static double loss_value(int loss, double p, double t) {
    switch (loss) {
    case NNL_LOSS_mse:
        return (p - t) * (p - t);
    case NNL_LOSS_l1:
        return fabs(p - t);
    case NNL_LOSS_bce:
        return -(t * fmax(log(p), -100) + (1 - t) * fmax(log(1 - p), -100));
    case NNL_LOSS_bce_with_logits:
        return log1p(exp(-fabs(p))) + fmax(p, 0) - t * p;
    default:
        return NAN;
    }
}

static const struct {
    int loss;
    double low, high;
} losses[] = {{NNL_LOSS_mse, -3, 3},
              {NNL_LOSS_l1, -3, 3},
              {NNL_LOSS_bce, 0.01, 0.99},
              {NNL_LOSS_bce_with_logits, -9, 9}};

static void check_loss(const nnl_loss_kernels *k, int loss, nnl_compute type, size_t n) {
    double sum = 0, weighted = 0;
    k->each[loss][type](n, data(&out, type), data(&x, type), data(&y, type), NULL);
    for (size_t i = 0; i < n; i++) {
        double value = loss_value(loss, at(&x, type, i), at(&y, type, i));
        CHECK_NEAR(at(&out, type, i), value, 20 * tolerance(type));
        sum += value;
        weighted += value * at(&w, type, i);
    }
    k->sum[loss][type](n, data(&out, type), data(&x, type), data(&y, type), NULL, NULL);
    CHECK_NEAR(at(&out, type, 0), sum, 2 * tolerance(type));
    k->sum[loss][type](n, data(&out, type), data(&x, type), data(&y, type), data(&w, type), NULL);
    CHECK_NEAR(at(&out, type, 0), weighted, 2 * tolerance(type));
}

static void test_loss_values(const nnl_kernels *k) {
    check_that("losses follow their equations, one by one, summed, and weighted");
    for (size_t l = 0; l < COUNT(losses); l++)
        for (int type = NNL_IN_FLOAT; type <= NNL_IN_DOUBLE; type++) {
            fill(&x, losses[l].low, losses[l].high, 5);
            fill(&y, 0, 1, 6);
            fill(&w, 0, 2, 7);
            check_loss(k->loss, losses[l].loss, (nnl_compute)type, N);
            check_loss(k->loss, losses[l].loss, (nnl_compute)type, 3);
            check_loss(k->loss, losses[l].loss, (nnl_compute)type, 0);
        }
}

static void check_loss_grad(const nnl_loss_kernels *k, int loss, nnl_compute type) {
    const double h = 1e-6;
    k->grad[loss][type](N, data(&z, type), data(&w, type), 1, data(&x, type), data(&y, type), NULL);
    k->target_grad[loss][type](N, data(&out, type), data(&w, type), 0, data(&x, type), data(&y, type), NULL);
    for (size_t i = 0; i < N; i++) {
        double p = x.f64[i], t = y.f64[i];
        if (loss == NNL_LOSS_l1 && fabs(p - t) < 2 * h) continue;
        double by_p = (loss_value(loss, p + h, t) - loss_value(loss, p - h, t)) / (2 * h);
        double by_t = (loss_value(loss, p, t + h) - loss_value(loss, p, t - h)) / (2 * h);
        CHECK_NEAR(at(&z, type, i), w.f64[i] * by_p, 1e-5);
        CHECK_NEAR(at(&out, type, i), w.f64[0] * by_t, 1e-5);
    }
}

static void test_loss_grads(const nnl_kernels *k) {
    check_that("the derivatives of losses agree with differences, times one number or an array");
    for (size_t l = 0; l < COUNT(losses); l++)
        for (int type = NNL_IN_FLOAT; type <= NNL_IN_DOUBLE; type++) {
            fill(&x, losses[l].low, losses[l].high, 8);
            fill(&y, 0, 1, 9);
            fill(&w, 0.5, 2, 10);
            check_loss_grad(k->loss, losses[l].loss, (nnl_compute)type);
        }
}

// Random tensors.

static void test_uniform_words(const nnl_kernels *k) {
    check_that("element i of a uniform draw is made of word i alone, for double of words 2i and 2i + 1");
    k->random->uniform[NNL_IN_FLOAT](N, x.f32, 77, 5, 0, 1);
    k->random->uniform[NNL_IN_DOUBLE](N, x.f64, 77, 5, 0, 1);
    for (size_t i = 0; i < N; i++) {
        uint32_t words[4], pair[4];
        nnl_random_block(77, 5 + i / 4, words);
        nnl_random_block(77, 5 + i / 2, pair);
        CHECK((double)x.f32[i] == (double)(words[i % 4] >> 8) * 0x1p-24);
        CHECK_NEAR(x.f64[i], (double)pair[i % 2 * 2] * 0x1p-32, 1e-9);
    }
}

// A tensor drawn in two parts, cut at a multiple of four elements, has the same bits as one drawn whole.
static void test_cuts(const nnl_kernels *k) {
    check_that("draws do not depend on where the work is cut");
    for (size_t cut = 0; cut <= 600; cut += 100) {
        k->random->uniform[NNL_IN_FLOAT](N, x.f32, 1, 9, -1, 1);
        k->random->uniform[NNL_IN_FLOAT](cut, y.f32, 1, 9, -1, 1);
        k->random->uniform[NNL_IN_FLOAT](N - cut, y.f32 + cut, 1, 9 + cut / 4, -1, 1);
        CHECK(memcmp(x.f32, y.f32, sizeof x.f32) == 0);
        k->random->normal[NNL_IN_FLOAT](N, x.f32, 1, 9, 0, 1);
        k->random->normal[NNL_IN_FLOAT](cut, y.f32, 1, 9, 0, 1);
        k->random->normal[NNL_IN_FLOAT](N - cut, y.f32 + cut, 1, 9 + cut / 4, 0, 1);
        CHECK(memcmp(x.f32, y.f32, sizeof x.f32) == 0);
        k->random->normal[NNL_IN_DOUBLE](N, x.f64, 1, 9, 0, 1);
        k->random->normal[NNL_IN_DOUBLE](cut, y.f64, 1, 9, 0, 1);
        k->random->normal[NNL_IN_DOUBLE](N - cut, y.f64 + cut, 1, 9 + cut / 2, 0, 1);
        CHECK(memcmp(x.f64, y.f64, sizeof x.f64) == 0);
    }
}

static void test_uniform_range(const nnl_kernels *k) {
    check_that("uniform draws reach from low to just below high, even where rounding would reach it");
    float few = INFINITY, many = -INFINITY;
    for (uint64_t block = 0; block < 40000; block += N / 4) {
        k->random->uniform[NNL_IN_FLOAT](N, x.f32, 3, block, 1000, 1001);
        for (size_t i = 0; i < N; i++) few = fminf(few, x.f32[i]), many = fmaxf(many, x.f32[i]);
    }
    CHECK(few >= 1000 && few < 1000.001f && many < 1001 && many > 1000.999f);
    k->random->uniform[NNL_IN_FLOAT](N, x.f32, 3, 0, 2, 2);
    for (size_t i = 0; i < N; i++) CHECK(x.f32[i] == 2);
}

static void check_moments(const double sums[4], double count, double mean, double variance, double fourth) {
    CHECK_NEAR(sums[0] / count, mean, 0.01);
    CHECK_NEAR(sums[1] / count, variance, 0.015);
    CHECK_NEAR(sums[3] / count, fourth, 0.05);
}

static void test_normal_moments(const nnl_kernels *k) {
    check_that("normal draws have the mean, the variance and the tails of a normal distribution");
    for (int type = NNL_IN_FLOAT; type <= NNL_IN_DOUBLE; type++) {
        double sums[4] = {0}, product = 0;
        for (uint64_t draw = 0; draw < 100; draw++) {
            k->random->normal[type](N, data(&x, (nnl_compute)type), 11, draw * N, 3, 2);
            for (size_t i = 0; i < N; i++) {
                double value = (at(&x, (nnl_compute)type, i) - 3) / 2, power = 1;
                for (size_t j = 0; j < 4; j++) sums[j] += power *= value;
                if (i % 2) product += value * (at(&x, (nnl_compute)type, i - 1) - 3) / 2;
            }
        }
        check_moments(sums, 100.0 * N, 0, 1, 3);
        CHECK_NEAR(product / (50.0 * N), 0, 0.01);
    }
}

static void test_bernoulli(const nnl_kernels *k) {
    check_that("a coin falls on 1 as often as it should, always with 1 and never with 0");
    static uint8_t coins[100000];
    const double keeps[] = {0, 0.1, 0.5, 0.9, 1};
    for (size_t c = 0; c < COUNT(keeps); c++) {
        size_t ones = 0;
        k->random->bernoulli(sizeof coins, coins, 5, 0, keeps[c]);
        for (size_t i = 0; i < sizeof coins; i++) ones += coins[i];
        CHECK_NEAR((double)ones / sizeof coins, keeps[c], keeps[c] == 0 || keeps[c] == 1 ? 0 : 0.005);
    }
}

// Update rules: the equations of PyTorch 1.13, in double, one element at a time.

typedef struct element {
    double p, m, v, extra;
} element;

static void sgd_reference(element *e, double g, const nnl_sgd_step *s, bool buffered) {
    double d = (s->maximize ? -g : g) + s->weight_decay * e->p, direction = d;
    if (buffered) {
        e->m = s->first ? d : s->momentum * e->m + (1 - s->dampening) * d;
        direction = s->nesterov ? d + s->momentum * e->m : e->m;
    }
    e->p -= s->lr * direction;
}

static void adam_reference(element *e, double g, const nnl_adam_step *s, bool amsgrad) {
    double d = s->maximize ? -g : g;
    if (s->decoupled) {
        e->p *= 1 - s->lr * s->weight_decay;
    } else {
        d += s->weight_decay * e->p;
    }
    e->m = s->beta1 * e->m + (1 - s->beta1) * d;
    e->v = s->beta2 * e->v + (1 - s->beta2) * d * d;
    e->extra = fmax(e->extra, e->v);
    double spread = sqrt(amsgrad ? e->extra : e->v) / sqrt(s->correction2) + s->eps;
    e->p -= s->lr / s->correction1 * e->m / spread;
}

static void rmsprop_reference(element *e, double g, const nnl_rmsprop_step *s, bool centered, bool buffered) {
    double d = (s->maximize ? -g : g) + s->weight_decay * e->p;
    e->v = s->alpha * e->v + (1 - s->alpha) * d * d;
    e->extra = s->alpha * e->extra + (1 - s->alpha) * d;
    double step = d / (sqrt(centered ? e->v - e->extra * e->extra : e->v) + s->eps);
    if (buffered) step = e->m = s->momentum * e->m + step;
    e->p -= s->lr * step;
}

#define STEPS 5

static numbers p, g, m, v, extra;
static element reference[N];

static void start(double state) {
    fill(&p, -1, 1, 20);
    for (size_t i = 0; i < N; i++) {
        reference[i] = (element){p.f64[i], 0, 0, 0};
        m.f32[i] = (float)(m.f64[i] = state);
        v.f32[i] = extra.f32[i] = 0;
        v.f64[i] = extra.f64[i] = 0;
    }
}

static void check_parameters(nnl_compute type, const char *what, unsigned bits) {
    double worst = 0;
    for (size_t i = 0; i < N; i++) {
        double error = fabs(at(&p, type, i) - reference[i].p);
        worst = error <= worst ? worst : error; // NaN is the worst
    }
    CHECK_MESSAGE(worst <= (type == NNL_IN_FLOAT ? 1e-6 : 1e-14), "%s with options %x: off by %g", what, bits,
                  worst);
}

static void check_sgd(const nnl_kernels *k, nnl_compute type, unsigned bits) {
    nnl_sgd_step s = {.lr = 0.05, .weight_decay = bits & 1 ? 0.1 : 0, .maximize = bits & 2};
    bool buffered = bits & 4;
    if (buffered) s.momentum = 0.9, s.dampening = bits & 8 ? 0.3 : 0, s.nesterov = bits & 16;
    start(NAN); // before the first step a buffer holds anything
    for (unsigned step = 0; step < STEPS; step++) {
        fill(&g, -1, 1, 30 + step);
        s.first = step == 0;
        k->optim->sgd[type](N, data(&p, type), data(&g, type), buffered ? data(&m, type) : NULL, &s);
        for (size_t i = 0; i < N; i++) sgd_reference(&reference[i], g.f64[i], &s, buffered);
    }
    check_parameters(type, "SGD", bits);
}

static void check_adam(const nnl_kernels *k, nnl_compute type, unsigned bits) {
    nnl_adam_step s = {
        .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = bits & 1 ? 0.1 : 0};
    s.maximize = bits & 2;
    s.decoupled = bits & 4;
    bool amsgrad = bits & 8;
    start(0);
    for (unsigned step = 0; step < STEPS; step++) {
        fill(&g, -1, 1, 40 + step);
        s.correction1 = 1 - pow(s.beta1, step + 1);
        s.correction2 = 1 - pow(s.beta2, step + 1);
        k->optim->adam[type](N, data(&p, type), data(&g, type), data(&m, type), data(&v, type),
                             amsgrad ? data(&extra, type) : NULL, &s);
        for (size_t i = 0; i < N; i++) adam_reference(&reference[i], g.f64[i], &s, amsgrad);
    }
    check_parameters(type, "Adam", bits);
    double worst = 0;
    for (size_t i = 0; i < N; i++) worst = fmax(worst, fabs(at(&v, type, i) / reference[i].v - 1));
    CHECK_MESSAGE(worst < 1e-6, "Adam's second moment is off by the factor 1 + %g", worst);
}

static void check_rmsprop(const nnl_kernels *k, nnl_compute type, unsigned bits) {
    nnl_rmsprop_step s = {.lr = 0.001, .alpha = 0.99, .eps = 1e-3, .weight_decay = bits & 1 ? 0.1 : 0};
    s.maximize = bits & 2;
    bool centered = bits & 4, buffered = bits & 8;
    if (buffered) s.momentum = 0.9;
    start(0);
    for (unsigned step = 0; step < STEPS; step++) {
        fill(&g, -1, 1, 50 + step);
        k->optim->rmsprop[type](N, data(&p, type), data(&g, type), data(&v, type),
                                centered ? data(&extra, type) : NULL, buffered ? data(&m, type) : NULL, &s);
        for (size_t i = 0; i < N; i++) rmsprop_reference(&reference[i], g.f64[i], &s, centered, buffered);
    }
    check_parameters(type, "RMSprop", bits);
}

static void test_update_rules(const nnl_kernels *k) {
    check_that("SGD, Adam, AdamW and RMSprop follow their equations with every combination of options");
    for (int type = NNL_IN_FLOAT; type <= NNL_IN_DOUBLE; type++) {
        for (unsigned bits = 0; bits < 32; bits++) check_sgd(k, (nnl_compute)type, bits);
        for (unsigned bits = 0; bits < 16; bits++) check_adam(k, (nnl_compute)type, bits);
        for (unsigned bits = 0; bits < 16; bits++) check_rmsprop(k, (nnl_compute)type, bits);
    }
}

int main(void) {
    static const char *const names[] = {"baseline", "neon", "avx2", "avx512"};
    for (size_t i = 0; i < COUNT(names); i++) {
        const nnl_kernels *k = nnl_kernels_named(names[i]);
        if (!k) continue;
        test_softmax(k);
        test_softmax_extremes(k);
        test_in_place(k);
        test_scans(k);
        test_loss_values(k);
        test_loss_grads(k);
        test_uniform_words(k);
        test_cuts(k);
        test_uniform_range(k);
        test_normal_moments(k);
        test_bernoulli(k);
        test_update_rules(k);
    }
    return check_end();
}
