// vmath_float.h: the functions of vmath.h for float, free of branches, tables and calls, so that a loop
// around them becomes vector code. Bounds are the largest error over all floats, in units in the last place,
// with FMA or without; tests/c/test_vmath.c holds each to its word. The polynomials are minimax fits (Remez)
// made for this file.
#ifndef NNL_KERNEL_VMATH_FLOAT_H
#define NNL_KERNEL_VMATH_FLOAT_H

#include "kernel/isa/isa.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>

typedef union float_bits {
    float f;
    uint32_t u;
    int32_t i;
} float_bits;

NNL_INLINE uint32_t f32_bits(float x) { return ((float_bits){.f = x}).u; }
NNL_INLINE float f32_from_bits(uint32_t u) { return ((float_bits){.u = u}).f; }
NNL_INLINE float f32_abs(float x) { return __builtin_fabsf(x); }

// c ? a : b by masks. A conditional would do, but where it has a constant in it compilers copy all code
// behind it for that case, and the copies are blended at great cost.
NNL_INLINE float f32_select(bool c, float a, float b) {
    uint32_t mask = 0 - (uint32_t)c;
    return f32_from_bits((f32_bits(a) & mask) | (f32_bits(b) & ~mask));
}

// Comparisons are written so that NaN goes through.
NNL_INLINE float f32_at_most(float x, float limit) { return f32_select(x > limit, limit, x); }
NNL_INLINE float f32_at_least(float x, float limit) { return f32_select(x < limit, limit, x); }
NNL_INLINE float f32_between(float x, float low, float high) {
    return f32_at_most(f32_at_least(x, low), high);
}

// a b + c, rounded once: by a fused multiplication and addition, else by way of double.
NNL_INLINE float f32_fused(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, c);
#else
    return (float)((double)a * (double)b + (double)c);
#endif
}

// Polynomials by halves (Estrin 1960): a few more products than Horner's rule, in half the steps that wait
// for each other. c is in the order of rising powers.
NNL_INLINE float f32_cubic(float x, const float *c) {
    return (c[0] + c[1] * x) + (c[2] + c[3] * x) * (x * x);
}

NNL_INLINE float f32_poly4(float x, const float *c) { return f32_cubic(x, c) + (x * x) * (x * x) * c[4]; }

NNL_INLINE float f32_poly5(float x, const float *c) {
    return f32_cubic(x, c) + (x * x) * (x * x) * (c[4] + c[5] * x);
}

NNL_INLINE float f32_poly6(float x, const float *c) {
    float x2 = x * x;
    return f32_cubic(x, c) + x2 * x2 * ((c[4] + c[5] * x) + x2 * c[6]);
}

NNL_INLINE float f32_poly7(float x, const float *c) {
    return f32_cubic(x, c) + (x * x) * (x * x) * f32_cubic(x, c + 4);
}

NNL_INLINE float f32_poly8(float x, const float *c) {
    float x4 = (x * x) * (x * x);
    return f32_cubic(x, c) + x4 * (f32_cubic(x, c + 4) + x4 * c[8]);
}

// 2^n for -127 < n < 128
NNL_INLINE float f32_exp2_int(int32_t n) { return f32_from_bits((uint32_t)(n + 127) << 23); }

// Adding it leaves the nearest whole number in the low bits of the sum.
#define F32_ROUNDER 12582912.0f // 1.5 * 2^23

// ln 2 in two parts; the first has so few digits that its product with an exponent is exact.
#define F32_LN2_HIGH 0.693359375f
#define F32_LN2_LOW -2.12194440e-4f

// x + tail = n ln 2 + r with |r| <= ln 2 / 2. No tail is -0, which adds nothing to anything.
typedef struct f32_reduced {
    int32_t n;
    float r;
} f32_reduced;

NNL_INLINE f32_reduced f32_exp_reduce(float x, float tail) {
    float rounded = x * 1.44269504f + F32_ROUNDER;
    float n = rounded - F32_ROUNDER;
    float r = (x - n * F32_LN2_HIGH) + (tail - n * F32_LN2_LOW);
    return (f32_reduced){(int32_t)(f32_bits(rounded) - f32_bits(F32_ROUNDER)), r};
}

