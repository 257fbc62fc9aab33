// elementwise.c: the operations of kernel/ops.def as records: shapes and dtypes, forward, backward. The loops
// themselves are in kernel/isa/elementwise.c.
#include "grad/records.h"

#include <math.h>

enum { SAVE_NOTHING = 0, SAVE_INPUT = 1, SAVE_OUTPUT = 2, SAVE_BOTH = 3 };

typedef struct unary_state {
    nnl_unary kind;
    double p[2];
} unary_state;

static const uint8_t unary_saves[NNL_UNARY_COUNT] = {
#define UNARY(name, f, d, d2, saves, doc) [NNL_UNARY_##name] = saves,
#define UNARY_ANY(name, f, d, d2, whole, saves, doc) [NNL_UNARY_##name] = saves,
#define UNARY_WITH(name, f, d, d2, saves, doc) [NNL_UNARY_##name] = saves,
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_ANY
#undef UNARY_WITH
};

bool nnl_unary_reads_input(nnl_unary kind) { return (unary_saves[kind] & SAVE_INPUT) != 0; }

nnl_dtype nnl_float_dtype(nnl_dtype dtype) { return nnl_dtype_is_float(dtype) ? dtype : NNL_FLOAT32; }

static nnl_status output_fits(nnl_context *ctx, const nnl_call *call, nnl_dtype dtype,
                              const nnl_shape *shape) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    const nnl_tensor *into = call->into;
    if (!nnl_shape_equal(&into->shape, shape)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s_: the result of shape %s does not fit in place of %s",
                        call->op->name, nnl_shape_text(shape, a), nnl_shape_text(&into->shape, b));
    }
    if (nnl_dtype_get(dtype)->kind > nnl_dtype_get(into->dtype)->kind) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s_: a result of %s cannot be stored in a tensor of %s",
                        call->op->name, nnl_dtype_get(dtype)->name, nnl_dtype_get(into->dtype)->name);
    }
    return NNL_OK;
}

nnl_status nnl_call_output(nnl_context *ctx, nnl_call *call, nnl_dtype dtype, const nnl_shape *shape) {
    if (!call->into) {
        call->out[0] = nnl_tensor_new(ctx, dtype, shape);
        return call->out[0] ? NNL_OK : ctx->status;
    }
    nnl_status status = output_fits(ctx, call, dtype, shape);
    if (status != NNL_OK) return status;
    call->out[0] = nnl_tensor_retain(call->into);
    nnl_tensor_changed(call->into);
    return NNL_OK;
}

// ---- one operand

// The dtype of the result; integers keep theirs where the operation has a form for them. Of a bool, a sign is
// a bool and a square an integer.
static nnl_status unary_dtype(nnl_context *ctx, const char *name, nnl_unary kind, const nnl_tensor *x,
                              nnl_dtype *dtype) {
    bool whole = ctx->kernels->elementwise->unary[kind][NNL_IN_INT] != NULL;
    if (kind == NNL_UNARY_square && x->dtype == NNL_BOOL) {
        *dtype = NNL_INT64;
        return NNL_OK;
    }
    if (whole && x->dtype == NNL_BOOL && kind != NNL_UNARY_sign) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: not defined for bool tensors; convert with to(\"int64\")",
                        name);
    }
    *dtype = whole ? x->dtype : nnl_float_dtype(x->dtype);
    return NNL_OK;
}

static nnl_status unary_run(nnl_context *ctx, nnl_call *call, const unary_state *state, nnl_tensor *x) {
    nnl_dtype dtype = NNL_FLOAT32;
    nnl_status status = unary_dtype(ctx, call->op->name, state->kind, x, &dtype);
    if (status == NNL_OK) status = nnl_call_output(ctx, call, dtype, &x->shape);
    if (status != NNL_OK) return status;
    nnl_compute type = nnl_dtype_get(dtype)->compute;
    nnl_apply_unary(call->out[0], x, type, state->kind, state->p);
    if (!nnl_grad_wanted(ctx, &x, 1)) return NNL_OK;
    unsigned saves = unary_saves[state->kind];
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .n_saved = 2,
                                            .saved = {saves & SAVE_INPUT ? x : NULL,
                                                      saves & SAVE_OUTPUT ? call->out[0] : NULL},
                                            .state = state,
                                            .state_size = sizeof *state});
}

