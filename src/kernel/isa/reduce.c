// reduce.c: sums, products, extremes and their places, along rows and down columns. A reduction maps each
// value and folds the results; leaves of bounded size are folded straight, and leaves are combined pairwise.
#include "kernel/isa/lanes.h"

// Columns are taken in tiles, so that a tile's results stay in the first cache; rows in leaves of ROWS.
#define TILE 256
#define ROWS 64

// Of products, fewer go straight: large and small factors should meet before they overflow.
#define PRODUCT_LEAF 128

#define STRIDED(x, size, elements) ((const unsigned char *)(x) + (size) * (elements))

typedef void leaf_fn(size_t n, size_t width, void *out, const void *x, size_t stride);
// out[j] = fold(out[j], rest[j])
typedef void join_fn(size_t width, void *out, const void *rest);

typedef struct reduction {
    leaf_fn *row, *columns;
    join_fn *join;
    size_t leaf; // elements of a row that are folded straight
    size_t size; // of an element
} reduction;

typedef union tile {
    float f32[TILE];
    double f64[TILE];
    int64_t i64[TILE];
} tile;

// Both halves are whole leaves but for the last, and as equal as that allows.
static void reduce_tree(const reduction *r, leaf_fn *leaf, size_t leaf_rows, size_t n, size_t width,
                        void *out, const void *x, size_t stride) {
    if (n <= leaf_rows) {
        leaf(n, width, out, x, stride);
        return;
    }
    tile rest;
    size_t half = (n / leaf_rows + 1) / 2 * leaf_rows;
    reduce_tree(r, leaf, leaf_rows, half, width, out, x, stride);
    reduce_tree(r, leaf, leaf_rows, n - half, width, &rest, STRIDED(x, r->size, half * stride), stride);
    r->join(width, out, &rest);
}

static void reduce(const reduction *r, size_t n, size_t inner, void *out, const void *x, size_t stride) {
    if (inner == 1 && stride == 1) {
        reduce_tree(r, r->row, r->leaf, n, 1, out, x, 1);
        return;
    }
    for (size_t j = 0; j < inner; j += TILE) {
        size_t width = inner - j < TILE ? inner - j : TILE, offset = j * r->size;
        reduce_tree(r, r->columns, ROWS, n, width, (unsigned char *)out + offset, STRIDED(x, r->size, j),
                    stride);
    }
}

// What is done to each value, and how two are folded.
typedef int64_t map_i64(int64_t x, int64_t shift);
typedef int64_t fold_i64(int64_t a, int64_t b);

NNL_INLINE float abs_f32(float x, float shift) { return (void)shift, v_abs(x); }
NNL_INLINE float square_f32(float x, float shift) { return (void)shift, (x * x); }
NNL_INLINE float nonzero_f32(float x, float shift) { return (void)shift, x != 0 ? 1.0f : 0.0f; }
NNL_INLINE float mul_f32(float a, float b) { return a * b; }

NNL_INLINE double abs_f64(double x, double shift) { return (void)shift, v_abs(x); }
NNL_INLINE double square_f64(double x, double shift) { return (void)shift, (x * x); }
NNL_INLINE double nonzero_f64(double x, double shift) { return (void)shift, x != 0 ? 1.0 : 0.0; }
NNL_INLINE double mul_f64(double a, double b) { return a * b; }

NNL_INLINE int64_t same_i64(int64_t x, int64_t shift) { return (void)shift, x; }
NNL_INLINE int64_t abs_i64(int64_t x, int64_t shift) { return (void)shift, x < 0 ? NNL_INT_NEG(x) : x; }
NNL_INLINE int64_t square_i64(int64_t x, int64_t shift) { return (void)shift, NNL_INT_MUL(x, x); }
NNL_INLINE int64_t nonzero_i64(int64_t x, int64_t shift) { return (void)shift, x != 0; }
NNL_INLINE int64_t add_i64(int64_t a, int64_t b) { return NNL_INT_ADD(a, b); }
NNL_INLINE int64_t mul_i64(int64_t a, int64_t b) { return NNL_INT_MUL(a, b); }
NNL_INLINE int64_t i64_max(int64_t a, int64_t b) { return a > b ? a : b; }
NNL_INLINE int64_t i64_min(int64_t a, int64_t b) { return a < b ? a : b; }

NNL_INLINE int64_t fold_leaf_i64(size_t n, const int64_t *x, int64_t shift, map_i64 *map, fold_i64 *fold,
                                 int64_t neutral) {
    int64_t result = neutral;
    for (size_t i = 0; i < n; i++) result = fold(result, map(x[i], shift));
    return result;
}

