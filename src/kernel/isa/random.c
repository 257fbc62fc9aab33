// random.c: tensors of random numbers from Philox blocks (base/random.h). Blocks are made in groups, the same
// step for every block of a group, so that compilers make vectors of them. What an element gets depends on
// its position alone.
#include "kernel/isa/isa.h"
#include "kernel/vmath.h"

#include <math.h>

#define GROUP 64 // blocks made together
#define WORDS (4 * GROUP)

typedef struct lanes {
    uint32_t c0[GROUP], c1[GROUP], c2[GROUP], c3[GROUP];
} lanes;

// Salmon et al. 2011, Philox-4x32: one round for all lanes.
NNL_INLINE void philox_round(lanes *l, uint32_t k0, uint32_t k1) {
    NNL_INDEPENDENT for (size_t i = 0; i < GROUP; i++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * l->c0[i], p1 = (uint64_t)0xCD9E8D57u * l->c2[i];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ l->c1[i] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ l->c3[i] ^ k1;
        l->c0[i] = n0;
        l->c1[i] = (uint32_t)p1;
        l->c2[i] = n2;
        l->c3[i] = (uint32_t)p0;
    }
}

// The words of GROUP blocks from `block` on, in order.
static void make_words(uint64_t seed, uint64_t block, uint32_t *words) {
    lanes l;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (size_t i = 0; i < GROUP; i++) {
        l.c0[i] = (uint32_t)(block + i);
        l.c1[i] = (uint32_t)((block + i) >> 32);
        l.c2[i] = l.c3[i] = 0;
    }
    for (int round = 0; round < 10; round++) {
        philox_round(&l, k0, k1);
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (size_t i = 0; i < GROUP; i++) {
        words[4 * i] = l.c0[i];
        words[4 * i + 1] = l.c1[i];
        words[4 * i + 2] = l.c2[i];
        words[4 * i + 3] = l.c3[i];
    }
}

// [0, 1) in steps of 2^-24 and 2^-53.
NNL_INLINE float unit_f32(uint32_t word) { return (float)(int32_t)(word >> 8) * 0x1p-24f; }
NNL_INLINE double unit_f64(uint32_t high, uint32_t low) {
    return (double)(int64_t)((((uint64_t)high << 32) | low) >> 11) * 0x1p-53;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

static void uniform_f32(size_t n, void *out, uint64_t seed, uint64_t block, double low, double high) {
    float *to = out, from = (float)low, width = (float)(high - low),
          top = nextafterf((float)high, (float)low);
    uint32_t words[WORDS];
    for (size_t at = 0; at < n; at += WORDS, block += GROUP) {
        make_words(seed, block, words);
        for (size_t i = 0, count = least(n - at, WORDS); i < count; i++) {
            float x = from + width * unit_f32(words[i]);
            to[at + i] = x < top ? x : top;
        }
    }
}

static void uniform_f64(size_t n, void *out, uint64_t seed, uint64_t block, double low, double high) {
    double *to = out, top = nextafter(high, low);
    uint32_t words[WORDS];
    for (size_t at = 0; at < n; at += WORDS / 2, block += GROUP) {
        make_words(seed, block, words);
        for (size_t i = 0, count = least(n - at, WORDS / 2); i < count; i++) {
            double x = low + (high - low) * unit_f64(words[2 * i], words[2 * i + 1]);
            to[at + i] = x < top ? x : top;
        }
    }
}

// Box and Muller 1958: two uniform numbers give two normal ones. Words 2i and 2i + 1 make elements 2i and 2i
// + 1. The first uniform number is taken from (0, 1], so that its logarithm is finite.
static void normal_f32(size_t n, void *out, uint64_t seed, uint64_t block, double mean, double std) {
    float *to = out, center = (float)mean, scale = (float)std, pair[WORDS];
    uint32_t words[WORDS];
    for (size_t at = 0; at < n; at += WORDS, block += GROUP) {
        make_words(seed, block, words);
        for (size_t i = 0; i < WORDS / 2; i++) {
            float radius = v_sqrt(-2.0f * v_log(1.0f - unit_f32(words[2 * i])));
            float angle = 6.2831853071795864f * unit_f32(words[2 * i + 1]);
            pair[2 * i] = radius * v_cos(angle);
            pair[2 * i + 1] = radius * v_sin(angle);
        }
        for (size_t i = 0, count = least(n - at, WORDS); i < count; i++)
            to[at + i] = center + scale * pair[i];
    }
}

static void normal_f64(size_t n, void *out, uint64_t seed, uint64_t block, double mean, double std) {
    double *to = out, pair[WORDS / 2];
    uint32_t words[WORDS];
    for (size_t at = 0; at < n; at += WORDS / 2, block += GROUP) {
        make_words(seed, block, words);
        for (size_t i = 0; i < WORDS / 4; i++) {
            const uint32_t *w = words + 4 * i;
            double radius = sqrt(-2 * log(1 - unit_f64(w[0], w[1]))),
                   angle = 6.283185307179586 * unit_f64(w[2], w[3]);
            pair[2 * i] = radius * cos(angle);
            pair[2 * i + 1] = radius * sin(angle);
        }
        for (size_t i = 0, count = least(n - at, WORDS / 2); i < count; i++)
            to[at + i] = mean + std * pair[i];
    }
}

static void bernoulli(size_t n, uint8_t *out, uint64_t seed, uint64_t block, double keep) {
    const uint64_t limit = (uint64_t)(keep * 4294967296.0);
    uint32_t words[WORDS];
    for (size_t at = 0; at < n; at += WORDS, block += GROUP) {
        make_words(seed, block, words);
        for (size_t i = 0, count = least(n - at, WORDS); i < count; i++) out[at + i] = words[i] < limit;
    }
}

static void mask_f32(size_t n, void *y, const void *x, const uint8_t *mask, double scale) {
    const float *restrict from = x;
    const float factor = (float)scale;
    float *restrict to = y;
    for (size_t i = 0; i < n; i++) to[i] = from[i] * (mask[i] ? factor : 0);
}

static void mask_f64(size_t n, void *y, const void *x, const uint8_t *mask, double scale) {
    const double *restrict from = x;
    double *restrict to = y;
    for (size_t i = 0; i < n; i++) to[i] = from[i] * (mask[i] ? scale : 0);
}

const nnl_random_kernels NNL_ISA_NAME(nnl_random) = {
    .uniform = {uniform_f32, uniform_f64},
    .normal = {normal_f32, normal_f64},
    .bernoulli = bernoulli,
    .mask = {mask_f32, mask_f64},
};
