// kernel.h: the loops over raw memory, as one table of functions for each instruction set. Everything under
// kernel/isa/ is compiled once for each (baseline, AVX2, AVX-512) and picked at run time by nnl_kernels_best.
// Kernels allocate nothing and see no shapes, only pointers and sizes; unless told otherwise memory is
// contiguous and in a compute type.
#ifndef NNL_KERNEL_KERNEL_H
#define NNL_KERNEL_KERNEL_H

#include "kernel/dtype.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Positions in the tables below follow ops.def.
typedef enum nnl_unary {
#define UNARY(name, ...) NNL_UNARY_##name,
#define UNARY_ANY(name, ...) NNL_UNARY_##name,
#define UNARY_WITH(name, ...) NNL_UNARY_##name,
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_ANY
#undef UNARY_WITH
    NNL_UNARY_COUNT
} nnl_unary;

typedef enum nnl_binary {
#define BINARY(name, ...) NNL_BINARY_##name,
#include "kernel/ops.def"
#undef BINARY
    NNL_BINARY_COUNT
} nnl_binary;

typedef enum nnl_compare {
#define COMPARE(name, ...) NNL_COMPARE_##name,
#include "kernel/ops.def"
#undef COMPARE
    NNL_COMPARE_COUNT
} nnl_compare;

typedef enum nnl_test {
#define TEST(name, ...) NNL_TEST_##name,
#include "kernel/ops.def"
#undef TEST
    NNL_TEST_COUNT
} nnl_test;

typedef enum nnl_pointwise_loss {
#define POINTWISE_LOSS(name, ...) NNL_LOSS_##name,
#include "kernel/ops.def"
#undef POINTWISE_LOSS
    NNL_POINTWISE_LOSS_COUNT
} nnl_pointwise_loss;

// Reductions of n values to one: NaN wins in max and min; sums are pairwise or better, whatever the length.
typedef enum nnl_reduction {
    NNL_REDUCE_SUM,
    NNL_REDUCE_SUM_ABS,
    NNL_REDUCE_SUM_SQUARE,
    NNL_REDUCE_PROD,
    NNL_REDUCE_MAX,
    NNL_REDUCE_MIN,
    NNL_REDUCE_MAX_ABS,
    NNL_REDUCE_COUNT_NONZERO,
    NNL_REDUCTION_COUNT
} nnl_reduction;

// From memory of some dtype, `stride` elements apart, to a compute type, and back. Integers wrap around on
// the way back; a float becomes an integer towards zero, a bool by != 0; bfloat16 and float16 round to
// nearest even.
typedef void nnl_load_fn(size_t n, void *out, const void *x, ptrdiff_t stride);
typedef void nnl_store_fn(size_t n, void *out, ptrdiff_t stride, const void *x);

// out may be x (or a, or b) itself. p: the parameters of the operation, always two of them, NULL where it has
// none.
typedef void nnl_unary_fn(size_t n, void *out, const void *x, const double *p);
// dx = dout * f'(x, y). x and y are both readable; where backward needs only one, the other may be the same
// memory.
typedef void nnl_unary_grad_fn(size_t n, void *dx, const void *dout, const void *x, const void *y,
                               const double *p);
// out = u * dout * f''(x, y)
typedef void nnl_unary_grad2_fn(size_t n, void *out, const void *u, const void *dout, const void *x,
                                const void *y, const double *p);
typedef void nnl_binary_fn(size_t n, void *out, const void *a, const void *b);
typedef void nnl_compare_fn(size_t n, uint8_t *out, const void *a, const void *b);
typedef void nnl_test_fn(size_t n, uint8_t *out, const void *x);
// out = c ? a : b, for elements of 1, 2, 4 or 8 bytes
typedef void nnl_where_fn(size_t n, void *out, const uint8_t *c, const void *a, const void *b);

// out[j] = the reduction over i < n of x[i * stride + j], for j < inner. n = 0 gives the neutral element (sum
// 0, prod 1, max -inf or INT64_MIN ...). With inner = 1 and stride = 1 this is the reduction of one
// contiguous row.
typedef void nnl_reduce_fn(size_t n, size_t inner, void *out, const void *x, size_t stride);
// The index (from 0) of the first largest (or smallest) value, NaN being the largest (smallest); the same
// layout.
typedef void nnl_arg_reduce_fn(size_t n, size_t inner, int64_t *out, const void *x, size_t stride);
// out[j] = sum of (x[i * stride + j] - mean[j])^2
typedef void nnl_sum_deviation_fn(size_t n, size_t inner, void *out, const void *x, size_t stride,
                                  const void *mean);

// One row of n: y = softmax(x) or log_softmax(x); logsumexp into out[0]. Rows of only -inf give NaN (-inf),
// as in PyTorch.
typedef void nnl_row_fn(size_t n, void *y, const void *x);
// dx = y * (dout - sum(dout * y)), or dout - exp(y) * sum(dout)
typedef void nnl_row_grad_fn(size_t n, void *dx, const void *dout, const void *y);
// Running sums and products along a row.
typedef void nnl_scan_fn(size_t n, void *y, const void *x);