// Down columns, eight rows at a time: the results of eight rows are folded as a tree, then to the sum so far.
NNL_INLINE float fold8_f32(const float *x, size_t stride, float shift, map_f32 *map, fold_f32 *fold) {
    float a = fold(map(x[0], shift), map(x[stride], shift));
    float b = fold(map(x[2 * stride], shift), map(x[3 * stride], shift));
    float c = fold(map(x[4 * stride], shift), map(x[5 * stride], shift));
    float d = fold(map(x[6 * stride], shift), map(x[7 * stride], shift));
    return fold(fold(a, b), fold(c, d));
}

NNL_INLINE void columns_f32(size_t n, size_t width, float *restrict out, const float *restrict x,
                            size_t stride, map_f32 *map, fold_f32 *fold, float neutral) {
    for (size_t j = 0; j < width; j++) out[j] = neutral;
    size_t i = 0;
    for (; i + 8 <= n; i += 8, x += 8 * stride)
        for (size_t j = 0; j < width; j++) out[j] = fold(out[j], fold8_f32(x + j, stride, 0, map, fold));
    for (; i < n; i++, x += stride)
        for (size_t j = 0; j < width; j++) out[j] = fold(out[j], map(x[j], 0));
}

NNL_INLINE void join_f32(size_t width, float *restrict out, const float *restrict rest, fold_f32 *fold) {
    for (size_t j = 0; j < width; j++) out[j] = fold(out[j], rest[j]);
}

NNL_INLINE double fold8_f64(const double *x, size_t stride, double shift, map_f64 *map, fold_f64 *fold) {
    double a = fold(map(x[0], shift), map(x[stride], shift));
    double b = fold(map(x[2 * stride], shift), map(x[3 * stride], shift));
    double c = fold(map(x[4 * stride], shift), map(x[5 * stride], shift));
    double d = fold(map(x[6 * stride], shift), map(x[7 * stride], shift));
    return fold(fold(a, b), fold(c, d));
}

NNL_INLINE void columns_f64(size_t n, size_t width, double *restrict out, const double *restrict x,
                            size_t stride, map_f64 *map, fold_f64 *fold, double neutral) {
    for (size_t j = 0; j < width; j++) out[j] = neutral;
    size_t i = 0;
    for (; i + 8 <= n; i += 8, x += 8 * stride)
        for (size_t j = 0; j < width; j++) out[j] = fold(out[j], fold8_f64(x + j, stride, 0, map, fold));
    for (; i < n; i++, x += stride)
        for (size_t j = 0; j < width; j++) out[j] = fold(out[j], map(x[j], 0));
}

NNL_INLINE void join_f64(size_t width, double *restrict out, const double *restrict rest, fold_f64 *fold) {
    for (size_t j = 0; j < width; j++) out[j] = fold(out[j], rest[j]);
}

// Integers are exact in any order.
NNL_INLINE void columns_i64(size_t n, size_t width, int64_t *restrict out, const int64_t *restrict x,
                            size_t stride, map_i64 *map, fold_i64 *fold, int64_t neutral) {
    for (size_t j = 0; j < width; j++) out[j] = neutral;
    for (size_t i = 0; i < n; i++, x += stride)
        for (size_t j = 0; j < width; j++) out[j] = fold(out[j], map(x[j], 0));
}

NNL_INLINE void join_i64(size_t width, int64_t *restrict out, const int64_t *restrict rest, fold_i64 *fold) {
    for (size_t j = 0; j < width; j++) out[j] = fold(out[j], rest[j]);
}

