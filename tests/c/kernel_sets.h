// kernel_sets.h: the groups of kernels that a test can run on this processor, straight from their constants,
// so that a test of one group needs no other.
#ifndef NNL_TESTS_KERNEL_SETS_H
#define NNL_TESTS_KERNEL_SETS_H

#include "kernel/isa/isa.h"

#include <stdbool.h>

typedef struct kernel_set {
    const char *isa;
    bool runs; // on this processor
    const nnl_convert_kernels *convert;
    const nnl_elementwise_kernels *elementwise;
} kernel_set;

#define KERNEL_SETS 3

// In order of rising ability; those that the build lacks do not run.
static inline void kernel_sets_fill(kernel_set sets[KERNEL_SETS]) {
    for (int i = 0; i < KERNEL_SETS; i++) sets[i] = (kernel_set){"none", false, NULL, NULL};
    sets[0] = (kernel_set){"baseline", true, &nnl_convert_baseline, &nnl_elementwise_baseline};
#ifdef NNL_HAVE_AVX2
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    sets[1] = (kernel_set){"avx2", avx2, &nnl_convert_avx2, &nnl_elementwise_avx2};
#endif
#ifdef NNL_HAVE_AVX512
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    sets[2] = (kernel_set){"avx512", avx512, &nnl_convert_avx512, &nnl_elementwise_avx512};
#endif
}

#endif
