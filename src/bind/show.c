// show.c: declared options and their values for people: tostring, help, and plain tables.
#include "bind/options.h"

#include <stdio.h>
#include <string.h>

static const char *const type_names[] = {
    [NNL_OPTION_INT] = "integer",           [NNL_OPTION_NUMBER] = "number",
    [NNL_OPTION_BOOL] = "boolean",          [NNL_OPTION_CHOICE] = "choice",
    [NNL_OPTION_ACTIVATION] = "activation", [NNL_OPTION_INTS] = "integers",
    [NNL_OPTION_NUMBERS] = "numbers",       [NNL_OPTION_FIELDS] = "fields",
    [NNL_OPTION_TENSOR] = "tensor",         [NNL_OPTION_FACTORS] = "number or numbers",
};

static void push_integers(lua_State *L, const nnl_option_value *value) {
    if (value->count <= 1) {
        lua_pushinteger(L, (lua_Integer)value->ints[0]);
        return;
    }
    lua_createtable(L, value->count, 0);
    for (int k = 0; k < value->count; k++) {
        lua_pushinteger(L, (lua_Integer)value->ints[k]);
        lua_rawseti(L, -2, k + 1);
    }
}

static void push_numbers(lua_State *L, const nnl_option_value *value) {
    lua_createtable(L, value->count, 0);
    for (int k = 0; k < value->count; k++) {
        lua_pushnumber(L, value->numbers[k]);
        lua_rawseti(L, -2, k + 1);
    }
}

// nil where they were left out.
static void push_factors(lua_State *L, const nnl_option_value *value) {
    if (!value->given) {
        lua_pushnil(L);
    } else if (value->count == 1) {
        lua_pushnumber(L, value->numbers[0]);
    } else {
        push_numbers(L, value);
    }
}

static void push_word(lua_State *L, const char *choices, int64_t position) {
    size_t length;
    const char *word = nnl_choice_word(choices, (int)position, &length);
    lua_pushlstring(L, word, length);
}

// nil where all are 0.
static void push_fields(lua_State *L, const nnl_option *option, const nnl_option_value *value) {
    lua_pushnil(L);
    for (int k = 0; k < value->count; k++) {
        if (value->numbers[k] == 0) continue;
        if (lua_isnil(L, -1)) {
            lua_pop(L, 1);
            lua_createtable(L, 0, 2);
        }
        push_word(L, option->choices, k);
        lua_pushnumber(L, value->numbers[k]);
        lua_rawset(L, -3);
    }
}

void nnl_push_option_value(lua_State *L, const nnl_option *option, const nnl_option_value *value) {
    switch (option->type) {
    case NNL_OPTION_INT:
        lua_pushinteger(L, (lua_Integer)value->i);
        break;
    case NNL_OPTION_NUMBER:
        if (value->none) lua_pushboolean(L, false);
        if (!value->none) lua_pushnumber(L, value->d);
        break;
    case NNL_OPTION_BOOL:
        lua_pushboolean(L, value->i != 0);
        break;
    case NNL_OPTION_CHOICE:
        push_word(L, option->choices, value->i);
        break;
    case NNL_OPTION_ACTIVATION:
        lua_pushstring(L, nnl_activations[value->i].name);
        break;
    case NNL_OPTION_INTS:
        if (value->word) push_word(L, option->choices, value->word - 1);
        if (!value->word) push_integers(L, value);
        break;
    case NNL_OPTION_FACTORS:
        push_factors(L, value);
        break;
    case NNL_OPTION_NUMBERS:
        push_numbers(L, value);
        break;
    case NNL_OPTION_FIELDS:
        push_fields(L, option, value);
        break;
    case NNL_OPTION_TENSOR:
    case NNL_OPTION_END:
        lua_pushnil(L);
        break;
    }
}

bool nnl_option_is_default(const nnl_option *option, const nnl_option_value *value) {
    nnl_option_value fallback;
    nnl_option_default(option, &fallback);
    bool numbers = option->type == NNL_OPTION_NUMBERS || option->type == NNL_OPTION_FIELDS;
    if (option->type == NNL_OPTION_FACTORS || value->word) return !value->given;
    if (option->type == NNL_OPTION_NUMBER) return value->d == fallback.d && !value->none;
    if (numbers) return memcmp(value->numbers, fallback.numbers, sizeof value->numbers) == 0;
    if (option->type == NNL_OPTION_INTS) return memcmp(value->ints, fallback.ints, sizeof value->ints) == 0;
    return option->type == NNL_OPTION_TENSOR || value->i == fallback.i;
}

bool nnl_option_is_open(const nnl_option *option, const nnl_option_value *value) {
    bool sizes = option->type == NNL_OPTION_INT || option->type == NNL_OPTION_INTS;
    return sizes && option->low > 0 && value->i == 0 && !value->word;
}

// ---- as text

static void add_number(luaL_Buffer *text, double number) {
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%.7g", number);
    luaL_addlstring(text, digits, (size_t)length);
}

