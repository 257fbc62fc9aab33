// graph.c: recording operations, and freeing what was recorded. Long chains are freed in a loop, never by
// recursion.
#include "grad/graph.h"

#include <string.h>

static void autograd_destroy(nnl_autograd *autograd);

void nnl_grad_init(nnl_context *ctx) { ctx->autograd_free = nnl_autograd_release; }

bool nnl_is_leaf(const nnl_tensor *t) { return !t->autograd || !t->autograd->node; }

static nnl_autograd *autograd_new(nnl_context *ctx, const nnl_tensor *t) {
    nnl_autograd *autograd = nnl_alloc(&ctx->allocator, sizeof *autograd);
    if (!autograd) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for the graph");
    *autograd = (nnl_autograd){.refs = 1, .dtype = t->dtype, .ctx = ctx, .shape = t->shape};
    return autograd;
}

nnl_autograd *nnl_autograd_of(nnl_context *ctx, nnl_tensor *t) {
    if (!t->autograd) t->autograd = autograd_new(ctx, t);
    return t->autograd;
}

void nnl_autograd_retain(nnl_autograd *autograd) { autograd->refs++; }

static void hooks_free(nnl_autograd *autograd) {
    nnl_hook *hook = autograd->hooks;
    while (hook) {
        nnl_hook *next = hook->next;
        hook->free(autograd->ctx, hook->arg);
        nnl_free(&autograd->ctx->allocator, hook);
        hook = next;
    }
}

// Everything but the node that made it.
static void autograd_destroy(nnl_autograd *autograd) {
    if (autograd->node) autograd->node->output[autograd->output] = NULL;
    hooks_free(autograd);
    nnl_tensor_release(autograd->grad);
    nnl_tensor_release(autograd->pending);
    nnl_free(&autograd->ctx->allocator, autograd);
}

// Lets go of one reference; a node that is thereby free joins the list.
static void autograd_drop(nnl_autograd *autograd, nnl_node **list) {
    if (!autograd || --autograd->refs > 0) return;
    nnl_node *node = autograd->node;
    autograd_destroy(autograd);
    if (node && --node->refs == 0) {
        node->next = *list;
        *list = node;
    }
}

// The saved values first: their tensors hold the same nnl_autograd as the inputs, so that the inputs are the
// last.
static void node_drop_contents(nnl_node *node, nnl_node **list) {
    for (int k = 0; k < node->n_saved; k++) {
        nnl_tensor_release(node->saved[k].tensor);
        node->saved[k].tensor = NULL;
    }
    for (int i = 0; i < node->n_inputs; i++) {
        nnl_autograd *input = node->input[i];
        node->input[i] = NULL;
        autograd_drop(input, list);
    }
    if (node->op->free_state && !node->freed) node->op->free_state(node->ctx, node->state);
    node->freed = true;
}

static void node_list_free(nnl_node *list) {
    while (list) {
        nnl_node *node = list;
        list = node->next;
        node_drop_contents(node, &list);
        nnl_free(&node->ctx->allocator, node);
    }
}

void nnl_autograd_release(nnl_autograd *autograd) {
    nnl_node *list = NULL;
    autograd_drop(autograd, &list);
    node_list_free(list);
}

void nnl_node_release(nnl_node *node) {
    if (--node->refs > 0) return;
    node->next = NULL;
    node_list_free(node);
}

void nnl_node_clear(nnl_node *node) {
    nnl_node *list = NULL;
    node_drop_contents(node, &list);
    node_list_free(list);
}

