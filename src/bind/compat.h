// compat.h: Lua's API as the binding uses it. With compat.c the only place that knows versions of Lua: the
// rest is written for Lua 5.4, and what the others lack or do otherwise has a name here. Lua 5.1 and LuaJIT
// have no integers: a whole number counts as one as far as every double holds it exactly. One module serves
// both.
#ifndef NNL_BIND_COMPAT_H
#define NNL_BIND_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#if LUA_VERSION_NUM < 501 || LUA_VERSION_NUM == 502 || LUA_VERSION_NUM > 504
#error "nnlua needs Lua 5.1, 5.3, 5.4 or LuaJIT"
#endif

#if LUA_VERSION_NUM == 501

#ifndef LUA_OK
#define LUA_OK 0
#endif
#undef LUAI_UACINT
#define LUAI_UACINT long long

// These say in Lua 5.4 of what type the value is that they push.
#define lua_rawget(L, i) ((lua_rawget)(L, i), lua_type(L, -1))
#define lua_rawgeti(L, i, n) ((lua_rawgeti)(L, i, (int)(n)), lua_type(L, -1))
#define lua_rawseti(L, i, n) ((lua_rawseti)(L, i, (int)(n)))
#undef lua_getglobal
#define lua_getglobal(L, name) (lua_getfield(L, LUA_GLOBALSINDEX, name), lua_type(L, -1))
#define luaL_getmetafield(L, i, name) ((luaL_getmetafield)(L, i, name) ? lua_type(L, -1) : LUA_TNIL)
#define lua_rawlen(L, i) lua_objlen(L, i)
#define luaL_checkversion(L) ((void)(L))

#define lua_absindex(L, i) nnl_compat_absindex(L, i)
#define lua_rawgetp(L, i, key) nnl_compat_rawgetp(L, i, key)
#define lua_rawsetp(L, i, key) nnl_compat_rawsetp(L, i, key)
#define luaL_setfuncs(L, list, upvalues) nnl_compat_setfuncs(L, list, upvalues)
#define luaL_tolstring(L, i, length) nnl_compat_tolstring(L, i, length)
#define lua_pushfstring nnl_compat_pushfstring
#define lua_pushvfstring nnl_compat_pushvfstring

int nnl_compat_absindex(lua_State *L, int index);
void nnl_compat_rawgetp(lua_State *L, int index, const void *key);
void nnl_compat_rawsetp(lua_State *L, int index, const void *key);
void nnl_compat_setfuncs(lua_State *L, const luaL_Reg *list, int upvalues);
const char *nnl_compat_tolstring(lua_State *L, int index, size_t *length);
const char *nnl_compat_pushfstring(lua_State *L, const char *format, ...);
const char *nnl_compat_pushvfstring(lua_State *L, const char *format, va_list arguments); // also %I

#endif

// nnl_lua_new_userdata: a userdata with room for `values` Lua values, all nil. Pushed.
// nnl_lua_get_value: value `n` (from 1) of a userdata, pushed.
// nnl_lua_set_value: the value on top becomes value `n`; popped.
#if LUA_VERSION_NUM == 504
static inline void *nnl_lua_new_userdata(lua_State *L, size_t size, int values) {
    return lua_newuserdatauv(L, size, values);
}
static inline void nnl_lua_get_value(lua_State *L, int userdata, int n) { lua_getiuservalue(L, userdata, n); }
static inline void nnl_lua_set_value(lua_State *L, int userdata, int n) { lua_setiuservalue(L, userdata, n); }
#else
void *nnl_lua_new_userdata(lua_State *L, size_t size, int values);
void nnl_lua_get_value(lua_State *L, int userdata, int n);
void nnl_lua_set_value(lua_State *L, int userdata, int n);
#endif

// nnl_lua_is_integer: whether a number is of Lua's integer type, as math.type tells.
// nnl_lua_to_integer: a number without a fraction, of either type.
#if LUA_VERSION_NUM >= 503
static inline bool nnl_lua_is_integer(lua_State *L, int index) { return lua_isinteger(L, index) != 0; }
static inline bool nnl_lua_to_integer(lua_State *L, int index, int64_t *value) {
    int whole = 0;
    if (lua_type(L, index) != LUA_TNUMBER) return false;
    *value = (int64_t)lua_tointegerx(L, index, &whole);
    return whole != 0;
}
#else
bool nnl_lua_is_integer(lua_State *L, int index);
bool nnl_lua_to_integer(lua_State *L, int index, int64_t *value);
#endif

// The state's first thread, which stands for it all. NULL where Lua does not tell.
lua_State *nnl_lua_main_thread(lua_State *L);

// The table of package.preload, pushed. Raises where the state has no package library.
void nnl_lua_push_preload(lua_State *L);

// The table of package.loaded, pushed.
void nnl_lua_push_loaded(lua_State *L);

// What lua/nnlua/compat.lua cannot do by itself, into the table on top.
void nnl_lua_add_compat(lua_State *L);

// Call `body` with `argument` as light userdata, protected; no Lua error leaves here, for want of memory
// neither. The outcome is as that of lua_pcall: an error is pushed, results are not.
int nnl_lua_protect(lua_State *L, lua_CFunction body, void *argument);

// Tell the collector that `kilobytes` were allocated that it cannot see; it does its share of work for them.
// Nothing where the script stopped it, as far as Lua tells.
static inline void nnl_lua_gc_pace(lua_State *L, int kilobytes) {
#ifdef LUA_GCISRUNNING
    if (!lua_gc(L, LUA_GCISRUNNING, 0)) return;
#endif
    lua_gc(L, LUA_GCSTEP, kilobytes);
}

static inline int nnl_lua_gc_kilobytes(lua_State *L) { return lua_gc(L, LUA_GCCOUNT, 0); }

static inline void nnl_lua_gc_full(lua_State *L) { lua_gc(L, LUA_GCCOLLECT, 0); }

#endif
