// pack.c: numbers in 8 or 16 bits, for the state of optimizers. A byte is a small float in the measure of the
// largest magnitude of its block (Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization").
#include "kernel/isa/isa.h"

#include <string.h>

NNL_INLINE uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

NNL_INLINE float bits_float(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// 32 bits that look random, of a number (Wellons 2018, "lowbias32").
NNL_INLINE uint32_t mixed(uint32_t x) {
    x = (x ^ x >> 16) * 0x7feb352du;
    x = (x ^ x >> 15) * 0x846ca68bu;
    return x ^ x >> 16;
}

// A byte has 1 sign, 4 exponent and 3 mantissa bits or, of what is never negative, 5 and 3 (as Micikevicius
// et al. 2022, "FP8 Formats for Deep Learning"). Averages move by less than its steps at a time, so what is
// between two values becomes the one or the other by chance, its mean staying right (Gupta et al. 2015). The
// largest value of such a byte is 1.875; the exponent is 0 at `bias`, below 1 - bias steps are even.
#define TOP 1.875f
#define BIAS_SIGNED 15
#define BIAS_SQUARE 31

NNL_INLINE float magnitude_of(float x) { return x < 0 ? -x : x; }

// By their bits, as magnitudes have the order of integers; NaN, where there is one, is larger than all.
static float largest(size_t n, const float *x) {
    uint32_t top = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = float_bits(x[i]) & 0x7fffffffu;
        top = bits > top ? bits : top;
    }
    return bits_float(top);
}

// c from 0 to TOP as 3 bits of mantissa below the exponent; chance: 32 bits.
NNL_INLINE uint32_t encoded(float c, int bias, uint32_t chance) {
    float unit = bits_float((uint32_t)(127 + bias + 2) << 23),
          least = bits_float((uint32_t)(127 + 1 - bias) << 23);
    uint32_t normal = ((float_bits(c) + (chance >> 12)) >> 20) - ((uint32_t)(127 - bias) << 3);
    uint32_t even =
        (uint32_t)(int32_t)((c < least ? c : least) * unit + (float)(int32_t)(chance >> 8) * 0x1p-24f);
    return c < least ? even : normal;
}

NNL_INLINE float decoded(uint32_t code, int bias) {
    float unit = bits_float((uint32_t)(127 - bias - 2) << 23);
    float normal = bits_float((code + ((uint32_t)(127 - bias) << 3)) << 20);
    return code < 8 ? (float)(int32_t)code * unit : normal;
}

// Half: what is nearest. Otherwise a number between them by chance.
NNL_INLINE uint32_t chance_of(bool nearest, uint32_t seed, size_t i) {
    return nearest ? 0x80000000u : mixed(seed + (uint32_t)i);
}

NNL_INLINE void pack_loop(size_t n, const float *x, uint8_t *code, float top, bool squares, bool nearest,
                          uint32_t seed) {
    const int bias = squares ? BIAS_SQUARE : BIAS_SIGNED;
    const uint32_t most = squares ? 255 : 127;
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float c = magnitude_of(x[i]) / top * TOP;
        c = c <= TOP ? c : TOP; // NaN too: the block's measure has it
        uint32_t bits = encoded(c, bias, chance_of(nearest, seed, i));
        bits = bits < most ? bits : most;
        // A square of 0 beside an average that is none would make the step endless.
        if (squares) bits = c > 0 && bits == 0 ? 1 : bits;
        if (!squares) bits |= x[i] < 0 ? 128u : 0u;
        code[i] = (uint8_t)bits;
    }
}

static void to_bytes(size_t n, const float *x, uint8_t *code, float *scale, bool squares, bool nearest,
                     uint32_t seed) {
    float top = *scale = largest(n, x);
    if (top == 0)
        memset(code, 0, n);
    else if (squares && nearest)
        pack_loop(n, x, code, top, true, true, seed);
    else if (squares)
        pack_loop(n, x, code, top, true, false, seed);
    else if (nearest)
        pack_loop(n, x, code, top, false, true, seed);
    else
        pack_loop(n, x, code, top, false, false, seed);
}

static void from_bytes(size_t n, const uint8_t *code, float scale, bool squares, float *x) {
    const float measure = scale / TOP;
    if (squares) {
        NNL_INDEPENDENT
        for (size_t i = 0; i < n; i++) x[i] = decoded(code[i], BIAS_SQUARE) * measure;
        return;
    }
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        float a = decoded(code[i] & 127u, BIAS_SIGNED) * measure;
        x[i] = code[i] & 128u ? -a : a;
    }
}

static void to_halves(size_t n, const float *x, uint16_t *code, bool nearest, uint32_t seed) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = float_bits(x[i]);
        uint32_t chance = nearest ? 0x7fffu + (bits >> 16 & 1u) : mixed(seed + (uint32_t)i) >> 16;
        bool finite = (bits & 0x7f800000u) != 0x7f800000u;
        uint32_t special = bits >> 16 | (x[i] != x[i] ? 0x40u : 0u);
        code[i] = (uint16_t)(finite ? (bits + chance) >> 16 : special);
    }
}

static void from_halves(size_t n, const uint16_t *code, float *x) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) x[i] = bits_float((uint32_t)code[i] << 16);
}

const nnl_pack_kernels NNL_ISA_NAME(nnl_pack) = {
    .to_bytes = to_bytes,
    .from_bytes = from_bytes,
    .to_halves = to_halves,
    .from_halves = from_halves,
};