// The list: REDUCTION(name, type, C type, map, fold, neutral element, leaf).
#define REDUCTIONS_OF_FLOAT(type, ctype)                                                                     \
    REDUCTION(sum, type, ctype, same_##type, add_##type, 0, LEAF)                                            \
    REDUCTION(sum_abs, type, ctype, abs_##type, add_##type, 0, LEAF)                                         \
    REDUCTION(sum_square, type, ctype, square_##type, add_##type, 0, LEAF)                                   \
    REDUCTION(prod, type, ctype, same_##type, mul_##type, 1, PRODUCT_LEAF)                                   \
    REDUCTION(max, type, ctype, same_##type, type##_max, -INFINITY, LEAF)                                    \
    REDUCTION(min, type, ctype, same_##type, type##_min, INFINITY, LEAF)                                     \
    REDUCTION(max_abs, type, ctype, abs_##type, type##_max, 0, LEAF)                                         \
    REDUCTION(count_nonzero, type, ctype, nonzero_##type, add_##type, 0, LEAF)

#define REDUCTIONS_OF_INT                                                                                    \
    REDUCTION(sum, i64, int64_t, same_i64, add_i64, 0, LEAF)                                                 \
    REDUCTION(sum_abs, i64, int64_t, abs_i64, add_i64, 0, LEAF)                                              \
    REDUCTION(sum_square, i64, int64_t, square_i64, add_i64, 0, LEAF)                                        \
    REDUCTION(prod, i64, int64_t, same_i64, mul_i64, 1, PRODUCT_LEAF)                                        \
    REDUCTION(max, i64, int64_t, same_i64, i64_max, INT64_MIN, LEAF)                                         \
    REDUCTION(min, i64, int64_t, same_i64, i64_min, INT64_MAX, LEAF)                                         \
    REDUCTION(max_abs, i64, int64_t, abs_i64, i64_max, 0, LEAF)                                              \
    REDUCTION(count_nonzero, i64, int64_t, nonzero_i64, add_i64, 0, LEAF)

#define REDUCTION(name, type, ctype, map, fold, neutral, leaf)                                               \
    static void name##_row_##type(size_t n, size_t width, void *out, const void *x, size_t stride) {         \
        (void)width, (void)stride;                                                                           \
        *(ctype *)out = fold_leaf_##type(n, x, 0, map, fold, neutral);                                       \
    }                                                                                                        \
    static void name##_columns_##type(size_t n, size_t width, void *out, const void *x, size_t stride) {     \
        columns_##type(n, width, out, x, stride, map, fold, neutral);                                        \
    }                                                                                                        \
    static void name##_join_##type(size_t width, void *out, const void *rest) {                              \
        join_##type(width, out, rest, fold);                                                                 \
    }                                                                                                        \
    static const reduction name##_reduction_##type = {name##_row_##type, name##_columns_##type,              \
                                                      name##_join_##type, leaf, sizeof(ctype)};
REDUCTIONS_OF_FLOAT(f32, float)
REDUCTIONS_OF_FLOAT(f64, double)
REDUCTIONS_OF_INT
#undef REDUCTION

#define REDUCE_OF(name, type)                                                                                \
    static void name##_##type(size_t n, size_t inner, void *out, const void *x, size_t stride) {             \
        reduce(&name##_reduction_##type, n, inner, out, x, stride);                                          \
    }
#define REDUCE(name) REDUCE_OF(name, f32) REDUCE_OF(name, f64) REDUCE_OF(name, i64)
REDUCE(sum)
REDUCE(sum_abs)
REDUCE(sum_square)
REDUCE(prod)
REDUCE(max)
REDUCE(min)
REDUCE(max_abs)
REDUCE(count_nonzero)

// Places of extremes: along a row, the extreme first and then where it stands; down columns, both together.
typedef bool beats_f32(float x, float best);
typedef bool beats_f64(double x, double best);
typedef bool beats_i64(int64_t x, int64_t best);

// NaN beats all but NaN. Written without branches, as bits, for the sake of vectors.
NNL_INLINE bool larger_f32(float x, float best) { return (x > best) | ((x != x) & (best == best)); }
NNL_INLINE bool smaller_f32(float x, float best) { return (x < best) | ((x != x) & (best == best)); }
NNL_INLINE bool larger_f64(double x, double best) { return (x > best) | ((x != x) & (best == best)); }
NNL_INLINE bool smaller_f64(double x, double best) { return (x < best) | ((x != x) & (best == best)); }
NNL_INLINE bool larger_i64(int64_t x, int64_t best) { return x > best; }
NNL_INLINE bool smaller_i64(int64_t x, int64_t best) { return x < best; }

NNL_INLINE bool found_f32(float x, float value) { return (x == value) | ((x != x) & (value != value)); }
NNL_INLINE bool found_f64(double x, double value) { return (x == value) | ((x != x) & (value != value)); }

// Whole leaves are asked first, because that is vector code and stopping at a place is not.
static int64_t place_f32(size_t n, const float *x, float value) {
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        unsigned hits = 0;
        for (size_t j = 0; j < LANES; j++) hits |= found_f32(x[i + j], value);
        if (hits) break;
    }
    while (i < n && !found_f32(x[i], value)) i++;
    return (int64_t)i;
}

static int64_t place_f64(size_t n, const double *x, double value) {
    size_t i = 0;
    while (i < n && !found_f64(x[i], value)) i++;
    return (int64_t)i;
}

static int64_t place_i64(size_t n, const int64_t *x, int64_t value) {
    size_t i = 0;
    while (i < n && x[i] != value) i++;
    return (int64_t)i;
}

NNL_INLINE void arg_columns_f32(size_t n, size_t width, int64_t *restrict out, const float *restrict x,
                                size_t stride, beats_f32 *beats) {
    float best[TILE];
    for (size_t j = 0; j < width; j++) best[j] = x[j], out[j] = 0;
    for (size_t i = 1; i < n; i++)
        for (size_t j = 0; j < width; j++) {
            bool better = beats(x[i * stride + j], best[j]);
            best[j] = better ? x[i * stride + j] : best[j];
            out[j] = better ? (int64_t)i : out[j];
        }
}

NNL_INLINE void arg_columns_f64(size_t n, size_t width, int64_t *restrict out, const double *restrict x,
                                size_t stride, beats_f64 *beats) {
    double best[TILE];
    for (size_t j = 0; j < width; j++) best[j] = x[j], out[j] = 0;
    for (size_t i = 1; i < n; i++)
        for (size_t j = 0; j < width; j++) {
            bool better = beats(x[i * stride + j], best[j]);
            best[j] = better ? x[i * stride + j] : best[j];
            out[j] = better ? (int64_t)i : out[j];
        }
}

NNL_INLINE void arg_columns_i64(size_t n, size_t width, int64_t *restrict out, const int64_t *restrict x,
                                size_t stride, beats_i64 *beats) {
    int64_t best[TILE];
    for (size_t j = 0; j < width; j++) best[j] = x[j], out[j] = 0;
    for (size_t i = 1; i < n; i++)
        for (size_t j = 0; j < width; j++) {
            bool better = beats(x[i * stride + j], best[j]);
            best[j] = better ? x[i * stride + j] : best[j];
            out[j] = better ? (int64_t)i : out[j];
        }
}

typedef void arg_columns_fn(size_t n, size_t width, int64_t *out, const void *x, size_t stride);

static void arg_tiles(arg_columns_fn *columns, size_t n, size_t inner, int64_t *out, const void *x,
                      size_t stride, size_t size) {
    for (size_t j = 0; j < inner; j += TILE)
        columns(n, inner - j < TILE ? inner - j : TILE, out + j, STRIDED(x, size, j), stride);
}

// Of no values the place is 0.
NNL_INLINE bool arg_nothing(size_t n, size_t inner, int64_t *out) {
    for (size_t j = 0; n == 0 && j < inner; j++) out[j] = 0;
    return n == 0;
}

#define ARG_REDUCE(name, extreme, beats, type, ctype)                                                        \
    static void name##_columns_##type(size_t n, size_t width, int64_t *out, const void *x, size_t stride) {  \
        arg_columns_##type(n, width, out, x, stride, beats##_##type);                                        \
    }                                                                                                        \
    static int64_t name##_row_##type(size_t n, const void *x) {                                              \
        ctype best;                                                                                          \
        extreme##_##type(n, 1, &best, x, 1);                                                                 \
        return place_##type(n, x, best);                                                                     \
    }
#define ARG_REDUCE_OF(type, ctype)                                                                           \
    ARG_REDUCE(arg_max, max, larger, type, ctype)                                                            \
    ARG_REDUCE(arg_min, min, smaller, type, ctype)
ARG_REDUCE_OF(f32, float)
ARG_REDUCE_OF(f64, double)
ARG_REDUCE_OF(i64, int64_t)

typedef int64_t arg_row_fn(size_t n, const void *x);

static void arg_reduce(arg_row_fn *row, arg_columns_fn *columns, size_t n, size_t inner, int64_t *out,
                       const void *x, size_t stride, size_t size) {
    if (arg_nothing(n, inner, out)) return;
    if (inner == 1 && stride == 1)
        out[0] = row(n, x);
    else
        arg_tiles(columns, n, inner, out, x, stride, size);
}

#define ARG_KERNEL(name, type, ctype)                                                                        \
    static void name##_##type(size_t n, size_t inner, int64_t *out, const void *x, size_t stride) {          \
        arg_reduce(name##_row_##type, name##_columns_##type, n, inner, out, x, stride, sizeof(ctype));       \
    }
ARG_KERNEL(arg_max, f32, float)
ARG_KERNEL(arg_max, f64, double)
ARG_KERNEL(arg_max, i64, int64_t)
ARG_KERNEL(arg_min, f32, float)
ARG_KERNEL(arg_min, f64, double)
ARG_KERNEL(arg_min, i64, int64_t)

#define ROW_OF_TABLE(name)                                                                                   \
    { name##_f32, name##_f64, name##_i64 }

const nnl_reduce_kernels NNL_ISA_NAME(nnl_reduce) = {
    .reduce =
        {
            [NNL_REDUCE_SUM] = ROW_OF_TABLE(sum),
            [NNL_REDUCE_SUM_ABS] = ROW_OF_TABLE(sum_abs),
            [NNL_REDUCE_SUM_SQUARE] = ROW_OF_TABLE(sum_square),
            [NNL_REDUCE_PROD] = ROW_OF_TABLE(prod),
            [NNL_REDUCE_MAX] = ROW_OF_TABLE(max),
            [NNL_REDUCE_MIN] = ROW_OF_TABLE(min),
            [NNL_REDUCE_MAX_ABS] = ROW_OF_TABLE(max_abs),
            [NNL_REDUCE_COUNT_NONZERO] = ROW_OF_TABLE(count_nonzero),
        },
    .arg_max = ROW_OF_TABLE(arg_max),
    .arg_min = ROW_OF_TABLE(arg_min),
};
