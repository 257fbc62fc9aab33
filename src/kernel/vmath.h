// vmath.h: the mathematics of ops.def, each function for float and double by the type of its argument. Floats
// take the vector code of vmath_float.h, doubles the C library; what neither has as a primitive stands here.
// v_NAME_d and v_NAME_d2 are first and second derivatives.
#ifndef NNL_KERNEL_VMATH_H
#define NNL_KERNEL_VMATH_H

#include "kernel/vmath_float.h"

// A constant in the type of the x at hand: every operation of ops.def has one.
#define K(c) ((__typeof__(x))(c))

#define NNL_V(x, of_float, of_double) _Generic((x), float : of_float, double : of_double)

// The formulas in double, with the same clamps as in vmath_float.h against infinity times 0.
NNL_INLINE double f64_between(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

#define F64_SQRT_HALF 0.7071067811865476
#define F64_INV_SQRT_2PI 0.3989422804014327

NNL_INLINE double f64_sigmoid(double x) {
    double z = exp(-fabs(x));
    return (x < 0 ? z : 1) / (1 + z);
}

NNL_INLINE double f64_softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

// Beyond 40 the normal distribution is 0 or 1.
NNL_INLINE double f64_gelu(double x) {
    double t = x < -40 ? -40 : x;
    return 0.5 * t * erfc(-F64_SQRT_HALF * t);
}

NNL_INLINE double f64_gelu_d(double x) {
    double t = f64_between(x, -40, 40);
    return 0.5 * erfc(-F64_SQRT_HALF * t) + F64_INV_SQRT_2PI * t * exp(-0.5 * t * t);
}

NNL_INLINE double f64_gelu_d2(double x) {
    double t = f64_between(x, -40, 40);
    return F64_INV_SQRT_2PI * exp(-0.5 * t * t) * (2 - t * t);
}

NNL_INLINE double f64_gelu_tanh_gate(double t) {
    return f64_sigmoid(GELU_TANH_SLOPE * (t + GELU_TANH_CUBE * t * t * t));
}

NNL_INLINE double f64_gelu_tanh(double x) {
    return (x < -40 ? -40 : x) * f64_gelu_tanh_gate(f64_between(x, -40, 40));
}

NNL_INLINE double f64_gelu_tanh_d(double x) {
    double t = f64_between(x, -40, 40), s = f64_gelu_tanh_gate(t);
    double dg = GELU_TANH_SLOPE * (1 + 3 * GELU_TANH_CUBE * t * t);
    return s + t * (s * (1 - s)) * dg;
}

NNL_INLINE double f64_gelu_tanh_d2(double x) {
    double t = f64_between(x, -40, 40), s = f64_gelu_tanh_gate(t), w = s * (1 - s);
    double dg = GELU_TANH_SLOPE * (1 + 3 * GELU_TANH_CUBE * t * t);
    double ddg = 6 * GELU_TANH_SLOPE * GELU_TANH_CUBE * t;
    return w * (2 * dg + t * ((1 - 2 * s) * dg * dg + ddg));
}

NNL_INLINE double f64_silu(double x) { return (x < -800 ? -800 : x) * f64_sigmoid(x); }

NNL_INLINE double f64_silu_d(double x) {
    double t = f64_between(x, -800, 800), s = f64_sigmoid(t);
    return s * (1 + t * (1 - s));
}

NNL_INLINE double f64_silu_d2(double x) {
    double t = f64_between(x, -800, 800), s = f64_sigmoid(t);
    return s * (1 - s) * (2 + t * (1 - 2 * s));
}

NNL_INLINE double f64_mish(double x) {
    double e = exp(x > 40 ? 40 : x), n = e * (e + 2);
    return x > 40 ? x : (x < -800 ? -800 : x) * (n / (n + 2));
}

NNL_INLINE double f64_mish_d(double x) {
    double t = f64_between(x, -800, 40), e = exp(t), n = e * (e + 2), d = n + 2;
    return x > 40 ? 1 : n / d + t * (4 * e * (1 + e) / (d * d));
}

NNL_INLINE double f64_mish_d2(double x) {
    double t = f64_between(x, -800, 40), e = exp(t), d = e * (e + 2) + 2;
    double dw = 4 * e * (1 + e) / (d * d);
    double ratio = ((1 + 2 * e) * d - 4 * e * (1 + e) * (1 + e)) / ((1 + e) * d);
    return x > 40 ? 0 : dw * (2 + t * ratio);
}

// Where C's fmod has the sign of a, this has b's, as in Lua.
NNL_INLINE double f64_remainder(double a, double b) {
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

NNL_INLINE float f32_remainder(float a, float b) {
    float r = fmodf(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

// The quotient rounded down, exact where a / b is not (1 // 0.1 is 9): what fmod leaves is taken away first.
NNL_INLINE double f64_floor_divide(double a, double b) {
    double r = fmod(a, b), whole = rint((a - r) / b);
    double q = r != 0 && (r < 0) != (b < 0) ? whole - 1 : whole;
    return b == 0 ? a / b : q != 0 ? q : copysign(0, a / b);
}

NNL_INLINE float f32_floor_divide(float a, float b) {
    float r = fmodf(a, b), whole = rintf((a - r) / b);
    float q = r != 0 && (r < 0) != (b < 0) ? whole - 1 : whole;
    return b == 0 ? a / b : q != 0 ? q : copysignf(0, a / b);
}

// NaN in either wins. Conditions joined by bits, as branches keep compilers from vectors.
NNL_INLINE float f32_max(float a, float b) { return ((a > b) | (a != a)) ? a : b; }
NNL_INLINE float f32_min(float a, float b) { return ((a < b) | (a != a)) ? a : b; }
// 0 for NaN
NNL_INLINE float f32_sign(float x) { return (float)((x > 0) - (x < 0)); }
NNL_INLINE double f64_max(double a, double b) { return ((a > b) | (a != a)) ? a : b; }
NNL_INLINE double f64_min(double a, double b) { return ((a < b) | (a != a)) ? a : b; }
NNL_INLINE double f64_sign(double x) { return (double)((x > 0) - (x < 0)); }

// The upper limit counts where they cross; NaN stays.
NNL_INLINE float f32_clamp(float x, float low, float high) {
    float raised = x < low ? low : x;
    return raised > high ? high : raised;
}

NNL_INLINE double f64_clamp(double x, double low, double high) {
    double raised = x < low ? low : x;
    return raised > high ? high : raised;
}

NNL_INLINE float f32_clamped_log(float x) { return f32_at_least(f32_log(x), -100); }
NNL_INLINE double f64_clamped_log(double x) {
    double y = log(x);
    return y < -100 ? -100 : y;
}

#define v_exp(x) NNL_V(x, f32_exp, exp)(x)
#define v_expm1(x) NNL_V(x, f32_expm1, expm1)(x)
#define v_log(x) NNL_V(x, f32_log, log)(x)
#define v_log1p(x) NNL_V(x, f32_log1p, log1p)(x)
#define v_log2(x) NNL_V(x, f32_log2, log2)(x)
#define v_log10(x) NNL_V(x, f32_log10, log10)(x)
#define v_clamped_log(x) NNL_V(x, f32_clamped_log, f64_clamped_log)(x)
#define v_sqrt(x) NNL_V(x, sqrtf, sqrt)(x)
#define v_sin(x) NNL_V(x, f32_sin, sin)(x)
#define v_cos(x) NNL_V(x, f32_cos, cos)(x)
#define v_tan(x) NNL_V(x, f32_tan, tan)(x)
#define v_tanh(x) NNL_V(x, f32_tanh, tanh)(x)
#define v_sigmoid(x) NNL_V(x, f32_sigmoid, f64_sigmoid)(x)
#define v_softplus(x) NNL_V(x, f32_softplus, f64_softplus)(x)
#define v_erf(x) NNL_V(x, f32_erf, erf)(x)
#define v_gelu(x) NNL_V(x, f32_gelu, f64_gelu)(x)
#define v_gelu_d(x) NNL_V(x, f32_gelu_d, f64_gelu_d)(x)
#define v_gelu_d2(x) NNL_V(x, f32_gelu_d2, f64_gelu_d2)(x)
#define v_gelu_tanh(x) NNL_V(x, f32_gelu_tanh, f64_gelu_tanh)(x)
#define v_gelu_tanh_d(x) NNL_V(x, f32_gelu_tanh_d, f64_gelu_tanh_d)(x)
#define v_gelu_tanh_d2(x) NNL_V(x, f32_gelu_tanh_d2, f64_gelu_tanh_d2)(x)
#define v_silu(x) NNL_V(x, f32_silu, f64_silu)(x)
#define v_silu_d(x) NNL_V(x, f32_silu_d, f64_silu_d)(x)
#define v_silu_d2(x) NNL_V(x, f32_silu_d2, f64_silu_d2)(x)
#define v_mish(x) NNL_V(x, f32_mish, f64_mish)(x)
#define v_mish_d(x) NNL_V(x, f32_mish_d, f64_mish_d)(x)
#define v_mish_d2(x) NNL_V(x, f32_mish_d2, f64_mish_d2)(x)

// 0 and NaN are their own sign. Rounding follows the mode of the processor, which nobody here changes: half
// to even.
#define v_abs(x) NNL_V(x, fabsf, fabs)(x)
#define v_sign(x) NNL_V(x, f32_sign, f64_sign)(x)
#define v_floor(x) NNL_V(x, floorf, floor)(x)
#define v_ceil(x) NNL_V(x, ceilf, ceil)(x)
#define v_round(x) NNL_V(x, rintf, rint)(x)
#define v_trunc(x) NNL_V(x, truncf, trunc)(x)

#define v_max(a, b) NNL_V(a, f32_max, f64_max)(a, b)
#define v_min(a, b) NNL_V(a, f32_min, f64_min)(a, b)
#define v_pow(a, b) NNL_V(a, powf, pow)(a, b)
#define v_clamp(x, low, high) NNL_V(x, f32_clamp, f64_clamp)(x, low, high)
#define v_floor_divide(a, b) NNL_V(a, f32_floor_divide, f64_floor_divide)(a, b)
#define v_remainder(a, b) NNL_V(a, f32_remainder, f64_remainder)(a, b)
#define v_atan2(a, b) NNL_V(a, atan2f, atan2)(a, b)

// int64_t arithmetic that wraps around, by way of unsigned numbers, where C leaves it undefined for signed
// ones.
#define NNL_INT_ADD(a, b) ((int64_t)((uint64_t)(a) + (uint64_t)(b)))
#define NNL_INT_SUB(a, b) ((int64_t)((uint64_t)(a) - (uint64_t)(b)))
#define NNL_INT_MUL(a, b) ((int64_t)((uint64_t)(a) * (uint64_t)(b)))
#define NNL_INT_NEG(a) ((int64_t)(0 - (uint64_t)(a)))

// By squaring; a negative power is what is left of 1 / a: 0, unless a is 1 or -1.
NNL_INLINE int64_t v_int_pow(int64_t a, int64_t b) {
    if (b < 0 && a != 1 && a != -1) return 0;
    uint64_t power = 1, square = (uint64_t)a;
    for (uint64_t left = (uint64_t)(b < 0 ? NNL_INT_NEG(b) : b); left > 0; left >>= 1) {
        power *= left & 1 ? square : 1;
        square *= square;
    }
    return (int64_t)power;
}

// Rounded down. By 0: 0. By -1: a wrapped negation, because INT64_MIN / -1 would trap.
NNL_INLINE int64_t v_int_floor_divide(int64_t a, int64_t b) {
    if (b == 0) return 0;
    if (b == -1) return NNL_INT_NEG(a);
    return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

// The sign is b's. By 0: 0.
NNL_INLINE int64_t v_int_remainder(int64_t a, int64_t b) {
    if (b == 0 || b == -1) return 0;
    int64_t r = a % b;
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

#endif
