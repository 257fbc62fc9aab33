// json.c: JSON to and from Lua's values. Objects and arrays are tables; null is core.json_null, because a
// table cannot hold nil; integers and floats stay what they are.
#include "io/json.h"
#include "bind/bind.h"

#include <stdlib.h>
#include <string.h>

static void push_null(lua_State *L) { lua_pushlightuserdata(L, NULL); }

static bool is_null(lua_State *L, int index) {
    return lua_type(L, index) == LUA_TLIGHTUSERDATA && !lua_touserdata(L, index);
}

// ---- from JSON: the open arrays and objects lie on Lua's stack, in an object's case with the key that waits
// for its value

static void push_text(lua_State *L, const nnl_json_reader *r) {
    if (!r->escaped) {
        lua_pushlstring(L, r->string, r->length);
        return;
    }
    char *text = nnl_lua_new_userdata(L, r->length, 0);
    lua_pushlstring(L, text, nnl_json_string(r, text));
    lua_remove(L, -2);
}

static void push_scalar(lua_State *L, const nnl_json_reader *r, nnl_json_event event) {
    if (event == NNL_JSON_STRING)
        push_text(L, r);
    else if (event == NNL_JSON_INTEGER)
        lua_pushinteger(L, (lua_Integer)r->integer);
    else if (event == NNL_JSON_NUMBER)
        lua_pushnumber(L, r->number);
    else if (event == NNL_JSON_NULL)
        push_null(L);
    else
        lua_pushboolean(L, event == NNL_JSON_TRUE);
}

static nnl_status push_key(lua_State *L, nnl_json_reader *r) {
    push_text(L, r);
    lua_pushvalue(L, -1);
    bool twice = lua_rawget(L, -3) != LUA_TNIL;
    lua_pop(L, 1);
    return twice ? nnl_json_refuse(r, "a key twice in an object") : NNL_OK;
}

// The value on top goes into the array or object that it is in; the outermost stays.
static void store_value(lua_State *L, const nnl_json_reader *r, lua_Integer *counts) {
    if (r->depth == 0) return;
    if (r->in_object[r->depth])
        lua_rawset(L, -3);
    else
        lua_rawseti(L, -2, ++counts[r->depth]);
}

// One event; false at the end of the text, or of what can be read of it.
static bool take_event(lua_State *L, nnl_json_reader *r, lua_Integer *counts) {
    nnl_json_event event = nnl_json_next(r);
    switch (event) {
    case NNL_JSON_END:
    case NNL_JSON_ERROR:
        return false;
    case NNL_JSON_OBJECT:
    case NNL_JSON_ARRAY:
        luaL_checkstack(L, 4, "nested JSON");
        lua_newtable(L);
        counts[r->depth] = 0;
        return true;
    case NNL_JSON_KEY:
        return push_key(L, r) == NNL_OK;
    case NNL_JSON_OBJECT_END:
    case NNL_JSON_ARRAY_END:
        break;
    default:
        push_scalar(L, r, event);
    }
    store_value(L, r, counts);
    return true;
}

// core.json_decode(string): the value, or nil and a message with line and column.
static int json_decode(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_json_reader reader;
    lua_Integer counts[NNL_JSON_DEPTH + 1];
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    nnl_error_clear(bind->ctx);
    nnl_json_reader_init(&reader, bind->ctx, text, length);
    while (take_event(L, &reader, counts)) {}
    if (bind->ctx->status == NNL_OK) return 1;
    lua_pushnil(L);
    lua_pushstring(L, bind->ctx->error);
    return 2;
}

// ---- to JSON

typedef struct encoder {
    lua_State *L;
    nnl_bind *bind;
    nnl_json_writer writer;
    int depth;
} encoder;

typedef struct key {
    const char *text;
    size_t length;
} key;

static void encode_value(encoder *e, int index);

static int refuse(encoder *e, const char *what, const char *detail) {
    return luaL_error(e->L, "json_encode: %s%s", what, detail);
}

static int by_bytes(const void *a, const void *b) {
    const key *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->length < y->length ? x->length : y->length);
    return order != 0 ? order : (x->length > y->length) - (x->length < y->length);
}

