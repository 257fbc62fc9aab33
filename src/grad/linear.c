// linear.c: act(x W^T + b) as one operation: the product, and bias and activation in one pass over rows that
// are still in the cache. The core of Dense.
#include "grad/product.h"
#include "grad/records.h"

#define PART_ELEMENTS 32768

typedef struct linear_state {
    nnl_unary activation; // NNL_UNARY_COUNT: none
    nnl_shape shape;      // of x
} linear_state;

typedef struct epilogue {
    char *z, *y; // (rows, columns); the same memory where z is not kept
    const void *bias;
    size_t rows, columns, element, step;
    nnl_binary_fn *add;
    nnl_unary_fn *activate;
} epilogue;

static void epilogue_part(void *arg, size_t part) {
    static const double no_parameters[2] = {0, 0};
    const epilogue *e = arg;
    size_t first = part * e->step, last = first + e->step < e->rows ? first + e->step : e->rows;
    for (size_t row = first; row < last; row++) {
        char *z = e->z + row * e->columns * e->element, *y = e->y + row * e->columns * e->element;
        if (e->bias) e->add(e->columns, z, z, e->bias);
        if (e->activate) e->activate(e->columns, y, z, no_parameters);
    }
}

static void run_epilogue(nnl_context *ctx, epilogue *e) {
    if (e->rows * e->columns == 0 || (!e->bias && !e->activate)) return;
    e->step = PART_ELEMENTS / e->columns > 0 ? PART_ELEMENTS / e->columns : 1;
    nnl_pool_try(ctx->pool, (e->rows + e->step - 1) / e->step, epilogue_part, e);
}

static nnl_status check_linear(nnl_context *ctx, const nnl_tensor *x, const nnl_tensor *weight,
                               const nnl_tensor *bias) {
    char got[NNL_SHAPE_TEXT], other[NNL_SHAPE_TEXT];
    if (weight->shape.ndim != 2) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "linear: expected a weight of shape (out, in), got %s",
                        nnl_shape_text(&weight->shape, other));
    }
    int64_t in = weight->shape.size[1], out = weight->shape.size[0];
    if (x->shape.ndim == 0 || x->shape.size[x->shape.ndim - 1] != in) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "linear: expected input (*, %lld), got %s", (long long)in,
                        nnl_shape_text(&x->shape, got));
    }
    if (bias && (bias->shape.ndim != 1 || bias->shape.size[0] != out)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "linear: expected a bias of shape (%lld), got %s", (long long)out,
                        nnl_shape_text(&bias->shape, other));
    }
    bool floats = nnl_dtype_is_float(x->dtype);
    if (!floats || weight->dtype != x->dtype || (bias && bias->dtype != x->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE,
                        "linear: expected input and weights of one floating dtype, got %s and %s",
                        nnl_dtype_get(x->dtype)->name, nnl_dtype_get(weight->dtype)->name);
    }
    return NNL_OK;
}

// Whether a weight lies as its transpose, which products read as well.
static bool is_turned(const nnl_tensor *weight) {
    return weight->shape.size[0] > 1 && weight->shape.size[1] > 1 && weight->stride[0] == 1 &&
           weight->stride[1] == weight->shape.size[0];
}

// z = x W^T into `out`, all contiguous but for a turned weight
static void product(nnl_context *ctx, const nnl_tensor *x, const nnl_tensor *weight, nnl_tensor *out) {
    size_t columns = (size_t)weight->shape.size[0], in = (size_t)weight->shape.size[1];
    size_t rows = columns > 0 ? (size_t)nnl_tensor_numel(out) / columns : 0;
    bool turned = is_turned(weight);
    nnl_matrix a = {nnl_tensor_data(x), in > 0 ? in : 1, false}, b = {nnl_tensor_data(weight),
                                                                      turned   ? columns
                                                                      : in > 0 ? in
                                                                               : 1,
                                                                      !turned};
    nnl_gemm(ctx->kernels, ctx->pool, nnl_product_of(ctx, nnl_tensor_compute(x)), rows, columns, in, 1, a, b,
             0, nnl_tensor_data(out), columns > 0 ? columns : 1);
}

