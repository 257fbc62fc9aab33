// callback.c: Lua functions that the graph holds, such as hooks. Their values live in a table of the state,
// by number.
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

void nnl_callback_free(nnl_bind *bind, int callback) {
    if (!bind->ctx) return; // the state is closing, and the table goes with it
    push_callbacks(bind->L, bind);
    luaL_unref(bind->L, -1, callback);
    lua_pop(bind->L, 1);
}

nnl_status nnl_callback_run(nnl_bind *bind, int callback, lua_CFunction body, void *arg) {
    lua_State *L = bind->L;
    if (!lua_checkstack(L, 8))
        return nnl_fail(bind->ctx, NNL_ERR_MEMORY, "out of memory: Lua's stack is full");
    bool mode = bind->ctx->grad_enabled;
    lua_rawgetp(L, LUA_REGISTRYINDEX, bind);
    lua_pushcclosure(L, body, 1);
    lua_pushlightuserdata(L, arg);
    push_callbacks(L, bind);
    lua_rawgeti(L, -1, callback);
    lua_remove(L, -2);
    int outcome = lua_pcall(L, 2, 0, 0);
    bind->L = L;
    bind->ctx->grad_enabled = mode;
    if (outcome == LUA_OK) return NNL_OK;
    lua_rawgetp(L, LUA_REGISTRYINDEX, bind);
    lua_insert(L, -2);
    nnl_lua_set_value(L, -2, NNL_KEPT_ERROR);
    lua_pop(L, 1);
    bind->raised = true;
    return nnl_fail(bind->ctx, NNL_ERR_STATE, "a Lua function called by the engine raised an error");
}
