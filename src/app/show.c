// show.c: values as text for the prompt: what they are at a glance, on one line where that is possible.
#include "app/show.h"

#include <lauxlib.h>

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_ITEMS 32

static const char *short_escape(char c) {
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        return NULL;
    }
}

static void add_escaped(luaL_Buffer *out, char c) {
    const char *escape = short_escape(c);
    if (escape) {
        luaL_addstring(out, escape);
    } else if (iscntrl((unsigned char)c)) {
        char code[8];
        snprintf(code, sizeof code, "\\%03d", (unsigned char)c);
        luaL_addstring(out, code);
    } else {
        luaL_addchar(out, c);
    }
}

// A string that Lua reads back as the same string.
static void push_quoted(lua_State *L, int index) {
    size_t length;
    const char *text = lua_tolstring(L, index, &length);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    luaL_addchar(&out, '"');
    for (size_t i = 0; i < length; i++) add_escaped(&out, text[i]);
    luaL_addchar(&out, '"');
    luaL_pushresult(&out);
}

// A table that has no words of its own for itself.
static bool is_plain_table(lua_State *L, int index) {
    if (lua_type(L, index) != LUA_TTABLE) return false;
    if (luaL_getmetafield(L, index, "__tostring") == LUA_TNIL &&
        luaL_getmetafield(L, index, "__name") == LUA_TNIL)
        return true;
    lua_pop(L, 1);
    return false;
}

static bool is_empty(lua_State *L, int table) {
    lua_pushnil(L);
    if (!lua_next(L, table)) return true;
    lua_pop(L, 2);
    return false;
}

// Push a value inside a table: the first line of its text.
static void push_item(lua_State *L, int index) {
    if (is_plain_table(L, index)) {
        lua_pushstring(L, is_empty(L, index) ? "{}" : "{...}");
        return;
    }
    if (lua_type(L, index) == LUA_TSTRING) {
        push_quoted(L, index);
        return;
    }
    const char *text = luaL_tolstring(L, index, NULL);
    const char *line_end = strchr(text, '\n');
    if (!line_end) return;
    lua_pushlstring(L, text, (size_t)(line_end - text));
    lua_pushliteral(L, " ...");
    lua_concat(L, 2);
    lua_remove(L, -2);
}

static bool is_keyword(const char *text) {
    static const char *const keywords[] = {
        "and", "break", "do",  "else", "elseif", "end",    "false",  "for",  "function", "goto",  "if",
        "in",  "local", "nil", "not",  "or",     "repeat", "return", "then", "true",     "until", "while"};
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(text, keywords[i]) == 0) return true;
    return false;
}

static bool is_name(const char *text, size_t length) {
    if (length == 0 || isdigit((unsigned char)text[0])) return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '_') return false;
    return !is_keyword(text);
}

// Push a key as a table constructor would have it, with the sign of assignment.
static void push_key(lua_State *L, int index) {
    size_t length = 0;
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tolstring(L, index, &length) : NULL;
    if (text && is_name(text, length)) {
        lua_pushfstring(L, "%s = ", text);
        return;
    }
    push_item(L, index);
    lua_pushfstring(L, "[%s] = ", lua_tostring(L, -1));
    lua_remove(L, -2);
}

// Append the text at the top of the stack to the list of items above; false when the list is full.
static bool add_item(lua_State *L, int items) {
    lua_Integer count = (lua_Integer)lua_rawlen(L, items);
    bool full = count >= MOST_ITEMS;
    if (full) {
        lua_pop(L, 1);
        lua_pushliteral(L, "...");
    }
    lua_rawseti(L, items, count + 1);
    return !full;
}

// Items 1, 2, ... up to the first nil; returns how many there are, or -1 when there are too many to show.
static lua_Integer add_sequence(lua_State *L, int table, int items) {
    for (lua_Integer i = 1;; i++) {
        if (lua_rawgeti(L, table, i) == LUA_TNIL) {
            lua_pop(L, 1);
            return i - 1;
        }
        push_item(L, lua_gettop(L));
        lua_remove(L, -2);
        if (!add_item(L, items)) return -1;
    }
}

static bool is_in_sequence(lua_State *L, int key, lua_Integer length) {
    return lua_isinteger(L, key) && lua_tointeger(L, key) >= 1 && lua_tointeger(L, key) <= length;
}

// Items with other keys.
static void add_fields(lua_State *L, int table, int items, lua_Integer sequence) {
    lua_pushnil(L);
    while (lua_next(L, table)) {
        int value = lua_gettop(L), key = value - 1;
        if (!is_in_sequence(L, key, sequence)) {
            push_key(L, key);
            push_item(L, value);
            lua_concat(L, 2);
            if (!add_item(L, items)) return;
        }
        lua_settop(L, key);
    }
}

static bool is_before(lua_State *L, int items, lua_Integer a, lua_Integer b) {
    lua_rawgeti(L, items, a);
    lua_rawgeti(L, items, b);
    bool before = lua_compare(L, -2, -1, LUA_OPLT);
    lua_pop(L, 2);
    return before;
}

static void swap_items(lua_State *L, int items, lua_Integer a, lua_Integer b) {
    lua_rawgeti(L, items, a);
    lua_rawgeti(L, items, b);
    lua_rawseti(L, items, a);
    lua_rawseti(L, items, b);
}

// Fields come in the order of their names: the order of a table's own traversal says nothing to a reader.
static void sort_items(lua_State *L, int items, lua_Integer first, lua_Integer last) {
    for (lua_Integer i = first + 1; i <= last; i++)
        for (lua_Integer j = i; j > first && is_before(L, items, j, j - 1); j--)
            swap_items(L, items, j, j - 1);
}

// Push "{a, b, c}" for a list of texts.
static void push_joined(lua_State *L, int items) {
    lua_Integer count = (lua_Integer)lua_rawlen(L, items);
    luaL_Buffer out;
    luaL_buffinit(L, &out);
    luaL_addchar(&out, '{');
    for (lua_Integer i = 1; i <= count; i++) {
        if (i > 1) luaL_addstring(&out, ", ");
        lua_rawgeti(L, items, i);
        luaL_addvalue(&out);
    }
    luaL_addchar(&out, '}');
    luaL_pushresult(&out);
}

static void push_table(lua_State *L, int table) {
    lua_newtable(L);
    int items = lua_gettop(L);
    lua_Integer sequence = add_sequence(L, table, items);
    if (sequence >= 0) {
        add_fields(L, table, items, sequence);
        lua_Integer count = (lua_Integer)lua_rawlen(L, items);
        sort_items(L, items, sequence + 1, count > MOST_ITEMS ? MOST_ITEMS : count);
    }
    push_joined(L, items);
    lua_replace(L, items);
    lua_settop(L, items);
}

void nnl_show(lua_State *L, int index) {
    index = lua_absindex(L, index);
    luaL_checkstack(L, 16, NULL);
    if (is_plain_table(L, index)) {
        push_table(L, index);
    } else if (lua_type(L, index) == LUA_TSTRING) {
        push_quoted(L, index);
    } else {
        luaL_tolstring(L, index, NULL);
    }
}
