// options.c: declared options from Lua. Every constructor of layers, losses and optimizers, and every
// initialiser, reads its arguments here. Showing them is in show.c.
#include "bind/options.h"

#include <string.h>

// ---- one value

static void wrong_type(const nnl_reading *r, const nnl_option *option, int index, const char *expected) {
    nnl_error(r->L, "%s: option '%s' must be %s, got %s", r->who, option->name, expected,
              nnl_type_name(r->L, r->bind, index));
}

static void read_integer(const nnl_reading *r, const nnl_option *option, int index, int64_t *value) {
    if (!nnl_lua_to_integer(r->L, index, value)) wrong_type(r, option, index, "an integer");
}

static void read_number(const nnl_reading *r, const nnl_option *option, int index, nnl_option_value *value) {
    value->none = option->or_false && lua_isboolean(r->L, index) && !lua_toboolean(r->L, index);
    if (value->none) return;
    if (lua_type(r->L, index) != LUA_TNUMBER)
        wrong_type(r, option, index, option->or_false ? "a number or false" : "a number");
    value->d = lua_tonumber(r->L, index);
}

static void push_words(lua_State *L, const char *choices) {
    lua_pushstring(L, choices);
    luaL_gsub(L, lua_tostring(L, -1), " ", ", ");
    lua_remove(L, -2);
}

static void read_choice(const nnl_reading *r, const nnl_option *option, int index, nnl_option_value *value) {
    lua_State *L = r->L;
    size_t length;
    if (lua_type(L, index) != LUA_TSTRING) wrong_type(r, option, index, "a string");
    const char *word = lua_tolstring(L, index, &length);
    value->i = nnl_choice_position(option->choices, word, length);
    if (value->i >= 0) return;
    push_words(L, option->choices);
    const char *words = lua_tostring(L, -1);
    nnl_error(L, "%s: option '%s' must be one of %s, got '%s'%s", r->who, option->name, words, word,
              nnl_hint_of_words(L, word, words));
}

static void push_activation_names(lua_State *L) {
    luaL_Buffer names;
    luaL_buffinit(L, &names);
    for (const nnl_activation *a = nnl_activations; a->name; a++) {
        if (a != nnl_activations) luaL_addstring(&names, ", ");
        luaL_addstring(&names, a->name);
    }
    luaL_pushresult(&names);
}

static void read_activation(const nnl_reading *r, const nnl_option *option, int index,
                            nnl_option_value *value) {
    lua_State *L = r->L;
    if (lua_type(L, index) != LUA_TSTRING) wrong_type(r, option, index, "a name");
    const char *name = lua_tostring(L, index);
    for (value->i = 0; nnl_activations[value->i].name; value->i++) {
        if (strcmp(nnl_activations[value->i].name, name) == 0) return;
    }
    push_activation_names(L);
    const char *names = lua_tostring(L, -1);
    nnl_error(L, "%s: option '%s' must be one of %s, got '%s'%s", r->who, option->name, names, name,
              nnl_hint_of_words(L, name, names));
}

// One integer for all dimensions, or a list.
static void read_integers(const nnl_reading *r, const nnl_option *option, int index,
                          nnl_option_value *value) {
    lua_State *L = r->L;
    bool list = lua_istable(L, index);
    value->word = 0;
    if (option->choices && lua_type(L, index) == LUA_TSTRING) {
        read_choice(r, option, index, value);
        value->word = (uint8_t)(1 + value->i);
        return;
    }
    value->count = list ? (int)lua_rawlen(L, index) : 1;
    if (value->count < 1 || value->count > NNL_OPTION_LIST)
        wrong_type(r, option, index, "an integer or a short list");
    for (int k = 0; k < NNL_OPTION_LIST; k++) {
        int from = k < value->count ? k : value->count - 1;
        if (list) lua_rawgeti(L, index, from + 1);
        read_integer(r, option, list ? lua_gettop(L) : index, &value->ints[k]);
        if (list) lua_pop(L, 1);
    }
    value->i = value->ints[0];
}

static void read_numbers(const nnl_reading *r, const nnl_option *option, int index, nnl_option_value *value) {
    lua_State *L = r->L;
    if (!lua_istable(L, index) || lua_rawlen(L, index) != 2)
        wrong_type(r, option, index, "a list of two numbers");
    value->count = 2;
    for (int k = 0; k < 2; k++) {
        lua_rawgeti(L, index, k + 1);
        if (lua_type(L, -1) != LUA_TNUMBER) wrong_type(r, option, lua_gettop(L), "a list of two numbers");
        value->numbers[k] = lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
}

static void read_factors(const nnl_reading *r, const nnl_option *option, int index, nnl_option_value *value) {
    if (lua_type(r->L, index) != LUA_TNUMBER) {
        read_numbers(r, option, index, value);
        return;
    }
    value->count = 1;
    value->numbers[0] = value->numbers[1] = lua_tonumber(r->L, index);
}

static void read_fields(const nnl_reading *r, const nnl_option *option, int index, nnl_option_value *value) {
    lua_State *L = r->L;
    if (!lua_istable(L, index)) wrong_type(r, option, index, "a table");
    memset(value->numbers, 0, sizeof value->numbers);
    lua_pushnil(L);
    while (lua_next(L, index)) {
        size_t length = 0;
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &length) : "";
        int position = nnl_choice_position(option->choices, key, length);
        if (position < 0 || lua_type(L, -1) != LUA_TNUMBER) {
            push_words(L, option->choices);
            nnl_error(L, "%s: option '%s' must be a table of numbers by the names %s", r->who, option->name,
                      lua_tostring(L, -1));
        }
        value->numbers[position] = lua_tonumber(L, -1);
        lua_pop(L, 1);
    }
}

