// trace.c: of all that was running when an error came, what is the person's: no function of C, none inside of
// nnlua, nothing of this program. See trace.h.
#include "app/trace.h"

#include "app/script.h"

#include <lauxlib.h>

#include <stdbool.h>
#include <string.h>

#define MOST_FRAMES 12 // shown; of more than those the middle is left out

static bool is_of_nnlua(const char *source) {
    static const char name[] = "=nnlua";
    size_t length = sizeof name - 1;
    return strncmp(source, name, length) == 0 && (source[length] == '.' || source[length] == '\0');
}

static bool is_own(const lua_Debug *frame) {
    return strcmp(frame->what, "C") != 0 && !is_of_nnlua(frame->source);
}

static bool is_typed_line(const lua_Debug *frame) {
    return strcmp(frame->what, "main") == 0 && strcmp(frame->source, "=stdin") == 0;
}

// The next frame of the person's own from `level` on; false where there is none.
static bool next_frame(lua_State *L, int *level, lua_Debug *frame) {
    while (lua_getstack(L, *level, frame)) {
        lua_getinfo(L, "Slnt", frame);
        *level += 1;
        if (is_own(frame)) return true;
    }
    return false;
}

static int count_frames(lua_State *L) {
    lua_Debug frame;
    int count = 0;
    for (int level = 1; next_frame(L, &level, &frame);) count++;
    return count;
}

// The name of the global that holds the function of a frame, which a tail call leaves without one; pushed.
// NULL, and nothing pushed, where there is none.
static const char *global_name(lua_State *L, lua_Debug *frame) {
    int top = lua_gettop(L);
    lua_getinfo(L, "f", frame);
    lua_pushglobaltable(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || !lua_rawequal(L, -1, top + 1)) continue;
        lua_pop(L, 1);
        lua_replace(L, top + 1);
        lua_settop(L, top + 1);
        return lua_tostring(L, -1);
    }
    lua_settop(L, top);
    return NULL;
}

static void add_frame(lua_State *L, luaL_Buffer *out, lua_Debug *frame) {
    int top = lua_gettop(L);
    const char *name = frame->name;
    bool is_main = strcmp(frame->what, "main") == 0;
    if (!is_main && !name) name = global_name(L, frame);
    lua_pushfstring(L, "\n\t%s:%d: in ", frame->short_src, frame->currentline);
    if (is_main) {
        lua_pushliteral(L, "main chunk");
    } else if (name) {
        lua_pushfstring(L, "%s '%s'", strcmp(frame->namewhat, "method") == 0 ? "method" : "function", name);
    } else {
        lua_pushfstring(L, "function <%s:%d>", frame->short_src, frame->linedefined);
    }
    lua_concat(L, 2);
    if (lua_gettop(L) > top + 1) lua_replace(L, top + 1);
    luaL_addvalue(out);
}

static void push_frames(lua_State *L, int count) {
    luaL_Buffer out;
    lua_Debug frame;
    luaL_buffinit(L, &out);
    lua_pushvalue(L, 1);
    luaL_addvalue(&out);
    luaL_addstring(&out, "\nstack traceback:");
    int number = 0;
    for (int level = 1; next_frame(L, &level, &frame); number++) {
        bool middle = count > MOST_FRAMES && number >= MOST_FRAMES / 2 && number < count - MOST_FRAMES / 2;
        if (!middle) add_frame(L, &out, &frame);
        if (middle && number == MOST_FRAMES / 2) luaL_addstring(&out, "\n\t...");
    }
    luaL_pushresult(&out);
}

int nnl_short_traceback(lua_State *L) {
    lua_Debug frame;
    int level = 1;
    if (!nnl_error_text(L)) return 1;
    bool typed = !next_frame(L, &level, &frame) || is_typed_line(&frame);
    if (!typed) push_frames(L, count_frames(L));
    return 1;
}
