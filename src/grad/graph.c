// graph.c: recording operations, and freeing what was recorded. Long chains are freed in a loop, never by
// recursion.
#include "grad/rerun.h"

#include <string.h>

static void autograd_destroy(nnl_autograd *autograd);

void nnl_grad_init(nnl_context *ctx) { ctx->autograd_free = nnl_autograd_release; }

bool nnl_is_leaf(const nnl_tensor *t) { return (!t->autograd || !t->autograd->node) && !nnl_is_behind(t); }

static nnl_autograd *autograd_new(nnl_context *ctx, const nnl_tensor *t) {
    nnl_autograd *autograd = nnl_alloc(&ctx->allocator, sizeof *autograd);
    if (!autograd) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for the graph");
    *autograd = (nnl_autograd){.refs = 1, .dtype = t->dtype, .ctx = ctx, .shape = t->shape};
    return autograd;
}

nnl_autograd *nnl_autograd_of(nnl_context *ctx, nnl_tensor *t) {
    if (nnl_is_behind(t) && nnl_catch_up(ctx, t) != NNL_OK) return NULL;
    if (!t->autograd) t->autograd = autograd_new(ctx, t);
    return t->autograd;
}

void nnl_autograd_retain(nnl_autograd *autograd) { autograd->refs++; }