// Sum over i of w_i * f(x_i, t_i), pairwise; each value by itself; dx = dout_i * df/dx, with dout one number
// (step 0) or an array (step 1). w may be NULL.
typedef void nnl_loss_sum_fn(size_t n, void *out, const void *x, const void *t, const void *w,
                             const double *p);
typedef void nnl_loss_each_fn(size_t n, void *out, const void *x, const void *t, const double *p);
typedef void nnl_loss_grad_fn(size_t n, void *dx, const void *dout, size_t step, const void *x, const void *t,
                              const double *p);

// Philox words from block `block` on (base/random.h): uniform in [low, high), normal by Box and Muller, and 0
// or 1 with probability keep of 1. Element i takes word i, in double words 2i and 2i + 1; a normal draw those
// of its pair, elements 2j and 2j + 1. So work may be cut at any multiple of 4 elements.
typedef void nnl_uniform_fn(size_t n, void *out, uint64_t seed, uint64_t block, double low, double high);
typedef void nnl_normal_fn(size_t n, void *out, uint64_t seed, uint64_t block, double mean, double std);
typedef void nnl_bernoulli_fn(size_t n, uint8_t *out, uint64_t seed, uint64_t block, double keep);

// Update rules: parameters p change in place by their gradient g; the other arrays are the optimizer's state.
// Each struct holds what one step needs, bias corrections included, so the loops are plain arithmetic (see
// optim/ for the equations and their sources).
typedef struct nnl_sgd_step {
    double lr, momentum, dampening, weight_decay;
    bool nesterov, first, maximize; // first: the momentum buffer starts as the gradient
} nnl_sgd_step;

typedef struct nnl_adam_step {
    double lr, beta1, beta2, eps, weight_decay;
    double correction1, correction2; // 1 - beta1^t, 1 - beta2^t
    bool decoupled, maximize;        // decoupled: AdamW
} nnl_adam_step;

typedef struct nnl_rmsprop_step {
    double lr, alpha, eps, weight_decay, momentum;
    bool maximize;
} nnl_rmsprop_step;

typedef void nnl_sgd_fn(size_t n, void *p, const void *g, void *buffer, const nnl_sgd_step *step);
// v_max: the largest v so far (amsgrad), or NULL
typedef void nnl_adam_fn(size_t n, void *p, const void *g, void *m, void *v, void *v_max,
                         const nnl_adam_step *step);
// mean: the centered variant's running mean, or NULL; buffer: momentum's, or NULL
typedef void nnl_rmsprop_fn(size_t n, void *p, const void *g, void *v, void *mean, void *buffer,
                            const nnl_rmsprop_step *step);

// One step of a recurrent cell for one row of a batch, n hidden units. Gates come as what input and hidden
// state add up to (the GRU's as the input's part alone) and leave as their values, side by side in the order
// of the weights: LSTM i f g o, GRU r z n, plain cells their one, which is not written.
typedef enum nnl_cell { NNL_CELL_TANH, NNL_CELL_RELU, NNL_CELL_LSTM, NNL_CELL_GRU, NNL_CELL_COUNT } nnl_cell;

typedef struct nnl_cell_step {
    void *gates;
    const void *hidden; // GRU: the hidden state's part of the gates
    const void *bias;   // of each gate; GRU: of r, of z, n's of the input and n's of the hidden part
    void *h, *c;        // the state, updated; c is the LSTM's alone
    void *y;            // h once more
    void *kept;         // for backward: LSTM: c once more; GRU: the hidden part of n; others: unused
} nnl_cell_step;

// Its backward: dgates, and dh and dc as what is handed to the step before. What reaches it through the gates
// is not in dh yet.
typedef struct nnl_cell_back {
    const void *gates, *kept, *y; // as the step left them
    const void *before;           // LSTM: c before the step; GRU: h before the step
    const void *dy;
    void *dh, *dc;
    void *dgates;
    void *dhidden; // GRU: gradient of the hidden part
} nnl_cell_back;

typedef void nnl_cell_step_fn(size_t n, const nnl_cell_step *step);
typedef void nnl_cell_back_fn(size_t n, const nnl_cell_back *back);

// The tables, one group for each file of kernel/isa/. Indexed by compute type where the last index is
// [NNL_COMPUTE_COUNT]; a NULL entry means that the operation has no meaning there.
typedef struct nnl_convert_kernels {
    nnl_load_fn *load[NNL_DTYPE_COUNT][NNL_COMPUTE_COUNT];
    nnl_store_fn *store[NNL_DTYPE_COUNT][NNL_COMPUTE_COUNT];
} nnl_convert_kernels;

