// sampling.c: see sampling.h. Candidates are taken off a heap one by one, so that no vocabulary is ever
// sorted whole.
#include "nn/sampling.h"

#include <math.h>
#include <string.h>

typedef struct candidate {
    float logit;
    uint32_t id;
} candidate;

struct nnl_sampler {
    nnl_context *ctx;
    nnl_sampling how;
    nnl_random random; // where it has a seed
    size_t size;
    candidate *heap;
    double *share; // exponentials of those taken off the heap, in that order
    uint8_t *seen;
};

nnl_sampler *nnl_sampler_new(nnl_context *ctx, int64_t size, const nnl_sampling *how) {
    if (size < 1 || size > UINT32_MAX)
        return nnl_fail_null(ctx, NNL_ERR_ARGUMENT, "generate: there are no tokens to choose from");
    size_t n = (size_t)size, bytes = n * (sizeof(candidate) + sizeof(double) + 1);
    nnl_sampler *s = nnl_alloc(&ctx->allocator, sizeof *s);
    void *memory = s ? nnl_alloc(&ctx->allocator, bytes) : NULL;
    if (!memory) {
        nnl_free(&ctx->allocator, s);
        return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for a vocabulary");
    }
    memset(memory, 0, bytes);
    *s = (nnl_sampler){.ctx = ctx, .how = *how, .size = n};
    s->share = memory;
    s->heap = (candidate *)(void *)(s->share + n);
    s->seen = (uint8_t *)(s->heap + n);
    nnl_random_seed(&s->random, how->seed);
    nnl_context_retain(ctx);
    return s;
}

void nnl_sampler_free(nnl_sampler *s) {
    if (!s) return;
    nnl_context *ctx = s->ctx;
    nnl_free(&ctx->allocator, s->share);
    nnl_free(&ctx->allocator, s);
    nnl_context_release(ctx);
}

void nnl_sampler_note(nnl_sampler *s, int64_t id) {
    if (id >= 0 && id < (int64_t)s->size) s->seen[id] = 1;
}

// ---- the heap: the largest logit first, of equal ones the first token

static bool before(candidate a, candidate b) {
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sink(candidate *heap, size_t n, size_t at) {
    candidate moved = heap[at];
    for (size_t child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && before(heap[child + 1], heap[child])) child++;
        if (!before(heap[child], moved)) break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moved;
}

// The largest of n goes to the end, which is part of the heap no more.
static candidate take_off(candidate *heap, size_t n) {
    candidate first = heap[0];
    heap[0] = heap[n - 1];
    heap[n - 1] = first;
    sink(heap, n - 1, 0);
    return first;
}

// ---- the choice

static float weakened(const nnl_sampler *s, float logit, size_t id) {
    if (s->how.repetition == 1 || !s->seen[id]) return logit;
    return logit > 0 ? logit / (float)s->how.repetition : logit * (float)s->how.repetition;
}

static nnl_status find_largest(nnl_sampler *s, const float *logits, size_t *largest) {
    float top = -INFINITY;
    *largest = s->size;
    for (size_t i = 0; i < s->size; i++) {
        float logit = weakened(s, logits[i], i);
        if (isnan(logit)) return nnl_fail(s->ctx, NNL_ERR_STATE, "generate: the model's logits are NaN");
        if (logit > top) top = logit, *largest = i;
    }
    if (isfinite(top)) return NNL_OK;
    return nnl_fail(s->ctx, NNL_ERR_STATE, "generate: the model's logits are not finite");
}

static double chance(nnl_sampler *s) {
    return nnl_random_double(s->how.seeded ? &s->random : &s->ctx->random);
}

// Which of the first n exponentials, whose sum is `total`, a number by chance falls into.
static size_t fall(nnl_sampler *s, size_t n, double total) {
    double left = chance(s) * total;
    for (size_t i = 0; i + 1 < n; i++) {
        left -= s->share[i];
        if (left < 0) return i;
    }
    return n - 1;
}

// Among all tokens, without order.
static int64_t pick_any(nnl_sampler *s, const float *logits, float top) {
    double total = 0, scale = 1 / s->how.temperature;
    for (size_t i = 0; i < s->size; i++) {
        double share = exp(((double)weakened(s, logits[i], i) - (double)top) * scale);
        s->share[i] = share;
        total += share;
    }
    return (int64_t)fall(s, s->size, total);
}

// The sum that probabilities refer to: of the top_k largest, or of all.
static double whole(const nnl_sampler *s, size_t most, float top, double scale) {
    double total = 0;
    if (most < s->size) return 0;
    for (size_t i = 0; i < s->size; i++) total += exp(((double)s->heap[i].logit - (double)top) * scale);
    return total;
}

// How many of the candidates taken off reach top_p of `total`.
static size_t nucleus(const nnl_sampler *s, size_t n, double total, double *sum) {
    *sum = 0;
    for (size_t i = 0; i < n; i++) {
        *sum += s->share[i];
        if (*sum >= s->how.top_p * total) return i + 1;
    }
    return n;
}

static int64_t pick_likely(nnl_sampler *s, const float *logits, float top) {
    size_t n = s->size, most = s->how.top_k > 0 && (uint64_t)s->how.top_k < n ? (size_t)s->how.top_k : n,
           taken = 0;
    double scale = 1 / s->how.temperature, sum = 0;
    for (size_t i = 0; i < n; i++) s->heap[i] = (candidate){weakened(s, logits[i], i), (uint32_t)i};
    double total = whole(s, most, top, scale);
    for (size_t at = n / 2; at-- > 0;) sink(s->heap, n, at);
    while (taken < most && !(most == n && sum >= s->how.top_p * total && taken > 0)) {
        double share = exp(((double)take_off(s->heap, n - taken).logit - (double)top) * scale);
        if (taken > 0 && share < s->how.min_p) break;
        s->share[taken++] = share;
        sum += share;
    }
    size_t kept = nucleus(s, taken, most == n ? total : sum, &sum);
    return s->heap[n - 1 - fall(s, kept, sum)].id;
}

nnl_status nnl_sampler_pick(nnl_sampler *s, const nnl_tensor *logits, int64_t *id) {
    const float *x = nnl_tensor_data(logits);
    size_t largest;
    if (logits->dtype != NNL_FLOAT32 || !nnl_tensor_is_contiguous(logits) ||
        nnl_tensor_numel(logits) != (int64_t)s->size) {
        return nnl_fail(s->ctx, NNL_ERR_SHAPE, "generate: expected %lld logits of float32, got %lld of %s",
                        (long long)s->size, (long long)nnl_tensor_numel(logits),
                        nnl_dtype_get(logits->dtype)->name);
    }
    nnl_status status = find_largest(s, x, &largest);
    if (status != NNL_OK) return status;
    float top = weakened(s, x[largest], largest);
    bool all = s->how.top_k <= 0 && s->how.top_p >= 1 && s->how.min_p <= 0;
    *id = s->how.temperature <= 0 ? (int64_t)largest : all ? pick_any(s, x, top) : pick_likely(s, x, top);
    return NNL_OK;
}
