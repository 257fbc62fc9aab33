// backward.c: the walk. A heap gives the newest operation whose results have all their gradients; each
// backward function hands gradients on to what came before. Gradients of leaves go to .grad, or to whoever
// asked for them.
#include "grad/backward.h"
#include "grad/ops.h"
#include "grad/rerun.h"
#include "tensor/apply.h"

#include <stdio.h>
#include <string.h>

typedef struct nnl_walk {
    nnl_context *ctx;
    struct nnl_walk *outer;   // one of whose hooks began this one
    nnl_node *current;        // being visited
    nnl_tensor *const *asked; // nnl_grad's inputs
    size_t n_asked;
    const nnl_backward_options *options;
    bool capture; // nnl_grad: only what was asked for, no .grad
    nnl_node **heap;
    size_t count, room;
    nnl_autograd **leaves; // with gradients that wait for the end, as hooks or a capture want the whole
    size_t n_leaves, leaf_room;
} walk;

// What a walk keeps in a place of the graph, while a walk inside of it runs.
typedef struct aside {
    nnl_autograd *place;
    nnl_tensor *pending;
    bool captured;
} aside;

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
    bool alone = t->storage->refs == 1 || (t->storage->refs == 2 && t->base && t->base->refs == 1);
    return t->refs == 1 && alone && !t->autograd && !t->storage->release && nnl_tensor_is_contiguous(t);
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

// What a walk made, and gives to a script, is a tensor like any other.
static void hand_out(nnl_tensor *grad) {
    if (!grad->base) grad->seen = 0;
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
    hand_out(grad);
    return accumulate(ctx, &leaf->grad, grad);
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
    if (!waits) return accumulate_leaf(w->ctx, leaf, grad);
    if (!leaf->pending && queue_leaf(w, leaf) != NNL_OK) {
        nnl_tensor_release(grad);
        return NNL_ERR_MEMORY;
    }
    return accumulate(w->ctx, &leaf->pending, grad);
}

// nnl_grad goes only where its inputs are.
static bool leads_on(const walk *w, const nnl_autograd *place) {
    return !w->capture || place->captured || (place->node && place->node->needed);
}

// Hands a gradient to a tensor's place in the graph. Takes grad. While a gradient is pending, the place is
// held.
static nnl_status deliver(walk *w, nnl_autograd *to, nnl_tensor *grad) {
    if (!leads_on(w, to)) {
        nnl_tensor_release(grad);
        return NNL_OK;
    }
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
        nnl_status status = nnl_hooks_run(w->ctx, output);
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
// moved out, or NULL.
static void release_places(walk *w, nnl_node *node, nnl_tensor *const *taken) {
    for (int k = 0; k < node->n_outputs; k++) {
        nnl_autograd *output = node->output[k];
        if (!output || (!output->pending && !(taken && taken[k]))) continue;
        if (output->pending && !(w->capture && output->captured)) {
            nnl_tensor_release(output->pending);
            output->pending = NULL;
        }
        nnl_autograd_release(output);
    }
}

static nnl_status was_changed(nnl_context *ctx, const nnl_node *node, const nnl_saved *saved) {
    char text[NNL_SHAPE_TEXT] = "", what[32] = "a value";
    const nnl_autograd *place = NULL;
    if (saved->input >= 0) {
        snprintf(what, sizeof what, "its operand %d", saved->input + 1);
        place = node->input[saved->input];
    } else if (saved->output >= 0) {
        snprintf(what, sizeof what, "its result");
        place = node->output[saved->output];
    }
    if (place) nnl_shape_text(&place->shape, text);
    return nnl_fail(ctx, NNL_ERR_STATE,
                    "backward: %s needs %s%s%s, which was changed in place after it was used", node->op->name,
                    what, place ? " of shape " : "", text);
}

// A value that was not kept and has not been computed again, or -1.
static int first_dropped(const nnl_node *node) {
    for (int k = 0; k < node->n_saved; k++) {
        if (node->saved[k].dropped) return k;
    }
    return -1;
}

// The values that a region did not keep; those of one within another come in two steps.
static nnl_status restore_values(nnl_context *ctx, nnl_node *node) {
    nnl_status status = NNL_OK;
    while (status == NNL_OK && first_dropped(node) >= 0) status = nnl_rerun_restore(ctx, node);
    return status;
}

static nnl_status check_node(nnl_context *ctx, nnl_node *node) {
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
    nnl_status status = restore_values(ctx, node);
    for (int k = 0; k < node->n_saved && status == NNL_OK; k++) {
        if (node->saved[k].wanted && !node->saved[k].hold.tensor)
            return was_changed(ctx, node, &node->saved[k]);
    }
    return status;
}

// While the walk itself is recorded, saved results are parts of the graph again: each is exchanged for a look
// at it that has its place, which what is recorded may keep. Called again, it puts them back.
static nnl_status exchange_saved(nnl_context *ctx, nnl_node *node, nnl_tensor **kept) {
    for (int k = 0; k < node->n_saved; k++) {
        nnl_saved *saved = &node->saved[k];
        kept[k] = NULL;
        if (!saved->hold.tensor || saved->output < 0 || !node->output[saved->output]) continue;
        nnl_autograd *place = node->output[saved->output];
        nnl_tensor *look = nnl_tensor_detach(saved->hold.tensor);
        if (!look) return ctx->status;
        nnl_autograd_retain(place);
        look->autograd = place;
        kept[k] = saved->hold.tensor;
        saved->hold.tensor = look;
    }
    return NNL_OK;
}

static void put_back_saved(nnl_node *node, nnl_tensor *const *kept, int count) {
    for (int k = 0; k < count; k++) {
        nnl_hold *hold = &node->saved[k].hold;
        nnl_tensor *look = hold->tensor;
        if (look && kept[k]) hold->tensor = kept[k];
        if (kept[k]) nnl_tensor_release(look ? look : kept[k]); // without a look, the hold has ended
    }
}

// With products as those of forward were.
static nnl_status backward_as_forward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout,
                                      nnl_tensor **dx) {
    bool mixed = ctx->mixed;
    ctx->mixed = node->mixed;
    nnl_status status = node->op->backward(ctx, node, dout, dx);
    ctx->mixed = mixed;
    return status;
}

