// rerun.h: computing again in place of keeping (Chen et al., "Training Deep Nets with Sublinear Memory
// Cost", 2016). Operations that are recorded within a region save nothing but leaves. When backward first
// needs one of their values, the region's function runs again, and what it saves goes to the operations of
// the first run.
#ifndef NNL_GRAD_RERUN_H
#define NNL_GRAD_RERUN_H

#include "grad/graph.h"

// Runs the function again; the region's own part is around it. `free` lets go of arg.
typedef struct nnl_rerun_class {
    nnl_status (*run)(nnl_context *ctx, void *arg);
    void (*free)(nnl_context *ctx, void *arg);
} nnl_rerun_class;

typedef struct nnl_rerun {
    uint32_t refs; // its nodes, and whoever made it
    nnl_context *ctx;
    const nnl_rerun_class
        *class; // NULL: the second run of another region, whose nodes are counted and saved as ever
    void *arg;
    bool mixed;       // products within were in bfloat16, and will be again
    nnl_node **nodes; // in the order of recording; NULL once one is gone
    size_t count, room;
    struct nnl_rerun *outer; // the one that recorded when this one began
} nnl_rerun;

// Returns new. Takes arg, also where it fails.
nnl_rerun *nnl_rerun_new(nnl_context *ctx, const nnl_rerun_class *class, void *arg);
void nnl_rerun_release(nnl_rerun *region);

// From here on operations are recorded in the region, until the end.
void nnl_rerun_begin(nnl_context *ctx, nnl_rerun *region);
void nnl_rerun_end(nnl_context *ctx, nnl_rerun *region);

// Whether operations save nothing now. A region within such a one would change nothing.
static inline bool nnl_rerun_is_lean(const nnl_context *ctx) { return ctx->region && ctx->region->class; }

// For recording: notes a node that was just made, before its values are saved.
nnl_status nnl_rerun_note(nnl_context *ctx, nnl_node *node);

// For a node that goes: its region does not know it any more.
void nnl_rerun_forget(nnl_node *node);

// For backward: the values of a node that were not kept, and of all others of its region.
nnl_status nnl_rerun_restore(nnl_context *ctx, nnl_node *node);

#endif
