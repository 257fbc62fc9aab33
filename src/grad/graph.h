// graph.h: what backward needs to know. A tensor that takes part has an nnl_autograd; an operation on such
// tensors leaves an nnl_node, which keeps its inputs' nnl_autograd, the values it saved and its own state.
// backward.h walks them.
#ifndef NNL_GRAD_GRAPH_H
#define NNL_GRAD_GRAPH_H

#include "grad/op.h"

#define NNL_MAX_SAVED 10

typedef struct nnl_hook {
    struct nnl_hook *next;
    bool removed; // while the hooks run; it goes when they are through
    // Sees a gradient once it is complete; may return another (new) in its place, or NULL to leave it.
    nnl_status (*run)(nnl_context *ctx, void *arg, nnl_tensor *grad, nnl_tensor **replacement);
    void (*free)(nnl_context *ctx, void *arg);
    void *arg;
} nnl_hook;

typedef struct nnl_autograd {
    uint32_t refs;
    uint32_t output; // which of the node's results
    bool requires_grad, retain_grad;
    nnl_dtype dtype;
    nnl_context *ctx;
    nnl_node *node;      // what made the tensor; NULL for a leaf
    nnl_tensor *grad;    // of a leaf, or where retain_grad
    nnl_tensor *pending; // the sum so far, during a walk
    nnl_hook *hooks;
    uint16_t running; // walks that run these hooks now
    bool captured;    // during nnl_grad: its gradient is asked for
    nnl_shape shape;
} nnl_autograd;

typedef struct nnl_saved {
    nnl_hold hold;
    bool wanted;   // there was something to save: without a tensor now, it was changed in place
    int8_t input;  // which of the node's inputs it is, or -1
    int8_t output; // which of its results
    bool dropped;  // not kept: the node's region computes it again
} nnl_saved;

struct nnl_node {
    uint32_t refs;
    const nnl_op *op;
    nnl_context *ctx;
    uint64_t sequence;
    int n_inputs, n_outputs, n_saved;
    bool freed, queued;
    bool mixed;  // its products were made in bfloat16, and those of backward will be
    bool needed; // by the walk with this mark: it leads to a gradient that was asked for
    uint64_t mark;
    uint64_t hidden;       // bits of the first inputs that the walk does not want gradients of
    nnl_autograd **input;  // NULL where no gradient is wanted
    nnl_autograd **output; // not counted: NULL once nobody can ask
    nnl_saved *saved;
    void *state;
    nnl_node *next;           // in the list of nodes to free
    struct nnl_rerun *region; // that computes what was not kept (rerun.h); retained, NULL for most
    size_t place;             // in the region's list
};

// What forward tells of itself. Saved tensors are inputs or results.
typedef struct nnl_recording {
    const nnl_op *op;
    int n_inputs;
    nnl_tensor *const *inputs; // NULL entries are allowed
    int n_outputs;
    nnl_tensor *const *outputs;
    int n_saved;
    nnl_tensor *saved[NNL_MAX_SAVED]; // NULL entries are allowed
    const void *state; // copied; what it owns is the node's, and let go of where recording fails
    size_t state_size;
} nnl_recording;

// Installs the hook by which tensors free their nnl_autograd.
void nnl_grad_init(nnl_context *ctx);

// Whether a view's base was changed in place, within the graph, after the view was made: its place in the
// graph is out of date (see nnl_catch_up).
static inline bool nnl_is_behind(const nnl_tensor *t) {
    if (!t->base || t->seen == NNL_UNSEEN) return false;
    const nnl_autograd *base = t->base->autograd;
    return base && base->node && base->node->sequence > t->seen;
}

static inline bool nnl_requires_grad(const nnl_tensor *t) {
    return (t->autograd && t->autograd->requires_grad) || nnl_is_behind(t);
}

bool nnl_is_leaf(const nnl_tensor *t);

