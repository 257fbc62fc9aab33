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

// A copy that goes past the caches, of whole lines of NNL_LINE bytes to the beginning of a line. Other
// threads may read it once `streamed` was called.
#define NNL_LINE 64
typedef void nnl_stream_fn(size_t bytes, void *out, const void *in);
typedef void nnl_streamed_fn(void);

// out[j] = the reduction over i < n of x[i * stride + j], for j < inner. n = 0 gives the neutral element (sum
// 0, prod 1, max -inf or INT64_MIN ...). With inner = 1 and stride = 1 this is the reduction of one
// contiguous row.
typedef void nnl_reduce_fn(size_t n, size_t inner, void *out, const void *x, size_t stride);
// The index (from 0) of the first largest (or smallest) value, NaN being the largest (smallest); the same
// layout.
typedef void nnl_arg_reduce_fn(size_t n, size_t inner, int64_t *out, const void *x, size_t stride);
// The mean of some values and the sum of their squared deviations from it.
typedef struct nnl_moment {
    double mean, square;
} nnl_moment;

// The moments of each column, in the layout above, in one pass over memory; of no values: zeros.
typedef void nnl_moments_fn(size_t n, size_t inner, nnl_moment *out, const void *x, size_t stride);

// Contiguous rows of n each: y = softmax(x) or log_softmax(x); logsumexp into an element for each row. Rows
// of only -inf give NaN (-inf), as in PyTorch.
typedef void nnl_row_fn(size_t rows, size_t n, void *y, const void *x);
// dx = y * (dout - sum(dout * y)), or dout - exp(y) * sum(dout)
typedef void nnl_row_grad_fn(size_t rows, size_t n, void *dx, const void *dout, const void *y);
// The same down columns: n rows of `width` of them, `stride` apart.
typedef void nnl_column_fn(size_t n, size_t width, size_t stride, void *y, const void *x);
typedef void nnl_column_grad_fn(size_t n, size_t width, size_t stride, void *dx, const void *dout,
                                const void *y);
// Running sums and products along a row, from what a stretch before left (0 or 1 at the start): in `real`, in
// `whole` for integers.
typedef struct nnl_carry {
    double real;
    int64_t whole;
} nnl_carry;
typedef void nnl_scan_fn(size_t n, void *y, const void *x, nnl_carry *carry);
// h[i] = b[i] + a[i] h[i - 1] from the first on; or h[i] = b[i] + a[i + 1] h[i + 1] from the last on. What
// lies outside of h counts as 0. h may be b itself.
typedef void nnl_recur_fn(size_t n, void *h, const void *a, const void *b);

// Normalisation of a stretch of n: x' = (x - mean) rstd, y = x' weight + bias. Each term is an array of the
// compute type: of n where `each` of its kind says so, else of one. fold1 and fold2 are the means of g and g
// x' over what was normalised together, g = dout weight, and 0 where mean and rstd do not depend on x.
typedef struct nnl_norm_terms {
    const void *mean, *rstd, *fold1, *fold2;
    const void *weight, *bias;
    bool each_statistic; // mean, rstd, fold1, fold2
    bool each_weight;    // weight, bias
} nnl_norm_terms;

typedef void nnl_norm_fn(size_t n, void *y, const void *x, const nnl_norm_terms *t);
// dx = rstd (g - fold1 - x' fold2)
typedef void nnl_norm_grad_fn(size_t n, void *dx, const void *dout, const void *x, const nnl_norm_terms *t);
// The sums of g and g x' over a stretch with one mean and rstd, into sum[0] and sum[1].
typedef void nnl_norm_sums_fn(size_t n, double *sum, const void *dout, const void *x,
                              const nnl_norm_terms *t);
// dbias += dout, dweight += dout x', element by element.
typedef void nnl_norm_weights_fn(size_t n, void *dweight, void *dbias, const void *dout, const void *x,
                                 const nnl_norm_terms *t);

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
typedef void nnl_draw_fn(size_t n, void *out, uint64_t seed, uint64_t block, double a, double b);
typedef void nnl_bernoulli_fn(size_t n, uint8_t *out, uint64_t seed, uint64_t block, double keep);
// y = mask ? x * scale : 0, of which NaN and infinity make NaN
typedef void nnl_mask_fn(size_t n, void *y, const void *x, const uint8_t *mask, double scale);

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

