// trace.c: of all that was running when an error came, what is the person's: no function of C, none inside of
// nnlua, nothing of this program. See trace.h.
#include "app/trace.h"

#include "app/script.h"

#include <lauxlib.h>

#include <stdbool.h>
#include <string.h>

#define MOST_FRAMES 12 // shown; of more than those the middle is left out
#define WINDOW 100     // levels that are looked at from either end

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

static bool frame_at(lua_State *L, int level, lua_Debug *frame) {
    return lua_getstack(L, level, frame) && lua_getinfo(L, "Slnt", frame);
}

// Looking at a level costs as much as there are above it, and a runaway recursion has very many: only so many
// at either end are looked at.
static int last_level(lua_State *L) {
    lua_Debug frame;
    int low = 0, high = 1;
    while (lua_getstack(L, high, &frame)) {
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (lua_getstack(L, middle, &frame)) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

// The levels of the person's own frames. Returns how many there are.
static int own_levels(lua_State *L, int level[2 * WINDOW]) {
    int count = 0, last = last_level(L);
    for (int i = 1; i <= last; i++) {
        lua_Debug frame;
        if (i > WINDOW && i <= last - WINDOW) i = last - WINDOW + 1;
        if (frame_at(L, i, &frame) && is_own(&frame)) level[count++] = i;
    }
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

// The message at 1, and the frames behind it.
static void push_frames(lua_State *L, const int *level, int count) {
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    lua_pushvalue(L, 1);
    luaL_addvalue(&out);
    luaL_addstring(&out, "\nstack traceback:");
    for (int i = 0; i < count; i++) {
        lua_Debug frame;
        bool middle = count > MOST_FRAMES && i >= MOST_FRAMES / 2 && i < count - MOST_FRAMES / 2;
        if (middle && i == MOST_FRAMES / 2) luaL_addstring(&out, "\n\t...");
        if (!middle && frame_at(L, level[i], &frame)) add_frame(L, &out, &frame);
    }
    luaL_pushresult(&out);
}

int nnl_short_traceback(lua_State *L) {
    int level[2 * WINDOW];
    lua_Debug frame;
    if (!nnl_error_text(L)) return 1;
    int count = own_levels(L, level);
    bool typed = count == 0 || (frame_at(L, level[0], &frame) && is_typed_line(&frame));
    if (!typed) push_frames(L, level, count);
    return 1;
}
