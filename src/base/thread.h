// thread.h: one pool of workers for a context. Work is cut by its size, never by the number of threads, so
// results do not depend on that number. Workers start at the first large piece of work; after a fork the
// child makes its own.
#ifndef NNL_BASE_THREAD_H
#define NNL_BASE_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct nnl_pool nnl_pool;

// One part of a job: index `part` of `parts`.
typedef void nnl_task(void *arg, size_t part);

// Returns new, or NULL; no thread is started yet.
nnl_pool *nnl_pool_new(int threads);
void nnl_pool_free(nnl_pool *pool);

int nnl_pool_threads(const nnl_pool *pool);
void nnl_pool_set_threads(nnl_pool *pool, int threads);

// Whether the caller is a worker of some pool: a thread of ours, not of the host's.
bool nnl_in_worker(void);

// Processors that this process may run on.
int nnl_processors(void);

// What asks whether long work is to stop: called by any of the threads, at any time. NULL: nothing does.
void nnl_pool_set_stop(nnl_pool *pool, bool (*stop)(void *host), void *host);

// Whether it is to stop now. A kernel that takes long looks between pieces, and then leaves the rest undone:
// whoever called it asks nnl_check_stop (context.h) before its results are used. The pool may be NULL.
bool nnl_pool_stops(const nnl_pool *pool);

// Memory of the calling thread, for its part of a job: at least `bytes`, aligned for any vector, its content
// lost at the next call. Kept until the pool ends; NULL where there is none.
void *nnl_pool_room(nnl_pool *pool, size_t bytes);

// The same, apart from it: for who begins a job, and keeps something there for all of its parts.
void *nnl_pool_common_room(nnl_pool *pool, size_t bytes);

// Run task(arg, 0) ... task(arg, parts - 1), in any order, on the caller and the workers; returns when all
// are done. With one part, one thread, or from inside a task, everything runs on the caller.
void nnl_pool_run(nnl_pool *pool, size_t parts, nnl_task *task, void *arg);

// The same, but parts are left out once the host wants an end (nnl_pool_stops): for work whose results are
// numbers, which nobody takes for places in memory before nnl_check_stop.
void nnl_pool_try(nnl_pool *pool, size_t parts, nnl_task *task, void *arg);

#endif