// The numbers of a step of NAdam, Adagrad, Adadelta and Lion; what each of them means by `rate` and `more` is
// told beside its kernel.
typedef struct nnl_adaptive_step {
    double rate, weight_decay, beta1, beta2, eps, more;
    bool maximize;
} nnl_adaptive_step;

// first, second: the rule's state; NULL where it has less
typedef void nnl_adaptive_fn(size_t n, void *p, const void *g, void *first, void *second,
                             const nnl_adaptive_step *step);

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
    nnl_binary_fn *binary_first[NNL_BINARY_COUNT][NNL_COMPUTE_COUNT];  // a is one number
    nnl_binary_fn *binary_second[NNL_BINARY_COUNT][NNL_COMPUTE_COUNT]; // b is one number
    nnl_compare_fn *compare[NNL_COMPARE_COUNT][NNL_COMPUTE_COUNT];
    nnl_test_fn *test[NNL_TEST_COUNT][NNL_COMPUTE_COUNT];
    nnl_where_fn *where[4]; // by log2 of the element's bytes
    nnl_stream_fn *stream;  // NULL where the processor has no such thing
    nnl_streamed_fn *streamed;
} nnl_elementwise_kernels;

typedef struct nnl_reduce_kernels {
    nnl_reduce_fn *reduce[NNL_REDUCTION_COUNT][NNL_COMPUTE_COUNT];
    nnl_arg_reduce_fn *arg_max[NNL_COMPUTE_COUNT], *arg_min[NNL_COMPUTE_COUNT];
} nnl_reduce_kernels;

typedef struct nnl_norm_kernels {
    nnl_moments_fn *moments[NNL_COMPUTE_COUNT];
    nnl_norm_fn *normalize[NNL_COMPUTE_COUNT];
    nnl_norm_grad_fn *grad[NNL_COMPUTE_COUNT];
    nnl_norm_sums_fn *sums[NNL_COMPUTE_COUNT];
    nnl_norm_weights_fn *weights[NNL_COMPUTE_COUNT];
} nnl_norm_kernels;

typedef struct nnl_rows_kernels {
    nnl_row_fn *softmax[NNL_COMPUTE_COUNT], *log_softmax[NNL_COMPUTE_COUNT], *logsumexp[NNL_COMPUTE_COUNT];
    nnl_row_grad_fn *softmax_grad[NNL_COMPUTE_COUNT], *log_softmax_grad[NNL_COMPUTE_COUNT];
    nnl_scan_fn *cumsum[NNL_COMPUTE_COUNT], *cumprod[NNL_COMPUTE_COUNT];
    nnl_recur_fn *recur[NNL_COMPUTE_COUNT], *recur_back[NNL_COMPUTE_COUNT];
} nnl_rows_kernels;

typedef struct nnl_columns_kernels {
    nnl_column_fn *softmax[NNL_COMPUTE_COUNT], *log_softmax[NNL_COMPUTE_COUNT];
    nnl_column_grad_fn *softmax_grad[NNL_COMPUTE_COUNT], *log_softmax_grad[NNL_COMPUTE_COUNT];
} nnl_columns_kernels;

typedef struct nnl_loss_kernels {
    nnl_loss_sum_fn *sum[NNL_POINTWISE_LOSS_COUNT][NNL_COMPUTE_COUNT];
    nnl_loss_each_fn *each[NNL_POINTWISE_LOSS_COUNT][NNL_COMPUTE_COUNT];
    nnl_loss_grad_fn *grad[NNL_POINTWISE_LOSS_COUNT][NNL_COMPUTE_COUNT];
    nnl_loss_grad_fn *target_grad[NNL_POINTWISE_LOSS_COUNT][NNL_COMPUTE_COUNT];
} nnl_loss_kernels;

typedef struct nnl_random_kernels {
    nnl_draw_fn *uniform[NNL_COMPUTE_COUNT];
    nnl_draw_fn *normal[NNL_COMPUTE_COUNT];
    nnl_bernoulli_fn *bernoulli;
    nnl_mask_fn *mask[NNL_COMPUTE_COUNT];
} nnl_random_kernels;