static nnl_status call_backward(nnl_context *ctx, nnl_node *node, nnl_tensor *const *dout, nnl_tensor **dx) {
    nnl_tensor *kept[NNL_MAX_SAVED] = {NULL};
    if (!ctx->grad_enabled) return backward_as_forward(ctx, node, dout, dx);
    nnl_status status = exchange_saved(ctx, node, kept);
    if (status == NNL_OK) status = backward_as_forward(ctx, node, dout, dx);
    put_back_saved(node, kept, node->n_saved);
    return status;
}

// Inputs that lead nowhere are not asked for.
static void hide_inputs(const walk *w, nnl_node *node) {
    node->hidden = 0;
    if (!w->capture) return;
    for (int i = 0; i < node->n_inputs && i < 64; i++) {
        if (node->input[i] && !leads_on(w, node->input[i])) node->hidden |= (uint64_t)1 << i;
    }
}

#define FEW 8

// Room for `count` tensors, all NULL: `few` where they fit there, else memory to be freed.
static nnl_tensor **no_tensors(nnl_context *ctx, nnl_tensor **few, int count) {
    nnl_tensor **items = few;
    if (count > FEW) items = nnl_alloc(&ctx->allocator, (size_t)count * sizeof *items);
    if (!items) return nnl_fail_null(ctx, NNL_ERR_MEMORY, "out of memory: no room for the walk");
    memset(items, 0, (size_t)count * sizeof *items);
    return items;
}

static nnl_status run_backward(walk *w, nnl_node *node, nnl_tensor *const *dout) {
    nnl_tensor *few[FEW], **dx = no_tensors(w->ctx, few, node->n_inputs);
    if (!dx) return w->ctx->status;
    hide_inputs(w, node);
    nnl_status status = call_backward(w->ctx, node, dout, dx);
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
    nnl_tensor *few[FEW], **dout = no_tensors(w->ctx, few, node->n_outputs);
    bool goes_on = !w->capture || node->needed;
    nnl_status status = !dout ? w->ctx->status : goes_on ? check_node(w->ctx, node) : NNL_OK;
    if (status == NNL_OK) status = collect(w, node, dout);
    if (status == NNL_OK && goes_on) status = run_backward(w, node, dout);
    release_places(w, node, dout);
    for (int k = 0; dout && k < node->n_outputs; k++) nnl_tensor_release(dout[k]);
    if (dout && dout != few) nnl_free(&w->ctx->allocator, dout);
    bool done = goes_on && !w->options->retain_graph && !w->options->create_graph;
    if (status == NNL_OK && done) nnl_node_clear(node);
    nnl_node_release(node);
    return status;
}

