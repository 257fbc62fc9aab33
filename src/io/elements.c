// elements.c: one loop a kind and size, over elements that may lie anywhere.
#include "io/elements.h"

#include <math.h>
#include <string.h>

typedef int64_t read_fn(const char *from, char *to, int64_t count);

// ---- the order of bytes

static void reverse2(const char *from, char *to, int64_t count) {
    for (int64_t i = 0; i < count; i++, from += 2, to += 2) {
        uint16_t value;
        memcpy(&value, from, sizeof value);
        value = __builtin_bswap16(value);
        memcpy(to, &value, sizeof value);
    }
}

static void reverse4(const char *from, char *to, int64_t count) {
    for (int64_t i = 0; i < count; i++, from += 4, to += 4) {
        uint32_t value;
        memcpy(&value, from, sizeof value);
        value = __builtin_bswap32(value);
        memcpy(to, &value, sizeof value);
    }
}

static void reverse8(const char *from, char *to, int64_t count) {
    for (int64_t i = 0; i < count; i++, from += 8, to += 8) {
        uint64_t value;
        memcpy(&value, from, sizeof value);
        value = __builtin_bswap64(value);
        memcpy(to, &value, sizeof value);
    }
}

static void reverse(size_t size, const char *from, char *to, int64_t count) {
    if (size == 2) reverse2(from, to, count);
    if (size == 4) reverse4(from, to, count);
    if (size == 8) reverse8(from, to, count);
}

// ---- elements that have no dtype of their own

#define WIDEN(name, type)                                                                                    \
    static int64_t name(const char *from, char *to, int64_t count) {                                         \
        for (int64_t i = 0; i < count; i++) {                                                                \
            type value;                                                                                      \
            memcpy(&value, from + (size_t)i * sizeof value, sizeof value);                                   \
            int64_t wide = (int64_t)value;                                                                   \
            memcpy(to + (size_t)i * sizeof wide, &wide, sizeof wide);                                        \
        }                                                                                                    \
        return count;                                                                                        \
    }

WIDEN(widen_i8, signed char)
WIDEN(widen_i16, int16_t)
WIDEN(widen_u16, uint16_t)
WIDEN(widen_u32, uint32_t)

// As they are, up to the first that is too large for an int64.
static int64_t read_u64(const char *from, char *to, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        uint64_t value;
        memcpy(&value, from + (size_t)i * sizeof value, sizeof value);
        if (value > INT64_MAX) return i;
        memcpy(to + (size_t)i * sizeof value, &value, sizeof value);
    }
    return count;
}

static int64_t read_bool(const char *from, char *to, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        if ((unsigned char)from[i] > 1) return i;
        to[i] = from[i];
    }
    return count;
}

// A sign, an exponent and a mantissa of so many bits in one byte.
static float small_float(unsigned bits, int mantissa_bits, int bias) {
    int mantissa = (int)(bits & ((1u << mantissa_bits) - 1)),
        exponent = (int)((bits & 0x7f) >> mantissa_bits);
    float size = exponent == 0
                     ? ldexpf((float)mantissa, 1 - bias - mantissa_bits)
                     : ldexpf((float)(mantissa + (1 << mantissa_bits)), exponent - bias - mantissa_bits);
    return bits & 0x80 ? -size : size;
}

// No infinity; the largest mantissa of the largest exponent is NaN.
static float e4m3(unsigned bits) { return (bits & 0x7f) == 0x7f ? NAN : small_float(bits, 3, 7); }

static float e5m2(unsigned bits) {
    if ((bits & 0x7c) != 0x7c) return small_float(bits, 2, 15);
    if (bits & 3) return NAN;
    return bits & 0x80 ? -INFINITY : INFINITY;
}

static int64_t read_small(const char *from, char *to, int64_t count, float (*decode)(unsigned bits)) {
    float values[256];
    for (unsigned bits = 0; bits < 256; bits++) values[bits] = decode(bits);
    for (int64_t i = 0; i < count; i++)
        memcpy(to + (size_t)i * sizeof *values, &values[(unsigned char)from[i]], sizeof *values);
    return count;
}

static int64_t read_e4m3(const char *from, char *to, int64_t count) {
    return read_small(from, to, count, e4m3);
}

static int64_t read_e5m2(const char *from, char *to, int64_t count) {
    return read_small(from, to, count, e5m2);
}

// ---- which elements there are

typedef struct row {
    nnl_element_kind kind;
    size_t size;
    nnl_dtype dtype;
    read_fn *read; // NULL where the bytes are those of the dtype
} row;

static const row rows[] = {
    {NNL_ELEMENT_FLOAT, 4, NNL_FLOAT32, NULL},       {NNL_ELEMENT_FLOAT, 8, NNL_FLOAT64, NULL},
    {NNL_ELEMENT_FLOAT, 2, NNL_FLOAT16, NULL},       {NNL_ELEMENT_BFLOAT, 2, NNL_BFLOAT16, NULL},
    {NNL_ELEMENT_SIGNED, 8, NNL_INT64, NULL},        {NNL_ELEMENT_SIGNED, 4, NNL_INT32, NULL},
    {NNL_ELEMENT_SIGNED, 2, NNL_INT64, widen_i16},   {NNL_ELEMENT_SIGNED, 1, NNL_INT64, widen_i8},
    {NNL_ELEMENT_UNSIGNED, 1, NNL_UINT8, NULL},      {NNL_ELEMENT_UNSIGNED, 2, NNL_INT64, widen_u16},
    {NNL_ELEMENT_UNSIGNED, 4, NNL_INT64, widen_u32}, {NNL_ELEMENT_UNSIGNED, 8, NNL_INT64, read_u64},
    {NNL_ELEMENT_BOOL, 1, NNL_BOOL, read_bool},      {NNL_ELEMENT_E4M3, 1, NNL_FLOAT32, read_e4m3},
    {NNL_ELEMENT_E5M2, 1, NNL_FLOAT32, read_e5m2},
};