// One block holds the node, its inputs, its results, its saved values and its state.
static nnl_node *node_new(nnl_context *ctx, const nnl_recording *r) {
    size_t inputs = sizeof(nnl_node), outputs = inputs + (size_t)r->n_inputs * sizeof(nnl_autograd *);
    size_t saved = outputs + (size_t)r->n_outputs * sizeof(nnl_autograd *);
    size_t state = saved + (size_t)r->n_saved * sizeof(nnl_saved);
    char *block = nnl_alloc(&ctx->allocator, state + r->state_size);
    if (!block) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for the graph");
    nnl_node *node = (nnl_node *)(void *)block;
    *node = (nnl_node){.op = r->op, .ctx = ctx, .sequence = ++ctx->next_sequence};
    node->input = (nnl_autograd **)(void *)(block + inputs);
    node->output = (nnl_autograd **)(void *)(block + outputs);
    memset(node->output, 0, (size_t)r->n_outputs * sizeof *node->output);
    node->saved = (nnl_saved *)(void *)(block + saved);
    node->state = block + state;
    if (r->state_size > 0) memcpy(node->state, r->state, r->state_size);
    return node;
}

static void node_take_inputs(nnl_node *node, const nnl_recording *r) {
    for (int i = 0; i < r->n_inputs; i++) {
        bool wanted = r->inputs[i] && nnl_requires_grad(r->inputs[i]);
        node->input[i] = wanted ? r->inputs[i]->autograd : NULL;
        if (wanted) nnl_autograd_retain(node->input[i]);
    }
    node->n_inputs = r->n_inputs;
}

static int output_position(const nnl_recording *r, const nnl_tensor *t) {
    for (int k = 0; k < r->n_outputs; k++) {
        if (r->outputs[k] == t) return k;
    }
    return -1;
}

// A result is saved without its place in the graph, which would hold the node itself for ever.
static nnl_status node_save(nnl_node *node, const nnl_recording *r) {
    for (int k = 0; k < r->n_saved; k++) {
        nnl_tensor *t = r->saved[k];
        int output = t ? output_position(r, t) : -1;
        nnl_tensor *kept = output >= 0 ? nnl_tensor_detach(t) : t ? nnl_tensor_retain(t) : NULL;
        if (t && !kept) return NNL_ERR_MEMORY;
        node->saved[k] =
            (nnl_saved){.tensor = kept, .version = t ? t->storage->version : 0, .output = output};
        node->n_saved = k + 1;
    }
    return NNL_OK;
}

static nnl_status node_attach(nnl_context *ctx, nnl_node *node, const nnl_recording *r) {
    for (int k = 0; k < r->n_outputs; k++) {
        nnl_tensor *out = r->outputs[k];
        if (!out || !nnl_dtype_is_float(out->dtype)) continue;
        nnl_autograd *autograd = autograd_new(ctx, out);
        if (!autograd) return NNL_ERR_MEMORY;
        autograd->requires_grad = true;
        autograd->node = node;
        autograd->output = (uint32_t)k;
        node->refs++;
        node->output[k] = autograd;
        if (out->autograd) nnl_autograd_release(out->autograd);
        out->autograd = autograd;
    }
    node->n_outputs = r->n_outputs;
    return NNL_OK;
}

nnl_status nnl_record(nnl_context *ctx, const nnl_recording *r) {
    if (!nnl_grad_wanted(ctx, r->inputs, r->n_inputs)) return NNL_OK;
    nnl_node *node = node_new(ctx, r);
    if (!node) return NNL_ERR_MEMORY;
    node->refs = 1;
    node_take_inputs(node, r);
    nnl_status status = node_save(node, r);
    if (status == NNL_OK) status = node_attach(ctx, node, r);
    nnl_node_release(node);
    return status;
}

nnl_status nnl_set_requires_grad(nnl_context *ctx, nnl_tensor *t, bool requires_grad) {
    if (requires_grad && !nnl_dtype_is_float(t->dtype)) {
        return nnl_fail(ctx, NNL_ERR_DTYPE,
                        "requires_grad: only floating-point tensors have gradients, this is %s",
                        nnl_dtype_get(t->dtype)->name);
    }
    if (!nnl_is_leaf(t)) {
        if (requires_grad) return NNL_OK;
        return nnl_fail(ctx, NNL_ERR_STATE,
                        "requires_grad: cannot be switched off for the result of an operation; use detach()");
    }
    if (!requires_grad && !t->autograd) return NNL_OK;
    if (!nnl_autograd_of(ctx, t)) return NNL_ERR_MEMORY;
    t->autograd->requires_grad = requires_grad;
    return NNL_OK;
}