// Whether an operation on these is to be recorded: the mode is on and one of them requires a gradient.
static inline bool nnl_grad_wanted(const nnl_context *ctx, nnl_tensor *const *inputs, int n) {
    if (!ctx->grad_enabled) return false;
    for (int i = 0; i < n; i++) {
        if (inputs[i] && nnl_requires_grad(inputs[i])) return true;
    }
    return false;
}

// The elements of an x that suits an operation's shortcut: floats that kernels take as they lie, so few that
// one thread takes them at once, and nothing to be recorded. Of others 0.
#define NNL_QUICK_LIMIT 16384
static inline size_t nnl_quick_count(const nnl_context *ctx, const nnl_tensor *x) {
    if (x->dtype != NNL_FLOAT32 && x->dtype != NNL_FLOAT64) return 0;
    int64_t step = 1;
    for (int d = x->shape.ndim - 1; d >= 0; d--) {
        if (x->stride[d] != step) return 0;
        step *= x->shape.size[d];
    }
    bool suits = step > 0 && step <= NNL_QUICK_LIMIT && !(ctx->grad_enabled && nnl_requires_grad(x));
    return suits ? (size_t)step : 0;
}

// Whether y is as such an x.
static inline bool nnl_is_quick_like(const nnl_context *ctx, const nnl_tensor *y, const nnl_tensor *x) {
    if (y->dtype != x->dtype || y->shape.ndim != x->shape.ndim) return false;
    for (int d = 0; d < x->shape.ndim; d++) {
        if (y->stride[d] != x->stride[d] || y->shape.size[d] != x->shape.size[d]) return false;
    }
    return !(ctx->grad_enabled && nnl_requires_grad(y));
}

// Records, if wanted; results of integer dtypes stay constants.
nnl_status nnl_record(nnl_context *ctx, const nnl_recording *recording);

// The same for one input and one result that save nothing but a state, as views and their like do.
nnl_status nnl_record_one(nnl_context *ctx, const nnl_op *op, nnl_tensor *x, nnl_tensor **out,
                          const void *state, size_t state_size);

// For leaves of floating-point dtypes only.
nnl_status nnl_set_requires_grad(nnl_context *ctx, nnl_tensor *t, bool requires_grad);

// The tensor's nnl_autograd, brought up to date, and made if there is none; NULL when out of memory. Borrows.
nnl_autograd *nnl_autograd_of(nnl_context *ctx, nnl_tensor *t);

// The tensor becomes a leaf that requires no gradient.
nnl_status nnl_detach_in_place(nnl_context *ctx, nnl_tensor *t);

nnl_status nnl_retain_grad(nnl_context *ctx, nnl_tensor *t);

// Borrows; NULL where there is none.
nnl_tensor *nnl_grad_get(const nnl_tensor *t);

// Retains `grad`, which may be NULL; its shape and dtype must be the tensor's.
nnl_status nnl_grad_set(nnl_context *ctx, nnl_tensor *t, nnl_tensor *grad);

// Takes `arg`, freed by hook.free when the hook is removed, or when its place or the graph before it is
// freed.
nnl_status nnl_hook_add(nnl_context *ctx, nnl_tensor *t, nnl_hook hook);
void nnl_hook_remove(nnl_autograd *place, const void *arg);

// Every hook in order on the place's pending gradient.
nnl_status nnl_hooks_run(nnl_context *ctx, nnl_autograd *place);

// The place of `from` in the graph becomes that of `to`: after an in-place operation.
void nnl_autograd_move(nnl_tensor *to, nnl_tensor *from);

// Gives a view that is behind its new place: part of recording it (part.c).
nnl_status nnl_catch_up(nnl_context *ctx, nnl_tensor *t);

// For backward functions.
bool nnl_node_needs(const nnl_node *node, int input);
nnl_tensor *nnl_node_saved(const nnl_node *node, int k); // borrows; NULL where nothing was saved

void nnl_autograd_retain(nnl_autograd *autograd);
void nnl_autograd_release(nnl_autograd *autograd);
void nnl_node_release(nnl_node *node);

// Lets go of the saved values and of what came before; a later walk through the node is an error.
void nnl_node_clear(nnl_node *node);

#endif
