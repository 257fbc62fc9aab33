// lanes.h: one short stretch of contiguous memory folded to one value. Neighbours go to different lanes,
// which keeps the additions independent: compilers make vectors of them. A lane takes RUN values, then the
// lanes of the next run are folded to it: the longest chain of a leaf is RUN + LEAF / (RUN * LANES)
// additions.
#ifndef NNL_KERNEL_ISA_LANES_H
#define NNL_KERNEL_ISA_LANES_H

#include "kernel/isa/isa.h"
#include "kernel/vmath.h"

#include <string.h>

#define LANES 32 // fold_lanes_f32 knows
#define RUN 16

// Longer stretches are cut into leaves of this many, whose results are combined pairwise.
#define LEAF 4096

typedef float map_f32(float x, float shift);
typedef float fold_f32(float a, float b);

NNL_INLINE float same_f32(float x, float shift) { return (void)shift, x; }
NNL_INLINE float add_f32(float a, float b) { return a + b; }

// Each half in an array of its own, so that none of them needs memory.
NNL_INLINE float fold_lanes_f32(const float lanes[LANES], fold_f32 *fold) {
    float half[16], quarter[8], eighth[4];
    for (size_t j = 0; j < 16; j++) half[j] = fold(lanes[j], lanes[j + 16]);
    for (size_t j = 0; j < 8; j++) quarter[j] = fold(half[j], half[j + 8]);
    for (size_t j = 0; j < 4; j++) eighth[j] = fold(quarter[j], quarter[j + 4]);
    return fold(fold(eighth[0], eighth[2]), fold(eighth[1], eighth[3]));
}

NNL_INLINE void fold_run_f32(float lanes[LANES], const float *x, float shift, map_f32 *map, fold_f32 *fold,
                             float neutral) {
    float run[LANES];
    for (size_t j = 0; j < LANES; j++) run[j] = neutral;
    for (size_t i = 0; i < RUN * LANES; i += LANES)
        for (size_t j = 0; j < LANES; j++) run[j] = fold(run[j], map(x[i + j], shift));
    for (size_t j = 0; j < LANES; j++) lanes[j] = fold(lanes[j], run[j]);
}

NNL_INLINE float fold_leaf_f32(size_t n, const float *x, float shift, map_f32 *map, fold_f32 *fold,
                               float neutral) {
    float lanes[LANES];
    for (size_t j = 0; j < LANES; j++) lanes[j] = neutral;
    size_t i = 0;
    for (; i + RUN * LANES <= n; i += RUN * LANES) fold_run_f32(lanes, x + i, shift, map, fold, neutral);
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) lanes[j] = fold(lanes[j], map(x[i + j], shift));
    if (i == n) return fold_lanes_f32(lanes, fold);
#ifdef __AVX2__ // reads under a mask: all lanes at once, which single stores and a wide load after them hold
                // up
    float last[LANES];
    for (size_t j = 0; j < LANES; j++) last[j] = i + j < n ? fold(lanes[j], map(x[i + j], shift)) : lanes[j];
    return fold_lanes_f32(last, fold);
#else
    for (size_t j = 0; i + j < n; j++) lanes[j] = fold(lanes[j], map(x[i + j], shift));
    return fold_lanes_f32(lanes, fold);
#endif
}

NNL_INLINE float sum_leaf_f32(size_t n, const float *x) {
    return fold_leaf_f32(n, x, 0, same_f32, add_f32, 0);
}

// A vector of the widest instruction set, which others take in pieces: for sums that stay in registers.
#define VECTOR 16
typedef float vector_f32 __attribute__((vector_size(VECTOR * sizeof(float))));
typedef int32_t vector_i32 __attribute__((vector_size(VECTOR * sizeof(int32_t))));
typedef float vector_half_f32 __attribute__((vector_size(VECTOR / 2 * sizeof(float))));

NNL_INLINE vector_f32 vector_load(const float *x) {
    vector_f32 v;
    memcpy(&v, x, sizeof v);
    return v;
}