typedef struct nnl_optim_kernels {
    nnl_sgd_fn *sgd[NNL_COMPUTE_COUNT];
    nnl_adam_fn *adam[NNL_COMPUTE_COUNT];
    nnl_rmsprop_fn *rmsprop[NNL_COMPUTE_COUNT];
} nnl_optim_kernels;

typedef struct nnl_adaptive_kernels {
    nnl_adaptive_fn *nadam[NNL_COMPUTE_COUNT];
    nnl_adaptive_fn *adagrad[NNL_COMPUTE_COUNT];
    nnl_adaptive_fn *adadelta[NNL_COMPUTE_COUNT];
    nnl_adaptive_fn *lion[NNL_COMPUTE_COUNT];
} nnl_adaptive_kernels;

// Numbers in fewer bits (pack.c). nearest: what is between two values becomes the nearest; otherwise one of
// both by chance, which follows from the seed.
typedef struct nnl_pack_kernels {
    // A block in bytes, in the measure of *scale, its largest magnitude; squares: none is negative.
    void (*to_bytes)(size_t n, const float *x, uint8_t *code, float *scale, bool squares, bool nearest,
                     uint32_t seed);
    void (*from_bytes)(size_t n, const uint8_t *code, float scale, bool squares, float *x);
    // bfloat16
    void (*to_halves)(size_t n, const float *x, uint16_t *code, bool nearest, uint32_t seed);
    void (*from_halves)(size_t n, const uint16_t *code, float *x);
} nnl_pack_kernels;

// Small products in float (see gemm.c for the sizes that they are for), and products of integers.
typedef struct nnl_product_kernels {
    // out[j] = sum_i x[i] * w[j][i] for the n rows of w, each k long, ld apart
    void (*dot_rows)(size_t n, size_t k, float *out, const float *x, const float *w, size_t ld);
    // y[j] += sum_i x[i * step] * b[i][j] for the k rows of b, each n long, ld apart
    void (*add_rows)(size_t k, size_t n, float *y, const float *x, size_t step, const float *b, size_t ld);
    // c[i][j] = x[i * step] * y[j]
    void (*outer)(size_t m, size_t n, float *c, size_t ldc, const float *x, size_t step, const float *y);
    // c (m, n) = a (m, k) b (k, n), wrapped around; elements of a and b lie row and step apart
    void (*whole)(size_t m, size_t n, size_t k, int64_t *c, size_t ldc, const int64_t *a, size_t row_a,
                  size_t step_a, const int64_t *b, size_t row_b, size_t step_b);
} nnl_product_kernels;

// A block of a product of floats: c (m, n) = alpha * a (m, k) b (k, n) + beta * c. beta = 0 never reads c.
typedef struct nnl_gemm_block {
    size_t m, n, k;
    const float *a, *b;
    size_t lda, ldb;
    bool natural; // rows of a lie in order; otherwise its columns do
    float *c;
    size_t ldc;
    bool turned; // c lies as its transpose (n, m)
    float alpha, beta;
} nnl_gemm_block;

typedef struct nnl_gemm_kernels {
    size_t lanes, panel;
    // n up to `panel`; where it is below `lanes`, b has zeros up to there
    void (*block)(const nnl_gemm_block *block);
    // b as its transpose (n, k), and a in its natural order; k at least `lanes`
    void (*dots)(const nnl_gemm_block *block);
    // x (rows, k) to out (k, width): width is rows, or `lanes` if these are fewer, with zeros
    void (*pack)(size_t rows, size_t k, float *out, const float *x, size_t ldx);
} nnl_gemm_kernels;

// Products of bfloat16 numbers with sums in float. Two neighbours along the inner dimension are a pair, in 32
// bits, the first in the lower half; of an odd number the last has a 0 beside it. `lanes` is 0 where the
// processor has no instruction for them.
typedef struct nnl_pairs_block {
    size_t m, n, pairs; // n up to `panel`; pairs along the inner dimension
    const uint32_t
        *a; // natural: (m, lda); otherwise strips of `strip` rows, (pairs, strip), strip * lda apart
    size_t lda;
    bool natural;
    const uint32_t *b; // (pairs, n rounded up to a multiple of `lanes`)
    float *c;          // alpha * a b + beta * c; beta = 0 never reads it
    size_t ldc;
    float alpha, beta;
} nnl_pairs_block;

