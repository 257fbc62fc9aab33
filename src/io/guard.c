// guard.c: see guard.h. Nothing of this function's own is looked at after the jump, so no variable of it can
// have an uncertain value.
#include "io/guard.h"

#include <setjmp.h>

struct nnl_guard {
    jmp_buf place;
};

bool nnl_guard_run(void (*body)(nnl_guard *guard, void *arg), void *arg) {
    nnl_guard guard;
    if (setjmp(guard.place) != 0) return false;
    body(&guard, arg);
    return true;
}

_Noreturn void nnl_guard_leave(nnl_guard *guard) { longjmp(guard->place, 1); }
