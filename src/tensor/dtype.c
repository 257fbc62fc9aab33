// dtype.c: the table of element types, promotion, and single elements.
#include "tensor/dtype.h"

#include <math.h>
#include <string.h>

const nnl_dtype_info nnl_dtypes[NNL_DTYPE_COUNT] = {
    [NNL_FLOAT32] = {"float32", "F32", 4, NNL_KIND_FLOAT, NNL_IN_FLOAT, true},
    [NNL_FLOAT64] = {"float64", "F64", 8, NNL_KIND_FLOAT, NNL_IN_DOUBLE, true},
    [NNL_INT64] = {"int64", "I64", 8, NNL_KIND_INT, NNL_IN_INT, true},
    [NNL_INT32] = {"int32", "I32", 4, NNL_KIND_INT, NNL_IN_INT, false},
    [NNL_UINT8] = {"uint8", "U8", 1, NNL_KIND_INT, NNL_IN_INT, false},
    [NNL_BOOL] = {"bool", "BOOL", 1, NNL_KIND_BOOL, NNL_IN_INT, false},
    [NNL_BFLOAT16] = {"bfloat16", "BF16", 2, NNL_KIND_FLOAT, NNL_IN_FLOAT, false},
    [NNL_FLOAT16] = {"float16", "F16", 2, NNL_KIND_FLOAT, NNL_IN_FLOAT, false},
};

bool nnl_dtype_named(const char *name, nnl_dtype *dtype) {
    for (int i = 0; i < NNL_DTYPE_COUNT; i++) {
        if (strcmp(nnl_dtypes[i].name, name) == 0) {
            *dtype = (nnl_dtype)i;
            return true;
        }
    }
    return false;
}

// Two 16-bit floats of different kinds meet in float32; uint8 and int32 in the wider one, which has a sign.
nnl_dtype nnl_dtype_promote(nnl_dtype a, nnl_dtype b) {
    if (a == b) return a;
    const nnl_dtype_info *ia = &nnl_dtypes[a], *ib = &nnl_dtypes[b];
    if (ia->kind != ib->kind) return ia->kind > ib->kind ? a : b;
    if (ia->size == ib->size) return NNL_FLOAT32;
    return ia->size > ib->size ? a : b;
}

nnl_number nnl_number_int(int64_t i) { return (nnl_number){.is_int = true, .i = i, .d = (double)i}; }

nnl_number nnl_number_bool(bool truth) {
    return (nnl_number){.is_int = true, .is_bool = true, .i = truth, .d = truth};
}

nnl_dtype nnl_number_dtype(nnl_number number) {
    return number.is_bool ? NNL_BOOL : number.is_int ? NNL_INT64 : NNL_FLOAT32;
}

// Towards zero; the smallest integer for what lies beyond the range, and for NaN.
static int64_t to_int64(double d) {
    return d >= -9223372036854775808.0 && d < 9223372036854775808.0 ? (int64_t)d : INT64_MIN;
}

static int32_t to_int32(double d) { return d > -2147483649.0 && d < 2147483648.0 ? (int32_t)d : INT32_MIN; }

nnl_number nnl_number_float(double d) { return (nnl_number){.is_int = false, .i = to_int64(d), .d = d}; }

static uint16_t to_bfloat16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    if (isnan(f)) return (uint16_t)((bits >> 16) | 0x40);
    return (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static float from_bfloat16(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static float from_float16(uint16_t half) {
    int exponent = (half >> 10) & 31;
    float fraction = (float)(half & 1023);
    float f = exponent == 31  ? (fraction > 0 ? NAN : INFINITY)
              : exponent == 0 ? ldexpf(fraction, -24)
                              : ldexpf(1024 + fraction, exponent - 25);
    return half & 0x8000 ? -f : f;
}

// Rounds to nearest even by letting the float unit round at the half's last bit.
static uint16_t to_float16(float f) {
    uint16_t sign = signbit(f) ? 0x8000 : 0;
    float a = fabsf(f);
    if (isnan(f)) return sign | 0x7e00;
    if (a >= 65520) return sign | 0x7c00;
    if (a < 6.103515625e-05f) return (uint16_t)(sign | (uint16_t)lrintf(ldexpf(a, 24)));
    int exponent;
    float mantissa = frexpf(a, &exponent); // in [0.5, 1)
    long units = lrintf(ldexpf(mantissa, 11));
    return (uint16_t)(sign | (uint16_t)(((exponent + 14) << 10) + (units - 1024)));
}

void nnl_element_write(nnl_dtype dtype, void *memory, nnl_number value) {
    int64_t whole = value.is_int ? value.i : to_int64(value.d);
    int32_t narrow = value.is_int ? (int32_t)(uint32_t)whole : to_int32(value.d);
    switch (dtype) {
    case NNL_FLOAT32:
        *(float *)memory = (float)value.d;
        break;
    case NNL_FLOAT64:
        *(double *)memory = value.d;
        break;
    case NNL_INT64:
        *(int64_t *)memory = whole;
        break;
    case NNL_INT32:
        *(int32_t *)memory = narrow;
        break;
    case NNL_UINT8:
        *(uint8_t *)memory = (uint8_t)narrow;
        break;
    case NNL_BOOL:
        *(uint8_t *)memory = value.d != 0;
        break;
    case NNL_BFLOAT16:
        *(uint16_t *)memory = to_bfloat16((float)value.d);
        break;
    case NNL_FLOAT16:
        *(uint16_t *)memory = to_float16((float)value.d);
        break;
    case NNL_DTYPE_COUNT:
        break;
    }
}

nnl_number nnl_element_read(nnl_dtype dtype, const void *memory) {
    switch (dtype) {
    case NNL_FLOAT32:
        return nnl_number_float(*(const float *)memory);
    case NNL_FLOAT64:
        return nnl_number_float(*(const double *)memory);
    case NNL_INT64:
        return nnl_number_int(*(const int64_t *)memory);
    case NNL_INT32:
        return nnl_number_int(*(const int32_t *)memory);
    case NNL_UINT8:
    case NNL_BOOL:
        return nnl_number_int(*(const uint8_t *)memory);
    case NNL_BFLOAT16:
        return nnl_number_float(from_bfloat16(*(const uint16_t *)memory));
    case NNL_FLOAT16:
        return nnl_number_float(from_float16(*(const uint16_t *)memory));
    case NNL_DTYPE_COUNT:
        break;
    }
    return nnl_number_int(0);
}

bool nnl_dtype_holds(nnl_dtype dtype, nnl_number value) {
    switch (dtype) {
    case NNL_INT64:
        return value.is_int || (value.d >= -9223372036854775808.0 && value.d < 9223372036854775808.0);
    case NNL_INT32:
        return value.d > -2147483649.0 && value.d < 2147483648.0;
    case NNL_UINT8:
        return value.d > -256 && value.d < 256;
    default:
        return true;
    }
}
