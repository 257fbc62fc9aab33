// compat.h: Lua's API as the binding uses it. The only place that knows versions of Lua: what differs between
// them has a name here, so that Lua 5.1 and LuaJIT (environment tables for uservalues, no integers) need no
// other file.
#ifndef NNL_BIND_COMPAT_H
#define NNL_BIND_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdbool.h>
#include <stdint.h>

#if LUA_VERSION_NUM < 504
#error "nnlua needs Lua 5.4"
#endif

// A userdata with room for `values` Lua values, all nil. Pushed.
static inline void *nnl_lua_new_userdata(lua_State *L, size_t size, int values) {
    return lua_newuserdatauv(L, size, values);
}

// Value `n` (from 1) of a userdata, pushed.
static inline void nnl_lua_get_value(lua_State *L, int userdata, int n) { lua_getiuservalue(L, userdata, n); }

// The value on top becomes value `n`; popped.
static inline void nnl_lua_set_value(lua_State *L, int userdata, int n) { lua_setiuservalue(L, userdata, n); }

// Whether a number is of Lua's integer type, as math.type tells.
static inline bool nnl_lua_is_integer(lua_State *L, int index) { return lua_isinteger(L, index) != 0; }

// A number without a fraction, of either type.
static inline bool nnl_lua_to_integer(lua_State *L, int index, int64_t *value) {
    int whole = 0;
    if (lua_type(L, index) != LUA_TNUMBER) return false;
    *value = (int64_t)lua_tointegerx(L, index, &whole);
    return whole != 0;
}

// The state's first thread, which stands for it all. NULL where Lua does not tell.
static inline lua_State *nnl_lua_main_thread(lua_State *L) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *thread = lua_tothread(L, -1);
    lua_pop(L, 1);
    return thread;
}

// Tell the collector that `kilobytes` were allocated that it cannot see; it does its share of work for them.
// Nothing where the script stopped it.
static inline void nnl_lua_gc_pace(lua_State *L, int kilobytes) {
    if (lua_gc(L, LUA_GCISRUNNING)) lua_gc(L, LUA_GCSTEP, kilobytes);
}

static inline int nnl_lua_gc_kilobytes(lua_State *L) { return lua_gc(L, LUA_GCCOUNT); }

static inline void nnl_lua_gc_full(lua_State *L) { lua_gc(L, LUA_GCCOLLECT); }

#endif