// Gradients of leaves that waited for the whole sum.
static nnl_status finish_leaves(walk *w, nnl_status status) {
    for (size_t i = 0; i < w->n_leaves; i++) {
        nnl_autograd *leaf = w->leaves[i];
        if (status == NNL_OK) status = nnl_hooks_run(w->ctx, leaf);
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

// ---- what nnl_grad needs: nodes that lead to one of its inputs

// A node whose inputs are being looked at.
typedef struct visitor {
    nnl_node *node;
    int next;
} visitor;

typedef struct search {
    nnl_context *ctx;
    uint64_t mark;
    visitor *path; // from a root to the node that is looked at
    size_t depth, room;
} search;

static nnl_status enter(search *s, nnl_node *node) {
    if (s->depth == s->room) {
        size_t room = s->room ? 2 * s->room : 64;
        visitor *more = nnl_alloc(&s->ctx->allocator, room * sizeof *more);
        if (!more) return nnl_fail(s->ctx, NNL_ERR_MEMORY, "out of memory: no room for the walk");
        if (s->depth > 0) memcpy(more, s->path, s->depth * sizeof *more);
        nnl_free(&s->ctx->allocator, s->path);
        s->path = more;
        s->room = room;
    }
    node->mark = s->mark;
    node->needed = node->freed; // where it led cannot be told any more: an error when it is visited
    s->path[s->depth++] = (visitor){node, 0};
    return NNL_OK;
}

static void leave(search *s) {
    const nnl_node *node = s->path[--s->depth].node;
    if (node->needed && s->depth > 0) s->path[s->depth - 1].node->needed = true;
}

// Marks what can be reached from a node, children before their parents are left.
static nnl_status search_from(search *s, nnl_node *root) {
    if (root->mark == s->mark) return NNL_OK;
    nnl_status status = enter(s, root);
    while (s->depth > 0 && status == NNL_OK) {
        visitor *top = &s->path[s->depth - 1];
        if (top->next == top->node->n_inputs) {
            leave(s);
            continue;
        }
        const nnl_autograd *input = top->node->input[top->next++];
        if (!input) continue;
        bool entered = input->node && input->node->mark == s->mark;
        if (input->captured || (entered && input->node->needed)) top->node->needed = true;
        if (input->node && !entered) status = enter(s, input->node);
    }
    return status;
}

static nnl_status find_needed(walk *w, size_t n, nnl_tensor *const *roots) {
    search s = {.ctx = w->ctx, .mark = ++w->ctx->next_sequence};
    nnl_status status = NNL_OK;
    for (size_t i = 0; i < n && status == NNL_OK; i++) {
        const nnl_autograd *place = nnl_requires_grad(roots[i]) ? nnl_autograd_of(w->ctx, roots[i]) : NULL;
        if (place && place->node) status = search_from(&s, place->node);
    }
    for (size_t i = 0; i < w->count && status == NNL_OK; i++) status = search_from(&s, w->heap[i]);
    nnl_free(&s.ctx->allocator, s.path);
    return status;
}

// ---- walks inside of walks

static void put_aside(aside *list, size_t *count, nnl_autograd *place) {
    if (!place || (!place->pending && !place->captured)) return;
    list[(*count)++] = (aside){place, place->pending, place->captured};
    place->pending = NULL;
    place->captured = false;
}

static void put_outputs_aside(aside *list, size_t *count, const nnl_node *node) {
    for (int k = 0; k < node->n_outputs; k++) put_aside(list, count, node->output[k]);
}

// A walk inside of another finds the graph as if that were not there. Returns new.
static aside *make_way(walk *outer, size_t *count) {
    size_t most = outer->n_leaves + outer->n_asked + (outer->current ? (size_t)outer->current->n_outputs : 0);
    for (size_t i = 0; i < outer->count; i++) most += (size_t)outer->heap[i]->n_outputs;
    aside *list = nnl_alloc(&outer->ctx->allocator, (most + 1) * sizeof *list);
    *count = 0;
    if (!list) return nnl_fail_null(outer->ctx, NNL_ERR_MEMORY, "out of memory: no room for the walk");
    for (size_t i = 0; i < outer->count; i++) {
        outer->heap[i]->queued = false;
        put_outputs_aside(list, count, outer->heap[i]);
    }
    if (outer->current) put_outputs_aside(list, count, outer->current);
    for (size_t i = 0; i < outer->n_leaves; i++) put_aside(list, count, outer->leaves[i]);
    for (size_t i = 0; i < outer->n_asked; i++) put_aside(list, count, outer->asked[i]->autograd);
    return list;
}

static nnl_status give_way_back(walk *outer, aside *list, size_t count) {
    for (size_t i = 0; i < outer->count; i++) outer->heap[i]->queued = true;
    for (size_t i = 0; i < count; i++) {
        list[i].place->pending = list[i].pending;
        list[i].place->captured = list[i].captured;
    }
    nnl_free(&outer->ctx->allocator, list);
    return outer->capture ? find_needed(outer, 0, NULL) : NNL_OK;
}

static void walk_nodes(walk *w, nnl_status *status) {
    nnl_context *ctx = w->ctx;
    while (w->count > 0) {
        nnl_node *node = w->current = heap_pop(w);
        if (*status == NNL_OK) *status = nnl_check_stop(ctx, "backward");
        if (*status == NNL_OK) {
            *status = visit(w, node);
        } else {
            release_places(w, node, NULL);
            nnl_node_release(node);
        }
    }
    if (*status == NNL_OK) *status = nnl_check_stop(ctx, "backward");
    w->current = NULL;
}

static nnl_status start(walk *w, const char *who, nnl_tensor *root, nnl_tensor *seed);

// From the roots to the leaves; seeds or its entries may be NULL.
static nnl_status walk_run(walk *w, const char *who, size_t n, nnl_tensor *const *roots,
                           nnl_tensor *const *seeds) {
    nnl_context *ctx = w->ctx;
    nnl_status status = NNL_OK;
    bool mode = ctx->grad_enabled;
    ctx->grad_enabled = w->options->create_graph;
    for (size_t i = 0; i < n && status == NNL_OK; i++)
        status = start(w, who, roots[i], seeds ? seeds[i] : NULL);
    walk_nodes(w, &status);
    status = finish_leaves(w, status);
    ctx->grad_enabled = mode;
    nnl_free(&ctx->allocator, w->heap);
    nnl_free(&ctx->allocator, w->leaves);
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
    if (one) nnl_try_fill(one, nnl_number_int(1));
    return one;
}

static nnl_status start(walk *w, const char *who, nnl_tensor *root, nnl_tensor *seed) {
    nnl_tensor *grad = seed_for(w->ctx, who, root, seed);
    if (!grad) return w->ctx->status;
    nnl_autograd *place = nnl_autograd_of(w->ctx, root);
    if (place) return deliver(w, place, grad);
    nnl_tensor_release(grad);
    return w->ctx->status;
}

nnl_status nnl_backward(nnl_context *ctx, nnl_tensor *root, nnl_tensor *seed,
                        const nnl_backward_options *options) {
    walk w = {.ctx = ctx, .options = options, .outer = ctx->walk};
    size_t count;
    aside *list = w.outer ? make_way(w.outer, &count) : NULL;
    if (w.outer && !list) return ctx->status;
    ctx->walk = &w;
    nnl_status status = walk_run(&w, "backward", 1, &root, &seed);
    ctx->walk = w.outer;
    nnl_status outer = w.outer ? give_way_back(w.outer, list, count) : NNL_OK;
    return status == NNL_OK ? outer : status;
}

static nnl_status check_inputs(nnl_context *ctx, size_t n, nnl_tensor *const *inputs) {
    for (size_t i = 0; i < n; i++) {
        if (!nnl_requires_grad(inputs[i])) {
            return nnl_fail(ctx, NNL_ERR_STATE, "grad: input %zu does not require a gradient", i + 1);
        }
        if (!nnl_autograd_of(ctx, inputs[i])) return ctx->status;
    }
    return NNL_OK;
}

static void take_captured(size_t n, nnl_tensor *const *inputs, nnl_tensor **grads, bool wanted) {
    for (size_t i = 0; i < n; i++) {
        nnl_tensor *grad = inputs[i]->autograd->pending;
        grads[i] = wanted && grad ? nnl_tensor_retain(grad) : NULL;
        if (grads[i]) hand_out(grads[i]);
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
    walk w = {.ctx = ctx, .options = options, .outer = ctx->walk, .capture = true};
    size_t count;
    memset(grads, 0, n_inputs * sizeof *grads);
    if (check_inputs(ctx, n_inputs, inputs) != NNL_OK) return ctx->status;
    aside *list = w.outer ? make_way(w.outer, &count) : NULL;
    if (w.outer && !list) return ctx->status;
    for (size_t i = 0; i < n_inputs; i++) inputs[i]->autograd->captured = true;
    w.asked = inputs;
    w.n_asked = n_inputs;
    ctx->walk = &w;
    nnl_status status = find_needed(&w, n_outputs, outputs);
    if (status == NNL_OK) status = walk_run(&w, "grad", n_outputs, outputs, seeds);
    ctx->walk = w.outer;
    take_captured(n_inputs, inputs, grads, status == NNL_OK);
    nnl_status outer = w.outer ? give_way_back(w.outer, list, count) : NNL_OK;
    for (size_t i = 0; i < n_inputs && outer != NNL_OK; i++) {
        nnl_tensor_release(grads[i]);
        grads[i] = NULL;
    }
    return status == NNL_OK ? outer : status;
}