static void finish(nnl_context *ctx, nnl_tensor *z, nnl_tensor *y, const nnl_tensor *bias,
                   nnl_unary activation) {
    nnl_compute type = nnl_tensor_compute(y);
    size_t columns = (size_t)y->shape.size[y->shape.ndim - 1];
    const nnl_elementwise_kernels *kernels = ctx->kernels->elementwise;
    epilogue e = {.z = nnl_tensor_data(z),
                  .y = nnl_tensor_data(y),
                  .bias = bias ? nnl_tensor_data(bias) : NULL,
                  .rows = columns > 0 ? (size_t)nnl_tensor_numel(y) / columns : 0,
                  .columns = columns,
                  .element = nnl_dtype_size(y->dtype),
                  .add = kernels->binary[NNL_BINARY_add][type],
                  .activate = activation < NNL_UNARY_COUNT ? kernels->unary[activation][type] : NULL};
    run_epilogue(ctx, &e);
}

static nnl_status linear_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx);

static const nnl_op linear_record = {.name = "linear", .outputs = 1, .backward = linear_backward};

static nnl_status record_linear(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                                nnl_tensor *z, nnl_tensor *y, nnl_unary activation) {
    linear_state state = {.activation = activation, .shape = x->shape};
    bool activated = activation < NNL_UNARY_COUNT;
    bool keeps_x = activated || nnl_requires_grad(weight), keeps_weight = activated || nnl_requires_grad(x);
    return nnl_record(ctx, &(nnl_recording){.op = &linear_record,
                                            .n_inputs = 3,
                                            .inputs = (nnl_tensor *const[]){x, weight, bias},
                                            .n_outputs = 1,
                                            .outputs = &y,
                                            .n_saved = 5,
                                            .saved = {keeps_x ? x : NULL, keeps_weight ? weight : NULL,
                                                      activated && z != y ? z : NULL, activated ? y : NULL,
                                                      activated ? bias : NULL},
                                            .state = &state,
                                            .state_size = sizeof state});
}

// The same on contiguous tensors.
static nnl_tensor *linear(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                          nnl_unary activation) {
    nnl_shape shape = x->shape;
    shape.size[shape.ndim - 1] = weight->shape.size[0];
    bool recorded = nnl_grad_wanted(ctx, (nnl_tensor *const[]){x, weight, bias}, 3);
    bool keeps_z = recorded && activation < NNL_UNARY_COUNT && nnl_unary_reads_input(activation);
    nnl_tensor *y = nnl_tensor_new(ctx, x->dtype, &shape);
    nnl_tensor *z = !y ? NULL : keeps_z ? nnl_tensor_new(ctx, x->dtype, &shape) : nnl_tensor_retain(y);
    nnl_status status = z ? NNL_OK : ctx->status;
    if (z) {
        product(ctx, x, weight, z);
        finish(ctx, z, y, bias, activation);
        if (recorded) status = record_linear(ctx, x, weight, bias, z, y, activation);
    }
    nnl_tensor_release(z);
    if (status == NNL_OK) return y;
    nnl_tensor_release(y);
    return NULL;
}

// Takes x.
static nnl_tensor *activated(nnl_context *ctx, nnl_tensor *x, nnl_unary activation) {
    if (!x || activation == NNL_UNARY_COUNT) return x;
    nnl_tensor *y = nnl_unary_op(ctx, activation, x, NULL);
    nnl_tensor_release(x);
    return y;
}

// Of 16-bit floats: operations one after the other.
static nnl_tensor *composed(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                            nnl_unary activation) {
    nnl_tensor *turned = nnl_transpose(ctx, weight, 0, 1), *z = turned ? nnl_matmul(ctx, x, turned) : NULL;
    nnl_tensor *sum = !z ? NULL : bias ? nnl_add(ctx, z, bias) : nnl_tensor_retain(z);
    nnl_tensor_release(turned);
    nnl_tensor_release(z);
    return activated(ctx, sum, activation);
}

nnl_tensor *nnl_linear(nnl_context *ctx, nnl_tensor *x, nnl_tensor *weight, nnl_tensor *bias,
                       nnl_unary activation) {
    if (check_linear(ctx, x, weight, bias) != NNL_OK) return NULL;
    if (x->dtype != NNL_FLOAT32 && x->dtype != NNL_FLOAT64) return composed(ctx, x, weight, bias, activation);
    nnl_tensor *a = nnl_contiguous(ctx, x);
    nnl_tensor *w = !a ? NULL : is_turned(weight) ? nnl_tensor_retain(weight) : nnl_contiguous(ctx, weight);
    nnl_tensor *b = w && bias ? nnl_contiguous(ctx, bias) : NULL;
    nnl_tensor *out = w && (b || !bias) ? linear(ctx, a, w, b, activation) : NULL;
    nnl_tensor_release(a);
    nnl_tensor_release(w);
    nnl_tensor_release(b);
    return out;
}