static const row *row_of(nnl_element_kind kind, size_t size) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].kind == kind && rows[i].size == size) return &rows[i];
    }
    return NULL;
}

bool nnl_elements_find(nnl_elements *elements, nnl_element_kind kind, size_t size, bool big_endian) {
    const row *found = row_of(kind, size);
    if (!found) return false;
    *elements = (nnl_elements){kind, size, big_endian && size > 1, found->dtype};
    return true;
}

bool nnl_elements_native(const nnl_elements *elements) {
    return !elements->big_endian && !row_of(elements->kind, elements->size)->read;
}

#define BLOCK 512
#define MOST_AT_ONCE ((int64_t)1 << 22) // then the host may want an end

// Reversed block by block where the elements also change their size.
static int64_t read_reversed(const nnl_elements *elements, read_fn *read, const char *from, char *to,
                             int64_t count) {
    char block[BLOCK * sizeof(uint64_t)];
    for (int64_t done = 0; done < count; done += BLOCK) {
        int64_t n = count - done < BLOCK ? count - done : BLOCK;
        reverse(elements->size, from + (size_t)done * elements->size, block, n);
        int64_t got = read(block, to + (size_t)done * nnl_dtype_size(elements->dtype), n);
        if (got < n) return done + got;
    }
    return count;
}

int64_t nnl_elements_read(const nnl_elements *elements, const char *from, char *to, int64_t count) {
    if (count == 0) return 0;
    read_fn *read = row_of(elements->kind, elements->size)->read;
    if (elements->big_endian && read) return read_reversed(elements, read, from, to, count);
    if (read) return read(from, to, count);
    if (elements->big_endian)
        reverse(elements->size, from, to, count);
    else if (from != to)
        memcpy(to, from, (size_t)count * elements->size);
    return count;
}

// ---- a tensor of them

static nnl_status check_size(const nnl_source *source, const nnl_elements *elements, const nnl_shape *shape) {
    char text[NNL_SHAPE_TEXT];
    bool possible = nnl_shape_check(source->ctx, "", shape, sizeof(int64_t)) == NNL_OK;
    if (possible && (uint64_t)nnl_shape_numel(shape) <= nnl_source_most(source) / elements->size)
        return NNL_OK;
    return nnl_fail(source->ctx, NNL_ERR_IO, "the file is too short for its shape %s",
                    nnl_shape_text(shape, text));
}

static nnl_status refuse(const nnl_source *source, const nnl_elements *elements, int64_t place) {
    const char *what =
        elements->kind == NNL_ELEMENT_BOOL ? "a bool that is neither 0 nor 1" : "too large for int64";
    return nnl_fail(source->ctx, NNL_ERR_IO, "element %lld is %s", (long long)place + 1, what);
}

// Through a block where the elements change their size.
static nnl_status load_widened(nnl_source *source, const nnl_elements *elements, char *to, int64_t count) {
    char block[BLOCK * sizeof(uint64_t)];
    for (int64_t done = 0; done < count; done += BLOCK) {
        int64_t n = count - done < BLOCK ? count - done : BLOCK;
        if (nnl_source_read(source, block, (size_t)n * elements->size) != NNL_OK) return source->ctx->status;
        nnl_elements_read(elements, block, to + (size_t)done * nnl_dtype_size(elements->dtype), n);
    }
    return NNL_OK;
}

static nnl_status load(nnl_source *source, const nnl_elements *elements, nnl_tensor *t) {
    int64_t count = nnl_tensor_numel(t);
    char *to = nnl_tensor_data(t);
    if (count == 0) return NNL_OK;
    if (elements->size != nnl_dtype_size(t->dtype)) return load_widened(source, elements, to, count);
    for (int64_t done = 0; done < count; done += MOST_AT_ONCE) {
        int64_t n = count - done < MOST_AT_ONCE ? count - done : MOST_AT_ONCE, read;
        char *piece = to + (size_t)done * elements->size;
        if (nnl_source_read(source, piece, (size_t)n * elements->size) != NNL_OK) return source->ctx->status;
        if ((read = nnl_elements_read(elements, piece, piece, n)) < n)
            return refuse(source, elements, done + read);
        if (nnl_check_stop(source->ctx, "reading") != NNL_OK) return source->ctx->status;
    }
    return NNL_OK;
}

nnl_status nnl_elements_load(nnl_source *source, const nnl_elements *elements, const nnl_shape *shape,
                             nnl_tensor **out) {
    if (check_size(source, elements, shape) != NNL_OK) return source->ctx->status;
    nnl_tensor *t = nnl_tensor_new(source->ctx, elements->dtype, shape);
    if (!t) return source->ctx->status;
    nnl_status status = load(source, elements, t);
    if (status == NNL_OK) status = nnl_source_end(source);
    if (status == NNL_OK)
        *out = t;
    else
        nnl_tensor_release(t);
    return status;
}
