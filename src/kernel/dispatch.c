// dispatch.c: which instruction sets the build has and the processor runs.
#include "kernel/isa/isa.h"

#include <string.h>

#if defined(__aarch64__)
#define BASELINE_NAME "neon"
#else
#define BASELINE_NAME "baseline"
#endif

// The constants of one instruction set, in the order of the list.
#define BASELINE(name) .name = &nnl_##name##_baseline,
#define AVX2(name) .name = &nnl_##name##_avx2,
#define AVX512(name) .name = &nnl_##name##_avx512,
#define AVX512_BF16(name) .name = &nnl_##name##_avx512_bf16,

// In order of rising ability.
static const nnl_kernels sets[] = {
    {.isa = BASELINE_NAME, NNL_KERNEL_GROUPS(BASELINE)},
#ifdef NNL_HAVE_AVX2
    {.isa = "avx2", NNL_KERNEL_GROUPS(AVX2)},
#endif
#ifdef NNL_HAVE_AVX512
    {.isa = "avx512", NNL_KERNEL_GROUPS(AVX512)},
#endif
#ifdef NNL_HAVE_AVX512_BF16
    {.isa = "avx512_bf16", NNL_COMMON_GROUPS(AVX512) NNL_SPECIAL_GROUPS(AVX512_BF16)},
#endif
};

#define SETS (sizeof sets / sizeof sets[0])

static bool processor_runs(const char *isa) {
#ifdef NNL_HAVE_AVX512_BF16
    if (strcmp(isa, "avx512_bf16") == 0)
        return __builtin_cpu_supports("avx512bf16") && processor_runs("avx512");
#endif
#ifdef NNL_HAVE_AVX512
    if (strcmp(isa, "avx512") == 0) {
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    }
#endif
#ifdef NNL_HAVE_AVX2
    if (strcmp(isa, "avx2") == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
    return strcmp(isa, BASELINE_NAME) == 0;
}

const nnl_kernels *nnl_kernels_named(const char *isa) {
    for (size_t i = 0; i < SETS; i++) {
        if (strcmp(sets[i].isa, isa) == 0) return processor_runs(isa) ? &sets[i] : NULL;
    }
    return NULL;
}

const nnl_kernels *nnl_kernels_best(void) {
    for (size_t i = SETS; i-- > 1;) {
        if (processor_runs(sets[i].isa)) return &sets[i];
    }
    return &sets[0];
}
