// gate.c: activations of more than one number at a time, made of other operations.
#include "grad/records.h"

// a * sigmoid(b), a and b the halves of x along a dimension (Dauphin et al. 2017)
nnl_tensor *nnl_glu(nnl_context *ctx, nnl_tensor *x, int dim) {
    int64_t size = x->shape.ndim > 0 ? x->shape.size[dim] : 1;
    if (size % 2 != 0) {
        char text[NNL_SHAPE_TEXT];
        return nnl_fail_null(ctx, NNL_ERR_SHAPE, "glu: expected an even size of dimension %d, got %s",
                             dim + 1, nnl_shape_text(&x->shape, text));
    }
    nnl_tensor *a = nnl_slice(ctx, x, dim, 0, size / 2, 1);
    nnl_tensor *b = a ? nnl_slice(ctx, x, dim, size / 2, size / 2, 1) : NULL;
    nnl_tensor *gate = b ? nnl_unary_op(ctx, NNL_UNARY_sigmoid, b, NULL) : NULL;
    nnl_tensor *out = gate ? nnl_mul(ctx, a, gate) : NULL;
    nnl_tensor_release(a);
    nnl_tensor_release(b);
    nnl_tensor_release(gate);
    return out;
}

// The slopes as they stand beside x (N, C, ...): one for all, or one for each channel.
static nnl_tensor *slopes_for(nnl_context *ctx, const nnl_tensor *x, nnl_tensor *weight) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    int channels = x->shape.ndim > 1 ? 1 : 0;
    int64_t count = nnl_tensor_numel(weight);
    bool fits =
        weight->shape.ndim <= 1 && (count == 1 || (x->shape.ndim > 0 && count == x->shape.size[channels]));
    if (!fits) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE,
                             "prelu: expected one slope, or one for each channel of %s, got %s",
                             nnl_shape_text(&x->shape, a), nnl_shape_text(&weight->shape, b));
    }
    nnl_shape beside = {.ndim = x->shape.ndim};
    for (int d = 0; d < beside.ndim; d++) beside.size[d] = d == channels ? count : 1;
    return nnl_reshape(ctx, weight, &beside);
}

// x above 0, weight * x elsewhere (He et al. 2015)
nnl_tensor *nnl_prelu(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight) {
    nnl_tensor *slopes = slopes_for(ctx, x, weight);
    nnl_tensor *zero = slopes ? nnl_tensor_new(ctx, x->dtype, &(nnl_shape){.ndim = 0}) : NULL;
    if (zero) nnl_try_fill(zero, nnl_number_int(0));
    nnl_tensor *above = zero ? nnl_compare_op(ctx, NNL_COMPARE_gt, x, zero) : NULL;
    nnl_tensor *below = above ? nnl_mul(ctx, x, slopes) : NULL;
    nnl_tensor *out = below ? nnl_where(ctx, above, x, below) : NULL;
    nnl_tensor_release(slopes);
    nnl_tensor_release(zero);
    nnl_tensor_release(above);
    nnl_tensor_release(below);
    return out;
}

static nnl_status glu_forward(nnl_context *ctx, nnl_call *call) {
    int ndim = call->arg[0].tensor->shape.ndim;
    int dim = call->arg[1].given ? (int)call->arg[1].i : ndim > 0 ? ndim - 1 : 0;
    call->out[0] = nnl_glu(ctx, call->arg[0].tensor, dim);
    return call->out[0] ? NNL_OK : ctx->status;
}

static nnl_status prelu_forward(nnl_context *ctx, nnl_call *call) {
    call->out[0] = nnl_prelu(ctx, call->arg[0].tensor, call->arg[1].tensor);
    return call->out[0] ? NNL_OK : ctx->status;
}

const nnl_op nnl_gate_records[] = {
    {.name = "glu",
     .doc = "a * sigmoid(b), a and b the halves along a dimension, the last by default (Dauphin et al. 2017)",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL}, {"dim", NNL_ARG_DIM, true, 0, NULL}},
     .forward = glu_forward},
    {.name = "prelu",
     .doc = "x above 0, weight * x elsewhere; weight (1), or (C) for x (N, C, ...) (He et al. 2015)",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL}, {"weight", NNL_ARG_TENSOR, false, 0, NULL}},
     .forward = prelu_forward},
    {.name = NULL},
};
