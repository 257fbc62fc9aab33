// pairs_conv.c: the inner loops of convolution in bfloat16 with sums in float, by the instruction of pairs.c:
// as those of conv.c, over pairs of channels for results and over pairs of neighbouring places for the
// gradient of weights.
#include "kernel/isa/isa.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#include <string.h>

#define LANES 16
#define ROWS 8
#define VECTORS 3

NNL_INLINE __m512bh pairs_at(const void *x) { return (__m512bh)_mm512_loadu_si512(x); }

// Two neighbours for all lanes.
NNL_INLINE __m512bh pair_at(const void *x) {
    int32_t pair;
    memcpy(&pair, x, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

// ---- results: a tap is a pair of channels

NNL_INLINE void tile(const nnl_conv_block *b, int rows, int vectors, size_t j) {
    const uint32_t *weight = b->weight, *at[VECTORS];
    const float *bias = b->bias;
    __m512 sum[ROWS][VECTORS];
    __m512bh x[VECTORS];
    for (int v = 0; v < vectors; v++) at[v] = (const uint32_t *)b->x + b->from[j + (size_t)v];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = _mm512_set1_ps(bias ? bias[r] : 0);
    for (size_t k = 0; k < b->taps; k++, weight += rows) {
        for (int v = 0; v < vectors; v++) x[v] = pairs_at(at[v] + b->offset[k]);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                sum[r][v] = _mm512_dpbf16_ps(sum[r][v], pair_at(weight + r), x[v]);
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++)
            _mm512_storeu_ps((float *)b->out + (size_t)r * b->ld + b->to[j + (size_t)v], sum[r][v]);
}

NNL_INLINE void stretches(const nnl_conv_block *b, int rows) {
    size_t j = 0;
    for (; j + VECTORS <= b->stretches; j += VECTORS) tile(b, rows, VECTORS, j);
    if (j + 2 == b->stretches) tile(b, rows, 2, j);
    if (j + 1 == b->stretches) tile(b, rows, 1, j);
}

static void block(const nnl_conv_block *b) {
    if (b->channels == 8) stretches(b, 8);
    if (b->channels == 4) stretches(b, 4);
    if (b->channels == 2) stretches(b, 2);
    if (b->channels == 1) stretches(b, 1);
}

// ---- the gradient of weights: x of bfloat16, dy as pairs of places, columns even

NNL_INLINE void weight_tile(const nnl_conv_sums *s, int rows, int vectors, size_t k, size_t channel) {
    const uint16_t *at[ROWS];
    const uint32_t *dy = (const uint32_t *)s->dy + channel;
    float *out = (float *)s->out + k * s->ld + channel;
    const size_t ld = s->ld, columns = s->columns;
    __m512 sum[ROWS][VECTORS];
    __m512bh d[VECTORS];
    for (int r = 0; r < rows; r++) at[r] = (const uint16_t *)s->x + s->offset[k + (size_t)r];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) sum[r][v] = _mm512_loadu_ps(out + (size_t)r * ld + v * LANES);
    for (size_t i = 0; i < s->rows; i++) {
        for (size_t j = 0; j < columns; j += 2, dy += ld) {
            for (int v = 0; v < vectors; v++) d[v] = pairs_at(dy + v * LANES);
            for (int r = 0; r < rows; r++)
                for (int v = 0; v < vectors; v++)
                    sum[r][v] = _mm512_dpbf16_ps(sum[r][v], d[v], pair_at(at[r] + j));
        }
        for (int r = 0; r < rows; r++) at[r] += s->pitch;
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors; v++) _mm512_storeu_ps(out + (size_t)r * ld + v * LANES, sum[r][v]);
}

NNL_INLINE void weight_column(const nnl_conv_sums *s, int vectors, size_t channel) {
    size_t k = 0;
    for (; k + ROWS <= s->taps; k += ROWS) weight_tile(s, ROWS, vectors, k, channel);
    for (; k + 2 <= s->taps; k += 2) weight_tile(s, 2, vectors, k, channel);
    if (k < s->taps) weight_tile(s, 1, vectors, k, channel);
}

static void sums(const nnl_conv_sums *s) {
    for (size_t channel = 0, left = s->ld / LANES; left > 0;) {
        size_t vectors = left == 3 || left > 4 ? 3 : left == 1 ? 1 : 2;
        if (vectors == 3) weight_column(s, 3, channel);
        if (vectors == 2) weight_column(s, 2, channel);
        if (vectors == 1) weight_column(s, 1, channel);
        channel += vectors * LANES;
        left -= vectors;
    }
}

// ---- moving floats to bfloat16

NNL_INLINE __mmask16 first_of(size_t count) { return (__mmask16)(count < 16 ? (1u << count) - 1 : 0xffff); }

NNL_INLINE void put(uint16_t *out, __mmask16 kept, __m512 x) {
    _mm256_mask_storeu_epi16(out, kept, (__m256i)_mm512_cvtneps_pbh(x));
}

// Every second of up to 31 floats; nothing behind the last of `count` is read.
NNL_INLINE __m512 apart(const float *x, size_t count) {
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    size_t all = 2 * count - 1;
    __m512 low = _mm512_maskz_loadu_ps(first_of(all), x);
    __m512 high = all > 16 ? _mm512_maskz_loadu_ps(first_of(all - 16), x + 16) : _mm512_setzero_ps();
    return _mm512_permutex2var_ps(low, even, high);
}

static void copy_row(size_t n, uint16_t *out, const float *x, size_t step) {
    for (size_t j = 0; j < n; j += LANES) {
        size_t count = n - j < LANES ? n - j : LANES;
        if (step == 1) {
            put(out + j, first_of(count), _mm512_maskz_loadu_ps(first_of(count), x + j));
        } else if (step == 2) {
            put(out + j, first_of(count), apart(x + 2 * j, count));
        } else {
            float some[LANES];
            for (size_t i = 0; i < count; i++) some[i] = x[(j + i) * step];
            put(out + j, first_of(count), _mm512_maskz_loadu_ps(first_of(count), some));
        }
    }
}

static void copy(size_t rows, size_t n, void *out, size_t out_row, size_t out_step, const void *x,
                 size_t x_row, size_t x_step) {
    (void)out_step; // 1
    for (size_t i = 0; i < rows; i++)
        copy_row(n, (uint16_t *)out + i * out_row, (const float *)x + i * x_row, x_step);
}

// ---- the input of Winograd's tiles, see winograd.c: two channels at once, 16 tiles of which `across` lie in
// a row

#define SIDE 4

NNL_INLINE __m512 tiles_at(int across, const float *x, size_t pitch) {
    if (across == 16) return _mm512_loadu_ps(x);
    if (across == 8) {
        __m512 upper = _mm512_castps256_ps512(_mm256_loadu_ps(x));
        return _mm512_insertf32x8(upper, _mm256_loadu_ps(x + pitch), 1);
    }
    __m512 all = _mm512_castps128_ps512(_mm_loadu_ps(x));
    all = _mm512_insertf32x4(all, _mm_loadu_ps(x + pitch), 1);
    all = _mm512_insertf32x4(all, _mm_loadu_ps(x + 2 * pitch), 2);
    return _mm512_insertf32x4(all, _mm_loadu_ps(x + 3 * pitch), 3);
}

NNL_INLINE void differences(__m512 out[SIDE], const __m512 in[SIDE]) {
    out[0] = _mm512_sub_ps(in[0], in[2]);
    out[1] = _mm512_add_ps(in[1], in[2]);
    out[2] = _mm512_sub_ps(in[2], in[1]);
    out[3] = _mm512_sub_ps(in[1], in[3]);
}

NNL_INLINE void transformed(int across, const float *x, size_t plane, size_t pitch, __m512 out[SIDE][SIDE]) {
    __m512 t[SIDE][SIDE], column[SIDE];
    for (int j = 0; j < SIDE; j++) {
        for (int i = 0; i < SIDE; i++) {
            size_t phase = (size_t)(i % 2 * 2 + j % 2);
            column[i] =
                tiles_at(across, x + phase * plane + (size_t)(i / 2) * pitch + (size_t)(j / 2), pitch);
        }
        differences(t[j], column);
    }
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) column[j] = t[j][i];
        differences(out[i], column);
    }
}

