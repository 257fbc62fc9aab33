// guard.h: a place to leave to from within a C library whose functions for errors must not return, as those
// of libpng and libjpeg. The only jump of the engine, and it passes over frames of such a library alone.
#ifndef NNL_IO_GUARD_H
#define NNL_IO_GUARD_H

#include <stdbool.h>

typedef struct nnl_guard nnl_guard; // lives while nnl_guard_run does

// Runs body(guard, arg); false where it was left by nnl_guard_leave. The body holds nothing but what `arg`
// points to: whoever calls this frees that, in either case.
bool nnl_guard_run(void (*body)(nnl_guard *guard, void *arg), void *arg);
_Noreturn void nnl_guard_leave(nnl_guard *guard);

#endif