static void add_list(luaL_Buffer *text, const nnl_option *option, const nnl_option_value *value) {
    bool ints = option->type == NNL_OPTION_INTS, fields = option->type == NNL_OPTION_FIELDS, first = true;
    luaL_addchar(text, '{');
    for (int k = 0; k < value->count; k++) {
        size_t length;
        if (fields && value->numbers[k] == 0) continue;
        if (!first) luaL_addstring(text, ", ");
        first = false;
        const char *name = fields ? nnl_choice_word(option->choices, k, &length) : NULL;
        if (name) luaL_addlstring(text, name, length);
        if (name) luaL_addstring(text, " = ");
        add_number(text, ints ? (double)value->ints[k] : value->numbers[k]);
    }
    luaL_addchar(text, '}');
}

static void add_word(luaL_Buffer *text, const nnl_option *option, const nnl_option_value *value) {
    size_t length;
    const char *word = nnl_activations[0].name;
    if (option->type != NNL_OPTION_ACTIVATION) {
        word = nnl_choice_word(option->choices, (int)value->i, &length);
    } else {
        word = nnl_activations[value->i].name;
        length = strlen(word);
    }
    luaL_addchar(text, '"');
    luaL_addlstring(text, word, length);
    luaL_addchar(text, '"');
}

void nnl_add_option_text(luaL_Buffer *text, const nnl_option *option, const nnl_option_value *value) {
    switch (option->type) {
    case NNL_OPTION_INT:
        add_number(text, (double)value->i);
        break;
    case NNL_OPTION_NUMBER:
        if (value->none) luaL_addstring(text, "false");
        if (!value->none) add_number(text, value->d);
        break;
    case NNL_OPTION_BOOL:
        luaL_addstring(text, value->i ? "true" : "false");
        break;
    case NNL_OPTION_CHOICE:
    case NNL_OPTION_ACTIVATION:
        add_word(text, option, value);
        break;
    case NNL_OPTION_INTS:
        if (value->word) add_word(text, option, value);
        if (!value->word && value->count <= 1) add_number(text, (double)value->ints[0]);
        if (value->count > 1) add_list(text, option, value);
        break;
    case NNL_OPTION_FACTORS:
        if (value->count == 1) add_number(text, value->numbers[0]);
        if (value->count > 1) add_list(text, option, value);
        break;
    case NNL_OPTION_NUMBERS:
    case NNL_OPTION_FIELDS:
        add_list(text, option, value);
        break;
    case NNL_OPTION_TENSOR:
    case NNL_OPTION_END:
        break;
    }
}

// Those that may stand alone are shown where they say something; optional ones behind one that is not shown
// have their names.
static bool is_shown(const nnl_option *option, const nnl_option_value *value, bool first) {
    if (option->type == NNL_OPTION_TENSOR) return false;
    if (!nnl_option_is_default(option, value)) return true;
    if (first && option->type == NNL_OPTION_NUMBER) return true;
    return option->positional && value->given && (first || option->required);
}

void nnl_add_options_text(luaL_Buffer *text, const nnl_option *options, const nnl_option_value *values) {
    bool first = true, gap = false;
    for (int k = 0; k < NNL_MAX_OPTIONS && options[k].type != NNL_OPTION_END; k++) {
        const nnl_option *option = &options[k];
        bool named = !option->positional || (gap && !option->required);
        if (!is_shown(option, &values[k], k == 0)) {
            gap = true;
            continue;
        }
        if (!first) luaL_addstring(text, ", ");
        first = false;
        if (named) luaL_addstring(text, option->name);
        if (named) luaL_addstring(text, " = ");
        nnl_add_option_text(text, option, &values[k]);
    }
}

// ---- as tables

static void set_limits(lua_State *L, const nnl_option *option) {
    if (option->low == option->high) return;
    lua_pushnumber(L, option->low);
    lua_setfield(L, -2, "low");
    lua_pushnumber(L, option->high);
    lua_setfield(L, -2, "high");
}

// The words that an option may be, with one space between.
static void push_choices(lua_State *L, const nnl_option *option) {
    luaL_Buffer words;
    if (option->type != NNL_OPTION_ACTIVATION) {
        lua_pushstring(L, option->choices);
        return;
    }
    luaL_buffinit(L, &words);
    for (const nnl_activation *a = nnl_activations; a->name; a++) {
        if (a != nnl_activations) luaL_addchar(&words, ' ');
        luaL_addstring(&words, a->name);
    }
    luaL_pushresult(&words);
}

static void push_declared(lua_State *L, const nnl_option *option) {
    nnl_option_value fallback;
    nnl_option_default(option, &fallback);
    lua_createtable(L, 0, 8);
    lua_pushstring(L, option->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, type_names[option->type]);
    lua_setfield(L, -2, "type");
    lua_pushstring(L, option->doc);
    lua_setfield(L, -2, "doc");
    push_choices(L, option);
    lua_setfield(L, -2, "choices");
    lua_pushboolean(L, option->positional);
    lua_setfield(L, -2, "positional");
    lua_pushboolean(L, option->required);
    lua_setfield(L, -2, "required");
    bool open = nnl_option_is_open(option, &fallback);
    if (!option->required && !open) {
        nnl_push_option_value(L, option, &fallback);
        lua_setfield(L, -2, "default");
    }
    set_limits(L, option);
}

void nnl_push_declaration(lua_State *L, const nnl_option *options) {
    lua_newtable(L);
    for (int k = 0; k < NNL_MAX_OPTIONS && options[k].type != NNL_OPTION_END; k++) {
        push_declared(L, &options[k]);
        lua_rawseti(L, -2, k + 1);
    }
}
