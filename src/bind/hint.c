// hint.c: "did you mean ...": of the names that there are, the one that a misspelt name is a slip away from.
#include "bind/bind.h"

#include <ctype.h>
#include <string.h>

#define FAR NNL_HINT_ROOM

static int lower(char c) { return tolower((unsigned char)c); }

static int least(int a, int b) { return a < b ? a : b; }

// How many letters must be changed, left out, put in or swapped with the next one (Damerau 1964), whatever
// their case.
static int distance(const char *a, size_t length_a, const char *b, size_t length_b) {
    int row[3][NNL_HINT_ROOM];
    if (length_a >= NNL_HINT_ROOM || length_b >= NNL_HINT_ROOM) return FAR;
    for (size_t j = 0; j <= length_b; j++) row[0][j] = (int)j;
    for (size_t i = 1; i <= length_a; i++) {
        int *now = row[i % 3], *before = row[(i + 2) % 3], *earlier = row[(i + 1) % 3];
        now[0] = (int)i;
        for (size_t j = 1; j <= length_b; j++) {
            bool same = lower(a[i - 1]) == lower(b[j - 1]);
            now[j] = least(before[j - 1] + !same, least(before[j], now[j - 1]) + 1);
            bool swapped =
                i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]);
            if (swapped) now[j] = least(now[j], earlier[j - 2] + 1);
        }
    }
    return row[length_a % 3][length_b];
}

// Slips that a name of this length may have and still be recognised; none in the shortest.
static int slips_allowed(size_t length) { return length < 4 ? 0 : length < 7 ? 1 : 2; }

nnl_hint nnl_hint_for(const char *asked) {
    return (nnl_hint){.asked = asked, .slips = slips_allowed(strlen(asked)) + 1};
}

// Of names that are as near, those of words come in the order of the list, those of keys by the alphabet.
static void consider(nnl_hint *hint, const char *name, size_t length, int slips) {
    bool better = slips < hint->slips;
    bool earlier = slips == hint->slips && hint->name[0] && strcmp(name, hint->name) < 0;
    if (name[0] == '_' || length >= NNL_HINT_ROOM || !(better || earlier)) return;
    memcpy(hint->name, name, length);
    hint->name[length] = '\0';
    hint->slips = slips;
}

// A word may also be the beginning of the one that is meant; the first such is taken.
void nnl_hint_words(nnl_hint *hint, const char *words) {
    size_t asked = strlen(hint->asked);
    while (*words) {
        size_t length = strcspn(words, ", ");
        int slips = distance(hint->asked, asked, words, length);
        bool begins = asked >= 3 && length > asked && strncmp(words, hint->asked, asked) == 0;
        if (begins) slips = 0;
        if (slips < hint->slips) consider(hint, words, length, slips);
        words += length;
        words += strspn(words, ", ");
    }
}

void nnl_hint_keys(nnl_hint *hint, lua_State *L, int table) {
    size_t asked = strlen(hint->asked);
    table = lua_absindex(L, table);
    lua_pushnil(L);
    while (lua_next(L, table)) {
        size_t length;
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &length) : NULL;
        if (name) consider(hint, name, length, distance(hint->asked, asked, name, length));
        lua_pop(L, 1);
    }
}

const char *nnl_hint_push(lua_State *L, const nnl_hint *hint) {
    return lua_pushfstring(L, hint->name[0] ? "; did you mean '%s'?" : "", hint->name);
}

const char *nnl_hint_of_words(lua_State *L, const char *asked, const char *words) {
    nnl_hint hint = nnl_hint_for(asked);
    nnl_hint_words(&hint, words);
    return nnl_hint_push(L, &hint);
}

// core.nearest(name, table, ...): the key of one of the tables that the name is a slip away from, or nil
static int nearest(lua_State *L) {
    nnl_hint hint = nnl_hint_for(luaL_checkstring(L, 1));
    for (int i = 2, top = lua_gettop(L); i <= top; i++) {
        luaL_checktype(L, i, LUA_TTABLE);
        nnl_hint_keys(&hint, L, i);
    }
    lua_pushstring(L, hint.name);
    if (!hint.name[0]) lua_pushnil(L);
    return 1;
}

void nnl_open_hint(lua_State *L) {
    nnl_push_function(L, nearest, 0);
    lua_setfield(L, NNL_CORE_INDEX, "nearest");
}
