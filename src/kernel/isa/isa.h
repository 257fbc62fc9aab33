// isa.h: the name of the instruction set that a file of this folder is being compiled for. The build compiles each file
// several times, with NNL_ISA defined as baseline, avx2 or avx512 and the compiler flags that go with it.
#ifndef NNL_KERNEL_ISA_H
#define NNL_KERNEL_ISA_H

#ifndef NNL_ISA
#define NNL_ISA baseline
#endif

#define NNL_ISA_JOIN2(name, isa) name##_##isa
#define NNL_ISA_JOIN(name, isa) NNL_ISA_JOIN2(name, isa)

// NNL_ISA_NAME(nnl_reduce) is nnl_reduce_avx2 when compiled for AVX2.
#define NNL_ISA_NAME(name) NNL_ISA_JOIN(name, NNL_ISA)

// A loop over elements, written once and given its operation as a constant function, becomes straight vector code only
// when both are inlined.
#define NNL_INLINE static inline __attribute__((always_inline))

#endif
