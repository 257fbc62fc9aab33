// nnlua.c: opening the library in a Lua state: the state's userdata, nnlua.core with its parts, the Lua
// modules that are compiled in. The parts are in the other files of this folder, one open function each.
#include "nnlua.h"

#include "bind/bind.h"
#include "bind/modules.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"

#include <string.h>

static nnl_open_part *const parts[] = {
    nnl_open_tensor,     nnl_open_ops,   nnl_open_create,   nnl_open_convert, nnl_open_autograd,
    nnl_open_checkpoint, nnl_open_trial, nnl_open_context,  nnl_open_layers,  nnl_open_optimizers,
    nnl_open_init,       nnl_open_files, nnl_open_csv,      nnl_open_readers, nnl_open_sound,
    nnl_open_image,      nnl_open_feed,  nnl_open_text,     nnl_open_json,    nnl_open_events,
    nnl_open_program,    nnl_open_print, nnl_open_describe, nnl_open_hint,    nnl_open_embed,
    nnl_open_decoder,
};

// ---- the state

// A request stands until the next call from Lua, so that all threads and the call itself see it.
static bool is_interrupted(void *host) {
    const nnl_bind *bind = host;
    return nnl_request_pending(bind->request);
}

// All garbage goes, so that its tensors make room.
static void on_exhausted(void *host) {
    nnl_bind *bind = host;
    nnl_lua_gc_full(bind->L);
}

static int bind_gc(lua_State *L) {
    nnl_bind *bind = lua_touserdata(L, 1);
    nnl_context *ctx = bind->ctx;
    if (!ctx) return 0;
    nnl_request_free(bind->request);
    ctx->host = ctx->allocator.host = NULL;
    nnl_pool_set_stop(ctx->pool, NULL, NULL);
    ctx->allocator.on_exhausted = NULL;
    bind->ctx = NULL;
    bind->request = NULL;
    nnl_context_release(ctx);
    return 0;
}

// The userdata of the state, pushed. The context comes last: nothing is held while Lua may fail.
static void push_bind(lua_State *L) {
    nnl_bind *bind = nnl_lua_new_userdata(L, sizeof *bind, NNL_KEPT_COUNT);
    *bind = (nnl_bind){.L = L};
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, bind_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_newtable(L);
    nnl_lua_set_value(L, -2, NNL_KEPT_CALLBACKS);
    bind->ctx = nnl_context_new();
    if (!bind->ctx) luaL_error(L, "nnlua: out of memory");
    nnl_grad_init(bind->ctx);
    bind->request = nnl_request_new(nnl_lua_main_thread(L));
    bind->ctx->host = bind->ctx->allocator.host = bind;
    nnl_pool_set_stop(bind->ctx->pool, is_interrupted, bind);
    bind->ctx->allocator.on_exhausted = on_exhausted;
    bind->ctx->kernels = nnl_kernels_best();
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, bind); // callbacks find the state by it
}

// ---- what parts are made with

void nnl_push_function(lua_State *L, lua_CFunction function, int upvalues) {
    lua_pushvalue(L, NNL_BIND_INDEX);
    lua_insert(L, -1 - upvalues);
    lua_pushcclosure(L, function, 1 + upvalues);
}

void nnl_set_functions(lua_State *L, const luaL_Reg *functions) {
    lua_pushvalue(L, NNL_BIND_INDEX);
    luaL_setfuncs(L, functions, 1);
}

#define METATABLE_ROOM 48

// The first of the list are found fastest: Lua puts what collides with them behind them, and the table, being
// large enough, is never put in another order.
void nnl_new_metatable(lua_State *L, nnl_kept kind, const char *name, const luaL_Reg *metamethods) {
    nnl_bind *bind = lua_touserdata(L, NNL_BIND_INDEX);
    lua_createtable(L, 0, METATABLE_ROOM);
    nnl_set_functions(L, metamethods);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    bind->metatable[kind] = lua_topointer(L, -1);
    lua_pushvalue(L, -1);
    nnl_lua_set_value(L, NNL_BIND_INDEX, (int)kind);
}

// ---- opening

static int open_core(lua_State *L) {
    lua_settop(L, 0);
    lua_newtable(L);
    push_bind(L);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        parts[i](L);
        lua_settop(L, NNL_BIND_INDEX);
    }
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_lua_add_compat(L);
    lua_pushnil(L);
    lua_setfield(L, NNL_CORE_INDEX, "tensor_metatable"); // was for the parts alone
    lua_pushliteral(L, NNLUA_VERSION);
    lua_setfield(L, NNL_CORE_INDEX, "version");
    lua_settop(L, NNL_CORE_INDEX);
    return 1;
}

// The loader of every module that is compiled in; upvalue 1 says which.
static int load_module(lua_State *L) {
    const nnl_lua_module *module = lua_touserdata(L, lua_upvalueindex(1));
    lua_settop(L, 1);
    lua_pushfstring(L, "=%s", module->name);
    if (luaL_loadbuffer(L, module->source, module->length, lua_tostring(L, -1)) != LUA_OK)
        return lua_error(L);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static void preload(lua_State *L) {
    nnl_lua_push_preload(L);
    for (const nnl_lua_module *module = nnl_lua_modules; module->name; module++) {
        if (strcmp(module->name, "nnlua") == 0) continue;
        lua_pushlightuserdata(L, (void *)module);
        lua_pushcclosure(L, load_module, 1);
        lua_setfield(L, -2, module->name);
    }
    lua_pushcfunction(L, open_core);
    lua_setfield(L, -2, "nnlua.core");
    lua_pop(L, 1);
}

static const nnl_lua_module *main_module(void) {
    const nnl_lua_module *module = nnl_lua_modules;
    while (module->name && strcmp(module->name, "nnlua") != 0) module++;
    return module;
}

int luaopen_nnlua(lua_State *L) {
    luaL_checkversion(L);
    preload(L);
    lua_pushlightuserdata(L, (void *)main_module());
    lua_pushcclosure(L, load_module, 1);
    lua_pushliteral(L, "nnlua");
    lua_call(L, 1, 1);
    return 1;
}

void nnlua_preload(lua_State *L) {
    nnl_lua_push_preload(L);
    lua_pushcfunction(L, luaopen_nnlua);
    lua_setfield(L, -2, "nnlua");
    lua_pop(L, 1);
}

void nnlua_own_process(void) { nnl_gemm_own_process(); }
