// csv.c: nn.data.csv's engine: options from Lua, and the table that is read as a tensor with names beside it.
#include "io/csv.h"
#include "bind/bind.h"

#include <string.h>

#define OPTIONS 2 // the index of the table of options

// ---- options; their texts are borrowed from the table

static char character_option(lua_State *L, const char *name, char fallback) {
    size_t length = 0;
    lua_getfield(L, OPTIONS, name);
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
    if (!lua_isnil(L, -1) && (length != 1 || *text == '"' || *text == '\n'))
        nnl_error(L, "csv: %s must be one character", name);
    lua_pop(L, 1);
    return text ? *text : fallback;
}

static nnl_csv_header header_option(lua_State *L) {
    lua_getfield(L, OPTIONS, "header");
    bool automatic =
        lua_isnil(L, -1) || (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "auto") == 0);
    bool header = lua_toboolean(L, -1);
    if (!automatic && !lua_isboolean(L, -1)) nnl_error(L, "csv: header must be true, false or \"auto\"");
    lua_pop(L, 1);
    if (automatic) return NNL_CSV_HEADER_AUTO;
    return header ? NNL_CSV_HEADER : NNL_CSV_NO_HEADER;
}

static size_t skip_option(lua_State *L) {
    int64_t skip = 0;
    lua_getfield(L, OPTIONS, "skip");
    if (!lua_isnil(L, -1) && (!nnl_lua_to_integer(L, -1, &skip) || skip < 0))
        nnl_error(L, "csv: skip must be a number of lines");
    lua_pop(L, 1);
    return (size_t)skip;
}

static void fill_option(lua_State *L, nnl_csv_options *options) {
    lua_getfield(L, OPTIONS, "fill");
    options->fills = !lua_isnil(L, -1);
    if (options->fills && lua_type(L, -1) != LUA_TNUMBER) nnl_error(L, "csv: fill must be a number");
    options->fill = lua_tonumber(L, -1);
    lua_pop(L, 1);
}

static nnl_dtype dtype_option(lua_State *L) {
    nnl_dtype dtype = NNL_FLOAT32;
    lua_getfield(L, OPTIONS, "dtype");
    bool known = lua_type(L, -1) == LUA_TSTRING && nnl_dtype_named(lua_tostring(L, -1), &dtype);
    if (!lua_isnil(L, -1) && !known) nnl_error(L, "csv: unknown dtype '%s'", luaL_tolstring(L, -1, NULL));
    lua_pop(L, 1);
    return dtype;
}

// The option as a list on the stack, which stays: a lone value is a list of one. Returns its length.
static size_t push_list(lua_State *L, const char *name) {
    lua_getfield(L, OPTIONS, name);
    if (lua_isnil(L, -1)) return 0;
    if (lua_type(L, -1) == LUA_TTABLE) return (size_t)lua_rawlen(L, -1);
    lua_createtable(L, 1, 0);
    lua_insert(L, -2);
    lua_rawseti(L, -2, 1);
    return 1;
}

static nnl_csv_choice check_choice(lua_State *L, const char *name) {
    nnl_csv_choice choice = {.place = 0};
    int64_t number = 0;
    if (lua_type(L, -1) == LUA_TSTRING)
        choice.name.text = lua_tolstring(L, -1, &choice.name.length);
    else if (!nnl_lua_to_integer(L, -1, &number) || number == 0 || number == INT64_MIN)
        nnl_error(L, "csv: %s must be names or numbers of columns, from 1 or, negative, from the last", name);
    else
        choice =
            (nnl_csv_choice){.place = (size_t)(number > 0 ? number : -number) - 1, .from_end = number < 0};
    return choice;
}

static const nnl_csv_choice *choices_option(lua_State *L, const char *name, size_t *count) {
    *count = push_list(L, name);
    nnl_csv_choice *choices = nnl_lua_new_userdata(L, (*count + 1) * sizeof *choices, 0);
    for (size_t i = 0; i < *count; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        choices[i] = check_choice(L, name);
        lua_pop(L, 1);
    }
    return choices;
}