NNL_INLINE void input_tiles(int across, const float *x, size_t channel, size_t plane, size_t pitch,
                            uint32_t *v, size_t ld) {
    static const short order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                    8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    __m512 first[SIDE][SIDE], second[SIDE][SIDE];
    transformed(across, x, plane, pitch, first);
    transformed(across, x + channel, plane, pitch, second);
    for (int i = 0; i < SIDE; i++) {
        for (int j = 0; j < SIDE; j++) {
            __m512i pairs = (__m512i)_mm512_cvtne2ps_pbh(second[i][j], first[i][j]);
            _mm512_storeu_si512(v + (size_t)(i * SIDE + j) * ld,
                                _mm512_permutexvar_epi16(_mm512_loadu_si512(order), pairs));
        }
    }
}

static bool input(size_t rows, size_t columns, const float *x, size_t channel, size_t plane, size_t pitch,
                  uint32_t *v, size_t ld) {
    if (columns % 16 == 0) {
        for (size_t i = 0; i < rows; i++, x += pitch, v += columns)
            for (size_t j = 0; j < columns; j += 16) input_tiles(16, x + j, channel, plane, pitch, v + j, ld);
    } else if (columns == 8 && rows % 2 == 0) {
        for (size_t i = 0; i < rows; i += 2)
            input_tiles(8, x + i * pitch, channel, plane, pitch, v + i * columns, ld);
    } else if (columns == 4 && rows % 4 == 0) {
        for (size_t i = 0; i < rows; i += 4)
            input_tiles(4, x + i * pitch, channel, plane, pitch, v + i * columns, ld);
    } else {
        return false;
    }
    return true;
}

const nnl_pairs_conv_kernels NNL_ISA_NAME(nnl_pairs_conv) = {
    .input = input,
    .rows = ROWS,
    .block = block,
    .sums = sums,
    .copy = copy,
};
#else
const nnl_pairs_conv_kernels NNL_ISA_NAME(nnl_pairs_conv) = {.rows = 0};
#endif