typedef struct nnl_pairs_kernels {
    size_t lanes, panel, strip;
    void (*block)(const nnl_pairs_block *block);
    // Packing of float, which is rounded, or bfloat16 where `half`. Widths and ld are multiples of `lanes`,
    // and filled up with zeros. x (rows, k) to out (rows, ld)
    void (*pack)(size_t rows, size_t k, uint32_t *out, size_t ld, const void *x, size_t ldx, bool half);
    // x (k, columns), or (columns, k), to out (pairs, width)
    void (*merge)(size_t k, size_t columns, uint32_t *out, size_t width, const void *x, size_t ldx,
                  bool half);
    void (*turn)(size_t k, size_t columns, uint32_t *out, size_t width, const void *x, size_t ldx, bool half);
    // c (m, n) = a b^T for up to 4 rows, b (n, k) of bfloat16 as it lies
    void (*dots)(size_t m, size_t n, size_t k, float *c, size_t ldc, const uint32_t *a, size_t lda,
                 const uint16_t *b, size_t ldb);
} nnl_pairs_kernels;

// Convolution over images that kernel/conv.c has packed, in which tap k of every result is offset[k] elements
// away.
typedef struct nnl_conv_block {
    size_t channels; // of the result: 1, 2, 4 ... `rows`
    size_t taps;
    const int32_t *offset;
    const void *weight; // (taps, channels)
    const void *bias;   // (channels), or NULL
    size_t stretches;   // of `lanes` results in a row, each `from` a place in x `to` one in out
    const int32_t *from, *to;
    const void *x;
    void *out;
    size_t ld; // from one channel of out to the next
} nnl_conv_block;

// out[tap][channel] += the sum over (rows, columns) of x[offset + row * pitch + column] * dy[place][channel]
typedef struct nnl_conv_sums {
    size_t taps;
    const int32_t *offset;
    size_t rows, columns, pitch;
    const void *x, *dy;
    void *out;
    size_t ld; // channels of dy and out: a multiple of `lanes`
} nnl_conv_sums;

typedef void nnl_conv_block_fn(const nnl_conv_block *block);
typedef void nnl_conv_sums_fn(const nnl_conv_sums *sums);
typedef void nnl_copy_rows_fn(size_t rows, size_t n, void *out, size_t out_row, size_t out_step,
                              const void *x, size_t x_row, size_t x_step);
typedef void nnl_transpose_fn(size_t rows, size_t columns, void *out, size_t out_row, const void *x,
                              size_t x_row);

typedef struct nnl_conv_kernels {
    size_t lanes, rows;
    nnl_conv_block_fn *block[NNL_COMPUTE_COUNT];
    nnl_conv_sums_fn *sums[NNL_COMPUTE_COUNT];
    nnl_conv_sums_fn *dots[NNL_COMPUTE_COUNT]; // of one channel: dy (rows, columns), out[tap * ld]
    nnl_copy_rows_fn *copy[NNL_COMPUTE_COUNT];
    nnl_transpose_fn *transpose[NNL_COMPUTE_COUNT]; // (rows, columns) to (columns, rows)
} nnl_conv_kernels;

// The same in bfloat16 with sums in float, where the processor has instructions for it; `rows` is 0
// elsewhere. block: a tap is a pair of channels, in 32 bits, of x as of the weights. sums: x is of bfloat16
// and dy in pairs of places, (rows * columns / 2, ld), columns being even. copy: from float to bfloat16,
// out_step being 1.
typedef struct nnl_pairs_conv_kernels {
    size_t rows;
    nnl_conv_block_fn *block;
    nnl_conv_sums_fn *sums;
    nnl_copy_rows_fn *copy;
    // nnl_winograd_kernels' input for two channels, so far apart in x, as pairs; false for sizes that it has
    // not
    bool (*input)(size_t rows, size_t columns, const float *x, size_t channel, size_t plane, size_t pitch,
                  uint32_t *v, size_t ld);
} nnl_pairs_conv_kernels;