nnl_status nnl_retain_grad(nnl_context *ctx, nnl_tensor *t) {
    if (!nnl_requires_grad(t)) {
        return nnl_fail(ctx, NNL_ERR_STATE, "retain_grad: the tensor does not require a gradient");
    }
    t->autograd->retain_grad = true;
    return NNL_OK;
}

nnl_tensor *nnl_grad_get(const nnl_tensor *t) { return t->autograd ? t->autograd->grad : NULL; }

nnl_status nnl_grad_set(nnl_context *ctx, nnl_tensor *t, nnl_tensor *grad) {
    if (grad && (!nnl_shape_equal(&grad->shape, &t->shape) || grad->dtype != t->dtype)) {
        char expected[NNL_SHAPE_TEXT], got[NNL_SHAPE_TEXT];
        return nnl_fail(ctx, NNL_ERR_SHAPE, "grad: expected %s of %s, got %s of %s",
                        nnl_shape_text(&t->shape, expected), nnl_dtype_get(t->dtype)->name,
                        nnl_shape_text(&grad->shape, got), nnl_dtype_get(grad->dtype)->name);
    }
    if (!grad && !t->autograd) return NNL_OK;
    nnl_autograd *autograd = nnl_autograd_of(ctx, t);
    if (!autograd) return NNL_ERR_MEMORY;
    if (grad) nnl_tensor_retain(grad);
    nnl_tensor_release(autograd->grad);
    autograd->grad = grad;
    return NNL_OK;
}

nnl_status nnl_hook_add(nnl_context *ctx, nnl_tensor *t, nnl_hook hook) {
    nnl_hook *kept = NULL;
    nnl_status status = NNL_OK;
    if (!nnl_requires_grad(t)) {
        status = nnl_fail(ctx, NNL_ERR_STATE, "register_hook: the tensor does not require a gradient");
    } else if (!(kept = nnl_alloc(&ctx->allocator, sizeof *kept))) {
        status = nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a hook");
    }
    if (status != NNL_OK) {
        hook.free(ctx, hook.arg);
        return status;
    }
    *kept = hook;
    kept->next = NULL;
    nnl_hook **end = &t->autograd->hooks;
    while (*end) end = &(*end)->next;
    *end = kept;
    return NNL_OK;
}

nnl_status nnl_check_in_place(nnl_context *ctx, const char *who, const nnl_tensor *t, bool recorded) {
    if (!ctx->grad_enabled) return NNL_OK;
    if (nnl_requires_grad(t) && nnl_is_leaf(t)) {
        return nnl_fail(
            ctx, NNL_ERR_STATE,
            "%s: a leaf that requires a gradient cannot be changed in place; do it inside nn.no_grad", who);
    }
    if (t->is_view && (recorded || nnl_requires_grad(t))) {
        return nnl_fail(
            ctx, NNL_ERR_STATE,
            "%s: a view that takes part in the graph cannot be changed in place; write to a clone(), or "
            "use where, scatter or nn.cat",
            who);
    }
    return NNL_OK;
}

void nnl_autograd_move(nnl_tensor *to, nnl_tensor *from) {
    nnl_autograd *old = to->autograd;
    to->autograd = from->autograd;
    from->autograd = NULL;
    if (old) nnl_autograd_release(old);
}

bool nnl_node_needs(const nnl_node *node, int input) { return node->input[input] != NULL; }

nnl_tensor *nnl_node_saved(const nnl_node *node, int k) { return node->saved[k].tensor; }
