// interrupt.c: nnlua_interrupt, which a signal handler may call. The one table in the library that all states
// share: a handler can follow no pointer of Lua's, so each state has a place here with its name on it.
#include "nnlua.h"

#include "bind/bind.h"

#include <stdatomic.h>

#define NNL_REQUESTS 256

struct nnl_request {
    _Atomic(lua_State *) owner; // NULL: free
    atomic_bool pending;
};

static nnl_request requests[NNL_REQUESTS];

// NULL where more states are open than the table has room for, or L is NULL: those cannot be interrupted.
nnl_request *nnl_request_new(lua_State *L) {
    if (!L) return NULL;
    for (int i = 0; i < NNL_REQUESTS; i++) {
        lua_State *nobody = NULL;
        if (atomic_compare_exchange_strong(&requests[i].owner, &nobody, L)) return &requests[i];
    }
    return NULL;
}

void nnl_request_free(nnl_request *request) {
    if (!request) return;
    atomic_store(&request->pending, false);
    atomic_store(&request->owner, NULL);
}

void nnl_request_clear(nnl_request *request) {
    if (request) atomic_store_explicit(&request->pending, false, memory_order_relaxed);
}

bool nnl_request_pending(const nnl_request *request) {
    return request && atomic_load_explicit(&request->pending, memory_order_relaxed);
}

void nnl_check_interrupted(lua_State *L, nnl_bind *bind) {
    const char *name = nnl_pool_stops(bind->ctx->pool) ? nnl_own_name(L) : NULL;
    if (nnl_check_stop(bind->ctx, name ? name : "nnlua") != NNL_OK) nnl_raise(L, bind);
}

void nnlua_interrupt(lua_State *L) {
    for (int i = 0; i < NNL_REQUESTS; i++) {
        if (atomic_load(&requests[i].owner) == L) atomic_store(&requests[i].pending, true);
    }
}
