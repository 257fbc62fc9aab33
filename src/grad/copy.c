// copy.c: operations that move elements as they are: clone, contiguous, dtype conversion, choice between two
// tensors.
#include "grad/records.h"

static nnl_tensor *copied(nnl_context *ctx, nnl_tensor *x, nnl_dtype dtype) {
    nnl_tensor *out = nnl_tensor_new(ctx, dtype, &x->shape);
    if (out) nnl_try_copy(out, x);
    return out;
}

static nnl_status record_copy(nnl_context *ctx, nnl_call *call, nnl_tensor *x) {
    return nnl_record(
        ctx,
        &(nnl_recording){.op = call->op, .n_inputs = 1, .inputs = &x, .n_outputs = 1, .outputs = call->out});
}

static nnl_status clone_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    call->out[0] = copied(ctx, x, x->dtype);
    return call->out[0] ? record_copy(ctx, call, x) : ctx->status;
}

static nnl_status contiguous_forward(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *x = call->arg[0].tensor;
    if (!nnl_tensor_is_contiguous(x)) return clone_forward(ctx, call);
    call->out[0] = nnl_tensor_retain(x);
    return NNL_OK;
}

static nnl_status to_dtype(nnl_context *ctx, nnl_call *call, nnl_dtype dtype) {
    nnl_tensor *x = call->arg[0].tensor;
    if (x->dtype == dtype) {
        call->out[0] = nnl_tensor_retain(x);
        return NNL_OK;
    }
    call->out[0] = copied(ctx, x, dtype);
    return call->out[0] ? record_copy(ctx, call, x) : ctx->status;
}

static nnl_status to_forward(nnl_context *ctx, nnl_call *call) {
    return to_dtype(ctx, call, (nnl_dtype)call->arg[1].i);
}

static nnl_status to_fixed_forward(nnl_context *ctx, nnl_call *call) {
    return to_dtype(ctx, call, (nnl_dtype)call->op->variant);
}

// The walk turns the gradient back into the input's dtype.
static nnl_status copy_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    (void)ctx, (void)node;
    dx[0] = nnl_tensor_retain(dout[0]);
    return NNL_OK;
}

// ---- where, masked_fill

static nnl_status check_condition(nnl_context *ctx, const char *who, const nnl_tensor *condition) {
    if (condition->dtype == NNL_BOOL) return NNL_OK;
    return nnl_fail(ctx, NNL_ERR_DTYPE, "%s: expected a bool tensor as the condition, got %s", who,
                    nnl_dtype_get(condition->dtype)->name);
}

// An operand as a tensor of the dtype; numbers get no dimensions.
static nnl_tensor *choice(nnl_context *ctx, const nnl_arg *arg, nnl_dtype dtype) {
    if (!arg->is_number) return nnl_to(ctx, arg->tensor, dtype);
    nnl_tensor *number = nnl_tensor_new(ctx, dtype, &(nnl_shape){.ndim = 0});
    if (number) nnl_try_fill(number, arg->number);
    return number;
}

static nnl_status choose(nnl_context *ctx, nnl_call *call, nnl_tensor *condition, nnl_tensor *a,
                         nnl_tensor *b) {
    nnl_shape shape;
    nnl_status status = nnl_shape_broadcast(ctx, call->op->name, &a->shape, &b->shape, &shape);
    if (status == NNL_OK)
        status = nnl_shape_broadcast(ctx, call->op->name, &condition->shape, &shape, &shape);
    if (status != NNL_OK) return status;
    call->out[0] = nnl_tensor_new(ctx, a->dtype, &shape);
    if (!call->out[0]) return ctx->status;
    nnl_apply_where(call->out[0], condition, a, b);
    return nnl_record(ctx, &(nnl_recording){.op = call->op,
                                            .n_inputs = 2,
                                            .inputs = (nnl_tensor *const[]){a, b},
                                            .n_outputs = 1,
                                            .outputs = call->out,
                                            .n_saved = 1,
                                            .saved = {condition}});
}

static nnl_status choose_args(nnl_context *ctx, nnl_call *call, nnl_tensor *condition, const nnl_arg *a,
                              const nnl_arg *b, nnl_dtype dtype) {
    nnl_status status = check_condition(ctx, call->op->name, condition);
    if (status != NNL_OK) return status;
    nnl_tensor *x = choice(ctx, a, dtype), *y = x ? choice(ctx, b, dtype) : NULL;
    status = y ? choose(ctx, call, condition, x, y) : ctx->status;
    nnl_tensor_release(x);
    nnl_tensor_release(y);
    return status;
}

// nn.where(condition, a, b)
static nnl_status where_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_arg *a = &call->arg[1], *b = &call->arg[2];
    return choose_args(ctx, call, call->arg[0].tensor, a, b, nnl_operands_dtype(a, b));
}

// a:where(condition, b)
static nnl_status where_method_forward(nnl_context *ctx, nnl_call *call) {
    const nnl_arg *a = &call->arg[0], *b = &call->arg[2];
    return choose_args(ctx, call, call->arg[1].tensor, a, b, nnl_operands_dtype(a, b));
}

// x:masked_fill(mask, value)
static nnl_status masked_fill_forward(nnl_context *ctx, nnl_call *call) {
    return choose_args(ctx, call, call->arg[1].tensor, &call->arg[2], &call->arg[0],
                       call->arg[0].tensor->dtype);
}

