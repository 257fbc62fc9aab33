// callback.c: Lua functions that the graph holds, such as hooks. Their values live in a table of the state,
// by number. The engine calls in here, so nothing may be raised outside of a protected call.
#include "bind/bind.h"

// The table, from wherever the engine is: no C function of ours need be running.
static void push_callbacks(lua_State *L, const nnl_bind *bind) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, bind);
    nnl_lua_get_value(L, -1, NNL_KEPT_CALLBACKS);
    lua_remove(L, -2);
}

int nnl_callback_new(lua_State *L, nnl_bind *bind) {
    push_callbacks(L, bind);
    lua_insert(L, -2);
    int callback = luaL_ref(L, -2);
    lua_pop(L, 1);
    return callback;
}

// luaL_unref writes to places that are there already: no memory is needed.
void nnl_callback_free(nnl_bind *bind, int callback) {
    if (!bind->ctx) return; // the state is closing, and the table goes with it
    if (!lua_checkstack(bind->L, 6)) return;
    push_callbacks(bind->L, bind);
    luaL_unref(bind->L, -1, callback);
    lua_pop(bind->L, 1);
}

typedef struct protected_call {
    nnl_bind *bind;
    int callback;
    lua_CFunction body;
    void *arg;
} protected_call;

// Inside the protection: the body becomes a C function of ours like any other.
static int run_protected(lua_State *L) {
    const protected_call *call = lua_touserdata(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, call->bind);
    lua_pushcclosure(L, call->body, 1);
    lua_pushlightuserdata(L, call->arg);
    push_callbacks(L, call->bind);
    lua_rawgeti(L, -1, call->callback);
    lua_remove(L, -2);
    lua_call(L, 2, 0);
    return 0;
}

// The error on top waits in the state; popped.
static nnl_status keep_error(lua_State *L, nnl_bind *bind) {
    lua_rawgetp(L, LUA_REGISTRYINDEX, bind);
    lua_insert(L, -2);
    nnl_lua_set_value(L, -2, NNL_KEPT_ERROR);
    lua_pop(L, 1);
    bind->raised = true;
    return nnl_fail(bind->ctx, NNL_ERR_STATE, "a Lua function called by the engine raised an error");
}

nnl_status nnl_callback_run(nnl_bind *bind, int callback, lua_CFunction body, void *arg) {
    lua_State *L = bind->L;
    if (!lua_checkstack(L, 8))
        return nnl_fail(bind->ctx, NNL_ERR_MEMORY, "out of memory: Lua's stack is full");
    bool mode = bind->ctx->grad_enabled, mixed = bind->ctx->mixed;
    protected_call call = {bind, callback, body, arg};
    lua_pushcfunction(L, run_protected);
    lua_pushlightuserdata(L, &call);
    bind->depth++;
    int outcome = lua_pcall(L, 1, 0, 0);
    bind->depth--;
    bind->L = L;
    bind->ctx->grad_enabled = mode;
    bind->ctx->mixed = mixed;
    return outcome == LUA_OK ? NNL_OK : keep_error(L, bind);
}
