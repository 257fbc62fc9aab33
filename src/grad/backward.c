// backward.c: the walk. A heap gives the newest operation whose results have all their gradients; each
// backward function hands gradients on to what came before. Gradients of leaves go to .grad, or to whoever
// asked for them.
#include "grad/backward.h"
#include "grad/ops.h"
#include "tensor/apply.h"

#include <string.h>

typedef struct walk {
    nnl_context *ctx;
    const nnl_backward_options *options;
    bool capture; // nnl_grad: only what was asked for, no .grad
    nnl_node **heap;
    size_t count, room;
    nnl_autograd **leaves; // with gradients that wait for the end, as hooks or a capture want the whole
    size_t n_leaves, leaf_room;
} walk;

static void *grown(nnl_context *ctx, void *items, size_t used, size_t *room) {
    size_t wanted = *room ? *room * 2 : 32;
    void *more = nnl_alloc(&ctx->allocator, wanted * sizeof(void *));
    if (!more) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for the walk");
    if (used > 0) memcpy(more, items, used * sizeof(void *));
    if (items) nnl_free(&ctx->allocator, items);
    *room = wanted;
    return more;
}

static nnl_status heap_push(walk *w, nnl_node *node) {
    if (w->count == w->room) {
        nnl_node **more = grown(w->ctx, w->heap, w->count, &w->room);
        if (!more) return NNL_ERR_MEMORY;
        w->heap = more;
    }
    size_t at = w->count++;
    while (at > 0 && w->heap[(at - 1) / 2]->sequence < node->sequence) {
        w->heap[at] = w->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    w->heap[at] = node;
    node->refs++;
    node->queued = true;
    return NNL_OK;
}

static nnl_node *heap_pop(walk *w) {
    nnl_node *top = w->heap[0], *last = w->heap[--w->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= w->count) break;
        if (child + 1 < w->count && w->heap[child + 1]->sequence > w->heap[child]->sequence) child++;
        if (w->heap[child]->sequence <= last->sequence) break;
        w->heap[at] = w->heap[child];
        at = child;
    }
    w->heap[at] = last;
    top->queued = false;
    return top;
}

// Nobody else can see this tensor's memory, so it may be added to.
static bool is_exclusive(const nnl_tensor *t) {
    return t->refs == 1 && t->storage->refs == 1 && !t->autograd && !t->storage->release &&
           nnl_tensor_is_contiguous(t);
}

static void add_into(nnl_tensor *sum, const nnl_tensor *t) {
    nnl_compute type = nnl_tensor_compute(sum);
    nnl_apply_binary(sum, sum, t, type, NNL_BINARY_add);
    nnl_tensor_changed(sum);
}

// *sum += grad; takes grad.
static nnl_status accumulate(nnl_context *ctx, nnl_tensor **sum, nnl_tensor *grad) {
    if (!*sum) {
        *sum = grad;
        return NNL_OK;
    }
    if (!ctx->grad_enabled && is_exclusive(*sum)) {
        add_into(*sum, grad);
        nnl_tensor_release(grad);
        return NNL_OK;
    }
    nnl_tensor *total = nnl_add(ctx, *sum, grad);
    nnl_tensor_release(grad);
    if (!total) return NNL_ERR_MEMORY;
    nnl_tensor_release(*sum);
    *sum = total;
    return NNL_OK;
}

// A script may hold .grad, so it is a tensor of its own: never a part of another, never shared.
static nnl_status accumulate_leaf(nnl_context *ctx, nnl_autograd *leaf, nnl_tensor *grad) {
    if (leaf->grad && !ctx->grad_enabled && !leaf->grad->autograd) {
        add_into(leaf->grad, grad);
        nnl_tensor_release(grad);
        return NNL_OK;
    }
    if (!leaf->grad && !ctx->grad_enabled && !is_exclusive(grad)) {
        nnl_tensor *own = nnl_clone(ctx, grad);
        nnl_tensor_release(grad);
        if (!own) return NNL_ERR_MEMORY;
        grad = own;
    }
    return accumulate(ctx, &leaf->grad, grad);
}

static nnl_status run_hooks(nnl_context *ctx, nnl_autograd *autograd) {
    for (nnl_hook *hook = autograd->hooks; hook; hook = hook->next) {
        nnl_tensor *replacement = NULL;
        nnl_status status = hook->run(ctx, hook->arg, autograd->pending, &replacement);
        if (status != NNL_OK) return status;
        if (!replacement) continue;
        nnl_tensor_release(autograd->pending);
        autograd->pending = replacement;
    }
    return NNL_OK;
}