// How many keys a table has, all of them strings or all of them 1, 2, ...; which, is told by `array`.
static size_t count_keys(encoder *e, int table, bool *array) {
    lua_State *L = e->L;
    size_t count = 0, strings = 0, size = (size_t)lua_rawlen(L, table);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1), count++) {
        int64_t place = 0;
        bool in_list = nnl_lua_to_integer(L, -2, &place) && place >= 1 && (uint64_t)place <= size;
        bool string = lua_type(L, -2) == LUA_TSTRING;
        if (!in_list && !string) refuse(e, "a table's keys must be strings, or 1 to its length", "");
        strings += string;
    }
    *array = strings == 0 && count > 0;
    if (strings > 0 && strings < count) refuse(e, "a table has both strings and numbers as keys", "");
    if (*array && count < size) refuse(e, "a list has holes", "");
    return count;
}

static void encode_array(encoder *e, int table, size_t count) {
    nnl_json_open(&e->writer, '[');
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(e->L, table, (lua_Integer)i);
        encode_value(e, lua_gettop(e->L));
        lua_pop(e->L, 1);
    }
    nnl_json_close(&e->writer, ']');
}

// In the order of the keys' bytes, so that equal tables make equal text.
static void encode_object(encoder *e, int table, size_t count) {
    lua_State *L = e->L;
    key *keys = nnl_lua_new_userdata(L, (count + 1) * sizeof *keys, 0);
    size_t used = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1), used++)
        keys[used].text = lua_tolstring(L, -2, &keys[used].length);
    qsort(keys, used, sizeof *keys, by_bytes);
    nnl_json_open(&e->writer, '{');
    for (size_t i = 0; i < used; i++) {
        nnl_json_put_key(&e->writer, keys[i].text, keys[i].length);
        lua_pushlstring(L, keys[i].text, keys[i].length);
        lua_rawget(L, table);
        encode_value(e, lua_gettop(L));
        lua_pop(L, 1);
    }
    nnl_json_close(&e->writer, '}');
    lua_pop(L, 1);
}

static void encode_table(encoder *e, int table) {
    bool array = false;
    if (++e->depth > NNL_JSON_DEPTH) refuse(e, "tables nested too deeply", "");
    luaL_checkstack(e->L, 8, "json_encode");
    size_t count = count_keys(e, table, &array);
    if (array)
        encode_array(e, table, count);
    else
        encode_object(e, table, count);
    e->depth--;
}

static void encode_string(encoder *e, int index) {
    size_t length;
    const char *text = lua_tolstring(e->L, index, &length);
    nnl_json_put_string(&e->writer, text, length);
}

static void encode_value(encoder *e, int index) {
    lua_State *L = e->L;
    int type = lua_type(L, index);
    if (type == LUA_TTABLE)
        encode_table(e, index);
    else if (type == LUA_TSTRING)
        encode_string(e, index);
    else if (type == LUA_TNUMBER && nnl_lua_is_integer(L, index))
        nnl_json_put_integer(&e->writer, lua_tointeger(L, index));
    else if (type == LUA_TNUMBER)
        nnl_json_put_number(&e->writer, lua_tonumber(L, index));
    else if (type == LUA_TBOOLEAN)
        nnl_json_put_word(&e->writer, lua_toboolean(L, index) ? "true" : "false");
    else if (type == LUA_TNIL || is_null(L, index))
        nnl_json_put_word(&e->writer, "null");
    else
        refuse(e, "JSON has no ", nnl_type_name(L, e->bind, index));
    if (e->writer.status != NNL_OK) refuse(e, e->bind->ctx->error, "");
}

// Index 1 is the bytes to write into, 2 the value.
static int encode(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes *out = lua_touserdata(L, 1);
    encoder e = {.L = L, .bind = bind, .writer.out = out};
    encode_value(&e, 2);
    lua_pushlstring(L, out->data, out->length);
    return 1;
}

static void free_bytes(void *bytes) { nnl_bytes_free(bytes); }

// core.json_encode(value): a string.
static int json_encode(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes out = {.ctx = bind->ctx};
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    nnl_push_holding(L, encode, &out);
    lua_pushvalue(L, 1);
    return nnl_run_holding(L, 1, 1, free_bytes, &out);
}

static const luaL_Reg functions[] = {
    {"json_encode", json_encode}, {"json_decode", json_decode}, {NULL, NULL}};

void nnl_open_json(lua_State *L) {
    lua_pushvalue(L, NNL_CORE_INDEX);
    nnl_set_functions(L, functions);
    push_null(L);
    lua_setfield(L, -2, "json_null");
}
