// square.h: vectors of the widest kind that the instruction set has, and squares of them whose rows and
// columns change places. For files of this folder.
#ifndef NNL_KERNEL_ISA_SQUARE_H
#define NNL_KERNEL_ISA_SQUARE_H

#include "kernel/isa/isa.h"

#include <string.h>

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define LANES (BYTES / 4)

typedef float lanes __attribute__((vector_size(BYTES)));

NNL_INLINE lanes load(const float *x) {
    lanes v;
    memcpy(&v, x, sizeof v);
    return v;
}

NNL_INLINE void store(float *x, lanes v) { memcpy(x, &v, sizeof v); }

#if LANES == 16
#define MERGE_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define MERGE_HIGH(a, b)                                                                                     \
    __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define TURNS 4
#elif LANES == 8
#define MERGE_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define MERGE_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define TURNS 3
#else
#define MERGE_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define MERGE_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#define TURNS 2
#endif

// A square of LANES rows. To merge the upper half of the rows with the lower one, element by element, turns
// the bits of each element's place by one; after as many turns as a column's number has bits, that is its
// row's.
NNL_INLINE void turn(lanes r[LANES]) {
    lanes half[LANES];
    for (int t = 0; t < TURNS; t++) {
        for (int i = 0; i < LANES / 2; i++) {
            half[2 * i] = MERGE_LOW(r[i], r[i + LANES / 2]);
            half[2 * i + 1] = MERGE_HIGH(r[i], r[i + LANES / 2]);
        }
        for (int i = 0; i < LANES; i++) r[i] = half[i];
    }
}

#endif
