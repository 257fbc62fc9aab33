// fft.h: discrete Fourier transforms of any size, of NNL_FFT_LANES complex signals at once: number p of
// signal l lies at [p * NNL_FFT_LANES + l] of the array of real and of that of imaginary parts. Tables are
// made once and only read afterwards, so that threads may share them.
#ifndef NNL_KERNEL_FFT_H
#define NNL_KERNEL_FFT_H

#include "kernel/kernel.h"

#define NNL_FFT_PASSES 32
#define NNL_FFT_MOST ((size_t)1 << 20)

typedef struct nnl_fft {
    size_t n; // of the transform
    size_t m; // of the passes: n, or a power of two from 2 n - 1 on where n has a large prime factor
    int passes;
    unsigned char radix[NNL_FFT_PASSES];
    const float *tables;         // twiddles and roots of each pass
    const float *chirp, *filter; // for the large prime factors (Bluestein 1970); otherwise NULL
} nnl_fft;

// Floats that the tables of a transform of n numbers take, 1 <= n <= NNL_FFT_MOST.
size_t nnl_fft_floats(size_t n);

// Floats of scratch that a run needs.
size_t nnl_fft_scratch(size_t n);

// Fills `tables`, which stay the caller's.
void nnl_fft_init(const nnl_fft_kernels *kernels, nnl_fft *fft, size_t n, float *tables, float *scratch);

// In place: X[k] = sum of x[p] exp(-2 pi i p k / n).
void nnl_fft_run(const nnl_fft_kernels *kernels, const nnl_fft *fft, float *re, float *im, float *scratch);

#endif