static void hooks_free(nnl_autograd *autograd) {
    while (autograd->hooks) {
        nnl_hook *hook = autograd->hooks;
        autograd->hooks = hook->next;
        hook->free(autograd->ctx, hook->arg);
        nnl_free(&autograd->ctx->allocator, hook);
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
    nnl_rerun_forget(node);
    for (int k = 0; k < node->n_saved; k++) {
        nnl_hold_drop(&node->saved[k].hold);
    }
    for (int i = 0; i < node->n_inputs; i++) {
        nnl_autograd *input = node->input[i];
        node->input[i] = NULL;
        autograd_drop(input, list);
    }
    for (int k = 0; k < node->n_outputs; k++) {
        if (node->output[k] && !node->output[k]->running) hooks_free(node->output[k]);
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

// Without the last ones, where there is nothing to save.
static int saved_count(const nnl_recording *r) {
    int count = r->n_saved;
    while (count > 0 && !r->saved[count - 1]) count--;
    return count;
}

// One block holds the node, its inputs, its results, its saved values and its state.
static nnl_node *node_new(nnl_context *ctx, const nnl_recording *r) {
    size_t inputs = sizeof(nnl_node), outputs = inputs + (size_t)r->n_inputs * sizeof(nnl_autograd *);
    size_t saved = outputs + (size_t)r->n_outputs * sizeof(nnl_autograd *);
    size_t state = saved + (size_t)saved_count(r) * sizeof(nnl_saved);
    char *block = nnl_alloc(&ctx->allocator, state + r->state_size);
    if (!block) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for the graph");
    nnl_node *node = (nnl_node *)(void *)block;
    *node = (nnl_node){.op = r->op, .ctx = ctx, .sequence = ++ctx->next_sequence, .mixed = ctx->mixed};
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

static int8_t position_among(const nnl_tensor *t, nnl_tensor *const *list, int count) {
    for (int k = 0; k < count && k <= INT8_MAX; k++) {
        if (list[k] == t) return (int8_t)k;
    }
    return -1;
}

// Parameters are there anyway; what was computed can be computed again.
static bool is_dropped(const nnl_node *node, const nnl_tensor *t) {
    return node->region && !(t->autograd && t->autograd->requires_grad && nnl_is_leaf(t));
}

// A result is saved without its place in the graph, which would hold the node itself for ever.
static nnl_status node_save(nnl_node *node, const nnl_recording *r) {
    for (int k = 0, count = saved_count(r); k < count; k++) {
        nnl_tensor *t = r->saved[k];
        nnl_saved *saved = &node->saved[k];
        saved->hold.tensor = NULL;
        saved->wanted = t != NULL;
        saved->dropped = false;
        node->n_saved = k + 1;
        if (!t) continue;
        saved->output = position_among(t, r->outputs, r->n_outputs);
        saved->input = position_among(t, r->inputs, r->n_inputs);
        saved->dropped = is_dropped(node, t);
        if (saved->dropped) continue;
        nnl_tensor *kept = saved->output >= 0 ? nnl_tensor_detach(t) : t;
        if (!kept) return NNL_ERR_MEMORY;
        nnl_hold_take(&saved->hold, kept);
        if (kept != t) nnl_tensor_release(kept);
    }
    return NNL_OK;
}

// The tensor's new place; its gradient is kept on there, if it was asked for.
static void place_take(nnl_tensor *t, nnl_autograd *autograd) {
    nnl_autograd *old = t->autograd;
    t->autograd = autograd;
    if (!old) return;
    if (autograd) autograd->retain_grad = old->retain_grad;
    old->retain_grad = false;
    nnl_autograd_release(old);
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
        place_take(out, autograd);
    }
    node->n_outputs = r->n_outputs;
    return NNL_OK;
}

static nnl_status inputs_catch_up(nnl_context *ctx, const nnl_recording *r) {
    for (int i = 0; i < r->n_inputs; i++) {
        nnl_tensor *input = r->inputs[i];
        if (input && nnl_is_behind(input) && nnl_catch_up(ctx, input) != NNL_OK) return ctx->status;
    }
    return NNL_OK;
}

nnl_status nnl_record(nnl_context *ctx, const nnl_recording *r) {
    if (!nnl_grad_wanted(ctx, r->inputs, r->n_inputs)) return NNL_OK;
    nnl_node *node = inputs_catch_up(ctx, r) == NNL_OK ? node_new(ctx, r) : NULL;
    if (!node) {
        if (r->op->free_state) r->op->free_state(ctx, r->state);
        return ctx->status;
    }
    node->refs = 1;
    node_take_inputs(node, r);
    nnl_status status = ctx->region ? nnl_rerun_note(ctx, node) : NNL_OK;
    if (status == NNL_OK) status = node_save(node, r);
    if (status == NNL_OK) status = node_attach(ctx, node, r);
    nnl_node_release(node);
    return status;
}

nnl_status nnl_record_one(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, nnl_tensor **out,
                          const void *state, size_t state_size) {
    return nnl_record(ctx, &(nnl_recording){.op = op,
                                            .n_inputs = 1,
                                            .inputs = &x,
                                            .n_outputs = 1,
                                            .outputs = out,
                                            .state = state,
                                            .state_size = state_size});
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
    if (requires_grad) nnl_tensor_stand_alone(t);
    return NNL_OK;
}

nnl_status nnl_detach_in_place(nnl_context *ctx, nnl_tensor *t) {
    if (t->base) {
        return nnl_fail(ctx, NNL_ERR_STATE, "detach_: a view cannot leave the graph in place; use detach()");
    }
    place_take(t, NULL);
    return NNL_OK;
}

nnl_status nnl_retain_grad(nnl_context *ctx, nnl_tensor *t) {
    if (!nnl_requires_grad(t)) {
        return nnl_fail(ctx, NNL_ERR_STATE, "retain_grad: the tensor does not require a gradient");
    }
    nnl_autograd *autograd = nnl_autograd_of(ctx, t);
    if (!autograd) return ctx->status;
    autograd->retain_grad = true;
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
    if (grad == t) return nnl_fail(ctx, NNL_ERR_ARGUMENT, "grad: a tensor cannot be its own gradient");
    if (grad) nnl_tensor_retain(grad);
    nnl_tensor_release(autograd->grad);
    autograd->grad = grad;
    return NNL_OK;
}

nnl_status nnl_hook_add(nnl_context *ctx, nnl_tensor *t, nnl_hook hook) {
    nnl_hook *kept = NULL;
    nnl_autograd *place = NULL;
    nnl_status status = NNL_OK;
    if (!nnl_requires_grad(t)) {
        status = nnl_fail(ctx, NNL_ERR_STATE, "register_hook: the tensor does not require a gradient");
    } else if (!(place = nnl_autograd_of(ctx, t))) {
        status = ctx->status;
    } else if (!(kept = nnl_alloc(&ctx->allocator, sizeof *kept))) {
        status = nnl_fail(ctx, NNL_ERR_MEMORY, "out of memory: no room for a hook");
    }
    if (status != NNL_OK) {
        hook.free(ctx, hook.arg);
        return status;
    }
    *kept = hook;
    kept->next = NULL;
    nnl_hook **end = &place->hooks;
    while (*end) end = &(*end)->next;
    *end = kept;
    return NNL_OK;
}

static void sweep_hooks(nnl_autograd *place) {
    for (nnl_hook **at = &place->hooks; *at;) {
        nnl_hook *hook = *at;
        if (!hook->removed) {
            at = &hook->next;
            continue;
        }
        *at = hook->next;
        hook->free(place->ctx, hook->arg);
        nnl_free(&place->ctx->allocator, hook);
    }
}

void nnl_hook_remove(nnl_autograd *place, const void *arg) {
    for (nnl_hook *hook = place->hooks; hook; hook = hook->next) hook->removed |= hook->arg == arg;
    if (place->running == 0) sweep_hooks(place);
}

nnl_status nnl_hooks_run(nnl_context *ctx, nnl_autograd *place) {
    nnl_status status = NNL_OK;
    if (!place->hooks) return NNL_OK;
    place->running++;
    for (nnl_hook *hook = place->hooks; hook && status == NNL_OK; hook = hook->next) {
        nnl_tensor *replacement = NULL;
        if (hook->removed) continue;
        status = hook->run(ctx, hook->arg, place->pending, &replacement);
        if (!replacement) continue;
        nnl_tensor_release(place->pending);
        place->pending = replacement;
    }
    place->running--;
    if (place->running == 0) sweep_hooks(place);
    return status;
}

void nnl_autograd_move(nnl_tensor *to, nnl_tensor *from) {
    nnl_autograd *autograd = from->autograd;
    from->autograd = NULL;
    place_take(to, autograd);
}

bool nnl_node_needs(const nnl_node *node, int input) {
    bool hidden = input < 64 && (node->hidden >> input & 1) != 0;
    return node->input[input] != NULL && !hidden;
}

nnl_tensor *nnl_node_saved(const nnl_node *node, int k) {
    return k < node->n_saved ? node->saved[k].hold.tensor : NULL;
}
