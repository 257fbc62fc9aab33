// program.c: running another program.
#include "io/program.h"
#include "bind/bind.h"

typedef struct result {
    nnl_bytes bytes;
    int code;
} result;

static int push_result(lua_State *L) {
    const result *r = lua_touserdata(L, 1);
    lua_pushinteger(L, r->code);
    lua_pushlstring(L, r->bytes.data ? r->bytes.data : "", r->bytes.length);
    return 2;
}

static void free_result(void *r) { nnl_bytes_free(&((result *)r)->bytes); }

// The words of the list at 1, in a userdata that stays on the stack.
static const char **check_words(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    size_t count = (size_t)lua_rawlen(L, 1);
    luaL_argcheck(L, count > 0, 1, "expected the name of a program");
    const char **words = nnl_lua_new_userdata(L, (count + 1) * sizeof *words, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, 1, (lua_Integer)i + 1);
        luaL_argcheck(L, lua_type(L, -1) == LUA_TSTRING, 1, "expected a list of strings");
        words[i] = lua_tostring(L, -1); // the table keeps it
        lua_pop(L, 1);
    }
    words[count] = NULL;
    return words;
}

// run_program(words, input): exit code and output; nil and a message where it cannot be started.
static int run_program(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    result r = {.bytes.ctx = bind->ctx};
    size_t size;
    const char *input = luaL_checklstring(L, 2, &size);
    const char **words = check_words(L);
    nnl_push_holding(L, push_result, &r);
    if (nnl_program_run(bind->ctx, words, input, size, &r.bytes, &r.code) != NNL_OK) {
        nnl_bytes_free(&r.bytes);
        return nnl_fail_io(L, bind);
    }
    return nnl_run_holding(L, 0, 2, free_result, &r);
}

void nnl_open_program(lua_State *L) {
    nnl_push_function(L, run_program, 0);
    lua_setfield(L, NNL_CORE_INDEX, "run_program");
}
