// graph.h: what backward needs to know. A tensor that takes part has an nnl_autograd; an operation on such
// tensors leaves an nnl_node, which keeps its inputs' nnl_autograd, the values it saved and its own state.
// backward.h walks them.
#ifndef NNL_GRAD_GRAPH_H
#define NNL_GRAD_GRAPH_H

#include "grad/op.h"

#define NNL_MAX_SAVED 10

typedef struct nnl_hook {
    struct nnl_hook *next;
    // Sees a gradient once it is complete; may return another (new) in its place, or NULL to leave it.
    nnl_status (*run)(nnl_context *ctx, void *arg, nnl_tensor *grad, nnl_tensor **replacement);
    void (*free)(nnl_context *ctx, void *arg);
    void *arg;
} nnl_hook;

typedef struct nnl_autograd {
    uint32_t refs;
    bool requires_grad, retain_grad;
    uint8_t output; // which of the node's results
    nnl_dtype dtype;
    nnl_context *ctx;
    nnl_node *node;      // what made the tensor; NULL for a leaf
    nnl_tensor *grad;    // of a leaf, or where retain_grad
    nnl_tensor *pending; // the sum so far, during a walk
    nnl_hook *hooks;
    bool captured; // during nnl_grad: its gradient is asked for
    nnl_shape shape;
} nnl_autograd;

typedef struct nnl_saved {
    nnl_tensor *tensor;
    uint32_t version;
    int output; // the result of the node that this is, or -1
} nnl_saved;

struct nnl_node {
    uint32_t refs;
    const nnl_op *op;
    nnl_context *ctx;
    uint64_t sequence;
    int n_inputs, n_outputs, n_saved;
    bool freed, queued;
    nnl_autograd **input;                  // NULL where no gradient is wanted
    nnl_autograd *output[NNL_MAX_OUTPUTS]; // not counted: NULL once nobody can ask
    nnl_saved *saved;
    void *state;
    nnl_node *next; // in the list of nodes to free
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
    const void *state;                // copied
    size_t state_size;
} nnl_recording;

// Installs the hook by which tensors free their nnl_autograd.
void nnl_grad_init(nnl_context *ctx);

bool nnl_requires_grad(const nnl_tensor *t);
bool nnl_is_leaf(const nnl_tensor *t);

// Whether an operation on these is to be recorded: the mode is on and one of them requires a gradient.
bool nnl_grad_wanted(const nnl_context *ctx, nnl_tensor *const *inputs, int n);

// Records, if wanted; results of integer dtypes stay constants.
nnl_status nnl_record(nnl_context *ctx, const nnl_recording *recording);

// For leaves of floating-point dtypes only.
nnl_status nnl_set_requires_grad(nnl_context *ctx, nnl_tensor *t, bool requires_grad);

// The tensor's nnl_autograd, made if there is none; NULL when out of memory. Borrows.
nnl_autograd *nnl_autograd_of(nnl_context *ctx, nnl_tensor *t);

nnl_status nnl_retain_grad(nnl_context *ctx, nnl_tensor *t);

// Borrows; NULL where there is none.
nnl_tensor *nnl_grad_get(const nnl_tensor *t);

// Retains `grad`, which may be NULL; its shape and dtype must be the tensor's.
nnl_status nnl_grad_set(nnl_context *ctx, nnl_tensor *t, nnl_tensor *grad);

// Takes `arg`, freed by hook.free.
nnl_status nnl_hook_add(nnl_context *ctx, nnl_tensor *t, nnl_hook hook);

// Whether a tensor may be changed in place; an error where it is a leaf that requires a gradient, or a view
// in a graph.
nnl_status nnl_check_in_place(nnl_context *ctx, const char *who, const nnl_tensor *t, bool recorded);

// The place of `from` in the graph becomes that of `to`: after an in-place operation.
void nnl_autograd_move(nnl_tensor *to, nnl_tensor *from);

// For backward functions.
bool nnl_node_needs(const nnl_node *node, int input);
nnl_tensor *nnl_node_saved(const nnl_node *node, int k); // borrows

void nnl_autograd_retain(nnl_autograd *autograd);
void nnl_autograd_release(nnl_autograd *autograd);
void nnl_node_release(nnl_node *node);

// Lets go of the saved values and of what came before; a later walk through the node is an error.
void nnl_node_clear(nnl_node *node);

#endif
