// context.h: everything that one Lua state's use of the engine shares: errors, memory, random numbers,
// threads, modes. There are no mutable globals: two contexts in two threads never meet. See alloc.h,
// random.h, thread.h for the parts.
#ifndef NNL_BASE_CONTEXT_H
#define NNL_BASE_CONTEXT_H

#include "base/alloc.h"
#include "base/random.h"
#include "base/status.h"
#include "base/thread.h"

#include <stdbool.h>
#include <stdint.h>

#define NNL_ERROR_SIZE 512

struct nnl_kernels;
struct nnl_autograd;
struct nnl_walk;
struct nnl_rerun;

typedef struct nnl_context {
    uint32_t refs; // the creator and every live tensor: whoever lets go last frees it
    nnl_status status;
    char error[NNL_ERROR_SIZE];

    nnl_allocator allocator;
    nnl_random random;
    nnl_pool *pool;
    const struct nnl_kernels *kernels; // NULL until the layer above sets it to nnl_kernels_best()

    bool grad_enabled;
    bool mixed;               // products of float32 are made in bfloat16
    uint64_t next_sequence;   // number of the next graph node: backward walks from the newest to the oldest
    struct nnl_walk *walk;    // the backward that runs now (grad/backward.c)
    struct nnl_rerun *region; // in which operations are recorded now (grad/rerun.h)
    bool repeating; // computing once more: what moves with each batch, such as running statistics, stays
    int64_t live_tensors;
    bool bare_layers; // layers that are made have no first values: what they load is all that they will hold
    void (*autograd_free)(struct nnl_autograd *); // set by grad/, so that tensor/ need not know it

    void *host;
} nnl_context;

// Returns new, or NULL when there is no memory at all.
nnl_context *nnl_context_new(void);
static inline void nnl_context_retain(nnl_context *ctx) { ctx->refs++; }
void nnl_context_free(nnl_context *ctx); // for nnl_context_release alone

static inline void nnl_context_release(nnl_context *ctx) {
    if (ctx && --ctx->refs == 0) nnl_context_free(ctx);
}

// Record a failure and return its status; the text replaces the one before.
nnl_status nnl_fail(nnl_context *ctx, nnl_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// The same for functions that return a pointer.
void *nnl_fail_null(nnl_context *ctx, nnl_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// A failure of `who` where the host wants the computation to stop (nnl_pool_stops), after which results may
// be undone in part.
nnl_status nnl_check_stop(nnl_context *ctx, const char *who);

void nnl_error_clear(nnl_context *ctx);

#endif
