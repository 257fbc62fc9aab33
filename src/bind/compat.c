// compat.c: what the versions of Lua do otherwise than Lua 5.4. See compat.h.
#include "bind/compat.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// ---- values of userdata

#if LUA_VERSION_NUM < 504

// A userdata has one value, a table, which holds ours.
static void push_values(lua_State *L, int userdata) {
#if LUA_VERSION_NUM == 501
    lua_getfenv(L, userdata);
#else
    lua_getuservalue(L, userdata);
#endif
}

void *nnl_lua_new_userdata(lua_State *L, size_t size, int values) {
    void *userdata = lua_newuserdata(L, size);
    if (values == 0) return userdata;
    lua_createtable(L, values, 0);
#if LUA_VERSION_NUM == 501
    lua_setfenv(L, -2);
#else
    lua_setuservalue(L, -2);
#endif
    return userdata;
}

void nnl_lua_get_value(lua_State *L, int userdata, int n) {
    push_values(L, userdata);
    lua_rawgeti(L, -1, n);
    lua_remove(L, -2);
}

void nnl_lua_set_value(lua_State *L, int userdata, int n) {
    push_values(L, userdata);
    lua_insert(L, -2);
    lua_rawseti(L, -2, n);
    lua_pop(L, 1);
}

#endif

// ---- integers

#if LUA_VERSION_NUM == 501

bool nnl_lua_is_integer(lua_State *L, int index) {
    double number = lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER || fabs(number) > 0x1p53 || floor(number) != number) return false;
    return number != 0 || !signbit(number);
}

bool nnl_lua_to_integer(lua_State *L, int index, int64_t *value) {
    double number = lua_tonumber(L, index);
    if (lua_type(L, index) != LUA_TNUMBER || floor(number) != number) return false;
    if (number < -0x1p63 || number >= 0x1p63) return false;
    *value = (int64_t)number;
    return true;
}

#endif

// ---- the state

lua_State *nnl_lua_main_thread(lua_State *L) {
#if LUA_VERSION_NUM == 501
    bool is_main = lua_pushthread(L) != 0;
    lua_pop(L, 1);
    return is_main ? L : NULL;
#else
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *thread = lua_tothread(L, -1);
    lua_pop(L, 1);
    return thread;
#endif
}

void nnl_lua_push_loaded(lua_State *L) {
    lua_getfield(L, LUA_REGISTRYINDEX, "_LOADED");
    if (lua_type(L, -1) != LUA_TTABLE) luaL_error(L, "nnlua: the state has no package library");
}

void nnl_lua_push_preload(lua_State *L) {
#if LUA_VERSION_NUM == 501
    nnl_lua_push_loaded(L);
    lua_getfield(L, -1, LUA_LOADLIBNAME);
    lua_remove(L, -2);
    if (lua_type(L, -1) == LUA_TTABLE) lua_getfield(L, -1, "preload");
    if (lua_type(L, -1) != LUA_TTABLE) luaL_error(L, "nnlua: the state has no package library");
    lua_remove(L, -2);
#else
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "_PRELOAD");
#endif
}

int nnl_lua_protect(lua_State *L, lua_CFunction body, void *argument) {
    if (!lua_checkstack(L, LUA_MINSTACK)) return LUA_ERRMEM; // the one outcome without a message
#if LUA_VERSION_NUM == 501
    return lua_cpcall(L, body, argument); // where a C function is pushed by an allocation
#else
    lua_pushcfunction(L, body);
    lua_pushlightuserdata(L, argument);
    return lua_pcall(L, 1, 0, 0);
#endif
}

// ---- for lua/nnlua/compat.lua

#if LUA_VERSION_NUM == 501

// core.kept(userdata): a table that belongs to it, made when first asked for; lives and dies with it. Until
// then its environment is the one that all C functions have.
static int kept(lua_State *L) {
    luaL_checktype(L, 1, LUA_TUSERDATA);
    lua_getfenv(L, 1);
    if (!lua_rawequal(L, -1, LUA_ENVIRONINDEX)) return 1;
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setfenv(L, 1);
    return 1;
}

void nnl_lua_add_compat(lua_State *L) {
    lua_pushcfunction(L, kept);
    lua_setfield(L, -2, "kept");
}

#else

void nnl_lua_add_compat(lua_State *L) { (void)L; }

