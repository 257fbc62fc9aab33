// script.c: running chunks, and the traceback of an error. See interrupt.c for Ctrl-C meanwhile, repl.c for
// the prompt.
#define _POSIX_C_SOURCE 200809L
#include "app/script.h"

#include "app/interrupt.h"

#include <lauxlib.h>

#include <stdio.h>
#include <string.h>

int nnl_call(lua_State *L, int arguments, int results, lua_CFunction message_handler) {
    int base = lua_gettop(L) - arguments;
    lua_pushcfunction(L, message_handler);
    lua_insert(L, base);
    struct sigaction before;
    nnl_running place;
    nnl_interrupts_begin(&place, L, &before);
    int status = lua_pcall(L, arguments, results, base);
    nnl_interrupts_end(&place, &before);
    lua_remove(L, base);
    return status;
}

bool nnl_error_text(lua_State *L) {
    lua_settop(L, 1);
    if (lua_tostring(L, 1)) return true;
    bool speaks = luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING;
    if (!speaks) lua_pushfstring(L, "(error object is a %s value)", luaL_typename(L, 1));
    lua_replace(L, 1);
    lua_settop(L, 1);
    return !speaks;
}

// A script that uses nn without having asked for it hears what is missing. The text of the error is at 1.
static void add_advice(lua_State *L) {
    const char *text = lua_tostring(L, 1), *end = "a nil value (global 'nn')";
    size_t length = strlen(text), tail = strlen(end);
    if (length < tail || strcmp(text + length - tail, end) != 0) return;
    lua_pushliteral(L, "; the script begins with: local nn = require \"nnlua\"");
    lua_concat(L, 2);
}

int nnl_traceback(lua_State *L) {
    bool told = nnl_error_text(L);
    if (told && lua_type(L, 1) == LUA_TSTRING) add_advice(L);
    if (told) luaL_traceback(L, L, lua_tostring(L, 1), 1);
    return 1;
}

int nnl_report(lua_State *L, int status) {
    if (status == LUA_OK) return status;
    const char *message = lua_tostring(L, -1);
    fflush(stdout);
    fprintf(stderr, "nnlua: %s\n", message ? message : "(error message is not a string)");
    fflush(stderr);
    lua_pop(L, 1);
    return status;
}

// Run the chunk below `arguments` values, or report why it did not load.
static int run_chunk(lua_State *L, int load_status, int arguments) {
    if (load_status != LUA_OK) return nnl_report(L, load_status);
    return nnl_report(L, nnl_call(L, arguments, 0, nnl_traceback));
}

int nnl_run_string(lua_State *L, const char *code, const char *chunk_name) {
    return run_chunk(L, luaL_loadbuffer(L, code, strlen(code), chunk_name), 0);
}

int nnl_run_file(lua_State *L, const char *name) { return run_chunk(L, luaL_loadfile(L, name), 0); }

// Push arg[1], arg[2], ...: code that ran before the script may have changed them.
static int push_arguments(lua_State *L) {
    if (lua_getglobal(L, "arg") != LUA_TTABLE) luaL_error(L, "'arg' is not a table");
    int table = lua_gettop(L);
    int count = (int)luaL_len(L, table);
    luaL_checkstack(L, count + 3, "too many arguments to script");
    for (int i = 1; i <= count; i++) lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return count;
}

int nnl_run_script(lua_State *L, const char *name) {
    int status = luaL_loadfile(L, name);
    return run_chunk(L, status, status == LUA_OK ? push_arguments(L) : 0);
}

int nnl_run_require(lua_State *L, const char *request) {
    const char *equals = strchr(request, '=');
    const char *module = equals ? equals + 1 : request;
    lua_pushlstring(L, request, equals ? (size_t)(equals - request) : strlen(request));
    lua_getglobal(L, "require");
    lua_pushstring(L, module);
    int status = nnl_call(L, 1, 1, nnl_traceback);
    if (status == LUA_OK) lua_setglobal(L, lua_tostring(L, -2));
    nnl_report(L, status);
    lua_pop(L, 1);
    return status;
}