// Of a call: the tensor itself. A layer that is being made holds the same values as a constant of its own.
static void read_tensor(const nnl_reading *r, const nnl_option *option, int index, nnl_option_value *value) {
    nnl_tensor *given = nnl_to_tensor(r->L, r->bind, index);
    if (!given) wrong_type(r, option, index, "a tensor");
    if (!r->layer) {
        value->tensor = given;
        return;
    }
    int slot = nnl_layer_slot(r->layer, option->name);
    if (slot < 0) wrong_type(r, option, index, "a tensor");
    if (nnl_layer_load(r->bind->ctx, r->layer, slot, given) != NNL_OK) nnl_raise(r->L, r->bind);
}

void nnl_read_option(const nnl_reading *r, int position, int index) {
    lua_State *L = r->L;
    const nnl_option *option = &r->options[position];
    nnl_option_value *value = &r->values[position];
    switch (option->type) {
    case NNL_OPTION_INT:
        read_integer(r, option, index, &value->i);
        break;
    case NNL_OPTION_NUMBER:
        read_number(r, option, index, value);
        break;
    case NNL_OPTION_BOOL:
        if (!lua_isboolean(L, index)) wrong_type(r, option, index, "true or false");
        value->i = lua_toboolean(L, index);
        break;
    case NNL_OPTION_CHOICE:
        read_choice(r, option, index, value);
        break;
    case NNL_OPTION_ACTIVATION:
        read_activation(r, option, index, value);
        break;
    case NNL_OPTION_INTS:
        read_integers(r, option, index, value);
        break;
    case NNL_OPTION_FACTORS:
        read_factors(r, option, index, value);
        break;
    case NNL_OPTION_NUMBERS:
        read_numbers(r, option, index, value);
        break;
    case NNL_OPTION_FIELDS:
        read_fields(r, option, index, value);
        break;
    case NNL_OPTION_TENSOR:
        read_tensor(r, option, index, value);
        break;
    case NNL_OPTION_END:
        break;
    }
    value->given = true;
}

// ---- tables

static void push_option_names(lua_State *L, const nnl_option *options) {
    luaL_Buffer names;
    luaL_buffinit(L, &names);
    for (int k = 0; k < NNL_MAX_OPTIONS && options[k].type != NNL_OPTION_END; k++) {
        if (k > 0) luaL_addstring(&names, ", ");
        luaL_addstring(&names, options[k].name);
    }
    luaL_pushresult(&names);
}

static void unknown_option(const nnl_reading *r, int key) {
    lua_State *L = r->L;
    const char *name = luaL_tolstring(L, key, NULL);
    if (r->options[0].type == NNL_OPTION_END)
        nnl_error(L, "%s: unknown option '%s'; there are none", r->who, name);
    push_option_names(L, r->options);
    const char *names = lua_tostring(L, -1);
    nnl_error(L, "%s: unknown option '%s'; allowed: %s%s", r->who, name, names,
              nnl_hint_of_words(L, name, names));
}

void nnl_read_options(const nnl_reading *r, int table, const char *skipped) {
    lua_State *L = r->L;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        int position, top = lua_gettop(L);
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
        bool skip = key && skipped && strcmp(key, skipped) == 0;
        if (!skip && (!key || !nnl_option_named(r->options, key, &position))) unknown_option(r, top - 1);
        if (!skip) nnl_read_option(r, position, top);
        lua_settop(L, top - 1);
    }
}

// ---- arguments by position

static bool in_table(lua_State *L, int table, const char *name) {
    nnl_push_option(L, table, name);
    bool there = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return there;
}

// How many optional arguments before a required one the script left out: nn.Dense(out) has no `in`.
static int left_out(const nnl_reading *r, int count, int table) {
    int needed = 0, before = 0;
    for (int k = 0; k < NNL_MAX_OPTIONS && r->options[k].type != NNL_OPTION_END; k++) {
        if (!r->options[k].positional) continue;
        before++;
        if (r->options[k].required && !in_table(r->L, table, r->options[k].name)) needed = before;
    }
    return needed > count ? needed - count : 0;
}

static void read_positional(const nnl_reading *r, int first, int count, int table) {
    int skip = left_out(r, count, table), at = first, most = 0;
    for (int k = 0; k < NNL_MAX_OPTIONS && r->options[k].type != NNL_OPTION_END; k++) {
        if (!r->options[k].positional) continue;
        most++;
        if (skip > 0 && !r->options[k].required) {
            skip--;
        } else if (at < first + count) {
            if (!lua_isnil(r->L, at)) nnl_read_option(r, k, at);
            at++;
        }
    }
    if (at == first + count) return;
    nnl_error(r->L, "%s: expected at most %d %s before the table of options, got %d", r->who, most,
              most == 1 ? "argument" : "arguments", count);
}

void nnl_read_arguments(const nnl_reading *r, int first) {
    lua_State *L = r->L;
    int last = lua_gettop(L);
    bool empty = last >= first && lua_istable(L, last) && lua_rawlen(L, last) == 0;
    int table = last >= first && (empty || nnl_is_options(L, last)) ? last : 0;
    int count = (table ? last : last + 1) - first;
    while (count > 0 && !table && lua_isnil(L, first + count - 1)) count--;
    read_positional(r, first, count, table);
    if (table) nnl_read_options(r, table, NULL);
}
