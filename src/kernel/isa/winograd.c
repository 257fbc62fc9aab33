// winograd.c: the transforms of F(2 x 2, 3 x 3), which makes four results of a 3 x 3 convolution with 16
// products in place of 36 (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016). What
// lies between them is block_f32 of conv.c, once for each of the 16.
#include "kernel/isa/isa.h"

#define SIDE 4 // of the part of the input that four results see
#define SIZE (SIDE * SIDE)

// ---- the input: v = B^T d B

NNL_INLINE void differences(float out[SIDE], const float in[SIDE]) {
    out[0] = in[0] - in[2];
    out[1] = in[1] + in[2];
    out[2] = in[2] - in[1];
    out[3] = in[1] - in[3];
}

// `count` neighbouring tiles of a row. Elements lie in four phases: even and odd rows, even and odd columns.
NNL_INLINE void input_tiles(int count, const float *x, size_t plane, size_t pitch, float *restrict v,
                            size_t ld) {
    NNL_INDEPENDENT for (int l = 0; l < count; l++) {
        float t[SIDE][SIDE], column[SIDE], row[SIDE];
        for (int j = 0; j < SIDE; j++) {
            for (int i = 0; i < SIDE; i++)
                column[i] =
                    x[(size_t)(i % 2 * 2 + j % 2) * plane + (size_t)(i / 2) * pitch + (size_t)(j / 2 + l)];
            differences(row, column);
            for (int i = 0; i < SIDE; i++) t[i][j] = row[i];
        }
        for (int i = 0; i < SIDE; i++) {
            differences(row, t[i]);
            for (int j = 0; j < SIDE; j++) v[(size_t)(i * SIDE + j) * ld + (size_t)l] = row[j];
        }
    }
}

static void input_rows(size_t rows, size_t columns, const float *x, size_t plane, size_t pitch, float *v,
                       size_t ld) {
    for (size_t i = 0; i < rows; i++, x += pitch, v += columns) {
        size_t j = 0;
        for (; j + 16 <= columns; j += 16) input_tiles(16, x + j, plane, pitch, v + j, ld);
        for (; j + 8 <= columns; j += 8) input_tiles(8, x + j, plane, pitch, v + j, ld);
        for (; j + 4 <= columns; j += 4) input_tiles(4, x + j, plane, pitch, v + j, ld);
        for (; j < columns; j++) input_tiles(1, x + j, plane, pitch, v + j, ld);
    }
}

// ---- the result: y = A^T m A, two rows of it

NNL_INLINE void output_tiles(int count, const float *restrict m, size_t ld, float bias, float *restrict upper,
                             float *restrict lower) {
    NNL_INDEPENDENT for (int l = 0; l < count; l++) {
        float s[2][SIDE];
        for (int j = 0; j < SIDE; j++) {
            const float *at = m + l;
            float a = at[(size_t)j * ld], b = at[(size_t)(j + SIDE) * ld];
            float c = at[(size_t)(j + 2 * SIDE) * ld], d = at[(size_t)(j + 3 * SIDE) * ld];
            s[0][j] = a + b + c;
            s[1][j] = b - c - d;
        }
        upper[2 * l] = s[0][0] + s[0][1] + s[0][2] + bias;
        upper[2 * l + 1] = s[0][1] - s[0][2] - s[0][3] + bias;
        lower[2 * l] = s[1][0] + s[1][1] + s[1][2] + bias;
        lower[2 * l + 1] = s[1][1] - s[1][2] - s[1][3] + bias;
    }
}

static void output_row(size_t columns, const float *m, size_t ld, float bias, float *upper, float *lower) {
    size_t j = 0;
    for (; j + 16 <= columns; j += 16) output_tiles(16, m + j, ld, bias, upper + 2 * j, lower + 2 * j);
    for (; j + 8 <= columns; j += 8) output_tiles(8, m + j, ld, bias, upper + 2 * j, lower + 2 * j);
    for (; j + 4 <= columns; j += 4) output_tiles(4, m + j, ld, bias, upper + 2 * j, lower + 2 * j);
    for (; j < columns; j++) output_tiles(1, m + j, ld, bias, upper + 2 * j, lower + 2 * j);
}

// ---- the weight: u = G g G^T

NNL_INLINE void means(float out[SIDE], const float in[3]) {
    float ends = 0.5F * (in[0] + in[2]), middle = 0.5F * in[1];
    out[0] = in[0];
    out[1] = ends + middle;
    out[2] = ends - middle;
    out[3] = in[2];
}

NNL_INLINE void weight_tiles(int count, int first, int step, const float *restrict g, float *restrict u,
                             size_t ld) {
    NNL_INDEPENDENT for (int l = 0; l < count; l++) {
        float t[SIDE][3], row[SIDE], column[3];
        for (int j = 0; j < 3; j++) {
            for (int i = 0; i < 3; i++) column[i] = g[(first + step * (i * 3 + j)) * count + l];
            means(row, column);
            for (int i = 0; i < SIDE; i++) t[i][j] = row[i];
        }
        for (int i = 0; i < SIDE; i++) {
            means(row, t[i]);
            for (int j = 0; j < SIDE; j++) u[(size_t)(i * SIDE + j) * ld + (size_t)l] = row[j];
        }
    }
}

static void weights(size_t channels, bool turned, const float *g, float *u, size_t ld) {
    int first = turned ? 8 : 0, step = turned ? -1 : 1;
    if (channels == 8) {
        weight_tiles(8, first, step, g, u, ld);
    } else if (channels == 4) {
        weight_tiles(4, first, step, g, u, ld);
    } else {
        weight_tiles((int)channels, first, step, g, u, ld);
    }
}

const nnl_winograd_kernels NNL_ISA_NAME(nnl_winograd) = {
    .input = input_rows, .output = output_row, .weight = weights};
