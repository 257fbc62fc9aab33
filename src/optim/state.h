// state.h: what optimizers know of a parameter, such as averages of its gradient: as arrays in the
// parameter's own precision, or packed in 16 or 8 bits a number (kernel/isa/pack.c) and brought to floats a
// stretch at a time.
#ifndef NNL_OPTIM_STATE_H
#define NNL_OPTIM_STATE_H

#include "optim/update.h"

// The words of the option state_dtype.
typedef enum nnl_state_kind { NNL_STATE_WHOLE, NNL_STATE_HALVES, NNL_STATE_BYTES } nnl_state_kind;

// Zeros, of the kind that the options ask for.
nnl_status nnl_state_make(nnl_context *ctx, const nnl_optimizer_class *class, const nnl_option_value *option,
                          nnl_param_state *p, int k);

// The memory that state k will take.
size_t nnl_state_bytes(const nnl_optimizer_class *class, const nnl_option_value *option,
                       const nnl_tensor *param);

bool nnl_state_is_packed(const nnl_param_state *p);

// A stretch of up to NNL_STATE_STRETCH elements from a multiple of that on, to floats and back. `seed`: of
// the chances of rounding; what is between two values becomes the nearest where it is NULL.
#define NNL_STATE_STRETCH 2048
void nnl_state_unpack(const nnl_kernels *kernels, const nnl_param_state *p, int k, size_t from, size_t n,
                      float *x);
void nnl_state_pack(const nnl_kernels *kernels, const nnl_param_state *p, int k, size_t from, size_t n,
                    const float *x, const uint32_t *seed);

#endif