static nnl_status unary_forward(nnl_context *ctx, nnl_call *call) {
    unary_state state = {.kind = (nnl_unary)call->op->variant};
    return unary_run(ctx, call, &state, call->arg[0].tensor);
}

static nnl_tensor *unary_quick(nnl_context *ctx, const nnl_op *op, const nnl_tensor *x, const nnl_tensor *y,
                               size_t count) {
    static const double no_parameters[2] = {0, 0};
    (void)y;
    nnl_tensor *out = nnl_tensor_like(ctx, x, count);
    if (!out) return NULL;
    nnl_unary_fn *run = ctx->kernels->elementwise->unary[op->variant][nnl_tensor_compute(x)];
    run(count, nnl_tensor_data(out), nnl_tensor_data(x), no_parameters);
    return out;
}

static nnl_status unary_with_forward(nnl_context *ctx, nnl_call *call) {
    unary_state state = {.kind = (nnl_unary)call->op->variant};
    for (int i = 0; i < 2 && call->op->params[i + 1].kind == NNL_ARG_NUMBER; i++)
        state.p[i] = call->arg[i + 1].number.d;
    return unary_run(ctx, call, &state, call->arg[0].tensor);
}

// Integers stay integers: their limits are compared as such.
static nnl_status clamp_whole(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = nnl_tensor_retain(call->arg[0].tensor);
    for (int side = 1; side <= 2 && x; side++) {
        if (!call->arg[side].given) continue;
        nnl_call limit;
        nnl_call_init(&limit, nnl_op_named(side == 1 ? "maximum" : "minimum"));
        limit.arg[0].tensor = x;
        limit.arg[1] = call->arg[side];
        limit.arg[1].is_number = true;
        nnl_tensor *next = nnl_call_result(ctx, &limit);
        nnl_tensor_release(x);
        x = next;
    }
    call->out[0] = x;
    return x ? NNL_OK : ctx->status;
}

// x:clamp([min], [max])
static nnl_status clamp_forward(nnl_context *ctx, nnl_call *call) {
    unary_state state = {.kind = NNL_UNARY_clamp, .p = {call->arg[1].number.d, call->arg[2].number.d}};
    if (!call->arg[1].given && !call->arg[2].given) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "clamp: expected min, max or both");
    }
    if (!nnl_dtype_is_float(call->arg[0].tensor->dtype)) return clamp_whole(ctx, call);
    return unary_run(ctx, call, &state, call->arg[0].tensor);
}

static nnl_status gelu_forward(nnl_context *ctx, nnl_call *call) {
    unary_state state = {.kind = call->arg[1].i == 1 ? NNL_UNARY_gelu_tanh : NNL_UNARY_gelu_erf};
    return unary_run(ctx, call, &state, call->arg[0].tensor);
}

// Where only the result was saved, a tensor in the input's place of the graph stands for the input: the
// second derivative flows there, and its kernel reads the result alone.
static nnl_tensor *input_stand_in(nnl_node *node, nnl_tensor *y) {
    nnl_tensor *x = nnl_tensor_detach(y);
    if (x && node->input[0]) {
        nnl_autograd_retain(node->input[0]);
        x->autograd = node->input[0];
    }
    return x;
}

static nnl_status unary_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    const unary_state *state = node->state;
    nnl_tensor *x = nnl_node_saved(node, 0), *y = nnl_node_saved(node, 1), *stand_in = NULL;
    if (!x && y && ctx->grad_enabled) {
        stand_in = x = input_stand_in(node, y);
        if (!x) return ctx->status;
    }
    dx[0] = nnl_unary_grad_op(ctx, state->kind, dout[0], x, y, state->p);
    nnl_tensor_release(stand_in);
    return dx[0] ? NNL_OK : ctx->status;
}