// exp(r) - 1 for |r| <= ln 2 / 2, off by 2^-28 of exp(r).
NNL_INLINE float f32_exp_core(float r) {
    static const float q_of[] = {0.499999926f, 0.166665087f, 0.0416685283f, 0.0083701348f, 0.00138116622f};
    return r + r * r * f32_poly4(r, q_of);
}

// exp(x + tail) for a |tail| far below |x|, and -125 <= x <= 89: (1 + core) 2^n, with 2^n in two halves,
// which reach infinity and the subnormals.
typedef struct f32_power {
    float core, half, other_half;
} f32_power;

NNL_INLINE f32_power f32_exp_parts(float x, float tail) {
    f32_reduced v = f32_exp_reduce(x, tail);
    int32_t half = v.n >> 1;
    return (f32_power){f32_exp_core(v.r), f32_exp2_int(half), f32_exp2_int(v.n - half)};
}

NNL_INLINE float f32_power_value(f32_power v) { return (1 + v.core) * v.half * v.other_half; }

// factor times the power, right also where the power alone would be subnormal.
NNL_INLINE float f32_power_times(f32_power v, float factor) {
    return f32_fused(factor, v.core, factor) * v.half * v.other_half;
}

// The same for results known to be normal numbers: |x| < 87.
NNL_INLINE float f32_exp_normal(float x) {
    f32_reduced v = f32_exp_reduce(x, -0.0f);
    return (1 + f32_exp_core(v.r)) * f32_exp2_int(v.n);
}

// 1.1 ulp
NNL_INLINE float f32_exp(float x) { return f32_power_value(f32_exp_parts(f32_between(x, -125, 89), -0.0f)); }

// The same for x below 0.
NNL_INLINE float f32_exp_negative(float x) {
    return f32_power_value(f32_exp_parts(f32_at_least(x, -125), -0.0f));
}

// 2 ulp. 2^n expm1(r) + (2^n - 1), at half the scale because 2^128 is no float. Where n is 0, expm1(r)
// itself.
NNL_INLINE float f32_expm1(float x) {
    f32_reduced v = f32_exp_reduce(f32_between(x, -30, 89), -0.0f);
    float r = v.r;
    static const float q_of[] = {0.499999979f, 0.166665335f, 0.0416672435f, 0.0083678544f, 0.00138822679f};
    float q = f32_poly4(r, q_of);
    q = r + r * r * q;
    float half = f32_exp2_int(v.n - 1);
    float y = 2 * (half * q + (half - 0.5f));
    return __builtin_copysignf(f32_select(v.n == 0, q, y), x);
}

// x = 2^e (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2), for positive normal x.
#define F32_SQRT_HALF_BITS 0x3f3504f3u

NNL_INLINE int32_t f32_exponent(float x) { return (int32_t)(f32_bits(x) - F32_SQRT_HALF_BITS) >> 23; }

NNL_INLINE float f32_mantissa(float x) {
    return f32_from_bits(((f32_bits(x) - F32_SQRT_HALF_BITS) & 0x7fffffu) + F32_SQRT_HALF_BITS);
}

// log(1 + f) - f = -f^2/2 + f^3 P(f), with `tail` added where it loses least.
NNL_INLINE float f32_log_core(float f, float tail) {
    static const float p_of[] = {0.333333317f, -0.25000821f, 0.200012269f, -0.166233574f,
                                 0.142017579f, -0.13160182f, 0.127615774f, -0.0763449805f};
    float p = f32_poly7(f, p_of);
    float f2 = f * f;
    return (f * f2 * p + tail) - 0.5f * f2;
}

// What a logarithm is outside of the positive finite numbers; y is its value inside.
NNL_INLINE float f32_log_edges(float x, float y) {
    y = f32_select(x == 0, -INFINITY, y);
    y = f32_select(x > FLT_MAX, x, y);
    return f32_select(x >= 0, y, NAN);
}

