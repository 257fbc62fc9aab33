// resampler.c: sound at another rate: each sample is a weighted sum of those around its place, and the
// weights come again after as many samples as the rates have in lowest terms.
#include "io/sound.h"

#include <math.h>

#define BETWEEN_QUESTIONS 65536 // samples
#define PI 3.14159265358979323846
#define ZEROS 6
#define ROLLOFF 0.99
#define RATE_LIMIT 100000000
#define WEIGHT_LIMIT ((int64_t)1 << 26)

struct nnl_resampler {
    nnl_context *ctx;
    int64_t from, to; // in lowest terms
    int64_t reach;    // samples on either side of a place
    float *weights;   // (to, 2 * reach + 1)
};

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

// At a distance of so many samples of the first rate.
static double weight_at(const nnl_resampler *plan, double distance) {
    double base = (double)(plan->from < plan->to ? plan->from : plan->to) * ROLLOFF / (double)plan->from;
    double t = distance * base;
    if (fabs(t) >= ZEROS) return 0;
    double window = cos(t * PI / (2 * ZEROS));
    return base * window * window * (t == 0 ? 1 : sin(t * PI) / (t * PI));
}

static void fill(nnl_resampler *plan) {
    float *to = plan->weights;
    for (int64_t phase = 0; phase < plan->to; phase++) {
        double rest = (double)(phase * plan->from % plan->to) / (double)plan->to;
        for (int64_t k = -plan->reach; k <= plan->reach; k++)
            *to++ = (float)weight_at(plan, (double)k - rest);
    }
}

nnl_resampler *nnl_resampler_new(nnl_context *ctx, int64_t from, int64_t to) {
    if (from < 1 || to < 1 || from > RATE_LIMIT || to > RATE_LIMIT)
        return nnl_fail_null(ctx, NNL_ERR_ARGUMENT, "rates are from 1 to %d Hz, got %lld and %lld",
                             RATE_LIMIT, (long long)from, (long long)to);
    int64_t shared = common_divisor(from, to);
    nnl_resampler made = {.ctx = ctx, .from = from / shared, .to = to / shared};
    double lower = (double)(made.from < made.to ? made.from : made.to) * ROLLOFF;
    made.reach = (int64_t)ceil(ZEROS * (double)made.from / lower) + 1;
    if (made.to > WEIGHT_LIMIT / (2 * made.reach + 1))
        return nnl_fail_null(ctx, NNL_ERR_ARGUMENT, "the rates %lld and %lld share too small a divisor",
                             (long long)from, (long long)to);
    nnl_resampler *plan = nnl_alloc(&ctx->allocator, sizeof *plan);
    size_t count = (size_t)(made.to * (2 * made.reach + 1));
    made.weights = plan ? nnl_alloc(&ctx->allocator, count * sizeof *made.weights) : NULL;
    if (!made.weights) {
        nnl_free(&ctx->allocator, plan);
        return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory");
    }
    *plan = made;
    fill(plan);
    return plan;
}

void nnl_resampler_free(nnl_resampler *plan) {
    if (!plan) return;
    nnl_free(&plan->ctx->allocator, plan->weights);
    nnl_free(&plan->ctx->allocator, plan);
}

int64_t nnl_resampler_length(const nnl_resampler *plan, int64_t samples) {
    return (int64_t)ceil((double)samples * (double)plan->to / (double)plan->from);
}

// Silence lies before the first sample and behind the last.
static float sum_at(const nnl_resampler *plan, const float *samples, int64_t count, int64_t place,
                    const float *weights) {
    int64_t first = place - plan->reach, end = place + plan->reach + 1;
    int64_t from = first < 0 ? 0 : first, to = end > count ? count : end;
    float sums[4] = {0};
    int64_t i = from;
    for (; i + 4 <= to; i += 4) {
        for (int k = 0; k < 4; k++) sums[k] += samples[i + k] * weights[i + k - first];
    }
    for (; i < to; i++) sums[0] += samples[i] * weights[i - first];
    return sums[0] + sums[1] + (sums[2] + sums[3]);
}

void nnl_resampler_run(const nnl_resampler *plan, const nnl_pool *pool, const float *samples, int64_t count,
                       float *out) {
    int64_t length = nnl_resampler_length(plan, count), taps = 2 * plan->reach + 1;
    int64_t phase = 0, place = 0, part = 0; // place + part / to is where sample i lies
    for (int64_t i = 0; i < length; i++) {
        if (i % BETWEEN_QUESTIONS == 0 && nnl_pool_stops(pool)) return;
        out[i] = sum_at(plan, samples, count, place, plan->weights + phase * taps);
        phase = phase + 1 == plan->to ? 0 : phase + 1;
        part += plan->from;
        place += part / plan->to;
        part %= plan->to;
    }
}
