// decode.c: products of one vector with weights as they lie in memory, of float32, bfloat16 or float16, and
// the normalisation of one row: what a language model does for each token. Weights come once from memory;
// what is done to them hides behind that.
#include "kernel/isa/isa.h"
#include "kernel/isa/lanes.h"

#include <math.h>
#include <string.h>

#define ROWS 8   // of weights worked on together: as many sums as keep the multipliers busy
#define SPAN 512 // results that are summed up together, in the first-level cache

typedef uint16_t vector_u16 __attribute__((vector_size(VECTOR * sizeof(uint16_t))));
typedef uint32_t vector_u32 __attribute__((vector_size(VECTOR * sizeof(uint32_t))));

// ---- VECTOR weights as floats

typedef vector_f32 load_weights(const void *w, size_t at);
typedef float load_weight(const void *w, size_t at);

NNL_INLINE float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

NNL_INLINE vector_u32 wide_bits(const void *w, size_t at) {
    vector_u16 bits;
    memcpy(&bits, (const uint16_t *)w + at, sizeof bits);
    return __builtin_convertvector(bits, vector_u32);
}

NNL_INLINE vector_f32 floats_f32(const void *w, size_t at) { return vector_load((const float *)w + at); }
NNL_INLINE float float_f32(const void *w, size_t at) { return ((const float *)w)[at]; }

NNL_INLINE vector_f32 floats_bf16(const void *w, size_t at) { return (vector_f32)(wide_bits(w, at) << 16); }
NNL_INLINE float float_bf16(const void *w, size_t at) {
    return float_of((uint32_t)((const uint16_t *)w)[at] << 16);
}

// Halves are floats whose exponent is 112 less: a multiplication sets that right, for subnormal ones too.
// Infinity and NaN, which no weights are, become large numbers.
#define HALF_SCALE 5.192296858534828e+33f // 2^112

NNL_INLINE vector_f32 floats_f16(const void *w, size_t at) {
    vector_u32 bits = wide_bits(w, at);
    vector_f32 x = (vector_f32)((bits & 0x7fffu) << 13 | (bits & 0x8000u) << 16);
    return x * HALF_SCALE;
}

NNL_INLINE float float_f16(const void *w, size_t at) {
    uint32_t bits = ((const uint16_t *)w)[at];
    return float_of((bits & 0x7fffu) << 13 | (bits & 0x8000u) << 16) * HALF_SCALE;
}

// ---- y[j] (+)= x w[j]: weights (n, k)

// The last k % VECTOR numbers of x as the end of a vector that reaches back over others, which are 0 in it.
NNL_INLINE vector_f32 rest_of(size_t k, const float *x) {
    vector_f32 rest = {0};
    size_t done = VECTOR - k % VECTOR;
    if (done < VECTOR)
        memcpy((char *)&rest + done * sizeof(float), x + k - k % VECTOR, k % VECTOR * sizeof(float));
    return rest;
}

NNL_INLINE float dot_one(size_t k, const float *x, vector_f32 rest, const void *w, size_t from,
                         load_weights *load, load_weight *one) {
    float total = 0;
    if (k < VECTOR) {
        for (size_t i = 0; i < k; i++) total += x[i] * one(w, from + i);
        return total;
    }
    vector_f32 sum = {0};
    for (size_t i = 0; i + VECTOR <= k; i += VECTOR) sum += vector_load(x + i) * load(w, from + i);
    if (k % VECTOR > 0) sum += rest * load(w, from + k - VECTOR);
    return vector_sum(sum);
}

NNL_INLINE vector_half_f32 halves_sum(vector_f32 v) {
    vector_half_f32 low, high;
    memcpy(&low, &v, sizeof low);
    memcpy(&high, (const char *)&v + sizeof low, sizeof high);
    return low + high;
}

// The sums of four vectors, side by side: neighbours are added, then pairs, then halves.
NNL_INLINE void fold4(float *out, const vector_f32 *v) {
    vector_half_f32 s0 = halves_sum(v[0]), s1 = halves_sum(v[1]), s2 = halves_sum(v[2]),
                    s3 = halves_sum(v[3]);
    vector_half_f32 a = __builtin_shufflevector(s0, s1, 0, 8, 2, 10, 4, 12, 6, 14) +
                        __builtin_shufflevector(s0, s1, 1, 9, 3, 11, 5, 13, 7, 15);
    vector_half_f32 b = __builtin_shufflevector(s2, s3, 0, 8, 2, 10, 4, 12, 6, 14) +
                        __builtin_shufflevector(s2, s3, 1, 9, 3, 11, 5, 13, 7, 15);
    vector_half_f32 c = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13) +
                        __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    for (int r = 0; r < 4; r++) out[r] = c[r] + c[r + 4];
}