// Gradient before the activation. While the walk is recorded, the activation's input is computed again as a
// part of the graph, so that second derivatives reach x, weight and bias.
static nnl_tensor *before_activation(nnl_context *ctx, nnl_node *node, nnl_tensor *dout) {
    const linear_state *s = node->state;
    nnl_tensor *z = nnl_node_saved(node, 2), *y = nnl_node_saved(node, 3);
    if (s->activation >= NNL_UNARY_COUNT) return nnl_tensor_retain(dout);
    if (!ctx->grad_enabled) return nnl_unary_grad_op(ctx, s->activation, dout, z, y, NULL);
    nnl_tensor *again = nnl_linear(ctx, nnl_node_saved(node, 0), nnl_node_saved(node, 1),
                                   nnl_node_saved(node, 4), NNL_UNARY_COUNT);
    nnl_tensor *dz = again ? nnl_unary_grad_op(ctx, s->activation, dout, again, y, NULL) : NULL;
    nnl_tensor_release(again);
    return dz;
}

// dz as (rows, out), dW = dz^T x, dx = dz W, db = the sum of dz over rows
static nnl_status gradients(nnl_context *ctx, nnl_node *node, nnl_tensor *dz, nnl_tensor **dx) {
    const linear_state *s = node->state;
    nnl_tensor *x = nnl_node_saved(node, 0), *weight = nnl_node_saved(node, 1);
    if (nnl_node_needs(node, 0)) {
        nnl_tensor *flat = nnl_mm(ctx, dz, false, weight, false);
        dx[0] = flat ? nnl_reshape(ctx, flat, &s->shape) : NULL;
        nnl_tensor_release(flat);
        if (!dx[0]) return ctx->status;
    }
    if (nnl_node_needs(node, 1)) {
        nnl_shape rows = {.ndim = 2, .size = {dz->shape.size[0], s->shape.size[s->shape.ndim - 1]}};
        nnl_tensor *flat = nnl_reshape(ctx, x, &rows);
        dx[1] = flat ? nnl_mm(ctx, dz, true, flat, false) : NULL;
        nnl_tensor_release(flat);
        if (!dx[1]) return ctx->status;
    }
    if (nnl_node_needs(node, 2)) dx[2] = nnl_sum(ctx, dz, 1, (const int64_t[]){0}, false);
    return nnl_node_needs(node, 2) && !dx[2] ? ctx->status : NNL_OK;
}

static nnl_status linear_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                  nnl_tensor **dx) {
    nnl_tensor *dz = before_activation(ctx, node, dout[0]);
    if (!dz) return ctx->status;
    int64_t out = dz->shape.size[dz->shape.ndim - 1];
    nnl_shape rows = {.ndim = 2, .size = {1, out}};
    for (int d = 0; d < dz->shape.ndim - 1; d++) rows.size[0] *= dz->shape.size[d];
    nnl_tensor *flat = dz->shape.ndim == 2 ? nnl_tensor_retain(dz) : nnl_reshape(ctx, dz, &rows);
    nnl_tensor_release(dz);
    nnl_status status = flat ? gradients(ctx, node, flat, dx) : ctx->status;
    nnl_tensor_release(flat);
    return status;
}

// nn.functional.linear(x, weight[, bias])
static nnl_status linear_forward(nnl_context *ctx, nnl_call *call) {
    call->out[0] =
        nnl_linear(ctx, call->arg[0].tensor, call->arg[1].tensor, call->arg[2].tensor, NNL_UNARY_COUNT);
    return call->out[0] ? NNL_OK : ctx->status;
}

const nnl_op nnl_linear_records[] = {
    {.name = "linear",
     .doc = "x W^T + b: x (*, in), weight (out, in), bias (out) or nil",
     .flags = NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {{"input", NNL_ARG_TENSOR, false, 0, NULL},
                {"weight", NNL_ARG_TENSOR, false, 0, NULL},
                {"bias", NNL_ARG_TENSOR, true, 0, NULL}},
     .forward = linear_forward},
    {.name = NULL},
};