typedef struct f32_split {
    float e, f;
} f32_split;

// Subnormals are scaled up first.
NNL_INLINE f32_split f32_log_split(float x) {
    float scaled = f32_select(x < FLT_MIN, x * 0x1p23f, x);
    float e = (float)(f32_exponent(scaled) - (x < FLT_MIN ? 23 : 0));
    return (f32_split){e, f32_mantissa(scaled) - 1};
}

// 1 ulp
NNL_INLINE float f32_log(float x) {
    f32_split v = f32_log_split(x);
    float y = v.f + f32_log_core(v.f, v.e * F32_LN2_LOW);
    return f32_log_edges(x, y + v.e * F32_LN2_HIGH);
}

// 2 ulp; exact for powers of two.
NNL_INLINE float f32_log2(float x) {
    f32_split v = f32_log_split(x);
    return f32_log_edges(x, (v.f + f32_log_core(v.f, 0)) * 1.44269504f + v.e);
}

// 2 ulp
NNL_INLINE float f32_log10(float x) {
    f32_split v = f32_log_split(x);
    float y = (v.f + f32_log_core(v.f, 0)) * 0.434294482f + v.e * 2.48745664e-4f;
    return f32_log_edges(x, y + v.e * 0.30078125f);
}

// 2 ulp. e comes from 1 + x, but f = x 2^-e + (2^-e - 1) from x itself, which loses nothing. Above 2^26 the 1
// counts no more, and 2^-e could be too small for a float.
NNL_INLINE float f32_log1p(float x) {
    float u = 1 + x;
    int32_t e = f32_exponent(u);
    float scale = f32_exp2_int(-f32_exponent(f32_at_most(u, 0x1p26f)));
    float f = f32_select(u < 0x1p26f, x * scale + (scale - 1), f32_mantissa(u) - 1);
    float y = f + f32_log_core(f, (float)e * F32_LN2_LOW);
    y = f32_log_edges(u, y + (float)e * F32_LN2_HIGH);
    return __builtin_copysignf(y, x);
}

// 2 ulp. An odd polynomial near 0, then 1 - 2 / (exp(2x) + 1).
NNL_INLINE float f32_tanh(float x) {
    float a = f32_at_most(f32_abs(x), 10), z = a * a;
    static const float p_of[] = {-0.333332721f, 0.133311528f, -0.0537141076f, 0.0205517201f, -0.00560391463f};
    float p = f32_poly4(z, p_of);
    float near = a + a * z * p;
    float far = 1 - 2 / (f32_exp_normal(2 * a) + 1);
    return __builtin_copysignf(f32_select(a < 0.625f, near, far), x);
}

// 2 ulp. 1 / (1 + z) or z / (1 + z) with z = exp(-|x|), so that nothing overflows and small results keep
// their digits; written as 1 - y or z - z y with y = z / (1 + z), which rounds less.
NNL_INLINE float f32_sigmoid(float x) {
    float z = f32_exp_negative(-f32_abs(x)), larger = f32_select(x < 0, z, 1);
    return larger - larger * (z / (1 + z));
}

// sigmoid(x) (1 - sigmoid(x)), by the smaller of the two.
NNL_INLINE float f32_sigmoid_d(float x) {
    float z = f32_exp_negative(-f32_abs(x)), y = z / (1 + z);
    return y - y * y;
}

// 2 ulp. log(1 + exp(x)) = max(x, 0) + log(1 + z) with z = exp(-|x|), so 1 + z is below 2 and needs one
// halving at most.
NNL_INLINE float f32_softplus(float x) {
    float z = f32_exp_negative(-f32_abs(x));
    bool halve = z > 0.41421356f;
    float f = f32_select(halve, 0.5f * z - 0.5f, z), e = f32_select(halve, 1, 0);
    float y = f + f32_log_core(f, e * F32_LN2_LOW);
    return f32_select(x > 0, x, 0) + (y + e * F32_LN2_HIGH);
}