NNL_INLINE float vector_sum(vector_f32 v) {
    vector_half_f32 low, high;
    memcpy(&low, &v, sizeof low);
    memcpy(&high, (const char *)&v + sizeof low, sizeof high);
    low += high;
    return ((low[0] + low[4]) + (low[2] + low[6])) + ((low[1] + low[5]) + (low[3] + low[7]));
}

// The larger one for softmax and its kin. NaN need not win: it makes the sum of exponentials NaN, and with it
// all results.
NNL_INLINE float top_of_f32(float a, float b) { return a > b ? a : b; }
NNL_INLINE double top_of_f64(double a, double b) { return a > b ? a : b; }

// The largest of whole vectors.
NNL_INLINE float vectors_max(size_t n, const float *x) {
    vector_f32 most = vector_load(x);
    for (size_t i = VECTOR; i < n; i += VECTOR) {
        vector_f32 v = vector_load(x + i);
        vector_i32 higher = v > most;
        most = (vector_f32)(((vector_i32)v & higher) | ((vector_i32)most & ~higher));
    }
    float top[VECTOR], half[VECTOR / 2], quarter[VECTOR / 4];
    memcpy(top, &most, sizeof top);
    for (size_t j = 0; j < VECTOR / 2; j++) half[j] = top_of_f32(top[j], top[j + VECTOR / 2]);
    for (size_t j = 0; j < VECTOR / 4; j++) quarter[j] = top_of_f32(half[j], half[j + VECTOR / 4]);
    return top_of_f32(top_of_f32(quarter[0], quarter[2]), top_of_f32(quarter[1], quarter[3]));
}

typedef double map_f64(double x, double shift);
typedef double fold_f64(double a, double b);

NNL_INLINE double same_f64(double x, double shift) { return (void)shift, x; }
NNL_INLINE double add_f64(double a, double b) { return a + b; }

NNL_INLINE double fold_lanes_f64(double lanes[LANES], fold_f64 *fold) {
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t j = 0; j < half; j++) lanes[j] = fold(lanes[j], lanes[j + half]);
    return lanes[0];
}

NNL_INLINE void fold_run_f64(double lanes[LANES], const double *x, double shift, map_f64 *map, fold_f64 *fold,
                             double neutral) {
    double run[LANES];
    for (size_t j = 0; j < LANES; j++) run[j] = neutral;
    for (size_t i = 0; i < RUN * LANES; i += LANES)
        for (size_t j = 0; j < LANES; j++) run[j] = fold(run[j], map(x[i + j], shift));
    for (size_t j = 0; j < LANES; j++) lanes[j] = fold(lanes[j], run[j]);
}

NNL_INLINE double fold_leaf_f64(size_t n, const double *x, double shift, map_f64 *map, fold_f64 *fold,
                                double neutral) {
    double lanes[LANES];
    for (size_t j = 0; j < LANES; j++) lanes[j] = neutral;
    size_t i = 0;
    for (; i + RUN * LANES <= n; i += RUN * LANES) fold_run_f64(lanes, x + i, shift, map, fold, neutral);
    for (; i + LANES <= n; i += LANES)
        for (size_t j = 0; j < LANES; j++) lanes[j] = fold(lanes[j], map(x[i + j], shift));
    for (size_t j = 0; i + j < n; j++) lanes[j] = fold(lanes[j], map(x[i + j], shift));
    return fold_lanes_f64(lanes, fold);
}

NNL_INLINE double sum_leaf_f64(size_t n, const double *x) {
    return fold_leaf_f64(n, x, 0, same_f64, add_f64, 0);
}

// A sum of doubles of any length, off by a step or two: what an addition rounds away is kept (Knuth, The Art
// of Computer Programming 2, 4.2.2, theorem B). Of infinities the lost part is NaN and does not count.
typedef struct total_f64 {
    double sum, lost;
} total_f64;

NNL_INLINE void total_add(double *sum, double *lost, double x) {
    double next = *sum + x, taken = next - *sum;
    *lost += (*sum - (next - taken)) + (x - taken);
    *sum = next;
}

NNL_INLINE double total_of(double sum, double lost) { return lost == lost ? sum + lost : sum; }

#endif
