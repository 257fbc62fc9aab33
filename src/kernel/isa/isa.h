// isa.h: the name of the instruction set that a file of this folder is being compiled for. The build compiles
// each file several times, with NNL_ISA defined as baseline, avx2 or avx512 and the compiler flags that go
// with it; those of NNL_SPECIAL_GROUPS once more for avx512_bf16.
#ifndef NNL_KERNEL_ISA_H
#define NNL_KERNEL_ISA_H

#include "kernel/kernel.h"

#ifndef NNL_ISA
#define NNL_ISA baseline
#endif

#define NNL_ISA_JOIN2(name, isa) name##_##isa
#define NNL_ISA_JOIN(name, isa) NNL_ISA_JOIN2(name, isa)

// NNL_ISA_NAME(nnl_reduce) is nnl_reduce_avx2 when compiled for AVX2.
#define NNL_ISA_NAME(name) NNL_ISA_JOIN(name, NNL_ISA)

// The groups of kernel.h for each instruction set.
#define NNL_DECLARE_GROUP(name)                                                                              \
    extern const nnl_##name##_kernels nnl_##name##_baseline, nnl_##name##_avx2, nnl_##name##_avx512;
NNL_KERNEL_GROUPS(NNL_DECLARE_GROUP)
#undef NNL_DECLARE_GROUP
#define NNL_DECLARE_GROUP(name) extern const nnl_##name##_kernels nnl_##name##_avx512_bf16;
NNL_SPECIAL_GROUPS(NNL_DECLARE_GROUP)
#undef NNL_DECLARE_GROUP

// Says of the loop below it that its elements are independent: pointers are equal or their arrays apart. It
// promises, it does not demand: loops around the C library's functions stay scalar.
#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed"
#define NNL_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define NNL_INDEPENDENT _Pragma("GCC ivdep")
#endif

// A loop over elements, written once and given its operation as a constant function, becomes straight vector
// code only when both are inlined.
#define NNL_INLINE static inline __attribute__((always_inline))

#endif
