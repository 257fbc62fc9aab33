// test_gemm.c: matrix products against plain loops in double, and the promises about threads: the same bits
// for any number of them, and OpenBLAS's own number as the host left it.
#define _GNU_SOURCE 1
#include "check.h"
#include "kernel/gemm.h"

#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

// One product: its shape, how the operands lie, and padding behind each row.
typedef struct problem {
    size_t m, n, k;
    bool a_transposed, b_transposed;
    size_t padding;
    double alpha, beta;
    nnl_product_type type;
} problem;

static nnl_pool *pool;
static const nnl_kernels *kernels; // of the instruction set that is tested now

static void *memory_of(nnl_product_type type, size_t count) {
    return malloc((count + 1) * (type == NNL_PRODUCT_DOUBLE ? sizeof(double) : sizeof(float)));
}

static double get(const void *data, nnl_product_type type, size_t i) {
    if (type == NNL_PRODUCT_DOUBLE) return ((const double *)data)[i];
    if (type != NNL_PRODUCT_HALF) return (double)((const float *)data)[i];
    uint32_t bits = (uint32_t)((const uint16_t *)data)[i] << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return (double)value;
}

static void set(void *data, nnl_product_type type, size_t i, double value) {
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    if (type == NNL_PRODUCT_DOUBLE) {
        ((double *)data)[i] = value;
    } else if (type == NNL_PRODUCT_HALF) {
        ((uint16_t *)data)[i] = (uint16_t)(bits >> 16);
    } else {
        ((float *)data)[i] = single;
    }
}

// What the result is of.
static nnl_product_type of_result(nnl_product_type type) {
    return type == NNL_PRODUCT_DOUBLE ? type : NNL_PRODUCT_FLOAT;
}

// Eighths between -2 and 2: products and sums of them are exact, of bfloat16 too, so any order of addition
// gives the same.
static void fill(void *data, nnl_product_type type, size_t count, uint32_t state) {
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        set(data, type, i, (double)(state >> 27) / 8 - 2);
    }
}

static nnl_matrix matrix(const void *data, size_t rows, size_t columns, bool transposed, size_t padding) {
    return (nnl_matrix){data, (transposed ? rows : columns) + padding, transposed};
}

static size_t cells(size_t rows, size_t columns, bool transposed, size_t padding) {
    return transposed ? columns * (rows + padding) : rows * (columns + padding);
}

static double entry(nnl_matrix x, nnl_product_type type, size_t row, size_t column) {
    return get(x.data, type, x.transposed ? column * x.ld + row : row * x.ld + column);
}

static void multiply_plainly(const problem *p, nnl_matrix a, nnl_matrix b, double *sums) {
    for (size_t i = 0; i < p->m; i++) {
        for (size_t j = 0; j < p->n; j++) {
            double sum = 0;
            for (size_t l = 0; l < p->k; l++) sum += entry(a, p->type, i, l) * entry(b, p->type, l, j);
            sums[i * p->n + j] = sum;
        }
    }
}

static void check_factors(const problem *p, nnl_matrix left, nnl_matrix right, const double *sums) {
    nnl_product_type result = of_result(p->type);
    size_t ldc = p->n + p->padding, count = p->m * ldc;
    void *c = memory_of(result, count), *before = memory_of(result, count);
    fill(before, result, count, 3);
    for (size_t i = 0; i < count; i++) set(c, result, i, p->beta == 0 ? NAN : get(before, result, i));
    nnl_gemm(kernels, pool, p->type, p->m, p->n, p->k, p->alpha, left, right, p->beta, c, ldc);
    for (size_t i = 0; i < p->m; i++) {
        for (size_t j = 0; j < p->n; j++) {
            double old = p->beta == 0 ? 0 : p->beta * get(before, result, i * ldc + j);
            double want = p->alpha * sums[i * p->n + j] + old, got = get(c, result, i * ldc + j);
            CHECK_MESSAGE(check_is_near(got, want, 1e-6),
                          "%zux%zux%zu %d%d type %d: [%zu][%zu] is %g, not %g", p->m, p->n, p->k,
                          p->a_transposed, p->b_transposed, (int)p->type, i, j, got, want);
        }
    }
    free(c);
    free(before);
}