typedef struct nnl_elementwise_kernels {
    nnl_unary_fn *unary[NNL_UNARY_COUNT][NNL_COMPUTE_COUNT];
    nnl_unary_grad_fn *unary_grad[NNL_UNARY_COUNT][NNL_COMPUTE_COUNT];
    nnl_unary_grad2_fn *unary_grad2[NNL_UNARY_COUNT][NNL_COMPUTE_COUNT];
    nnl_binary_fn *binary[NNL_BINARY_COUNT][NNL_COMPUTE_COUNT];
    nnl_compare_fn *compare[NNL_COMPARE_COUNT][NNL_COMPUTE_COUNT];
    nnl_test_fn *test[NNL_TEST_COUNT][NNL_COMPUTE_COUNT];
    nnl_where_fn *where[4]; // by log2 of the element's bytes
} nnl_elementwise_kernels;

typedef struct nnl_reduce_kernels {
    nnl_reduce_fn *reduce[NNL_REDUCTION_COUNT][NNL_COMPUTE_COUNT];
    nnl_arg_reduce_fn *arg_max[NNL_COMPUTE_COUNT], *arg_min[NNL_COMPUTE_COUNT];
    nnl_sum_deviation_fn *sum_deviation[NNL_COMPUTE_COUNT];
} nnl_reduce_kernels;

typedef struct nnl_row_kernels {
    nnl_row_fn *softmax[NNL_COMPUTE_COUNT], *log_softmax[NNL_COMPUTE_COUNT], *logsumexp[NNL_COMPUTE_COUNT];
    nnl_row_grad_fn *softmax_grad[NNL_COMPUTE_COUNT], *log_softmax_grad[NNL_COMPUTE_COUNT];
    nnl_scan_fn *cumsum[NNL_COMPUTE_COUNT], *cumprod[NNL_COMPUTE_COUNT];
} nnl_row_kernels;

typedef struct nnl_loss_kernels {
    nnl_loss_sum_fn *sum[NNL_POINTWISE_LOSS_COUNT][NNL_COMPUTE_COUNT];
    nnl_loss_each_fn *each[NNL_POINTWISE_LOSS_COUNT][NNL_COMPUTE_COUNT];
    nnl_loss_grad_fn *grad[NNL_POINTWISE_LOSS_COUNT][NNL_COMPUTE_COUNT];
    nnl_loss_grad_fn *target_grad[NNL_POINTWISE_LOSS_COUNT][NNL_COMPUTE_COUNT];
} nnl_loss_kernels;

typedef struct nnl_random_kernels {
    nnl_uniform_fn *uniform[NNL_COMPUTE_COUNT];
    nnl_normal_fn *normal[NNL_COMPUTE_COUNT];
    nnl_bernoulli_fn *bernoulli;
} nnl_random_kernels;

typedef struct nnl_optim_kernels {
    nnl_sgd_fn *sgd[NNL_COMPUTE_COUNT];
    nnl_adam_fn *adam[NNL_COMPUTE_COUNT];
    nnl_rmsprop_fn *rmsprop[NNL_COMPUTE_COUNT];
} nnl_optim_kernels;

// Small products in float: see gemm.c for the sizes that they are for.
typedef struct nnl_product_kernels {
    // out[j] = sum_i x[i] * w[j][i] for the n rows of w, each k long, ld apart
    void (*dot_rows)(size_t n, size_t k, float *out, const float *x, const float *w, size_t ld);
    // y[j] += sum_i x[i * step] * b[i][j] for the k rows of b, each n long, ld apart
    void (*add_rows)(size_t k, size_t n, float *y, const float *x, size_t step, const float *b, size_t ld);
    // c[i][j] = x[i * step] * y[j]
    void (*outer)(size_t m, size_t n, float *c, size_t ldc, const float *x, size_t step, const float *y);
} nnl_product_kernels;

// All kernels of one instruction set. Each group is a constant named after its file and instruction set:
// nnl_convert_avx2, nnl_elementwise_avx2, ...
typedef struct nnl_recurrent_kernels {
    nnl_cell_step_fn *step[NNL_CELL_COUNT][NNL_COMPUTE_COUNT];
    nnl_cell_back_fn *back[NNL_CELL_COUNT][NNL_COMPUTE_COUNT];
    // Floats only. A matrix b (k, n), whose element (i, j) is b[i * row_step + j * column_step], packed for
    // products c += a b with few rows; out has room for k times n rounded up to whole panels.
    size_t panel;
    void (*pack)(size_t k, size_t n, void *out, const void *b, size_t row_step, size_t column_step);
    void (*add_packed)(size_t m, size_t n, size_t k, void *c, size_t ldc, const void *a, size_t lda,
                       const void *packed);
} nnl_recurrent_kernels;

typedef struct nnl_kernels {
    const char *isa; // "baseline", "avx2", "avx512", "neon"
    const nnl_convert_kernels *convert;
    const nnl_elementwise_kernels *elementwise;
    const nnl_reduce_kernels *reduce;
    const nnl_row_kernels *rows;
    const nnl_loss_kernels *loss;
    const nnl_random_kernels *random;
    const nnl_optim_kernels *optim;
    const nnl_product_kernels *product;
    const nnl_recurrent_kernels *recurrent;
} nnl_kernels;

// The kernels for the best instruction set of this processor, and those by name (NULL where the processor or
// the build has it not).
const nnl_kernels *nnl_kernels_best(void);
const nnl_kernels *nnl_kernels_named(const char *isa);

#endif
