// dispatch.c: which instruction sets the build has and the processor runs.
#include "kernel/isa/isa.h"

#include <string.h>

#if defined(__aarch64__)
#define BASELINE_NAME "neon"
#else
#define BASELINE_NAME "baseline"
#endif

#define SET(text, set)                                                                                       \
    {                                                                                                        \
        .isa = text, .convert = &nnl_convert_##set, .elementwise = &nnl_elementwise_##set,                   \
        .reduce = &nnl_reduce_##set, .rows = &nnl_rows_##set, .loss = &nnl_loss_##set,                       \
        .random = &nnl_random_##set, .optim = &nnl_optim_##set, .product = &nnl_product_##set,               \
        .recurrent = &nnl_recurrent_##set                                                                    \
    }

// In order of rising ability.
static const nnl_kernels sets[] = {
    SET(BASELINE_NAME, baseline),
#ifdef NNL_HAVE_AVX2
    SET("avx2", avx2),
#endif
#ifdef NNL_HAVE_AVX512
    SET("avx512", avx512),
#endif
};

#define SETS (sizeof sets / sizeof sets[0])

static bool processor_runs(const char *isa) {
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