static void check_problem(problem p) {
    size_t in_a = cells(p.m, p.k, p.a_transposed, p.padding);
    size_t in_b = cells(p.k, p.n, p.b_transposed, p.padding);
    void *a = memory_of(p.type, in_a), *b = memory_of(p.type, in_b);
    double *sums = malloc((p.m * p.n + 1) * sizeof *sums);
    const double factors[][2] = {{1, 0}, {0.5, 2}, {1, 1}};
    fill(a, p.type, in_a, 1);
    fill(b, p.type, in_b, 2);
    nnl_matrix left = matrix(a, p.m, p.k, p.a_transposed, p.padding);
    nnl_matrix right = matrix(b, p.k, p.n, p.b_transposed, p.padding);
    multiply_plainly(&p, left, right, sums);
    for (size_t f = 0; f < COUNT(factors); f++) {
        p.alpha = factors[f][0];
        p.beta = factors[f][1];
        check_factors(&p, left, right, sums);
    }
    free(a);
    free(b);
    free(sums);
}

static void check_shape(size_t m, size_t n, size_t k) {
    const nnl_product_type types[] = {NNL_PRODUCT_FLOAT, NNL_PRODUCT_DOUBLE, NNL_PRODUCT_MIXED,
                                      NNL_PRODUCT_HALF};
    for (unsigned bits = 0; bits < 32; bits++)
        check_problem((problem){m, n, k, bits & 1, bits & 2, bits & 4 ? 3 : 0, 1, 0, types[bits / 8]});
}

static void test_small_shapes(void) {
    check_that("small products of every shape, layout and type are right");
    const size_t sizes[] = {0, 1, 2, 3, 5, 8, 17};
    for (size_t m = 0; m < COUNT(sizes); m++)
        for (size_t n = 0; n < COUNT(sizes); n++)
            for (size_t k = 0; k < COUNT(sizes); k++) check_shape(sizes[m], sizes[n], sizes[k]);
}

static void test_shapes(void) {
    check_that("thin, long and large products, cut into pieces or not, are right");
    const size_t shapes[][3] = {{32, 128, 30}, {32, 64, 128},  {32, 1, 64},    {128, 30, 32},  {1, 30, 128},
                                {1, 300, 200}, {300, 1, 200},  {200, 70, 1},   {1, 1, 1000},   {130, 97, 65},
                                {500, 3, 300}, {3, 500, 300},  {257, 129, 67}, {9, 47, 513},   {40, 10, 530},
                                {10, 40, 96},  {70, 75, 1030}, {15, 16, 17},   {200, 130, 90}, {49, 50, 600},
                                {5, 6, 16401}};
    for (size_t i = 0; i < COUNT(shapes); i++) check_shape(shapes[i][0], shapes[i][1], shapes[i][2]);
}

// Element (i, j) of a product of which row `row` of a and column `column` of b have something that is no
// number.
static bool is_touched(size_t i, size_t j, size_t row, size_t column) { return i == row || j == column; }

static void check_nan(nnl_product_type type, size_t m, size_t n, size_t k, bool a_transposed,
                      bool b_transposed) {
    size_t row = m / 2, column = n / 3, inner = k - 1;
    float *a = malloc(m * k * sizeof *a), *b = malloc(n * k * sizeof *b), *c = malloc(m * n * sizeof *c);
    for (size_t i = 0; i < m * k; i++) a[i] = 0;
    for (size_t i = 0; i < n * k; i++) b[i] = 1;
    a[a_transposed ? inner * m + row : row * k + inner] = NAN;
    b[b_transposed ? column * k + inner : inner * n + column] = INFINITY;
    nnl_gemm(kernels, pool, type, m, n, k, 1, (nnl_matrix){a, a_transposed ? m : k, a_transposed},
             (nnl_matrix){b, b_transposed ? k : n, b_transposed}, 0, c, n);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) CHECK(isnan(c[i * n + j]) == is_touched(i, j, row, column));
    free(a);
    free(b);
    free(c);
}