// 2 ulp. x + x P(x^2) near 0; further out 1 - exp(-g(x)), where g = -log(erfc) is a gentle curve.
NNL_INLINE float f32_erf(float x) {
    float a = f32_at_most(f32_abs(x), 3.95f), z = a * a;
    static const float p_of[] = {0.128379148f,   -0.376124811f,  0.112816825f,
                                 -0.0267617199f, 0.00498594063f, -0.000595374185f};
    float p = f32_poly5(z, p_of);
    static const float g_of[] = {0.000195676099f, 1.12767562f,   0.637182251f,    0.103931593f,
                                 -0.0222269185f,  0.0030432169f, -0.000195937184f};
    float g = f32_poly6(a, g_of);
    return __builtin_copysignf(f32_select(a < 0.92f, a + a * p, 1 - f32_exp_normal(-g)), x);
}

// The tail of the normal distribution: Phi(-t) = exp(-t^2 / 2) p / (t + a), for t = min(|x|, 14.6), where it
// ends for floats. p is a polynomial in w - 1/2 for w = t / (t + a); of many a, this has the coefficients
// that round best.
#define F32_TAIL_A 2.609375f

typedef struct f32_normal_tail {
    float t, w, p;
    float core, scale; // exp(-t^2 / 2) = (1 + core) scale 2^-64: 2^n alone would be no normal number
} f32_normal_tail;

#define F32_TAIL_SHIFT 64
#define F32_TAIL_UNIT 0x1p-64f

NNL_INLINE f32_normal_tail f32_normal(float x) {
    float t = f32_at_most(f32_abs(x), 14.6f), w = t / (t + F32_TAIL_A), s = w - 0.5f;
    static const float p_of[] = {0.617134273f, -0.0104641002f, -0.274514645f, 0.0164295156f,
                                 0.173747584f, 0.0364043862f,  -0.102321871f, -0.0674552023f};
    float p = f32_fused(s, f32_fused(s, f32_poly7(s, p_of), -0.904481947f), 0.712363064f);
    float half = -0.5f * t, square = half * t; // which has not all digits: the rest is added later
    f32_reduced v = f32_exp_reduce(square, f32_fused(half, t, -square));
    return (f32_normal_tail){t, w, p, f32_exp_core(v.r), f32_exp2_int(v.n + F32_TAIL_SHIFT)};
}

#define F32_INV_SQRT_2PI 0.398942280f

// 4 ulp. max(x, 0) - t Phi(-t): of x > 0 at least half is left. -0 at minus infinity, where it tends to.
NNL_INLINE float f32_gelu(float x) {
    f32_normal_tail v = f32_normal(x);
    float share = v.p * v.w;
    return f32_select(x < 0, -0.0f, x) - f32_fused(share, v.core, share) * v.scale * F32_TAIL_UNIT;
}

// Phi(x) + x phi(x); 2^-22 of max(1, |.|)
NNL_INLINE float f32_gelu_d(float x) {
    f32_normal_tail v = f32_normal(x);
    float inverse = (1 - v.w) * (1 / F32_TAIL_A); // of t + a
    float below = (1 + v.core) * v.scale * F32_TAIL_UNIT * (v.p * inverse - F32_INV_SQRT_2PI * v.t);
    return f32_select(x < 0, below, 1 - below);
}

// phi(x) (2 - x^2); 2^-22 of max(1, |.|)
NNL_INLINE float f32_gelu_d2(float x) {
    f32_normal_tail v = f32_normal(x);
    return F32_INV_SQRT_2PI * (1 + v.core) * v.scale * F32_TAIL_UNIT * (2 - v.t * v.t);
}

// The power as a double, which holds the smallest.
NNL_INLINE double f32_power_double(f32_power v) {
    return (1 + (double)v.core) * ((double)v.half * (double)v.other_half);
}

