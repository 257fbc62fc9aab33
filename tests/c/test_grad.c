// test_grad.c: the graph and its walk without Lua: values, gradients, errors, and memory given back.
#include "base/context.h"
#include "check.h"
#include "grad/backward.h"
#include "grad/ops.h"
#include "tensor/apply.h"

#include <math.h>

static nnl_context *new_context(void) {
    nnl_context *ctx = nnl_context_new();
    ctx->kernels = nnl_kernels_best();
    nnl_grad_init(ctx);
    return ctx;
}

static nnl_tensor *matrix(nnl_context *ctx, int64_t rows, int64_t columns, double first, double step) {
    nnl_tensor *t = nnl_tensor_new(ctx, NNL_FLOAT32, &(nnl_shape){.ndim = 2, .size = {rows, columns}});
    float *data = nnl_tensor_data(t);
    for (int64_t i = 0; i < rows * columns; i++) data[i] = (float)(first + step * (double)i);
    return t;
}

static float item(const nnl_tensor *t, int i) { return ((const float *)nnl_tensor_data(t))[i]; }