static nnl_status queue_leaf(walk *w, nnl_autograd *leaf) {
    if (w->n_leaves == w->leaf_room) {
        nnl_autograd **more = grown(w->ctx, w->leaves, w->n_leaves, &w->leaf_room);
        if (!more) return NNL_ERR_MEMORY;
        w->leaves = more;
    }
    w->leaves[w->n_leaves++] = leaf;
    nnl_autograd_retain(leaf);
    return NNL_OK;
}

static nnl_status deliver_leaf(walk *w, nnl_autograd *leaf, nnl_tensor *grad) {
    bool waits = w->capture ? leaf->captured : leaf->hooks != NULL;
    if (w->capture && !waits) {
        nnl_tensor_release(grad);
        return NNL_OK;
    }
    if (!waits) return accumulate_leaf(w->ctx, leaf, grad);
    if (!leaf->pending && queue_leaf(w, leaf) != NNL_OK) {
        nnl_tensor_release(grad);
        return NNL_ERR_MEMORY;
    }
    return accumulate(w->ctx, &leaf->pending, grad);
}

// Hands a gradient to a tensor's place in the graph. Takes grad. While a gradient is pending, the place is
// held.
static nnl_status deliver(walk *w, nnl_autograd *to, nnl_tensor *grad) {
    if (!to->node) return deliver_leaf(w, to, grad);
    if (!to->node->queued && heap_push(w, to->node) != NNL_OK) {
        nnl_tensor_release(grad);
        return NNL_ERR_MEMORY;
    }
    if (!to->pending) nnl_autograd_retain(to);
    nnl_status status = accumulate(w->ctx, &to->pending, grad);
    if (!to->pending) nnl_autograd_release(to);
    return status;
}

// What was broadcast gets the sum, and what was promoted its own dtype back.
static nnl_tensor *fitted(nnl_context *ctx, const nnl_autograd *to, nnl_tensor *grad) {
    if (!nnl_shape_equal(&grad->shape, &to->shape)) {
        nnl_tensor *sum = nnl_sum_to(ctx, grad, &to->shape);
        nnl_tensor_release(grad);
        grad = sum;
    }
    if (grad && grad->dtype != to->dtype) {
        nnl_tensor *cast = nnl_to(ctx, grad, to->dtype);
        nnl_tensor_release(grad);
        grad = cast;
    }
    return grad;
}

static nnl_status hand_on(walk *w, nnl_node *node, nnl_tensor **dx) {
    nnl_status status = NNL_OK;
    for (int i = 0; i < node->n_inputs; i++) {
        if (!dx[i]) continue;
        if (status != NNL_OK || !node->input[i]) {
            nnl_tensor_release(dx[i]);
            continue;
        }
        nnl_tensor *grad = fitted(w->ctx, node->input[i], dx[i]);
        status = grad ? deliver(w, node->input[i], grad) : w->ctx->status;
    }
    return status;
}

// Moves the complete gradients out of the node's results, through their hooks.
static nnl_status collect(walk *w, nnl_node *node, nnl_tensor **dout) {
    for (int k = 0; k < node->n_outputs; k++) {
        nnl_autograd *output = node->output[k];
        if (!output || !output->pending) continue;
        nnl_status status = run_hooks(w->ctx, output);
        if (status != NNL_OK) return status;
        bool kept = w->capture && output->captured;
        dout[k] = kept ? nnl_tensor_retain(output->pending) : output->pending;
        if (!kept) output->pending = NULL;
        if (!output->retain_grad || w->capture) continue;
        status = accumulate_leaf(w->ctx, output, nnl_tensor_retain(dout[k]));
        if (status != NNL_OK) return status;
    }
    return NNL_OK;
}

// The gradients stay with the places that were asked for; the others are given up. `taken`: what collect
// moved out.
static void release_places(walk *w, nnl_node *node, nnl_tensor *const *taken) {
    for (int k = 0; k < node->n_outputs; k++) {
        nnl_autograd *output = node->output[k];
        if (!output || (!output->pending && !taken[k])) continue;
        if (output->pending && !(w->capture && output->captured)) {
            nnl_tensor_release(output->pending);
            output->pending = NULL;
        }
        nnl_autograd_release(output);
    }
}