// x sigmoid(g + tail), where x is 0 or has the sign of g: x / (1 + z) or x z / (1 + z) with z = exp(-|g|).
// Small results keep their digits below the smallest sigmoid, and 1 + z is rounded once.
NNL_INLINE float f32_gated(float x, float g, float tail) {
    f32_power v = f32_exp_parts(f32_at_least(-f32_abs(g), -125), f32_select(g < 0, tail, -tail));
    float scale = v.half * v.other_half, whole = 1 + scale, d = whole + scale * v.core;
    float lost = (scale * v.core - (d - whole)) * (1 - 0.5f * scale); // about / d
    v.core -= lost + lost * v.core;
    return f32_select(g < 0, f32_power_times(v, x), x) / d;
}

// GELU by tanh is x sigmoid(g) with g = 2 sqrt(2 / pi) (x + 0.044715 x^3). g is needed beyond a float's
// digits, hence in double. Outside of -12 ... 12 the sigmoid is 0 or 1.
#define GELU_TANH_SLOPE 1.5957691216057308
#define GELU_TANH_CUBE 0.044715

// 4 ulp
NNL_INLINE float f32_gelu_tanh(float x) {
    double t = (double)f32_between(x, -12, 12);
    double g = t * (GELU_TANH_SLOPE + GELU_TANH_SLOPE * GELU_TANH_CUBE * (t * t));
    float head = (float)g;
    return f32_gated(f32_at_least(x, -12), head, (float)(g - (double)head));
}

NNL_INLINE float f32_gelu_tanh_g(float t) {
    return (float)GELU_TANH_SLOPE * (t + (float)GELU_TANH_CUBE * (t * t * t));
}

NNL_INLINE float f32_gelu_tanh_dg(float t) {
    return (float)GELU_TANH_SLOPE * (1 + (float)(3 * GELU_TANH_CUBE) * (t * t));
}

// s + t s (1 - s) g'; 2^-22 of max(1, |.|)
NNL_INLINE float f32_gelu_tanh_d(float x) {
    float t = f32_between(x, -12, 12), g = f32_gelu_tanh_g(t);
    return f32_sigmoid(g) + t * f32_sigmoid_d(g) * f32_gelu_tanh_dg(t);
}

// 2 s' + t s'' with s' = s (1 - s) g' and s'' = s' (1 - 2s) g' + s (1 - s) g''; 2^-22 of max(1, |.|)
NNL_INLINE float f32_gelu_tanh_d2(float x) {
    float t = f32_between(x, -12, 12), g = f32_gelu_tanh_g(t), dg = f32_gelu_tanh_dg(t);
    float ddg = (float)(6 * GELU_TANH_SLOPE * GELU_TANH_CUBE) * t;
    return f32_sigmoid_d(g) * (2 * dg + t * ((1 - 2 * f32_sigmoid(g)) * dg * dg + ddg));
}

// 2 ulp. Beyond 200 the sigmoid is 0 or 1.
NNL_INLINE float f32_silu(float x) { return f32_gated(f32_at_least(x, -200), x, -0.0f); }

// s + t s (1 - s); 2^-21 of max(1, |.|), as are the derivatives below
NNL_INLINE float f32_silu_d(float x) {
    float t = f32_between(x, -200, 200);
    return f32_sigmoid(t) + t * f32_sigmoid_d(t);
}

NNL_INLINE float f32_silu_d2(float x) {
    float t = f32_between(x, -200, 200);
    return f32_sigmoid_d(t) * (2 + t * (1 - 2 * f32_sigmoid(t)));
}

// 2 ulp. tanh(softplus(x)) = n / (n + 2) with n = e (e + 2), e = exp(x); 1 from 20 on. In double, as each of
// these steps would cost digits.
NNL_INLINE float f32_mish(float x) {
    f32_power v = f32_exp_parts(f32_between(x, -125, 20), -0.0f);
    double e = f32_power_double(v), n = e * (e + 2);
    double y = (double)f32_at_least(x, -200) * (n / (n + 2));
    return f32_select(x > 20, x, (float)y);
}

// w + x w' with w' = 4 e (1 + e) / (n + 2)^2
NNL_INLINE float f32_mish_d(float x) {
    float t = f32_between(x, -200, 20), e = f32_exp(t), n = e * (e + 2), d = n + 2;
    return f32_select(x > 20, 1, n / d + t * (4 * e * (1 + e) / (d * d)));
}