// The transforms of Winograd's F(2 x 2, 3 x 3) for rows of tiles: 16 matrices lie `ld` apart. See
// isa/winograd.c.
typedef struct nnl_winograd_kernels {
    // rows and columns of tiles, in four phases that lie `plane` apart
    void (*input)(size_t rows, size_t columns, const float *x, size_t plane, size_t pitch, float *v,
                  size_t ld);
    // two rows of 2 * columns results
    void (*output)(size_t columns, const float *m, size_t ld, float bias, float *upper, float *lower);
    // g (3, 3, channels), read backwards if turned
    void (*weight)(size_t channels, bool turned, const float *g, float *u, size_t ld);
} nnl_winograd_kernels;

// How the results of one dimension see the input: result j the window from start[j] to end[j], which is not
// part of it.
typedef struct nnl_axis {
    int32_t size, result;
    const int32_t *start, *end;
    int32_t step;            // from one element of a window to the next; 1 where it is summed
    const double *weight;    // (result, kernel), or NULL: all are 1
    const double *divisor;   // (result): what the sum is divided by
    int32_t kernel;          // elements of a window, at most
    int32_t stride, padding; // where windows start at even distances; stride 0 otherwise
} nnl_axis;

// One plane; axis[0] is the height. `at`: positions in the plane of x, from 0. `room`: one row of x.
typedef struct nnl_resample_kernels {
    void (*max[NNL_COMPUTE_COUNT])(const nnl_axis axis[2], void *y, int32_t *at, const void *x);
    // y[i] = x[at[i]]; dx[at[i]] += dy[i] into `size` zeros
    void (*pick[NNL_COMPUTE_COUNT])(size_t n, void *y, const void *x, const int32_t *at);
    void (*put[NNL_COMPUTE_COUNT])(size_t n, size_t size, void *dx, const void *dy, const int32_t *at);
    void (*sum[NNL_COMPUTE_COUNT])(const nnl_axis axis[2], void *y, const void *x, void *room);
    void (*spread[NNL_COMPUTE_COUNT])(const nnl_axis axis[2], void *dx, const void *dy, void *room);
} nnl_resample_kernels;

// Attention, by compute type, float and double: see grad/attend.c. n is a multiple of NNL_SCORE_STEP but in
// scale and dot.
#define NNL_SCORE_STEP 16
typedef struct nnl_attention_kernels {
    // scores where the mask is not `allowed` become -inf
    void (*allow[2])(size_t n, void *scores, const uint8_t *mask, bool allowed);
    // weights times `scale` where kept, 0 elsewhere
    void (*drop[2])(size_t n, void *weights, const uint8_t *kept, double scale);
    // the largest score; NaN wins
    double (*top[2])(size_t n, const void *scores);
    // scores become exp(scores - shift), whose sum is returned; or the same times `share`
    double (*weigh[2])(size_t n, void *scores, double shift);
    void (*weigh_again[2])(size_t n, void *scores, double shift, double share);
    // the gradient of weights becomes that of scores: weights * (gradient - mean)
    void (*back[2])(size_t n, void *gradient, const void *weights, double mean);
    void (*scale[2])(size_t n, void *row, double scale);
    double (*dot[2])(size_t n, const void *a, const void *b);
    // n pairs, i and i + n or neighbours, turned by angles whose cosine and sine lie in `turn` side by side
    void (*rotate[2])(size_t n, void *y, const void *x, const void *turn, bool neighbours, bool back);
} nnl_attention_kernels;