static const nnl_csv_text *missing_option(lua_State *L, size_t *count) {
    *count = push_list(L, "missing");
    nnl_csv_text *texts = nnl_lua_new_userdata(L, (*count + 1) * sizeof *texts, 0);
    for (size_t i = 0; i < *count; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        if (lua_type(L, -1) != LUA_TSTRING) nnl_error(L, "csv: missing must be strings");
        texts[i].text = lua_tolstring(L, -1, &texts[i].length);
        lua_pop(L, 1);
    }
    return texts;
}

static nnl_csv_options check_options(lua_State *L) {
    nnl_csv_options options = nnl_csv_defaults();
    if (lua_isnil(L, OPTIONS)) return options;
    luaL_checktype(L, OPTIONS, LUA_TTABLE);
    nnl_check_options(L, OPTIONS, "header separator comment skip dtype columns classes missing fill");
    options.separator = character_option(L, "separator", options.separator);
    options.comment = character_option(L, "comment", '\0');
    options.header = header_option(L);
    options.skip = skip_option(L);
    fill_option(L, &options);
    options.dtype = dtype_option(L);
    options.columns = choices_option(L, "columns", &options.column_count);
    options.classes = choices_option(L, "classes", &options.class_count);
    options.missing = missing_option(L, &options.missing_count);
    return options;
}

// ---- the result

static void push_classes(lua_State *L, const nnl_csv_column *column) {
    const nnl_csv_text *names;
    size_t count = nnl_csv_classes(column, &names);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_pushlstring(L, names[i].text, names[i].length);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

// A name of its own for each column, by which `seen` has it: one without a name, or with that of another, is
// called after its place.
static void push_name(lua_State *L, const nnl_csv_column *column, int seen) {
    lua_pushlstring(L, column->name.length ? column->name.text : "", column->name.length);
    lua_pushvalue(L, -1);
    bool taken = lua_rawget(L, seen) != LUA_TNIL;
    lua_pop(L, 1);
    if (taken || column->name.length == 0) {
        lua_pop(L, 1);
        lua_pushfstring(L, "column%I", (LUAI_UACINT)column->place + 1);
    }
    lua_pushvalue(L, -1);
    lua_pushboolean(L, true);
    lua_rawset(L, seen);
}

static void push_columns(lua_State *L, const nnl_csv *csv) {
    enum { NAMES = 2, CLASSES, SEEN };
    lua_settop(L, 1);
    lua_createtable(L, (int)csv->column_count, 0);
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = 0; i < csv->column_count; i++) {
        push_name(L, &csv->columns[i], SEEN);
        lua_pushvalue(L, -1);
        lua_rawseti(L, NAMES, (lua_Integer)i + 1);
        push_classes(L, &csv->columns[i]);
        if (csv->columns[i].kind == NNL_CSV_CLASSES)
            lua_rawset(L, CLASSES);
        else
            lua_pop(L, 2);
    }
    lua_settop(L, CLASSES);
}

static int push_table(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_csv *csv = lua_touserdata(L, 1);
    push_columns(L, csv);
    lua_createtable(L, 0, 3);
    lua_insert(L, -3);
    lua_setfield(L, -3, "classes");
    lua_setfield(L, -2, "columns");
    nnl_tensor **slot = nnl_push_slot(L, bind);
    *slot = nnl_tensor_retain(csv->data);
    lua_setfield(L, -2, "data");
    return 1;
}

static void free_csv(void *csv) { nnl_csv_free(csv); }

// core.csv(path[, options]): {data = tensor (rows, columns), columns = names, classes = {[name] = list of
// names}}, or nil and a message.
static int csv_read(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_csv csv;
    const char *path = nnl_check_path(L, 1);
    lua_settop(L, 2);
    nnl_csv_options options = check_options(L);
    nnl_push_holding(L, push_table, &csv);
    if (nnl_csv_read(bind->ctx, path, &options, &csv) != NNL_OK) return nnl_fail_io(L, bind);
    return nnl_run_holding(L, 0, 1, free_csv, &csv);
}

void nnl_open_csv(lua_State *L) {
    nnl_push_function(L, csv_read, 0);
    lua_setfield(L, NNL_CORE_INDEX, "csv");
}
