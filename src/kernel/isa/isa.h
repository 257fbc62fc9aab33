// isa.h: the name of the instruction set that a file of this folder is being compiled for. The build compiles
// each file several times, with NNL_ISA defined as baseline, avx2 or avx512 and the compiler flags that go
// with it.
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

// The groups of kernel.h for one instruction set.
#define NNL_DECLARE_GROUPS(isa)                                                                              \
    extern const nnl_convert_kernels nnl_convert_##isa;                                                      \
    extern const nnl_elementwise_kernels nnl_elementwise_##isa;                                              \
    extern const nnl_reduce_kernels nnl_reduce_##isa;                                                        \
    extern const nnl_row_kernels nnl_rows_##isa;                                                             \
    extern const nnl_loss_kernels nnl_loss_##isa;                                                            \
    extern const nnl_random_kernels nnl_random_##isa;                                                        \
    extern const nnl_optim_kernels nnl_optim_##isa;                                                          \
    extern const nnl_product_kernels nnl_product_##isa;                                                      \
    extern const nnl_recurrent_kernels nnl_recurrent_##isa

NNL_DECLARE_GROUPS(baseline);
NNL_DECLARE_GROUPS(avx2);
NNL_DECLARE_GROUPS(avx512);

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
