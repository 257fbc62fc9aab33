// test_decode.c: the products of generation (kernel/isa/decode.c) for every instruction set, dtype and rest
// of sizes, against sums in double. Memory ends where the operands do, so that a sanitizer sees a step too
// far.
#include "check.h"
#include "kernel_sets.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define MOST 70

static uint32_t state = 1;

static float number(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(int32_t)(state >> 8) / 8388608.0f - 1;
}

// Weights as the kernels read them, and what they mean.
typedef struct weights {
    nnl_dtype dtype;
    size_t count;
    void *data;
    float *value;
} weights;

static const nnl_dtype dtypes[] = {NNL_FLOAT32, NNL_BFLOAT16, NNL_FLOAT16};

static weights weights_new(const nnl_convert_kernels *convert, nnl_dtype dtype, size_t count) {
    size_t element = dtype == NNL_FLOAT32 ? 4 : 2;
    weights w = {dtype, count, malloc(count * element), malloc(count * sizeof(float))};
    for (size_t i = 0; i < count; i++)
        w.value[i] = number() * (i % 7 == 0 ? 1e-5f : 1); // subnormal halves, too
    convert->store[dtype][NNL_IN_FLOAT](count, w.data, 1, w.value);
    convert->load[dtype][NNL_IN_FLOAT](count, w.value, w.data, 1);
    return w;
}

static void weights_free(weights *w) {
    free(w->data);
    free(w->value);
}

static void test_product(const nnl_decode_kernels *k, const weights *w, size_t n, size_t inner, bool turned,
                         bool add) {
    float *x = malloc(inner * sizeof *x), *y = malloc(n * sizeof *y), *before = malloc(n * sizeof *before);
    for (size_t i = 0; i < inner; i++) x[i] = number();
    for (size_t j = 0; j < n; j++) before[j] = y[j] = number();
    if (turned) k->sums[w->dtype](n, inner, y, x, w->data, n, add);
    if (!turned) k->dots[w->dtype](n, inner, y, x, w->data, inner, add);
    for (size_t j = 0; j < n; j++) {
        double sum = add ? (double)before[j] : 0;
        for (size_t i = 0; i < inner; i++)
            sum += (double)x[i] * (double)w->value[turned ? i * n + j : j * inner + i];
        CHECK_NEAR((double)y[j], sum, 1e-5);
    }
    free(x);
    free(y);
    free(before);
}

static void test_products(const nnl_decode_kernels *k, const nnl_convert_kernels *convert) {
    check_that(
        "products of a vector with weights of every dtype, as they lie or turned, are those of doubles");
    for (size_t d = 0; d < 3; d++) {
        for (size_t inner = 1; inner <= MOST; inner++) {
            size_t n = inner * 7 % 29 + 1;
            weights w = weights_new(convert, dtypes[d], n * inner);
            for (int way = 0; way < 4; way++) test_product(k, &w, n, inner, way & 1, way & 2);
            weights_free(&w);
        }
    }
}

static void test_norm(const nnl_decode_kernels *k) {
    check_that("rows are normalised by their mean and deviation, or by their mean square");
    for (size_t n = 1; n <= MOST; n++) {
        float x[MOST], w[MOST], b[MOST], y[MOST];
        for (size_t i = 0; i < n; i++) x[i] = number() + 1, w[i] = number(), b[i] = number();
        for (int way = 0; way < 4; way++) {
            bool centred = way & 1, biased = way & 2;
            double mean = 0, square = 0;
            for (size_t i = 0; centred && i < n; i++) mean += (double)x[i] / (double)n;
            for (size_t i = 0; i < n; i++)
                square += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)n;
            k->norm(n, y, x, w, biased ? b : NULL, 1e-3, centred);
            for (size_t i = 0; i < n; i++) {
                double want =
                    ((double)x[i] - mean) / sqrt(square + 1e-3) * (double)w[i] + (biased ? (double)b[i] : 0);
                CHECK_NEAR((double)y[i], want, 1e-4);
            }
        }
    }
}

int main(void) {
    kernel_set sets[KERNEL_SETS];
    const nnl_decode_kernels *kernels[KERNEL_SETS] = {&nnl_decode_baseline, NULL, NULL};
#ifdef NNL_HAVE_AVX2
    kernels[1] = &nnl_decode_avx2;
#endif
#ifdef NNL_HAVE_AVX512
    kernels[2] = &nnl_decode_avx512;
#endif
    kernel_sets_fill(sets);
    for (int s = 0; s < KERNEL_SETS; s++) {
        if (!sets[s].runs || !kernels[s]) continue;
        printf("%s\n", sets[s].isa);
        test_products(kernels[s], sets[s].convert);
        test_norm(kernels[s]);
    }
    return check_end();
}