static nnl_status check_node(nnl_context *ctx, const nnl_node *node) {
    if (node->freed) {
        return nnl_fail(
            ctx, NNL_ERR_STATE,
            "backward: the graph of %s was freed by an earlier backward; pass retain_graph = true to the "
            "first one to go through it twice",
            node->op->name);
    }
    if (!node->op->backward) {
        return nnl_fail(ctx, NNL_ERR_STATE, "backward: %s is not differentiable", node->op->name);
    }
    for (int k = 0; k < node->n_saved; k++) {
        const nnl_saved *saved = &node->saved[k];
        if (saved->tensor && saved->tensor->storage->version != saved->version) {
            char shape[NNL_SHAPE_TEXT];
            return nnl_fail(
                ctx, NNL_ERR_STATE,
                "backward: a tensor of shape %s that %s needs was changed in place after it was used",
                nnl_shape_text(&saved->tensor->shape, shape), node->op->name);
        }
    }
    return NNL_OK;
}

// While the walk itself is recorded, saved results are parts of the graph again.
static void attach_saved(nnl_node *node, bool attach) {
    for (int k = 0; k < node->n_saved; k++) {
        nnl_saved *saved = &node->saved[k];
        if (saved->output < 0 || !saved->tensor) continue;
        nnl_autograd *place = node->output[saved->output];
        if (attach && place) {
            nnl_autograd_retain(place);
            saved->tensor->autograd = place;
        } else if (!attach && saved->tensor->autograd) {
            nnl_autograd_release(saved->tensor->autograd);
            saved->tensor->autograd = NULL;
        }
    }
}

static nnl_status run_backward(walk *w, nnl_node *node, nnl_tensor *const *dout) {
    nnl_tensor *few[8] = {NULL}, **dx = few;
    if (node->n_inputs > 8) {
        dx = nnl_alloc(&w->ctx->allocator, (size_t)node->n_inputs * sizeof *dx);
        if (!dx) return nnl_fail(w->ctx, NNL_ERR_MEMORY, "out of memory: no room for the walk");
        memset(dx, 0, (size_t)node->n_inputs * sizeof *dx);
    }
    if (w->options->create_graph) attach_saved(node, true);
    nnl_status status = node->op->backward(w->ctx, node, dout, dx);
    if (w->options->create_graph) attach_saved(node, false);
    if (status == NNL_OK) {
        status = hand_on(w, node, dx);
    } else {
        for (int i = 0; i < node->n_inputs; i++) nnl_tensor_release(dx[i]);
    }
    if (dx != few) nnl_free(&w->ctx->allocator, dx);
    return status;
}

// One operation; takes the heap's reference to it.
static nnl_status visit(walk *w, nnl_node *node) {
    nnl_tensor *dout[NNL_MAX_OUTPUTS] = {NULL};
    nnl_status status = check_node(w->ctx, node);
    if (status == NNL_OK) status = collect(w, node, dout);
    if (status == NNL_OK) status = run_backward(w, node, dout);
    release_places(w, node, dout);
    for (int k = 0; k < node->n_outputs; k++) nnl_tensor_release(dout[k]);
    if (status == NNL_OK && !w->options->retain_graph && !w->options->create_graph) nnl_node_clear(node);
    nnl_node_release(node);
    return status;
}

// Gradients of leaves that waited for the whole sum.
static nnl_status finish_leaves(walk *w, nnl_status status) {
    for (size_t i = 0; i < w->n_leaves; i++) {
        nnl_autograd *leaf = w->leaves[i];
        if (status == NNL_OK) status = run_hooks(w->ctx, leaf);
        if (!w->capture) {
            nnl_tensor *grad = leaf->pending;
            leaf->pending = NULL;
            if (status == NNL_OK) {
                status = accumulate_leaf(w->ctx, leaf, grad);
            } else {
                nnl_tensor_release(grad);
            }
        }
        nnl_autograd_release(leaf);
    }
    return status;
}

static nnl_status walk_run(walk *w, nnl_status status) {
    nnl_context *ctx = w->ctx;
    nnl_tensor *none[NNL_MAX_OUTPUTS] = {NULL};
    while (w->count > 0) {
        nnl_node *node = heap_pop(w);
        if (status == NNL_OK && ctx->interrupted && ctx->interrupted(ctx->host)) {
            status = nnl_fail(ctx, NNL_ERR_INTERRUPTED, "backward: interrupted");
        }
        if (status == NNL_OK) {
            status = visit(w, node);
        } else {
            release_places(w, node, none);
            nnl_node_release(node);
        }
    }
    status = finish_leaves(w, status);
    if (w->heap) nnl_free(&ctx->allocator, w->heap);
    if (w->leaves) nnl_free(&ctx->allocator, w->leaves);
    return status;
}