// Ones and twos, so that a row of a times a column of b is known without adding up.
static void test_large(void) {
    check_that("large products, whose panels are packed, are right");
    const size_t m = 700, n = 1021, k = 1100;
    float *a = malloc(m * k * sizeof *a), *b = malloc(k * n * sizeof *b), *c = malloc(m * n * sizeof *c);
    for (size_t i = 0; i < m * k; i++) a[i] = (float)(i / k % 3) + 1;
    for (size_t i = 0; i < k * n; i++) b[i] = (float)(i % n % 5) - 1;
    for (int pass = 0; pass < 2; pass++) {
        size_t wrong = 0;
        double before = pass == 0 ? 0 : 1, factor = pass == 0 ? 1 : 0.5;
        nnl_gemm(kernels, pool, NNL_PRODUCT_FLOAT, m, n, k, factor, (nnl_matrix){a, k, false},
                 (nnl_matrix){b, n, false}, before, c, n);
        for (size_t i = 0; i < m * n; i++) {
            double product = (double)k * (double)(i / n % 3 + 1) * ((double)(i % n % 5) - 1);
            wrong += (double)c[i] != (pass == 0 ? product : 1.5 * product);
        }
        CHECK_MESSAGE(wrong == 0, "%s, pass %d: %zu are wrong", kernels->isa, pass, wrong);
    }
    free(a);
    free(b);
    free(c);
}

static void test_nan(void) {
    check_that("NaN and 0 times infinity spoil their row and column and nothing else");
    const size_t shapes[][3] = {{130, 100, 90}, {8, 70, 40}, {70, 8, 40}, {5, 6, 33}};
    for (size_t i = 0; i < COUNT(shapes); i++) {
        for (int bits = 0; bits < 8; bits++)
            check_nan(bits & 4 ? NNL_PRODUCT_MIXED : NNL_PRODUCT_FLOAT, shapes[i][0], shapes[i][1],
                      shapes[i][2], (bits & 1) != 0, (bits & 2) != 0);
    }
}

static void test_padding_untouched(void) {
    check_that("what lies behind the rows of the result stays as it is");
    float a[6] = {1, 2, 3, 4, 5, 6}, b[6] = {1, 0, 0, 1, 1, 1}, c[10];
    for (size_t i = 0; i < 10; i++) c[i] = -7;
    nnl_gemm(kernels, pool, NNL_PRODUCT_FLOAT, 2, 2, 3, 1, (nnl_matrix){a, 3, false},
             (nnl_matrix){b, 2, false}, 0, c, 5);
    CHECK(c[0] == 4 && c[1] == 5 && c[5] == 10 && c[6] == 11);
    for (size_t i = 2; i < 5; i++) CHECK(c[i] == -7 && c[i + 5] == -7);
}

static void test_batches(void) {
    check_that("a batch is its products one by one, and stride 0 repeats a matrix");
    enum { BATCH = 9, M = 13, N = 11, K = 7 };
    float a[BATCH * M * K], b[K * N], c[BATCH * M * N], one[M * N];
    fill(a, NNL_PRODUCT_FLOAT, BATCH * M * K, 4);
    fill(b, NNL_PRODUCT_FLOAT, K * N, 5);
    for (size_t count = 0; count <= BATCH; count += 3) {
        nnl_gemm_batched(kernels, pool, NNL_PRODUCT_FLOAT, count, M, N, K, 1, (nnl_matrix){a, K, false},
                         M * K, (nnl_matrix){b, N, false}, 0, 0, c, N, M * N);
        for (size_t i = 0; i < count; i++) {
            nnl_gemm(kernels, pool, NNL_PRODUCT_FLOAT, M, N, K, 1, (nnl_matrix){a + i * M * K, K, false},
                     (nnl_matrix){b, N, false}, 0, one, N);
            CHECK(memcmp(one, c + i * M * N, sizeof one) == 0);
        }
    }
}

// Values whose products round, so that another order of addition would show.
static float *thirds(size_t count) {
    float *x = malloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++) x[i] = (float)((i * 37) % 101) / 3 - 15;
    return x;
}

static void check_bits_of(nnl_product_type type, size_t m, size_t n, size_t k) {
    float *a = thirds(m * k), *b = thirds(k * n), *c[3];
    for (int threads = 1; threads <= 3; threads++) {
        nnl_pool *own = nnl_pool_new(threads);
        c[threads - 1] = malloc(m * n * sizeof(float));
        nnl_gemm(kernels, own, type, m, n, k, 1, (nnl_matrix){a, k, false}, (nnl_matrix){b, k, true}, 0,
                 c[threads - 1], n);
        nnl_pool_free(own);
    }
    CHECK(memcmp(c[0], c[1], m * n * sizeof(float)) == 0);
    CHECK(memcmp(c[0], c[2], m * n * sizeof(float)) == 0);
    for (int i = 0; i < 3; i++) free(c[i]);
    free(a);
    free(b);
}