// k at least VECTOR
NNL_INLINE void dot_block(size_t k, float sums[ROWS], const float *x, vector_f32 rest, const void *w,
                          size_t from, size_t ld, size_t size, load_weights *load) {
    vector_f32 sum[ROWS] = {{0}};
    for (size_t i = 0; i + VECTOR <= k; i += VECTOR) {
        vector_f32 v = vector_load(x + i);
        for (size_t r = 0; r < ROWS; r++) {
            __builtin_prefetch((const char *)w + (from + (r + ROWS) * ld + i) * size);
            sum[r] += v * load(w, from + r * ld + i);
        }
    }
    if (k % VECTOR > 0) {
        for (size_t r = 0; r < ROWS; r++) sum[r] += rest * load(w, from + r * ld + k - VECTOR);
    }
    fold4(sums, sum);
    fold4(sums + 4, sum + 4);
}

NNL_INLINE void dots(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld, bool add,
                     load_weights *load, load_weight *one) {
    size_t j = 0;
    vector_f32 rest = rest_of(k, x);
    for (; k >= VECTOR && j + ROWS <= n; j += ROWS) {
        float sums[ROWS];
        dot_block(k, sums, x, rest, w, j * ld, ld, load == floats_f32 ? 4 : 2, load);
        for (size_t r = 0; r < ROWS; r++) y[j + r] = add ? y[j + r] + sums[r] : sums[r];
    }
    for (; j < n; j++) {
        float sum = dot_one(k, x, rest, w, j * ld, load, one);
        y[j] = add ? y[j] + sum : sum;
    }
}

static void dots_f32(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld, bool add) {
    dots(n, k, y, x, w, ld, add, floats_f32, float_f32);
}

static void dots_bf16(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld, bool add) {
    dots(n, k, y, x, w, ld, add, floats_bf16, float_bf16);
}

static void dots_f16(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld, bool add) {
    dots(n, k, y, x, w, ld, add, floats_f16, float_f16);
}

// ---- y[j] (+)= x w[.][j]: weights (k, n), as they lie transposed

NNL_INLINE void add_rows(size_t rows, size_t n, float *y, const float *x, const void *w, size_t from,
                         size_t ld, load_weights *load, load_weight *one) {
    size_t j = 0;
    for (; j + VECTOR <= n; j += VECTOR) {
        vector_f32 sum = vector_load(y + j);
        for (size_t r = 0; r < rows; r++) sum += x[r] * load(w, from + r * ld + j);
        memcpy(y + j, &sum, sizeof sum);
    }
    for (; j < n; j++) {
        for (size_t r = 0; r < rows; r++) y[j] += x[r] * one(w, from + r * ld + j);
    }
}

NNL_INLINE void sums(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld, bool add,
                     load_weights *load, load_weight *one) {
    if (!add) memset(y, 0, n * sizeof *y);
    for (size_t j = 0; j < n; j += SPAN) {
        size_t width = n - j < SPAN ? n - j : SPAN, i = 0;
        for (; i + ROWS <= k; i += ROWS) add_rows(ROWS, width, y + j, x + i, w, i * ld + j, ld, load, one);
        for (; i < k; i++) add_rows(1, width, y + j, x + i, w, i * ld + j, ld, load, one);
    }
}

static void sums_f32(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld, bool add) {
    sums(n, k, y, x, w, ld, add, floats_f32, float_f32);
}

static void sums_bf16(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld, bool add) {
    sums(n, k, y, x, w, ld, add, floats_bf16, float_bf16);
}

static void sums_f16(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld, bool add) {
    sums(n, k, y, x, w, ld, add, floats_f16, float_f16);
}

// ---- normalisation

NNL_INLINE float squares_of(size_t n, const float *x, float mean) {
    vector_f32 sum = {0};
    size_t i = 0;
    for (; i + VECTOR <= n; i += VECTOR) {
        vector_f32 v = vector_load(x + i) - mean;
        sum += v * v;
    }
    float total = vector_sum(sum);
    for (; i < n; i++) total += (x[i] - mean) * (x[i] - mean);
    return total;
}

static void norm(size_t n, float *y, const float *x, const float *w, const float *b, double eps,
                 bool centred) {
    float mean = centred ? sum_leaf_f32(n, x) / (float)n : 0;
    float scale = 1 / sqrtf(squares_of(n, x, mean) / (float)n + (float)eps);
    if (b) {
        for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * scale * w[i] + b[i];
    } else {
        for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * scale * w[i];
    }
}

const nnl_decode_kernels NNL_ISA_NAME(nnl_decode) = {
    .dots = {[NNL_FLOAT32] = dots_f32, [NNL_BFLOAT16] = dots_bf16, [NNL_FLOAT16] = dots_f16},
    .sums = {[NNL_FLOAT32] = sums_f32, [NNL_BFLOAT16] = sums_bf16, [NNL_FLOAT16] = sums_f16},
    .norm = norm};
