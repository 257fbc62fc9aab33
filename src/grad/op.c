// op.c: calling operations, in place or not.
#include "grad/op.h"
#include "grad/records.h"
#include "tensor/apply.h"

void nnl_call_init(nnl_call *call, const nnl_op *op) {
    nnl_call_start(call, op);
    for (int i = 0; i < NNL_MAX_ARGS && op->params[i].kind != NNL_ARG_END; i++) {
        nnl_arg *arg = &call->arg[i];
        *arg = (nnl_arg){.given = false};
        switch (op->params[i].kind) {
        case NNL_ARG_NUMBER:
            arg->number = nnl_number_float(op->params[i].fallback);
            break;
        case NNL_ARG_BOOL:
            arg->flag = op->params[i].fallback != 0;
            break;
        case NNL_ARG_INT:
        case NNL_ARG_DIM:
        case NNL_ARG_NEW_DIM:
        case NNL_ARG_DTYPE:
        case NNL_ARG_CHOICE:
            arg->i = (int64_t)op->params[i].fallback;
            break;
        default:
            break;
        }
    }
}

nnl_shape *nnl_call_list(nnl_call *call, int arg) {
    nnl_shape *list = &call->lists[call->lists_used++];
    list->ndim = 0;
    call->arg[arg].given = true;
    call->arg[arg].list = list;
    return list;
}

nnl_status nnl_call_results(nnl_context *ctx, nnl_call *call, size_t count) {
    if (count > INT32_MAX) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: a list of %zu tensors is too long", call->op->name,
                        count);
    }
    nnl_tensor **items = nnl_alloc(&ctx->allocator, (count + 1) * sizeof *items);
    if (!items) return nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a list");
    for (size_t k = 0; k < count; k++) items[k] = NULL;
    call->results = (nnl_tensor_list){items, count};
    return NNL_OK;
}

void nnl_call_release_results(nnl_context *ctx, nnl_call *call) {
    for (size_t k = 0; k < call->results.count; k++) nnl_tensor_release(call->results.items[k]);
    if (call->results.items) nnl_free(&ctx->allocator, call->results.items);
    call->results = (nnl_tensor_list){NULL, 0};
}

static void release_outputs(nnl_context *ctx, nnl_call *call) {
    for (int k = 0; k < NNL_MAX_OUTPUTS; k++) {
        nnl_tensor_release(call->out[k]);
        call->out[k] = NULL;
    }
    nnl_call_release_results(ctx, call);
}

static nnl_status run_plain(nnl_context *ctx, nnl_call *call) {
    nnl_status status = call->op->forward(ctx, call);
    nnl_status stopped = nnl_check_stop(ctx, call->op->name); // what else failed may come of that
    if (stopped != NNL_OK) status = stopped;
    if (status != NNL_OK) release_outputs(ctx, call);
    return status;
}

static nnl_tensor **tensor_arg(nnl_call *call, int i) {
    nnl_arg_kind kind = call->op->params[i].kind;
    bool either = kind == NNL_ARG_OPERAND || kind == NNL_ARG_VALUE;
    bool tensor = kind == NNL_ARG_TENSOR || (either && !call->arg[i].is_number);
    return tensor ? &call->arg[i].tensor : NULL;
}

static bool any_grad_wanted(const nnl_context *ctx, nnl_call *call) {
    for (int i = 0; i < NNL_MAX_ARGS && call->op->params[i].kind != NNL_ARG_END; i++) {
        nnl_tensor **arg = tensor_arg(call, i);
        if (arg && nnl_grad_wanted(ctx, arg, 1)) return true;
    }
    return false;
}

static nnl_status check_fits(nnl_context *ctx, const nnl_call *call, const nnl_tensor *into,
                             const nnl_tensor *out) {
    char a[NNL_SHAPE_TEXT], b[NNL_SHAPE_TEXT];
    if (!nnl_shape_equal(&into->shape, &out->shape)) {
        return nnl_fail(ctx, NNL_ERR_SHAPE, "%s_: the result of shape %s does not fit in place of %s",
                        call->op->name, nnl_shape_text(&out->shape, a), nnl_shape_text(&into->shape, b));
    }
    if (nnl_dtype_get(out->dtype)->kind > nnl_dtype_get(into->dtype)->kind) {
        return nnl_fail(ctx, NNL_ERR_DTYPE, "%s_: a result of %s cannot be stored in a tensor of %s",
                        call->op->name, nnl_dtype_get(out->dtype)->name, nnl_dtype_get(into->dtype)->name);
    }
    return NNL_OK;
}

// Whether another operand looks at the memory that is written to.
static bool shares_memory(nnl_call *call) {
    for (int i = 0; i < NNL_MAX_ARGS && call->op->params[i].kind != NNL_ARG_END; i++) {
        nnl_tensor **arg = tensor_arg(call, i);
        if (arg && *arg && *arg != call->into && (*arg)->storage == call->into->storage) return true;
    }
    return false;
}

// What the graph remembers as the operand of an in-place operation: the tensor's elements and place as they
// were before. Returns new.
static nnl_tensor *stand_in(nnl_call *call) {
    nnl_tensor *into = call->into, *before = nnl_tensor_detach(into);
    if (!before) return NULL;
    before->autograd = into->autograd;
    if (into->autograd) nnl_autograd_retain(into->autograd);
    for (int i = 0; i < NNL_MAX_ARGS && call->op->params[i].kind != NNL_ARG_END; i++) {
        nnl_tensor **arg = tensor_arg(call, i);
        if (arg && *arg == into) *arg = before;
    }
    return before;
}

// The result apart, then copied over the tensor.
static nnl_status run_and_copy(nnl_context *ctx, nnl_call *call) {
    nnl_tensor *into = call->into, *before = stand_in(call);
    if (!before) return ctx->status;
    call->into = NULL;
    nnl_status status = run_plain(ctx, call);
    call->into = into;
    nnl_tensor *out = call->out[0];
    if (status == NNL_OK) status = check_fits(ctx, call, into, out);
    if (status == NNL_OK && before->refs > 1 && before != out) status = nnl_tensor_part_ways(before);
    if (status == NNL_OK) status = nnl_write(ctx, into, out);
    nnl_tensor_release(before);
    nnl_tensor_release(out);
    call->out[0] = status == NNL_OK ? nnl_tensor_retain(into) : NULL;
    return status;
}

nnl_status nnl_call_run(nnl_context *ctx, nnl_call *call) {
    if (!call->into) return run_plain(ctx, call);
    bool recorded = any_grad_wanted(ctx, call);
    nnl_status status = nnl_check_in_place(ctx, call->op->name, call->into, recorded);
    if (status != NNL_OK) return status;
    bool apart = recorded || !(call->op->flags & NNL_OP_IN_PLACE) || shares_memory(call);
    return apart ? run_and_copy(ctx, call) : run_plain(ctx, call);
}

nnl_tensor *nnl_call_result(nnl_context *ctx, nnl_call *call) {
    return nnl_call_run(ctx, call) == NNL_OK ? call->out[0] : NULL;
}