// One token's way through a language model (nn/decoder.c), by the dtype of the weights; NULL for those that
// have none.
typedef struct nnl_decode_kernels {
    // y[j] = sum_i x[i] * w[j][i] for the n rows of w, each k long, ld apart; or added to y
    void (*dots[NNL_DTYPE_COUNT])(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld,
                                  bool add);
    // the same for weights that lie transposed: y[j] = sum_i x[i] * w[i][j], k rows of n, ld apart
    void (*sums[NNL_DTYPE_COUNT])(size_t n, size_t k, float *y, const float *x, const void *w, size_t ld,
                                  bool add);
    // y = (x - mean) / sqrt(mean square + eps) * w + b; the mean is 0 where it is not centred; b may be NULL
    void (*norm)(size_t n, float *y, const float *x, const float *w, const float *b, double eps,
                 bool centred);
} nnl_decode_kernels;

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

// Fourier transforms of many signals side by side (see fft.h): n numbers of NNL_FFT_LANES signals each, real
// and imaginary parts apart.
#define NNL_FFT_LANES 16

typedef struct nnl_fft_kernels {
    // One pass of Stockham's algorithm over `radix` * m places, each `width` numbers wide. `twiddles` has for
    // each of the m its radix - 1 pairs, `roots` the radix * radix pairs of the small transform.
    void (*pass)(size_t radix, size_t m, size_t width, const float *xr, const float *xi, float *yr, float *yi,
                 const float *twiddles, const float *roots);
    // (xr, xi) times the pairs of `factors`, one pair for each of n places, into (yr, yi), which may be the
    // same.
    void (*turn)(size_t n, size_t width, const float *xr, const float *xi, float *yr, float *yi,
                 const float *factors);
    // The spectra of twice as many real signals, the ones as real, the others as imaginary parts: bins 0 to n
    // / 2 of 2 * NNL_FFT_LANES each.
    void (*split)(size_t n, const float *zr, const float *zi, float *re, float *im);
    // re * re + im * im, and the square root of that, in the place of re.
    void (*square)(size_t n, float *re, const float *im);
    void (*magnitude)(size_t n, float *re, const float *im);
    // out = the sum of `count` rows, `width` numbers each, with a weight for each.
    void (*weigh)(size_t count, size_t width, const float *rows, size_t stride, const float *weights,
                  float *out);
} nnl_fft_kernels;

// The groups, one for each file of kernel/isa/: GROUP(name) has the type nnl_NAME_kernels, and a constant
// nnl_NAME_ISA for each instruction set (nnl_convert_avx2, nnl_elementwise_avx2, ...).
// Those of the second list differ between processors of one instruction set.
#define NNL_KERNEL_GROUPS(GROUP)                                                                             \
    NNL_COMMON_GROUPS(GROUP)                                                                                 \
    NNL_SPECIAL_GROUPS(GROUP)
#define NNL_SPECIAL_GROUPS(GROUP)                                                                            \
    GROUP(pairs)                                                                                             \
    GROUP(pairs_conv)
#define NNL_COMMON_GROUPS(GROUP)                                                                             \
    GROUP(convert)                                                                                           \
    GROUP(elementwise)                                                                                       \
    GROUP(reduce)                                                                                            \
    GROUP(rows)                                                                                              \
    GROUP(columns)                                                                                           \
    GROUP(norm)                                                                                              \
    GROUP(loss)                                                                                              \
    GROUP(random)                                                                                            \
    GROUP(optim)                                                                                             \
    GROUP(adaptive)                                                                                          \
    GROUP(pack)                                                                                              \
    GROUP(gemm)                                                                                              \
    GROUP(product)                                                                                           \
    GROUP(attention)                                                                                         \
    GROUP(decode)                                                                                            \
    GROUP(recurrent)                                                                                         \
    GROUP(conv)                                                                                              \
    GROUP(winograd)                                                                                          \
    GROUP(resample)                                                                                          \
    GROUP(fft)

// All kernels of one instruction set.
typedef struct nnl_kernels {
    const char *isa; // "baseline", "avx2", "avx512", "avx512_bf16", "neon"
#define NNL_KERNEL_GROUP(name) const nnl_##name##_kernels *name;
    NNL_KERNEL_GROUPS(NNL_KERNEL_GROUP)
#undef NNL_KERNEL_GROUP
} nnl_kernels;

// The kernels for the best instruction set of this processor, and those by name (NULL where the processor or
// the build has it not).
const nnl_kernels *nnl_kernels_best(void);
const nnl_kernels *nnl_kernels_named(const char *isa);

#endif
