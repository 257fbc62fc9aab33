// apply.h: running elementwise kernels over whole tensors of any strides and dtypes. Operands whose memory is
// not an array of the kernel's compute type pass through small buffers, block by block, so that a kernel
// needs one form only.
#ifndef NNL_TENSOR_APPLY_H
#define NNL_TENSOR_APPLY_H

#include "kernel/kernel.h"
#include "tensor/tensor.h"

// `out` has the broadcast shape of the inputs and may be one of them. `type` is the compute type that the
// kernel is, or was, picked for: the inputs are converted to it on the way in, the results to out's dtype on
// the way out.
void nnl_apply_unary(nnl_tensor *out, const nnl_tensor *x, nnl_compute type, nnl_unary op, const double *p);
void nnl_apply_unary_grad(nnl_tensor *dx, const nnl_tensor *dout, const nnl_tensor *x, const nnl_tensor *y,
                          nnl_compute type, nnl_unary op, const double *p);
void nnl_apply_unary_grad2(nnl_tensor *out, const nnl_tensor *u, const nnl_tensor *dout, const nnl_tensor *x,
                           const nnl_tensor *y, nnl_compute type, nnl_unary op, const double *p);
void nnl_apply_binary(nnl_tensor *out, const nnl_tensor *a, const nnl_tensor *b, nnl_compute type,
                      nnl_binary op);

// The same with a number on one side.
void nnl_apply_binary_number(nnl_tensor *out, const nnl_tensor *a, nnl_number b, bool number_first,
                             nnl_compute type, nnl_binary op);

// Kernels that give truth values: `out` is bool.
void nnl_apply_compare(nnl_tensor *out, const nnl_tensor *a, const nnl_tensor *b, nnl_compute type,
                       nnl_compare_fn *kernel);
void nnl_apply_test(nnl_tensor *out, const nnl_tensor *x, nnl_compute type, nnl_test_fn *kernel);

// out = condition ? a : b; a and b have out's dtype, condition is bool.
void nnl_apply_where(nnl_tensor *out, const nnl_tensor *condition, const nnl_tensor *a, const nnl_tensor *b);

// Elements of src, converted and broadcast, into dst. The second of each leaves some out once the host wants
// an end (nnl_pool_try).
void nnl_apply_copy(nnl_tensor *dst, const nnl_tensor *src);
void nnl_try_copy(nnl_tensor *dst, const nnl_tensor *src);
void nnl_apply_fill(nnl_tensor *dst, nnl_number value);
void nnl_try_fill(nnl_tensor *dst, nnl_number value);

// What follows fills a new tensor, an array, and leaves some out once the host wants an end.

// Numbers a step apart, and numbers as far apart from one end to the other.
void nnl_apply_range(nnl_tensor *dst, nnl_number from, nnl_number step);
void nnl_apply_linspace(nnl_tensor *dst, double from, double to);

// Random floats or doubles by a kernel of kernels->random, with Philox words from a block on that was
// reserved for them; integers from low on, below low + bound; 1 to n in random order.
void nnl_apply_draw(nnl_tensor *dst, nnl_draw_fn *draw, uint64_t block, double a, double b);
void nnl_apply_randint(nnl_tensor *dst, int64_t low, uint64_t bound);
void nnl_apply_randperm(nnl_tensor *dst);

// float32 numbers from 0 on lose the bits that a 16-bit dtype has not, so that it holds them without rounding
// up.
void nnl_apply_shorten(nnl_tensor *t, nnl_dtype dtype);

#endif
