// fft.c: cutting a size into radices, the tables, and the order of the passes.
#include "kernel/fft.h"

#include <math.h>
#include <string.h>

#define LARGEST_RADIX 13
#define TAU 6.283185307179586476925

// The radices of n; 0 where a prime factor is too large.
static int factors(size_t n, unsigned char radix[NNL_FFT_PASSES]) {
    static const unsigned char tried[] = {4, 2, 3, 5, 7, 11, LARGEST_RADIX};
    int count = 0;
    for (size_t i = 0; i < sizeof tried; i++) {
        for (; n % tried[i] == 0; n /= tried[i]) radix[count++] = tried[i];
    }
    return n == 1 ? count : 0;
}

static size_t padded_size(size_t n) {
    size_t m = 1;
    while (m < 2 * n - 1) m *= 2;
    return m;
}

static size_t pass_floats(size_t n, size_t radix) {
    return 2 * (n / radix) * (radix - 1) + 2 * radix * radix;
}

static size_t tables_of(size_t m, const unsigned char *radix, int passes) {
    size_t floats = 0;
    for (int i = 0; i < passes; m /= radix[i++]) floats += pass_floats(m, radix[i]);
    return floats;
}

size_t nnl_fft_floats(size_t n) {
    unsigned char radix[NNL_FFT_PASSES];
    int passes = factors(n, radix);
    if (passes > 0 || n == 1) return tables_of(n, radix, passes);
    size_t m = padded_size(n);
    return tables_of(m, radix, factors(m, radix)) + 2 * n + 2 * m;
}

// exp(-2 pi i part / whole)
static float *put_root(float *to, size_t part, size_t whole) {
    double angle = -TAU * (double)(part % whole) / (double)whole;
    to[0] = (float)cos(angle);
    to[1] = (float)sin(angle);
    return to + 2;
}

static float *fill_passes(nnl_fft *fft, float *to) {
    size_t n = fft->m;
    for (int i = 0; i < fft->passes; i++) {
        size_t radix = fft->radix[i], m = n / radix;
        for (size_t p = 0; p < m; p++) {
            for (size_t k = 1; k < radix; k++) to = put_root(to, p * k, n);
        }
        for (size_t k = 0; k < radix; k++) {
            for (size_t j = 0; j < radix; j++) to = put_root(to, j * k, radix);
        }
        n = m;
    }
    return to;
}

// Between two arrays and back as often as there are passes; true where the result is in the second.
static bool run_passes(const nnl_fft_kernels *kernels, const nnl_fft *fft, size_t lanes, float *re, float *im,
                       float *re2, float *im2) {
    const float *tables = fft->tables;
    size_t n = fft->m, width = lanes;
    bool second = false;
    for (int i = 0; i < fft->passes; i++, second = !second) {
        size_t radix = fft->radix[i], m = n / radix;
        const float *roots = tables + 2 * m * (radix - 1);
        kernels->pass(radix, m, width, second ? re2 : re, second ? im2 : im, second ? re : re2,
                      second ? im : im2, tables, roots);
        tables += pass_floats(n, radix);
        width *= radix;
        n = m;
    }
    return second;
}

// exp(-i pi p^2 / n); p^2 counts modulo 2 n, which keeps it exact.
static void fill_chirp(float *chirp, size_t n) {
    for (size_t p = 0; p < n; p++) put_root(chirp + 2 * p, (size_t)((uint64_t)p * p % (2 * n)), 2 * n);
}

// The transform of the conjugated chirp, wrapped around, over m: by the same passes on one lane.
static void fill_filter(const nnl_fft_kernels *kernels, const nnl_fft *fft, float *filter, float *scratch) {
    size_t m = fft->m;
    float *re = scratch, *im = re + m, *re2 = im + m, *im2 = re2 + m;
    memset(scratch, 0, 2 * m * sizeof *scratch);
    for (size_t p = 0; p < fft->n; p++) {
        size_t back = p ? m - p : 0;
        re[p] = re[back] = fft->chirp[2 * p];
        im[p] = im[back] = -fft->chirp[2 * p + 1];
    }
    bool second = run_passes(kernels, fft, 1, re, im, re2, im2);
    for (size_t k = 0; k < m; k++) {
        filter[2 * k] = (second ? re2 : re)[k] / (float)m;
        filter[2 * k + 1] = (second ? im2 : im)[k] / (float)m;
    }
}

void nnl_fft_init(const nnl_fft_kernels *kernels, nnl_fft *fft, size_t n, float *tables, float *scratch) {
    *fft = (nnl_fft){.n = n, .m = n, .tables = tables};
    fft->passes = factors(n, fft->radix);
    bool direct = fft->passes > 0 || n == 1;
    if (!direct) {
        fft->m = padded_size(n);
        fft->passes = factors(fft->m, fft->radix);
    }
    float *rest = fill_passes(fft, tables);
    if (direct) return;
    fft->chirp = rest;
    fft->filter = rest + 2 * n;
    fill_chirp(rest, n);
    fill_filter(kernels, fft, rest + 2 * n, scratch);
}

size_t nnl_fft_scratch(size_t n) {
    unsigned char radix[NNL_FFT_PASSES];
    bool direct = factors(n, radix) > 0 || n == 1;
    return direct ? 2 * n * NNL_FFT_LANES : 4 * padded_size(n) * NNL_FFT_LANES;
}

// A product with the chirp, a convolution with it by a longer transform and back (which is the same one with
// real and imaginary parts exchanged), and the product again.
static void run_chirp(const nnl_fft_kernels *kernels, const nnl_fft *fft, float *re, float *im,
                      float *scratch) {
    const size_t lanes = NNL_FFT_LANES, size = fft->m * lanes, used = fft->n * lanes;
    float *ar = scratch, *ai = ar + size, *br = ai + size, *bi = br + size;
    kernels->turn(fft->n, lanes, re, im, ar, ai, fft->chirp);
    memset(ar + used, 0, (size - used) * sizeof *ar);
    memset(ai + used, 0, (size - used) * sizeof *ai);
    bool second = run_passes(kernels, fft, lanes, ar, ai, br, bi);
    float *cr = second ? br : ar, *ci = second ? bi : ai, *dr = second ? ar : br, *di = second ? ai : bi;
    kernels->turn(fft->m, lanes, cr, ci, cr, ci, fft->filter);
    second = run_passes(kernels, fft, lanes, ci, cr, di, dr);
    kernels->turn(fft->n, lanes, second ? dr : cr, second ? di : ci, re, im, fft->chirp);
}

void nnl_fft_run(const nnl_fft_kernels *kernels, const nnl_fft *fft, float *re, float *im, float *scratch) {
    size_t size = fft->n * NNL_FFT_LANES;
    if (fft->chirp) {
        run_chirp(kernels, fft, re, im, scratch);
    } else if (run_passes(kernels, fft, NNL_FFT_LANES, re, im, scratch, scratch + size)) {
        memcpy(re, scratch, size * sizeof *re);
        memcpy(im, scratch + size, size * sizeof *im);
    }
}