static void check_bits(size_t m, size_t n, size_t k) {
    check_bits_of(NNL_PRODUCT_FLOAT, m, n, k);
    check_bits_of(NNL_PRODUCT_MIXED, m, n, k);
}

// Against products of floats: what is lost is what rounding loses, and rounding is to nearest even.
static void check_rounding(size_t m, size_t n, size_t k, bool a_transposed, bool b_transposed) {
    float *a = thirds(m * k), *b = thirds(n * k), *c = malloc(m * n * sizeof *c);
    uint16_t *half_a = malloc(m * k * sizeof *half_a), *half_b = malloc(n * k * sizeof *half_b);
    kernels->convert->store[NNL_BFLOAT16][NNL_IN_FLOAT](m * k, half_a, 1, a);
    kernels->convert->store[NNL_BFLOAT16][NNL_IN_FLOAT](n * k, half_b, 1, b);
    nnl_matrix left = {a, a_transposed ? m : k, a_transposed},
               right = {b, b_transposed ? k : n, b_transposed};
    nnl_gemm(kernels, pool, NNL_PRODUCT_MIXED, m, n, k, 1, left, right, 0, c, n);
    left.data = half_a;
    right.data = half_b;
    int wrong = 0;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            double sum = 0, size = 0;
            for (size_t l = 0; l < k; l++) {
                double term = entry(left, NNL_PRODUCT_HALF, i, l) * entry(right, NNL_PRODUCT_HALF, l, j);
                sum += term;
                size += fabs(term);
            }
            wrong += fabs((double)c[i * n + j] - sum) > 1e-6 * size;
        }
    }
    CHECK_MESSAGE(wrong == 0, "%s, %zux%zux%zu %d%d: %d of %zu are wrong", kernels->isa, m, n, k,
                  a_transposed, b_transposed, wrong, m * n);
    free(a);
    free(b);
    free(c);
    free(half_a);
    free(half_b);
}

static void test_rounding(void) {
    check_that("mixed products are those of operands rounded to bfloat16, with sums in float");
    for (int bits = 0; bits < 4; bits++) {
        check_rounding(40, 50, 60, (bits & 1) != 0, (bits & 2) != 0);
        check_rounding(131, 77, 99, (bits & 1) != 0, (bits & 2) != 0);
    }
}

static void test_bits(void) {
    check_that("one, two and three threads give the same bits");
    check_bits(32, 128, 30);
    check_bits(300, 200, 100);
    check_bits(1, 1000, 700);
    check_bits(1000, 1, 700);
    check_bits(700, 40, 333);
    check_bits(513, 511, 300);
    check_bits(128, 96, 784);
    check_bits(96, 700, 70);
}

static void test_host_threads(void) {
    check_that("OpenBLAS's number of threads is afterwards what it was before");
    int before = openblas_get_num_threads();
    openblas_set_num_threads(2);
    int host = openblas_get_num_threads();
    check_bits(300, 200, 100);
    CHECK_INT(openblas_get_num_threads(), host);
    openblas_set_num_threads(before);
}

static void test_fork(void) {
    check_that("the child of a fork multiplies too");
    check_bits(300, 200, 100);
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        problem p = {300, 200, 100, false, false, 0, 1, 0, NNL_PRODUCT_FLOAT};
        check_problem(p);
        _exit(check_now.failures_here > 0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void test_own_process(void) {
    check_that("a program that owns its process leaves OpenBLAS on one thread");
    nnl_gemm_own_process();
    CHECK_INT(openblas_get_num_threads(), 1);
    check_bits(300, 200, 100);
    CHECK_INT(openblas_get_num_threads(), 1);
    CHECK(strlen(nnl_gemm_library()) > 0);
}

int main(void) {
    const char *const sets[] = {"baseline", "neon", "avx2", "avx512", "avx512_bf16"};
    pool = nnl_pool_new(2);
    for (size_t i = 0; i < COUNT(sets); i++) {
        kernels = nnl_kernels_named(sets[i]);
        if (!kernels) continue;
        test_small_shapes();
        test_shapes();
        test_nan();
        test_padding_untouched();
        test_batches();
        test_bits();
        test_rounding();
        test_large();
    }
    kernels = nnl_kernels_best();
    test_host_threads();
    test_fork();
    test_own_process();
    nnl_pool_free(pool);
    return check_end();
}