#endif

// ---- functions that Lua 5.1 does not have

#if LUA_VERSION_NUM == 501

int nnl_compat_absindex(lua_State *L, int index) {
    return index > 0 || index <= LUA_REGISTRYINDEX ? index : lua_gettop(L) + 1 + index;
}

void nnl_compat_rawgetp(lua_State *L, int index, const void *key) {
    index = lua_absindex(L, index);
    lua_pushlightuserdata(L, (void *)key);
    lua_rawget(L, index);
}

void nnl_compat_rawsetp(lua_State *L, int index, const void *key) {
    index = lua_absindex(L, index);
    lua_pushlightuserdata(L, (void *)key);
    lua_insert(L, -2);
    lua_rawset(L, index);
}

void nnl_compat_setfuncs(lua_State *L, const luaL_Reg *list, int upvalues) {
    for (; list->name; list++) {
        for (int i = 0; i < upvalues; i++) lua_pushvalue(L, -upvalues);
        lua_pushcclosure(L, list->func, upvalues);
        lua_setfield(L, -2 - upvalues, list->name);
    }
    lua_pop(L, upvalues);
}

// What Lua 5.4 writes, but for the numbers.
static void push_text(lua_State *L, int index) {
    switch (lua_type(L, index)) {
    case LUA_TNUMBER:
    case LUA_TSTRING:
        lua_pushvalue(L, index);
        break;
    case LUA_TBOOLEAN:
        lua_pushstring(L, lua_toboolean(L, index) ? "true" : "false");
        break;
    case LUA_TNIL:
        lua_pushliteral(L, "nil");
        break;
    default:
        (lua_pushfstring)(L, "%s: %p", luaL_typename(L, index), lua_topointer(L, index));
    }
}

const char *nnl_compat_tolstring(lua_State *L, int index, size_t *length) {
    index = lua_absindex(L, index);
    if (luaL_callmeta(L, index, "__tostring")) {
        if (!lua_isstring(L, -1)) luaL_error(L, "'__tostring' must return a string");
    } else {
        push_text(L, index);
    }
    return lua_tolstring(L, -1, length);
}

static void add_number(luaL_Buffer *buffer, const char *format, double number) {
    char text[64];
    snprintf(text, sizeof text, format, number);
    luaL_addstring(buffer, text);
}

static void add_integer(luaL_Buffer *buffer, long long number) {
    char text[32];
    snprintf(text, sizeof text, "%lld", number);
    luaL_addstring(buffer, text);
}

// Each conversion takes its own argument; a va_list in a struct may be passed on by its address.
typedef struct argument_list {
    va_list list;
} argument_list;

static void add_conversion(luaL_Buffer *buffer, char conversion, argument_list *arguments) {
    switch (conversion) {
    case 's': {
        const char *text = va_arg(arguments->list, const char *);
        luaL_addstring(buffer, text ? text : "(null)");
        break;
    }
    case 'c':
        luaL_addchar(buffer, (char)va_arg(arguments->list, int));
        break;
    case 'd':
        add_integer(buffer, va_arg(arguments->list, int));
        break;
    case 'I':
        add_integer(buffer, va_arg(arguments->list, LUAI_UACINT));
        break;
    case 'f':
        add_number(buffer, LUA_NUMBER_FMT, va_arg(arguments->list, double));
        break;
    default:
        luaL_addchar(buffer, conversion); // %%
    }
}

const char *nnl_compat_pushvfstring(lua_State *L, const char *format, va_list list) {
    luaL_Buffer buffer;
    argument_list arguments;
    va_copy(arguments.list, list);
    luaL_buffinit(L, &buffer);
    for (const char *percent; (percent = strchr(format, '%')) != NULL; format = percent + 2) {
        luaL_addlstring(&buffer, format, (size_t)(percent - format));
        add_conversion(&buffer, percent[1], &arguments);
    }
    luaL_addstring(&buffer, format);
    luaL_pushresult(&buffer);
    va_end(arguments.list);
    return lua_tostring(L, -1);
}

const char *nnl_compat_pushfstring(lua_State *L, const char *format, ...) {
    va_list list;
    va_start(list, format);
    const char *text = nnl_compat_pushvfstring(L, format, list);
    va_end(list);
    return text;
}

#endif