static nnl_status where_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    nnl_tensor *condition = nnl_node_saved(node, 0);
    nnl_tensor *zero = nnl_tensor_new(ctx, dout[0]->dtype, &(nnl_shape){.ndim = 0});
    if (!zero) return ctx->status;
    nnl_try_fill(zero, nnl_number_int(0));
    nnl_status status = NNL_OK;
    for (int i = 0; i < 2 && status == NNL_OK; i++) {
        if (!nnl_node_needs(node, i)) continue;
        dx[i] = i == 0 ? nnl_where(ctx, condition, dout[0], zero) : nnl_where(ctx, condition, zero, dout[0]);
        if (!dx[i]) status = ctx->status;
    }
    nnl_tensor_release(zero);
    return status;
}

#define X                                                                                                    \
    { "input", NNL_ARG_TENSOR, false, 0, NULL }
#define CAST(n, type, text)                                                                                  \
    {                                                                                                        \
        .name = n, .doc = text, .flags = NNL_OP_METHOD, .outputs = 1, .params = {X},                         \
        .forward = to_fixed_forward, .backward = copy_backward, .variant = type                              \
    }

const nnl_op nnl_copy_records[] = {
    {.name = "clone",
     .doc = "a contiguous copy, which gradients flow through",
     .flags = NNL_OP_METHOD,
     .outputs = 1,
     .params = {X},
     .forward = clone_forward,
     .backward = copy_backward},
    {.name = "contiguous",
     .doc = "the tensor itself where its elements lie in row-major order, else such a copy",
     .flags = NNL_OP_METHOD,
     .outputs = 1,
     .params = {X},
     .forward = contiguous_forward,
     .backward = copy_backward},
    {.name = "to",
     .doc = "the elements as another dtype; the tensor itself where it has it",
     .flags = NNL_OP_METHOD,
     .outputs = 1,
     .params = {X, {"dtype", NNL_ARG_DTYPE, false, 0, NULL}},
     .forward = to_forward,
     .backward = copy_backward},
    CAST("float", NNL_FLOAT32, "to float32"),
    CAST("double", NNL_FLOAT64, "to float64"),
    CAST("long", NNL_INT64, "to int64, towards zero"),
    CAST("int", NNL_INT32, "to int32, towards zero"),
    CAST("byte", NNL_UINT8, "to uint8, towards zero"),
    CAST("half", NNL_FLOAT16, "to float16"),
    CAST("bfloat16", NNL_BFLOAT16, "to bfloat16"),
    CAST("bool", NNL_BOOL, "to bool: false where 0"),
    {.name = "where",
     .doc = "a where the condition (bool) holds, b elsewhere; all three broadcast",
     .flags = NNL_OP_FUNCTION,
     .outputs = 1,
     .params = {{"condition", NNL_ARG_TENSOR, false, 0, NULL},
                {"input", NNL_ARG_VALUE, false, 0, NULL},
                {"other", NNL_ARG_VALUE, false, 0, NULL}},
     .forward = where_forward,
     .backward = where_backward},
    {.name = "where",
     .doc = "the tensor where the condition (bool) holds, other elsewhere; all three broadcast",
     .flags = NNL_OP_METHOD,
     .outputs = 1,
     .params = {X, {"condition", NNL_ARG_TENSOR, false, 0, NULL}, {"other", NNL_ARG_VALUE, false, 0, NULL}},
     .forward = where_method_forward,
     .backward = where_backward},
    {.name = "masked_fill",
     .doc = "the tensor with `value` where the mask (bool) holds",
     .flags = NNL_OP_METHOD | NNL_OP_IN_PLACE_BY_COPY,
     .outputs = 1,
     .params = {X, {"mask", NNL_ARG_TENSOR, false, 0, NULL}, {"value", NNL_ARG_VALUE, false, 0, NULL}},
     .forward = masked_fill_forward,
     .backward = where_backward},
    {.name = NULL},
};

enum { CLONE, TO = 2 }; // positions above

static nnl_tensor *run_record(nnl_context *ctx, int record, nnl_tensor *x, nnl_dtype dtype) {
    nnl_call call;
    nnl_call_init(&call, &nnl_copy_records[record]);
    call.arg[0].tensor = x;
    if (record == TO) call.arg[1].i = dtype;
    return nnl_call_result(ctx, &call);
}

nnl_tensor *nnl_clone(nnl_context *ctx, nnl_tensor *x) { return run_record(ctx, CLONE, x, x->dtype); }

nnl_tensor *nnl_contiguous(nnl_context *ctx, nnl_tensor *x) {
    return nnl_tensor_is_contiguous(x) ? nnl_tensor_retain(x) : nnl_clone(ctx, x);
}

nnl_tensor *nnl_to(nnl_context *ctx, nnl_tensor *x, nnl_dtype dtype) {
    return x->dtype == dtype ? nnl_tensor_retain(x) : run_record(ctx, TO, x, dtype);
}

nnl_tensor *nnl_array(nnl_context *ctx, nnl_tensor *x) {
    nnl_tensor *native = nnl_to(ctx, x, nnl_tensor_compute(x) == NNL_IN_DOUBLE ? NNL_FLOAT64 : NNL_FLOAT32);
    nnl_tensor *whole = native ? nnl_contiguous(ctx, native) : NULL;
    nnl_tensor_release(native);
    return whole;
}

static const nnl_op *where_function(void) {
    const nnl_op *op = nnl_copy_records;
    while (op->forward != where_forward) op++;
    return op;
}

nnl_tensor *nnl_where(nnl_context *ctx, nnl_tensor *condition, nnl_tensor *a, nnl_tensor *b) {
    nnl_call call;
    nnl_call_init(&call, where_function());
    call.arg[0].tensor = condition;
    call.arg[1].tensor = a;
    call.arg[2].tensor = b;
    return nnl_call_result(ctx, &call);
}