// 2 w' + x w'' with w'' = w' ((1 + 2e) (n + 2) - 4e (1 + e)^2) / ((1 + e) (n + 2))
NNL_INLINE float f32_mish_d2(float x) {
    float t = f32_between(x, -200, 20), e = f32_exp(t), d = e * (e + 2) + 2;
    float dw = 4 * e * (1 + e) / (d * d);
    float ratio = ((1 + 2 * e) * d - 4 * e * (1 + e) * (1 + e)) / ((1 + e) * d);
    return f32_select(x > 20, 0, dw * (2 + t * ratio));
}

// x = (k / 4 + r) turns with |r| <= 1/8; NaN for infinity.
typedef struct f32_turns {
    uint32_t k;
    double angle; // r in radians
} f32_turns;

// The part of x * digits that is not whole turns. `digits` has 29 bits and x 24, so the product is exact, and
// whole turns fall out however large x is.
NNL_INLINE double f32_part_turn(double x, double digits) {
    double turns = x * digits;
    return turns - rint(turns);
}

// 1 / (2 pi) in pieces of 29 bits, enough of them for the largest float (Payne and Hanek 1983, in double).
// The sum is made twice: once for the quarter, and from it down to what is left, largest piece first, which
// cancels exactly.
NNL_INLINE f32_turns f32_turns_of(float value) {
    double x = (double)value;
    double a = f32_part_turn(x, 0x1.45f306d000000p-3), b = f32_part_turn(x, 0x1.9391054000000p-32);
    double c = f32_part_turn(x, 0x1.4fe13ab000000p-61), d = f32_part_turn(x, 0x1.d1f534d000000p-90);
    double e = f32_part_turn(x, 0x1.b81b6c5000000p-119), f = f32_part_turn(x, 0x1.5993c40000000p-150),
           g = f32_part_turn(x, 0x1.c820ff2000000p-177);
    double k = rint(4 * (a + b + c + d + e + f + g));
    double r = (a - 0.25 * k) + b + c + d + e + f + g;
    return (f32_turns){f32_bits((float)k + F32_ROUNDER), r * 6.283185307179586};
}

NNL_INLINE float f32_sin_core(float r) {
    float z = r * r;
    return r + r * z * (-0.166666549f + z * (0.00833217585f + z * -0.000195169776f));
}

NNL_INLINE float f32_cos_core(float r) {
    float z = r * r;
    return 1 - 0.5f * z + z * z * (0.0416666468f + z * (-0.00138873645f + z * 2.4438091e-05f));
}

NNL_INLINE float f32_sin_quarter(uint32_t k, float r) {
    float y = f32_select(k & 1, f32_cos_core(r), f32_sin_core(r));
    return f32_from_bits(f32_bits(y) ^ (k & 2) << 30);
}

// 2 ulp, for any x.
NNL_INLINE float f32_sin(float x) {
    f32_turns v = f32_turns_of(x);
    return f32_select(f32_abs(x) < 0x1p-12f, x, f32_sin_quarter(v.k, (float)v.angle));
}

// 2 ulp, for any x.
NNL_INLINE float f32_cos(float x) {
    f32_turns v = f32_turns_of(x);
    return f32_sin_quarter(v.k + 1, (float)v.angle);
}

// 1 ulp, for any x. In double, where the quotient of sine and cosine loses nothing.
NNL_INLINE float f32_tan(float x) {
    f32_turns v = f32_turns_of(x);
    double r = v.angle, z = r * r;
    double s = r + r * z * (-1.66666666e-1 + z * (8.3333293e-3 + z * (-1.98393348e-4 + z * 2.718311e-6)));
    double c = 1 - z * (0.5 + z * (-4.16666667e-2 + z * (1.38888853e-3 - z * 2.4760e-5)));
    float ratio = (float)(s / c), turned = (float)(-c / s);
    return f32_select(f32_abs(x) < 0x1p-12f, x, f32_select(v.k & 1, turned, ratio));
}

#endif