// dx = dout * f'(x, y)
static nnl_status unary_grad_forward(nnl_context *ctx, nnl_call *call, const unary_state *state) {
    nnl_tensor *dout = call->arg[0].tensor, *x = call->arg[1].tensor, *y = call->arg[2].tensor;
    call->out[0] = nnl_tensor_new(ctx, dout->dtype, &dout->shape);
    if (!call->out[0]) return ctx->status;
    nnl_compute type = nnl_tensor_compute(dout);
    const nnl_tensor *some = x ? x : y ? y : dout;
    nnl_apply_unary_grad(call->out[0], dout, x ? x : some, y ? y : some, type, state->kind, state->p);
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 2,
                                            .inputs = (nnl_tensor *const[]){dout, x},
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .n_saved = 3,
                                            .saved = {dout, x, y},
                                            .state = state,
                                            .state_size = sizeof *state});
}

// Kernels end here: a walk through it is an error that names it.
static const nnl_op unary_grad2_records[NNL_UNARY_COUNT] = {
#define UNARY(n, f, d, d2, saves, text)                                                                      \
    [NNL_UNARY_##n] = {.name = "the second derivative of " #n, .outputs = 1},
#define UNARY_ANY(n, f, d, d2, whole, saves, text) UNARY(n, f, d, d2, saves, text)
#define UNARY_WITH(n, f, d, d2, saves, text) UNARY(n, f, d, d2, saves, text)
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_ANY
#undef UNARY_WITH
};

static nnl_status unary_grad_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                      nnl_tensor **dx) {
    const unary_state *state = node->state;
    nnl_tensor *first = nnl_node_saved(node, 0), *x = nnl_node_saved(node, 1), *y = nnl_node_saved(node, 2);
    if (nnl_node_needs(node, 0)) {
        dx[0] = nnl_unary_grad_op(ctx, state->kind, dout[0], x, y, state->p);
        if (!dx[0]) return ctx->status;
    }
    if (!nnl_node_needs(node, 1)) return NNL_OK;
    dx[1] = nnl_tensor_new(ctx, first->dtype, &first->shape);
    if (!dx[1]) return ctx->status;
    nnl_compute type = nnl_tensor_compute(first);
    nnl_apply_unary_grad2(dx[1], dout[0], first, x ? x : y, y ? y : x, type, state->kind, state->p);
    return nnl_record(ctx, &(nnl_recording){.op = &unary_grad2_records[state->kind],
                                            .n_inputs = 3,
                                            .inputs = (nnl_tensor *const[]){dout[0], first, x},
                                            .n_outputs = 1,
                                            .outputs = &dx[1]});
}

static const nnl_op unary_grad_record = {
    .name = "derivative of an elementwise operation",
    .params = {{"dout", NNL_ARG_TENSOR, false, 0, NULL},
               {"x", NNL_ARG_TENSOR, true, 0, NULL},
               {"y", NNL_ARG_TENSOR, true, 0, NULL}},
    .backward = unary_grad_backward,
    .outputs = 1,
};

nnl_tensor *nnl_unary_grad_op(nnl_context *ctx, nnl_unary kind, nnl_tensor *dout, nnl_tensor *x,
                              nnl_tensor *y, const double *p) {
    unary_state state = {.kind = kind, .p = {p ? p[0] : 0, p ? p[1] : 0}};
    nnl_call call;
    nnl_call_init(&call, &unary_grad_record);
    call.arg[0].tensor = dout;
    call.arg[1].tensor = x;
    call.arg[2].tensor = y;
    if (unary_grad_forward(ctx, &call, &state) == NNL_OK) return call.out[0];
    nnl_tensor_release(call.out[0]);
    return NULL;
}

static const nnl_op unary_plain[NNL_UNARY_COUNT];

nnl_tensor *nnl_unary_op(nnl_context *ctx, nnl_unary kind, nnl_tensor *x, const double *p) {
    unary_state state = {.kind = kind, .p = {p ? p[0] : 0, p ? p[1] : 0}};
    nnl_call call;
    nnl_call_init(&call, &unary_plain[kind]);
    if (unary_run(ctx, &call, &state, x) == NNL_OK) return call.out[0];
    nnl_tensor_release(call.out[0]);
    return NULL;
}

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define ON_TENSORS NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE

// What nnl_unary_op records.
static const nnl_op unary_plain[NNL_UNARY_COUNT] = {
#define UNARY(n, f, d, d2, saves, text)                                                                      \
    [NNL_UNARY_##n] = {.name = #n, .outputs = 1, .params = {X}, .backward = unary_backward},
#define UNARY_ANY(n, f, d, d2, whole, saves, text)                                                           \
    [NNL_UNARY_##n] = {.name = #n, .outputs = 1, .params = {X}, .backward = unary_backward},
#define UNARY_WITH(n, f, d, d2, saves, text)                                                                 \
    [NNL_UNARY_##n] = {.name = #n, .outputs = 1, .params = {X}, .backward = unary_backward},
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_ANY
#undef UNARY_WITH
};

#define NUMBER(name, fallback)                                                                               \
    { name, NNL_ARG_NUMBER, true, fallback, NULL }
#define WITH(kind, first, second, text)                                                                      \
    {                                                                                                        \
        .name = #kind, .doc = text, .flags = ON_TENSORS | NNL_OP_FUNCTIONAL, .outputs = 1,                   \
        .params = {X, first, second}, .forward = unary_with_forward, .backward = unary_backward,             \
        .variant = NNL_UNARY_##kind                                                                          \
    }
#define NO_PARAM                                                                                             \
    { NULL, NNL_ARG_END, false, 0, NULL }

const nnl_op nnl_unary_records[] = {
#define UNARY(n, f, d, d2, saves, text)                                                                      \
    {.name = #n,                                                                                             \
     .doc = text,                                                                                            \
     .flags = ON_TENSORS | NNL_OP_FUNCTIONAL,                                                                \
     .outputs = 1,                                                                                           \
     .params = {X},                                                                                          \
     .forward = unary_forward,                                                                               \
     .quick = unary_quick,                                                                                   \
     .backward = unary_backward,                                                                             \
     .variant = NNL_UNARY_##n},
#define UNARY_ANY(n, f, d, d2, whole, saves, text) UNARY(n, f, d, d2, saves, text)
#include "kernel/ops.def"
#undef UNARY
#undef UNARY_ANY
    WITH(leaky_relu, NUMBER("negative_slope", 0.01), NO_PARAM, "x above 0, negative_slope * x below"),
    WITH(elu, NUMBER("alpha", 1), NO_PARAM, "x above 0, alpha * (exp(x) - 1) below (Clevert et al. 2015)"),
    WITH(selu, NO_PARAM, NO_PARAM, "scaled ELU with fixed constants (Klambauer et al. 2017)"),
    WITH(softplus, NUMBER("beta", 1), NUMBER("threshold", 20),
         "log(1 + exp(beta * x)) / beta; x itself where beta * x is above threshold"),
    WITH(hardtanh, NUMBER("min_val", -1), NUMBER("max_val", 1), "x, but not below min_val nor above max_val"),
    {.name = "clamp",
     .doc = "x, but not below min nor above max, either of which may be left out",
     .flags = NNL_OP_METHOD | NNL_OP_FUNCTION | NNL_OP_IN_PLACE_BY_COPY,
     .outputs = 1,
     .params = {X, NUMBER("min", -INFINITY), NUMBER("max", INFINITY)},
     .forward = clamp_forward,
     .backward = unary_backward},
    {.name = "gelu",
     .doc = "x * Phi(x), Phi the normal distribution (Hendrycks and Gimpel 2016); approximate: \"none\" or "
            "\"tanh\"",
     .flags = ON_TENSORS | NNL_OP_FUNCTIONAL,
     .outputs = 1,
     .params = {X, {"approximate", NNL_ARG_CHOICE, true, 0, "none tanh"}},
     .forward = gelu_forward,
     .backward = unary_backward},
    {.name = NULL},
};