// The gradient that a walk begins with.
static nnl_tensor *seed_for(nnl_context *ctx, const char *who, nnl_tensor *root, nnl_tensor *seed) {
    if (!nnl_requires_grad(root)) {
        return nnl_fail_null(ctx, NNL_ERR_STATE,
                             "%s: the tensor does not depend on anything that requires a gradient", who);
    }
    if (seed && nnl_shape_equal(&seed->shape, &root->shape)) {
        return seed->dtype == root->dtype ? nnl_tensor_retain(seed) : nnl_to(ctx, seed, root->dtype);
    }
    char text[NNL_SHAPE_TEXT], other[NNL_SHAPE_TEXT];
    nnl_shape_text(&root->shape, text);
    if (seed) {
        return nnl_fail_null(ctx, NNL_ERR_SHAPE, "%s: expected a gradient of shape %s, got %s", who, text,
                             nnl_shape_text(&seed->shape, other));
    }
    if (nnl_tensor_numel(root) != 1) {
        return nnl_fail_null(
            ctx, NNL_ERR_SHAPE,
            "%s: a gradient is needed for a tensor of shape %s; only a single number has one by itself", who,
            text);
    }
    nnl_tensor *one = nnl_tensor_new(ctx, root->dtype, &root->shape);
    if (one) nnl_apply_fill(one, nnl_number_int(1));
    return one;
}

static nnl_status start(walk *w, const char *who, nnl_tensor *root, nnl_tensor *seed) {
    nnl_tensor *grad = seed_for(w->ctx, who, root, seed);
    if (!grad) return w->ctx->status;
    return deliver(w, root->autograd, grad);
}

nnl_status nnl_backward(nnl_context *ctx, nnl_tensor *root, nnl_tensor *seed,
                        const nnl_backward_options *options) {
    bool mode = ctx->grad_enabled;
    walk w = {.ctx = ctx, .options = options};
    ctx->grad_enabled = options->create_graph;
    nnl_status status = walk_run(&w, start(&w, "backward", root, seed));
    ctx->grad_enabled = mode;
    return status;
}

static nnl_status mark_captured(nnl_context *ctx, size_t n, nnl_tensor *const *inputs) {
    for (size_t i = 0; i < n; i++) {
        if (!nnl_requires_grad(inputs[i])) {
            return nnl_fail(ctx, NNL_ERR_STATE, "grad: input %zu does not require a gradient", i + 1);
        }
    }
    for (size_t i = 0; i < n; i++) inputs[i]->autograd->captured = true;
    return NNL_OK;
}

static void take_captured(size_t n, nnl_tensor *const *inputs, nnl_tensor **grads, bool wanted) {
    for (size_t i = 0; i < n; i++) {
        nnl_tensor *grad = inputs[i]->autograd->pending;
        grads[i] = wanted && grad ? nnl_tensor_retain(grad) : NULL;
    }
    for (size_t i = 0; i < n; i++) {
        nnl_autograd *place = inputs[i]->autograd;
        nnl_tensor_release(place->pending);
        place->pending = NULL;
        place->captured = false;
    }
}

nnl_status nnl_grad(nnl_context *ctx, size_t n_outputs, nnl_tensor *const *outputs, nnl_tensor *const *seeds,
                    size_t n_inputs, nnl_tensor *const *inputs, nnl_tensor **grads,
                    const nnl_backward_options *options) {
    bool mode = ctx->grad_enabled;
    walk w = {.ctx = ctx, .options = options, .capture = true};
    memset(grads, 0, n_inputs * sizeof *grads);
    nnl_status status = mark_captured(ctx, n_inputs, inputs);
    if (status != NNL_OK) return status;
    ctx->grad_enabled = options->create_graph;
    for (size_t i = 0; i < n_outputs && status == NNL_OK; i++) {
        status = start(&w, "grad", outputs[i], seeds ? seeds[i] : NULL);
    }
    status = walk_run(&w, status);
    ctx->grad_enabled = mode;
    take_captured(n_inputs, inputs, grads, status == NNL_OK);
    return status;
}
