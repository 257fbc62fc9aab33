// fft.c: the passes of Fourier transforms (Stockham's form, which needs no reordering: Cochran et al., "What
// is the fast Fourier transform?", 1967), over signals side by side.
#include "kernel/isa/isa.h"

#include <math.h>

NNL_INLINE void pass_2(size_t m, size_t s, const float *xr, const float *xi, float *yr, float *yi,
                       const float *w) {
    for (size_t p = 0; p < m; p++, w += 2) {
        const float *ar = xr + s * p, *ai = xi + s * p, *br = xr + s * (p + m), *bi = xi + s * (p + m);
        float *cr = yr + s * 2 * p, *ci = yi + s * 2 * p, *dr = cr + s, *di = ci + s;
        NNL_INDEPENDENT
        for (size_t q = 0; q < s; q++) {
            float r = ar[q] - br[q], i = ai[q] - bi[q];
            cr[q] = ar[q] + br[q];
            ci[q] = ai[q] + bi[q];
            dr[q] = r * w[0] - i * w[1];
            di[q] = r * w[1] + i * w[0];
        }
    }
}

NNL_INLINE void pass_4(size_t m, size_t s, const float *xr, const float *xi, float *yr, float *yi,
                       const float *w) {
    for (size_t p = 0; p < m; p++, w += 6) {
        const float *r0 = xr + s * p, *r1 = r0 + s * m, *r2 = r1 + s * m, *r3 = r2 + s * m;
        const float *i0 = xi + s * p, *i1 = i0 + s * m, *i2 = i1 + s * m, *i3 = i2 + s * m;
        float *ur = yr + s * 4 * p, *ui = yi + s * 4 * p;
        NNL_INDEPENDENT
        for (size_t q = 0; q < s; q++) {
            float sr = r0[q] + r2[q], si = i0[q] + i2[q], dr = r0[q] - r2[q], di = i0[q] - i2[q];
            float tr = r1[q] + r3[q], ti = i1[q] + i3[q], er = r1[q] - r3[q], ei = i1[q] - i3[q];
            float b_r = dr + ei, b_i = di - er, c_r = sr - tr, c_i = si - ti, d_r = dr - ei, d_i = di + er;
            ur[q] = sr + tr;
            ui[q] = si + ti;
            ur[q + s] = b_r * w[0] - b_i * w[1];
            ui[q + s] = b_r * w[1] + b_i * w[0];
            ur[q + 2 * s] = c_r * w[2] - c_i * w[3];
            ui[q + 2 * s] = c_r * w[3] + c_i * w[2];
            ur[q + 3 * s] = d_r * w[4] - d_i * w[5];
            ui[q + 3 * s] = d_r * w[5] + d_i * w[4];
        }
    }
}

// Result k of the small transform, times its twiddle: a sum over the `radix` inputs with factors of their
// own.
NNL_INLINE void row_any(size_t radix, size_t step, size_t s, const float *xr, const float *xi, float *yr,
                        float *yi, const float *roots, float wr, float wi) {
    NNL_INDEPENDENT
    for (size_t q = 0; q < s; q++) {
        float r = xr[q], i = xi[q];
        for (size_t j = 1; j < radix; j++) {
            float a = xr[q + j * step], b = xi[q + j * step];
            r += a * roots[2 * j] - b * roots[2 * j + 1];
            i += a * roots[2 * j + 1] + b * roots[2 * j];
        }
        yr[q] = r * wr - i * wi;
        yi[q] = r * wi + i * wr;
    }
}

NNL_INLINE void pass_any(size_t radix, size_t m, size_t s, const float *xr, const float *xi, float *yr,
                         float *yi, const float *w, const float *roots) {
    for (size_t p = 0; p < m; p++, w += 2 * (radix - 1)) {
        for (size_t k = 0; k < radix; k++) {
            float wr = k ? w[2 * k - 2] : 1, wi = k ? w[2 * k - 1] : 0;
            size_t to = s * (radix * p + k);
            row_any(radix, s * m, s, xr + s * p, xi + s * p, yr + to, yi + to, roots + 2 * radix * k, wr, wi);
        }
    }
}

static void pass(size_t radix, size_t m, size_t width, const float *xr, const float *xi, float *yr, float *yi,
                 const float *twiddles, const float *roots) {
    switch (radix) {
    case 2:
        pass_2(m, width, xr, xi, yr, yi, twiddles);
        break;
    case 3:
        pass_any(3, m, width, xr, xi, yr, yi, twiddles, roots);
        break;
    case 4:
        pass_4(m, width, xr, xi, yr, yi, twiddles);
        break;
    case 5:
        pass_any(5, m, width, xr, xi, yr, yi, twiddles, roots);
        break;
    case 7:
        pass_any(7, m, width, xr, xi, yr, yi, twiddles, roots);
        break;
    default:
        pass_any(radix, m, width, xr, xi, yr, yi, twiddles, roots);
    }
}

static void turn(size_t n, size_t width, const float *xr, const float *xi, float *yr, float *yi,
                 const float *factors) {
    for (size_t p = 0; p < n; p++, factors += 2) {
        const float wr = factors[0], wi = factors[1];
        NNL_INDEPENDENT
        for (size_t q = p * width; q < (p + 1) * width; q++) {
            float r = xr[q], i = xi[q];
            yr[q] = r * wr - i * wi;
            yi[q] = r * wi + i * wr;
        }
    }
}

// Z = A + iB gives A = (Z[k] + conj Z[n - k]) / 2 and B = (Z[k] - conj Z[n - k]) / 2i.
static void split(size_t n, const float *zr, const float *zi, float *re, float *im) {
    for (size_t k = 0; k <= n / 2; k++) {
        size_t back = (k ? n - k : 0) * NNL_FFT_LANES, at = k * NNL_FFT_LANES, to = 2 * at;
        NNL_INDEPENDENT
        for (size_t l = 0; l < NNL_FFT_LANES; l++) {
            float pr = zr[at + l], pi = zi[at + l], mr = zr[back + l], mi = zi[back + l];
            re[to + l] = 0.5f * (pr + mr);
            im[to + l] = 0.5f * (pi - mi);
            re[to + NNL_FFT_LANES + l] = 0.5f * (pi + mi);
            im[to + NNL_FFT_LANES + l] = 0.5f * (mr - pr);
        }
    }
}

static void square(size_t n, float *re, const float *im) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) re[i] = re[i] * re[i] + im[i] * im[i];
}

static void magnitude(size_t n, float *re, const float *im) {
    NNL_INDEPENDENT
    for (size_t i = 0; i < n; i++) re[i] = sqrtf(re[i] * re[i] + im[i] * im[i]);
}

static void weigh(size_t count, size_t width, const float *rows, size_t stride, const float *weights,
                  float *out) {
    for (size_t i = 0; i < width; i++) out[i] = 0;
    for (size_t k = 0; k < count; k++, rows += stride) {
        const float weight = weights[k];
        NNL_INDEPENDENT
        for (size_t i = 0; i < width; i++) out[i] += weight * rows[i];
    }
}

const nnl_fft_kernels NNL_ISA_NAME(nnl_fft) = {pass, turn, split, square, magnitude, weigh};
